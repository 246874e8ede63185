"""Messages behind their length, four bytes, big-endian.

The commonest of all binary framings. It must never set memory aside for a length: a body grows with what comes.
"""

from __future__ import annotations

from transport.codec import memory
from transport.codec.framing.base import MalformedFrame
from transport.errors import CloseCode, LocalProtocolError
from transport.machine import Buffer

LENGTH_BYTES = 4
BY_REFERENCE_BYTES = 16 * 1024  # from here on a payload is not copied behind its length
_BY_REFERENCE = BY_REFERENCE_BYTES


class Length32:
    """The framing "length32".

    Args:
        max_message: largest payload in bytes, both ways.
    """

    def __init__(self, max_message: int) -> None:
        if not 0 < max_message < 1 << 32:
            raise LocalProtocolError(f"length32: max_message of {max_message} is not within 1 to 2**32 - 1")
        self.max_message = max_message

    def encode(self, payload: bytes) -> bytes | list[Buffer]:
        """The length and the payload."""
        size = len(payload)
        head = size.to_bytes(LENGTH_BYTES, "big")
        return head + payload if size < _BY_REFERENCE else [head, payload]

    def decoder(self) -> Length32Decoder:
        """A decoder for a new connection."""
        return Length32Decoder(self.max_message)


class Length32Decoder:
    """Cuts one connection's input."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._head = b""  # of a length that has not come whole
        self._body = bytearray()  # of a body that has not come whole
        self._missing = 0  # bytes of that body

    def feed(self, data: bytes) -> list[bytes]:
        """See `FrameDecoder.feed`."""
        payloads: list[bytes] = []
        pos = 0
        end = len(data)
        if self._missing:
            if end < self._missing:
                self._body += data
                self._missing -= end
                return payloads
            pos = self._missing
            self._body += memory.cut(data, 0, pos)
            payloads.append(bytes(self._body))
            self._body = bytearray()
            self._missing = 0
        elif self._head:
            data = self._head + data
            end = len(data)
            self._head = b""
        while end - pos >= 4:
            size = data[pos]
            size = (size << 8) | data[pos + 1]
            size = (size << 8) | data[pos + 2]
            size = (size << 8) | data[pos + 3]
            pos += 4
            if size > self._max:
                raise _too_large(size, self._max, payloads)
            if size > end - pos:
                self._body = bytearray(memory.cut(data, pos, end))
                self._missing = size - (end - pos)
                return payloads
            payloads.append(memory.cut(data, pos, pos + size))
            pos += size
        self._head = memory.cut(data, pos, end)
        return payloads

    def eof(self) -> None:
        """See `FrameDecoder.eof`."""
        if self._head:
            raise MalformedFrame("truncated frame: the stream ended within a length", CloseCode.LOST)
        if self._missing:
            raise MalformedFrame(f"truncated frame: {self._missing} bytes are missing", CloseCode.LOST)


def _too_large(size: int, limit: int, payloads: list[bytes]) -> MalformedFrame:
    return MalformedFrame(f"a frame of {size} bytes is over the limit of {limit} bytes", CloseCode.TOO_LARGE, payloads)
