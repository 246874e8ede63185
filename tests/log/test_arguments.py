"""Calls with a mistake in them, and numbers at their ends, asked of each kind of log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from transport.log import History, Log, Position, Session, Stream, checks

pytestmark = pytest.mark.asyncio
Make = Callable[..., Log]
ROOM = Stream("/chat", "room:7")


async def test_bad_bounds(make: Make) -> None:
    async with make() as log:
        with pytest.raises(ValueError, match="count -1"):
            await log.set_history("/a", History(count=-1))
        await log.set_history("/a", History(None, checks.SPAN_MS_MAX, None))
        assert (await log.append(Stream("/a", "r"), b"x")).offset == 1


async def test_numbers_at_their_ends_and_bad_arguments_harm_nobody(make: Make) -> None:
    """A call with a mistake in it fails alone: those that share its commit are written."""
    largest = checks.NUMBER_MAX
    async with make() as log:
        good = asyncio.ensure_future(log.append(ROOM, b"x"))
        bad = [
            asyncio.ensure_future(log.trim(ROOM, "5")),  # type: ignore[arg-type]
            asyncio.ensure_future(log.update_session("a", 1, leave=[Stream("n", "\ud800")])),
            asyncio.ensure_future(log.put_session(Session("a", b"", 1, b"", 1, {ROOM: Position(1, 1 << 63)}), None)),
            asyncio.ensure_future(log.trim(Stream("n", "\ud800"), 1)),
            asyncio.ensure_future(log.drop(Stream("n", "\ud800"))),
            asyncio.ensure_future(log.drop(Stream("n", []))),  # type: ignore[arg-type]
            asyncio.ensure_future(log.drop_session("\ud800", 1)),
            asyncio.ensure_future(log.read(Stream("n", "\ud800"), 0)),
            asyncio.ensure_future(log.get_session("\ud800")),
            asyncio.ensure_future(log.received("\ud800")),
            asyncio.ensure_future(log.reply("a", 1 << 63)),
            asyncio.ensure_future(log.set_history("/a", History(age_ms=largest))),
        ]
        assert (await good).offset == 1
        found = await asyncio.gather(*bad, return_exceptions=True)
        assert all(isinstance(error, TypeError | ValueError) for error in found)
        page = await log.read(ROOM, largest)
        assert (page.events, page.trimmed, page.more) == ([], True, False)
        assert await log.trim(ROOM, largest) == 1
