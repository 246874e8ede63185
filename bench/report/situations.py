"""docs/which-transport.md: every situation that was measured with the transport that its figures speak for.

Generated from result files and from nothing else. It must never hold a figure or a choice that a person put there, nor
compare two files.
"""

from __future__ import annotations

import textwrap
from typing import Any

from bench.environment import one_line
from bench.ranking import LEVEL, is_ours, p99, ranked, unknown
from bench.report.findings import counted
from bench.report.markdown import rows_to_markdown
from bench.series import alone, tabled
from bench.summary import ANY_ORDER, IN_ORDER, MAY_LOSE, Cell, unpublishable
from bench.tables import congestion_text, microseconds, milliseconds
from bench.which import NoAnswer, Source, choose, level_with, wire_text

HEAD = ["situation", "everything, in order", "p99 ms", "within 100 ms", "wire B", "cpu us", "level with it",
        "if order does not matter", "if messages may be lost"]  # fmt: skip
NOTHING = "no gain"
WIDTH = 120


def document(sources: list[Source], files: list[str], target: str) -> str:
    """The whole page.

    Raises:
        NoAnswer: no cell of any file has a figure that counts.
    """
    words = [
        "# Which transport should I use",
        f"<!-- Generated: python -m bench which {' '.join(files)} --markdown {target}. Do not edit. -->",
        "Every choice below is computed from the figures of benchmark runs: messages sent one way at times fixed in "
        "advance, latency counted from the planned time. In each situation the transport with the lowest 99th "
        f"percentile is looked up among those that deliver everything in order; whose p99 is within {100 * LEVEL:.0f} "
        "% of it is level with it, and of these the cheapest is named: fewest bytes on the wire, over loopback least "
        "CPU time. A transport that failed a round in a situation is never named there, nor are the benchmark's "
        "floors; one without a valid round (the machine was too busy) might be better than the one named. The last "
        "two columns say what is gained by asking for less.",
        "Your own situation: `python -m bench which FILE --rtt 50 --loss 2 --payload 64 --deadline 100ms`.",
    ]
    parts = [filled(text) for text in words]
    bodies = [body for source in sources if (body := source_part(source))]
    if not bodies:
        raise NoAnswer("no open loop of these files has a p99 that counts: nothing can be recommended")
    for body in bodies:
        parts += body
    return "\n\n".join(parts) + "\n"


def filled(text: str) -> str:
    """A paragraph in lines of a document's width."""
    return textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False)


def source_part(source: Source) -> list[str]:
    """The tables of one file; nothing where it has no situation with a figure."""
    groups = [
        (f"{family.title}, by {family.axis.name}",
         [(f"{name + ', ' if name else ''}{family.axis.short(value)}", case)
          for name, points in family.panels for value, case in points])
        for family in tabled(source.cases)
    ]  # fmt: skip
    groups += [("Other situations", [(case["title"], case)]) for case in alone(source.cases)]
    parts: list[str] = []
    chosen: dict[str, list[Any]] = {}  # named, lowest or level, a cell of it
    counted_cases: set[str] = set()
    for title, situations in groups:
        rows = []
        for name, case in situations:
            row, choice = situation_row(name, source.cells[case["id"]])
            rows.append(row)
            if choice is not None and case["id"] not in counted_cases:
                counted_cases.add(case["id"])
                for cell in ranked(source.cells[case["id"]], IN_ORDER):
                    chosen.setdefault(cell.peer["id"], [0, 0, cell])
                chosen[choice.peer["id"]][0] += 1
                for cell in level_with(ranked(source.cells[case["id"]], IN_ORDER), None):
                    chosen[cell.peer["id"]][1] += 1
        if any(row[1] != "-" for row in rows):
            parts += [f"## {title[:1].upper() + title[1:]}", rows_to_markdown(HEAD, rows)]
    if not counted_cases:
        return []
    return [
        *parts,
        "## How often each is the choice",
        choices_text(source, chosen, len(counted_cases)),
        provenance(source),
    ]


def situation_row(name: str, cells: list[Cell]) -> tuple[list[str], Cell | None]:
    """One situation, and its choice."""
    order = ranked(cells, IN_ORDER)
    bad = {"failed": [cell.peer["id"] for cell in cells if cell.has_failed], "no valid round": unknown(cells)}
    notes = "; ".join(f"{word}: {', '.join(names)}" for word, names in bad.items() if names)
    if not order:
        return [name, "-", *[""] * (len(HEAD) - 2)], None
    choice = choose(order, None)
    others = [cell.peer["id"] for cell in level_with(order, None) if cell is not choice]
    text = [
        name + (f" ({notes})" if notes else ""),
        f"**{choice.peer['id']}**", milliseconds(p99(choice)), f"{100 * choice.within:.2f} %", wire_text(choice),
        microseconds(choice.cpu_ns), ", ".join(others) or "nobody", gain(cells, ANY_ORDER, order),
        gain(cells, MAY_LOSE, order),
    ]  # fmt: skip
    return text, choice


def gain(cells: list[Cell], guarantee: str, order: list[Cell]) -> str:
    """The best of those that promise less, where it is lower by more than the level."""
    less = ranked(cells, guarantee)
    if not less:
        return "-"
    if p99(less[0]) * (1 + LEVEL) >= p99(order[0]):
        return NOTHING
    lost = f", {less[0].lost_percent:.2f} % lost" if guarantee == MAY_LOSE else ""
    return f"{less[0].peer['id']}: {milliseconds(p99(less[0]))} ms{lost}"


def choices_text(source: Source, chosen: dict[str, list[Any]], total: int) -> str:
    """Who is named how often, the losers too."""
    order = sorted(chosen.values(), key=lambda entry: (-entry[0], -entry[1]))
    titles = {peer["id"]: peer["title"] for peer in source.data["peers"]}
    rows = [
        [f"**{cell.peer['id']}**" if is_ours(cell) else cell.peer["id"], titles.get(cell.peer["id"], ""),
         f"{named} of {total}", f"{same} of {total}", str(failures(source, cell.peer["id"]))]
        for named, same, cell in order
    ]  # fmt: skip
    return rows_to_markdown(["", "what", "named", "lowest or level", "failed rounds"], rows)


def failures(source: Source, peer: str) -> int:
    """Rounds of the open loop that a peer failed."""
    names = {case["id"] for case in source.cases}
    return sum(item["status"] == "FAIL" and item["peer"] == peer and item["case"] in names
               for item in source.data["rounds"])  # fmt: skip


def provenance(source: Source) -> str:
    """Where the figures come from."""
    data = source.data
    tool, config = data["tool"], data["config"]
    commit = f", commit {tool['commit'][:10]}{' with changes' if tool['dirty'] else ''}" if tool["commit"] else ""
    invalid = sum(item["status"] == "INVALID" for item in data["rounds"])
    flagged = sum(bool(item["flagged"]) for item in data["rounds"])
    warnings = ["a preview: short rounds"] if data["preview"] else []
    warnings += [] if data["complete"] else [f"incomplete: {data['why_incomplete']}"]
    warnings += [f"not for publishing: {why}" for why in unpublishable(data)]
    return (
        f"<sub>{source.name}: `{tool['command']}` on {data['started'][:10]}{commit}. "
        f"{counted(len(data['rounds']), 'round')} ({counted(config['rounds'], 'block')}), {invalid} invalid, {flagged} "
        f"over 4 % steal{''.join(f'; {text}' for text in warnings)}. {one_line(data['environment'])}, TCP congestion "
        f"control: {congestion_text(data)}. Latencies are medians over rounds; wire B and cpu us: both ends, a "
        "message.</sub>"
    )
