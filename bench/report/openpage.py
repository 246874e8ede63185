"""The open-loop sections of the page: what was found, the pictures, every cell with what its link did.

Nothing of a closed loop is ever drawn here. It must never hide a cell: one that failed stands where its figure would.
"""

from __future__ import annotations

from html import escape
from typing import Any

from bench.environment import congestion_control
from bench.ranking import is_ours, ranked
from bench.report import findings, lines, plots
from bench.report.findings import Cells
from bench.report.markup import figure, html_table, sentence
from bench.series import Family, families, tabled
from bench.summary import DASH, GUARANTEES, IN_ORDER, SIDES, Cell
from bench.tables import (
    best_of,
    congestion_text,
    footnotes,
    grid_peers,
    lookup,
    microseconds,
    milliseconds,
    name_of,
    ordered,
    percentile_text,
    placement_text,
    rate_text,
)

Case = dict[str, Any]
LOST_ROWS_MAX = 12  # of the summary; the others are in the tables below
BEST_MAX = 3  # so many tables of the best are shown unfolded
OPEN_MAX = 3  # so many cells are shown unfolded
PERCENTILES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "p9999": "p99.99"}
CELL_HEAD = ["one way, ms", *PERCENTILES.values(), "max", "<=100 ms %", "lost %", "wire B", "packets", "cpu us",
             "late us", "n"]  # fmt: skip
LINK_HEAD = ["what the link did", "there", "lost", "queue full", "back", "lost", "queue full", "late p99 us",
             "late max us"]  # fmt: skip
HEAT = ("heat0", "heat1", "heat2", "heat3")


def summary_section(data: dict[str, Any], cases: list[Case], cells: Cells) -> str:
    """What was asked and what came out."""
    parts = ["<section><h2>What was found</h2>"]
    parts.append(f"<p>{escape(findings.asked(data, cases, cells))}</p>")
    parts += [
        "<h3>In words</h3><ul>",
        *(f"<li>{escape(text)}</li>" for text in findings.sentences(cases, cells)),
        "</ul>",
    ]
    varied = findings.varied(cases)
    if varied:
        unfold = " open" if len(varied) <= BEST_MAX else ""
        items = "".join(f"<li>{escape(text)}</li>" for text in varied)
        parts.append(f'<details class="cell"{unfold}><summary>What varies</summary><ul>{items}</ul></details>')
    found = [family for family in tabled(cases) if findings.standings(family.cases, cells)]
    parts += [best_table(family, cells) for family in found[:BEST_MAX]]
    if found:
        parts.append(
            f"<p>Ours in bold. Level: within {findings.LEVEL_TEXT} of the lowest. Floors are not ranked, and nobody is "
            "who failed a round there.</p>"
        )
    rows = findings.higher_rows(cases, cells)
    if rows:
        parts.append("<h3>Where ours loses</h3>")
        parts.append(html_table(findings.HIGHER_HEAD, rows[:LOST_ROWS_MAX], ["wraps"] * min(len(rows), LOST_ROWS_MAX)))
        if len(rows) > LOST_ROWS_MAX:
            parts.append(f"<p>And {findings.counted(len(rows) - LOST_ROWS_MAX, 'cell')} more, in the tables below.</p>")
    rest = [best_table(family, cells) for family in found[BEST_MAX:]]
    if rest:
        parts.append(
            f'<details class="cell"><summary>Lowest p99 in {len(rest)} other series</summary>{"".join(rest)}</details>'
        )
    return "".join([*parts, "</section>"])


def best_table(family: Family, cells: Cells) -> str:
    """Who is best where: panels as rows, values as columns."""
    head = "".join(f"<th>{escape(family.axis.short(value))}</th>" for value in family.values)
    rows = []
    for name, points in family.panels:
        by_value = dict(points)
        row = []
        for value in family.values:
            if value not in by_value:
                row.append("<td></td>")
                continue
            best, also = findings.best_text(by_value[value], cells)
            found = ranked(cells[by_value[value]["id"]], IN_ORDER)
            kind = ' class="mine"' if found and is_ours(found[0]) else ""
            row.append(f"<td{kind}>{escape(best)}{f'<small>{escape(also)}</small>' if also else ''}</td>")
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(row)}</tr>")
    return (
        f"<h3>Lowest p99 in ms, everything in order: {escape(family.title)}</h3>"
        f'<div class="scroll"><table class="best"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
        "</table></div>"
    )


