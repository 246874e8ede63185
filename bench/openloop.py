"""The open loop: a sender that keeps to its plan whatever the peer does, and a receiver that dates what comes.

Latency counts from the planned time, so that a stall is charged to whoever stalled. A sleeping process wakes late, on a
virtual machine by most of a millisecond, so the sender is up before a message is due: first it only lets its peer work,
at the very end it spins. Recorded are how late each message was handed over, and how long the peer then kept the sender
busy with it. Both ends read the same clock. Neither must do in the measured stretch what can wait: messages are made
before it, percentiles after it.
"""

from __future__ import annotations

import ctypes
import os
import random
import struct
import sys
import time
import zlib
from array import array
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from bench.cases import HEADER_BYTES
from bench.message import HEADER
from bench.procstat import Window
from bench.schedule import Schedule

SPIN_NS = 50_000  # before a message is due nothing else is begun, not even a turn of the loop
AWAKE_NS = 200_000  # and nobody sleeps any more
AWAKE_ALONE_NS = 1_000_000  # the same where the sender has a core to itself
START_NS = 200_000_000  # between the last preparation and the first message
PREPARED_BYTES_MAX = 256 * 1024 * 1024  # of messages made before the start; with more they are made when due
POLL_S_MAX = 0.05
MAKING_NS_A_BYTE = 1  # what they take, with the pages that they need
FILLING_SPREAD = 251
UNDATED = -1  # in `late` and `busy`: not handed over
TIMER_ABSTIME = 1
CLOCK_MONOTONIC = 1
PR_SET_TIMERSLACK = 29

Send = Callable[[bytes], Any]


def sleep_exactly() -> None:
    """Asks Linux to wake this process when it said, not up to 50 us later."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_TIMERSLACK, 1)


class OpenLoop:
    """The sender's part: what is due when, and what was handed over how late.

    Attributes:
        late: for each message how much later than planned (ns) it was handed over, `UNDATED` if it was not.
        busy: for each how long (ns) the sender could not go on from there: the call that sends it, and the turn of the
            peer's loop behind that.
        start: of the plan, on `perf_counter_ns`'s clock.
        window: the measured stretch.
    """

    def __init__(self, schedule: Schedule, seed: int, window: Window, awake_ns: int = AWAKE_NS) -> None:
        self.schedule = schedule
        self.window = window
        self.late = array("q", [UNDATED]) * len(schedule)
        self.busy = array("q", [UNDATED]) * len(schedule)
        self.start = 0
        self.sends: list[Send] = []
        self._awake_ns = awake_ns
        self._handed = 0  # when the last message was handed over, until the peer is done with it
        self._next = 0
        self._final = -1 if schedule.last < len(schedule) else len(schedule) - 1  # with no tail behind what counts
        self._filling = random.Random(seed).randbytes(FILLING_SPREAD + max(schedule.size, default=HEADER_BYTES))
        self._messages: list[bytes] | None = [] if sum(schedule.size) <= PREPARED_BYTES_MAX else None
        self._ready: bytes | None = None  # the next one, where they are made when due
        self._due: array[int] = array("q")

    @property
    def is_done(self) -> bool:
        """Everything has been handed over."""
        return self._next >= len(self.schedule)

    def begin(self, sends: list[Send]) -> None:
        """Fixes the start, makes the messages. `sends` are the connections' functions, none of which may block."""
        self.sends = sends
        self.start = perf_counter_ns() + START_NS + 3_000 * len(self.schedule) * (self._messages is not None)
        self._due = array("q", (self.start + due for due in self.schedule.due))
        if self._messages is not None:
            self._messages = [self.message(number) for number in range(len(self.schedule))]

    def message(self, number: int) -> bytes:
        """Header and filling of one message."""
        at = number % FILLING_SPREAD  # so that no two messages in a row are alike
        filling = memoryview(self._filling)[at : at + self.schedule.size[number] - HEADER_BYTES]
        head = struct.pack("<IQ", number, self._due[number])
        return b"".join((struct.pack("<I", zlib.crc32(filling, zlib.crc32(head))), head, filling))

    def awake_at(self) -> int:
        """When whoever sleeps has to be awake for the next message (ns), and to make it if it is not made."""
        making = 0 if self._is_made else MAKING_NS_A_BYTE * self.schedule.size[self._next]
        return self._due[self._next] - self._awake_ns - making

    def is_near(self) -> bool:
        """Whether the next message is due so soon that the peer must not be let work before it."""
        return perf_counter_ns() >= self._due[self._next] - SPIN_NS

    def make_next(self) -> bool:
        """Makes the next message and gives True, if there is none yet. There may be time to sleep again afterwards."""
        if self._is_made:
            return False
        self._ready = self.message(self._next)
        return True

    @property
    def _is_made(self) -> bool:
        return self._messages is not None or self._ready is not None

    def send_next(self) -> None:
        """Spins until the next message is due, hands it over."""
        number = self._next
        if number == max(0, self.schedule.first - 1):
            self.window.begin()  # it takes a third of a millisecond, at the expense of a message that does not count
        elif number == self.schedule.last:
            self.window.end()
        made = self._messages
        if made is not None:
            message = made[number]
        else:
            message, self._ready = self._ready or self.message(number), None
        send = self.sends[self.schedule.connection[number]]
        due = self._due[number]
        now = perf_counter_ns()
        while now < due:
            now = perf_counter_ns()
        self._next = number + 1
        self._handed = now
        self.late[number] = now - due
        send(message)
        if number == self._final:
            self.window.end()

    def freed(self) -> None:
        """The peer has had its turn with the message handed over last; to be called before anything else is done."""
        if self._handed:
            self.busy[self._next - 1] = perf_counter_ns() - self._handed
            self._handed = 0

    def save(self, path: Path) -> None:
        """Writes `late` and `busy` for the parent, which makes figures of them."""
        with path.open("wb") as file:
            self.late.tofile(file)
            self.busy.tofile(file)


