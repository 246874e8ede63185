"""The life of a stream as a table, the same at both of its ends: docs/protocol.md is drawn from it.

It must never be walked for each chunk.
"""

from __future__ import annotations

from enum import IntEnum

from transport.states import Event, Machine, Row


class Body(IntEnum):
    """Where a stream is."""

    NEW = 0
    OPEN = 1
    COMPLETE = 2  # all its bytes are sent, or have come
    OVER = 3


class On(IntEnum):
    """What a stream's life goes on by."""

    OPEN = 0
    END = 1
    TAKEN = 2
    RESET = 3
    LOST = 4


STREAM = Machine(
    "a stream",
    Body,
    On,
    {
        On.OPEN: Event("STREAM_OPEN", "STREAM_OPEN"),
        On.END: Event("STREAM_END", "STREAM_END"),
        On.TAKEN: Event("all is taken", "the receiver's application has taken all of it"),
        On.RESET: Event("STREAM_RESET", "STREAM_RESET, from either side"),
        On.LOST: Event("end of connection", "the connection ends"),
    },
    [
        Row((Body.NEW,), On.OPEN, Body.OPEN, "the opener sends as credit allows"),
        Row((Body.OPEN,), On.END, Body.COMPLETE, "the opener waits until all is taken"),
        Row((Body.COMPLETE,), On.TAKEN, Body.OVER, "the receiver says STREAM_RESET with code 0 and side 1"),
        Row((Body.OPEN, Body.COMPLETE), On.RESET, Body.OVER, "broken off"),
        Row((Body.OPEN,), On.LOST, Body.OVER, "broken off"),
        Row((Body.COMPLETE,), On.LOST, Body.OVER, "what has come can still be taken"),
    ],
)
