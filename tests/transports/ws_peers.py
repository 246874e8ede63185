"""Peers of a WebSocket server that say what they like, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

from tests.websocket.by_hand import frames_of, request

URL = "ws://127.0.0.1:0"


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


class Stranger:
    """A bare socket that says what it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard = b""
        self.ended = False

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self, wanted: bytes = b"") -> bytes:
        """Reads until `wanted` has come, or to the end; gives everything and forgets it."""
        while not self.ended and not (wanted and wanted in self.heard):
            try:
                data = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            except ConnectionError:
                data = b""
            self.ended = not data
            self.heard += data
        found, self.heard = self.heard, b""
        return found

    async def frames(self, count: int) -> list[Any]:
        """So many frames."""
        while len(frames_of(self.heard)[0]) < count and not self.ended:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            self.ended = not data
            self.heard += data
        found, self.heard = frames_of(self.heard)
        return found


@contextlib.asynccontextmanager
async def stranger(server: Any) -> AsyncIterator[Stranger]:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.url.port))
        yield Stranger(sock)
    finally:
        sock.close()


@contextlib.asynccontextmanager
async def shaken(server: Any) -> AsyncIterator[Stranger]:
    """The same, behind its handshake."""
    async with stranger(server) as peer:
        await peer.say(request(path=server.url.path or "/"))
        head = await peer.hear(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        peer.heard = head.partition(b"\r\n\r\n")[2]
        yield peer
