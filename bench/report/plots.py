"""The pictures of the report, each a function from summed-up figures to one SVG element."""

from __future__ import annotations

import math
from typing import Any

from bench.cases import bytes_text
from bench.report.svg import DASHES, FAINT, FILL, INK, OURS, SOFT, STROKE, Canvas, Scale, number_text, spread_labels
from bench.statistics import TAIL_SAMPLES_MIN, bucket_value, median
from bench.summary import Cell, figure
from bench.tables import figure_text, microseconds, ordered, rate_text

WIDTH = 960.0
NAME_X = 296.0
ROW = 22.0
GAP = 12.0
TOP = 34.0
SCHEMES = ("tcp", "unix", "udp", "rudp", "tls", "ws", "memory")
POINTS_MAX = 70  # of a drawn distribution
SHAPES = ("circle", "square", "diamond", "triangle")


def groups_of(cells: list[Cell]) -> list[tuple[str, list[Cell]]]:
    """Cells with figures by scheme, best first."""
    best = [cell for cell in ordered(cells) if cell.value is not None]
    return [
        (scheme, found) for scheme in SCHEMES if (found := [cell for cell in best if cell.peer["scheme"] == scheme])
    ]


def weight(cell: Cell) -> str:
    """Ours stand out."""
    return "600" if cell.peer["kind"] == "ours" else "normal"


def short_name(cell: Cell) -> str:
    """A peer's title without what the group already says."""
    title = str(cell.peer["title"])
    for scheme in SCHEMES:
        title = title.replace(f", {scheme} (floor)", " (floor)").removesuffix(f", {scheme}")
    return title + ("  (A/A)" if "@" in cell.peer["id"] else "")


def latency_bars(cells: list[Cell], title: str) -> str:
    """p50 as bars, p99 as whiskers, the floor of each family as a dashed line through its rows."""
    groups = groups_of(cells)
    rows = sum(len(found) for _, found in groups)
    height = TOP + rows * ROW + (len(groups) - 1) * GAP + 46
    canvas = Canvas(WIDTH, height, title)
    top = max(cell.value or 0 for _, found in groups for cell in found) / 1000
    scale = Scale(0, top * 1.12, NAME_X, WIDTH - 120)
    bottom = height - 40
    for tick in scale.ticks(8):
        canvas.line(scale(tick), TOP - 10, scale(tick), bottom, FAINT)
        canvas.label(scale(tick), bottom + 12, number_text(tick), 11, "middle", SOFT)
    canvas.label(
        (NAME_X + WIDTH - 120) / 2,
        bottom + 30,
        "round trip in microseconds: bar p50, whisker p99",
        11.5,
        "middle",
        SOFT,
    )
    y = TOP
    for scheme, found in groups:
        floor = next((cell for cell in found if cell.peer["id"] == f"blocking-{scheme}"), None)
        begin = y
        canvas.label(6, y + ROW * len(found) / 2, scheme, 12, "start", SOFT, "600")
        for cell in found:
            bar_row(canvas, cell, scale, y)
            y += ROW
        if floor is not None and floor.value:
            canvas.line(scale(floor.value / 1000), begin - 3, scale(floor.value / 1000), y + 1, INK, 1.4, "4 3")
        y += GAP
        if scheme != groups[-1][0]:
            canvas.line(6, y - GAP / 2 - 1, WIDTH - 6, y - GAP / 2 - 1, FAINT)
    legend(canvas, 14)
    return canvas.text()


