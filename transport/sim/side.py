"""One machine in a simulation: what a driver is to a machine on a real socket, without an event loop.

Exists to run machines of both dialects exactly by the contract, and to notice when one breaks it. It must never paper
over a mistake: a deadline that stays in the past is an error here, though a real loop would only burn a core.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from transport import limits, lists
from transport.datagram.base import NOWHERE, Endpoint
from transport.machine import EOF, ByteMachine, DatagramMachine, Transmit
from transport.rudp import pen
from transport.session import Batch, MessageSession
from transport.sim.clock import SkewedClock
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.link import Entry, Link
from transport.sim.network import Port, SimNetwork
from transport.sim.seeds import stream
from transport.sim.trace import Fate

FLUSH_MAX = limits.SIM_FLUSH_MAX
ROOM_BYTES = limits.DATAGRAM_BYTES_MAX
SILENT = vars(Endpoint)["events"]  # which gives nothing, unless it is overridden


class Side:
    """What both dialects share: the clock, the deadline, events and messages.

    Attributes:
        name: in error texts.
        machine: the user's.
        events: everything that its `events()` gave.
        batches: everything that its `take()` gave, for a `MessageSession`.
        on_input: called with this side when the machine has taken input or a timer: the application's turn.
        consumes: whether messages count as consumed when they are taken (else call `machine.consumed` yourself).
        wakes: how often the machine was given input or a timer.
        next_due: when this side wants to be woken, in the network's time, or -1; as of the last `settle` or `wake`.
    """

    def __init__(self, name: str, machine: Any, network: SimNetwork, clock: SkewedClock | None) -> None:
        self.name = name
        self.machine = machine
        self.network = network
        self.events: list[object] = []
        self.batches: list[Batch] = []
        self.on_input: Callable[[Side], object] | None = None
        self.consumes = True
        self.wakes = 0
        self.next_due = -1
        self._clock = clock
        self._session = isinstance(machine, MessageSession)

    @property
    def messages(self) -> list[bytes]:
        """The payloads of all batches, in order."""
        return [payload for batch in self.batches for payload in batch.payloads]

    def now(self) -> int:
        """The time that the machine is given."""
        now = self.network.clock.now_ns
        return now if self._clock is None else self._clock.local(now)

    def due(self) -> int:
        """When this side wants to be woken, in the network's time, or -1."""
        deadline = self.machine.deadline()
        if deadline is None:
            return -1
        if type(deadline) is not int:
            raise SimulationError(f"{self.name}: deadline() gave {deadline!r}; it has to be whole nanoseconds or None")
        return deadline if self._clock is None else self._clock.world(deadline)

    def wake(self) -> bool:
        """One wake-up: input, then the timer if it is due, then the application, then output. Whether there was any."""
        inbox = self.inbox()
        if not inbox and not 0 <= self.next_due <= self.network.clock.now_ns:
            return False
        now = self.now()
        if inbox:
            self._receive(inbox, now)
        deadline = self.machine.deadline()
        expired = deadline is not None and deadline <= now
        if expired:
            self.machine.expire(now)
        if inbox or expired:
            self.wakes += 1
            self.collect()
            if self.on_input is not None:
                self.on_input(self)
        self.settle()
        if expired:
            self._check_deadline(now, deadline)
        return True

    def settle(self) -> None:
        """Takes output and what happened, and looks when to come back."""
        self.flush()
        self.collect()
        self.next_due = self.due()

    def _check_deadline(self, now: int, before: int) -> None:
        deadline = self.machine.deadline()
        if deadline is not None and deadline <= now:
            moved = "did not move" if deadline == before else f"moved only to {now - deadline} ns ago"
            raise SimulationError(f"{self.name} spins: expire({now}) was called and the output taken, and the deadline "
                                  f"{moved}; one expire has to serve everything that is due")  # fmt: skip

    def collect(self) -> None:
        """Takes events and messages from the machine."""
        events = self.machine.events()
        if events:
            self.events.extend(events)
        if self._session:
            batches = self.machine.take()
            self.batches.extend(batches)
            if self.consumes:
                for batch in batches:
                    if batch.delivery < 2:  # credit is for reliable messages
                        self.machine.consumed(batch.channel, batch.size, len(batch.payloads))
        if len(self.events) > self.network.events_max or len(self.batches) > self.network.events_max:
            raise SimulationLimit("SIM_EVENTS_MAX", self.network.events_max, f"events and batches kept for {self.name}")

    def inbox(self) -> list[Any]:
        """What has arrived and may be taken."""
        raise NotImplementedError

    def _receive(self, inbox: list[Any], now: int) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        """Takes the machine's output until there is none."""
        raise NotImplementedError

    def _never_silent(self) -> SimulationLimit:
        return SimulationLimit("SIM_FLUSH_MAX", limits.SIM_FLUSH_MAX, f"{self.name}: transmit() calls of one flush")


