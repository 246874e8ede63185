"""Payloads written into a room, by whichever of the two implementations a session uses."""

from __future__ import annotations

import pytest

from transport.datagram import room


def test_payloads_lie_one_behind_the_other() -> None:
    memory = bytearray(b"." * 12)
    room.put(memoryview(memory), [b"skipped", b"ab", b"", b"cde", b"skipped"], 1, 4)
    assert memory == b"abcde......."
    room.put(memoryview(memory)[6:], [b"single"], 0, 1)
    assert memory == b"abcde.single"


@pytest.mark.parametrize("payloads", [[b"abcd"], [b"ab", b"cd"]])
def test_they_must_fit(payloads: list[bytes]) -> None:
    with pytest.raises(ValueError, match="."):
        room.put(memoryview(bytearray(3)), payloads, 0, len(payloads))
