"""Reads and writes on stream sockets: the native calls where they were built, else the same by the standard library.

`handle(sock)` gives what `recv` and `send` take. Both return instead of waiting; errors come as the system gave them.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from transport import limits
from transport.machine import Buffer

try:
    from transport.net import _native
except ImportError:  # portable build
    _native = None  # type: ignore[assignment]


def portable_recv(sock: socket.socket, size: int) -> bytes | None:
    """What has arrived, at most `size` bytes; None when nothing has, b"" at the end."""
    try:
        return sock.recv(size)
    except (BlockingIOError, InterruptedError):
        return None


def portable_send(sock: socket.socket, buffers: Sequence[Buffer], offset: int = 0) -> int:
    """Writes what the kernel takes of `buffers` (the first 64), without the first `offset` bytes; -1 for none now."""
    first: Buffer = memoryview(buffers[0])[offset:] if offset else buffers[0]
    try:
        if len(buffers) == 1 or not hasattr(sock, "sendmsg"):
            return sock.send(first)
        return sock.sendmsg([first, *buffers[1 : limits.WRITE_BUFFERS_MAX]])
    except (BlockingIOError, InterruptedError):
        return -1


def portable_handle(sock: socket.socket) -> socket.socket:
    """The socket itself."""
    return sock


def native_handle(sock: socket.socket) -> int:
    """The descriptor."""
    return sock.fileno()


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
    recv: Any = _native.recv
    send: Any = _native.send
    handle: Any = native_handle
else:
    recv, send, handle = portable_recv, portable_send, portable_handle


def settle_allocator() -> None:
    """Has the C library keep a little more freed memory for the next read and write.

    glibc gives blocks of 128 KiB and more back to the system at once until the first such block is freed, and raises
    its thresholds to that block's size then (mallopt(3), M_MMAP_THRESHOLD). Buffers of that size come and go with
    every read; page faults for them cost a third of the throughput of 1 KB messages. One block, never touched and
    freed at once, settles it: at most twice its size stays with the process.
    """
    bytes(limits.ALLOCATOR_BLOCK_BYTES)


settle_allocator()
