"""What a server remembers of one client between its connections: its numbered messages and its rooms.

No clock, no socket, and nothing here waits: the log below has the truth, this is what is known of it in memory. It must
never let a message be handled twice, and never hold more than the window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from transport import limits


class Verdict(Enum):
    """What is to be done with a message that came."""

    RUN = "run"
    AGAIN = "again"  # it is being handled: the answer will go to whatever connection there is then
    DONE = "done"  # it was handled: the stored reply is the answer
    SETTLED = "settled"  # the client has the answer
    VIOLATION = "violation"


@dataclass(slots=True)
class Room:
    """A room that a session is in, whether or not it has a connection.

    Attributes:
        by_client: whether it asked to join.
        epoch, since: where it was let in.
    """

    by_client: bool
    epoch: int
    since: int


class Session:
    """One client of one namespace.

    Attributes:
        id: known to both sides.
        generation: counts its connections.
        identity: what `authorize` gave.
        floor: all its messages below are settled.
        contiguous, beyond: its messages that were handled.
        running: those that are being handled, or wait for it.
        unstored: replies that the log could not take, by number.
        rooms: by name; its private stream is not among them.
        member: its connection, None while it has none.
        seen: the highest number that came. No number is left out, so the next is at most one higher.
        context: what its handlers get.
        inbox: its messages on their way to them.
        entering: held by whoever changes its rooms, while the log is told.
    """

    def __init__(self, id: str, namespace: Any, generation: int, identity: Any) -> None:  # noqa: A002
        self.id = id
        self.namespace = namespace
        self.generation = generation
        self.identity = identity
        self.floor = 1
        self.contiguous = 0
        self.beyond: set[int] = set()
        self.running: set[int] = set()
        self.unstored: dict[int, bytes] = {}
        self.rooms: dict[str, Room] = {}
        self.member: Any = None
        self.seen = 0
        self.detached_at = 0.0
        self.context: Any = None
        self.inbox: Any = None
        self.entering = asyncio.Lock()

    def restore(self, contiguous: int, beyond: Iterable[int]) -> None:
        """What the log knows, for a session that was in no memory.

        Which replies the log has forgotten says nothing of which the client has: one that asks again is told so.
        """
        self.contiguous = contiguous
        self.beyond = set(beyond)
        self.seen = max([contiguous, *self.beyond])

    def message(self, number: int, floor: int) -> Verdict:
        """A message came; `RUN` has it counted as running."""
        if number - floor >= limits.EVENTS_WINDOW or number > self.seen + 1:
            return Verdict.VIOLATION
        self.settle_below(floor)
        self.seen = max(self.seen, number)
        if number < self.floor:
            return Verdict.SETTLED
        if number in self.running:
            return Verdict.AGAIN
        if number <= self.contiguous or number in self.beyond:
            return Verdict.DONE
        if len(self.running) >= limits.EVENTS_WINDOW:
            return Verdict.VIOLATION
        self.running.add(number)
        return Verdict.RUN

    def abandoned(self) -> list[int]:
        """Numbers that a client gave out before it forgot them: it will not send these messages again.

        Those that the log could not take are among them: nobody asks for their replies any more.
        """
        return [
            number for number in range(self.contiguous + 1, self.seen + 1)
            if number not in self.beyond and (number not in self.running or number in self.unstored)
        ]  # fmt: skip

    def settle_below(self, floor: int) -> None:
        """The client has the answers to all messages below `floor`."""
        if floor <= self.floor:
            return
        self.floor = floor
        for number in [number for number in self.unstored if number < floor]:  # nobody will ask for it again
            del self.unstored[number]
            self.running.discard(number)
        if floor - 1 > self.contiguous:
            self.contiguous = floor - 1
            self._gather()

    def handled(self, number: int) -> bool:
        """A message was handled and that is stored. Whether more are handled without a gap than before."""
        self.running.discard(number)
        self.unstored.pop(number, None)
        if number > self.contiguous:
            self.beyond.add(number)
        before = self.contiguous
        self._gather()
        return self.contiguous > before

    def _gather(self) -> None:
        if self.beyond:
            self.beyond = {number for number in self.beyond if number > self.contiguous}
        while self.contiguous + 1 in self.beyond:
            self.contiguous += 1
            self.beyond.discard(self.contiguous)
