"""Ten messages of 1 KB every 100 ms over random loss: a stream that is thin on average, and full for a moment.

Each batch fills a window that losses keep small, so that a controller that takes every loss for congestion makes the
batch wait for several round trips. The only figures here that differ between CUBIC and BBR for so little data.
"""

from __future__ import annotations

from array import array
from dataclasses import replace
from typing import Any

from bench.scenarios.rig import MS, ORDERED, SETTLE_S, Rig, milliseconds
from bench.scenarios.table import Found, Scenario, Tick, ms, seen, worst
from bench.scenarios.thin import config_of
from transport.sim.config import LinkConfig

TRIP, INTERVAL = 50, 100
SIZE, MESSAGES = 1024, 10
BATCHES = 600
LOSSES = (0, 2, 5)
NAMES = ("cubic", "newreno", "bbr")


def stream_of(seeds: int, name: str, loss: int) -> dict[str, Any]:
    """One-way latencies in ms, of all messages of all seeds."""
    late = array("q")
    sent = lost = 0
    for seed in range(seeds):
        link = LinkConfig(delay_ns=TRIP * MS // 2, loss=loss / 100)
        rig = Rig(seed, link, config=replace(config_of(True), congestion=name))
        late.extend(late_of(rig))
        sent += rig.client.packets_sent
        lost += rig.client.packets_lost
    ordered = sorted(late)
    return {
        "n": len(ordered),
        "p50_ms": milliseconds(ordered, 0.5),
        "p99_ms": milliseconds(ordered, 0.99),
        "p999_ms": milliseconds(ordered, 0.999),
        "worst_ms": ordered[-1] / MS,
        "packets": sent / len(ordered),
        "lost_percent": 100 * lost / sent,
    }


def late_of(rig: Rig) -> array[int]:
    """Sends the batches; how long each message took, in the order of arrival."""
    late = array("q")
    began: list[int] = []

    def send(_index: int) -> None:
        began.append(rig.now)
        for _ in range(MESSAGES):
            rig.client.send(bytes(SIZE), 0, ORDERED, 0, 0, rig.now)

    def receive(payloads: list[Any], _channel: int) -> None:
        first = len(late)
        late.extend([rig.now - began[(first + index) // MESSAGES] for index in range(len(payloads))])

    rig.on_server = receive
    rig.every(INTERVAL * MS, BATCHES, send)
    rig.world.run_for(BATCHES * INTERVAL / 1000)
    rig.world.run_until(lambda: len(late) >= BATCHES * MESSAGES, SETTLE_S)
    return late


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    seeds = max(1, seeds // 4)
    cells: list[dict[str, Any]] = []
    for loss in LOSSES:
        for name in NAMES:
            cells.append({"cell": f"{name}, loss {loss} %", "name": name, "loss_percent": loss}
                         | stream_of(seeds, name, loss))  # fmt: skip
            tick(cells[-1]["cell"])
    keys = ("p50_ms", "p99_ms", "p999_ms", "worst_ms")
    rows = [[cell["cell"], *(ms(cell[key]) for key in keys), f"{cell['packets']:.2f}"] for cell in cells]
    note = (f"One-way latency in ms, in order, {MESSAGES} messages of {SIZE} B every {INTERVAL} ms, RTT {TRIP} ms, "
            f"{seeds} seeds x {BATCHES * MESSAGES:,}; packets: of a message.")  # fmt: skip
    head = ["", "p50", "p99", "p99.9", "worst", "packets"]
    return judge(cells), seen("Batches over random loss", head, rows, cells, note)


def judge(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bar."""
    p99 = {(cell["name"], cell["loss_percent"]): cell["p99_ms"] for cell in cells}
    shares = {f"loss {loss} %": p99["bbr", loss] / p99["cubic", loss] for loss in LOSSES if loss}
    title = f"{MESSAGES} x {SIZE} B every {INTERVAL} ms over loss, p99 with BBR / with CUBIC"
    return [worst("batches-bbr", title, shares)]


SCENARIO = Scenario("batches", lambda _seeds: len(LOSSES) * len(NAMES), run)
