"""Transfers while a NAT gives the client another port ten times a second, or another host once a second.

A NAT's old entry lives on for a while, or is gone at once. To the client that costs whatever the server sends from half
a round trip before a change to half of one after it, for sooner it can't know the new port; and an eighth each until
the client asks, and until the server counts as lost what is not acknowledged. To the server it costs no packet, but no
ack comes for a round trip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, ORDERED, Rig
from bench.scenarios.table import Found, Scenario, Tick, seen
from bench.scenarios.thin import config_of
from transport.sim.config import IP_UDP_BYTES, LinkConfig

RATE = 20_000_000
TRIP = 50
SECONDS = 4.0
SETTLE_S = 60.0
MESSAGE_BYTES = 16_384
HIGH_WATER = 1 << 20
KEEP_NS = 2000 * MS
PORT_EVERY_MS, HOST_EVERY_MS = 100, 1000
GOODPUT_PERCENT = 90.0
GONE_UP_PERCENT = 70.0  # of the same, where the old port is gone at once
GONE_DOWN_PERCENT = 0.8 * 100 * (1 - 1.25 * TRIP / PORT_EVERY_MS)
HOME = ("c", 1)
CONFIG = replace(config_of(True), keepalive_ns=500 * MS)

# name, milliseconds between two changes (0: none), another host, how long the old address still leads there (ns)
KINDS: tuple[tuple[str, int, bool, int], ...] = (
    ("nothing changes", 0, False, 0),
    ("another port every 100 ms", PORT_EVERY_MS, False, KEEP_NS),
    ("the same, old port gone at once", PORT_EVERY_MS, False, 0),
    ("another host every second", HOST_EVERY_MS, True, 0),
)


def transfer(seed: int, is_up: bool, every_ms: int, is_host: bool, keep_ns: int) -> dict[str, Any]:
    """Goodput (Mbit/s) of one flow, and messages that did not arrive."""
    narrow = LinkConfig(delay_ns=TRIP * MS // 2, rate_bits_per_s=RATE, queue_bytes=RATE // 8 * TRIP // 1000,
                        overhead_bytes=IP_UDP_BYTES)  # fmt: skip
    wide = LinkConfig(delay_ns=TRIP * MS // 2)
    rig = Rig(seed, narrow if is_up else wide, wide if is_up else narrow, CONFIG, HOME)
    port = rig.network.port(HOME)
    sender, receiver = (rig.client, rig.server) if is_up else (rig.server, rig.client)
    message = bytes(MESSAGE_BYTES)
    sent = got = 0
    is_over = False

    def feed() -> None:
        nonlocal sent
        while not is_over and sender.queued_bytes + sender.blocked_bytes < HIGH_WATER and sender.state == 1:
            sender.send(message, 0, ORDERED, 0, 0, rig.now)
            sent += 1

    def take(payloads: list[Any], _channel: int) -> None:
        nonlocal got
        got += len(payloads)

    def change(index: int) -> None:
        rig.network.rebind(port, (f"h{index}", 1) if is_host else ("c", index + 2), keep_ns=keep_ns)

    if is_up:
        rig.on_server = take
    else:
        rig.on_client = take
    if every_ms:
        rig.network.at(rig.network.elapsed_ns + seed * 37 % every_ms * MS,
                       lambda: rig.every(every_ms * MS, int(SECONDS * 1000 / every_ms), change))  # fmt: skip
    rig.every(5 * MS, int(SECONDS * 200), lambda _: feed())
    rig.world.run_for(SECONDS)
    in_time, is_over = got, True
    rig.world.run_until(lambda: got >= sent or sender.state != 1, SETTLE_S)
    return {
        "mbit_per_s": in_time * MESSAGE_BYTES * 8 / SECONDS / 1e6,
        "missing": sent - got + (receiver.state != 1),
        "changes": rig.server.path_changes,
        "lost_percent": 100 * sender.packets_lost / sender.packets_sent,
    }


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    cells: list[dict[str, Any]] = []
    rows = []
    shares = []
    gone: dict[bool, float] = {}
    missing = 0
    for is_up in (True, False):
        direction = "to the server" if is_up else "to the client"
        still = 0.0
        for name, every_ms, is_host, keep_ns in KINDS:
            found = [transfer(seed, is_up, every_ms, is_host, keep_ns) for seed in range(seeds)]
            goodput = sum(one["mbit_per_s"] for one in found) / seeds
            changes = sum(one["changes"] for one in found) / seeds
            lost = sum(one["lost_percent"] for one in found) / seeds
            absent = sum(one["missing"] for one in found)
            still = still or goodput
            missing += absent
            share = 100 * goodput / still
            if keep_ns:
                shares.append(share)
            elif every_ms and not is_host:
                gone[is_up] = share
            cells.append({"cell": f"{direction}, {name}", "mbit_per_s": goodput, "percent": share, "changes": changes,
                          "lost_percent": lost, "missing": absent})  # fmt: skip
            figures = (f"{goodput:.1f}", f"{share:.1f}", f"{changes:.1f}", f"{lost:.2f}", str(absent))
            rows.append([direction, name, *figures])
            tick(f"{direction}, {name}")
    bars = [
        simple_bar("moving-goodput", "another port every 100 ms, goodput of what it is without", "%", min(shares),
                   GOODPUT_PERCENT, high=max(shares), count=seeds, direction=">="),
        simple_bar("moving-gone-up", "the same, old port gone at once, to the server", "%", gone[True], GONE_UP_PERCENT,
                   count=seeds, direction=">="),
        simple_bar("moving-gone-down", "the same, to the client", "%", gone[False], GONE_DOWN_PERCENT,
                   count=seeds, direction=">="),
        simple_bar("moving-lost", "messages that did not arrive, all of these", "messages", float(missing), 0.0,
                   count=seeds * len(cells)),
    ]  # fmt: skip
    head = ["transfer", "what changes", "Mbit/s", "% of still", "changes", "lost %", "missing"]
    note = f"{seeds} seeds x {SECONDS:g} s, {RATE // 10**6} Mbit/s, RTT {TRIP} ms, queue 1 BDP."
    return bars, seen("Changes of address", head, rows, cells, note)


SCENARIO = Scenario("moving", lambda _seeds: 2 * len(KINDS), run)
