"""The contract's own small types: paths, transmits, events, and what counts as a machine."""

from __future__ import annotations

import pytest

from transport.machine import (
    ECN_CE,
    ECN_ECT0,
    ECN_ECT1,
    ECN_NOT_ECT,
    EOF,
    ByteMachine,
    Closed,
    DatagramMachine,
    Established,
    Event,
    Path,
    Transmit,
)

LOCAL, REMOTE = ("127.0.0.1", 1), ("127.0.0.1", 2)


def test_a_path_is_a_value() -> None:
    path = Path(LOCAL, REMOTE)
    assert path == Path(LOCAL, REMOTE)
    assert hash(path) == hash(Path(LOCAL, REMOTE))
    for other in (Path(None, REMOTE), Path(REMOTE, LOCAL), Path(LOCAL, None), Path("/a", REMOTE), (LOCAL, REMOTE)):
        assert path != other
    assert {path: 1}[Path(LOCAL, REMOTE)] == 1
    path.raw = b"packed"
    assert path == Path(LOCAL, REMOTE), "the socket layer's cache is no part of the value"
    assert repr(path) == "Path(local=('127.0.0.1', 1), remote=('127.0.0.1', 2))"


def test_a_transmit() -> None:
    path = Path(None, REMOTE)
    transmit = Transmit(3000, 1200, path, ECN_ECT0)
    assert (transmit.size, transmit.segment_bytes, transmit.path, transmit.ecn) == (3000, 1200, path, ECN_ECT0)
    assert Transmit(1, 1, path).ecn == ECN_NOT_ECT
    assert "size=3000, segment_bytes=1200" in repr(transmit)


def test_codepoints_are_those_of_the_header() -> None:
    """RFC 3168 section 5."""
    assert (ECN_NOT_ECT, ECN_ECT1, ECN_ECT0, ECN_CE) == (0b00, 0b01, 0b10, 0b11)


def test_events_are_values() -> None:
    assert Established() == Established()
    closed = Closed(1009, "too large", True, False)
    assert closed == Closed(1009, "too large", True, False)
    assert isinstance(closed, Event)
    with pytest.raises(AttributeError):
        closed.code = 0  # type: ignore[misc]
    assert EOF == b""


class Bytes:
    def receive(self, data: bytes, now: int) -> None: ...
    def transmit(self, now: int) -> list[bytes]:
        return []

    def events(self) -> list[object]:
        return []

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None: ...


class Datagrams(Bytes):
    def error(self, path: Path, errno: int, now: int) -> None: ...


def test_what_counts_as_a_machine() -> None:
    assert isinstance(Bytes(), ByteMachine)
    assert not isinstance(Bytes(), DatagramMachine)
    assert isinstance(Datagrams(), DatagramMachine)
    assert not isinstance(object(), ByteMachine)
