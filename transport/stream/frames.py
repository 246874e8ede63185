"""The frames of our own stream framing: kinds, and how a header is written (docs/protocol.md has the layout).

head u8 (kind << 4 | channel present << 3 | delivery), [channel varint], length varint, body
"""

from __future__ import annotations

from typing import Final

from transport.codec import varint

MESSAGE: Final = 0
CHANNEL_CREDIT: Final = 1
CONNECTION_CREDIT: Final = 2
PING: Final = 3
PONG: Final = 4
CLOSE: Final = 5
STREAM_OPEN: Final = 6
STREAM_DATA: Final = 7
STREAM_END: Final = 8
STREAM_RESET: Final = 9
STREAM_CREDIT: Final = 10
IGNORABLE: Final = 12  # kinds from here on may be passed over by who does not know them

HAS_CHANNEL: Final = 8
DELIVERY_MASK: Final = 3
RESERVED_BIT: Final = 4

CONTROL_BYTES_MAX: Final = 1024  # largest body of any frame but MESSAGE and STREAM_DATA
TOKEN_BYTES: Final = 8  # body of PING and PONG


def header(kind: int, size: int, channel: int = 0, delivery: int = 0) -> bytes:
    """The header of a frame with a body of `size` bytes."""
    head = kind << 4 | delivery
    if channel:
        return bytes([head | HAS_CHANNEL]) + varint.encode(channel) + varint.encode(size)
    return bytes([head]) + varint.encode(size)


def numbers(kind: int, *values: int, tail: bytes = b"") -> bytes:
    """A control frame whose body is varints, then `tail`."""
    body = b"".join([varint.encode(value) for value in values]) + tail
    return header(kind, len(body)) + body
