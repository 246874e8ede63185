"""A client and a server of reliable UDP in virtual time, for tests that look at what they do to each other."""

from __future__ import annotations

from collections import Counter
from typing import Any

from transport import limits
from transport.machine import Closed, Path
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.network import SimNetwork
from transport.sim.pair import World

MS, SECOND, MIB = limits.MS_NS, limits.SECOND_NS, limits.MIB
CONFIG = RudpConfig(checksums=2)
KEY = b"k" * 32


class Duo:
    """A client and a server that count what they get, and consume it where `reads` has no say."""

    def __init__(self, config: RudpConfig, link: LinkConfig, seed: int = 1, server: RudpConfig | None = None) -> None:
        self.network = SimNetwork(seed=seed)
        self.network.connect("c", "s", link)
        self.world = World(self.network)
        self.server = RudpEndpoint(server or config, self.network.entropy("s"), True, KEY)
        self.client = RudpEndpoint(config, self.network.entropy("c"))
        self.sides = [self.world.add(self.client, "c"), self.world.add(self.server, "s")]
        for side in self.sides:
            side.on_input = lambda side: self.drain(side.machine)
        self.near: Any = self.client.connect(Path("c", "s"), self.now)
        self.far: Any = None
        self.got: Counter[tuple[str, int, int]] = Counter()  # messages by (end, channel, delivery)
        self.bytes: Counter[str] = Counter()
        self.unread: set[int] = set()
        self.held: list[tuple[int, int, int]] = []
        self.kept: list[tuple[str, bytes]] | None = None  # what came, where a test wants it whole
        self.closed: dict[str, tuple[int, Closed]] = {}

    @property
    def now(self) -> int:
        return self.network.clock.now_ns

    def drain(self, endpoint: RudpEndpoint) -> None:
        for fresh in endpoint.take_fresh():
            self.far = fresh
        session: Any = endpoint.take_ready()
        while session is not None:
            following: Any = endpoint.after_ready(session)
            end = "near" if endpoint is self.client else "far"
            for batch in session.take():
                self.got[end, batch.channel, batch.delivery] += len(batch.payloads)
                if self.kept is not None:
                    self.kept += [(end, payload) for payload in batch.payloads]
                self.bytes[end] += batch.size
                if batch.channel in self.unread:
                    self.held.append((batch.channel, batch.size, len(batch.payloads)))
                elif batch.delivery < 2:
                    session.consumed(batch.channel, batch.size, len(batch.payloads))
            for event in session.events():
                if isinstance(event, Closed):
                    self.closed[end] = (self.now, event)
                    endpoint.forget(session)
            session = following

    def opened(self) -> Duo:
        self.world.run_until(lambda: self.far is not None, 30)
        return self
