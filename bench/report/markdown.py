"""Markdown tables of a result, and the block of a README that they live in.

A figure in a README comes from here or not at all: everything between the two marks is replaced.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.environment import one_line
from bench.summary import Cell, summarize
from bench.tables import BARS_HEAD, bar_row, microseconds, name_of, ordered, placement_text, rate_text, ratio_text
from bench.tables import volume_text as volume

BEGIN = "<!-- bench:begin -->"
END = "<!-- bench:end -->"
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
    if data["bars"]:
        parts.append(rows_to_markdown(BARS_HEAD, [bar_row(bar) for bar in data["bars"]]))
    commit = data["tool"]["commit"]
    source = f", commit {commit[:10]}{' with changes' if data['tool']['dirty'] else ''}" if commit else ""
    parts.append(
        f"<sub>`{data['tool']['command']}` on {data['started'][:10]}{source}. {one_line(data['environment'])}. "
        "x floor: times blocking Python sockets of the same family. `*`: rounds over 4 % steal. "
        "`!`: failed rounds.</sub>"
    )
    return "\n\n".join(parts)


def rewrite_readme(path: Path, data: dict[str, Any]) -> None:
    """Replaces what stands between the marks.

    Raises:
        ReadmeError: the marks are missing, doubled or in the wrong order; the file is left as it was.
    """
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReadmeError(f"{path.name} needs one line {BEGIN} and, after it, one line {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    part = path.with_name(f".{path.name}.part")
    part.write_text(f"{before}{BEGIN}\n\n{markdown(data)}\n\n{END}{after}", encoding="utf-8")
    os.replace(part, path)
