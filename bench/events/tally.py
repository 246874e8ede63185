"""A number that one process counts up and others look at, in memory that they share: nobody has to ask or to answer.

It has no name in any file system, so that nothing is left behind however a process ends.
"""

from __future__ import annotations

import mmap
import os


class Tally:
    """One number, 0 at first.

    Args:
        path: of one that another process made; None makes one.

    Attributes:
        path: for the others, for as long as the process that made it lives.
    """

    def __init__(self, path: str | None = None) -> None:
        if path is None:
            self._file = os.memfd_create("bench-events")
            os.ftruncate(self._file, 8)
            self.path = f"/proc/{os.getpid()}/fd/{self._file}"
        else:
            self._file = os.open(path, os.O_RDWR)
            self.path = path
        self._memory = mmap.mmap(self._file, 8)
        self._cells = memoryview(self._memory).cast("Q")

    @property
    def value(self) -> int:
        """As it is now."""
        return int(self._cells[0])

    @value.setter
    def value(self, number: int) -> None:
        self._cells[0] = number

    def close(self) -> None:
        """Gives the memory back; the others keep theirs."""
        self._cells.release()
        self._memory.close()
        os.close(self._file)
