"""KCP's own published test: an echo of 8 bytes every 20 ms over a path that loses five of each hundred packets.

Source: the `test.cpp` of github.com/skywind3000/kcp, whose latency simulator this repeats (a shuffled bag of 100 with
exactly 5 losses each way, 30 ms and 0 to 31 ms of jitter each way, in order), without its poll of 1 ms.
"""

from __future__ import annotations

from array import array
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, NUMBER_BYTES, ORDERED, SECOND, SETTLE_S, TAIL, Rig, Wire, milliseconds
from bench.scenarios.table import Found, Scenario, Tick, ms, seen
from bench.statistics import median
from transport.sim.config import LinkConfig

ECHOES = 1000
SIZE = 8
EVERY_NS = 20 * MS
LINK = LinkConfig(delay_ns=30 * MS, jitter_ns=31 * MS, loss=0.05, loss_per=100)
FLOOR = LinkConfig(delay_ns=30 * MS, jitter_ns=31 * MS)
AVERAGE_MS, P99_MS, WORST_MS, SEEDS_SHARE, PACKETS = 97.0, 140.0, 200.0, 38 / 40, 2.27
THEIRS = ["kcp fast mode, published and measured by the same rules", "138.5", "114", "298", "376", "437", "2.27", "192"]


class Echo:
    """One seed: round trips from the first echo to the last."""

    def __init__(self, seed: int, link: LinkConfig, echoes: int) -> None:
        rig = Rig(seed, link)
        self.times = array("q")
        planned = array("q")
        rest = bytes(SIZE - NUMBER_BYTES)

        def ask(index: int) -> None:
            planned.append(rig.now)
            rig.client.send(index.to_bytes(NUMBER_BYTES, "big") + rest, 0, ORDERED, 0, 0, rig.now)

        def answer(payloads: list[Any], _channel: int) -> None:
            for payload in payloads:
                rig.server.send(payload, 0, ORDERED, 0, 0, rig.now)

        def take(payloads: list[Any], _channel: int) -> None:
            now = rig.now
            for payload in payloads:
                number = int.from_bytes(payload[:NUMBER_BYTES], "big")
                if number < echoes:
                    self.times.append(now - planned[number])

        rig.on_server, rig.on_client = answer, take
        before = rig.wire()
        rig.every(EVERY_NS, echoes + TAIL, ask)
        rig.world.run_for(echoes * EVERY_NS / SECOND)
        self.wire = rig.wire().since(before)
        rig.world.run_until(lambda: len(self.times) >= echoes, SETTLE_S)
        self.worst = max(self.times)


def measure(tick: Tick, seeds: int, name: str, link: LinkConfig) -> dict[str, Any]:
    """All seeds over one link."""
    everything = array("q")
    wire: Wire | None = None
    maxima = []
    for seed in range(seeds):
        echo = Echo(seed, link, ECHOES)
        everything.extend(echo.times)
        maxima.append(echo.worst / MS)
        wire = echo.wire if wire is None else wire.plus(echo.wire)
        tick(name)
    assert wire is not None
    count = len(everything)
    ordered = sorted(everything)
    return {
        "name": name,
        "n": count,
        "average_ms": sum(everything) / count / MS,
        "p50_ms": milliseconds(ordered, 0.5),
        "p99_ms": milliseconds(ordered, 0.99),
        "worst_median_ms": median(maxima),
        "worst_ms": max(maxima),
        "maxima_ms": maxima,
        "packets": (wire.up_packets + wire.down_packets) / count,
        "bytes": (wire.up_bytes + wire.down_bytes) / count,
    }


def row(cell: dict[str, Any]) -> list[str]:
    """A line of the table."""
    figures = [cell["average_ms"], cell["p50_ms"], cell["p99_ms"], cell["worst_median_ms"], cell["worst_ms"]]
    return [cell["name"], *map(ms, figures), f"{cell['packets']:.2f}", f"{cell['bytes']:.0f}"]


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    ours = measure(tick, seeds, "rudp", LINK)
    floor = measure(tick, seeds, "rudp, no loss: the floor", FLOOR)
    within = sum(worst <= WORST_MS for worst in ours["maxima_ms"]) / seeds
    what = f"KCP's scenario, {seeds} seeds x {ECHOES:,} echoes: "
    bars = [
        simple_bar("kcp-average", what + "average", "ms", ours["average_ms"], AVERAGE_MS, count=ours["n"]),
        simple_bar("kcp-p99", what + "p99", "ms", ours["p99_ms"], P99_MS, count=ours["n"]),
        simple_bar("kcp-worst", what + f"seeds with a worst echo within {WORST_MS:g} ms", "%", 100 * within,
                   100 * SEEDS_SHARE, count=seeds, direction=">="),
        simple_bar("kcp-packets", what + "packets per echo, both ways", "ratio", ours["packets"], PACKETS,
                   count=ours["n"]),
    ]  # fmt: skip
    head = ["round trips, ms", "average", "p50", "p99", "worst, median", "worst", "packets", "bytes"]
    note = "Packets and bytes (with IP and UDP headers) are per echo, both ways. The line of kcp is quoted, not run."
    return bars, seen("KCP's scenario", head, [row(ours), row(floor), THEIRS], [ours, floor], note)


SCENARIO = Scenario("kcp", lambda seeds: 2 * seeds, run)
