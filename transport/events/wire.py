"""Clients on other wires than our own: what an adapter stands on, such as one for Socket.IO.

An adapter puts a `Wire` in the place of a connection, by `Events.attach`, and gets the client's `Link`. Both speak
frames of the events protocol (`docs/events-protocol.md`), so that everything holds for such a client that holds for
others: it is in the same rooms, is called by the same handlers, becomes a reader of the log when it is slow, and
resumes by the same cursors. The adapter calls the link as any `Protocol` is called: `message_received(frame, 0)`,
`pause_writing` and `resume_writing` at its own outbound budget, `connection_lost`.

A frame that many clients get is one object for all of them, and `Translated` makes one translation of it. The fan-out
must never know that there are other wires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from transport.delivery import Traits
from transport.events import parse
from transport.events.envelope import Kind

T = TypeVar("T")
_SHARED = frozenset({Kind.EVENT, Kind.VOLATILE, Kind.CALL})


class Wire(Protocol):
    """What a link needs of the connection below it; a `Connection` in the raw codec is one."""

    loop: asyncio.AbstractEventLoop
    remote_address: Any
    traits: Traits

    def send_nowait(self, message: bytes, *, delivery: Any = None) -> None:
        """Takes a frame, in order. Raises WouldBlock far above its budget, ConnectionClosed when it is over."""

    async def flush(self) -> None:
        """Returns when what was taken has left. Raises ConnectionClosed."""

    def close_soon(self, code: int, reason: str) -> None:
        """Says goodbye behind what was taken; `connection_lost` of the link has to follow."""

    def pause_reading(self) -> None:
        """Nothing more is given to the link for now."""

    def resume_reading(self) -> None:
        """And now it is."""

    def get_extra_info(self, name: str) -> Any:
        """`max_message` is asked for, bytes of a frame that it gives to the link; a program may ask for more."""


class Translated(Generic[T]):
    """Frames of the server for another wire, those that many clients get once for all of them. Shared by its clients.

    Args:
        translate: makes whatever the wire needs of a frame's record, as of `envelope`.

    Attributes:
        count: translations that were made.
    """

    def __init__(self, translate: Callable[[Any], T]) -> None:
        self._translate = translate
        self._frame = b""
        self._made: Any = None
        self.count = 0

    def __call__(self, frame: bytes) -> T:
        """Of one frame."""
        if frame is self._frame:
            made: T = self._made
            return made
        self.count += 1
        made = self._translate(parse.parse(frame, parse.FROM_SERVER))
        if frame[0] in _SHARED:
            self._frame, self._made = frame, made
        return made
