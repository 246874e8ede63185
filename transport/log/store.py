"""What an SQLite log does inside a transaction; the writer begins and ends them.

Every method first checks all that may refuse the call, then writes: so that calls of many tasks share a transaction,
and one that is refused leaves nothing behind. It must never be used by two threads.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from transport import limits
from transport.log import checks, schema
from transport.log.errors import Fenced, UnknownStream
from transport.log.numbers import Numbers
from transport.log.records import (
    Append,
    Appended,
    Cause,
    Committed,
    Head,
    History,
    Receipt,
    Session,
    Stream,
)
from transport.log.rows import SessionRow, StreamRow, packed, thinned, unpacked

_STREAM = "SELECT id, namespace, room, private, epoch, top, first, low, bytes, last_ms, due_ms, bounds FROM streams "


class Store:
    """The tables of a log, seen by its one writer.

    Args:
        connection: that may write.
        history: the log's own bounds.
        forget_ms, key_window_ms: as of the log.
        epoch: gives a new one.

    Attributes:
        over: streams over their bounds, by id.
        counts: `streams`, `sessions`, `keys`, `events` as of the last commit, and counters.
    """

    def __init__(
        self, connection: sqlite3.Connection, history: History, forget_ms: int, key_window_ms: int,
        epoch: Callable[[], int],
    ) -> None:  # fmt: skip
        self.connection = connection
        self._run = connection.execute
        self._default = history
        self.forget_ms = forget_ms
        self.key_window_ms = key_window_ms
        self._epoch = epoch
        self._streams: dict[object, StreamRow] = {}
        self._sessions: dict[object, SessionRow] = {}
        self._histories: dict[str, History] = {}
        self._fresh: list[tuple[int, int, int, bytes, str | None]] = []
        self._dirty: list[StreamRow] = []
        self.over: dict[int, StreamRow] = {}
        self.counts = dict.fromkeys(("appended", "appended_bytes", "repeated", "trimmed"), 0)
        self.reload()
        self._note_default()

    def _note_default(self) -> None:
        """Has retention look at the streams that the log's own bounds hold for, where these are others than before."""
        found = self._run("SELECT value FROM meta WHERE name = 'history'").fetchone()
        if found is None or found[0] != packed(self._default):
            self.begin()
            self._run(
                "UPDATE streams SET due_ms = 0 WHERE namespace IS NOT NULL AND bounds IS NULL"
                " AND namespace NOT IN (SELECT namespace FROM histories)"
            )
            self._run("INSERT OR REPLACE INTO meta VALUES ('history', ?)", (packed(self._default),))
            self.commit()

    # Transactions

    def reload(self) -> None:
        """Forgets what it knew, and reads anew what it always knows."""
        self._streams.clear()
        self._sessions.clear()
        self._fresh.clear()
        self._dirty.clear()
        self.over.clear()
        self._histories = {name: unpacked(text) for name, text in self._run("SELECT namespace, bounds FROM histories")}
        (streams, events) = self._run("SELECT count(namespace), total(top - low + 1) FROM streams").fetchone()
        self.counts["streams"], self.counts["events"] = streams, int(events)
        for table in ("sessions", "keys"):
            (self.counts[table],) = self._run(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608

    def begin(self) -> None:
        """Begins a transaction."""
        self._saved = dict(self.counts)
        self._run("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Ends it; what was done is as durable as the connection makes it."""
        self.flush()
        self._run("COMMIT")
        thinned(self._streams)
        thinned(self._sessions)

    def rollback(self) -> None:
        """Takes it back."""
        if self.connection.in_transaction:
            self._run("ROLLBACK")
        self.reload()
        for name in ("appended", "appended_bytes", "repeated", "trimmed"):
            self.counts[name] = self._saved[name]

    def flush(self) -> None:
        """Writes the events that were added, and the ends of their streams."""
        if self._fresh:
            self.connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?)", self._fresh)
            self._fresh.clear()
        if self._dirty:
            self.connection.executemany(
                "UPDATE streams SET top = ?, first = ?, low = ?, bytes = ?, last_ms = ?, due_ms = ?, bounds = ?"
                " WHERE id = ?",
                [
                    (row.top, row.first, row.low, row.bytes, row.last_ms, row.due_ms,
                     None if row.bounds is None else packed(row.bounds), row.id)
                    for row in self._dirty
                ],
            )  # fmt: skip
            for row in self._dirty:
                row.dirty = False
            self._dirty.clear()

    def touch(self, row: StreamRow) -> None:
        """Has a row written at the end of the transaction."""
        if not row.dirty:
            row.dirty = True
            self._dirty.append(row)

    # Streams

    def find(self, stream: Stream) -> StreamRow | None:
        """A stream, None where there is none."""
        row = self._streams.get(stream)
        if row is None:
            found = self._run(
                _STREAM + "WHERE namespace = ? AND room = ? AND private = ?",
                (stream.namespace, stream.room, int(stream.private)),
            ).fetchone()
            if found is None:
                return None
            row = self._streams[stream] = self._row(found)
        return row

    @staticmethod
    def _row(found: Any) -> StreamRow:
        number, namespace, room, private, epoch, top, first, low, size, last_ms, due_ms, bounds = found
        return StreamRow(
            number, Stream(namespace, room, bool(private)), schema.unsigned(epoch), top, first, low, size, last_ms,
            due_ms, None if bounds is None else unpacked(bounds),
        )  # fmt: skip

    def known(self, stream: Stream) -> StreamRow:
        """A stream. Raises UnknownStream."""
        row = self.find(stream)
        if row is None:
            raise UnknownStream(str(stream))
        return row

    def _room_for(self, wanted: set[Stream]) -> None:
        """Raises LogLimit where these streams can't all begin to exist."""
        fresh = sum(self.find(stream) is None for stream in wanted)
        if fresh:
            checks.bounded("streams", self.counts["streams"] + fresh, limits.LOG_STREAMS_MAX)

    def _ensure(self, stream: Stream, now_ms: int) -> StreamRow:
        """A stream, which begins to exist."""
        row = self.find(stream)
        if row is None:
            row = StreamRow(0, stream, self._epoch(), 0, 1, 1, 0, now_ms, now_ms + self.forget_ms, None)
            made = self._run(
                "INSERT INTO streams (namespace, private, room, epoch, top, first, low, bytes, last_ms, due_ms)"
                " VALUES (?, ?, ?, ?, 0, 1, 1, 0, ?, ?)",
                (stream.namespace, int(stream.private), stream.room, schema.signed(row.epoch), now_ms, row.due_ms),
            )
            assert made.lastrowid is not None
            row.id = made.lastrowid
            self._streams[stream] = row
            self.counts["streams"] += 1
        return row

    def head(self, stream: Stream, now_ms: int) -> Head:
        """The ends of a stream, which begins to exist."""
        self._room_for({stream})
        row = self._ensure(stream, now_ms)
        return Head(row.epoch, row.first, row.top)

    def history_of(self, row: StreamRow) -> History:
        """The bounds that hold for a stream."""
        return row.bounds or self._histories.get(row.stream.namespace, self._default)

    # Commits

    def write(self, appends: Sequence[Append], receipt: Receipt | None, now_ms: int) -> Committed:
        """`Log.commit`."""
        session = None
        if receipt is not None:
            session = self._held(receipt, now_ms)
            if receipt.number in session.numbers:
                self.counts["repeated"] += 1
                return Committed((), True, self.reply(receipt.session, receipt.number))
            session.numbers.check(receipt.number)
        self._room_for({append.stream for append in appends})
        effects: dict[str, int] = {}
        for append in appends:
            if append.cause is not None:
                held = self._held(append.cause, now_ms)
                count = effects[held.id] = effects.get(held.id, held.causes) + 1
                checks.bounded("effects of a session's messages", count, limits.LOG_CAUSES_MAX)
        done = tuple([self._add(append, now_ms) for append in appends])
        if receipt is not None and session is not None:
            self._handled(session, receipt)
        return Committed(done)

    def _add(self, append: Append, now_ms: int) -> Appended:
        cause, key = append.cause, append.key
        if cause is not None and (before := self._effect(cause)) is not None:
            self.counts["repeated"] += 1
            return before
        row = self._ensure(append.stream, now_ms)
        if key is not None:
            known = self._run(
                "SELECT offset FROM keys WHERE stream = ? AND key = ? AND epoch = ? AND at_ms > ?",
                (row.id, key, schema.signed(row.epoch), now_ms - self.key_window_ms),
            ).fetchone()
            if known is not None:
                self.counts["repeated"] += 1
                return Appended(row.epoch, known[0], known[0] - 1, True)
        row.top += 1
        offset = row.top
        skip = "\n".join(append.skip) if append.skip else None
        self._fresh.append((row.id, offset, now_ms, append.payload, skip))
        row.bytes += checks.cost(append)
        row.last_ms = now_ms
        history = row.bounds or self._histories.get(row.stream.namespace, self._default)
        if row.low == offset:
            row.due_ms = None if history.age_ms is None else now_ms + history.age_ms
        if not row.over and (
            (history.count is not None and offset - row.low >= history.count)
            or (history.bytes is not None and row.bytes > history.bytes)
        ):
            row.over = True
            self.over[row.id] = row
        if not row.dirty:
            row.dirty = True
            self._dirty.append(row)
        self.counts["events"] += 1
        self.counts["appended"] += 1
        self.counts["appended_bytes"] += len(append.payload)
        if key is not None:
            self._remember(row, key, offset, now_ms)
        if cause is not None:
            self._note(cause, row.epoch, offset)
        return Appended(row.epoch, offset, offset - 1)

    def _remember(self, row: StreamRow, key: str, offset: int, now_ms: int) -> None:
        """The key of an append; one that was known before, but for too long, gives way."""
        (had,) = self._run("SELECT count(*) FROM keys WHERE stream = ? AND key = ?", (row.id, key)).fetchone()
        self._run(
            "INSERT OR REPLACE INTO keys (stream, key, epoch, offset, at_ms) VALUES (?, ?, ?, ?, ?)",
            (row.id, key, schema.signed(row.epoch), offset, now_ms),
        )
        self.counts["keys"] += 1 - had
        if self.counts["keys"] > limits.LOG_KEYS_MAX:
            self._run("DELETE FROM keys WHERE rowid = (SELECT rowid FROM keys ORDER BY at_ms LIMIT 1)")
            self.counts["keys"] -= 1

    def _effect(self, cause: Cause) -> Appended | None:
        """Where an earlier append of the same cause is."""
        if not self._sessions[cause.session].causes:
            return None
        found = self._run(
            "SELECT epoch, offset FROM causes WHERE session = ? AND number = ? AND step = ?",
            (cause.session, cause.number, cause.step),
        ).fetchone()
        return None if found is None else Appended(schema.unsigned(found[0]), found[1], found[1] - 1, True)

    def _note(self, cause: Cause, epoch: int, offset: int) -> None:
        session = self._sessions[cause.session]
        if cause.number not in session.numbers:
            self._run(
                "INSERT INTO causes VALUES (?, ?, ?, ?, ?)",
                (cause.session, cause.number, cause.step, schema.signed(epoch), offset),
            )
            session.causes += 1

    # Sessions

    def session(self, name: str, now_ms: int) -> SessionRow | None:
        """A session, None where there is none or its time is over."""
        row = self._sessions.get(name)
        if row is None:
            found = self._run(
                "SELECT generation, expires_ms, contiguous, beyond, lowest FROM sessions WHERE id = ?", (name,)
            ).fetchone()
            if found is None:
                return None
            row = SessionRow(name, found[0], found[1], Numbers.of(found[2], found[3]), found[4])
            row.replies, row.reply_bytes = self._run(
                "SELECT count(*), coalesce(sum(length(reply)), 0) FROM replies WHERE session = ?", (name,)
            ).fetchone()
            (row.causes,) = self._run("SELECT count(*) FROM causes WHERE session = ?", (name,)).fetchone()
            self._sessions[name] = row
        return row if row.expires_ms > now_ms else None

    def _held(self, value: Cause | Receipt, now_ms: int) -> SessionRow:
        """The session of a cause or receipt. Raises Fenced."""
        row = self.session(value.session, now_ms)
        if row is None or row.generation != value.generation:
            raise Fenced(value.session, value.generation, None if row is None else row.generation)
        return row

    def reply(self, session: str, number: int) -> bytes | None:
        """A stored reply."""
        found = self._run("SELECT reply FROM replies WHERE session = ? AND number = ?", (session, number)).fetchone()
        return None if found is None else found[0]

    def _handled(self, session: SessionRow, receipt: Receipt) -> None:
        """Takes a receipt in."""
        name, number, confirmed = session.id, receipt.number, receipt.confirmed
        session.numbers.add(number)
        if session.causes:
            session.causes -= self._run("DELETE FROM causes WHERE session = ? AND number = ?", (name, number)).rowcount
        if receipt.reply is not None and number > confirmed:
            self._run("INSERT INTO replies VALUES (?, ?, ?)", (name, number, receipt.reply))
            session.replies += 1
            session.reply_bytes += len(receipt.reply)
        if confirmed >= session.lowest:
            if session.replies:
                gone = self._run(
                    "SELECT count(*), coalesce(sum(length(reply)), 0) FROM replies WHERE session = ? AND number <= ?",
                    (name, confirmed),
                ).fetchone()
                self._run("DELETE FROM replies WHERE session = ? AND number <= ?", (name, confirmed))
                session.replies -= gone[0]
                session.reply_bytes -= gone[1]
            session.lowest = confirmed + 1
        while session.replies > limits.LOG_REPLIES_MAX or session.reply_bytes > limits.LOG_REPLIES_BYTES_MAX:
            old, size = self._run(
                "SELECT number, length(reply) FROM replies WHERE session = ? ORDER BY number LIMIT 1", (name,)
            ).fetchone()
            self._run("DELETE FROM replies WHERE session = ? AND number = ?", (name, old))
            session.replies -= 1
            session.reply_bytes -= size
            session.lowest = max(session.lowest, old + 1)
        self._run(
            "UPDATE sessions SET contiguous = ?, beyond = ?, lowest = ? WHERE id = ?",
            (session.numbers.contiguous, session.numbers.text(), session.lowest, name),
        )

    def put_session(self, session: Session, expected: int | None, now_ms: int) -> None:
        """`Log.put_session`."""
        row = self.session(session.id, now_ms)
        stored = None if row is None else row.generation
        if stored != expected:
            raise Fenced(session.id, expected, stored)
        if row is None:
            ended = session.id in self._sessions
            checks.bounded("sessions", self.counts["sessions"] + 1 - ended, limits.LOG_SESSIONS_MAX)
            if ended:
                self.end_session(session.id)
            self._run(
                "INSERT INTO sessions VALUES (?, ?, ?, ?, ?, 0, '', 1)",
                (session.id, session.proof, session.generation, session.identity, session.expires_ms),
            )
            self.counts["sessions"] += 1
        else:
            self._run(
                "UPDATE sessions SET proof = ?, generation = ?, identity = ?, expires_ms = ? WHERE id = ?",
                (session.proof, session.generation, session.identity, session.expires_ms, session.id),
            )
            row.generation, row.expires_ms = session.generation, session.expires_ms
            self._run("DELETE FROM joined WHERE session = ?", (session.id,))
        self.connection.executemany(
            "INSERT INTO joined VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session.id, stream.namespace, int(stream.private), stream.room, schema.signed(at.epoch), at.offset)
                for stream, at in session.streams.items()
            ],
        )

    def update_session(
        self, name: str, generation: int, join: Sequence[tuple[Stream, int]], leave: Sequence[Stream],
        identity: bytes | None, expires_ms: int | None, now_ms: int,
    ) -> None:  # fmt: skip
        """`Log.update_session`."""
        row = self.session(name, now_ms)
        if row is None or row.generation != generation:
            raise Fenced(name, generation, None if row is None else row.generation)
        if join:
            kept = {
                Stream(namespace, room, bool(private))
                for namespace, room, private in self._run(
                    "SELECT namespace, room, private FROM joined WHERE session = ?", (name,)
                )
            }
            kept = (kept | {stream for stream, _ in join}) - set(leave)
            checks.bounded("streams of one session", len(kept), limits.LOG_SESSION_STREAMS_MAX)
            self._room_for({stream for stream, _ in join})
        for stream, offset in join:
            epoch = schema.signed(self._ensure(stream, now_ms).epoch)
            self._run(
                "INSERT OR REPLACE INTO joined VALUES (?, ?, ?, ?, ?, ?)",
                (name, stream.namespace, int(stream.private), stream.room, epoch, offset),
            )
        for stream in leave:
            self._run(
                "DELETE FROM joined WHERE session = ? AND namespace = ? AND private = ? AND room = ?",
                (name, stream.namespace, int(stream.private), stream.room),
            )
        if identity is not None:
            self._run("UPDATE sessions SET identity = ? WHERE id = ?", (identity, name))
        if expires_ms is not None:
            self._run("UPDATE sessions SET expires_ms = ? WHERE id = ?", (expires_ms, name))
            row.expires_ms = expires_ms

    def drop_session(self, name: str, generation: int, now_ms: int) -> None:
        """`Log.drop_session`."""
        row = self.session(name, now_ms)
        if row is None:
            return
        if row.generation != generation:
            raise Fenced(name, generation, row.generation)
        self.end_session(name)

    def end_session(self, name: str) -> None:
        """Forgets a session that is there, whatever its time."""
        self._sessions.pop(name, None)
        for table in ("joined", "replies", "causes"):
            self._run(f"DELETE FROM {table} WHERE session = ?", (name,))  # noqa: S608
        self._run("DELETE FROM sessions WHERE id = ?", (name,))
        self.counts["sessions"] -= 1
        own = self._run("SELECT namespace FROM streams WHERE private AND room = ? AND namespace IS NOT NULL", (name,))
        for (namespace,) in own.fetchall():
            self.drop(Stream(namespace, name, True))

    # What is kept

    def set_history(self, scope: Stream | str, history: History, now_ms: int) -> None:
        """`Log.set_history`."""
        if isinstance(scope, Stream):
            self._room_for({scope})
            row = self._ensure(scope, now_ms)
            row.bounds = history
            row.due_ms = now_ms  # retention finds out
            self.touch(row)
            return
        if self._histories.get(scope) == history:
            return
        fresh = scope not in self._histories
        checks.bounded("namespaces with bounds", len(self._histories) + fresh, limits.LOG_NAMESPACES_MAX)
        self.flush()
        self._run("INSERT OR REPLACE INTO histories VALUES (?, ?)", (scope, packed(history)))
        self._histories[scope] = history
        self._run("UPDATE streams SET due_ms = ? WHERE namespace = ? AND bounds IS NULL", (now_ms, scope))
        for row in self._streams.values():
            if row.stream.namespace == scope and row.bounds is None:
                row.due_ms = now_ms

    def trim(self, stream: Stream, before: int, now_ms: int) -> int:
        """`Log.trim`; the events are hidden at once, and taken away by retention."""
        row = self.known(stream)
        first = min(before, row.top + 1)
        gone = max(0, first - row.first)
        if gone:
            row.first = first
            row.due_ms = now_ms
            self.touch(row)
        return gone

    def drop(self, stream: Stream) -> bool:
        """`Log.drop`; the row loses its name at once, and its events to retention."""
        row = self.find(stream)
        if row is None:
            return False
        self.flush()
        self._run("UPDATE streams SET namespace = NULL, due_ms = 0 WHERE id = ?", (row.id,))
        del self._streams[stream]
        self.counts["streams"] -= 1
        self.over.pop(row.id, None)
        return True

    def renew(self) -> None:
        """`Log.renew`."""
        self.flush()
        schema.renew(self.connection)
        self.reload()

    def secret(self, name: str, entropy: Callable[[int], bytes]) -> bytes:
        """`Log.secret`."""
        found = self._run("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        if found is None:
            (count,) = self._run("SELECT count(*) FROM secrets").fetchone()
            checks.bounded("secrets", count + 1, limits.LOG_SECRETS_MAX)
            found = (entropy(32),)
            self._run("INSERT INTO secrets VALUES (?, ?)", (name, *found))
        value: bytes = found[0]
        return value