class Arrivals:
    """The receiver's part: number and latency of every message, in the order in which they came.

    Attributes:
        take: called with every message.
        count: how many came.
    """

    def __init__(self, fail: Callable[[str], None]) -> None:
        self.numbers = array("I")
        self.latencies = array("q")
        self._fail = fail
        self.bytes = 0  # of all messages
        self.checked = 0
        self.marks: list[tuple[int, int, int]] = []

    @property
    def count(self) -> int:
        """Messages so far."""
        return len(self.latencies)

    def take(self, message: Any, channel: int = 0) -> None:
        """Dates a message and checks it whole."""
        now = perf_counter_ns()
        if len(message) < HEADER_BYTES or zlib.crc32(memoryview(message)[4:]) != HEADER.unpack_from(message)[0]:
            self._fail(f"message {self.count} of {len(message)} bytes is damaged")
        _, number, due = HEADER.unpack_from(message)
        self.bytes += len(message)
        self.numbers.append(number)
        self.latencies.append(now - due)

    def save(self, path: Path) -> None:
        """Writes both columns for the parent: what has come by now, for `take` may go on in its own thread."""
        count = len(self.latencies)
        numbers, latencies = self.numbers[:count], self.latencies[:count]
        with path.open("wb") as file:
            array("q", [count]).tofile(file)
            numbers.tofile(file)
            latencies.tofile(file)


def load_arrivals(path: Path) -> tuple[array[int], array[int]]:
    """Numbers and latencies (ns), in the order in which messages came."""
    with path.open("rb") as file:
        head = array("q")
        head.fromfile(file, 1)
        numbers, latencies = array("I"), array("q")
        numbers.fromfile(file, head[0])
        latencies.fromfile(file, head[0])
    return numbers, latencies


def load_late(path: Path) -> tuple[array[int], array[int]]:
    """The sender's columns: `late` and `busy`."""
    both = array("q")
    both.frombytes(path.read_bytes())
    half = len(both) // 2
    return both[:half], both[half:]


def own_lateness(due: array[int], late: array[int], busy: array[int]) -> array[int]:
    """How much later (ns) each message was handed over than a sender without fault could have done it.

    Such a one hands it over when it is due, or else as soon as the peer is done with the one before, for which the peer
    needs as long as it did. So what a slow peer does to its own messages is not in it; what a late sender does is, for
    every message that it delays.

    Args:
        due: by the plan, ns.
        late, busy: as of `OpenLoop`.
    """
    own = array("q")
    free = due[0] if due else 0
    for at, behind, work in zip(due, late, busy, strict=True):
        if behind == UNDATED:
            own.append(UNDATED)
            continue
        ideal = max(at, free)
        own.append(at + behind - ideal)
        free = ideal + max(0, work)
    return own


