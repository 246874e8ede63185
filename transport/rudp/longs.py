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


def find(numbers: array[int], value: int) -> int:
    """The index of the last number that is not above `value`; -1 when there is none. They must be sorted."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low - 1
