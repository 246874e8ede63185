"""A client's datagram socket after its last owner has gone: for a moment it still repeats its session's goodbye.

The peer that said goodbye first waits for an answer, which may get lost (RFC 9000 section 10.2 has the same closing
state). Nobody waits for a lingering socket: a loop that ends before takes it along. It must never keep anything alive.
"""

from __future__ import annotations

import asyncio
import errno

from transport import limits
from transport.datagram.base import Endpoint
from transport.drive.datagram import Rooms
from transport.drive.timers import clock_of
from transport.net.datagram_base import DatagramSocket

REFUSED = frozenset({errno.ECONNREFUSED})


class Lingering:
    """Owns `sock` from now on, and closes it `ns` later; only its loop refers to it.

    Attributes:
        count: how many there are in this process.
    """

    count = 0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: DatagramSocket, endpoint: Endpoint, rooms: Rooms, ns: int
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._endpoint = endpoint
        self._rooms = rooms
        self._now = clock_of(loop)
        self._fd = sock.fileno()
        Lingering.count += 1
        loop.add_reader(self._fd, self._readable)
        loop.call_later(ns / limits.SECOND_NS, self._over)  # its handle is not kept: a circle would outlive the loop

    def _readable(self) -> None:
        now = self._now()
        try:
            self._sock.receive(self._endpoint, now)
            batch = self._rooms.batch
            batch.first, batch.count = 0, 1
            while self._endpoint.fill(batch.entries[0], self._rooms.views[0], now):
                batch.entries[0].offset = 0
                batch.first = 0
                self._sock.send(batch)  # what the kernel does not take is lost, as it might be on its way
        except OSError:
            self._over()
            return
        if self._sock.disturbed:
            self._sock.disturbed = False
            refused = any(code in REFUSED for _, code in self._sock.errors)
            self._sock.errors.clear()
            if refused:
                self._over()  # there is nobody to be told
            else:
                self._loop.remove_reader(self._fd)  # an error makes uvloop stop watching
                self._loop.add_reader(self._fd, self._readable)

    def _over(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            self._fd = -1
            Lingering.count -= 1
            self._sock.close()

    def __del__(self) -> None:
        """The loop was closed."""
        self._close()


def linger(loop: asyncio.AbstractEventLoop, sock: DatagramSocket, endpoint: Endpoint, rooms: Rooms, ns: int) -> bool:
    """Lets a socket linger if the loop can watch it, and not too many do; else it is still the caller's."""
    if ns <= 0 or not sock.selectable or loop.is_closed() or Lingering.count >= limits.LINGERING_SOCKETS_MAX:
        return False
    Lingering(loop, sock, endpoint, rooms, ns)
    return True