class DatagramSide(Side):
    """A `DatagramMachine` on one or more addresses.

    Attributes:
        ports: its addresses, the first is the one it sends from when a path names none.
        peer: where a path without a remote address leads (a connected socket), or None.
    """

    machine: DatagramMachine

    def __init__(self, name: str, machine: DatagramMachine, network: SimNetwork, clock: SkewedClock | None,
                 ports: list[Port], peer: Any) -> None:  # fmt: skip
        super().__init__(name, machine, network, clock)
        self.ports = ports
        self.peer = peer
        self._room = memoryview(bytearray(ROOM_BYTES))
        self._known: Any = None  # the machine that these two are about
        self._endpoint: Endpoint | None = None
        self._tells = True
        self._item = Transmit(0, 0, NOWHERE)
        for port in ports:
            port.owner = self

    def _peers(self) -> Endpoint | None:
        """The machine, where it is an endpoint of many sessions: then it is asked as drivers ask, without objects.

        To be called when `machine` is not `_known`: a test may put another in its place.
        """
        machine = self._known = self.machine
        self._endpoint = machine if isinstance(machine, Endpoint) else None
        self._tells = self._endpoint is None or type(machine).events is not SILENT
        return self._endpoint

    def inbox(self) -> list[Any]:
        """What has arrived and may be taken, with the port by which it came."""
        found: list[Any] = []
        for port in self.ports:
            if port.inbox:
                found += [(port, entry) for entry in port.take()]
        return found

    def _receive(self, inbox: list[Any], now: int) -> None:
        for port, entry in inbox:
            self.machine.receive(entry[0], port.path(entry[1]), entry[3], now)

    def due(self) -> int:
        """When this side wants to be woken, in the network's time, or -1."""
        endpoint = self._endpoint if self.machine is self._known else self._peers()
        if endpoint is None:
            return Side.due(self)
        due = endpoint.due()
        if not due:
            return -1
        if self._clock is None:
            return due
        there: int = self._clock.world(due)
        return there

    def wake(self) -> bool:
        """One wake-up, see `Side`; an endpoint of many sessions is given its datagrams as a driver gives them."""
        endpoint = self._endpoint if self.machine is self._known else self._peers()
        if endpoint is None:
            return Side.wake(self)
        came = False
        for port in self.ports:
            if port.inbox:
                came = True
        if not came and not 0 <= self.next_due <= self.network.clock.now_ns:
            return False
        now = self.now()
        if came:
            for port in self.ports:
                if port.inbox:
                    self._deliver(endpoint, port, now)
        due = endpoint.due()
        expired = 0 < due <= now
        if expired:
            endpoint.expire(now)
        if came or expired:
            self.wakes += 1
            self.collect()
            if self.on_input is not None:
                self.on_input(self)
        self.settle()
        if expired:
            self._check_deadline(now, due)
        return True

    def _deliver(self, endpoint: Endpoint, port: Port, now: int) -> None:
        """Gives the endpoint what a port has, consecutive datagrams of one path together."""
        inbox = port.inbox
        if len(inbox) == 1:
            entry: Entry = lists.pop_last(inbox)
            endpoint.receive_one(entry.data, port.path(entry.source), entry.ecn, now)
            return
        port.inbox = []
        count = len(inbox)
        start = 0
        while start < count:
            entry = inbox[start]
            source = entry.source
            ecn = entry.ecn
            start += 1
            payloads = [entry.data]
            while start < count:
                following = inbox[start]
                if following.source is not source or following.ecn != ecn:
                    break
                payloads.append(following.data)
                start += 1
            endpoint.receive_many(payloads, port.path(source), ecn, now)

    def collect(self) -> None:
        """Takes events and messages from the machine; those of an endpoint's sessions are for their owners."""
        if self.machine is not self._known:
            self._peers()
        if self._tells:
            Side.collect(self)

    def flush(self) -> None:
        """Takes the machine's output until there is none."""
        now = self.now()
        endpoint = self._endpoint if self.machine is self._known else self._peers()
        if endpoint is not None:
            item = self._item
            for _ in range(FLUSH_MAX):
                if not endpoint.fill(item, self._room, now):
                    return
                self._send(item)
            raise self._never_silent()
        for _ in range(FLUSH_MAX):
            batch = self.machine.transmit(self._room, now)
            if batch is None:
                return
            self._send(batch)
        raise self._never_silent()

    def _send(self, batch: Transmit) -> None:
        size = batch.size
        segment = batch.segment_bytes
        if not 0 <= size <= ROOM_BYTES or (size and not 0 < segment <= size):
            raise SimulationError(f"{self.name}: {batch!r} does not fit a buffer of {ROOM_BYTES} bytes")
        path = batch.path
        target = self.peer if path.remote is None else path.remote
        if target is None:
            raise SimulationError(f"{self.name}: {batch.path!r} leads nowhere, and this side has no peer")
        port = self._port(path.local)
        start = 0
        while True:
            end = min(start + segment, size)
            self.network.send(port, target, pen.copied(self._room, start, end), batch.ecn)
            start = end
            if start == size:
                return

    def _port(self, local: Any) -> Port:
        first = self.ports[0]
        if local is None or local is first.address:
            return first
        for port in self.ports:
            if port.address == local:
                return port
        raise SimulationError(f"{self.name} sends from {local!r}, which is not an address of its own")


