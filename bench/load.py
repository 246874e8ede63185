"""The three loads that every peer is put under: a closed loop, a sender, a receiver that counts.

A peer calls them from its own loop or callbacks, so the peer keeps its natural style and the clock is read at the same
two places for all: right before a message is handed over, and right after its answer is in the program's hands. What
the load does itself (checking, choosing the next message) lies outside the timed stretch. It must never add a task
switch, a timer or a future of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

from bench.cases import BURST_BYTES
from bench.message import Pool
from bench.procstat import Window

Fail = Callable[[str], None]
WARMUP_MESSAGES = 100
MARK_NS = 1_000_000


class ClosedLoop:
    """One message in flight; each answer must equal what was sent, byte by byte.

    Use: `message = load.first()`, then for every answer `message = load.reply(answer)` until it is None.

    Attributes:
        samples: round-trip times of the measured stretch, in nanoseconds.
    """

    def __init__(self, pool: Pool, seconds: float, warmup: float, window: Window, fail: Fail) -> None:
        self.samples = array("q")
        self._messages = pool.messages
        self._count = len(pool.messages)
        self.window = window
        self._fail = fail
        self._measured_ns = int(seconds * 1e9)
        self._until = perf_counter_ns() + int(warmup * 1e9)
        self._warming = True
        self._number = 0
        self._message: Any = None
        self._sent = 0

    def first(self) -> Any:
        """The first message, to be sent at once."""
        self._message = self._messages[0]
        self._sent = perf_counter_ns()
        return self._message

    def reply(self, answer: Any) -> Any:
        """Takes the answer to the last message, returns the next one, or None when the time is up."""
        now = perf_counter_ns()
        if answer != self._message:
            self._fail(f"the answer to message {self._number} differs from what was sent")
        self.samples.append(now - self._sent)
        self._number += 1
        if now >= self._until and self._next_phase():
            return None
        message = self._message = self._messages[self._number % self._count]
        self._sent = perf_counter_ns()
        return message

    def _next_phase(self) -> bool:
        if not self._warming:
            self.window.end()
            return True
        if self._number >= WARMUP_MESSAGES:
            self._warming = False
            self.samples = array("q")
            self.window.begin()
            self._until = perf_counter_ns() + self._measured_ns
        return False


class Sender:
    """Hands out runs of messages until the time is up. The peer sends each message of a run by itself, in order.

    Attributes:
        sent: messages handed out so far; `bytes_sent` sums `len()` of them.
        window_messages: how many of them in the measured stretch.
    """

    def __init__(self, pool: Pool, seconds: float, warmup: float, window: Window) -> None:
        self.sent = 0
        self.bytes_sent = 0
        self.window_messages = 0
        self._batches = pool.batches
        self._sizes = [sum(map(len, batch)) for batch in pool.batches]
        self._index = 0
        self.window = window
        self._measured_ns = int(seconds * 1e9)
        self._warmup_ns = int(warmup * 1e9)
        self._until = 0
        self._warming = True

    def next(self) -> list[Any] | None:
        """The next run, or None when the time is up."""
        if perf_counter_ns() >= self._until and self._next_phase():
            return None
        index = self._index
        batch = self._batches[index]
        self._index = index + 1 if index + 1 < len(self._batches) else 0
        self.sent += len(batch)
        self.bytes_sent += self._sizes[index]
        return batch

    def _next_phase(self) -> bool:
        if not self._until:
            self._until = perf_counter_ns() + self._warmup_ns
        elif self._warming:
            self._warming = False
            self.window.begin()
            self.window_messages = -self.sent
            self._until = perf_counter_ns() + self._measured_ns
        else:
            self.window.end()
            self.window_messages += self.sent
            return True
        return False


class Counter:
    """A receiver. Every message is counted and its length added; every 61st (7th when large) is compared whole.

    On a reliable, ordered peer the compared message must be exactly the one due at that place, so a lost or
    doubled message anywhere before shows up there or in the final count. On datagrams, where any may be missing, it
    must carry a right checksum and equal the message of its own number.

    Attributes:
        count, bytes: so far. checked: how many were compared whole.
        marks: (time in ns, count, bytes) of the first message and about every ms; the rate is read from them.
    """

    def __init__(self, pool: Pool, reliable: bool, fail: Fail) -> None:
        self.take, self._unread = self._taker()
        self._count = 0
        self._bytes = 0
        self.checked = 0
        self.marks: list[tuple[int, int, int]] = []
        self._pool = pool
        self._reliable = reliable
        self._fail = fail
        self._stride = pool.stride
        self._mark_at = 0

    def _taker(self) -> tuple[Callable[..., None], Callable[[], tuple[int, int]]]:
        """`take`, called with every message, and what tells how many it took since it last looked at one.

        Local variables count down between two looks: the counting must cost little beside what is measured.
        """
        due = left = 1
        size = 0

        def take(message: Any, channel: int = 0) -> None:
            nonlocal due, left, size
            left -= 1
            size += len(message)
            if not left:
                due, left, size = self._look(message, due, size)

        def unread() -> tuple[int, int]:
            return due - left, size

        return take, unread

    @property
    def count(self) -> int:
        """Messages so far."""
        return self._count + self._unread()[0]

    @count.setter
    def count(self, number: int) -> None:
        self._count = number

    @property
    def bytes(self) -> int:
        """The sum of their lengths."""
        return self._bytes + self._unread()[1]

    def take_bytes(self, size: int) -> None:
        """`size` bytes have arrived on a floor that knows no messages; `count` is set by the caller's arithmetic."""
        self._bytes += size
        now = perf_counter_ns()
        if now >= self._mark_at:
            self._mark_at = now + MARK_NS
            self.marks.append((now, self.count, self._bytes))

    def _look(self, message: Any, taken: int, size: int) -> tuple[int, int, int]:
        """Books what was taken and compares the last of it; returns when to look again and how `take` begins anew."""
        self._count += taken
        self._bytes += size
        self.checked += 1
        number = self._count - 1
        if self._reliable:
            if message != self._pool.at(number):
                self._fail(f"message {number} is not the one that was due: lost, doubled, swapped or damaged")
        elif not self._pool.knows(message):
            self._fail(f"datagram {number} is damaged")
        now = perf_counter_ns()
        if now >= self._mark_at:
            self._mark_at = now + MARK_NS
            self.marks.append((now, self._count, self._bytes))
        return self._stride, self._stride, 0


