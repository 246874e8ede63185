"""A growing array of 64-bit integers, read and written without making objects; the `.pxd` holds the same in C.

Compiled, an index is compared with the length, so that a mistake raises on both builds.
"""

from __future__ import annotations

from array import array


def new() -> array[int]:
    """An empty one."""
    return array("q")


def get(numbers: array[int], index: int) -> int:
    """The number at `index`, from 0."""
    if index < 0:
        raise IndexError(index)
    return numbers[index]


def append(numbers: array[int], value: int) -> None:
    """Adds one at the end."""
    numbers.append(value)


def drop(numbers: array[int], count: int) -> None:
    """Takes the first `count` out."""
    del numbers[:count]


def splice(numbers: array[int], low: int, high: int, count: int, one: int, other: int) -> None:
    """Puts the first `count` of `one` and `other` in the place of those from `low` to below `high`."""
    if not 0 <= low <= high <= len(numbers):
        raise IndexError(low)
    numbers[low:high] = array("q", (one, other)[:count])


def size(numbers: array[int]) -> int:
    """How many there are."""
    return len(numbers)


def up_to(numbers: array[int], value: int) -> int:
    """How many are not above `value`. They must be sorted."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) >> 1
        if numbers[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low
