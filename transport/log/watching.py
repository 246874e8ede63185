"""Who wants to hear of new events, stream by stream; the same for every log that lives in this process.

It must never let what a watcher raises reach a writer.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from transport import limits
from transport.log.base import Watch, Watcher
from transport.log.checks import bounded
from transport.log.records import Event, Stream

_LOGGER = logging.getLogger("transport.log")


class Watching:
    """All watchers of one log."""

    def __init__(self) -> None:
        self._watches: dict[Stream, list[LocalWatch]] = {}
        self._count = 0

    def __contains__(self, stream: object) -> bool:
        return stream in self._watches

    def add(self, stream: Stream, watcher: Watcher) -> LocalWatch:
        """One more. Raises LogLimit."""
        bounded("watches", self._count + 1, limits.LOG_WATCHES_MAX)
        watch = LocalWatch(self, stream, watcher)
        self._watches.setdefault(stream, []).append(watch)
        self._count += 1
        return watch

    def remove(self, watch: LocalWatch) -> None:
        """One less."""
        watches = self._watches[watch.stream]
        watches.remove(watch)
        self._count -= 1
        if not watches:
            del self._watches[watch.stream]

    def tell(self, stream: Stream, epoch: int, events: Sequence[Event]) -> None:
        """Calls whoever watches that stream; one that closes another meanwhile is heeded."""
        for watch in tuple(self._watches.get(stream, ())):
            if not watch.closed:
                try:
                    watch.watcher(stream, epoch, events)
                except Exception:
                    _LOGGER.exception("a watcher of %s raised", stream)


class LocalWatch(Watch):
    """One watcher in this process."""

    __slots__ = ("_owner", "closed", "stream", "watcher")

    def __init__(self, owner: Watching, stream: Stream, watcher: Watcher) -> None:
        self._owner = owner
        self.stream = stream
        self.watcher = watcher
        self.closed = False

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._owner.remove(self)
