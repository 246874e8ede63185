"""What is special about a log in memory: one bound for all its bytes, and timers only while something is due."""

from __future__ import annotations

import asyncio

import pytest

from tests.log.conftest import Clock
from transport import limits
from transport.log import Append, History, MemoryLog, Receipt, Session, Stream

pytestmark = pytest.mark.asyncio
COST = 100 + limits.LOG_EVENT_COST_BYTES
FOREVER = History(None, None, None)


async def test_the_oldest_of_all_streams_go_first(clock: Clock) -> None:
    streams = [Stream("/", name) for name in "abc"]
    async with MemoryLog(max_bytes=10 * COST, history=FOREVER, clock=clock) as log:
        for number in range(30):
            clock.now_ms += 1
            await log.append(streams[number % 3], bytes(100))
        assert (await log.statistics()).bytes == 10 * COST
        heads = [await log.head(stream) for stream in streams]
        assert sum(head.top - head.first + 1 for head in heads) == 10
        assert {head.first for head in heads} == {7, 8}
        await log.drop(streams[0])
        for _ in range(30):
            clock.now_ms += 1
            await log.append(streams[1], bytes(100))
        assert (await log.head(streams[2]))[1:] == (11, 10)
        assert (await log.head(streams[1]))[1:] == (31, 40)


async def test_one_event_over_the_bound_is_gone_at_once(clock: Clock) -> None:
    async with MemoryLog(max_bytes=50, history=FOREVER, clock=clock) as log:
        done = await log.append(Stream("/", "a"), bytes(100))
        assert await log.head(Stream("/", "a")) == (done.epoch, 2, 1)


async def test_memory_does_not_grow_with_what_is_gone(clock: Clock) -> None:
    """Streams that come and go, sessions that stay: the entries of what is due are as many as what there is."""
    async with MemoryLog(clock=clock, history=History(count=1, age_ms=5000, bytes=None)) as log:
        await log.put_session(Session("s", b"", 1, b"", clock.now_ms + 1000), None)
        for number in range(2000):
            clock.now_ms += 1
            await log.append(Stream("/", str(number % 300)), b"x")
            await log.drop(Stream("/", str((number * 7) % 300)))
            await log.append(Stream("/", str(number * 11 % 300)), b"x")
            await log.update_session("s", 1, expires_ms=clock.now_ms + 1000)
        for heap in (log._due, log._oldest, log._expiring):
            assert len(heap) <= 2 * 300 + 64 + 2


async def test_a_quiet_log_has_no_timer(clock: Clock) -> None:
    async with MemoryLog(clock=clock, history=FOREVER) as log:
        assert log._timer is None
        await log.append(Stream("/", "a"), b"x")
        assert log._timer is None


async def test_the_timer_is_that_of_what_is_due_first(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    async with MemoryLog(clock=clock, history=History(age_ms=600_000)) as log:
        await log.append(Stream("/", "a"), b"x")
        assert log._timer is not None
        assert 599 < log._timer.when() - loop.time() < 601
        await log.append(Stream("/", "a"), b"x", key="k")
        assert log._timer.when() - loop.time() < 121
        await log.put_session(Session("s", b"", 1, b"", clock.now_ms + 10_000), None)
        assert log._timer.when() - loop.time() < 11


async def test_pages_of_a_ring_that_has_moved(clock: Clock) -> None:
    stream = Stream("/", "a")
    async with MemoryLog(clock=clock, history=History(count=100)) as log:
        for number in range(50):
            await log.commit([Append(stream, b"%d" % (number * 10 + at)) for at in range(10)])
            head = await log.head(stream)
            page = await log.read(stream, head.first - 1)
            assert [int(event.payload) + 1 for event in page.events] == list(range(head.first, head.top + 1))


async def test_replies_of_all_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many clients that confirm nothing: the oldest replies go, whoever they belong to, and nothing else does."""
    monkeypatch.setattr(limits, "LOG_MEMORY_REPLY_BYTES", 10_000)
    async with MemoryLog() as log:
        far = 10**15
        for client in range(20):
            await log.put_session(Session(f"s{client}", b"", 1, b"", far), None)
            for number in range(1, 4):
                await log.commit((), Receipt(f"s{client}", 1, number, b"x" * 1000))
        assert log._replies.bytes == 10_000
        assert log._replies.count == 10
        assert await log.reply("s0", 1) is None
        assert (await log.received("s0")).contiguous == 3
        assert await log.reply("s19", 3) == b"x" * 1000
        for number in range(4, 500):
            await log.commit((), Receipt("s19", 1, number, b"y", confirmed=number - 1))
        assert len(log._replies._order) < 100
        for client in range(20):
            await log.drop_session(f"s{client}", 1)
        assert (log._replies.bytes, log._replies.count) == (0, 0)
