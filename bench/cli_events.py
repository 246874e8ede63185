"""The command `events`: which parts there are, and how each is asked for; see `bench.cli`, which has the others.

It must never decide what a figure means: that is in `bench/events/`.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from bench.campaign import Campaign
from bench.cli_open import MakeCommand, Probe
from bench.cli_values import positive_int
from bench.events import deaf, fanout, idle, storm, stub
from bench.events.rooms import SOCKETIO
from bench.events.stage import here
from bench.peers import all_peers

ROUNDS, SECONDS, WARMUP = 3, 1.0, 0.2
BUDGET_S = 200.0  # after which nothing is begun, so that all is over within five minutes
COMPARED = ("fanout-stub", "fanout", "memory")  # parts in which python-socketio is beside us


@dataclass(frozen=True, slots=True)
class Part:
    """One of `--only`.

    Attributes:
        ticks: how often it ticks, of the number of rounds.
        run: called with a tick, the time after which nothing is begun, and the options.
    """

    ticks: Callable[[int], int]
    run: Callable[[Callable[[str], None], float, argparse.Namespace], Any]


def rounds_of(options: argparse.Namespace) -> dict[str, Any]:
    """What parts in rounds are told."""
    return {
        "rounds": options.rounds, "seconds": options.seconds, "warmup": options.warmup, "seed": options.seed,
    }  # fmt: skip


PARTS = {
    "fanout-stub": Part(
        lambda rounds: rounds * len(here(stub.PEERS)),
        lambda tick, until, options: stub.run(tick, until, options.connections or stub.MEMBERS, **rounds_of(options)),
    ),
    "fanout": Part(
        lambda rounds: rounds * len(here(fanout.TITLES)),
        lambda tick, until, options: fanout.run(
            tick, until, options.connections or fanout.CONNECTIONS, **rounds_of(options)
        ),
    ),
    "memory": Part(
        lambda _rounds: len(idle.TITLES),
        lambda tick, until, options: idle.run(tick, until, options.connections or idle.CONNECTIONS),
    ),
    "reader": Part(lambda _rounds: 1, lambda tick, until, _options: deaf.run(tick, until)),
    "storm": Part(
        lambda _rounds: len(storm.STORMS),
        lambda tick, until, options: storm.run(tick, until, options.connections or storm.CONNECTIONS),
    ),
}


def add(command: MakeCommand) -> None:
    """Adds the command to the parser."""
    sub = command("events", "the figures of the events layer, PASS or FAIL", ROUNDS, SECONDS, WARMUP)
    sub.add_argument("--only", default=None, metavar="PARTS", help=f"separated by commas: {', '.join(PARTS)}")
    sub.add_argument(
        "--connections", type=positive_int, default=None,
        help=f"members of the room in every part (default {stub.MEMBERS:,}, {idle.CONNECTIONS:,} for memory)",
    )  # fmt: skip


def names_of(options: argparse.Namespace) -> list[str]:
    """The parts of `--only`, in their own order. Raises KeyError."""
    wanted = options.only.split(",") if options.only else list(PARTS)
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise KeyError(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    return [name for name in PARTS if name in wanted]


def parts_of(options: argparse.Namespace) -> list[tuple[str, int, Probe]]:
    """What is to be run; its time begins now. Raises KeyError."""
    until = monotonic() + (options.budget or BUDGET_S)

    def probe(part: Part, tick: Callable[[str], None]) -> Any:
        return part.run(tick, until, options)

    return [
        (name, PARTS[name].ticks(options.rounds), functools.partial(probe, PARTS[name])) for name in names_of(options)
    ]


def tell_missing(campaign: Campaign) -> None:
    """That python-socketio is not installed stands where every absent peer does."""
    peer = all_peers()[SOCKETIO]
    install = peer.missing()
    if install is not None and any(name in campaign.probes for name in COMPARED):
        campaign.missing.append((peer, install))
