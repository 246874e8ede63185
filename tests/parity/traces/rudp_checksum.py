"""Checksums of random bytes, by every way that there is."""

from __future__ import annotations

import random

from transport.rudp import sums


def trace(seed: int) -> bytes:
    """Four bytes for each checksum."""
    rng = random.Random(seed)
    out = bytearray()
    for _ in range(150):
        data, start = rng.randbytes(rng.choice((7, 64, 400, 1300))), rng.getrandbits(32)
        for kind in (sums.CRC32, sums.CRC32C):
            out += sums.checksum_of(data, kind, start).to_bytes(4, "big")
        out += sums.crc32c_without_cpu(data, start).to_bytes(4, "big")
    return bytes(out)
