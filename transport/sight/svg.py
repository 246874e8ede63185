"""A timeline as a picture: panels over one axis of time, as SVG, readable at 1400 pixels.

Points that fall on the same pixel are drawn once, so that the file stays small however much was sent. It must never
depend on anything but the timeline, so that the same one gives the same picture.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from transport.sight.timeline import Points, Timeline

WIDTH = 1400
LEFT, RIGHT, TOP = 92, 28, 142
TALL, MIDDLE, LOW, STRIP = 400, 190, 110, 18  # heights of panels
GAP = 56
BOTTOM = 58
INK, FAINT, BACK = "#1f2933", "#d9dee4", "#ffffff"
# Okabe and Ito, "Color Universal Design": told apart by most people who see few colours
BLUE, GREEN, RED, ORANGE, PURPLE, SKY = "#0072b2", "#009e73", "#d55e00", "#e69f00", "#aa3377", "#56b4e9"
YELLOW, GREY = "#f0e442", "#98a2ad"
STATES = {
    "slow_start": SKY, "congestion_avoidance": GREEN, "recovery": RED, "application_limited": ORANGE,
    "startup": SKY, "drain": PURPLE, "probe_bw_down": ORANGE, "probe_bw_cruise": GREEN, "probe_bw_refill": YELLOW,
    "probe_bw_up": BLUE, "probe_rtt": INK,
}  # fmt: skip
"""Colours of what congestion control is about."""
NARROW = 1.5  # pixels that a state has at least
LABEL = 110  # pixels that a label at a line takes
FONT = "font-family='DejaVu Sans, Verdana, sans-serif'"


@dataclass(slots=True)
class Series:
    """Points of one panel.

    Args:
        name: in the legend.
        points: (seconds, value).
        color: of it.
        how: "dots", "crosses", "rings", "triangles", "squares" of a legend, or "steps" of a line.
        dashed: of a line.
    """

    name: str
    points: Points
    color: str
    how: str
    dashed: bool = False


def draw(timeline: Timeline) -> str:
    """The picture."""
    end = timeline.seconds or 1.0
    made: list[str] = []
    top = TOP
    for part in _panels(timeline):
        if isinstance(part, list):
            made += strip(top, end, part)
            top += STRIP + GAP
        else:
            name, unit, height, series = part
            panel = Panel(top, height, end, name, unit, series)
            made += panel.parts()
            top += height + GAP
    bottom = top - GAP
    made += _times(end, bottom)
    made += _moves(timeline.moves, end, bottom)
    height = bottom + BOTTOM
    head = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'>",
        f"<rect width='{WIDTH}' height='{height}' fill='{BACK}'/>",
        _text(LEFT, 32, timeline.title, size=20, weight="bold"),
    ]
    head += [_text(LEFT, 54 + 18 * index, line, size=14) for index, line in enumerate(timeline.lines[:4])]
    return "\n".join([*head, *made, "</svg>\n"])


def _panels(timeline: Timeline) -> Iterator[tuple[str, str, int, list[Series]] | list[tuple[float, str]]]:
    """Each panel's name, unit, height and series; the strip of states as a list of them."""
    yield ("sent", "bytes", TALL, [
        Series("packet sent", timeline.sent, BLUE, "dots"),
        Series("acknowledged (when the ack came)", timeline.acked, GREEN, "dots"),
        Series("sent with copies of messages", timeline.copies, ORANGE, "rings"),
        Series(timeline.lost_name, timeline.lost, RED, "crosses"),
    ])  # fmt: skip
    if timeline.states:
        yield timeline.states
    yield ("in flight", "bytes", MIDDLE, [
        Series("bytes in flight", timeline.in_flight, SKY, "steps"),
        Series("congestion window", timeline.window, PURPLE, "steps"),
        Series("marked by a queue (ECN)", timeline.marked, ORANGE, "triangles"),
        Series("probe time-out", timeline.timeouts, RED, "triangles"),
    ])  # fmt: skip
    yield ("round trip", "ms", MIDDLE, [
        Series("latest", timeline.latest, SKY, "dots"),
        Series("smoothed", timeline.smoothed, BLUE, "steps"),
        Series("least", timeline.least, INK, "steps", dashed=True),
    ])  # fmt: skip
    if timeline.mtu or timeline.tries:
        yield ("packet size", "bytes", LOW, [
            Series("that packets are filled to", timeline.mtu, BLUE, "steps"),
            Series("a larger one is tried", timeline.tries, GREEN, "rings"),
            Series("that was believed lost", timeline.failed, RED, "crosses"),
        ])  # fmt: skip


