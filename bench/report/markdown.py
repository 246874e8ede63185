"""Markdown tables of a result, and the blocks of a README that they live in.

A figure in a README comes from here or not at all: everything between the two marks of a block is replaced. Which block
a file fills follows from the command that made it, so that several files can share one README.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.environment import one_line
from bench.report.findings import LEVEL_TEXT, sentences
from bench.series import Family, alone, tabled
from bench.summary import DASH, SHORT, Cell, summarize, unpublishable
from bench.tables import (
    BARS_HEAD,
    bar_row,
    best_of,
    congestion_text,
    grid_cell,
    grid_peers,
    lookup,
    microseconds,
    name_of,
    ordered,
    placement_text,
    rate_text,
    ratio_text,
)
from bench.tables import volume_text as volume

BLOCKS = frozenset({"rate", "loss", "sweep", "all", "bulk", "replay", "virtual"})  # commands with a block of their own
LARGE_BYTES = 8 * 1024


class ReadmeError(ValueError):
    """A README has no place for the tables."""


def rows_to_markdown(head: list[str], rows: list[list[str]]) -> str:
    """A pipe table, first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in [head, rule, *rows])


def bold(cell: Cell, texts: list[str]) -> list[str]:
    """Ours stand out."""
    return (
        [f"**{text}**" if text not in ("", "-") else text for text in texts] if cell.peer["kind"] == "ours" else texts
    )


def shown_name(cell: Cell) -> str:
    """A peer's name with its marks, which Markdown must not take for its own."""
    return name_of(cell).replace("*", "\\*")


def latency_markdown(cells: list[Cell]) -> str:
    """A closed-loop case."""
    rows = []
    for cell in ordered(cells):
        if cell.value is None:
            rows.append([shown_name(cell), "FAIL", "", "", ""])
            continue
        rows.append(
            bold(
                cell,
                [
                    shown_name(cell),
                    microseconds(cell.value),
                    microseconds(cell.percentiles["p90"]),
                    microseconds(cell.percentiles["p99"]),
                    ratio_text(cell.x_floor),
                ],
            )
        )
    return rows_to_markdown(["", "p50 us", "p90 us", "p99 us", "x floor"], rows)


def throughput_markdown(groups: list[tuple[dict[str, Any], list[Cell]]]) -> str:
    """All throughput cases side by side, ordered by the first."""
    names: dict[str, Cell] = {}
    for _, cells in groups:
        for cell in ordered(cells):
            names.setdefault(cell.peer["id"], cell)
    rows = []
    for name, first in names.items():
        row = [first.peer["title"]]
        for case, cells in groups:
            found = next((cell for cell in cells if cell.peer["id"] == name), None)
            row.append(throughput_figure(case, found))
        rows.append(bold(first, row))
    return rows_to_markdown(["", *[short_title(case) for case, _ in groups]], rows)


def throughput_figure(case: dict[str, Any], cell: Cell | None) -> str:
    """Messages a second, or bytes a second where messages are large; losses beside it."""
    if cell is None:
        return "-"
    if cell.value is None:
        return "FAIL"
    text = volume(cell.bytes_per_second) if case["payload"] >= LARGE_BYTES else f"{rate_text(cell.value)}/s"
    return text + (f" ({cell.lost_percent:.0f} % lost)" if cell.lost_percent >= 0.5 else "")


def short_title(case: dict[str, Any]) -> str:
    """The part of a throughput case's title that tells it from the others."""
    return str(case["title"]).removeprefix("throughput, one way, ")


def markdown(data: dict[str, Any]) -> str:
    """The tables of a result, with where they come from."""
    parts = []
    if data["preview"]:
        parts.append("*Preview: short rounds, for a first look.*")
    if not data["complete"]:
        parts.append(f"*Incomplete: {data['why_incomplete']}.*")
    summary = {name: cells for name, cells in summarize(data).items() if cells}
    config = data["config"]
    run = f"{config['rounds']} rounds x {config['seconds']:g} s"
    for case in data["cases"]:
        if case["mode"] == "latency" and case["id"] in summary:
            parts.append(f"**{case['title'][:1].upper() + case['title'][1:]}** ({placement_text(data, case)}, {run})")
            parts.append(latency_markdown(summary[case["id"]]))
    for placement in ("each", "same", "free"):
        groups = [
            (case, summary[case["id"]])
            for case in data["cases"]
            if case["mode"] == "throughput" and case["placement"] == placement and case["id"] in summary
        ]
        if groups:
            parts.append(f"**Throughput, one way, messages received** ({placement_text(data, groups[0][0])}, {run})")
            parts.append(throughput_markdown(groups))
    parts += open_markdown(data, summary)
    for seen in data["probes"].values():
        if "table" in seen:
            table = seen["table"]
            parts += [
                f"**{table['title']}**",
                rows_to_markdown(table["head"], table["rows"]),
                *filter(None, [table["note"]]),
            ]
    if data["bars"]:
        parts.append(rows_to_markdown(BARS_HEAD, [bar_row(bar) for bar in data["bars"]]))
    commit = data["tool"]["commit"]
    source = f", commit {commit[:10]}{' with changes' if data['tool']['dirty'] else ''}" if commit else ""
    floors = any(case["mode"] != "open" for case in data["cases"])
    parts.append(
        f"<sub>`{data['tool']['command']}` on {data['started'][:10]}{source}. {one_line(data['environment'])}, "
        f"TCP congestion control: {congestion_text(data)}. "
        f"{'x floor: times blocking Python sockets of the same family. ' if floors else ''}"
        "`*`: rounds over 4 % steal. `!`: failed rounds.</sub>"
    )
    return "\n\n".join(parts)


