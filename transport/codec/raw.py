"""Bytes as they are.

For programs that bring their own encoding. It must never guess one: text is refused, not encoded.
"""

from __future__ import annotations

from transport.errors import CodecError


class RawCodec:
    """Messages are bytes. A bytearray or memoryview is copied, because its owner may change it before it leaves."""

    name = "raw"

    def encode(self, message: object) -> bytes:
        """The message itself. Raises CodecError for anything but bytes, bytearray and memoryview."""
        if type(message) is bytes:
            return message
        if isinstance(message, bytes | bytearray | memoryview):
            return bytes(message)
        if isinstance(message, str):
            raise CodecError("the raw codec sends bytes, not str: send message.encode(), or use codec='msgpack'")
        raise CodecError(f"the raw codec sends bytes, not {type(message).__name__}: use codec='msgpack'")

    def decode(self, payload: bytes) -> bytes:
        """The payload itself."""
        return payload
