"""The loads of a comparison: like those of `bench.load`, but they stop after every short turn until told to go on.

So processes of several trees can be alive side by side and take turns of some hundredths of a second: what the machine
does to one turn, it does to the next one too. A load waits by blocking its process's only loop; nothing is in flight in
a closed loop meanwhile. The first part of a turn (the ramp) is not measured: caches are cold, and whatever timers came
due during the wait run then. It must never change what a peer does during a turn.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from time import clock_gettime_ns, perf_counter_ns
from typing import Any

from bench.load import WARMUP_MESSAGES, ClosedLoop, Fail, Sender
from bench.message import Pool
from bench.procstat import Window
from bench.statistics import summarize_samples

PROCESS_CLOCK = 2  # CPUCLOCK_SCHED; the clock of another process has its number in the upper bits (clock_getcpuclockid)
Wait = Callable[[dict[str, Any]], bool]


@dataclass(frozen=True, slots=True)
class Turns:
    """How long the parts of a turn are, in seconds.

    Args:
        warmup: once, before the first turn.
        ramp: of every turn, before what is measured.
        seconds: what is measured.
        tail: one-way loads go on so long after it, so that the receiver's next mark lies close behind the end.
    """

    warmup: float = 0.08
    ramp: float = 0.01
    seconds: float = 0.05
    tail: float = 0.003


def cpu_ns(pids: dict[str, int]) -> int:
    """CPU time of these processes so far, to the nanosecond (/proc only knows it to the tick of the clock)."""
    return sum(clock_gettime_ns(~pid << 3 | PROCESS_CLOCK) for pid in set(pids.values()))


class TurnLoop(ClosedLoop):
    """A closed loop in turns; `wait` says how a turn went and blocks until the next one is due (False: no more)."""

    def __init__(self, pool: Pool, turns: Turns, window: Window, fail: Fail, wait: Wait) -> None:
        super().__init__(pool, turns.seconds, turns.warmup, window, fail)
        self.all_samples = array("q")
        self._ramp_ns = int(turns.ramp * 1e9)
        self._measuring = False
        self._wait = wait

    def _next_phase(self) -> bool:
        if self._warming and self._number < WARMUP_MESSAGES:
            return False
        if self._warming or self._measuring:
            if not self._pause():
                self.window.end()
                self.samples = self.all_samples
                return True
            self._until = perf_counter_ns() + self._ramp_ns
        else:
            self._measuring = True
            self.samples = array("q")
            self._until = perf_counter_ns() + self._measured_ns
        return False

    def _pause(self) -> bool:
        """Hands over a turn's figure and waits. The window opens when the first wait is over."""
        said: dict[str, Any] = {}
        if self._measuring:
            figures = summarize_samples(self.samples)
            said = {"n": figures["n"], "value": figures.get("p50_ns") or figures.get("mean_ns")}
            self.all_samples.extend(self.samples)
        first, self._warming, self._measuring = self._warming, False, False
        more = self._wait(said)
        if first:
            self.window.begin()
        return more


class TurnSender(Sender):
    """A sender in turns; what it says of a turn is when the measured part began and ended, and the CPU time of both."""

    def __init__(self, pool: Pool, turns: Turns, window: Window, wait: Wait) -> None:
        super().__init__(pool, turns.seconds, turns.warmup, window)
        self._ramp_ns = int(turns.ramp * 1e9)
        self._tail_ns = int(turns.tail * 1e9)
        self._begin = self._end = self._cpu = 0
        self._wait = wait

    def _next_phase(self) -> bool:
        now = perf_counter_ns()
        if not self._until:
            self._until = now + self._warmup_ns
        elif self._warming or self._end:
            first, said = self._warming, {"begin_ns": self._begin, "end_ns": self._end, "cpu_ns": self._cpu}
            self._warming, self._begin, self._end = False, 0, 0
            more = self._wait({} if first else said)
            if first:
                self.window.begin()
                self.window_messages = -self.sent
            if not more:
                self.window.end()
                self.window_messages += self.sent
                return True
            self._until = perf_counter_ns() + self._ramp_ns
        elif not self._begin:
            self._cpu = -cpu_ns(self.window.pids)
            self._begin = now
            self._until = now + self._measured_ns
        else:
            self._cpu += cpu_ns(self.window.pids)
            self._end = now
            self._until = now + self._tail_ns
        return False
