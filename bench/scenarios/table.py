"""What a scenario is, and what it gives: bars, and cells in a table.

Works on plain values, so that everything shown is in the result file. It must never judge a figure twice: the table
shows, the bars judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.bars import simple_bar

Tick = Callable[[str], None]
Found = tuple[list[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One part of `python -m bench scenarios`.

    Args:
        name: for `--only`.
        ticks: how often `run` ticks, of the number of seeds.
        run: measures; gives bars, and what was seen, with a `table` in it.
    """

    name: str
    ticks: Callable[[int], int]
    run: Callable[[Tick, int], Found]


def seen(title: str, head: Sequence[str], rows: list[list[str]], cells: list[dict[str, Any]], note: str = "") -> Any:
    """The entry in `probes` of the result file."""
    return {"table": {"title": title, "head": list(head), "rows": rows, "note": note}, "cells": cells}


def worst(identity: str, title: str, unit: str, excess: dict[str, float]) -> dict[str, Any]:
    """A bar over many cells: by how much the worst of them is over its own bound (under it where negative)."""
    if not excess:
        return simple_bar(identity, title, unit, None, 0.0, why="no cells")
    where = max(excess, key=lambda name: excess[name])
    over = [name for name, value in excess.items() if value > 1e-9]
    why = f"over in {len(over)} of {len(excess)} cells: {', '.join(over[:9])}" if over else None
    value = excess[where] if over else min(0.0, excess[where])
    return simple_bar(
        identity, f"{title}, worst of {len(excess)} cells", unit, value, 0.0,
        low=min(excess.values()), high=excess[where], count=len(excess), why=why,
    )  # fmt: skip


def ms(value: float) -> str:
    """Milliseconds, for a table."""
    return f"{value:.1f}"
