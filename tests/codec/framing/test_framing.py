"""Every framing: what goes in comes out however it is cut, hostile input ends it, and nothing is held for a length."""

from __future__ import annotations

import itertools
import struct
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec.framing.base import (
    NAMES,
    FrameDecoder,
    Framing,
    MalformedFrame,
    new_decoder,
    resolve_framing,
)
from transport.codec.framing.chunks import Chunks
from transport.codec.framing.length32 import Length32
from transport.codec.framing.lines import Lines
from transport.codec.framing.msgpack_stream import MsgpackStream
from transport.codec.framing.netstring import Netstring
from transport.errors import CloseCode, LocalProtocolError, MessageTooLarge, RemoteProtocolError

MIB = limits.MIB
ANY = st.binary(max_size=60) | st.sampled_from([b"x" * 1000, b"y" * 20_000])
PAYLOADS: dict[str, st.SearchStrategy[bytes]] = {
    "length32": ANY,
    "netstring": ANY,
    "lines": ANY.map(lambda data: data.replace(b"\n", b"").rstrip(b"\r")),
    "msgpack": (ANY | st.integers(0, 10**9) | st.lists(st.floats() | st.text(max_size=9), max_size=9)).map(
        msgpack.packb
    ),
}
FRAMED = list(PAYLOADS)


def wire_of(framing: Framing, payloads: Sequence[bytes]) -> bytes:
    wire = b""
    for payload in payloads:
        encoded = framing.encode(payload)
        wire += encoded if isinstance(encoded, bytes) else b"".join(encoded)
    return wire


def pieces(wire: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    return [wire[a:b] for a, b in itertools.pairwise(edges)]


def run(decoder: FrameDecoder, parts: Sequence[bytes]) -> tuple[list[bytes], tuple[int, str] | None]:
    """All payloads, and the code and reason of the error that ended it."""
    found: list[bytes] = []
    try:
        for part in parts:
            found += decoder.feed(part)
        decoder.eof()
    except RemoteProtocolError as error:
        found += getattr(error, "payloads", [])
        return found, (error.code, error.reason)
    return found, None


@pytest.mark.parametrize("name", FRAMED)
@given(data=st.data())
@settings(derandomize=True)
def test_round_trip_in_any_pieces(name: str, data: st.DataObject) -> None:
    payloads = data.draw(st.lists(PAYLOADS[name], max_size=8))
    framing = resolve_framing(name, MIB)
    wire = wire_of(framing, payloads)
    cuts = data.draw(st.lists(st.integers(0, 2**17), max_size=20))
    assert run(framing.decoder(), pieces(wire, cuts)) == (payloads, None)


@pytest.mark.parametrize("name", FRAMED)
@given(data=st.data())
@settings(derandomize=True)
def test_byte_at_a_time_is_the_same_as_at_once_for_any_input(name: str, data: st.DataObject) -> None:
    framing = resolve_framing(name, 50)
    wire = wire_of(framing, data.draw(st.lists(PAYLOADS[name].filter(lambda payload: len(payload) <= 50), max_size=3)))
    wire += data.draw(st.binary(max_size=60))
    at_once = run(framing.decoder(), [wire] if wire else [])
    bytewise = run(framing.decoder(), [wire[i : i + 1] for i in range(len(wire))])
    assert bytewise[0] == at_once[0]
    assert (bytewise[1] is None) == (at_once[1] is None)
    assert all(len(payload) <= 50 for payload in at_once[0])


@pytest.mark.parametrize("name", FRAMED)
def test_a_cut_at_every_byte(name: str) -> None:
    framing = resolve_framing(name, MIB)
    payloads = [b"", b"a" * 300] if name != "msgpack" else [msgpack.packb(["x" * 300, {"k": 2.5}]), b"\xc0"]
    wire = wire_of(framing, payloads)
    for cut in range(1, len(wire)):
        assert run(framing.decoder(), [wire[:cut], wire[cut:]]) == (payloads, None), cut


@pytest.mark.parametrize("name", FRAMED)
def test_the_end_of_the_stream_within_a_frame(name: str) -> None:
    framing = resolve_framing(name, MIB)
    payload = b"a" * 300 if name != "msgpack" else msgpack.packb("x" * 300)
    wire = wire_of(framing, [payload])
    for end in range(1, len(wire)):
        for parts in ([wire[:end]], [wire[i : i + 1] for i in range(end)], [wire + wire[:end]]):
            found, error = run(framing.decoder(), parts)
            assert error is not None
            assert error[0] == CloseCode.LOST
            assert error[1].startswith("truncated frame")
            assert found == [payload] * (len(parts[0]) > end)


def frame(name: str, size: int) -> bytes:
    """A frame of exactly `size` payload bytes."""
    if name == "msgpack":
        return b"\xc6" + struct.pack(">I", size - 5) + bytes(size - 5)
    return wire_of(Lines(size) if name == "lines" else resolve_framing(name, size), [b"x" * size])


@pytest.mark.parametrize("name", FRAMED)
@pytest.mark.parametrize("limit", [7, 1000, 70_000, limits.MESSAGE_BYTES_MAX])
def test_the_limit(name: str, limit: int) -> None:
    if name == "lines" and limit > limits.LINE_BYTES_MAX:
        limit = limits.LINE_BYTES_MAX
    framing = resolve_framing(name, limit)
    found, error = run(framing.decoder(), [frame(name, limit)])
    assert [len(payload) for payload in found] == [limit]
    assert error is None
    over = frame(name, limit + 1)
    for parts in ([over], pieces(over, [1, 2, 3, 4, 5, 6, 7]), [frame(name, limit) + over]):
        found, error = run(framing.decoder(), parts)
        assert error is not None
        assert error[0] == CloseCode.TOO_LARGE
        assert str(limit) in error[1]
        assert [len(payload) for payload in found] == [limit] * (len(parts[0]) > len(over))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("length32", struct.pack(">I", limits.MESSAGE_BYTES_MAX)),
        ("netstring", b"16777216:"),
        ("msgpack", b"\xc6" + struct.pack(">I", limits.MESSAGE_BYTES_MAX - 5)),
        ("msgpack", b"\xdd" + struct.pack(">I", 1_000_000)),
        ("msgpack", b"\xdf" + struct.pack(">I", 65_536)),
    ],
)
def test_nothing_is_set_aside_for_a_length(name: str, head: bytes) -> None:
    decoder = resolve_framing(name, limits.MESSAGE_BYTES_MAX).decoder()
    decoder.feed(head[:1])
    tracemalloc.start()
    try:
        assert decoder.feed(head[1:]) == []
        assert decoder.feed(b"\x00") == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000


