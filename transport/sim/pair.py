"""Two machines on one simulated network, run in virtual time without any event loop.

Exists so that a protocol is tested as it is written: machines, a network, a seed, no sockets, no waiting. It must never
let a machine spin, run for ever or leave a deadline in the past without saying so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Self

from transport import limits
from transport.machine import Address, DatagramMachine
from transport.sim.clock import SkewedClock
from transport.sim.errors import SimulationError, SimulationLimit
from transport.sim.network import SimNetwork
from transport.sim.side import ByteSide, DatagramSide, Side

Dialect = Literal["bytes", "datagrams"]
NEVER = 1 << 62
STILL_MAX = limits.SIM_STILL_MAX


def dialect_of(machine: Any) -> Dialect:
    """Which dialect a machine speaks: only datagram machines are told of path errors."""
    return "datagrams" if isinstance(machine, DatagramMachine) else "bytes"


class World:
    """Machines on one network, and the steps that bring them forward.

    A step goes to the next instant at which something arrives or a timer is due; there each side takes its input, then
    its timer, then gives its output. Sides take their turns in the order in which they were added.

    Args:
        network: where they meet; a new one (seed 0, no impairment) when None.
        steps_max: most steps of one run.
    """

    def __init__(self, network: SimNetwork | None = None, *, steps_max: int = limits.SIM_STEPS_MAX) -> None:
        self.network = SimNetwork() if network is None else network
        self.sides: list[Side] = []
        self.steps = 0
        self._steps_max = steps_max
        self._still = 0
        self._stirred = True  # somebody beside the steps may have given commands
        self._settled: Side | None = None  # but not to this one, since it was settled

    def add(self, machine: DatagramMachine, *addresses: Address, peer: Address | None = None, offset_ns: int = 0,
            skew_ppm: int = 0) -> DatagramSide:  # fmt: skip
        """Adds a datagram machine; its clock is off by `offset_ns` and runs `skew_ppm` millionths fast."""
        ports = [self.network.bind(address) for address in addresses]
        if not ports:
            raise ValueError("a datagram machine needs an address")
        side = DatagramSide(str(addresses[0]), machine, self.network, self._clock(offset_ns, skew_ppm), ports, peer)
        self.sides.append(side)
        return side

    def _clock(self, offset_ns: int, skew_ppm: int) -> SkewedClock | None:
        return SkewedClock(self.network.clock, offset_ns, skew_ppm) if offset_ns or skew_ppm else None

    @property
    def now_ns(self) -> int:
        """The network's time."""
        return self.network.clock.now_ns

    @property
    def elapsed(self) -> float:
        """Virtual seconds since the network's start, for people; machines and tests count nanoseconds."""
        return self.network.elapsed_ns / limits.SECOND_NS

    def call_later(self, seconds: float, action: Callable[[], object]) -> None:
        """Has `action` called in `seconds` of virtual time: the script of a test."""
        self.network.at(self.network.elapsed_ns + round(seconds * limits.SECOND_NS), action)

    def flush(self) -> None:
        """Takes what the machines have to send, and their events, at this instant."""
        self._stir()
        self._settle()

    def _stir(self) -> None:
        """Anybody may have given commands to any machine."""
        self._stirred = True
        self._settled = None

    def _settle(self) -> None:
        self._stirred = False
        for side in self.sides:
            if side is not self._settled:
                side.settle()

    def next_time(self) -> int:
        """When something happens next, or -1 when nothing will."""
        first = self.network.next_time()
        for side in self.sides:
            due = side.next_due
            if due >= 0 and (first < 0 or due < first):
                first = due
        return first

    def step(self, until_ns: int | None = None) -> bool:
        """Goes to the next instant at which something happens; False when there is none (by `until_ns`)."""
        self._stir()
        return self._advance(NEVER if until_ns is None else until_ns)

    def _advance(self, until_ns: int) -> bool:
        if self._stirred:
            self._settle()
        first = self.next_time()
        if first < 0 or first > until_ns:
            return False
        network = self.network
        clock = network.clock
        if first > clock.now_ns:
            clock.advance_to(first)
            self._still = 0
        self._still += 1
        if self._still > STILL_MAX:
            raise SimulationLimit("SIM_STILL_MAX", limits.SIM_STILL_MAX, self._at("steps, and time stands still"))
        self.steps += 1
        acted = network.acted
        network.arrive(None)
        self._stirred = acted != network.acted
        self._settled = None
        for side in self.sides:
            if side.wake() and side.on_input is not None:
                self._stirred = True
                self._settled = side  # when the last one is, nobody's turn is to come that could stir it
        return True

    def _at(self, what: str) -> str:
        """`what`, with all that it takes to get there again."""
        parts = [f"seed {self.network.seed}", f"{self.elapsed:.9f} s", f"step {self.steps:,}"]
        parts.append(f"{self.network.in_flight:,} in the air")
        parts += [f"{side.name} due in {side.next_due - self.now_ns} ns" for side in self.sides if side.next_due >= 0]
        return f"{what} ({', '.join(parts)})"

    # Runs

    def run(self, seconds: float | None = None) -> Self:
        """Runs until nothing is in the air and no deadline is set.

        Args:
            seconds: most virtual time to take, an hour when None. A machine that keeps a timer for ever (keep-alive) is
                never idle: use `run_for` or `run_until`.

        Raises:
            SimulationError: when it is not idle by then, or when a machine breaks the contract.
        """
        span = limits.SIM_RUN_NS if seconds is None else round(seconds * limits.SECOND_NS)
        end = self.now_ns + span
        first = self.steps
        self._stir()
        while self._advance(end):
            self._check_steps(first)
        if self.next_time() >= 0:
            raise SimulationError(self._at(f"not idle after {span / limits.SECOND_NS:g} virtual seconds; "
                                           "run_for() and run_until() don't ask for that"))  # fmt: skip
        return self

    def run_for(self, seconds: float) -> Self:
        """Runs for exactly `seconds` of virtual time, idle or not."""
        end = self.now_ns + round(seconds * limits.SECOND_NS)
        first = self.steps
        self._stir()
        while self._advance(end):
            self._check_steps(first)
        self.network.clock.advance_to(end)
        self._still = 0
        return self

    def run_until(self, predicate: Callable[[], object], seconds: float | None = None) -> Self:
        """Runs until `predicate()` is true, asked after every step.

        Raises:
            SimulationError: when everything is idle, or `seconds` (an hour when None) have passed, and it is false.
        """
        span = limits.SIM_RUN_NS if seconds is None else round(seconds * limits.SECOND_NS)
        end = self.now_ns + span
        first = self.steps
        while not predicate():
            if not self.step(end):
                if predicate():
                    break
                why = "idle" if self.next_time() < 0 else f"{span / limits.SECOND_NS:g} virtual seconds have passed"
                raise SimulationError(self._at(f"{why}, and the condition is still false"))
            self._check_steps(first)
        return self

    def _check_steps(self, first: int) -> None:
        if self.steps - first > self._steps_max:
            raise SimulationLimit("SIM_STEPS_MAX", self._steps_max, self._at("steps of one run"))


