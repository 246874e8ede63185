"""Thin streams over random loss: 64 bytes every 5 to 20 ms, with redundant copies and without.

What people feel of a protocol in a game or a call is the tail of such a stream.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from bench.bars import simple_bar
from bench.scenarios.rig import MS, ORDERED, UNORDERED, Rig, Stream, Wire, milliseconds
from bench.scenarios.table import Found, Scenario, Tick, ms, seen, worst
from transport.rudp.config import RudpConfig
from transport.sim.config import LinkConfig
from transport.transports.rudp import CHECKSUMS

SIZE = 64
MESSAGES = 1000  # of a seed
LOSSES = (1, 2, 5)
TRIPS = (20, 50, 100)
INTERVALS = (5, 10, 20)
LONE_BYTES = 112  # a lone message on the wire, as the calibration counts it
BYTES_MAX = 2.9
EXTRA_FACTOR, EXTRA_PERCENT = 1.7, 1.0


def cells_of() -> Iterator[tuple[int, int, int]]:
    """(round trip in ms, interval in ms, loss in percent)."""
    for trip in TRIPS:
        for interval in INTERVALS:
            for loss in LOSSES:
                yield trip, interval, loss


def config_of(redundancy: bool) -> RudpConfig:
    """Nothing but the stream itself makes packets."""
    return RudpConfig(keepalive_ns=0, idle_ns=0, redundancy=redundancy, checksums=CHECKSUMS["auto"])


def stream_of(seeds: int, link: LinkConfig, interval: int, redundancy: bool, delivery: int = ORDERED,
              messages: int = MESSAGES) -> dict[str, Any]:  # fmt: skip
    """Latencies in ms, packets and bytes of a message, over all seeds."""
    late = array("q")
    wire: Wire | None = None
    copies = spurious = lost = 0
    for seed in range(seeds):
        rig = Rig(seed, link, config=config_of(redundancy))
        stream = Stream(rig, SIZE, interval * MS, messages, delivery)
        late.extend(stream.late)
        wire = stream.wire if wire is None else wire.plus(stream.wire)
        client = rig.client
        copies += client.copies_sent
        spurious += client.packets_spurious
        lost += client.packets_lost
    assert wire is not None
    ordered = sorted(late)
    count = len(ordered)
    return {
        "n": count,
        "p50_ms": milliseconds(ordered, 0.5),
        "p99_ms": milliseconds(ordered, 0.99),
        "p999_ms": milliseconds(ordered, 0.999),
        "worst_ms": ordered[-1] / MS,
        "packets": wire.up_packets / count,
        "acks": wire.down_packets / count,
        "bytes": wire.up_bytes / count / LONE_BYTES,
        "copies": copies / count,
        "lost_percent": 100 * lost / wire.up_packets,
        "spurious_percent": 100 * spurious / wire.up_packets,
    }


def run(tick: Tick, seeds: int) -> Found:
    """(bars, what was seen)."""
    cells = []
    clean: dict[tuple[int, int], dict[str, Any]] = {}
    for trip, interval, loss in cells_of():
        link = LinkConfig(delay_ns=trip * MS // 2, loss=loss / 100)
        name = f"{trip}/{interval}/{loss}"
        if (trip, interval) not in clean:
            clean[trip, interval] = stream_of(max(1, seeds // 8), LinkConfig(delay_ns=trip * MS // 2), interval, False)
        cells.append({
            "cell": name, "rtt_ms": trip, "interval_ms": interval, "loss_percent": loss,
            "copies": stream_of(seeds, link, interval, True),
            "plain": stream_of(seeds, link, interval, False),
            "unordered": stream_of(seeds, link, interval, False, UNORDERED),
            "clean_bytes": clean[trip, interval]["bytes"],
        })  # fmt: skip
        tick(name)
    head = ["rtt/T/loss", "p50", "p99", "p99.9", "worst", "pkts", "bytes", "acks",
            "plain: p99", "p99.9", "unordered p99", "pkts", "more bytes %"]  # fmt: skip
    note = (f"One-way latency in ms of {SIZE} B messages in order, {seeds} seeds x {MESSAGES:,}. plain: without copies "
            f"of what is not known to be lost. bytes: with headers, in lone messages of {LONE_BYTES} B; more bytes: "
            "than without loss.")  # fmt: skip
    return judge(cells), seen("Thin streams over random loss", head, [row(cell) for cell in cells], cells, note)


def extra_percent(cell: dict[str, Any]) -> float:
    """Bytes without redundancy beyond those without loss."""
    return float(100 * (cell["plain"]["bytes"] / cell["clean_bytes"] - 1))


def row(cell: dict[str, Any]) -> list[str]:
    """A line of the table."""
    with_copies, plain = cell["copies"], cell["plain"]
    return [
        cell["cell"],
        *(ms(with_copies[key]) for key in ("p50_ms", "p99_ms", "p999_ms", "worst_ms")),
        f"{with_copies['packets']:.3f}",
        f"{with_copies['bytes']:.2f}",
        f"{with_copies['acks']:.2f}",
        ms(plain["p99_ms"]),
        ms(plain["p999_ms"]),
        ms(cell["unordered"]["p99_ms"]),
        f"{plain['packets']:.3f}",
        f"{extra_percent(cell):.1f}",
    ]


def judge(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bars."""
    p99: dict[str, float] = {}
    p999: dict[str, float] = {}
    packets: dict[str, float] = {}
    unordered: dict[str, float] = {}
    extra: dict[str, float] = {}
    for cell in cells:
        name, trip, interval, loss = cell["cell"], cell["rtt_ms"], cell["interval_ms"], cell["loss_percent"]
        with_copies = cell["copies"]
        p99[name] = with_copies["p99_ms"] / (trip / 2 + interval + 2)
        p999[name] = with_copies["p999_ms"] / (trip / 2 + 2 * interval + 2)
        packets[name] = with_copies["packets"] / cell["plain"]["packets"]
        unordered[name] = cell["unordered"]["p99_ms"] / (max(9 / 8 * trip, trip + interval) + trip / 2 + 5)
        extra[name] = extra_percent(cell) / (EXTRA_FACTOR * loss + EXTRA_PERCENT)
    most = max(cell["copies"]["bytes"] for cell in cells)
    return [
        worst("thin-p99", "thin streams, p99 / (RTT/2 + T + 2 ms)", p99),
        worst("thin-p999", "thin streams, p99.9 / (RTT/2 + 2T + 2 ms)", p999),
        worst("thin-packets", "thin streams, packets / those without copies", packets),
        simple_bar("thin-bytes", "thin streams, bytes / those of lone messages, most of all cells", "ratio", most,
                   BYTES_MAX, count=len(cells)),
        worst("thin-plain-p99", "thin, no copies, unordered p99 / (max(9/8 RTT, RTT + T) + RTT/2 + 5 ms)", unordered),
        worst("thin-plain-bytes", "thin, no copies, more bytes / (1.7 x loss + 1 %)", extra),
    ]  # fmt: skip


SCENARIO = Scenario("thin", lambda _seeds: len(list(cells_of())), run)
