"""From rounds to the figures of a table: one `Cell` per case and peer.

Works on the result file alone, so that anybody can recompute every figure. Medians over rounds, never over messages;
rounds with much steal are in the headline figure and left out of the one beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.lateness import link_may_ns, sender_may_ns
from bench.schedule import TAIL_MESSAGES, TAIL_S_MAX
from bench.statistics import QUANTILES, bucket_value, median, merge_histograms

Result = dict[str, Any]
FLOOR_OF = {
    "tcp": "blocking-tcp",
    "tls": "blocking-tcp",
    "ws": "blocking-tcp",
    "unix": "blocking-unix",
    "udp": "blocking-udp",
    "rudp": "blocking-udp",
}
IN_ORDER = "everything, in order"
ANY_ORDER = "everything, in any order"
MAY_LOSE = "messages may be lost"
GUARANTEES = (IN_ORDER, ANY_ORDER, MAY_LOSE)
SHORT = {IN_ORDER: "", ANY_ORDER: "any order", MAY_LOSE: "may lose"}
SIDES = ("client", "server")  # of a link's report
DASH = "-: too few samples for that percentile; ~: there the sender or the link was late for too long"
EXTREMES = ("p999", "p9999")  # judged by themselves; up to the 99th the round is


@dataclass(slots=True)
class Cell:
    """One peer at one configuration.

    Attributes:
        rounds: that count, in block order; failed: that do not; flagged: among `rounds`, with too much steal.
        value: the headline figure: p50 in ns, or messages a second. quiet: the same without flagged rounds.
        low, high: range of that figure over rounds.
        within: share of an open loop's messages that arrived within 100 ms of their planned time.
        longest: the worst of its latencies (ns).
        late: p99 of how much later than planned the sender handed a message over (ns), median over rounds.
        wire_bytes, wire_packets: what crossed the emulated link in both directions, IP headers and what was lost on it
            included, for each message of the plan; None where no link was emulated.
        link_late: p99 of how late the link released a packet (ns), the worse direction of the worst round, or None.
        doubtful: names of percentiles at which the harness was late in every round, see `is_disturbed`.
        x_floor: how many times the floor's figure (for throughput: what share of it), or None without a floor.
    """

    case: dict[str, Any]
    peer: dict[str, Any]
    rounds: list[Result] = field(default_factory=list)
    failed: list[Result] = field(default_factory=list)
    value: float | None = None
    quiet: float | None = None
    low: float = 0.0
    high: float = 0.0
    x_floor: float | None = None
    percentiles: dict[str, float | None] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    messages: int = 0
    cpu_ns: float = 0.0
    switches: float = 0.0
    lost_percent: float = 0.0
    within: float = 0.0
    longest: float = 0.0
    late: float = 0.0
    wire_bytes: float | None = None
    wire_packets: float | None = None
    link_late: float | None = None

    @property
    def status(self) -> str:
        """OK when a round counts; else what its rounds are, FAIL before INVALID."""
        if self.rounds:
            return "OK"
        return "FAIL" if self.has_failed else "INVALID"

    @property
    def again(self) -> int:
        """How many rounds were INVALID and have been run again."""
        return sum(item.get("again", 0) for item in [*self.rounds, *self.failed])

    @property
    def has_failed(self) -> bool:
        """Whether the peer failed in any round; a round that is INVALID says nothing about it."""
        return any(item["status"] == "FAIL" for item in self.failed)

    @property
    def guarantee(self) -> str:
        """What it promises of the messages of an open loop: `IN_ORDER`, `ANY_ORDER` or `MAY_LOSE`."""
        if not self.peer["reliable"]:
            return MAY_LOSE
        return IN_ORDER if self.peer.get("ordered", True) else ANY_ORDER

    def share_within(self, deadline_ns: float) -> float:
        """Share of an open loop's planned messages that came within a deadline, by the histogram (1.1 % wide)."""
        planned = sum(int(item["open"]["planned"]) for item in self.rounds)
        return sum(count for bucket, count in self.histogram if bucket_value(bucket) <= deadline_ns) / max(1, planned)

    @property
    def flagged(self) -> list[Result]:
        """Rounds whose steal was above the limit."""
        return [item for item in self.rounds if item["flagged"]]

    @property
    def is_latency(self) -> bool:
        """Whether less is better: closed and open loop."""
        return bool(self.case["mode"] != "throughput")

    @property
    def bytes_per_second(self) -> float:
        """Median over rounds (throughput only)."""
        return median(item["throughput"]["bytes_per_second"] for item in self.rounds)

    @property
    def histogram(self) -> list[tuple[int, int]]:
        """All rounds' samples (latency only)."""
        return merge_histograms(item["latency"]["hist"] for item in self.rounds)


def figure(item: Result) -> float:
    """A round's headline figure: p50 in ns, or messages received a second."""
    if "latency" in item:
        return float(item["latency"]["p50_ns"] or item["latency"]["mean_ns"])
    return float(item["throughput"]["per_second"])


def is_disturbed(item: Result, name: str, case: Result) -> bool:
    """Whether the sender or the link was too late for a percentile above the 99th; see `bench.lateness`."""
    latency_ns = item["latency"][f"{name}_ns"]
    if name not in EXTREMES or "open" not in item or latency_ns is None:
        return False
    late_ns = item["open"]["lateness"].get(f"{name}_ns")
    if late_ns is not None and late_ns > sender_may_ns(latency_ns):
        return True
    if "link" not in item or name not in item["link"][SIDES[0]]["lateness_ns"]:
        return False
    worst = max(item["link"][side]["lateness_ns"][name] for side in SIDES)
    return bool(worst > link_may_ns(case["link"]["delay_ms"]))


