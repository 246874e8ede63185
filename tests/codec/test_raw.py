"""The raw codec: bytes pass, what may change is copied, the rest is refused with advice."""

from __future__ import annotations

import pytest

from transport.codec.raw import RawCodec
from transport.errors import CodecError


def test_bytes_are_not_copied() -> None:
    codec = RawCodec()
    message = b"x" * 1000
    assert codec.encode(message) is message
    assert codec.decode(message) is message
    assert codec.encode(b"") == b""


class Tagged(bytes):
    pass


@pytest.mark.parametrize(
    "message", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"a.b.c.d")[::2], Tagged(b"abcd")]
)
def test_others_are_copied(message: object) -> None:
    assert RawCodec().encode(message) == b"abcd"
    assert type(RawCodec().encode(message)) is bytes


def test_a_copy_does_not_follow_its_origin() -> None:
    origin = bytearray(b"abc")
    encoded = RawCodec().encode(origin)
    origin[0] = 0
    assert encoded == b"abc"


@pytest.mark.parametrize(
    ("message", "says"),
    [("abc", r"not str: send message\.encode\(\)"), (5, "not int"), (None, "NoneType"), ([1], "use codec='msgpack'")],
)
def test_refused(message: object, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        RawCodec().encode(message)
