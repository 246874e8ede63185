"""An SQLite log in the event loop's own thread and time, for runs that a seed repeats.

The threads of `SQLiteLog` finish in an order that no seed decides. Here the same writer, store and readers take their
turns on the loop, each after a little time of the loop's, and in an order that follows from a seed. `kill` leaves the
file as kill -9 does: behind a commit of which nobody has heard yet, or before one.
"""

from __future__ import annotations

import asyncio
import math
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transport import limits
from transport.events.testing import START_MS
from transport.log import SQLiteLog, reading
from transport.log.errors import LogClosed
from transport.log.records import Head, Page, Stream
from transport.log.watching import Watching
from transport.log.writer import Job, Writer
from transport.sim.seeds import entropy

COMMIT_S, TELL_S, READ_S = 0.02, 0.005, 0.01  # at most: until calls are committed, until they hear of it, of a read


def wall_ms() -> int:
    """The wall clock of a simulated loop."""
    loop: Any = asyncio.get_running_loop()
    return int(START_MS + loop.time_ns() // limits.MS_NS)


class SteppedWriter(Writer):
    """The writer, whose thread is the loop's."""

    def begin(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        """Opens the file."""
        self._loop = loop
        self._random = rng
        self._timer: asyncio.TimerHandle | None = None
        self._look_at = 0.0
        self._telling: list[asyncio.TimerHandle] = []
        self._told_at = 0.0
        self._post = self._tell
        self.untold: list[list[Job]] = []
        self.store = self._opened()

    def _tell(self, settle: Callable[[list[Job]], None], jobs: list[Job]) -> None:
        """Those who made the calls hear of their commit a little later, in the order of commits."""
        self._told_at = max(self._told_at, self._loop.time() + self._random.random() * TELL_S)
        self.untold.append(jobs)
        self._telling.append(self._loop.call_at(self._told_at, self._told, settle))

    def _told(self, settle: Callable[[list[Job]], None]) -> None:
        del self._telling[0]
        settle(self.untold.pop(0))

    def put(self, jobs: list[Job]) -> None:
        self._take(jobs)
        self._plan()

    def _plan(self) -> None:
        if self._timer is None and self._ready:
            self._timer = self._loop.call_later(self._random.random() * COMMIT_S, self._turn)

    def _turn(self) -> None:
        """What the thread does each time it wakes."""
        self._timer = None
        self.commit()
        now = self._loop.time()
        self._look_s = 0.0 if now >= self._look_at else math.inf
        if now >= self._look_at:
            self._look_at = now + limits.LOG_RETAIN_S
        if self._broken is None:
            assert self.store is not None
            self._tend(self.store)
        self._plan()

    def commit(self) -> None:
        """One group of calls."""
        if self._ready:
            assert self.store is not None
            jobs = self._current = self._gather()
            self._group(self.store, jobs)

    def stop(self) -> None:
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        while self._ready:
            self.commit()
        assert self.store is not None
        self._end(self.store)

    def join(self) -> None:
        return

    def kill(self, commits: bool) -> list[Job]:
        """Ends in the midst; returns the calls that hear of nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        if commits:
            self.commit()
        for handle in self._telling:
            handle.cancel()
        return [*self._ready, *[job for jobs in self.untold for job in jobs]]


class SteppedReaders(reading.Readers):
    """The readers, one after the other."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        super().__init__(path)
        self._random = rng

    async def run(self, read: Callable[..., Any], *arguments: Any) -> Any:
        async with self._room:
            await asyncio.sleep(self._random.random() * READ_S)
            if self._closed:
                raise LogClosed("the log is not open")
            return self._do(read, arguments)

    def kill(self) -> list[sqlite3.Connection]:
        """Reads no more; returns what is left open."""
        self._closed = True
        return self._connections

    async def close(self) -> None:
        for connection in self.kill():
            connection.close()


class SteppedLog(SQLiteLog):
    """The log. Whoever opens it runs on a simulated loop.

    Args:
        path: of the file.
        seed: of the times that everything takes, and of epochs and secrets.
    """

    def __init__(self, path: Path, seed: int) -> None:
        super().__init__(path, durability="os", clock=wall_ms, entropy=entropy(seed, "log"))
        self._random = random.Random(f"log {seed}")
        self._left: list[sqlite3.Connection] = []

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock.take()
        writer = SteppedWriter(
            self.path, self._open_store, self._retain, self._loop.call_soon, self._settle, self._clock,
            self._note_end,
        )  # fmt: skip
        writer.begin(self._loop, self._random)
        self._writer = writer
        self._readers = SteppedReaders(self.path, self._random)

    def kill(self) -> None:
        """The process ends as by kill -9, and the next one may open the file.

        What was not committed is gone. What was committed is there, and those who made it may not have heard of it; the
        file is not closed, so that its write-ahead log is as it was.
        """
        writer, readers = self._writer, self._readers
        assert isinstance(writer, SteppedWriter) and isinstance(readers, SteppedReaders)
        writer.put(self._staged)
        for job in [*writer.kill(self._random.random() < 0.5), *self._held]:
            job.future.cancel()
        assert writer.store is not None
        self._left += [writer.store.connection, *readers.kill()]
        self._staged = []
        self._held.clear()
        self._counts["waiting"] = self._counts["waiting_bytes"] = 0
        self._watching = Watching()
        self._writer = self._readers = None
        self._lock.give_back()

    async def close(self) -> None:
        await super().close()
        for connection in self._left:
            connection.close()
        self._left.clear()

    def epochs(self) -> dict[Any, int]:
        """Of every stream, as the file has them now."""
        writer = self._writer
        assert isinstance(writer, SteppedWriter) and writer.store is not None
        rows = writer.store.connection.execute(
            "SELECT namespace, room, private, epoch FROM streams WHERE namespace IS NOT NULL"
        )
        return {row[:3]: row[3] for row in rows}

    async def head_of(self, stream: Stream) -> Head:
        """Its ends, whatever a test has made of `head`. Raises UnknownStream."""
        found: Head = await self._read(reading.head, stream)
        return found

    async def all_after(self, stream: Stream, after: int) -> Page:
        """Every event behind one, whatever a test has made of `read`."""
        found: Page = await self._read(reading.page, stream, after, 1 << 30, 1 << 40)
        return found
