"""Messages cut from a QUIC stream, however its bytes come."""

from __future__ import annotations

import random

import pytest

from bench.peers.cutting import LENGTH, Cutter


@pytest.mark.parametrize("seed", range(20))
def test_messages_come_whole_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    messages = [rng.randbytes(rng.choice((0, 1, 3, 4, 5, 64, 5000))) for _ in range(50)]
    stream = b"".join(LENGTH.pack(len(message)) + message for message in messages)
    got: list[bytes] = []
    cutter = Cutter(got.append)
    at = 0
    while at < len(stream):
        size = rng.choice((1, 2, 5, 100, 1200, 9000))
        cutter.feed(stream[at : at + size])
        at += size
    assert got == messages, f"seed {seed}"
