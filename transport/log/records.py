"""The records that go into a log and come out of one; plain data, the same for every kind of log.

They say nothing about how they are stored, and never check themselves: `transport/log/base.py` does it where a call
comes in, so that records read back cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Stream(NamedTuple):
    """The name of one stream: a room of a namespace, the namespace itself (`room` empty), or one session's own.

    Attributes:
        namespace: such as "/chat".
        room: such as "room:7"; a private stream has the session's id here.
        private: whether it belongs to one session. It goes with the session's record.
    """

    namespace: str
    room: str = ""
    private: bool = False

    def __str__(self) -> str:
        return f"{self.namespace} {'@' if self.private else '#'}{self.room}"


class Position(NamedTuple):
    """A place in a stream. Offset 0 is before its first event. Offsets of two epochs say nothing about each other."""

    epoch: int
    offset: int


class Appended(NamedTuple):
    """Where an event is, once it is as durable as the log promises.

    Attributes:
        epoch: of the stream, 64 bits, never 0.
        offset: the event's own.
        previous: that of the event before it in this stream, 0 for the first. A log with contiguous offsets has
            `offset - 1`; a receiver compares it with the last one it had and needs to know no more.
        repeated: nothing was written now, because an earlier append with the same key or cause was; this is where.
    """

    epoch: int
    offset: int
    previous: int
    repeated: bool = False

    @property
    def position(self) -> Position:
        """Epoch and offset alone."""
        return Position(self.epoch, self.offset)


class Head(NamedTuple):
    """The two ends of a stream at one moment.

    Attributes:
        epoch: random; a new one whenever events that somebody may have seen could be missing from the log.
        first: offset of the oldest event that can still be read; `top + 1` where there is none.
        top: offset of the newest event, 0 where there never was one.
    """

    epoch: int
    first: int
    top: int


class Event(NamedTuple):
    """One stored event.

    Attributes:
        offset, previous: as in `Appended`.
        at_ms: wall-clock time of its append, in milliseconds since 1970.
        payload: as it was given.
        skip: ids of the sessions that must not see it. They get an empty advance of their cursor in its place.
    """

    offset: int
    previous: int
    at_ms: int
    payload: bytes
    skip: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """What one `read` gives; all of it from one moment.

    Attributes:
        head: of the stream at that moment.
        events: in order, without a hole between them. The first one follows `after`, or, where events behind `after`
            are gone (`trimmed`), is the oldest that is left.
        trimmed: events behind `after` can't be read any more: the receiver has a gap.
        more: there are further events that did not fit in.
    """

    head: Head
    events: list[Event]
    trimmed: bool
    more: bool


@dataclass(frozen=True, slots=True)
class History:
    """How much of a stream is kept; what is over one of the bounds goes, oldest first. None is no bound of that kind.

    A bound is a promise that more is forgotten soon, not at once: retention runs beside the writes, in bounded steps.

    Attributes:
        count: events.
        age_ms: milliseconds of wall-clock time since the append.
        bytes: of payloads and skip lists, with `limits.LOG_EVENT_COST_BYTES` for each event.
    """

    count: int | None = 10_000
    age_ms: int | None = 24 * 3_600_000
    bytes: int | None = 64 * 1024 * 1024


class Cause(NamedTuple):
    """Which numbered message of a client an append is an effect of, and which of its effects.

    The handler of a message may append, then die before its reply is stored; the client sends the message again, the
    handler runs again, and each append with the same cause answers `repeated` in place of a second event. Kept until
    the message's receipt is stored, or the session goes.

    Attributes:
        session: id.
        generation: that the caller holds; another one stored raises Fenced.
        number: of the client's message, from 1.
        step: which append of its handler, from 0. A handler that does the same again appends in the same order.
    """

    session: str
    generation: int
    number: int
    step: int


class Receipt(NamedTuple):
    """A client's numbered message was handled: it must not be handled again, and this is the answer.

    Attributes:
        session, generation, number: as in `Cause`.
        reply: what a client that asks again is told; None for a message that nobody waits for.
        confirmed: the client has the replies of all messages up to this number; they are forgotten.
    """

    session: str
    generation: int
    number: int
    reply: bytes | None = None
    confirmed: int = 0


class Append(NamedTuple):
    """One event of a `commit`; see `Log.append` for its parts."""

    stream: Stream
    payload: bytes
    skip: tuple[str, ...] = ()
    key: str | None = None
    cause: Cause | None = None


class Committed(NamedTuple):
    """What became of a `commit`.

    Attributes:
        appended: one for each append, in order; empty where `repeated`.
        repeated: the receipt's message had been handled before: nothing was written, and `reply` is the stored answer.
        reply: the stored reply; None where the message had none, or it was confirmed or over the bound and forgotten
            (`Received.lowest` tells which).
    """

    appended: tuple[Appended, ...]
    repeated: bool = False
    reply: bytes | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """Which numbered messages of a session were handled.

    Attributes:
        contiguous: every number up to this one.
        beyond: those above it, at most `limits.LOG_BEYOND_MAX`.
        lowest: replies of lower numbers are forgotten.
    """

    contiguous: int = 0
    beyond: frozenset[int] = frozenset()
    lowest: int = 1

    def has(self, number: int) -> bool:
        """Whether the message of that number was handled."""
        return number <= self.contiguous or number in self.beyond


@dataclass(frozen=True, slots=True)
class Session:
    """What is known about a client between its connections.

    Attributes:
        id: unguessable or not, but unique.
        proof: a hash of the secret that its owner proves itself by; never the secret.
        generation: grows by one with each connection; a write that holds a lower one is refused (fencing).
        identity: who it was when last authorized, in the words of the layer above.
        expires_ms: wall-clock time in milliseconds at which it may be forgotten, with its receipts and private streams.
        streams: those that it joined, each with a position it had seen by then: at least the top when it joined.
    """

    id: str
    proof: bytes
    generation: int
    identity: bytes
    expires_ms: int
    streams: Mapping[Stream, Position] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """One stream, for people and tools.

    Attributes:
        stream, head: its name and its ends.
        events: that are stored.
        bytes: that count against `History.bytes`.
        last_ms: wall-clock time of the last append in milliseconds, 0 where there never was one.
        history: the bounds that hold for it.
    """

    stream: Stream
    head: Head
    events: int
    bytes: int
    last_ms: int
    history: History


@dataclass(frozen=True, slots=True)
class LogStatistics:
    """Counters since the log was opened, and how things stand now.

    Attributes:
        durability: "memory", "os" or "disk".
        streams, sessions, events: stored now; `events` is counted by the writer, 0 for a reader.
        bytes: of the store now: of the file and its write-ahead log, or of memory.
        appended, appended_bytes: events, and bytes of their payloads.
        repeated: appends and receipts that had been written before.
        commits, commit_events_max: group commits, and the largest of them in events.
        commit_ns, commit_ns_max: time spent in them, and in the longest.
        waiting, waiting_bytes: of events on their way to a commit; `waiting_max` is the most there were.
        blocked: calls that had to wait for room in the queue.
        reads, read_events: pages read, and events in them.
        trimmed: events that retention, `trim` or the bound on memory took away.
        failed: commits that failed.
    """

    durability: str
    streams: int = 0
    sessions: int = 0
    events: int = 0
    bytes: int = 0
    appended: int = 0
    appended_bytes: int = 0
    repeated: int = 0
    commits: int = 0
    commit_events_max: int = 0
    commit_ns: int = 0
    commit_ns_max: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    waiting_max: int = 0
    blocked: int = 0
    reads: int = 0
    read_events: int = 0
    trimmed: int = 0
    failed: int = 0
