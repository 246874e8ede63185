"""Where a client that comes back, the program's own calls and the log cross each other's way at the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from transport import limits
from transport.events import envelope, parse
from transport.events.testing import Kit
from transport.log.records import Stream as Name


async def heard(raw: Raw, kind: type) -> Any:
    """The next frame of a kind."""
    while True:
        frame = parse.parse(await raw.conn.recv(), parse.FROM_SERVER)
        if isinstance(frame, kind):
            return frame


# A stream that begins anew


@pytest.mark.parametrize("says", ["continue", "pause"])
def test_a_client_that_speaks_of_a_stream_that_has_begun_anew(says: str) -> None:
    """What it says is about the old one, whose new one it has not been told of: nothing reads the old one for ever."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        answer = asyncio.Event()

        async def may(ctx: Any, room: str) -> bool:
            if room == "slow":
                await answer.wait()
            return True

        namespace.authorize_room(may)
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(envelope.join(1, "r", "now"))
        joined = await heard(raw, envelope.Joined)
        await raw.conn.send(envelope.pause(joined.alias))
        await kit.advance(1)
        await namespace.to("r").emit("missed")
        await raw.conn.send(envelope.join(2, "slow", "now"))
        await kit.advance(1)
        await kit.lose("r")
        await namespace.to("r").emit("first")
        frame = envelope.go_on(joined.alias, 0) if says == "continue" else envelope.pause(joined.alias)
        await raw.conn.send(frame)
        reads = 0
        log: Any = kit.app.log
        original = log.read

        async def read(*arguments: Any, **bounds: Any) -> Any:
            nonlocal reads
            reads += 1
            assert reads < 100, "the log is read again and again for a stream that nobody is in"
            return await original(*arguments, **bounds)

        log.read = read
        await kit.advance(1)
        answer.set()
        assert (await heard(raw, envelope.Joined)).room == "slow"
        anew = await heard(raw, envelope.Joined)
        assert (anew.room, anew.epoch == joined.epoch) == ("r", False)
        assert (await heard(raw, envelope.Gap)).alias == anew.alias
        await namespace.to("r").emit("second")
        assert (await heard(raw, envelope.Event)).name == "second"

    run(scenario)


# A log that is slow for a while


class Stalled:
    """A log's writes of sessions wait until it goes on, and are then done in order, whether or not anybody waits.

    As of a file on a disk that stands still; reads go on meanwhile.
    """

    def __init__(self, log: Any, name: str) -> None:
        self._write = getattr(log, name)
        self._gate = asyncio.Event()
        self._lock = asyncio.Lock()
        self.waiting = 0
        setattr(log, name, self)

    async def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.waiting += 1
        return await asyncio.shield(asyncio.ensure_future(self._later(arguments, more)))

    async def _later(self, arguments: Any, more: Any) -> Any:
        async with self._lock:
            await self._gate.wait()
            return await self._write(*arguments, **more)

    def go_on(self) -> None:
        self._gate.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_whose_earlier_tries_wait_in_the_log() -> None:
    """They were given up, and are written all the same: it is no other client that they have made way for."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client(connect_timeout=2)
        stalled = Stalled(kit.app.log, "put_session")
        kit.drop(client)
        await kit.advance(5)
        assert stalled.waiting >= 2
        stalled.go_on()
        await kit.advance(20)
        assert not client.closed
        assert await client.call("x", 7, timeout=5) == 7

    run(scenario)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_at_work_while_a_try_is_given_up() -> None:
    """The log has a newer generation by then, of a connection that never was: the handler's end counts all the same."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        runs: list[int] = []
        gate = asyncio.Event()

        async def work(ctx: Any, data: int) -> None:
            runs.append(data)
            await gate.wait()
            await namespace.to("r").emit("done", data)

        namespace.on("x", work)
        client = await kit.client()
        await client.emit("x", 1)
        await kit.advance(1)
        stalled = Stalled(kit.app.log, "put_session")
        kit.drop(client)
        await kit.advance(1)
        assert stalled.waiting == 1
        client.url = "memory://nobody-is-there"
        kit.drop(client)
        await kit.advance(1)
        stalled.go_on()
        await kit.advance(1)
        gate.set()
        await kit.advance(1)
        kit.heal(client)
        await client.flush()
        assert runs == [1]
        assert (await kit.app.log.head(Name("/", "r"))).top == 1

    run(scenario)


# The program puts a client into a room while that comes back


