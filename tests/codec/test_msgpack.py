"""The msgpack codec: what goes in comes out, hostile bodies are refused at once, errors name the place."""

from __future__ import annotations

import datetime
import struct
from collections import namedtuple
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec.msgpack import MsgpackCodec
from transport.errors import CodecError, LocalProtocolError, TransportError

MESSAGES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False)
    | st.text(max_size=40) | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner),
    max_leaves=40,
)  # fmt: skip


def brief(value: Any) -> str:
    return value[:8].hex() if isinstance(value, bytes) else type(value).__name__


class Point:
    def __init__(self, x: float, y: float) -> None:
        self.x, self.y = x, y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x, self.y) == (other.x, other.y)

    __hash__ = None  # type: ignore[assignment]


POINT = (Point, lambda p: struct.pack("<dd", p.x, p.y), lambda data: Point(*struct.unpack("<dd", data)))


@given(MESSAGES)
@settings(derandomize=True)
def test_round_trip(message: Any) -> None:
    codec = MsgpackCodec()
    payload = codec.encode(message)
    assert payload == msgpack.packb(message)
    assert codec.decode(payload) == message
    assert codec.decode(bytearray(payload)) == message
    assert codec.decode(memoryview(payload)) == message


class Colour(IntEnum):
    RED = 1


Pair = namedtuple("Pair", "a b")


def test_what_arrives_as_something_else() -> None:
    codec = MsgpackCodec()
    message = [(1, 2), Pair(1, 2), Colour.RED, bytearray(b"x"), memoryview(b"y")]
    assert codec.decode(codec.encode(message)) == [[1, 2], [1, 2], 1, b"x", b"y"]
    assert MsgpackCodec(tuples=True).decode(codec.encode([1, [2]])) == (1, (2,))


@given(st.binary(max_size=200))
@settings(derandomize=True, max_examples=500)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for codec in (MsgpackCodec(), MsgpackCodec({5: POINT}, datetimes=True, tuples=True, text_keys=False)):
        try:
            codec.decode(data)
        except CodecError as refused:
            error = str(refused)
        else:
            error = ""
        assert len(error) < 300


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "truncated"),
        (b"\xc0" * limits.MESSAGE_BYTES_MAX, "16777215 bytes behind the message"),
        (b"\xdd" + struct.pack(">I", (16 << 20) - 5) + b"\xc0" * ((16 << 20) - 5), "over the limit of 1000000"),
        (b"\x91" * 500 + b"\xc0", "deeper than 32"),
        (b"\xdd\xff\xff\xff\xff", "does not fit"),
        (b"\xdf\x00\x01\x00\x01" + b"\xa1a\xc0" * 65537, "65537 entries, over the limit of 65536"),
        (b"\xc1", "0xc1"),
        (b"\x01\x01", "1 bytes behind"),
        (b"\xd4\x05\x00", "extension type 5 is not enabled"),
        (b"\xd6\xff\x00\x00\x00\x00", "extension type -1 is not enabled"),
        (b"\x81\x01\x01", "map key"),
        (b"\xa2\xff\xfe", "utf-8"),
        (b"\xa3abc\xa3", "1 bytes behind"),
        (b"\xa3ab", "byte 0: a value of 3 bytes or more does not fit"),
    ],
    ids=brief,
)
def test_hostile_bodies(body: bytes, says: str) -> None:
    codec = MsgpackCodec()
    with pytest.raises(CodecError, match=says) as caught:
        codec.decode(body)
    assert isinstance(caught.value, TransportError)
    assert len(str(caught.value)) < 300
    assert codec.decode(b"\x01") == 1


def deep(levels: int) -> list[Any]:
    message: list[Any] = []
    for _ in range(levels - 1):
        message = [message]
    return message


def endless() -> list[Any]:
    message: list[Any] = []
    message.append(message)
    return message


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"a": [1, {2}]}, r"message\['a'\]\[1\]: set has no form in msgpack"),
        (["ü", 1.5, b"", None, {"a": {"b": object()}}], r"message\[4\]\['a'\]\['b'\]: object has no form"),
        ({"a": {"b": object()}}, r"message\['a'\]\['b'\]: object has no form"),
        (Decimal(1), r"message: Decimal has no form .* \(MsgpackCodec\(ext=...\)"),
        ([0, 2**64], r"message\[1\]: an int beyond 64 bits"),
        ([-(2**63) - 1], r"message\[0\]: an int beyond 64 bits"),
        (["\udc80"], r"message\[0\]: a str with surrogates"),
        ({"\udc80": 1}, "a str with surrogates"),
        ({"x": {1: 2}}, r"message\['x'\]: the key 1 is int; keys are str or bytes"),
        ({None: 2}, "the key None is NoneType"),
        ({(1, 2): 2}, "is tuple"),
        ({"k" * 1000: {2}}, "k\\.\\.\\.\\]: set"),
        (deep(33), "nested deeper than 32 levels"),
        (deep(600), "nested deeper than 32 levels"),
        (endless(), "nested deeper than 32 levels"),
        ([0] * 1_000_001, "more than 1000000 elements"),
        ([[0] * 999_990] + [[0] * 5] * 3, "over the limit of 1000000|more than 1000000"),
        ({str(i): 0 for i in range(65_537)}, "a dict of 65537 entries, over the limit of 65536"),
        ([datetime.datetime(2020, 1, 1)], r"MsgpackCodec\(datetimes=True\)"),
        (msgpack.ExtType(5, b""), "extension type 5 is not enabled"),
        (msgpack.Timestamp(1), "Timestamp has no form"),
    ],
    ids=brief,
)
def test_what_can_not_be_encoded(message: Any, says: str) -> None:
    codec = MsgpackCodec()
    with pytest.raises(CodecError, match=says) as caught:
        codec.encode(message)
    assert len(str(caught.value)) < 500
    assert codec.encode([1]) == b"\x91\x01"


