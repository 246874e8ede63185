"""The one thread that writes an SQLite log, and how calls of many tasks share its commits.

Calls reach it in lists, one for each turn of the event loop; while a commit waits for the disk, the next ones gather,
and share the next. Nothing waits in order to gather. It must never acknowledge what is not committed, and after an
error that leaves doubt about the file it must never commit again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transport import limits
from transport.log import retention, schema
from transport.log.errors import LogError, LogFailed
from transport.log.store import Store

_LOGGER = logging.getLogger("transport.log")
WAL_COST_SHARE = 4  # pages that a commit writes beside its payloads


class Job:
    """One call on its way to a commit.

    Args:
        run: what to do with the store; it raises before it writes, or not at all.
        events, size: that count against the bounds of the queue.
        future: of the caller.
    """

    __slots__ = ("appends", "at_ms", "error", "events", "future", "result", "run", "size")

    def __init__(self, run: Callable[[Store], Any], future: asyncio.Future[Any], events: int, size: int) -> None:
        self.run = run
        self.future = future
        self.events = events
        self.size = size
        self.appends: Any = None
        self.at_ms = 0
        self.result: Any = None
        self.error: BaseException | None = None


class Writer:
    """The thread, from its start to its end.

    Args:
        path: of the file; the lock on it is held by whoever makes this.
        opened: opens the connection and makes the store, in the thread.
        retain: one step of retention in a transaction.
        post: hands a function to the event loop; raises RuntimeError when that is closed.
        settle: called there with each finished group of jobs.
        clock: wall clock in milliseconds.
        end: notes that the file was closed well, in the thread.
    """

    def __init__(
        self, path: Path, opened: Callable[[], Store], retain: Callable[[Store], int],
        post: Callable[..., object], settle: Callable[[list[Job]], None], clock: Callable[[], int],
        end: Callable[[sqlite3.Connection], None],
    ) -> None:  # fmt: skip
        self._path = path
        self._opened = opened
        self._retain = retain
        self._post = post
        self._settle = settle
        self._clock = clock
        self._note_end = end
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._ready: deque[Job] = deque()
        self._ending = False
        self._pages = 0  # written since the write-ahead log was carried over, about
        self._events = 0  # written since the last step of retention
        self._look_s = 0.0
        self._warned = False
        self._stays = False
        self._file: tuple[int, int] | None = None
        self._broken: LogError | None = None
        self._current: list[Job] = []
        self.store: Store | None = None
        self.counts = dict.fromkeys(("commits", "commit_events_max", "commit_ns", "commit_ns_max", "failed"), 0)
        self._thread = threading.Thread(target=self._main, name=f"log {path.name}", daemon=True)

    def start(self, started: asyncio.Future[None]) -> None:
        """Begins; `started` is done when the file is open, or has what went wrong."""
        self._started = started
        self._thread.start()

    def put(self, jobs: list[Job]) -> None:
        """Hands jobs over; they are done in order."""
        self._queue.put(jobs)

    def stop(self) -> None:
        """What was handed over before is done first."""
        self._queue.put(None)

    def join(self) -> None:
        """Waits for the end of the thread."""
        self._thread.join()

    # In the thread

    def _main(self) -> None:
        try:
            store = self.store = self._opened()
            self._is_there()
        except BaseException as error:
            self._report(_fail, self._started, error)
            return
        self._report(_done, self._started)
        try:
            while not self._ending or self._ready:
                jobs = self._current = self._gather()
                if jobs:
                    self._group(store, jobs)
                if not self._ending and self._broken is None:
                    self._tend(store)
        except BaseException as error:  # nothing of ours; whoever waits must hear of it, now and later
            _LOGGER.exception("the writer of %s ended", self._path)
            self._broken = LogFailed(f"{self._path}: the writer ended: {error!r}")
            self._ready.extendleft(reversed(self._current))
            while self._ready or not self._ending:
                self._refuse(self._broken)
                if not self._ending:
                    self._take(self._queue.get())
        finally:
            self._end(store)

    def _report(self, *call: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._post(*call)

    def _gather(self) -> list[Job]:
        """The jobs of the next commit; waits for the first until it is time to look for what has become too old."""
        with contextlib.suppress(queue.Empty):
            if not self._ready and not self._ending:
                self._take(self._queue.get(timeout=self._wait_s()))
            while not self._ending:
                self._take(self._queue.get_nowait())
        jobs: list[Job] = []
        events = size = 0
        while self._ready and events < limits.LOG_GROUP_EVENTS and size < limits.LOG_GROUP_BYTES:
            job = self._ready.popleft()
            jobs.append(job)
            events += job.events
            size += job.size
        return jobs

    def _wait_s(self) -> float | None:
        """For how long nothing is to be done but what comes."""
        return None if self._broken is not None else max(0.0, self._look_s - time.monotonic()) + 0.001

    def _take(self, jobs: list[Job] | None) -> None:
        if jobs is None:
            self._ending = True
        else:
            self._ready.extend(jobs)

    def _group(self, store: Store, jobs: list[Job]) -> None:
        """One commit."""
        begun_ns = time.perf_counter_ns()
        events = sum(job.events for job in jobs)
        error = self._broken
        if error is None:
            error = self._attempt(store, jobs)
        if error is not None:
            for job in jobs:
                job.error = error
        else:
            took_ns = time.perf_counter_ns() - begun_ns
            counts = self.counts
            counts["commits"] += 1
            counts["commit_ns"] += took_ns
            counts["commit_ns_max"] = max(counts["commit_ns_max"], took_ns)
            counts["commit_events_max"] = max(counts["commit_events_max"], events)
            self._events += events
            self._pages += WAL_COST_SHARE + sum(job.size for job in jobs) // (schema.PAGE_BYTES * 2 // 3)
        self._report(self._settle, jobs)
        self._current = []
        if error is not None and self._broken is None:  # there may be room in the file, or be made
            self._look_s = 0.0
            self._pages = limits.LOG_WAL_PAGES
        self._carry_over(store)

    def _attempt(self, store: Store, jobs: list[Job]) -> LogError | None:
        """All of the jobs in one transaction; what went wrong with it as a whole."""
        try:
            store.begin()
            for job in jobs:
                try:
                    job.result = job.run(store)
                except LogError as error:  # refused before it wrote anything
                    job.error = error
            store.commit()
        except Exception as error:
            for job in jobs:
                job.result = job.error = None
            return self._undo(store, error)
        return None

    def _undo(self, store: Store, error: Exception) -> LogError:
        """Takes a transaction back, and decides whether there may be another."""
        self.counts["failed"] += 1
        if isinstance(error, sqlite3.Error):
            found = schema.translated(error, str(self._path))
            if schema.lasting(error):
                self._broken = found
        else:
            found = LogFailed(f"{self._path}: {type(error).__name__}: {error}")
            found.__cause__ = error
        try:
            store.rollback()
        except Exception as second:
            self._broken = self._broken or found
            _LOGGER.error("%s: can't take a transaction back: %s", self._path, second)  # noqa: TRY400
        if self._broken is not None:
            _LOGGER.error("%s: no more writes until it is opened again: %s", self._path, self._broken)
        return found

    def _tend(self, store: Store) -> None:
        """A step of retention, when it is time."""
        full = bool(store.over) and self._events >= limits.LOG_RETAIN_EVENTS
        if not full and time.monotonic() < self._look_s:
            return
        self._look_s = time.monotonic() + limits.LOG_RETAIN_S
        self._events = 0
        if not self._is_there():  # else it would go on, and all of it be gone with the process
            self._broken = LogFailed(f"{self._path}: the file was removed or replaced while it was open")
            _LOGGER.error("%s: no more writes until it is opened again: %s", self._path, self._broken)
            return
        try:
            if not full and not retention.due(store, self._clock()):
                return
            store.begin()
            gone = self._retain(store)
            store.commit()
        except Exception as error:
            found = self._undo(store, error)
            if not self._warned:  # once until it works again: a full disk would fill with this
                _LOGGER.warning("%s: retention failed: %s", self._path, found)
            self._warned = True
            return
        self._warned = False
        self._pages += WAL_COST_SHARE + gone // 8
        if gone >= limits.LOG_RETAIN_EVENTS:
            self._look_s = 0.0
        self._carry_over(store)

    def _is_there(self) -> bool:
        """Whether the path still names the file that was opened."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError:  # that says nothing about the file
            return True
        if self._file is None:
            self._file = (found.st_dev, found.st_ino)
        return self._file == (found.st_dev, found.st_ino)

    def _carry_over(self, store: Store) -> None:
        """Brings the write-ahead log into the file, now and then; not before those who wait for the commit are told."""
        if self._pages < limits.LOG_WAL_PAGES or self._broken is not None:
            return
        self._pages = 0
        try:
            store.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            if os.stat(f"{self._path}-wal").st_size > limits.LOG_WAL_BYTES:
                store.connection.execute(f"PRAGMA busy_timeout = {limits.LOG_WAL_WAIT_MS}")
                try:
                    schema.empty_wal(store.connection)
                finally:
                    store.connection.execute(f"PRAGMA busy_timeout = {limits.LOG_OPEN_WAIT_MS}")
        except (sqlite3.Error, OSError) as error:  # what was acknowledged is in the write-ahead log still
            if not self._stays:  # once until it works again: a full disk would fill with this
                _LOGGER.warning("%s: the write-ahead log stays as it is: %s", self._path, error)
            self._stays = True
            self.counts["failed"] += 1
            if isinstance(error, sqlite3.Error) and schema.lasting(error):
                self._broken = schema.translated(error, str(self._path))
        else:
            self._stays = False

    def _refuse(self, error: LogError) -> None:
        """Fails everything that was handed over."""
        jobs = list(self._ready)
        self._ready.clear()
        for job in jobs:
            job.error = error
        self._report(self._settle, jobs)
        self._current = []

    def _end(self, store: Store) -> None:
        """The last notes; a log that is broken is left as it is, to be looked at when it is opened again."""
        try:
            if self._broken is None:
                self._note_end(store.connection)
        except (sqlite3.Error, LogError) as error:
            _LOGGER.warning("%s: could not be closed well: %s", self._path, error)
        finally:
            store.connection.close()


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


def _done(future: asyncio.Future[Any]) -> None:
    if not future.done():
        future.set_result(None)
