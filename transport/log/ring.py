"""What a log in memory knows of one stream and of one session: plain state without a clock or a loop.

A stream's events are a list that is consumed from the front, so that any offset is found by its index. It must never
give an offset twice within one epoch.
"""

from __future__ import annotations

from collections import deque

from transport import limits
from transport.log.numbers import Numbers
from transport.log.records import Appended, Event, History, Position, Received, Session, Stream

COMPACT_MIN = 64  # events gone at the front of a list before it is worth moving the others


class Ring:
    """One stream.

    Attributes:
        due_ms: when retention has to look at it again; None for never.
        queued: it stands in the heap of what is oldest.
        gone: it was dropped; whoever still holds it drops it too.
    """

    __slots__ = ("_events", "_start", "bytes", "due_ms", "epoch", "gone", "history", "last_ms", "queued", "stream",
                 "top")  # fmt: skip

    def __init__(self, stream: Stream, epoch: int, now_ms: int) -> None:
        self.stream = stream
        self.epoch = epoch
        self.top = 0
        self.bytes = 0
        self.last_ms = now_ms
        self.history: History | None = None
        self.due_ms: int | None = None
        self.queued = False
        self.gone = False
        self._events: list[Event | None] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._events) - self._start

    @property
    def first(self) -> int:
        """Offset of the oldest event."""
        return self.top - len(self) + 1

    @property
    def oldest_ms(self) -> int:
        """Time of the oldest event; there must be one."""
        event = self._events[self._start]
        assert event is not None
        return event.at_ms

    def add(self, payload: bytes, skip: tuple[str, ...], at_ms: int) -> Event:
        """One more event."""
        event = Event(self.top + 1, self.top, at_ms, payload, skip)
        self._events.append(event)
        self.top += 1
        self.bytes += cost(event)
        self.last_ms = at_ms
        return event

    def take(self) -> int:
        """Forgets the oldest event; returns its cost."""
        event = self._events[self._start]
        assert event is not None
        self._events[self._start] = None
        self._start += 1
        if self._start >= COMPACT_MIN and self._start * 2 >= len(self._events):
            del self._events[: self._start]
            self._start = 0
        size = cost(event)
        self.bytes -= size
        return size

    def over(self, history: History, now_ms: int) -> bool:
        """Whether the oldest event is over one of the bounds."""
        if not len(self):
            return False
        return (
            (history.count is not None and len(self) > history.count)
            or (history.bytes is not None and self.bytes > history.bytes)
            or (history.age_ms is not None and self.oldest_ms + history.age_ms <= now_ms)
        )

    def page(self, after: int, count: int, size: int) -> tuple[list[Event], bool]:
        """Events behind `after` within the bounds, and whether there are more."""
        begin = self._start + max(0, after + 1 - self.first)
        events: list[Event] = []
        for at in range(begin, len(self._events)):
            event = self._events[at]
            assert event is not None
            size -= len(event.payload)
            if len(events) == count or (size < 0 and events):
                return events, True
            events.append(event)
        return events, False


def cost(event: Event) -> int:
    """Bytes that a stored event counts."""
    size = len(event.payload) + limits.LOG_EVENT_COST_BYTES
    return size + sum(map(len, event.skip)) if event.skip else size


class Client:
    """One session with what its numbered messages led to."""

    __slots__ = ("causes", "expires_ms", "generation", "id", "identity", "lowest", "numbers", "proof", "replies",
                 "reply_bytes", "streams")  # fmt: skip

    def __init__(self, session: Session) -> None:
        self.id = session.id
        self.numbers = Numbers()
        self.replies: dict[int, bytes] = {}
        self.reply_bytes = 0
        self.lowest = 1
        self.causes: dict[tuple[int, int], Appended] = {}
        self.put(session)

    def put(self, session: Session) -> None:
        """Everything but what its messages led to."""
        self.proof = session.proof
        self.generation = session.generation
        self.identity = session.identity
        self.expires_ms = session.expires_ms
        self.streams: dict[Stream, Position] = dict(session.streams)

    def record(self) -> Session:
        """As it is handed out."""
        return Session(self.id, self.proof, self.generation, self.identity, self.expires_ms, dict(self.streams))

    def received(self) -> Received:
        """The same of its messages."""
        return Received(self.numbers.contiguous, frozenset(self.numbers.beyond), self.lowest)

    def handled(self, number: int, reply: bytes | None, confirmed: int) -> None:
        """Takes a receipt in."""
        self.numbers.add(number)
        if self.causes:
            self.causes = {cause: done for cause, done in self.causes.items() if cause[0] != number}
        if reply is not None and number > confirmed:
            self.replies[number] = reply
            self.reply_bytes += len(reply)
        if confirmed >= self.lowest:
            for old in [old for old in self.replies if old <= confirmed]:
                self.reply_bytes -= len(self.replies.pop(old))
            self.lowest = confirmed + 1
        while len(self.replies) > limits.LOG_REPLIES_MAX or self.reply_bytes > limits.LOG_REPLIES_BYTES_MAX:
            self.forget(min(self.replies))

    def forget(self, number: int) -> None:
        """A reply goes, whether or not the client has it."""
        self.reply_bytes -= len(self.replies.pop(number))
        self.lowest = max(self.lowest, number + 1)


class Replies:
    """The replies of all sessions together, which are bounded: the oldest go first.

    Attributes:
        bytes, count: that are stored.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.count = 0
        self._order: deque[tuple[Client, int]] = deque()  # at most twice as many as are stored, and a few

    def handled(self, client: Client, number: int, reply: bytes | None, confirmed: int) -> None:
        """Takes a receipt in."""
        size, count = client.reply_bytes, len(client.replies)
        client.handled(number, reply, confirmed)
        self.bytes += client.reply_bytes - size
        self.count += len(client.replies) - count
        if number in client.replies:
            self._order.append((client, number))
        while self._order and self.bytes > limits.LOG_MEMORY_REPLY_BYTES:
            oldest, old = self._order.popleft()
            if old in oldest.replies:
                self.bytes -= len(oldest.replies[old])
                self.count -= 1
                oldest.forget(old)
        if len(self._order) > 2 * self.count + 64:
            self._order = deque([entry for entry in self._order if entry[1] in entry[0].replies])

    def ended(self, client: Client) -> None:
        """A session goes, with its replies."""
        self.bytes -= client.reply_bytes
        self.count -= len(client.replies)
        client.replies.clear()
        client.reply_bytes = 0
