"""Cells of a grid, the order they are run in, and the tables they make.

Everything in a table is computed from cells, so that a result file can be read again. It must never drop a cell that
failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from time import monotonic
from typing import Any

from bench.link.model import Link
from bench.scenarios.table import seen
from bench.statistics import median
from bench.virtual.machine import VirtualPeer
from bench.virtual.open_loop import FAIL, Load, run_cell

MS = 1e6
HEAD = ["one-way latency, ms", "p50", "p90", "p99", "p99.9", "worst", "in 100 ms", "lost", "packets", "bytes",
        "s a cell"]  # fmt: skip
OVERVIEWS = {"p99": "p99", "p999": "p99.9"}
PERCENTILES = ("p50_ns", "p90_ns", "p99_ns", "p999_ns")
NOTE = (
    "From the planned time of a message to its delivery, in virtual time: the protocol, not the processor. Medians "
    "over seeds; worst: of all. Packets and bytes (IP and UDP headers included) are per message, both ways. A "
    "percentile is shown where 30 samples lie beyond it; s a cell: what the cell took to compute, of this machine."
)

Ticked = Callable[[str, int], None]
"""Called with what was done, and of how many connections."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is to be run.

    Args:
        links, payloads: of each combination.
        peers: who runs it.
        seeds: of each cell.
        load: everything else; its link, payload and seed are replaced.
    """

    links: list[Link]
    payloads: list[int]
    peers: list[VirtualPeer]
    seeds: list[int]
    load: Load

    def configurations(self) -> Iterator[tuple[Link, int]]:
        """(link, payload), in the order of the tables."""
        yield from product(self.links, self.payloads)

    def cells(self) -> Iterator[tuple[Load, VirtualPeer]]:
        """Every cell: the whole grid with the first seed, then with the next; all peers of a configuration together."""
        for seed in self.seeds:
            for link, payload in self.configurations():
                for peer in self.peers:
                    yield self.load.at(link, payload, seed), peer

    @property
    def connections(self) -> int:
        """Of all cells."""
        return len(self.seeds) * len(self.links) * len(self.payloads) * len(self.peers) * self.load.connections


def run(grid: Grid, cells: list[dict[str, Any]], tick: Ticked, budget_s: float | None = None) -> str | None:
    """Runs the grid; whole cells are put into `cells` as they come.

    Returns:
        Why it is incomplete, or None. A break (Ctrl-C) is raised, and `cells` holds what was finished.
    """
    began = monotonic()
    for load, peer in grid.cells():
        if budget_s is not None and monotonic() - began >= budget_s:
            total = grid.connections // grid.load.connections
            return f"{len(cells)} of {total} cells, for the budget of {budget_s:g} s"
        what = f"{peer.name} {key_of(load.link, load.payload)}"
        cells.append(run_cell(load, peer, lambda what=what: tick(what, 1)))  # type: ignore[misc]
    return None


def key_of(link: Link, payload: int) -> str:
    """Names a configuration in the result file."""
    return f"virtual-{link.id}-{payload}"


def ms(value: float | None) -> str:
    """Nanoseconds as milliseconds for a table; "-" where there is no figure."""
    return "-" if value is None else f"{value / MS:.1f}"


def middle(cells: list[dict[str, Any]], name: str) -> float | None:
    """Median over seeds, where every one has the figure."""
    values = [cell.get(name) for cell in cells]
    return None if not values or None in values else median(value for value in values if value is not None)


def row(title: str, cells: list[dict[str, Any]]) -> list[str]:
    """A peer at one configuration, over its seeds."""
    failed = sum(cell["status"] == FAIL for cell in cells)
    worst = [cell["max_ns"] for cell in cells if "max_ns" in cell]
    return [
        title + (f" ! FAIL {failed}/{len(cells)}" if failed else ""),
        *(ms(middle(cells, name)) for name in PERCENTILES),
        ms(max(worst) if worst else None),
        f"{100 * median(cell['within_100ms'] for cell in cells):.2f} %",
        str(sum(cell["lost"] for cell in cells)),
        f"{median(cell['wire_packets'] for cell in cells):.2f}",
        f"{median(cell['wire_bytes'] for cell in cells):.0f}",
        f"{median(cell['wall_s'] for cell in cells):.1f}",
    ]


def tables(grid: Grid, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Entries for `probes` of the result file: overviews, then a table for each configuration that was reached."""
    found: dict[str, Any] = {}
    for link, payload in grid.configurations():
        here = [cell for cell in cells if cell["payload"] == payload and cell["link"] == link.as_dict()]
        if not here:
            continue
        rows = []
        for peer in grid.peers:
            own = [cell for cell in here if cell["peer"] == peer.name]
            if own:
                rows.append(row(peer.title, own))
        why = [f"{cell['peer']}, seed {cell['seed']}: {cell['why']}" for cell in here if cell["why"]]
        title = f"Virtual time, open loop: {link.title}, {payload} B, {load_text(grid.load, len(grid.seeds))}"
        found[key_of(link, payload)] = seen(title, HEAD, rows, here, " ".join([NOTE, *map("FAIL: {}.".format, why)]))
    overviews = {}
    for payload in grid.payloads if len(grid.links) > 1 else ():
        for name in OVERVIEWS:
            shown = overview(grid, cells, payload, name)
            if shown["table"]["rows"]:
                overviews[f"virtual-{name}-{payload}"] = shown
    return overviews | found


def load_text(load: Load, seeds: int) -> str:
    """The load in words."""
    return (
        f"{load.connections} connections x {load.rate:g}/s ({load.arrivals}) x {load.seconds:g} s"
        f"{f', {seeds} seeds' if seeds > 1 else ''}"
    )


def link_text(link: Link) -> str:
    """A link as the head of a column: "50/2" where round trip and loss say it all."""
    plain = Link(delay_ms=link.delay_ms, loss=link.loss) == link
    return f"{2 * link.delay_ms:g}/{100 * link.loss:g}" if plain else link.id


def overview(grid: Grid, cells: list[dict[str, Any]], payload: int, name: str) -> Any:
    """One percentile at one payload: a line for each peer, a column for each link."""
    rows = []
    for peer in grid.peers:
        line = [peer.title]
        for link in grid.links:
            wanted = (peer.name, payload, link.as_dict())
            own = [cell for cell in cells if (cell["peer"], cell["payload"], cell["link"]) == wanted]
            failed = any(cell["status"] == FAIL for cell in own)
            line.append("FAIL" if failed else ms(middle(own, f"{name}_ns")))
        if any(text != "-" for text in line[1:]):
            rows.append(line)
    title = f"Virtual time, {OVERVIEWS[name]} of the one-way latency in ms: {payload} B, "
    note = "A column is round trip in ms / loss in %. FAIL: a cell of the peer failed, see the table of that link."
    return seen(title + load_text(grid.load, len(grid.seeds)), ["", *map(link_text, grid.links)], rows, [], note)
