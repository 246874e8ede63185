"""The acceptance bars: ratios of two peers measured in the same pass, and the verdict on each.

A bar is a promise with a number; the verdict is by the median of the per-pass ratios. It must never be computed from
rounds that were not run side by side, and never pass for want of data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.cases import EACH, SAME, Case, bytes_text, fan_out, latency, mixed_sizes, throughput
from bench.message import PACKED_BYTES
from bench.peers import all_peers
from bench.statistics import median, paired_ratios, spread
from bench.summary import FLOOR_OF, by_block

PASS, FAIL, NOT_MEASURED, INFORMATION = "PASS", "FAIL", "NOT MEASURED", "INFORMATION"
QUIET_ROUNDS_MIN = 3
AGAIN = "uvloop-bare@again"
CODEC_FLOOR = "msgpack-alone"

Side = tuple[Case, str]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise.

    Args:
        id: on the command line (`--only`).
        title: what is compared.
        above, below: the ratio's two sides, each a case and a peer.
        direction: "<=" or ">=".
        limit: the bar.
        quiet_only: judged by rounds with little steal only.
        information: shown, never judged.
        codec_floor: the time of this side is added to `below`'s: the bar is on time per message, not on a rate.
    """

    id: str
    title: str
    above: Side
    below: Side
    direction: str
    limit: float
    quiet_only: bool = False
    information: bool = False
    codec_floor: Side | None = None

    def sides(self) -> list[Side]:
        """Everything that must be measured for it."""
        return [self.above, self.below] + ([self.codec_floor] if self.codec_floor else [])


def acceptance_bars() -> list[Bar]:
    """Every bar that is a ratio of two measured peers."""
    return [*latency_bars(), *stream_bars(), *codec_bars(), *datagram_bars(), *reliable_bars()]


def latency_bars() -> list[Bar]:
    """Round trips of 64 B, all in one case: one message in flight, both ends on one core."""
    case = latency(64)
    echo = (case, "uvloop-bare")
    title = "{} / {}, 64 B round trip"
    bare = "bare uvloop echo"
    again = Bar("aa", f"A/A noise: {bare} / itself", (case, AGAIN), echo, "<=", 1.0, information=True)
    rows = [
        ("tcp-rtt", "tcp callbacks", "tcp", bare, "uvloop-bare", 1.10),
        ("tcp-coro-rtt", "tcp coroutines", "tcp-coro", bare, "uvloop-bare", 1.5),
        ("tcp-coro-streams", "tcp coroutines", "tcp-coro", "streams on uvloop", "uvloop-streams", 0.95),
        ("unix-rtt", "unix callbacks", "unix", bare + " on tcp", "uvloop-bare", 1.0),
        ("udp-rtt", "udp callbacks", "udp", "bare uvloop datagrams", "uvloop-udp", 0.90),
    ]
    return [again] + [
        Bar(name, title.format(what, other), (case, peer), (case, below), "<=", limit)
        for name, what, peer, other, below, limit in rows
    ]


def stream_bars() -> list[Bar]:
    """Throughput of tcp beside pyzmq, one core each."""
    rows = [("tcp-64", 64, 4.5), ("tcp-1k", 1024, 3.0), ("tcp-64k", 65536, 1.2)]
    bars = []
    for name, size, limit in rows:
        case = throughput(size)
        title = f"tcp / pyzmq, {bytes_text(size)} throughput" + (", little steal" if size == 65536 else "")
        bars.append(Bar(name, title, (case, "tcp"), (case, "pyzmq"), ">=", limit, quiet_only=size == 65536))
    return bars


def datagram_bars() -> list[Bar]:
    """Throughput of udp beside uvloop's datagrams, one core each, by messages received."""
    rows = [
        ("udp-64", "64 B to one peer", throughput(64), 10.0),
        ("udp-mixed", "16 to 1200 B", mixed_sizes(), 1.2),
        ("udp-many", "64 B to 100 peers", fan_out(), 1.2),
        ("udp-many-laps", "the same, 10 laps a turn", fan_out(laps=10), 1.2),
    ]
    return [
        Bar(
            name,
            f"udp / uvloop datagrams, {what}",
            (case, "udp"),
            (case, "uvloop-udp"),
            ">=",
            limit,
            information=name.endswith("-laps"),
        )
        for name, what, case, limit in rows
    ]


def reliable_bars() -> list[Bar]:
    """Reliable UDP, reliable-ordered, by callbacks, beside ENet, pyzmq and an echo without any reliability."""
    echo = latency(64)
    small = throughput(64)
    rows = [
        ("rudp-rtt-enet", "ENet, 64 B round trip", echo, "pyenet", "<=", 0.70),
        ("rudp-rtt", "bare uvloop datagrams, 64 B round trip", echo, "uvloop-udp", "<=", 1.15),
        ("rudp-64", "pyzmq, 64 B throughput", small, "pyzmq", ">=", 4.0),
        ("rudp-64-enet", "ENet, 64 B throughput", small, "pyenet", ">=", 3.0),
        ("rudp-1k", "pyzmq, 1 KB throughput", throughput(1024), "pyzmq", ">=", 2.0),
        ("rudp-64k", "pyzmq, 64 KB throughput, little steal", throughput(65536), "pyzmq", ">=", 1.0),
    ]
    return [
        Bar(name, f"rudp / {what}", (case, "rudp"), (case, peer), direction, limit, quiet_only=name == "rudp-64k")
        for name, what, case, peer, direction, limit in rows
    ]


