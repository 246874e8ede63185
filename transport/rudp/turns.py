"""Whose turn it is to send on a socket that many sessions share, and when somebody has to be woken.

Sessions with something to send stand in a row, a train of packets each; deadlines lie in a heap that is put right when
one is looked at, because most of them move later and never come. It must never look into a session for what to send.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from transport.datagram.base import Endpoint, PeerSession
from transport.machine import Path

HEAP_SPARE = 64  # entries that are not worth a sweep


class TurnSession(PeerSession):
    """A session that stands in its exchange's row.

    Attributes:
        exchange: where it stands.
        is_turn, next_turn, armed_at: the exchange's.
    """

    def __init__(self, exchange: Exchange, path: Path) -> None:
        PeerSession.__init__(self, path)
        self.exchange = exchange
        self.is_turn = False
        self.next_turn: TurnSession | None = None
        self.armed_at = 0

    def want(self) -> None:
        """There is something to send, or a deadline may have changed."""
        if not self.is_turn:
            self.exchange.take_turn(self)

    def due(self) -> int:
        """When it has to be woken (ns); 0 for never."""
        raise NotImplementedError


class Exchange(Endpoint):
    """The part of an endpoint that its sessions know.

    Attributes:
        flight_bytes: of all its sessions together: what they have sent, and don't count as waiting.
    """

    def __init__(self) -> None:
        Endpoint.__init__(self)
        self.flight_bytes = 0
        self._first: TurnSession | None = None
        self._final: TurnSession | None = None
        self._heap: list[tuple[int, int, TurnSession]] = []
        self._heap_number = 0
        self._heap_most = HEAP_SPARE
        self._top_due = 0  # what `first_due` says; -1 when it has to look

    def take_turn(self, session: TurnSession) -> None:
        """Puts `session` behind all others that have something to send."""
        if session.is_turn:
            return
        session.is_turn = True
        if self._final is None:
            self._first = session
        else:
            self._final.next_turn = session
        self._final = session

    def probes(self, session: TurnSession) -> None:
        """`session` sends a probe: if the system finds it too large, it has to hear of it."""

    def turn_over(self) -> None:
        """The first in the row has had its turn."""
        session = self._first
        assert session is not None
        session.is_turn = False
        self._first = session.next_turn
        session.next_turn = None
        if self._first is None:
            self._final = None

    def arm(self, session: TurnSession) -> None:
        """Has `session` woken at its deadline."""
        due = session.due()
        if due and (session.armed_at == 0 or due < session.armed_at):
            session.armed_at = due
            if self._top_due >= 0 and (self._top_due == 0 or due < self._top_due):
                self._top_due = due
            self._heap_number += 1
            heappush(self._heap, (due, self._heap_number, session))
            if len(self._heap) > self._heap_most:
                self._sweep()

    def _sweep(self) -> None:
        """Deadlines that were given up for earlier ones lie deep in the heap: they go when they are the most of it."""
        self._heap[:] = [entry for entry in self._heap if entry[2].armed_at == entry[0]]  # in place, see `pop_due`
        heapify(self._heap)
        self._heap_most = 2 * len(self._heap) + HEAP_SPARE

    def first_due(self) -> int:
        """The earliest deadline (ns), 0 for none; it may have moved later."""
        if self._top_due >= 0:
            return self._top_due
        heap = self._heap
        self._top_due = 0
        while heap and not self._top_due:
            entry = heap[0]
            if entry[2].armed_at == entry[0]:
                self._top_due = entry[0]
            else:
                heappop(heap)
        return self._top_due

    def disarm(self, session: TurnSession) -> None:
        """Nobody wakes `session` any more."""
        session.armed_at = 0
        self._top_due = -1

    def pop_due(self, now: int) -> TurnSession | None:
        """The next session whose deadline has really come by `now`, or None."""
        heap = self._heap
        self._top_due = -1
        while heap and heap[0][0] <= now:
            due, _, session = heappop(heap)
            if session.armed_at != due:
                continue
            session.armed_at = 0
            real = session.due()
            if real and real <= now:
                return session
            self.arm(session)
        return None
