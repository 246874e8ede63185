"""What an SQLite log forgets, and how: in steps that are bounded, beside the writes, oldest first.

A step looks first at streams that the writer saw growing over their bounds, then at what has become too old, by an
index on the time at which each stream is due. It must never take an event that the bounds keep, nor reuse an offset.
"""

from __future__ import annotations

from collections.abc import Container

from transport import limits
from transport.log.records import Stream
from transport.log.rows import StreamRow
from transport.log.store import Store


def due(store: Store, now_ms: int) -> bool:
    """Whether a step would find anything to do."""
    if store.over:
        return True
    run = store.connection.execute
    return (
        run("SELECT 1 FROM streams WHERE due_ms <= ? LIMIT 1", (now_ms,)).fetchone() is not None
        or run("SELECT 1 FROM sessions WHERE expires_ms <= ? LIMIT 1", (now_ms,)).fetchone() is not None
        or run("SELECT 1 FROM keys WHERE at_ms <= ? LIMIT 1", (now_ms - store.key_window_ms,)).fetchone() is not None
    )


def step(store: Store, now_ms: int, watched: Container[Stream]) -> int:
    """One step inside a transaction; returns how many events it took away."""
    store.flush()
    budget = many = limits.LOG_RETAIN_EVENTS
    count = 0
    for row in list(store.over.values())[:many]:
        if budget > 0:
            gone = _trim(store, row, now_ms, budget)
            count += gone
            budget -= max(1, gone)
    run = store.connection.execute
    found = run(
        "SELECT id, namespace, room, private FROM streams WHERE due_ms <= ? ORDER BY due_ms LIMIT ?",
        (now_ms, many // 8),
    ).fetchall()
    for number, namespace, room, private in found:
        if budget <= 0:
            break
        if namespace is None:
            gone = _bury(store, number, budget)
        else:
            row = store.known(Stream(namespace, room, bool(private)))
            gone = _trim(store, row, now_ms, budget)
            if row.low > row.top and row.last_ms + store.forget_ms <= now_ms:
                if row.stream in watched:
                    row.last_ms = now_ms
                    _schedule(store, row, None)
                else:
                    store.drop(row.stream)
        count += gone
        budget -= max(1, gone)
    store.flush()
    _forget_others(store, now_ms, many // 8)
    store.counts["trimmed"] += count
    return count


def _forget_others(store: Store, now_ms: int, many: int) -> None:
    """Keys and sessions whose time is over."""
    run = store.connection.execute
    store.counts["keys"] -= run(
        "DELETE FROM keys WHERE rowid IN (SELECT rowid FROM keys WHERE at_ms <= ? ORDER BY at_ms LIMIT ?)",
        (now_ms - store.key_window_ms, many),
    ).rowcount
    for (name,) in run("SELECT id FROM sessions WHERE expires_ms <= ? LIMIT ?", (now_ms, many)).fetchall():
        store.end_session(name)


def _trim(store: Store, row: StreamRow, now_ms: int, most: int) -> int:
    """Takes away what is over a stream's bounds, at most so many events; returns how many."""
    history = store.history_of(row)
    keep = row.first
    if history.count is not None:
        keep = max(keep, row.top - history.count + 1)
    old_ms = None if history.age_ms is None else now_ms - history.age_ms
    size, low = row.bytes, row.low
    next_ms: int | None = None
    unfinished = False
    oldest = store.connection.execute(
        "SELECT offset, at_ms, length(payload) + coalesce(length(replace(skip, char(10), '')), 0)"
        " FROM events WHERE stream = ? AND offset >= ? ORDER BY offset LIMIT ?",
        (row.id, row.low, most + 1),
    )
    for offset, at_ms, stored in oldest.fetchall():
        over = offset < keep or (history.bytes is not None and size > history.bytes)
        if not over and not (old_ms is not None and at_ms <= old_ms):
            next_ms = at_ms
            break
        if offset - row.low >= most:
            unfinished = True
            break
        low = offset + 1
        size -= stored + limits.LOG_EVENT_COST_BYTES
    gone = low - row.low
    if gone:
        store.connection.execute(
            "DELETE FROM events WHERE stream = ? AND offset >= ? AND offset < ?", (row.id, row.low, low)
        )
        row.low, row.bytes = low, size
        row.first = max(row.first, low)
        store.counts["events"] -= gone
    if unfinished:
        row.due_ms = 0
        store.touch(row)
    else:
        if row.over:
            row.over = False
            del store.over[row.id]
        _schedule(store, row, next_ms)
    return gone


def _schedule(store: Store, row: StreamRow, oldest_ms: int | None) -> None:
    """When this stream is due again; `oldest_ms` is the time of its oldest event, None where it has none."""
    age_ms = store.history_of(row).age_ms
    if oldest_ms is None:
        row.due_ms = row.last_ms + store.forget_ms
    else:
        row.due_ms = None if age_ms is None else oldest_ms + age_ms
    store.touch(row)


def _bury(store: Store, number: int, most: int) -> int:
    """Takes away events of a stream that was dropped, and in the end its row; returns how many events."""
    run = store.connection.execute
    count = run(
        "DELETE FROM events WHERE stream = ? AND offset IN"
        " (SELECT offset FROM events WHERE stream = ? ORDER BY offset LIMIT ?)",
        (number, number, most),
    ).rowcount
    store.counts["events"] -= count
    if count < most:
        run("DELETE FROM streams WHERE id = ?", (number,))
    else:
        run("UPDATE streams SET low = low + ? WHERE id = ?", (count, number))
    return count
