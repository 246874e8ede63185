"""Fan-out with the transport stubbed on both sides: what an emit to a room costs before any byte is framed.

Ours: the events layer as it is (`Room.emit`, the log in memory with the default history, the fan-out, each member's
`Link.write`), and in place of each member's connection an object whose `send_nowait` counts. So no frame of WebSocket
or TCP is built, nothing is queued, no socket written. Members come in by the protocol's own HELLO.

python-socketio: `AsyncServer.emit` and its manager as they are (the packet encoded once, a task for each member), and
in place of `send_packet` of its Engine.IO server a coroutine that counts. That is the same seam: the call by which one
encoded event is handed to one member's transport. It is also the one that favours python-socketio most: a look-up, a
queue and a writer's task for each member, Engine.IO's encoding and WebSocket all lie below it. Members are put into the
manager as its own connect does.

Both stubs are functions in Python that add one; both run on the same loop, and both emitters give the loop a turn after
each emit. Deliveries are counted by the stubs, must be all that was emitted, and are divided by the CPU time of the
process, which has one core. A round is a fresh process; the two take turns. Run as `python -m bench.events.stub`.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter, process_time
from typing import Any

from bench.cases import throughput
from bench.child import Child
from bench.events import rooms
from bench.events.stage import Found, Tick, flat, in_turns, note_of, ratio_bar
from bench.peers.base import fastest_loop
from bench.probes.connections import say
from bench.runner import place
from bench.scenarios.table import seen
from bench.statistics import spread
from bench.tables import rate_text

OURS = "transport"
PEERS = {OURS: "transport.events, MemoryLog", rooms.SOCKETIO: "python-socketio"}
MEMBERS = 1000
PAYLOAD = 64
LIMIT = 10.0
ROUND_S = 30.0  # beside what is measured
AT_ONCE = 250  # members that are let in at a time
MODULE = "bench.events.stub"
HEAD = ["", "deliveries/CPU s", "range", "ns each"]

Emit = Callable[[], Awaitable[Any]]


class Counter:
    """What the stubs count."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Stub:
    """A member's connection as the events layer uses it: takes whatever it is given, and counts."""

    def __init__(self, loop: asyncio.AbstractEventLoop, counter: Counter) -> None:
        from transport.delivery import Traits

        self.loop = loop
        self.traits = Traits(reliable=True, ordered=True)
        self.remote_address = None
        self._counter = counter

    def send_nowait(self, message: bytes, channel: int = 0, delivery: Any = None) -> None:
        """Instead of a frame in a queue."""
        self._counter.count += 1

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """It has no limits of its own."""
        return default

    def close_soon(self, code: int = 0, reason: str = "") -> None:
        """Nobody is to be ended in a run. Raises RuntimeError."""
        raise RuntimeError(f"a member was ended: {reason or code}")


async def ours(members: int, counter: Counter) -> Emit:
    """What emits to a room of ours."""
    from bench.events.receivers import hello
    from transport.events.link import Link

    room = rooms.OurRoom(OURS)
    await room.begin().start()
    loop = asyncio.get_running_loop()
    greeting = hello()
    for first in range(0, members, AT_ONCE):
        some = min(AT_ONCE, members - first)
        for _ in range(some):
            link = Link(room.app)
            link.connection_made(Stub(loop, counter))
            link.message_received(greeting, 0)
        while room.members < first + some:  # noqa: ASYNC110  (what is waited for says nothing)
            await asyncio.sleep(0)
    text = rooms.text_of(PAYLOAD)
    return lambda: room.emit(text)


async def theirs(members: int, counter: Counter) -> Emit:
    """What emits to a room of python-socketio."""
    import socketio

    server = socketio.AsyncServer(async_mode="asgi")

    async def send_packet(sid: str, packet: Any) -> None:
        counter.count += 1

    server.eio.send_packet = send_packet
    for _ in range(members):
        sid = await server.manager.connect(server.eio.generate_id(), "/")
        await server.enter_room(sid, rooms.ROOM)
    text = rooms.text_of(PAYLOAD)
    return lambda: server.emit(rooms.EVENT, text, room=rooms.ROOM)


async def emit_for(emit: Emit, seconds: float) -> int:
    """How many emits fit."""
    count, until = 0, perf_counter() + seconds
    while perf_counter() < until:
        await emit()
        await asyncio.sleep(0)
        count += 1
    return count


async def one(peer: str, members: int, seconds: float, warmup: float) -> dict[str, Any]:
    """One round, in this process. Raises RuntimeError if a delivery is missing."""
    counter = Counter()
    emit = await (ours if peer == OURS else theirs)(members, counter)
    await emit_for(emit, warmup)
    counter.count = 0
    began, cpu = perf_counter(), process_time()
    emits = await emit_for(emit, seconds)
    cpu_s, took = process_time() - cpu, perf_counter() - began
    if counter.count != emits * members:
        raise RuntimeError(f"{counter.count} deliveries of {emits} events to {members} members")
    room = rooms.OurRoom(OURS) if peer == OURS else rooms.SocketIoRoom()
    return {
        "emits": emits,
        "per_cpu_second": counter.count / cpu_s,
        "per_second": counter.count / took,
        "build": room.build(),
    }


def main() -> None:
    """A round's process."""
    config = json.loads(sys.stdin.readline())
    if config["pin"]:
        os.sched_setaffinity(0, config["pin"])
    work = one(config["peer"], config["members"], config["seconds"], config["warmup"])
    try:
        say({"stubbed": fastest_loop().run_until_complete(work)})
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})


def measure(peer: str, members: int, seconds: float, warmup: float) -> dict[str, Any]:
    """One round. Raises ChildFailed."""
    with Child(peer, MODULE) as child:
        child.tell({
            "peer": peer, "members": members, "seconds": seconds, "warmup": warmup,
            "pin": sorted(place(throughput(64)).server),
        })  # fmt: skip
        found: dict[str, Any] = child.hear("stubbed", monotonic() + ROUND_S + seconds + warmup)
        return found


def run(
    tick: Tick, until: float, members: int = MEMBERS, rounds: int = 3, seconds: float = 1.0, warmup: float = 0.2,
    seed: int = 1,
) -> Found:  # fmt: skip
    """(bars, what was seen); no round begins after `until`, by `time.monotonic`."""
    cells, trouble = in_turns(tick, until, PEERS, rounds, seed, lambda peer: measure(peer, members, seconds, warmup))
    title = f"events / {rooms.SOCKETIO}, {members:,} members, stubbed"
    bars = [ratio_bar("fanout-stub", title, cells, OURS, "per_cpu_second", LIMIT, trouble)]
    rows = [row_of(name, cells[peer]) for peer, name in PEERS.items()]
    found = flat(cells)
    note = (
        f"An emit of {PAYLOAD} B to {members:,} members; a member's transport is a function that counts, on both sides "
        f"where one encoded event is handed to it. {rounds} x {seconds:g} s in fresh processes on one core."
    )
    return bars, seen("Fan-out, transport stubbed", HEAD, rows, found, note_of(note, found, trouble))


def row_of(title: str, cells: dict[int, dict[str, Any]]) -> list[str]:
    """A peer in the table."""
    if not cells:
        return [title, "-", "", ""]
    got = spread([cell["per_cpu_second"] for cell in cells.values()])
    span = f"{rate_text(got['min'])} - {rate_text(got['max'])}"
    return [title, rate_text(got["median"]), span, f"{1e9 / got['median']:.0f}"]


if __name__ == "__main__":
    main()
