"""Messages that keep the kind that WebSocket knows: `str` is a text message, `bytes` a binary one.

Between the codec here and the session the kind is one byte in front of the message, the opcode of its frame. It must
never let anything through that is neither.
"""

from __future__ import annotations

from transport.errors import CodecError

KIND_TEXT, KIND_BINARY = b"\x01", b"\x02"  # opcodes (RFC 6455 section 5.2)


class KindsCodec:
    """The codec of a `SocketRoute`."""

    name = "kinds"

    def encode(self, message: object) -> bytes:
        """Raises CodecError for what is neither text nor bytes."""
        if isinstance(message, str):
            try:
                return KIND_TEXT + message.encode()
            except UnicodeEncodeError as error:
                raise CodecError(f"a text message has characters that are no text: {error}") from None
        if isinstance(message, bytes | bytearray | memoryview):
            return KIND_BINARY + message
        raise CodecError(f"a message here is str or bytes, not {type(message).__name__}")

    def decode(self, payload: bytes) -> str | bytes:
        """Text, which the session has checked, or bytes."""
        return payload[1:].decode() if payload[:1] == KIND_TEXT else payload[1:]
