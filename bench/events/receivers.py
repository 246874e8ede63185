"""What receives: sockets without a library behind them, the same program for every server. A process of its own.

After what its protocol begins with a connection says nothing more. Its bytes are read and the events in them counted by
the mark that each carries; nothing is taken apart, whatever the protocol. So what receives costs the same for all, and
little, and no library's client stands in for its server. Reliable UDP alone has to be answered: there our own client
receives, by callbacks. Run as `python -m bench.events.receivers`. It must never leave a lost connection unsaid.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import select
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from bench.events.rooms import MARK, NAMESPACE, SOCKETIO
from bench.events.tally import Tally
from bench.peers.base import fastest_loop
from bench.probes.connections import hear, say

READ_BYTES = 1 << 16
TAIL = len(MARK) - 1  # of what was read before: a mark may come in two pieces
OPEN_S = 20.0
FINISH_S = 15.0
LOOK_S = 0.05
AT_ONCE = 50  # of reliable UDP, under way
WINDOW = 1 << 60  # of credit: nothing is ever granted anew
TEXT_FRAME, BINARY_FRAME = 0x81, 0x82
PREFACE_BYTES_MIN = 7


@dataclass(frozen=True, slots=True)
class Opening:
    """What a connection says, and when.

    Attributes:
        first: at once.
        is_answered: whether the server has said enough for the rest.
        rest: after that, and then nothing more.
    """

    first: bytes
    is_answered: Callable[[bytes], bool]
    rest: bytes


def hello() -> bytes:
    """The first frame of the events protocol."""
    from transport.events import envelope

    return envelope.hello(envelope.Hello(NAMESPACE, None, "", b"", 0, 0, []))


def websocket_frame(head: int, body: bytes) -> bytes:
    """A client's frame. It has to be masked; a mask of zeros leaves the body as it is."""
    size = len(body)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([head]) + length + bytes(4) + body


def is_upgraded(answer: bytes) -> bool:
    """Whether a server has agreed to WebSocket. Raises ConnectionError if it has said something else."""
    if not b"HTTP/1.1 101".startswith(answer[:12]):
        raise ConnectionError(f"no WebSocket: {answer[:60]!r}")
    return b"\r\n\r\n" in answer


