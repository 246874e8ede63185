"""Two ends of one connection on a simulated network, run in virtual time.

The same for every peer, so that nobody is favoured by who turns the crank. It must never give a machine a time that
goes back, and never let one spin without saying so.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.virtual.machine import VirtualMachine, VirtualPeer
from transport import limits
from transport.sim.config import IP_UDP_BYTES, LinkConfig
from transport.sim.link import Link
from transport.sim.network import Port, SimNetwork

NEVER = 1 << 62
STILL_MAX = 1000  # steps at one instant; a step serves everything that is due, so a sound machine needs a handful
OPENING_NS = 30 * limits.SECOND_NS

Taken = Callable[[list[bytes], int], None]
"""Called with delivered messages and the time."""


class PeerFailed(Exception):
    """A peer did not do what it promises; the text says what."""


class Side:
    """One end: its machine, its address, and who takes its messages.

    Attributes:
        due: when it is to be woken, as of its last output.
        on_messages: takes what is delivered here.
    """

    def __init__(self, name: str, machine: VirtualMachine, port: Port, target: str, network: SimNetwork) -> None:
        self.name = name
        self.machine = machine
        self.port = port
        self.due = NEVER
        self.on_messages: Taken | None = None
        self._target = target
        self._network = network

    def wake(self, now: int) -> None:
        """Input, then the timer if it is due, then the program, then output."""
        machine, port = self.machine, self.port
        if port.inbox:
            for data, _source, _target, _ecn in port.take():
                machine.receive(data, now)
        if self.due <= now:
            deadline = machine.deadline()
            if deadline is not None and deadline <= now:
                machine.expire(now)
        messages = machine.take()
        if messages and self.on_messages is not None:
            self.on_messages(messages, now)
        self.settle(now)

    def settle(self, now: int) -> None:
        """Sends what the machine has to send, and looks when to come back."""
        for datagram in self.machine.output(now):
            self._network.send(self.port, self._target, datagram)
        deadline = self.machine.deadline()
        self.due = NEVER if deadline is None else deadline


class Conversation:
    """A client and a server that have opened their connection when this is made.

    Args:
        seed: of the network and of all its random streams.
        link: both directions.
        peer: makes the two ends.

    Attributes:
        network: theirs; its trace tells two runs apart.
        client, server: the two sides.
        opened_ns: how long the handshake took, until both ends could send; 0 where there is none.

    Raises:
        PeerFailed: the connection did not open within 30 s.
    """

    def __init__(self, seed: int, link: LinkConfig, peer: VirtualPeer) -> None:
        network = self.network = SimNetwork(seed)
        network.connect("c", "s", link)
        client, server = peer.pair(network.entropy)
        self.client = Side("client", client, network.bind("c"), "s", network)
        self.server = Side("server", server, network.bind("s"), "c", network)
        self._up: Link = network.link("c", "s")
        self._down: Link = network.link("s", "c")
        self._still = 0
        server.listen(self.now)
        client.connect(self.now)
        for side in (self.server, self.client):
            side.settle(self.now)
        self.run_until(lambda: client.is_open and server.is_open, self.now + OPENING_NS)
        if not (client.is_open and server.is_open):
            raise PeerFailed(f"no connection within {OPENING_NS // limits.SECOND_NS} s{self.why()}")
        self.opened_ns = network.elapsed_ns

    @property
    def now(self) -> int:
        """Virtual time (ns)."""
        return self.network.clock.now_ns

    def why(self) -> str:
        """What the machines say went wrong, as the end of a sentence."""
        found = [f"; the {side.name} {side.machine.broken}" for side in (self.client, self.server)
                 if side.machine.broken]  # fmt: skip
        return "".join(found)

    def send(self, side: Side, message: bytes) -> None:
        """Hands one message to one end now, and sends what leaves for it."""
        now = self.now
        side.machine.send(message, now)
        side.settle(now)

    def step(self, until_ns: int) -> bool:
        """Goes to the next instant at which something happens, and has it happen; False when there is none by then.

        Raises:
            PeerFailed: a machine asks to be woken at once again and again.
        """
        network, client, server = self.network, self.client, self.server
        first = network.next_time()
        if first < 0:
            first = NEVER
        first = min(first, client.due, server.due)
        if first > until_ns:
            return False
        clock = network.clock
        if first > clock.now_ns:
            clock.advance_to(first)
            self._still = 0
        self._still += 1
        if self._still > STILL_MAX:
            spins = " and ".join(side.name for side in (client, server) if side.due <= clock.now_ns)
            raise PeerFailed(f"{spins or 'the network'} spins: {STILL_MAX} steps, and time stands still")
        now = clock.now_ns
        network.arrive(None)
        for side in (server, client):
            if side.port.inbox or side.due <= now:
                side.wake(now)
        return True

    def run_until(self, predicate: Callable[[], bool], until_ns: int) -> None:
        """Runs until `predicate()` is true, a machine is broken, or nothing happens by `until_ns`."""
        machines = (self.client.machine, self.server.machine)
        while not predicate() and self.step(until_ns):
            if machines[0].broken or machines[1].broken:
                return

    def run_to(self, until_ns: int) -> None:
        """Runs to `until_ns`, and moves the clock there. Stops early when a machine is broken."""
        self.run_until(lambda: False, until_ns)
        if not self.why():
            self.network.clock.advance_to(until_ns)

    def wire(self) -> tuple[int, int, int, int]:
        """(packets, bytes) from client to server, then back, so far; IP and UDP headers included."""
        up, down = self._up, self._down
        return (
            up.sent,
            up.sent_bytes + IP_UDP_BYTES * up.sent,
            down.sent,
            down.sent_bytes + IP_UDP_BYTES * down.sent,
        )
