"""The callback style's base class: asyncio's own names, messages instead of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transport.drive.connection import Connection


class Protocol:
    """Subclass it, override what you need, give the class to `serve` or `connect` as `protocol=`.

    Callbacks run on the event loop and must not block. One that raises closes its own connection with
    `CloseCode.INTERNAL_ERROR` and is logged.
    """

    def connection_made(self, conn: Connection) -> None:
        """The connection is open."""

    def message_received(self, message: Any, channel: int) -> None:
        """A message came. It counts as consumed, for flow control, when this returns."""

    def stream_received(self, stream: Any) -> None:
        """The peer opened a stream (`IncomingStream`); read it in a task of your own."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is over; None after a clean close, else a `ConnectionLost`. The last callback."""

    def pause_writing(self) -> None:
        """The outbound buffer is above its high-water mark."""

    def resume_writing(self) -> None:
        """The outbound buffer is below its low-water mark again."""
