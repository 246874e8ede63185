"""Runs rounds: fresh processes, interleaved in blocks, each round with a status that is kept whatever it is.

A block is a random permutation of all peers at one configuration; only rounds of one block are ever compared. It must
never drop a round silently, and never work while a round is measured: it sleeps on a pipe.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from bench.cases import EACH, FREE, LATENCY, OPEN, BadCase, Case
from bench.child import Child, ChildFailed
from bench.descriptors import connections_allowed
from bench.job import SCHEDULE_FILE
from bench.link import emulator
from bench.native_build import BuildFailed
from bench.openresult import Judged, open_result
from bench.pair import Pair, Placement, Terms
from bench.peers.base import Peer
from bench.schedule import Schedule, check_plan, make_schedule, replay_schedule
from bench.statistics import rate_in_window
from bench.trace.file import Trace

STEAL_PERCENT_MAX = 4.0  # a round above it is flagged
OVERHEAD_S = 0.25  # starting and ending two processes, for the estimate only
OPEN_OVERHEAD_S = 2.0  # the same of an open loop, which waits for stragglers, too

BLOCKS_MAX = 1 << 20
CONGESTION = "cubic"  # of TCP over an emulated link, for peers that do not choose
OK = "OK"
FAIL = "FAIL"
INVALID = "INVALID"  # the harness did not do its part; shown, never in a headline


def place(case: Case, available: list[int] | None = None) -> Placement:
    """The cores of a case: the last one for both, or the last two, one each."""
    cores = sorted(os.sched_getaffinity(0)) if available is None else available
    if case.placement == FREE:
        return Placement(frozenset(), frozenset())
    if case.placement == EACH and len(cores) > 1:
        return Placement(frozenset(cores[-2:-1]), frozenset(cores[-1:]))
    return Placement(frozenset(cores[-1:]), frozenset(cores[-1:]))


@dataclass(slots=True)
class Entry:
    """One peer in a plan; `label` differs from the peer's name only for A/A pairs ("uvloop-bare@again")."""

    label: str
    peer: Peer


@dataclass(slots=True)
class Plan:
    """What to measure.

    Args:
        work: each case with those who run it.
        rounds: blocks of every case.
        seconds: measured stretch of a round; `warmup` comes before it.
        seed: of the order and of the messages.
        budget_s: no new block starts after so much time; None for no limit.
        traces: by their sha256, those of the cases that play recorded traffic.
        lanes: rounds over emulated links that run at a time, each over a link of its own; 1 for anything else.
        scratch: where rounds have their folders; None for the system's place.
    """

    work: list[tuple[Case, list[Entry]]]
    rounds: int
    seconds: float
    warmup: float
    seed: int
    budget_s: float | None = None
    traces: Mapping[str, Trace] = field(default_factory=dict)
    lanes: int = 1
    scratch: Path | None = None

    @property
    def round_count(self) -> int:
        """How many rounds all blocks hold."""
        return self.rounds * sum(len(entries) for _, entries in self.work)

    @property
    def estimate_s(self) -> float:
        """Roughly how long it takes."""
        return self.rounds * sum(self.block_s(case, len(entries)) for case, entries in self.work)

    def seconds_of(self, case: Case) -> float:
        """How long a round of `case` measures."""
        return case.seconds or self.seconds

    def check(self) -> None:
        """Raises BadCase for what could not be planned, so that no run breaks off for it half-way."""
        allowed = connections_allowed()
        for case, _ in self.work:
            if case.connections > allowed:
                raise BadCase(f"{case.connections} connections take more descriptors than may be had here (ulimit -Hn)")
            if case.mode == OPEN and case.trace is None:
                check_plan(case, self.seconds_of(case), self.warmup)

    def schedule_of(self, case: Case) -> Schedule:
        """The plan of an open loop's round. Raises BadTrace, ValueError: there is too much to plan, or too little."""
        if case.trace is not None:
            return replay_schedule(case, self.traces[case.trace.sha256], self.warmup)
        return make_schedule(case, self.seconds_of(case), self.warmup, self.seed)

    def round_s(self, case: Case) -> float:
        """Roughly how long a round of `case` takes."""
        return self.seconds_of(case) + self.warmup + (OPEN_OVERHEAD_S if case.mode == OPEN else OVERHEAD_S)

    def lanes_of(self, case: Case) -> int:
        """How many rounds of `case` run at a time."""
        return self.lanes if case.link is not None else 1

    def block_s(self, case: Case, count: int) -> float:
        """Roughly how long `count` rounds of `case` take."""
        return math.ceil(count / self.lanes_of(case)) * self.round_s(case)

    def blocks(self) -> Iterator[tuple[int, Case, list[Entry]]]:
        """(block number, case, its entries in the order to run). Cases come in random order within each pass."""
        rng = random.Random(self.seed)
        for number in range(self.rounds):
            passes = list(self.work)
            rng.shuffle(passes)
            for case, entries in passes:
                order = list(entries)
                rng.shuffle(order)
                yield number, case, order


