"""`python -m bench virtual`: options, and the run of a grid or of KCP's test.

It must never lose a finished cell to a break.
"""

from __future__ import annotations

import argparse
from typing import Any

from bench.campaign import Campaign
from bench.cli_values import positive, positive_int
from bench.link.model import BadLink, Link
from bench.peers.base import OURS
from bench.progress import Progress
from bench.tables import missing_text
from bench.virtual import echo, select
from bench.virtual import grid as grids
from bench.virtual.machine import VirtualPeer
from bench.virtual.open_loop import ARRIVALS, CONSTANT, FAIL, NUMBER_BYTES, Load

PAYLOAD_MAX = 60_000
LOSSES, TRIPS, PAYLOADS = "0,1,2,5", "20,50,100", "64,1024"


def numbers(text: str) -> list[float]:
    """Numbers from 0 up, separated by commas: "0,1,2.5" -> [0.0, 1.0, 2.5]."""
    found = [float(part) for part in text.split(",")]
    if any(not 0 <= value < float("inf") for value in found):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return list(dict.fromkeys(found))


def payloads(text: str) -> list[int]:
    """Sizes separated by commas."""
    found = [int(part) for part in text.split(",")]
    if any(not NUMBER_BYTES <= size <= PAYLOAD_MAX for size in found):
        raise argparse.ArgumentTypeError(f"from {NUMBER_BYTES} to {PAYLOAD_MAX:,} bytes")
    return list(dict.fromkeys(found))


def link(text: str) -> Link:
    """A link in words, see `Link.parse`."""
    try:
        return Link.parse(text)
    except BadLink as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_options(sub: argparse.ArgumentParser) -> None:
    """What the command has beside the options of every other."""
    sub.add_argument("--peers", default=None, help="names, separated by commas; a trailing * matches")
    sub.add_argument("--loss", type=numbers, default=numbers(LOSSES), metavar="%", help=f"(default {LOSSES})")
    sub.add_argument("--rtt", type=numbers, default=numbers(TRIPS), metavar="MS", help=f"(default {TRIPS})")
    sub.add_argument("--link", type=link, action="append", metavar="TEXT",
                     help="in place of --loss and --rtt, may be repeated: rtt=50ms,loss=2%%,rate=10mbit")  # fmt: skip
    sub.add_argument("--payload", type=payloads, default=payloads(PAYLOADS), metavar="BYTES",
                     help=f"sizes, separated by commas (default {PAYLOADS})")  # fmt: skip
    sub.add_argument("--rate", type=positive, default=100.0, help="messages a second and connection (default 100)")
    sub.add_argument("--arrivals", choices=ARRIVALS, default=CONSTANT, help=f"(default {CONSTANT})")
    sub.add_argument("--connections", type=positive_int, default=10, help="side by side, independent (default 10)")
    sub.add_argument("--seeds", type=positive_int, default=1, help="runs of each cell, from --seed on (default 1)")
    sub.add_argument("--kcp-test", action="store_true", help="KCP's published test, in place of the grid")


def links_of(options: argparse.Namespace) -> list[Link]:
    """Of `--link`, or of `--rtt` and `--loss`. Raises KeyError with what is wrong."""
    if options.link:
        return list(dict.fromkeys(options.link))
    try:
        return [Link(delay_ms=trip / 2, loss=loss / 100) for trip in options.rtt for loss in options.loss]
    except BadLink as error:
        raise KeyError(str(error)) from error


def grid_of(options: argparse.Namespace, peers: list[VirtualPeer], seeds: list[int]) -> grids.Grid:
    """What the options ask for."""
    links = links_of(options)
    load = Load(links[0], options.payload[0], options.rate, options.seconds, options.warmup, options.connections,
                options.arrivals)  # fmt: skip
    return grids.Grid(links, options.payload, peers, seeds, load)


def available(options: argparse.Namespace, campaign: Campaign) -> list[VirtualPeer]:
    """The peers asked for that are installed; the others go to the campaign's `missing`."""
    found = []
    for peer in select((options.peers or "*").split(",")):
        if options.kcp_test and not (peer.reliable and peer.ordered):
            continue
        install = peer.missing()
        if install:
            campaign.missing.append((peer, install))
        else:
            found.append(peer)
    return found


def run(options: argparse.Namespace, campaign: Campaign) -> bool:
    """Measures into `campaign`; whether it was interrupted. Raises KeyError for options that can't be."""
    peers = available(options, campaign)
    if not peers:
        raise KeyError("; ".join(missing_text(campaign.missing_entries())) or "none of these peers is reliable")
    seeds = list(range(options.seed, options.seed + options.seeds))
    grid = grid_of(options, peers, seeds)
    cells: list[dict[str, Any]] = []
    done = 0
    with Progress("virtual", len(peers) * len(seeds) if options.kcp_test else grid.connections) as progress:
        for line in missing_text(campaign.missing_entries()):
            progress.say(line)

        def tick(what: str, more: int) -> None:
            nonlocal done
            done += more
            progress.update(done, what)

        interrupted = False
        try:
            if options.kcp_test:
                campaign.why_incomplete = echo.run(peers, seeds, cells, tick, options.budget)
            else:
                campaign.why_incomplete = grids.run(grid, cells, tick, options.budget)
        except KeyboardInterrupt:
            campaign.why_incomplete = f"interrupted after {len(cells)} cells"
            interrupted = True
    if options.kcp_test:
        campaign.probes |= echo.tables(peers, cells)
    else:
        campaign.probes |= grids.tables(grid, cells)
    return interrupted


def complete(data: dict[str, Any]) -> dict[str, Any]:
    """The result with its peers described: those that have a cell."""
    ran = {cell["peer"] for probe in data["probes"].values() for cell in probe["cells"]}
    data["peers"] = [peer.describe() for peer in select(["*"]) if peer.name in ran]
    return data


def status_of(data: dict[str, Any]) -> int:
    """1 when a cell of ours failed."""
    ours = {peer["id"] for peer in data["peers"] if peer["kind"] == OURS}
    cells = [cell for probe in data["probes"].values() for cell in probe["cells"]]
    return int(any(cell["peer"] in ours and cell["status"] == FAIL for cell in cells))
