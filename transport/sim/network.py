"""A seeded network in virtual time: named addresses, a link for each direction, and what is in the air between them.

Exists so that loss, delay and a moved address are a test of milliseconds and a failure is a seed. Nothing here waits:
whoever runs the machines asks `next_time`, moves the clock there, calls `pump` and finds datagrams in the inboxes.
It must never use `hash()`, a real clock, or the order of a set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transport import limits
from transport.machine import Address, Path
from transport.sim.clock import SimClock
from transport.sim.config import LinkConfig
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.link import COUNTERS, Entry, Flight, Link
from transport.sim.seeds import derive, entropy
from transport.sim.trace import Trace

UNREACHABLE = 7  # `trace.Fate`
PATHS_MAX = 4096  # cached for each port; a cache, so it is emptied and not an error


def _check_address(address: Any) -> None:
    """Seeds and traces name addresses by `repr`, so nothing may be in one whose repr changes from run to run."""
    parts = address if isinstance(address, tuple) else (address,)
    if not parts or not all(isinstance(part, (str, int)) for part in parts):
        raise ValueError(f"a simulated address is a string, or a tuple of strings and numbers, not {address!r}")


class Port:
    """One address in use. Made by `SimNetwork.bind`.

    Attributes:
        address: where its owner believes to be; names its links, and never changes.
        public: what the others see and send to; `SimNetwork.rebind` changes it, as a NAT would.
        owner: whatever the binder gave.
        inbox: entries as they arrived; whoever runs the owner empties it.
    """

    def __init__(self, address: Address, owner: Any) -> None:
        self.address = address
        self.public = address
        self.owner = owner
        self.inbox: list[Entry] = []
        self.links: dict[Address, Link] = {}
        self.paths: dict[Address, Path] = {}
        self._last_remote: Address | None = None  # most datagrams come from where the one before came from,
        self._last_path: Path | None = None
        self.last_target: Address | None = None  # and go where the one before went,
        self.last_link: Link | None = None
        self.last_version = -1  # as the names were then

    def take(self) -> list[tuple[bytes, Address, Address, int]]:
        """Empties the inbox: (data, source, target, ecn) of each."""
        inbox = self.inbox
        self.inbox = []
        return [(entry.data, entry.source, entry.target, entry.ecn) for entry in inbox]

    def path(self, remote: Address) -> Path:
        """The path from here to `remote`, as this port's owner sees it."""
        if remote is self._last_remote and self._last_path is not None:
            return self._last_path
        path = self._last_path = self._path(remote)
        self._last_remote = remote
        return path

    def _path(self, remote: Address) -> Path:
        path = self.paths.get(remote)
        if path is None:
            if len(self.paths) >= PATHS_MAX:
                self.paths.clear()
            path = self.paths[remote] = Path(self.address, remote)
        return path


