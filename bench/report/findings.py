"""What the open-loop figures of a result say, in sentences and small tables that are computed and nothing else.

Shared by the page and by Markdown. It must never use a word that the figures do not carry: lowest, level, higher.
"""

from __future__ import annotations

from typing import Any

from bench.ranking import LEVEL, Standing, p99, ranked, standing, unknown
from bench.series import Family, tabled
from bench.summary import ANY_ORDER, IN_ORDER, MAY_LOSE, Cell, payload_mean
from bench.tables import milliseconds, ratio_text

Cells = dict[str, list[Cell]]
LEVEL_TEXT = f"{100 * LEVEL:.0f} %"
HIGHER_HEAD = ["where ours is higher", "ours", "p99 ms", "lowest other", "p99 ms", "ratio"]


def counted(number: int, word: str) -> str:
    """1, "cell" -> "1 cell"; 2 -> "2 cells"."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def asked(data: dict[str, Any], cases: list[dict[str, Any]], cells: Cells) -> str:
    """What was run."""
    names = {cell.peer["id"] for case in cases for cell in cells[case["id"]]}
    blocks = max(len(cell.rounds) + len(cell.failed) for case in cases for cell in cells[case["id"]])
    lengths = sorted({case.get("seconds") or data["config"]["seconds"] for case in cases})
    length = f"{lengths[0]:g}" if len(lengths) == 1 else f"{lengths[0]:g} to {lengths[-1]:g}"
    return (
        f"{counted(len(names), 'peer')} carried the same messages, one way, at times fixed in advance, in "
        f"{counted(len(cases), 'cell')}: {counted(blocks, 'round')} of {length}\u00a0s each. Latency counts from the "
        "planned time, so a stall is charged to whoever stalled."
    )


def varied(cases: list[dict[str, Any]]) -> list[str]:
    """What differs between the cells, a line for each family."""
    found = []
    for family in tabled(cases):
        values = ", ".join(dict.fromkeys(family.axis.short(value) for value in family.values))
        where = f", at {', '.join(name for name, _ in family.panels)}" if len(family.panels) > 1 else ""
        found.append(f"{family.axis.name} {values}{where} ({family.title})")
    return found


def standings(cases: list[dict[str, Any]], cells: Cells) -> list[Standing]:
    """Ours against the others, in every cell that somebody can be ranked in."""
    found = (standing(case, cells[case["id"]]) for case in cases)
    return [one for one in found if one is not None]


def sentences(cases: list[dict[str, Any]], cells: Cells) -> list[str]:
    """How often ours is lowest, level or higher; what promising less gains; what failed."""
    found = standings(cases, cells)
    text = []
    both = [one for one in found if one.word != "alone"]
    if len(cases) == 1 and found:
        best, also = best_text(cases[0], cells)
        text.append(f"Lowest p99 of those that deliver everything in order: {best} ms{also and f' ({also})'}.")
    elif both:
        count = {word: sum(one.word == word for one in both) for word in ("lowest", "level", "higher")}
        text.append(
            f"Among those that deliver everything in order, the best of ours has the lowest p99 in {count['lowest']} "
            f"of {counted(len(both), 'cell')}, is level with the best other (within {LEVEL_TEXT}) in {count['level']}, "
            f"and is higher in {count['higher']}."
        )
    unranked = len(cases) - len(found)
    if unranked:
        text.append(
            f"{counted(unranked, 'cell')} {'has' if unranked == 1 else 'have'} no p99 of anybody in order: too few "
            "samples, or no valid round."
        )
    text += promises(cases, cells)
    text += troubles(cases, cells)
    return text


def promises(cases: list[dict[str, Any]], cells: Cells) -> list[str]:
    """What is gained where order, or every message, is not asked for."""
    text = []
    for guarantee, words in ((ANY_ORDER, "Without order"), (MAY_LOSE, "Where messages may be lost")):
        lower = total = 0
        for case in cases:
            whole, less = ranked(cells[case["id"]], IN_ORDER), ranked(cells[case["id"]], guarantee)
            if whole and less:
                total += 1
                lower += p99(less[0]) * (1 + LEVEL) < p99(whole[0])
        if total:
            text.append(
                f"{words}, the lowest p99 is below that of everybody in order (by more than {LEVEL_TEXT}) in {lower} "
                f"of {counted(total, 'cell')}."
            )
    return text


def troubles(cases: list[dict[str, Any]], cells: Cells) -> list[str]:
    """Rounds that failed, by peer, and rounds in which the harness did."""
    text = []
    for status, words in (("FAIL", "failed"), ("INVALID", "are invalid: the harness or the link was late, or lossy")):
        count: dict[str, int] = {}
        for case in cases:
            for cell in cells[case["id"]]:
                bad = sum(item["status"] == status for item in cell.failed)
                if bad:
                    count[cell.peer["id"]] = count.get(cell.peer["id"], 0) + bad
        if count:
            total = sum(count.values())
            who = ", ".join(f"{name} {number}" for name, number in sorted(count.items(), key=lambda one: -one[1]))
            text.append(f"{counted(total, 'round')} {words} ({who}).")
    again = sum(cell.again for case in cases for cell in cells[case["id"]])
    if again:
        text.append(f"Invalid rounds were run again when the run was gone on with, {counted(again, 'time')}.")
    return text


def higher_rows(cases: list[dict[str, Any]], cells: Cells) -> list[list[str]]:
    """Every cell in which ours loses, the worst first."""
    lost = [one for one in standings(cases, cells) if one.word == "higher"]
    lost.sort(key=lambda one: -one.ratio)
    rows = []
    for one in lost:
        assert one.ours is not None and one.others is not None
        rows.append([one.case["title"], one.ours.peer["id"], milliseconds(p99(one.ours)), one.others.peer["id"],
                     milliseconds(p99(one.others)), ratio_text(one.ratio)])  # fmt: skip
    return rows


def best_text(case: dict[str, Any], cells: Cells) -> tuple[str, str]:
    """Who has the lowest p99 of those in order; who is level with it, and who had no valid round."""
    found = standing(case, cells[case["id"]])
    if found is None:
        return "no p99", ""
    first, *rest = found.best
    notes = []
    for word, names in (("level", [cell.peer["id"] for cell in rest]), ("invalid", unknown(cells[case["id"]]))):
        if names:
            notes.append(f"{word}: {', '.join(names) if len(names) < 4 else f'{len(names)} peers'}")
    return f"{first.peer['id']} {milliseconds(p99(first))}", "; ".join(notes)


COSTS_HEAD = [
    "what it costs",
    "promises",
    "cpu us a message",
    "bytes on the wire",
    "packets",
    "lost %",
    "payload share",
]


def cost_rows(family: Family, cells: Cells) -> list[tuple[Cell, list[str]]]:
    """Each peer's range over the cells of a family."""
    groups: dict[str, list[Cell]] = {}
    for case in family.cases:
        for cell in cells[case["id"]]:
            if cell.value is not None:
                groups.setdefault(cell.peer["id"], []).append(cell)
    rows = []
    for found in groups.values():
        wires = [cell.wire_bytes for cell in found if cell.wire_bytes is not None]
        packets = [cell.wire_packets for cell in found if cell.wire_packets is not None]
        shares = [100 * payload_mean(cell.case) / cell.wire_bytes for cell in found if cell.wire_bytes]
        rows.append((found[0], [
            found[0].peer["title"], found[0].guarantee,
            span([cell.cpu_ns / 1000 for cell in found], 0), span(wires, 0), span(packets, 2),
            span([cell.lost_percent for cell in found], 2), span(shares, 0, " %"),
        ]))  # fmt: skip
    return sorted(rows, key=lambda row: row[0].wire_bytes or row[0].cpu_ns)


def span(values: list[float], digits: int, unit: str = "") -> str:
    """Range as text, one figure where both ends read alike."""
    if not values:
        return "-"
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return (low if low == high else f"{low} to {high}") + unit
