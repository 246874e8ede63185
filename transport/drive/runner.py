"""Runs a user's own machine: the five verbs on a ready driver, its events handed back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from transport import limits
from transport.drive.base import Driver, Owner
from transport.drive.inbox import make_waiter
from transport.errors import CloseCode, ConnectionLost, LocalProtocolError


class MachineConnection(Owner):
    """One machine on one pipe. Give the machine commands by its own methods, then call `wake`.

    Attributes:
        machine: the user's object.
        url, local_address, remote_address, traits: of the pipe.
    """

    def __init__(self, machine: Any, driver: Driver, info: Any) -> None:
        self.machine = machine
        self.url = info.url
        self.traits = info.traits
        self.local_address = info.local
        self.remote_address = info.remote
        self.on_lost: Any = None
        self._driver = driver
        self._loop = driver.loop
        self._events: deque[Any] = deque()
        self._waiter: Any = None
        self._gone: asyncio.Future[None] = driver.loop.create_future()
        self._error: BaseException | None = None
        self._paused = False
        self._finishing = False

    def wake(self) -> None:
        """Has the machine's output sent by the end of this tick, after a command was given to it."""
        self._driver.wake()

    def now(self) -> int:
        """The clock the machine is run by, in nanoseconds."""
        return self._driver.now()

    def deliver(self) -> None:
        """From the driver."""
        self._events.extend(self.machine.events())
        if len(self._events) > limits.EVENTS_HIGH and not self._paused:
            self._paused = True
            self._driver.pause_reading(self)
        if self._events and self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.wake()

    def flushed(self) -> None:
        """From the driver: `transmit` may have made events too."""
        self.deliver()

    def lost(self, error: BaseException | None) -> None:
        """From the driver: the pipe is gone."""
        self._error = error
        if not self._gone.done():
            self._gone.set_result(None)
        if self._waiter is not None:
            waiter, self._waiter = self._waiter, None
            waiter.wake()
        if self.on_lost is not None:
            self.on_lost(self)
            self.on_lost = None

    async def next_event(self) -> Any:
        """The machine's next event.

        Raises:
            EOFError: the pipe ended in order and no event is left. ConnectionLost: it broke.
            LocalProtocolError: another task is waiting already.
        """
        while not self._events:
            if self._gone.done():
                if self._error is not None:
                    raise ConnectionLost(CloseCode.LOST, str(self._error), True) from self._error
                raise EOFError("the pipe has ended")
            if self._waiter is not None:
                raise LocalProtocolError("another task is waiting for an event here already")
            waiter = self._waiter = make_waiter(self._loop)
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None
        event = self._events.popleft()
        if self._paused and len(self._events) <= limits.EVENTS_LOW:
            self._paused = False
            self._driver.resume_reading(self)
        return event

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.next_event()
        except EOFError:
            raise StopAsyncIteration from None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As asyncio's transports have it."""
        value = self._driver.info(self, name)
        return default if value is None else value

    @property
    def is_closed(self) -> bool:
        """Whether the pipe is gone."""
        return self._gone.done()

    async def close(self, grace: float = limits.CLOSE_GRACE_S) -> None:
        """Writes what the machine still has, then closes the pipe; cuts it after `grace` seconds."""
        self.close_soon()
        try:
            async with asyncio.timeout(grace):
                await self.wait_closed()
        except TimeoutError:
            self.abort()
            await self.wait_closed()
        except asyncio.CancelledError:  # nobody would see to it any more
            self.abort()
            raise

    def close_soon(self, code: int = 0, reason: str = "") -> None:
        """The first half of `close`. A machine has no code or reason; they are accepted and ignored."""
        if not self._gone.done() and not self._finishing:
            self._finishing = True
            self._driver.finish(self)

    def abort(self) -> None:
        """Closes the pipe at once."""
        if not self._gone.done():
            self._driver.cut(self, None)

    async def wait_closed(self) -> None:
        """Returns when the pipe is gone."""
        await asyncio.shield(self._gone)

    async def __aenter__(self) -> MachineConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
