"""What `send()` returns: a coroutine in all but name, without a frame of its own.

Nearly every `send` ends without a wait, and a coroutine frame would then cost more than the rest of it. It has a
coroutine's methods, so that it can be awaited, wrapped in a task and cancelled like one; nothing happens before the
first step. It must never queue its message in a step that ends in a wait.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from transport.drive.base import Owner
from transport.drive.inbox import Waiter


class Source(Owner):
    """What `Send` asks of the connection it belongs to."""

    def must_wait(self, channel: int) -> bool:
        """Whether a message on `channel` has to wait for room."""
        raise NotImplementedError

    def add_writer(self, waiter: Any, channel: int) -> None:
        """Has `waiter` woken when there is room on `channel`."""
        raise NotImplementedError

    def drop_writer(self, waiter: Any) -> None:
        """Forgets `waiter`."""
        raise NotImplementedError

    def queue(self, message: Any, delivery: Any, channel: Any, expires: Any, priority: Any, redundancy: Any) -> None:
        """Queues one message or raises."""
        raise NotImplementedError


class Send:
    """One `send()`. Made by `__new__` and `fill`, because calling the class would cost more than the rest.

    It must not look like a future: `asyncio.gather` and others wrap coroutines in tasks and only wait for futures.
    """

    def fill(
        self,
        source: Source,
        loop: asyncio.AbstractEventLoop,
        message: Any,
        delivery: Any,
        channel: int,
        expires: Any,
        priority: Any,
        redundancy: Any,
    ) -> None:
        self._is_fresh = True
        self._is_done = False
        self._loop = loop
        self._source = source
        self._waiter: Waiter | None = None
        self._body = message
        self._delivery = delivery
        self._channel = channel
        self._expires = expires
        self._priority = priority
        self._redundancy = redundancy

    def __await__(self) -> Send:
        return self

    def __iter__(self) -> Send:
        return self

    def __next__(self) -> Any:
        """Queues the message, or waits for room."""
        if self._is_done:
            raise RuntimeError("cannot reuse already awaited send()")
        self._is_fresh = False
        source = self._source
        if source.must_wait(self._channel):
            waiter = self._waiter = Waiter(self._loop)
            waiter._asyncio_future_blocking = True
            source.add_writer(waiter, self._channel)
            return waiter
        self._is_done = True
        source.queue(self._body, self._delivery, self._channel, self._expires, self._priority, self._redundancy)
        raise StopIteration

    def send(self, value: Any) -> Any:
        """Part of the coroutine interface."""
        return self.__next__()

    def throw(self, kind: Any, value: Any = None, trace: Any = None) -> Any:
        """Part of the coroutine interface: given up, most often by a cancellation."""
        self.close()
        error = value if value is not None else kind
        raise error() if isinstance(error, type) else error

    def close(self) -> None:
        """Part of the coroutine interface: nobody waits any more."""
        self._is_fresh = False
        self._is_done = True
        if self._waiter is not None:
            self._waiter.close()
            self._source.drop_writer(self._waiter)
            self._waiter = None

    def __del__(self) -> None:
        """Warns as a coroutine does: nothing was sent."""
        if self._is_fresh:
            warnings.warn("send() was never awaited, its message was not sent", RuntimeWarning, stacklevel=2)