class ByteSide(Side):
    """A `ByteMachine` at one end of an ordered pipe that holds up, but never loses.

    Attributes:
        port: its end.
        other: the side at the other end.
        reading: false while this side takes nothing in, as a program that is busy elsewhere.
        unsent_bytes: taken from the machine and not yet on the link.
    """

    machine: ByteMachine
    other: ByteSide

    def __init__(self, name: str, machine: ByteMachine, network: SimNetwork, clock: SkewedClock | None,
                 port: Port, link: Link, chunks: tuple[int, int] | None, window: int) -> None:  # fmt: skip
        super().__init__(name, machine, network, clock)
        if chunks is not None and not 1 <= chunks[0] <= chunks[1]:
            raise ValueError(f"chunks are (least, most) bytes with 1 <= least <= most, not {chunks!r}")
        self.port = port
        self.reading = True
        self.unsent_bytes = 0
        self._link = link
        self._target = link.name[1]
        self._chunks = chunks
        self._draw = stream(network.seed, link.name, "chunks").random
        self._window = window
        self._unsent: deque[bytes] = deque()
        self._offset = 0
        self._taken_bytes = 0
        self._ended = False
        self._cut = False
        port.owner = self

    def pause_reading(self) -> None:
        """Takes nothing in from now on: the pipe fills, then the other side's machine."""
        self.reading = False

    def resume_reading(self) -> None:
        """Takes in again, from the next step on."""
        self.reading = True

    def inbox(self) -> list[Any]:
        """What has arrived and may be taken."""
        return self.port.take() if self.reading and self.port.inbox else []

    def wake(self) -> bool:
        """As for every side; input taken makes room for the other side's output."""
        woken = Side.wake(self)
        if woken and self.other.unsent_bytes:
            self.other.settle()
        return woken

    def _receive(self, inbox: list[Any], now: int) -> None:
        for entry in inbox:
            data = entry[0]
            if not self._cut:
                self._taken_bytes += len(data)
                self.machine.receive(data, now)

    def due(self) -> int:
        """As for every side, at once when input waits to be read, or when a blackout that holds up output ends."""
        if self.reading and self.port.inbox:
            return self.network.clock.now_ns
        due = Side.due(self)
        if self._unsent:
            now = self.network.clock.now_ns
            opens = self._link.opens_at(now)
            if opens > now and (due < 0 or opens < due):
                return opens
        return due

    def flush(self) -> None:
        """Takes the machine's output while the pipe has room."""
        now = self.now()
        for _ in range(limits.SIM_FLUSH_MAX):
            self._push()
            if self._unsent or self._cut:
                return
            buffers = self.machine.transmit(now)
            if not buffers:
                return
            self._take(buffers)
        raise self._never_silent()

    def _take(self, buffers: Any) -> None:
        if self._ended:
            raise SimulationError(f"{self.name}: transmit() gave more after EOF")
        data = b"".join(buffers)
        self._ended = not len(buffers[-1])
        if data:
            self._unsent.append(data)
            self.unsent_bytes += len(data)
        if self._ended:
            self._unsent.append(EOF)

    def _push(self) -> None:
        """Moves what is unsent onto the link, in pieces, while there is room and no blackout."""
        now = self.network.clock.now_ns
        while self._unsent and self._link.opens_at(now) == now:
            data = self._unsent[0]
            size = min(len(data) - self._offset, self._piece(now))
            if size <= 0 and data:
                return
            if self._link.config.loses:
                raise SimulationError(f"the link of {self.name} loses or alters data, which a byte pipe never does; "
                                      "use delay, ordered jitter, rate and blackouts")  # fmt: skip
            self._send(data[self._offset : self._offset + size])
            self._offset += size
            self.unsent_bytes -= size
            if self._offset == len(data):
                self._unsent.popleft()
                self._offset = 0

    def _piece(self, now: int) -> int:
        """How much of what is unsent may go in one piece now."""
        room = min(self._window - (self._link.sent_bytes - self.other._taken_bytes), limits.READ_BYTES_MAX)
        config = self._link.config
        if config.rate_bits_per_s:
            room = min(room, config.queue_bytes - config.overhead_bytes - self._link.queued_bytes(now))
        if room <= 0 or self._chunks is None:
            return room
        least, most = self._chunks
        return min(room, least + int(self._draw() * (most - least + 1)))

    def _send(self, data: bytes) -> None:
        if self.network.send(self.port, self._target, data, 0) != Fate.ARRIVES:
            raise SimulationError(f"the link of {self.name} lost {len(data)} bytes of a byte pipe")

    def cut(self) -> None:
        """Ends the pipe for this side at once, as a reset does: what was on its way is gone; the machine gets EOF."""
        if self._cut:
            return
        self.port.take()
        self._unsent.clear()
        self.unsent_bytes = 0
        self.machine.receive(EOF, self.now())
        self._cut = True
        self.collect()
