"""Measures trees side by side: one block is fresh processes of every tree at one case, which then take turns.

Each tree has two pairs of processes in a block. Between two pairs of one tree lies nothing but noise, so the very
figures that compare the trees also say how large noise was. The turns of a block go round in random order. It must
never let two pairs run at once while it measures, and it keeps the figure of every turn.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from bench.cases import THROUGHPUT, Case
from bench.child import ROOT, Child, ChildFailed
from bench.comparing.turns import Turns
from bench.pair import STARTUP_S
from bench.peers.base import Peer
from bench.procstat import cpu_ticks
from bench.runner import FAIL, OK, STEAL_PERCENT_MAX, latency_result, place, throughput_result
from bench.statistics import rate_in_window

OLD, NEW = "old", "new"
PAIRS = 2
FLOOR = "floor"
DRAIN_S = 0.005  # what a receiver has left of its turn, it works off before the next one begins
TURN_LIMIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Side:
    """One pair of processes of a block.

    Attributes:
        label: "tcp@old.0": peer, tree, which of the pairs. The floor is in no tree: its label is its name.
        folder: to import from.
    """

    label: str
    peer: Peer
    folder: Path = ROOT
    tree: str = FLOOR
    pair: int = 0


def sides_of(peer: Peer, floor: Peer | None, folders: dict[str, Path]) -> list[Side]:
    """All pairs of one cell."""
    sides = [
        Side(f"{peer.name}@{tree}.{pair}", peer, folder, tree, pair)
        for tree, folder in folders.items()
        for pair in range(PAIRS)
    ]
    return sides + ([Side(floor.name, floor)] if floor else [])


@dataclass(slots=True)
class Running:
    """A side whose processes are alive."""

    side: Side
    result: dict[str, Any]
    scratch: str
    stack: contextlib.ExitStack
    children: dict[str, Child] = field(default_factory=dict)
    turns: list[dict[str, Any]] = field(default_factory=list)

    @property
    def sending(self) -> Child:
        """Who has the load."""
        return self.children.get("both") or self.children["client"]

    @property
    def receiving(self) -> Child:
        """Who counts."""
        return self.children.get("both") or self.children["server"]


@dataclass(slots=True)
class Block:
    """One block: a case, its sides, and how they take turns.

    Args:
        number: of the block. turns: how many each side takes. seed: of the messages and of the order.
    """

    case: Case
    sides: list[Side]
    number: int
    turns: int
    timing: Turns
    seed: int

    def run(self) -> list[dict[str, Any]]:
        """A round for every side, whatever happened to it."""
        placement = place(self.case)
        began = monotonic()
        running = []
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            for order, side in enumerate(self.sides):
                result: dict[str, Any] = {
                    "case": self.case.id, "peer": side.label, "block": self.number, "order": order, "status": OK,
                    "why": None, "tree": side.tree, "pair": side.pair,
                    "placement": {"client": sorted(placement.client), "server": sorted(placement.server)},
                }  # fmt: skip
                own = Path(scratch, str(order))
                own.mkdir()
                running.append(Running(side, result, str(own), stack))
            for step in (self._start, self._connect, self._warm):
                for one in running:
                    self._guard(one, step)
            cores = set(placement.cores) or set(range(1024))
            before = cpu_ticks(cores)
            self._take_turns(running)
            after = cpu_ticks(cores)
            for one in running:
                self._guard(one, self._finish)
        steal = round(100 * (after[0] - before[0]) / max(1, after[1] - before[1]), 3)
        for one in running:
            one.result |= {"flagged": steal > STEAL_PERCENT_MAX, "wall_s": round(monotonic() - began, 3)}
            if one.result["status"] == OK:
                one.result["steal_percent"] = steal
        return [one.result for one in running]

    def _guard(self, one: Running, step: Callable[[Running], None]) -> None:
        """One step of a side that is still well; its failure is the side's own."""
        if one.result["status"] != OK:
            return
        try:
            step(one)
        except ChildFailed as failure:
            one.result |= {"status": FAIL, "why": str(failure)}
            for child in one.children.values():
                child.end()

    def _start(self, one: Running) -> None:
        placement = place(self.case)
        peer = one.side.peer
        roles = ["both"] if peer.one_process else ["server", "client"]
        one.children = {role: one.stack.enter_context(Child(role, tree=one.side.folder)) for role in roles}
        pids = {role: child.pid for role, child in one.children.items()}
        for role, child in one.children.items():
            pin = placement.server if role == "server" else placement.client
            child.tell(
                {
                    "peer": peer.name, "module": type(peer).__module__, "case": self.case.as_dict(), "role": role,
                    "scratch": one.scratch, "seed": self.seed, "seconds": self.timing.seconds,
                    "warmup": self.timing.warmup, "turns": asdict(self.timing), "pids": pids,
                    "cores": sorted(placement.cores), "pin": sorted(pin),
                    "tree": str(one.side.folder) if one.side.tree != FLOOR else None,
                }
            )  # fmt: skip

    def _connect(self, one: Running) -> None:
        if not one.side.peer.one_process:
            address = one.children["server"].hear("ready", monotonic() + STARTUP_S)
            one.children["client"].tell({"address": address})

    def _warm(self, one: Running) -> None:
        one.sending.hear("turn", monotonic() + STARTUP_S)

    def _take_turns(self, running: list[Running]) -> None:
        """Everybody's turns, in a new random order each time round."""
        rng = random.Random(f"{self.seed} {self.case.id} {self.number}")
        pause = DRAIN_S if self.case.mode == THROUGHPUT else 0.0
        for _ in range(self.turns):
            rng.shuffle(running)
            for one in running:
                self._guard(one, self._turn)
                sleep(pause)

    def _turn(self, one: Running) -> None:
        one.sending.tell({"do": "go"})
        one.turns.append(one.sending.hear("turn", monotonic() + TURN_LIMIT_S + self.timing.seconds))

    def _finish(self, one: Running) -> None:
        one.sending.tell({"do": "end"})
        said = one.sending.hear("result", monotonic() + STARTUP_S)
        peer = one.side.peer
        if self.case.mode == THROUGHPUT:
            one.receiving.tell({"do": "finish", "expected": said["sent"] if peer.reliable else None})
            got = one.receiving.hear("finished", monotonic() + STARTUP_S)
            one.result |= throughput_result(said, got, peer.reliable)
            windows = [rate_in_window(got["marks"], turn["begin_ns"], turn["end_ns"]) for turn in one.turns]
            if None in windows:
                raise ChildFailed("receiver: nothing arrived in a turn")
            whole = [window for window in windows if window]
            one.result["turns"] = [window["per_second"] for window in whole]
            one.result["turns_cpu"] = [
                window["messages"] * 1e9 / turn["cpu_ns"] for window, turn in zip(whole, one.turns, strict=True)
            ]
            seconds = sum(window["seconds"] for window in whole)
            messages = sum(window["messages"] for window in whole)
            size = sum(window["bytes_per_second"] * window["seconds"] for window in whole)
            one.result["throughput"] |= {
                "messages": messages, "seconds": seconds, "per_second": messages / seconds,
                "bytes_per_second": size / seconds,
            }  # fmt: skip
        else:
            one.result |= latency_result(said)
            one.result["turns"] = [float(turn["value"]) for turn in one.turns]


def block_order(cells: list[Any], blocks: int, seed: int) -> Iterator[tuple[int, Any]]:
    """(block number, cell): every cell once in each pass, in random order."""
    rng = random.Random(seed)
    for number in range(blocks):
        order = list(cells)
        rng.shuffle(order)
        for cell in order:
            yield number, cell
