"""Lists that are emptied and filled again at every message; the `.pxd` holds the same in C.

CPython gives a list's memory back when its last entry goes, and asks for it again at the next: of a request and its
answer that is a tenth of all instructions. Compiled, the memory stays.
"""

from __future__ import annotations

from typing import Any


def pop_last(items: list[Any]) -> Any:
    """Takes the last entry out and returns it; the list keeps its memory. Raises IndexError when it is empty."""
    return items.pop()
