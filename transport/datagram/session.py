"""Messages to and from one peer of a raw UDP socket: a datagram each, no header of ours, nothing promised.

The session is the queue in both directions; `transport.datagram.endpoint` routes to it and decides whose turn it is.
It must never wait for anybody: above a bound the oldest message goes, and is counted.

`Exchange` is what sessions and their endpoint keep in common: who has something to send, and who to tell.
"""

from __future__ import annotations

from typing import Any

from transport import limits, lists
from transport.datagram import room as rooms
from transport.datagram.base import Endpoint, PeerSession
from transport.errors import CloseCode, LocalProtocolError, MessageTooLarge
from transport.machine import Closed, Established, Path
from transport.session import Batch

OPEN, CLOSING, CLOSED = 1, 2, 3  # SessionState as plain numbers
UNRELIABLE = 3  # Delivery.UNRELIABLE
COMPACT_AT = 1024  # taken entries at the head of the queue before they are cut off
QUEUE_BYTES = limits.UNRELIABLE_QUEUE_BYTES
QUEUE_MESSAGES = limits.UDP_QUEUED_MESSAGES
INBOX_MESSAGES = limits.UDP_INBOX_MESSAGES
FLUSH_BYTES = limits.UDP_FLUSH_BYTES
FLUSH_MESSAGES = limits.UDP_FLUSH_MESSAGES
TRAIN_SEGMENTS = limits.GSO_SEGMENTS_MAX
TRAIN_BYTES = limits.GSO_BYTES_MAX


class Exchange(Endpoint):
    """The part of the raw endpoint that its sessions know.

    Attributes:
        max_message: largest payload sent or taken, bytes.
        inbox_bytes: received and not yet taken of one session; oldest dropped.
        queued_bytes, queued_messages: of all sessions.
    """

    def __init__(self, max_message: int, inbox_bytes: int) -> None:
        Endpoint.__init__(self)
        self.max_message = max_message
        self.inbox_bytes = inbox_bytes
        self.queued_bytes = 0
        self.queued_messages = 0
        self._first: DatagramSession | None = None  # of those with something to send, linked by `next_turn`
        self._final: DatagramSession | None = None

    def queued(self, session: DatagramSession, size: int) -> None:
        """`session` has one more message to send."""
        self.queued_bytes += size
        self.queued_messages += 1
        if self.queued_bytes >= FLUSH_BYTES or self.queued_messages >= FLUSH_MESSAGES:
            self.pressing = True
        if not session.is_queued:
            self.take_turn(session)

    def take_turn(self, session: DatagramSession) -> None:
        """Puts `session` behind all others that have something to send."""
        session.is_queued = True
        if self._final is None:
            self._first = session
        else:
            self._final.next_turn = session
        self._final = session

    def _next_turn(self) -> None:
        """The first in the row has had its turn."""
        session = self._first
        assert session is not None
        session.is_queued = False
        self._first = session.next_turn
        session.next_turn = None
        if self._first is None:
            self._final = None

    def unqueued(self, messages: int, size: int) -> None:
        """So much has left the queue of a session, by whatever way."""
        self.queued_bytes -= size
        self.queued_messages -= messages
        if self.queued_bytes < FLUSH_BYTES and self.queued_messages < FLUSH_MESSAGES:
            self.pressing = False


