"""When every message of an open loop is due, fixed before the run: the same in both processes and for every peer.

Both ends make it from the case and the seed, so that whoever judges knows to which connection a number belongs and what
must have come before it. Recorded traffic is no formula: there it is made once and handed over as a file. It must never
look at a clock.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.cases import POISSON, BadCase, Case
from bench.trace.file import MESSAGES_MAX as TRACE_MESSAGES_MAX
from bench.trace.file import BadTrace, Message, Trace

TAIL_MESSAGES = 16  # of each connection, behind the last one that counts, so that this is in the midst of a stream
TAIL_S_MAX = 1.0
MESSAGES_MAX = 1 << 23  # of one round, before anything is set aside for them
COUNTED_MIN = 2  # fewer have no time between them


@dataclass(frozen=True, slots=True)
class Schedule:
    """The plan of one round, sorted by time; a message's number is its place in it.

    Attributes:
        due: when, in ns after the start.
        connection: on which connection.
        size: how many bytes.
        first, last: those from `first` up to and without `last` count; before is the warm-up, behind is the tail.
    """

    due: array[int]
    connection: array[int]
    size: array[int]
    first: int
    last: int

    def __len__(self) -> int:
        return len(self.due)

    def save(self, path: Path) -> None:
        """Writes it for another process of this machine."""
        with path.open("wb") as file:
            array("q", [len(self), self.first, self.last]).tofile(file)
            for column in (self.due, self.connection, self.size):
                column.tofile(file)

    @staticmethod
    def load(path: Path) -> Schedule:
        """The inverse of `save`."""
        head, due, connection, size = array("q"), array("q"), array("i"), array("i")
        with path.open("rb") as file:
            head.fromfile(file, 3)
            for column in (due, connection, size):
                column.fromfile(file, head[0])
        return Schedule(due, connection, size, head[1], head[2])


def check_plan(case: Case, seconds: float, warmup: float) -> None:
    """Whether an open loop without a trace can be planned at all, before anything is measured.

    Raises:
        BadCase: too many messages, hardly any that counts, or a hole in the link that no round would see.
    """
    planned = (warmup + seconds + tail_s(case)) * case.rate * case.connections
    if planned > MESSAGES_MAX:
        raise BadCase(f"{planned:.0f} messages are planned, {MESSAGES_MAX} at most can be: {case.title}")
    counted = seconds * case.rate * case.connections
    if counted < COUNTED_MIN:
        raise BadCase(f"{counted:.3g} messages would count in {seconds:g} s, {COUNTED_MIN} at least must: {case.title}")
    if case.link is not None and case.link.hole_s and case.link.hole_at_s >= warmup + seconds:
        raise BadCase(f"a round is over after {warmup + seconds:g} s, before the hole: {case.title}")


def tail_s(case: Case) -> float:
    """How long messages go on behind the stretch that counts."""
    return min(TAIL_S_MAX, TAIL_MESSAGES / case.rate)


def make_schedule(case: Case, seconds: float, warmup: float, seed: int) -> Schedule:
    """The plan of `case`.

    Args:
        seconds: the stretch that counts; `warmup` comes before it.
        seed: of phases and of Poisson gaps.

    Raises:
        BadCase: more messages than `MESSAGES_MAX`.
    """
    end = warmup + seconds + tail_s(case)
    if end * case.rate * case.connections > MESSAGES_MAX:
        raise BadCase(f"{end * case.rate * case.connections:.0f} messages are planned, {MESSAGES_MAX} at most can be")
    rng = random.Random(f"{seed}/{case.id}/schedule")
    plan: list[tuple[int, int]] = []
    for connection in range(case.connections):
        at = rng.random() / case.rate
        while at < end:
            plan.append((int(at * 1e9), connection))
            at += rng.expovariate(case.rate) if case.arrival == POISSON else 1 / case.rate
    plan.sort()
    due = array("q", (at for at, _ in plan))
    first = next((at for at, when in enumerate(due) if when >= warmup * 1e9), len(due))
    last = next((at for at in range(len(due) - 1, -1, -1) if due[at] < (warmup + seconds) * 1e9), -1) + 1
    sizes = array("i", [case.payload]) * len(due)
    return Schedule(due, array("i", (connection for _, connection in plan)), sizes, first, max(first, last))


def replay_schedule(case: Case, trace: Trace, warmup: float) -> Schedule:
    """The plan of recorded traffic: its times, sizes and connections, as fast and as long as `case.trace` says.

    Everything after the first `warmup` seconds counts, to the very last message. Where the end is a cut, what would
    have come next follows as the tail.

    Raises:
        BadTrace: it can't be repeated, has too much to play, or hardly anything that counts.
    """
    facts = case.trace
    assert facts is not None and facts.sha256 == trace.facts.sha256, "the case is of another trace"
    end = facts.length_s * 1e9 if facts.loop else float("inf")
    due, connection, size = array("q"), array("i"), array("i")
    behind = [0] * facts.connections
    for at, many, where in laps(trace, facts.speed, facts.loop):
        if at >= end:
            if at >= end + TAIL_S_MAX * 1e9 or len(due) >= TRACE_MESSAGES_MAX:
                break
            behind[where] += 1
            if behind[where] > TAIL_MESSAGES:
                continue
        elif len(due) >= TRACE_MESSAGES_MAX:
            raise BadTrace(f"more than {TRACE_MESSAGES_MAX:,} messages are to be played: cut it by --loop SECONDS")
        due.append(at)
        connection.append(where)
        size.append(many)
    last = len(due) - sum(min(TAIL_MESSAGES, found) for found in behind)
    first = next((number for number, at in enumerate(due) if at >= warmup * 1e9), len(due))
    if last - first < COUNTED_MIN:
        raise BadTrace(
            f"{max(0, last - first)} messages come after a warm-up of {warmup:g} s, {COUNTED_MIN} at least must"
        )
    return Schedule(due, connection, size, first, last)


def laps(trace: Trace, speed: float, loop: bool) -> Iterator[Message]:
    """(ns, bytes, connection) of a trace, once or for ever; between two laps is the mean gap between two messages.

    Raises:
        BadTrace: all its messages have the same time, so that nothing says how long a lap is.
    """
    span = trace.at[-1]
    if loop and not span:
        raise BadTrace(f"all messages of {trace.facts.name} have the same time: it can't be repeated")
    lap = span + span // max(1, len(trace) - 1)
    for number in count() if loop else (0,):
        for at, size, connection in zip(trace.at, trace.size, trace.connection, strict=True):
            yield int((number * lap + at) / speed), size, connection
