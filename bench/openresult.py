"""What an open loop's round amounts to: latencies, what is missing, and whether the figure may be shown.

OK, FAIL (the peer lost a reliable message, broke its order, or did not take the load) or INVALID (the generator was
late for another reason, so that the figure says more about it than about the peer). Works on what both processes noted
down, after the round, so that nothing of it is in the way of what is measured.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import ChildFailed
from bench.job import ARRIVALS_FILE, LATE_FILE
from bench.lateness import sender_may_ns
from bench.openloop import UNDATED, load_arrivals, load_late, own_lateness
from bench.peers.base import Peer
from bench.schedule import Schedule
from bench.statistics import percentile, summarize_samples

RATE_MISSED_MAX = 0.001  # of the stretch that counts, by which the sender may be behind its plan at the end
AT_THE_END = 20  # the last of so many parts; who was only held up has caught up somewhere in it
STARVED_MAX = 0.05  # of the time, in which the sender was ready to run and had no core
STARVED_HARDLY = 0.005  # the same, up to which a p99 has hardly any of it
PROVED_RATE = 100_000.0  # messages a second that the harness alone keeps up with, with half a core to spare
DEADLINE_NS = 100_000_000  # the share that arrived within it stands in the tables

Judged = tuple[str, str | None]


@dataclass(slots=True)
class Account:
    """Who came and who did not, over all messages of the plan.

    Attributes:
        latencies: (ns) of those that count.
        lost: among those that count. missing, doubled, swapped: over the whole plan; `swapped` came behind a later one
            of their connection.
    """

    latencies: array[int]
    lost: int
    missing: int
    doubled: int
    swapped: int


def account(schedule: Schedule, numbers: array[int], latencies: array[int]) -> Account:
    """Books every arrival.

    Raises:
        ValueError: a number that is in no plan.
    """
    count = len(schedule)
    seen = bytearray(count)
    newest = [-1] * (max(schedule.connection, default=0) + 1)
    good = array("q")
    doubled = swapped = 0
    first, last, connection = schedule.first, schedule.last, schedule.connection
    for number, latency in zip(numbers, latencies, strict=True):
        if number >= count:
            raise ValueError(f"message {number} of {count} has come")
        if seen[number]:
            doubled += 1
            continue
        seen[number] = 1
        where = connection[number]
        if number < newest[where]:
            swapped += 1
        else:
            newest[where] = number
        if first <= number < last:
            good.append(latency)
    return Account(good, last - first - len(good), count - sum(seen), doubled, swapped)


def open_result(
    schedule: Schedule, peer: Peer, said: dict[str, Any], got: dict[str, Any], scratch: Path
) -> dict[str, Any]:
    """What an open loop leaves in the result file, and `judged`.

    Raises:
        ChildFailed: something has come that nobody sent.
    """
    numbers, latencies = load_arrivals(scratch / ARRIVALS_FILE)
    late, busy = load_late(scratch / LATE_FILE)
    try:
        found = account(schedule, numbers, latencies)
    except ValueError as error:
        raise ChildFailed(f"receiver: {error}") from None
    charged = charged_lateness(schedule, late, busy, said["window"])
    late_ns = sorted(value for value in charged[schedule.first : schedule.last] if value != UNDATED)
    latency = summarize_samples(found.latencies)
    planned = schedule.last - schedule.first
    within = sum(1 for value in found.latencies if value <= DEADLINE_NS)
    return {
        "latency": latency,
        "messages": planned - found.lost,
        "open": {
            "planned": planned,
            "arrived": planned - found.lost,
            "lost": found.lost,
            "doubled": found.doubled,
            "swapped": found.swapped,
            "within_100ms": within / planned if planned else 0.0,
            "lateness": summarize_samples(late_ns),
        },
        "memory": {"sender": said["memory"], "receiver": got["memory"]},
        "judged": wrong_bytes(schedule, found, len(numbers), got["bytes_received"])
        or judge(peer, found, late_ns, planned, missed_rate(schedule, late, said["window"])),
    }


def starved_share(window: dict[str, Any]) -> float:
    """The share of the measured stretch in which the sender was ready to run and had no core."""
    sender = window["processes"].get("both") or window["processes"]["client"]
    wall: float = window["end_ns"] - window["begin_ns"]
    starved: float = sender["waited_ns"] + window["steal_ms"] * 1e6
    return starved / wall


def charged_lateness(schedule: Schedule, late: array[int], busy: array[int], window: dict[str, Any]) -> array[int]:
    """The lateness of each message for which the generator answers.

    A peer that is busy with a message when the next one is due makes that one late itself, and its latency has it in
    already. Where the sender was kept from its core, nothing tells such time from the peer's, so all of it counts.
    """
    return late if starved_share(window) > STARVED_HARDLY else own_lateness(schedule.due, late, busy)


def missed_rate(schedule: Schedule, late: array[int], window: dict[str, Any]) -> Judged | None:
    """What it means that the sender was behind its plan until the end; None when it was not.

    It hands messages over on the peer's own loop, or by a call that may block: where it had its core all the time, the
    peer took the load too slowly. It is not for the harness to be that slow, nor for another process.
    """
    counted = late[schedule.first : schedule.last]
    if not counted:
        return None
    behind = min(counted[-(len(counted) // AT_THE_END + 1) :])
    stretch = schedule.due[schedule.last - 1] - schedule.due[schedule.first]
    if behind <= RATE_MISSED_MAX * stretch:
        return None
    why = f"the sender was {behind / 1e6:,.1f} ms behind its plan at the end"
    starved = starved_share(window)
    if starved > STARVED_MAX:
        return "INVALID", f"{why}, without a core for {starved:.0%} of the time"
    if len(counted) / max(1, stretch) * 1e9 > PROVED_RATE:
        return "INVALID", f"{why}: more than {PROVED_RATE:,.0f} messages a second are too many for the harness"
    return "FAIL", f"{why}: the peer does not take so many messages a second"


def wrong_bytes(schedule: Schedule, found: Account, arrived: int, received: int) -> Judged | None:
    """FAIL when every message has come, but not in the size that was planned; else None."""
    planned = sum(schedule.size)
    if found.doubled or arrived != len(schedule) or received == planned:
        return None
    return "FAIL", f"{received} bytes have arrived in {arrived} messages, {planned} were planned"


def judge(peer: Peer, found: Account, late_ns: list[int], planned: int, missed: Judged | None = None) -> Judged:
    """The round's status and why, by the rules above."""
    if not planned:
        return "INVALID", "no message of the plan counts"
    if not found.latencies:
        return "FAIL", f"none of {planned} messages has arrived"
    if peer.reliable and found.lost:
        return "FAIL", f"{found.lost} of {planned} messages have not arrived"
    if peer.reliable and found.missing:
        return "FAIL", f"{found.missing} messages before or behind those that count have not arrived"
    if found.doubled and peer.reliable:
        return "FAIL", f"{found.doubled} messages came twice"
    if peer.ordered and found.swapped:
        return "FAIL", f"{found.swapped} messages came behind later ones of their connection"
    if missed is not None:
        return missed
    ordered = sorted(found.latencies)
    allowed = sender_may_ns(percentile(ordered, 0.99))
    late = percentile(late_ns, 0.99)
    if late > allowed:
        return "INVALID", f"the sender was {late / 1000:.0f} us late at p99, {allowed / 1000:.0f} us may be"
    return "OK", None
