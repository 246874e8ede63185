"""Two endpoints of reliable UDP on a simulated network, driven in virtual time without an event loop.

Exists so that a scenario says only what is sent and what is asked of the figures. It must never measure the machine:
every time here is virtual, and the same seed gives the same figures on any of them.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any

from bench.statistics import percentile
from transport import limits
from transport.machine import Path
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.session import RudpSession
from transport.sim.config import IP_UDP_BYTES, LinkConfig
from transport.sim.link import Link
from transport.sim.network import SimNetwork
from transport.sim.pair import World

MS = limits.MS_NS
SECOND = limits.SECOND_NS
OPEN = 1  # SessionState
ORDERED, UNORDERED = 0, 1
RELIABLE_MAX = 1
OPENING_S = 30.0
SETTLE_S = 30.0
NUMBER_BYTES = 4
TAIL = 16
"""Messages that follow those that count, so that the last of these are in the midst of a stream, too."""

Taken = Callable[[list[Any], int], None]
"""Called with a batch's payloads and its channel."""


class Rig:
    """A client and a server, connected when made.

    Args:
        seed: of the network.
        forward: the link from client to server.
        backward: the link back; like `forward` when None.
        config: of both endpoints.
        home: the client's address.

    Attributes:
        client_end, server_end: the endpoints.
        client, server: the two sessions.
        on_client, on_server: called with what each receives.
        on_client_input: called when the client has taken packets or a timer.
        up, down: the links from client to server and back.
    """

    def __init__(
        self, seed: int, forward: LinkConfig, backward: LinkConfig | None = None, config: RudpConfig | None = None,
        home: Any = "c",
    ) -> None:  # fmt: skip
        self.network = SimNetwork(seed)
        self.network.connect(home, "s", forward, backward)
        self.world = World(self.network)
        config = RudpConfig(keepalive_ns=0, idle_ns=0) if config is None else config
        self.server_end = RudpEndpoint(config, self.network.entropy("server"), listening=True)
        self.client_end = RudpEndpoint(config, self.network.entropy("client"))
        server_side = self.world.add(self.server_end, "s")
        client_side = self.world.add(self.client_end, home)
        self.on_client: Taken | None = None
        self.on_server: Taken | None = None
        self.on_client_input: Callable[[], None] | None = None
        self._accepted: list[RudpSession] = []
        self._server_ready, self._client_ready = self.server_end.take_ready, self.client_end.take_ready
        server_side.on_input = self._server_input
        client_side.on_input = self._client_input
        self.up: Link = self.network.link(home, "s")
        self.down: Link = self.network.link("s", home)
        self.client: RudpSession = self.client_end.connect(Path(home, "s"), self.world.now_ns)
        self.world.run_until(lambda: self.client.state >= OPEN and self._accepted, OPENING_S)
        self.server: RudpSession = self._accepted[0]

    @property
    def now(self) -> int:
        """Virtual time (ns)."""
        return self.network.clock.now_ns

    def _server_input(self, _side: object) -> None:
        session = self._server_ready()
        if session is not None:
            if self.server_end.fresh_sessions:  # each of them has told that it is open, too
                self._accepted += self.server_end.take_fresh()  # type: ignore[arg-type]
            drain(self.server_end, session, self.on_server)

    def _client_input(self, _side: object) -> None:
        session = self._client_ready()
        if session is not None:
            drain(self.client_end, session, self.on_client)
        if self.on_client_input is not None:
            self.on_client_input()

    def every(self, interval_ns: int, count: int, action: Callable[[int], None]) -> None:
        """Calls `action(index)` `count` times, `interval_ns` apart, from now on."""
        begin = self.network.elapsed_ns
        index = 0

        def act() -> None:
            nonlocal index
            index += 1
            if index < count:
                self.network.at(begin + index * interval_ns, act)
            action(index - 1)

        self.network.at(begin, act)

    def wire(self) -> Wire:
        """What both links have carried so far."""
        return Wire(self.up, self.down)


class Wire:
    """Packets and bytes of both directions, IP and UDP headers included; `since` gives a difference."""

    def __init__(self, up: Link, down: Link) -> None:
        self.up_packets = up.sent
        self.down_packets = down.sent
        self.up_bytes = up.sent_bytes + IP_UDP_BYTES * up.sent
        self.down_bytes = down.sent_bytes + IP_UDP_BYTES * down.sent

    def since(self, before: Wire) -> Wire:
        """This less what was before; both are spent."""
        self.up_packets -= before.up_packets
        self.down_packets -= before.down_packets
        self.up_bytes -= before.up_bytes
        self.down_bytes -= before.down_bytes
        return self

    def plus(self, other: Wire) -> Wire:
        """The sum, in place."""
        self.up_packets += other.up_packets
        self.down_packets += other.down_packets
        self.up_bytes += other.up_bytes
        self.down_bytes += other.down_bytes
        return self


def drain(endpoint: RudpEndpoint, first: Any, taken: Taken | None) -> None:
    """Hands on what sessions from `first` on have received; what was reliable counts as consumed."""
    session = first
    while session is not None:
        following = endpoint.after_ready(session)
        for batch in session.take():
            if taken is not None:
                taken(batch.payloads, batch.channel)
            if batch.delivery <= RELIABLE_MAX:
                session.consumed(batch.channel, batch.size, len(batch.payloads))
        session.events()
        session = following


class Stream:
    """One way: numbered messages at a fixed interval, and how long each took from `send` to the receiving program.

    Attributes:
        late: one-way latencies (ns), in the order of arrival.
        wire: what crossed the links for them.
    """

    def __init__(self, rig: Rig, size: int, interval_ns: int, count: int, delivery: int = ORDERED) -> None:
        self.late = array("q")
        rest = bytes(size - NUMBER_BYTES)
        planned = array("q")

        def send(index: int) -> None:
            planned.append(rig.now)
            rig.client.send(index.to_bytes(NUMBER_BYTES, "big") + rest, 0, delivery, 0, 0, rig.now)

        def receive(payloads: list[Any], _channel: int) -> None:
            now = rig.now
            for payload in payloads:
                number = int.from_bytes(payload[:NUMBER_BYTES], "big")
                if number < count:
                    self.late.append(now - planned[number])

        rig.on_server = receive
        before = rig.wire()
        rig.every(interval_ns, count + TAIL, send)
        rig.world.run_for(count * interval_ns / SECOND)
        self.wire = rig.wire().since(before)
        rig.world.run_until(lambda: len(self.late) >= count, SETTLE_S)


def milliseconds(ordered: Any, quantile: float) -> float:
    """A percentile of sorted latencies (ns) in milliseconds."""
    return percentile(ordered, quantile) / MS
