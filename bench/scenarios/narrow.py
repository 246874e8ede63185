"""A thin stream over a link that has no room for copies: 64 kbit/s. Copies must find that out and keep away."""

from __future__ import annotations

from typing import Any

from bench.scenarios.rig import MS
from bench.scenarios.table import Found, Scenario, Tick, ms, seen, worst
from bench.scenarios.thin import stream_of
from transport.sim.config import IP_UDP_BYTES, LinkConfig

RATE = 64_000
TRIP, INTERVAL = 50, 20
LOSSES = (1, 2)
QUEUES = (1500, 4000, 16_000)
MESSAGES = 2500
P50_MS, P999_MS = 1.0, 50.0


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    cells: list[dict[str, Any]] = []
    for loss in LOSSES:
        for queue in QUEUES:
            link = LinkConfig(delay_ns=TRIP * MS // 2, loss=loss / 100, rate_bits_per_s=RATE, queue_bytes=queue,
                              overhead_bytes=IP_UDP_BYTES)  # fmt: skip
            cells.append({
                "cell": f"{loss} %, {queue:,} B", "loss_percent": loss, "queue_bytes": queue,
                "copies": stream_of(seeds, link, INTERVAL, True, messages=MESSAGES),
                "plain": stream_of(seeds, link, INTERVAL, False, messages=MESSAGES),
            })  # fmt: skip
            tick(cells[-1]["cell"])
    head = ["loss, queue", "p50", "p99", "p99.9", "worst", "copies", "plain: p50", "p99", "p99.9", "worst"]
    note = (f"One-way latency in ms of 64 B every {INTERVAL} ms in order, RTT {TRIP} ms, {RATE // 1000} kbit/s, "
            f"{seeds} seeds x {MESSAGES:,}; copies: of a message.")  # fmt: skip
    p50 = {cell["cell"]: abs(cell["copies"]["p50_ms"] - cell["plain"]["p50_ms"]) / P50_MS for cell in cells}
    tail = {cell["cell"]: max(0.0, cell["copies"]["p999_ms"] - cell["plain"]["p999_ms"]) / P999_MS for cell in cells}
    bars = [
        worst("narrow-p50", "64 kbit/s, p50 off that without copies / 1 ms", p50),
        worst("narrow-p999", "64 kbit/s, p99.9 above that without copies / 50 ms", tail),
    ]
    return bars, seen("64 kbit/s", head, [row(cell) for cell in cells], cells, note)


def row(cell: dict[str, Any]) -> list[str]:
    """A line of the table."""
    with_copies, plain = cell["copies"], cell["plain"]
    keys = ("p50_ms", "p99_ms", "p999_ms", "worst_ms")
    return [
        cell["cell"],
        *(ms(with_copies[key]) for key in keys),
        f"{with_copies['copies']:.2f}",
        *(ms(plain[key]) for key in keys),
    ]


SCENARIO = Scenario("narrow", lambda _seeds: len(LOSSES) * len(QUEUES), run)
