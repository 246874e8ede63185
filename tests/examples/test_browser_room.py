"""The page of examples/browser_room.py in a real browser: what was said meanwhile is there after a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.loading import load
from tests.examples.test_browser_page import CHROMIUM, Tab, chromium
from transport.log import SQLiteLog

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]
SHOWN = "[...part('lines').children].map(line => line.textContent)"


async def joined(tab: Tab) -> None:
    await tab.until("typeof part === 'function' && part('state').textContent === 'connected'")


async def reads(tab: Tab, text: str) -> None:
    await tab.until(f"{SHOWN}.at(-1) === {text!r}")


async def test_a_reload_and_a_restart(tmp_path: Path) -> None:
    example = load("browser_room")
    async with chromium(tmp_path) as browser:
        async with example.serving("ws://127.0.0.1:0/ws", SQLiteLog(tmp_path / "room.db")) as server:
            port = server.url.port
            ann = await browser.tab(f"http://127.0.0.1:{port}/")
            bob = await browser.tab(f"http://127.0.0.1:{port}/")
            await joined(ann)
            await joined(bob)
            await ann.say("<b>one</b>")
            await reads(ann, "<b>one</b>")
            await reads(bob, "<b>one</b>")
            await ann.call("Page.navigate", url="about:blank")
            await bob.say("two")
            await reads(bob, "two")
            await ann.call("Page.navigate", url=f"http://127.0.0.1:{port}/")
            await joined(ann)
            await reads(ann, "missed: two")
            await bob.say("three")
            await reads(ann, "three")
            assert await ann.evaluate("part('lines').querySelector('b')") is None, "text, not HTML"
        await ann.until("part('state').textContent === 'lost'")
        async with example.serving(f"ws://127.0.0.1:{port}/ws", SQLiteLog(tmp_path / "room.db")):
            await joined(ann)
            await joined(bob)
            await ann.say("four")
            await reads(bob, "four")
            assert not any("lost" in text for text in [*await ann.evaluate(SHOWN), *await bob.evaluate(SHOWN)])
