"""Bulk over a bottleneck: how much of the link each congestion controller uses, with loss and without, and how two
flows share one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, ORDERED, Rig
from bench.scenarios.table import Found, Scenario, Tick, seen
from bench.scenarios.thin import config_of
from transport.machine import Path
from transport.rudp import congestion
from transport.sim.config import IP_UDP_BYTES, LinkConfig

LINK_RATE = 100_000_000
SHARED_RATE = 10_000_000
TRIP = 50
SECONDS = 20.0
LATER_S, SHARED_S = 5.0, 60.0
MESSAGE_BYTES = 16_384
HIGH_WATER = 4 << 20  # kept with a session
PERCENT, JAIN = 90.0, 0.9
CLEAN = ("cubic", "bbr", "newreno")
LOSSY = {("bbr", 1): 70.0, ("bbr", 5): 40.0, ("cubic", 1): None}
"""Least Mbit/s of a controller at a loss in percent, or None where it is only shown."""
PAIRS = {("cubic", "cubic"): True, ("bbr", "bbr"): True, ("cubic", "bbr"): False, ("bbr", "cubic"): False}
"""Who comes first and who later, and whether a bar is on it."""


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


def link_of(rate: int, loss: float = 0.0) -> LinkConfig:
    """The way there: a queue of one bandwidth-delay product."""
    return LinkConfig(delay_ns=TRIP * MS // 2, rate_bits_per_s=rate, queue_bytes=rate // 8 * TRIP // 1000, loss=loss,
                      overhead_bytes=IP_UDP_BYTES)  # fmt: skip


def one_flow(seed: int, name: str = "cubic", loss: int = 0) -> dict[str, Any]:
    """A flow alone on its link, slow start included; `loss` percent each way."""
    config = replace(config_of(True), congestion=name)
    back = LinkConfig(delay_ns=TRIP * MS // 2, loss=loss / 100)
    rig = Rig(seed, link_of(LINK_RATE, loss / 100), back, config)
    transfer = Transfer(rig, [rig.client])
    rig.world.run_for(SECONDS)
    client = rig.client
    return {
        "mbit": transfer.received[0] * 8 / SECONDS / 1e6,
        "percent": 100 * transfer.received[0] * 8 / SECONDS / LINK_RATE,
        "lost_percent": 100 * client.packets_lost / client.packets_sent,
        "rtt_ms": client.rtt.smoothed / MS,
        "controller": client.controller.statistics(),
    }


def two_flows(seed: int, first: str = "cubic", later: str = "cubic") -> dict[str, Any]:
    """Two that share a link, of which one comes later; Jain's index of what they move from then on."""
    config = replace(config_of(True), congestion=first)
    rig = Rig(seed, link_of(SHARED_RATE), LinkConfig(delay_ns=TRIP * MS // 2), config)
    transfer = Transfer(rig, [rig.client])
    rig.world.run_for(LATER_S + seed * 0.037)
    second = rig.client_end.connect(Path("c", "s"), rig.now)
    second.controller = congestion.make(later, config.mtu, dice=seed + 2)
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
    bars: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    for name, loss in [*((name, 0) for name in CLEAN), *LOSSY]:
        found = []
        for seed in range(seeds):
            found.append(one_flow(seed, name, loss))
            tick(f"{name}, {loss} %")
        bars += alone_bars(name, loss, found)
        rows.append(alone_row(name, loss, found))
        cells.append({"cell": f"{name}/{loss}", "found": found})
    for (first, later), is_judged in PAIRS.items():
        found = []
        for seed in range(seeds):
            found.append(two_flows(seed, first, later))
            tick(f"{first}, {later}")
        if is_judged:
            bars.append(shared_bar(first, found))
        rows += [shared_row(first, later, one) for one in sorted(found, key=lambda cell: cell["jain"])[:2]]
        cells.append({"cell": f"{first}+{later}", "found": found})
    note = f"{seeds} seeds; the least of them, of two flows the two least fair; the second comes {LATER_S:g} s later."
    head = ["", "Mbit/s", "% of the link", "lost %", "rtt ms", "Jain", "first Mbit/s", "second"]
    return bars, seen("Bulk", head, rows, cells, note)


def alone_bars(name: str, loss: int, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What is promised of a flow alone."""
    if not loss:
        rates = [one["percent"] for one in found]
        title = f"{name}, payload over 100 Mbit/s, RTT {TRIP} ms, queue 1 BDP, {SECONDS:g} s, least of seeds"
        identity, unit, least = ("bulk" if name == "cubic" else f"bulk-{name}"), "%", PERCENT
    else:
        rates = [one["mbit"] for one in found]
        bound = LOSSY[name, loss]
        if bound is None:
            return []
        title = f"{name}, the same with {loss} % lost at random"
        identity, unit, least = f"bulk-{name}-loss{loss}", "Mbit/s", bound
    return [simple_bar(identity, title, unit, min(rates), least, high=max(rates), count=len(rates), direction=">=")]


def alone_row(name: str, loss: int, found: list[dict[str, Any]]) -> list[str]:
    """A line of the table: the seed that moved least."""
    one = min(found, key=lambda cell: cell["mbit"])
    label = f"{name}, 100 Mbit/s" + (f", loss {loss} %" if loss else "")
    return [label, f"{one['mbit']:.1f}", f"{one['percent']:.1f}", f"{one['lost_percent']:.3f}", f"{one['rtt_ms']:.1f}",
            "", "", ""]  # fmt: skip


def shared_bar(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Two alike share a link fairly."""
    jain = [one["jain"] for one in found]
    identity = "bulk-fair" if name == "cubic" else f"bulk-fair-{name}"
    title = f"two flows of {name} on 10 Mbit/s, the second {LATER_S:g} s later, Jain, least of seeds"
    return simple_bar(identity, title, "ratio", min(jain), JAIN, high=max(jain), count=len(jain), direction=">=")


def shared_row(first: str, later: str, one: dict[str, Any]) -> list[str]:
    """A line of the table."""
    return [f"{first}, then {later}, 10 Mbit/s", "", f"{one['percent']:.1f}", "", "", f"{one['jain']:.3f}",
            f"{one['first_mbit']:.2f}", f"{one['second_mbit']:.2f}"]  # fmt: skip


SCENARIO = Scenario("bulk", lambda seeds: (len(CLEAN) + len(LOSSY) + len(PAIRS)) * max(1, seeds // 4), run)