@pytest.mark.parametrize("name", FRAMED)
def test_a_large_message_in_small_and_in_large_pieces(name: str) -> None:
    """A decoder that copied what it has with every piece would not be done within the time of a test."""
    size = limits.LINE_BYTES_MAX if name == "lines" else MIB
    wire = frame(name, size)
    for step in (1, 7, 64 * 1024):
        decoder = resolve_framing(name, size).decoder()
        found: list[bytes] = []
        for pos in range(0, len(wire), step):
            found += decoder.feed(wire[pos : pos + step])
        assert len(found) == 1
        assert len(found[0]) == size


@pytest.mark.parametrize("name", FRAMED)
def test_memory_stays_near_what_has_come(name: str) -> None:
    size = limits.LINE_BYTES_MAX
    wire = frame(name, size)[:-1]
    decoder = resolve_framing(name, size).decoder()
    tracemalloc.start()
    try:
        for pos in range(0, len(wire), 2):
            decoder.feed(wire[pos : pos + 2])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1.2 * size + 10_000


MALFORMED: list[tuple[str, bytes, list[bytes], int, str]] = [
    ("length32", b"GET / HTTP/1.1\r\n", [], CloseCode.TOO_LARGE, "1195725856 bytes"),
    ("length32", b"\0\0\0\1a\xff\xff\xff\xff", [b"a"], CloseCode.TOO_LARGE, "4294967295"),
    ("length32", b"\x80\0\0\0", [], CloseCode.TOO_LARGE, "2147483648"),
    ("netstring", b"GET / HTTP/1.1\r\n", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b"-1:a,", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b"+1:a,", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b" 1:a,", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b"1_0:", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b"\xb2:", [], CloseCode.PROTOCOL_ERROR, "digits only"),
    ("netstring", b"01:a,", [], CloseCode.PROTOCOL_ERROR, "leading zeros"),
    ("netstring", b"00:,", [], CloseCode.PROTOCOL_ERROR, "leading zeros"),
    ("netstring", b":a,", [], CloseCode.PROTOCOL_ERROR, "no digits"),
    ("netstring", b"1:ab", [], CloseCode.PROTOCOL_ERROR, "no comma"),
    ("netstring", b"1:a,1:b;", [b"a"], CloseCode.PROTOCOL_ERROR, "no comma"),
    ("netstring", b"9" * 30, [], CloseCode.TOO_LARGE, "over the limit"),
    ("netstring", b"1:a,99999999:", [b"a"], CloseCode.TOO_LARGE, "over the limit"),
    ("msgpack", b"\x01\xc1", [b"\x01"], CloseCode.PROTOCOL_ERROR, "0xc1"),
    ("msgpack", b"\xc0" + b"\x91" * 500, [b"\xc0"], CloseCode.INVALID_BODY, "deeper than 32"),
    ("msgpack", b"\xdd\x00\x0f\x42\x41", [], CloseCode.INVALID_BODY, "1000001 elements"),
    ("msgpack", b"\xdf\x00\x01\x00\x01", [], CloseCode.INVALID_BODY, "65537 entries"),
    ("msgpack", b"\xdb\xff\xff\xff\xff", [], CloseCode.TOO_LARGE, "over the limit"),
    ("msgpack", b"\xdd\xff\xff\xff\xff", [], CloseCode.TOO_LARGE, "over the limit"),
    ("lines", b"a\r\n\n" + b"x" * 70_000 + b"\n", [b"a", b""], CloseCode.TOO_LARGE, "over the limit of 65536"),
    ("lines", b"a\n" + b"x" * 70_000, [b"a"], CloseCode.TOO_LARGE, "over the limit of 65536"),
]


