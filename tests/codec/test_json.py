"""The JSON codec: plain JSON both ways, nothing that is not, and the limits."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec.json import JsonCodec
from transport.errors import CodecError

MESSAGES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=40,
)


def brief(value: Any) -> str:
    return value[:8].hex() if isinstance(value, bytes) else type(value).__name__


@given(MESSAGES)
@settings(derandomize=True)
def test_round_trip(message: Any) -> None:
    codec = JsonCodec()
    payload = codec.encode(message)
    assert json.loads(payload) == message
    assert codec.decode(payload) == message


@given(st.binary(max_size=100) | st.text(alphabet='[]{}",:\\0eE-.tfn \ud800', max_size=60).map(
    lambda text: text.encode("utf-8", "surrogatepass")))  # fmt: skip
@settings(derandomize=True, max_examples=500)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        JsonCodec().decode(data)
    except CodecError as refused:
        error = str(refused)
    else:
        error = ""
    assert len(error) < 300


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
    ("body", "says"),
    [
        (b"", "Expecting value"),
        (b"nul", "Expecting value"),
        (b"1 2", "Extra data"),
        (b"NaN", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b'"\xff"', "utf-8"),
        (b"\xef\xbb\xbf1", "BOM|Expecting value"),
        (b"9" * 5000, "digits"),
        (b"[" * 500, "deeper than 32"),
        (b"[" * limits.MESSAGE_BYTES_MAX, "deeper than 32"),
        (b"[" + b"1," * limits.JSON_ELEMENTS_MAX + b"1]", "over the limit of 1000000"),
        (b'{"a":}', "Expecting value"),
        (b'"\\', "Invalid|Unterminated"),
    ],
    ids=brief,
)
def test_hostile_bodies(body: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says) as caught:
        JsonCodec().decode(body)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ({"a": [1, b"x"]}, r"message\['a'\]\[1\]: bytes has no form in JSON \(use codec='msgpack', or base64\)"),
        (["ü", 1.5, None, {1: True, None: {"ü": b""}}], r"message\[3\]\[None\]\['ü'\]: bytes has no form"),
        (bytearray(b"x"), "message: bytearray has no form"),
        ([math.nan], r"message\[0\]: nan has no form"),
        ([-math.inf], r"message\[0\]: -inf has no form"),
        ({"x": {1, 2}}, r"message\['x'\]: set has no form"),
        ({(1, 2): 3}, "is tuple; JSON's keys are str"),
        ({"\ud800": 1}, "surrogates"),
        (["\ud800"], r"message\[0\]: a str with surrogates"),
        (deep(33), "deeper than 32"),
        (deep(100_000), "deeper than 32"),
        (endless(), "deeper than 32"),
        ([0] * 1_000_001, "over the limit of 1000000|more than 1000000"),
        (10**5000, "digits"),
    ],
    ids=brief,
)
def test_what_can_not_be_encoded(message: Any, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        JsonCodec().encode(message)


def test_limits_pass() -> None:
    codec = JsonCodec()
    for message in (deep(32), [0] * 999_999, [10**4000]):
        assert codec.decode(codec.encode(message)) == message


def test_what_arrives_as_something_else() -> None:
    codec = JsonCodec()
    assert codec.decode(codec.encode({1: (2, 3), None: True})) == {"1": [2, 3], "null": True}
    assert codec.encode({"ü": "€"}) == '{"ü":"€"}'.encode()
    assert codec.name == "json"
