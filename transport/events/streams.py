"""A stream and those who are in it: who gets an event at once, who reads the log instead, and where each one is.

Nothing here waits, reads a clock or knows a socket. A member is a connection, of which three things are known: whether
it is `paused`, how a frame is written to it, and how it is told that it has to read. A client that is slow, one that
resumes and one that asked for a pause are the same thing: a position in the log, and nothing else that could grow.

The seam between reading and live: while anybody reads, the newest events of the stream are held (once for all readers,
bounded). Whoever has read up to the oldest held one gets the held ones in the same step that makes it live, so no event
can fall between. What is held is let go with the last reader. It must never send an event out of order or twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from transport import limits
from transport.events import envelope
from transport.events.envelope import Claim, Policy, Why
from transport.log.records import Event, Page
from transport.log.records import Stream as Name


class Mode(IntEnum):
    """What becomes of a new event for one subscription. LIVE is 0: the fan-out asks only for that."""

    LIVE = 0
    READING = 1
    PAUSED = 2
    GONE = 3


class Member(Protocol):
    """What a stream knows of a connection."""

    id: str
    paused: bool

    def write(self, frame: bytes) -> bool:
        """Queues a frame; False if it is too large for this client. An event is one object for all who get it."""

    def has_to_read(self, subscription: Subscription) -> None:
        """A subscription of it reads the log from now on."""

    def owes(self, subscription: Subscription) -> None:
        """A subscription of it was moved over events that it must not see."""


@dataclass(slots=True)
class Budget:
    """What one resume may still bring, over all its streams. Events and bytes."""

    events: int = limits.EVENTS_REPLAY_EVENTS
    bytes: int = limits.EVENTS_REPLAY_BYTES


@dataclass(frozen=True, slots=True)
class Missing:
    """A gap that a subscription has come to; it stands still until `close_gap`.

    Attributes:
        why: the reason.
        first: the oldest event that could be read.
        most: events that the budget leaves for what is read after the gap.
    """

    why: Why
    first: int
    most: int = limits.EVENTS_REPLAY_EVENTS


class Stream:
    """One stream that somebody is in.

    Attributes:
        name: in the log.
        alias: its number on the wire, of this epoch.
        epoch, top: of its newest event that was given out.
        users: those that keep it alive, members and those about to be.
        reading: how many of its subscriptions read the log.
        contiguous: offsets count its events; in some logs they only grow.
    """

    def __init__(self, name: Name, alias: int, contiguous: bool = True) -> None:
        self.name = name
        self.alias = alias
        self.contiguous = contiguous
        self.epoch = 0
        self.top = 0
        self.users = 0
        self.reading = 0
        self.begun = False
        self.held: deque[Event] = deque()
        self.held_bytes = 0
        self.members: dict[Subscription, None] = {}
        self._snapshot: tuple[Subscription, ...] | None = ()

    def begin(self, epoch: int, top: int) -> None:
        """Its ends are known; events that came before that count."""
        if self.epoch == epoch:
            top = max(top, self.top)
        self.epoch, self.top, self.begun = epoch, top, True

    def publish(self, epoch: int, events: Sequence[Event]) -> bool:
        """Gives new events to all who are live. False if they are of another epoch: then nothing was given."""
        if not self.begun:
            self.epoch, self.top = epoch, events[-1].offset
            return True
        if epoch != self.epoch:
            return False
        for event in events:
            if event.offset > self.top:
                self._fan_out(event)
        return True

    def _fan_out(self, event: Event) -> None:
        offset, previous, _, payload, skip = event
        frame = envelope.event(self.alias, offset, offset - previous, payload)
        self.top = offset
        for sub in self.targets():
            if sub.mode:
                continue
            member = sub.member
            if member.paused:
                sub.read_on()
            elif skip and member.id in skip:
                sub.move_over(offset)
            else:
                if sub.owed_from >= 0:
                    sub.pay()
                sub.sent = offset
                if not member.write(frame):
                    sub.too_large()
        if self.reading:
            self._hold(event)

    def _hold(self, event: Event) -> None:
        self.held.append(event)
        self.held_bytes += len(event.payload)
        while len(self.held) > limits.EVENTS_HOLD_EVENTS or self.held_bytes > limits.EVENTS_HOLD_BYTES:
            self.held_bytes -= len(self.held.popleft().payload)

    def targets(self) -> tuple[Subscription, ...]:
        """Those who are in it, as they are now."""
        if self._snapshot is None:
            self._snapshot = tuple(self.members)
        return self._snapshot

    def add(self, sub: Subscription) -> None:
        """One more."""
        self.members[sub] = None
        self._snapshot = None

    def remove(self, sub: Subscription) -> None:
        """One less. More often does no harm."""
        if self.members.pop(sub, 0) is None:
            self._snapshot = None
            sub.set_mode(Mode.GONE)

    def readers_changed(self, by: int) -> None:
        """A subscription has begun or ended to read."""
        self.reading += by
        if not self.reading:
            self.held.clear()
            self.held_bytes = 0


class Subscription:
    """One member's place in one stream.

    Attributes:
        sent: the offset up to which the member has everything that it is meant to have.
        furthest: the largest that `sent` was before it went back: frames that were under way then may have come.
        since: the offset it was let in at; it must not go back behind that.
        by_client: whether the client asked to join.
        owed_from: where an advance that was not told yet begins, or -1.
        answer_due: it resumes, and was not told yet how that went.
        goal: the top at that time.
        count: events it got since.
        budget: what its resume may still bring, or None when it reads for another reason.
        missing: a gap that it stands before.
    """

    __slots__ = (
        "answer_due", "budget", "by_client", "count", "furthest", "goal", "member", "missing", "mode",
        "owed_from", "room", "sent", "since", "stream",
    )  # fmt: skip

    def __init__(self, stream: Stream, member: Member, room: str, since: int, by_client: bool) -> None:
        self.stream = stream
        self.member = member
        self.room = room
        self.since = since
        self.by_client = by_client
        self.sent = stream.top
        self.furthest = 0
        self.mode = Mode.LIVE
        self.owed_from = -1
        self.answer_due = False
        self.goal = 0
        self.count = 0
        self.budget: Budget | None = None
        self.missing: Missing | None = None

    def claim(self) -> Claim:
        """What its ticket is about."""
        return Claim(self.room, self.stream.epoch, self.sent, self.since, self.by_client, b"")

    def set_mode(self, mode: Mode) -> None:
        """Changes what becomes of new events. One that is gone stays so."""
        if self.mode is Mode.GONE:
            return
        before, self.mode = self.mode, mode
        if (before is Mode.READING) != (mode is Mode.READING):
            self.stream.readers_changed(1 if mode is Mode.READING else -1)

    # Where it begins

    def resume(self, offset: int, budget: Budget | None) -> None:
        """It had everything up to `offset`; the rest comes from the log, then one answer."""
        stream = self.stream
        self.sent = offset
        self.answer_due = True
        self.goal = stream.top
        self.budget = budget
        if budget is not None and stream.contiguous:  # else they are counted as they are read
            if stream.top - offset > budget.events:
                self.missing = Missing(Why.LIMIT, 0, budget.events)
            else:
                budget.events -= stream.top - offset
        self.read_on()
        self.catch_up()

    def begin_with_gap(self, why: Why, budget: Budget | None) -> None:
        """What it had before says nothing about this stream: it begins before a gap."""
        self.answer_due = True
        self.goal = self.stream.top
        self.budget = budget
        self.missing = Missing(why, 0, limits.EVENTS_REPLAY_EVENTS if budget is None else budget.events)
        self.read_on()

    def read_on(self) -> None:
        """From now on it reads the log."""
        self.set_mode(Mode.READING)
        self.member.has_to_read(self)

    def pause(self) -> None:
        """The client can't take more: nothing is sent but on `go_on`."""
        self.set_mode(Mode.PAUSED)

    def go_on(self, offset: int) -> bool:
        """The client has everything up to `offset`. False if that can't be."""
        if self.mode is Mode.GONE:  # its stream has begun anew: the client is told soon where it goes on there
            return True
        self.furthest = max(self.furthest, self.sent)
        if not self.since <= offset <= self.furthest:
            return False
        self.sent = offset
        self.owed_from = -1
        self.read_on()
        return True

    # What it is not meant to see

    def move_over(self, offset: int) -> None:
        """An event that the member must not see."""
        if self.owed_from < 0:
            self.owed_from = self.sent
            self.member.owes(self)
        self.sent = offset

    def pay(self) -> None:
        """Tells the client how far it was moved."""
        if self.owed_from >= 0 and self.mode is not Mode.GONE:
            step = self.sent - self.owed_from
            self.owed_from = -1
            if step > 0:
                self.member.write(envelope.advance(self.stream.alias, self.sent, step))

    def too_large(self) -> None:
        """An event that does not fit into what this client takes: told, not dropped in silence."""
        stream = self.stream
        gap = envelope.Gap(
            stream.alias, Why.TOO_LARGE, Policy.NOW, self.sent, self.room, self.sent + 1, stream.top, 1, None
        )
        self.member.write(envelope.gap(gap))

    # Reading

    def take(self, page: Page) -> None:
        """A page of the log that was read after `sent`. What it can't take now it reads again."""
        if self.mode is not Mode.READING or self.missing is not None:
            return
        if page.trimmed:
            self.missing = Missing(Why.TRIMMED, page.head.first)
            return
        for event in page.events:
            if event.offset > self.stream.top:  # durable, and about to be given out: then it comes from there
                break
            if event.offset > self.sent and not self._take_one(event):
                return
        self.catch_up()

    def _take_one(self, event: Event) -> bool:
        """Sends an event that was missed, unless the client can't take it now or the budget is used up."""
        if self.member.paused:
            return False
        if event.offset <= self.goal and self.budget is not None:
            self.budget.bytes -= len(event.payload)
            if not self.stream.contiguous:
                self.budget.events -= 1
            if self.budget.bytes < 0 or self.budget.events < 0:
                self.missing = Missing(Why.LIMIT, 0, 0)
                return False
        self._deliver(event)
        return True

    def _deliver(self, event: Event) -> None:
        if event.skip and self.member.id in event.skip:
            self.move_over(event.offset)
            return
        self.pay()
        self.sent = event.offset
        self.count += 1
        step = event.offset - event.previous
        frame = envelope.event(self.stream.alias, event.offset, step, event.payload, replay=True)
        if not self.member.write(frame):
            self.too_large()

    def catch_up(self) -> bool:
        """Takes what is held, and is live from then on, if nothing lies between. Whether it is live."""
        stream = self.stream
        if self.mode is not Mode.READING or self.missing is not None:
            return self.mode is Mode.LIVE
        if self.sent < stream.top:
            if not stream.held or stream.held[0].previous > self.sent:
                return False
            for event in tuple(stream.held):
                if event.offset > self.sent and not self._take_one(event):
                    return False
        if self.member.paused:
            return False
        self._answer()
        self.set_mode(Mode.LIVE)
        return True

    def _answer(self) -> None:
        """Tells a client that resumes that it has everything."""
        if self.answer_due:
            self.answer_due = False
            self.pay()
            self.member.write(envelope.caught_up(self.stream.alias, self.sent, self.count))
        self.budget = None

    def close_gap(self, first: int, policy: Policy, snapshot: object = None, offset: int = -1) -> None:
        """Tells the client what is missing, and goes on behind it.

        Args:
            first: the oldest event that can be read.
            policy: where it goes on. OLDEST is the oldest that the budget has room for.
            snapshot: for SNAPSHOT: the state of the room, taken when `offset` or a later event was the newest.
            offset: for SNAPSHOT.
        """
        missing, stream, budget = self.missing, self.stream, self.budget
        if missing is None or self.mode is Mode.GONE:
            return
        top = stream.top
        if policy is Policy.OLDEST and not stream.contiguous:
            offset = top if missing.why is Why.LIMIT else max(first - 1, self.since)
        elif policy is Policy.OLDEST:
            most = missing.most
            if budget is not None and missing.why is not Why.TRIMMED:  # what was trimmed was counted as it began
                most = min(most, budget.events)
            offset = max(first - 1, top - max(most, 0), self.since)
            if budget is not None and missing.why is not Why.TRIMMED:
                budget.events -= top - offset
        elif policy is Policy.NOW or offset < 0:
            offset = top
        known = missing.why in (Why.TRIMMED, Why.LIMIT) and stream.contiguous
        lost = max(offset - self.sent, 0) if known else -1
        self.owed_from = -1
        self.missing = None
        self.answer_due = False
        self.budget = budget if policy is Policy.OLDEST else None
        self.sent = offset
        gap = envelope.Gap(stream.alias, missing.why, policy, offset, self.room, first, top, lost, snapshot)
        if not self.member.write(envelope.gap(gap)):  # the snapshot is too large for this client
            self.member.write(envelope.gap(gap._replace(policy=Policy.NOW, snapshot=None)))
        self.catch_up()
