"""A log in memory: what it holds lives as long as the object, and no longer.

For tests, for programs whose missed events need not outlive them, and as the plainest account of what a log does. All
its bytes are bounded together: above that the oldest events of all streams go first. It must never wait: every call
is done when it returns, in the order of the calls.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
import time
from collections.abc import Callable, Sequence

from transport import limits
from transport.log import checks
from transport.log.base import Log, Watcher
from transport.log.errors import Fenced, LogClosed, UnknownStream
from transport.log.records import (
    Append,
    Appended,
    Cause,
    Committed,
    Event,
    Head,
    History,
    LogStatistics,
    Page,
    Position,
    Receipt,
    Received,
    Session,
    Stream,
    StreamInfo,
)
from transport.log.ring import Client, Replies, Ring
from transport.log.watching import LocalWatch, Watching

TIMER_S_MAX = 3600.0  # the wall clock may be set meanwhile


def wall_ms() -> int:
    """The wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def new_epoch(entropy: Callable[[int], bytes] = secrets.token_bytes) -> int:
    """A random epoch: 64 bits, never 0."""
    while not (epoch := int.from_bytes(entropy(8), "big")):
        pass
    return epoch


class MemoryLog(Log):
    """A ring for each stream. Its contents stay when it is closed, and are there when it is opened again.

    Args:
        max_bytes: of all events together, oldest forgotten.
        history, forget_ms, key_window_ms, clock, entropy: as of `Log`.
    """

    durability = "memory"

    def __init__(
        self,
        *,
        history: History | None = None,
        max_bytes: int = limits.LOG_MEMORY_BYTES,
        forget_ms: int = limits.LOG_FORGET_MS,
        key_window_ms: int = limits.LOG_KEY_WINDOW_MS,
        clock: Callable[[], int] = wall_ms,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        checks.number("max_bytes", max_bytes, 1)
        self._default = checks.history(history or History())
        checks.number("forget_ms", forget_ms, most=checks.SPAN_MS_MAX)
        checks.number("key_window_ms", key_window_ms, most=checks.SPAN_MS_MAX)
        self._max_bytes = max_bytes
        self._forget_ms = forget_ms
        self._key_window_ms = key_window_ms
        self._clock = clock
        self._entropy = entropy
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watching = Watching()
        self._streams: dict[Stream, Ring] = {}
        self._private: dict[str, set[Stream]] = {}
        self._histories: dict[str, History] = {}
        self._clients: dict[str, Client] = {}
        self._keys: dict[tuple[Stream, str], tuple[int, int, int]] = {}  # in order of time: epoch, offset, at_ms
        self._secrets: dict[str, bytes] = {}
        self._replies = Replies()
        self._order = itertools.count()  # no two entries of a heap are compared further
        self._due: list[tuple[int, int, Ring]] = []
        self._oldest: list[tuple[int, int, Ring]] = []
        self._expiring: list[tuple[int, int, str]] = []
        self._bytes = 0
        self._counts = dict.fromkeys(
            ("events", "appended", "appended_bytes", "repeated", "commits", "commit_events_max", "reads",
             "read_events", "trimmed"), 0
        )  # fmt: skip

    # Life

    async def open(self) -> None:
        if self._loop is not None:
            raise RuntimeError("the log is open already")
        self._loop = asyncio.get_running_loop()
        self._arm()

    async def close(self) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def flush(self) -> None:
        self._check_open()

    def _check_open(self) -> None:
        if self._loop is None:
            raise LogClosed("the log is not open")

    # Writing

    async def commit(self, appends: Sequence[Append] = (), receipt: Receipt | None = None) -> Committed:
        self._check_open()
        checks.batch(appends, receipt)
        now_ms = self._clock()
        if receipt is not None:
            client = self._held(receipt, now_ms)
            if receipt.number in client.numbers:
                self._counts["repeated"] += 1
                return Committed((), True, client.replies.get(receipt.number))
            client.numbers.check(receipt.number)
        self._check_room(appends, now_ms)
        fresh: dict[Stream, list[Event]] = {}
        done = tuple(self._add(append, now_ms, fresh) for append in appends)
        if receipt is not None:
            client = self._clients[receipt.session]
            self._replies.handled(client, receipt.number, receipt.reply, receipt.confirmed)
        self._counts["commits"] += 1
        self._counts["commit_events_max"] = max(self._counts["commit_events_max"], len(appends))
        for stream, events in fresh.items():
            self._trim_over(self._streams[stream], now_ms, len(events) + 1)
        self._evict()
        self._arm()
        for stream, events in fresh.items():
            self._watching.tell(stream, self._streams[stream].epoch, events)
        return Committed(done)

    def _held(self, value: Cause | Receipt, now_ms: int) -> Client:
        """The session of a cause or receipt. Raises Fenced."""
        client = self._alive(value.session, now_ms)
        if client is None or client.generation != value.generation:
            raise Fenced(value.session, value.generation, None if client is None else client.generation)
        return client

    def _check_room(self, appends: Sequence[Append], now_ms: int) -> None:
        """Everything that may refuse an append, before the first one is made."""
        fresh = {append.stream for append in appends if append.stream not in self._streams}
        if fresh:
            checks.bounded("streams", len(self._streams) + len(fresh), limits.LOG_STREAMS_MAX)
        effects: dict[str, int] = {}
        for append in appends:
            if append.cause is not None:
                client = self._held(append.cause, now_ms)
                count = effects[client.id] = effects.get(client.id, len(client.causes)) + 1
                checks.bounded("effects of a session's messages", count, limits.LOG_CAUSES_MAX)

    def _add(self, append: Append, now_ms: int, fresh: dict[Stream, list[Event]]) -> Appended:
        cause = append.cause
        client = None
        if cause is not None:
            client = self._clients[cause.session]
            if (before := client.causes.get((cause.number, cause.step))) is not None:
                self._counts["repeated"] += 1
                return before
        ring = self._ring(append.stream, now_ms)
        if append.key is not None:
            known = self._keys.get((append.stream, append.key))
            if known is not None and known[0] == ring.epoch and known[2] + self._key_window_ms > now_ms:
                self._counts["repeated"] += 1
                return Appended(ring.epoch, known[1], known[1] - 1, True)
        event = ring.add(append.payload, append.skip, now_ms)
        fresh.setdefault(append.stream, []).append(event)
        self._bytes += checks.cost(append)
        self._counts["events"] += 1
        self._counts["appended"] += 1
        self._counts["appended_bytes"] += len(append.payload)
        if append.key is not None:
            self._keys.pop((append.stream, append.key), None)
            self._keys[append.stream, append.key] = (ring.epoch, event.offset, now_ms)
            if len(self._keys) > limits.LOG_KEYS_MAX:
                del self._keys[next(iter(self._keys))]
        if client is not None and cause is not None and cause.number not in client.numbers:
            client.causes[cause.number, cause.step] = Appended(ring.epoch, event.offset, event.previous, True)
        if len(ring) == 1:
            self._schedule(ring)
            if not ring.queued:
                ring.queued = True
                heapq.heappush(self._oldest, (now_ms, next(self._order), ring))
        return Appended(ring.epoch, event.offset, event.previous)

    def _ring(self, stream: Stream, now_ms: int) -> Ring:
        """A stream, which begins to exist."""
        ring = self._streams.get(stream)  # one without events is false
        return self._create(stream, now_ms) if ring is None else ring

    def _create(self, stream: Stream, now_ms: int) -> Ring:
        ring = self._streams[stream] = Ring(stream, new_epoch(self._entropy), now_ms)
        if stream.private:
            self._private.setdefault(stream.room, set()).add(stream)
        self._schedule(ring)
        return ring

    # Reading

    async def head(self, stream: Stream, *, create: bool = True) -> Head:
        self._check_open()
        checks.stream(stream)
        ring = self._streams.get(stream)
        if ring is None:
            if not create:
                raise UnknownStream(str(stream))
            checks.bounded("streams", len(self._streams) + 1, limits.LOG_STREAMS_MAX)
            ring = self._create(stream, self._clock())
            self._arm()
        return Head(ring.epoch, ring.first, ring.top)

    async def read(
        self,
        stream: Stream,
        after: int,
        *,
        count: int | None = None,
        bytes: int | None = None,  # noqa: A002
    ) -> Page:
        self._check_open()
        checks.stream(stream)
        checks.number("after", after)
        ring = self._known(stream)
        events, more = ring.page(after, *checks.page(count, bytes))
        self._counts["reads"] += 1
        self._counts["read_events"] += len(events)
        head = Head(ring.epoch, ring.first, ring.top)
        return Page(head, events, after + 1 < head.first or after > head.top, more)

    def _known(self, stream: Stream) -> Ring:
        ring = self._streams.get(stream)
        if ring is None:
            raise UnknownStream(str(stream))
        return ring

    async def watch(self, stream: Stream, watcher: Watcher) -> LocalWatch:
        self._check_open()
        checks.stream(stream)
        return self._watching.add(stream, watcher)

    # Retention

    def _history_of(self, ring: Ring) -> History:
        return ring.history or self._histories.get(ring.stream.namespace, self._default)

    async def set_history(self, scope: Stream | str, history: History) -> None:
        self._check_open()
        checks.history(history)
        if isinstance(scope, Stream):
            checks.stream(scope)
            await self.head(scope)
            self._streams[scope].history = history
            touched = [self._streams[scope]]
        else:
            checks.name("namespace", scope)
            fresh = scope not in self._histories
            checks.bounded("namespaces with bounds", len(self._histories) + fresh, limits.LOG_NAMESPACES_MAX)
            self._histories[scope] = history
            touched = [ring for ring in self._streams.values() if ring.stream.namespace == scope]
        for ring in touched:
            self._schedule(ring, at_once=ring.over(self._history_of(ring), self._clock()))
        self._arm()

    async def trim(self, stream: Stream, before: int) -> int:
        self._check_open()
        checks.stream(stream)
        checks.number("before", before)
        ring = self._known(stream)
        gone = max(0, min(before, ring.top + 1) - ring.first)
        self._forget(ring, gone)
        return gone

    def _forget(self, ring: Ring, count: int) -> None:
        """The oldest events of one stream."""
        for _ in range(count):
            self._bytes -= ring.take()
        self._counts["events"] -= count
        self._counts["trimmed"] += count
        if count and not len(ring):
            self._schedule(ring)

    def _trim_over(self, ring: Ring, now_ms: int, most: int) -> int:
        """Takes away what is over the bounds of a stream, at most so many; returns how many."""
        history = self._history_of(ring)
        count = 0
        while count < most and ring.over(history, now_ms):
            self._forget(ring, 1)
            count += 1
        return count

    def _evict(self) -> None:
        """Takes away the oldest events of all until their bytes fit."""
        while self._bytes > self._max_bytes and self._oldest:
            at_ms, _, ring = self._oldest[0]
            if ring.gone or not len(ring):
                ring.queued = False
                heapq.heappop(self._oldest)
            elif ring.oldest_ms > at_ms:
                heapq.heapreplace(self._oldest, (ring.oldest_ms, next(self._order), ring))
            else:
                self._forget(ring, 1)

    def _schedule(self, ring: Ring, at_once: bool = False) -> None:
        """Sets when retention has to look at a stream."""
        age_ms = self._history_of(ring).age_ms
        if at_once:
            due_ms: int | None = 0
        elif not len(ring):
            due_ms = ring.last_ms + self._forget_ms
        else:
            due_ms = None if age_ms is None else ring.oldest_ms + age_ms
        if due_ms != ring.due_ms:
            ring.due_ms = due_ms
            if due_ms is not None:
                heapq.heappush(self._due, (due_ms, next(self._order), ring))

    async def retain(self) -> int:
        self._check_open()
        return self._retain()

    def _retain(self) -> int:
        now_ms = self._clock()
        count = looked = 0
        many = limits.LOG_RETAIN_EVENTS
        while self._due and self._due[0][0] <= now_ms and count < many and looked < many // 8:
            due_ms, _, ring = heapq.heappop(self._due)
            if ring.gone or ring.due_ms != due_ms:
                continue
            looked += 1
            ring.due_ms = None
            if not len(ring):
                if ring.stream in self._watching:
                    ring.last_ms = now_ms
                if ring.last_ms + self._forget_ms <= now_ms:
                    self._drop(ring)
                    continue
            count += self._trim_over(ring, now_ms, many - count)
            self._schedule(ring, at_once=ring.over(self._history_of(ring), now_ms))
        for _ in range(many // 8):
            if not self._keys or now_ms < self._key_ends_ms():
                break
            del self._keys[next(iter(self._keys))]
        for _ in range(many // 8):
            if not self._expiring or self._expiring[0][0] > now_ms:
                break
            expires_ms, _, name = heapq.heappop(self._expiring)
            client = self._clients.get(name)
            if client is not None and client.expires_ms == expires_ms:
                self._end(client)
        return count

    def _key_ends_ms(self) -> int:
        """When the oldest key is forgotten."""
        return next(iter(self._keys.values()))[2] + self._key_window_ms

    def _expire(self, client: Client) -> None:
        """Notes when a session is over; one that changes its mind leaves its old entry behind, for a while."""
        heapq.heappush(self._expiring, (client.expires_ms, next(self._order), client.id))

    def _compact(self) -> None:
        """Takes entries out of the heaps that have become stale, once they are most of them."""
        room = 2 * len(self._streams) + 64
        if len(self._due) > room:
            rings = [ring for ring in self._streams.values() if ring.due_ms is not None]
            self._due = [(ring.due_ms or 0, next(self._order), ring) for ring in rings]
            heapq.heapify(self._due)
        if len(self._oldest) > room:
            self._oldest = [entry for entry in self._oldest if not entry[2].gone]
            heapq.heapify(self._oldest)
        if len(self._expiring) > 2 * len(self._clients) + 64:
            self._expiring = [(client.expires_ms, next(self._order), client.id) for client in self._clients.values()]
            heapq.heapify(self._expiring)

    def _arm(self) -> None:
        """Sets the timer for what is due next. There is none while nothing is: a simulated loop comes to rest."""
        while self._due and (self._due[0][2].gone or self._due[0][2].due_ms != self._due[0][0]):
            heapq.heappop(self._due)
        due_ms = [heap[0][0] for heap in (self._due, self._expiring) if heap]
        if self._keys:
            due_ms.append(self._key_ends_ms())
        if self._loop is None or not due_ms:
            return
        self._compact()
        wait_s = min(max((min(due_ms) - self._clock()) / 1000, limits.LOG_RETAIN_S), TIMER_S_MAX)
        when_s = self._loop.time() + wait_s
        if self._timer is None or when_s + limits.LOG_RETAIN_S < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(when_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._retain()
        self._arm()

    async def drop(self, stream: Stream) -> bool:
        self._check_open()
        checks.stream(stream)
        ring = self._streams.get(stream)
        if ring is not None:
            self._drop(ring)
        return ring is not None

    def _drop(self, ring: Ring) -> None:
        self._forget(ring, len(ring))
        ring.gone = True
        del self._streams[ring.stream]
        if ring.stream.private:
            own = self._private[ring.stream.room]
            own.discard(ring.stream)
            if not own:
                del self._private[ring.stream.room]

    async def renew(self) -> None:
        self._check_open()
        for ring in self._streams.values():
            ring.epoch = new_epoch(self._entropy)
        self._keys.clear()
        for client in self._clients.values():
            client.causes.clear()

    # Sessions

    def _alive(self, session: str, now_ms: int) -> Client | None:
        client = self._clients.get(session)
        return client if client is not None and client.expires_ms > now_ms else None

    def _end(self, client: Client) -> None:
        del self._clients[client.id]
        self._replies.ended(client)
        for stream in list(self._private.get(client.id, ())):
            self._drop(self._streams[stream])

    async def put_session(self, session: Session, expected: int | None) -> None:
        self._check_open()
        checks.session(session)
        client = self._alive(session.id, self._clock())
        stored = None if client is None else client.generation
        if stored != expected:
            raise Fenced(session.id, expected, stored)
        if client is not None:
            client.put(session)
            self._expire(client)
            self._arm()
            return
        if (ended := self._clients.get(session.id)) is not None:
            self._end(ended)
        checks.bounded("sessions", len(self._clients) + 1, limits.LOG_SESSIONS_MAX)
        client = self._clients[session.id] = Client(session)
        self._expire(client)
        self._arm()

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
        self._check_open()
        checks.update(id, join, leave, identity, expires_ms)
        client = self._alive(id, self._clock())
        if client is None or client.generation != generation:
            raise Fenced(id, generation, None if client is None else client.generation)
        kept = {**client.streams, **{stream: Position(0, offset) for stream, offset in join}}
        for stream in leave:
            kept.pop(stream, None)
        checks.bounded("streams of one session", len(kept), limits.LOG_SESSION_STREAMS_MAX)
        fresh = {stream for stream, _ in join if stream not in self._streams}
        checks.bounded("streams", len(self._streams) + len(fresh), limits.LOG_STREAMS_MAX)
        for stream, offset in join:
            ring = self._ring(stream, self._clock())
            if stream in kept:
                kept[stream] = Position(ring.epoch, offset)
        client.streams = kept
        client.identity = client.identity if identity is None else identity
        if expires_ms is not None and expires_ms != client.expires_ms:
            client.expires_ms = expires_ms
            self._expire(client)
        self._arm()

    async def get_session(self, id: str) -> Session | None:  # noqa: A002
        self._check_open()
        checks.name("session", id)
        client = self._alive(id, self._clock())
        return None if client is None else client.record()

    async def drop_session(self, id: str, generation: int) -> None:  # noqa: A002
        self._check_open()
        checks.name("session", id)
        client = self._alive(id, self._clock())
        if client is None:
            return
        if client.generation != generation:
            raise Fenced(id, generation, client.generation)
        self._end(client)

    async def received(self, session: str) -> Received:
        self._check_open()
        checks.name("session", session)
        client = self._alive(session, self._clock())
        return Received() if client is None else client.received()

    async def reply(self, session: str, number: int) -> bytes | None:
        self._check_open()
        checks.name("session", session)
        checks.number("number", number)
        client = self._alive(session, self._clock())
        return None if client is None else client.replies.get(number)

    # Keys, figures, inspection

    async def secret(self, name: str = "cursor") -> bytes:
        self._check_open()
        checks.name("secret", name)
        if name not in self._secrets:
            checks.bounded("secrets", len(self._secrets) + 1, limits.LOG_SECRETS_MAX)
            self._secrets[name] = self._entropy(32)
        return self._secrets[name]

    async def streams(
        self,
        *,
        after: Stream | None = None,
        count: int = 100,
        namespace: str | None = None,
        private: bool | None = None,
    ) -> list[StreamInfo]:
        self._check_open()
        found = heapq.nsmallest(
            max(1, min(count, limits.LOG_LIST_MAX)),
            (
                stream for stream in self._streams
                if (after is None or stream > after)
                and (namespace is None or stream.namespace == namespace)
                and (private is None or stream.private == private)
            ),
        )  # fmt: skip
        rings = [self._streams[stream] for stream in found]
        return [
            StreamInfo(
                ring.stream, Head(ring.epoch, ring.first, ring.top), len(ring), ring.bytes,
                ring.last_ms if ring.top else 0, self._history_of(ring),
            )
            for ring in rings
        ]  # fmt: skip

    async def sessions(self, *, after: str | None = None, count: int = 100) -> list[Session]:
        self._check_open()
        now_ms = self._clock()
        found = heapq.nsmallest(
            max(1, min(count, limits.LOG_LIST_MAX)),
            (
                id for id, client in self._clients.items()  # noqa: A001
                if client.expires_ms > now_ms and (after is None or id > after)
            ),
        )  # fmt: skip
        return [self._clients[name].record() for name in found]

    async def statistics(self) -> LogStatistics:
        self._check_open()
        return LogStatistics(
            self.durability, streams=len(self._streams), sessions=len(self._clients), bytes=self._bytes, **self._counts
        )
