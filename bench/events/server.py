"""The server's process: a room, and what it is told to do with it. Run as `python -m bench.events.server`.

One line of JSON tells it who it is, one more each thing to do; each is answered by one line. It must never emit further
ahead of what receives than it is allowed: python-socketio has no bound, and ours would have its members read the log.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable
from time import perf_counter
from typing import Any

from bench.events import rooms
from bench.events.tally import Tally
from bench.peers.base import fastest_loop
from bench.probes.connections import hear, say
from bench.procstat import Window

OUTSTANDING = 32  # events that what receives may be behind
PAUSE_S = 0.0005  # a look at the tally, while it is
LOOK_S = 0.02  # at who is in the room


class Server:
    """What the lines ask for; each method is one of them.

    Args:
        room: that serves.
        tally: what all members together have received.
    """

    def __init__(self, room: Any, tally: Tally) -> None:
        self.room = room
        self.tally = tally
        self.emitted = 0
        self.numbering: asyncio.Task[None] | None = None

    async def wait(self, members: int) -> int:
        """Until so many are in the room."""
        while self.room.members != members:  # noqa: ASYNC110  (what is waited for says nothing)
            await asyncio.sleep(LOOK_S)
        return members

    async def _emit(self, text: str, members: int, goes_on: Callable[[], bool]) -> None:
        """Emits while it goes on, as fast as members that receive allow; the loop has a turn after each event."""
        emit, tally = self.room.emit, self.tally
        while goes_on():
            if (self.emitted - OUTSTANDING) * members < tally.value:
                await emit(text)
                self.emitted += 1
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(PAUSE_S)

    async def fan_out(
        self, members: int, size: int, seconds: float, warmup: float, receivers: int, cores: list[int]
    ) -> dict[str, Any]:
        """Events of `size` bytes for so long; what arrived in that time counts, and what this process used for it."""
        text = rooms.text_of(size)
        until = perf_counter() + warmup
        await self._emit(text, members, lambda: perf_counter() < until)
        window = Window({"server": os.getpid(), "receivers": receivers}, set(cores))
        window.begin()
        before, began = self.tally.value, perf_counter()
        until = began + seconds
        await self._emit(text, members, lambda: perf_counter() < until)
        took, received = perf_counter() - began, self.tally.value - before
        window.end()
        seen = window.result()
        cpu_s = {name: use["cpu_ns"] / 1e9 for name, use in seen["processes"].items()}
        return {
            "deliveries": received,
            "per_cpu_second": received / cpu_s["server"],
            "per_second": received / took,
            "server_busy": cpu_s["server"] / took,
            "receivers_busy": cpu_s["receivers"] / took,
            "steal_percent": seen["steal_percent"],
            "emitted": self.emitted,
        }

    async def flood(self, members: int, size: int, events: int) -> int:
        """So many events of `size` bytes, no further ahead than the members that receive."""
        text = rooms.text_of(size)
        await self._emit(text, members, lambda: self.emitted < events)
        return self.emitted

    async def number(self, every: float) -> int:
        """From now on an event every so many seconds; its data is its number, from 0 on."""
        self.numbering = asyncio.get_running_loop().create_task(self._number(every))
        return self.emitted

    async def _number(self, every: float) -> None:
        while True:
            await self.room.emit(self.emitted)
            self.emitted += 1
            await asyncio.sleep(every)

    async def stop(self) -> int:
        """The end of `number`; how many there were."""
        assert self.numbering is not None
        self.numbering.cancel()
        await asyncio.wait([self.numbering])
        return self.emitted

    async def limit(self) -> bool:
        """See `OurRoom`."""
        self.room.limit()
        return True

    async def cut(self) -> dict[str, float]:
        """See `OurRoom`; and when, by a clock that all processes share."""
        at = perf_counter()
        return {"at": at, "connections": self.room.cut()}

    async def statistics(self) -> dict[str, int]:
        """See `OurRoom`."""
        found: dict[str, int] = self.room.statistics()
        return found


ORDERS: dict[str, Any] = {order.__name__: order for order in (
    Server.wait, Server.fan_out, Server.flood, Server.number, Server.stop, Server.limit, Server.cut, Server.statistics
)}  # fmt: skip


async def main() -> None:
    """Pins itself, then imports what it measures."""
    config = await hear()
    if config["pin"]:
        os.sched_setaffinity(0, config["pin"])
    try:
        room = rooms.make(config)
        server = Server(room, Tally(config["tally"]))
        address = await room.serve()
        say({"ready": {"address": address, "build": room.build()}})
        while True:
            order = await hear()
            name = order.pop("do")
            say({name: await ORDERS[name](server, **order)})
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    fastest_loop().run_until_complete(main())
