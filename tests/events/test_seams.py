"""Where two things meet that seldom do: a client that is put out while it comes back, a function of the
program that ends as if it had been cancelled. Nothing is lost without a word, nothing
hangs, and nobody stays where it must not be.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from transport import limits
from transport.errors import CodecError, MessageTooLarge
from transport.events import CallFailed, Denied, Events, envelope, parse
from transport.events.session import Session, Verdict
from transport.events.testing import Kit
from transport.log.records import Stream as Name

# Who may be in a room


def test_who_is_denied_on_joining_again_is_out() -> None:
    """What was allowed before is not what counts: nothing more of that room is written to the client."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        allowed = [True]
        namespace.authorize_room(lambda ctx, room: allowed[0])
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(envelope.join(1, "r", "now"))
        assert parse.parse(await raw.conn.recv(), parse.FROM_SERVER).room == "r"
        allowed[0] = False
        await raw.conn.send(envelope.join(2, "r", "now"))
        assert parse.parse(await raw.conn.recv(), parse.FROM_SERVER).reason.startswith("denied")
        await namespace.to("r").emit("secret")
        assert namespace.to("r").members == []
        (ctx,) = namespace.contexts()
        await ctx.send("own")
        assert parse.parse(await raw.conn.recv(), parse.FROM_SERVER).name == "own"

    run(scenario)


def test_who_is_denied_is_no_longer_present() -> None:
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        allowed = {"r"}
        namespace.authorize_room(lambda ctx, room: room in allowed)
        ann, bob = await kit.client(), await kit.client()
        await ann.join("r")
        await bob.join("r")
        assert len(await ann.presence("r")) == 2
        kit.partition(bob)
        namespace.room_authorizer = lambda ctx, room: ctx.id == ann.machine.session
        kit.heal(bob)
        await kit.advance(5)
        assert len(await ann.presence("r")) == 1

    run(scenario, app)


def test_presence_goes_on_after_a_reconnect_with_an_authorizer() -> None:
    """The program is asked about its rooms, not about the stream beside one."""
    app = Events()
    app.namespace("/", presence=True)

    async def scenario(kit: Kit, namespace: Any) -> None:
        asked: set[str] = set()

        def may(ctx: Any, room: str) -> bool:
            asked.add(room)
            return room == "r"

        namespace.authorize_room(may)
        ann, bob = await kit.client(), await kit.client()
        joins: list[str] = []
        ann.on("join", lambda m: joins.append(m.event["id"]))
        await ann.join("r")
        await ann.presence("r")
        await kit.advance(1)
        kit.drop(ann)
        await kit.advance(5)
        await bob.join("r")
        await kit.advance(1)
        assert bob.machine.session in joins
        assert asked == {"r"}
        (ctx,) = [one for one in namespace.contexts() if one.id == ann.machine.session]
        await ctx.leave("r")
        namespace.room_authorizer = lambda ctx, room: room.startswith("@")
        kit.drop(ann)
        await kit.advance(5)
        assert "@presence/r" not in ann.cursors, "who may not be in a room may not watch it"

    run(scenario, app)


def test_put_out_while_it_comes_back() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        asked = asyncio.Event()

        async def may(ctx: Any, room: str) -> bool:
            asked.set()
            await asyncio.sleep(3)
            return True

        client = await kit.client()
        await client.join("r")
        namespace.authorize_room(may)
        (ctx,) = namespace.contexts()
        kit.drop(client)
        await asked.wait()
        await ctx.leave("r")
        await kit.advance(10)
        assert ctx.rooms == []
        assert namespace.to("r").members == []
        assert "r" not in client.cursors
        assert kit.app.hub.stream_count == 1

    run(scenario)


def test_put_out_while_a_stream_is_entered_anew() -> None:
    """The stream has another epoch: whoever was in it enters it anew, but for those who are out by then."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.join("r")
        await client.join("s")
        (ctx,) = namespace.contexts()
        (link,) = kit.app.links
        app: Any = kit.app
        original = app.requested

        async def requested(*arguments: Any) -> None:
            await asyncio.sleep(3)
            await original(*arguments)

        app.requested = requested
        await kit.lose("r")
        await namespace.to("r").emit("x")
        await kit.advance(1)
        await ctx.leave("r")
        await kit.advance(10)
        assert ctx.rooms == ["s"]
        assert "r" not in link.rooms
        assert namespace.to("r").members == []

    run(scenario)


def test_put_out_while_its_record_is_read() -> None:
    """What the program does between the reading and the writing of a session's record holds in the log too."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.join("r")
        namespace.authorize_room(lambda ctx, room: room == "s")
        (ctx,) = namespace.contexts()
        log = kit.app.log
        original = log.get_session

        async def get_session(id: str) -> Any:  # noqa: A002
            record = await original(id)
            await ctx.leave("r")
            await ctx.join("s")
            return record

        log.get_session = get_session
        kit.drop(client)
        await kit.advance(5)
        del log.get_session
        record = await log.get_session(ctx.id)
        assert [stream.room for stream in record.streams] == ["s"]

    run(scenario)


