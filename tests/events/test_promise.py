"""The promise about missed events, point by point, where no other file has it; in virtual time."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.events.stepped import SteppedLog
from tests.events.test_bounds import run
from transport import limits
from transport.errors import UnsupportedDelivery, UnsupportedOperation
from transport.events import (
    CallFailed,
    Events,
    Refused,
    SQLiteCursor,
    Superseded,
    Uncertain,
    connect_events,
    envelope,
    parse,
)
from transport.events.testing import Kit


def test_a_hole_is_seen_live_and_mended() -> None:
    """A frame that never comes, which no transport of ours does: the client notices at the next one."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.offset))
        await client.join("r")
        receive = client.machine.receive
        lost = {2, 3, 7}

        def lossy(data: bytes) -> None:
            frame = parse.parse(data, parse.FROM_SERVER)
            if isinstance(frame, envelope.Event) and frame.offset in lost:
                lost.discard(frame.offset)
                return
            receive(data)

        client.machine.receive = lossy
        for _ in range(5):
            await namespace.to("r").emit("x")
        await kit.advance(1)
        assert got == [1, 2, 3, 4, 5]
        for _ in range(5):
            await namespace.to("r").emit("x")
        await kit.advance(1)
        assert got == list(range(1, 11))
        assert client.statistics()["holes"] == 2
        assert not lost

    run(scenario)


def test_a_replay_with_a_hole_is_asked_for_again() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []
        client.on("x", lambda m: got.append(m.offset))
        await client.join("r")
        kit.partition(client)
        for _ in range(20):
            await namespace.to("r").emit("x")
        receive = client.machine.receive
        times = 3

        def lossy(data: bytes) -> None:
            nonlocal times
            frame = parse.parse(data, parse.FROM_SERVER)
            if isinstance(frame, envelope.Event) and frame.offset == 5 and times:
                times -= 1
                return
            receive(data)

        client.machine.receive = lossy
        kit.heal(client)
        await kit.advance(5)
        assert got == list(range(1, 21))
        assert not times

    run(scenario)


@pytest.mark.parametrize("ack", ["processed", "received"])
def test_when_the_cursor_moves(ack: str) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(ack=ack, concurrency=3)
        gates = {number: asyncio.Event() for number in range(1, 4)}
        client.on("x", lambda m: gates[m.event].wait())
        await client.join("r")
        for number in gates:
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        if ack == "received":
            assert client.cursors["r"].offset == 3
            return
        for number, cursor in ((2, 0), (3, 0), (1, 3)):
            gates[number].set()
            await kit.advance(1)
            assert client.cursors["r"].offset == cursor

    run(scenario)


def test_once() -> None:
    """An effect and its cursor are one; what was rolled back comes again, and what was committed is no longer fresh."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE effects (number INTEGER)")

    async def scenario(kit: Kit, namespace: Any) -> None:
        for life in range(3):
            client = await kit.client(cursor=SQLiteCursor(db), reconnect=None)
            room = client.subscribe("r")
            await room.begin()
            if not life:
                for number in range(1, 6):
                    await namespace.to("r").emit("x", number)
            async for m in room:
                try:
                    async with m.once(db) as fresh:
                        if fresh:
                            db.execute("INSERT INTO effects VALUES (?)", (m.event,))
                        if (life, m.event) == (0, 3):
                            raise ValueError("in the middle of the third")
                except ValueError:
                    break
                if m.event == 5 or (life, m.event) == (1, 4):
                    break
            kit.drop(client)  # without a goodbye, and without a last word to the cursor
            client._store = None
            await client.close(grace=0)

    run(scenario)
    assert db.execute("SELECT number FROM effects ORDER BY rowid").fetchall() == [(1,), (2,), (3,), (4,), (5,)]
    db.close()


def test_once_where_the_cursor_is_elsewhere() -> None:
    """The event comes again; the database says that it was done."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        state: list[bytes] = []
        store = type("Store", (), {"load": lambda self: state[0] if state else None,
                                   "save": lambda self, new: state.append(new) if not state else None})()  # fmt: skip
        fresh: list[bool] = []
        for _ in range(2):
            client = await kit.client(cursor=store, reconnect=None)
            room = client.subscribe("r")
            await room.begin()
            if not fresh:
                state.clear()
                client.save()
                await namespace.to("r").emit("x", 1)
            async for m in room:
                async with m.once(db) as is_fresh:
                    fresh.append(is_fresh)
                break
            await client.close()
        assert fresh == [True, False]

    run(scenario)
    db.close()


