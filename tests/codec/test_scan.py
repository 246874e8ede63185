"""The walk over encoded bodies: it ends where msgpack ends, in every cut, and stops at every limit."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec import scan
from transport.codec.scan import DEPTH, DONE, ELEMENTS, ENTRIES, EXT, KEY, RESERVED, ROOM, WANTS_MORE, Scanner

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=40)
    | st.binary(max_size=40) | st.sampled_from([b"x" * 255, b"x" * 256, "x" * 31, "x" * 32, "x" * 65536, b"x" * 65536])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=5) | st.binary(max_size=5), inner),
    max_leaves=40,
)
VALUES_AND_EXT = VALUES | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))


def brief(value: Any) -> str:
    return value[:8].hex() if isinstance(value, bytes) else str(value)


def checked(data: bytes, **keywords: Any) -> tuple[int, int]:
    scanner = Scanner(**keywords)
    return scanner.check(data), scanner.consumed


@given(VALUES, st.binary(max_size=4))
@settings(derandomize=True)
def test_a_value_ends_where_msgpack_says(value: Any, behind: bytes) -> None:
    wire = msgpack.packb(value)
    assert checked(wire) == (DONE, len(wire))
    assert checked(wire + behind) == (DONE, len(wire))
    state, _ = checked(wire[:-1])
    assert state == ROOM


@given(st.lists(VALUES_AND_EXT, min_size=1, max_size=3), st.data())
@settings(derandomize=True)
def test_chunks_change_nothing(values: list[Any], data: st.DataObject) -> None:
    wires = [msgpack.packb(value) for value in values]
    stream = b"".join(wires)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    scanner = Scanner(frozenset(), True)
    assert split(scanner, stream, [*cuts, len(stream)]) == wires


@pytest.mark.parametrize("value", [[1.5, {"a": b"x" * 300}], msgpack.ExtType(5, b"y" * 70000), -1, "z" * 40])
def test_byte_at_a_time(value: Any) -> None:
    wire = msgpack.packb(value)
    scanner = Scanner(frozenset(), True)
    assert split(scanner, wire * 2, list(range(1, 2 * len(wire) + 1))) == [wire, wire]


def split(scanner: Scanner, stream: bytes, cuts: list[int]) -> list[bytes]:
    """Values of a stream that comes in the chunks that end at `cuts`, as a framing would take them."""
    found, seen, tail, start, pos = [], 0, b"", 0, 0
    scanner.begin(len(stream))
    for cut in cuts:
        chunk = tail + stream[start:cut]
        base = start - len(tail)
        start, pos = cut, 0
        while True:
            pos = scanner.advance(chunk, pos)
            if scanner.state != DONE:
                assert scanner.state == WANTS_MORE, scanner.explain()
                assert len(chunk) - pos < 6
                break
            found.append(stream[seen : base + pos])
            seen = base + pos
            if pos == len(chunk):
                scanner.begin(len(stream) - seen or 1)
                break
            scanner.begin(len(stream) - seen)
        tail = chunk[pos:]
    assert seen == len(stream)
    return found


@given(st.binary(max_size=200))
@settings(derandomize=True, max_examples=500)
def test_what_passes_msgpack_reads_and_what_fails_it_fails(data: bytes) -> None:
    scanner = Scanner()
    state = scanner.check(data)
    unpacker = msgpack.Unpacker(raw=True, strict_map_key=True)
    unpacker.feed(data)
    try:
        unpacker.unpack()
        read = unpacker.tell()
    except (ValueError, msgpack.UnpackException):  # UnpackException covers OutOfData
        read = -1
    if state == DONE:
        assert read == scanner.consumed
    elif state not in (EXT, KEY):
        assert read == -1
    assert state == DONE or scanner.explain()


def test_random_bytes_behind_every_first_byte() -> None:
    generator = random.Random(7)
    for first in range(256):
        for length in (0, 1, 2, 4, 5, 8, 17, 40):
            data = bytes([first]) + generator.randbytes(length)
            state, consumed = checked(data)
            assert DONE <= state <= KEY, f"seed 7, {data!r}"
            assert 0 <= consumed <= len(data), f"seed 7, {data!r}"


def array(count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count) + bytes(count)


def mapping(count: int) -> bytes:
    return b"\xdf" + struct.pack(">I", count) + b"\xa0\xc0" * count


def nested(depth: int, opening: bytes = b"\x91") -> bytes:
    return opening * depth + b"\xc0"


@pytest.mark.parametrize(
    ("data", "state"),
    [
        (b"", ROOM),
        (b"\xc1", RESERVED),
        (b"\x92\xc0\xc1", RESERVED),
        (nested(limits.MSGPACK_DEPTH_MAX), DONE),
        (nested(limits.MSGPACK_DEPTH_MAX + 1), DEPTH),
        (nested(500), DEPTH),
        (nested(500, b"\xdc\x00\x01"), DEPTH),
        (nested(500, b"\x81\xa0"), DEPTH),
        (b"\x91" * (limits.MSGPACK_DEPTH_MAX + 1) + b"\x90", DEPTH),
        (array(limits.MSGPACK_ELEMENTS_MAX), DONE),
        (array(limits.MSGPACK_ELEMENTS_MAX + 1), ELEMENTS),
        (b"\xdd" + struct.pack(">I", (16 << 20) - 5) + b"\xc0" * ((16 << 20) - 5), ELEMENTS),
        (b"\xc0" * (16 << 20), DONE),  # one nil and 16 MiB behind it; the codec refuses what is behind
        (mapping(limits.MSGPACK_MAP_ENTRIES_MAX), DONE),
        (mapping(limits.MSGPACK_MAP_ENTRIES_MAX + 1), ENTRIES),
        (b"\xdd\xff\xff\xff\xff", ROOM),
        (b"\xdf\xff\xff\xff\xff", ROOM),
        (b"\xdb\xff\xff\xff\xff", ROOM),
        (b"\xc6\x80\x00\x00\x00", ROOM),
        (b"\xdb\x00\x00\x00\x04abc", ROOM),
        (b"\xd9", ROOM),
        (b"\xcb\x00", ROOM),
        (b"\xd4\x05\x00", EXT),
        (b"\xc7\x00\xff", EXT),
        (b"\xc7\x00", ROOM),
        (b"\xc9\xff\xff\xff\xff\x05", EXT),
        (b"\x81\x01\x02", KEY),
        (b"\x81\xc0\x02", KEY),
        (b"\x81\x90\x02", KEY),
        (b"\x81\xcb" + bytes(9), KEY),
        (b"\x81\xa1a\x81\x01\x01", KEY),
        (b"\x82\xa1a\x91\x01\x01\x01", KEY),
        (b"\x82\xa1a\x81\xc4\x00\x01\xc4\x00\x80", DONE),
    ],
    ids=brief,
)  # fmt: skip
def test_limits_and_hostile_bodies(data: bytes, state: int) -> None:
    assert checked(data)[0] == state


def test_elements_are_counted_over_all_containers() -> None:
    row = b"\xdc\x03\xe7" + b"\x01" * 999
    assert checked(b"\xdc\x03\xe8" + row * 1000)[0] == DONE
    assert checked(b"\xdc\x03\xe9" + row * 1001)[0] == ELEMENTS
    pairs = b"\xde\xff\xff" + b"\xa0\x01" * 0xFFFF
    assert checked(b"\x97" + pairs * 7)[0] == DONE
    assert checked(b"\x98" + pairs * 8)[0] == ELEMENTS


def test_extension_types_and_keys_by_permission() -> None:
    assert checked(b"\xd4\x05\x00", ext_codes=frozenset({5}))[0] == DONE
    assert checked(b"\xd4\x06\x00", ext_codes=frozenset({5}))[0] == EXT
    assert checked(b"\xd6\xff\x00\x00\x00\x00", ext_codes=frozenset({-1}))[0] == DONE
    assert checked(b"\xd4\x80\x00", any_ext=True)[0] == DONE
    assert checked(b"\xc9\xff\xff\xff\xff\x05", any_ext=True)[0] == ROOM
    assert checked(b"\x81\x01\x02", text_keys=False)[0] == DONE
    assert checked(b"\x81\xd4\x05\x00\x02", any_ext=True)[0] == KEY


def test_reasons_in_words() -> None:
    scanner = Scanner()
    for data, says in [
        (b"\xc1", "0xc1"), (nested(40), "32 levels"), (b"\xdd\xff\xff\xff\xff", "4294967295"), (b"\x81\x01\x01", "key"),
        (b"\xd4\xff\x00", "type -1"), (b"", "truncated"), (b"\xa5", "5 bytes or more does not fit"),
        (b"\xdd\x00\x0f\x42\x41" + bytes(1000001), "1000001 elements"),
        (b"\xdf\x00\x01\x00\x01" + bytes(200000), "65537 entries"),
    ]:  # fmt: skip
        scanner.check(data)
        assert says in scanner.explain()
    scanner.begin(5)
    assert scanner.explain() == "truncated"
    scanner.check(b"\x00")
    assert scanner.explain() == ""


def test_room_bounds_a_value_that_comes_in_chunks() -> None:
    for room, state in [(11, ROOM), (12, WANTS_MORE)]:
        scanner = Scanner()
        scanner.begin(room)
        scanner.advance(b"\xd9\x0aabc", 0)
        assert scanner.state == state
    scanner = Scanner()
    scanner.begin(4)
    assert scanner.advance(b"\x92\x92\x01", 0) == 3
    assert scanner.state == WANTS_MORE
    scanner.advance(b"\x01\x01", 0)  # the fifth byte of the value is one too many
    assert scanner.state == ROOM


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (b"", DONE),
        (b"[" * 32 + b"]" * 32, DONE),
        (b"[" * 33, DEPTH),
        (b'{"a":' * 33, DEPTH),
        (b"[]" * 40, DONE),
        (b'"' + b"[" * 40 + b'"', DONE),
        (b'"\\"' + b"[" * 40 + b'"', DONE),
        (b'"\\\\"' + b"[" * 40, DEPTH),
        (b'"\\', DONE),
        (b'"', DONE),
        (b"," * limits.JSON_ELEMENTS_MAX, DONE),
        (b"," * (limits.JSON_ELEMENTS_MAX + 1), ELEMENTS),
        (b"[]" * (limits.JSON_ELEMENTS_MAX) + b",", ELEMENTS),
        (b"]" * 40 + b"[" * 40, DONE),  # closes what was never opened: the parser's to refuse, at the first byte
    ],
    ids=brief,
)
def test_json_text(text: bytes, state: int) -> None:
    assert scan.scan_json(text) == state
