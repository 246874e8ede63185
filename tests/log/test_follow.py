"""A stream followed from outside while it grows, is trimmed, dropped, and begins again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from transport import limits
from transport.log import Append, Log, Page, Stream, follow

pytestmark = pytest.mark.asyncio
ROOM = Stream("/chat", "room:7")


async def test_following(make: Callable[..., Log], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_FOLLOW_S", 0.001)
    monkeypatch.setattr(limits, "LOG_PAGE_EVENTS_MAX", 3)
    async with make() as log:
        pages = follow(log, ROOM)
        waiting = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await log.commit([Append(ROOM, b"%d" % number) for number in range(5)])
        seen = [event.offset for event in (await waiting).events]
        while len(seen) < 5:
            seen += [event.offset for event in (await anext(pages)).events]
        assert seen == [1, 2, 3, 4, 5]
        waiting = asyncio.ensure_future(anext(pages))
        await log.append(ROOM, b"5")
        page = await waiting
        assert [event.offset for event in page.events] == [6]
        assert not page.trimmed
        await log.commit([Append(ROOM, b"x"), Append(ROOM, b"y")])
        await log.trim(ROOM, 8)
        page = await anext(pages)
        seen = [event.offset for event in page.events]
        assert seen == [8] if page.trimmed else seen[0] == 7
        await log.drop(ROOM)
        await log.append(ROOM, b"again")
        page = await anext(pages)
        assert page.trimmed
        assert [event.payload for event in page.events] == [b"again"]
        await pages.aclose()


async def test_following_from_a_cursor(make: Callable[..., Log], monkeypatch: pytest.MonkeyPatch) -> None:
    async with make() as log:
        done = await log.commit([Append(ROOM, b"%d" % number) for number in range(5)])
        pages = follow(log, ROOM, 3, epoch=done.appended[0].epoch)
        page: Page = await anext(pages)
        assert [event.offset for event in page.events] == [4, 5]
        assert not page.trimmed
        await pages.aclose()
        pages = follow(log, ROOM, 3, epoch=done.appended[0].epoch ^ 1)
        page = await anext(pages)
        assert [event.offset for event in page.events] == [1, 2, 3, 4, 5]
        assert page.trimmed
        await pages.aclose()
        await log.trim(ROOM, 6)
        pages = follow(log, ROOM, 3)
        page = await anext(pages)
        assert page.events == []
        assert page.trimmed
        await pages.aclose()