def open_markdown(data: dict[str, Any], cells: dict[str, list[Cell]]) -> list[str]:
    """Grids and curves of the open loop: a table for each family, one for each case that is in none."""
    cases = [case for case in data["cases"] if case["mode"] == "open" and case["id"] in cells]
    if not cases:
        return []
    parts = [f"- {text}" for text in sentences(cases, cells)]
    parts = ["\n".join(parts)] if parts else []
    for family in tabled(cases):
        parts += [f"**{family.title}, by {family.axis.name}**: p50 / p99 / p99.9 in ms", grid_markdown(family, cells)]
    for case in alone(cases):
        parts += [f"**{case['title'][:1].upper() + case['title'][1:]}**", single_markdown(cells[case["id"]])]
    parts.append(
        "<sub>One way, from the planned time (open loop). Bold: the lowest p99 of the column, and those within "
        f"{LEVEL_TEXT}, among peers that deliver everything in order; floors (*in italics*) are not ranked. "
        f"{DASH}. FAIL: lost, doubled or swapped a message, or did not end; "
        "INVALID: the sender or the link was late.</sub>"
    )
    return parts


def grid_markdown(family: Family, cells: dict[str, list[Cell]]) -> str:
    """One table: peers as rows, cells as columns."""
    columns = [(name, value, case) for name, points in family.panels for value, case in points]
    best = {case["id"]: best_of(cells[case["id"]]) for _, _, case in columns}
    rows = []
    for peer in grid_peers(cells, family.cases):
        row = [family_name(next(cell for _, _, case in columns if (cell := lookup(cells, case, peer["id"]))))]
        for _, _, case in columns:
            text = grid_cell(lookup(cells, case, peer["id"])).replace("/", " / ")
            row.append(f"**{text}**" if peer["id"] in best[case["id"]] else text)
        rows.append(row)
    return rows_to_markdown(["", *[f"{name + ', ' if name else ''}{family.axis.short(value)}" for name, value, _ in
                                   columns]], rows)  # fmt: skip


def family_name(cell: Cell) -> str:
    """A peer as the head of a row, with what it does not promise."""
    promise = SHORT[cell.guarantee]
    text = f"*{cell.peer['id']}*" if cell.peer["kind"] == "floor" else str(cell.peer["id"])
    return f"{text} ({promise})" if promise else text


def single_markdown(cells: list[Cell]) -> str:
    """A case by itself, with what it costs."""
    best = best_of(cells)
    rows = []
    for cell in ordered(cells):
        figure = grid_cell(cell).replace("/", " / ")
        row = [family_name(cell), f"**{figure}**" if cell.peer["id"] in best else figure]
        if cell.value is None:
            rows.append([*row, "", "", ""])
            continue
        wire = "-" if cell.wire_bytes is None else f"{cell.wire_bytes:.0f}"
        rows.append([*row, f"{cell.lost_percent:.2f}", microseconds(cell.cpu_ns), wire])
    return rows_to_markdown(["", "p50 / p99 / p99.9 ms", "lost %", "cpu us", "wire B"], rows)


def block_of(data: dict[str, Any]) -> tuple[str, str]:
    """The marks of the block that a result fills; closed loops share the one without a name."""
    words = str(data["tool"]["command"]).split()
    name = next((word for word in words[3:4] if word in BLOCKS), "")
    infix = f"{name}:" if name else ""
    return f"<!-- bench:{infix}begin -->", f"<!-- bench:{infix}end -->"


def rewrite_readme(path: Path, data: dict[str, Any]) -> None:
    """Replaces what stands between the marks of the file's block.

    Raises:
        ReadmeError: the marks are missing, doubled or in the wrong order, or figures are not for publishing. The file
            is left as it was.
    """
    for why in unpublishable(data):
        raise ReadmeError(f"not for publishing: {why}")
    text = path.read_text(encoding="utf-8")
    begin, end = block_of(data)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ReadmeError(f"{path.name} needs one line {begin} and, after it, one line {end}")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{before}{begin}\n\n{markdown(data)}\n\n{end}{after}", encoding="utf-8")
    os.replace(part, path)