def plots_section(cases: list[Case], cells: Cells) -> str:
    """Each family: the grid, its curves, one distribution, what it costs. Nothing where no cells belong together."""
    if not families(cases):
        return ""
    look = lines.looks([cell.peer for cell in {cell.peer["id"]: cell for found in cells.values() for cell in found}
                        .values()])  # fmt: skip
    in_tables = {id_of(family) for family in tabled(cases)}
    parts = ["<section><h2>Open loop: the figures in pictures</h2>"]
    for family in families(cases):
        parts.append(f"<h3>{escape(sentence(family.title))}: {escape(family.axis.name)}</h3>")
        if id_of(family) in in_tables:
            parts.append(heat_table(family, cells))
        parts.append(curves(family, cells, look))
        if id_of(family) in in_tables:
            parts.append(distribution(family, cells))
            parts.append(costs_table(family, cells))
    return "".join([*parts, "</section>"])


def id_of(family: Family) -> tuple[str, ...]:
    """Tells families apart."""
    return (family.axis.name, *(case["id"] for case in family.cases))


def heat_table(family: Family, cells: Cells) -> str:
    """Peers by cells: p99, with p50 and p99.9 below it; the darker, the further from the lowest p99 of its column."""
    cases = family.cases
    over = "".join(
        f'<th colspan="{len(points)}">{escape(name or family.axis.label)}</th>' for name, points in family.panels
    )
    under = "".join(
        f'<th{first_of(at)}>{escape(family.axis.short(value))}</th>'
        for _, points in family.panels for at, (value, _) in enumerate(points)
    )  # fmt: skip
    best = {case["id"]: best_of(cells[case["id"]]) for case in cases}
    lowest = {case["id"]: min((cell.percentiles["p99"] or 1e18 for cell in cells[case["id"]] if cell.value is not None),
                              default=1e18) for case in cases}  # fmt: skip
    rows, group = [], ""
    for peer in grid_peers(cells, cases):
        found = [lookup(cells, case, peer["id"]) for case in cases]
        guarantee = next(cell.guarantee for cell in found if cell is not None)
        if guarantee != group:
            rows.append(f'<tr class="group"><td colspan="{len(cases) + 1}">{escape(guarantee)}</td></tr>')
            group = guarantee
        starts = {points[0][1]["id"] for _, points in family.panels}
        body = "".join(
            heat_cell(cell, peer["id"] in best[case["id"]], lowest[case["id"]], case["id"] in starts)
            for case, cell in zip(cases, found, strict=True)
        )
        rows.append(f'<tr class="{peer["kind"]}"><td>{escape(peer["id"])}</td>{body}</tr>')
    caption = (
        f"p99 in ms, with p50 and p99.9 below it. Boxed: the lowest p99 of the column, and those within "
        f"{findings.LEVEL_TEXT}, among those that deliver everything in order (floors are not ranked). Shaded: from "
        f"1.5, 3 and 10 times the lowest p99 of the column. {DASH}."
    )
    return (
        f'<figure><div class="scroll"><table class="heat"><thead><tr><th></th>{over}</tr><tr><th></th>{under}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div><figcaption>{escape(caption)}</figcaption></figure>"
    )


def first_of(at: int) -> str:
    """The class of a panel's first column."""
    return ' class="first"' if at == 0 else ""


def heat_cell(cell: Cell | None, best: bool, lowest: float, first: bool) -> str:
    """One figure of a heat table."""
    kinds = ["first"] if first else []
    if cell is None:
        return f'<td class="{" ".join([*kinds, "absent"])}"></td>'
    if cell.value is None:
        why = escape(str(cell.failed[0]["why"]).splitlines()[0], quote=True)
        kinds.append("failed" if cell.status == "FAIL" else "invalid")
        return f'<td class="{" ".join(kinds)}" title="{why}">{cell.status}</td>'
    p99 = cell.percentiles["p99"]
    if p99 is not None:
        kinds.append(HEAT[sum(p99 >= lowest * limit for limit in (1.5, 3, 10))])
    if best:
        kinds.append("best")
    mark = " !" if cell.has_failed else ""
    small = f"{milliseconds(cell.percentiles['p50'])} · {percentile_text(cell, 'p999')}"
    return f'<td class="{" ".join(kinds)}">{milliseconds(p99)}{mark}<small>{small}</small></td>'


def deepest(family: Family, cells: Cells) -> str:
    """p99, or what the samples of short rounds carry."""
    found = [cell for case in family.cases for cell in cells[case["id"]] if cell.value is not None]
    return next((name for name in ("p99", "p90") if any(cell.percentiles[name] is not None for cell in found)), "p50")


