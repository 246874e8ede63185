"""How fast the simulator itself is: datagrams of two endpoints in a world, for each second of one core.

The only scenario that measures the machine. It decides how many hours of soak fit into a night.
"""

from __future__ import annotations

import time
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.bulk import Transfer
from bench.scenarios.rig import MS, SECOND, Rig, Stream
from bench.scenarios.table import Found, Scenario, Tick, seen
from bench.scenarios.thin import config_of
from bench.statistics import median
from transport.sim.config import IP_UDP_BYTES, LinkConfig

LEAST = 500_000.0
ROUNDS = 5
TRIP = 50
RATE = 100_000_000
BULK_SECONDS = 10.0
THIN_MESSAGES = 20_000


def bulk() -> tuple[int, float]:
    """Datagrams, and seconds of this core, of a transfer of whole packets."""
    link = LinkConfig(delay_ns=TRIP * MS // 2, rate_bits_per_s=RATE, queue_bytes=RATE // 8 * TRIP // 1000,
                      overhead_bytes=IP_UDP_BYTES)  # fmt: skip
    rig = Rig(1, link, LinkConfig(delay_ns=TRIP * MS // 2), config_of(True))
    Transfer(rig, [rig.client])
    began = time.process_time()
    rig.world.run_for(BULK_SECONDS)
    return rig.up.sent + rig.down.sent, time.process_time() - began


def thin() -> tuple[int, float]:
    """The same of a stream of small messages, each on its way alone."""
    rig = Rig(1, LinkConfig(delay_ns=TRIP * MS // 2, loss=0.01), config=config_of(True))
    began = time.process_time()
    Stream(rig, 64, SECOND // 100, THIN_MESSAGES)
    return rig.up.sent + rig.down.sent, time.process_time() - began


def run(tick: Tick, _seeds: int) -> Found:
    """(bars, what was seen)."""
    cells: list[dict[str, Any]] = []
    rows = []
    for name, work in (("bulk, 1,200 B", bulk), ("64 B every 10 ms", thin)):
        rates = []
        for _ in range(ROUNDS):
            packets, seconds = work()
            rates.append(packets / seconds)
            tick(name)
        cells.append({"cell": name, "per_second": rates})
        rows.append([name, *(f"{value / 1000:.0f}" for value in (median(rates), min(rates), max(rates)))])
    rates = cells[0]["per_second"]
    bars = [
        simple_bar("speed", f"thousand simulated datagrams a second and core, {cells[0]['cell']}", "k",
                   median(rates) / 1000, LEAST / 1000, low=min(rates) / 1000, high=max(rates) / 1000,
                   count=ROUNDS, direction=">="),
    ]  # fmt: skip
    return bars, seen("Speed of the simulator", ["thousand datagrams a second", "median", "least", "most"], rows, cells)


SCENARIO = Scenario("speed", lambda _seeds: 2 * ROUNDS, run)
