"""The header of a frame, byte for byte."""

from __future__ import annotations

import pytest

from transport.codec import varint
from transport.errors import CodecError
from transport.stream import frames


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [
        ((frames.MESSAGE, 0), "00 00"),
        ((frames.MESSAGE, 63), "00 3f"),
        ((frames.MESSAGE, 64), "00 4040"),
        ((frames.MESSAGE, 16_384, 0, 3), "03 80004000"),
        ((frames.MESSAGE, 5, 1, 2), "0a 01 05"),
        ((frames.MESSAGE, 5, 255, 1), "09 40ff 05"),
        ((frames.PING, 8), "30 08"),
        ((frames.CHANNEL_CREDIT, 2, 7), "18 07 02"),
    ],
)
def test_header(arguments: tuple[int, ...], wire: str) -> None:
    assert frames.header(*arguments) == bytes.fromhex(wire)


def test_header_refuses_what_no_varint_holds() -> None:
    with pytest.raises(CodecError):
        frames.header(frames.MESSAGE, -1)
    with pytest.raises(CodecError):
        frames.header(frames.MESSAGE, 1 << 62)


@pytest.mark.parametrize(
    ("arguments", "tail", "wire"),
    [
        ((frames.CONNECTION_CREDIT, 300), b"", "20 02 412c"),
        ((frames.STREAM_RESET, 1, 0, 1), b"", "90 03 01 00 01"),
        ((frames.CLOSE, 1001), b"bye", "50 05 43e9 627965"),
    ],
)
def test_numbers(arguments: tuple[int, ...], tail: bytes, wire: str) -> None:
    assert frames.numbers(*arguments, tail=tail) == bytes.fromhex(wire)


def test_kinds_are_distinct_and_fit_four_bits() -> None:
    kinds = [
        frames.MESSAGE, frames.CHANNEL_CREDIT, frames.CONNECTION_CREDIT, frames.PING, frames.PONG, frames.CLOSE,
        frames.STREAM_OPEN, frames.STREAM_DATA, frames.STREAM_END, frames.STREAM_RESET, frames.STREAM_CREDIT,
    ]  # fmt: skip
    assert len(set(kinds)) == len(kinds)
    assert max(kinds) < frames.IGNORABLE < 16


def test_the_largest_control_frame_holds_the_longest_goodbye() -> None:
    from transport import limits

    longest = frames.numbers(frames.CLOSE, (1 << 16) - 1, tail=bytes(limits.REASON_BYTES_MAX))
    assert len(longest) <= frames.CONTROL_BYTES_MAX
    assert varint.size_of(frames.CONTROL_BYTES_MAX) == 2
