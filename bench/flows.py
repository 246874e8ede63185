"""Two flows over one emulated link: does one of them leave the other its share?

Both are one-way throughput, each with processes of its own, begun together and measured over the stretch that both
have. Jain's index over their rates: 1 when they are alike, 1/2 when one has everything (Jain, Chiu and Hawe 1984).
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from typing import Any

from bench.bars import simple_bar
from bench.cases import throughput
from bench.child import ChildFailed
from bench.link.emulator import Emulator, EmulatorFailed
from bench.link.model import Link
from bench.pair import Pair, Terms
from bench.peers import all_peers
from bench.runner import CONGESTION, place
from bench.scenarios.table import Found, Tick, seen
from bench.statistics import rate_in_window

LINK = Link(delay_ms=25.0, rate_mbit=10.0)  # a queue of one bandwidth-delay product
PAYLOAD = 1024
RIVALS = ("tcp-cubic", "tcp-bbr")
FLOWS = ("rudp", "rudp-bbr", "tcp-cubic", "tcp-bbr", "aioquic", "qh3", "pyenet", "kcp")
JAIN_MIN = 0.9  # of ours beside one kernel CUBIC flow


@dataclass(frozen=True, slots=True)
class Shared:
    """What two flows got.

    Attributes:
        one, other: payload, Mbit/s.
        late_ms: p99 of the link's lateness.
        why: what makes the figures invalid, or None.
    """

    one: float
    other: float
    late_ms: float
    why: str | None

    @property
    def jain(self) -> float:
        """Jain's index."""
        total = self.one + self.other
        return total * total / (2 * (self.one**2 + self.other**2)) if total else 0.0


def share(one: str, other: str, link: Link, seconds: float, warmup: float, seed: int) -> Shared:
    """Two peers by name at once over `link`.

    Raises:
        ChildFailed, EmulatorFailed: a side fell over.
    """
    case = throughput(PAYLOAD, link=link)
    peers = all_peers()
    with contextlib.ExitStack() as stack:
        between = stack.enter_context(Emulator(link, seed, CONGESTION))
        folders = [stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")) for _ in range(2)]
        pairs = [
            Pair(stack, case, peers[name], Terms(place(case), seconds, warmup, seed, folder), between)
            for name, folder in zip((one, other), folders, strict=True)
        ]
        for pair in pairs:
            pair.introduce()
        windows, marks = [], []
        for pair in pairs:
            said = pair.said()
            windows.append(said["window"])
            marks.append(pair.got(said["sent"])["marks"])
        report = between.report()
    begin, end = max(window["begin_ns"] for window in windows), min(window["end_ns"] for window in windows)
    rates = [rate_in_window(found, begin, end) for found in marks]
    late = max(report[side]["lateness_ns"]["p99"] for side in ("client", "server"))
    speeds = [rate["bytes_per_second"] * 8 / 1e6 if rate else 0.0 for rate in rates]
    return Shared(speeds[0], speeds[1], late / 1e6, None if report["valid"] else report["why"])


def run(tick: Tick, names: list[str], rounds: int, seconds: float, warmup: float, seed: int) -> Found:
    """Every peer beside each rival, `rounds` times: (bars, what was seen)."""
    rows, cells = [], []
    jains: list[float] = []
    for rival in RIVALS:
        for name in names:
            found = []
            for number in range(rounds):
                cell: dict[str, Any] = {"peer": name, "rival": rival, "round": number, "link": LINK.as_dict()}
                try:
                    shared = share(name, rival, LINK, seconds, warmup, seed + number)
                    cell |= {
                        "mbit": shared.one, "rival_mbit": shared.other, "jain": shared.jain, "late_ms": shared.late_ms,
                        "status": "INVALID" if shared.why else "OK", "why": shared.why,
                    }  # fmt: skip
                    found += [] if shared.why else [shared]
                except (ChildFailed, EmulatorFailed) as error:
                    cell |= {"status": "FAIL", "why": str(error)}
                cells.append(cell)
                tick(f"{name} beside {rival}")
            rows.append(row_of(name, rival, found, rounds))
            if (name, rival) == ("rudp", "tcp-cubic"):
                jains = [shared.jain for shared in found]
    title = "rudp beside one kernel CUBIC flow on 10 Mbit/s, RTT 50 ms, Jain, least of rounds"
    bar = simple_bar("share", title, "ratio", min(jains, default=None), JAIN_MIN, high=max(jains, default=None),
                     count=len(jains), direction=">=")  # fmt: skip
    note = (
        f"Both flows begin together; payload of {PAYLOAD} B messages over {LINK.title}, queue {LINK.queue} B, "
        f"{seconds:g} s after {warmup:g} s; medians of {rounds} rounds."
    )
    head = ["flow", "beside", "Mbit/s", "the other's", "Jain", "least", "rounds"]
    return ([bar] if "rudp" in names else []), seen("Two flows on one link", head, rows, cells, note)


def row_of(name: str, rival: str, found: list[Shared], rounds: int) -> list[str]:
    """One line of the table."""
    if not found:
        return [name, rival, "-", "-", "-", "-", f"0 of {rounds}"]
    middle = sorted(found, key=lambda shared: shared.jain)[len(found) // 2]
    least = min(shared.jain for shared in found)
    return [name, rival, f"{middle.one:.2f}", f"{middle.other:.2f}", f"{middle.jain:.3f}", f"{least:.3f}",
            str(len(found))]  # fmt: skip
