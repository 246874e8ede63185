"""Bulk over a bottleneck: how much of the link is used, and how two flows share one."""

from __future__ import annotations

from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, ORDERED, Rig
from bench.scenarios.table import Found, Scenario, Tick, seen
from bench.scenarios.thin import config_of
from transport.machine import Path
from transport.sim.config import IP_UDP_BYTES, LinkConfig

LINK_RATE = 100_000_000
SHARED_RATE = 10_000_000
TRIP = 50
SECONDS = 20.0
LATER_S, SHARED_S = 5.0, 60.0
MESSAGE_BYTES = 16_384
HIGH_WATER = 4 << 20  # kept with a session
PERCENT, JAIN = 90.0, 0.9


class Transfer:
    """Sends on every session as much as it takes, and counts what arrives.

    Attributes:
        received: payload bytes, by the channel of each session.
    """

    def __init__(self, rig: Rig, sessions: list[Any]) -> None:
        self.received = [0] * len(sessions)
        self._rig = rig
        self._sessions = sessions
        self._message = bytes(MESSAGE_BYTES)
        rig.on_server = self._take
        rig.on_client_input = self.feed
        rig.network.at(rig.network.elapsed_ns, self.feed)

    def feed(self) -> None:
        """Fills up what has drained."""
        for channel, session in enumerate(self._sessions):
            while session.queued_bytes + session.blocked_bytes < HIGH_WATER and session.state == 1:
                session.send(self._message, channel, ORDERED, 0, 0, self._rig.now)

    def _take(self, payloads: list[Any], channel: int) -> None:
        self.received[channel] += sum(map(len, payloads))


def one_flow(seed: int) -> dict[str, Any]:
    """A flow alone on its link, slow start included."""
    forward = LinkConfig(delay_ns=TRIP * MS // 2, rate_bits_per_s=LINK_RATE, queue_bytes=LINK_RATE // 8 * TRIP // 1000,
                         overhead_bytes=IP_UDP_BYTES)  # fmt: skip
    rig = Rig(seed, forward, LinkConfig(delay_ns=TRIP * MS // 2), config_of(True))
    transfer = Transfer(rig, [rig.client])
    rig.world.run_for(SECONDS)
    client = rig.client
    return {
        "percent": 100 * transfer.received[0] * 8 / SECONDS / LINK_RATE,
        "lost_percent": 100 * client.packets_lost / client.packets_sent,
        "rtt_ms": client.rtt.smoothed / MS,
        "controller": client.controller.statistics(),
    }


def two_flows(seed: int) -> dict[str, Any]:
    """Two that share a link, of which one comes later; Jain's index of what they move from then on."""
    forward = LinkConfig(delay_ns=TRIP * MS // 2, rate_bits_per_s=SHARED_RATE,
                         queue_bytes=SHARED_RATE // 8 * TRIP // 1000, overhead_bytes=IP_UDP_BYTES)  # fmt: skip
    rig = Rig(seed, forward, LinkConfig(delay_ns=TRIP * MS // 2), config_of(True))
    transfer = Transfer(rig, [rig.client])
    rig.world.run_for(LATER_S + seed * 0.037)
    second = rig.client_end.connect(Path("c", "s"), rig.now)
    transfer = Transfer(rig, [rig.client, second])
    rig.world.run_for(SHARED_S)
    one, other = transfer.received
    total = one + other
    return {
        "jain": total * total / (2 * (one * one + other * other)) if total else 0.0,
        "first_mbit": one * 8 / SHARED_S / 1e6,
        "second_mbit": other * 8 / SHARED_S / 1e6,
        "percent": 100 * total * 8 / SHARED_S / SHARED_RATE,
    }


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    seeds = max(1, seeds // 4)
    alone, shared = [], []
    for seed in range(seeds):
        alone.append(one_flow(seed))
        tick("one flow")
        shared.append(two_flows(seed))
        tick("two flows")
    percent = min(one["percent"] for one in alone)
    jain = min(one["jain"] for one in shared)
    rows = [["one flow, 100 Mbit/s", f"{percent:.1f}", f"{max(one['lost_percent'] for one in alone):.3f}", "", "", ""]]
    for one in sorted(shared, key=lambda cell: cell["jain"])[:3]:
        rows.append(["two flows, 10 Mbit/s", f"{one['percent']:.1f}", "", f"{one['jain']:.3f}",
                     f"{one['first_mbit']:.2f}", f"{one['second_mbit']:.2f}"])  # fmt: skip
    bars = [
        simple_bar("bulk", f"payload over 100 Mbit/s, RTT {TRIP} ms, queue 1 BDP, {SECONDS:g} s, least of seeds", "%",
                   percent, PERCENT, high=max(one["percent"] for one in alone), count=seeds, direction=">="),
        simple_bar("bulk-fair", "two flows on 10 Mbit/s, the second 5 s later, Jain, least of seeds", "ratio", jain,
                   JAIN, high=max(one["jain"] for one in shared), count=seeds, direction=">="),
    ]  # fmt: skip
    cells = [{"one": one, "two": two} for one, two in zip(alone, shared, strict=True)]
    note = f"{seeds} seeds; of the two flows the three least fair."
    return bars, seen("Bulk", ["", "% of the link", "lost %", "Jain", "first Mbit/s", "second"], rows, cells, note)


SCENARIO = Scenario("bulk", lambda seeds: 2 * max(1, seeds // 4), run)
