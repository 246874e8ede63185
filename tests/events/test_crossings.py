"""Where a client that comes back, the program's own calls and the log cross each other's way at the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from transport import CloseCode, limits
from transport.events import Events, envelope, parse
from transport.events.testing import Kit
from transport.log.errors import LogCorrupt, LogFull
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


def test_put_into_a_room_that_it_has_asked_for_itself() -> None:
    """After a restart the log says only that it is in there: it may come back all the same."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.join("r")
        await kit.restart()
        await kit.advance(5)
        (ctx,) = namespace.contexts()
        await ctx.join("r")
        await kit.advance(1)
        kit.drop(client)
        await kit.advance(5)
        assert namespace.to("r").members == [ctx]

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


# What is left when somebody does not come


def test_who_is_present_after_a_try_that_was_given_up() -> None:
    """It does not count as a return: nobody stays present for ever."""
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        ann, bob = await kit.client(), await kit.client()
        await ann.join("r")
        await bob.join("r")
        left: list[str] = []
        ann.on("leave", lambda m: left.append(m.event["id"]))
        assert len(await ann.presence("r")) == 2
        stalled = Stalled(app.log, "put_session")
        kit.drop(bob)
        await kit.advance(1)
        assert stalled.waiting == 1
        bob.url = "memory://nobody-is-there"
        kit.drop(bob)
        await kit.advance(1)
        stalled.go_on()
        await kit.advance(limits.EVENTS_PRESENCE_S + 1)
        assert [one["id"] for one in await ann.presence("r")] == [ann.machine.session]
        assert left == [bob.machine.session]
        assert list(namespace.present["r"]) == [ann.machine.session]

    run(scenario, app)


def test_who_is_present_where_the_log_does_not_take_it() -> None:
    """The list is right; that nobody hears of the change is counted."""
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()

        async def fails(*arguments: Any, **more: Any) -> Any:
            raise LogFull("as the test says")

        kit.app.log.append = fails  # type: ignore[method-assign]
        await client.join("r")
        assert [one["id"] for one in await client.presence("r")] == [client.machine.session]
        assert kit.app.statistics()["presence_lost"] == 1

    run(scenario, app)


@pytest.mark.parametrize("opened", [False, True])
def test_a_stream_that_is_opened_while_the_server_ends(opened: bool) -> None:
    """Nothing of it is left in a log that outlives the server."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.authorize_room(lambda ctx, room: True)
        log: Any = kit.app.log
        raw = await Raw.connect()
        await raw.enter()
        slowed(log, "head", 3)
        await raw.conn.send(envelope.join(1, "r", "now"))
        await kit.advance(1)
        raw.conn.abort()
        await kit.advance(3 if opened else 1)
        await kit.crash()
        await kit.advance(5)
        assert log._watching._count == 0

    run(scenario)


def test_a_server_that_has_ended_is_drained() -> None:
    """Another that serves the same app is none of its business."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        other = await kit.app.serve("memory://the-other")
        await other.close()
        await other.drain(1)
        client = await kit.client(reconnect=None)
        assert client.machine.up
        serving = kit.serving
        await kit.crash()
        await serving.drain(1)

    run(scenario)


# Messages that the log does not take


async def resumed(session: str, secret: bytes, generation: int, floor: int) -> Raw:
    raw = await Raw.connect()
    await raw.conn.send(envelope.hello(envelope.Hello("/", None, session, secret, generation, floor, [])))
    await heard(raw, envelope.Welcome)
    return raw


