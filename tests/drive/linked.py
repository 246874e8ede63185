"""Two connections joined by a socket pair on the running loop, and one connection with a bare socket at its end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tests.stream.joined import Frame, frames_of, preface_size
from transport.codec.base import resolve
from transport.delivery import Traits
from transport.drive.connection import Connection
from transport.drive.protocol import Protocol
from transport.drive.records import Settings
from transport.drive.stream import SocketDriver
from transport.drive.timers import clock_of
from transport.stream.config import StreamConfig
from transport.stream.preface import Preface
from transport.stream.session import StreamSession
from transport.url import parse

TRAITS = Traits(reliable=True, ordered=True, channels=256, ping=True, close_reason=True, streams=True)
URL = parse("tcp://127.0.0.1:1")
SETTINGS = ("high_water", "low_water", "inbox", "auto_pause")


async def until(condition: Callable[[], object]) -> None:
    """Lets the loop turn until `condition` holds; a test that waits for ever is stopped by its time limit."""
    while not condition():
        await asyncio.sleep(0)


async def turns(count: int = 20) -> None:
    """Gives everything that is ready its turn, for tests that want to see that nothing happens."""
    for _ in range(count):
        await asyncio.sleep(0)


def on_socket(sock: socket.socket, *, codec: Any = "raw", protocol: Any = None, **options: Any) -> Connection:
    """A connection on one end of a stream socket, started."""
    loop = asyncio.get_running_loop()
    settings = Settings(**{name: options.pop(name) for name in SETTINGS if name in options})
    sock.setblocking(False)
    session = StreamSession(StreamConfig(**options), clock_of(loop)())
    driver = SocketDriver(loop, session, sock)
    conn = Connection(session, driver, resolve(codec), TRAITS, URL, (None, None), settings, protocol)
    driver.start(conn)
    return conn


def pipe(sndbuf: int = 0) -> tuple[socket.socket, socket.socket]:
    """A pair of stream sockets, with small buffers where a test wants them full."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if sndbuf:
        for end in ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    return ends


def tcp_pipe() -> tuple[socket.socket, socket.socket]:
    """The two ends of a TCP connection, for what only TCP can do: a reset."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    return client, accepted


async def linked(
    *, sndbuf: int = 0, protocols: tuple[Any, Any] = (None, None), **options: Any
) -> tuple[Connection, Connection]:
    """Two open connections that talk to each other."""
    left, right = pipe(sndbuf)
    one = on_socket(left, protocol=protocols[0], **options)
    two = on_socket(right, protocol=protocols[1], **options)
    await one.wait_open()
    await two.wait_open()
    return one, two


class Peer:
    """The far end of a connection, held by the test: says and hears bytes."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.heard = b""

    async def say(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def hello(self, **preface: Any) -> None:
        """Both prefaces."""
        await self.say(Preface(**preface).encode())
        while len(self.heard) < 7 or len(self.heard) < preface_size(self.heard):
            await self.hear_more()
        self.heard = self.heard[preface_size(self.heard) :]

    async def hear_more(self) -> bool:
        data = await self.loop.sock_recv(self.sock, 1 << 16)
        self.heard += data
        return bool(data)

    async def frames(self, count: int) -> list[Frame]:
        """The next `count` frames, after the prefaces."""
        while True:
            found, left = frames_of(self.heard)
            if len(found) >= count:
                self.heard = self.heard[_size(found[:count], self.heard) :]
                return found[:count]
            assert await self.hear_more(), f"the end came after {found} {left!r}"

    async def to_the_end(self) -> list[Frame]:
        """Every frame up to the end of the stream."""
        while await self.hear_more():
            pass
        found, left = frames_of(self.heard)
        assert not left
        return found

    def close(self) -> None:
        self.sock.close()


def _size(found: list[Frame], data: bytes) -> int:
    """How many bytes of `data` those frames take."""
    end = 0
    for _ in found:
        for size in range(1, len(data) - end + 1):
            if frames_of(data[end : end + size])[0]:
                end += size
                break
    return end


async def peered(*, hello: dict[str, Any] | None = None, **options: Any) -> tuple[Connection, Peer]:
    """A connection that is open towards a test, over TCP. `hello`: what the test says of itself."""
    near, far = tcp_pipe()
    conn = on_socket(near, **options)
    peer = Peer(far)
    await peer.hello(**(hello or {}))
    await conn.wait_open()
    return conn, peer


def exceptions_of(loop: asyncio.AbstractEventLoop) -> list[dict[str, Any]]:
    """What the loop's exception handler is told from now on, in place of the log."""
    told: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    return told


async def done(*conns: Connection) -> None:
    """The end of a test that is not about ends."""
    for conn in conns:
        conn.abort()
        await conn.wait_closed()


class Noted(Protocol):
    """Notes every callback; nothing may come after the last."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.messages: list[Any] = []
        self.conn: Any = None
        self.over = False

    def note(self, *what: Any) -> None:
        assert not self.over, f"{what} after connection_lost"
        self.log.append(what[0] if len(what) == 1 else what)

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        self.note("made")

    def message_received(self, message: Any, channel: int) -> None:
        self.note("message")
        self.messages.append((message, channel))

    def connection_lost(self, error: Exception | None) -> None:
        self.note("lost", error)
        self.over = True

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")
