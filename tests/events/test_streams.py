"""Who gets an event at once and who reads, without a loop, a log or a socket."""

from __future__ import annotations

import random
from typing import Any

import pytest

from transport import limits
from transport.events import envelope, parse
from transport.events.envelope import Policy, Why
from transport.events.streams import Budget, Mode, Stream, Subscription
from transport.log.records import Event, Head, Page
from transport.log.records import Stream as Name

BODY = envelope.payload("x", None)


class Member:
    """A connection that takes what it likes."""

    def __init__(self, name: str = "a") -> None:
        self.id = name
        self.paused = False
        self.frames: list[Any] = []
        self.reads: list[Subscription] = []
        self.owing: list[Subscription] = []
        self.largest = 10_000

    def write(self, frame: bytes) -> bool:
        if len(frame) > self.largest:
            return False
        self.frames.append(parse.parse(frame, parse.FROM_SERVER))
        return True

    def has_to_read(self, subscription: Subscription) -> None:
        self.reads.append(subscription)

    def owes(self, subscription: Subscription) -> None:
        self.owing.append(subscription)

    def has(self) -> int:
        """What the client knows that it has."""
        return max(
            [one.offset for one in self.frames if isinstance(one, (envelope.Event, envelope.Advance))], default=0
        )

    def offsets(self) -> list[int]:
        return [frame.offset for frame in self.frames if isinstance(frame, envelope.Event)]


class Log:
    """A stream of a log, as far as a page."""

    def __init__(self) -> None:
        self.stream = Stream(Name("/", "r"), 1)
        self.stream.begin(9, 0)
        self.events: list[Event] = []
        self.first = 1

    def append(self, skip: tuple[str, ...] = (), body: bytes = BODY, published: bool = True) -> Event:
        event = Event(len(self.events) + 1, len(self.events), 0, body, skip)
        self.events.append(event)
        if published:
            assert self.stream.publish(9, [event])
        return event

    def page(self, after: int, count: int = 3) -> Page:
        events = self.events[max(after, self.first - 1) :][:count]
        return Page(Head(9, self.first, len(self.events)), events, after + 1 < self.first, False)

    def join(self, member: Member) -> Subscription:
        sub = Subscription(self.stream, member, "r", self.stream.top, True)
        self.stream.add(sub)
        return sub

    def read(self, sub: Subscription) -> None:
        """As the shell does: a page at a time, until there is no need."""
        for _ in range(1000):
            if sub.mode is not Mode.READING or sub.missing is not None or sub.member.paused or sub.catch_up():
                return
            sub.take(self.page(sub.sent))
        raise AssertionError("it reads for ever")


def test_live_events_are_encoded_once() -> None:
    log = Log()
    frames: list[bytes] = []

    def write(frame: bytes) -> bool:
        frames.append(frame)
        return True

    for name in "abc":
        member = Member(name)
        member.write = write
        log.join(member)
    log.append()
    assert len(frames) == 3
    assert frames[0] is frames[1] is frames[2]


def test_who_is_paused_reads_later() -> None:
    log, member = Log(), Member()
    sub = log.join(member)
    log.append()
    member.paused = True
    for _ in range(10):
        log.append()
    assert (sub.mode, sub.sent, member.reads, log.stream.reading) == (Mode.READING, 1, [sub], 1)
    member.paused = False
    log.read(sub)
    assert member.offsets() == list(range(1, 12))
    assert (sub.mode, log.stream.reading, len(log.stream.held)) == (Mode.LIVE, 0, 0)
    assert [frame.replay for frame in member.frames] == [False] + [True] * 10


def test_what_is_durable_and_not_given_out_yet_comes_once() -> None:
    log, member = Log(), Member()
    sub = log.join(member)
    sub.read_on()
    log.append(published=False)
    sub.take(log.page(0))
    assert (member.offsets(), sub.mode) == ([], Mode.LIVE)
    log.stream.publish(9, log.events)
    assert member.offsets() == [1]


def test_skips() -> None:
    log, member = Log(), Member()
    sub = log.join(member)
    log.append(("a",))
    log.append(("a", "b"))
    assert (member.frames, member.owing) == ([], [sub])
    log.append()
    assert member.frames == [
        envelope.Advance(1, 2, 2),
        envelope.Event(1, 3, 1, False, "x", None, len(BODY)),
    ]
    log.append(("a",))
    sub.pay()
    sub.pay()
    assert member.frames[2:] == [envelope.Advance(1, 4, 1)]


def test_a_resume_is_answered_once() -> None:
    log, member = Log(), Member()
    for _ in range(7):
        log.append()
    sub = log.join(member)
    sub.since = 0
    sub.resume(2, Budget())
    log.read(sub)
    assert member.offsets() == [3, 4, 5, 6, 7]
    assert member.frames[-1] == envelope.CaughtUp(1, 7, 5)
    log.append()
    assert member.offsets()[-1] == 8
    assert [type(frame) for frame in member.frames].count(envelope.CaughtUp) == 1
    fresh = Member("b")
    log.join(fresh).resume(8, Budget())
    assert fresh.frames == [envelope.CaughtUp(1, 8, 0)]