def strip(top: int, end: float, states: list[tuple[float, str]]) -> Iterator[str]:
    """A band that shows by colours what congestion control is about, with its legend.

    States that are shorter than a pixel, as the one right after a loss, are drawn last and a little wider.
    """
    names = list(dict.fromkeys([name for _, name in states]))
    colors = {name: STATES.get(name, GREY) for name in names}
    yield from _legend(top, [Series(name.replace("_", " "), [], colors[name], "squares") for name in names])
    short: dict[tuple[int, str], str] = {}
    for (at, name), (stop, _) in itertools.pairwise([*states, (end, "")]):
        x, width = across(at, end), across(stop, end) - across(at, end)
        if width >= NARROW:
            yield _box(x, top, width, colors[name])
        else:
            short[round(x), name] = _box(min(x, WIDTH - RIGHT - NARROW), top, NARROW, colors[name])
    yield from short.values()
    yield _frame(top, STRIP)
    yield _text(LEFT - 8, top + STRIP / 2 + 4.5, "state", size=14, anchor="end")


def _moves(moves: list[float], end: float, bottom: int) -> Iterator[str]:
    """A line through all panels where the connection went on over another path."""
    labelled = -LABEL
    for x in sorted({round(across(at, end)) for at in moves}):
        yield f"<path d='M{x} {TOP}V{bottom}' stroke='{INK}' stroke-width='1.2' stroke-dasharray='2 4'/>"
        if x - labelled >= LABEL:
            labelled = x
            is_right = x > WIDTH - RIGHT - LABEL
            yield _text(x - 5 if is_right else x + 5, TOP + 16, "another path", anchor="end" if is_right else "start")


class Panel:
    """One of those with axes.

    Args:
        top, height: its place, in pixels.
        end: seconds of its right edge.
        name, unit: of its axis.
        series: what is in it; those without points are left out of the legend.
    """

    def __init__(self, top: int, height: int, end: float, name: str, unit: str, series: list[Series]) -> None:
        self._top = top
        self._height = height
        self._end = end
        self._name = name
        self._series = [one for one in series if one.points]
        most = max([value for one in self._series for _, value in one.points], default=0.0)
        self._factor, self._unit = scale(most, unit)
        self._most = most * 1.06 or 1.0

    def parts(self) -> Iterator[str]:
        """Its elements."""
        yield from self._grid()
        yield from _legend(self._top, self._series)
        if not self._series:
            middle = self._top + self._height / 2
            yield _text((LEFT + WIDTH - RIGHT) / 2, middle, "not known from this source", size=14, anchor="middle")
        for one in self._series:
            if one.how == "steps":
                yield self._path(one)
            else:
                yield from self._marks(one)

    def _x(self, seconds: float) -> float:
        return across(seconds, self._end)

    def _y(self, value: float) -> float:
        return self._top + self._height * (1 - value / self._most)

    def _grid(self) -> Iterator[str]:
        bottom = self._top + self._height
        for value in ticks(self._most / self._factor, 6 if self._height > 250 else 4):
            y = self._y(value * self._factor)
            yield f"<path d='M{LEFT} {y:.1f}H{WIDTH - RIGHT}' stroke='{FAINT}'/>"
            yield _text(LEFT - 8, y + 4.5, number(value), anchor="end")
        factor, _ = scale(self._end * 1000, "time")
        for value in ticks(self._end * 1000 / factor, 12):
            x = self._x(value * factor / 1000)
            yield f"<path d='M{x:.1f} {self._top}V{bottom}' stroke='{FAINT}'/>"
        yield _frame(self._top, self._height)
        y = self._top + self._height / 2
        yield (
            f"<text transform='translate(24 {y:.0f}) rotate(-90)' text-anchor='middle' font-size='14' fill='{INK}' "
            f"{FONT}>{escape(self._name)} ({self._unit})</text>"
        )

    def _marks(self, one: Series) -> Iterator[str]:
        """Marks, one for each pixel."""
        size = {"dots": 2.0, "rings": 4.0, "crosses": 4.0, "triangles": 4.0}[one.how]
        seen: set[tuple[int, int]] = set()
        dots: list[str] = []
        for seconds, value in one.points:
            place = (round(self._x(seconds)), round(self._y(value)))
            if place in seen:
                continue
            seen.add(place)
            if one.how == "dots":  # one element for all of them: a dot is a line of no length with round ends
                dots.append(f"M{place[0]} {place[1]}h0")
            else:
                yield _mark(one, *place, size)
        if dots:
            yield (
                f"<path d='{''.join(dots)}' stroke='{one.color}' stroke-width='{2 * size}' stroke-linecap='round' "
                "fill='none'/>"
            )

    def _path(self, one: Series) -> str:
        """A line, of which each column of pixels keeps what comes first and last, the least and the most."""
        columns: dict[int, list[float]] = {}
        for seconds, value in one.points:
            y = round(self._y(value), 1)
            column = columns.setdefault(round(self._x(seconds)), [y, y, y, y])
            column[1], column[2], column[3] = min(column[1], y), max(column[2], y), y
        parts: list[str] = []
        for x, (first, high, low, last) in columns.items():
            parts.append(f"H{x}V{first}" if parts else f"M{x} {first}")
            way = (first, high, low, last)
            parts += [f"V{y}" for before, y in itertools.pairwise(way) if y != before]
        parts.append(f"H{WIDTH - RIGHT}")
        dash = " stroke-dasharray='6 4'" if one.dashed else ""
        return f"<path d='{''.join(parts)}' fill='none' stroke='{one.color}' stroke-width='1.8'{dash}/>"


