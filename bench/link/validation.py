"""Is the emulated link the link that was asked for? The suite that runs before a campaign: PASS or FAIL, with figures.

Every figure is taken by two processes at the ends, or by the router where the ends can't see it. It must never adjust a
bound to the machine that it runs on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from time import monotonic, monotonic_ns
from typing import Any

from bench.child import Child, ChildFailed
from bench.lateness import link_may_ns
from bench.link.emulator import SIDES, Emulator, EmulatorFailed
from bench.link.model import Link
from bench.link.traffic import SMALLEST
from bench.native_build import BuildFailed
from bench.progress import Progress
from bench.tables import table

SEED = 1
CONFIDENCE = 0.99
RTT_ERROR_MAX = 0.01
RATE_ERROR_MAX = 0.01
PACE = 5000
BURST_PACE = 2000
HEADS = 28
SMALL = 64
LARGE = 1472
START_NS = 100_000_000
REPLY_S = 20.0
SETTLE_S = 0.5
UNPUNCTUAL_MAX = 0.05
TRIES = 3
PING_RATE = 200
FAILURES = (ChildFailed, EmulatorFailed, BuildFailed, OSError)
"""What `validate` raises where a check could not be made."""
QUIET = {"count": 0, "size": SMALLEST, "every_ns": 1, "expect": 0, "echo": False}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    check: str
    wanted: str
    seen: str
    passed: bool


@dataclass(frozen=True, slots=True)
class Crossing:
    """What both ends and the router saw."""

    client: dict[str, Any]
    server: dict[str, Any]
    report: dict[str, Any]


def steady(rate: float, seconds: float, size: int = SMALL) -> dict[str, Any]:
    """A plan: `rate` datagrams of `size` bytes a second."""
    return {**QUIET, "count": max(1, round(rate * seconds)), "size": size, "every_ns": round(1e9 / rate)}


def cross(
    link: Link, client: dict[str, Any], server: dict[str, Any], seconds: float, *, device_mtu: int | None = None
) -> Crossing:
    """Runs both plans at once over a new emulated link, and `SETTLE_S` and the link's delays longer.

    Raises:
        FAILURES: it could not be done.
    """
    longest_s = (2 * (link.delay_ms + link.jitter_ms + link.reorder_ms)) / 1e3
    if link.rate_mbit:
        longest_s += 2 * link.queue * 8 / (link.rate_mbit * 1e6)
    plans = {
        "client": {**client, "expect": client["expect"] or server["count"]},
        "server": {**server, "expect": server["expect"] or client["count"]},
    }
    with Emulator(link, SEED, device_mtu=device_mtu) as emulator, ExitStack() as stack:
        ends = {side: stack.enter_context(Child(side, "bench.link.traffic")) for side in SIDES}
        for side, end in ends.items():
            end.tell({"kind": "udp", **whereabouts(emulator, side)})
        for end in ends.values():
            end.hear("ready", monotonic() + REPLY_S)
        start = monotonic_ns() + START_NS
        until = start + round((seconds + longest_s + SETTLE_S) * 1e9)
        for side, end in ends.items():
            end.tell({**plans[side], "start_ns": start, "until_ns": until})
        deadline = monotonic() + seconds + longest_s + REPLY_S
        results = {side: end.hear("result", deadline) for side, end in ends.items()}
        return Crossing(results["client"], results["server"], emulator.report())


def whereabouts(emulator: Emulator, side: str) -> dict[str, Any]:
    """What `bench.link.traffic` has to know of a side."""
    other = SIDES[1 - SIDES.index(side)]
    return {"namespace": emulator.namespace(side), "host": emulator.host(side), "peer": emulator.host(other)}


def cross_punctually(link: Link, plan: dict[str, Any], seconds: float) -> tuple[Crossing, str]:
    """`cross`, both sides by one plan; again where a busy machine kept one from that plan, which is the ruler here.

    Gives the last crossing, and words for the table if that one was no better.
    """
    for tries_left in reversed(range(TRIES)):
        crossing = cross(link, plan, plan, seconds)
        late = max(end["unpunctual"] / max(1, end["sent"]) for end in (crossing.client, crossing.server))
        if late <= UNPUNCTUAL_MAX:
            return crossing, ""
        if not tries_left:
            return crossing, f" (machine too busy: {late:.0%} were sent late)"
    raise AssertionError("at least one try")


def binomial_interval(count: int, share: float, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Least and most successes of `count` draws with probability `share` that leave half of the rest on either side."""
    tail = (1 - confidence) / 2
    below = 0.0
    low = None
    for k in range(count + 1):
        below += math.exp(
            math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
            + (k * math.log(share) if k else 0.0) + ((count - k) * math.log1p(-share) if count - k else 0.0)
        )  # fmt: skip
        if low is None and below > tail:
            low = k
        if below >= 1 - tail:
            return low or 0, k
    return low or 0, count


