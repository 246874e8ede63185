"""Packets of reliable UDP that are rare: the handshake's, RESET, and the constants that all packets share.

What has a header of one byte and a connection id is written and read by the sessions themselves; here is what strangers
send, and what strangers are sent. docs/protocol.md has the layout. It must never raise for received bytes, whatever
they are (a decoder answers None), nor set memory aside for a length that it has not compared with the bytes it has.
"""

from __future__ import annotations

import hashlib
import hmac
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from transport import limits
from transport.rudp import kinds

VERSION = 0x74720001

# Heads
LONG_FORM = 0x80
FIXED_BIT = 0x40
COPIES_BIT = 0x10
HELLO, RETRY, ACCEPT, REFUSE = 0, 1, 2, 3
NUMBER_MAX = (1 << 62) - 1

# Frames
PAD, PING, ACK, ACK_ECN, ACK_POLICY, SKIP, CONNECTION_CREDIT, CHANNEL_CREDIT, BLOCKED = range(9)
PATH_CHALLENGE, PATH_RESPONSE, NEW_CID, RETIRE_CID = (
    kinds.PATH_CHALLENGE, kinds.PATH_RESPONSE, kinds.NEW_CID, kinds.RETIRE_CID,
)  # fmt: skip
CLOSE = 14
MSG, FRAGMENT, LENGTH, SUCCESSOR = 0x80, 0x10, 0x08, 0x04
STREAM_CHANNEL = limits.RUDP_STREAM_CHANNEL

# Bits of the parameter `checksums`, and names of the one that was agreed
CHECKSUM_NONE, CHECKSUM_CRC32, CHECKSUM_CRC32C = 1, 2, 4

CHECKSUM_BYTES = 4
HELLO_BYTES = limits.RUDP_DATAGRAM_BYTES_MIN
TOKEN_BYTES = 16
RESET_RANDOM_MIN = 21  # with the token, as short as an ordinary packet may be (RFC 9000 section 10.3)
RESETTABLE_BYTES = RESET_RANDOM_MIN + TOKEN_BYTES + 1  # what a RESET is shorter than, and so never an answer to one
LONG_HEAD_BYTES = 21  # head, version, two connection ids
LONG_MIN_BYTES = LONG_HEAD_BYTES + CHECKSUM_BYTES
_CODE_MAX = 0xFFFF
_IDLE_MS_MAX = 0xFFFFFFFF  # more counts as so much: in nanoseconds it still fits 64 bits
NUMBERS = {
    1: "max_ack_delay_us", 2: "idle_ms", 3: "max_datagram", 4: "connection_window", 5: "channel_window",
    6: "max_message", 7: "channels", 8: "checksums", 11: "stream_window",
}  # fmt: skip
_NOT_ZERO = ("connection_window", "channel_window", "max_message", "channels")
CODEC, RESET_TOKEN = 9, 10


class Malformed(ValueError):
    """These bytes are no packet of ours. Stays within this module."""


