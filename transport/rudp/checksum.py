"""CRC-32 as zlib has it, and CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksums of plain packets.

UDP's own sum lets one corrupted datagram in 65,536 through. The `.pxd` beside it holds the same in C, for others to
cimport. A seed goes on from the checksum of what came before, as in `zlib.crc32(data, value)`. It must never know what
a packet is.
"""

from __future__ import annotations

import zlib

_CASTAGNOLI = 0x82F63B78  # the polynomial 0x1EDC6F41, its lowest power in the highest bit


def _table() -> tuple[int, ...]:
    entries = []
    for entry in range(256):
        for _ in range(8):
            entry = entry >> 1 ^ (_CASTAGNOLI if entry & 1 else 0)
        entries.append(entry)
    return tuple(entries)


_TABLE = _table()


def crc32(data: bytes, start: int, end: int, seed: int) -> int:
    """CRC-32 of bytes `start` to `end` of `data`, going on from `seed`, which has 32 bits.

    Raises:
        IndexError: that is not within `data`.
    """
    if not 0 <= start <= end <= len(data):
        raise IndexError(start)
    return zlib.crc32(memoryview(data)[start:end], seed)


def crc32c(data: bytes, start: int, end: int, seed: int) -> int:
    """CRC-32C of bytes `start` to `end` of `data`, going on from `seed`, which has 32 bits.

    Raises:
        IndexError: that is not within `data`.
    """
    if not 0 <= start <= end <= len(data):
        raise IndexError(start)
    table = _TABLE
    crc = seed ^ 0xFFFFFFFF
    for byte in memoryview(data)[start:end]:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


crc32c_portable = crc32c  # compiled: by tables, as where the CPU has no instruction for it