def share_row(check: str, seen: int, count: int, share: float, also: bool = True, note: str = "") -> Row:
    """A drawn share: inside the interval, and whatever else must hold."""
    low, high = binomial_interval(count, share)
    return Row(check, f"{low} to {high} of {count}", f"{seen}{note}", also and low <= seen <= high)


def kept_time(name: str, link: Link, crossing: Crossing) -> Row:
    """The rule that makes a run valid."""
    bound = link_may_ns(link.delay_ms) / 1e6
    worst = max(crossing.report[side]["lateness_ns"]["p99"] for side in SIDES) / 1e6
    why = f" ({crossing.report['why']})" if crossing.report["why"] else ""
    return Row(f"{name}: lateness, p99", f"<= {bound:g} ms", f"{worst:.3f} ms{why}", crossing.report["valid"])


def paced(link: Link, most: float, size: int = SMALL) -> float:
    """Datagrams a second that leave the link's queue empty."""
    return min(most, link.rate_mbit * 1e6 / 2 / ((size + HEADS) * 8)) if link.rate_mbit else most


# The checks. Each runs one link and gives rows.


def round_trips(link: Link, seconds: float = 2.5) -> list[Row]:
    """Mean of an echo, against the link's delay (half of the jitter and the time on the wire come to it, each way)."""
    plan = {**steady(paced(link, PING_RATE), seconds), "echo": True}
    crossing = cross(link, plan, {**QUIET, "echo": True}, seconds)
    serial_ms = (SMALL + HEADS) * 8 / (link.rate_mbit * 1e3) if link.rate_mbit else 0.0
    one_way = link.delay_ms + link.jitter_ms / 2 + link.reorder * link.reorder_ms + serial_ms
    wanted, seen = 2 * one_way, crossing.client["mean_ns"] / 1e6
    # jitter is drawn: the mean of n has a deviation of its own (twice a uniform draw; 2.58 for 99 %)
    drawn = 2.58 * link.jitter_ms / math.sqrt(6 * plan["count"]) + (2.58 * link.reorder_ms * math.sqrt(
        2 * link.reorder * (1 - link.reorder) / plan["count"]))  # fmt: skip
    bound = RTT_ERROR_MAX * wanted + drawn
    name = f"RTT {wanted:.4g} ms"
    passed = abs(seen - wanted) <= bound and crossing.client["received"] >= plan["count"]
    return [
        Row(f"{name}: mean", f"{wanted:.3f} +- {bound:.3f} ms", f"{seen:.3f} ms, {seen / wanted - 1:+.2%}", passed),
        kept_time(name, link, crossing),
    ]


def losses(link: Link, seconds: float = 4.0) -> list[Row]:
    """Independent losses of both directions, as the ends see them and as the router counts them."""
    rate = paced(link, PACE)
    plan = steady(rate, seconds)
    crossing = cross(link, plan, plan, seconds)
    rows = []
    for side, far in (("client", crossing.server), ("server", crossing.client)):
        counted = crossing.report[side]["dropped"]["loss"]
        rows.append(
            share_row(
                f"loss {link.loss:.3g}, from the {side}",
                far["missing"],
                plan["count"],
                link.loss,
                counted == far["missing"],
                f" (router: {counted})",
            )
        )
    return rows


