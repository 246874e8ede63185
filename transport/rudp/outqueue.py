"""The queue of one outgoing lane: what is accepted, in which order it stands, what may begin.

It must never let a message overtake an ordered one, begin one that has no credit for all of it, nor hold more
unreliable messages than their bound.
"""

from __future__ import annotations

from transport import limits
from transport.rudp import longs
from transport.rudp.outflow import Fence, OutChannel, Outflow
from transport.rudp.ranges import Ranges

COST = limits.MESSAGE_COST_BYTES
LOOSE_BYTES = limits.UNRELIABLE_QUEUE_BYTES
LOOSE_MESSAGES = limits.UDP_QUEUED_MESSAGES


class OutQueue:
    """The queue of one channel and delivery: what has not been sent comes behind what is not settled.

    Attributes:
        state: the channel's credit.
        channel, delivery: which lane it is.
        is_reliable: whether what is lost is sent again.
        is_blocked: the next message lacks credit of the channel, and with it all behind it.
        rank: the priority class that it is scheduled in.
        is_active, listed: the schedule's: whether it is in, and in which class.
        skips, skip_costs: messages given up that the peer has not been told of yet.
        untold: SKIP frames that are on their way.
        lost: positions to be sent again.
        waiting: bytes not yet sent for the first time, `MESSAGE_COST_BYTES` for each message included.
        floor: the lowest message number that the peer may not have seen.
        cut_start, cut_end, cut_index: what `cut_lost` wrote last, positions and an index for `payload_at`; -1 for none.
        cut_payload, cut_copies: the small message that `cut` wrote last, None if that was a part of one, and the copies
            that its sender asked for, -1 where the connection decides.
    """

    def __init__(self, flow: Outflow, state: OutChannel, delivery: int) -> None:
        self.flow = flow
        self.state = state
        self.channel = state.number
        self.delivery = delivery
        self.is_reliable = delivery < 2
        self.is_blocked = False
        self.rank = 0
        self.is_active = False
        self.listed = 0
        self.skips: list[int] = []
        self.skip_costs: list[int] = []
        self.untold = 0
        self.lost = Ranges()
        self.waiting = 0
        self.floor = 0
        self._payloads: list[bytes | None] = []
        self._marks: list[tuple[int, int, int]] | None = None  # (priority, expires_at, copies) of each
        self._base = 0  # number of _payloads[0]
        self._head = 0  # oldest that is not settled
        self._next = 0  # first whose last byte has not been sent
        self._offset = 0  # bytes of it that have been
        self._starts = longs.new()  # positions of those that have begun
        self._head_start = 0
        self._position = 0  # of the next new byte
        self._acked_to = 0
        self._acked = Ranges()
        self._number_bytes = 1
        self._fences: list[tuple[int, Fence]] = []  # each before a message number
        self.cut_start = -1
        self.cut_end = -1
        self.cut_index = -1
        self.cut_payload: bytes | None = None
        self.cut_copies = -1

    # In

    def append(self, payload: bytes, priority: int, expires_at: int, copies: int) -> None:
        """Takes one message; `copies` is -1 where the connection decides."""
        cost = len(payload) + COST
        if priority or expires_at or copies >= 0 or self._marks is not None:
            self._insert(payload, priority, expires_at, copies)
        else:
            self._payloads.append(payload)
        self.waiting += cost
        if not self.is_reliable:
            self.flow.queued += cost
            if self.waiting > LOOSE_BYTES or len(self._payloads) - self._next > LOOSE_MESSAGES:
                self._drop_oldest()
            return
        if self.is_blocked:
            self.flow.blocked += cost
            self.state.blocked += cost
        else:
            self.flow.queued += cost

    def _insert(self, payload: bytes, priority: int, expires_at: int, copies: int) -> None:
        marks = self._marks
        if marks is None:
            marks = self._marks = [(0, 0, -1)] * len(self._payloads)
        place = len(marks)
        first = self._next + (1 if self._offset else 0)
        if self.delivery & 1:  # without an order the more urgent goes first
            while place > first and marks[place - 1][0] < priority:
                place -= 1
        self._payloads.insert(place, payload)
        marks.insert(place, (priority, expires_at, copies))
        if self._fences:
            self._shift_fences(place, 1)
        if self._next == len(marks) - 1 or priority > self.rank:
            self.rank = priority

    def _drop_oldest(self) -> None:
        """Unreliable: the oldest of the least urgent that has not begun goes, until the queue is in bounds again."""
        while self.waiting > LOOSE_BYTES or len(self._payloads) - self._next > LOOSE_MESSAGES:
            first = place = self._next + (1 if self._offset else 0)
            marks = self._marks
            if marks is not None and self.delivery & 1:
                place = len(marks) - 1
                while place > first and marks[place - 1][0] == marks[-1][0]:
                    place -= 1
            if place < first or place >= len(self._payloads):
                return
            self._remove(place)
            self.flow.dropped += 1

    def _remove(self, index: int) -> None:
        """Takes out a message that has not begun."""
        payload = self._payloads.pop(index)
        assert payload is not None
        cost = len(payload) + COST
        if self._marks is not None:
            del self._marks[index]
        if self._fences:
            self._shift_fences(index, -1)
        self.waiting -= cost
        if self.is_blocked:
            self.flow.blocked -= cost
            self.state.blocked -= cost
        else:
            self.flow.queued -= cost

    # Flushing

    def set_fence(self, fence: Fence) -> None:
        """`fence` is open, as far as this lane goes, when everything that is queued now is settled or given up."""
        if self._head < len(self._payloads):
            fence.pending += 1
            self._fences.append((self._base + len(self._payloads), fence))

    def _shift_fences(self, place: int, by: int) -> None:
        """A message was put in or taken out at `place` of the queue."""
        number = self._base + place
        self._fences = [(at + by if at > number else at, fence) for at, fence in self._fences]
        self._open_fences()

    def _open_fences(self) -> None:
        reached = self._base + self._head
        while self._fences and self._fences[0][0] <= reached:
            self._fences.pop(0)[1].pending -= 1

    def _has_credit(self) -> bool:
        """Whether the next message may begin; who lacks credit is noted."""
        payload = self._payloads[self._next]
        assert payload is not None
        state = self.state
        cost = len(payload) + COST
        flow = self.flow
        if state.is_free or (
            not state.needs_credit and not self.is_blocked
            and state.total + cost <= state.limit and flow.total + cost <= flow.limit
        ):  # fmt: skip
            return True
        if state.total + cost > state.limit:
            state.needs_credit = state.total + cost
            if state.needs_credit > state.told:
                self.flow.has_wishes = True
            self._block()
            return False
        self._unblock()
        if flow.total + cost > flow.limit:
            flow.needs_credit = flow.total + cost
            return False
        return True

    def _block(self) -> None:
        if not self.is_blocked and self.state.limit:  # no limit yet: it is the handshake that holds it up
            self.is_blocked = True
            self.flow.queued -= self.waiting
            self.flow.blocked += self.waiting
            self.state.blocked += self.waiting

    def _unblock(self) -> None:
        state = self.state
        if state.needs_credit <= state.limit:  # else it is another lane of the channel that waits
            state.needs_credit = 0
        if self.is_blocked:
            self.is_blocked = False
            self.flow.queued += self.waiting
            self.flow.blocked -= self.waiting
            state.blocked -= self.waiting

    def credited(self) -> None:
        """The channel's limit has risen: what waits may count as queued again."""
        if self.is_blocked and self._next < len(self._payloads):
            self._has_credit()