def bar_row(canvas: Canvas, cell: Cell, scale: Scale, y: float) -> None:
    """One peer of `latency_bars`."""
    assert cell.value is not None
    kind, middle = cell.peer["kind"], y + ROW / 2
    canvas.label(NAME_X - 8, middle, short_name(cell), 12, "end", INK, weight(cell))
    p50 = cell.value / 1000
    canvas.rect(scale(0), y + 4, scale(p50) - scale(0), ROW - 8, FILL[kind], STROKE[kind])
    p99 = cell.percentiles.get("p99")
    end = scale(p50)
    if p99 is not None:
        end = min(scale(p99 / 1000), scale.end + 8)
        canvas.line(scale(p50), middle, end, middle, INK, 1.2)
        if p99 / 1000 <= scale.high:
            canvas.line(end, middle - 4, end, middle + 4, INK, 1.2)
        else:
            canvas.path([(end - 5, middle - 4), (end, middle), (end - 5, middle + 4)], INK, 1.2)
    tail = "" if p99 is None else f" · p99 {microseconds(p99)}"
    canvas.label(
        max(end, scale(p50)) + 6, middle, f"{microseconds(cell.value)}{tail}", 11.5, "start", INK, weight(cell)
    )


def legend(canvas: Canvas, y: float) -> None:
    """Which filling is what."""
    x = NAME_X
    for kind, text in (
        ("ours", "transport"),
        ("library", "libraries"),
        ("baseline", "asyncio, uvloop"),
        ("floor", "floor"),
    ):
        canvas.rect(x, y - 6, 18, 11, FILL[kind], STROKE[kind])
        canvas.label(x + 24, y, text, 11.5, "start", SOFT)
        x += 44 + 7 * len(text)
    canvas.line(x, y - 7, x, y + 7, INK, 1.4, "4 3")
    canvas.label(x + 8, y, "blocking Python sockets", 11.5, "start", SOFT)


def tail_points(cell: Cell) -> list[tuple[float, float]]:
    """(share above, latency) along the distribution, as far as the samples reach; in us, in ms for an open loop."""
    histogram = cell.histogram
    is_open = cell.case["mode"] == "open"
    fewest = TAIL_SAMPLES_MIN * (len(cell.rounds) if is_open else 1)
    total = sum(count for _, count in histogram)
    points, below = [], 0
    for bucket, count in histogram:
        below += count
        above = max(total - below, 0) / total
        if total * above < fewest:
            break
        points.append((above, bucket_value(bucket) / (1e6 if is_open else 1e3)))
    return thinned(points)


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `POINTS_MAX` of a distribution's points, evenly along both logarithmic axes; both ends stay."""
    if len(points) <= POINTS_MAX:
        return points
    deep, tall = math.log(points[0][0] / points[-1][0]) or 1.0, math.log(points[-1][1] / points[0][1]) or 1.0
    kept, seen = [points[0]], 0
    for above, value in points[1:-1]:
        way = math.log(points[0][0] / above) / deep + math.log(value / points[0][1]) / tall
        if int(way / 2 * (POINTS_MAX - 2)) > seen:
            seen = int(way / 2 * (POINTS_MAX - 2))
            kept.append((above, value))
    return [*kept, points[-1]]


def latency_cdf(cells: list[Cell], title: str) -> str:
    """Two panels with the same axes: ours, and everybody else; the other panel's curves stay as grey context."""
    curves = [
        (cell, points) for cell in ordered(cells) if cell.value is not None and len(points := tail_points(cell)) > 3
    ]
    height, panel = 430.0 if curves else 60.0, WIDTH / 2
    canvas = Canvas(WIDTH, height, title)
    if not curves:
        canvas.label(WIDTH / 2, height / 2, "too few samples for a distribution", 13, "middle", SOFT)
        return canvas.text()
    unit = "one way, ms" if cells[0].case["mode"] == "open" else "round trip, us"
    low = min(points[0][1] for _, points in curves) * 0.9
    high = max(points[-1][1] for _, points in curves) * 1.1
    deepest = min(points[-1][0] for _, points in curves)
    for number, (name, mine) in enumerate((("transport", True), ("the others", False))):
        left, right = number * panel + 46, number * panel + panel - 138
        across = Scale(1.0, 1 / deepest, left, right, log=True)
        up = Scale(low, high, height - 52, 34, log=True)
        cdf_axes(canvas, across, up, name, deepest, unit)
        shown = [(cell, points) for cell, points in curves if (cell.peer["kind"] == "ours") is mine]
        for cell, points in curves:
            if (cell.peer["kind"] == "ours") is not mine:
                canvas.path([(across(1 / above), up(value)) for above, value in points], FAINT, 1.2)
        cdf_curves(canvas, shown, across, up)
    return canvas.text()