Report = Callable[[dict[str, Any], int, int], None]


def run_plan(
    plan: Plan, rounds: list[dict[str, Any]], report: Report, keep: Callable[[], None] | None = None
) -> str | None:
    """Runs all blocks, appending to `rounds`; `report(round, done, total)` after each, `keep()` after each block.

    What is in `rounds` already (of a run that was broken off) is not run again.

    Returns:
        Why fewer than planned were run; None when all were.
    """
    started = monotonic()
    done = {key_of(item) for item in rounds}
    pace = 1.0  # how much longer rounds take than was thought
    planned_s = 0.0
    for block, case, whole in plan.blocks():
        order = [entry for entry in whole if (block, case.id, entry.label) not in done]
        if plan.budget_s is not None and planned_s:
            spent = monotonic() - started
            pace = spent / planned_s
            if spent + plan.block_s(case, len(order)) * pace > plan.budget_s:
                return f"time budget of {plan.budget_s:.0f} s reached after {len(rounds)} of {plan.round_count} rounds"
        for item in run_block(plan, case, order, block):
            rounds.append(item)
            report(item, len(rounds), plan.round_count)
        planned_s += plan.block_s(case, len(order))
        if keep is not None and order:
            keep()
    return None


def key_of(item: dict[str, Any]) -> tuple[int, str, str]:
    """Which round of a plan this is: block, case, peer."""
    return item["block"], item["case"], item["peer"]


def run_block(plan: Plan, case: Case, order: list[Entry], block: int) -> Iterator[dict[str, Any]]:
    """The rounds of a block as they end, in so many lanes as the plan has for this case.

    Lanes begin at different places of the cores, so that no core has all the clients.
    """
    lanes = plan.lanes_of(case)
    if lanes == 1:
        yield from (run_round(plan, case, entry, block, position) for position, entry in enumerate(order))
        return
    with ThreadPoolExecutor(lanes) as pool:
        waiting = [
            pool.submit(run_round, plan, case, entry, block, position, position % lanes)
            for position, entry in enumerate(order)
        ]
        try:
            for ended in as_completed(waiting):
                yield ended.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in list(Child.alive):
                child.kill()  # or the pool would wait for the rounds that are under way
            raise


def run_round(plan: Plan, case: Case, entry: Entry, block: int, position: int, lane: int = 0) -> dict[str, Any]:
    """One round, never raises for what a peer did."""
    began = monotonic()
    result: dict[str, Any] = {
        "case": case.id,
        "peer": entry.label,
        "block": block,
        "order": position,
        "status": OK,
        "why": None,
    }
    placement = place(case)
    if lane % 2:
        placement = Placement(placement.server, placement.client)
    result["placement"] = {"client": sorted(placement.client), "server": sorted(placement.server)}
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=plan.scratch, ignore_cleanup_errors=True) as scratch:
            result |= measure(plan, case, entry.peer, placement, scratch, plan.seed * BLOCKS_MAX + block)
    except ChildFailed as failure:
        result["status"], result["why"] = FAIL, str(failure)
    except (emulator.EmulatorFailed, BuildFailed, OSError) as failure:  # nothing that a peer can help
        result["status"], result["why"] = INVALID, str(failure)
    judged: Judged | None = result.pop("judged", None)
    if judged is not None:
        result["status"], result["why"] = judged
    steal = result.get("steal_percent", 0.0)
    result["flagged"] = bool(steal > STEAL_PERCENT_MAX)
    result["wall_s"] = round(monotonic() - began, 3)
    return result