def bursts(link: Link, seconds: float = 10.0) -> list[Row]:
    """Losses in bursts: the share of the time, and how many in a row."""
    rate = paced(link, BURST_PACE)
    plan = steady(rate, seconds)
    crossing, note = cross_punctually(link, plan, seconds)
    bad, good = link.burst_ms, link.burst_ms * (1 - link.loss) / link.loss
    # an alternating process of these means, seen for so long: variance of the share of its time in one state
    spread = 2.58 * math.sqrt(link.loss * (1 - link.loss) * 2 * (bad * good / (bad + good)) / (seconds * 1e3))
    run = 1 / -math.expm1(-1e3 / rate / bad)
    rows = []
    for side, far in (("client", crossing.server), ("server", crossing.client)):
        share = far["missing"] / plan["count"]
        rows.append(
            Row(
                f"bursts of {bad:g} ms, from the {side}",
                f"{link.loss:.3f} +- {spread:.3f} lost",
                f"{share:.3f}",
                abs(share - link.loss) <= spread and crossing.report[side]["dropped"]["loss"] == far["missing"],
            )
        )
        count = max(1, far["missing_runs"])
        mean, bound = far["missing"] / count, 2.58 * run / math.sqrt(count) + run * 0.05
        rows.append(
            Row("  lost in a row, mean", f"{run:.1f} +- {bound:.1f}", f"{mean:.1f}{note}", abs(mean - run) <= bound)
        )
    return rows


def goodput(link: Link, seconds: float = 3.0) -> list[Row]:
    """A fifth more than the rate: what arrives, with IP headers, between the first and the last."""
    size = min(link.mtu - HEADS, LARGE)
    rate = 1.2 * link.rate_mbit * 1e6 / ((size + HEADS) * 8)
    crossing = cross(link, steady(rate, seconds, size), QUIET, seconds)
    far, out = crossing.server, crossing.report["client"]
    wire_bits = (far["received"] - 1) * (size + HEADS) * 8
    seen = wire_bits / max(1, far["last_ns"] - far["first_ns"]) * 1e3 / (1 - link.loss)
    error = seen / link.rate_mbit - 1
    dropped = out["dropped"]
    lost = dropped["queue"] + dropped["loss"]
    return [
        Row(
            f"goodput over {link.rate_mbit:g} Mbit/s",
            f"{link.rate_mbit:g} +- {RATE_ERROR_MAX:.0%}",
            f"{seen:.3f} Mbit/s, {error:+.2%}",
            abs(error) <= RATE_ERROR_MAX,
        ),
        Row(
            "  every datagram accounted for",
            f"{far['missing']} missing",
            f"{dropped['queue']} by the queue, {dropped['loss']} lost",
            lost == far["missing"] and dropped["queue"] > 0 and out["queue_high_bytes"] <= link.queue,
        ),
    ]


def full_queue(count: int = 100) -> list[Row]:
    """All at once: the queue takes what fits, and what leaves it meanwhile."""
    link = Link(delay_ms=10, rate_mbit=2, queue_bytes=30_000)
    burst = {**QUIET, "count": count, "size": LARGE, "every_ns": 0}
    crossing = cross(link, burst, QUIET, 0.5)
    fits = link.queue // (LARGE + HEADS)
    most = fits + 2  # 2 Mbit/s send a packet in 6 ms; a hundred are handed over in fewer than 12
    high = crossing.report["client"]["queue_high_bytes"]
    arrived = crossing.server["received"]
    return [
        Row(
            f"{count} at once into {link.queue} bytes",
            f"{fits} to {most} arrive",
            f"{arrived}, queue at most {high} B",
            fits <= arrived <= most and link.queue - LARGE - HEADS < high <= link.queue
            and crossing.report["client"]["dropped"]["queue"] == count - arrived,
        )
    ]  # fmt: skip