@pytest.mark.parametrize(("name", "wire", "before", "code", "says"), MALFORMED, ids=lambda value: str(value)[:20])
def test_malformed_input(name: str, wire: bytes, before: list[bytes], code: int, says: str) -> None:
    for parts in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        found, error = run(resolve_framing(name, 2 * MIB).decoder(), parts)
        assert found == before
        assert error is not None
        assert error[0] == code
        assert says in error[1]


def test_16_mib_of_nils_as_a_stream() -> None:
    decoder = MsgpackStream(MIB).decoder()
    assert sum(len(decoder.feed(b"\xc0" * 65536)) for _ in range(4)) == 4 * 65536
    found, error = run(MsgpackStream(limits.MESSAGE_BYTES_MAX).decoder(), [b"\xdd\x00\xff\xff\xfb" + b"\xc0" * 65536])
    assert found == []
    assert error == (CloseCode.INVALID_BODY, "msgpack: 16777211 elements, over the limit of 1000000")


def test_vectors() -> None:
    assert Length32(10).encode(b"abc") == b"\0\0\0\3abc"
    assert Length32(10).encode(b"") == b"\0\0\0\0"
    assert Netstring(10).encode(b"hello") == b"5:hello,"
    assert Netstring(10).encode(b"") == b"0:,"
    assert Lines().encode(b"hello") == b"hello\n"
    assert Lines(ending=b"\r\n").encode(b"hello") == b"hello\r\n"
    assert MsgpackStream(10).encode(b"\x93\x01\x02\x03") == b"\x93\x01\x02\x03"
    assert Chunks(10).encode(b"hello") == b"hello"


@pytest.mark.parametrize("framing", [Length32(MIB), Netstring(MIB)])
def test_a_large_payload_is_not_copied(framing: Framing) -> None:
    payload = b"x" * limits.MIB
    encoded = framing.encode(payload)
    assert isinstance(encoded, list)
    assert encoded[1] is payload


def test_line_endings() -> None:
    decoder = Lines(3).decoder()
    assert decoder.feed(b"a\nb\r\n\r\n\n\rc") == [b"a", b"b", b"", b""]
    assert decoder.feed(b"d\n") == [b"\rcd"]
    decoder = Lines(3).decoder()
    assert decoder.feed(b"abc\r") == []
    assert decoder.feed(b"\n\r") == [b"abc"]
    assert decoder.feed(b"\r\n") == [b"\r"]
    decoder = Lines(3).decoder()
    assert decoder.feed(b"abc\r") == []
    with pytest.raises(MalformedFrame, match="limit of 3"):
        decoder.feed(b"\r")


@pytest.mark.parametrize("payload", [b"a\nb", b"\n", b"a\r", b"\r"])
def test_what_is_no_line(payload: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="a line can't"):
        Lines().encode(payload)


def test_what_is_too_long_for_a_line() -> None:
    with pytest.raises(MessageTooLarge, match="line of 4 bytes is over the limit of 3"):
        Lines(3).encode(b"abcd")
    assert resolve_framing("lines", limits.MESSAGE_BYTES_MAX).encode(b"x" * limits.LINE_BYTES_MAX)
    assert isinstance(resolve_framing("lines", 10).encode(b"x" * 10), bytes)


