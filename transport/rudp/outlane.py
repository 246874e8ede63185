"""One lane of messages on its way out: what waits, what is in flight, what has to be sent again.

A lane is a channel and a delivery. A message gets its number, and a place on the lane's line of positions, when its
first byte leaves; it takes one position for each byte and one for its end. Packets carry stretches of positions, so
that an ack or a loss costs the same for one message of 60 KB as for a thousand small ones, and a lost stretch is cut
anew. It must never give a message a second number, nor begin one that has no credit for all of it.
"""

from __future__ import annotations

from transport import limits
from transport.rudp import longs, pen
from transport.rudp.outflow import OutChannel, Outflow
from transport.rudp.outqueue import OutQueue

COST = limits.MESSAGE_COST_BYTES
KEEP = 64  # settled entries that may stay in an empty queue
COMPACT_AT = 1024  # settled entries at the head of the queue before they are cut off
FRAGMENT_MIN = 16  # message bytes that are worth the head of a fragment
MSG, FRAGMENT, LENGTH, SUCCESSOR = 0x80, 0x10, 0x08, 0x04
LATE = limits.RUDP_LATE_MESSAGES  # by so many a packet may come late, and its numbers are still read right


class OutLane(OutQueue):
    """Messages of one channel and delivery, cut into frames.

    Attributes:
        following: the schedule's: before whom it stands in its class.
        (the others are `OutQueue`'s)
    """

    def __init__(self, flow: Outflow, state: OutChannel, delivery: int) -> None:
        OutQueue.__init__(self, flow, state, delivery)
        self.following: OutLane | None = None

    # Out

    def has_new(self) -> bool:
        """Whether a message waits that has credit, or needs none."""
        return self._next < len(self._payloads) and (self._offset > 0 or not self.is_reliable or self._has_credit())

    def has_output(self) -> bool:
        """Whether `cut_lost`, `cut` or a SKIP would give anything."""
        return self.lost.count > 0 or len(self.skips) > 0 or self.has_new()

    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return self._head == len(self._payloads) and not self.skips and not self.untold

    def _begin(self, cost: int) -> None:
        """The next message gets its number and place; its credit is taken."""
        if self.is_reliable:
            longs.append(self._starts, self._position)
            state = self.state
            if not state.is_free:
                state.total += cost
                self.flow.total += cost
        self.flow.messages += 1
        reach = self._base + self._next + LATE - self.floor
        self._number_bytes = pen.low_size(reach)

    def cut(self, room: memoryview, pos: int, end: int, now: int, is_sole: bool, most: int) -> int:
        """Writes frames of new messages into `room` from `pos` on, at most up to `end`.

        What is written goes from the `mark` before to the one after.

        Args:
            room: where to.
            pos, end: from where, and up to where.
            now: the time, for messages that expire.
            is_sole: nothing will follow in the packet, so that the last message needs no length.
            most: how many messages at most, 0 for as many as fit.

        Returns:
            The place behind what was written. With `most`, the message that was written last is in `cut_payload` if it
            is whole, and in `cut_copies` how many copies its sender asked for.
        """
        payloads = self._payloads
        count = len(payloads)
        flow = self.flow
        channel_bytes = pen.varint_size(self.channel)
        taken = 0
        self.cut_payload = None
        while self._next < count and pos < end and (not most or taken < most):
            if self._marks is not None and self._lapsed(now):
                count = len(payloads)
                continue
            payload = payloads[self._next]
            assert payload is not None
            size = len(payload)
            offset = self._offset
            if not offset and self.is_reliable and not self._has_credit():
                break
            number = self._base + self._next
            follows = flow.last_lane is self and flow.last_number + 1 == number and not offset
            reach = number + LATE - self.floor
            self._number_bytes = pen.low_size(reach)
            head = 1 if follows else 1 + channel_bytes + self._number_bytes
            left = end - pos - head - size
            if not offset and left >= 0:
                last = is_sole and self._next + 1 == count and not self.skips
                if left and not last and left < pen.varint_size(size):
                    pos = pen.put_zeros(room, pos, left)  # no place for a length: the message goes to the very end
                    left = 0
                pos = self._head_of(room, pos, number, follows, -1, 0, size if left and not last else -1)
                pos = pen.put_bytes(room, pos, payload, 0, size)
                self._begin(size + COST)
                self._position += size + 1
                self.waiting -= size + COST
                flow.flight += size + COST
                if most:
                    self.cut_payload = payload
                    self.cut_copies = -1 if self._marks is None else self._marks[self._next][2]
                if self._marks is not None:
                    self._next_rank()
                self._next += 1
                taken += 1
                flow.last_lane = self
                flow.last_number = number
                if last:
                    break
                continue
            pos_after = self._cut_fragment(room, pos, end, payload, number, is_sole)
            if pos_after == pos:
                break
            pos = pos_after
            self.cut_payload = None
            taken += 1
        if not self.is_reliable:
            self._release_sent()
        return pos

    def _cut_fragment(self, room: memoryview, pos: int, end: int, payload: bytes, number: int, is_sole: bool) -> int:
        """A fragment of the next message; `pos` when it is not worth its head."""
        size = len(payload)
        offset = self._offset
        head = 1 + pen.varint_size(self.channel) + self._number_bytes + pen.varint_size(offset) + pen.varint_size(size)
        rest = size - offset
        left = end - pos - head - rest
        take = rest if left >= 0 else end - pos - head
        if left < 0 and take < FRAGMENT_MIN:
            return pos
        if not offset:
            self._begin(size + COST)
        length = -1
        if left > 0 and not (is_sole and self._next + 1 == len(self._payloads) and not self.skips):
            if left >= pen.varint_size(rest):
                length = rest
            else:
                pos = pen.put_zeros(room, pos, left)
        pos = self._head_of(room, pos, number, False, offset, size, length)
        pos = pen.put_bytes(room, pos, payload, offset, offset + take)
        self._position += take
        self._offset += take
        self.waiting -= take
        self.flow.flight += take
        if self._offset == size:
            self.waiting -= COST
            self.flow.flight += COST
            self._position += 1
            self._offset = 0
            if self._marks is not None:
                self._next_rank()
            self._next += 1
        self.flow.last_lane = self
        self.flow.last_number = number
        return pos

    def _head_of(
        self, room: memoryview, pos: int, number: int, follows: bool, offset: int, total: int, length: int
    ) -> int:
        """Writes the head of a frame: a fragment's when `offset` is not -1, with a length when that is not -1."""
        flags = MSG | self.delivery << 5
        if follows:
            flags |= SUCCESSOR
        else:
            flags |= self._number_bytes - 1
        if offset >= 0:
            flags |= FRAGMENT
        if length >= 0:
            flags |= LENGTH
        pos = pen.put8(room, pos, flags)
        if not follows:
            pos = pen.put_varint(room, pos, self.channel)
            pos = pen.put_low(room, pos, number, self._number_bytes)
        if offset >= 0:
            pos = pen.put_varint(room, pos, offset)
            pos = pen.put_varint(room, pos, total)
        if length >= 0:
            pos = pen.put_varint(room, pos, length)
        return pos

    def put_copy(self, room: memoryview, pos: int, number: int, payload: bytes) -> int:
        """Writes a whole message once more, with its number, where it does not follow its predecessor, and length."""
        reach = self._base + self._next + LATE - self.floor
        self._number_bytes = pen.low_size(reach)
        flow = self.flow
        follows = flow.last_lane is self and flow.last_number + 1 == number
        pos = self._head_of(room, pos, number, follows, -1, 0, len(payload))
        flow.last_lane = self
        flow.last_number = number
        return pen.put_bytes(room, pos, payload, 0, len(payload))

    def copy_size(self, size: int) -> int:
        """Bytes that `put_copy` would write at most."""
        return 1 + pen.varint_size(self.channel) + 4 + pen.varint_size(size) + size

    def mark(self) -> int:
        """Where the next new byte will be: a position on a reliable lane, a message number on another."""
        return self._position if self.is_reliable else self._base + self._next + (1 if self._offset else 0)

    def next_number(self) -> int:
        """The number of the message that begins next, or is being cut."""
        return self._base + self._next

    def _next_rank(self) -> None:
        """The rank once the next message has gone: kept on lanes with an order, the following one's on others."""
        marks = self._marks
        assert marks is not None
        following = self._next + 1
        if following >= len(marks):
            self.rank = 0
        elif self.delivery & 1:
            self.rank = marks[following][0]

    # Expiry

    def _lapsed(self, now: int) -> bool:
        """Drops the next message if it is too late for it."""
        assert self._marks is not None
        expires_at = self._marks[self._next][1]
        if not 0 < expires_at <= now:
            return False
        if self._offset and self.is_reliable:
            self._give_up(self._next)
        elif self._offset:  # the rest of an unreliable message
            payload = self._payloads[self._next]
            assert payload is not None
            self._pass_rest(payload)
            self._next += 1
        else:
            self._remove(self._next)
        self.flow.expired += 1
        return True

    def _give_up(self, index: int) -> None:
        """A message that has begun is not sent again: the peer is told to pass it."""
        payload = self._payloads[index]
        assert payload is not None
        start = longs.get(self._starts, index)
        end = start + len(payload) + 1
        self.skips.append(self._base + index)
        self.skip_costs.append(len(payload) + COST)
        self.flow.skipped += 1
        if index == self._next:
            self._pass_rest(payload)
            self._position = end
            self._next += 1
        self.settle(start, end)

    def _pass_rest(self, payload: bytes) -> None:
        """What has not been sent of the next message counts as sent."""
        rest = len(payload) - self._offset + COST
        self.waiting -= rest
        self.flow.flight += rest
        self._offset = 0

    # What became of it

    def settle(self, start: int, end: int) -> None:
        """Positions from `start` to `end` have arrived, or need not."""
        if not self.is_reliable:
            if end > self.floor:
                self.floor = end
            return
        if start > self._acked_to:
            self._acked.add(start, end)
            self.flow.overtook = True
            if self.lost.count:
                self.lost.remove(start, end)
            return
        if end <= self._acked_to:
            return
        if self._acked.count:
            end = self._acked.covered_to(end)
            self._acked.remove(0, end)
        self._acked_to = end
        if self.lost.count:
            self.lost.remove(0, end)
        self._release()

    def _release(self) -> None:
        """Lets go of messages that have arrived whole, and all before them too."""
        payloads = self._payloads
        start = self._head_start
        head = self._head
        freed = 0
        while head < self._next:
            payload = payloads[head]
            assert payload is not None
            size = len(payload)
            if start + size + 1 > self._acked_to:
                break
            start += size + 1
            freed += size + COST
            payloads[head] = None
            head += 1
        self._head_start = start
        self._head = head
        self.flow.queued -= freed
        self.flow.flight -= freed
        self.floor = self._base + head
        if self._fences:
            self._open_fences()
        self._compact()

    def _release_sent(self) -> None:
        """Unreliable: what has been sent is gone."""
        payloads = self._payloads
        while self._head < self._next:
            payload = payloads[self._head]
            assert payload is not None
            self.flow.queued -= len(payload) + COST
            self.flow.flight -= len(payload) + COST
            payloads[self._head] = None
            self._head += 1
        if self._fences:
            self._open_fences()
        self._compact()

    def _compact(self) -> None:
        head = self._head
        if head == len(self._payloads):
            if head < KEEP:
                return  # a queue that is emptied at every message would ask for memory at every message
            self._payloads.clear()
            self._marks = None
        elif head >= COMPACT_AT and 2 * head >= len(self._payloads):
            del self._payloads[:head]
            if self._marks is not None:
                del self._marks[:head]
        else:
            return
        if self.is_reliable:
            longs.drop(self._starts, head)
        self._base += head
        self._next -= head
        self._head = 0

    def lose(self, start: int, end: int) -> int:
        """A packet with these positions was lost; returns how many of them have to be sent again."""
        if not self.is_reliable:
            return 0
        lost, acked = self.lost, self._acked
        before = lost.total
        start = acked.covered_to(max(start, self._acked_to))
        while start < end:
            stop = acked.next_start(start, end)
            lost.add(start, stop)
            start = acked.covered_to(stop)
        return lost.total - before

    def is_settled(self, start: int, end: int) -> bool:
        """Whether all positions from `start` to `end` have arrived."""
        return end <= self._acked_to or (self._acked.count > 0 and self._acked.covered_to(start) >= end)

    def cut_lost(self, room: memoryview, pos: int, end: int, now: int) -> int:
        """Writes one frame of the first lost stretch; what it held is in `cut_start`, `cut_end` and `cut_index`.

        Returns:
            The place behind it; `pos` when nothing is left or nothing fits. Messages whose time is over are given up
            on the way.
        """
        self.cut_start = self.cut_end = self.cut_index = -1
        while self.lost.count:
            start = self.lost.first_start()
            stop = self.lost.covered_to(start)
            index = longs.up_to(self._starts, start) - 1
            payload = self._payloads[index]
            assert payload is not None
            if self._marks is not None and 0 < self._marks[index][1] <= now:
                self._give_up(index)
                self.flow.expired += 1
                continue
            begins = longs.get(self._starts, index)
            return self._cut_again(room, pos, end, payload, index, start - begins, min(stop - begins, len(payload) + 1))
        return pos

    def _cut_again(
        self, room: memoryview, pos: int, end: int, payload: bytes, index: int, offset: int, stop: int
    ) -> int:
        size = len(payload)
        number = self._base + index
        reach = self._base + self._next + LATE - self.floor
        self._number_bytes = pen.low_size(reach)
        flow = self.flow
        whole = offset == 0 and stop == size + 1
        follows = whole and flow.last_lane is self and flow.last_number + 1 == number
        head = 1 if follows else 1 + pen.varint_size(self.channel) + self._number_bytes
        if whole and head + pen.varint_size(size) + size <= end - pos:
            pos = self._head_of(room, pos, number, follows, -1, 0, size)
            take = size
        else:
            head = 1 + pen.varint_size(self.channel) + self._number_bytes
            head += pen.varint_size(offset) + pen.varint_size(size)
            take = min(stop, size) - offset
            room_left = end - pos - head - pen.varint_size(take)
            if take > room_left:
                take = room_left
                if take < FRAGMENT_MIN:
                    return pos
            pos = self._head_of(room, pos, number, False, offset, size, take)
        pos = pen.put_bytes(room, pos, payload, offset, offset + take)
        flow.last_lane = self
        flow.last_number = number
        begins = longs.get(self._starts, index)
        self.cut_start = begins + offset
        self.cut_end = begins + offset + take + (1 if offset + take == size else 0)
        self.cut_index = index
        self.lost.remove(self.cut_start, self.cut_end)
        flow.retransmitted_bytes += take
        return pos

    def payload_at(self, index: int) -> bytes:
        """The payload of `cut_index`."""
        payload = self._payloads[index]
        assert payload is not None
        return payload

    def number_at(self, index: int) -> int:
        """The number of `cut_index`."""
        return self._base + index

    def clear(self) -> None:
        """Drops everything; the session is over."""
        if self.is_blocked:
            self._unblock()
        self._payloads.clear()
        self._marks = None
        self._starts = longs.new()
        self._base += self._next  # so many have left, for whoever counts
        self._head = self._next = self._offset = 0
        self.lost.clear()
        self._acked.clear()
        self._fences = []
        self.skips = []
        self.skip_costs = []
        self.untold = 0
        self.waiting = 0
