"""What each side says first: layout, growth in pieces, and everything a stranger may send instead."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, RemoteProtocolError
from transport.stream import preface
from transport.stream.preface import Preface

NUMBERS = st.integers(1, varint.VALUE_MAX)


def wire(*parameters: tuple[int, bytes], version: int = preface.VERSION, size: int | None = None) -> bytes:
    """A preface made by hand."""
    body = b"".join(varint.encode(key) + varint.encode(len(value)) + value for key, value in parameters)
    return preface.MAGIC + bytes([version]) + (len(body) if size is None else size).to_bytes(2, "big") + body


def number(value: int) -> bytes:
    return varint.encode(value)


def test_layout() -> None:
    """The vector of docs/protocol.md: magic, version, length, then id, length, value."""
    said = Preface(1_048_576, 256, 1_048_576, 8_388_608, 1_048_576, "msgpack").encode()
    assert said[: preface.HEAD_BYTES].hex(" ") == "d4 54 52 70 01 00 25"
    assert said[preface.HEAD_BYTES :] == b"".join(
        bytes.fromhex(parameter)
        for parameter in (
            "01 04 80100000",
            "02 02 4100",
            "03 04 80100000",
            "04 04 80800000",
            "05 04 80100000",
            "06 07 6d73677061636b",
        )
    )


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.integers(0, varint.VALUE_MAX), st.text(max_size=100))
def test_there_and_back(a: int, b: int, c: int, d: int, e: int, codec: str) -> None:
    said = Preface(a, b, c, d, e, codec)
    assert preface.parse(said.encode() + b"what follows") == (said, len(said.encode()))


def test_every_beginning_of_one_is_incomplete_and_never_an_error() -> None:
    said = Preface(codec="msgpack").encode()
    for end in range(len(said)):
        assert preface.parse(said[:end]) is None
    assert preface.parse(said) == (Preface(codec="msgpack"), len(said))


def test_what_is_not_said_has_its_default_and_what_is_unknown_is_passed_over() -> None:
    assert preface.parse(wire()) == (Preface(), preface.HEAD_BYTES)
    later = wire((preface.CHANNELS, number(3)), (77, b"of a later version"), (1 << 40, b""))
    assert preface.parse(later) == (dataclasses.replace(Preface(), channels=3), len(later))


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP"),
        (b"POST /x HTTP/1.1\r\n", "HTTP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01", "TLS"),
        (b"SSH-2.0-OpenSSH_9.2", "SSH"),
        (b"*1\r\n$4\r\nPING\r\n", "does not speak this protocol"),
        (b"\xd4TRq", "does not speak this protocol"),
        (b"\x00", "does not speak this protocol"),
    ],
)
def test_a_stranger_is_told_apart_at_the_first_wrong_byte(data: bytes, looks_like: str) -> None:
    with pytest.raises(RemoteProtocolError, match=looks_like) as caught:
        preface.parse(data)
    assert caught.value.code == CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (wire(version=2), "unsupported version 2"),
        (wire(version=0)[:5], "unsupported version 0"),
        (wire(size=limits.PREFACE_BYTES_MAX + 1), "over the limit of 1024"),
        (wire(size=65_535), "over the limit of 1024"),
        (wire((preface.CHANNELS, number(1)), (preface.CHANNELS, number(2))), "stands twice"),
        (wire((9, b"x"), (9, b"x")), "stands twice"),
        (wire((preface.CHANNELS, b"")), "truncated"),
        (wire((preface.CHANNELS, b"\x40")), "truncated"),
        (wire((preface.CHANNELS, b"\x01\x00")), "trailing bytes"),
        (wire((preface.CODEC, b"\xff\xfe")), "malformed"),
        (wire((preface.MAX_MESSAGE, number(0))), "limit of zero"),
        (wire((preface.CHANNELS, number(0))), "limit of zero"),
        (wire((preface.CHANNEL_WINDOW, number(0))), "limit of zero"),
        (wire((preface.CONNECTION_WINDOW, number(0))), "limit of zero"),
        (preface.MAGIC + bytes([1, 0, 1, 1]), "truncated"),
        (preface.MAGIC + bytes([1, 0, 2, 1, 5]), "past the end"),
        (preface.MAGIC + bytes([1, 0, 9, 1]) + b"\xff" * 8, "past the end"),
    ],
)
def test_what_is_malformed_is_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why) as caught:
        preface.parse(data)
    assert caught.value.code == CloseCode.PROTOCOL_ERROR


def test_the_largest_preface_is_taken_and_a_larger_one_neither_sent_nor_taken() -> None:
    room = limits.PREFACE_BYTES_MAX - (len(Preface().encode()) - preface.HEAD_BYTES)
    largest = Preface(codec="c" * (room - 1))  # its length takes one byte more than that of the empty name
    assert len(largest.encode()) == preface.HEAD_BYTES + limits.PREFACE_BYTES_MAX
    assert preface.parse(largest.encode()) == (largest, len(largest.encode()))
    with pytest.raises(ValueError, match="over the limit of 1024"):
        Preface(codec="c" * room).encode()


def test_mutated_prefaces_parse_or_are_refused_and_nothing_else(rng: random.Random) -> None:
    good = Preface(codec="msgpack").encode()
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            parsed = preface.parse(bytes(data[: rng.randrange(1, len(data) + 1)]))
        except RemoteProtocolError:
            continue
        assert parsed is None or (parsed[1] <= len(data) and parsed[0].channels > 0)