def codec_bars() -> list[Bar]:
    """Time per message with msgpack against raw time plus packb plus unpackb; one core each, and both on one core."""
    size = PACKED_BYTES
    bars = []
    for placement in (EACH, SAME):
        packed = throughput(size, placement=placement, codec="msgpack")
        raw = throughput(size, placement=placement)
        one_core = placement == SAME
        bars.append(
            Bar(
                "msgpack" + ("-one-core" if one_core else ""),
                f"msgpack dict / (raw + packb + unpackb), {size} B" + (", one core" if one_core else ""),
                (packed, "tcp"),
                (raw, "tcp"),
                "<=",
                1.25,
                information=one_core,
                codec_floor=(packed, CODEC_FLOOR),
            )
        )
    return bars


def work_for(bars: list[Bar]) -> list[tuple[Case, list[str]]]:
    """Each case once, with everybody who must run it, and the floors that the tables are read against."""
    work: dict[Case, list[str]] = {}
    for bar in bars:
        for case, peer in bar.sides():
            names = work.setdefault(case, [])
            if peer not in names:
                names.append(peer)
    known = all_peers()
    for case, names in work.items():
        floors = {FLOOR_OF.get(known[name.partition("@")[0]].scheme) for name in names}
        names += sorted(floor for floor in floors if floor and known[floor].supports(case))
    return list(work.items())


def judge(bar: Bar, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The bar's entry in the result file."""
    ratios = ratios_of(bar, rounds)
    calm_rounds = [item for item in rounds if not item.get("flagged")]
    calm = ratios_of(bar, calm_rounds)
    used = calm if bar.quiet_only else ratios
    entry: dict[str, Any] = {
        "id": bar.id,
        "title": bar.title,
        "unit": "ratio",
        "value": None,
        "low": None,
        "high": None,
        "quiet": median(calm.values()) if calm else None,
        "bar": bar.limit,
        "direction": bar.direction,
        "n": len(used),
        "verdict": NOT_MEASURED,
        "why": None,
        "ratios": {str(block): ratio for block, ratio in ratios.items()},
    }
    if not used:
        entry["why"] = why_nothing(bar, rounds)
        return entry
    figures = spread(list(used.values()))
    entry |= {"value": figures["median"], "low": figures["min"], "high": figures["max"]}
    failed = failures(bar, rounds)
    if bar.information:
        entry["verdict"] = INFORMATION
    elif bar.quiet_only and len(used) < QUIET_ROUNDS_MIN:
        entry["why"] = f"only {len(used)} rounds had little steal, {QUIET_ROUNDS_MIN} are needed"
    elif failed:
        entry |= {"verdict": FAIL, "why": f"{len(failed)} rounds failed: {failed[0]}"}
    else:
        entry["verdict"] = PASS if meets(entry["value"], bar.direction, bar.limit) else FAIL
    return entry


def meets(value: float, direction: str, limit: float) -> bool:
    """Whether a figure is on the right side of its bar."""
    return value <= limit if direction == "<=" else value >= limit


def ratios_of(bar: Bar, rounds: list[dict[str, Any]]) -> dict[int, float]:
    """The bar's ratio in every pass in which all its sides succeeded."""
    above = by_block(rounds, bar.above[0].id, bar.above[1])
    below = by_block(rounds, bar.below[0].id, bar.below[1])
    if bar.codec_floor is None:
        return paired_ratios(above, below)
    alone = by_block(rounds, bar.codec_floor[0].id, bar.codec_floor[1])
    allowed = {block: 1 / below[block] + 1 / alone[block] for block in below if block in alone}
    return paired_ratios({block: 1 / rate for block, rate in above.items()}, allowed)


def failures(bar: Bar, rounds: list[dict[str, Any]]) -> list[str]:
    """First lines of what went wrong in rounds that the bar needs."""
    wanted = {(case.id, peer) for case, peer in bar.sides()}
    return [
        str(item["why"]).splitlines()[0]
        for item in rounds
        if (item["case"], item["peer"]) in wanted and item["status"] != "OK"
    ]


def why_nothing(bar: Bar, rounds: list[dict[str, Any]]) -> str:
    """Why a bar has no ratio."""
    failed = failures(bar, rounds)
    if failed:
        return failed[0]
    present = {(item["case"], item["peer"]) for item in rounds}
    absent = [peer for case, peer in bar.sides() if (case.id, peer) not in present]
    return f"not run: {', '.join(absent)}" if absent else "no round with little steal"


def simple_bar(
    identity: str,
    title: str,
    unit: str,
    value: float | None,
    limit: float,
    *,
    low: float | None = None,
    high: float | None = None,
    count: int = 1,
    why: str | None = None,
    direction: str = "<=",
) -> dict[str, Any]:
    """An entry for a bar that is a plain figure with an upper or lower limit."""
    verdict = NOT_MEASURED if value is None else PASS if meets(value, direction, limit) else FAIL
    return {
        "id": identity,
        "title": title,
        "unit": unit,
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "quiet": None,
        "bar": limit,
        "direction": direction,
        "n": count,
        "verdict": verdict,
        "why": why,
    }


Probe = Callable[[], list[dict[str, Any]]]
