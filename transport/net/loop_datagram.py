"""The datagram socket of loops that can't watch descriptors: `create_datagram_endpoint` and nothing else.

It has the contract of `transport.net.datagram.DatagramSocket`, with the differences that this way has: no offload, no
marks, no local addresses on a wildcard (the system picks the source), errors without a path unless connected.
What arrives between two turns of the driver is kept up to a bound, oldest dropped.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint
from transport.machine import Address, Path
from transport.net.datagram_base import DatagramSocket, Outgoing


class LoopDatagramSocket(DatagramSocket, asyncio.DatagramProtocol):
    """A datagram socket by a transport of the loop. Use `open_on_loop`, then `start`.

    Attributes are those of `DatagramSocket`; `overrun` counts datagrams dropped before the driver took them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, path: Path | None,
                 local: Address | None) -> None:  # fmt: skip
        DatagramSocket.__init__(self, sock, path, local)
        self.selectable = False
        self.overrun = 0
        self._loop = loop
        self._transport: Any = None
        self._paths: dict[Address, Path] = {}
        self._arrived: deque[tuple[Path, bytes]] = deque()
        self._readable: Callable[[], None] | None = None
        self._writable: Callable[[], None] | None = None
        self._is_called = False
        self._is_closed = False

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The endpoint is ready."""
        self._transport = transport
        if self._is_closed:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=limits.LOOP_WRITE_BUFFER_BYTES, low=0)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """A datagram came."""
        path = self.path
        if path is None:
            path = self._paths.get(addr)
            if path is None:
                if len(self._paths) >= limits.PATHS_CACHED_MAX:
                    del self._paths[next(iter(self._paths))]
                path = self._paths[addr] = Path(self.local, addr)
        if len(self._arrived) >= limits.LOOP_DATAGRAMS_QUEUED:
            self._arrived.popleft()
            self.overrun += 1
        self._arrived.append((path, data))
        self._call()

    def error_received(self, exc: Exception) -> None:
        """An error; whose, is known only on a connected socket."""
        if self.path is not None:
            self.errors.append((self.path, getattr(exc, "errno", None) or errno.EIO))
            self.disturbed = True
            self._call()

    def resume_writing(self) -> None:
        """The transport's buffer is empty again."""
        if self._writable is not None:
            self._writable()

    # From the driver

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Has `readable` called in a callback of its own when something came, `writable` after a send fell short."""
        self._readable = readable
        self._writable = writable
        if self._arrived or self.errors:
            self._call()

    def _call(self) -> None:
        if not self._is_called and self._readable is not None:
            self._is_called = True
            self._loop.call_soon(self._called)

    def _called(self) -> None:
        self._is_called = False
        if self._readable is not None:
            self._readable()

    def fileno(self) -> int:
        """-1 when closed; never to be watched."""
        return -1 if self._is_closed else self.sock.fileno()

    def receive(self, sink: Endpoint, now: int) -> int:
        """Everything that has come."""
        arrived, self._arrived = self._arrived, deque()
        self.received_bytes = sum([len(data) for _, data in arrived])
        sink.stamp = 0
        for path, data in arrived:
            sink.receive_many([data], path, 0, now)
        return len(arrived)

    def send(self, batch: Outgoing) -> bool:
        """Gives a batch to the transport, as far as its buffer is within bounds."""
        if self._is_closed:
            batch.first = batch.count
        while batch.first < batch.count:
            item = batch.entries[batch.first]
            if (
                item.size < 0
                or not 0 <= item.offset <= len(batch.room) - item.size
                or item.segment_bytes <= 0 < item.size
            ):
                raise ValueError("a batch entry lies outside its room, or has no segments")
            address = None if self.path is not None else item.path.remote
            while True:
                if self._transport.get_write_buffer_size() > limits.LOOP_WRITE_BUFFER_BYTES:
                    return False
                piece = bytes(batch.room[item.offset : item.offset + min(item.segment_bytes, item.size)])
                self._send_one(piece, address, item.path)
                item.offset += len(piece)
                item.size -= len(piece)
                if item.size <= 0:
                    break
            batch.first += 1
        return True

    def _send_one(self, piece: bytes, address: Any, path: Path) -> None:
        try:
            if piece:
                self._transport.sendto(piece, address)
            elif address is None:  # asyncio before 3.13 takes an empty datagram for nothing to do
                self.sock.send(piece)
            else:
                self.sock.sendto(piece, address)
        except (OSError, ValueError, TypeError) as error:
            self.unsent += 1
            self.disturbed = True
            self.errors.append((path, getattr(error, "errno", None) or errno.EINVAL))

    def close(self) -> None:
        """Closes the socket, and the transport in the loop's next turn."""
        if not self._is_closed:
            self.abandon()
            self.sock.close()

    def abandon(self) -> bool:
        """Closes the transport but not the socket; whether there is one."""
        self._is_closed = True
        self._readable = self._writable = None
        self._arrived.clear()
        if self._transport is not None:
            self._transport.abort()
        return self._transport is not None


async def open_on_loop(loop: asyncio.AbstractEventLoop, sock: socket.socket, path: Path | None,
                       local: Address | None) -> LoopDatagramSocket:  # fmt: skip
    """A datagram socket by `loop.create_datagram_endpoint`.

    The loop gets a descriptor of its own: a transport closes its socket in a later turn, and uvloop never ends if that
    was closed before.

    Raises:
        OSError: as the loop gave it; `sock` is the caller's then.
    """
    made = LoopDatagramSocket(loop, sock, path, local)
    theirs = sock.dup()
    theirs.setblocking(False)
    try:
        await loop.create_datagram_endpoint(lambda: made, sock=theirs)
    except BaseException:
        if not made.abandon():  # the transport may be on its way: what it holds must not be closed before it
            loop.call_soon(_abandon, made, theirs)
        raise
    return made


def _abandon(made: LoopDatagramSocket, theirs: socket.socket) -> None:
    if not made.abandon():
        theirs.close()
