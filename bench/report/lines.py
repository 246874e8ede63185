"""Line plots of the open loop: panels with a line for each peer, and a band above them for those that broke.

A peer looks the same in all pictures of a page: ours are solid and dark, the others hollow; shapes and dashes tell them
apart without colour. It must never leave out a peer: one without a figure has its cross in the band.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from bench.report.svg import DASHES, FAINT, INK, OURS, SOFT, Canvas, Scale, number_text, spread_labels

WIDTH = 960.0
SHAPES = ("circle", "square", "diamond", "triangle")
LEFT = 50.0
RIGHT = 128.0  # of a panel, for the names
BAND = 22.0  # for crosses
PLOT = 250.0
NAMES_MAX = 18  # beside a panel; the lines of the others are drawn faint


@dataclass(frozen=True, slots=True)
class Look:
    """How one peer is drawn."""

    colour: str
    dash: str
    shape: str
    filled: bool
    width: float


@dataclass(slots=True)
class Line:
    """One peer in one panel.

    Attributes:
        points: (x, y), those that have a figure, by rising x.
        broken: x of those that have none because the peer failed. invalid: because the harness did.
    """

    name: str
    points: list[tuple[float, float]] = field(default_factory=list)
    broken: list[float] = field(default_factory=list)
    invalid: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Panel:
    """A title and its lines, the most important first."""

    title: str
    lines: list[Line]


def looks(peers: list[dict[str, str]]) -> dict[str, Look]:
    """By peer id; `peers` in the order of the file, so that two pages of it look alike."""
    found: dict[str, Look] = {}
    count = {True: 0, False: 0}
    for peer in peers:
        ours = peer["kind"] == "ours"
        number = count[ours]
        count[ours] += 1
        colour = OURS if ours else INK if peer["kind"] == "library" else SOFT
        shape, dash = SHAPES[number % len(SHAPES)], DASHES[(number // len(SHAPES) + number) % len(DASHES)]
        found[peer["id"]] = Look(colour, dash, shape, ours, 2.2 if ours else 1.3)
    return found


@dataclass(frozen=True, slots=True)
class Axes:
    """What all panels of a picture share.

    Args:
        across: values on the x axis, rising; `texts` their labels.
        log: whether x is drawn to scale; else the values stand side by side.
        x_label, y_label: with units.
    """

    across: list[float]
    texts: list[str]
    log: bool
    x_label: str
    y_label: str


def line_panels(panels: list[Panel], axes: Axes, look: dict[str, Look], title: str) -> str:
    """The picture: one panel over the whole width, or two in a row."""
    columns = 1 if len(panels) == 1 else 2
    rows = -(-len(panels) // columns)
    names = max((len(panel.lines) for panel in panels), default=1)
    plot = max(PLOT, 13.0 * min(names, NAMES_MAX) + 20)
    height_each = 34 + BAND + plot + 52
    canvas = Canvas(WIDTH, rows * height_each, title)
    values = [y for panel in panels for line in panel.lines for _, y in line.points]
    for number, panel in enumerate(panels):
        left = (number % columns) * WIDTH / columns
        top = (number // columns) * height_each
        frame = Frame(left + LEFT, left + WIDTH / columns - RIGHT, top + 34 + BAND, top + 34 + BAND + plot)
        draw_panel(canvas, panel, frame, axes, look, values)
    return canvas.text()


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a panel's plot lies."""

    left: float
    right: float
    top: float
    bottom: float


def of_panel(axes: Axes, panel: Panel) -> Axes:
    """The axes of one panel: values that stand side by side are only those that it has."""
    if axes.log:
        return axes
    there = {x for line in panel.lines for x in [*(x for x, _ in line.points), *line.broken, *line.invalid]}
    kept = [at for at, value in enumerate(axes.across) if value in there]
    return replace(axes, across=[axes.across[at] for at in kept], texts=[axes.texts[at] for at in kept])


def across_scale(axes: Axes, frame: Frame) -> dict[float, float]:
    """X of each value."""
    inner = 14.0
    if axes.log and axes.across[0] > 0 and len(axes.across) > 1:
        scale = Scale(axes.across[0], axes.across[-1], frame.left + inner, frame.right - inner, log=True)
        return {value: scale(value) for value in axes.across}
    count = max(1, len(axes.across) - 1)
    step = (frame.right - frame.left - 2 * inner) / count
    return {value: frame.left + inner + at * step for at, value in enumerate(axes.across)}