def curves(family: Family, cells: Cells, look: dict[str, lines.Look]) -> str:
    """The line plot of a family: the tail against what varies, for the rate three percentiles."""
    if len(family.values) < 2 or not any(cell.value for case in family.cases for cell in cells[case["id"]]):
        return ""
    peers = [peer["id"] for peer in grid_peers(cells, family.cases)]
    axis = family.axis
    if axis.name == "rate":
        panels = [
            lines.Panel(PERCENTILES[name], lines_of(family.panels[0][1], cells, peers, name))
            for name in ("p50", "p99", "p999")
            if any(cell.percentiles.get(name) for case in family.cases for cell in cells[case["id"]])
        ]
        shown = "Percentiles"
    else:
        name = deepest(family, cells)
        shown = PERCENTILES[name]
        panels = [lines.Panel(f"{shown}{title and f', {title}'}", lines_of(points, cells, peers, name))
                  for title, points in family.panels if len(points) > 1]  # fmt: skip
    texts = [axis.short(value).removeprefix("RTT ").partition(" ")[0].removesuffix("/s") if axis.name not in
             ("rate", "payload") else axis.short(value).removesuffix("/s") for value in family.values]  # fmt: skip
    axes = lines.Axes(family.values, texts, axis.log, axis.label, "one way, ms")
    caption = f"{shown} against {axis.label}; medians over rounds, logarithmic. "
    if not axis.log:
        caption += "The values stand side by side, not to scale. "
    caption += "In the band above: a cross for each peer that failed there, a hollow circle where no round was valid."
    hidden = max(0, len(peers) - lines.NAMES_MAX)
    if hidden:
        caption += f" The {hidden} that are seldom best are faint and have no name; their figures are in the table."
    return figure(lines.line_panels(panels, axes, look, f"{shown} against {axis.label}: {family.title}"), caption)


def lines_of(points: list[tuple[float, Case]], cells: Cells, peers: list[str], name: str) -> list[lines.Line]:
    """A panel's lines, in ms, in the order of `peers`."""
    found = []
    for peer in peers:
        line = lines.Line(peer)
        for value, case in points:
            cell = lookup(cells, case, peer)
            if cell is None:
                continue
            figure_ns = cell.percentiles.get(name)
            if cell.has_failed:
                line.broken.append(value)
            elif cell.value is None:
                line.invalid.append(value)
            if figure_ns is not None:
                line.points.append((value, figure_ns / 1e6))
        if line.points or line.broken or line.invalid:
            found.append(line)
    return found


