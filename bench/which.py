"""`python -m bench which`: the answer to "which transport should I use", looked up in what was measured.

A question is a link, a size, a rate and a promise. It is answered from the nearest cell of the result files, which is
named; figures of two files are never compared, because only those of one run can be. It must never answer from a cell
that is far from the question, nor guess between two.
"""

from __future__ import annotations

import argparse
import math
import re
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import schema
from bench.cases import bytes_text
from bench.link.model import Link
from bench.ranking import LEVEL, is_ranked, level, p99, ranked, unknown
from bench.series import count_text, link_of, total_rate
from bench.summary import ANY_ORDER, GUARANTEES, IN_ORDER, SHORT, Cell, summarize
from bench.sweeps import CONNECTIONS, RATE
from bench.tables import WIDTH, Row, microseconds, milliseconds, percentile_text, table, wrapped

NEAR = {"round-trip time": 2.0, "payload": 4.0, "rate": 4.0}  # by which factor a cell may be off; of all else, 2
NEAR_ELSE = 2.0
SMALLEST = {  # what is below it is as good as nothing, so that 0 is near it and far from twice as much
    "delay_ms": 0.5, "jitter_ms": 1.0, "loss": 0.001, "burst_ms": 5.0, "reorder": 0.005, "reorder_ms": 1.0,
    "duplicate": 0.005, "corrupt": 0.005, "rate_mbit": 0.01, "queue_bytes": 1000, "hole_at_s": 0.01, "hole_s": 0.01,
}  # fmt: skip
WORDS = {"delay_ms": "round-trip time", "loss": "loss", "jitter_ms": "jitter", "burst_ms": "bursts"}
SHARE_LEVEL = 0.001  # of the planned messages; closer shares within a deadline are level
UNITS_NS = {"us": 1e3, "ms": 1e6, "s": 1e9}


class NoAnswer(KeyError):
    """Nothing near the question was measured, or nothing that counts; the text says what there is."""


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to know.

    Args:
        link: None for one machine.
        payload: bytes. rate: messages a second in all.
        guarantees: the promises that will do, the strictest first.
        deadline_ns: rank by the share of messages that come within it; None to rank by p99.
    """

    link: Link | None
    payload: int = 64
    rate: float = RATE * CONNECTIONS
    guarantees: tuple[str, ...] = (IN_ORDER, ANY_ORDER)
    deadline_ns: float | None = None

    @property
    def title(self) -> str:
        """In words."""
        where = "loopback" if self.link is None else self.link.title
        by = "" if self.deadline_ns is None else f"; within {milliseconds(self.deadline_ns)} ms"
        return f"{where}; {bytes_text(self.payload)}, {count_text(self.rate)} messages a second{by}"


@dataclass(frozen=True, slots=True)
class Source:
    """A result file with what was made of it."""

    name: str
    data: dict[str, Any]
    cells: dict[str, list[Cell]]

    @staticmethod
    def load(path: Path) -> Source:
        """Raises SchemaError or OSError."""
        data = schema.load(path)
        return Source(path.name, data, summarize(data))

    @property
    def cases(self) -> list[dict[str, Any]]:
        """Those of the open loop that were run; the others say nothing about latency under load."""
        return [case for case in self.data["cases"] if case["mode"] == "open" and self.cells[case["id"]]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The nearest cell, ranked.

    Attributes:
        off: in which quantities the cell differs from the question, in words.
        order: best first, everybody whose promise will do. choice: the cheapest of those level with the best.
        left_out: the peers without a figure that counts.
    """

    question: Question
    source: Source
    case: dict[str, Any]
    off: list[str]
    order: list[Cell]
    choice: Cell
    left_out: list[Cell]