def cell_of(case: dict[str, Any], peer: dict[str, Any], rounds: list[Result]) -> Cell:
    """Sums up the rounds of one peer at one case."""
    cell = Cell(case, peer)
    for item in sorted(rounds, key=lambda one: one["block"]):
        (cell.rounds if item["status"] == "OK" else cell.failed).append(item)
    if not cell.rounds:
        return cell
    figures = [figure(item) for item in cell.rounds]
    quiet = [figure(item) for item in cell.rounds if not item["flagged"]]
    cell.value, cell.low, cell.high = median(figures), min(figures), max(figures)
    cell.quiet = median(quiet) if quiet else None
    cell.messages = sum(item["messages"] for item in cell.rounds)
    cell.cpu_ns = median(
        sum(use["cpu_ns"] for use in item["processes"].values()) / max(1, item["messages"]) for item in cell.rounds
    )
    cell.switches = median(
        sum(use["voluntary_switches"] + use["involuntary_switches"] for use in item["processes"].values())
        / max(1, item["messages"])
        for item in cell.rounds
    )
    if cell.is_latency:
        for name in QUANTILES:
            calm = [item for item in cell.rounds if not is_disturbed(item, name, cell.case)]
            values = [item["latency"][f"{name}_ns"] for item in calm or cell.rounds]
            cell.percentiles[name] = None if None in values else median(values)
            if not calm:
                cell.doubtful.add(name)
    if cell.case["mode"] == "open":
        planned = sum(item["open"]["planned"] for item in cell.rounds)
        cell.lost_percent = 100 * sum(item["open"]["lost"] for item in cell.rounds) / planned
        cell.within = sum(item["open"]["within_100ms"] * item["open"]["planned"] for item in cell.rounds) / planned
        cell.longest = max(item["latency"]["max_ns"] for item in cell.rounds)
        lates = [item["open"]["lateness"]["p99_ns"] or item["open"]["lateness"]["max_ns"] for item in cell.rounds]
        cell.late = median(lates)
    elif not cell.is_latency:
        cell.lost_percent = median(item["throughput"]["lost_percent"] for item in cell.rounds)
    return cell


def unpublishable(data: Result) -> list[str]:
    """Why figures of a result are not for publishing, however well the run went; empty for most."""
    said = (item["link"].get("unpublishable") for item in data["rounds"] if "link" in item)
    return list(dict.fromkeys(why for why in said if why))


def payload_mean(case: Result) -> float:
    """Bytes of a message, where sizes differ on average."""
    trace = case.get("trace")
    return float(trace["bytes"] / trace["messages"] if trace else case["payload"])


def messages_planned(case: Result, config: Result) -> float:
    """How many messages an open loop plans, those before and behind the measured stretch included; see `schedule`."""
    trace = case.get("trace")
    if trace:  # played once it has its own length, repeated it has the wanted one; the tail of a cut is left out
        return float(case["rate"] * case["connections"] * trace["length_s"] if trace["loop"] else trace["messages"])
    seconds = config["warmup"] + (case.get("seconds") or config["seconds"])
    return float(case["rate"] * case["connections"] * (seconds + min(TAIL_S_MAX, TAIL_MESSAGES / case["rate"])))


def link_figures(cell: Cell, config: Result) -> None:
    """What the link of an open loop saw; it counts from the first packet to the last, not in the measured stretch."""
    links = [item["link"] for item in cell.rounds if "link" in item]
    if not links or not cell.case.get("rate"):
        return
    planned = messages_planned(cell.case, config)
    cell.wire_bytes = median(sum(link[side]["bytes_in"] for side in SIDES) for link in links) / planned
    cell.wire_packets = median(sum(link[side]["packets_in"] for side in SIDES) for link in links) / planned
    cell.link_late = max(link[side]["lateness_ns"].get("p99") or 0 for link in links for side in SIDES)


def summarize(data: Result) -> dict[str, list[Cell]]:
    """Cells by case, those of a case in the peers' order of the file, with `x_floor` filled in."""
    peers = {peer["id"]: peer for peer in data["peers"]}
    result: dict[str, list[Cell]] = {}
    for case in data["cases"]:
        cells = {}
        for name in case["peers"]:
            rounds = [item for item in data["rounds"] if item["case"] == case["id"] and item["peer"] == name]
            if rounds:
                cells[name] = cell_of(case, peers[name.partition("@")[0]] | {"id": name}, rounds)
        for cell in cells.values():
            link_figures(cell, data["config"])
            floor = cells.get(FLOOR_OF.get(cell.peer["scheme"], ""))
            if floor is not None and floor.value and cell.value:
                cell.x_floor = cell.value / floor.value
        result[case["id"]] = list(cells.values())
    return result


def by_block(rounds: list[Result], case_id: str, peer: str) -> dict[int, float]:
    """A peer's figure in every block in which it succeeded."""
    return {
        item["block"]: figure(item)
        for item in rounds
        if item["case"] == case_id and item["peer"] == peer and item["status"] == "OK"
    }
