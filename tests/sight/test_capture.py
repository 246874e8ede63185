"""Limits of the reader of captures; formats and damage are in tests/bench/test_record.py, which stands on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sight import captures as made
from transport.sight import capture
from transport.sight.capture import BadCapture, Packet, Seen, read_capture


def read(data: bytes, tmp_path: Path) -> tuple[list[Packet], Seen]:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    seen = Seen()
    return list(read_capture(path, seen)), seen


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd\0"])
def test_what_is_no_capture(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadCapture, match=r"^x\.pcap is "):
        read(data, tmp_path)


def test_limits_are_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capture, "PACKET_BYTES_MAX", 100)
    packets, seen = read(made.pcap([(1, bytes(100)), (2, bytes(101)), (3, b"")]), tmp_path)
    assert ([len(packet.data) for packet in packets], seen.broken) == ([100], "a packet of 101 bytes")
    monkeypatch.setattr(capture, "BLOCK_BYTES_MAX", 64)
    start = made.section() + made.interface(made.RAW)
    packets, seen = read(start + made.block("<", 99, bytes(52)) + made.enhanced(1, bytes(100)), tmp_path)
    assert (packets, str(seen.broken)) == ([], "a block of 148 bytes")
    monkeypatch.setattr(capture, "INTERFACES_MAX", 2)
    three = made.section() + made.interface(made.RAW) * 3
    packets, seen = read(three, tmp_path)
    assert (packets, seen.broken) == ([], "an interface that is none, or one too many")
