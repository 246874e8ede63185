"""One lane of messages on its way in: order, duplicates, fragments.

What is complete and may be delivered, `Incoming` hands over; what came too early waits here, and the credit that was
granted bounds how much that can be. It must never deliver a message twice, nor one of an ordered lane before those
that were sent earlier, unless the peer has given them up.
"""

from __future__ import annotations

from transport import limits
from transport.errors import RemoteProtocolError
from transport.rudp import pen
from transport.rudp.ranges import Ranges

COST = limits.MESSAGE_COST_BYTES
GAPS_MAX = limits.RUDP_GAPS_MAX
LOOSE_BYTES = limits.UNRELIABLE_QUEUE_BYTES
LOOSE_WINDOW = limits.RUDP_LOOSE_WINDOW
UNFINISHED_MAX = limits.RUDP_UNFINISHED_MAX
LOOSE_UNFINISHED_MAX = limits.RUDP_LOOSE_UNFINISHED_MAX
ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = 0, 1, 2, 3


class InFlow:
    """Credit given, of a connection or of a channel: absolute totals in bytes, costs included.

    Attributes:
        received: taken by messages that have begun to come.
        consumed: given back by the application, or passed.
        limit: what the peer may send up to.
        window: how far the limit runs ahead.
        window_max: how large that may become.
        is_due: the peer should be told of a new limit.
        told_at: when it was told last (ns).
        wanted: the limit that the peer said it needs.
    """

    def __init__(self, window: int, window_max: int) -> None:
        self.received = 0
        self.consumed = 0
        self.limit = window
        self.window = window
        self.window_max = window_max
        self.is_due = False
        self.told_at = 0
        self.wanted = 0


class InChannel(InFlow):
    """The credit of one channel.

    Attributes:
        given: how far the limit that was told last ran ahead of `consumed`.
    """

    def __init__(self, number: int, window: int, window_max: int) -> None:
        InFlow.__init__(self, window, window_max)
        self.number = number
        self.given = window


