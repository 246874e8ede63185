"""Peers that do not keep to the rules, on real sockets, beside one that does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.stream.joined import Frame, frames_of, preface_size
from transport import serve
from transport.api import connect
from transport.codec import varint
from transport.drive.protocol import Protocol
from transport.errors import ConnectionClosed, ConnectionLost
from transport.stream import frames
from transport.stream.preface import Preface

PLENTY = 1 << 40
HELLO = Preface(channel_window=PLENTY, connection_window=PLENTY, stream_window=PLENTY, codec="msgpack").encode()
RAW_HELLO = Preface(channel_window=PLENTY, connection_window=PLENTY, stream_window=PLENTY, codec="raw").encode()


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until `condition` holds; a test that waits for ever is stopped by its time limit."""
    while not condition():
        await asyncio.sleep(0)


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


class Echo(Protocol):
    """The callback style's echo; keeps what its connection was told at the end."""

    ends: list[Exception | None] = []

    def connection_made(self, conn: Any) -> None:
        self.conn = conn

    def message_received(self, message: Any, channel: int) -> None:
        self.conn.send_nowait(message, channel=channel)

    def connection_lost(self, error: Exception | None) -> None:
        self.ends.append(error)


STYLES = ("coroutines", "callbacks")


def in_style(style: str) -> dict[str, Any]:
    """Arguments of `serve` for an echo server in that style."""
    return {"handler": echo} if style == "coroutines" else {"protocol": type("Fresh", (Echo,), {"ends": []})}


class Stranger:
    """A bare socket that says what it likes.

    Attributes:
        said: everything the server has said so far.
        reset: whether the server's end came as a reset.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.said = b""
        self.reset = False
        self._loop = asyncio.get_running_loop()

    async def say(self, data: bytes) -> None:
        """Writes, as far as the server lets it: one that has hung up already is no failure."""
        with contextlib.suppress(ConnectionError):
            await self._loop.sock_sendall(self.sock, data)

    async def hear(self) -> bool:
        """Reads once; false at the end of the server's stream."""
        try:
            data = await self._loop.sock_recv(self.sock, 1 << 16)
        except ConnectionError:
            self.reset = True
            return False
        self.said += data
        return bool(data)

    async def hear_all(self) -> bytes:
        """Reads to the end of the server's stream."""
        while await self.hear():
            pass
        return self.said

    def end(self) -> None:
        """Says nothing more; still listens."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """Resets the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def frames(self) -> list[Frame]:
        """What the server has said behind its preface."""
        found, _ = frames_of(self.said[preface_size(self.said) :])
        return found

    async def goodbye(self) -> tuple[int, str]:
        """Code and reason of the server's one goodbye, behind which only credit may come."""
        await self.hear_all()
        heard = self.frames()
        (at,) = [index for index, found in enumerate(heard) if found.kind == frames.CLOSE]
        assert {found.kind for found in heard[at + 1 :]} <= {frames.CHANNEL_CREDIT, frames.CONNECTION_CREDIT}
        code, end = varint.decode(heard[at].body, 0)
        return code, heard[at].body[end:].decode()


class Healthy:
    """A connection that echoes all the while, one message after the other."""

    def __init__(self, conn: Any, message: Any) -> None:
        self.conn = conn
        self.rounds = 0
        self._message = message
        self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            await self.conn.send(self._message)
            assert await self.conn.recv() == self._message
            self.rounds += 1

    async def more(self, rounds: int = 3) -> None:
        """Returns after so many further rounds; raises what ended it."""
        goal = self.rounds + rounds
        while self.rounds < goal:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0)

    async def stop(self) -> None:
        assert not self._task.done(), self._task
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


class Scene:
    """A server, its healthy client, and strangers who come."""

    def __init__(self, server: Any, healthy: Healthy) -> None:
        self.server = server
        self.healthy = healthy
        self._known = set(server.connections)
        self._stack = contextlib.ExitStack()

    async def stranger(self, **options: int) -> tuple[Stranger, Any]:
        """A new stranger and the server's connection to it."""
        sock = self._stack.enter_context(socket.socket())
        for option, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), value)
        sock.connect(("127.0.0.1", self.server.url.port))
        sock.setblocking(False)
        await until(lambda: self.server.connections - self._known)
        (conn,) = self.server.connections - self._known
        self._known.add(conn)
        return Stranger(sock), conn

    def close(self) -> None:
        self._stack.close()


@contextlib.asynccontextmanager
async def scene(style: str = "coroutines", message: Any = "well", **options: Any) -> AsyncIterator[Scene]:
    """An echo server in that style; at the end the healthy connection must have gone on echoing."""
    client = {name: options[name] for name in ("codec", "framing", "max_message") if name in options}
    async with serve("tcp://127.0.0.1:0", **{**in_style(style), **options}) as server:
        async with connect(server.url, **client) as conn:
            healthy = Healthy(conn, message)
            await healthy.more(1)
            made = Scene(server, healthy)
            try:
                yield made
                await healthy.more()
            finally:
                made.close()
                await healthy.stop()


async def ended_by(conn: Any, code: int, match: str) -> ConnectionClosed:
    """Waits for the end of a server's connection and checks how it was."""
    await until(lambda: conn.close_code is not None)
    assert conn.close_code == code, (conn.close_code, conn.close_reason)
    assert match in conn.close_reason
    error = conn.exception
    assert isinstance(error, ConnectionLost)
    return error