def cdf_axes(canvas: Canvas, across: Scale, up: Scale, name: str, deepest: float, unit: str) -> None:
    """Frame and ticks of one panel."""
    canvas.label(across.start, 16, name, 13, "start", INK, "600")
    for tick in up.ticks(6):
        canvas.line(across.start, up(tick), across.end, up(tick), FAINT)
        canvas.label(across.start - 6, up(tick), number_text(tick), 11, "end", SOFT)
    for text, above in (("0", 1.0), ("50", 0.5), ("90", 0.1), ("99", 0.01), ("99.9", 0.001), ("99.99", 1e-4)):
        if above >= deepest * 0.98:
            canvas.line(across(1 / above), up.start, across(1 / above), up.end, FAINT)
            canvas.label(across(1 / above), up.start + 13, text, 11, "middle", SOFT)
    canvas.label(
        (across.start + across.end) / 2, up.start + 32, "percentile (1 - p, logarithmic)", 11.5, "middle", SOFT
    )
    canvas.label(across.start - 36, (up.start + up.end) / 2, unit, 11.5, "middle", SOFT, turn=-90)


def cdf_curves(canvas: Canvas, shown: list[tuple[Cell, list[tuple[float, float]]]], across: Scale, up: Scale) -> None:
    """The curves of one panel, each with its name at its end."""
    ends = spread_labels([up(points[-1][1]) for _, points in shown], 13, up.end, up.start)
    for number, ((cell, points), label_y) in enumerate(zip(shown, ends, strict=True)):
        kind = cell.peer["kind"]
        colour = OURS if kind == "ours" else INK if kind == "library" else SOFT
        drawn = [(across(1 / above), up(value)) for above, value in points]
        canvas.path(drawn, colour, 1.8 if kind != "floor" else 1.2, DASHES[number % len(DASHES)])
        x, y = drawn[-1]
        canvas.line(x + 2, y, across.end + 8, label_y, FAINT)
        canvas.line(across.end + 10, label_y, across.end + 28, label_y, colour, 1.8, DASHES[number % len(DASHES)])
        canvas.label(across.end + 32, label_y, cell.peer["id"], 11, "start", colour)


