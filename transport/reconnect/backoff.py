"""How a connection comes back, and how it says so.

It must never wait or draw a number but by what a test can put in its place.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from transport import limits
from transport.drive.connection import Connection
from transport.errors import CloseCode, LocalProtocolError

COMES_BACK = frozenset({
    CloseCode.GOING_AWAY, CloseCode.LOST, CloseCode.INTERNAL_ERROR, CloseCode.OVERLOADED, CloseCode.HANDSHAKE_TIMEOUT,
    CloseCode.IDLE_TIMEOUT,
})  # fmt: skip
"""Ends that another try may mend. A clean close, a code of the application or a broken rule would only come again."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How a connection comes back. Seconds.

    The delay before the n-th try in a row is `initial * factor ** (n - 1)`, at most `maximum`, less a random share of
    up to `jitter` of it, so that the clients of a server that restarts do not all return in one instant. A connection
    that lasted five seconds starts the count afresh.

    Args:
        initial: delay before the first try.
        maximum: the longest delay.
        factor: by which the delay grows.
        jitter: 0 for none, 1 for anything between nothing and the whole delay.
        attempts: tries in a row that may fail before it gives up (a connection that did not last five seconds was one);
            None for no end.
        wait: how long `send` and whatever else needs the peer wait for it to come back; 0 raises at once, None waits.
        retry_first: whether the very first connect is tried again too. By default its failure is raised, so that a
            mistake in a URL is seen.
        codes: close codes that it comes back after.
        on_reconnect: called with the new `Connection` after each return, before anything else is sent on it: the place
            to log in or subscribe again. If the connection ends in it, that counts as a failed try; any other
            exception ends the whole with `INTERNAL_ERROR`.
        random: gives numbers from 0 to 1, for the jitter.
        sleep: waits so many seconds; tests put their own here.
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5
    attempts: int | None = None
    wait: float | None = 10.0
    retry_first: bool = False
    codes: frozenset[int] = COMES_BACK
    on_reconnect: Callable[[Connection], Awaitable[None]] | None = None
    random: Callable[[], float] = field(default=random.random, repr=False, compare=False)
    sleep: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False, compare=False)

    def __post_init__(self) -> None:
        longest = limits.BACKOFF_S_MAX
        if not 0 <= self.initial <= longest or not self.initial <= self.maximum <= longest:
            raise LocalProtocolError(f"a back-off goes from initial up to maximum, within 0 to {longest:g} seconds")
        if not 1 <= self.factor <= 1000 or not 0 <= self.jitter <= 1:
            raise LocalProtocolError("the factor of a back-off is at least 1, its jitter within 0 to 1")
        if (self.attempts is not None and self.attempts < 1) or (self.wait is not None and not self.wait >= 0):
            raise LocalProtocolError("attempts is at least 1 and wait at least 0 seconds, or None")

    def delay(self, attempt: int) -> float:
        """Seconds before the `attempt`-th try in a row, 1 for the first."""
        delay = self.initial
        for _ in range(attempt - 1):
            if delay >= self.maximum or not delay:
                break
            delay *= self.factor
        return min(delay, self.maximum) * (1 - self.jitter * self.random())


class State(Enum):
    """Where a connection that comes back is."""

    CONNECTED = "connected"
    LOST = "lost"
    WAITING = "waiting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of state.

    Args:
        state: the new one.
        reconnects: how often it has come back so far.
        attempt: WAITING: the number of the coming try in a row.
        delay: WAITING: seconds until then.
        error: what ended the connection or the last try; None when CONNECTED or closed by this side.
    """

    state: State
    reconnects: int
    attempt: int = 0
    delay: float = 0.0
    error: BaseException | None = None


class States:
    """Changes as they come, for one reader: `async for change in conn.states()`. Ends after CLOSED.

    Attributes:
        missed: changes dropped because they were not taken in time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ended: bool) -> None:
        self.missed = 0
        self._loop = loop
        self._ended = ended
        self._changes: deque[Change] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def add(self, change: Change) -> None:
        """From the connection."""
        if len(self._changes) >= limits.RECONNECT_STATES_MAX:
            self._changes.popleft()
            self.missed += 1
        self._changes.append(change)
        self._ended = change.state is State.CLOSED
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> States:
        return self

    async def __anext__(self) -> Change:
        while not self._changes:
            if self._ended:
                raise StopAsyncIteration
            if self._waiter is not None:
                raise LocalProtocolError("another task is waiting for a change here already")
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._changes.popleft()
