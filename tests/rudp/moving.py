"""A client whose address changes under it, and a server, in virtual time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from transport import limits
from transport.machine import Closed, Path
from transport.rudp import dissect
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.sim.config import LinkConfig
from transport.sim.network import Port, SimNetwork
from transport.sim.pair import World

MS, SECOND = limits.MS_NS, limits.SECOND_NS
CLIENT, SERVER = ("c", 1), ("s", 1)
CONFIG = RudpConfig(checksums=2)


class Recording(SimNetwork):
    """Remembers what was sent: (when, from, to, what)."""

    sent: list[tuple[int, Any, Any, bytes]]

    def send(self, port: Port, target: Any, data: bytes, ecn: int = 0) -> int:
        self.sent.append((self.clock.now_ns, port.public, target, data))
        return super().send(port, target, data, ecn)


class Moving:
    """The two ends, connected when made, and what they get.

    Args:
        link: each way.
        config: of both.
        seed: of the network.
        homes: further addresses of the client.

    Attributes:
        port: the client's first, as the network knows it.
        near, far: the sessions.
        got: messages by end, in the order of their arrival.
        bytes: of them.
        closed: how each end heard of the end.
    """

    def __init__(self, link: LinkConfig | None = None, config: RudpConfig = CONFIG, seed: int = 1,
                 homes: tuple[Any, ...] = ()) -> None:  # fmt: skip
        self.network = Recording(seed=seed)
        self.network.sent = []
        for home in (CLIENT, *homes):
            self.network.connect(home, SERVER, link or LinkConfig(delay_ns=10 * MS))
        self.world = World(self.network)
        self.server = RudpEndpoint(config, self.network.entropy("s"), True, b"k" * 32)
        self.client = RudpEndpoint(config, self.network.entropy("c"))
        for endpoint, addresses in ((self.client, (CLIENT, *homes)), (self.server, (SERVER,))):
            self.world.add(endpoint, *addresses).on_input = lambda side: self.drain(side.machine)
        self.port: Port = self.network.port(CLIENT)
        self.far: Any = None
        self.got: dict[str, list[bytes]] = {"near": [], "far": []}
        self.bytes: Counter[str] = Counter()
        self.closed: dict[str, Closed] = {}
        self.near: Any = self.client.connect(Path(CLIENT, SERVER), self.now)
        self.world.run_until(lambda: self.far is not None, 30)
        self.world.run_for(0.2)
        self.network.sent.clear()

    @property
    def now(self) -> int:
        return self.network.clock.now_ns

    def drain(self, endpoint: RudpEndpoint) -> None:
        """The applications: what came is noted and consumed."""
        for fresh in endpoint.take_fresh():
            self.far = fresh
        session: Any = endpoint.take_ready()
        while session is not None:
            following: Any = endpoint.after_ready(session)
            end = "near" if endpoint is self.client else "far"
            for batch in session.take():
                self.got[end] += batch.payloads
                self.bytes[end] += batch.size
                if batch.delivery < 2:
                    session.consumed(batch.channel, batch.size, len(batch.payloads))
            for event in session.events():
                if isinstance(event, Closed):
                    self.closed[end] = event
                    endpoint.forget(session)
            session = following

    def goes_to(self, home: Any) -> None:
        """The client's own address is another from now on."""
        self.client.rebound(Path(home, SERVER), self.now)

    def every(self, ms: int, count: int, action: Any) -> None:
        """Calls `action(index)` for index 0 to `count` - 1, `ms` apart, the first in so many."""
        for index in range(count):
            self.network.at(self.network.elapsed_ns + (index + 1) * ms * MS, lambda index=index: action(index))

    def to(self, address: Any) -> list[bytes]:
        """What the server has sent to an address."""
        return [data for _, source, target, data in self.network.sent if source == SERVER and target == address]

    def asked(self) -> list[int]:
        """When the client has sent a packet with PING (ns)."""
        numbers = dissect.Numbers(is_sure=True)
        times = []
        for when, source, _, data in self.network.sent:
            if source != SERVER and any(frame.name == "PING" for frame in dissect.short(data, None, numbers).frames):
                times.append(when)
        return times

    def say(self, body: bytes, channel: int = 0, delivery: int = 0) -> None:
        """The client sends a message."""
        self.near.send(body, channel, delivery, 0, 0, self.now)

    def says(self, body: bytes) -> bool:
        """Whether a message of the client, and its echo, arrive within ten seconds."""
        before = (len(self.got["far"]), len(self.got["near"]))
        self.say(body)
        self.world.run_until(lambda: len(self.got["far"]) > before[0], 10)
        self.far.send(body, 0, 0, 0, 0, self.now)
        self.world.run_until(lambda: len(self.got["near"]) > before[1], 10)
        return self.got["far"][-1] == body == self.got["near"][-1]
