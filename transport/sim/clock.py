"""Virtual time: whole nanoseconds that move when the simulation says so, and never by themselves.

Exists so that three virtual hours take as long as their events do. It must never read a real clock, and never hold
time as a float (float clocks re-arm the same instant for ever).
"""

from __future__ import annotations

from transport import limits
from transport.sim.errors import SimulationError

START_NS = limits.SECOND_NS
"""Where virtual time begins: not at 0, which machines use for "never"."""
_MILLION = 1_000_000


class SimClock:
    """A clock that jumps.

    Attributes:
        now_ns: the time, in nanoseconds.
        start_ns: where it began.
    """

    def __init__(self, start_ns: int = START_NS) -> None:
        self.start_ns = start_ns
        self.now_ns = start_ns

    def time_ns(self) -> int:
        """The time, under the name that drivers ask for."""
        return self.now_ns

    def advance_to(self, time_ns: int) -> None:
        """Moves to `time_ns`; raises SimulationError when that lies in the past."""
        if time_ns < self.now_ns:
            raise SimulationError(f"virtual time can't go back from {self.now_ns} to {time_ns} ns")
        self.now_ns = time_ns


class SkewedClock:
    """How one machine sees the time: off by `offset_ns`, and `ppm` millionths too fast (or, negative, too slow)."""

    def __init__(self, clock: SimClock, offset_ns: int = 0, ppm: int = 0) -> None:
        if not -_MILLION // 2 <= ppm <= _MILLION:
            raise ValueError(f"ppm lies between -500,000 and 1,000,000, not {ppm}")
        if clock.start_ns + offset_ns < 0:
            raise ValueError(f"an offset of {offset_ns} ns puts the clock before 0")
        self.clock = clock
        self.offset_ns = offset_ns
        self.ppm = ppm

    def local(self, time_ns: int) -> int:
        """What this machine's clock shows at `time_ns` of the network's."""
        return time_ns + self.offset_ns + (time_ns - self.clock.start_ns) * self.ppm // _MILLION

    def world(self, local_ns: int) -> int:
        """The first instant of the network's time at which this machine's clock shows `local_ns` or more."""
        start = self.clock.start_ns
        elapsed = (local_ns - self.offset_ns - start) * _MILLION // (_MILLION + self.ppm)
        time_ns = start + elapsed
        while self.local(time_ns) >= local_ns:
            time_ns -= 1
        while self.local(time_ns) < local_ns:
            time_ns += 1
        return time_ns

    def time_ns(self) -> int:
        """What this machine's clock shows now."""
        return self.local(self.clock.now_ns)
