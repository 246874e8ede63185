"""What the kernel says about a stretch of time: steal, CPU time, context switches, memory.

Read from /proc, so the same for every peer whatever it is written in. It must never be called inside a timed round
trip: one look costs about a third of a millisecond.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class ProcessUse:
    """One process so far: CPU time of all its threads, how long they were ready and had no core, how often switched."""

    cpu_ns: int = 0
    waited_ns: int = 0
    voluntary: int = 0
    involuntary: int = 0


@dataclass(slots=True)
class Snapshot:
    """The counters at one moment."""

    at_ns: int
    steal_ticks: int = 0
    total_ticks: int = 0
    pressure_us: int = 0
    processes: dict[str, ProcessUse] = field(default_factory=dict)


def cpu_ticks(cores: set[int]) -> tuple[int, int]:
    """(steal, total) ticks of `cores` since boot."""
    steal = total = 0
    with open("/proc/stat", encoding="ascii") as lines:
        for line in lines:
            if not line.startswith("cpu"):
                break
            name, *values = line.split()
            if name != "cpu" and int(name[3:]) in cores:
                ticks = [int(value) for value in values[:8]]  # guest time is already inside user
                steal += ticks[7] if len(ticks) > 7 else 0
                total += sum(ticks)
    return steal, total


def pressure_us() -> int:
    """Microseconds in which somebody waited for a CPU (/proc/pressure/cpu), 0 where the kernel does not say."""
    try:
        first = Path("/proc/pressure/cpu").read_text(encoding="ascii").split("\n", 1)[0]
        return int(first.rsplit("total=", 1)[1])
    except (OSError, IndexError, ValueError):
        return 0


def process_use(pid: int) -> ProcessUse:
    """Sums over the threads of `pid`; zeros when it is gone."""
    use = ProcessUse()
    try:
        for task in os.scandir(f"/proc/{pid}/task"):
            with open(f"{task.path}/schedstat", encoding="ascii") as text:
                ran, waited = text.read().split()[:2]
                use.cpu_ns += int(ran)
                use.waited_ns += int(waited)
            with open(f"{task.path}/status", encoding="ascii") as lines:
                for line in lines:
                    if line.startswith("voluntary_ctxt"):
                        use.voluntary += int(line.split()[1])
                    elif line.startswith("nonvoluntary_ctxt"):
                        use.involuntary += int(line.split()[1])
    except (OSError, IndexError, ValueError):
        pass
    return use


def memory_bytes(pid: int | str = "self") -> dict[str, int]:
    """Resident (`rss`), peak (`peak`) and private (`private`) bytes of a process."""
    wanted = {"VmRSS": "rss", "VmHWM": "peak"}
    found = {"rss": 0, "peak": 0, "private": 0}
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as lines:
        for line in lines:
            name, _, rest = line.partition(":")
            if name in wanted:
                found[wanted[name]] = int(rest.split()[0]) * 1024
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
            for line in lines:
                if line.startswith(("Private_Clean:", "Private_Dirty:")):
                    found["private"] += int(line.split()[1]) * 1024
    except OSError:
        found["private"] = found["rss"]
    return found


class Window:
    """The measured stretch of a round, as seen by one process that watches itself and its counterpart.

    Args:
        pids: name -> process id ("client", "server").
        cores: the cores both run on, for the steal figure.
    """

    def __init__(self, pids: dict[str, int], cores: set[int]) -> None:
        self.pids = pids
        self.cores = cores
        self.before: Snapshot | None = None
        self.after: Snapshot | None = None

    def look(self) -> Snapshot:
        """All counters now; `at_ns` is when the looking started."""
        now = perf_counter_ns()
        steal, total = cpu_ticks(self.cores)
        uses = {name: process_use(pid) for name, pid in self.pids.items()}
        return Snapshot(now, steal, total, pressure_us(), uses)

    def begin(self) -> None:
        """The warm-up is over; the stretch starts when the looking is done."""
        self.before = self.look()
        self.before.at_ns = perf_counter_ns()

    def end(self) -> None:
        """The measured stretch is over; it ended before the looking."""
        self.after = self.look()

    def result(self) -> dict[str, Any]:
        """What changed between `begin` and `end`, as in the result file."""
        before, after = self.before, self.after
        assert before is not None and after is not None, "the window was never closed"
        ticks = after.total_ticks - before.total_ticks
        steal = after.steal_ticks - before.steal_ticks
        uses: dict[str, dict[str, int]] = {}
        for name, now in after.processes.items():
            then = before.processes.get(name, ProcessUse())
            uses[name] = {  # a thread that ended takes its counters along
                "cpu_ns": max(0, now.cpu_ns - then.cpu_ns),
                "waited_ns": max(0, now.waited_ns - then.waited_ns),
                "voluntary_switches": max(0, now.voluntary - then.voluntary),
                "involuntary_switches": max(0, now.involuntary - then.involuntary),
            }
        return {
            "begin_ns": before.at_ns,
            "end_ns": after.at_ns,
            "steal_ms": steal * 1000 / TICKS_A_SECOND,
            "steal_percent": round(100 * steal / ticks, 3) if ticks else 0.0,
            "pressure_us": after.pressure_us - before.pressure_us,
            "processes": uses,
        }
