"""What every log promises, asked of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.log.conftest import Clock
from transport import limits
from transport.log import (
    Append,
    Event,
    History,
    Log,
    LogClosed,
    LogLimit,
    Position,
    Stream,
    UnknownStream,
)

pytestmark = pytest.mark.asyncio
Make = Callable[..., Log]
ROOM = Stream("/chat", "room:7")
OTHER = Stream("/chat", "room:8")
OWN = Stream("/chat", "s1", True)


async def everything(log: Log, stream: Stream, after: int = 0) -> list[Event]:
    """All pages of a stream."""
    found: list[Event] = []
    while True:
        page = await log.read(stream, after, count=3)
        found += page.events
        if not page.more:
            return found
        after = page.events[-1].offset


async def settle(log: Log) -> int:
    """Retention until nothing is due."""
    total = 0
    while gone := await log.retain():
        total += gone
    return total


# Appending and reading


async def test_offsets_are_contiguous_from_one(make: Make) -> None:
    async with make() as log:
        done = [await log.append(ROOM, b"%d" % number) for number in range(5)]
        assert [each.offset for each in done] == [1, 2, 3, 4, 5]
        assert [each.previous for each in done] == [0, 1, 2, 3, 4]
        assert len({each.epoch for each in done}) == 1
        assert done[0].epoch
        assert done[2].position == Position(done[0].epoch, 3)
        assert (await log.append(OTHER, b"x")).offset == 1
        assert await log.head(ROOM) == (done[0].epoch, 1, 5)


async def test_what_was_written_is_read(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.append(ROOM, b"one")
        clock.now_ms += 5
        await log.append(ROOM, b"", skip=["s1", "ß2"])
        page = await log.read(ROOM, 0)
        assert page.events == [
            Event(1, 0, clock.now_ms - 5, b"one", ()), Event(2, 1, clock.now_ms, b"", ("s1", "ß2"))
        ]  # fmt: skip
        assert not page.trimmed
        assert not page.more
        assert page.head == await log.head(ROOM)
        assert (await log.read(ROOM, 1)).events == page.events[1:]
        assert (await log.read(ROOM, 2)).events == []


async def test_streams_are_told_apart(make: Make) -> None:
    names = [ROOM, OTHER, Stream("/chat"), Stream("/news", "room:7"), OWN, Stream("/chat", "s1")]
    async with make() as log:
        for number, stream in enumerate(names):
            await log.append(stream, b"%d" % number)
        for number, stream in enumerate(names):
            assert [event.payload for event in await everything(log, stream)] == [b"%d" % number]
        assert len({(await log.head(stream)).epoch for stream in names}) == len(names)


async def test_tasks_that_append_at_once_keep_their_order(make: Make) -> None:
    async with make() as log:
        done = await asyncio.gather(*(log.append(ROOM, b"%d" % number) for number in range(200)))
        assert [each.offset for each in done] == list(range(1, 201))
        assert [int(event.payload) for event in await everything(log, ROOM)] == list(range(200))


async def test_a_batch_is_one(make: Make) -> None:
    async with make() as log:
        done = await log.commit([Append(ROOM, b"a"), Append(OTHER, b"b"), Append(ROOM, b"c")])
        assert [each.offset for each in done.appended] == [1, 1, 2]
        with pytest.raises(LogLimit, match="payload"):
            await log.commit([Append(ROOM, b"d"), Append(ROOM, bytes(limits.LOG_PAYLOAD_BYTES_MAX + 1))])
        assert (await log.head(ROOM)).top == 2
        assert await log.commit() == ((), False, None)


async def test_pages_are_bounded_by_count_and_bytes(make: Make) -> None:
    async with make() as log:
        await log.commit([Append(ROOM, bytes(10)) for _ in range(20)])
        page = await log.read(ROOM, 5, count=4)
        assert [event.offset for event in page.events] == [6, 7, 8, 9]
        assert page.more
        page = await log.read(ROOM, 0, bytes=35)
        assert len(page.events) == 3
        assert page.more
        page = await log.read(ROOM, 0, bytes=0)  # never nothing, or a reader would stand still
        assert len(page.events) == 1
        page = await log.read(ROOM, 16)
        assert len(page.events) == 4
        assert not page.more


async def test_page_limits(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_PAGE_EVENTS_MAX", 7)
    async with make() as log:
        await log.commit([Append(ROOM, bytes(10)) for _ in range(20)])
        assert len((await log.read(ROOM, 0, count=1000)).events) == 7
        monkeypatch.setattr(limits, "LOG_PAGE_BYTES_MAX", 50)
        assert len((await log.read(ROOM, 0, bytes=1_000_000)).events) == 5


async def test_a_joiner_without_events_has_a_position_that_lasts(make: Make) -> None:
    async with make() as log:
        head = await log.head(ROOM)
        assert head[1:] == (1, 0)
    async with make() as log:
        assert (await log.append(ROOM, b"x")).epoch == head.epoch
        assert [event.offset for event in await everything(log, ROOM)] == [1]


async def test_unknown_streams(make: Make) -> None:
    async with make() as log:
        for call in (log.head(ROOM, create=False), log.read(ROOM, 0), log.trim(ROOM, 1)):
            with pytest.raises(UnknownStream, match="/chat #room:7"):
                await call
        assert not await log.drop(ROOM)


async def test_what_is_above_the_top_was_lost(make: Make) -> None:
    """No cursor of this epoch can be there; whoever has one must hear of a gap."""
    async with make() as log:
        await log.append(ROOM, b"x")
        page = await log.read(ROOM, 5)
        assert page.trimmed
        assert page.events == []


async def test_content_outlives_close(make: Make) -> None:
    async with make() as log:
        first = await log.append(ROOM, b"one")
        secret = await log.secret()
    async with make() as log:
        second = await log.append(ROOM, b"two")
        assert second.position == (first.epoch, 2)
        assert [event.payload for event in await everything(log, ROOM)] == [b"one", b"two"]
        assert await log.secret() == secret


async def test_secrets(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_SECRETS_MAX", 2)
    async with make() as log:
        cursor = await log.secret()
        assert len(cursor) == 32
        assert await log.secret("cursor") == cursor
        assert await log.secret("other") != cursor
        with pytest.raises(LogLimit, match="secrets"):
            await log.secret("third")


async def test_closed(make: Make) -> None:
    log = make()
    with pytest.raises(LogClosed):
        await log.append(ROOM, b"x")
    async with log:
        with pytest.raises(RuntimeError, match="open already"):
            await log.open()
        await log.append(ROOM, b"x")
    for call in (
        log.append(ROOM, b"x"), log.read(ROOM, 0), log.head(ROOM), log.statistics(), log.flush(), log.received("a"),
        log.watch(ROOM, lambda *_: None),
    ):  # fmt: skip
        with pytest.raises(LogClosed):
            await call
    await log.close()


async def test_close_writes_what_was_begun(make: Make) -> None:
    log = make()
    await log.open()
    tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(50)]
    await asyncio.sleep(0)
    await log.close()
    assert [each.offset for each in await asyncio.gather(*tasks)] == list(range(1, 51))
    async with make() as again:
        assert (await again.head(ROOM)).top == 50


async def test_flush_waits_for_what_was_begun(make: Make) -> None:
    async with make() as log:
        tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(50)]
        await asyncio.sleep(0)
        await log.flush()
        assert (await log.read(ROOM, 0)).head.top == 50
        await asyncio.gather(*tasks)


async def test_a_cancelled_append_harms_nobody(make: Make) -> None:
    async with make() as log:
        tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        offsets = [each.offset for each in done if not isinstance(each, BaseException)]
        assert offsets == sorted(offsets)
        top = (await log.append(ROOM, b"y")).offset
        assert [event.offset for event in await everything(log, ROOM)] == list(range(1, top + 1))


# Watching


async def test_watchers_hear_in_order_before_the_caller(make: Make) -> None:
    heard: list[Any] = []

    def watcher(stream: Stream, epoch: int, events: Any) -> None:
        heard.extend((stream, epoch, event.offset, event.payload, event.skip) for event in events)

    async with make() as log:
        await log.append(ROOM, b"before")
        watch = await log.watch(ROOM, watcher)
        done = await log.append(ROOM, b"one", skip=("s1",))
        assert heard == [(ROOM, done.epoch, 2, b"one", ("s1",))]
        heard.clear()
        tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(100)]
        for task in tasks:
            offset = (await task).offset
            assert offset in [each[2] for each in heard]
        assert [each[2] for each in heard] == list(range(3, 103))
        await log.append(OTHER, b"not this")
        watch.close()
        watch.close()
        await log.append(ROOM, b"nor this")
        assert len(heard) == 100


async def test_a_watcher_that_raises_stops_nothing(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    heard = []

    def bad(*_: object) -> None:
        raise ZeroDivisionError

    async with make() as log:
        first = await log.watch(ROOM, bad)
        closing: list[Any] = []

        def closes(*_: object) -> None:
            heard.append(1)
            closing[0].close()

        await log.watch(ROOM, closes)
        closing.append(await log.watch(ROOM, lambda *_: heard.append(2)))
        await log.append(ROOM, b"x")
        assert heard == [1]
        first.close()
    assert "ZeroDivisionError" in caplog.text


async def test_watches_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_WATCHES_MAX", 2)
    async with make() as log:
        watch = await log.watch(ROOM, lambda *_: None)
        await log.watch(OTHER, lambda *_: None)
        with pytest.raises(LogLimit, match="watches"):
            await log.watch(ROOM, lambda *_: None)
        watch.close()
        await log.watch(ROOM, lambda *_: None)


# Keys


async def test_a_key_is_an_append_once(make: Make, clock: Clock) -> None:
    heard: list[Event] = []
    async with make(key_window_ms=1000) as log:
        await log.watch(ROOM, lambda stream, epoch, events: heard.extend(events))
        first = await log.append(ROOM, b"x", key="k")
        again = await log.append(ROOM, b"y", key="k")
        assert again.repeated
        assert not first.repeated
        assert again.position == first.position
        assert not (await log.append(OTHER, b"x", key="k")).repeated
        both = await log.commit([Append(ROOM, b"a", key="j"), Append(ROOM, b"b", key="j")])
        assert [each.repeated for each in both.appended] == [False, True]
        assert [event.payload for event in heard] == [b"x", b"a"]
        clock.now_ms += 1000
        later = await log.append(ROOM, b"z", key="k")
        assert not later.repeated
        assert later.offset == 3
        assert (await log.append(ROOM, b"z", key="k")).offset == 3
        assert (await log.statistics()).repeated == 3


async def test_keys_outlive_the_process(make: Make) -> None:
    async with make() as log:
        first = await log.append(ROOM, b"x", key="k")
    async with make() as log:
        assert (await log.append(ROOM, b"x", key="k")) == (*first[:3], True)


async def test_keys_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(limits, "LOG_KEYS_MAX", 3)
    async with make() as log:
        for number in range(5):
            clock.now_ms += 1
            await log.append(ROOM, b"x", key=f"k{number}")
        assert [(await log.append(ROOM, b"x", key=f"k{number}")).repeated for number in (4, 3, 2)] == [True] * 3
        assert not (await log.append(ROOM, b"x", key="k0")).repeated


# Epochs


async def test_a_dropped_stream_begins_anew(make: Make) -> None:
    async with make() as log:
        first = await log.append(ROOM, b"x", key="k")
        assert await log.drop(ROOM)
        with pytest.raises(UnknownStream):
            await log.read(ROOM, 0)
        again = await log.append(ROOM, b"y", key="k")
        assert again.offset == 1
        assert not again.repeated
        assert again.epoch != first.epoch
        assert [event.payload for event in await everything(log, ROOM)] == [b"y"]
        await settle(log)
        assert [event.payload for event in await everything(log, ROOM)] == [b"y"]
        stats = await log.statistics()
        assert (stats.streams, stats.events) == (1, 1)


async def test_renew(make: Make) -> None:
    async with make() as log:
        first = await log.append(ROOM, b"x", key="k")
        await log.renew()
        head = await log.head(ROOM)
        assert head.epoch != first.epoch
        assert head[1:] == (1, 1)
        again = await log.append(ROOM, b"y", key="k")
        assert again == (head.epoch, 2, 1, False)


# What is kept


async def test_history_by_count(make: Make) -> None:
    async with make(history=History(count=10, age_ms=None, bytes=None)) as log:
        for _ in range(10):
            await log.commit([Append(ROOM, b"x") for _ in range(5)])
        await settle(log)
        head = await log.head(ROOM)
        assert head[1:] == (41, 50)
        page = await log.read(ROOM, 0)
        assert page.trimmed
        assert [event.offset for event in page.events] == list(range(41, 51))
        assert not (await log.read(ROOM, 40)).trimmed
        assert (await log.statistics()).trimmed == 40


async def test_history_by_bytes(make: Make) -> None:
    cost = 100 + limits.LOG_EVENT_COST_BYTES + 4
    async with make(history=History(count=None, age_ms=None, bytes=10 * cost)) as log:
        for _ in range(25):
            await log.append(ROOM, bytes(100), skip=("s1", "ßß"))
        await settle(log)
        assert (await log.head(ROOM)).first == 16
        (info,) = await log.streams()
        assert info.bytes == 10 * cost
        assert info.events == 10


async def test_history_by_age(make: Make, clock: Clock) -> None:
    async with make(history=History(count=None, age_ms=1000, bytes=None)) as log:
        for _ in range(10):
            await log.append(ROOM, b"x")
            clock.now_ms += 100
        await settle(log)
        assert (await log.head(ROOM)).first == 2
        clock.now_ms += 400
        await settle(log)
        assert (await log.head(ROOM)).first == 6
        clock.now_ms += 10_000
        await settle(log)
        assert (await log.head(ROOM))[1:] == (11, 10)
        assert (await log.append(ROOM, b"y")).offset == 11
        assert [event.payload for event in await everything(log, ROOM)] == [b"y"]


async def test_bounds_of_namespaces_and_streams(make: Make) -> None:
    small, news = History(count=2), Stream("/news", "a")
    async with make(history=History(count=4)) as log:
        await log.set_history("/news", History(count=3))
        await log.set_history(OTHER, small)
        for stream in (ROOM, OTHER, news):
            await log.commit([Append(stream, b"x") for _ in range(9)])
        await settle(log)
        assert [(await log.head(stream)).first for stream in (ROOM, OTHER, news)] == [6, 8, 7]
    async with make(history=History(count=4)) as log:
        await log.set_history("/news", History(count=3))
        assert {info.stream: info.history.count for info in await log.streams()} == {ROOM: 4, OTHER: 2, news: 3}
        await log.set_history("/news", History(count=1))
        await log.set_history(ROOM, History(count=0))
        await settle(log)
        assert [(await log.head(stream)).first for stream in (ROOM, OTHER, news)] == [10, 8, 9]


async def test_namespaces_with_bounds_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_NAMESPACES_MAX", 1)
    async with make() as log:
        await log.set_history("/a", History(count=1))
        await log.set_history("/a", History(count=2))
        with pytest.raises(LogLimit, match="namespaces"):
            await log.set_history("/b", History(count=1))


async def test_trim(make: Make) -> None:
    async with make() as log:
        await log.commit([Append(ROOM, b"%d" % number) for number in range(10)])
        assert await log.trim(ROOM, 4) == 3
        assert await log.trim(ROOM, 4) == 0
        assert [event.offset for event in await everything(log, ROOM)] == [4, 5, 6, 7, 8, 9, 10]
        assert (await log.read(ROOM, 2)).trimmed
        assert not (await log.read(ROOM, 3)).trimmed
        await settle(log)
        assert [event.offset for event in await everything(log, ROOM)] == [4, 5, 6, 7, 8, 9, 10]
        assert await log.trim(ROOM, 1_000_000) == 7
        assert (await log.head(ROOM))[1:] == (11, 10)
        assert (await log.append(ROOM, b"x")).offset == 11
        await settle(log)
        assert [event.offset for event in await everything(log, ROOM)] == [11]


async def test_a_step_of_retention_is_bounded(make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(limits, "LOG_RETAIN_EVENTS", 64)
    monkeypatch.setattr(limits, "LOG_RETAIN_S", 3600.0)
    async with make(history=History(count=None, age_ms=1000, bytes=None)) as log:
        await log.commit([Append(ROOM, b"x") for _ in range(200)])
        clock.now_ms += 2000
        steps = []
        while gone := await log.retain():
            steps.append(gone)
        assert (await log.statistics()).trimmed == 200  # the log may have taken steps of its own
        assert max(steps, default=0) <= 64
        assert (await log.head(ROOM))[1:] == (201, 200)


async def test_streams_that_nobody_uses_are_forgotten(make: Make, clock: Clock) -> None:
    async with make(forget_ms=1000) as log:
        for stream in (ROOM, OTHER, OWN):
            await log.head(stream)
        await log.append(OWN, b"x")
        await log.watch(OTHER, lambda *_: None)
        clock.now_ms += 1000
        await settle(log)
        await settle(log)
        assert [info.stream for info in await log.streams()] == [OTHER, OWN]
        with pytest.raises(UnknownStream):
            await log.head(ROOM, create=False)


async def test_retention_runs_by_itself(make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(limits, "LOG_RETAIN_S", 0.01)
    async with make(history=History(count=None, age_ms=20, bytes=None)) as log:
        await log.append(ROOM, b"x")
        clock.now_ms += 20
        while (await log.head(ROOM)).first == 1:
            await asyncio.sleep(0.005)


# Bounds on what is taken


async def test_streams_are_bounded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_STREAMS_MAX", 2)
    async with make() as log:
        await log.append(ROOM, b"x")
        with pytest.raises(LogLimit, match="streams"):
            await log.commit([Append(ROOM, b"y"), Append(OTHER, b"x"), Append(OWN, b"x")])
        await log.append(OTHER, b"x")
        for call in (log.head(OWN), log.append(OWN, b"x"), log.set_history(OWN, History())):
            with pytest.raises(LogLimit, match="streams"):
                await call
        assert (await log.head(ROOM)).top == 1
        await log.drop(OTHER)
        assert (await log.append(OWN, b"x")).offset == 1


async def test_names_and_payloads(make: Make) -> None:
    async with make() as log:
        long = "é" * (limits.LOG_NAME_BYTES_MAX // 2 + 1)
        for call in (
            log.append(Stream("/" + long), b""), log.append(ROOM, b"", key=long), log.append(ROOM, b"", skip=(long,)),
            log.append(ROOM, b"", skip=["s"] * (limits.LOG_SKIP_MAX + 1)), log.secret(long),
            log.commit([Append(ROOM, b"")] * (limits.LOG_BATCH_EVENTS_MAX + 1)),
            log.commit([Append(ROOM, bytes(limits.LOG_PAYLOAD_BYTES_MAX))] * 3),
        ):  # fmt: skip
            with pytest.raises(LogLimit) as caught:
                await call
            assert caught.value.size > caught.value.limit
        for name in ("a\nb", "a\0", "\ud800"):
            with pytest.raises(ValueError, match="printed"):
                await log.append(Stream("/", name), b"")
            with pytest.raises(ValueError, match="printed"):
                await log.append(ROOM, b"", skip=(name,))
        with pytest.raises(ValueError, match="empty"):
            await log.append(Stream(""), b"")
        with pytest.raises(ValueError, match="empty"):
            await log.append(Stream("/", "", True), b"")
        with pytest.raises(TypeError, match="bytes"):
            await log.append(ROOM, "text")
        with pytest.raises(TypeError, match="string"):
            await log.append(Stream(7), b"")
        with pytest.raises(ValueError, match="after"):
            await log.read(ROOM, -1)


# Inspection


async def test_lists_are_paged_in_order(make: Make, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr(limits, "LOG_LIST_MAX", 4)
    names = sorted(Stream(namespace, room, private) for namespace in ("/a", "/b") for room in ("x", "y", "z")
                   for private in (False, True))  # fmt: skip
    async with make() as log:
        for stream in reversed(names):
            await log.append(stream, b"abc")
        found = []
        while page := await log.streams(after=found[-1].stream if found else None, count=1000):
            assert len(page) <= 4
            found += page
        assert [info.stream for info in found] == names
        assert [info.stream for info in await log.streams(namespace="/b", private=True)] == [
            stream for stream in names if stream.namespace == "/b" and stream.private
        ]
        info = found[0]
        assert (info.events, info.bytes, info.last_ms) == (1, 3 + limits.LOG_EVENT_COST_BYTES, clock.now_ms)
        assert info.head == await log.head(names[0])
        assert info.history == History()


async def test_statistics(make: Make) -> None:
    async with make() as log:
        await log.commit([Append(ROOM, b"abc"), Append(OTHER, b"de")])
        await log.append(ROOM, b"f")
        await everything(log, ROOM)
        stats = await log.statistics()
        assert stats.durability == log.durability
        assert (stats.streams, stats.sessions, stats.events) == (2, 0, 3)
        assert (stats.appended, stats.appended_bytes, stats.commits) == (3, 6, 2)
        assert stats.commit_events_max == 2
        assert (stats.reads, stats.read_events) == (1, 2)
        assert stats.bytes > 0
        assert stats.failed == stats.waiting == 0
