"""How far a client is in one stream: what it received, what its program finished, and the cursor between the two.

With several handlers at work events finish in any order; the cursor is the last one before the first that is not
finished, so that whoever resumes from it misses nothing. It must never go back, nor over an event that is not finished.
"""

from __future__ import annotations

from collections import deque


class Tracker:
    """The cursor of one stream.

    Attributes:
        cursor: everything up to this offset is finished.
        received: everything up to this offset has come.
        waiting_bytes: of events that are not finished.
    """

    __slots__ = ("_entries", "_finished", "cursor", "received", "waiting_bytes")

    def __init__(self, offset: int = 0) -> None:
        self.cursor = offset
        self.received = offset
        self.waiting_bytes = 0
        self._entries: deque[tuple[int, int]] = deque()  # offset and size of what began, in order
        self._finished: set[int] = set()

    def begin(self, offset: int, size: int = 0) -> None:
        """An event came, or a gap that ends at `offset`."""
        self.received = offset
        self.waiting_bytes += size
        self._entries.append((offset, size))

    def skip(self, offset: int) -> None:
        """The server moved the client over what it is not meant to see."""
        self.received = offset
        if not self._entries:
            self.cursor = offset
        else:
            self._entries.append((offset, 0))
            self._finished.add(offset)

    def finish(self, offset: int) -> bool:
        """The program is done with it. Whether the cursor moved."""
        if not self.cursor < offset <= self.received:
            return False
        self._finished.add(offset)
        moved = False
        while self._entries and self._entries[0][0] in self._finished:
            done, size = self._entries.popleft()
            self._finished.discard(done)
            self.waiting_bytes -= size
            self.cursor = done
            moved = True
        return moved

    @property
    def oldest(self) -> int:
        """The first event that is not finished, -1 if all are."""
        return self._entries[0][0] if self._entries else -1

    def rebase(self, offset: int) -> None:
        """Another epoch, or a place further back: what was begun before counts no more."""
        self._entries.clear()
        self._finished.clear()
        self.waiting_bytes = 0
        self.cursor = self.received = offset

    def __len__(self) -> int:
        """Events that are not finished."""
        return len(self._entries) - len(self._finished)