class DatagramSession(PeerSession):
    """One peer. Made by its endpoint.

    Attributes:
        seen: when a datagram last came or left (ns).
        last_error: errno of the last ICMP or send error of the path, 0 for none. A hint, never proof.
        older, newer, next_turn, is_queued, segment: the endpoint's.
    """

    def __init__(self, endpoint: Exchange, path: Path, now: int) -> None:
        PeerSession.__init__(self, path)
        self.state = OPEN
        self.send_max = endpoint.max_message
        self.seen = now
        self.last_error = 0
        self.older: DatagramSession | None = None  # neighbours in the endpoint's order of last use
        self.newer: DatagramSession | None = None
        self.next_turn: DatagramSession | None = None
        self.is_queued = False
        self.segment = 0  # of the train that `fill` has just built
        self._endpoint = endpoint
        self._queue: list[bytes] = []
        self._marks: list[tuple[int, int]] | None = None  # (priority, expires_at) of each, once one has either
        self._head = 0
        self._events: list[Any] = [Established()]
        self._close_code = 0
        self._close_reason = ""
        self._received = 0
        self._sent = 0
        self._dropped_in = 0
        self._dropped_out = 0
        self._expired = 0
        self._errors = 0

    # Commands

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one datagram.

        Raises:
            MessageTooLarge: it does not fit a datagram, or the option max_message.
            LocalProtocolError: the session is closing or closed.
        """
        size = len(payload)
        if size > self.send_max:
            raise MessageTooLarge(size, self.send_max)
        if self.state != OPEN:
            raise LocalProtocolError("send on a closed session")
        queue = self._queue
        if priority or expires_at or self._marks is not None:
            self._insert(payload, priority, expires_at)
        else:
            queue.append(payload)
        self.queued_bytes += size
        self.sent_total += size
        self._endpoint.queued(self, size)
        if self.queued_bytes > QUEUE_BYTES or len(queue) - self._head > QUEUE_MESSAGES:
            self._drop_oldest()

    def close(self, code: int, reason: str, now: int) -> None:
        """Ends the session when what is queued has left. The peer hears nothing: the wire has no word for it."""
        if self.state == OPEN:
            self.state = CLOSING
            self._close_code = code
            self._close_reason = reason
            if self._head == len(self._queue):
                self.end(code, reason, code == CloseCode.NORMAL)

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends the session at once."""
        self.end(code, reason, code == CloseCode.NORMAL)

    def end(self, code: int, reason: str, clean: bool) -> None:
        """The last thing that happens to a session, by whatever cause."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        self.clear()
        self._events.append(Closed(code, reason, False, clean))
        self._endpoint.forget(self)
        self._endpoint.ready(self)

    def clear(self) -> None:
        """Drops what is queued."""
        self._endpoint.unqueued(len(self._queue) - self._head, self.queued_bytes)
        self.queued_bytes = 0
        self._queue.clear()
        self._head = 0
        self._marks = None

    # From the endpoint

    def arrived(self, payloads: list[bytes], size: int) -> None:
        """Takes datagrams over, in order; `payloads` is the session's from now on."""
        count = len(payloads)
        self._received += count
        if self.state != OPEN:
            self._dropped_in += count
            return
        if self.lone is not None:
            self.join_lone()
        if self.batches:
            batch = self.batches[0]
            batch.payloads.extend(payloads)
            batch.size += size
        else:
            batch = Batch.__new__(Batch)  # its __init__ would cost as much again
            batch.channel = 0
            batch.delivery = UNRELIABLE
            batch.payloads = payloads
            batch.size = size
            self.batches = [batch]
        if batch.size > self._endpoint.inbox_bytes or len(batch.payloads) > INBOX_MESSAGES:
            self._drop_received(batch)

    def arrived_one(self, payload: bytes) -> None:
        """The same for a single datagram."""
        if self.state != OPEN or self.lone is not None or self.batches:
            self.arrived([payload], len(payload))
            return
        self._received += 1
        self.lone = payload
        self.lone_delivery = UNRELIABLE

    def fill(self, room: memoryview, now: int) -> int:
        """Writes the next train into `room` and its segment size to `segment`.

        Consecutive datagrams of one size leave together; a shorter one may end the train (UDP_SEGMENT).

        Returns:
            The train's bytes, or -1 when nothing is left to send.
        """
        queue = self._queue
        if self._marks is not None:
            self._expire(now)
        head = self._head
        count = len(queue)
        if head >= count:
            return -1
        first = queue[head]
        segment = len(first)
        total = segment
        last = head + 1
        most = min(count, head + TRAIN_SEGMENTS)
        while last < most:
            item = queue[last]
            size = len(item)
            if size > segment or not size or total + size > TRAIN_BYTES:
                break
            if self._marks is not None and self._is_late(last, now):
                break
            last += 1
            total += size
            if size < segment:
                break
        self.segment = segment
        rooms.put(room, queue, head, last)
        self._taken(last, total)
        self._sent += last - head
        return total

    def sole(self) -> bytes | None:
        """The datagram at the head of the queue, if it is the only one and can't expire."""
        if self._marks is not None or len(self._queue) != self._head + 1:
            return None
        return self._queue[self._head]

    def sole_left(self) -> None:
        """What `sole` gave was sent; the endpoint books it."""
        self._sent += 1
        self.queued_bytes = 0
        lists.pop_last(self._queue)  # which keeps the list's memory for the next
        if self._head:
            self._queue.clear()
            self._head = 0

    def _taken(self, last: int, total: int) -> None:
        """Books the queue's entries before `last` as gone."""
        queue = self._queue
        self._endpoint.unqueued(last - self._head, total)
        self.queued_bytes -= total
        if last == len(queue):
            queue.clear()
            self._marks = None
            last = 0
        elif last > COMPACT_AT:
            del queue[:last]
            if self._marks is not None:
                del self._marks[:last]
            last = 0
        self._head = last

    def has_queued(self) -> bool:
        """Whether anything is left to send, be it an empty datagram."""
        return self._head < len(self._queue)

    def finish(self) -> None:
        """The queue has become empty: a `close` that waited for it is done."""
        if self.state == CLOSING:
            self.end(self._close_code, self._close_reason, self._close_code == CloseCode.NORMAL)

    def failed(self, code: int) -> None:
        """An error of the path was reported."""
        self._errors += 1
        self.last_error = code

    # Queues

    def _insert(self, payload: bytes, priority: int, expires_at: int) -> None:
        queue = self._queue
        marks = self._marks
        if marks is None:
            marks = self._marks = [(0, 0)] * len(queue)
        place = len(queue)
        while place > self._head and marks[place - 1][0] < priority:
            place -= 1
        queue.insert(place, payload)
        marks.insert(place, (priority, expires_at))

    def _is_late(self, index: int, now: int) -> bool:
        assert self._marks is not None
        expires_at = self._marks[index][1]
        return 0 < expires_at <= now

    def _expire(self, now: int) -> None:
        """Drops what is too late, as far as it is at the head of the queue."""
        while self._marks is not None and self._head < len(self._queue) and self._is_late(self._head, now):
            self._expired += 1
            self._taken(self._head + 1, len(self._queue[self._head]))

    def _drop_oldest(self) -> None:
        """Drops the oldest of the least important until the queue is within its bounds again; the newest stays."""
        while len(self._queue) - self._head > 1 and (
            self.queued_bytes > QUEUE_BYTES or len(self._queue) - self._head > QUEUE_MESSAGES
        ):
            self._dropped_out += 1
            marks = self._marks
            if marks is None:
                self._taken(self._head + 1, len(self._queue[self._head]))
                continue
            place = len(marks) - 1
            while place > self._head and marks[place - 1][0] == marks[-1][0]:
                place -= 1
            size = len(self._queue[place])
            del self._queue[place]
            del marks[place]
            self.queued_bytes -= size
            self._endpoint.unqueued(1, size)

    def _drop_received(self, batch: Batch) -> None:
        payloads = batch.payloads
        count = len(payloads)
        index = 0
        size = batch.size
        while index < count - 1 and (
            size > self._endpoint.inbox_bytes or count - index > INBOX_MESSAGES
        ):  # fmt: skip
            size -= len(payloads[index])
            index += 1
        del payloads[:index]
        batch.size = size
        self._dropped_in += index

    # The rest of the five verbs: the endpoint owns time

    def events(self) -> list[Any]:
        """What happened since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    def deadline(self) -> int | None:
        """None: idle sessions are the endpoint's business."""
        return None

    def expire(self, now: int) -> None:
        """Nothing here has a deadline."""

    def statistics(self) -> dict[str, int]:
        """Messages by what became of them; ICMP and send errors, and the last one's errno."""
        return {
            "messages_sent": self._sent,
            "messages_received": self._received,
            "dropped_in": self._dropped_in,
            "dropped_out": self._dropped_out,
            "expired": self._expired,
            "errors": self._errors,
            "last_error": self.last_error,
        }
