"""Tables for a terminal of 100 columns: aligned, plain text, figures with the unit in the head."""

from __future__ import annotations

import textwrap
from typing import Any

from bench.environment import build_text, congestion_control, one_line
from bench.ranking import level, ranked
from bench.runner import CONGESTION
from bench.series import Family, alone, tabled
from bench.summary import DASH, GUARANTEES, IN_ORDER, SHORT, Cell, summarize, unpublishable

WIDTH = 100
NAME_WIDTH = 34
GRID_MIN = 5  # so many open-loop cases are shown as a grid, fewer as a table each
Row = list[str]


def table(head: Row, rows: list[Row], left: int = 1) -> str:
    """Columns as wide as they need to be; the first `left` aligned left, the others right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]

    def line(row: Row) -> str:
        cells = [cell.ljust(widths[at]) if at < left else cell.rjust(widths[at]) for at, cell in enumerate(row)]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])


def microseconds(value: float | None) -> str:
    """17312.0 -> "17.3"."""
    return "-" if value is None else f"{value / 1000:.1f}" if value < 1e6 else f"{value / 1000:.0f}"


def rate_text(per_second: float) -> str:
    """Thousands a second, three figures: "4.21 M", "563 k", "38.2 k"."""
    if per_second >= 999_500:
        return f"{per_second / 1e6:.2f} M" if per_second < 9.995e6 else f"{per_second / 1e6:.1f} M"
    return f"{per_second / 1e3:.0f} k" if per_second >= 99_950 else f"{per_second / 1e3:.1f} k"


def volume_text(per_second: float) -> str:
    """Bytes a second: "1.86 GB/s", "24 MB/s"."""
    return f"{per_second / 1e9:.2f} GB/s" if per_second >= 999.5e6 else f"{per_second / 1e6:.0f} MB/s"


def ratio_text(value: float | None) -> str:
    """How many times the floor."""
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 9.995 else f"{value:.0f}"


def name_of(cell: Cell) -> str:
    """The peer's title, marked when rounds are flagged (*) or failed (!)."""
    pair = cell.peer["id"].partition("@")[2].replace("again", "A/A")
    marks = (f" ({pair})" if pair else "") + (" *" if cell.flagged else "") + (" !" if cell.failed else "")
    return str(cell.peer["title"])[: NAME_WIDTH - len(marks)] + marks


def ordered(cells: list[Cell]) -> list[Cell]:
    """Best first, those without a figure last."""
    with_value = [cell for cell in cells if cell.value is not None]
    if cells[0].case["mode"] == "open":
        with_value.sort(key=lambda cell: (cell.percentiles["p99"] or float("inf"), cell.value or 0.0))
    else:
        with_value.sort(key=lambda cell: cell.value or 0.0, reverse=not cells[0].is_latency)
    return with_value + [cell for cell in cells if cell.value is None]


LATENCY_HEAD = ["one message in flight", "p50 us", "range", "p90", "p99", "x floor", "cpu us", "ctx", "n"]
THROUGHPUT_HEAD = ["messages received a second", "median", "range", "volume", "x floor", "cpu us", "lost %"]
OPEN_HEAD = [
    "from the planned time, ms",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "max",
    "<=100ms %",
    "lost %",
    "late us",
    "cpu us",
]
BARS_HEAD = ["paired in one run", "median", "range", "quiet", "n", "bar", ""]


def latency_row(cell: Cell) -> Row:
    """One peer in a closed loop."""
    if cell.value is None:
        return [name_of(cell), "FAIL", *[""] * (len(LATENCY_HEAD) - 2)]
    return [
        name_of(cell),
        microseconds(cell.value),
        f"{microseconds(cell.low)}-{microseconds(cell.high)}",
        microseconds(cell.percentiles["p90"]),
        microseconds(cell.percentiles["p99"]),
        ratio_text(cell.x_floor),
        microseconds(cell.cpu_ns),
        f"{cell.switches:.1f}",
        rate_text(cell.messages) if cell.messages >= 1000 else str(cell.messages),
    ]


def milliseconds(value: float | None) -> str:
    """25073000.0 -> "25.1"; three figures."""
    if value is None:
        return "-"
    value /= 1e6
    return (
        f"{value:.0f}"
        if value >= 99.95
        else f"{value:.1f}"
        if value >= 9.995
        else f"{value:.2f}"
        if value >= 0.9995
        else f"{value:.3f}"
    )


def percentile_text(cell: Cell, name: str) -> str:
    """One percentile in ms, with "~" where the harness was late; see `DASH`."""
    return milliseconds(cell.percentiles[name]) + ("~" if name in cell.doubtful else "")