def distribution(family: Family, cells: Cells) -> str:
    """One cell of the family, the one in the middle; all others are among the cells below."""
    points = family.panels[len(family.panels) // 2][1]
    sound = [case for _, case in points if any(cell.value is not None for cell in cells[case["id"]])]
    return cdf_figure(sound[len(sound) // 2], cells) if sound else ""


def cdf_figure(case: Case, cells: Cells) -> str:
    """The distribution of one cell."""
    return figure(
        plots.latency_cdf(cells[case["id"]], f"{case['title']}: distribution"),
        f"{sentence(case['title'])}: distribution of all rounds, as far to the right as 30 samples a round lie beyond. "
        "Each panel has the other's curves in grey.",
    )


def costs_table(family: Family, cells: Cells) -> str:
    """CPU and wire of each peer over the family."""
    rows = findings.cost_rows(family, cells)
    if not rows:
        return ""
    note = (
        "Ranges over the cells above. cpu: both processes, per message; the sender's waiting in a loop for the planned "
        "time is in it. "
    )
    if rows[0][0].wire_bytes is not None:
        note += (
            "On the wire: both directions with IP headers, answers, repeats and what the link lost, divided by the "
            "messages of the whole plan."
        )
    head, texts = without_empty(findings.COSTS_HEAD, [row for _, row in rows])
    table = html_table(head, texts, [cell.peer["kind"] for cell, _ in rows])
    return f"<figure>{table}<figcaption>{escape(note)}</figcaption></figure>"


def cells_section(data: dict[str, Any], cases: list[Case], cells: Cells) -> str:
    """Every cell, folded where there are many."""
    unfold = " open" if len(cases) <= OPEN_MAX else ""
    parts = ["<section><h2>Open loop: every cell</h2>"]
    for case in cases:
        found = cells[case["id"]]
        bad = [f"{number} {status}" for status in ("FAIL", "INVALID")
               if (number := sum(item["status"] == status for cell in found for item in cell.failed))]  # fmt: skip
        state = f"{findings.counted(len(found), 'peer')}{', rounds: ' if bad else ''}{', '.join(bad)}"
        parts.append(
            f'<details class="cell"{unfold}><summary>{escape(sentence(case["title"]))} <small>{escape(state)}</small>'
            f"</summary>{cell_body(data, case, found)}</details>"
        )
    return "".join([*parts, "</section>"])


def cell_body(data: dict[str, Any], case: Case, found: list[Cell]) -> str:
    """Figures, notes, distribution, every round, the link."""
    order = sorted(ordered(found), key=lambda cell: GUARANTEES.index(cell.guarantee))
    head, rows = without_empty(CELL_HEAD, [cell_row(cell) for cell in order])
    parts = [f"<p>{escape(sentence(placement_text(data, case)))}.</p>",
             html_table(head, rows, [cell.peer["kind"] for cell in order])]  # fmt: skip
    notes = "".join(f"<li>{escape(note.strip())}</li>" for note in footnotes(found))
    if notes:
        parts.append(f'<ul class="foot">{notes}</ul>')
    if any(cell.value is not None for cell in found):
        parts.append(figure(plots.latency_cdf(found, f"{case['title']}: distribution"), "Distribution of all rounds."))
    if max(len(cell.rounds) for cell in found) > 1:
        parts.append(figure(plots.strip(found, f"{case['title']}: every round"), "Every round."))
    crossed = [(cell, row) for cell in order if (row := link_row(cell))]
    if crossed:
        parts.append(html_table(LINK_HEAD, [row for _, row in crossed], [cell.peer["kind"] for cell, _ in crossed]))
        parts.append(
            "<p>Packets that entered the link from the sender (there) and from the receiver (back), in all rounds; "
            "what it lost as it should and because its queue was full; how much later than due it released them, the "
            "worse direction.</p>"
        )
    return "".join(parts)


def without_empty(head: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """A table without the columns in which nobody has a figure."""
    kept = [at for at in range(len(head)) if not all(row[at] in ("", "-") for row in rows)]
    return [head[at] for at in kept], [[row[at] for at in kept] for row in rows]


def cell_row(cell: Cell) -> list[str]:
    """One peer."""
    if cell.value is None:
        return [name_of(cell), cell.status, *[""] * (len(CELL_HEAD) - 2)]
    return [
        name_of(cell),
        *(percentile_text(cell, name) for name in PERCENTILES),
        milliseconds(cell.longest),
        f"{100 * cell.within:.2f}" if cell.within < 1 else "100",
        f"{cell.lost_percent:.2f}" if cell.lost_percent else "0",
        "-" if cell.wire_bytes is None else f"{cell.wire_bytes:.0f}",
        "-" if cell.wire_packets is None else f"{cell.wire_packets:.2f}",
        microseconds(cell.cpu_ns),
        microseconds(cell.late),
        rate_text(cell.messages) if cell.messages >= 10_000 else str(cell.messages),
    ]


def link_row(cell: Cell) -> list[str]:
    """What the link did to one peer's packets, all rounds together; nothing over loopback."""
    links = [item["link"] for item in [*cell.rounds, *cell.failed] if "link" in item]
    if not links:
        return []
    row = [cell.peer["id"]]
    for side in SIDES:
        dropped = [link[side]["dropped"] for link in links]
        full = sum(one["queue"] for one in dropped)
        row += [str(sum(link[side]["packets_in"] for link in links)),
                str(sum(sum(one.values()) for one in dropped) - full), str(full)]  # fmt: skip
    for name in ("p99", "max"):
        row.append(
            microseconds(max(float(link[side]["lateness_ns"].get(name) or 0) for link in links for side in SIDES))
        )
    return row


def how(data: dict[str, Any]) -> list[str]:
    """What the figures of an open loop mean."""
    points = [
        "Open loop: when each message is due is fixed before the run, the same for all peers. Latency runs from the "
        "planned time to the moment the receiving program holds the message, so waiting in the sender counts. Both "
        "ends read the same clock.",
        "Every message carries its number, its planned time and a CRC-32 and is checked whole. A reliable peer that "
        "loses or doubles one, or breaks an order it promises, FAILs, however fast it was.",
        "A round is INVALID, and counts for nothing, when the sender handed messages over later than 50 us (or a tenth "
        "of the peer's latency) at p99, what the peer itself was still busy with left out: late us is that figure. "
        "So is one whose link released packets late at p99 by more than 0.5 ms (or 5 % of its delay), or dropped any "
        "that it should not have.",
        f"Lowest and level go by the median over rounds of p99; level is within {findings.LEVEL_TEXT}. "
        "They are words for this run, not a test of significance.",
        "cpu contains the sender's waiting before each message, up to 1 ms over loopback and 200 us over a link: it "
        "compares peers at one rate only, and from 1,000 messages a second over loopback the receivers only.",
    ]
    lanes = data["config"].get("lanes", 1)
    if lanes > 1:
        points.append(f"{lanes} rounds ran at a time, each over a link of its own, for mostly they wait.")
    if any(case.get("link") for case in data["cases"]):
        points.append(
            "The link is a router of our own between two network namespaces: packets of every peer, kernel TCP "
            "included, meet the same delay, losses and queue. One seed for all peers of a block. "
            f"TCP congestion control: {congestion_text(data)} "
            f"(the machine's own default is {congestion_control(data['environment'])})."
        )
    return points