# What a client that is away does not miss


def test_joined_again_while_away() -> None:
    """A program that puts a client into a room once more takes nothing from it that it has not had."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.authorize_room(lambda ctx, room: True)
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.event))
        (ctx,) = namespace.contexts()
        kit.partition(client)
        await kit.advance(60)
        assert not ctx.connected
        began = await ctx.join("r")
        await namespace.to("r").emit("x", 1)
        assert await ctx.join("r") == began
        await namespace.to("r").emit("x", 2)
        kit.heal(client)
        await kit.advance(5)
        assert got == [1, 2]

    run(scenario)


def test_joined_again_while_it_comes_back() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.event))
        await client.join("q")
        await client.join("r")
        asked = asyncio.Event()

        async def may(ctx: Any, room: str) -> bool:
            asked.set()
            await asyncio.sleep(3)
            return True

        namespace.authorize_room(may)
        (ctx,) = namespace.contexts()
        kit.partition(client)
        await namespace.to("r").emit("x", 1)
        kit.heal(client)
        await asked.wait()
        await ctx.join("r")
        await namespace.to("r").emit("x", 2)
        await kit.advance(20)
        await namespace.to("r").emit("x", 3)
        await kit.advance(1)
        assert got == [1, 2, 3]
        assert not client.closed
        assert client.reconnects == 1

    run(scenario)


def test_a_log_that_has_gone_back() -> None:
    """In the same epoch, as a file that was written over with an older copy: told, and nothing after is lost."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        gaps: list[str] = []
        client.on("x", lambda m: got.append(m.event))
        client.on_gap(lambda m: gaps.append(m.gap.reason) if m.room else None)
        await namespace.to("r").emit("x", 0)
        await namespace.to("r").emit("x", 0)
        await client.join("r")
        for number in range(1, 8):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(60)
        ring = kit.app.log._streams[Name("/", "r")]
        ring.top = 1
        del ring._events[ring._start + 1 :]
        kit.heal(client)
        await kit.advance(5)
        assert gaps == ["epoch"]
        for number in range(11, 20):
            await namespace.to("r").emit("x", number)
        await kit.advance(5)
        assert got == [*range(1, 8), *range(11, 20)]
        assert client.cursors["r"].offset == 10

    run(scenario)


# A program's functions that end as if they had been cancelled


async def cancelled(*_: Any) -> Any:
    """As by a shared task that somebody has cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


def test_handlers_that_are_cancelled() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", cancelled)
        namespace.on("y", lambda ctx, data: data)
        client = await kit.client()
        for _ in range(2):
            with pytest.raises(CallFailed, match="internal error"):
                await client.call("x", timeout=5)
        assert await client.call("y", 7) == 7
        client.on("x", cancelled)
        client.on("y", lambda m: "answer")
        await client.join("r")
        await namespace.to("r").emit("x")
        await namespace.to("r").emit("y")
        await kit.advance(1)
        assert client.cursors["r"].offset == 2
        (ctx,) = namespace.contexts()
        with pytest.raises(CallFailed, match="internal error"):
            await ctx.call("x")
        assert await ctx.call("y") == "answer"

    run(scenario)


def test_authorizers_that_are_cancelled() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        namespace.authorize_room(cancelled)
        for _ in range(2):
            with pytest.raises(Denied):
                await asyncio.wait_for(client.join("r"), 5)
        namespace.authorize(cancelled)
        raw = await Raw.connect()
        await raw.conn.send(envelope.hello(envelope.Hello("/", None, "", b"", 0, 0, [])))
        assert parse.parse(await raw.conn.recv(), parse.FROM_SERVER).reason == "failed"
        await kit.advance(1)
        assert not any(link.is_opening for link in kit.app.links)

    run(scenario)


def test_a_snapshot_that_is_cancelled() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.snapshot(cancelled)
        client = await kit.client()
        got: list[Any] = []
        client.on("x", lambda m: got.append(m.event))
        client.on_gap(lambda m: got.append(m.gap.policy))
        await client.join("r")
        kit.partition(client)
        await namespace.to("r").emit("x", 1)
        await kit.trim("r", 2)
        kit.heal(client)
        await kit.advance(5)
        await namespace.to("r").emit("x", 2)
        await kit.advance(5)
        assert got == ["now", 2]

    run(scenario)


# Messages


def test_replies_that_are_forgotten_before_a_restart() -> None:
    """Whoever asks for one that the log did not keep is told that, and is not left waiting."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: b"x" * 100_000)
        raw = await Raw.connect()
        await raw.enter()
        (ctx,) = namespace.contexts()
        session = ctx.id
        many = limits.LOG_REPLIES_BYTES_MAX // 100_000 + 10
        frames = [envelope.message(n, 1, True, envelope.payload("x", None)) for n in range(1, many + 1)]
        seen = 0
        for frame in frames:
            await raw.conn.send(frame)
        while seen < many:
            seen += isinstance(parse.parse(await raw.conn.recv(), parse.FROM_SERVER), envelope.Reply)
        assert (await kit.app.log.received(session)).lowest > 1
        tokens = kit.app.hub.tokens
        secret = tokens.secret(session, "/", envelope.encode_body(None))
        await kit.restart()
        again = await Raw.connect()
        await again.conn.send(envelope.hello(envelope.Hello("/", None, session, secret, 2, 1, [])))
        assert parse.parse(await again.conn.recv(), parse.FROM_SERVER).contiguous == many
        await again.conn.send(frames[0])
        while True:
            found = parse.parse(await asyncio.wait_for(again.conn.recv(), 5), parse.FROM_SERVER)
            if isinstance(found, envelope.Reply):
                break
        assert (found.ok, found.data["code"]) == (False, "lost")

    run(scenario)


