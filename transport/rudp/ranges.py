"""Sets of integers that are nearly whole: bytes and message numbers that came, packet numbers to acknowledge.

Kept as sorted disjoint half-open ranges. Zero or one range is the common case and costs a comparison or two; with more,
places are found by bisection, and adding at the end of the last range stays O(1). Nothing here may depend on how far
apart the numbers are: a peer chooses them.
"""

from __future__ import annotations

from collections.abc import Iterator

from transport import limits

KEPT_MAX = limits.RUDP_ACK_RANGES_KEPT


def _find(numbers: list[int], value: int) -> int:
    """The index of the first of the sorted `numbers` that is not below `value`, or their count."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) >> 1
        if numbers[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


class Ranges:
    """A set of integers from 0 to 2**62. How many ranges there may be is for the owner to bound, by `count`.

    Attributes:
        count: ranges.
        total: integers in all of them.
    """

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self._start = 0  # the one range; with more than one they are all in the lists
        self._end = 0
        self._starts: list[int] = []
        self._ends: list[int] = []

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
        """The same where the lists are in use."""
        starts, ends = self._starts, self._ends
        last = len(ends) - 1
        if start > ends[last]:
            starts.append(start)
            ends.append(end)
            self.count += 1
            self.total += end - start
            return end - start
        if start >= starts[last]:
            added = end - ends[last]
            if added <= 0:
                return 0
            ends[last] = end
            self.total += added
            return added
        low, high = _find(ends, start), _find(starts, end + 1)  # those from low to high overlap or touch it
        if low == high:
            starts.insert(low, start)
            ends.insert(low, end)
            added = end - start
        else:
            start = min(start, starts[low])
            end = max(end, ends[high - 1])
            added = end - start
            for i in range(low, high):
                added -= ends[i] - starts[i]
            starts[low] = start
            ends[low] = end
            del starts[low + 1 : high]
            del ends[low + 1 : high]
        self.total += added
        self._settle()
        return added

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
        """The same where the lists are in use."""
        starts, ends = self._starts, self._ends
        low, high = _find(ends, start + 1), _find(starts, end)  # those from low to high overlap it
        if low >= high:
            return 0
        removed = 0
        for i in range(low, high):
            removed += ends[i] - starts[i]
        left, right = starts[low], ends[high - 1]
        del starts[low:high]
        del ends[low:high]
        if right > end:
            starts.insert(low, end)
            ends.insert(low, right)
            removed -= right - end
        if left < start:
            starts.insert(low, left)
            ends.insert(low, start)
            removed -= start - left
        self.total -= removed
        self._settle()
        return removed

    def _spread(self) -> None:
        """The one range goes into the lists."""
        self._starts.append(self._start)
        self._ends.append(self._end)
        self._start = 0
        self._end = 0

    def _settle(self) -> None:
        """Counts the lists; a single range comes out of them."""
        self.count = len(self._starts)
        if self.count == 1:
            self._start = self._starts.pop()
            self._end = self._ends.pop()

    def first_start(self) -> int:
        """Where the first range starts; -1 when there is none."""
        if self.count > 1:
            return self._starts[0]
        return self._start if self.count else -1

    def first_end(self) -> int:
        """Where the first range ends; -1 when there is none."""
        if self.count > 1:
            return self._ends[0]
        return self._end if self.count else -1

    def first(self) -> tuple[int, int]:
        """The first range; (0, 0) when there is none."""
        if self.count == 0:
            return (0, 0)
        return (self.first_start(), self.first_end())

    def pop_first(self, most: int) -> tuple[int, int]:
        """Takes out the first range, or `most` integers from its beginning; (0, 0) when there is nothing to take."""
        if self.count == 0 or most <= 0:
            return (0, 0)
        start, end = self.first_start(), self.first_end()
        if end - start > most:
            end = start + most
        self.remove(start, end)
        return (start, end)

    def contains(self, number: int) -> bool:
        """True if `number` is in the set."""
        return self.covered_to(number) > number

    def covered_to(self, start: int) -> int:
        """The end of the range that `start` is in; `start` itself if it is in none."""
        if self.count <= 1:
            return self._end if self._start <= start < self._end else start
        i = _find(self._ends, start + 1)
        if i < self.count and self._starts[i] <= start:
            return self._ends[i]
        return start

    def next_start(self, number: int, most: int) -> int:
        """Where the first range begins that lies above `number`, but `most` where that is less or there is none."""
        if self.count <= 1:
            return min(self._start, most) if self.count and self._start > number else most
        index = _find(self._starts, number + 1)
        return min(self._starts[index], most) if index < len(self._starts) else most

    def last_end(self) -> int:
        """Where the last range ends: one more than the largest integer in the set; -1 when there is none."""
        if self.count > 1:
            return self._ends[self.count - 1]
        return self._end if self.count else -1

    def clear(self) -> None:
        """Takes out everything."""
        self.count = 0
        self.total = 0
        self._start = 0
        self._end = 0
        if self._starts:
            self._starts.clear()
            self._ends.clear()

    def pairs(self) -> list[tuple[int, int]]:
        """Every range as (start, end), from the lowest up."""
        if self.count == 1:
            return [(self._start, self._end)]
        return list(zip(self._starts, self._ends, strict=True))


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
        self._starts: list[int] = []  # of all others, from the lowest up
        self._ends: list[int] = []

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
                self._starts.append(self._start)
                self._ends.append(self.largest + 1)
                self._limit()
            self._start = number
            self.largest = number
            return True
        if number >= self._start or number < self.floor:
            return False
        return self._add_below(number)

    def _add_below(self, number: int) -> bool:
        """The same for a number below the highest range."""
        starts, ends = self._starts, self._ends
        i = _find(ends, number)  # the first range that ends at the number or beyond it
        count = len(ends)
        if i < count and starts[i] <= number < ends[i]:
            return False
        grows = i < count and ends[i] == number
        after = i + 1 if grows else i  # the first range above the number
        is_top = after == count
        meets = number + 1 == (self._start if is_top else starts[after])
        if grows and meets and is_top:
            self._start = starts.pop()
            ends.pop()
        elif grows and meets:
            ends[i] = ends[after]
            del starts[after]
            del ends[after]
        elif grows:
            ends[i] = number + 1
        elif meets and is_top:
            self._start = number
        elif meets:
            starts[after] = number
        else:
            starts.insert(i, number)
            ends.insert(i, number + 1)
            self._limit()
        return True

    def _limit(self) -> None:
        """Forgets the lowest range if there are too many."""
        if len(self._starts) >= KEPT_MAX:
            self.floor = self._ends[0]
            del self._starts[0]
            del self._ends[0]

    def contains(self, number: int) -> bool:
        """True if `number` is in a range that is kept."""
        if number >= self._start:
            return number <= self.largest
        i = _find(self._ends, number + 1)
        return i < len(self._ends) and self._starts[i] <= number

    def forget_to(self, number: int) -> None:
        """Drops all below `number`: the peer knows that we have them. They count as duplicates from now on.

        What has not come yet is not refused by it: `number` is cut to `largest + 1`.
        """
        number = min(number, self.largest + 1)
        if number <= self.floor:
            return
        self.floor = number
        self._start = max(self._start, number)
        if not self._starts:
            return
        i = _find(self._ends, number + 1)  # ranges before it end at the number or below
        del self._starts[:i]
        del self._ends[:i]
        if self._starts and self._starts[0] < number:
            self._starts[0] = number

    def range_count(self) -> int:
        """How many ranges are kept."""
        return len(self._starts) + (1 if self.largest >= self._start else 0)

    def range_start(self, index: int) -> int:
        """The smallest number of range `index`, counted from the highest down. Raises IndexError."""
        if not 0 <= index < self.range_count():
            raise IndexError(index)
        return self._start if index == 0 else self._starts[len(self._starts) - index]

    def range_end(self, index: int) -> int:
        """One more than the largest number of range `index`, counted from the highest down. Raises IndexError."""
        if not 0 <= index < self.range_count():
            raise IndexError(index)
        return self.largest + 1 if index == 0 else self._ends[len(self._ends) - index]
