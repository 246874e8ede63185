"""What a scenario is, and what it gives: bars, and cells in a table.

Works on plain values, so that everything shown is in the result file. It must never judge a figure twice: the table
shows, the bars judge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.bars import simple_bar

ROUNDING = 1e-9

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


def worst(identity: str, title: str, shares: dict[str, float]) -> dict[str, Any]:
    """A bar over many cells: the largest share that one of them takes of its own bound."""
    if not shares:
        return simple_bar(identity, title, "ratio", None, 1.0, why="no cells")
    over = [name for name, share in shares.items() if share > 1.0 + ROUNDING]
    why = f"over in {len(over)} of {len(shares)} cells: {', '.join(over[:9])}" if over else None
    value = max(shares.values())
    return simple_bar(
        identity, f"{title}, worst of {len(shares)}", "ratio", value if over else min(1.0, value), 1.0,
        low=min(shares.values()), high=value, count=len(shares), why=why,
    )  # fmt: skip


def ms(value: float) -> str:
    """Milliseconds, for a table."""
    return f"{value:.1f}"
