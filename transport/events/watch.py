"""Notices an event loop that stands still: a program that blocks it holds up every client at once.

That is the commonest mistake of programs with coroutines, and nothing else says a word of it. It must cost nothing.
"""

from __future__ import annotations

import asyncio
import logging

from transport import limits

log = logging.getLogger("transport.events")


class Watch:
    """A timer that looks how late it is. Begins at once; `end` ends it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._warned_at = -limits.EVENTS_BLOCKED_QUIET_S
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def _arm(self) -> None:
        self._due = self._loop.time() + limits.EVENTS_BLOCKED_S
        self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        late = now - self._due
        if late >= limits.EVENTS_BLOCKED_S and now - self._warned_at >= limits.EVENTS_BLOCKED_QUIET_S:
            self._warned_at = now
            log.warning(
                "the event loop stood still for %.1f s, and all clients with it: something in this process blocks, such"
                " as time.sleep or a long computation in a handler. `await asyncio.to_thread(function)` does such work"
                " beside; transport.run(main(), debug=True) shows which task it is",
                late,
            )  # fmt: skip
        self._arm()

    def end(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
