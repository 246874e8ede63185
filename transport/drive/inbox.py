"""Where messages wait for a coroutine, and how that coroutine is woken.

A future costs a trip through the loop at every message (47 us against 36 us of round trip), so a waiting task is
stepped straight from the I/O callback where that is allowed. It must never step a task inside another, nor lose a
message to a cancelled wait: a message leaves an inbox only in the step of the task that takes it.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from transport import limits
from transport.session import Batch

COST = limits.MESSAGE_COST_BYTES

# A plain function of asyncio before 3.12, where looking into its table costs a tenth of calling it.
_TASKS: Any = getattr(asyncio.tasks, "_current_tasks", None) if sys.version_info < (3, 12) else None
_current_task = asyncio.current_task


def _task_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a task of `loop` is being stepped right now, so that no other may be."""
    if _TASKS is not None:
        return loop in _TASKS
    return _current_task(loop) is not None


class Waiter:
    """What a waiting task hangs on: the part of a future's interface that `asyncio.Task` uses.

    Bound to one wait. `wake` steps the task at once; `cancel` (by the task itself) goes through the loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asyncio_future_blocking = False
        self._callback: Callable[[Any], None] | None = None
        self._context: Context | None = None
        self._state = 0  # 0 waiting, 1 woken, 2 cancelled
        self._message: Any = None
        self.direct = False  # woken straight: the task has taken its step, and holds this no longer

    def __await__(self) -> Generator[Any, None, None]:
        return self  # type: ignore[return-value]  # it has a generator's methods that an await uses

    def __iter__(self) -> Waiter:
        return self

    def __next__(self) -> Any:
        if not self._state:
            self._asyncio_future_blocking = True
            return self
        raise StopIteration

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        """Part of an awaited object's interface: the wait ends by an exception, most often a cancellation."""
        self._state = 2
        error = value if value is not None else kind
        raise error() if isinstance(error, type) else error

    def close(self) -> None:
        """Part of an awaited object's interface: nobody waits any more."""
        self._state = 2

    def reset(self) -> None:
        """Ready for another wait."""
        self._state = 0
        self._callback = None
        self._context = None
        self.direct = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Asked by the task."""
        return self._loop

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._state != 0

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == 2

    def add_done_callback(self, callback: Callable[[Any], None], *, context: Context | None = None) -> None:
        """Called by the task with its own wake-up."""
        self._callback = callback
        self._context = context
        if self._state:
            self._loop.call_soon(callback, self, context=context)

    def remove_done_callback(self, callback: Callable[[Any], None]) -> int:
        """Part of the interface."""
        self._callback = None
        return 1

    def cancel(self, msg: Any = None) -> bool:
        """Called by the task when it is cancelled while it waits here."""
        if self._state:
            return False
        self._state = 2
        self._message = msg
        if self._callback is not None:
            self._loop.call_soon(self._callback, self, context=self._context)
        return True

    def result(self) -> None:
        """Called by the task's wake-up."""
        if self._state == 2:
            raise asyncio.CancelledError() if self._message is None else asyncio.CancelledError(self._message)

    def exception(self) -> None:
        """Part of the interface."""
        self.result()

    def wake(self) -> None:
        """Steps the task now, or through the loop while another task runs."""
        if self._state:
            return
        self._state = 1
        if self._callback is None:
            return
        if self._context is None or _task_running(self._loop):
            self._loop.call_soon(self._callback, self, context=self._context)
            return
        self.direct = True
        try:
            self._context.run(self._callback, self)
        except RuntimeError:  # this callback runs in the task's own context, which can't be entered twice
            self.direct = False
            self._loop.call_soon(self._callback, self, context=self._context)


class FutureWaiter:
    """The same by an ordinary future, for loops in debug mode and whoever distrusts the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._future = loop.create_future()

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._future

    def done(self) -> bool:
        """Whether the wait is over."""
        return self._future.done()

    def wake(self) -> None:
        """Has the task run in the loop's next round."""
        if not self._future.done():
            self._future.set_result(None)