def measure(plan: Plan, case: Case, peer: Peer, placement: Placement, scratch: str, seed: int) -> dict[str, Any]:
    """Starts the processes of one round and collects what they say.

    Raises:
        ChildFailed: a peer fell over. EmulatorFailed, BuildFailed, OSError: the harness did, or its link.
    """
    terms = Terms(placement, plan.seconds_of(case), plan.warmup, plan.seed, scratch)
    schedule = plan.schedule_of(case) if case.mode == OPEN else None
    if schedule is not None and case.trace is not None:
        schedule.save(Path(scratch) / SCHEDULE_FILE)
    with contextlib.ExitStack() as stack:
        link = None if case.link is None else stack.enter_context(emulator.Emulator(case.link, seed, CONGESTION))
        pair = Pair(stack, case, peer, terms, link)
        try:
            pair.introduce()
            said = pair.said()
            if case.mode == LATENCY:
                return latency_result(said)
            got = pair.got(said["sent"])
        except ChildFailed:
            if link is not None:
                link.report()  # raises when the link died: then nobody could have got through
            raise
        if schedule is not None:
            found = open_result(schedule, peer, said, got, Path(scratch)) | window_result(said)
        else:
            found = throughput_result(said, got, peer.reliable) | {"judged": (OK, None)}
        return found if link is None else link_result(found, link.report())


def link_result(found: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """Adds what the link did; a round whose link was late is INVALID, whatever else it is."""
    status, why = found["judged"]
    if status != FAIL and not report["valid"]:
        status, why = INVALID, report["why"]
    return found | {"link": report | {"congestion": CONGESTION}, "judged": (status, why)}


def window_result(said: dict[str, Any]) -> dict[str, Any]:
    """The part of a result that every mode has."""
    window = said["window"]
    return {
        "measured_s": (window["end_ns"] - window["begin_ns"]) / 1e9,
        "steal_ms": window["steal_ms"],
        "steal_percent": window["steal_percent"],
        "pressure_us": window["pressure_us"],
        "processes": window["processes"],
    }


def latency_result(said: dict[str, Any]) -> dict[str, Any]:
    """What a closed loop leaves in the result file. Raises ChildFailed when it holds no sample."""
    if not said["latency"]["n"]:
        raise ChildFailed("client: not one round trip in the measured stretch")
    return {
        "latency": said["latency"],
        "messages": said["latency"]["n"],
        "memory": {"sender": said["memory"]},
    } | window_result(said)


def throughput_result(said: dict[str, Any], got: dict[str, Any], reliable: bool) -> dict[str, Any]:
    """What a throughput round leaves in the result file. Raises ChildFailed when messages are missing."""
    sent, received = said["sent"], got["received"]
    if reliable and (received != sent or got["bytes_received"] != said["bytes_sent"]):
        raise ChildFailed(
            f"server: got {received} messages and {got['bytes_received']} bytes of {sent} and {said['bytes_sent']}"
        )
    if received > sent:
        raise ChildFailed(f"receiver: got {received} messages, {sent} were sent")
    window = said["window"]
    rate = rate_in_window(got["marks"], window["begin_ns"], window["end_ns"])
    if rate is None:
        raise ChildFailed(f"receiver: too little arrived to give a rate ({received} of {sent})")
    return {
        "throughput": rate
        | {
            "sent": sent,
            "received": received,
            "checked": got["checked"],
            "lost_percent": round(100 * (sent - received) / sent, 3) if sent else 0.0,
        },
        "messages": rate["messages"],
        "memory": {"sender": said["memory"], "receiver": got["memory"]},
    } | window_result(said)
