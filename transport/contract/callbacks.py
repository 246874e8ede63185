"""Promises about the callback style and about machines: the same connection, seen from the other side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from transport.contract.base import (
    END,
    RETRY_S,
    Arena,
    ask,
    fill,
    need,
    promise,
    raises,
    same,
    until,
)
from transport.contract.flow import FLOOD, MARKS, EchoBack, piece
from transport.drive.protocol import Protocol
from transport.errors import ConnectionLost, TransportError, UnsupportedOperation
from transport.machine import EOF, Path, Transmit


class Recorder(Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.got: list[Any] = []
        self.error: Exception | None = None
        self.conn: Any = None

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        self.told.append("made")

    def message_received(self, message: Any, channel: int) -> None:
        self.got.append(message)
        if "message" not in self.told:
            self.told.append("message")

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self.told.append("lost")

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")


def recorders() -> tuple[list[Recorder], Callable[[], Recorder]]:
    """A list, and what makes a `Recorder` that is kept in it."""
    made: list[Recorder] = []

    def make() -> Recorder:
        made.append(Recorder())
        return made[-1]

    return made, make


@promise
async def protocol_order(arena: Arena) -> None:
    """connection_made comes first, messages in order, connection_lost last and once, with None after a clean close."""
    made, make = recorders()
    own, make_own = recorders()
    async with arena.serve(protocol=make) as server, arena.connect(server, protocol=make_own) as client:
        need(own[0].told[:1] == ["made"] and own[0].conn is client, f"the client's callbacks: {own[0].told}")
        if client.traits.reliable:
            for index in range(500):
                client.send_nowait(index)
        await _until_seen(client, made, 499)
        if client.traits.reliable and client.traits.ordered:
            same(made[0].got[:500], list(range(500)), "what message_received was given")
        for conn in (client, made[0].conn):
            for call in (conn.recv, conn.receive):
                with raises(UnsupportedOperation, "recv() of a connection with a protocol"):
                    await call()
            with raises(UnsupportedOperation, "recv_nowait() of a connection with a protocol"):
                conn.recv_nowait()
        await client.close()
        if client.traits.reliable:
            await until(lambda: "lost" in made[0].told)
        else:
            await made[0].conn.close()
        for recorder in (own[0], made[0]):
            same(recorder.told.count("lost"), 1, "calls of connection_lost")
            same((recorder.told[0], recorder.told[-1]), ("made", "lost"), "the first and the last callback")
            need(recorder.error is None, f"connection_lost after a clean close was given {recorder.error!r}")
        count = len(made[0].got)
    need(len(made[0].got) == count, "message_received was called after connection_lost")


async def _until_seen(client: Any, made: list[Recorder], message: Any) -> None:
    """Returns when the server's protocol has got `message`; sends it where it may be lost."""
    while not made or message not in made[0].got:
        if not client.traits.reliable:
            client.send_nowait(message)
            await asyncio.sleep(RETRY_S / 5)
        await asyncio.sleep(0.001)


@promise
async def protocol_lost(arena: Arena) -> None:
    """connection_lost gets a ConnectionLost when the connection is aborted, at both ends where it is heard."""
    made, make = recorders()
    own, make_own = recorders()
    async with arena.serve(protocol=make) as server, arena.connect(server, protocol=make_own) as client:
        client.send_nowait("x")
        await _until_seen(client, made, "x")
        client.abort()
        await client.wait_closed()
        need(isinstance(own[0].error, ConnectionLost), f"connection_lost after abort() was given {own[0].error!r}")
        same(own[0].told.count("lost"), 1, "calls of connection_lost")
        if client.traits.reliable:
            await until(lambda: "lost" in made[0].told)
        if client.traits.close_reason:
            need(isinstance(made[0].error, ConnectionLost), f"the peer's connection_lost was given {made[0].error!r}")


@promise
async def protocol_echo(arena: Arena) -> None:
    """A server in callbacks and a client in coroutines understand each other."""
    async with arena.serve(protocol=EchoBack) as server, arena.connect(server) as client:
        for index in range(100):
            answer = await ask(client, index)
            if client.traits.reliable:
                same(answer, index, "the echo")


@promise
async def protocol_fails(arena: Arena) -> None:
    """A callback that raises closes its own connection with an internal error, tells the loop, and nobody else."""

    class Touchy(EchoBack):
        def message_received(self, message: Any, channel: int) -> None:
            if message == "fail":
                raise ZeroDivisionError("on purpose: a check of the transport's contract")
            super().message_received(message, channel)

    loop = asyncio.get_running_loop()
    told: list[Any] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: told.append(context))
    try:
        async with (
            arena.serve(protocol=Touchy) as server,
            arena.connect(server) as good,
            arena.connect(server) as bad,
        ):
            await ask(good, "x")
            await ask(bad, "x")
            need(len(server.connections) == 2, f"{len(server.connections)} connections, not 2")
            while not told:
                await bad.send("fail")
                await asyncio.sleep(RETRY_S / 5)
                if bad.traits.reliable:
                    break
            if bad.traits.close_reason:
                with raises(ConnectionLost, "recv from a protocol that raised") as caught:
                    await bad.recv()
                same(int(caught[0].code), 1011, "the code that the peer was told")
            await until(lambda: told)
            await until(lambda: len(server.connections) == 1)
            need(isinstance(told[0].get("exception"), ZeroDivisionError), f"the loop was told {told}")
            need(await ask(good, "y") in ("x", "y"), "the other connection is gone")
    finally:
        loop.set_exception_handler(before)


