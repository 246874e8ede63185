"""A storm of reconnects: all sockets of a server are cut in one instant, while it goes on emitting.

A thousand clients of ours, with the default back-off, are in one room, where an event with the next number is emitted
five times a second. The server closes all their sockets without a word. Each must come back to its session and get
every number once and in order; a client is back with the first event after its reconnect. When everybody is, emitting
ends, and what each has is compared. The server grows by its largest resident size over the one before the cut.

A server lets in a thousand clients of one address at once and then 100 a second (`EVENTS_RESUMES_BURST`,
`EVENTS_RESUMES_PER_S`), and tells the others to come back after 1 to 3 s by a random share (`EVENTS_RETRY_S`): beyond a
thousand that decides, and all clients here have one address. The row without that limit says what the work takes.
"""

from __future__ import annotations

import contextlib
from time import monotonic, sleep
from typing import Any

from bench.bars import FAIL, INFORMATION, simple_bar
from bench.child import ChildFailed
from bench.events.stage import CLIENTS, DEADLINE_S, NO_TIME, Found, Stage, Tick, first_line, note_of, why_too_many
from bench.procstat import memory_bytes
from bench.scenarios.table import seen
from bench.statistics import percentile

CONNECTIONS = 1000
LIMIT_S = 15.0
LIMIT_MIB = 64.0
EVERY_S = 0.2
SAMPLE_S = 0.05
BEFORE_S = 0.5  # of numbers that all get, before the cut
STORMS = {"ws": ("ws", True), "tcp": ("tcp", True), "ws-unlimited": ("ws", False)}
HEAD = ["all sockets cut at once", "half back, s", "all back, s", "refused", "grown, MiB", "events", "complete"]


def measure(scheme: str, is_limited: bool, count: int) -> dict[str, Any]:
    """One storm. Raises ChildFailed, OSError."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, scheme, CLIENTS, raw=False)
        stage.open(count)
        if is_limited:
            stage.ask("limit")
        stage.ask("number", every=EVERY_S)
        sleep(BEFORE_S)
        rss = [memory_bytes(stage.server.pid)["rss"]]
        cut = stage.ask("cut")
        until = monotonic() + DEADLINE_S / 2
        while stage.tally.value < count and monotonic() < until:
            sleep(SAMPLE_S)
            rss.append(memory_bytes(stage.server.pid)["rss"])
        emitted = stage.ask("stop")
        got: dict[str, Any] = stage.finish(emitted)
        rss.append(memory_bytes(stage.server.pid)["rss"])
        back = [at - cut["at"] for at in got.pop("back") if at]
        return {
            "cut": cut["connections"],
            "back": len(back),
            "half_s": percentile(back, 0.5) if back else None,
            "all_s": back[-1] if len(back) == count else None,
            "grown_mib": (max(rss) - rss[0]) / 2**20,
            "rss": rss,
            "emitted": emitted,
            "statistics": stage.ask("statistics"),
            "build": stage.build,
        } | got


def run(tick: Tick, until: float, count: int = CONNECTIONS) -> Found:
    """(bars, what was seen); no storm begins after `until`, by `time.monotonic`."""
    bars: list[dict[str, Any]] = []
    rows: list[list[str]] = []
    cells: list[dict[str, Any]] = []
    trouble: dict[str, str] = {}
    many = why_too_many(count)
    for name, (scheme, is_limited) in STORMS.items():
        cell: dict[str, Any] = {}
        why = many or (NO_TIME if monotonic() > until else None)
        try:
            cell = {} if why else measure(scheme, is_limited, count)
        except (ChildFailed, OSError) as failure:
            why = first_line(failure)
        if why:
            trouble[name] = why
        found = bars_of(name, count, cell, why)
        bars += found if is_limited else [found[0] | {"verdict": INFORMATION}]
        rows.append(row_of(name, cell))
        cells.append({"storm": name} | cell)
        tick(name)
    note = note_of("Half, and all, by the clock from the cut to a client's first event behind it.", cells, trouble)
    return bars, seen(f"A storm of {count:,} clients", HEAD, rows, cells, note)


def bars_of(name: str, count: int, cell: dict[str, Any], why: str | None) -> list[dict[str, Any]]:
    """Time, memory, loss."""
    some = f"only {cell['back']} of {count} came back" if cell and cell["all_s"] is None else None
    lost = None
    if cell and cell["complete"] < count:
        lost = f"{cell['behind']} clients not at the end, {cell['wrong']} numbers not due, {cell['gaps']} gaps"
    what = f"{count:,} cut, {name}"
    resumed = simple_bar(f"storm-{name}", f"s until all are back, {what}", "s", cell.get("all_s"), LIMIT_S,
                         why=some or why)  # fmt: skip
    if some:
        resumed["verdict"] = FAIL
    memory = simple_bar(
        f"storm-{name}-memory", f"MiB grown, {what}", "MiB", cell.get("grown_mib"), LIMIT_MIB, why=why
    )  # fmt: skip
    complete = simple_bar(
        f"storm-{name}-complete", f"have every event once, {what}", "clients", cell.get("complete"), count,
        why=lost or why, direction=">=",
    )  # fmt: skip
    return [resumed, memory, complete]


def row_of(name: str, cell: dict[str, Any]) -> list[str]:
    """A storm in the table."""
    title = name.replace("-unlimited", ", no limit on who is let in")
    if not cell:
        return [title, "-", *[""] * (len(HEAD) - 2)]

    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    return [
        title,
        seconds(cell["half_s"]),
        seconds(cell["all_s"]),
        f"{cell['statistics'].get('refused_busy', 0):,}",
        f"{cell['grown_mib']:.1f}",
        f"{cell['emitted']:,}",
        f"{cell['complete']:,}",
    ]
