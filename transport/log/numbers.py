"""Which numbered messages of a client were handled: every number up to one, and a small set above it.

Kept small because a client sends its messages in order and at most so many ahead (`limits.LOG_BEYOND_MAX`). It must
never forget a number that it was told.
"""

from __future__ import annotations

from transport import limits
from transport.log.errors import LogLimit


class Numbers:
    """The set; `contiguous` is the end of its closed part, `beyond` the rest."""

    __slots__ = ("beyond", "contiguous")

    def __init__(self, contiguous: int = 0, beyond: set[int] | None = None) -> None:
        self.contiguous = contiguous
        self.beyond = beyond if beyond is not None else set()

    def __contains__(self, number: int) -> bool:
        return number <= self.contiguous or number in self.beyond

    def check(self, number: int) -> None:
        """Raises LogLimit for a number too far ahead, which would let the set grow."""
        if number - self.contiguous > limits.LOG_BEYOND_MAX:
            raise LogLimit("number ahead of the contiguous ones", number - self.contiguous, limits.LOG_BEYOND_MAX)

    def add(self, number: int) -> None:
        """Takes in one number that `check` let through."""
        if number != self.contiguous + 1:
            if number > self.contiguous:
                self.beyond.add(number)
            return
        self.contiguous = number
        while self.beyond and self.contiguous + 1 in self.beyond:
            self.contiguous += 1
            self.beyond.remove(self.contiguous)

    def text(self) -> str:
        """The part above, as text to be stored."""
        return ",".join(map(str, sorted(self.beyond)))

    @classmethod
    def of(cls, contiguous: int, text: str) -> Numbers:
        """The set that was stored."""
        return cls(contiguous, {int(part) for part in text.split(",")} if text else None)
