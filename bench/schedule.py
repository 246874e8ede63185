"""When every message of an open loop is due, fixed before the run: the same in both processes and for every peer.

Both ends make it from the case and the seed, so that the receiver knows to which connection a number belongs and what
must have come before it. It must never look at a clock.
"""

from __future__ import annotations

import random
from array import array
from dataclasses import dataclass

from bench.cases import POISSON, BadCase, Case

TAIL_MESSAGES = 16  # of each connection, behind the last one that counts, so that this is in the midst of a stream
TAIL_S_MAX = 1.0
MESSAGES_MAX = 1 << 23  # of one round, before anything is set aside for them


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


def make_schedule(case: Case, seconds: float, warmup: float, seed: int) -> Schedule:
    """The plan of `case`.

    Args:
        seconds: the stretch that counts; `warmup` comes before it.
        seed: of phases and of Poisson gaps.

    Raises:
        BadCase: more messages than `MESSAGES_MAX`.
    """
    tail = min(TAIL_S_MAX, TAIL_MESSAGES / case.rate)
    end = warmup + seconds + tail
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
