"""How far a client is in one stream: what it received, what its program finished, and the cursor between the two.

With several handlers at work events finish in any order; the cursor lies before the first that is not finished, so that
whoever resumes from it misses nothing. It must never go back, nor over an event that is not finished, nor hold more
than those: one that is never finished, as its effect has failed, may stay for as long as the program lives.
"""

from __future__ import annotations


class Tracker:
    """The cursor of one stream.

    Attributes:
        start: where it began; it says nothing of what lies before.
        cursor: everything up to this offset is finished.
        received: everything up to this offset has come.
        waiting_bytes: of events that are not finished.
        failed, failed_bytes: those of them whose effect has failed, and that are not worked on any more.
    """

    __slots__ = ("_open", "cursor", "failed", "failed_bytes", "received", "start", "waiting_bytes")

    def __init__(self, offset: int = 0) -> None:
        self.start = self.cursor = self.received = offset
        self.waiting_bytes = 0
        self._open: dict[int, tuple[int, int]] = {}  # offset, in order: size, and what had come before
        self.failed: set[int] = set()
        self.failed_bytes = 0

    def begin(self, offset: int, size: int = 0) -> None:
        """An event came, or a gap that ends at `offset`."""
        self._open[offset] = (size, self.received)
        self.received = offset
        self.waiting_bytes += size

    def skip(self, offset: int) -> None:
        """The server moved the client over what it is not meant to see."""
        self.received = offset
        if not self._open:
            self.cursor = offset

    def finish(self, offset: int) -> bool:
        """The program is done with it. Whether the cursor moved."""
        entry = self._open.pop(offset, None)
        if entry is None:
            return False
        self.waiting_bytes -= entry[0]
        if offset in self.failed:
            self.failed.discard(offset)
            self.failed_bytes -= entry[0]
        before = self.cursor
        oldest = self.oldest
        self.cursor = self.received if oldest < 0 else self._open[oldest][1]
        return self.cursor > before

    def set_aside(self, offset: int) -> None:
        """The program has given it up for now: it is not finished, until `finish` says so after all."""
        entry = self._open.get(offset)
        if entry is not None and offset not in self.failed:
            self.failed.add(offset)
            self.failed_bytes += entry[0]

    @property
    def oldest(self) -> int:
        """The first event that is not finished, -1 if all are."""
        return next(iter(self._open), -1)

    def rebase(self, offset: int) -> None:
        """Another epoch, or a place further back: what was begun before counts no more."""
        self._open.clear()
        self.failed.clear()
        self.failed_bytes = 0
        self.waiting_bytes = 0
        self.start = self.cursor = self.received = offset

    def __len__(self) -> int:
        """Events that are not finished."""
        return len(self._open)
