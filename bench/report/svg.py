"""The little that our plots need of SVG: a canvas, two scales, ticks, and labels that keep out of each other's way.

Kinds of peers differ by shade, hatching and weight, never by hue alone, so that a page reads the same on paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape

INK = "#1b1f24"
SOFT = "#5b6470"
FAINT = "#d9dde2"
OURS = "#0a4f8f"
FILL = {"ours": OURS, "library": "#8b949e", "baseline": "#cbd1d8", "floor": "url(#hatch)"}
STROKE = {"ours": OURS, "library": "#6b7480", "baseline": "#9aa3ad", "floor": "#8b949e"}
FONT = "font-family=\"system-ui, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif\""
CORNERS: dict[str, list[tuple[float, float]]] = {
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
    "triangle": [(0, -1.2), (1.2, 1), (-1.2, 1)],
    "cross": [(-1, -1), (1, 1), (0, 0), (1, -1), (-1, 1), (0, 0)],
}
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "12 4", "1 2", "6 2 1 2 1 2")
HATCH = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="#fff"/><line x1="0" y1="0" x2="0" y2="5" stroke="#8b949e" stroke-width="2"/>'
    "</pattern></defs>"
)


@dataclass(slots=True)
class Canvas:
    """Collects elements; `text` gives the finished picture."""

    width: float
    height: float
    title: str
    parts: list[str] = field(default_factory=list)

    def line(
        self, x1: float, y1: float, x2: float, y2: float, stroke: str = INK, width: float = 1, dash: str = ""
    ) -> None:
        """A straight line."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
            f'stroke-width="{width}"{dashed}/>'
        )

    def path(self, points: list[tuple[float, float]], stroke: str, width: float = 1.5, dash: str = "") -> None:
        """A polyline."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(
            f'<polyline points="{joined}" fill="none" stroke="{stroke}" stroke-width="{width}" '
            f'stroke-linejoin="round"{dashed}/>'
        )

    def rect(self, x: float, y: float, width: float, height: float, fill: str, stroke: str = "none") -> None:
        """A box."""
        self.parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0.0, width):.1f}" height="{height:.1f}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def mark(self, x: float, y: float, shape: str, fill: str, stroke: str, size: float = 3.5) -> None:
        """A data point: "circle", "square", "diamond", "triangle" or "cross"."""
        style = f'fill="{fill}" stroke="{stroke}" stroke-width="1.3"'
        if shape == "circle":
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}" {style}/>')
            return
        corners = CORNERS[shape]
        joined = " ".join(f"{x + dx * size:.1f},{y + dy * size:.1f}" for dx, dy in corners)
        self.parts.append(f'<polygon points="{joined}" {style}/>')

    def label(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 12,
        anchor: str = "start",
        fill: str = INK,
        weight: str = "normal",
        turn: float = 0,
    ) -> None:
        """Text; `y` is its middle."""
        turned = f' transform="rotate({turn} {x:.1f} {y:.1f})"' if turn else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y + size * 0.35:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
            f'font-weight="{weight}"{turned}>{escape(text)}</text>'
        )

    def text(self) -> str:
        """The SVG element."""
        return (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" role="img" '
            f'aria-label="{escape(self.title, quote=True)}" {FONT} xmlns="http://www.w3.org/2000/svg">'
            f"<title>{escape(self.title)}</title>{HATCH}{''.join(self.parts)}</svg>"
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to positions, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, 1e-12)), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, wanted: int = 6) -> list[float]:
        """Round values inside the range."""
        return log_ticks(self.low, self.high, wanted) if self.log else linear_ticks(self.low, self.high, wanted)


def linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    """1-2-5 steps."""
    raw = (high - low) / max(1, wanted)
    if raw <= 0:
        return [low]
    unit = 10 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Powers of ten, with 2 and 5 between them, or 1 to 9 where the range is short."""
    ticks: list[float] = []
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 2, 3, 4, 5, 6, 7, 8, 9)):
        ticks = [f * 10.0**d for d in decades for f in factors if low * 0.999 <= f * 10.0**d <= high * 1.001]
        if len(ticks) >= min(wanted, 4):
            return ticks
    return ticks if len(ticks) > 2 else linear_ticks(low, high, wanted)


def spread_labels(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels apart so that none is nearer than `gap` to the next, as little as possible; order is kept."""
    order = sorted(range(len(positions)), key=lambda at: positions[at])
    placed = [positions[at] for at in order]
    for _ in range(200):
        moved = False
        for at in range(len(placed) - 1):
            short = gap - (placed[at + 1] - placed[at])
            if short > 0.01:
                placed[at] -= short / 2
                placed[at + 1] += short / 2
                moved = True
        if placed and placed[0] < low:
            placed[0], moved = low, True
        if placed and placed[-1] > high:
            placed[-1], moved = high, True
        if not moved:
            break
    result = [0.0] * len(positions)
    for rank, at in enumerate(order):
        result[at] = placed[rank]
    return result


def number_text(value: float) -> str:
    """Short tick text: 50, 2.5, 100 k, 4 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= unit * 0.9995:
            return f"{value / unit:g}{name}"
    return f"{value:g}"
