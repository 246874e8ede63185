"""What an idle WebSocket connection costs a server in memory: alone, and with a session of the events layer in a room.

Memory is private pages of the server's process (kernel buffers are not in it), between 100 connections, when every lazy
part is loaded, and all of them. A kB is 1,000 bytes. Whoever connects is raw sockets, but for the connection alone,
which is measured by the probe of `memory`: there all have echoed.
"""

from __future__ import annotations

import contextlib
from time import monotonic, sleep
from typing import Any

from bench.bars import INFORMATION, simple_bar
from bench.child import ChildFailed
from bench.events.rooms import SOCKETIO
from bench.events.stage import NO_TIME, Found, Stage, Tick, first_line, why_not_socketio, why_too_many
from bench.probes import connections
from bench.procstat import memory_bytes

CONNECTIONS = connections.CONNECTIONS
LIMIT_KB = 27.0  # Centrifugo's; 10.9 is the best that is known
ALONE = "alone"
TITLES = {
    ALONE: "kB an idle ws connection of {:,}",
    "ws": "kB an idle ws connection of {:,}, with session",
    SOCKETIO: "kB an idle connection of {:,}, python-socketio",
}


def measure(peer: str, count: int) -> float:
    """Bytes a connection. Raises ChildFailed."""
    if peer == ALONE:
        found: float = connections.measure("ws-callbacks", count)["server_bytes_a_connection"]
        return found
    warm = connections.WARM
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, peer)
        private = []
        for some in (warm, count):
            stage.open(some)
            sleep(connections.SETTLE_S)  # nothing is timed: the allocator and the loop come to rest
            private.append(memory_bytes(stage.server.pid)["private"])
        return (private[1] - private[0]) / (count - warm)


def run(tick: Tick, until: float, count: int = CONNECTIONS) -> Found:
    """(bars, what was seen)."""
    bars: list[dict[str, Any]] = []
    cells: dict[str, float | None] = {}
    for peer, title in TITLES.items():
        value = None
        why = why_too_many(count) or (why_not_socketio() if peer == SOCKETIO else None)
        if why is None and count <= connections.WARM:
            why = f"more than {connections.WARM} connections are needed"
        if why is None and monotonic() > until:
            why = NO_TIME
        if why is None:
            try:
                value = measure(peer, count)
            except (ChildFailed, OSError) as failure:
                why = first_line(failure)
        cells[peer] = value
        bar = simple_bar(
            f"memory-{peer}", title.format(count), "kB", None if value is None else value / 1000, LIMIT_KB, why=why
        )
        bars.append(bar | ({"verdict": INFORMATION} if peer == SOCKETIO else {}))
        tick(peer)
    return bars, {"cells": [{"peer": peer, "bytes_a_connection": value} for peer, value in cells.items()]}