def make_waiter(loop: asyncio.AbstractEventLoop) -> Waiter | FutureWaiter:
    """A waiter fit for `loop`."""
    return FutureWaiter(loop) if loop.get_debug() else Waiter(loop)


class Inbox:
    """Batches of one or more channels, taken a payload at a time. One reader waits at most.

    Attributes:
        size: payload bytes in it, and `MESSAGE_COST_BYTES` for each message.
        channel, delivery: of the payload that `pop` gave last.
        dropped: unreliable messages dropped for room.
    """

    def __init__(self, loose_max: int) -> None:
        self.size = 0
        self.channel = 0
        self.delivery = 0
        self.dropped = 0
        self.waiter: Any = None
        self._batches: deque[Batch] = deque()
        self._position = 0
        self._loose = 0
        self._loose_max = loose_max
        self._spare: Waiter | None = None

    def push(self, batch: Batch) -> None:
        """Takes a batch; above the bound of unreliable bytes the oldest unreliable batches go."""
        self._batches.append(batch)
        batch.size += COST * len(batch.payloads)
        self.size += batch.size
        if batch.delivery >= 2:
            self._loose += batch.size
            if self._loose > self._loose_max:
                self._drop()

    def _drop(self) -> None:
        """Drops an eighth more than it must, so that the walk through all is paid by many messages."""
        bound = self._loose_max - self._loose_max // 8
        kept: deque[Batch] = deque()
        for index, batch in enumerate(self._batches):
            last = index == len(self._batches) - 1
            if batch.delivery >= 2 and self._loose > bound and not last:
                taken = self._position if index == 0 else 0
                self._loose -= batch.size
                self.size -= batch.size
                self.dropped += len(batch.payloads) - taken
                if index == 0:
                    self._position = 0
            else:
                kept.append(batch)
        self._batches = kept

    def pop(self) -> bytes | None:
        """The next payload, or None."""
        if not self._batches:
            return None
        batch: Batch = self._batches[0]
        payloads = batch.payloads
        payload: bytes = payloads[self._position]
        self._position += 1
        self.channel = batch.channel
        self.delivery = batch.delivery
        size = len(payload) + COST
        self.size -= size
        batch.size -= size
        if batch.delivery >= 2:
            self._loose -= size
        if self._position >= len(payloads):
            self._batches.popleft()
            self._position = 0
        return payload

    def split(self, channel: int) -> list[Batch]:
        """Takes the batches of one channel out, in order (a channel object takes them over)."""
        taken: list[Batch] = []
        kept: deque[Batch] = deque()
        for index, batch in enumerate(self._batches):
            if index == 0 and self._position:
                batch = Batch(batch.channel, batch.delivery, batch.payloads[self._position :], batch.size)
                self._position = 0
            if batch.channel == channel:
                self.size -= batch.size
                if batch.delivery >= 2:
                    self._loose -= batch.size
                batch.size -= COST * len(batch.payloads)  # as it came: `push` adds the cost again
                taken.append(batch)
            else:
                kept.append(batch)
        self._batches = kept
        return taken

    def clear(self) -> None:
        """Drops everything."""
        self._batches.clear()
        self._position = 0
        self._loose = 0
        self.size = 0

    def __len__(self) -> int:
        return sum(len(batch.payloads) for batch in self._batches) - self._position

    def wake_if_ready(self) -> None:
        """Wakes the reader if there is something for it."""
        if self.waiter is not None and self._batches:
            self.wake()

    def wake(self) -> None:
        """Wakes the reader, if one waits."""
        waiter = self.waiter
        if waiter is not None:
            self.waiter = None
            waiter.wake()
            if isinstance(waiter, Waiter) and waiter.direct:
                self._spare = waiter

    def arm(self, loop: asyncio.AbstractEventLoop) -> Any:
        """A waiter for the next message: the last but one again if it was woken straight and nobody holds it."""
        waiter = self._spare
        if waiter is None:
            self.waiter = make_waiter(loop)
        else:
            self._spare = None
            waiter.reset()
            self.waiter = waiter
        return self.waiter
