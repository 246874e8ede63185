"""When to acknowledge what, for one peer (RFC 9000 section 13.2).

At once on a gap, a duplicate, a packet out of order or a request; else with data of our own; else after two packets
that ask for it, or `max_ack_delay`. A peer that sends very many packets may ask for fewer acks (ACK_POLICY). An ack may
wait longer for data of our own that is due soon, for then it costs no packet. It must never let a packet that asks for
an ack go without one.
"""

from __future__ import annotations

from transport import limits
from transport.rudp import pen
from transport.rudp.ranges import AckRanges

THRESHOLD = 2  # packets that ask for an ack before one is due, where the peer has not said otherwise
THRESHOLD_MAX = limits.RUDP_ACK_THRESHOLD_MAX
RIDE_THRESHOLD = 8  # the same while data of our own is due soon
DELAY_MIN_NS = limits.RUDP_ACK_DELAY_MIN_NS
DELAY_MAX_NS = limits.RUDP_ACK_DELAY_MAX_NS
RIDE_NS = limits.RUDP_ACK_RIDE_NS
SENT_RANGES = limits.RUDP_ACK_RANGES_SENT
ACK, ACK_ECN = 2, 3


class AckState:
    """What came from the peer, and what it has to be told.

    Attributes:
        ranges: packet numbers that came.
        eliciting: packets since the last ack that ask for one.
        is_due: an ack must leave with this flush.
        due_at: when it must, at the latest; 0 for never.
        sent: acks written.
        ect0, ect1, ce: packets by ECN mark.
        own_every: how often data of our own leaves (ns), 0 while unknown.
        threshold, delay_most, reordering: by the peer's policy: packets that ask for an ack before one is due; how long
            one is kept back at most (ns); how many numbers a missing packet has to lie behind before that is told at
            once, 0 for never.
        policies: that have come, each newer than those before.
    """

    def __init__(self) -> None:
        self.ranges = AckRanges()
        self.eliciting = 0
        self.is_due = False
        self.due_at = 0
        self.sent = 0
        self.ect0 = 0
        self.ect1 = 0
        self.ce = 0
        self._largest_at = 0
        self._own_at = 0  # when data of our own left last, and how often it does
        self.own_every = 0
        self.threshold = THRESHOLD
        self.delay_most = DELAY_MAX_NS
        self.reordering = 1
        self.policies = 0
        self._policy = -1  # the number of the newest
        self._told = -1  # the largest packet number in the last ack

    def came(self, number: int, is_eliciting: bool, is_in_order: bool, now: int, srtt: int) -> None:
        """A new packet was taken; `is_in_order` is false where it opened a gap or filled one."""
        if number == self.ranges.largest:
            self._largest_at = now
        if not is_eliciting:
            return
        self.eliciting += 1
        if self.reordering != 1:
            is_in_order = not self._is_missing()
        if not is_in_order:
            self.is_due = True
            return
        if self.is_due:
            return
        due = now + min(max(srtt // 4, DELAY_MIN_NS), self.delay_most)
        threshold = self.threshold
        if (
            0 < self.own_every <= RIDE_NS
            and now <= self._own_at + self.own_every + DELAY_MAX_NS
            and THRESHOLD <= threshold <= RIDE_THRESHOLD
        ):
            due = max(due, self._own_at + self.own_every + (self.own_every >> 3))
            threshold = RIDE_THRESHOLD
        if self.eliciting >= threshold:
            self.is_due = True
        elif self.due_at == 0 or due < self.due_at:
            self.due_at = due

    def _is_missing(self) -> bool:
        """Whether a packet is missing so far behind the largest that the peer may count it as lost, and no ack has said
        so yet (draft-ietf-quic-ack-frequency section 6.2).
        """
        ranges = self.ranges
        behind = self.reordering
        if not behind:
            return False
        first = max(0, self._told - behind + 1)  # what lies below was told
        i = ranges.range_count() - 1
        while i > 0:
            missing = max(first, ranges.range_end(i))
            if missing < ranges.range_start(i - 1):
                return ranges.largest - missing >= behind
            i -= 1
        return False

    def obey(self, number: int, threshold: int, delay_us: int, reordering: int) -> None:
        """The peer's policy `number`, of which the newest holds; `threshold` is at least 1."""
        if number <= self._policy:
            return
        self._policy = number
        self.policies += 1
        self.threshold = min(threshold, THRESHOLD_MAX)
        self.delay_most = max(DELAY_MIN_NS, min(delay_us, DELAY_MAX_NS // 1000) * 1000)
        self.reordering = reordering

    def came_again(self) -> None:
        """A duplicate: the peer did not get our ack."""
        self.is_due = True

    def ask(self) -> None:
        """The peer asks for an ack at once."""
        self.is_due = True

    def marked(self, ecn: int, is_eliciting: bool) -> None:
        """Counts the ECN mark of a packet. Congestion is told at once, but not to who has only acknowledged: if its
        acks and ours met it, that would never end.
        """
        if ecn == 2:
            self.ect0 += 1
        elif ecn == 1:
            self.ect1 += 1
        elif ecn == 3:
            self.ce += 1
            if is_eliciting:
                self.is_due = True

    def own_data(self, now: int) -> None:
        """Data of our own leaves now."""
        if self._own_at:
            every = now - self._own_at
            self.own_every = every if not self.own_every else (3 * self.own_every + every) >> 2
        self._own_at = now

    def must_send(self, now: int) -> bool:
        """Whether an ack has to leave now, alone if need be."""
        return self.is_due or 0 < self.due_at <= now

    def wants(self) -> bool:
        """Whether an ack would tell the peer something that it waits for."""
        return self.eliciting > 0 or self.is_due

    def write(self, room: memoryview, pos: int, end: int, now: int) -> int:
        """Writes the ack frame, with as many ranges as fit; `pos` when none does, or nothing has come."""
        ranges = self.ranges
        count = ranges.range_count()
        if not count or end - pos < 24:
            return pos
        self.eliciting = 0
        self.is_due = False
        self.due_at = 0
        self.sent += 1
        self._told = ranges.largest
        count = min(count, SENT_RANGES)
        start = ranges.range_start(0)
        delay = max(0, now - self._largest_at) // 8000
        fits = 1
        size = 0
        if count > 1:
            left = end - pos - 24
            low = start
            while fits < count:
                high = ranges.range_end(fits)
                size += pen.varint_size(low - high - 1) + pen.varint_size(high - ranges.range_start(fits) - 1)
                if size > left:
                    break
                low = ranges.range_start(fits)
                fits += 1
        is_marked = (self.ect0 > 0 or self.ect1 > 0 or self.ce > 0) and end - pos - 24 - size >= 24
        pos = pen.put8(room, pos, ACK_ECN if is_marked else ACK)
        pos = pen.put_varint(room, pos, ranges.largest)
        pos = pen.put_varint(room, pos, delay)
        pos = pen.put_varint(room, pos, fits - 1)
        pos = pen.put_varint(room, pos, ranges.largest - start)
        low = start
        for i in range(1, fits):
            high = ranges.range_end(i)
            pos = pen.put_varint(room, pos, low - high - 1)
            low = ranges.range_start(i)
            pos = pen.put_varint(room, pos, high - low - 1)
        if is_marked:
            pos = pen.put_varint(room, pos, self.ect0)
            pos = pen.put_varint(room, pos, self.ect1)
            pos = pen.put_varint(room, pos, self.ce)
        return pos
