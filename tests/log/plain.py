"""A third kind of log, written from the documents of the interface alone: dictionaries, and nothing ever waits.

It stands for engines to come. It has the bounds that the interface names, and forgets what it may forget step by step.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transport import limits
from transport.log import (
    Append,
    Appended,
    Committed,
    Event,
    Fenced,
    Head,
    History,
    Log,
    LogClosed,
    LogLimit,
    LogStatistics,
    Page,
    Position,
    Receipt,
    Received,
    Session,
    Stream,
    StreamInfo,
    UnknownStream,
    Watch,
    Watcher,
    checks,
)
from transport.log.watching import Watching


@dataclass
class Kept:
    """A stream."""

    epoch: int
    used_ms: int
    top: int = 0
    events: list[Event] = field(default_factory=list)
    last_ms: int = 0
    history: History | None = None

    def head(self) -> Head:
        return Head(self.epoch, self.events[0].offset if self.events else self.top + 1, self.top)

    def bytes(self) -> int:
        return sum(checks.cost(Append(Stream("x"), event.payload, event.skip)) for event in self.events)


@dataclass
class Known:
    """A session, and what its messages led to."""

    session: Session
    contiguous: int = 0
    beyond: set[int] = field(default_factory=set)
    replies: dict[int, bytes] = field(default_factory=dict)
    lowest: int = 1
    causes: dict[tuple[int, int], tuple[Stream, Appended]] = field(default_factory=dict)

    def received(self) -> Received:
        return Received(self.contiguous, frozenset(self.beyond), self.lowest)


class PlainLog(Log):
    """Arguments as `Log` names them."""

    def __init__(
        self, *, history: History | None = None, forget_ms: int = limits.LOG_FORGET_MS,
        key_window_ms: int = limits.LOG_KEY_WINDOW_MS,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
        stride: int = 0,
    ) -> None:  # fmt: skip
        self._stride = stride  # offsets count what all streams have together, in such steps: they only grow
        self._all = 0
        if stride:
            self.contiguous = False
        self._history = checks.history(history or History())
        self._forget_ms = forget_ms
        self._key_window_ms = key_window_ms
        self._clock = clock
        self._entropy = entropy
        self._opened = False
        self._streams: dict[Stream, Kept] = {}
        self._known: dict[str, Known] = {}
        self._keys: dict[tuple[Stream, str], tuple[int, Appended]] = {}
        self._namespaces: dict[str, History] = {}
        self._secrets: dict[str, bytes] = {}
        self._watching = Watching()
        self._counts: dict[str, int] = {}
        self._retaining: asyncio.Task[None] | None = None

    # Life

    async def open(self) -> None:
        if self._opened:
            raise RuntimeError("the log is open already")
        self._opened = True
        self._watching = Watching()
        self._counts = dict.fromkeys(
            ("appended", "appended_bytes", "repeated", "commits", "commit_events_max", "reads", "read_events",
             "trimmed"), 0,
        )  # fmt: skip
        self._retaining = asyncio.get_running_loop().create_task(self._retain_by_itself())

    async def close(self) -> None:
        self._opened = False
        if self._retaining is not None:
            self._retaining.cancel()
            await asyncio.wait([self._retaining])
            self._retaining = None

    async def flush(self) -> None:
        self._check()

    def _check(self) -> None:
        if not self._opened:
            raise LogClosed("the log is not open")

    async def _retain_by_itself(self) -> None:
        while True:
            await asyncio.sleep(limits.LOG_RETAIN_S)
            await self.retain()

    # Writing

    async def commit(self, appends: Sequence[Append] = (), receipt: Receipt | None = None) -> Committed:
        self._check()
        checks.batch(appends, receipt)
        if receipt is not None:
            known = self._held(receipt.session, receipt.generation)
            if known.received().has(receipt.number):
                self._counts["repeated"] += 1
                return Committed((), True, known.replies.get(receipt.number))
            if receipt.number > known.contiguous + limits.LOG_BEYOND_MAX:
                raise LogLimit("messages ahead", receipt.number - known.contiguous, limits.LOG_BEYOND_MAX)
        self._check_causes(appends)
        fresh = {append.stream for append in appends} - self._streams.keys()
        checks.bounded("streams", len(self._streams) + len(fresh), limits.LOG_STREAMS_MAX)
        new: dict[Stream, list[Event]] = {}
        appended = tuple([self._append(append, new) for append in appends])
        if receipt is not None:
            self._receive(receipt)
        if appends or receipt is not None:
            self._counts["commits"] += 1
        written = sum(map(len, new.values()))
        self._counts["commit_events_max"] = max(self._counts["commit_events_max"], written)
        for stream, events in new.items():
            self._watching.tell(stream, self._streams[stream].epoch, events)
        return Committed(appended)

    def _check_causes(self, appends: Sequence[Append]) -> None:
        count: dict[str, int] = {}
        for append in appends:
            cause = append.cause
            if cause is not None:
                known = self._held(cause.session, cause.generation)
                if (cause.number, cause.step) not in known.causes:
                    count[cause.session] = count.get(cause.session, 0) + 1
                total = len(known.causes) + count.get(cause.session, 0)
                checks.bounded("effects without a receipt", total, limits.LOG_CAUSES_MAX)

    def _append(self, append: Append, new: dict[Stream, list[Event]]) -> Appended:
        stream, now = append.stream, self._clock()
        kept = self._enter(stream)
        cause = append.cause
        found = None
        if append.key is not None:
            at_ms, before = self._keys.get((stream, append.key), (0, None))
            found = before if before is not None and now - at_ms < self._key_window_ms else None
        if found is None and cause is not None:
            _, found = self._known[cause.session].causes.get((cause.number, cause.step), (None, None))
        if found is not None:
            self._counts["repeated"] += 1
            return found._replace(repeated=True)
        self._all += self._stride
        done = Appended(kept.epoch, self._all or kept.top + 1, kept.top)
        event = Event(done.offset, done.previous, now, append.payload, tuple(append.skip))
        kept.top = done.offset
        kept.events.append(event)
        kept.last_ms = kept.used_ms = now
        new.setdefault(stream, []).append(event)
        self._counts["appended"] += 1
        self._counts["appended_bytes"] += len(append.payload)
        if append.key is not None:
            self._keys.pop((stream, append.key), None)
            self._keys[stream, append.key] = (now, done)
            while len(self._keys) > limits.LOG_KEYS_MAX:
                del self._keys[next(iter(self._keys))]
        if cause is not None and not self._known[cause.session].received().has(cause.number):
            self._known[cause.session].causes[cause.number, cause.step] = (stream, done)
        return done

    def _enter(self, stream: Stream) -> Kept:
        checks.stream(stream)
        kept = self._streams.get(stream)
        if kept is None:
            checks.bounded("streams", len(self._streams) + 1, limits.LOG_STREAMS_MAX)
            kept = self._streams[stream] = Kept(self._epoch(), self._clock())
        return kept

    def _epoch(self) -> int:
        return int.from_bytes(self._entropy(8), "big") or 1

    def _find(self, stream: Stream) -> Kept:
        checks.stream(stream)
        if stream not in self._streams:
            raise UnknownStream(f"there is no stream {stream}")
        return self._streams[stream]

    def _receive(self, receipt: Receipt) -> None:
        known = self._known[receipt.session]
        known.beyond.add(receipt.number)
        while known.contiguous + 1 in known.beyond:
            known.contiguous += 1
            known.beyond.discard(known.contiguous)
        known.causes = {place: kept for place, kept in known.causes.items() if place[0] != receipt.number}
        if receipt.reply is not None:
            known.replies[receipt.number] = receipt.reply
        known.lowest = max(known.lowest, receipt.confirmed + 1)
        for number in sorted(known.replies):
            size = sum(map(len, known.replies.values()))
            is_over = len(known.replies) > limits.LOG_REPLIES_MAX or size > limits.LOG_REPLIES_BYTES_MAX
            if number < known.lowest or is_over:
                del known.replies[number]
                known.lowest = max(known.lowest, number + 1)

    # Streams

    async def head(self, stream: Stream, *, create: bool = True) -> Head:
        self._check()
        kept = self._enter(stream) if create else self._find(stream)
        return kept.head()

    async def read(
        self, stream: Stream, after: int, *, count: int | None = None, bytes: int | None = None  # noqa: A002
    ) -> Page:  # fmt: skip
        self._check()
        checks.number("after", after)
        kept = self._find(stream)
        most, size = checks.page(count, bytes)
        events: list[Event] = []
        for event in kept.events:
            if event.offset <= after:
                continue
            size -= len(event.payload)
            if len(events) >= most or (events and size < 0):
                break
            events.append(event)
        head = kept.head()
        last = events[-1].offset if events else after
        self._counts["reads"] += 1
        self._counts["read_events"] += len(events)
        gone = after > head.top or (after < head.first - 1 and (not kept.events or kept.events[0].previous > after))
        return Page(head, events, gone, last < head.top and bool(events))

    async def watch(self, stream: Stream, watcher: Watcher) -> Watch:
        self._check()
        checks.stream(stream)
        return self._watching.add(stream, watcher)

    async def set_history(self, scope: Stream | str, history: History) -> None:
        self._check()
        checks.history(history)
        if isinstance(scope, Stream):
            self._enter(scope).history = history
            return
        checks.name("namespace", scope)
        if scope not in self._namespaces:
            checks.bounded("namespaces with bounds", len(self._namespaces) + 1, limits.LOG_NAMESPACES_MAX)
        self._namespaces[scope] = history

    def _bounds(self, stream: Stream) -> History:
        return self._streams[stream].history or self._namespaces.get(stream.namespace) or self._history

    async def trim(self, stream: Stream, before: int) -> int:
        self._check()
        checks.number("before", before)
        kept = self._find(stream)
        return self._cut(kept, sum([1 for event in kept.events if event.offset < before]))

    def _cut(self, kept: Kept, count: int) -> int:
        del kept.events[:count]
        self._counts["trimmed"] += count
        return count

    async def drop(self, stream: Stream) -> bool:
        self._check()
        checks.stream(stream)
        self._keys = {place: kept for place, kept in self._keys.items() if place[0] != stream}
        for known in self._known.values():
            known.causes = {place: kept for place, kept in known.causes.items() if kept[0] != stream}
        return self._streams.pop(stream, None) is not None

    async def retain(self) -> int:
        self._check()
        left, now = limits.LOG_RETAIN_EVENTS, self._clock()
        for known in [known for known in self._known.values() if known.session.expires_ms <= now]:
            await self._forget(known)
        for stream, kept in list(self._streams.items()):
            due = min(self._over(kept, self._bounds(stream), now), left)
            left -= self._cut(kept, due)
            is_idle = now - kept.used_ms >= self._forget_ms and stream not in self._watching
            if not kept.events and is_idle:
                await self.drop(stream)
        return limits.LOG_RETAIN_EVENTS - left

    def _over(self, kept: Kept, history: History, now: int) -> int:
        """Events that are over a bound."""
        due = 0 if history.count is None else max(len(kept.events) - history.count, 0)
        if history.age_ms is not None:
            due = max(due, sum([1 for event in kept.events if now - event.at_ms >= history.age_ms]))
        size = kept.bytes()
        for index, event in enumerate(kept.events):
            if history.bytes is not None and size > history.bytes:
                due = max(due, index + 1)
            size -= checks.cost(Append(Stream("x"), event.payload, event.skip))
        return due

    async def renew(self) -> None:
        self._check()
        for kept in self._streams.values():
            kept.epoch = self._epoch()
        self._keys.clear()
        for known in self._known.values():
            known.causes.clear()

    # Sessions

    def _alive(self, id: str) -> Known | None:  # noqa: A002
        known = self._known.get(id)
        return known if known is not None and known.session.expires_ms > self._clock() else None

    def _held(self, id: str, generation: int) -> Known:  # noqa: A002
        known = self._alive(id)
        if known is None or known.session.generation != generation:
            raise Fenced(id, generation, None if known is None else known.session.generation)
        return known

    async def put_session(self, session: Session, expected: int | None) -> None:
        self._check()
        checks.session(session)
        known = self._alive(session.id)
        stored = None if known is None else known.session.generation
        if stored != expected:
            raise Fenced(session.id, expected, stored)
        if known is not None:
            known.session = session
            return
        if session.id in self._known:
            await self._forget(self._known[session.id])
        checks.bounded("sessions", len(self._known) + 1, limits.LOG_SESSIONS_MAX)
        self._known[session.id] = Known(session)

    async def update_session(
        self, id: str, generation: int, *, join: Sequence[tuple[Stream, int]] = (),  # noqa: A002
        leave: Sequence[Stream] = (), identity: bytes | None = None, expires_ms: int | None = None,
    ) -> None:  # fmt: skip
        self._check()
        checks.update(id, join, leave, identity, expires_ms)
        known = self._held(id, generation)
        streams = {stream: at for stream, at in known.session.streams.items() if stream not in leave}
        joined = streams.keys() | {stream for stream, _ in join}
        checks.bounded("streams of one session", len(joined), limits.LOG_SESSION_STREAMS_MAX)
        for stream, offset in join:
            streams[stream] = Position(self._enter(stream).epoch, offset)
        changes: dict[str, Any] = {"streams": streams}
        if identity is not None:
            changes["identity"] = identity
        if expires_ms is not None:
            changes["expires_ms"] = expires_ms
        known.session = replace(known.session, **changes)

    async def get_session(self, id: str) -> Session | None:  # noqa: A002
        self._check()
        checks.name("session", id)
        known = self._alive(id)
        return None if known is None else known.session

    async def drop_session(self, id: str, generation: int) -> None:  # noqa: A002
        self._check()
        checks.name("session", id)
        if self._alive(id) is not None:
            await self._forget(self._held(id, generation))

    async def _forget(self, known: Known) -> None:
        del self._known[known.session.id]
        for stream in list(self._streams):
            if stream.private and stream.room == known.session.id:
                await self.drop(stream)

    async def received(self, session: str) -> Received:
        self._check()
        checks.name("session", session)
        known = self._alive(session)
        return Received() if known is None else known.received()

    async def reply(self, session: str, number: int) -> bytes | None:
        self._check()
        checks.name("session", session)
        checks.number("number", number)
        known = self._alive(session)
        return None if known is None else known.replies.get(number)

    # Keys, figures, inspection

    async def secret(self, name: str = "cursor") -> bytes:
        self._check()
        checks.name("secret", name)
        if name not in self._secrets:
            checks.bounded("secrets", len(self._secrets) + 1, limits.LOG_SECRETS_MAX)
            self._secrets[name] = self._entropy(32)
        return self._secrets[name]

    async def streams(
        self, *, after: Stream | None = None, count: int = 100, namespace: str | None = None,
        private: bool | None = None,
    ) -> list[StreamInfo]:  # fmt: skip
        self._check()
        found = sorted(
            stream for stream in self._streams
            if (after is None or stream > after) and namespace in (None, stream.namespace)
            and private in (None, stream.private)
        )  # fmt: skip
        return [self._info(stream) for stream in found[: min(count, limits.LOG_LIST_MAX)]]

    def _info(self, stream: Stream) -> StreamInfo:
        kept = self._streams[stream]
        return StreamInfo(stream, kept.head(), len(kept.events), kept.bytes(), kept.last_ms, self._bounds(stream))

    async def sessions(self, *, after: str | None = None, count: int = 100) -> list[Session]:
        self._check()
        found = [who for who in sorted(self._known) if (after is None or who > after) and self._alive(who)]
        return [self._known[who].session for who in found[: min(count, limits.LOG_LIST_MAX)]]

    async def statistics(self) -> LogStatistics:
        self._check()
        return LogStatistics(
            self.durability, len(self._streams), len(self._known),
            sum(len(kept.events) for kept in self._streams.values()),
            sum(kept.bytes() for kept in self._streams.values()), **self._counts,
        )  # fmt: skip
