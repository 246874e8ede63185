"""What seldom happens at a server: fencing by another process, answers that don't fit, programs that fail."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from transport import CloseCode, limits
from transport.errors import ConnectionClosed, ConnectionLost, LocalProtocolError
from transport.events import CallFailed, Events, Refused, Superseded, connect_events, envelope, parse
from transport.events.errors import Busy
from transport.events.testing import Kit


def test_another_process_took_the_session_over() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client()
        log = kit.app.log
        record = await log.get_session(client.machine.session)
        assert record is not None
        await log.put_session(replace(record, generation=record.generation + 5), record.generation)
        with pytest.raises(Superseded):
            await client.call("x", 1)
        assert client.closed
        assert len(kit.app.links) == 0

    run(scenario)


@pytest.mark.parametrize("size", [limits.LOG_REPLY_BYTES_MAX + 1, limits.MESSAGE_BYTES_DEFAULT - 7])
def test_a_reply_that_is_too_large(size: int) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: b"x" * size)
        namespace.on("y", lambda ctx, data: "fits")
        client = await kit.client()
        with pytest.raises(CallFailed, match="too large"):
            await client.call("x")
        assert await client.call("y") == "fits"

    run(scenario)


def test_joining_again() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.offset))
        for number in range(1, 4):
            await client.join("r", since="now")
            await namespace.to("r").emit("x")
            await kit.advance(1)
            assert got == list(range(1, number + 1))
        (ctx,) = namespace.contexts()
        assert (await ctx.join("r")).offset == 3
        assert ctx.rooms == ["r"]
        assert [one.id for one in namespace.to("r").members] == [ctx.id]
        assert namespace.to("r", skip=ctx)._skip == (ctx.id,)

    run(scenario)


def test_programs_that_fail() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        def fails(*_: Any) -> Any:
            raise RuntimeError("a mistake")

        namespace.room_authorizer = fails
        client = await kit.client()
        with pytest.raises(Refused, match="not allowed"):
            await client.join("r")
        namespace.on_disconnected = fails
        kit.drop(client)
        await kit.advance(5)
        assert client.machine.up
        namespace.snapshot(fails)
        namespace.room_authorizer = None
        gaps: list[Any] = []
        client.on_gap(lambda m: gaps.append((m.gap.policy, m.gap.snapshot)))
        client.on("x", lambda m: None)
        await client.join("r")
        kit.partition(client)
        await namespace.to("r").emit("x")
        await kit.trim("r", 2)
        kit.heal(client)
        await kit.advance(5)
        assert gaps == [("now", None)]
        for authorizer in (fails, lambda hello: object()):
            namespace.authorizer = authorizer
            with pytest.raises(Busy, match="internal error"):
                await kit.client(reconnect=None)
        namespace.authorizer = None
        namespace.on_connected = fails
        await kit.client(reconnect=None)
        await kit.advance(1)
        assert kit.app.statistics()["refused_failed"] == 3

    run(scenario)


def test_the_program_ends_a_connection() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        (ctx,) = namespace.contexts()
        assert "connected" in repr(ctx)
        assert ctx.remote_address is not None
        ctx.close("enough")
        await kit.advance(5)
        with pytest.raises(Refused, match="enough"):
            await client.wait_closed()
        assert "away" in repr(ctx)
        assert ctx.remote_address is None
        ctx.close("again")
        assert client.reconnects == 0

    run(scenario)


def test_a_client_that_neither_reads_nor_stops_asking() -> None:
    """Its replies are not made while its budget is used up, and nobody else waits."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: b"x" * 100_000)
        other = await kit.client()
        raw = await Raw.connect()
        await raw.enter()
        for number in range(1, limits.EVENTS_WINDOW + 1):
            await raw.conn.send(envelope.message(number, 1, True, envelope.payload("x", None)))
            await kit.advance(0.001)
        link = next(link for link in kit.app.links if link.id != other.machine.session)
        assert link.paused
        assert kit.app.statistics()["messages"] < limits.EVENTS_WINDOW - 50
        assert len(await other.call("x")) == 100_000
        replies = 0
        while replies < limits.EVENTS_WINDOW:
            replies += isinstance(parse.parse(await raw.conn.recv(), parse.FROM_SERVER), envelope.Reply)

    run(scenario)


