"""Sets of integers that are nearly whole: bytes and message numbers that came, packet numbers to acknowledge.

Kept as sorted disjoint half-open ranges. Zero or one range is the common case and costs a comparison or two; with more,
places are found by bisection, and adding at the end of the last range stays O(1). Nothing here may depend on how far
apart the numbers are: a peer chooses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from transport import limits
from transport.rudp import longs

KEPT_MAX = limits.RUDP_ACK_RANGES_KEPT


_NONE = longs.new()  # stands where no list is in use


class Ranges:
    """A set of integers from 0 to 2**62. How many ranges there may be is for the owner to bound, by `count`.

    Attributes:
        count: ranges.
        total: integers in all of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._start = 0  # the one range
        self._end = 0
        self._bounds = _NONE  # with more than one: start and end of each in turn, so that they rise

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.pairs())

    def __repr__(self) -> str:
        return f"Ranges({self.pairs()})"

    def add(self, start: int, end: int) -> int:
        """Adds `start` to `end - 1`. Returns how many of them were not in the set; no range (`end <= start`) adds 0."""
        if end <= start:
            return 0
        if self.count > 1:
            return self._add_to_many(start, end)
        if self.count == 0:
            self.count = 1
            self.total = end - start
            self._start = start
            self._end = end
            return end - start
        if start > self._end or end < self._start:
            self._spread()
            return self._add_to_many(start, end)
        added = -self.total
        self._start = min(self._start, start)
        self._end = max(self._end, end)
        self.total = self._end - self._start
        return added + self.total

    def _add_to_many(self, start: int, end: int) -> int:
        """The same where the list is in use."""
        bounds = self._bounds
        low, high = longs.up_to(bounds, start - 1), longs.up_to(bounds, end)
        added = end - start - self._within(low, high, start, end)
        starts, ends = not low & 1, not high & 1  # it overlaps and touches no range at that side
        longs.splice(bounds, low, high, starts + ends, start if starts else end, end)
        self.total += added
        self._settle()
        return added

    def _within(self, low: int, high: int, start: int, end: int) -> int:
        """How many from `start` to `end - 1` are in the ranges that the bounds from `low` to `high` are of."""
        bounds = self._bounds
        found = 0
        for i in range(low & ~1, high + 1 & ~1, 2):
            found += min(longs.get(bounds, i + 1), end) - max(longs.get(bounds, i), start)
        return found

    def remove(self, start: int, end: int) -> int:
        """Takes out what there is from `start` to `end - 1`. Returns how many that were."""
        if end <= start or self.count == 0:
            return 0
        if self.count == 1:
            if start >= self._end or end <= self._start:
                return 0
            if start <= self._start and end >= self._end:
                removed = self.total
                self.clear()
                return removed
            if start <= self._start:
                removed = end - self._start
                self._start = end
                self.total -= removed
                return removed
            if end >= self._end:
                removed = self._end - start
                self._end = start
                self.total -= removed
                return removed
            self._spread()
        return self._remove_from_many(start, end)

    def _remove_from_many(self, start: int, end: int) -> int:
        """The same where the list is in use."""
        bounds = self._bounds
        low, high = longs.up_to(bounds, start - 1), longs.up_to(bounds, end)
        removed = self._within(low, high, start, end)
        cuts, leaves = low & 1, high & 1  # a range begins before it, one goes on behind it
        longs.splice(bounds, low, high, cuts + leaves, start if cuts else end, end)
        self.total -= removed
        self._settle()
        return removed

    def _spread(self) -> None:
        """The one range goes into a list."""
        self._bounds = longs.new()
        longs.append(self._bounds, self._start)
        longs.append(self._bounds, self._end)
        self._start = 0
        self._end = 0

    def _settle(self) -> None:
        """Counts the list; a single range comes out of it."""
        bounds = self._bounds
        self.count = longs.size(bounds) >> 1
        if self.count == 1:
            self._start = longs.get(bounds, 0)
            self._end = longs.get(bounds, 1)
        if self.count <= 1:
            self._bounds = _NONE

    def first_start(self) -> int:
        """Where the first range starts; -1 when there is none."""
        if self.count > 1:
            return longs.get(self._bounds, 0)
        return self._start if self.count else -1

    def contains(self, number: int) -> bool:
        """True if `number` is in the set."""
        return self.covered_to(number) > number

    def covered_to(self, start: int) -> int:
        """The end of the range that `start` is in; `start` itself if it is in none."""
        if self.count <= 1:
            return self._end if self._start <= start < self._end else start
        place = longs.up_to(self._bounds, start)
        return longs.get(self._bounds, place) if place & 1 else start

    def next_start(self, number: int, most: int) -> int:
        """Where the first range begins that lies above `number`, but `most` where that is less or there is none."""
        if self.count <= 1:
            return min(self._start, most) if self.count and self._start > number else most
        place = longs.up_to(self._bounds, number) + 1 & ~1
        return min(longs.get(self._bounds, place), most) if place < 2 * self.count else most

    def clear(self) -> None:
        """Takes out everything."""
        self.count = 0
        self.total = 0
        self._start = 0
        self._end = 0
        self._bounds = _NONE

    def pairs(self) -> list[tuple[int, int]]:
        """Every range as (start, end), from the lowest up."""
        if self.count <= 1:
            return [(self._start, self._end)] if self.count else []
        return list(zip(self._bounds[::2], self._bounds[1::2], strict=True))


