"""A log in a file, by the SQLite of the standard library: one thread writes, a few read.

This is the side that the event loop sees: it checks calls, bounds how many wait, hands them to the writer a turn of the
loop at a time, and tells watchers and callers what became of them, in order. It must never block the loop.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transport import limits
from transport.log import checks, reading, retention, schema
from transport.log.base import Log, Watcher
from transport.log.errors import LogClosed, LogReadOnly, UnknownStream
from transport.log.memory import new_epoch, wall_ms
from transport.log.records import (
    Append,
    Committed,
    Event,
    Head,
    History,
    LogStatistics,
    Page,
    Receipt,
    Received,
    Session,
    Stream,
    StreamInfo,
)
from transport.log.store import Store
from transport.log.watching import LocalWatch, Watching
from transport.log.writer import Job, Writer


class SQLiteLog(Log):
    """A log in one file (with its write-ahead log `-wal`, its index `-shm` and its `.lock` beside it).

    Args:
        path: of the file, made if there is none. On a local disk: SQLite's write-ahead log needs shared memory.
        durability: "disk" or "os", as of `Log`.
        read_only: reads only, beside a writer in any process or without one; every write raises LogReadOnly.
        max_bytes: of the file; above it appends raise LogFull.
        check: reads the whole file when it is opened, and raises LogCorrupt if it is damaged. Takes a second for every
            few hundred megabytes.
        history, forget_ms, key_window_ms, clock, entropy: as of `Log`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: str = "disk",
        history: History | None = None,
        read_only: bool = False,
        max_bytes: int = limits.LOG_FILE_BYTES,
        check: bool = False,
        forget_ms: int = limits.LOG_FORGET_MS,
        key_window_ms: int = limits.LOG_KEY_WINDOW_MS,
        clock: Callable[[], int] = wall_ms,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if durability not in schema.DURABILITIES:
            raise ValueError(f"durability {durability!r}: there are 'os' and 'disk' (MemoryLog is for 'memory')")
        if max_bytes < limits.LOG_FILE_BYTES_MIN:
            raise ValueError(f"max_bytes {max_bytes}: at least {limits.LOG_FILE_BYTES_MIN}")
        self.durability = durability
        self.path = Path(path)
        self._default = checks.history(history or History())
        checks.number("forget_ms", forget_ms, most=checks.SPAN_MS_MAX)
        checks.number("key_window_ms", key_window_ms, most=checks.SPAN_MS_MAX)
        self._read_only = read_only
        self._max_bytes = max_bytes
        self._check = check
        self._forget_ms = forget_ms
        self._key_window_ms = key_window_ms
        self._clock = clock
        self._entropy = entropy
        self._watching = Watching()
        self._writer: Writer | None = None
        self._readers: reading.Readers | None = None
        self._lock = schema.Lock(self.path)
        self._staged: list[Job] = []  # to be handed over at the end of this turn of the loop
        self._held: deque[Job] = deque()  # that wait for room
        self._closing: asyncio.Task[None] | None = None
        self._counts = dict.fromkeys(("waiting", "waiting_bytes", "waiting_max", "blocked", "reads", "read_events"), 0)

    # Life

    async def open(self) -> None:
        if self._readers is not None:
            raise RuntimeError("the log is open already")
        await self.close()  # one that is under way ends first
        self._loop = asyncio.get_running_loop()
        if self._read_only:
            readers = reading.Readers(self.path)
            try:
                await readers.run(reading.counts)
            except BaseException:
                await readers.close()
                raise
            self._readers = readers
            return
        self._lock.take()
        started: asyncio.Future[None] = self._loop.create_future()
        writer = Writer(
            self.path, self._open_store, self._retain, self._loop.call_soon_threadsafe, self._settle, self._clock,
            self._note_end,
        )  # fmt: skip
        writer.start(started)
        try:
            await asyncio.shield(started)
        except BaseException:
            writer.stop()
            await self._loop.run_in_executor(None, writer.join)
            self._lock.give_back()
            raise
        self._writer = writer
        self._readers = reading.Readers(self.path)

    def _open_store(self) -> Store:
        """In the writer's thread."""
        connection = schema.open_writer(
            self.path, self.durability, self._max_bytes, self._check, lambda: new_epoch(self._entropy), self._lock
        )
        try:
            return Store(
                connection, self._default, self._forget_ms, self._key_window_ms, lambda: new_epoch(self._entropy)
            )
        except sqlite3.Error as error:
            connection.close()
            raise schema.translated(error, str(self.path)) from error
        except BaseException:
            connection.close()
            raise

    def _retain(self, store: Store) -> int:
        """In the writer's thread."""
        return retention.step(store, self._clock(), self._watching)

    def _note_end(self, connection: sqlite3.Connection) -> None:
        """In the writer's thread."""
        schema.end(connection, self._lock)

    async def close(self) -> None:
        if self._readers is not None:
            writer, readers = self._writer, self._readers
            self._writer = self._readers = None
            self._closing = self._loop.create_task(self._close(writer, readers))
        closing = self._closing
        if closing is not None and not closing.done():
            await asyncio.shield(closing)  # it goes on when this call is cancelled: else the lock would stay

    async def _close(self, writer: Writer | None, readers: reading.Readers) -> None:
        await readers.close()
        if writer is None:
            return
        for job in self._held:
            if not job.future.done():
                job.future.set_exception(LogClosed("the log was closed while the call waited for room"))
        self._held.clear()
        writer.put(self._staged)
        self._staged = []
        writer.stop()
        await self._loop.run_in_executor(None, writer.join)
        self._lock.give_back()
        await asyncio.sleep(0)  # what the writer posted last has its turn

    async def flush(self) -> None:
        try:
            await self._write(lambda store: None)
        except LogReadOnly:
            return

    # Handing over

    async def _write(
        self,
        run: Callable[[Store], Any],
        events: int = 1,
        size: int = 0,
        appends: Sequence[Append] = (),
        at_ms: int = 0,
    ) -> Any:
        """Has the writer do something, in its turn, and waits until that is durable."""
        if self._writer is None:
            if self._readers is None:
                raise LogClosed("the log is not open")
            raise LogReadOnly(f"{self.path} was opened to be read")
        job = Job(run, self._loop.create_future(), events, size)
        job.appends = appends
        job.at_ms = at_ms
        if self._held or not self._fits(job):
            self._counts["blocked"] += 1
            self._held.append(job)
        else:
            self._stage(job)
        return await job.future

    def _fits(self, job: Job) -> bool:
        counts = self._counts
        return not counts["waiting"] or (
            counts["waiting"] + job.events <= limits.LOG_QUEUE_EVENTS
            and counts["waiting_bytes"] + job.size <= limits.LOG_QUEUE_BYTES
        )

    def _stage(self, job: Job) -> None:
        counts = self._counts
        counts["waiting"] += job.events
        counts["waiting_bytes"] += job.size
        counts["waiting_max"] = max(counts["waiting_max"], counts["waiting"])
        if not self._staged:
            self._loop.call_soon(self._hand_over)
        self._staged.append(job)

    def _hand_over(self) -> None:
        if self._staged and self._writer is not None:
            self._writer.put(self._staged)
            self._staged = []

    def _settle(self, jobs: list[Job]) -> None:
        """What became of a commit: first the watchers hear of it, then those who made it."""
        fresh: dict[tuple[Stream, int], list[Event]] = {}  # a stream may begin anew in the midst of a commit
        for job in jobs:
            self._counts["waiting"] -= job.events
            self._counts["waiting_bytes"] -= job.size
            if job.error is None and job.appends and not job.result.repeated:
                for append, done in zip(job.appends, job.result.appended, strict=True):
                    if append.stream in self._watching and not done.repeated:
                        event = Event(done.offset, done.previous, job.at_ms, append.payload, append.skip)
                        fresh.setdefault((append.stream, done.epoch), []).append(event)
        for (stream, epoch), events in fresh.items():
            self._watching.tell(stream, epoch, events)
        for job in jobs:
            if not job.future.done():
                if job.error is None:
                    job.future.set_result(job.result)
                else:
                    job.future.set_exception(job.error)
        while self._held and self._fits(self._held[0]):
            job = self._held.popleft()
            if not job.future.done():
                self._stage(job)

    async def _read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        if self._readers is None:
            raise LogClosed("the log is not open")
        return await self._readers.run(read, *arguments)

    # Streams

    async def commit(self, appends: Sequence[Append] = (), receipt: Receipt | None = None) -> Committed:
        appends = tuple(appends)
        size = checks.batch(appends, receipt)
        now_ms = self._clock()
        done: Committed = await self._write(
            lambda store: store.write(appends, receipt, now_ms), max(1, len(appends)), size, appends, now_ms
        )
        return done

    async def head(self, stream: Stream, *, create: bool = True) -> Head:
        checks.stream(stream)
        found: Head
        try:
            found = await self._read(reading.head, stream)
        except UnknownStream:
            if not create:
                raise
            now_ms = self._clock()
            found = await self._write(lambda store: store.head(stream, now_ms))
        return found

    async def read(
        self,
        stream: Stream,
        after: int,
        *,
        count: int | None = None,
        bytes: int | None = None,  # noqa: A002
    ) -> Page:
        checks.stream(stream)
        checks.number("after", after)
        page: Page = await self._read(reading.page, stream, after, *checks.page(count, bytes))
        self._counts["reads"] += 1
        self._counts["read_events"] += len(page.events)
        return page

    async def watch(self, stream: Stream, watcher: Watcher) -> LocalWatch:
        checks.stream(stream)
        if self._writer is None:
            raise (
                LogReadOnly("only the process that writes hears of new events")
                if self._readers
                else LogClosed("the log is not open")
            )
        return self._watching.add(stream, watcher)

    async def set_history(self, scope: Stream | str, history: History) -> None:
        checks.history(history)
        if isinstance(scope, Stream):
            checks.stream(scope)
        else:
            checks.name("namespace", scope)
        now_ms = self._clock()
        await self._write(lambda store: store.set_history(scope, history, now_ms))

    async def trim(self, stream: Stream, before: int) -> int:
        checks.stream(stream)
        checks.number("before", before)
        now_ms = self._clock()
        count: int = await self._write(lambda store: store.trim(stream, before, now_ms))
        return count

    async def drop(self, stream: Stream) -> bool:
        checks.stream(stream)
        there: bool = await self._write(lambda store: store.drop(stream))
        return there

    async def retain(self) -> int:
        count: int = await self._write(self._retain)
        return count

    async def renew(self) -> None:
        await self._write(lambda store: store.renew())

    # Sessions

    async def put_session(self, session: Session, expected: int | None) -> None:
        checks.session(session)
        now_ms = self._clock()
        await self._write(lambda store: store.put_session(session, expected, now_ms))

    async def update_session(
        self,
        id: str,  # noqa: A002
        generation: int,
        *,
        join: Sequence[tuple[Stream, int]] = (),
        leave: Sequence[Stream] = (),
        identity: bytes | None = None,
        expires_ms: int | None = None,
    ) -> None:
        join, leave = tuple(join), tuple(leave)
        checks.update(id, join, leave, identity, expires_ms)
        now_ms = self._clock()
        await self._write(lambda store: store.update_session(id, generation, join, leave, identity, expires_ms, now_ms))

    async def get_session(self, id: str) -> Session | None:  # noqa: A002
        checks.name("session", id)
        session: Session | None = await self._read(reading.session, id, self._clock())
        return session

    async def drop_session(self, id: str, generation: int) -> None:  # noqa: A002
        checks.name("session", id)
        now_ms = self._clock()
        await self._write(lambda store: store.drop_session(id, generation, now_ms))

    async def received(self, session: str) -> Received:
        checks.name("session", session)
        found: Received = await self._read(reading.received, session, self._clock())
        return found

    async def reply(self, session: str, number: int) -> bytes | None:
        checks.name("session", session)
        checks.number("number", number)
        found: bytes | None = await self._read(reading.reply, session, number, self._clock())
        return found

    # Keys, figures, inspection

    async def secret(self, name: str = "cursor") -> bytes:
        checks.name("secret", name)
        found: bytes | None = await self._read(reading.secret, name)
        if found is None:
            found = await self._write(lambda store: store.secret(name, self._entropy))
        assert found is not None
        return found

    async def streams(
        self,
        *,
        after: Stream | None = None,
        count: int = 100,
        namespace: str | None = None,
        private: bool | None = None,
    ) -> list[StreamInfo]:
        many = max(1, min(count, limits.LOG_LIST_MAX))
        found: list[StreamInfo] = await self._read(reading.streams, after, many, namespace, private)
        return found

    async def sessions(self, *, after: str | None = None, count: int = 100) -> list[Session]:
        many = max(1, min(count, limits.LOG_LIST_MAX))
        found: list[Session] = await self._read(reading.sessions, after, many, self._clock())
        return found

    async def statistics(self) -> LogStatistics:
        streams, sessions, events = await self._read(reading.counts)
        size = 0
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            if path.exists():
                size += path.stat().st_size
        counts = dict(self._counts)
        if self._writer is not None and self._writer.store is not None:
            counts.update(self._writer.counts)
            kept = self._writer.store.counts
            counts.update({name: kept[name] for name in ("appended", "appended_bytes", "repeated", "trimmed")})
        return LogStatistics(self.durability, streams=streams, sessions=sessions, events=events, bytes=size, **counts)
