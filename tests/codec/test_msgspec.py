"""Typed messages: the declared type arrives, others are refused, and the limits hold as in the plain codecs."""

from __future__ import annotations

import datetime
import struct
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport.codec.base import Codec, resolve
from transport.codec.json import JsonCodec
from transport.codec.msgpack import MsgpackCodec
from transport.codec.msgspec import MsgspecCodec
from transport.errors import CodecError, LocalProtocolError


def brief(value: Any) -> str:
    return value[:8].hex() if isinstance(value, bytes) else str(value)[:20]


class Move(msgspec.Struct):
    player: int
    to: list[float]


@dataclass
class Chat:
    text: str
    at: datetime.datetime | None = None


@pytest.mark.parametrize("form", ["msgpack", "json"])
@given(player=st.integers(-(2**63), 2**63 - 1), to=st.lists(st.floats(allow_nan=False, allow_infinity=False)))
@settings(derandomize=True)
def test_round_trip(form: Any, player: int, to: list[float]) -> None:
    codec = MsgspecCodec(Move, form)
    assert codec.decode(codec.encode(Move(player, to))) == Move(player, to)


def test_the_peer_may_use_another_codec_of_the_format() -> None:
    assert MsgspecCodec(Move).decode(MsgpackCodec().encode({"player": 1, "to": [1.5]})) == Move(1, [1.5])
    assert JsonCodec().decode(MsgspecCodec(Move, "json").encode(Move(1, [1.5]))) == {"player": 1, "to": [1.5]}
    codec = MsgspecCodec(Move)
    assert (codec.name, MsgspecCodec(Move, "json").name) == ("msgpack", "json")
    assert isinstance(codec, Codec)
    assert resolve(codec) is codec


def test_datetimes_and_extension_types() -> None:
    chat = Chat("hi", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    for form in ("msgpack", "json"):
        assert MsgspecCodec(Chat, form).decode(MsgspecCodec(Chat, form).encode(chat)) == chat
    with pytest.raises(CodecError, match="extension type 5 is not enabled"):
        MsgspecCodec(Any).decode(b"\xd4\x05\x00")
    assert MsgspecCodec(Any, ext_hook=lambda code, data: (code, bytes(data))).decode(b"\xd4\x05\x00") == (5, b"\x00")
    with pytest.raises(CodecError, match="undecodable msgpack"):
        MsgspecCodec(Any, ext_hook=lambda code, data: data[9]).decode(b"\xd4\x05\x00")


def test_hooks_and_strictness() -> None:
    assert MsgspecCodec(Move, strict=False).decode(msgspec.msgpack.encode({"player": "1", "to": []})) == Move(1, [])
    codec = MsgspecCodec(complex, enc_hook=lambda z: [z.real, z.imag], dec_hook=lambda kind, value: kind(*value))
    assert codec.decode(codec.encode(1 + 2j)) == 1 + 2j
    with pytest.raises(CodecError, match="can't encode message: complex division by zero"):
        MsgspecCodec(Any, enc_hook=lambda value: value / 0).encode(1j)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (msgspec.msgpack.encode({"player": "x", "to": []}), r"Expected `int`, got `str` - at `\$.player`"),
        (b"\x80", "missing required field"),
        (b"\x01", "Expected `object`"),
        (b"", "truncated"),
        (b"\xdd\xff\xff\xff\xff", "does not fit"),
        (b"\x91" * 500 + b"\xc0", "deeper than 32"),
        (b"\xdd" + struct.pack(">I", (16 << 20) - 5) + b"\xc0" * ((16 << 20) - 5), "over the limit of 1000000"),
        (b"\xc0\xc0", "1 bytes behind"),
        (b"\xc1", "0xc1"),
    ],
    ids=brief,
)
def test_hostile_msgpack(body: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says) as caught:
        MsgspecCodec(Move).decode(body)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[" * 500, "nested too deep"),
        (b"[" + b"1," * 1_000_001, "too many elements"),
        (b"{", "truncated"),
        (b"\xff", "undecodable"),
    ],
    ids=brief,
)
def test_hostile_json(body: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        MsgspecCodec(Any, "json").decode(body)


@given(st.binary(max_size=100))
@settings(derandomize=True)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    for codec in (MsgspecCodec(Any), MsgspecCodec(Any, "json"), MsgspecCodec(Move)):
        try:
            codec.decode(data)
        except CodecError:
            continue


def test_what_can_not_be_encoded() -> None:
    deep: list[Any] = []
    for _ in range(33):
        deep = [deep]
    for form in ("msgpack", "json"):
        codec = MsgspecCodec(Any, form)
        for message in (deep, [0] * 1_000_001, 2**70 if form == "msgpack" else Decimal, object()):
            with pytest.raises(CodecError, match="can't encode message"):
                codec.encode(message)


def test_wrong_use() -> None:
    with pytest.raises(LocalProtocolError, match="neither 'msgpack' nor 'json'"):
        MsgspecCodec(Any, "xml")  # type: ignore[arg-type]
    with pytest.raises(LocalProtocolError, match="no extension types"):
        MsgspecCodec(Any, "json", ext_hook=lambda code, data: None)
    with pytest.raises(LocalProtocolError, match="type: "):
        MsgspecCodec(dict[list[int], int] | dict[int, int])


def test_without_the_package_the_error_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['msgspec'] = None\n"
        "from transport.codec.msgspec import MsgspecCodec\n"
        "try:\n    MsgspecCodec(int)\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LocalProtocolError MsgspecCodec needs msgspec: pip install msgspec" in result.stdout