def test_an_event_that_is_too_large_for_this_server() -> None:
    """It is refused at the call; the client goes on."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: len(data))
        client = await kit.client(max_message=10_000)
        with pytest.raises(MessageTooLarge):
            await client.emit("x", b"x" * 20_000)
        with pytest.raises(MessageTooLarge):
            await client.call("x", b"x" * 20_000)
        assert await client.call("x", b"x" * 5000) == 5000
        kit.partition(client)
        late = asyncio.create_task(client.call("x", b"x" * 20_000, timeout=None))
        await kit.advance(1)
        kit.heal(client)
        with pytest.raises(MessageTooLarge):
            await late
        assert await client.call("x", b"x" * 5000) == 5000
        await client.flush()

    run(scenario)


def test_room_that_one_sender_does_not_use_goes_to_the_next() -> None:
    """One whose event can't be encoded, or that is cancelled as its turn comes, holds up nobody."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        gate = asyncio.Event()
        namespace.on("big", lambda ctx, data: gate.wait())
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client()
        await client.emit("big", b"x" * (limits.EVENTS_WINDOW_BYTES - 100))
        await client.emit("x", b"x" * 100)
        bad = asyncio.create_task(client.emit("x", object()))
        given_up = asyncio.create_task(client.emit("x", 1))
        others = [asyncio.create_task(client.call("x", number, timeout=None)) for number in range(5)]
        await kit.advance(1)
        wake = client._wake_next

        def cancel_too() -> None:
            wake()
            given_up.cancel()

        client._wake_next = cancel_too
        gate.set()
        assert await asyncio.wait_for(asyncio.gather(*others), 10) == list(range(5))
        with pytest.raises(CodecError):
            await bad

    run(scenario)


# Sessions


def test_a_wall_clock_that_is_set_forward() -> None:
    """The log takes every session for over: clients begin anew, and are not told that somebody took theirs."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client()
        got: list[int] = []
        client.on("y", lambda m: got.append(m.event))
        await client.join("r")
        for number in range(limits.LOG_BEYOND_MAX + 50):
            await client.emit("x", number)
        await client.flush()
        kit.app.log._clock = kit.app._wall = lambda: kit.wall_ms() + 10 * 3_600_000
        await namespace.to("r").emit("y", 1)
        await client.emit("x", 1)
        await kit.advance(20)
        assert not client.closed
        for number in range(5):
            assert await client.call("x", number, timeout=5) == number
        await namespace.to("r").emit("y", 2)
        await kit.advance(1)
        assert got == [1, 2]

    run(scenario)


def test_a_session_whose_time_is_over_while_it_is_let_in() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        (ctx,) = namespace.contexts()
        session = kit.app.hub.sessions[ctx.id]
        session.seen = 3  # three that never came to a handler
        raw.conn.abort()
        await kit.advance(1)
        commit = kit.app.log.commit

        async def slow(appends: Any = (), receipt: Any = None) -> Any:
            await asyncio.sleep(1)
            kit.app.hub.expire(0.0)
            return await commit(appends, receipt)

        kit.app.log.commit = slow
        secret = kit.app.hub.tokens.secret(ctx.id, "/", envelope.encode_body(None))
        again = await Raw.connect()
        await again.conn.send(envelope.hello(envelope.Hello("/", None, ctx.id, secret, 2, 0, [])))
        await kit.advance(10)
        assert kit.app.hub.sessions[ctx.id].member is not None

    run(scenario)


def test_what_the_log_could_not_take_does_not_keep_a_session_for_ever() -> None:
    session = Session("a", None, 1, None)
    for number in (1, 2):
        assert session.message(number, 1) is Verdict.RUN
        session.unstored[number] = b"reply"
    assert session.message(3, 3) is Verdict.RUN
    assert session.running == {3}
    assert session.unstored == {}

    async def scenario(kit: Kit, namespace: Any) -> None:
        hub = kit.app.hub
        left = hub.sessions["a"] = Session("a", namespace, 1, None)
        left.message(1, 1)
        left.unstored[1] = b"reply"
        busy = hub.sessions["b"] = Session("b", namespace, 1, None)
        busy.message(1, 1)
        assert hub.expire(0.0) == [left]
        del hub.sessions["b"]

    run(scenario)


def test_one_server_of_two_is_drained() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        other = await kit.app.serve("memory://the-other")
        await other.drain(1)
        client = await kit.client(reconnect=None)
        assert client.machine.up

    run(scenario)
