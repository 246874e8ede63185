"""Variable-length integers: the vectors of the RFC, every edge, and every way to be cut short."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transport.codec import varint
from transport.errors import CodecError

EDGES = [0, 1, 63, 64, 16383, 16384, 2**30 - 1, 2**30, 2**31, 2**32 - 1, 2**32, 2**61, 2**62 - 1]


@pytest.mark.parametrize(
    ("wire", "number"),
    [  # RFC 9000 appendix A.1
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),
    ],
)
def test_vectors(wire: str, number: int) -> None:
    data = bytes.fromhex(wire)
    assert varint.decode(data) == (number, len(data))
    if wire != "4025":  # the long form of 37 is read and never written
        assert varint.encode(number) == data


@given(st.integers(0, varint.VALUE_MAX), st.binary(max_size=3), st.binary(max_size=3))
@settings(derandomize=True)
def test_round_trip(number: int, before: bytes, behind: bytes) -> None:
    wire = varint.encode(number)
    assert len(wire) == varint.size_of(number) == varint.length(wire[0])
    assert varint.decode(before + wire + behind, len(before)) == (number, len(before) + len(wire))
    assert varint.value(before + wire + behind, len(before)) == number
    out = bytearray(before)
    varint.append(out, number)
    assert out == before + wire
    for cut in range(len(wire)):
        with pytest.raises(CodecError, match="truncated"):
            varint.decode(before + wire[:cut], len(before))
        with pytest.raises(IndexError):
            varint.value(before + wire[:cut], len(before))


@pytest.mark.parametrize("number", EDGES)
def test_edges(number: int) -> None:
    assert varint.decode(varint.encode(number)) == (number, varint.size_of(number))


def test_sizes() -> None:
    assert [varint.size_of(number) for number in EDGES] == [1, 1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 8, 8]
    assert [varint.size_of(number) for number in (-1, -(2**62), 2**62, 2**63 - 1)] == [0, 0, 0, 0]
    assert [varint.length(first) for first in (0, 0x3F, 0x40, 0x80, 0xC0, 0xFF)] == [1, 1, 2, 4, 8, 8]


@pytest.mark.parametrize("number", [-1, 2**62, 2**64, 10**40, -(10**40)])
def test_what_does_not_fit(number: int) -> None:
    with pytest.raises(CodecError, match=r"0 to 2\*\*62 - 1"):
        varint.encode(number)


@pytest.mark.parametrize("pos", [-1, 1, 5])
def test_positions_outside(pos: int) -> None:
    with pytest.raises(CodecError, match="no variable-length integer is left"):
        varint.decode(b"\x01", pos)


@given(st.binary(max_size=10))
@example(b"\xff" * 8)
@settings(derandomize=True)
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        number, end = varint.decode(data)
    except CodecError:
        return
    assert 0 <= number <= varint.VALUE_MAX
    assert end in (1, 2, 4, 8)
