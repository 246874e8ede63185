"""What an idle connection of reliable UDP costs in memory: the protocol alone, and all of it on real sockets."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

from bench.bars import simple_bar
from bench.child import ChildFailed
from bench.probes import connections
from bench.scenarios.rig import MS, OPEN, drain
from bench.scenarios.table import Found, Scenario, Tick, seen
from transport.machine import Path
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.network import SimNetwork
from transport.sim.pair import World

CONNECTIONS = 1000
LIMIT_KIB = 16.0
STYLES = {"rudp-callbacks": "callbacks", "rudp-coroutines": "coroutines"}
OPENING_S = 30.0
QUIET_S = 40.0  # two keep-alives, by which each end has given the other a spare connection id


def simulated(count: int) -> float:
    """Bytes of each idle session of a server: its endpoint's share included, the network's left out."""
    network = SimNetwork(1)
    network.connect("c", "s", LinkConfig(delay_ns=5 * MS))
    world = World(network)
    config = RudpConfig(cookie="never")
    server = RudpEndpoint(config, network.entropy("server"), listening=True)
    client: RudpEndpoint | None = RudpEndpoint(config, network.entropy("client"))
    assert client is not None
    sessions: list[Any] = []
    sides = [world.add(server, "s"), world.add(client, "c")]

    def echo(payloads: list[Any], channel: int) -> None:
        del payloads, channel

    def take(_side: object) -> None:
        server.take_fresh()
        drain(server, server.take_ready(), echo)

    sides[0].on_input = take
    gc.collect()
    tracemalloc.start()
    try:
        while len(sessions) < count:
            session = client.connect(Path("c", "s"), world.now_ns)
            world.run_until(lambda one=session: one.state == OPEN, OPENING_S)  # type: ignore[misc]
            session.send(bytes(64), 0, 0, 0, 0, world.now_ns)
            sessions.append(session)
        world.run_for(QUIET_S)
        both = traced()
        alone = len(server.sessions)
        sessions.clear()
        sides.clear()
        world.sides.clear()
        network.port("c").owner = None
        session = client = None  # type: ignore[assignment]
        del world
        clients = both - traced()
        return (both - clients) / alone
    finally:
        tracemalloc.stop()


def traced() -> int:
    """Bytes that are allocated."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def run(tick: Tick, _seeds: int) -> Found:
    """(bars, what was seen)."""
    allocated = simulated(CONNECTIONS) / 1024
    tick("simulated")
    bars = [
        simple_bar(
            "idle-simulated", f"KiB an idle session of {CONNECTIONS:,}, the protocol alone", "KiB", allocated, LIMIT_KIB
        )
    ]
    cells: list[dict[str, Any]] = [{"cell": "simulated", "kib": allocated}]
    rows = [["the protocol alone, simulated", f"{allocated:.2f}"]]
    for style, title in STYLES.items():
        found: dict[str, Any] = {}
        why = None
        try:
            found = connections.measure(style, CONNECTIONS)
        except ChildFailed as failure:
            why = str(failure)
        value = found["server_bytes_a_connection"] / 1024 if found else None
        bars.append(simple_bar(f"idle-{style}", f"KiB an idle connection of {CONNECTIONS:,}, rudp, {title}", "KiB",
                               value, LIMIT_KIB, why=why))  # fmt: skip
        cells.append({"cell": style} | found)
        rows.append([f"server on a real socket, {title}", "-" if value is None else f"{value:.2f}"])
        tick(style)
    note = f"Private memory of the process, or traced allocations, for each of {CONNECTIONS:,}."
    return bars, seen("Idle connections", ["", "KiB each"], rows, cells, note)


SCENARIO = Scenario("idle", lambda _seeds: 1 + len(STYLES), run)