class AckRanges:
    """Packet numbers that came and are to be acknowledged, of which the highest 64 ranges are kept.

    A number in a range that was forgotten counts as a duplicate ever after (RFC 9000 section 13.2.3: a range may be
    dropped only when packets in it are no longer accepted).

    Attributes:
        largest: the largest number that came; -1 before the first, and kept when its range is forgotten.
        floor: numbers below it are refused.
    """

    def __init__(self) -> None:
        self.largest = -1
        self.floor = 0
        self._start = 0  # of the highest range, which ends with `largest` and may be empty
        self._bounds = longs.new()  # of all others start and end in turn, from the lowest up

    def __repr__(self) -> str:
        shown = [(self.range_start(i), self.range_end(i)) for i in range(self.range_count())]
        return f"AckRanges({shown}, floor={self.floor})"

    def add(self, number: int) -> bool:
        """Notes that packet `number` came. Returns False for a duplicate and for what lies below the floor."""
        if number == self.largest + 1:
            self.largest = number
            return True
        if number > self.largest:
            if self.largest >= self._start:
                longs.append(self._bounds, self._start)
                longs.append(self._bounds, self.largest + 1)
                self._limit()
            self._start = number
            self.largest = number
            return True
        if number >= self._start or number < self.floor:
            return False
        return self._add_below(number)

    def _add_below(self, number: int) -> bool:
        """The same for a number below the highest range."""
        bounds = self._bounds
        if longs.up_to(bounds, number) & 1:
            return False
        low, high = longs.up_to(bounds, number - 1), longs.up_to(bounds, number + 1)
        if number + 1 == self._start:  # it joins the highest range, and maybe the one before, too
            self._start = longs.get(bounds, low - 1) if low & 1 else number
            longs.splice(bounds, low & ~1, longs.size(bounds), 0, 0, 0)
            return True
        starts, ends = not low & 1, not high & 1
        longs.splice(bounds, low, high, starts + ends, number if starts else number + 1, number + 1)
        if starts and ends:
            self._limit()
        return True

    def _limit(self) -> None:
        """Forgets the lowest range if there are too many."""
        if longs.size(self._bounds) >= 2 * KEPT_MAX:
            self.floor = longs.get(self._bounds, 1)
            longs.drop(self._bounds, 2)

    def contains(self, number: int) -> bool:
        """True if `number` is in a range that is kept."""
        if number >= self._start:
            return number <= self.largest
        return bool(longs.up_to(self._bounds, number) & 1)

    def forget_to(self, number: int) -> None:
        """Drops all below `number`: the peer knows that we have them. They count as duplicates from now on.

        What has not come yet is not refused by it: `number` is cut to `largest + 1`.
        """
        number = min(number, self.largest + 1)
        if number <= self.floor:
            return
        self.floor = number
        self._start = max(self._start, number)
        place = longs.up_to(self._bounds, number)
        longs.splice(self._bounds, 0, place, place & 1, number, 0)

    def range_count(self) -> int:
        """How many ranges are kept."""
        return (longs.size(self._bounds) >> 1) + (1 if self.largest >= self._start else 0)

    def range_start(self, index: int) -> int:
        """The smallest number of range `index`, counted from the highest down. Raises IndexError."""
        if not 0 <= index < self.range_count():
            raise IndexError(index)
        return self._start if index == 0 else longs.get(self._bounds, longs.size(self._bounds) - 2 * index)

    def range_end(self, index: int) -> int:
        """One more than the largest number of range `index`, counted from the highest down. Raises IndexError."""
        if not 0 <= index < self.range_count():
            raise IndexError(index)
        return self.largest + 1 if index == 0 else longs.get(self._bounds, longs.size(self._bounds) - 2 * index + 1)