class Alarm:
    """A timer descriptor: it wakes an event loop within some 50 us, where uvloop's timers have milliseconds.

    Raises:
        OSError: this system has none; it needs Linux.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.timerfd_create(CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")

    def set(self, at_ns: int) -> None:
        """Goes off at `at_ns` of `perf_counter_ns`, once."""
        spec = struct.pack("qqqq", 0, 0, at_ns // 1_000_000_000, at_ns % 1_000_000_000)
        if self._libc.timerfd_settime(self.fd, TIMER_ABSTIME, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def clear(self) -> None:
        """Takes note that it went off."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Gives the descriptor back."""
        os.close(self.fd)


class LoopPacer:
    """Drives an `OpenLoop` on an event loop, which turns at least once between any two messages and never sleeps when
    one is due soon.

    Args:
        loop: asyncio's or uvloop's.
        load: with its sends.
        finished: called once everything has been handed over.
    """

    def __init__(self, loop: Any, load: OpenLoop, finished: Callable[[], None]) -> None:
        self._loop = loop
        self._load = load
        self._finished = finished
        self._alarm = Alarm()

    def start(self) -> None:
        """From here on messages leave as planned."""
        self._loop.add_reader(self._alarm.fd, self._rung)
        self._step()

    def _rung(self) -> None:
        self._alarm.clear()
        self._step()

    def _step(self) -> None:
        load = self._load
        load.freed()
        if load.is_done:
            self._loop.remove_reader(self._alarm.fd)
            self._alarm.close()
            self._finished()
            return
        at = load.awake_at()
        if at <= perf_counter_ns() and load.make_next():
            at = load.awake_at()
        if at > perf_counter_ns():
            self._alarm.set(at)
            return
        if load.is_near():
            load.send_next()
        self._loop.call_soon(self._step)


def pace_blocking(load: OpenLoop, poll: Callable[[float], None]) -> None:
    """Drives an `OpenLoop` where nothing else runs.

    Args:
        load: with its sends.
        poll: lets the peer work for at most so many seconds, 0 for what is there; it may return sooner.
    """
    while not load.is_done:
        left = load.awake_at() - perf_counter_ns()
        if left > 0:
            poll(min(left / 1e9, POLL_S_MAX))
            continue
        if load.make_next():
            continue
        if load.is_near():
            load.send_next()
        poll(0.0)
        load.freed()


class Mailbox:
    """Messages on their way to a coroutine that sends them, for peers whose `send` has to be awaited.

    A task of its own for each connection, as such programs are written; the hand-over costs one turn of the loop.
    """

    def __init__(self, loop: Any, send_many: Callable[[list[bytes]], Any], failed: Callable[[str], Any]) -> None:
        self._waiting: deque[bytes] = deque()
        self._loop = loop
        self._wake: Any = None
        self._send_many = send_many
        self._failed = failed
        self.task = loop.create_task(self._run())

    def put(self, message: bytes) -> None:
        """Never blocks: what the peer does not take waits here, and its latency counts."""
        self._waiting.append(message)
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _run(self) -> None:
        try:
            while True:
                if not self._waiting:
                    self._wake = self._loop.create_future()
                    await self._wake
                    self._wake = None
                while self._waiting:
                    await self._send_many([self._waiting.popleft()])
        except Exception as error:
            self._failed(f"sending failed: {type(error).__name__}: {error}")


class Backlog:
    """What a full buffer did not take, kept until there is room again; latency goes on counting.

    Args:
        full: what `send` raises when the buffer is full.

    Attributes:
        send: sends one message at once; set before the first `put`.
    """

    def __init__(self, full: type[Exception]) -> None:
        self.send: Send
        self._full = full
        self._waiting: deque[bytes] = deque()

    def put(self, message: bytes) -> None:
        """Sends, or keeps."""
        if not self._waiting:
            try:
                self.send(message)
                return
            except self._full:
                pass
        self._waiting.append(message)

    def resume(self) -> None:
        """There is room again."""
        while self._waiting:
            try:
                self.send(self._waiting[0])
            except self._full:
                return
            self._waiting.popleft()


def nap(seconds: float) -> None:
    """`poll` of a peer that has nothing to do between two messages."""
    if seconds > 0:
        time.sleep(seconds)
