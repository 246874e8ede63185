"""A server, those who are connected to it, and what all parts of `events` do with the two.

Each is a process of its own on a core of its own. It must never wait without a deadline, and never leave a process or
a file behind.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from bench.bars import FAIL, simple_bar
from bench.cases import throughput
from bench.child import Child, ChildFailed
from bench.events.rooms import SOCKETIO
from bench.events.tally import Tally
from bench.peers import all_peers
from bench.probes.connections import raise_descriptors
from bench.runner import place
from bench.statistics import median, paired_ratios

SERVER, RECEIVERS, CLIENTS = "bench.events.server", "bench.events.receivers", "bench.events.clients"
DEADLINE_S = 60.0  # of one measurement, starting and connecting included
NO_TIME = "no time was left (--budget)"

Tick = Callable[[str], None]
Found = tuple[list[dict[str, Any]], dict[str, Any]]


class Stage:
    """Both processes, introduced to each other.

    Args:
        stack: ends them.
        peer: "python-socketio", or a scheme of ours.
        crowd: the module of those who connect.
        deaf: how many of them are never read.
        options: more for the server; see `rooms.make`.

    Attributes:
        build: what the server says it is.
        deadline: of everything, by `time.monotonic`.

    Raises:
        ChildFailed: one of them did not start.
    """

    def __init__(
        self, stack: contextlib.ExitStack, peer: str, crowd: str = RECEIVERS, deaf: int = 0, **options: Any
    ) -> None:
        self.deadline = monotonic() + DEADLINE_S
        self.tally = stack.enter_context(contextlib.closing(Tally()))
        placement = place(throughput(64))
        self.cores = sorted(placement.cores)
        self.server = stack.enter_context(Child(f"{peer} server", SERVER))
        self.crowd = stack.enter_context(Child(f"{peer} clients", crowd))
        common = {"peer": peer, "tally": self.tally.path}
        self.server.tell(common | {"pin": sorted(placement.server)} | options)
        ready = self.server.hear("ready", self.deadline)
        self.build: dict[str, str] = ready["build"]
        self.crowd.tell(common | {"pin": sorted(placement.client), "address": ready["address"], "deaf": deaf})
        self.crowd.hear("ready", self.deadline)

    def open(self, count: int) -> None:
        """Until so many are connected, and in the room. Raises ChildFailed."""
        self.crowd.tell({"open": count})
        self.crowd.hear("opened", self.deadline)
        self.ask("wait", members=count)

    def order(self, name: str, **arguments: Any) -> None:
        """Has the server do something; `answer` waits for the end of it."""
        self.server.tell({"do": name, **arguments})

    def answer(self, name: str) -> Any:
        """What the server says to `order`. Raises ChildFailed."""
        return self.server.hear(name, self.deadline)

    def ask(self, name: str, **arguments: Any) -> Any:
        """Both. Raises ChildFailed."""
        self.order(name, **arguments)
        return self.answer(name)

    def finish(self, expected: int) -> Any:
        """What those who are connected have, once it is `expected` events each or no more comes. Raises ChildFailed."""
        self.crowd.tell({"finish": expected})
        return self.crowd.hear("finished", self.deadline)


def why_not_socketio() -> str | None:
    """Why python-socketio is not measured, or None if it can be."""
    install = all_peers()[SOCKETIO].missing()
    return None if install is None else f"{SOCKETIO} is not installed: {install}"


def why_too_many(count: int) -> str | None:
    """Why a process can't have so many sockets, or None if it can."""
    allowed = raise_descriptors(count)
    return None if allowed >= count else f"only {allowed:,} of {count:,} sockets are allowed (ulimit -Hn)"


def first_line(error: object) -> str:
    """Of what went wrong, for a table."""
    return str(error).splitlines()[0]


def note_of(text: str, cells: Iterable[dict[str, Any]], trouble: dict[str, str]) -> str:
    """What stands under a table: how it was measured, what was, and what went wrong."""
    builds = dict.fromkeys(
        f"{name} {version}" for cell in cells for name, version in cell.get("build", {}).items()
    )  # fmt: skip
    parts = [text, f"{', '.join(builds)}." if builds else "", *(f"{peer}: {why}." for peer, why in trouble.items())]
    return " ".join(filter(None, parts))


def here(peers: Iterable[str]) -> list[str]:
    """Those of them that can be measured."""
    return [peer for peer in peers if peer != SOCKETIO or why_not_socketio() is None]


def ratio_bar(
    identity: str, title: str, cells: dict[str, dict[int, dict[str, Any]]], peer: str, figure: str, limit: float,
    trouble: dict[str, str],
) -> dict[str, Any]:  # fmt: skip
    """A bar on how many times python-socketio's figure ours is, in the same rounds.

    Args:
        cells: by peer and round.
        peer: which of ours.
        trouble: what went wrong, by peer; with us it fails the bar, unless there was only no time for it.
    """
    sides = [{at: cell[figure] for at, cell in cells[side].items()} for side in (peer, SOCKETIO)]
    ratios = paired_ratios(sides[0], sides[1])
    values = list(ratios.values())
    why = "; ".join(dict.fromkeys(trouble[side] for side in (peer, SOCKETIO) if side in trouble)) or None
    entry = simple_bar(
        identity, title, "ratio", median(values) if values else None, limit, low=min(values, default=None),
        high=max(values, default=None), count=len(values), why=why, direction=">=",
    )  # fmt: skip
    if values and trouble.get(peer, NO_TIME) != NO_TIME:
        entry["verdict"] = FAIL
    return entry | {"ratios": {str(number): ratio for number, ratio in ratios.items()}}


def in_turns(
    tick: Tick, until: float, peers: Iterable[str], rounds: int, seed: int, measure: Callable[[str], dict[str, Any]]
) -> tuple[dict[str, dict[int, dict[str, Any]]], dict[str, str]]:
    """(cells by peer and round, trouble by peer): each round has all that can be measured, in random order.

    Args:
        until: by `time.monotonic`; nothing is begun after it.
        measure: one round of a peer. What it raises, ChildFailed, is trouble.
    """
    cells: dict[str, dict[int, dict[str, Any]]] = {peer: {} for peer in peers}
    order, rng = here(cells), random.Random(seed)
    missing = why_not_socketio()
    trouble: dict[str, str] = {SOCKETIO: missing} if missing else {}
    for number in range(rounds):
        rng.shuffle(order)
        for peer in order:
            try:
                if monotonic() > until:
                    trouble.setdefault(peer, NO_TIME)
                else:
                    cells[peer][number] = measure(peer)
            except ChildFailed as failure:
                trouble[peer] = first_line(failure)
            tick(f"round {number + 1}, {peer}")
    return cells, trouble


def flat(cells: dict[str, dict[int, dict[str, Any]]]) -> list[dict[str, Any]]:
    """All rounds in one list, for the result file."""
    return [{"peer": peer, "round": at} | cell for peer, found in cells.items() for at, cell in found.items()]