def draw_panel(
    canvas: Canvas, panel: Panel, frame: Frame, axes: Axes, look: dict[str, Look], values: list[float]
) -> None:
    """Frame, ticks, lines, the band of crosses, names."""
    axes = of_panel(axes, panel)
    where = across_scale(axes, frame)
    canvas.label(frame.left, frame.top - BAND - 20, panel.title, 13, "start", INK, "600")
    canvas.label((frame.left + frame.right) / 2, frame.bottom + 34, axes.x_label, 11.5, "middle", SOFT)
    canvas.label(frame.left - 40, (frame.top + frame.bottom) / 2, axes.y_label, 11.5, "middle", SOFT, turn=-90)
    canvas.rect(frame.left, frame.top - BAND, frame.right - frame.left, BAND - 4, "#f0f2f5")
    canvas.label(frame.left - 6, frame.top - BAND / 2 - 2, "failed", 10, "end", SOFT)
    last = -1e9
    for value, text in zip(axes.across, axes.texts, strict=True):
        canvas.line(where[value], frame.bottom, where[value], frame.top, FAINT)
        if where[value] - last > 5.5 * len(text) + 6:
            canvas.label(where[value], frame.bottom + 14, text, 10.5, "middle", SOFT)
            last = where[value]
    if not values:
        canvas.label((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "too few samples", 12, "middle",
                     SOFT)  # fmt: skip
    up = Scale(min(values or [1.0]) * 0.88, max(values or [1.0]) * 1.15, frame.bottom, frame.top, log=True)
    for tick in up.ticks(5):
        canvas.line(frame.left, up(tick), frame.right, up(tick), FAINT)
        canvas.label(frame.left - 6, up(tick), number_text(round(tick, 6)), 10.5, "end", SOFT)
    named = {line.name for line in panel.lines[:NAMES_MAX]}
    for line in reversed(panel.lines):  # the first on top
        draw_line(canvas, line, where, up, look[line.name], line.name in named)
    draw_band(canvas, panel, where, frame, up, look)
    shown = [line for line in panel.lines if line.points and line.name in named]
    ends = spread_labels([up(line.points[-1][1]) for line in shown], 12.5, frame.top, frame.bottom)
    for line, y in zip(shown, ends, strict=True):
        style = look[line.name]
        x_end, y_end = where[line.points[-1][0]], up(line.points[-1][1])
        canvas.line(x_end + 5, y_end, frame.right + 4, y, FAINT)
        canvas.mark(frame.right + 10, y, style.shape, style.colour if style.filled else "#fff", style.colour, 3)
        canvas.label(frame.right + 17, y, line.name, 10.5, "start", style.colour, "600" if style.filled else "normal")


def draw_line(canvas: Canvas, line: Line, where: dict[float, float], up: Scale, style: Look, named: bool) -> None:
    """One peer's line and marks."""
    points = [(where[x], up(y)) for x, y in line.points]
    colour = style.colour if named else FAINT
    if len(points) > 1:
        canvas.path(points, colour, style.width, style.dash)
    for x, y in points:
        canvas.mark(x, y, style.shape, colour if style.filled else "#fff", colour, 3.2)


def draw_band(
    canvas: Canvas, panel: Panel, where: dict[float, float], frame: Frame, up: Scale, look: dict[str, Look]
) -> None:
    """A cross for each peer that failed at a value, tied to its line; a hollow circle where no round was valid."""
    y = frame.top - BAND / 2 - 2
    for value, x in where.items():
        there = [(line, "cross") for line in panel.lines if value in line.broken]
        there += [(line, "circle") for line in panel.lines if value in line.invalid]
        room = 8.0 if len(there) < 4 else 4.5
        for number, (line, shape) in enumerate(there):
            at = x + (number - (len(there) - 1) / 2) * room
            at = min(max(at, frame.left + 5), frame.right - 5)
            before = [point for point in line.points if point[0] < value]
            if shape == "cross" and before:
                x_last, y_last = before[-1]
                canvas.line(where[x_last], up(y_last), at, y, look[line.name].colour, 0.8, "1 4")
            canvas.mark(at, y, shape, "none", look[line.name].colour, 3)