class Assembly:
    """A message that comes in fragments.

    Attributes:
        total: its size.
        have: bytes of it that have come.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.have = Ranges()
        self._body = pen.body_new(total)

    def add(self, data: bytes, start: int, end: int, offset: int) -> bool:
        """Takes bytes `start` to `end` of `data` for `offset`; returns whether the message is whole.

        Raises:
            RemoteProtocolError: they differ from what came before for the same place.
        """
        have = self.have
        stop = offset + end - start
        low = offset
        while low < stop:  # not through all that has come: there may be thousands of pieces, and a peer chose them
            high = min(have.covered_to(low), stop)
            if high == low:
                low = have.next_start(low, stop)
                continue
            at = start + low - offset
            if not pen.body_equal(self._body, low, data, at, at + high - low):
                raise RemoteProtocolError("fragments of a message that overlap differ")
            low = high
        have.add(offset, stop)
        pen.body_put(self._body, offset, data, start, end)
        return bool(have.total == self.total)

    def whole(self) -> bytes:
        """The message, when all of it has come; the assembly is of no use afterwards."""
        return pen.body_done(self._body)


class Unfinished:
    """What the lanes of a session hold of messages that have come in part.

    Attributes:
        reliable: messages of reliable lanes; credit counts much less for one than it takes.
        loose: bytes of messages of unreliable lanes.
    """

    def __init__(self) -> None:
        self.reliable = 0
        self.loose = 0


class InLane:
    """Messages of one channel and delivery.

    Attributes:
        channel, delivery: which lane it is.
        unfinished: shared by all lanes of a session.
        state: the credit that its messages cost, None for those that cost none.
        expected: the lowest number that is neither delivered nor passed (on unreliable lanes: one above the highest).
        highest: one above the highest number seen; what truncated numbers are read by.
        early: complete messages of an ordered lane that wait for others, by number.
        partial: messages that come in fragments, by number.
        done: numbers from `expected` on that are settled; on an ordered lane those that were passed.
        duplicates: frames of messages that came again, or too late.
        held: bytes of messages in `early`, costs included, and in `partial`.
        delivered: messages handed over.
    """

    def __init__(self, channel: int, delivery: int, unfinished: Unfinished | None = None) -> None:
        self.unfinished = unfinished or Unfinished()
        self.channel = channel
        self.delivery = delivery
        self.is_reliable = delivery < 2
        self.state: InChannel | None = None
        self.expected = 0
        self.highest = 0
        self.early: dict[int, bytes] = {}
        self.partial: dict[int, Assembly] = {}
        self._oldest = 0  # no number in `partial` is lower
        self.done = Ranges()
        self.duplicates = 0
        self.held = 0
        self.delivered = 0

    def is_new(self, number: int) -> bool:
        """Whether a message with this number may still be taken; counts those that may not."""
        if self.delivery == ORDERED:
            fresh = number >= self.expected and number not in self.early
            if self.done.count and self.done.contains(number):
                fresh = False
        elif self.delivery == UNORDERED:
            fresh = number >= self.expected and not (self.done.count and self.done.contains(number))
        elif self.delivery == SEQUENCED:
            fresh = number >= self.expected
        else:
            fresh = number >= self.highest - LOOSE_WINDOW and not (self.done.count and self.done.contains(number))
        if not fresh:
            self.duplicates += 1
        return fresh

    def has_room(self, number: int) -> bool:
        """Whether another gap can be kept: beyond the bound a packet is dropped unacknowledged, and comes again."""
        if self.is_reliable:
            return self.done.count < GAPS_MAX or number == self.expected or self.done.contains(number - 1)
        return True

    def has_place(self, number: int) -> bool:
        """The same for a message that begins to come in fragments."""
        return not self.is_reliable or self.unfinished.reliable < UNFINISHED_MAX or number == self.expected

    def take(self, number: int) -> None:
        """Books a message that is delivered now. Ordered: only `expected` may be."""
        if number >= self.highest:
            self.highest = number + 1
        if self.delivery == ORDERED:
            self.expected = number + 1
        elif self.delivery == SEQUENCED:
            self.expected = number + 1
            if self.partial and number > self._oldest:
                self._forget_older(number)
        else:
            self._settle(number)

    def _settle(self, number: int) -> None:
        done = self.done
        if self.delivery == UNORDERED:
            if number == self.expected and not done.count:
                self.expected = number + 1
                return
            done.add(number, number + 1)
            reached = done.covered_to(self.expected)
            if reached > self.expected:
                self.expected = reached
                done.remove(0, reached)
            return
        done.add(number, number + 1)
        if number + 1 > self.expected:
            self.expected = number + 1
        if done.count and done.first_start() < self.highest - 2 * LOOSE_WINDOW:
            done.remove(0, self.highest - LOOSE_WINDOW)

    def _forget_older(self, number: int) -> None:
        """Sequenced: fragments of what is older than something delivered are of no use."""
        for old in [key for key in self.partial if key < number]:
            self.finished(old)
        self._oldest = min(self.partial) if self.partial else 0

    def keep(self, number: int, payload: bytes) -> None:
        """Ordered: a complete message that came too early."""
        self.early[number] = payload
        self.held += len(payload) + COST
        if number >= self.highest:
            self.highest = number + 1

    def has_early(self) -> bool:
        """Ordered: whether the message that is expected has come already. Goes on behind those that were passed."""
        if self.done.count:
            self.expected = self.done.covered_to(self.expected)
            self.done.remove(0, self.expected)
        return len(self.early) > 0 and self.expected in self.early

    def take_early(self) -> bytes:
        """Ordered: that message; books it."""
        payload = self.early.pop(self.expected)
        self.expected += 1
        self.held -= len(payload) + COST
        return payload

    def assembly(self, number: int, total: int) -> Assembly:
        """Where fragments of a message go. Unreliable: the oldest go above a bound.

        Raises:
            RemoteProtocolError: the total differs from what was said before.
        """
        if number >= self.highest:
            self.highest = number + 1
        found = self.partial.get(number)
        if found is not None:
            if found.total != total:
                raise RemoteProtocolError(f"a message of {found.total} bytes became one of {total}")
            return found
        if self.is_reliable:
            self.unfinished.reliable += 1
        else:
            while self.partial and (self.held + total > LOOSE_BYTES or len(self.partial) >= LOOSE_UNFINISHED_MAX):
                self.finished(min(self.partial))
            self.unfinished.loose += total
        if not self.partial or number < self._oldest:
            self._oldest = number
        self.held += total
        made = self.partial[number] = Assembly(total)
        return made

    def finished(self, number: int) -> None:
        """The fragments of a message are complete, or no longer wanted."""
        total = self.partial.pop(number).total
        self.held -= total
        if self.is_reliable:
            self.unfinished.reliable -= 1
        else:
            self.unfinished.loose -= total

    def give_up(self) -> None:
        """Unreliable: fragments go, for others need the room."""
        for number in list(self.partial):
            self.finished(number)

    def pass_over(self, number: int) -> bool:
        """The peer gives a message up. Returns whether that changes anything; ordered lanes may go on by it."""
        if not self.is_new(number):
            self.duplicates -= 1
            return False
        if number in self.partial:
            self.finished(number)
        if number >= self.highest:
            self.highest = number + 1
        if self.delivery == ORDERED and number != self.expected:
            self.done.add(number, number + 1)
        elif self.delivery == ORDERED:
            self.expected = number + 1
        else:
            self._settle(number)
        return True
