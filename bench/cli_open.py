"""The commands of open loops: `rate`, `loss`, `sweep` and `all`; see `bench.cli`, which has the others.

It must never decide what a figure means, only which cases are run by whom.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.cases import CONSTANT, PAYLOAD_MAX, PAYLOAD_MIN, POISSON, BadCase, Case, open_loop, throughput
from bench.flows import FLOWS, RIVALS
from bench.flows import run as run_sharing
from bench.link import emulator
from bench.link.model import Link
from bench.peers import select
from bench.sweeps import CONNECTIONS, LOSSES, OVER_LINK, OVER_LOOPBACK, RATE, RTTS_MS, SWEEPS, grid, rates

MakeCommand = Callable[[str, str, int, float | None, float], argparse.ArgumentParser]
Work = list[tuple[Case, list[str]]]
Probe = Callable[[Callable[[str], None]], Any]
LANES_MAX = 4
NAMES = ("rate", "loss", "sweep", "all", "bulk")
GRID_S = 30.0  # of the losses' rounds in `all`
BULK_MBIT = 50.0  # some 4,300 packets a second each way, which the emulator is proved for


class NoLink(KeyError):
    """No link can be emulated here; the text says why and what can be done instead."""


def numbers(text: str) -> list[float]:
    """Numbers separated by commas, none below zero."""
    found = [float(part) for part in text.split(",")]
    if any(not 0 <= value < math.inf for value in found):
        raise argparse.ArgumentTypeError("must be finite and not below 0")
    return found


def sizes(text: str) -> list[int]:
    """Bytes of messages, separated by commas."""
    found = [int(part) for part in text.split(",")]
    for size in found:
        if not PAYLOAD_MIN <= size <= PAYLOAD_MAX:
            raise argparse.ArgumentTypeError(f"{size} is not from {PAYLOAD_MIN} to {PAYLOAD_MAX}")
    return found


def add(command: MakeCommand) -> None:
    """Adds the commands to the parser."""

    def common(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--peers", default=None, help="names, separated by commas; a trailing * matches")
        sub.add_argument(
            "--resume", action="store_true",
            help="go on with the file given by --json, which is also written after each block",
        )  # fmt: skip
        sub.add_argument(
            "--lanes", type=int, choices=range(1, LANES_MAX + 1), default=1,
            help="rounds over emulated links at a time, each over one of its own (default 1): they mostly wait",
        )  # fmt: skip

    rate = command("rate", "open loop over loopback: latency against offered rate", 5, 3.0, 1.0)
    rate.add_argument("--payload", type=sizes, default=[64], metavar="BYTES")
    rate.add_argument("--rates", type=numbers, default=None, help="messages a second, all connections together")
    rate.add_argument("--connections", type=int, default=1)
    rate.add_argument("--arrival", choices=(CONSTANT, POISSON), default=CONSTANT)
    loss = command("loss", "open loop over an emulated link: every loss at every round-trip time", 1, 30.0, 2.0)
    loss.add_argument("--loss", type=numbers, default=[100 * loss for loss in LOSSES], help="percent each way")
    loss.add_argument("--rtt", type=numbers, default=list(RTTS_MS), help="ms")
    loss.add_argument("--payload", type=sizes, default=[64, 1024], metavar="BYTES")
    loss.add_argument("--rate", type=float, default=RATE, help="messages a second of each connection")
    loss.add_argument("--connections", type=int, default=CONNECTIONS)
    loss.add_argument(
        "--link", default=None, metavar="TEXT",
        help="one link instead of the grid: delay=25ms,loss=2%%,rate=10mbit,queue=64k,jitter=5ms,burst=30ms,...",
    )  # fmt: skip
    sweep = command("sweep", "open-loop series in which one thing varies", 1, None, 2.0)
    sweep.add_argument("names", nargs="+", metavar="NAME", help=", ".join(SWEEPS))
    every = command("all", "every series and the grid of losses, as many rounds as the budget allows", 20, None, 2.0)
    bulk = command("bulk", "goodput over an emulated link with loss, and two flows that share one", 3, 20.0, 3.0)
    bulk.add_argument("--loss", type=numbers, default=[0.0, 1.0, 5.0], help="percent each way")
    bulk.add_argument("--rtt", type=numbers, default=[50.0], help="ms")
    bulk.add_argument("--rate-mbit", type=float, default=BULK_MBIT, help=f"of the link (default {BULK_MBIT:g})")
    bulk.add_argument("--payload", type=sizes, default=[1024], metavar="BYTES")
    bulk.add_argument("--no-sharing", action="store_true", help="leave out the flows that share a link")
    for sub in (rate, loss, sweep, every, bulk):
        common(sub)


def work_of(options: argparse.Namespace) -> Work:
    """What a command runs; sets `options.seconds` where each series has its own.

    Raises:
        KeyError: no such series or peer. NoLink: a link is needed and can't be had. BadLink, BadCase: wrong figures.
    """
    if options.command == "rate":
        wanted = options.rates or [100, 1000, 2000, 5000, 10_000, 20_000, 50_000]
        cases = [
            case for payload in options.payload for case in rates(payload, wanted, options.connections, options.arrival)
        ]
        work = [(case, list(OVER_LOOPBACK)) for case in cases]
    elif options.command == "loss":
        if options.link is not None:
            link = Link.parse(options.link)
            cases = [open_loop(size, options.rate, options.connections, link=link) for size in options.payload]
        else:
            losses = [percent / 100 for percent in options.loss]
            cases = grid(options.payload, options.rtt, losses, options.rate, options.connections)
        work = [(case, list(OVER_LINK)) for case in cases]
    elif options.command == "bulk":
        links = [
            Link(delay_ms=rtt / 2, loss=percent / 100, rate_mbit=options.rate_mbit)
            for rtt in options.rtt
            for percent in options.loss
        ]
        work = [(throughput(size, link=link), list(FLOWS)) for size in options.payload for link in links]
    else:
        names = options.names if options.command == "sweep" else list(SWEEPS)
        unknown = [name for name in names if name not in SWEEPS]
        if unknown:
            raise KeyError(f"no series {unknown[0]!r}; there are: {', '.join(SWEEPS)}")
        work = [
            (replace(case, seconds=0.0 if options.seconds else SWEEPS[name].seconds), list(SWEEPS[name].peers))
            for name in names
            for case in SWEEPS[name].cases()
        ]
        if options.command == "all":
            work = [(case, list(OVER_LINK)) for case in grid([64, 1024], RTTS_MS, LOSSES)] + work
        options.seconds = options.seconds or GRID_S
    work = without_repeats(work)
    if any(case.link is not None for case, _ in work) and (why := emulator.why_not()):
        raise NoLink(why)
    if options.peers:
        chosen = [peer.name for peer in select(options.peers.split(","))]
        work = [(case, chosen) for case, _ in work]
    return work


def without_repeats(work: Work) -> Work:
    """Each case once. Raises BadCase when two have one name, for rounds are kept by it."""
    found: dict[str, tuple[Case, list[str]]] = {}
    for case, peers in work:
        known = found.setdefault(case.id, (case, peers))[0]
        if replace(known, seconds=0.0) != replace(case, seconds=0.0):
            raise BadCase(f"two cases are too much alike to be told apart: {case.id}")
    return list(found.values())


def sharing_of(options: argparse.Namespace) -> list[tuple[str, int, Probe]]:
    """The probe of `bulk`: every peer beside each rival, those that are installed."""
    if options.command != "bulk" or options.no_sharing:
        return []
    names = [peer.name for peer in select((options.peers or ",".join(FLOWS)).split(",")) if peer.missing() is None]

    def probe(tick: Callable[[str], None]) -> Any:
        return run_sharing(tick, names, options.rounds, options.seconds, options.warmup, options.seed)

    return [("sharing", len(names) * len(RIVALS) * options.rounds, probe)]
