"""Fan-out over real sockets: events to a room, in which every member is a connection of its own over loopback.

The server's process has one core, all members together another. They are the same program for each server: raw sockets
that count (`receivers.py`), but for reliable UDP, which has to be answered. The emitter is at most 32 events ahead of
what has been received, for python-socketio would queue without end. Deliveries received count, per second of the
server's CPU time; by the clock, whoever receives may be what is slow, and the table says how busy both were. Every
member must have got every event, or the round has failed. Peers take turns in random order, in fresh processes.
"""

from __future__ import annotations

import contextlib
from typing import Any

from bench.bars import INFORMATION
from bench.child import ChildFailed
from bench.events.rooms import SOCKETIO
from bench.events.stage import Found, Stage, Tick, flat, in_turns, note_of, ratio_bar, why_too_many
from bench.scenarios.table import seen
from bench.statistics import median, spread
from bench.tables import rate_text

TITLES = {
    "ws": "events over ws",
    "tcp": "events over tcp",
    "rudp": "events over rudp, to our clients",
    SOCKETIO: "python-socketio over WebSocket",
}
CONNECTIONS = 1000
PAYLOAD = 64
LIMIT = 3.0
HEAD = ["deliveries a second", "of CPU", "range", "by the clock", "server", "members", "steal"]


def measure(peer: str, count: int, seconds: float, warmup: float) -> dict[str, Any]:
    """One round. Raises ChildFailed: it could not be measured, or an event did not arrive."""
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, peer)
        stage.open(count)
        stage.deadline += seconds + warmup
        found: dict[str, Any] = stage.ask(
            "fan_out", members=count, size=PAYLOAD, seconds=seconds, warmup=warmup, receivers=stage.crowd.pid,
            cores=stage.cores,
        )  # fmt: skip
        got = stage.finish(found["emitted"])
        if got["least"] != found["emitted"] or got["most"] != found["emitted"]:
            raise ChildFailed(f"of {found['emitted']} events members have {got['least']} to {got['most']}")
        found["bytes_each"] = got["bytes"] / (found["emitted"] * count)
        found["build"] = stage.build
        return found


def run(
    tick: Tick, until: float, count: int = CONNECTIONS, rounds: int = 3, seconds: float = 1.0, warmup: float = 0.2,
    seed: int = 1,
) -> Found:  # fmt: skip
    """(bars, what was seen); no round begins after `until`, by `time.monotonic`."""
    cells: dict[str, dict[int, dict[str, Any]]] = {peer: {} for peer in TITLES}
    if many := why_too_many(count):
        trouble = dict.fromkeys(TITLES, many)
    else:
        cells, trouble = in_turns(tick, until, TITLES, rounds, seed, lambda peer: measure(peer, count, seconds, warmup))
    what = f"events / {SOCKETIO}, {count:,} sockets"
    bars = [ratio_bar("fanout-ws", f"{what}, ws", cells, "ws", "per_cpu_second", LIMIT, trouble)]
    for identity, title, peer, figure in (
        ("fanout-ws-clock", "ws, clock", "ws", "per_second"),
        ("fanout-tcp", "tcp", "tcp", "per_cpu_second"),
        ("fanout-rudp", "rudp", "rudp", "per_cpu_second"),
    ):
        bar = ratio_bar(identity, f"{what}, {title}", cells, peer, figure, LIMIT, trouble)
        bars.append(bar | {"verdict": INFORMATION})
    rows = [row_of(title, list(cells[peer].values())) for peer, title in TITLES.items()]
    note = (
        f"Events of {PAYLOAD} B to {count:,} members, {rounds} x {seconds:g} s, a core for the server and one for all "
        "members; how busy both were. Ratios are of CPU time, but for the clock's."
    )
    found = flat(cells)
    return bars, seen(f"Fan-out over {count:,} sockets", HEAD, rows, found, note_of(note, found, trouble))


def row_of(title: str, rounds: list[dict[str, Any]]) -> list[str]:
    """A peer in the table."""
    if not rounds:
        return [title, "-", *[""] * (len(HEAD) - 2)]

    def middle(name: str) -> float:
        return median(cell[name] for cell in rounds)

    got = spread([cell["per_cpu_second"] for cell in rounds])
    return [
        title,
        rate_text(got["median"]),
        f"{rate_text(got['min'])} - {rate_text(got['max'])}",
        rate_text(middle("per_second")),
        f"{100 * middle('server_busy'):.0f} %",
        f"{100 * middle('receivers_busy'):.0f} %",
        f"{max(cell['steal_percent'] for cell in rounds):.1f} %",
    ]