def open_row(cell: Cell) -> Row:
    """One peer in an open loop."""
    if cell.value is None:
        return [name_of(cell), cell.failed[0]["status"], *[""] * (len(OPEN_HEAD) - 2)]
    return [
        name_of(cell),
        *(percentile_text(cell, name) for name in ("p50", "p90", "p99", "p999")),
        milliseconds(cell.longest),
        f"{100 * cell.within:.2f}" if cell.within < 1 else "100",
        f"{cell.lost_percent:.2f}" if cell.lost_percent else "0",
        microseconds(cell.late),
        microseconds(cell.cpu_ns),
    ]


TAIL = ("p50", "p99", "p999")
GRID_FORMS = (TAIL, ("p99", "p999"), ("p99",))  # what fits, the first that does


def grid_cell(cell: Cell | None, names: tuple[str, ...] = TAIL) -> str:
    """One peer at one case of a grid, in ms: "25.1/35.2/45.0", "FAIL", "INVALID"; nothing where it did not run."""
    if cell is None:
        return ""
    if cell.value is None:
        return cell.status
    mark = "!" if cell.has_failed else ""
    return "/".join(percentile_text(cell, name) for name in names) + mark


def grid_peers(cells: dict[str, list[Cell]], cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Who is in any of the cases: those that promise most first, then by how often they are best."""
    seen: dict[str, Cell] = {}
    wins: dict[str, float] = {}
    for case in cases:
        found = cells.get(case["id"], [])
        for cell in found:
            seen.setdefault(cell.peer["id"], cell)
        for guarantee in GUARANTEES:
            for place, cell in enumerate(ranked(found, guarantee)):
                wins[cell.peer["id"]] = wins.get(cell.peer["id"], 0.0) + 1 / (1 + place)
    order = sorted(seen.values(), key=lambda one: (GUARANTEES.index(one.guarantee), -wins.get(one.peer["id"], 0.0)))
    return [cell.peer for cell in order]


def lookup(cells: dict[str, list[Cell]], case: dict[str, Any], peer: str) -> Cell | None:
    """A peer's cell at a case."""
    return next((cell for cell in cells.get(case["id"], []) if cell.peer["id"] == peer), None)


def best_of(cells: list[Cell]) -> set[str]:
    """Whose p99 is the lowest, or level with it, among those that deliver everything in order."""
    order = ranked(cells, IN_ORDER)
    return {cell.peer["id"] for cell in level(order)} if order else set()


def grid_text(family: Family, cells: dict[str, list[Cell]]) -> str:
    """A family of open-loop cases, a table for each panel; the lowest p99 and those level with it have a `<`."""
    parts = []
    for name, points in family.panels:
        cases = [case for _, case in points]
        best = [best_of(cells[case["id"]]) for case in cases]
        drawn = ""
        form: tuple[str, ...] = TAIL
        for form in GRID_FORMS:
            rows = []
            for peer in grid_peers(cells, cases):
                found = [lookup(cells, case, peer["id"]) for case in cases]
                texts = [grid_cell(cell, form) for cell in found]
                marks = ["<" if peer["id"] in ids else " " for ids in best]
                promise = SHORT[next(cell.guarantee for cell in found if cell is not None)]
                name_text = f"{peer['id']} ({promise})" if promise else peer["id"]
                rows.append([name_text, *map("".join, zip(texts, marks, strict=True))])
            drawn = table(["", *(family.axis.short(value) + " " for value, _ in points)], rows)
            if max(map(len, drawn.splitlines())) <= WIDTH:
                break
        shown = "/".join("p99.9" if part == "p999" else part for part in form)
        heading = f"{family.title}{name and f'; {name}'}, by {family.axis.name}: {shown} in ms"
        parts.append("\n".join([wrapped(heading), "", drawn]))
    return "\n\n".join(parts)


def trouble(cells: dict[str, list[Cell]]) -> list[str]:
    """Which peers failed how often, and why the first time; rounds without a valid figure likewise."""
    notes: dict[tuple[str, str], list[str]] = {}
    for found in cells.values():
        for cell in found:
            for item in cell.failed:
                where = notes.setdefault((cell.peer["id"], item["status"]), [])
                where.append(f"{cell.case['title']}: {str(item['why']).splitlines()[0]}")
    return [f"  {peer}: {rounds_text(len(where))} {status}; the first: {where[0]}"
            for (peer, status), where in notes.items()]  # fmt: skip


def open_text(data: dict[str, Any], cells: dict[str, list[Cell]]) -> list[str]:
    """Many open-loop cases: grids, then those that are in none; details are in the page."""
    cases = [case for case in data["cases"] if cells.get(case["id"])]
    parts = [grid_text(family, cells) for family in tabled(cases)]
    parts += [case_text(data, case, cells[case["id"]]) for case in alone(cases)]
    shown = {case["id"]: cells[case["id"]] for case in cases if case["mode"] == "open"}
    note = (
        "One way, from the planned time. < lowest p99 of the column, or within 5 % of it, among those that deliver "
        f"everything in order (floors are not ranked); {DASH}; !: some rounds failed. "
        "Every figure is in the page."
    )
    return [*parts, "\n".join([wrapped(note), *map(wrapped, trouble(shown))])]


def throughput_row(cell: Cell) -> Row:
    """One peer's one-way throughput."""
    if cell.value is None:
        return [name_of(cell), "FAIL", *[""] * (len(THROUGHPUT_HEAD) - 2)]
    return [
        name_of(cell),
        rate_text(cell.value),
        f"{rate_text(cell.low)} - {rate_text(cell.high)}",
        volume_text(cell.bytes_per_second),
        ratio_text(cell.x_floor),
        f"{cell.cpu_ns / 1000:.2f}",
        "-" if cell.peer["reliable"] else f"{cell.lost_percent:.1f}",
    ]


def case_rows(cells: list[Cell]) -> tuple[Row, list[Row]]:
    """Head and rows of a case, best first; the rows are in the order of `ordered(cells)`."""
    if cells[0].case["mode"] == "open":
        return OPEN_HEAD, [open_row(cell) for cell in ordered(cells)]
    if cells[0].is_latency:
        return LATENCY_HEAD, [latency_row(cell) for cell in ordered(cells)]
    return THROUGHPUT_HEAD, [throughput_row(cell) for cell in ordered(cells)]


def placement_text(data: dict[str, Any], case: dict[str, Any]) -> str:
    """Where both ends ran, as the rounds say."""
    rounds = [item for item in data["rounds"] if item["case"] == case["id"]]
    if not rounds or not rounds[0]["placement"]["client"]:
        return "cores left to the scheduler"
    where = rounds[0]["placement"]
    if where["client"] == where["server"]:
        return f"both ends on core {where['client'][0]}"
    return f"one core each ({where['client'][0]}, {where['server'][0]})"


def case_text(data: dict[str, Any], case: dict[str, Any], cells: list[Cell]) -> str:
    """A case's heading, table and footnotes."""
    config = data["config"]
    rounds = max(len(cell.rounds) + len(cell.failed) for cell in cells)
    seconds = case.get("seconds") or config["seconds"]
    heading = f"{case['title']}: {placement_text(data, case)}, {rounds_text(rounds)} x {seconds:g} s"
    return "\n".join([wrapped(heading), "", table(*case_rows(cells)), *map(wrapped, footnotes(cells))])


def footnotes(cells: list[Cell]) -> list[str]:
    """What the marks in a table mean, for the peers that carry them."""
    notes = []
    for cell in cells:
        if cell.flagged and cell.rounds:
            if cell.quiet is None:
                without = "none without"
            else:
                without = f"without them {quiet_text(cell, cell.quiet)}"
            share = f"{len(cell.flagged)} of {len(cell.rounds)} rounds over 4 % steal"
            notes.append(f"  * {cell.peer['title']}: {share}; {without}")
        if cell.failed:
            why = str(cell.failed[0]["why"]).splitlines()[0]
            word = str(cell.failed[0]["status"]) + "ED" * (cell.failed[0]["status"] == "FAIL")
            notes.append(f"  ! {cell.peer['title']}: {rounds_text(len(cell.failed))} {word}: {why}")
    return notes


def rounds_text(count: int) -> str:
    """1 -> "1 round", 2 -> "2 rounds"."""
    return f"{count} round{'' if count == 1 else 's'}"


def quiet_text(cell: Cell, value: float) -> str:
    """The headline figure without flagged rounds, in the unit of its table."""
    if cell.case["mode"] == "open":
        return f"p50 {milliseconds(value)}"
    return microseconds(value) if cell.is_latency else rate_text(value)


def wrapped(text: str) -> str:
    """A paragraph that fits; what is indented stays so."""
    indent = " " * (len(text) - len(text.lstrip()))
    return textwrap.fill(text.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "  " * bool(indent))


def figure_text(value: float | None, unit: str) -> str:
    """A bar's figure."""
    if value is None:
        return "-"
    return f"{value:.2f}" if unit == "ratio" else f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"


def bar_row(bar: dict[str, Any]) -> Row:
    """One acceptance figure."""
    unit = bar.get("unit", "ratio")
    shown = "" if unit == "ratio" else f" {unit}"
    return [
        bar["title"],
        figure_text(bar["value"], unit) + (shown if bar["value"] is not None else ""),
        f"{figure_text(bar['low'], unit)}-{figure_text(bar['high'], unit)}" if bar["value"] is not None else "",
        figure_text(bar["quiet"], unit),
        str(bar["n"]),
        "" if bar["verdict"] == "INFORMATION" else f"{bar['direction']} {bar['bar']:g}",
        {"INFORMATION": "info", "NOT MEASURED": "no data"}.get(bar["verdict"], bar["verdict"]),
    ]


def bars_text(bars: list[dict[str, Any]]) -> str:
    """The acceptance table."""
    notes = [wrapped(f"  {bar['id']}: {bar['why'].splitlines()[0]}") for bar in bars if bar["why"]]
    return "\n".join([table(BARS_HEAD, [bar_row(bar) for bar in bars]), *notes])


def probe_text(shown: dict[str, Any]) -> str:
    """The table that a probe made of what it saw."""
    note = [wrapped(shown["note"])] if shown["note"] else []
    return "\n".join([shown["title"], "", table(shown["head"], shown["rows"]), *note])


def missing_text(missing: list[dict[str, Any]]) -> list[str]:
    """A line for each command that would bring peers in."""
    names: dict[str, list[str]] = {}
    for item in missing:
        names.setdefault(item["install"], []).append(item["id"])
    return [f"left out: {', '.join(found)}; to have: {install}" for install, found in names.items()]


def report_text(data: dict[str, Any]) -> str:
    """The whole result file as text."""
    parts = []
    if data["preview"]:
        parts.append("PREVIEW: short rounds, for a first look; no verdicts follow from these figures.")
    if not data["complete"]:
        parts.append(f"INCOMPLETE: {data['why_incomplete']}")
    parts += [wrapped(f"NOT FOR PUBLISHING: {why}") for why in unpublishable(data)]
    cells = summarize(data)
    shown = [case for case in data["cases"] if cells[case["id"]]]
    many = sum(case["mode"] == "open" for case in shown) >= GRID_MIN
    parts += [case_text(data, case, cells[case["id"]]) for case in shown if not (many and case["mode"] == "open")]
    if many:
        parts += open_text(data, cells)
    parts += [probe_text(seen["table"]) for seen in data["probes"].values() if "table" in seen]
    if data["bars"]:
        parts.append(bars_text(data["bars"]))
    if data["missing"]:
        parts.append("\n".join(map(wrapped, missing_text(data["missing"]))))
    env = data["environment"]
    if not data["rounds"]:
        return "\n\n".join([*parts, wrapped(one_line(env))])
    return "\n\n".join([*parts, f"{wrapped(one_line(env))}\n{wrapped(legend(data))}"])


def congestion_text(data: dict[str, Any]) -> str:
    """Which congestion control TCP used where: the machine's over loopback, the link's in its namespaces."""
    modes = {"link" if case.get("link") else "loopback" for case in data["cases"]}
    parts = [f"{congestion_control(data['environment'])} over loopback"] if "loopback" in modes or not modes else []
    if "link" in modes:
        used = {item["link"].get("congestion", CONGESTION) for item in data["rounds"] if "link" in item}
        parts.append(f"{' and '.join(sorted(used)) or CONGESTION} over the link, but for peers whose name says another")
    return ", ".join(parts)


def legend(data: dict[str, Any]) -> str:
    """What the columns mean, for the kinds of cases that are there."""
    build = build_text(data["peers"])
    modes = {case["mode"] for case in data["cases"]}
    text = f"transport runs {build}. " if build else ""
    if modes - {"open"}:
        text += "x floor: times blocking Python sockets of the same family (throughput: share of their rate). "
    if "open" in modes:
        text += "late: how much later than planned the sender handed a message over, p99. "
    text += "cpu: both ends, per message"
    text += ", an open loop's with the sender's spinning before each" if "open" in modes else ""
    text += "; ctx: context switches, likewise. " if "latency" in modes else ". "
    return (
        f"{text}TCP_NODELAY everywhere; TCP congestion control: {congestion_text(data)}. "
        "* rounds over 4 % steal; ! failed rounds."
    )
