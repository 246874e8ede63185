"""One digest over everything that happened in a simulation, so that two runs can be told to be the same.

Exists so that "the same seed gives the same run" is a test on one string, on the interpreted and the compiled build,
under any PYTHONHASHSEED. It must never take in an address in memory, a real time, or an order of a set.
"""

from __future__ import annotations

from collections import deque
from enum import IntEnum
from hashlib import sha256

from transport import limits
from transport.rudp import checksum as sums
from transport.sim import record

_SIZE = record.SIZE
_PENDING_BYTES = 64 * limits.KIB // _SIZE * _SIZE


class Fate(IntEnum):
    """What a link did with a datagram."""

    ARRIVES = 0
    COPY = 1  # a second one arrives
    DOWN = 2
    TOO_LARGE = 3
    QUEUE_FULL = 4
    LOST = 5
    BURST = 6
    UNREACHABLE = 7  # nobody has the address (any more)
    NOTE = 8


class Trace:
    """Takes records in, gives a SHA-256 out.

    Args:
        keep: how many of the last records stay readable in `lines()`.
    """

    def __init__(self, keep: int = 0) -> None:
        if not 0 <= keep <= limits.SIM_TRACE_LINES_MAX:
            raise ValueError(f"keep is at most SIM_TRACE_LINES_MAX = {limits.SIM_TRACE_LINES_MAX:,}, not {keep}")
        self.count = 0
        self._keep = keep
        self._hash = sha256()
        self._pending = bytearray(_PENDING_BYTES)
        self._filled = 0  # bytes of it
        self._kept: deque[tuple[int, int, int, int, int, int, str]] = deque(maxlen=keep)

    def datagram(self, fate: int, link: int, time: int, data: bytes, arrival: int) -> None:
        """One datagram's fate on link number `link`; `arrival` is when it will be there, or 0."""
        self.count += 1
        size = len(data)
        checksum = sums.crc32(data, 0, size, 0)
        if self._filled == _PENDING_BYTES:
            self._flush()
        self._filled = record.put(self._pending, self._filled, fate, link, time, size, checksum, arrival)
        if self._keep:
            self._kept.append((fate, link, time, size, checksum, arrival, ""))

    def note(self, time: int, text: str) -> None:
        """Anything else that has to be the same in every run, in words."""
        self.count += 1
        body = text.encode("utf-8", "backslashreplace")
        if self._filled == _PENDING_BYTES:
            self._flush()
        self._filled = record.put(self._pending, self._filled, 8, 0, time, len(body), 0, 0)
        self._flush()
        self._hash.update(body)
        if self._keep:
            self._kept.append((8, 0, time, 0, 0, 0, text))

    def _flush(self) -> None:
        self._hash.update(memoryview(self._pending)[: self._filled])
        self._filled = 0

    def hexdigest(self) -> str:
        """SHA-256 over every record so far; more may follow."""
        self._flush()
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        """The last `keep` records, readable, oldest first."""
        return [_line(record) for record in self._kept]


def _line(record: tuple[int, int, int, int, int, int, str]) -> str:
    fate, link, time, size, checksum, arrival, text = record
    at = f"{time / limits.SECOND_NS:.9f}"
    if fate == Fate.NOTE:
        return f"{at} {text}"
    name = Fate(fate).name.lower().replace("_", " ")
    when = f" at {arrival / limits.SECOND_NS:.9f}" if arrival else ""
    return f"{at} link {link} {size} B {checksum:08x} {name}{when}"
