"""The page of examples/browser_page.py in a real browser, driven by its DevTools over our own WebSocket client."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.examples.loading import load

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
CHROMIUM = next((found for found in map(shutil.which, NAMES) if found), None)
OPTIONS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it must not talk to anybody else
    "--remote-debugging-port=0",
]  # fmt: skip
WAIT_S = 15.0

pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)"),
]


class Tab:
    """One page in the browser."""

    def __init__(self, conn: transport.Connection) -> None:
        self._conn = conn
        self._number = 0

    async def call(self, method: str, **params: Any) -> Any:
        """Asks the browser; events that come in between are passed over."""
        self._number += 1
        await self._conn.send({"id": self._number, "method": method, "params": params})
        while (answer := await self._conn.recv()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, a promise's once it is kept."""
        result = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Returns when a condition holds on the page."""
        async with asyncio.timeout(WAIT_S):
            await self.evaluate(
                f"new Promise(done => {{ const look = () => ({condition}) ? done(1) : setTimeout(look, 10); look() }})"
            )

    async def text(self, name: str) -> str:
        """What is shown in an element."""
        return str(await self.evaluate(f"document.getElementById('{name}').textContent"))

    async def say(self, text: str) -> None:
        """Types into the form and sends it."""
        await self.evaluate(
            f"document.getElementById('text').value = {text!r}; document.getElementById('form').requestSubmit()"
        )


class Browser:
    """A running Chromium; `tab` opens pages."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._tabs: list[transport.Connection] = []

    async def tab(self, url: str) -> Tab:
        """A new page, as soon as it has begun."""
        async with transport.connect(self._address, codec="json", max_message="16MiB") as conn:
            target = (await Tab(conn).call("Target.createTarget", url="about:blank"))["targetId"]
        page = re.sub(r"/devtools/.*", f"/devtools/page/{target}", self._address)
        conn = await transport.connect(page, codec="json", max_message="16MiB")
        self._tabs.append(conn)
        tab = Tab(conn)
        await tab.call("Page.navigate", url=url)
        await tab.until("document.readyState === 'complete'")
        return tab

    async def close(self) -> None:
        """Lets go of the tabs."""
        for conn in self._tabs:
            await conn.close()


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """A browser of the test's own; it is gone behind it."""
    assert CHROMIUM is not None
    said = folder / "stderr"
    with said.open("wb") as stderr:
        process = subprocess.Popen(
            [CHROMIUM, *OPTIONS, f"--user-data-dir={folder / 'profile'}", "about:blank"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
        )  # fmt: skip
    try:
        async with asyncio.timeout(WAIT_S):
            while not (found := re.search(r"DevTools listening on (ws://\S+)\n", said.read_text(errors="replace"))):
                assert process.poll() is None, said.read_text(errors="replace")
                await asyncio.sleep(0.02)
        browser = Browser(found[1])
        yield browser
        await browser.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own session: the browser and its helpers, nothing else
        process.wait()


async def test_two_pages_and_a_server(tmp_path: Path) -> None:
    """Both directions, what a page says to another, news that nobody asked for, and a server that was started again."""
    example = load("browser_page")
    wall = example.Wall()
    async with chromium(tmp_path) as browser:
        async with example.serving("ws://127.0.0.1:0/ws", wall) as server:
            port = server.url.port
            ann = await browser.tab(f"http://127.0.0.1:{port}/")
            bob = await browser.tab(f"http://127.0.0.1:{port}/?a=query#and-more")
            for tab in (ann, bob):
                await tab.until("part('state').textContent === 'connected' && part('here').textContent === '2'")
            await ann.say("<b>hello</b> & ü 🙂")
            await bob.until("part('lines').children.length === 1")
            assert await bob.text("lines") == "<b>hello</b> & ü 🙂"
            assert await bob.evaluate("part('lines').querySelector('b')") is None, "text, not HTML"
            await bob.say("hello yourself")
            await ann.until("part('lines').children.length === 2")
            assert list(wall.lines) == ["<b>hello</b> & ü 🙂", "hello yourself"]
            ticking = asyncio.create_task(wall.tick())
            await ann.until("Number(part('count').textContent) >= 3")
            ticking.cancel()
            async with example.serving("ws://127.0.0.1:0/ws", example.Wall()) as elsewhere:
                other = await browser.tab(f"http://127.0.0.1:{elsewhere.url.port}/")  # another port is another site
                opened = await other.evaluate(
                    f"new Promise(done => {{ const socket = new WebSocket('ws://127.0.0.1:{port}/ws');"
                    " socket.onopen = () => done('open'); socket.onerror = () => done('refused') })"
                )
                assert opened == "refused"
                assert server.statistics().counters["http_403"] == 1
        await ann.until("part('state').textContent === 'lost'")
        again = example.Wall()
        again.lines.append("said while you were away")
        async with example.serving(f"ws://127.0.0.1:{port}/ws", again):
            for tab in (ann, bob):
                await tab.until("part('state').textContent === 'connected'")
                await tab.until("part('lines').textContent === 'said while you were away'")
