"""Packets of the handshake: there and back, and nothing but None for whatever is malformed."""

from __future__ import annotations

import random
import zlib
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec import varint
from transport.rudp import packet, pen
from transport.rudp.packet import Long, Parameters

KEY = bytes(range(32))
NUMBERS = st.integers(1200, packet.NUMBER_MAX)
PARAMETERS = st.builds(
    Parameters, max_ack_delay_us=st.integers(0, 1_000_000), idle_ms=st.integers(0, 0xFFFFFFFF), max_datagram=NUMBERS,
    connection_window=NUMBERS, channel_window=NUMBERS, max_message=NUMBERS, channels=st.integers(1, 300),
    checksums=st.integers(0, 7), codec=st.text(max_size=50), reset_token=st.sampled_from([b"", bytes(16)]),
    stream_window=st.integers(0, packet.NUMBER_MAX),
)  # fmt: skip


def read(data: bytes) -> Long:
    long = packet.decode_long(data)
    assert long is not None
    return long


def sealed(data: bytes) -> bytes:
    """A packet with the checksum that it should have."""
    return data + zlib.crc32(data).to_bytes(4, "big")


def parameter(key: int, value: bytes) -> bytes:
    return varint.encode(key) + varint.encode(len(value)) + value


def head(kind: int, *, version: int = packet.VERSION, dcid: int = 1, scid: int = 0) -> bytes:
    return bytes([0xC0 | kind << 4]) + version.to_bytes(4, "big") + dcid.to_bytes(8, "big") + scid.to_bytes(8, "big")


@given(PARAMETERS)
@settings(derandomize=True)
def test_parameters_there_and_back(parameters: Parameters) -> None:
    assert packet.decode_parameters(parameters.encode()) == parameters


def test_defaults_take_no_bytes() -> None:
    assert Parameters().encode() == b""
    assert packet.decode_parameters(b"") == Parameters()
    assert len(fields(Parameters)) == 11


MALFORMED_PARAMETERS = {
    "the same id twice": parameter(2, b"\x05") * 2,
    "an unknown id twice": parameter(77, b"") * 2,
    "no length": b"\x02",
    "value cut off": b"\x02\x02\x05",
    "id cut off": b"\x40",
    "bytes behind a number": parameter(2, b"\x05\x00"),
    "no number": parameter(2, b""),
    "number cut off": parameter(2, b"\x80\x00"),
    "datagrams too small": parameter(3, varint.encode(1199)),
    "no credit": parameter(4, b"\x00"),
    "no credit of channels": parameter(5, b"\x00"),
    "no messages": parameter(6, b"\x00"),
    "no channels": parameter(7, b"\x00"),
    "ack delay": parameter(1, varint.encode(limits.RUDP_PEER_ACK_DELAY_US_MAX + 1)),
    "codec that is no text": parameter(9, b"\xff"),
    "short token": parameter(10, bytes(15)),
    "long token": parameter(10, bytes(17)),
    "huge length": b"\x4d" + b"\xff" * 8,
    "too many": parameter(1000, bytes(limits.RUDP_PARAMETERS_BYTES_MAX)),
}


@pytest.mark.parametrize("data", MALFORMED_PARAMETERS.values(), ids=MALFORMED_PARAMETERS)
def test_malformed_parameters(data: bytes) -> None:
    assert packet.decode_parameters(data) is None
    if len(data) < limits.RUDP_PARAMETERS_BYTES_MAX:
        assert read(sealed(head(2, scid=2) + varint.encode(len(data)) + data)).parameters is None


def test_parameters_that_are_let_pass() -> None:
    most = parameter(1000, bytes(limits.RUDP_PARAMETERS_BYTES_MAX - 4))
    assert len(most) == limits.RUDP_PARAMETERS_BYTES_MAX
    assert packet.decode_parameters(most) == Parameters()
    assert packet.decode_parameters(parameter(2, b"\xc0" + bytes(6) + b"\x07")) == Parameters(idle_ms=7)
    forever = packet.decode_parameters(parameter(2, varint.encode(packet.NUMBER_MAX)))
    assert forever == Parameters(idle_ms=0xFFFFFFFF)


@pytest.mark.parametrize("cookie", [b"", b"a cookie", bytes(limits.RUDP_COOKIE_BYTES_MAX)])
def test_hello(cookie: bytes) -> None:
    parameters = Parameters(codec="raw")
    data = packet.encode_hello(77, cookie, parameters)
    assert len(data) == packet.HELLO_BYTES == 1200
    long = read(data)
    assert (long.kind, long.version, long.dcid, long.scid) == (packet.HELLO, packet.VERSION, 0, 77)
    assert (long.cookie, long.parameters) == (cookie, parameters)
    assert long.parameters is long.parameters
    assert read(sealed(data[:-4] + bytes(300))).cookie == cookie  # a larger one is one too
    assert packet.decode_long(sealed(data[:-5])) is None