def test_two_clients_with_one_cursor() -> None:
    """The newer one has the session; the older one is told, and does not fight."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        saved: list[bytes] = []
        store = type("Store", (), {"load": lambda self: saved[-1] if saved else None,
                                   "save": lambda self, state: saved.append(state)})()  # fmt: skip
        first = await kit.client(cursor=store)
        second = await kit.client(cursor=store)
        await kit.advance(5)
        assert first.closed
        with pytest.raises(Superseded):
            await first.wait_closed()
        with pytest.raises(Superseded):
            await first.call("x")
        assert second.machine.up
        assert len(kit.app.links) == 1

    run(scenario)


def test_calls_whose_fate_nobody_knows() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("slow", lambda ctx, data: asyncio.sleep(1000))
        client = await kit.client()
        call = asyncio.create_task(client.call("slow", timeout=None))
        await kit.advance(1)
        kit.partition(client)
        await kit.crash()
        for session in await kit.app.log.sessions():
            await kit.app.log.drop_session(session.id, session.generation)
        await kit.start()
        kit.heal(client)
        with pytest.raises(Uncertain):
            await call
        namespace.on("quick", lambda ctx, data: "here")
        assert await client.call("quick") == "here"

    run(scenario)


def test_a_server_that_has_forgotten_everything() -> None:
    """Another log, and so another key: clients begin anew, and say so."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []
        client.on("x", lambda m: got.append(m.event))
        client.on_gap(lambda m: got.append((m.room, m.gap.reason)))
        await client.join("r")
        room = client.subscribe("s")
        await room.begin()
        await kit.crash()
        kit.app._key = b"another key entirely"
        for session in await kit.app.log.sessions():
            await kit.app.log.drop_session(session.id, session.generation)
        await kit.start()
        await kit.advance(10)
        await namespace.to("r").emit("x", 1)
        await namespace.to("s").emit("x", 2)
        await kit.advance(1)
        assert got == [("", "epoch"), ("r", "epoch"), 1]
        assert (await room.__anext__()).gap.reason == "epoch"
        assert (await room.__anext__()).event == 2

    run(scenario)


def test_durability_and_keys() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        room = namespace.to("r")
        with pytest.raises(UnsupportedOperation, match="disk"):
            await room.emit("x", durability="disk")
        first = await room.emit("x", durability="memory", key="once")
        assert await room.emit("x", key="once") == first
        assert (await room.emit("x")).offset == 2

    run(scenario)


def test_the_private_stream_is_missed_and_had_again() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []
        client.on("x", lambda m: got.append((m.event, m.replay)))
        (ctx,) = namespace.contexts()
        await ctx.send("x", 1)
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(40)
        assert not ctx.connected
        await ctx.send("x", 2)
        assert await ctx.join("r")
        await namespace.to("r").emit("x", 3)
        kit.heal(client)
        namespace.authorize_room(lambda ctx, room: True)
        await kit.advance(5)
        assert got == [(1, False), (2, True), (3, True)], "also of a room that it was put into meanwhile"

    run(scenario)


def test_a_gap_that_is_lost_with_its_connection() -> None:
    """JOINED says that the stream began anew, and the line breaks before the gap itself: it is told the next time."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []
        client.on("x", lambda m: got.append(m.event))
        client.on_gap(lambda m: got.append(m.gap.reason))
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        kit.partition(client)
        await kit.lose("r")
        await namespace.to("r").emit("x", 2)
        receive, broken = client.machine.receive, 0

        def breaks(data: bytes) -> None:
            nonlocal broken
            if broken < 3 and isinstance(parse.parse(data, parse.FROM_SERVER), envelope.Gap):
                broken += 1
                kit.half_open(client)
                return
            receive(data)

        client.machine.receive = breaks
        kit.heal(client)
        await kit.advance(60)
        await namespace.to("r").emit("x", 3)
        await kit.advance(1)
        assert got == [1, "epoch", 3]
        assert broken == 3
        kit.half_open(client)
        await kit.advance(10)
        await namespace.to("r").emit("x", 4)
        await kit.advance(1)
        assert got == [1, "epoch", 3, 4], "and once only"

    run(scenario)


def test_a_gap_that_a_program_did_not_come_to() -> None:
    """It ends in the midst of what it does about the gap: the next one hears of it again."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        saved: list[bytes] = []
        store = type("Store", (), {"load": lambda self: saved[-1] if saved else None,
                                   "save": lambda self, state: saved.append(state)})()  # fmt: skip
        for life in range(3):
            client = await kit.client(cursor=store, reconnect=None)
            room = client.subscribe("r")
            await room.begin()
            if not life:
                await namespace.to("r").emit("x", 1)
                assert (await room.__anext__()).event == 1
                asked = asyncio.ensure_future(room.__anext__())
                await kit.advance(1)
                await kit.lose("r")
                await namespace.to("r").emit("x", 2)
                assert (await asked).gap.reason == "epoch"
                await namespace.to("r").emit("x", 3)
            elif life == 1:
                assert (await room.__anext__()).gap.reason == "epoch"
                await namespace.to("r").emit("x", 4)
                assert (await room.__anext__()).event == 4, "the gap is done"
            else:
                assert (await room.__anext__()).event == 4
            client.save()
            kit.drop(client)
            client._store = None
            await client.close(grace=0)

    run(scenario)