def overtaking() -> list[Row]:
    """A share comes later, and is overtaken; nothing is lost."""
    link = Link(delay_ms=10, reorder=0.05, reorder_ms=5)
    plan = steady(PACE, 3)
    crossing = cross(link, plan, QUIET, 3)
    out, far = crossing.report["client"], crossing.server
    same = far["late"] == out["overtaken"] and not far["missing"]
    note = f" (overtaken {out['overtaken']}, seen {far['late']})"
    return [
        share_row("reordered 0.05 by 5 ms", out["reordered"], plan["count"], link.reorder, same, note),
        share_row("  arrived after later ones", far["late"], plan["count"], link.reorder),
    ]


def doubling() -> list[Row]:
    """A share arrives twice."""
    link = Link(delay_ms=10, duplicate=0.03)
    plan = steady(PACE, 3)
    crossing = cross(link, plan, QUIET, 3)
    counted = crossing.report["client"]["duplicated"]
    note = f" (router: {counted})"
    return [share_row("duplicated 0.03", crossing.server["twice"], plan["count"], link.duplicate,
                      counted == crossing.server["twice"] and not crossing.server["missing"], note)]  # fmt: skip


def damage() -> list[Row]:
    """A share is damaged: the receiving kernel must refuse them all, by their checksums."""
    link = Link(delay_ms=10, corrupt=0.03)
    plan = steady(PACE, 3)
    crossing = cross(link, plan, QUIET, 3)
    counted, far = crossing.report["client"]["corrupted"], crossing.server
    # a byte of the length or of the checksum itself may make another error, or none: 0 means no checksum
    whole = 0 <= counted - far["missing"] <= 3 and far["bad_checksums"] <= counted
    note = f" ({far['missing']} refused, {far['bad_checksums']} for the sum)"
    return [share_row("corrupted 0.03", counted, plan["count"], link.corrupt, whole, note)]


def silence() -> list[Row]:
    """A hole lasts as long as it should."""
    link = Link(delay_ms=10, hole_at_s=0.5, hole_s=0.4)
    plan = steady(1000, 2)
    crossing, note = cross_punctually(link, plan, 2)
    gaps = [end["longest_gap_ns"] / 1e6 for end in (crossing.client, crossing.server)]
    counted = [crossing.report[side]["dropped"]["hole"] for side in SIDES]
    return [
        Row(
            "nothing for 400 ms",
            "398 to 406 ms, both ways",
            f"{gaps[0]:.1f} and {gaps[1]:.1f} ms, {counted[0]} and {counted[1]} dropped{note}",
            all(398 <= gap <= 406 for gap in gaps) and all(396 <= count <= 404 for count in counted),
        )
    ]


def too_large() -> list[Row]:
    """A link narrower than its ends believe drops in silence what is too large, and nothing else."""
    link = Link(delay_ms=10, mtu=1000)
    counts = []
    for size in (link.mtu - HEADS, link.mtu - HEADS + 1):
        crossing = cross(link, steady(1000, 0.2, size), QUIET, 0.2, device_mtu=1500)
        counts.append((crossing.server["received"], crossing.report["client"]["dropped"]["mtu"]))
    text = "; ".join(f"{arrived} arrive, {dropped} dropped" for arrived, dropped in counts)
    return [Row("MTU 1000: packets of 1000, of 1001", "200, 0; 0, 200", text, counts == [(200, 0), (0, 200)])]


def throughput(link: Link | None = None, seconds: float = 4.0) -> list[Row]:
    """5,000 packets a second each way, both ends busy."""
    link = link or Link(delay_ms=5)
    plan = steady(paced(link, PACE), seconds)
    crossing = cross(link, plan, plan, seconds)
    gone = crossing.server["missing"] + crossing.client["missing"]
    share = crossing.report["cpu_s"] / max(crossing.report["seconds"], 1e-9)
    row = kept_time(f"{plan['count'] / seconds:.0f} packets/s each way", link, crossing)
    passed = row.passed and (gone == 0 or link.loss > 0)
    return [replace(row, seen=f"{row.seen}, router {share:.0%} of a core", passed=passed)]