def across(seconds: float, end: float) -> float:
    """Where a time lies, if the right edge is `end`."""
    return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end


def scale(most: float, unit: str) -> tuple[float, str]:
    """What a value is divided by, and the unit that it then has; times come in milliseconds."""
    if unit == "ms":
        return (1.0, "ms") if most >= 0.5 else (1e-3, "us")
    steps: dict[str, list[tuple[float, str]]] = {
        "bytes": [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes")],
        "time": [(1e3, "s"), (1.0, "ms"), (1e-3, "us")],
    }
    return next(((factor, name) for factor, name in steps[unit] if most >= 2 * factor), steps[unit][-1])


def ticks(most: float, count: int) -> list[float]:
    """About so many round values from 0 to `most`: steps of 1, 2 or 5 times a power of ten."""
    if not most > 0:
        return [0.0]
    rough = most / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    return [index * step for index in range(int(most / step + 1e-9) + 1)]


def number(value: float) -> str:
    """A value at an axis."""
    return f"{value:.6g}"


def _times(end: float, bottom: int) -> Iterator[str]:
    """What stands below the lowest panel."""
    factor, unit = scale(end * 1000, "time")
    for value in ticks(end * 1000 / factor, 12):
        yield _text(across(value * factor / 1000, end), bottom + 19, number(value), anchor="middle")
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield _text(middle, bottom + 42, f"time since the beginning ({unit})", size=14, anchor="middle")


def _legend(top: int, series: list[Series]) -> Iterator[str]:
    """What the series of a panel look like, above it."""
    x = float(LEFT)
    y = top - 12
    for one in series:
        if one.how == "steps":
            dash = " stroke-dasharray='6 4'" if one.dashed else ""
            yield f"<path d='M{x:.0f} {y - 4.5}h22' stroke='{one.color}' stroke-width='2.5'{dash}/>"
        elif one.how == "squares":
            yield _box(x + 8, y - 11, 14, one.color, height=13)
        else:
            yield _mark(one, x + 11, y - 4.5, 4.5)
        yield _text(x + 28, y, one.name)
        x += 28 + 7.6 * len(one.name) + 26


def _box(x: float, y: float, width: float, color: str, height: float = STRIP) -> str:
    return f"<rect x='{x:.1f}' y='{y:.1f}' width='{width:.1f}' height='{height}' fill='{color}'/>"


def _frame(top: int, height: int) -> str:
    """The border of a panel."""
    width = WIDTH - LEFT - RIGHT
    return f"<rect x='{LEFT}' y='{top}' width='{width}' height='{height}' fill='none' stroke='{INK}'/>"


def _mark(one: Series, x: float, y: float, size: float) -> str:
    if one.how == "crosses":
        arms = f"M{x - size:.1f} {y - size:.1f}l{2 * size} {2 * size}m0 {-2 * size}l{-2 * size} {2 * size}"
        return f"<path d='{arms}' stroke='{one.color}' stroke-width='2' fill='none'/>"
    if one.how == "triangles":
        return f"<path d='M{x:.1f} {y - size:.1f}l{size} {2 * size}h{-2 * size}z' fill='{one.color}'/>"
    fill, edge = ("none", one.color) if one.how == "rings" else (one.color, "none")
    return f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{size}' fill='{fill}' stroke='{edge}' stroke-width='1.6'/>"


def _text(x: float, y: float, text: str, *, size: int = 13, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' font-weight='{weight}' fill='{INK}' "
        f"{FONT}>{escape(text)}</text>"
    )