def test_retry_accept_refuse() -> None:
    long = read(packet.encode_retry(5, b"cookie"))
    assert (long.kind, long.dcid, long.scid, long.cookie) == (packet.RETRY, 5, 0, b"cookie")
    assert len(packet.encode_retry(5, bytes(limits.RUDP_COOKIE_BYTES_MAX))) < 1200
    long = read(packet.encode_accept(5, 1 << 63, Parameters(reset_token=KEY[:16])))
    assert (long.kind, long.dcid, long.scid) == (packet.ACCEPT, 5, 1 << 63)
    assert long.parameters == Parameters(reset_token=KEY[:16])
    long = read(packet.encode_refuse(5, 1002, "grüße", (packet.VERSION, 9)))
    assert (long.kind, long.dcid, long.scid) == (packet.REFUSE, 5, 0)
    assert (long.code, long.reason, long.versions) == (1002, "grüße", (packet.VERSION, 9))


def test_bytes_behind_are_ignored() -> None:
    for data in (
        packet.encode_retry(5, b"c"),
        packet.encode_accept(5, 6, Parameters()),
        packet.encode_refuse(5, 0, ""),
    ):
        assert read(sealed(data[:-4] + b"later versions")).dcid == 5


def test_a_refusal_is_short() -> None:
    long = read(packet.encode_refuse(5, 65_535, "é" * 200, tuple(range(20))))
    assert long.reason == "é" * (limits.REASON_BYTES_MAX // 2)
    assert long.versions == tuple(range(limits.RUDP_VERSIONS_MAX))
    assert len(packet.encode_refuse(5, 65_535, "é" * 200, tuple(range(20)))) < 1200
    assert read(packet.encode_refuse(5, 0, "a" + "é" * 200)).reason == "a" + "é" * 127


def test_a_hello_of_another_version() -> None:
    """Only so much is known of it that it can be answered."""
    long = read(sealed(b"\xcf" + head(0, version=2, dcid=0, scid=9)[1:] + b"\xff" * 1200))
    assert (long.kind, long.version, long.scid, long.cookie) == (packet.HELLO, 2, 9, b"")
    assert packet.decode_long(sealed(head(0, version=2, dcid=0, scid=9))) is None
    assert packet.decode_long(sealed(head(2, version=2, scid=9) + b"\x00")) is None


def test_a_refusal_in_another_version() -> None:
    """Who speaks only others says so in one of them."""
    long = read(sealed(b"\xff" + head(3, version=2)[1:] + b"\x05\x01a\x01\x00\x00\x00\x02"))
    assert (long.kind, long.version, long.code, long.reason, long.versions) == (packet.REFUSE, 2, 5, "a", (2,))
    assert packet.decode_long(sealed(head(3, version=2) + b"\x05\x01a\x01\x00")) is None


MALFORMED = {
    "empty": b"",
    "short": sealed(head(1))[:-1],
    "no body": sealed(head(1)),
    "ordinary packet": sealed(b"\x40" + head(1)[1:] + b"\x01c"),
    "no form": sealed(b"\x80" + head(1)[1:] + b"\x01c"),
    "reserved bits": sealed(b"\xd1" + head(1)[1:] + b"\x01c"),
    "empty cookie": sealed(head(1) + b"\x00"),
    "cookie cut off": sealed(head(1) + b"\x02c"),
    "cookie too long": sealed(head(1) + b"\x41\x00" + bytes(256)),
    "retry for nobody": sealed(head(1, dcid=0) + b"\x01c"),
    "retry by somebody": sealed(head(1, scid=2) + b"\x01c"),
    "accept by nobody": sealed(head(2) + b"\x00"),
    "accept for nobody": sealed(head(2, dcid=0, scid=2) + b"\x00"),
    "parameters cut off": sealed(head(2, scid=2) + b"\x01"),
    "parameters too long": sealed(head(2, scid=2) + b"\x44\x01" + bytes(1025)),
    "hello by nobody": sealed(head(0, dcid=0) + bytes(1200)),
    "hello for somebody": sealed(head(0, scid=2) + bytes(1200)),
    "refuse with a code out of range": sealed(head(3) + b"\x80\x01\x00\x00\x00\x00"),
    "reason cut off": sealed(head(3) + b"\x05\x02x"),
    "reason too long": sealed(head(3) + b"\x05\x41\x01" + bytes(257) + b"\x00"),
    "versions cut off": sealed(head(3) + b"\x05\x00\x01\x00\x00\x00"),
    "too many versions": sealed(head(3) + b"\x05\x00\x11" + bytes(4 * 17)),
    "number of versions": sealed(head(3) + b"\x05\x00" + b"\xff" * 8),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed(data: bytes) -> None:
    assert packet.decode_long(data) is None


def test_well_formed_counterparts() -> None:
    """What the list above is malformed in, and in nothing else."""
    for body in (head(1) + b"\x01c", head(2, scid=2) + b"\x00", head(3) + b"\x05\x01x\x01\x00\x00\x00\x07"):
        assert packet.decode_long(sealed(body)) is not None


def test_any_flipped_bit_is_seen(rng: random.Random) -> None:
    data = bytearray(packet.encode_hello(3, b"c", Parameters()))
    for bit in rng.sample(range(8 * len(data)), 200):
        data[bit >> 3] ^= 1 << (bit & 7)
        assert packet.decode_long(bytes(data)) is None
        data[bit >> 3] ^= 1 << (bit & 7)


def test_random_bytes_raise_nothing(rng: random.Random) -> None:
    """With a right checksum, so that everything behind it is reached."""
    for _ in range(3000):
        body = bytearray(rng.choice([head(1), head(2, scid=2), head(3), head(0, dcid=0, scid=3)]))
        body += bytes(
            rng.choice([0, 1, 2, 0x3F, 0x40, 0x80, 0xFF, rng.getrandbits(8)]) for _ in range(rng.randrange(40))
        )
        if not body[0] & 0x30:
            body += bytes(1200)
        long = packet.decode_long(sealed(bytes(body)))
        if long is not None and long.parameters is not None:
            again = packet.decode_parameters(long.parameters.encode())
            assert again == long.parameters


def test_reset() -> None:
    token = packet.reset_token(KEY, 0x0123456789ABCDEF)
    assert len(token) == packet.TOKEN_BYTES
    assert token != packet.reset_token(KEY, 0x0123456789ABCDEE)
    assert token != packet.reset_token(bytes(32), 0x0123456789ABCDEF)
    for trigger in range(2000):
        data = packet.encode_reset(token, lambda size: b"\xff" * size, trigger)
        assert bool(data) == (trigger >= 38)
        if data:
            assert len(data) == 37
            assert data[0] == 0x7F
            assert packet.is_reset(data, token)
    assert packet.encode_reset(token, bytes, 38)[0] == 0x40


def test_what_is_no_reset() -> None:
    token = packet.reset_token(KEY, 1)
    data = packet.encode_reset(token, bytes, 100)
    assert not packet.is_reset(data[:-1] + bytes([data[-1] ^ 1]), token)
    assert not packet.is_reset(data, packet.reset_token(KEY, 2))
    assert not packet.is_reset(b"\xc0" + data[1:], token)
    assert not packet.is_reset(b"\x00" + data[1:], token)
    assert not packet.is_reset(b"\x40" + data[-36:], b"")
    assert packet.is_reset(b"\x40" + data[-36:], token)
    assert not packet.is_reset(b"\x40" + data[-35:], token)
    assert not packet.is_reset(b"", b"")


def test_truncated_numbers_of_the_rfc() -> None:
    """The examples of RFC 9000 appendices A.2 and A.3."""
    assert pen.low_size(0xAC5C02 - 0xABE8B3) == 2
    assert pen.low_size(0xACE8FE - 0xABE8B3) == 3
    assert pen.expand(0x9B32, 2, 0xA82F30EA + 1) == 0xA82F9B32


def test_truncated_numbers(rng: random.Random) -> None:
    """Whatever a receiver has got since the ack that the sender knows of, it reads the number that was meant."""
    for _ in range(3000):
        acked = rng.getrandbits(rng.randrange(1, 62)) - 1
        number = min(acked + 1 + rng.getrandbits(rng.randrange(31)), packet.NUMBER_MAX)
        if number <= acked:
            continue
        size = pen.low_size(number - acked)
        truncated = number & ((1 << 8 * size) - 1)
        for expected in (acked + 1, rng.randrange(acked + 1, number + 1), number):
            assert pen.expand(truncated, size, expected) == number


def test_sizes_of_truncated_numbers() -> None:
    sizes = [pen.low_size(distance) for distance in (1, 127, 128, 32_767, 32_768, (1 << 23) - 1, 1 << 23, 1 << 31)]
    assert sizes == [1, 1, 2, 2, 3, 3, 4, 4]


def test_numbers_at_the_end() -> None:
    assert pen.expand(0, 1, packet.NUMBER_MAX) == packet.NUMBER_MAX - 0xFF
    assert pen.expand(0xFF, 1, 0) == 0xFF
