"""What each side of a byte pipe says first: magic, version and its limits, without waiting for the other.

Layout (normative text and vectors: docs/protocol.md):
magic 4 bytes, version u8, length u16 big-endian of the parameters, then {id varint, length varint, value}*.
Unknown parameters are ignored, so a later version can add some. It must never allocate for an unchecked length.
"""

from __future__ import annotations

from dataclasses import dataclass

from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, RemoteProtocolError

MAGIC = b"\xd4TRp"
VERSION = 1
HEAD_BYTES = len(MAGIC) + 3

MAX_MESSAGE, CHANNELS, CHANNEL_WINDOW, CONNECTION_WINDOW, STREAM_WINDOW, CODEC = range(1, 7)

_FOREIGN = (
    ((b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"HTTP"), "HTTP; ws:// speaks that"),
    ((b"\x16\x03", b"\x15\x03"), "TLS; tls:// speaks that"),
    ((b"SSH-",), "SSH"),
)


@dataclass(frozen=True, slots=True)
class Preface:
    """The limits of one side. Bytes, except `channels` (a count) and `codec` (a name, empty for unsaid)."""

    max_message: int = limits.MESSAGE_BYTES_DEFAULT
    channels: int = limits.CHANNELS_MAX
    channel_window: int = limits.CHANNEL_WINDOW_BYTES
    connection_window: int = limits.CONNECTION_WINDOW_BYTES
    stream_window: int = limits.STREAM_WINDOW_BYTES
    codec: str = ""

    def encode(self) -> bytes:
        """The bytes to send first."""
        body = bytearray()
        for key, value in (
            (MAX_MESSAGE, varint.encode(self.max_message)),
            (CHANNELS, varint.encode(self.channels)),
            (CHANNEL_WINDOW, varint.encode(self.channel_window)),
            (CONNECTION_WINDOW, varint.encode(self.connection_window)),
            (STREAM_WINDOW, varint.encode(self.stream_window)),
            (CODEC, self.codec.encode()),
        ):
            body += varint.encode(key) + varint.encode(len(value)) + value
        if len(body) > limits.PREFACE_BYTES_MAX:
            raise ValueError(f"a preface of {len(body)} bytes is over the limit of {limits.PREFACE_BYTES_MAX}")
        return MAGIC + bytes([VERSION]) + len(body).to_bytes(2, "big") + bytes(body)


def parse(data: bytes) -> tuple[Preface, int] | None:
    """The preface at the start of `data` and its size, or None while it is incomplete.

    Raises:
        RemoteProtocolError: what is there can't become a preface of ours.
    """
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        raise RemoteProtocolError(f"wrong preface: {_guess(data)}")
    if len(data) > len(MAGIC) and data[len(MAGIC)] != VERSION:
        raise RemoteProtocolError(f"unsupported version {data[len(MAGIC)]}, this side speaks {VERSION}")
    if len(data) < HEAD_BYTES:
        return None
    size = int.from_bytes(data[HEAD_BYTES - 2 : HEAD_BYTES], "big")
    if size > limits.PREFACE_BYTES_MAX:
        raise RemoteProtocolError(f"preface of {size} bytes is over the limit of {limits.PREFACE_BYTES_MAX}")
    if len(data) < HEAD_BYTES + size:
        return None
    return _parameters(data[HEAD_BYTES : HEAD_BYTES + size]), HEAD_BYTES + size


def _guess(data: bytes) -> str:
    for starts, name in _FOREIGN:
        if data.startswith(starts):
            return f"this looks like {name}"
    return "the peer does not speak this protocol"


def _parameters(body: bytes) -> Preface:
    values: dict[int, bytes] = {}
    position = 0
    try:
        while position < len(body):
            key, position = varint.decode(body, position)
            size, position = varint.decode(body, position)
            if position + size > len(body):
                raise ValueError("parameter runs past the end")
            if key in values:
                raise ValueError(f"parameter {key} stands twice")
            values[key] = body[position : position + size]
            position += size
        numbers = {key: _number(values[key]) for key in range(MAX_MESSAGE, CODEC) if key in values}
        codec = values.get(CODEC, b"").decode()
    except ValueError as error:  # includes truncated varints and bad UTF-8
        raise RemoteProtocolError(f"malformed preface: {error}") from None
    default = Preface()
    preface = Preface(
        numbers.get(MAX_MESSAGE, default.max_message),
        numbers.get(CHANNELS, default.channels),
        numbers.get(CHANNEL_WINDOW, default.channel_window),
        numbers.get(CONNECTION_WINDOW, default.connection_window),
        numbers.get(STREAM_WINDOW, default.stream_window),
        codec,
    )
    if not (preface.max_message and preface.channels and preface.channel_window and preface.connection_window):
        raise RemoteProtocolError("malformed preface: a limit of zero", CloseCode.PROTOCOL_ERROR)
    return preface


def _number(value: bytes) -> int:
    number, end = varint.decode(value, 0)
    if end != len(value):
        raise ValueError("trailing bytes in a parameter")
    return number
