"""The messages of a run, made once before it starts, and how a receiver knows that one is whole.

Every byte message carries a CRC-32 of what follows, its number within the pool and a planned time (0 in a closed loop;
the open-loop load will use it). Both processes make the same pool from the seed, so that a receiver compares whole
messages, which is stronger than the checksum and costs less. It must never make a message inside a measured stretch.
"""

from __future__ import annotations

import random
import struct
import zlib
from typing import Any

from bench.cases import HEADER_BYTES, Case

HEADER = struct.Struct("<IIQ")  # crc32 of the rest, number, planned time in ns
POOL_MESSAGES = 1024
POOL_BYTES = 4 * 1024 * 1024
BATCH_MESSAGES = 256
BATCH_BYTES = 64 * 1024
STRIDE_SMALL = 61  # coprime with every pool length, so each message of the pool is looked at sooner or later
STRIDE_LARGE = 7
LARGE_BYTES = 8 * 1024
PACKED_BYTES = 65  # what every `make_dict` packs to in msgpack


def make_message(number: int, size: int, rng: random.Random, planned_ns: int = 0) -> bytes:
    """A message of `size` bytes (at least 16) with header and seeded filling."""
    if size < HEADER_BYTES:
        raise ValueError(f"a message needs {HEADER_BYTES} bytes for its header, got {size}")
    body = struct.pack("<IQ", number, planned_ns) + rng.randbytes(size - HEADER_BYTES)
    return struct.pack("<I", zlib.crc32(body)) + body


def make_dict(number: int) -> dict[str, Any]:
    """A small dict like those programs send; every one packs to the same number of bytes."""
    return {
        "seq": 100_000 + number,
        "kind": "reading",
        "sensor": f"s-{number:04d}",
        "value": 21.5 + number,
        "ok": True,
        "tags": [1, 2, 3],
    }


def number_of(message: bytes) -> int | None:
    """The number that a byte message carries, or None when its checksum is wrong."""
    if len(message) < HEADER_BYTES or zlib.crc32(message[4:]) != HEADER.unpack_from(message)[0]:
        return None
    number: int = HEADER.unpack_from(message)[1]
    return number


class Pool:
    """The messages that a sender goes through again and again, in order.

    Attributes:
        messages: what the application sends.
        batches: the same list cut into runs of at most 256 messages and about 64 KiB; the clock is read once a run.
        stride: every how many messages a receiver looks closely.
    """

    def __init__(self, case: Case, seed: int) -> None:
        rng = random.Random(f"{seed}/{case.id}")
        count = max(4, min(POOL_MESSAGES, POOL_BYTES // case.payload))
        count = 1 << (count.bit_length() - 1)
        sizes = [rng.randint(HEADER_BYTES, case.payload) if case.mixed else case.payload for _ in range(count)]
        self.messages: list[Any]
        if case.codec == "msgpack":
            self.messages = [make_dict(number) for number in range(count)]
        else:
            self.messages = [make_message(number, size, rng) for number, size in enumerate(sizes)]
        self.bytes_total = sum(sizes)
        each = max(1, min(BATCH_MESSAGES, min(BATCH_BYTES, case.burst) // max(1, self.bytes_total // count)))
        self.batches = [self.messages[at : at + each] for at in range(0, count, each)]
        self.stride = STRIDE_LARGE if case.payload >= LARGE_BYTES else STRIDE_SMALL

    def at(self, position: int) -> Any:
        """The message that comes `position` messages after the start of a run."""
        return self.messages[position % len(self.messages)]

    def knows(self, message: bytes) -> bool:
        """Whether `message`, whose place in the run is unknown (datagrams), is one of the pool, whole."""
        number = number_of(message)
        return number is not None and number < len(self.messages) and bool(message == self.messages[number])
