"""Thin streams over loss that comes in bursts: Gilbert-Elliott, clocked by time, bursts of three intervals on average.

Beside it an oracle: each packet carries everything that has not arrived, and no packet waits for anything.
"""

from __future__ import annotations

from array import array
from typing import Any

from bench.scenarios.rig import MS, milliseconds
from bench.scenarios.table import Found, Scenario, Tick, ms, seen, worst
from bench.scenarios.thin import LOSSES, MESSAGES, cells_of, stream_of
from transport.sim.config import BurstLoss, LinkConfig
from transport.sim.network import SimNetwork
from transport.sim.trace import Fate

BURST = 3  # intervals
FACTOR = 6  # of T beyond half a round trip, at 1 %


def link_of(trip: int, interval: int, loss: int) -> LinkConfig:
    """Bursts that lose everything."""
    bad = BURST * interval * MS
    return LinkConfig(delay_ns=trip * MS // 2, burst=BurstLoss(good_ns=bad * (100 - loss) // loss, bad_ns=bad))


def oracle(seeds: int, link: LinkConfig, interval: int) -> float:
    """p99 in ms, in order, of a sender that knows at once what has not arrived, and packs it into every packet."""
    late = array("q")
    for seed in range(seeds):
        network = SimNetwork(seed)
        network.connect("c", "s", link)
        port = network.bind("c")
        network.bind("s")
        waiting = 0
        for _ in range(MESSAGES):
            waiting += 1
            if network.send(port, "s", b"") == Fate.ARRIVES:
                late.extend(link.delay_ns + age * interval * MS for age in range(waiting))
                waiting = 0
            network.clock.advance_to(network.clock.now_ns + interval * MS)
            network.pump()
    return milliseconds(sorted(late), 0.99)


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    cells: list[dict[str, Any]] = []
    for trip, interval, loss in cells_of():
        link = link_of(trip, interval, loss)
        cells.append({
            "cell": f"{trip}/{interval}/{loss}", "rtt_ms": trip, "interval_ms": interval, "loss_percent": loss,
            "copies": stream_of(seeds, link, interval, True),
            "plain": stream_of(seeds, link, interval, False),
            "oracle_p99_ms": oracle(seeds, link, interval),
        })  # fmt: skip
        tick(cells[-1]["cell"])
    head = ["rtt/T/loss", "p50", "p99", "p99.9", "worst", "bytes", "plain: p99", "p99.9", "worst", "oracle p99"]
    note = f"One-way latency in ms, in order, {seeds} seeds x {MESSAGES:,}; bursts of {BURST}T on average, each way."
    return judge(cells), seen("Thin streams over bursts of loss", head, [row(cell) for cell in cells], cells, note)


def row(cell: dict[str, Any]) -> list[str]:
    """A line of the table."""
    with_copies, plain = cell["copies"], cell["plain"]
    return [
        cell["cell"],
        *(ms(with_copies[key]) for key in ("p50_ms", "p99_ms", "p999_ms", "worst_ms")),
        f"{with_copies['bytes']:.2f}",
        *(ms(plain[key]) for key in ("p99_ms", "p999_ms", "worst_ms")),
        ms(cell["oracle_p99_ms"]),
    ]


def judge(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars."""
    least = min(LOSSES)
    bound = {
        cell["cell"]: cell["copies"]["p99_ms"] / (cell["rtt_ms"] / 2 + FACTOR * cell["interval_ms"])
        for cell in cells
        if cell["loss_percent"] == least
    }
    never_worse = {
        cell["cell"]: cell["copies"]["p99_ms"] / cell["plain"]["p99_ms"]
        for cell in cells
        if cell["loss_percent"] != least
    }
    return [
        worst("bursts-p99", f"bursts, {least} % loss, p99 / (RTT/2 + {FACTOR}T)", bound),
        worst("bursts-plain", "bursts, 2 and 5 % loss, p99 / that without copies", never_worse),
    ]


SCENARIO = Scenario("bursts", lambda _seeds: len(list(cells_of())), run)
