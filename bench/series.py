"""Which open-loop cases of a result belong together: the same but for one quantity.

Works on the cases of a result file alone, so that it finds a series whichever command made it. It must never look at a
figure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bench.cases import bytes_text
from bench.link.model import Link

Case = dict[str, Any]
Point = tuple[float, Case]
DELAYS_MIN = 4  # so many make a curve of their own, though the losses' panels have them all
NO_IDENTITY = frozenset({"id", "title", "peers", "seconds"})


@dataclass(frozen=True, slots=True)
class Axis:
    """A quantity that varies.

    Args:
        name: short; label: of the plot's axis, with the unit.
        value: of a case.
        fields: what does not count when cases are compared: the quantity itself and what follows from it.
        panel: what tells the panels of a family from each other, with its text; None for one panel.
        fewest: so many different values make a series.
        log: whether a logarithmic axis suits it; else the values stand side by side.
        short: a value as the head of a table's column.
    """

    name: str
    label: str
    value: Callable[[Case], float]
    fields: tuple[str, ...]
    short: Callable[[float], str]
    panel: Callable[[Case], tuple[float, str]] | None = None
    fewest: int = 2
    log: bool = False


@dataclass(frozen=True, slots=True)
class Family:
    """Cases in which one quantity varies.

    Attributes:
        title: what they have in common.
        panels: a title (empty for the only one) and its points, by rising value.
    """

    axis: Axis
    title: str
    panels: list[tuple[str, list[Point]]]

    @property
    def cases(self) -> list[Case]:
        """All of them, panel by panel."""
        return [case for _, points in self.panels for _, case in points]

    @property
    def values(self) -> list[float]:
        """Of the quantity, over all panels, rising."""
        return sorted({value for _, points in self.panels for value, _ in points})


def link_of(case: Case) -> Link:
    """The link of a case, one that does nothing for loopback."""
    return Link.from_dict(case["link"]) if case.get("link") else Link()


def on_link(name: str, factor: float = 1.0) -> Callable[[Case], float]:
    """Reads a field of the link."""
    return lambda case: round(factor * float(getattr(link_of(case), name)), 9)


def by_rtt(case: Case) -> tuple[float, str]:
    """Panels by round-trip time."""
    rtt = 2 * link_of(case).delay_ms
    return rtt, f"RTT {rtt:g} ms"


def by_queue(case: Case) -> tuple[float, str]:
    """Panels by how much waits for the rate, in bandwidth-delay products."""
    link = link_of(case)
    product = link.rate_mbit * 1e6 / 8 * 2 * link.delay_ms / 1e3
    share = round(link.queue / product, 1) if product else 0.0
    return share, f"queue of {share:g} bandwidth-delay products"


def total_rate(case: Case) -> float:
    """Messages a second, all connections together."""
    return round(float(case["rate"] * case["connections"]), 6)


def count_text(value: float) -> str:
    """50 -> "50", 20000 -> "20 k"."""
    return f"{value / 1000:g} k" if value >= 1000 else f"{value:g}"


AXES = (
    Axis("loss", "loss each way, %", on_link("loss", 100), ("link.loss", "link.delay_ms"), "{:g} %".format, by_rtt),
    Axis("rate", "offered messages a second", total_rate, ("rate",), lambda value: f"{count_text(value)}/s", log=True),
    Axis("delay", "round-trip time, ms", on_link("delay_ms", 2), ("link.delay_ms",), "RTT {:g} ms".format, log=True),
    Axis("jitter", "jitter, up to so many ms more", on_link("jitter_ms"), ("link.jitter_ms",), "{:g} ms".format),
    Axis("burst", "mean length of a burst, ms", on_link("burst_ms"), ("link.burst_ms",), "{:g} ms".format),
    Axis("reorder", "packets overtaken, %", on_link("reorder", 100), ("link.reorder", "link.reorder_ms"),
         "{:g} %".format),
    Axis("link rate", "rate of the link, Mbit/s", on_link("rate_mbit"), ("link.rate_mbit", "link.queue_bytes"),
         "{:g} Mbit/s".format, by_queue, log=True),
    Axis("hole", "nothing passes for so many seconds", on_link("hole_s"), ("link.hole_s",), "{:g} s".format),
    Axis("payload", "payload, bytes", lambda case: case["payload"], ("payload",), lambda value: bytes_text(int(value)),
         log=True, fewest=3),
    Axis("connections", "connections", lambda case: case["connections"], ("connections", "rate"),
         count_text, log=True),
)  # fmt: skip


def identity(case: Case, axis: Axis) -> tuple[Any, ...]:
    """What must be equal for two cases to be of one family; a new field of a case counts by itself."""
    flat = {name: value for name, value in case.items() if name not in NO_IDENTITY and name != "link"}
    flat |= {f"link.{name}": value for name, value in link_of(case).as_dict().items()}
    kept = [(name, str(value)) for name, value in sorted(flat.items()) if name not in axis.fields]
    extra = (("total", str(total_rate(case))),) if axis.name == "connections" else ()
    return (bool(case.get("link")), *kept, *extra)


def common_title(case: Case, axis: Axis) -> str:
    """What the cases of a family have in common, for people."""
    if not case.get("rate"):
        return str(case["title"])
    if case.get("trace"):
        return str(case["title"]).partition(";")[0]
    parts = [] if axis.name == "payload" else [bytes_text(case["payload"])]
    poisson = ", Poisson arrivals" if case.get("arrival") == "poisson" else ""
    if axis.name == "connections":
        parts.append(f"{count_text(total_rate(case))} messages a second in all{poisson}")
    else:
        many = "" if case["connections"] == 1 else f"{case['connections']} connections"
        each = "" if axis.name == "rate" else f"{case['rate']:g} messages a second"
        parts.append(" of ".join(filter(None, [many, each])) + poisson)
    if not case.get("link"):
        parts.append("loopback")
    else:
        names = [name.removeprefix("link.") for name in axis.fields if name.startswith("link.")]
        rest = replace(link_of(case), **dict.fromkeys(names, 0))
        parts.append("" if rest == Link() else rest.title)
    return ", ".join(part.removeprefix(", ") for part in parts if part)


def applies(axis: Axis, case: Case) -> bool:
    """Whether a case can lie on an axis at all: what a link does varies on links alone, and so on."""
    if not case.get("rate"):
        return False
    if axis.name == "link rate":
        return bool(link_of(case).rate_mbit)
    return bool(case.get("link")) if axis.fields[0].startswith("link.") else True


def families(cases: list[Case]) -> list[Family]:
    """All families among open-loop cases, in the order of `AXES`; a case may be in several."""
    found: list[Family] = []
    for axis in AXES:
        groups: dict[tuple[Any, ...], list[Case]] = {}
        for case in cases:
            if case["mode"] == "open" and applies(axis, case):
                groups.setdefault(identity(case, axis), []).append(case)
        for group in groups.values():
            panels: dict[tuple[float, str], dict[float, Case]] = {}
            for case in group:
                panels.setdefault(axis.panel(case) if axis.panel else (0.0, ""), {}).setdefault(axis.value(case), case)
            if any(len(points) > 1 for points in panels.values()):  # a lone point is one of another axis
                panels = {name: points for name, points in panels.items() if len(points) > 1}
            family = Family(
                axis,
                common_title(group[0], axis),
                [(name, sorted(points.items(), key=lambda point: point[0])) for (_, name), points in
                 sorted(panels.items(), key=lambda panel: panel[0])],
            )  # fmt: skip
            if len(family.cases) > 1 and len(family.values) >= axis.fewest and not is_seen(family, found):
                found.append(family)
    return found


def is_seen(family: Family, found: list[Family]) -> bool:
    """Whether a few delays are the panels of losses already."""
    if family.axis.name != "delay" or len(family.values) >= DELAYS_MIN:
        return False
    return {case["id"] for case in family.cases} <= {case["id"] for other in found for case in other.cases}


def tabled(cases: list[Case]) -> list[Family]:
    """The families that a table each should have: every case of a family is in at least one, few are in two.

    A delay that varies is seen in the table of losses already, where that has all its cases.
    """
    seen: set[str] = set()
    kept = []
    for family in families(cases):
        names = {case["id"] for case in family.cases}
        if names - seen:
            kept.append(family)
        seen |= names
    return kept


def alone(cases: list[Case]) -> list[Case]:
    """Open-loop cases that are in no family."""
    within = {case["id"] for family in families(cases) for case in family.cases}
    return [case for case in cases if case["mode"] == "open" and case["id"] not in within]