def test_calls_to_a_client_that_does_not_read() -> None:
    """There is nothing else to be done than to cut it: it comes back, and has lost no event."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        (ctx,) = namespace.contexts()
        tasks = [asyncio.create_task(ctx.call("x", b"x" * 500_000, timeout=1)) for _ in range(40)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(one).__name__ for one in results} == {"PeerGone"}
        assert kit.app.statistics()["overflows"] == 1

    run(scenario)


def test_servers_that_break_the_rules() -> None:
    """A client ends a connection whose server sends what it must not."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        for frame, code in ((b"\x99", CloseCode.PROTOCOL_ERROR), (envelope.ack(1), CloseCode.PROTOCOL_ERROR)):
            client = await kit.client()
            link = next(link for link in kit.app.links if link.id == client.machine.session)
            if frame[0] == 0x99:
                link.conn.send_nowait(frame)
            else:
                client.machine.up = False
                link.conn.send_nowait(frame)
            await kit.advance(2)
            with pytest.raises(ConnectionLost) as caught:
                await client.wait_closed()
            assert caught.value.code == code

    run(scenario)


def test_what_a_closed_client_says() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        await client.close()
        await client.close()
        await client.wait_closed()
        for use in (client.emit("x"), client.call("x"), client.join("r"), client.leave("r")):
            with pytest.raises(ConnectionClosed):
                await use
        room = client.subscribe("r")
        with pytest.raises(ConnectionClosed):
            await room.__anext__()

    run(scenario)


def test_leaving_ends_a_subscription() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        room = client.subscribe("r")
        await room.begin()
        reader = asyncio.create_task(room.__anext__())
        await kit.advance(1)
        await client.leave("r")
        with pytest.raises(StopAsyncIteration):
            await reader
        (ctx,) = namespace.contexts()
        assert ctx.rooms == []
        again = client.subscribe("r")
        await again.begin()
        await namespace.to("r").emit("x", 5)
        assert (await again.__anext__()).event == 5
        await ctx.leave("r")
        with pytest.raises(Refused, match="put out|left|out"):
            await again.__anext__()

    run(scenario)


def test_mistakes_in_calls() -> None:
    app = Events()
    namespace = app.namespace("/")
    for wrong in ({"key": b"short"},):
        with pytest.raises(LocalProtocolError, match="16 bytes"):
            Events(**wrong)
    for name in ("", "a\n", "x" * 256):
        with pytest.raises(LocalProtocolError, match="namespace"):
            app.namespace(name)
    with pytest.raises(LocalProtocolError, match="on_gap"):
        app.namespace("/b", on_gap="whatever")
    with pytest.raises(LocalProtocolError, match="does not serve"):
        _ = app.hub
    with pytest.raises(LocalProtocolError, match="URL"):
        app.serve()
    with pytest.raises(LocalProtocolError, match="codec"):
        app.serve("memory://x", codec="json")
    with pytest.raises(LocalProtocolError, match="room"):
        namespace.to("")

    async def scenario(kit: Kit, namespace: Any) -> None:
        with pytest.raises(LocalProtocolError, match="before"):
            kit.app.namespace("/late")
        for options in ({"ack": "never"}, {"concurrency": 0}):
            with pytest.raises(LocalProtocolError):
                await connect_events("memory://x", **options)
        with pytest.raises(LocalProtocolError, match="event"):
            await namespace.to("r").emit(5)

    run(scenario)