class _Reader:
    """Takes fields off the front of some bytes."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, start: int, end: int) -> None:
        self.data = data
        self.at = start
        self.end = end

    def take(self, size: int, most: int) -> bytes:
        """The next `size` bytes."""
        if size > most or size > self.end - self.at:
            raise Malformed("a field is cut off, or too long")
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        """The next number (RFC 9000 section 16)."""
        if self.at >= self.end:
            raise Malformed("a number is missing")
        size = 1 << (self.data[self.at] >> 6)
        return int.from_bytes(self.take(size, 8), "big") & ((1 << (8 * size - 2)) - 1)


def _varint(value: int) -> bytes:
    size = 1 if value < 0x40 else 2 if value < 0x4000 else 4 if value < 0x40000000 else 8
    return (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")


@dataclass(slots=True)
class Parameters:
    """What one side announces in HELLO or ACCEPT; the defaults are what holds where a parameter is absent.

    Attributes:
        max_ack_delay_us: longest time that it keeps an ack back, in microseconds.
        idle_ms: silence after which it gives up, in milliseconds; 0 for never.
        max_datagram: largest UDP payload that it takes.
        connection_window, channel_window, stream_window: first credit, in bytes.
        max_message: largest message that it takes, in bytes.
        channels: how many channels it takes.
        checksums: bit mask of `CHECKSUM_NONE`, `CHECKSUM_CRC32` and `CHECKSUM_CRC32C`.
        codec: name of its codec.
        reset_token: what its RESET ends with, 16 bytes or none.
    """

    max_ack_delay_us: int = 5000
    idle_ms: int = 30_000
    max_datagram: int = 1200
    connection_window: int = 262_144
    channel_window: int = 262_144
    max_message: int = 1_048_576
    channels: int = 256
    checksums: int = CHECKSUM_CRC32
    codec: str = ""
    reset_token: bytes = b""
    stream_window: int = 1_048_576

    def encode(self) -> bytes:
        """Everything that is not the default, by rising id."""
        numbers = ((key, getattr(self, name)) for key, name in NUMBERS.items())
        values = {key: _varint(number) for key, number in numbers if number != _DEFAULTS[key]}
        if self.codec:
            values[CODEC] = self.codec.encode()
        if self.reset_token:
            values[RESET_TOKEN] = self.reset_token
        return b"".join(_varint(key) + _varint(len(values[key])) + values[key] for key in sorted(values))


_DEFAULTS = {key: getattr(Parameters(), name) for key, name in NUMBERS.items()}


def decode_parameters(data: bytes) -> Parameters | None:
    """The parameters in `data`, all of it; None when they are malformed."""
    try:
        return _parameters(data)
    except ValueError:  # UnicodeDecodeError too
        return None


def _parameters(data: bytes) -> Parameters:
    if len(data) > limits.RUDP_PARAMETERS_BYTES_MAX:
        raise Malformed("parameters are too long")
    found = Parameters()
    reader = _Reader(data, 0, len(data))
    seen = set()
    while reader.at < reader.end:
        key = reader.varint()
        if key in seen:
            raise Malformed(f"parameter {key} stands twice")
        seen.add(key)
        value = reader.take(reader.varint(), limits.RUDP_PARAMETERS_BYTES_MAX)
        if key in NUMBERS:
            number = _Reader(value, 0, len(value))
            setattr(found, NUMBERS[key], number.varint())
            if number.at != number.end:
                raise Malformed(f"parameter {key} has bytes behind its number")
        elif key == CODEC:
            found.codec = value.decode("utf-8")
        elif key == RESET_TOKEN:
            found.reset_token = value
            if len(value) != TOKEN_BYTES:
                raise Malformed("a reset token has 16 bytes")
    if found.max_datagram < limits.RUDP_DATAGRAM_BYTES_MIN or not all(getattr(found, name) for name in _NOT_ZERO):
        raise Malformed("a parameter is too small")
    if found.max_ack_delay_us > limits.RUDP_PEER_ACK_DELAY_US_MAX:
        raise Malformed("the peer wants to keep acks back for too long")
    found.idle_ms = min(found.idle_ms, _IDLE_MS_MAX)
    return found


class Long:
    """One received packet of the handshake.

    Attributes:
        kind: HELLO, RETRY, ACCEPT or REFUSE.
        version: another than `VERSION` only in a REFUSE, and in a HELLO, of which then only `scid` is known.
        dcid, scid: connection ids of its receiver and of its sender, 0 for none.
        cookie: of HELLO (may be empty) and RETRY.
        code, reason, versions: of REFUSE.
    """

    __slots__ = (
        "_is_read", "_parameters", "_raw", "code", "cookie", "dcid", "kind", "reason", "scid", "version", "versions",
    )  # fmt: skip

    def __init__(self, kind: int, version: int, dcid: int, scid: int) -> None:
        self.kind = kind
        self.version = version
        self.dcid = dcid
        self.scid = scid
        self.cookie = b""
        self.code = 0
        self.reason = ""
        self.versions: tuple[int, ...] = ()
        self._raw = b""
        self._is_read = False
        self._parameters: Parameters | None = None

    @property
    def parameters(self) -> Parameters | None:
        """Of HELLO and ACCEPT; None when malformed. They are read when first asked for, after the cookie's check."""
        if not self._is_read:
            self._is_read = True
            self._parameters = decode_parameters(self._raw)
        return self._parameters

    def read(self, data: bytes) -> None:
        """Takes the body of packet `data`; Malformed if it is."""
        reader = _Reader(data, LONG_HEAD_BYTES, len(data) - CHECKSUM_BYTES)
        if self.kind in (HELLO, RETRY):
            self.cookie = reader.take(reader.varint(), limits.RUDP_COOKIE_BYTES_MAX)
        if self.kind in (HELLO, ACCEPT):
            self._raw = reader.take(reader.varint(), limits.RUDP_PARAMETERS_BYTES_MAX)
        if self.kind == REFUSE:
            self.code = reader.varint()
            self.reason = reader.take(reader.varint(), limits.REASON_BYTES_MAX).decode("utf-8", "replace")
            count = reader.varint()
            listed = reader.take(4 * count, 4 * limits.RUDP_VERSIONS_MAX)
            self.versions = tuple(int.from_bytes(listed[i : i + 4], "big") for i in range(0, 4 * count, 4))
            if self.code > _CODE_MAX:
                raise Malformed("code out of range")
        if self.kind == RETRY and not self.cookie:
            raise Malformed("a RETRY without a cookie")


