"""Sessions, fencing, and what clients' numbered messages led to, on each kind of log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.log.conftest import Clock
from transport import limits
from transport.log import (
    Append,
    Cause,
    Fenced,
    Log,
    LogLimit,
    Position,
    Receipt,
    Received,
    Session,
    Stream,
    UnknownStream,
)

pytestmark = pytest.mark.asyncio
Make = Callable[..., Log]
ROOM = Stream("/chat", "room:7")
OTHER = Stream("/chat", "room:8")
OWN = Stream("/chat", "s1", True)


def session(clock: Clock, generation: int = 1, name: str = "s1", streams: Mapping[Stream, Position] | None = None,
            life_ms: int = 60_000) -> Session:  # fmt: skip
    return Session(name, b"proof", generation, b"ann", clock.now_ms + life_ms, streams or {})


async def test_a_session_is_written_once_and_taken_over(make: Make, clock: Clock) -> None:
    first = session(clock, streams={ROOM: Position(2**64 - 1, 3), OWN: Position(1, 0)})
    async with make() as log:
        assert await log.get_session("s1") is None
        await log.put_session(first, None)
        assert await log.get_session("s1") == first
        with pytest.raises(Fenced) as caught:
            await log.put_session(first, None)
        assert (caught.value.session, caught.value.held, caught.value.generation) == ("s1", None, 1)
    async with make() as log:
        assert await log.get_session("s1") == first
        second = session(clock, 2)
        await log.put_session(second, 1)
        with pytest.raises(Fenced) as caught:
            await log.put_session(session(clock, 2), 1)
        assert caught.value.generation == 2
        assert await log.get_session("s1") == second
        with pytest.raises(Fenced, match="no such session"):
            await log.put_session(session(clock, 5, "s2"), 4)


async def test_only_one_of_many_takes_over(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        done = await asyncio.gather(*(log.put_session(session(clock, 2), 1) for _ in range(20)), return_exceptions=True)
        assert done.count(None) == 1
        assert sum(isinstance(each, Fenced) for each in done) == 19


async def test_an_older_generation_writes_nothing(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.put_session(session(clock, 2), 1)
        for call in (
            log.append(ROOM, b"x", cause=Cause("s1", 1, 1, 0)),
            log.commit([Append(ROOM, b"x")], Receipt("s1", 1, 1)),
            log.commit([Append(ROOM, b"x"), Append(ROOM, b"x", cause=Cause("s1", 1, 1, 0))], Receipt("s1", 2, 1)),
            log.update_session("s1", 1, join=[(ROOM, 0)]),
            log.drop_session("s1", 1),
            log.append(ROOM, b"x", cause=Cause("nobody", 1, 1, 0)),
        ):
            with pytest.raises(Fenced):
                await call
        with pytest.raises(UnknownStream):
            await log.head(ROOM, create=False)
        assert await log.received("s1") == Received()


async def test_joining_and_leaving(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        head = await log.head(ROOM)
        await log.update_session("s1", 1, join=[(ROOM, 0), (OTHER, 0)])
        found = await log.get_session("s1")
        assert found is not None
        other = await log.head(OTHER, create=False)
        assert found.streams == {ROOM: (head.epoch, 0), OTHER: (other.epoch, 0)}
        await log.update_session("s1", 1, join=[(ROOM, 5)], leave=[OTHER, OWN], identity=b"bob", expires_ms=2**62)
        found = await log.get_session("s1")
        assert found is not None
        assert found.streams == {ROOM: (head.epoch, 5)}
        assert (found.identity, found.expires_ms) == (b"bob", 2**62)


async def test_sessions_end_with_their_time(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.append(OWN, b"x", cause=Cause("s1", 1, 1, 0))
        await log.commit((), Receipt("s1", 1, 1, b"reply"))
        clock.now_ms += 60_000
        assert await log.get_session("s1") is None
        assert await log.sessions() == []
        assert await log.reply("s1", 1) is None
        assert await log.received("s1") == Received()
        with pytest.raises(Fenced, match="no such session"):
            await log.append(ROOM, b"x", cause=Cause("s1", 1, 2, 0))
        assert (await log.head(OWN)).top == 1
        await log.retain()
        assert (await log.statistics()).sessions == 0
        with pytest.raises(UnknownStream):
            await log.head(OWN, create=False)


async def test_a_session_in_the_place_of_one_that_ended_knows_nothing_of_it(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.commit([Append(OWN, b"x")], Receipt("s1", 1, 1, b"reply"))
        clock.now_ms += 60_000
        await log.put_session(session(clock), None)
        assert await log.received("s1") == Received()
        with pytest.raises(UnknownStream):
            await log.head(OWN, create=False)
        assert (await log.commit((), Receipt("s1", 1, 1, b"other"))).repeated is False
        assert await log.reply("s1", 1) == b"other"
        assert (await log.statistics()).sessions == 1


async def test_dropping_a_session(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.put_session(session(clock, name="s2"), None)
        await log.append(OWN, b"x")
        await log.append(ROOM, b"x")
        await log.drop_session("s1", 1)
        await log.drop_session("s1", 1)
        assert [each.id for each in await log.sessions()] == ["s2"]
        assert [info.stream for info in await log.streams()] == [ROOM]


async def test_a_message_is_handled_once(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        done = await log.commit([Append(ROOM, b"a"), Append(OTHER, b"b")], Receipt("s1", 1, 1, b"reply"))
        assert len(done.appended) == 2
        assert not done.repeated
    async with make() as log:
        await log.put_session(session(clock, 2), 1)
        again = await log.commit([Append(ROOM, b"a"), Append(OTHER, b"b")], Receipt("s1", 2, 1, b"another"))
        assert again == ((), True, b"reply")
        assert (await log.head(ROOM)).top == 1
        assert await log.received("s1") == Received(1, frozenset(), 1)
        assert await log.reply("s1", 1) == b"reply"
        assert await log.reply("s1", 2) is None
        assert (await log.commit((), Receipt("s1", 2, 2))).repeated is False
        assert await log.commit((), Receipt("s1", 2, 2)) == ((), True, None)


async def test_messages_out_of_order(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_BEYOND_MAX", 8)
    async with make() as log:
        await log.put_session(session(clock), None)
        for number in (3, 5, 2):
            await log.commit((), Receipt("s1", 1, number, b"%d" % number))
        assert await log.received("s1") == Received(0, frozenset({2, 3, 5}))
        with pytest.raises(LogLimit, match="ahead"):
            await log.commit([Append(ROOM, b"x")], Receipt("s1", 1, 9))
        await log.commit((), Receipt("s1", 1, 1))
        received = await log.received("s1")
        assert received == Received(3, frozenset({5}))
        assert [received.has(number) for number in range(1, 8)] == [True, True, True, False, True, False, False]
    async with make() as log:
        assert (await log.commit((), Receipt("s1", 1, 5))) == ((), True, b"5")
        await log.commit((), Receipt("s1", 1, 4))
        assert (await log.received("s1")).contiguous == 5


async def test_confirmed_replies_are_forgotten(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        for number in range(1, 6):
            await log.commit((), Receipt("s1", 1, number, b"%d" % number))
        await log.commit((), Receipt("s1", 1, 6, b"6", confirmed=4))
        assert [await log.reply("s1", number) for number in range(1, 7)] == [None] * 4 + [b"5", b"6"]
        assert await log.received("s1") == Received(6, frozenset(), 5)


async def test_replies_are_bounded(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_REPLIES_MAX", 3)
    monkeypatch.setattr(limits, "LOG_REPLIES_BYTES_MAX", 100)
    monkeypatch.setattr(limits, "LOG_REPLY_BYTES_MAX", 60)
    async with make() as log:
        await log.put_session(session(clock), None)
        for number in range(1, 6):
            await log.commit((), Receipt("s1", 1, number, b"%d" % number))
        assert [await log.reply("s1", number) for number in range(1, 6)] == [None, None, b"3", b"4", b"5"]
        await log.commit((), Receipt("s1", 1, 6, bytes(60)))
        await log.commit((), Receipt("s1", 1, 7, bytes(60)))
        assert await log.received("s1") == Received(7, frozenset(), 7)
        assert await log.commit((), Receipt("s1", 1, 6)) == ((), True, None)
        with pytest.raises(LogLimit, match="reply"):
            await log.commit([Append(ROOM, b"x")], Receipt("s1", 1, 8, bytes(61)))


async def test_an_effect_happens_once(make: Make, clock: Clock) -> None:
    """A handler that died half-way runs again: what it had appended is not appended again."""
    heard: list[object] = []
    async with make() as log:
        await log.put_session(session(clock), None)
        first = await log.append(ROOM, b"a", cause=Cause("s1", 1, 1, 0))
    async with make() as log:
        await log.watch(ROOM, lambda *told: heard.append(told))
        await log.put_session(session(clock, 2), 1)
        again = await log.append(ROOM, b"a", cause=Cause("s1", 2, 1, 0))
        assert again == (*first[:3], True)
        assert not heard
        second = await log.append(ROOM, b"b", cause=Cause("s1", 2, 1, 1))
        assert second.offset == 2
        assert (await log.append(ROOM, b"c", cause=Cause("s1", 2, 2, 0))).offset == 3
        await log.commit((), Receipt("s1", 2, 1, b"done"))
        assert (await log.append(ROOM, b"c", cause=Cause("s1", 2, 2, 0))).offset == 3
        late = await log.append(ROOM, b"late", cause=Cause("s1", 2, 1, 2))  # of a task that outlived its handler
        assert late == (first.epoch, 4, 3, False)


async def test_effects_are_bounded(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_CAUSES_MAX", 4)
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.commit([Append(ROOM, b"x", cause=Cause("s1", 1, 1, step)) for step in range(3)])
        with pytest.raises(LogLimit, match="effects"):
            await log.commit([Append(ROOM, b"x", cause=Cause("s1", 1, 2, step)) for step in range(2)])
        await log.append(ROOM, b"x", cause=Cause("s1", 1, 2, 0))
        await log.commit((), Receipt("s1", 1, 1))
        await log.append(ROOM, b"x", cause=Cause("s1", 1, 2, 1))
        assert (await log.head(ROOM)).top == 5


async def test_sessions_are_bounded(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_SESSIONS_MAX", 2)
    monkeypatch.setattr(limits, "LOG_SESSION_STREAMS_MAX", 2)
    async with make() as log:
        await log.put_session(session(clock), None)
        await log.put_session(session(clock, name="s2", life_ms=1000), None)
        with pytest.raises(LogLimit, match="sessions"):
            await log.put_session(session(clock, name="s3"), None)
        await log.update_session("s1", 1, join=[(ROOM, 0), (OTHER, 0)])
        with pytest.raises(LogLimit, match="streams of one session"):
            await log.update_session("s1", 1, join=[(OWN, 0)])
        await log.update_session("s1", 1, join=[(OWN, 0)], leave=[ROOM])
        with pytest.raises(LogLimit, match="streams of one session"):
            await log.put_session(session(clock, 2, streams=dict.fromkeys((ROOM, OTHER, OWN), Position(1, 1))), 1)
        clock.now_ms += 1000
        await log.put_session(session(clock, name="s2"), None)  # in the place of the one that is over
        with pytest.raises(LogLimit, match="identity"):
            await log.update_session("s1", 1, identity=bytes(limits.LOG_SESSION_BYTES_MAX + 1))
        with pytest.raises(LogLimit, match="proof"):
            await log.put_session(Session("s1", bytes(limits.LOG_PROOF_BYTES_MAX + 1), 2, b"", 1), 1)


async def test_sessions_are_listed_in_order(make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_LIST_MAX", 2)
    async with make() as log:
        for name in ("c", "a", "d", "b"):
            await log.put_session(session(clock, name=name), None)
        assert [each.id for each in await log.sessions(count=100)] == ["a", "b"]
        assert [each.id for each in await log.sessions(after="b")] == ["c", "d"]


async def test_numbers_are_checked(make: Make, clock: Clock) -> None:
    async with make() as log:
        await log.put_session(session(clock), None)
        for call in (
            log.commit((), Receipt("s1", 1, 0)), log.commit((), Receipt("s1", 1, 2**63)),
            log.append(ROOM, b"", cause=Cause("s1", 1, 1, -1)), log.update_session("s1", 1, join=[(ROOM, -1)]),
            log.update_session("s1", 1, expires_ms=-1),
        ):  # fmt: skip
            with pytest.raises(ValueError, match="is not from"):
                await call