def upgrade(target: str, place: str, rest: bytes) -> Opening:
    """Of a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        f"GET {target} HTTP/1.1", f"Host: {place}", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
    ]  # fmt: skip
    return Opening("".join([f"{line}\r\n" for line in lines]).encode() + b"\r\n", is_upgraded, rest)


def opening_of(peer: str, place: str) -> Opening:
    """How a connection to a server at `place` (host:port) begins. Raises ValueError for one that is not plain bytes."""
    if peer == SOCKETIO:  # "40": Engine.IO message, Socket.IO connect to the namespace "/"
        return upgrade("/socket.io/?EIO=4&transport=websocket", place, websocket_frame(TEXT_FRAME, b"40"))
    if peer == "ws":
        return upgrade("/", place, websocket_frame(BINARY_FRAME, hello()))
    if peer != "tcp":
        raise ValueError(f"{peer} is more than bytes")
    from transport.codec import varint
    from transport.stream.preface import Preface

    first = Preface(channel_window=WINDOW, connection_window=WINDOW).encode()
    body = hello()
    return Opening(first, lambda answer: len(answer) >= PREFACE_BYTES_MIN, b"\0" + varint.encode(len(body)) + body)


class Receivers:
    """Many connections in one loop over epoll.

    Args:
        opening: how each of them begins.
        place: host and port of the server.
        tally: where the count of all events is shown.
        deaf: so many, the first ones, are never read.
    """

    def __init__(self, opening: Opening, place: tuple[str, int], tally: Tally, deaf: int = 0) -> None:
        self.opening = opening
        self.place = place
        self.tally = tally
        self.deaf = deaf
        self.unread: list[socket.socket] = []
        self.sockets: dict[int, socket.socket] = {}
        self.counts: dict[int, int] = {}
        self.bytes = 0
        self.epoll = select.epoll()
        self._tails: dict[int, bytes] = {}
        self._buffer = bytearray(TAIL + READ_BYTES)
        self._room = memoryview(self._buffer)[TAIL:]

    def open(self, count: int) -> None:
        """Until there are so many, one after the other. Raises OSError."""
        while len(self.sockets) + len(self.unread) < count:
            sock = socket.create_connection(self.place, timeout=OPEN_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(self.opening.first)
            answer = b""
            while not answer or not self.opening.is_answered(answer):
                part = sock.recv(READ_BYTES)
                if not part:
                    raise ConnectionError(f"the server closed a connection behind {answer[:60]!r}")
                answer += part
            sock.sendall(self.opening.rest)
            self.add(sock)

    def add(self, sock: socket.socket) -> None:
        """One more, to be read or not."""
        sock.setblocking(False)
        if len(self.unread) < self.deaf:
            self.unread.append(sock)
            return
        number = sock.fileno()
        self.sockets[number] = sock
        self.counts[number] = 0
        self._tails[number] = bytes(TAIL)
        self.epoll.register(number, select.EPOLLIN)

    def take(self, number: int) -> None:
        """Reads once, and counts. Raises ConnectionError at the end of a connection."""
        buffer = self._buffer
        try:
            size = self.sockets[number].recv_into(self._room)
        except BlockingIOError:
            return
        if not size:
            raise ConnectionError("the server closed a connection")
        buffer[:TAIL] = self._tails[number]
        found = buffer.count(MARK, 0, TAIL + size)
        self._tails[number] = bytes(buffer[size : size + TAIL])
        self.counts[number] += found
        self.bytes += size
        self.tally.value += found

    def turn(self, seconds: float) -> bool:
        """Reads what has come, waiting so long for it; whether a line waits on standard input."""
        asked = False
        for number, _ in self.epoll.poll(seconds):
            if number in self.sockets:
                self.take(number)
            else:
                asked = True
        return asked

    def finish(self, expected: int) -> dict[str, int]:
        """Waits, not for ever, until each connection that is read has so many events; what there is then."""
        until = monotonic() + FINISH_S
        while self.tally.value < expected * len(self.sockets) and monotonic() < until:
            self.turn(LOOK_S)
        return {"least": min(self.counts.values()), "most": max(self.counts.values()), "bytes": self.bytes}

    def run(self) -> None:
        """Does what the lines on standard input ask for, until it ends; reads all the time."""
        self.epoll.register(0, select.EPOLLIN)
        while True:
            if not self.turn(-1):
                continue
            line = sys.stdin.readline()
            if not line:
                return
            order = json.loads(line)
            if "open" in order:
                self.open(order["open"])
                say({"opened": order["open"]})
            else:
                say({"finished": self.finish(order["finish"])})


class Clients:
    """The same with our own clients, for a scheme that has to be answered.

    Args:
        url: of the server.
        tally: as above.
    """

    def __init__(self, url: str, tally: Tally) -> None:
        self.url = url
        self.tally = tally
        self.counts: list[int] = []
        self.bytes = 0
        self.lost: BaseException | None = None

    async def _open_one(self) -> None:
        import transport

        counts, tally, place = self.counts, self.tally, len(self.counts)
        counts.append(0)
        outer = self

        class Receiver(transport.Protocol):
            def connection_made(self, conn: Any) -> None:
                self.conn = conn
                conn.send_nowait(hello())

            def message_received(self, message: Any, channel: int) -> None:
                outer.bytes += len(message)
                if MARK in message:
                    counts[place] += 1
                    tally.value += 1

            def connection_lost(self, error: Exception | None) -> None:
                outer.lost = error or ConnectionError("the server closed a connection")

        await transport.connect(self.url, protocol=Receiver, codec="raw")

    async def open(self, count: int) -> None:
        """Until there are so many."""
        while len(self.counts) < count:
            some = min(AT_ONCE, count - len(self.counts))
            await asyncio.gather(*[self._open_one() for _ in range(some)])

    async def finish(self, expected: int) -> dict[str, int]:
        """See `Receivers`. Raises what ended a connection."""
        until = monotonic() + FINISH_S
        every = expected * len(self.counts)
        while self.tally.value < every and monotonic() < until and self.lost is None:  # noqa: ASYNC110  (as above)
            await asyncio.sleep(LOOK_S)
        if self.lost is not None:
            raise self.lost
        return {"least": min(self.counts), "most": max(self.counts), "bytes": self.bytes}

    async def run(self) -> None:
        """See `Receivers`."""
        while True:
            order = await hear()
            if "open" in order:
                await self.open(order["open"])
                say({"opened": order["open"]})
            else:
                say({"finished": await self.finish(order["finish"])})


def main() -> None:
    """Pins itself, then connects as it is told."""
    config = json.loads(sys.stdin.readline())
    if config["pin"]:
        os.sched_setaffinity(0, config["pin"])
    try:
        tally = Tally(config["tally"])
        say({"ready": True})
        if config["peer"] == "rudp":
            fastest_loop().run_until_complete(Clients(config["address"], tally).run())
        else:
            place = urlsplit(config["address"])
            opening = opening_of(config["peer"], place.netloc)
            Receivers(opening, (str(place.hostname), place.port or 0), tally, config.get("deaf", 0)).run()
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
