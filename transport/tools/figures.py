"""Figures of many measured times: least, mean, percentiles, spread.

All of them are kept up to a bound, and an even sample beyond it (Vitter, "Random sampling with a reservoir", 1985). It
must never give a figure that was not measured: percentiles are values that occurred.
"""

from __future__ import annotations

import math
import random
from array import array

from transport import limits


class Figures:
    """Times as they come, in seconds.

    Attributes:
        count: how many came.
        least, most, mean: of all of them; 0 when there is none.
        kept: how many the percentiles are of.
    """

    def __init__(self, kept_max: int = limits.TOOL_SAMPLES_MAX) -> None:
        self.count = 0
        self.least = self.most = self.mean = 0.0
        self._squares = 0.0
        self._kept = array("d")
        self._kept_max = kept_max
        self._random = random.Random(1)  # noqa: S311 - which of them stay is no secret

    def add(self, seconds: float) -> None:
        """One more."""
        self.count += 1
        self.least = seconds if self.count == 1 else min(self.least, seconds)
        self.most = max(self.most, seconds)
        step = seconds - self.mean
        self.mean += step / self.count
        self._squares += step * (seconds - self.mean)  # Welford 1962: exact where a sum of squares is not
        if len(self._kept) < self._kept_max:
            self._kept.append(seconds)
        else:
            place = self._random.randrange(self.count)
            if place < self._kept_max:
                self._kept[place] = seconds

    @property
    def kept(self) -> int:
        return len(self._kept)

    @property
    def deviation(self) -> float:
        """Standard deviation of all of them."""
        return math.sqrt(self._squares / self.count) if self.count else 0.0

    def percentiles(self, *shares: float) -> list[float]:
        """The least kept values that so large a share of them (0 to 1) does not exceed; zeros when there is none."""
        ordered = sorted(self._kept)
        if not ordered:
            return [0.0 for _ in shares]
        return [ordered[min(len(ordered), max(1, math.ceil(share * len(ordered)))) - 1] for share in shares]
