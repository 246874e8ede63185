"""Reads and writes on stream sockets: the native calls where they were built, else the same by the standard library.

`stream_socket(sock)` gives the one or the other; `transport.net.stream_base` says what both do.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, NamedTuple

from transport import limits
from transport.machine import Buffer
from transport.net.stream_base import StreamSocket

try:
    from transport.net import _native
except ImportError:  # portable build
    _native = None  # type: ignore[assignment]


class PortableStreamSocket(StreamSocket):
    """The contract by the standard library."""

    def recv(self, size: int) -> bytes | None:
        """See `StreamSocket`."""
        try:
            return self.sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return None

    def send(self, buffers: list[Buffer], offset: int) -> int:
        """See `StreamSocket`."""
        first: Buffer = memoryview(buffers[0])[offset:] if offset else buffers[0]
        try:
            if len(buffers) == 1 or not hasattr(self.sock, "sendmsg"):
                return self.sock.send(first)
            return self.sock.sendmsg([first, *buffers[1 : limits.WRITE_BUFFERS_MAX]])
        except (BlockingIOError, InterruptedError):
            return -1


class PeerCredentials(NamedTuple):
    """Who is at the other end of a Unix socket: numbers of process, user and group."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: Any) -> PeerCredentials | None:
    """What the kernel noted when `sock` was connected (unix(7), SO_PEERCRED); None where it does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or sock is None or sock.family != socket.AF_UNIX:
        return None
    layout = struct.Struct("iII")
    try:
        return PeerCredentials(*layout.unpack(sock.getsockopt(socket.SOL_SOCKET, option, layout.size)))
    except OSError:
        return None


if _native is not None:
    stream_socket: Any = _native.StreamSocket
else:
    stream_socket = PortableStreamSocket


def settle_allocator() -> None:
    """Has the C library keep a little more freed memory for the next read and write.

    glibc gives blocks of 128 KiB and more back to the system at once until the first such block is freed, and raises
    its thresholds to that block's size then (mallopt(3), M_MMAP_THRESHOLD). Buffers of that size come and go with
    every read; page faults for them cost a third of the throughput of 1 KB messages. One block, never touched and
    freed at once, settles it: at most twice its size stays with the process.
    """
    bytes(limits.ALLOCATOR_BLOCK_BYTES)


settle_allocator()
