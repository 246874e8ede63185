"""The framing and codec of the Redis example, without a server: replies cut anywhere, and bad ones refused."""

from __future__ import annotations

import pytest

from tests.examples.loading import load
from transport import CloseCode, CodecError, RemoteProtocolError

EXAMPLE = load("redis_client")
REPLIES = [
    (b"+OK\r\n", "OK"),
    (b":-42\r\n", -42),
    (b"$5\r\nhel\r\n\r\n", b"hel\r\n"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n*2\r\n$1\r\na\r\n*0\r\n+x\r\n", [1, [b"a", []], "x"]),
]
WIRE = b"".join(reply for reply, _ in REPLIES)


@pytest.mark.parametrize("step", [1, 2, 3, 7, len(WIRE)])
def test_replies_cut_anywhere(step: int) -> None:
    decoder = EXAMPLE.Resp().decoder()
    found = []
    for start in range(0, len(WIRE), step):
        found += decoder.feed(WIRE[start : start + step])
    decoder.eof()
    codec = EXAMPLE.RespCodec()
    assert found == [reply for reply, _ in REPLIES]
    assert [codec.decode(reply) for reply in found] == [value for _, value in REPLIES]


def test_an_error_is_a_reply() -> None:
    value = EXAMPLE.RespCodec().decode(b"-ERR no\r\n")
    assert isinstance(value, EXAMPLE.RedisError)
    assert str(value) == "ERR no"


def test_commands() -> None:
    assert EXAMPLE.RespCodec().encode(["SET", "k", b"\x00", 7]) == (
        b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n\x00\r\n$1\r\n7\r\n"
    )


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n", CloseCode.PROTOCOL_ERROR),
        (b"$x\r\n", CloseCode.PROTOCOL_ERROR),
        (b"$99999999\r\n", CloseCode.TOO_LARGE),
        (b"*99999999\r\n", CloseCode.TOO_LARGE),
        (b"*1\r\n" * 9, CloseCode.PROTOCOL_ERROR),
        (b"+" + bytes(70_000), CloseCode.TOO_LARGE),
    ],
)
def test_bad_replies(wire: bytes, code: int) -> None:
    """What came before is still given; nothing is set aside for a length over the limit."""
    with pytest.raises(RemoteProtocolError) as refused:
        EXAMPLE.Resp().decoder().feed(b":1\r\n" + wire)
    assert refused.value.code == code
    assert refused.value.payloads == [b":1\r\n"]


def test_an_end_within_a_reply() -> None:
    decoder = EXAMPLE.Resp().decoder()
    decoder.feed(b"$5\r\nab")
    with pytest.raises(RemoteProtocolError):
        decoder.eof()
    with pytest.raises(CodecError):
        EXAMPLE.RespCodec().decode(b":x\r\n")