def throughput_lines(groups: list[tuple[dict[str, Any], list[Cell]]], title: str) -> str:
    """Messages a second against payload, both logarithmic; the dashed line is the blocking floor."""
    payloads = sorted({case["payload"] for case, _ in groups})
    series: dict[str, list[tuple[int, Cell]]] = {}
    for case, cells in sorted(groups, key=lambda group: group[0]["payload"]):
        for cell in cells:
            if cell.value:
                series.setdefault(cell.peer["id"], []).append((case["payload"], cell))
    height = 460.0
    canvas = Canvas(WIDTH, height, title)
    values = [cell.value or 1 for line in series.values() for _, cell in line]
    across = Scale(payloads[0], payloads[-1], 86, WIDTH - 300, log=True)
    up = Scale(min(values) / 1.3, max(values) * 1.3, height - 50, 16, log=True)
    for tick in up.ticks(6):
        canvas.line(across.start - 8, up(tick), across.end, up(tick), FAINT)
        canvas.label(across.start - 14, up(tick), number_text(tick), 11, "end", SOFT)
    for payload in payloads:
        canvas.line(across(payload), up.start, across(payload), up.end, FAINT)
        canvas.label(across(payload), up.start + 13, bytes_text(payload), 11, "middle", SOFT)
    canvas.label((across.start + across.end) / 2, height - 14, "payload", 11.5, "middle", SOFT)
    canvas.label(12, height / 2, "messages received a second", 11.5, "middle", SOFT, turn=-90)
    names = list(series)
    ends = spread_labels([up(series[name][-1][1].value or 1) for name in names], 15, up.end, up.start)
    for number, (name, label_y) in enumerate(zip(names, ends, strict=True)):
        cell = series[name][-1][1]
        kind = cell.peer["kind"]
        colour = OURS if kind == "ours" else INK if kind == "library" else SOFT
        rank = sum(series[other][-1][1].peer["kind"] == kind for other in names[:number])
        dash = "4 3" if kind == "floor" else DASHES[rank % len(DASHES) if kind != "ours" else rank // len(SHAPES)]
        points = [(across(payload), up(one.value or 1)) for payload, one in series[name]]
        canvas.path(points, colour, 2.4 if kind == "ours" else 1.5, dash)
        shape = SHAPES[rank % len(SHAPES)]
        for x, y in points:
            canvas.mark(x, y, shape, colour if kind == "ours" else "#fff", colour, 3.6)
        canvas.line(points[-1][0] + 6, points[-1][1], across.end + 30, label_y, FAINT)
        canvas.mark(across.end + 37, label_y, shape, colour if kind == "ours" else "#fff", colour, 3.6)
        figures = f"{name} · {rate_text(cell.value or 0)}/s"
        canvas.label(across.end + 46, label_y, figures, 11.5, "start", colour, weight(cell))
    return canvas.text()


def round_percentile(cells: list[Cell]) -> str:
    """What a strip plot shows of each round: p50 of a closed loop, of an open one p99 where every round carries it."""
    if cells[0].case["mode"] != "open":
        return "p50"
    rounds = [item["latency"] for cell in cells for item in cell.rounds]
    return next((name for name in ("p99", "p90") if all(item[f"{name}_ns"] is not None for item in rounds)), "p50")


def round_figure(item: dict[str, Any], name: str) -> float:
    """A round's point in a strip plot."""
    return figure(item) if name == "p50" else float(item["latency"][f"{name}_ns"])


def strip(cells: list[Cell], title: str) -> str:
    """Every round as a point: solid, hollow where steal was over the limit; failed rounds as crosses at the left."""
    groups = groups_of(cells)
    failed_only = [cell for cell in cells if cell.value is None]
    shown = [cell for _, found in groups for cell in found] + failed_only
    mode = cells[0].case["mode"]
    name = round_percentile(cells)
    scaled_by = {"open": 1e6, "latency": 1e3}.get(mode, 1.0)
    height = TOP + len(shown) * ROW + 46
    canvas = Canvas(WIDTH, height, title)
    points = [round_figure(item, name) / scaled_by for cell in shown for item in cell.rounds]
    if not points:
        canvas.label(WIDTH / 2, height / 2, "no round succeeded", 13, "middle", SOFT)
        return canvas.text()
    scale = Scale(min(points) * 0.95, max(points) * 1.05, NAME_X + 20, WIDTH - 40, log=max(points) > 4 * min(points))
    bottom = height - 40
    for tick in scale.ticks(8):
        canvas.line(scale(tick), TOP - 8, scale(tick), bottom, FAINT)
        canvas.label(scale(tick), bottom + 12, number_text(tick), 11, "middle", SOFT)
    unit = {
        "open": f"{name.replace('p999', 'p99.9')} of each round, ms",
        "latency": "p50 of each round, microseconds",
    }.get(mode, "messages received a second in each round")
    canvas.label((scale.start + scale.end) / 2, bottom + 30, unit, 11.5, "middle", SOFT)
    for number, cell in enumerate(shown):
        y = TOP + number * ROW + ROW / 2
        canvas.label(NAME_X - 8, y, cell.peer["title"][:44], 12, "end", INK, weight(cell))
        canvas.line(scale.start, y, scale.end, y, FAINT, 1, "1 3")
        colour = STROKE[cell.peer["kind"]]
        for item in cell.rounds:
            hollow = item["flagged"]
            canvas.mark(
                scale(round_figure(item, name) / scaled_by), y, "circle", "#fff" if hollow else colour, colour, 4
            )
        if cell.failed:
            canvas.mark(NAME_X + 4, y, "cross", "none", INK, 3.5)
        if cell.value:
            middle = scale(median(round_figure(item, name) for item in cell.rounds) / scaled_by)
            canvas.line(middle, y - 8, middle, y + 8, INK, 1.6)
    canvas.mark(NAME_X + 24, 14, "circle", SOFT, SOFT, 4)
    canvas.label(NAME_X + 34, 14, "round", 11.5, "start", SOFT)
    canvas.mark(NAME_X + 90, 14, "circle", "#fff", SOFT, 4)
    canvas.label(NAME_X + 100, 14, "over 4 % steal", 11.5, "start", SOFT)
    canvas.line(NAME_X + 206, 7, NAME_X + 206, 21, INK, 1.6)
    canvas.label(NAME_X + 214, 14, "median", 11.5, "start", SOFT)
    canvas.mark(NAME_X + 278, 14, "cross", "none", INK, 3.5)
    canvas.label(NAME_X + 288, 14, "failed", 11.5, "start", SOFT)
    return canvas.text()


def margins(bars: list[dict[str, Any]], title: str) -> str:
    """How far each acceptance figure is from its bar: right of the line is better than asked, range as a whisker."""
    shown = [bar for bar in bars if bar["value"] is not None and bar["verdict"] != "INFORMATION"]
    height = TOP + max(1, len(shown)) * ROW + 46
    canvas = Canvas(WIDTH, height, title)
    left, right = 430.0, WIDTH - 120

    def margin(bar: dict[str, Any], value: float) -> float:
        limit = float(bar["bar"])
        return value / limit if bar["direction"] == ">=" else limit / max(value, 1e-9)

    reach = [margin(bar, max(bar[name], 1e-6)) for bar in shown for name in ("low", "high")] or [1.0]
    scale = Scale(max(0.2, min(0.5, *reach) * 0.95), min(8.0, max(2.0, *reach) * 1.05), left, right, log=True)
    bottom = height - 40
    for tick in (0.2, 0.25, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6, 8):
        if scale.low <= tick <= scale.high:
            canvas.line(scale(tick), TOP - 8, scale(tick), bottom, INK if tick == 1 else FAINT, 1.6 if tick == 1 else 1)
            canvas.label(scale(tick), bottom + 12, f"{tick:g}", 11, "middle", INK if tick == 1 else SOFT)
    canvas.label(scale(1) - 8, 14, "worse than the bar", 11.5, "end", SOFT)
    canvas.label(scale(1) + 8, 14, "better than the bar", 11.5, "start", SOFT)
    canvas.label((left + right) / 2, bottom + 30, "times the bar (logarithmic)", 11.5, "middle", SOFT)
    for number, bar in enumerate(shown):
        y = TOP + number * ROW + ROW / 2
        passed = bar["verdict"] == "PASS"
        canvas.label(left - 10, y, bar["title"][:64], 12, "end", INK)
        ends = sorted(min(max(margin(bar, max(bar[name], 1e-6)), scale.low), scale.high) for name in ("low", "high"))
        canvas.line(scale(ends[0]), y, scale(ends[1]), y, INK, 1.4)
        middle = min(max(margin(bar, max(bar["value"], 1e-6)), scale.low), scale.high)
        canvas.mark(
            scale(middle), y, "circle" if passed else "square", OURS if passed else "#fff", OURS if passed else INK, 4.5
        )
        unit = bar.get("unit", "ratio")
        text = f"{figure_text(bar['value'], unit)} {bar['verdict'] if bar['verdict'] != 'NOT MEASURED' else '?'}"
        canvas.label(right + 12, y, text, 12, "start", INK, "normal" if passed else "700")
    return canvas.text()