@pytest.mark.parametrize("payload", [b"", b"\x93\x01", b"\x01\x01", b"\xc1", b"\x91" * 33 + b"\xc0"])
def test_what_is_no_msgpack_value(payload: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="the msgpack framing carries"):
        MsgpackStream(MIB).encode(payload)


def test_msgpack_leaves_keys_and_extension_types_to_the_codec() -> None:
    payloads = [b"\x81\x01\x02", b"\xd4\x05\x00", b"\xc7\x00\xff"]
    framing = MsgpackStream(MIB)
    assert run(framing.decoder(), [wire_of(framing, payloads)]) == (payloads, None)


def test_chunks_pass_in_pieces_of_the_limit() -> None:
    decoder = Chunks(4).decoder()
    data = b"abcd"
    assert decoder.feed(data)[0] is data
    assert decoder.feed(b"abcdefghi") == [b"abcd", b"efgh", b"i"]
    assert decoder.eof() is None  # type: ignore[func-returns-value]
    with pytest.raises(LocalProtocolError, match="leaves no trace"):
        Chunks(4).encode(b"")


@pytest.mark.parametrize("make", [Length32, MsgpackStream, Lines, Netstring, Chunks])
def test_a_limit_is_positive(make: Callable[[int], Any]) -> None:
    with pytest.raises(LocalProtocolError, match="max_message"):
        make(0)
    with pytest.raises(LocalProtocolError, match="max_message"):
        make(-5)
    assert make(1).max_message == 1


def test_wrong_settings() -> None:
    with pytest.raises(LocalProtocolError, match="neither"):
        Lines(ending=b"\r")
    with pytest.raises(LocalProtocolError, match="max_message"):
        Length32(1 << 32)


class Semicolons:
    """The example of the module's documentation."""

    def encode(self, payload: bytes) -> bytes:
        return payload + b";"

    def decoder(self) -> SemicolonDecoder:
        return SemicolonDecoder()


class SemicolonDecoder:
    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *payloads, self.rest = (self.rest + data).split(b";")
        if len(self.rest) > 1000:
            raise MalformedFrame("no semicolon within 1000 bytes", CloseCode.TOO_LARGE, payloads)
        return payloads

    def eof(self) -> None:
        if self.rest:
            raise MalformedFrame("the last part has no semicolon")


def test_a_framing_of_ones_own() -> None:
    framing = Semicolons()
    assert resolve_framing(framing, 10) is framing
    assert isinstance(framing, Framing)
    assert isinstance(new_decoder(framing), FrameDecoder)
    assert run(new_decoder(framing), [b"a;b", b"c;"]) == ([b"a", b"bc"], None)
    assert run(new_decoder(framing), [b"a;b"])[1] == (CloseCode.PROTOCOL_ERROR, "the last part has no semicolon")
    assert run(new_decoder(framing), [b"a;" + b"x" * 1001]) == (
        [b"a"], (CloseCode.TOO_LARGE, "no semicolon within 1000 bytes"))  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("message", "the session's own"),
        ("line", "'line' is none of message, length32, msgpack, lines, netstring, bytes"),
        ("", "is none of"),
        (Semicolons, r"Semicolons is a class; give an object: Semicolons\("),
        (None, r"NoneType has no encode\(\)"),
        (5, r"int has no encode\(\)"),
        (type("Half", (), {"encode": lambda self, payload: payload})(), r"Half has no decoder\(\)"),
        (type("Half", (), {"encode": b"", "decoder": b""})(), r"Half has no encode\(\)"),
    ],
)
def test_anything_else_is_refused(wrong: Any, says: str) -> None:
    with pytest.raises(LocalProtocolError, match=says):
        resolve_framing(wrong, 10)


def test_a_decoder_is_checked_too() -> None:
    wrong: Any = type("Wrong", (), {"encode": bytes, "decoder": lambda self: object()})()
    with pytest.raises(LocalProtocolError, match=r"Wrong.decoder\(\) gave object, which has no feed\(\)"):
        new_decoder(wrong)


def test_all_names_resolve() -> None:
    assert set(NAMES) == {*FRAMED, "bytes"}
    for name in NAMES:
        framing = resolve_framing(name, 100)
        assert isinstance(framing, Framing)
        assert isinstance(framing.decoder(), FrameDecoder)
        assert framing.max_message == 100  # type: ignore[attr-defined]