def decode_long(data: bytes) -> Long | None:
    """The handshake packet that the datagram `data` is; None when it is none. The checksum is compared first."""
    size = len(data)
    if size < LONG_MIN_BYTES or data[0] & 0xC0 != 0xC0:
        return None
    if zlib.crc32(memoryview(data)[: size - CHECKSUM_BYTES]) != int.from_bytes(data[size - CHECKSUM_BYTES :], "big"):
        return None
    number = int.from_bytes(data[1:LONG_HEAD_BYTES], "big")
    long = Long(data[0] >> 4 & 3, number >> 128, number >> 64 & (1 << 64) - 1, number & (1 << 64) - 1)
    if long.kind == HELLO and size < HELLO_BYTES:
        return None
    if (long.dcid == 0) != (long.kind == HELLO) or (long.scid == 0) != (long.kind in (RETRY, REFUSE)):
        return None
    if long.version != VERSION:
        if long.kind == HELLO:
            return long
        if long.kind != REFUSE:  # who is refused has to be told by whom, in whatever version
            return None
    elif data[0] & 0x0F:
        return None
    try:
        long.read(data)
    except Malformed:
        return None
    return long


def _long(kind: int, dcid: int, scid: int, body: bytes, size: int = 0) -> bytes:
    """A whole packet, filled up with zeros to `size`."""
    head = bytes([LONG_FORM | FIXED_BIT | kind << 4]) + VERSION.to_bytes(4, "big")
    data = head + dcid.to_bytes(8, "big") + scid.to_bytes(8, "big") + body
    data += bytes(max(0, size - len(data) - CHECKSUM_BYTES))
    return data + zlib.crc32(data).to_bytes(4, "big")


def encode_hello(scid: int, cookie: bytes, parameters: Parameters) -> bytes:
    """What a client says first, and again with the `cookie` of a RETRY. 1200 bytes."""
    raw = parameters.encode()
    return _long(HELLO, 0, scid, _varint(len(cookie)) + cookie + _varint(len(raw)) + raw, HELLO_BYTES)


def encode_retry(dcid: int, cookie: bytes) -> bytes:
    """Asks the client `dcid` to say HELLO again with `cookie`, 1 to 255 bytes."""
    return _long(RETRY, dcid, 0, _varint(len(cookie)) + cookie)


def encode_accept(dcid: int, scid: int, parameters: Parameters) -> bytes:
    """Takes the client `dcid`, who shall write to `scid`."""
    raw = parameters.encode()
    return _long(ACCEPT, dcid, scid, _varint(len(raw)) + raw)


def encode_refuse(dcid: int, code: int, reason: str, versions: tuple[int, ...] = ()) -> bytes:
    """Does not take the client `dcid`. A reason over 256 bytes is cut, and so are more than 16 versions."""
    text = reason.encode("utf-8", "replace")[: limits.REASON_BYTES_MAX].decode("utf-8", "ignore").encode()
    listed = versions[: limits.RUDP_VERSIONS_MAX]
    body = _varint(code) + _varint(len(text)) + text + _varint(len(listed))
    return _long(REFUSE, dcid, 0, body + b"".join(version.to_bytes(4, "big") for version in listed))


def reset_token(key: bytes, cid: int) -> bytes:
    """The 16 bytes that a RESET for our connection id ends with; `key` is the server's secret, 32 bytes of it count."""
    return hashlib.blake2s(cid.to_bytes(8, "big"), key=key[:32], digest_size=TOKEN_BYTES).digest()


def encode_reset(token: bytes, entropy: Callable[[int], bytes], trigger_bytes: int) -> bytes:
    """The answer to a packet of `trigger_bytes` for a connection that is not known here; b"" where that is too short.

    All are as short as the shortest, and shorter than what gets one: so no RESET is ever answered by another (RFC 9000
    section 10.3.3 has them shrink until they fall silent).
    """
    if trigger_bytes < RESETTABLE_BYTES:
        return b""
    noise = entropy(RESET_RANDOM_MIN)
    return bytes([FIXED_BIT | noise[0] & 0x3F]) + noise[1:] + token


def is_reset(data: bytes, token: bytes) -> bool:
    """Whether `data` is a RESET by the peer that announced `token`; takes as long whatever the bytes are."""
    if not token or len(data) < RESET_RANDOM_MIN + TOKEN_BYTES or data[0] & 0xC0 != FIXED_BIT:
        return False
    return hmac.compare_digest(data[-TOKEN_BYTES:], token)
