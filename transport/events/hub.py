"""Where the log and those who are connected meet: streams that somebody is in, sessions in memory, calls to clients.

It awaits the log and nothing else; what it decides is in `streams`, `session` and `tokens`. It must never conclude from
its own appends what a stream holds: the log's watchers tell.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from transport import limits
from transport.errors import WouldBlock
from transport.events import envelope
from transport.events.errors import CallFailed
from transport.events.session import Session
from transport.events.streams import Stream
from transport.events.tokens import Tokens
from transport.log.base import Log, Watch
from transport.log.errors import UnknownStream
from transport.log.records import Event
from transport.log.records import Stream as Name

log = logging.getLogger("transport.events")


class Hub:
    """What all connections of one `Events` share. Made when it begins to serve, on the loop it serves on.

    Attributes:
        log: opened.
        tokens: of the log's key.
        sessions: by id, with and without connections; the latter in the order in which they lost them.
        reads: bounds how many pages are in memory at once.
        counters: since the start.
    """

    def __init__(self, log: Log, tokens: Tokens, loop: asyncio.AbstractEventLoop) -> None:
        self.log = log
        self.tokens = tokens
        self.loop = loop
        self.sessions: dict[str, Session] = {}
        self.reads = asyncio.Semaphore(limits.EVENTS_READS_MAX)
        self.counters: Counter[str] = Counter()
        self.calls = Calls(loop)
        self._streams: dict[Name, Stream] = {}
        self._watches: dict[Stream, Watch] = {}
        self._opening: dict[Name, asyncio.Task[None]] = {}
        self._aliases = 0
        self._renewing = asyncio.Lock()

    # Streams

    async def enter(self, name: Name) -> Stream:
        """A stream, which stays until as many `leave` it. Raises LogError."""
        while True:
            stream = self._streams.get(name)
            if stream is not None:
                stream.users += 1
                return stream
            opening = self._opening.get(name)
            if opening is None:
                opening = self.loop.create_task(self._open(name))
                self._opening[name] = opening
                opening.add_done_callback(looked_at)
            await asyncio.shield(opening)

    async def _open(self, name: Name) -> None:
        """Watches, then asks for the ends: what is appended between the two is seen by the watch."""
        try:
            self._aliases += 1
            stream = Stream(name, self._aliases, self.log.contiguous)
            watch = await self.log.watch(name, functools.partial(self._appended, stream))
            try:
                head = await self.log.head(name)
            except BaseException:
                watch.close()
                raise
            stream.begin(head.epoch, head.top)
            self._watches[stream] = watch
            self._streams[name] = stream
        finally:
            self._opening.pop(name, None)

    async def exists(self, name: Name) -> bool:
        """Whether there is such a stream, in use or in the log. Raises LogError."""
        if name in self._streams:
            return True
        try:
            await self.log.head(name, create=False)
        except UnknownStream:
            return False
        return True

    def leave(self, stream: Stream) -> None:
        """One less is in it; with the last one it goes."""
        stream.users -= 1
        if stream.users <= 0:
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        if self._streams.get(stream.name) is stream:
            del self._streams[stream.name]
        watch = self._watches.pop(stream, None)
        if watch is not None:
            watch.close()

    def _appended(self, stream: Stream, name: Name, epoch: int, events: Sequence[Event]) -> None:
        if not stream.publish(epoch, events):
            self.renew(stream)

    def renew(self, stream: Stream) -> None:
        """The stream has another epoch: everybody in it enters it anew, and is told of a gap."""
        self._forget(stream)
        for sub in stream.targets():
            stream.remove(sub)
            sub.member.renewed(sub)  # type: ignore[attr-defined]

    # A log that has gone back

    async def gone_back(self, stream: Stream) -> None:
        """The log has lost events of this epoch, and is about to give their offsets a second time: the server's own
        signature says that somebody was let in behind the end. It is renewed, durably, before anybody is answered; else
        whoever comes later would pass over other events in silence. Raises LogError.
        """  # fmt: skip
        async with self._renewing:
            head = await self.log.head(stream.name)
            if head.epoch != stream.epoch:  # it was renewed, or the stream dropped, meanwhile
                self.renew(stream)
                return
            log.error("the log has lost events (%s ends with %d): every stream gets a new epoch", stream.name, head.top)
            await self.log.renew()
            self.counters["logs_renewed"] += 1
            for each in list(self._streams.values()):
                self.renew(each)

    def beyond(self, stream: Stream) -> None:
        """A client says that it had an event behind the end. It may say what it likes: others go on."""
        self.counters["cursors_beyond"] += 1
        if self.counters["cursors_beyond"] == 1:
            log.warning(
                "a client says that it had events of %s behind its end, which is %d: if the log was put back from a"
                " backup, end the server and call `transport events renew`", stream.name, stream.top,
            )  # fmt: skip

    def members(self, name: Name) -> list[Any]:
        """The connections that are in a stream now."""
        stream = self._streams.get(name)
        return [] if stream is None else [sub.member for sub in stream.targets()]

    def volatile(self, name: Name, body: bytes, skip: Iterable[str], key: str | None) -> int:
        """Sends what may be lost to everybody in a room; returns to how many it was written."""
        stream = self._streams.get(name)
        if stream is None:
            return 0
        frame = envelope.volatile(stream.alias, body)
        left_out = frozenset(skip)
        place = None if key is None else (stream.alias, key)
        count = 0
        for sub in stream.targets():
            member: Any = sub.member
            if member.id not in left_out and member.volatile(frame, place):
                count += 1
        return count

    def alias_of(self, name: Name) -> int:
        """The number of a stream on the wire, 0 for one that nobody is in."""
        stream = self._streams.get(name)
        return 0 if stream is None else stream.alias

    def sweep(self) -> None:
        """Forgets streams that were opened for somebody who did not come."""
        for stream in [stream for stream in self._streams.values() if stream.users <= 0]:
            self._forget(stream)

    @property
    def stream_count(self) -> int:
        """Streams that somebody is in."""
        return len(self._streams)

    def held_bytes(self) -> int:
        """Of events held for those who catch up."""
        return sum([stream.held_bytes for stream in self._streams.values()])

    async def close(self) -> None:
        """No more of the log: what is being opened ends, and nobody watches any more."""
        openings = list(self._opening.values())
        for opening in openings:
            opening.cancel()
        if openings:
            await asyncio.wait(openings, timeout=limits.CANCELLED_HANDLER_S)
        for stream in list(self._streams.values()):
            self._forget(stream)

    # Sessions

    def detach(self, session: Session) -> None:
        """A session lost its connection: it is kept a while, in the order of losing it."""
        self.sessions.pop(session.id, None)
        self.sessions[session.id] = session
        session.detached_at = self.loop.time()

    def expire(self, after_s: float) -> list[Session]:
        """Forgets sessions that had no connection for so long, or are over the bound; the log has them still."""
        now = self.loop.time()
        waiting = [
            session for session in self.sessions.values()
            if session.member is None and not session.running - session.unstored.keys()
        ]  # fmt: skip
        over = len(waiting) - limits.EVENTS_SESSIONS_MAX
        gone = [
            session for index, session in enumerate(waiting)
            if index < over or now - session.detached_at >= after_s
        ]  # fmt: skip
        for session in gone:
            del self.sessions[session.id]
        return gone


def looked_at(task: asyncio.Task[None]) -> None:
    """For what is waited for through a shield: whoever waits is told; if nobody does any more, that is no news."""
    if not task.cancelled():
        task.exception()


class Asked:
    """A call to one or many clients, and what they answered."""

    def __init__(self, number: int, members: Iterable[Any], future: asyncio.Future[None]) -> None:
        self.number = number
        self.waiting: dict[Any, None] = dict.fromkeys(members)
        self.answers: dict[str, Any] = {}
        self.failed: dict[str, CallFailed] = {}
        self.gone: list[str] = []
        self.future = future

    def check(self) -> None:
        """Ends the wait when nobody is left to answer."""
        if not self.waiting and not self.future.done():
            self.future.set_result(None)


class Calls:
    """Calls to clients that wait for their answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._asked: dict[int, Asked] = {}
        self._of: dict[Any, set[int]] = {}
        self._last = 0

    def begin(self, members: Iterable[Any]) -> Asked:
        """A new call. Raises WouldBlock when EVENTS_CALLS_MAX wait."""
        if len(self._asked) >= limits.EVENTS_CALLS_MAX:
            raise WouldBlock(f"EVENTS_CALLS_MAX = {limits.EVENTS_CALLS_MAX:,} calls wait for their answers")
        self._last += 1
        asked = Asked(self._last, members, self._loop.create_future())
        self._asked[asked.number] = asked
        for member in asked.waiting:
            self._of.setdefault(member, set()).add(asked.number)
        return asked

    def wait_for(self, member: Any) -> bool:
        """Whether a client is asked something that it has not answered."""
        return member in self._of

    def answered(self, member: Any, number: int, ok: bool, data: Any) -> None:
        """A client answered; one that was not asked, or too late, is not heard."""
        asked = self._asked.get(number)
        if asked is None or member not in asked.waiting:
            return
        self._drop(asked, member)
        if ok:
            asked.answers[member.id] = data
        else:
            asked.failed[member.id] = CallFailed.of(data)
        asked.check()

    def gone(self, member: Any) -> None:
        """A client has no connection any more."""
        for number in self._of.pop(member, ()):
            asked = self._asked[number]
            asked.waiting.pop(member, None)
            asked.gone.append(member.id)
            asked.check()

    def end(self, asked: Asked) -> None:
        """Nobody waits for the rest."""
        for member in list(asked.waiting):
            self._drop(asked, member, keep=True)
        self._asked.pop(asked.number, None)

    def _drop(self, asked: Asked, member: Any, keep: bool = False) -> None:
        if not keep:
            asked.waiting.pop(member, None)
        numbers = self._of.get(member)
        if numbers is not None:
            numbers.discard(asked.number)
            if not numbers:
                del self._of[member]

    def __len__(self) -> int:
        return len(self._asked)