def test_a_client_that_comes_back_while_its_handler_emits(tmp_path: Path) -> None:
    """The log knows of the newer generation before the server has heard that it does."""
    log = SteppedLog(tmp_path / "log", 1)

    async def scenario(kit: Kit, namespace: Any) -> None:
        emitted: list[int] = []

        async def work(ctx: Any, number: int) -> int:
            for step in range(50):
                emitted.append((await namespace.to("r").emit("x", [number, step])).offset)
            return number

        namespace.on("work", work)
        client = await kit.client()
        calls = [asyncio.create_task(client.call("work", number)) for number in range(3)]
        for _ in range(20):
            await kit.advance(0.2 * kit.random.random())
            kit.half_open(client)
        assert await asyncio.gather(*calls) == [0, 1, 2]
        assert emitted == list(range(1, 151))
        assert client.reconnects > 5

    run(scenario, Events(log))


def test_a_drain_has_an_end() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("never", lambda ctx, data: asyncio.sleep(10_000))
        client = await kit.client()
        await client.emit("never")
        await kit.advance(1)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        serving, kit.serving = kit.serving, None
        await serving.drain(3.0)
        assert 3 <= loop.time() - begin < 10
        await kit.start()
        await kit.advance(10)
        assert client.machine.up

    run(scenario)


@pytest.mark.asyncio
async def test_what_is_unreliable_is_refused() -> None:
    app = Events()
    app.namespace("/")
    with pytest.raises(UnsupportedDelivery):
        await app.serve("udp://127.0.0.1:0")
    async with transport.serve("udp://127.0.0.1:0", lambda conn: conn.wait_closed()) as server:
        with pytest.raises(UnsupportedDelivery):
            await connect_events(server.url)


@pytest.mark.asyncio
async def test_one_app_on_many_urls() -> None:
    app = Events()
    namespace = app.namespace("/")
    async with app.serve(*[f"{scheme}://127.0.0.1:0" for scheme in ("tcp", "ws", "rudp")], "memory://many") as serving:
        clients = [await connect_events(url) for url in serving.urls]
        got: list[Any] = []
        for client in clients:
            room = client.subscribe("r")
            await room.begin()
            got.append(room)
        await namespace.to("r").emit("x", 5)
        assert [(await room.__anext__()).event for room in got] == [5, 5, 5, 5]
        for client in clients:
            await client.close()


@pytest.mark.asyncio
async def test_one_of_two_servers_ends() -> None:
    app = Events()
    app.namespace("/").on("x", lambda ctx, data: data)
    first, second = await app.serve("memory://one"), await app.serve("memory://two")
    async with connect_events(second.url) as client:
        await first.close()
        assert await client.call("x", 1) == 1
        assert client.reconnects == 0
    await second.close()


def test_a_log_with_no_room_for_more_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's wish is refused; its connection and everybody else go on."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client()
        monkeypatch.setattr(limits, "LOG_STREAMS_MAX", 2)
        await client.join("a")
        with pytest.raises(Refused, match="limit"):
            await client.join("b")
        assert await client.call("x", 1) == 1

    run(scenario)


def test_a_client_that_can_not_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        got: list[Any] = []
        clients = [await kit.client() for _ in range(3)]
        for client in clients:
            client.on("x", lambda m: got.append(m.event))
            await client.join("r")
        link = next(iter(kit.app.links))

        def broken(*rest: Any, **more: Any) -> None:
            raise RuntimeError("broken")

        link._send = broken
        await namespace.to("r").emit("x", 1)
        await kit.advance(5)
        assert got == [1, 1, 1], "the others at once, and that one after it came back"

    run(scenario)


def test_the_usual_times() -> None:
    """Of a handler and of a drain, where nobody says anything else."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        loop = asyncio.get_running_loop()
        namespace.on("never", lambda ctx, data: asyncio.sleep(10_000))
        client = await kit.client()
        begin = loop.time()
        with pytest.raises(CallFailed, match="timeout"):
            await client.call("never", timeout=None)
        assert loop.time() - begin == pytest.approx(limits.EVENTS_HANDLER_S, abs=1)
        await client.emit("never")
        await kit.advance(1)
        begin = loop.time()
        serving, kit.serving = kit.serving, None
        assert serving is not None
        await serving.drain()
        assert loop.time() - begin == pytest.approx(limits.EVENTS_DRAIN_S, abs=6)

    run(scenario)
