"""What the writer of an SQLite log knows of streams and sessions without looking: rows that it has read or changed.

There is one writer, so a row in here is as good as the one in the file. All of them are forgotten when a transaction
is taken back. It must never hold two objects for one row.
"""

from __future__ import annotations

from transport import limits
from transport.log.numbers import Numbers
from transport.log.records import History, Stream


class StreamRow:
    """One stream.

    Attributes:
        first: offset of the oldest event that is shown.
        low: offset of the oldest that is still stored; the rest up to `first` is on its way out.
        due_ms: when retention has to look at it again; None for never.
        bounds: its own, None where its namespace's or the log's hold.
        dirty: differs from the file.
        over: stands in the writer's list of those over their bounds, and so is not forgotten.
    """

    __slots__ = ("bounds", "bytes", "dirty", "due_ms", "epoch", "first", "id", "last_ms", "low", "over", "stream",
                 "top")  # fmt: skip

    def __init__(
        self, id: int, stream: Stream, epoch: int, top: int, first: int, low: int, bytes: int,  # noqa: A002
        last_ms: int,
        due_ms: int | None, bounds: History | None,
    ) -> None:  # fmt: skip
        self.id = id
        self.stream = stream
        self.epoch = epoch
        self.top = top
        self.first = first
        self.low = low
        self.bytes = bytes
        self.last_ms = last_ms
        self.due_ms = due_ms
        self.bounds = bounds
        self.dirty = False
        self.over = False


class SessionRow:
    """One session, without its streams; how much is stored of its replies and causes."""

    __slots__ = ("causes", "expires_ms", "generation", "id", "lowest", "numbers", "replies", "reply_bytes")

    def __init__(self, id: str, generation: int, expires_ms: int, numbers: Numbers, lowest: int) -> None:  # noqa: A002
        self.id = id
        self.generation = generation
        self.expires_ms = expires_ms
        self.numbers = numbers
        self.lowest = lowest
        self.replies = 0
        self.reply_bytes = 0
        self.causes = 0


def packed(history: History) -> str:
    """Bounds as one text."""
    return " ".join("-" if bound is None else str(bound) for bound in (history.count, history.age_ms, history.bytes))


def unpacked(text: str) -> History:
    """The bounds that were packed."""
    count, age_ms, size = (None if part == "-" else int(part) for part in text.split(" "))
    return History(count, age_ms, size)


def thinned(rows: dict[object, StreamRow] | dict[object, SessionRow]) -> None:
    """Forgets the rows known for longest, a quarter, once there are too many."""
    if len(rows) > limits.LOG_CACHED:
        for name in list(rows)[: limits.LOG_CACHED // 4]:
            row = rows[name]
            if not (isinstance(row, StreamRow) and (row.over or row.dirty)):
                del rows[name]
