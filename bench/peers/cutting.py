"""Messages in a stream of bytes, for peers whose library has no messages: four bytes of length before each.

In plain Python by slices, as an application would write it; it copies no message twice and holds at most one in part.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

LENGTH = Struct(">I")


class Cutter:
    """Cuts messages from a stream and hands each to `take`."""

    def __init__(self, take: Callable[[bytes], Any]) -> None:
        self.take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """The next bytes of the stream."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        take = self.take
        while end - at >= 4:
            stop = at + 4 + LENGTH.unpack_from(data, at)[0]
            if stop > end:
                break
            take(data[at + 4 : stop])
            at = stop
        self._rest = data[at:]