class Pump:
    """Drives a `Sender` from callbacks: runs until told to pause, goes on when told to resume.

    Args:
        sender: the load.
        send_many: sends every message of a run; returns how many were taken (fewer when the buffer is full).
        finished: called once when the time is up.
        later: schedules a call in the loop's next turn; given for datagrams, where nothing else would ever let the
            loop flush, None for streams.
        chunk: bytes after which a datagram pump lets the loop turn.
    """

    def __init__(
        self,
        sender: Sender,
        send_many: Callable[[list[Any]], int | None],
        finished: Callable[[], None],
        later: Callable[[Callable[[], None]], Any] | None = None,
        chunk: int = BURST_BYTES,
    ) -> None:
        self.paused = False
        self._sender = sender
        self._send_many = send_many
        self._finished = finished
        self._later = later
        self._chunk = chunk
        self._rest: list[Any] = []
        self._running = False
        self._scheduled = False
        self._done = False

    def pause(self) -> None:
        """The outbound buffer is full."""
        self.paused = True

    def resume(self) -> None:
        """The outbound buffer has room."""
        self.paused = False
        self.run()

    def run(self) -> None:
        """Sends until paused, finished, or (datagrams) until a chunk is out."""
        if self._running or self._done:
            return
        self._running = True
        try:
            stop_at = self._sender.bytes_sent + self._chunk if self._later else 1 << 62
            while not self.paused and self._sender.bytes_sent < stop_at:
                batch = self._rest or self._sender.next()
                if batch is None:
                    self._done = True
                    self._finished()
                    return
                self._rest = []
                taken = self._send_many(batch)
                if taken is not None and taken < len(batch):
                    self._rest = batch[taken:]
                    self.paused = True
        finally:
            self._running = False
        if self._later is not None and not self.paused and not self._scheduled:
            self._scheduled = True
            self._later(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self.run()
