"""One record of a trace as bytes: here in Python; compiled modules have the same in C, in record.pxd.

Exists because a record is written for every simulated datagram. It must never depend on the machine's byte order.
"""

from __future__ import annotations

from struct import Struct

RECORD = Struct("<BiqiIq")
SIZE = RECORD.size


def put(pending: bytearray, pos: int, fate: int, link: int, time: int, size: int, checksum: int, arrival: int) -> int:
    """Writes a record at `pos` of `pending`, which has room for it; returns the place behind it."""
    RECORD.pack_into(pending, pos, fate, link, time, size, checksum, arrival)
    return pos + SIZE
