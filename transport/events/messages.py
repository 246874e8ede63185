"""What a client's program gets: messages, and the rooms that it reads one by one.

It must never count an event as done that the program has not come back from.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from transport import limits
from transport.errors import LocalProtocolError
from transport.events.cursors import Once, check_db
from transport.events.errors import Denied
from transport.events.following import Stream

if TYPE_CHECKING:
    from transport.events.connect import EventsClient


class Gap(NamedTuple):
    """Events that this client can't have.

    Attributes:
        reason: "epoch": the stream began anew. "trimmed": they are no longer kept. "limit": they are more than one
            resume may bring. "denied": the stream is not for this client any more. "too_large": one was too large.
        first_available: the oldest event that could be read, 0 where that is not told.
        top: the newest one.
        policy: how it goes on: "now", "oldest", "snapshot".
        lost: how many are missing, None where nobody knows.
        snapshot: the state of the room, under that policy.
    """

    reason: str
    first_available: int
    top: int
    policy: str
    lost: int | None
    snapshot: Any


class Message:
    """One event, or one gap.

    Attributes:
        name: of the event; empty for a gap.
        event: its data.
        room: where it was sent to, empty for this client alone.
        epoch, offset: its place in the stream; 0 for a volatile one.
        replay: it was missed, and came from the log.
        volatile: it is in no stream.
        gap: None, or what is missing before the next message.
        failed: its effect was rolled back: it does not count as done.
        is_settled: the program is past it.
        is_done: it counts as done.
        rewinds: how often the log of its room had gone back within its epoch when it came.
    """

    __slots__ = (
        "_client",
        "_effects",
        "_era",
        "_stream",
        "epoch",
        "event",
        "failed",
        "gap",
        "is_done",
        "is_settled",
        "name",
        "offset",
        "replay",
        "rewinds",
        "room",
        "volatile",
    )

    def __init__(self, client: EventsClient, stream: Stream | None, room: str, epoch: int, offset: int, name: str,
                 event: Any, *, replay: bool = False, volatile: bool = False,
                 gap: Gap | None = None) -> None:  # fmt: skip
        self._client = client
        self._stream = stream
        self._effects: dict[Any, bool] | None = None  # of `once`, and whether they are committed
        self._era = 0
        if stream is not None:
            self._era = stream.era
            stream.waiting += 1
        self.room = room
        self.epoch = epoch
        self.offset = offset
        self.name = name
        self.event = event
        self.replay = replay
        self.volatile = volatile
        self.gap = gap
        self.failed = False
        self.is_settled = False
        self.is_done = False
        self.rewinds = client.machine.rewinds.get(room, 0)

    def done(self) -> None:
        """Counts it as done, so that the cursor may move over it. Iteration and handlers do that by themselves."""
        if not self.is_done and self._stream is not None and self._stream.era == self._era:
            self._client.finished(self._stream, self.epoch, self.offset)
        if not self.is_done and not self.failed and self.gap is not None and not self.epoch:
            self._client.told(self.room)
        self._pass()
        self.is_done = True

    def settle(self) -> None:
        """The program is past it: it is done, or set aside where its effect has failed."""
        if not self.failed or self.is_old:
            self.done()
        elif not self.is_done and self._stream is not None:
            self._client.set_aside(self._stream, self.epoch, self.offset)
        self._pass()
        self.is_settled = True

    def _pass(self) -> None:
        """Its stream counts it no more. Once."""
        stream = self._stream
        if stream is None or self.is_done or self.is_settled:
            return
        if stream.era == self._era:
            stream.waiting -= 1
        else:
            stream.lingering -= 1

    @property
    def is_next(self) -> bool:
        """Whether all that came before it in its stream is done; true of what is in no stream."""
        stream = self._stream
        return stream is None or (stream.epoch == self.epoch and stream.tracker.oldest in {self.offset, -1})

    @property
    def is_old(self) -> bool:
        """Whether its stream has begun anew since: nothing brings it again."""
        return self._stream is not None and self._stream.era != self._era

    @property
    def is_placed(self) -> bool:
        """Whether it has a place in a log that it could come from again."""
        return self.epoch != 0 and not self.volatile

    @property
    def begins(self) -> tuple[int, int]:
        """Where the client was let in, and where its own account of the stream begins, which may be later."""
        assert self._stream is not None
        start = self._stream.tracker.start
        return min(self._stream.since, start), start

    @property
    def has_older(self) -> bool:
        """Whether the program may be at work on what came before its stream began anew."""
        return self._stream is not None and (
            self._stream.lingering > 0 or self._client.machine.streams.get(self.room) is not self._stream
        )

    def begun(self, effect: Any) -> bool:
        """An effect of it is about to be had. False if that is committed already."""
        if self._effects is None:
            self._effects = {}
        if self._effects.setdefault(effect, False):
            return False
        self.failed = True  # until it is committed
        return True

    def committed(self, effect: Any) -> None:
        """An effect is in the database: it is done when the program is past it, and none of the others has failed."""
        assert self._effects is not None
        self._effects[effect] = True
        self.failed = not all(self._effects.values())
        if self.is_settled and not self.failed:
            self.done()

    def rolled_back(self) -> None:
        """Its effect failed; what else the client has put into that transaction is gone with it."""
        self._client.save_again()

    def once(self, db: Any, consumer: str = "") -> Once:
        """For `async with`: commits the cursor in the transaction of the effect; see `Once`.

        Raises LocalProtocolError: the event counts as done already, by `ack="received"`, by `done()`, or as the next
        one was asked for. Nothing would bring it back if this failed.
        """
        if self.is_done and not self.volatile and not self.is_old:
            raise LocalProtocolError(
                "once: this event counts as done already, so it can't be done exactly once. It needs ack='processed',"
                " the default, and has to come before done() and before the next event is asked for"
            )  # fmt: skip
        check_db(db)
        return Once(self, db, consumer)

    def __repr__(self) -> str:
        what = f"gap {self.gap.reason}" if self.gap is not None else repr(self.name)
        return f"<Message {what} room={self.room!r} offset={self.offset}>"


class Subscription:
    """The events of one room, in order: `async for m in client.subscribe(room)`.

    An event counts as done when the next one is asked for. Leaving the loop does not leave the room: what comes waits
    for the next `subscribe`, in the log for the most part. That one goes on where this one was left, and this one ends.
    """

    def __init__(self, client: EventsClient, room: str, since: str) -> None:
        self.room = room
        self._client = client
        self._since = since
        self._queue: deque[Message] = deque()  # bounded by the stream's tracker
        self._last: Message | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._begun = False
        self._loose = 0
        self._end: BaseException | None = None

    def put(self, message: Message) -> None:
        """From the client."""
        self._queue.append(message)
        self._wake()

    def put_loose(self, message: Message) -> None:
        """A volatile event; one too many is dropped."""
        if self._loose < limits.EVENTS_VOLATILE_MAX:
            self._loose += 1
            self.put(message)

    def end(self, error: BaseException | None) -> None:
        """From the client: nothing more will come."""
        if self._end is None:
            self._end = StopAsyncIteration() if error is None else error
            self._wake()

    def give_up(self) -> list[Message]:
        """From the client: another one reads the room from now on. Gives what this one has not read."""
        last, self._last = self._last, None
        if last is not None:
            last.settle()  # the next one is asked for, elsewhere
        unread = [message for message in self._queue if not message.volatile]
        self._queue.clear()
        self._loose = 0
        self.end(None)
        return unread

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def begin(self) -> None:
        """Enters the room, if that has not been done; the first `__anext__` does it otherwise."""
        if not self._begun:
            await self._client.read_room(self)
            self._begun = True

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        if self._waiter is not None:
            raise LocalProtocolError(f"room {self.room!r} is read by another task already")
        last, self._last = self._last, None
        if last is not None:
            last.settle()
        if self._end is None:
            await self.begin()
        while not self._queue:
            if self._end is not None:
                raise self._end
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._queue.popleft()
        if message.volatile:
            self._loose -= 1
            return message
        self._last = message
        if message.gap is not None and message.gap.reason == "denied" and self._end is None:
            self._end = Denied(f"room {self.room!r} is not for this client any more")
        return message

    @property
    def since(self) -> str:
        """Where it begins: "now", "oldest" or "cursor"."""
        return self._since