def test_a_client_that_calls_settled_what_was_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log would have to remember ever more numbers: its client is sent away, and not left without an answer."""
    monkeypatch.setattr(limits, "LOG_BEYOND_MAX", 4)

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: None)
        log: Any = kit.app.log
        raw = await Raw.connect()
        await raw.conn.send(envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, [])))
        welcome = await heard(raw, envelope.Welcome)
        commit = log.commit

        async def fails(appends: Any = (), receipt: Any = None) -> Any:
            raise LogFull("as the test says")

        log.commit = fails
        await raw.conn.send(envelope.message(1, 1, True, envelope.payload("x", None)))
        assert (await heard(raw, envelope.Refused)).reason == "log"
        log.commit = commit
        raw = await resumed(welcome.session, welcome.secret, 2, 1)
        for number in range(2, 5):
            await raw.conn.send(envelope.message(number, number, True, envelope.payload("x", None)))
            assert (await heard(raw, envelope.Reply)).ok
        await raw.conn.send(envelope.message(5, 5, True, envelope.payload("x", None)))
        assert await asyncio.wait_for(raw.ended(), 5) == CloseCode.POLICY
        assert kit.app.statistics()["malformed"] == 1

    run(scenario)


def test_a_client_that_forgets_what_was_not_stored() -> None:
    """As one that is started again after the log was full: all of its messages are acknowledged from then on."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: None)
        log: Any = kit.app.log
        raw = await Raw.connect()
        await raw.conn.send(envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, [])))
        welcome = await heard(raw, envelope.Welcome)
        commit = log.commit

        async def fails(appends: Any = (), receipt: Any = None) -> Any:
            raise LogFull("as the test says")

        log.commit = fails
        await raw.conn.send(envelope.message(1, 1, True, envelope.payload("x", None)))
        assert (await heard(raw, envelope.Refused)).reason == "log"
        log.commit = commit
        raw = await resumed(welcome.session, welcome.secret, 2, 0)
        await raw.conn.send(envelope.message(2, 2, False, envelope.payload("x", None)))
        assert (await asyncio.wait_for(heard(raw, envelope.Ack), 5)).contiguous == 2
        assert (await log.received(welcome.session)).contiguous == 2

    run(scenario)


def test_a_log_that_fails_in_a_way_of_its_own() -> None:
    """As one that somebody has written: the message is not lost, and the next try has its answer."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        log: Any = kit.app.log
        client = await kit.client()
        commit = log.commit

        async def fails(appends: Any = (), receipt: Any = None) -> Any:
            log.commit = commit
            raise ZeroDivisionError

        log.commit = fails
        assert await client.call("x", 7, timeout=30) == 7
        assert kit.app.statistics()["log_failures"] == 1

    run(scenario)


def test_damage_in_one_room() -> None:
    """Who was in it is told that the log is not available, and everybody else is served."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        ann, bob = await kit.client(), await kit.client()
        got: list[int] = []
        bob.on("x", lambda m: got.append(m.event))
        await ann.join("r")
        await bob.join("s")
        log: Any = kit.app.log
        read = log.read

        async def damaged(stream: Name, *arguments: Any, **bounds: Any) -> Any:
            if stream.room == "r":
                raise LogCorrupt("as the test says")
            return await read(stream, *arguments, **bounds)

        log.read = damaged
        for client in (ann, bob):
            kit.partition(client)
        await kit.advance(1)
        await namespace.to("r").emit("x", 1)
        await namespace.to("s").emit("x", 1)
        for client in (ann, bob):
            kit.heal(client)
        await kit.advance(30)
        assert got == [1]
        assert not ann.closed
        counters = kit.app.statistics()
        assert counters["refused_log"] == counters["log_failures"] > 1
        log.read = read
        ann.on("x", lambda m: got.append(m.event))
        await kit.advance(10)
        assert got == [1, 1]

    run(scenario)


def test_a_sweep_that_the_log_does_not_take() -> None:
    """It goes on with the others, and with the next."""
    app = Events(session_s=120)

    async def scenario(kit: Kit, namespace: Any) -> None:
        await kit.client()
        update = kit.app.log.update_session
        calls = 0

        async def fails(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                raise ZeroDivisionError
            return await update(*arguments, **more)

        kit.app.log.update_session = fails  # type: ignore[method-assign]
        await kit.advance(600)
        assert calls > 5

    run(scenario, app)


def test_a_claim_on_joining_the_stream_beside_a_room() -> None:
    """Who was in a room, and who came since, is had as anything else that was missed."""
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(envelope.join(1, "r", "now"))
        await raw.conn.send(envelope.join(2, "@presence/r", "now"))
        await heard(raw, envelope.Joined)
        joined = await heard(raw, envelope.Joined)
        claim = envelope.Claim(
            "@presence/r", joined.epoch, joined.offset, joined.since, joined.by_client, joined.ticket
        )
        await raw.conn.send(envelope.leave(3, "@presence/r"))
        await heard(raw, envelope.Left)
        await (await kit.client()).join("r")
        await raw.conn.send(envelope.join(4, "@presence/r", "cursor", claim))
        assert (await heard(raw, envelope.Joined)).offset == joined.offset
        assert (await heard(raw, envelope.Event)).name == "join"

    run(scenario, app)
