"""A progress bar with the time left; plain lines where standard error is no terminal.

Draws only when told to, between rounds: a bar that ticks by itself would wake a core that is being measured.
"""

from __future__ import annotations

import shutil
import sys
from time import monotonic
from typing import TextIO

LINE_EVERY_S = 15.0


def seconds_text(seconds: float) -> str:
    """75 -> "1:15"."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"


class Progress:
    """Shows how far a run is. Use as a context manager, so that the line is finished on every way out."""

    def __init__(self, title: str, total: int, out: TextIO | None = None) -> None:
        self.title = title
        self.total = max(1, total)
        self.out = out or sys.stderr
        self.live = self.out.isatty()
        self._started = monotonic()
        self._last_line = self._started
        self._drawn = 0

    def __enter__(self) -> Progress:
        self.update(0, "")
        return self

    def __exit__(self, *_error: object) -> None:
        if self.live:
            self.out.write("\r" + " " * self._drawn + "\r")
        self.out.flush()

    def update(self, done: int, what: str) -> None:
        """`done` of `total` are behind us; `what` was the last."""
        spent = monotonic() - self._started
        left = f"{seconds_text(spent / done * (self.total - done))} left" if done else "starting"
        if self.live:
            width = shutil.get_terminal_size((80, 24)).columns
            bar_width = 24
            full = round(bar_width * done / self.total)
            line = f"{self.title} [{'#' * full}{'.' * (bar_width - full)}] {done}/{self.total} {left}  {what}"[
                : width - 1
            ]
            self.out.write("\r" + line.ljust(self._drawn))
            self._drawn = len(line)
        elif monotonic() - self._last_line >= LINE_EVERY_S or done in (0, self.total):
            self._last_line = monotonic()
            self.out.write(f"{self.title}: {done}/{self.total}, {left} {what}".rstrip() + "\n")
        self.out.flush()

    def say(self, text: str) -> None:
        """A line of its own above the bar."""
        if self.live:
            self.out.write("\r" + " " * self._drawn + "\r")
            self._drawn = 0
        self.out.write(text + "\n")
        self.out.flush()
