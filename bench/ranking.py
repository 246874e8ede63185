"""Who is best in a cell of the open loop, and what that may be called: by p99, among those that promise the same.

It must never rank a peer that failed a round, nor one whose p99 too few samples stand behind, nor a floor (it is
there to be divided by), nor compare one that may lose messages with one that delivers them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.summary import GUARANTEES, IN_ORDER, Cell

LEVEL = 0.05  # a p99 within so much of the lowest is called level with it: a run or two tells no more


def p99(cell: Cell) -> float:
    """Its p99 (ns). Only for cells that are `ranked`."""
    value = cell.percentiles["p99"]
    assert value is not None
    return value


def is_ranked(cell: Cell) -> bool:
    """Whether a cell has a figure that may be called good or bad: rounds that count, none failed, a p99, no floor."""
    has_figure = cell.value is not None and cell.percentiles.get("p99") is not None
    return has_figure and not cell.has_failed and cell.peer["kind"] != "floor"


def ranked(cells: list[Cell], *guarantees: str) -> list[Cell]:
    """Lowest p99 first; with `guarantees`, only those that promise one of them."""
    wanted = guarantees or GUARANTEES
    return sorted((cell for cell in cells if is_ranked(cell) and cell.guarantee in wanted), key=p99)


def level(cells: list[Cell]) -> list[Cell]:
    """Of cells that are `ranked`, the first and those level with it."""
    return [cell for cell in cells if p99(cell) <= p99(cells[0]) * (1 + LEVEL)]


def unknown(cells: list[Cell]) -> list[str]:
    """Ids of those without a valid round, who might be better than anybody ranked: the harness failed, not they.

    A tenth of its own p99 is what a peer's sender may be late, so a noisy machine takes the figures of the fast ones.
    """
    return [cell.peer["id"] for cell in cells if cell.status == "INVALID" and cell.peer["kind"] != "floor"]


def is_ours(cell: Cell) -> bool:
    """Whether it is a peer of this project."""
    return bool(cell.peer["kind"] == "ours")


@dataclass(frozen=True, slots=True)
class Standing:
    """How ours do at one case, against those that promise as much.

    Attributes:
        best: the lowest p99 of all. ours, others: the lowest of either side; None where there is none.
        word: "lowest", "level", "higher" or "alone" (one of the sides has no figure).
    """

    case: dict[str, Any]
    best: list[Cell]
    ours: Cell | None
    others: Cell | None
    word: str

    @property
    def ratio(self) -> float:
        """p99 of ours, in those of the best other."""
        assert self.ours is not None and self.others is not None
        return p99(self.ours) / p99(self.others)


def standing(case: dict[str, Any], cells: list[Cell], guarantee: str = IN_ORDER) -> Standing | None:
    """Of one case; None when nobody with this guarantee has a p99."""
    order = ranked(cells, guarantee)
    if not order:
        return None
    ours = next((cell for cell in order if is_ours(cell)), None)
    others = next((cell for cell in order if not is_ours(cell)), None)
    if ours is None or others is None:
        word = "alone"
    elif p99(ours) > p99(others) * (1 + LEVEL):
        word = "higher"
    else:
        word = "lowest" if p99(others) > p99(ours) * (1 + LEVEL) else "level"
    return Standing(case, level(order), ours, others, word)
