"""A client that never reads, while 1 GB is emitted to its room: how much does the server grow?

Two clients over WebSocket are in the room. One reads all, and sets the pace: the emitter is at most 32 events ahead of
it. The other was let in and then never reads a byte. What the server may hold is what it is told to keep of the room (1
MiB here), one outbound budget, and the client's place in the log; growth is its largest resident size over the one
before the first event. The reader must have got every event, and the other must be known as slow, or it says nothing.
"""

from __future__ import annotations

import contextlib
from time import monotonic, sleep
from typing import Any

from bench.bars import FAIL, simple_bar
from bench.child import ChildFailed
from bench.events.stage import NO_TIME, Found, Stage, Tick, first_line, note_of
from bench.procstat import memory_bytes
from bench.scenarios.table import seen

SCHEME = "ws"
TOTAL_BYTES = 10**9
PAYLOAD = 4096
HISTORY = {"count": 1000, "bytes": "1MiB"}
LIMIT_MIB = 8.0
SAMPLE_S = 0.05
SLOWEST_BYTES_A_S = 25e6
HEAD = ["server before, MiB", "largest, MiB", "events", "seconds"]


class Unheard(ChildFailed):
    """What was emitted did not arrive where it should, or arrived where it could not."""


def measure(total: int) -> dict[str, Any]:
    """MiB grown, and what else was seen. Raises ChildFailed, OSError."""
    events = -(-total // PAYLOAD)
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, SCHEME, deaf=1, history=HISTORY)
        stage.open(2)
        stage.deadline += total / SLOWEST_BYTES_A_S
        rss = [memory_bytes(stage.server.pid)["rss"]]
        began = monotonic()
        stage.order("flood", members=1, size=PAYLOAD, events=events)
        while stage.tally.value < events and monotonic() < stage.deadline and rss[-1]:
            sleep(SAMPLE_S)
            rss.append(memory_bytes(stage.server.pid)["rss"])
        stage.answer("flood")
        took = monotonic() - began
        rss.append(memory_bytes(stage.server.pid)["rss"])
        got, told = stage.finish(events), stage.ask("statistics")
        if got["least"] != events:
            raise Unheard(f"the client that reads has {got['least']} of {events} events")
        if not told.get("slow") or told["connections"] != 2:
            raise Unheard(f"the other was never slow, or was ended: {told}")
        return {
            "grown_mib": (max(rss) - rss[0]) / 2**20,
            "rss": rss,
            "every_s": SAMPLE_S,
            "seconds": took,
            "events": events,
            "statistics": told,
            "build": stage.build,
        }


def run(tick: Tick, until: float, total: int = TOTAL_BYTES) -> Found:
    """(bars, what was seen)."""
    cell: dict[str, Any] = {}
    why = NO_TIME if monotonic() > until else None
    has_failed = False
    try:
        cell = {} if why else measure(total)
    except (ChildFailed, OSError) as failure:
        why, has_failed = first_line(failure), isinstance(failure, Unheard)
    bar = simple_bar(
        "reader", f"MiB grown, {total / 1e9:g} GB past a client that never reads", "MiB", cell.get("grown_mib"),
        LIMIT_MIB, why=why,
    )  # fmt: skip
    if has_failed:
        bar["verdict"] = FAIL
    tick(f"{total / 1e9:g} GB")
    rows = [
        [f"{cell['rss'][0] / 2**20:.1f}", f"{max(cell['rss']) / 2**20:.1f}", f"{cell['events']:,}",
         f"{cell['seconds']:.1f}"]
    ] if cell else []  # fmt: skip
    note = note_of(f"Events of {PAYLOAD // 1024} KiB over {SCHEME}; another client reads all of them.", [cell], {})
    return [bar], seen("A client that never reads", HEAD, rows, [cell] if cell else [], note)
