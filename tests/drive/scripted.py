"""A machine that does as it is told, an owner that keeps a book, and a driver between them on a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import Any

from transport.drive.base import Owner
from transport.drive.stream import SocketDriver


class Scripted:
    """A byte machine: hands out `output` a batch at a time, keeps what came, fails where it is told to."""

    def __init__(self, *output: Sequence[Any]) -> None:
        self.output = list(output)
        self.received: list[bytes] = []
        self.said: list[Any] = []  # events for the next call
        self.due: int | None = None
        self.expired: list[int] = []
        self.fails: dict[str, BaseException] = {}
        self.calls: dict[str, int] = {}

    def _enter(self, verb: str) -> None:
        self.calls[verb] = self.calls.get(verb, 0) + 1
        if verb in self.fails:
            raise self.fails[verb]

    def receive(self, data: bytes, now: int) -> None:
        self._enter("receive")
        assert now > 0
        self.received.append(bytes(data))

    def transmit(self, now: int) -> Sequence[Any]:
        self._enter("transmit")
        return self.output.pop(0) if self.output else []

    def events(self) -> Sequence[Any]:
        self._enter("events")
        said, self.said = self.said, []
        return said

    def deadline(self) -> int | None:
        self._enter("deadline")
        return self.due

    def expire(self, now: int) -> None:
        self._enter("expire")
        assert self.due is not None
        assert now >= self.due
        self.expired.append(now)
        self.due = None

    @property
    def data(self) -> bytes:
        return b"".join(self.received)


class Book(Owner):
    """Notes what a driver tells it; nothing may come after `lost`."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.delivered = 0
        self.flushes = 0
        self.events: list[Any] = []
        self.losses: list[BaseException | None] = []
        self.gone = asyncio.Event()
        self.on_deliver: Any = None
        self.on_flushed: Any = None

    def deliver(self) -> None:
        assert not self.losses
        self.delivered += 1
        self.events += self.machine.events()
        if self.on_deliver is not None:
            self.on_deliver()

    def flushed(self) -> None:
        assert not self.losses
        self.flushes += 1
        if self.on_flushed is not None:
            self.on_flushed()

    def lost(self, error: BaseException | None) -> None:
        assert not self.losses
        self.losses.append(error)
        self.gone.set()


def driven(sock: socket.socket, machine: Scripted, start: bool = True) -> tuple[SocketDriver, Book]:
    """A driver and an owner for a machine on a socket."""
    sock.setblocking(False)
    driver = SocketDriver(asyncio.get_running_loop(), machine, sock)
    book = Book(machine)
    if start:
        driver.start(book)
    return driver, book


async def read_to_the_end(sock: socket.socket) -> bytes:
    """What a peer hears until the stream ends."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    heard = b""
    while data := await loop.sock_recv(sock, 1 << 16):
        heard += data
    return heard