@pytest.mark.parametrize("policy", list(Policy))
def test_gaps(policy: Policy) -> None:
    log, member = Log(), Member()
    for _ in range(10):
        log.append()
    log.first = 6
    sub = log.join(member)
    sub.since = 0
    sub.resume(2, Budget())
    log.read(sub)
    assert sub.missing is not None
    assert sub.missing.why is Why.TRIMMED
    assert member.frames == []
    log.append()  # goes on meanwhile
    sub.close_gap(6, policy, {"state": 1} if policy is Policy.SNAPSHOT else None, 10)
    log.read(sub)
    (gap,) = [frame for frame in member.frames if isinstance(frame, envelope.Gap)]
    expected = {Policy.NOW: (11, []), Policy.OLDEST: (5, [6, 7, 8, 9, 10, 11]), Policy.SNAPSHOT: (10, [11])}[policy]
    assert (gap.offset, member.offsets()) == expected
    assert (gap.first, gap.top, gap.lost) == (6, 11, gap.offset - 2)
    assert not [frame for frame in member.frames if isinstance(frame, envelope.CaughtUp)]
    assert sub.mode is Mode.LIVE


def test_a_snapshot_that_is_too_large_is_left_out() -> None:
    log, member = Log(), Member()
    sub = log.join(member)
    sub.begin_with_gap(Why.EPOCH, None)
    sub.close_gap(1, Policy.SNAPSHOT, b"x" * 20_000, 0)
    assert [(frame.policy, frame.snapshot) for frame in member.frames] == [(Policy.NOW, None)]


def test_a_place_to_go_on_from() -> None:
    """A client that went back may have had more by then: what was under way counts."""
    log, member = Log(), Member()
    log.append()
    sub = log.join(member)
    for _ in range(8):
        log.append()
    assert sub.sent == 9
    sub.pause()
    assert sub.go_on(4)
    assert sub.sent == 4
    assert sub.go_on(9), "frames up to 9 had been under way"
    assert not sub.go_on(10)
    assert not sub.go_on(0), "it was let in at 1"
    log.read(sub)
    assert sub.mode is Mode.LIVE


def test_another_epoch_is_not_given_out() -> None:
    log, member = Log(), Member()
    log.join(member)
    assert not log.stream.publish(10, [Event(1, 0, 0, BODY)])
    assert member.frames == []


def test_any_order(rng: random.Random) -> None:
    """Members that pause, go on, and go back see every event that is theirs, in order, whatever happens between."""
    log = Log()
    members = [Member(name) for name in "abcd"]
    subs = [log.join(member) for member in members]
    for _ in range(3000):
        member = rng.choice(members)
        sub = subs[members.index(member)]
        what = rng.random()
        if what < 0.4:
            log.append(tuple(one.id for one in members if rng.random() < 0.2))
        elif what < 0.5:
            member.paused = not member.paused
        elif what < 0.9 and sub.mode is Mode.READING and not member.paused and not sub.catch_up():
            sub.take(log.page(sub.sent, rng.randint(1, 20)))
        elif what < 0.93 and sub.mode is not Mode.PAUSED:
            sub.pause()
        elif what < 0.97 and sub.mode is Mode.PAUSED:
            assert sub.go_on(member.has())
        elif what < 0.98:
            sub.pay()
    for member, sub in zip(members, subs, strict=True):
        member.paused = False
        if sub.mode is Mode.PAUSED:
            sub.go_on(member.has())
        log.read(sub)
        sub.pay()
        assert member.offsets() == [event.offset for event in log.events if member.id not in event.skip]
        last = 0
        for frame in member.frames:
            if isinstance(frame, (envelope.Event, envelope.Advance)):
                assert frame.offset - frame.step == last, "no hole that the client would see"
                last = frame.offset
        assert last == len(log.events)
    assert log.stream.reading == 0
    assert limits.EVENTS_HOLD_EVENTS > 0


def test_what_is_read_after_gaps_counts_for_all_streams_of_a_resume() -> None:
    budget = Budget(events=10)
    members = []
    for _ in range(3):
        log = Log()
        member = Member()
        sub = log.join(member)
        for _ in range(30):
            log.append()
        member.frames.clear()
        sub.resume(0, budget)
        members.append((log, member, sub))
    for log, _, sub in members:
        assert sub.missing is not None
        sub.close_gap(1, Policy.OLDEST)
        log.read(sub)
    assert [len(member.offsets()) for _, member, _ in members] == [10, 0, 0]
    assert all(sub.mode is Mode.LIVE for _, _, sub in members)


@pytest.mark.parametrize("policy", [Policy.NOW, Policy.OLDEST])
def test_where_offsets_have_holes_what_is_missed_is_counted_as_it_is_read(policy: Policy) -> None:
    stream, member = Stream(Name("/", "r"), 1, contiguous=False), Member()
    events = [Event(1000 * number, 1000 * (number - 1), 0, BODY) for number in range(1, 8)]
    stream.begin(9, 7000)
    sub = Subscription(stream, member, "r", 0, True)
    stream.add(sub)
    sub.resume(0, Budget(events=5))
    assert sub.missing is None
    sub.take(Page(Head(9, 1000, 7000), events, False, False))
    assert member.offsets() == [1000, 2000, 3000, 4000, 5000]
    assert sub.missing is not None
    sub.close_gap(1000, policy)
    gap = member.frames[-1]
    assert (gap.why, gap.offset, gap.lost) == (Why.LIMIT, 7000, -1)
    assert sub.mode is Mode.LIVE
    assert stream.publish(9, [Event(8500, 7000, 0, BODY)])
    assert (member.frames[-1].offset, member.frames[-1].step) == (8500, 1500)
