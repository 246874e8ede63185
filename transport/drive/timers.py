"""One timer for all drivers of a loop, finer and cheaper than the loop's own.

Loop timers are too coarse for a protocol (plain asyncio fires a 0.1 ms delay after more than 1 ms, uvloop turns delays
under 0.4 ms into a spin), and a non-empty timer heap in the loop costs every wake-up. On Linux one timerfd serves all
drivers of a loop; elsewhere, and on virtual time, the loop's timer does, rounded up so that it never fires early.

A deadline that moves later is left armed: the entry is asked again when it fires.
"""

from __future__ import annotations

import asyncio
import heapq
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol

_native: Any
try:
    from transport.net import _native
except ImportError:  # portable build
    _native = None

STALE_MAX = 64  # cancelled heap entries tolerated beyond the live ones before the heap is rebuilt


class TimerEntry(Protocol):
    """Something that waits for a time. `armed_at` belongs to `Timers` (0 means not armed)."""

    armed_at: int

    def timer_fired(self, now: int) -> None:
        """The armed time has come; arm again for the next deadline."""


def clock_of(loop: asyncio.AbstractEventLoop) -> Callable[[], int]:
    """The clock of a loop in nanoseconds: its own `time_ns` on virtual time, else the monotonic clock."""
    return getattr(loop, "time_ns", time.monotonic_ns)


class Timers:
    """The timers of one loop. `acquire` and `release` bracket its use; the descriptor lives only in between."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = clock_of(loop)
        self._heap: list[tuple[int, int, Any]] = []
        self._serial = 0
        self._live = 0
        self._users = 0
        self._set_for = 0  # what the kernel or the loop is set to; 0 for nothing
        self._fd = -1
        self._handle: asyncio.TimerHandle | None = None

    def acquire(self) -> None:
        """One more driver uses this timer."""
        self._users += 1
        if self._users == 1 and _native is not None and not hasattr(self._loop, "time_ns"):
            fd = _native.timerfd_create()
            try:
                self._loop.add_reader(fd, self._readable)
            except NotImplementedError:
                _native.close(fd)
            else:
                self._fd = fd

    def release(self) -> None:
        """A driver is done; the last one closes the descriptor."""
        self._users -= 1
        if self._users:
            return
        self._heap.clear()
        self._live = 0
        self._set_for = 0
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            if not self._loop.is_closed():
                self._loop.remove_reader(fd)
            _native.close(fd)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        _timers.pop(self._loop, None)  # it refers to its key: kept, it would keep the loop alive

    def arm(self, entry: TimerEntry, deadline: int) -> None:
        """Has `entry.timer_fired` called at `deadline` (ns) or soon after; an earlier armed time stays."""
        deadline = max(deadline, 1)  # 0 means not armed
        armed = entry.armed_at
        if armed:
            if armed <= deadline:
                return
        else:
            self._live += 1
        entry.armed_at = deadline
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, entry))
        if len(self._heap) > 2 * self._live + STALE_MAX:
            self._heap[:] = [item for item in self._heap if item[2].armed_at == item[0]]
            heapq.heapify(self._heap)
        if not self._set_for or deadline < self._set_for:
            self._set(deadline)

    def disarm(self, entry: TimerEntry) -> None:
        """Forgets `entry`."""
        if entry.armed_at:
            entry.armed_at = 0
            self._live -= 1

    def __len__(self) -> int:
        return self._live

    def _set(self, deadline: int) -> None:
        self._set_for = deadline
        if self._fd >= 0:
            _native.timerfd_settime(self._fd, max(deadline, 1))
            return
        if self._handle is not None:
            self._handle.cancel()
        delay = max(0, deadline - self.now())
        if not hasattr(self._loop, "time_ns"):
            delay = -(-delay // 1_000_000) * 1_000_000  # whole milliseconds up: uvloop fires shorter ones at once
        self._handle = self._loop.call_at(self._loop.time() + delay / 1e9, self._fire)

    def _readable(self) -> None:
        _native.timerfd_read(self._fd)
        self._fire()

    def _fire(self) -> None:
        self._handle = None
        self._set_for = 0
        now = self.now()
        due = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            when, _, entry = heapq.heappop(heap)
            if entry.armed_at == when:
                due.append(entry)
        for entry in due:  # collected first: an entry that arms itself for a past time waits for the next round
            if entry.armed_at == 0 or entry.armed_at > now:
                continue  # an earlier one disarmed or re-armed it
            entry.armed_at = 0
            self._live -= 1
            try:
                entry.timer_fired(now)
            except Exception as error:
                self._loop.call_exception_handler({"message": "timer of a driver failed", "exception": error})
        while heap and heap[0][2].armed_at != heap[0][0]:
            heapq.heappop(heap)
        if heap and (not self._set_for or heap[0][0] < self._set_for):
            self._set(heap[0][0])


_timers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Timers] = weakref.WeakKeyDictionary()


def timers_of(loop: asyncio.AbstractEventLoop) -> Timers:
    """The timers of `loop`, made at first use."""
    timers = _timers.get(loop)
    if timers is None:
        timers = _timers[loop] = Timers(loop)
    return timers
