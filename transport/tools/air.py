"""Two directions of one link in real time: what is sent comes out when `sim.link.Link` says, or not at all.

The fates are the simulator's, so a link means the same here and in virtual time; here are the clock, the timer, and the
bounds of what may be under way. It must never let go of anything early, nor raise for what a network does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.drive.timers import timers_of
from transport.sim.config import LinkConfig
from transport.sim.link import Flight, Link
from transport.tools.figures import Figures

UP, DOWN = 0, 1
WAYS = ("up", "down")
NAMES = (("client", "target"), ("target", "client"))  # of the links: their random streams depend on it


class Air:
    """Both directions. `open` and `close` bracket its use.

    Args:
        configs: what holds on the way up (to the target) and down.
        seed: of everything random; the n-th datagram of a direction meets the same fate in every run.
        deliver: called with (way, data, whose) for what arrives.

    Attributes:
        full: datagrams dropped on each way because too many were under way.
        lateness: by how much things were let go after their time; only of those that had to wait.
    """

    def __init__(
        self,
        configs: tuple[LinkConfig, LinkConfig],
        seed: int,
        deliver: Callable[[int, bytes, Any], None],
        packets_max: int = limits.PROXY_PACKETS_MAX,
        bytes_max: int = limits.PROXY_BYTES_MAX,
    ) -> None:
        self.configs = configs
        self.full = [0, 0]
        self.lateness = Figures()
        self.armed_at = 0  # of the timer
        self.began = 0
        self._seed = seed
        self._deliver = deliver
        self._timers = timers_of(asyncio.get_running_loop())
        self.now = self._timers.now
        self._flight = Flight(packets_max, bytes_max)
        self._packets_max = packets_max
        self._bytes_max = bytes_max
        self._waits = [bool(each.delay_ns or each.jitter_ns or each.rate_bits_per_s) for each in configs]
        self._links: list[Link] = []
        self._is_pumping = False

    def open(self) -> None:
        """Takes its timer."""
        self._timers.acquire()

    def close(self) -> None:
        """Lets go of the timer, and of everything under way."""
        self._timers.disarm(self)
        self._timers.release()

    @property
    def links(self) -> list[Link]:
        """The link of each way; their clock starts with what is sent first."""
        if not self._links:
            self.began = self.now()
            for number, (name, config) in enumerate(zip(NAMES, self.configs, strict=True), 1):
                self._links.append(Link(number, name, config, self._seed, self.began, self._flight, None))
        return self._links

    @property
    def under_way(self) -> int:
        """How many datagrams or pieces there are between both ends."""
        return len(self._flight)

    def has_room(self, size: int, pieces: int = 1) -> bool:
        """Whether so many bytes more may be under way, and once more for duplicates."""
        flight = self._flight
        return len(flight) + 2 * pieces <= self._packets_max and flight.bytes + 2 * size <= self._bytes_max

    def send(self, way: int, data: bytes, whose: Any) -> bool:
        """Puts something on its way; `pump` lets go of what is due at once. False when there was no room."""
        link = self.links[way]
        if not self.has_room(len(data)):
            self.full[way] += 1
            return False
        link.send(data, 0, self.now(), whose, way)
        return True

    def act(self, way: int, action: Callable[[], object]) -> None:
        """Has `action` called when what is sent now would arrive, behind all that keep their order."""
        if self.has_room(0):
            due = max(self.links[way].latest_in_order, self.now() + self.configs[way].delay_ns)
            self._flight.act(due, action)
        else:
            action()

    def pump(self) -> None:
        """Lets go of what is due, a bounded number at a time, and sets the timer for the rest."""
        if self._is_pumping:
            return
        self._is_pumping = True
        try:
            self._release()
        finally:
            self._is_pumping = False
        due = self._flight.next_time()
        if due >= 0:
            self._timers.arm(self, due)

    def _release(self) -> None:
        now = self.now()
        flight = self._flight
        for _ in range(limits.PROXY_RELEASES_PER_TURN):
            entry = flight.pop(now)
            if entry is None:
                return
            if entry.action is not None:
                entry.action()
                continue
            way = entry.target
            link = self._links[way]
            if self._waits[way]:
                self.lateness.add((self.now() - entry.time) / limits.SECOND_NS)
            link.arrived += 1
            link.arrived_bytes += len(entry.data)
            self._deliver(way, entry.data, entry.source)

    def timer_fired(self, _: int) -> None:
        """From the timer."""
        self.pump()

    def counters(self, way: int) -> dict[str, int]:
        """What has become of what was sent on a way."""
        return {**self.links[way].statistics(), "dropped_full": self.full[way]}
