"""Payloads into a driver's room at one copy each when compiled; the `.pxd` beside this file holds the C inline.

Use as `room.put(view, payloads, start, stop)` after `from transport.datagram import room`, and in the `.pxd` of the
compiled module `from transport.datagram cimport room`.
"""

from __future__ import annotations


def put(view: memoryview, payloads: list[bytes], start: int, stop: int) -> None:
    """Writes `payloads[start:stop]` one behind the other to the beginning of `view`.

    Raises:
        ValueError: they do not fit.
    """
    joined = payloads[start] if stop == start + 1 else b"".join(payloads[start:stop])
    view[: len(joined)] = joined