@promise
async def pause_writing(arena: Arena) -> None:
    """pause_writing comes above high water and resume_writing below low water, in turn."""
    own, make_own = recorders()
    async with arena.serve(**MARKS) as server, arena.connect(server, protocol=make_own, **MARKS) as client:
        if not client.traits.reliable:
            return
        peer = await server.accept()
        sent = await fill(client, piece, FLOOD)
        marks = [one for one in own[0].told if one in ("pause", "resume")]
        need(marks and marks[-1] == "pause", f"callbacks of a protocol above high water: {marks}")
        for _ in range(sent):
            await peer.recv()
        await until(lambda: own[0].told[-1] == "resume")
        marks = [one for one in own[0].told if one in ("pause", "resume")]
        same(marks, ["pause", "resume"] * (len(marks) // 2), "pause_writing and resume_writing in turn")
        client.abort()


@promise
async def pause_reading(arena: Arena) -> None:
    """After pause_reading no message_received comes until resume_reading(); nothing reliable is lost."""
    made, make = recorders()
    async with arena.serve(protocol=make) as server, arena.connect(server) as client:
        await client.send("x")
        await _until_seen(client, made, "x")
        conn = made[0].conn
        conn.pause_reading()
        await asyncio.sleep(RETRY_S)
        count = len(made[0].got)
        for index in range(200):
            await client.send(index)
        await client.flush()
        if client.traits.ping:
            await client.ping()  # whatever is before it has arrived
        await asyncio.sleep(RETRY_S)
        same(len(made[0].got), count, "messages that came while reading was paused")
        conn.resume_reading()
        await client.send(END)
        await _until_seen(client, made, END)
        if client.traits.reliable:
            same(len(made[0].got), count + 201, "messages after resume_reading()")
        with raises(UnsupportedOperation, "pause_reading() without a protocol"):
            client.pause_reading()


# Machines


class ByteTalker:
    """A byte machine that greets, answers what it gets, and reports it."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.happened: list[Any] = []

    def receive(self, data: bytes, now: int) -> None:
        self.happened.append(bytes(data))
        if data.startswith(b"?"):
            self.out.append(b"!" + bytes(data[1:]))
        if not data:
            self.out.append(EOF)

    def transmit(self, now: int) -> list[bytes]:
        out, self.out = self.out, []
        return out

    def events(self) -> list[Any]:
        happened, self.happened = self.happened, []
        return happened

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None:
        pass


class DatagramTalker:
    """A datagram machine that answers what it gets, where it came from, and reports it."""

    def __init__(self) -> None:
        self.out: list[tuple[bytes, Path]] = []
        self.happened: list[Any] = []

    def receive(self, data: bytes, path: Path, ecn: int, now: int) -> None:
        self.happened.append(bytes(data))
        if data.startswith(b"?"):
            self.out.append((b"!" + bytes(data[1:]), path))

    def error(self, path: Path, errno: int, now: int) -> None:
        pass

    def transmit(self, room: memoryview, now: int) -> Transmit | None:
        if not self.out:
            return None
        data, path = self.out.pop(0)
        room[: len(data)] = data
        return Transmit(len(data), len(data), path)

    def events(self) -> list[Any]:
        happened, self.happened = self.happened, []
        return happened

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None:
        pass


async def _dialect(arena: Arena) -> str | None:
    if arena.dialect != "by traits":
        return arena.dialect
    async with arena.serve() as server, arena.connect(server) as client:
        client.abort()
        return "bytes" if client.traits.reliable and client.traits.ordered else "datagrams"


@promise
async def machine(arena: Arena) -> None:
    """machine= runs a machine of the scheme's dialect at both ends; where there is none it raises."""
    dialect = await _dialect(arena)
    kind: Any = DatagramTalker if dialect == "datagrams" else ByteTalker
    if dialect is None:
        with raises(TransportError, "machine= on a scheme that takes none"):
            await (await arena.serve(machine=kind)).close()
        return
    async with arena.serve(machine=kind) as server, arena.connect(server, machine=kind) as client:
        talker = client.machine
        need(isinstance(talker, kind), f"machine of the connection is {talker!r}")
        need(client.now() > 0 or client.now() == 0, "now() of the connection")
        if dialect == "bytes":
            talker.out.append(b"?hello")
            client.wake()
            got = b""
            while len(got) < 6:
                got += await client.next_event()
            same(got, b"!hello", "the answer of a byte machine")
        else:
            reading = asyncio.ensure_future(client.next_event())
            while not reading.done():
                talker.out.append((b"?hello", Path(None, client.remote_address)))
                client.wake()
                await asyncio.wait([reading], timeout=RETRY_S)
            same(await reading, b"!hello", "the answer of a datagram machine")
        need(client.get_extra_info("nothing of that name", 3) == 3, "get_extra_info of a machine's connection")
        await client.close()
        need(client.is_closed, "is_closed is false after close()")
