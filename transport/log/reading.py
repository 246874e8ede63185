"""The readers of an SQLite log: a few threads, each with a connection that can't write.

A page and the ends of its stream come from one moment. It must never give out events with a hole between them: that
would be damage, and is called so.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from transport import limits
from transport.log import schema
from transport.log.errors import LogClosed, LogCorrupt, UnknownStream
from transport.log.records import (
    Event,
    Head,
    History,
    Page,
    Position,
    Received,
    Session,
    Stream,
    StreamInfo,
)
from transport.log.rows import unpacked

T = TypeVar("T")
ROWS_AT_ONCE = 64  # taken from SQLite; a page of large events ends early


class Readers:
    """Threads that read one file, and how many reads wait for them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(limits.LOG_READERS, thread_name_prefix=f"log {path.name} reader")
        self._room = asyncio.Semaphore(limits.LOG_READS_WAITING)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    async def run(self, read: Callable[..., T], *arguments: Any) -> T:
        """Runs `read(connection, ...)` in a thread, inside one read transaction. Waits while too many wait.

        Raises:
            LogError: as the log's methods do.
        """
        async with self._room:
            if self._closed:
                raise LogClosed("the log is not open")
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._do, read, arguments)

    def _do(self, read: Callable[..., T], arguments: tuple[Any, ...]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = schema.open_reader(self._path)
            with self._lock:
                self._connections.append(connection)
        try:
            connection.execute("BEGIN")
            try:
                return read(connection, *arguments)
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise schema.translated(error, str(self._path)) from error

    async def close(self) -> None:
        """Waits for reads under way."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        for connection in self._connections:
            connection.close()
        self._connections.clear()


def _find(connection: sqlite3.Connection, stream: Stream) -> tuple[int, Head]:
    found = connection.execute(
        "SELECT id, epoch, first, top FROM streams WHERE namespace = ? AND room = ? AND private = ?",
        (stream.namespace, stream.room, int(stream.private)),
    ).fetchone()
    if found is None:
        raise UnknownStream(str(stream))
    return found[0], Head(schema.unsigned(found[1]), found[2], found[3])


def head(connection: sqlite3.Connection, stream: Stream) -> Head:
    """`Log.head` of a stream that exists."""
    return _find(connection, stream)[1]


def page(connection: sqlite3.Connection, stream: Stream, after: int, count: int, size: int) -> Page:
    """`Log.read`. Raises UnknownStream, LogCorrupt."""
    number, ends = _find(connection, stream)
    want = max(min(after, ends.top) + 1, ends.first)  # what lies above the top may be no integer of SQLite's
    rows = connection.execute(
        "SELECT offset, at_ms, payload, skip FROM events WHERE stream = ? AND offset >= ? ORDER BY offset LIMIT ?",
        (number, want, count + 1),
    )
    events: list[Event] = []
    more = False
    while not more and (part := rows.fetchmany(ROWS_AT_ONCE)):
        for offset, at_ms, payload, skip in part:
            size -= len(payload)
            if len(events) == count or (size < 0 and events):
                more = True
                break
            if offset != want:
                raise LogCorrupt(f"{stream}: event {want} is missing, {offset} is there")
            want += 1
            events.append(Event(offset, offset - 1, at_ms, payload, () if skip is None else tuple(skip.split("\n"))))
    rows.close()
    if not more and want <= ends.top:
        raise LogCorrupt(f"{stream}: event {want} is missing, and it should end with {ends.top}")
    return Page(ends, events, after + 1 < ends.first or after > ends.top, more)


def session(connection: sqlite3.Connection, name: str, now_ms: int) -> Session | None:
    """`Log.get_session`."""
    found = connection.execute(
        "SELECT id, proof, generation, identity, expires_ms FROM sessions WHERE id = ? AND expires_ms > ?",
        (name, now_ms),
    ).fetchone()
    return None if found is None else _session(connection, found)


def _session(connection: sqlite3.Connection, found: tuple[str, bytes, int, bytes, int]) -> Session:
    joined = connection.execute(
        "SELECT namespace, room, private, epoch, offset FROM joined WHERE session = ?", (found[0],)
    )
    streams = {
        Stream(namespace, room, bool(private)): Position(schema.unsigned(epoch), offset)
        for namespace, room, private, epoch, offset in joined
    }
    return Session(*found, streams)


def sessions(connection: sqlite3.Connection, after: str | None, count: int, now_ms: int) -> list[Session]:
    """`Log.sessions`."""
    found = connection.execute(
        "SELECT id, proof, generation, identity, expires_ms FROM sessions WHERE id > ? AND expires_ms > ?"
        " ORDER BY id LIMIT ?",
        (after or "", now_ms, count),
    ).fetchall()
    return [_session(connection, row) for row in found]


def received(connection: sqlite3.Connection, name: str, now_ms: int) -> Received:
    """`Log.received`."""
    found = connection.execute(
        "SELECT contiguous, beyond, lowest FROM sessions WHERE id = ? AND expires_ms > ?", (name, now_ms)
    ).fetchone()
    if found is None:
        return Received()
    beyond = frozenset(int(part) for part in found[1].split(",")) if found[1] else frozenset()
    return Received(found[0], beyond, found[2])


def reply(connection: sqlite3.Connection, name: str, number: int, now_ms: int) -> bytes | None:
    """`Log.reply`."""
    found = connection.execute(
        "SELECT reply FROM replies JOIN sessions ON id = session WHERE session = ? AND number = ? AND expires_ms > ?",
        (name, number, now_ms),
    ).fetchone()
    return None if found is None else found[0]


def secret(connection: sqlite3.Connection, name: str) -> bytes | None:
    """`Log.secret` of a name that has one."""
    found = connection.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
    return None if found is None else found[0]


def streams(
    connection: sqlite3.Connection, after: Stream | None, count: int, namespace: str | None, private: bool | None
) -> list[StreamInfo]:  # fmt: skip
    """`Log.streams`."""
    kept = connection.execute("SELECT value FROM meta WHERE name = 'history'").fetchone()
    default = History() if kept is None else unpacked(kept[0])
    where = ["namespace IS NOT NULL"]
    values: list[str | int] = []
    if after is not None:
        where.append("(namespace, room, private) > (?, ?, ?)")
        values += [after.namespace, after.room, int(after.private)]
    if namespace is not None:
        where.append("namespace = ?")
        values.append(namespace)
    if private is not None:
        where.append("private = ?")
        values.append(int(private))
    found = connection.execute(
        "SELECT namespace, room, private, epoch, first, top, low, bytes, last_ms, bounds,"  # noqa: S608
        " (SELECT bounds FROM histories WHERE histories.namespace = streams.namespace) FROM streams"
        f" WHERE {' AND '.join(where)} ORDER BY namespace, room, private LIMIT ?",
        (*values, count),
    )
    return [
        StreamInfo(
            Stream(row[0], row[1], bool(row[2])), Head(schema.unsigned(row[3]), row[4], row[5]), row[5] - row[4] + 1,
            row[7], row[8] if row[5] else 0, unpacked(row[9] or row[10]) if row[9] or row[10] else default,
        )
        for row in found
    ]  # fmt: skip


def counts(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Streams, sessions and events that are stored."""
    found = connection.execute(
        "SELECT count(namespace), (SELECT count(*) FROM sessions), total(top - low + 1) FROM streams"
    ).fetchone()
    return found[0], found[1], int(found[2])
