"""Where a client keeps what it has to know to come back after it was started again: a file, or the program's database.

Kept are the session, the secret that proves it, and for each stream the cursor with the server's signature. Whoever has
the file can be that client: it is made readable for its owner only. A write must never leave half a file behind.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from transport import limits
from transport.errors import CodecError, LocalProtocolError
from transport.events import envelope
from transport.events.client import Client
from transport.events.following import Stream, Untold

if TYPE_CHECKING:
    from transport.events.messages import Message

FORMAT = 1


class Cursor(Protocol):
    """What `connect_events(cursor=)` takes. Both methods are called on the event loop and must be short."""

    def load(self) -> bytes | None:
        """What was saved last, or None."""

    def save(self, state: bytes) -> None:
        """Keeps it in place of what was there."""


class FileCursor:
    """A cursor in a file, replaced as a whole by each write.

    Args:
        path: of the file.
        fsync: whether each write waits for the disk, so that it survives a loss of power.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = False) -> None:
        self.path = Path(path)
        self._fsync = fsync

    def load(self) -> bytes | None:
        """What is in the file; None where there is none.

        Raises:
            LocalProtocolError: it is no cursor file.
        """
        try:
            with self.path.open("rb") as file:
                state = file.read(limits.EVENTS_CURSOR_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                raise LocalProtocolError(f"the folder of the cursor {self.path} is not there: make it first") from None
            return None
        if len(state) > limits.EVENTS_CURSOR_FILE_BYTES_MAX:
            raise LocalProtocolError(f"{self.path} is no cursor file: it is too large")
        if state:
            try:
                unpack(state)
            except LocalProtocolError as error:
                raise LocalProtocolError(f"{self.path}: {error}. Remove it, or give another path") from None
        return state or None

    def save(self, state: bytes) -> None:
        """Writes a file beside, then puts it in place. Raises OSError."""
        handle, beside = tempfile.mkstemp(prefix=self.path.name, suffix=".new", dir=self.path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(state)
                if self._fsync:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(beside, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise
        if self._fsync:
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class SQLiteCursor:
    """A cursor in the program's own SQLite database, beside the effects that `m.once(db)` commits with it.

    Args:
        db: an open `sqlite3.Connection`, the one given to `once`.
        consumer: tells several clients apart that share a database.
    """

    def __init__(self, db: Any, consumer: str = "") -> None:
        check_db(db)
        self._db = db
        self._consumer = consumer
        make_tables(db)

    def load(self) -> bytes | None:
        """The state that was saved last.

        Effects that were committed since are not in it: their events come again, and `once` says that they were done.
        """
        row = self._db.execute(
            "SELECT state FROM transport_sessions WHERE consumer = ?", (self._consumer,)
        ).fetchone()  # fmt: skip
        return None if row is None else row[0]

    def save(self, state: bytes) -> None:
        """Keeps it; while a transaction is open it becomes a part of that."""
        had = self._db.in_transaction
        self._db.execute("INSERT OR REPLACE INTO transport_sessions VALUES (?, ?)", (self._consumer, state))
        if not had and self._db.in_transaction:
            self._db.commit()


def check_db(db: Any) -> None:
    """Raises LocalProtocolError for what is no open connection, such as a path."""
    if not hasattr(db, "in_transaction"):
        raise LocalProtocolError(f"this takes an open sqlite3.Connection, as of sqlite3.connect(path), not {db!r:.60}")


_TABLES = (
    "CREATE TABLE IF NOT EXISTS transport_sessions (consumer TEXT PRIMARY KEY, state BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS transport_done (consumer TEXT NOT NULL, room TEXT NOT NULL, epoch TEXT NOT NULL,"
    " offset INTEGER NOT NULL, PRIMARY KEY (consumer, room, epoch, offset))",
    "CREATE TABLE transport_cursors (consumer TEXT NOT NULL, room TEXT NOT NULL, epoch TEXT NOT NULL,"
    " since INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (consumer, room, epoch, since))",
)  # the one that is looked for is the last
_STREAM = "consumer = ? AND room = ? AND epoch = ?"
_COLUMNS = "PRAGMA table_info(transport_cursors)"


def make_tables(db: Any) -> None:
    """The tables, if they are not there; those of an earlier version become those of this one."""
    if "since" in [row[1] for row in db.execute(_COLUMNS)]:
        return
    own = not db.in_transaction
    if own:
        db.execute("BEGIN IMMEDIATE")
    try:
        columns = [row[1] for row in db.execute(_COLUMNS)]
        if "since" not in columns:  # nobody else has made them meanwhile
            if columns:
                db.execute("ALTER TABLE transport_cursors RENAME TO transport_cursors_before")
            for table in _TABLES:
                db.execute(table)
            if columns:
                every = "SELECT consumer, room, epoch, 0, offset FROM transport_cursors_before"
                db.execute(f"INSERT INTO transport_cursors {every}")
                db.execute("DROP TABLE transport_cursors_before")
        if own:
            db.commit()
    except BaseException:
        if own:
            db.rollback()
        raise


def _noted(epoch: int, rewinds: int) -> str:
    """What tells a stream's offsets from others in the notes: its epoch, and how often it has gone back within that."""
    return f"{epoch}.{rewinds}" if rewinds else str(epoch)


class Once:
    """`async with m.once(db) as fresh`: an effect and the cursor in one transaction of the program's database.

    `fresh` is False for an event whose effect was committed before: then there is nothing to do. An exception rolls
    back, and the event stays unfinished. The calls to SQLite are made on the event loop.
    """

    def __init__(self, message: Message, db: Any, consumer: str) -> None:
        self._message = message
        self._db = db
        self._consumer = consumer
        self._key: tuple[str, Any] = consumer, db

    async def __aenter__(self) -> bool:
        message, db = self._message, self._db
        self._key = self._effect()
        is_new = message.begun(self._key)
        if db.in_transaction:
            raise LocalProtocolError("once: a transaction is open already: commit or roll it back first")
        make_tables(db)
        db.execute("BEGIN IMMEDIATE")
        try:
            return self._note(message, db) and is_new
        except BaseException:
            db.rollback()
            raise

    def _effect(self) -> tuple[str, Any]:
        """What tells it from the event's other effects: the consumer, and the database, opened twice or not."""
        try:
            file = self._db.execute("PRAGMA database_list").fetchone()[2]
        except Exception:  # what comes next fails, too
            file = ""
        return self._consumer, file or self._db  # one in memory has no name

    def _note(self, message: Message, db: Any) -> bool:
        """Notes that the event is done, in the transaction; False if it was before.

        The cursor is the last event before the first that is not done; those done beyond it are kept one by one. It
        says nothing of what lies before the place where the client began: that may come later, or be at work still.
        """
        if not message.is_placed:
            return True
        stream, offset = (self._consumer, message.room, _noted(message.epoch, message.rewinds)), message.offset
        cursor = f"SELECT 1 FROM transport_cursors WHERE {_STREAM} AND since < ? AND offset >= ?"  # noqa: S608
        if db.execute(cursor, (*stream, offset, offset)).fetchone() is not None:
            return False
        known = f"SELECT 1 FROM transport_done WHERE {_STREAM} AND offset = ?"  # noqa: S608
        fresh = db.execute(known, (*stream, offset)).fetchone() is None
        if message.is_next and not message.is_old:
            self._move(db, stream, message)
        elif fresh:
            db.execute("INSERT INTO transport_done VALUES (?, ?, ?, ?)", (*stream, offset))
        return fresh

    def _move(self, db: Any, stream: tuple[str, str, str], message: Message) -> None:
        """The cursor moves; what it stands for is noted no longer, nor what was noted of offsets that are no more."""
        low, start = message.begins
        move = f"UPDATE transport_cursors SET offset = ? WHERE {_STREAM} AND since <= ? AND offset >= ?"  # noqa: S608
        if not db.execute(move, (message.offset, *stream, start, low)).rowcount:
            db.execute("INSERT OR REPLACE INTO transport_cursors VALUES (?, ?, ?, ?, ?)",
                       (*stream, start, message.offset))  # fmt: skip
            low = start
        covered = f"DELETE FROM transport_done WHERE {_STREAM} AND offset > ? AND offset <= ?"  # noqa: S608
        db.execute(covered, (*stream, low, message.offset))
        if not message.has_older:
            for table in ("transport_cursors", "transport_done"):
                where = f"DELETE FROM {table} WHERE consumer = ? AND room = ? AND epoch != ?"  # noqa: S608
                db.execute(where, stream)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._roll_back()
            return
        try:
            self._db.commit()
        except BaseException:
            self._roll_back()
            raise
        self._message.committed(self._key)

    def _roll_back(self) -> None:
        self._db.rollback()
        self._message.rolled_back()


def pack(client: Client) -> bytes:
    """What has to be kept of a client."""
    streams = [list(stream.kept()) for stream in client.streams.values() if stream.ticket]
    body = {
        "format": FORMAT, "namespace": client.namespace, "session": client.session, "secret": client.secret,
        "generation": client.generation, "streams": streams, "rewinds": client.rewinds,
        "untold": client.untold.rooms(),
    }  # fmt: skip
    return envelope.encode_body(body)


def unpack(state: bytes) -> dict[str, Any]:
    """The same as a map. Raises LocalProtocolError for what is no such thing."""
    try:
        body = envelope._codec.decode(state)
        if body["format"] != FORMAT:
            raise LocalProtocolError(f"a cursor of format {body['format']!r}, {FORMAT} is known")
        for room, epoch, offset, since, by_client, ticket in body["streams"]:
            checked = (str, int, int, int, bool, bytes)
            values = (room, epoch, offset, since, by_client, ticket)
            if not all(isinstance(value, kind) for value, kind in zip(values, checked, strict=True)):
                raise LocalProtocolError("a cursor has a stream that is none")
        if not isinstance(body["session"], str) or not isinstance(body["secret"], bytes):
            raise LocalProtocolError("a cursor has no session")
        int(body["generation"])
        for room, count in body.get("rewinds", {}).items():  # an older one has none
            if not isinstance(room, str) or not isinstance(count, int):
                raise LocalProtocolError("a cursor has a stream that is none")
        if not all(isinstance(room, str) for room in body.get("untold", [])):
            raise LocalProtocolError("a cursor has a stream that is none")
    except (CodecError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise LocalProtocolError(f"this is no cursor of a client ({error})") from None
    return dict(body)


def restore(client: Client, state: bytes) -> None:
    """Puts a client where it was. Raises LocalProtocolError; of another namespace's it takes nothing."""
    body = unpack(state)
    if body["namespace"] != client.namespace:
        raise LocalProtocolError(
            f"the cursor is of namespace {body['namespace']!r}, not {client.namespace!r}: each needs its own"
        )  # fmt: skip
    client.session, client.secret, client.generation = body["session"], body["secret"], body["generation"]
    client.rewinds = body.get("rewinds", {})
    client.untold = Untold(body.get("untold", []))
    for room, epoch, offset, since, by_client, ticket in body["streams"]:
        stream = Stream(room, epoch, offset)
        stream.since, stream.by_client, stream.ticket = since, by_client, ticket
        client.streams[room] = stream
