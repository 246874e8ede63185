"""A path that reorders and loses nothing: every retransmission is one too many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.bulk import LINK_RATE, Transfer
from bench.scenarios.rig import MS, Rig
from bench.scenarios.table import Found, Scenario, Tick, seen, worst
from bench.scenarios.thin import config_of, stream_of
from transport.sim.config import IP_UDP_BYTES, LinkConfig

TRIP = 20
INTERVALS = (1, 2)
CONTROLLERS = ("cubic", "bbr", "newreno")
SHARE, LATE_NS = 0.25, 5 * MS
MESSAGES = 5000
BULK_SECONDS = 10.0
QUEUE_BYTES = LINK_RATE // 8 * TRIP // 1000
SPURIOUS_PERCENT, GOODPUT_PERCENT = 1.0, 90.0


def bulk(seed: int, reorder: float, name: str = "cubic") -> dict[str, Any]:
    """Goodput (Mbit/s) and retransmissions of one transfer, with a congestion controller by name."""
    late = LATE_NS if reorder else 0
    forward = LinkConfig(delay_ns=TRIP * MS // 2, reorder=reorder, reorder_ns=late, rate_bits_per_s=LINK_RATE,
                         queue_bytes=QUEUE_BYTES, overhead_bytes=IP_UDP_BYTES)  # fmt: skip
    back = LinkConfig(delay_ns=TRIP * MS // 2, reorder=reorder, reorder_ns=late)
    rig = Rig(seed, forward, back, replace(config_of(True), congestion=name))
    transfer = Transfer(rig, [rig.client])
    rig.world.run_for(BULK_SECONDS)
    client = rig.client
    again = client.packets_lost - rig.up.dropped_queue
    return {
        "mbit_per_s": transfer.received[0] * 8 / BULK_SECONDS / 1e6,
        "spurious_percent": 100 * max(0, again, client.packets_spurious) / client.packets_sent,
        "packets": client.packets_sent,
    }


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    seeds = max(1, seeds // 4)
    link = LinkConfig(delay_ns=TRIP * MS // 2, reorder=SHARE, reorder_ns=LATE_NS)
    cells: list[dict[str, Any]] = []
    rows = []
    spurious = {}
    for interval in INTERVALS:
        for copies in (True, False):
            name = f"64 B every {interval} ms" + (", copies" if copies else "")
            cell = stream_of(seeds, link, interval, copies, messages=MESSAGES)
            cells.append(cell | {"cell": name})
            rows.append([name, f"{cell['lost_percent']:.2f}", f"{cell['p99_ms']:.1f}", ""])
            spurious[name] = cell["lost_percent"] / SPURIOUS_PERCENT
            tick(name)
    shares = []
    for name in CONTROLLERS:
        for title, reorder in ((f"bulk, {name}, in order", 0.0), (f"bulk, {name}, reordered", SHARE)):
            found = [bulk(seed, reorder, name) for seed in range(seeds)]
            again = sum(one["spurious_percent"] for one in found) / len(found)
            goodput = sum(one["mbit_per_s"] for one in found) / len(found)
            cells.append({"cell": title, "mbit_per_s": goodput, "spurious_percent": again})
            rows.append([title, f"{again:.2f}", "", f"{goodput:.1f}"])
            tick(title)
        shares.append(100 * cells[-1]["mbit_per_s"] / cells[-2]["mbit_per_s"])
        spurious[f"bulk, {name}"] = cells[-1]["spurious_percent"] / SPURIOUS_PERCENT
    bars = [
        worst("reorder-spurious", "25 % late by 5 ms, no loss, sent again / 1 %", spurious),
        simple_bar("reorder-goodput", "the same, bulk, of what it is in order, least of controllers", "%", min(shares),
                   GOODPUT_PERCENT, high=max(shares), count=seeds, direction=">="),
    ]  # fmt: skip
    note = f"RTT {TRIP} ms, {seeds} seeds x {MESSAGES:,} messages; {LINK_RATE // 10**6} Mbit/s, {BULK_SECONDS:g} s."
    return bars, seen("Reordering", ["25 % late by 5 ms", "sent again %", "p99 ms", "Mbit/s"], rows, cells, note)


SCENARIO = Scenario("reorder", lambda _seeds: 2 * len(INTERVALS) + 2 * len(CONTROLLERS), run)
