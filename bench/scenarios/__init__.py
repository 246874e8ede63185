"""Reliable UDP on simulated links, in virtual time and by seed: the figures that say whether the protocol is good.

They say nothing about how fast it is on a machine, but for `speed` and the real half of `idle`.
"""

from __future__ import annotations

from bench.scenarios import batches, bulk, bursts, handshakes, idle, kcp, moving, narrow, reorder, speed, thin
from bench.scenarios.table import Scenario

SEEDS = 40

SCENARIOS: dict[str, Scenario] = {
    one.name: one
    for one in (
        kcp.SCENARIO,
        thin.SCENARIO,
        bursts.SCENARIO,
        narrow.SCENARIO,
        reorder.SCENARIO,
        bulk.SCENARIO,
        batches.SCENARIO,
        speed.SCENARIO,
        moving.SCENARIO,
        handshakes.SCENARIO,
        idle.SCENARIO,
    )
}