# Nearness ------------------------------------------------------------------------------------------------------------
def gaps(question: Question, case: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """For each quantity: how many times the larger value is the smaller, what was asked, what was measured."""
    found = {
        "payload": (float(question.payload), float(case["payload"])),
        "rate": (question.rate, total_rate(case)),
    }
    asked, measured = (question.link or Link()).as_dict(), link_of(case).as_dict()
    pairs = {name: (max(a, 1e-12), max(b, 1e-12)) for name, (a, b) in found.items()}
    for name, smallest in SMALLEST.items():
        factor = 2.0 if name == "delay_ms" else 1.0
        pairs[WORDS.get(name, name)] = (factor * max(asked[name], smallest), factor * max(measured[name], smallest))
        found[WORDS.get(name, name)] = (factor * asked[name], factor * measured[name])
    return {name: (max(a / b, b / a), *found[name]) for name, (a, b) in pairs.items()}


def is_near(question: Question, case: dict[str, Any]) -> bool:
    """Whether a cell may answer the question at all."""
    if (question.link is None) != (not case.get("link")) or not case.get("rate") or case.get("trace"):
        return False
    return all(gap <= NEAR.get(name, NEAR_ELSE) * 1.0001 for name, (gap, _, _) in gaps(question, case).items())


def distance(question: Question, case: dict[str, Any]) -> float:
    """How far a cell is from the question: factors multiplied, as a logarithm."""
    return sum(math.log(gap) for gap, _, _ in gaps(question, case).values())


def differences(question: Question, case: dict[str, Any]) -> list[str]:
    """What a reader must know about the cell."""
    return [f"{name} {shown(name, measured)} for {shown(name, asked)}"
            for name, (_, asked, measured) in gaps(question, case).items() if abs(asked - measured) > 1e-9]  # fmt: skip


def shown(name: str, value: float) -> str:
    """A quantity with its unit."""
    if name in ("round-trip time", "jitter", "bursts"):
        return f"{value:g} ms"
    return f"{100 * value:g} %" if name in ("loss", "reorder", "duplicate", "corrupt") else f"{value:g}"


# Ranking -------------------------------------------------------------------------------------------------------------
def cost(cell: Cell) -> float:
    """What decides among those that are level: bytes on the wire, over loopback CPU time."""
    return cell.cpu_ns if cell.wire_bytes is None else cell.wire_bytes


def order_of(cells: list[Cell], guarantees: tuple[str, ...], deadline_ns: float | None) -> list[Cell]:
    """Best first."""
    found = ranked(cells, *guarantees)
    if deadline_ns is not None:
        found.sort(key=lambda cell: -cell.share_within(deadline_ns))  # stable: equal shares stay by p99
    return found


def level_with(order: list[Cell], deadline_ns: float | None) -> list[Cell]:
    """The best and those that can't be told from it."""
    if deadline_ns is None:
        return level(order)
    best = order[0].share_within(deadline_ns)
    return [cell for cell in order if cell.share_within(deadline_ns) >= best - SHARE_LEVEL]


def choose(order: list[Cell], deadline_ns: float | None) -> Cell:
    """The cheapest of those that are level with the best."""
    return min(level_with(order, deadline_ns), key=cost)


def answer(question: Question, sources: list[Source]) -> Answer:
    """Looks the question up.

    Raises:
        NoAnswer: nothing near was measured, or nothing near has a p99 that counts.
    """
    near = [(source, case) for source in sources for case in source.cases if is_near(question, case)]
    if not near:
        raise NoAnswer(f"nothing near was measured: {question.title}; there is: {offered(question, sources)}")
    usable = [(source, case) for source, case in near if ranked(source.cells[case["id"]], *question.guarantees)]
    if not usable:
        raise NoAnswer(
            f"near it, no peer that promises enough has a p99 that counts (failed, invalid or too few samples): "
            f"{near[0][1]['title']} in {near[0][0].name}"
        )
    source, case = min(usable, key=lambda pair: (round(distance(question, pair[1]), 6), -newness(pair[0])))
    cells = source.cells[case["id"]]
    order = order_of(cells, question.guarantees, question.deadline_ns)
    strict = order_of(cells, question.guarantees[:1], question.deadline_ns) or order
    if question.guarantees[-1] not in (IN_ORDER, ANY_ORDER):
        strict = order
    left_out = [cell for cell in cells if not is_ranked(cell) and cell.peer["kind"] != "floor"]
    return Answer(question, source, case, differences(question, case), order, choose(strict, question.deadline_ns),
                  left_out)  # fmt: skip


def newness(source: Source) -> float:
    """The later a file was begun, the larger."""
    return float(re.sub(r"\D", "", str(source.data["started"])[:19]) or 0)


def offered(question: Question, sources: list[Source]) -> str:
    """What could be asked, shortly, the nearest first."""
    cases = [case for source in sources for case in source.cases if case.get("rate") and not case.get("trace")]
    if not cases:
        return "no open loop at all"
    cases.sort(key=lambda case: ((question.link is None) != (not case.get("link")), distance(question, case)))
    titles = list(dict.fromkeys(case["title"] for case in cases))
    return "; ".join(titles[:3]) + (f"; and {len(titles) - 3} more" if len(titles) > 3 else "")


# Text ----------------------------------------------------------------------------------------------------------------
def figure_of(cell: Cell, deadline_ns: float | None) -> str:
    """The figure that ranks."""
    if deadline_ns is None:
        return f"p99 {milliseconds(p99(cell))} ms"
    return f"{100 * cell.share_within(deadline_ns):.2f} % within {milliseconds(deadline_ns)} ms"


def answer_text(found: Answer) -> str:
    """For a terminal."""
    deadline = found.question.deadline_ns
    head = ["", "promise", "p50", "p99", "p99.9", "max"] + ([f"<={milliseconds(deadline)}ms %"] if deadline else [])
    rows: list[Row] = []
    for cell in found.order:
        promise = SHORT[cell.guarantee] or "in order"
        figures = [percentile_text(cell, name) for name in ("p50", "p99", "p999")]
        row = [cell.peer["id"], promise, *figures, milliseconds(cell.longest)]
        row += [f"{100 * cell.share_within(deadline):.2f}"] if deadline else []
        rows.append([*row, f"{cell.lost_percent:.2f}", microseconds(cell.cpu_ns), wire_text(cell)])
    tool = found.source.data["tool"]
    same = level_with(found.order, deadline)
    if found.choice not in same:  # others are lower, but promise less
        same = level_with([cell for cell in found.order if cell.guarantee == found.choice.guarantee], deadline)
    others = [cell.peer["id"] for cell in same if cell is not found.choice]
    lines = [
        f"asked     {found.question.title}",
        f"measured  {found.case['title']}" + (f" ({', '.join(found.off)})" if found.off else ""),
        f"          {found.source.name}, {found.source.data['started'][:10]}, {tool['command']}",
        f"use       {found.choice.peer['id']}: {figure_of(found.choice, deadline)}, {found.choice.guarantee}"
        + (f"; level with it: {', '.join(others)}" if others else ""),
    ]
    less = found.order[:1] if found.choice not in level_with(found.order, deadline) else []
    if less:
        lines.append(f"          {less[0].peer['id']}: {figure_of(less[0], deadline)}, if this will do: "
                     f"{less[0].guarantee}")  # fmt: skip
    blind = unknown(found.left_out)
    if blind:
        lines.append(f"          no valid round of {', '.join(blind)}: might be better; measure again")
    text = ["\n".join(map(hung, lines)), table([*head, "lost %", "cpu us", "wire B"], rows, 2)]
    notes = [f"  {cell.peer['id']}: {reason(cell)}" for cell in found.left_out]
    if notes:
        text.append("\n".join(["not ranked:", *map(wrapped, notes)]))
    by = "share within the deadline" if deadline else f"p99; within {100 * LEVEL:.0f} % of the lowest is level"
    text.append(
        wrapped(
            f"Ranked by {by}; of those level, the cheapest is named (bytes on the wire, over loopback CPU). ms, one "
            "way, from the planned time; cpu and wire B: both ends, a message."
        )
    )
    return "\n\n".join(text)


def hung(line: str) -> str:
    """A line whose first ten columns are its head, in as many lines as it takes."""
    rest = textwrap.wrap(line[10:], WIDTH - 10, break_on_hyphens=False)
    return "\n".join([line[:10] + rest[0], *(" " * 10 + more for more in rest[1:])])


def wire_text(cell: Cell) -> str:
    """Bytes on the wire a message."""
    return "-" if cell.wire_bytes is None else f"{cell.wire_bytes:.0f}"


def reason(cell: Cell) -> str:
    """Why a peer is not ranked."""
    for item in cell.failed:
        return f"{item['status']}: {str(item['why']).splitlines()[0]}"
    return "too few samples for a p99"


# Command -------------------------------------------------------------------------------------------------------------
def duration_ns(text: str) -> float:
    """Reads "100ms", "2s", "500us"."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(us|ms|s)", text.strip())
    if found is None or not float(found[1]):
        raise argparse.ArgumentTypeError("a time above 0 with one of the units us, ms, s")
    return float(found[1]) * UNITS_NS[found[2]]


def add(sub: argparse.ArgumentParser) -> None:
    """The command's options."""
    sub.add_argument("files", nargs="+", type=Path, metavar="FILE", help="results of rate, loss, sweep or all")
    sub.add_argument("--link", default=None, metavar="TEXT", help="delay=25ms,loss=2%%,...; without: loopback")
    sub.add_argument("--rtt", type=float, default=None, metavar="MS", help="round-trip time, instead of --link")
    sub.add_argument("--loss", type=float, default=None, metavar="PERCENT", help="each way, instead of --link")
    sub.add_argument("--payload", type=int, default=64, metavar="BYTES", help="of a message (default 64)")
    sub.add_argument("--rate", type=float, default=RATE * CONNECTIONS, help="messages a second in all (default 1000)")
    sub.add_argument("--deadline", type=duration_ns, default=None, metavar="TIME", help="rank by the share within it")
    promise = sub.add_mutually_exclusive_group()
    promise.add_argument("--reliable", action="store_true", help="everything must arrive (the default)")
    promise.add_argument("--may-lose", action="store_true", help="messages may be lost")
    sub.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write every situation that was measured, and choices"
    )


def question_of(options: argparse.Namespace) -> Question:
    """Raises BadLink, and KeyError for options that exclude each other."""
    if options.link is not None and (options.rtt is not None or options.loss is not None):
        raise KeyError("--link says it all: leave --rtt and --loss out")
    if options.payload < 1 or not options.rate > 0:
        raise KeyError("--payload and --rate are above 0")
    link = Link.parse(options.link or "")
    link = (
        replace(link, delay_ms=(options.rtt or 0.0) / 2, loss=(options.loss or 0.0) / 100) if not options.link else link
    )
    guarantees = GUARANTEES if options.may_lose else (IN_ORDER, ANY_ORDER)
    return Question(None if link == Link() else link, options.payload, options.rate, guarantees, options.deadline)


def run(options: argparse.Namespace) -> int:
    """`which`. Raises NoAnswer, SchemaError, OSError."""
    sources = [Source.load(path) for path in options.files]
    if options.markdown is not None:
        from bench.report.situations import document  # the page's parts, which a question does not need

        text = document(sources, [path.name for path in options.files], options.markdown.name)
        options.markdown.write_text(text, encoding="utf-8")
        print(f"markdown  {options.markdown}")
        return 0
    print(answer_text(answer(question_of(options), sources)))
    return 0
