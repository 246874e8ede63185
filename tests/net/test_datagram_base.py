"""What all datagram sockets share: batches, and what an implementation must provide."""

from __future__ import annotations

import socket

import pytest

from tests.net.sockets import Keep, batch
from transport.machine import Path
from transport.net.datagram_base import DatagramSocket, Entry, Outgoing

PATHS = [Path(None, ("127.0.0.1", port)) for port in range(3)]


def test_the_rest_of_a_batch_is_its_own() -> None:
    whole = batch((b"gone", 4, PATHS[0], 0), (b"abcdef", 2, PATHS[1], 3), (b"", 0, PATHS[2], 1))
    whole.first = 1
    whole.entries[1].offset += 2
    whole.entries[1].size -= 2
    rest = whole.rest()
    whole.room[:] = b"?" * len(whole.room)
    whole.entries[1].path = PATHS[0]
    assert bytes(rest.room) == b"cdef"
    assert (rest.first, rest.count) == (0, 2)
    entries = [(entry.offset, entry.size, entry.segment_bytes, entry.path, entry.ecn) for entry in rest.entries]
    assert entries == [(0, 4, 2, PATHS[1], 3), (4, 0, 0, PATHS[2], 1)]


def test_a_batch_has_room_and_entries_from_the_start() -> None:
    empty = Outgoing(100, 3)
    assert (len(empty.room), len(empty.entries), empty.first, empty.count) == (100, 3, 0, 0)
    assert all(type(entry) is Entry for entry in empty.entries)
    assert empty.rest().count == 0


def test_an_implementation_provides_the_rest() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        sock = DatagramSocket(raw, None, ("127.0.0.1", 1))
        assert sock.fileno() == raw.fileno()
        for call in (
            lambda: sock.receive(Keep(), 0), lambda: sock.send(Outgoing(0, 0)),
            lambda: sock.start(lambda: None, lambda: None),
        ):  # fmt: skip
            with pytest.raises(NotImplementedError):
                call()
        sock.close()
        assert sock.fileno() == -1