def test_what_is_at_the_limits_passes() -> None:
    codec = MsgpackCodec()
    for message in (deep(32), {str(i): 0 for i in range(65_536)}, [0] * 1_000_000, [2**64 - 1, -(2**63)]):
        assert codec.decode(codec.encode(message)) == message


def test_extension_types() -> None:
    codec = MsgpackCodec({5: POINT})
    message = {"at": [Point(1.0, 2.0), Point(3.0, 4.0)]}
    assert codec.decode(codec.encode(message)) == message
    with pytest.raises(CodecError, match="extension type 6 is not enabled"):
        codec.decode(msgpack.packb(msgpack.ExtType(6, b"")))
    with pytest.raises(CodecError, match="undecodable msgpack: unpack requires a buffer of 16 bytes"):
        codec.decode(msgpack.packb(msgpack.ExtType(5, b"short")))
    with pytest.raises(CodecError, match=r"message\[0\]: set has no form"):
        codec.encode([{1}])
    assert codec.decode(codec.encode(msgpack.ExtType(5, bytes(16)))) == Point(0.0, 0.0)


def test_a_pack_function_that_raises() -> None:
    codec = MsgpackCodec({5: (Point, lambda p: p.nothing, lambda data: None)})
    with pytest.raises(CodecError, match="no attribute 'nothing'") as caught:
        codec.encode(Point(1, 2))
    assert isinstance(caught.value.__cause__, AttributeError)


def test_default_and_ext_hook() -> None:
    codec = MsgpackCodec(
        default=lambda value: msgpack.ExtType(9, str(value).encode()), ext_hook=lambda code, data: (code, data)
    )
    assert codec.decode(codec.encode([Decimal("1.5")])) == [(9, b"1.5")]
    assert codec.decode(b"\xd4\x7f\x00") == (127, b"\x00")
    with pytest.raises(CodecError, match="extension type -1"):
        codec.decode(b"\xd4\xff\x00")
    mixed = MsgpackCodec({5: POINT}, ext_hook=lambda code, data: code)
    assert mixed.decode(mixed.encode([Point(1, 2)])) == [Point(1, 2)]
    assert mixed.decode(b"\xd4\x06\x00") == 6
    with pytest.raises(CodecError, match="message: no"):
        MsgpackCodec(default=lambda value: (_ for _ in ()).throw(RuntimeError("no"))).encode(Decimal(1))


def test_an_extension_may_use_the_codec_that_it_belongs_to() -> None:
    codec: MsgpackCodec

    def pack(point: Point) -> bytes:
        return codec.encode([point.x, point.y])

    codec = MsgpackCodec({5: (Point, pack, lambda data: Point(*codec.decode(data)))})
    message = [1, Point(2.0, 3.0), [Point(4.0, 5.0), "x"]]
    assert codec.decode(codec.encode(message)) == message
    assert codec.decode(codec.encode(message)) == message


def test_datetimes() -> None:
    codec = MsgpackCodec(datetimes=True)
    moment = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    back = codec.decode(codec.encode([moment]))
    assert back == [moment]
    assert back[0].tzinfo is datetime.UTC
    with pytest.raises(CodecError, match="without a time zone"):
        codec.encode(datetime.datetime(2026, 1, 2))
    with pytest.raises(CodecError, match="undecodable"):
        codec.decode(b"\xc7\x05\xff" + bytes(5))


def test_keys_of_any_type_on_request() -> None:
    codec = MsgpackCodec(text_keys=False)
    message: dict[Any, Any] = {1: 2, 1.5: None, None: [], b"b": True}
    assert codec.decode(codec.encode(message)) == message
    assert MsgpackCodec(text_keys=False, tuples=True).decode(b"\x81\x92\x01\x02\x03") == {(1, 2): 3}
    with pytest.raises(CodecError, match="unhashable"):
        codec.decode(b"\x81\x90\x01")


@pytest.mark.parametrize(
    ("ext", "says"),
    [
        ({128: POINT}, "0 to 127"),
        ({-1: POINT}, "0 to 127"),
        ({True: POINT}, "0 to 127"),
        ({"5": POINT}, "0 to 127"),
        ({5: POINT[:2]}, "needs"),
        ({5: (Point(1, 2), *POINT[1:])}, "needs"),
        ({5: (Point, b"", POINT[2])}, "callable"),
        ({5: (Colour, *POINT[1:])}, "built-in type"),
        ({5: (Pair, *POINT[1:])}, "built-in type"),
    ],
)
def test_wrong_extensions(ext: Any, says: str) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        MsgpackCodec(ext)


def test_a_large_message_leaves_no_large_packer_behind() -> None:
    codec = MsgpackCodec()
    message = b"x" * (limits.CODEC_BUFFER_BYTES + 10)
    assert codec.decode(codec.encode(message)) == message
    assert codec.decode(codec.encode(1)) == 1
