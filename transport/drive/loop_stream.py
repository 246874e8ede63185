"""Runs a byte machine over a transport of the loop's own: TLS, and loops that have no `add_reader`.

It must hand the loop's transport no more than it takes without waiting: the rest stays in the machine, where it counts
against the connection's high-water mark and can still expire.
"""

from __future__ import annotations

import asyncio
from typing import Any

from transport.drive.base import Owner
from transport.drive.stream import StreamDriver
from transport.net.stream import peer_credentials


class LoopDriver(StreamDriver, asyncio.Protocol):
    """A byte machine on an asyncio transport, whose protocol it is.

    Connect it with `loop.create_connection(lambda: driver, ...)`, then `start` it. A TLS pipe can't be half-closed by
    these transports: when the machine has said its last, the pipe ends both ways. What the kernel has no room for waits
    in the TLS layer's socket transport, up to the loop's own mark (64 KiB), and is not part of `unsent_bytes`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, machine: Any) -> None:
        StreamDriver.__init__(self, loop, machine)
        self.transport: Any = None
        self._early: list[bytes] = []
        self._gone: tuple[BaseException | None] | None = None
        self._secure = False

    # From the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The pipe is open; nothing is read before `start`."""
        self.transport = transport
        self._secure = transport.get_extra_info("ssl_object") is not None
        # pause_writing at the first byte that has to wait. The TLS layer pauses at its mark, not above it: with a mark
        # of 0 it would pause an empty buffer and never resume.
        self.transport.set_write_buffer_limits(high=1 if self._secure else 0)
        self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self.owner is None or self._early:
            self._early.append(bytes(data))
        else:
            self.feed(bytes(data))

    def eof_received(self) -> bool:
        """The peer's stream has ended; a TLS pipe then closes itself, any other stays open for writing."""
        if self.owner is None or self._early:
            self._early.append(b"")
        elif not self._eof_in:
            self.feed(b"")
        return not self._secure

    def pause_writing(self) -> None:
        """Some bytes have to wait."""
        self._blocked = True

    def resume_writing(self) -> None:
        """All have left."""
        self.unsent_bytes = 0
        self._blocked = False
        if self.owner is not None:  # a handshake that is given up says this, too
            self.writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """The pipe is gone."""
        if self.owner is None or self._early:
            self._gone = (exc,)
            return
        if exc is None and not self._eof_in and not self._ended:
            self._blocked = True  # the machine may still answer, but nobody takes it
            self.feed(b"")
        if exc is None and self._has_more():
            self._gone = (exc,)  # what came before is looked at in turns, then this is over
        else:
            self.end(exc)

    def _has_more(self) -> bool:
        """Whether the machine holds input that it has not looked at."""
        return not self._ended and getattr(self.machine, "is_full", False)

    # From the driver

    def timer_fired(self, now: int) -> None:
        """The machine's deadline, or its next turn: the last one, if the pipe is gone."""
        StreamDriver.timer_fired(self, now)
        if self._gone is not None and not self._early and not self._has_more():
            self.end(self._gone[0])

    def start(self, owner: Owner) -> None:
        """Begins to read and write for `owner`."""
        StreamDriver.start(self, owner)
        if self._early or self._gone is not None:
            self.loop.call_soon(self._catch_up)

    def _catch_up(self) -> None:
        while self._early and not self._ended:
            data = self._early.pop(0)
            if data or not self._eof_in:
                self.feed(data)
        self._early.clear()
        if self._gone is not None:
            self.connection_lost(self._gone[0])  # type: ignore[arg-type]

    def info(self, owner: Owner, name: str) -> Any:
        """Whatever the loop's transport knows, and "peercred" of a Unix socket."""
        if name == "peercred":
            return peer_credentials(self.transport.get_extra_info("socket"))
        return self.transport.get_extra_info(name)

    def _write(self) -> bool:
        pending = self._pending
        self._pending = []
        self._offset = 0
        if self.transport.is_closing():  # by the TLS layer, which still has to tell us
            self._blocked = True
            self.unsent_bytes = 0
            return False
        self.transport.writelines(pending)
        # The TLS layer does not count what its socket's transport holds: if something waits, it is a byte at least.
        self.unsent_bytes = max(1, self.transport.get_write_buffer_size()) if self._blocked else 0
        return not self._blocked

    def _half_close(self) -> None:
        if self._secure:
            self.transport.close()
        elif not self.transport.is_closing():
            try:
                self.transport.write_eof()
            except OSError as error:  # reset by the peer, which the loop has not seen yet
                self.fail(error)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def _read_off(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def _close(self) -> None:
        """Everything had left before the machine's end was told; anything short of that is a cut."""
        if self._eof_out and self._eof_in:
            self.transport.close()
        else:
            self.transport.abort()
