"""A stream as its client follows it: where it is, what has come, and what the program is done with.

Nothing here waits, reads a clock or knows a socket; `client` decides what happens to it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from transport.codec import varint
from transport.events.envelope import Claim
from transport.events.tracker import Tracker


class Stream:
    """One stream as the client knows it.

    Attributes:
        room: its name, "" for the private one.
        epoch, tracker: where the client is.
        since, by_client, ticket: what the server signed.
        alias: on the present connection; 0 while it is not in it.
        paused: the server was asked to stop, for the program has too much to do.
        stalled: it will stay so: of too many events the effects have failed.
        seeking: it was asked to go on behind a hole; `seek_top` is the highest event since.
        sink: where its events go; None while nobody wants them yet.
        held: those that wait for that.
        era: how often it has begun anew.
        waiting: messages, events or gaps, that the program is not past.
        lingering: those of earlier eras.
        before: where the client was when the stream began anew, until the program is done with the gap that says so.
        gap_at: the offset of that gap, not of a later one; -1 until it has come.
    """

    __slots__ = (
        "alias", "before", "by_client", "epoch", "era", "gap_at", "held", "lingering", "paused", "room", "seek_top",
        "seeking", "since", "sink", "stalled", "ticket", "tracker", "waiting",
    )  # fmt: skip

    def __init__(self, room: str, epoch: int = 0, offset: int = 0) -> None:
        self.room = room
        self.epoch = epoch
        self.tracker = Tracker(offset)
        self.since = 0
        self.by_client = True
        self.ticket = b""
        self.alias = 0
        self.paused = False
        self.stalled = False
        self.seeking = False
        self.seek_top = 0
        self.sink: Any = None
        self.held: deque[Any] = deque()  # bounded: it counts as unfinished in the tracker
        self.era = 0
        self.waiting = 0
        self.lingering = 0
        self.before: Claim | None = None
        self.gap_at = -1

    def claim(self) -> Claim:
        """What the client says about it when it comes back."""
        if self.before is not None and self.gap_at < 0:  # or the gap would never be told
            return self.before
        return Claim(self.room, self.epoch, self.tracker.received, self.since, self.by_client, self.ticket)

    def kept(self) -> Claim:
        """The same for a client that is started again: where its program is."""
        if self.before is not None:
            return self.before
        return Claim(self.room, self.epoch, self.tracker.cursor, self.since, self.by_client, self.ticket)

    def rebase(self, epoch: int, offset: int, gap_follows: bool) -> None:
        """It goes on elsewhere. What was before is remembered until the program knows."""
        if gap_follows:
            before = self.before or self.claim()
            if before.epoch == epoch:  # the log has gone back, and may have grown past that place until it is said
                before = before._replace(offset=varint.VALUE_MAX)
            self.before, self.gap_at = before, -1
        else:  # it was asked for: what the gap would have said is settled
            self.before, self.gap_at = None, -1
        self.epoch = epoch
        self.era += 1
        self.lingering += self.waiting
        self.waiting = 0
        self.stalled = False
        self.tracker.rebase(offset)


class Untold:
    """Rooms that began anew with the session, and whose program has not been told so: by this process, or by the next.

    It is told when the client is in the room again, or is not let in: what comes between is missing, too. No server
    would say it to the next process, for whom the session is as it has always been.
    """

    def __init__(self, rooms: Iterable[str] = ()) -> None:
        self._open = Counter(rooms)
        self._due = set(rooms)

    def begin(self, room: str) -> None:
        """The session is another one."""
        if room not in self._due:
            self._due.add(room)
            self._open[room] += 1

    def is_due(self, room: str) -> bool:
        """Whether to tell the program now; once."""
        is_due = room in self._due
        self._due.discard(room)
        return is_due

    def told(self, room: str) -> None:
        """The program has been told."""
        self._open[room] -= 1
        if self._open[room] <= 0:
            self.forget(room)

    def forget(self, room: str) -> None:
        """The room was left."""
        self._open.pop(room, None)
        self._due.discard(room)

    def rooms(self) -> list[str]:
        """Those that the next process has to tell."""
        return list(self._open)
