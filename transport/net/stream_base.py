"""What a stream driver needs of a connected socket, whichever way the bytes move.

A base class and not a pair of functions, because a driver reads and writes at every wake-up, and compiled it does so
by plain C calls. It must never wait, and keeps nothing: errors come as the system gave them.
"""

from __future__ import annotations

import socket

from transport.machine import Buffer


class StreamSocket:
    """Reads and gathered writes on one non-blocking socket, which belongs to whoever made this."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def recv(self, size: int) -> bytes | None:
        """What has arrived, at most `size` bytes; None when nothing has, b"" at the end of the stream."""
        raise NotImplementedError

    def send(self, buffers: list[Buffer], offset: int) -> int:
        """Writes what the kernel takes of `buffers` (the first 64) without the first `offset` bytes.

        Returns:
            How many bytes were taken, -1 when none can be now.
        """
        raise NotImplementedError

    def send_run(self, run: bytearray) -> int:
        """The same for a single buffer."""
        return self.send([run], 0)