def slowed(log: Any, name: str, seconds: float) -> None:
    """One of a log's calls about the room "r" takes a while."""
    original = getattr(log, name)

    async def slow(*arguments: Any, **more: Any) -> Any:
        if Name("/", "r") in (*arguments, *[stream for stream, _ in more.get("join", ())]):
            await asyncio.sleep(seconds)
        return await original(*arguments, **more)

    setattr(log, name, slow)


@pytest.mark.parametrize("call", ["head", "update_session"])
@pytest.mark.parametrize("away", [False, True])
def test_put_into_a_room_while_it_comes_back(call: str, away: bool) -> None:
    """The program's call succeeds, and whatever connection the client has by then is in the room."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.event))
        namespace.authorize_room(lambda ctx, room: True)
        (ctx,) = namespace.contexts()
        if away:
            kit.partition(client)
            await kit.advance(60)
        slowed(kit.app.log, call, 3)
        joining = asyncio.create_task(ctx.join("r"))
        await kit.advance(1)
        if away:
            kit.heal(client)
        else:
            kit.drop(client)
        await kit.advance(1)
        assert ctx.connected
        assert (await joining).offset == 0
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        assert (ctx.rooms, got) == (["r"], [1])
        assert namespace.to("r").members == [ctx]
        kit.drop(client)
        await kit.advance(5)
        await namespace.to("r").emit("x", 2)
        await kit.advance(1)
        assert got == [1, 2]

    run(scenario)


def test_put_into_a_room_twice_at_once() -> None:
    """Both begin at one place: nothing that was emitted between them is passed over."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        (ctx,) = namespace.contexts()
        slowed(kit.app.log, "update_session", 3)
        first = asyncio.create_task(ctx.join("r"))
        await kit.advance(1)
        await namespace.to("r").emit("x", 1)
        second = asyncio.create_task(ctx.join("r"))
        assert (await first).offset == 0
        await namespace.to("r").emit("x", 2)
        assert (await second).epoch == (await first).epoch
        joined = await heard(raw, envelope.Joined)
        assert joined.since == 0
        assert [(await heard(raw, envelope.Event)).offset for _ in range(2)] == [1, 2]
        record = await kit.app.log.get_session(ctx.id)
        assert record.streams[Name("/", "r")].offset == 0

    run(scenario)


def test_put_into_a_room_that_it_is_about_to_say_it_was_in() -> None:
    """A server that has forgotten the session: the client goes on where it says, and gets what it missed."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        gaps: list[str] = []
        client.on("x", lambda m: got.append(m.event))
        client.on_gap(lambda m: gaps.append(m.room) if m.room else None)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        kit.partition(client)
        (ctx,) = namespace.contexts()
        await kit.advance(1)
        await namespace.to("r").emit("x", 2)
        await kit.app.log.drop_session(ctx.id, 1)
        asked = asyncio.Event()

        async def may(ctx: Any, room: str) -> bool:
            asked.set()
            await asyncio.sleep(3)
            return True

        namespace.authorize_room(may)
        kit.heal(client)
        await asked.wait()
        (ctx,) = namespace.contexts()
        await ctx.join("r")
        await namespace.to("r").emit("x", 3)
        await kit.advance(10)
        await namespace.to("r").emit("x", 4)
        await kit.advance(1)
        assert (got, gaps) == ([1, 2, 3, 4], [])
        assert client.reconnects == 1

    run(scenario)


def test_more_rooms_than_may_be_after_it_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program has put it out of one and into another, of which it does not know: one room is denied, no more."""
    monkeypatch.setattr(limits, "EVENTS_ROOMS_MAX", 3)
    monkeypatch.setattr(limits, "LOG_SESSION_STREAMS_MAX", 3)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[str] = []
        gaps: list[tuple[str, str]] = []
        client.on("x", lambda m: got.append(m.room))
        client.on_gap(lambda m: gaps.append((m.room, m.gap.reason)))
        namespace.authorize_room(lambda ctx, room: True)
        for room in ("a", "b", "c"):
            await client.join(room)
        (ctx,) = namespace.contexts()
        kit.partition(client)
        await kit.advance(60)
        await ctx.leave("a")
        await ctx.join("d")
        kit.heal(client)
        await kit.advance(5)
        assert gaps == [("a", "denied")]
        for room in ("a", "b", "c", "d"):
            await namespace.to(room).emit("x")
        await kit.advance(1)
        assert got == ["b", "c", "d"]

    run(scenario)