def test_stored_replies_that_are_asked_for_at_once() -> None:
    """More than fits into a budget: they come as fast as the client takes them, and it is not cut for having asked."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: bytes([data]) * 30_000)
        client = await kit.client()
        calls = []
        kit.partition(client)
        for number in range(130):
            calls.append(asyncio.create_task(client.call("x", number, timeout=None)))
        await kit.advance(1)
        kit.heal(client)
        deaf = client.machine.receive

        def ignore_replies(data: bytes) -> None:
            if data[0] != envelope.Kind.REPLY:
                deaf(data)

        client.machine.receive = ignore_replies
        await kit.advance(10)
        assert kit.app.statistics()["messages"] == 130
        client.machine.receive = deaf
        kit.drop(client)
        assert [(await call)[0] for call in calls] == list(range(130))
        statistics = kit.app.statistics()
        assert statistics["duplicates"] == 130
        assert statistics["messages"] == 130
        assert "overflows" not in statistics

    run(scenario)


def test_a_client_that_asks_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_REPEATS_MAX", 5)

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        frame = envelope.message(1, 1, True, envelope.payload("x", None))
        await raw.conn.send(frame)
        await kit.advance(1)
        for _ in range(50):
            await raw.conn.send(frame)
        assert await raw.ended() == CloseCode.OVERLOADED

    run(scenario)


def test_a_log_that_is_slow_holds_up_handlers() -> None:
    """What was handled and is not stored yet is bounded."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: None)
        namespace.on("large", lambda ctx, data: b"x" * limits.EVENTS_SETTLING_BYTES)
        client = await kit.client()
        original = kit.app.log.commit

        async def commit(appends: Any = (), receipt: Any = None) -> Any:
            await asyncio.sleep(10)
            return await original(appends, receipt)

        kit.app.log.commit = commit
        for _ in range(200):
            await client.emit("x")
        await kit.advance(5)
        assert kit.app.statistics()["messages"] == limits.EVENTS_SETTLING
        await client.flush()
        calls = [asyncio.create_task(client.call("large", timeout=None)) for _ in range(3)]
        await kit.advance(5)
        assert kit.app.statistics()["messages"] == 201
        await asyncio.gather(*calls)
        del kit.app.log.commit

    run(scenario)


def test_large_messages_that_wait_for_handlers() -> None:
    """A client of ours sends no more than fits; another one is not read beyond the bound. All are handled."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        gate = asyncio.Event()
        sizes: list[int] = []

        async def take(ctx: Any, data: bytes) -> None:
            await gate.wait()
            sizes.append(len(data))

        namespace.on("x", take)
        client = await kit.client()
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(40):
                await client.emit("x", b"x" * 100_000)
                sent += 1

        sender = asyncio.create_task(send())
        await kit.advance(1)
        assert sent == -(-limits.EVENTS_WINDOW_BYTES // 100_000)
        (inbox,) = [session.inbox for session in kit.app.hub.sessions.values()]
        assert inbox._queued_bytes < limits.EVENTS_WINDOW_BYTES
        assert "reading_held" not in kit.app.statistics()
        raw = await Raw.connect()
        await raw.enter()
        body = envelope.payload("x", b"x" * 100_000)
        for number in range(1, 61):
            await raw.conn.send(envelope.message(number, 1, False, body))
            await kit.advance(0.01)
        await kit.advance(1)
        assert kit.app.statistics()["reading_held"] == 1
        waiting = [session.inbox._queued_bytes for session in kit.app.hub.sessions.values()]
        assert max(waiting) < limits.EVENTS_INBOX_BYTES + 1_000_000
        gate.set()
        await sender
        await client.flush()
        await kit.advance(10)
        assert len(sizes) == 100

    run(scenario)


def test_a_message_as_large_as_may_be_goes_alone() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: len(data))
        client = await kit.client()
        sizes = [10, limits.MESSAGE_BYTES_DEFAULT - 200, 20, limits.MESSAGE_BYTES_DEFAULT - 200, 30]
        calls = [asyncio.create_task(client.call("x", b"x" * size)) for size in sizes]
        assert await asyncio.gather(*calls) == sizes
        assert (client.machine._sent_bytes, client.machine._fresh_bytes) == (0, 0)

    run(scenario)
