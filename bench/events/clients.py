"""Many clients of ours in one process, that come back by themselves. Run as `python -m bench.events.clients`.

Each is in the room, and takes what comes there by a handler: numbers from 0 on. It must never miss one or take one
twice, whatever happens to its connection; what it does is counted, not raised.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from time import monotonic, perf_counter
from typing import Any

from bench.events.rooms import EVENT, NAMESPACE, ROOM
from bench.events.tally import Tally
from bench.peers.base import fastest_loop
from bench.probes.connections import hear, say

AT_ONCE = 100  # connects under way
FINISH_S = 15.0
LOOK_S = 0.05


class One:
    """One client.

    Args:
        tally: of those that have come back.

    Attributes:
        next: the number that is due.
        wrong: numbers that came and were not due: behind lost ones, or for the second time.
        gaps: that it was told of.
        back: when the first event came after a reconnect, 0.0 before.
    """

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.client: Any = None
        self.next = 0
        self.wrong = 0
        self.gaps = 0
        self.back = 0.0

    async def open(self, url: str) -> None:
        """Connects and enters the room. Raises ConnectFailed, Refused."""
        from transport.events import connect_events

        self.client = await connect_events(url, namespace=NAMESPACE)
        self.client.on(EVENT, self.take)
        self.client.on_gap(self.missed)
        await self.client.join(ROOM)

    def take(self, message: Any) -> None:
        """An event."""
        number = message.event
        self.wrong += number != self.next
        self.next = number + 1
        if not self.back and self.client.reconnects:
            self.back = perf_counter()
            self.tally.value += 1

    def missed(self, _message: Any) -> None:
        """A gap, which there should be none of."""
        self.gaps += 1


async def finish(ones: list[One], expected: int) -> dict[str, Any]:
    """Waits, not for ever, until all have every event; what there is then."""
    until = monotonic() + FINISH_S
    while monotonic() < until and any(one.next < expected for one in ones):  # noqa: ASYNC110  (nobody says so)
        await asyncio.sleep(LOOK_S)
    return {
        "complete": sum([one.next == expected and not one.wrong and not one.gaps for one in ones]),
        "behind": sum([one.next != expected for one in ones]),
        "wrong": sum([one.wrong for one in ones]),
        "gaps": sum([one.gaps for one in ones]),
        "reconnects": sum([one.client.reconnects for one in ones]),
        "back": sorted([one.back for one in ones]),
    }


async def main() -> None:
    """Pins itself, then connects as it is told."""
    config = await hear()
    if config["pin"]:
        os.sched_setaffinity(0, config["pin"])
    tally, ones = Tally(config["tally"]), list[One]()
    try:
        say({"ready": True})
        while True:
            order = await hear()
            if "open" in order:
                while len(ones) < order["open"]:
                    some = [One(tally) for _ in range(min(AT_ONCE, order["open"] - len(ones)))]
                    await asyncio.gather(*[one.open(config["address"]) for one in some])
                    ones += some
                say({"opened": len(ones)})
            else:
                say({"finished": await finish(ones, order["finish"])})
    except Exception as error:
        traceback.print_exc()
        say({"error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    fastest_loop().run_until_complete(main())
