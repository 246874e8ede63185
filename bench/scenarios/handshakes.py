"""Opening connections over a path that loses three of ten packets each way, with the proof of address and without."""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, OPEN, SECOND, milliseconds
from bench.scenarios.table import Found, Scenario, Tick, ms, seen
from bench.scenarios.thin import config_of
from transport.machine import Path
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.network import SimNetwork
from transport.sim.pair import World

LINK = LinkConfig(delay_ns=25 * MS, loss=0.3)
A_SEED = 250  # handshakes for each seed: 10,000 with 40
WITHIN_S = 10.0
PERCENT = 99.9


def shake(seed: int, cookie: str) -> int:
    """Virtual time (ns) until both sides are open; -1 when they are not within 10 s."""
    network = SimNetwork(seed)
    network.connect("c", "s", LINK)
    world = World(network)
    config = replace(config_of(True), cookie=cookie)
    server = RudpEndpoint(config, network.entropy("server"), listening=True)
    client = RudpEndpoint(config, network.entropy("client"))
    world.add(server, "s")
    world.add(client, "c")
    session = client.connect(Path("c", "s"), world.now_ns)
    end = network.start_ns + round(WITHIN_S * SECOND)
    while session.state < OPEN or not server.fresh_sessions:
        if session.state > OPEN or not world.step(end):
            return -1
    return network.elapsed_ns


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    bars = []
    cells: list[dict[str, Any]] = []
    rows = []
    for cookie, name in (("never", "without RETRY"), ("always", "with RETRY")):
        took = array("q")
        for seed in range(seeds):
            took.extend(shake(seed * A_SEED + number, cookie) for number in range(A_SEED))
            tick(name)
        done = sorted(time for time in took if time >= 0)
        share = 100 * len(done) / len(took)
        cells.append({"cell": name, "n": len(took), "percent": share, "p50_ms": milliseconds(done, 0.5),
                      "p99_ms": milliseconds(done, 0.99), "worst_ms": done[-1] / MS})  # fmt: skip
        rows.append(
            [name, f"{len(took):,}", f"{share:.2f}", *(ms(cells[-1][key]) for key in ("p50_ms", "p99_ms", "worst_ms"))]
        )
        bars.append(simple_bar(f"handshakes-{cookie}", f"30 % loss each way, open within {WITHIN_S:g} s, {name}", "%",
                               share, PERCENT, count=len(took), direction=">="))  # fmt: skip
    note = "Until both sides are open, RTT 50 ms."
    return bars, seen("Handshakes at 30 % loss", ["", "n", "opened %", "p50 ms", "p99", "worst"], rows, cells, note)


SCENARIO = Scenario("handshakes", lambda seeds: 2 * seeds, run)