class Pair(World):
    """Two machines face to face: `Pair(Client(), Server(), SimNetwork(seed=7)).run()`.

    Both speak the same dialect. Byte machines have an ordered pipe between them that never loses, whatever is sent;
    datagram machines have the network's links as they are.

    Args:
        a, b: the machines.
        network: where they meet; a new one (seed 0, no impairment) when None.
        addresses: of `a` and `b`.
        dialect: "bytes" or "datagrams"; found out when None.
        chunks: (least, most) bytes into which a byte pipe cuts at random, seeded; None keeps each write whole.
        window: bytes on their way on a byte pipe, each way; more stays with the machine.
        offset_ns, skew_ppm: how the clocks of `a` and `b` are off, in nanoseconds and in millionths.
        steps_max: most steps of one run.

    Attributes:
        a, b: the two `Side`s: `.machine`, `.events`, `.messages`, `.on_input`.
    """

    a: Side
    b: Side

    def __init__(self, a: Any, b: Any, network: SimNetwork | None = None, *,
                 addresses: tuple[Address, Address] = ("a", "b"), dialect: Dialect | None = None,
                 chunks: tuple[int, int] | None = None, window: int = limits.SIM_PIPE_BYTES,
                 offset_ns: tuple[int, int] = (0, 0), skew_ppm: tuple[int, int] = (0, 0),
                 steps_max: int = limits.SIM_STEPS_MAX) -> None:  # fmt: skip
        super().__init__(network, steps_max=steps_max)
        if dialect is None:
            dialect = dialect_of(a)
            if dialect_of(b) != dialect:
                raise ValueError(f"{type(a).__name__} and {type(b).__name__} don't speak the same dialect")
        if dialect == "datagrams":
            self.a = self.add(a, addresses[0], peer=addresses[1], offset_ns=offset_ns[0], skew_ppm=skew_ppm[0])
            self.b = self.add(b, addresses[1], peer=addresses[0], offset_ns=offset_ns[1], skew_ppm=skew_ppm[1])
            self.a.name, self.b.name = "a", "b"
            return
        if window < 1:
            raise ValueError(f"a window of {window} bytes lets nothing through")
        ends = [self._end(index, machine, addresses, chunks, window, self._clock(offset_ns[index], skew_ppm[index]))
                for index, machine in enumerate((a, b))]  # fmt: skip
        ends[0].other, ends[1].other = ends[1], ends[0]
        self.a, self.b = ends
        self.sides += ends

    def _end(self, index: int, machine: Any, addresses: tuple[Address, Address], chunks: tuple[int, int] | None,
             window: int, clock: SkewedClock | None) -> ByteSide:  # fmt: skip
        port = self.network.bind(addresses[index])
        link = self.network.link(addresses[index], addresses[1 - index])
        return ByteSide("ab"[index], machine, self.network, clock, port, link, chunks, window)

    def cut(self) -> None:
        """Ends a byte pipe at this instant, as a reset does: what is on its way is lost, both machines are told EOF."""
        for side in self.sides:
            if not isinstance(side, ByteSide):
                raise SimulationError("datagrams have no pipe to cut; use a partition")
            side.cut()