class SimNetwork:
    """Addresses and the links between them.

    Args:
        seed: everything random follows from it, for each link and impairment apart.
        link: what every link does that is not configured by itself.
        clock: virtual time; a new clock when None.
        trace: takes every fate; a new trace when None.
        keep: how many of the last fates stay readable in the new trace.
        events_max: most datagrams in the air, and in one inbox.
        bytes_max: most bytes in the air.

    Attributes:
        links: every `Link` so far, by (source, target).
        start_ns: the clock's time when the network was made; schedules count from here.
        unreachable: datagrams to an address that nobody had.
        acted: actions called so far.
    """

    def __init__(self, seed: int = 0, link: LinkConfig | None = None, *, clock: SimClock | None = None,
                 trace: Trace | None = None, keep: int = 0, events_max: int = limits.SIM_EVENTS_MAX,
                 bytes_max: int = limits.SIM_FLIGHT_BYTES) -> None:  # fmt: skip
        self.seed = seed
        self.default = LinkConfig() if link is None else link
        self.clock = SimClock() if clock is None else clock
        self.trace = Trace(keep) if trace is None else trace
        self.flight = Flight(events_max, bytes_max)
        self.events_max = events_max
        self.start_ns = self.clock.now_ns
        self.unreachable = 0
        self.acted = 0
        self._names: dict[Address, Port] = {}
        self._version = 0  # of the names
        self.links: dict[tuple[Address, Address], Link] = {}

    # Addresses

    def bind(self, address: Address, owner: Any = None) -> Port:
        """Takes an address. Raises SimulationError when it is taken."""
        _check_address(address)
        if address in self._names:
            raise SimulationError(f"address {address!r} is in use")
        if len(self._names) >= limits.SIM_ADDRESSES_MAX:
            raise SimulationLimit("SIM_ADDRESSES_MAX", limits.SIM_ADDRESSES_MAX, "simulated addresses")
        port = Port(address, owner)
        self._set_name(address, port)
        return port

    def unbind(self, port: Port) -> None:
        """Gives the address back; what is in the air to it becomes unreachable. Idempotent."""
        if self._names.get(port.public) is port:
            self._set_name(port.public, None)

    def port(self, address: Address) -> Port:
        """Who has `address` now. Raises LookupError when nobody has."""
        return self._names[address]

    def rebind(self, port: Port, public: Address, *, keep_ns: int = 0) -> None:
        """From now on the others see `port` at `public`, as after a new NAT mapping; its owner is not told.

        For `keep_ns` nanoseconds the old address still leads here, as a NAT's entry does that nobody renews; then what
        is sent to it, or is in the air to it, is lost. Links stay as they are.
        """
        _check_address(public)
        holder = self._names.get(public)
        if holder is not None and holder is not port:
            raise SimulationError(f"address {public!r} is in use")
        self.trace.note(self.clock.now_ns, f"rebind {port.public!r} to {public!r}")
        old = port.public
        if keep_ns and old != public:
            self.at(self.elapsed_ns + keep_ns, lambda: self._expire_name(old, port))
        else:
            self.unbind(port)
        port.public = public
        self._set_name(public, port)

    def _expire_name(self, address: Address, port: Port) -> None:
        """A NAT's old entry has had its time."""
        if self._names.get(address) is port and port.public != address:
            self._set_name(address, None)

    def _set_name(self, address: Address, port: Port | None) -> None:
        if port is None:
            del self._names[address]
        else:
            self._names[address] = port
        self._version += 1

    # Links

    def link(self, source: Address, target: Address) -> Link:
        """The link from `source` to `target`, own (not mapped) addresses, bound or not yet; made when new."""
        link = self.links.get((source, target))
        if link is None:
            _check_address(source)
            _check_address(target)
            number = len(self.links) + 1
            if number > limits.SIM_LINKS_MAX:
                raise SimulationLimit("SIM_LINKS_MAX", limits.SIM_LINKS_MAX, "simulated links")
            name = (source, target)
            self.trace.note(self.clock.now_ns, f"link {number} from {source!r} to {target!r}")
            link = Link(number, name, self.default, self.seed, self.start_ns, self.flight, self.trace)
            self.links[name] = link
        return link

    def connect(self, a: Address, b: Address, forward: LinkConfig, backward: LinkConfig | None = None) -> None:
        """Configures the links from `a` to `b` and back; `backward` is like `forward` when None."""
        self.link(a, b).configure(forward, self.clock.now_ns)
        self.link(b, a).configure(forward if backward is None else backward, self.clock.now_ns)

    def partition(self, one: Iterable[Address], other: Iterable[Address], start_ns: int, end_ns: int) -> None:
        """Nothing crosses between the groups from `start_ns` to `end_ns`, nanoseconds since the network's start."""
        others = list(other)
        for a in one:
            for b in others:
                for link in (self.link(a, b), self.link(b, a)):
                    link.change(start_ns, down=True)
                    link.change(end_ns, down=False)

    # Datagrams

    def send(self, port: Port, target: Address, data: bytes, ecn: int = 0) -> int:
        """Sends one datagram now; returns its `Fate`, which a machine must not be told."""
        if target is port.last_target and port.last_version == self._version and port.last_link is not None:
            return port.last_link.send(data, ecn, self.clock.now_ns, port.public, target)
        holder = self._names.get(target)
        if holder is None:
            self.unreachable += 1
            self.trace.datagram(UNREACHABLE, 0, self.clock.now_ns, data, 0)
            return UNREACHABLE
        link = port.links.get(holder.address)
        if link is None:
            link = port.links[holder.address] = self.link(port.address, holder.address)
        port.last_target = target
        port.last_link = link
        port.last_version = self._version
        return link.send(data, ecn, self.clock.now_ns, port.public, target)

    def next_time(self) -> int:
        """When the next datagram arrives or the next action is due, or -1."""
        return self.flight.next_time()

    def at(self, at_ns: int, action: Callable[[], object]) -> None:
        """Has `action` called `at_ns` nanoseconds after the network's start, in order with the arrivals."""
        if self.start_ns + at_ns < self.clock.now_ns:
            raise SimulationError(f"{at_ns} ns after the start lies in the past")
        self.flight.act(self.start_ns + at_ns, action)

    def pump(self) -> list[Port]:
        """Puts everything that has arrived by now into the inboxes; returns the ports whose inbox was empty before.

        Actions that have come due are called on the way.
        """
        touched: list[Port] = []
        self.arrive(touched)
        return touched

    def arrive(self, touched: list[Port] | None) -> None:
        """`pump`, for who looks at all inboxes anyway."""
        now = self.clock.now_ns
        actions = 0
        while True:
            entry = self.flight.pop(now)
            if entry is None:
                return
            if entry.link is None:
                actions += 1
                if actions > limits.SIM_STILL_MAX:
                    raise SimulationLimit("SIM_STILL_MAX", limits.SIM_STILL_MAX, f"actions at the instant {now}")
                self.acted += 1
                entry.action()
            else:
                self._arrive(entry, touched)

    def _arrive(self, entry: Entry, touched: list[Port] | None) -> None:
        link: Link = entry.link
        if entry.target is link.last_target and link.last_version == self._version:
            port = link.last_holder
        else:
            port = self._names.get(entry.target)
            if port is None:
                link.unreachable += 1
                self.trace.datagram(UNREACHABLE, link.number, self.clock.now_ns, entry.data, 0)
                return
            link.last_target = entry.target
            link.last_holder = port
            link.last_version = self._version
        link.arrived += 1
        link.arrived_bytes += len(entry.data)
        inbox = port.inbox
        if not inbox:
            if touched is not None:
                touched.append(port)
        elif len(inbox) >= self.events_max:
            raise SimulationLimit("SIM_EVENTS_MAX", self.events_max, f"datagrams that wait at {port.address!r}")
        inbox.append(entry)

    # For tests and machines

    @property
    def elapsed_ns(self) -> int:
        """Virtual time since the network's start."""
        return self.clock.now_ns - self.start_ns

    @property
    def in_flight(self) -> int:
        """Datagrams in the air, and actions to come."""
        return len(self.flight)

    def entropy(self, name: str) -> Callable[[int], bytes]:
        """Seeded bytes for the machine `name`, in the place of the system's: `entropy(n)` gives n bytes."""
        return entropy(self.seed, name)

    def derive(self, *names: object) -> int:
        """A seed of its own for `names`, from this network's."""
        return derive(self.seed, *names)

    def statistics(self) -> dict[str, int]:
        """The sums of all links' counters, what found no link at all, and what is in the air."""
        total = dict.fromkeys(COUNTERS, 0)
        for link in self.links.values():
            link.add_to(total)
        total["unreachable"] += self.unreachable
        total["in_flight"] = len(self.flight)
        return total
