"""No framing: what comes in one read is one message.

For byte streams that need no messages. Boundaries mean nothing: the network joins and splits as it likes. It must never
hold anything back.
"""

from __future__ import annotations

from transport.errors import LocalProtocolError


class Chunks:
    """The framing "bytes".

    Args:
        max_message: what comes is given in pieces of at most so many bytes.
    """

    def __init__(self, max_message: int) -> None:
        if max_message < 1:
            raise LocalProtocolError(f"bytes: max_message of {max_message} is not positive")
        self.max_message = max_message

    def encode(self, payload: bytes) -> bytes:
        """The payload itself. Raises LocalProtocolError for an empty one, which would leave no trace."""
        if not payload:
            raise LocalProtocolError("an empty message leaves no trace on a pipe without framing")
        return payload

    def decoder(self) -> ChunkDecoder:
        """A decoder for a new connection."""
        return ChunkDecoder(self.max_message)


class ChunkDecoder:
    """Passes one connection's input on."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message

    def feed(self, data: bytes) -> list[bytes]:
        """See `FrameDecoder.feed`."""
        size = self._max
        if len(data) <= size:
            return [data]
        return [data[pos : pos + size] for pos in range(0, len(data), size)]

    def eof(self) -> None:
        """A stream of bytes may end anywhere."""