def stream(congestion: str, size: int = 512 * 1024) -> list[Row]:
    """Kernel TCP crosses 15 ms, 2 % loss, 10 Mbit/s."""
    link = Link(delay_ms=15, loss=0.02, rate_mbit=10)
    with Emulator(link, SEED, congestion=congestion) as emulator, ExitStack() as stack:
        ends = {side: stack.enter_context(Child(side, "bench.link.traffic")) for side in SIDES}
        for side, kind in (("server", "tcp-take"), ("client", "tcp-send")):
            ends[side].tell({"kind": kind, **whereabouts(emulator, side)})
            ends[side].hear("ready", monotonic() + REPLY_S)
        ends["client"].tell({"bytes": size, "congestion": congestion})
        sent = ends["client"].hear("result", monotonic() + REPLY_S)
        report = emulator.report()
    rate = size * 8 / sent["seconds"] / 1e6
    lost = report["client"]["dropped"]["loss"]
    passed = sent["whole"] and lost > 0 and rate <= link.rate_mbit
    name = f"kernel TCP, {congestion}"
    return [
        Row(f"{name}, over {link.title}", f"{size // 1024} KiB whole", f"{rate:.2f} Mbit/s, {lost} lost", passed),
    ]


Check = Callable[[], list[Row]]


def suite() -> list[tuple[str, Check]]:
    """All checks, by name."""
    return [
        *((f"RTT {rtt} ms", lambda rtt=rtt: round_trips(Link(delay_ms=rtt / 2))) for rtt in (10, 20, 50, 100)),
        ("jitter", lambda: round_trips(Link(delay_ms=20, jitter_ms=5))),
        *((f"loss {loss:g}", lambda loss=loss: losses(Link(delay_ms=10, loss=loss))) for loss in (0.005, 0.02, 0.1)),
        ("bursts", lambda: bursts(Link(delay_ms=10, loss=0.1, burst_ms=4))),
        ("goodput", lambda: goodput(Link(delay_ms=10, rate_mbit=10))),
        ("full queue", full_queue),
        ("reordering", overtaking),
        ("duplicates", doubling),
        ("damage", damage),
        ("hole", silence),
        ("MTU", too_large),
        ("5,000 a second", throughput),
        ("CUBIC", lambda: stream("cubic")),
        ("BBR", lambda: stream("bbr")),
    ]


def suite_for(link: Link) -> list[tuple[str, Check]]:
    """The checks that say something about one link; its hole is left out."""
    link = replace(link, hole_at_s=0.0, hole_s=0.0)
    checks: list[tuple[str, Check]] = [("lateness", lambda: throughput(link))]
    if not link.loss:
        checks.append(("RTT", lambda: round_trips(link)))
    if link.rate_mbit:
        checks.append(("goodput", lambda: goodput(link)))
    if link.loss and not (link.duplicate or link.corrupt):
        checks.append(("loss", lambda: bursts(link) if link.burst_ms else losses(link)))
    return checks


def validate(link: Link | None = None) -> int:
    """Runs the suite, or what suits `link`; prints the table. Gives 0, or 1 when a row failed.

    Raises:
        FAILURES: a check could not be made.
    """
    checks = suite_for(link) if link else suite()
    rows: list[Row] = []
    with Progress("link", len(checks)) as progress:
        for done, (name, check) in enumerate(checks, 1):
            rows += check()
            progress.update(done, name)
    cells = [[row.check, row.wanted, row.seen, "PASS" if row.passed else "FAIL"] for row in rows]
    print(table(["check", "wanted", "seen", "verdict"], cells, left=4))
    failed = sum(not row.passed for row in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} passed")
    return int(failed > 0)
