"""One connection at the server: frames in, frames out, and the reading of the log for a client that is behind.

A thin shell: `parse` and `envelope` know the bytes, `session` what a message means, `streams` who gets what; `opening`
lets a client in. It must never hold more for a client than its outbound budget, its window and its tables allow.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import transport
from transport import CloseCode, Delivery, limits
from transport.errors import ConnectionClosed, MessageTooLarge, TransportError, WouldBlock
from transport.events import dispatch, door, envelope, parse
from transport.events.envelope import Policy
from transport.events.errors import Malformed, Refused
from transport.events.session import Session, Verdict
from transport.events.streams import Budget, Mode, Subscription
from transport.log.errors import Fenced, LogError, UnknownStream

if TYPE_CHECKING:
    from transport.events.app import Events

log = logging.getLogger("transport.events")
KNOWN = frozenset(
    ("busy", "closed", "denied", "failed", "going_away", "log", "namespace", "superseded", "too_large")
)  # reasons of refusals that have counters of their own; those of a program are counted together


class Link(transport.Protocol):
    """A client's connection; the `Member` that streams write to.

    Attributes:
        id: of its session, empty until it is let in.
        address: of its client, as far as that counts as one peer.
        paused: its outbound budget is used up: whatever comes is left in the log.
        subs: by alias.
        rooms: by name, "" for its private stream.
        claimed: rooms that the client says it was in, and that were not looked at yet.
        is_open: the client is let in, and its old streams are entered.
        over: it is closing or closed; nothing more is done for it.
        largest: bytes of a frame that its client takes.
    """

    def __init__(self, app: Events) -> None:
        self.app = app
        self.hub = app.hub
        self.id = ""
        self.address = ""
        self.largest = limits.MESSAGE_BYTES_MAX
        self.paused = False
        self.over = False
        self.conn: Any = None
        self.session: Session | None = None
        self.subs: dict[int, Subscription] = {}
        self.rooms: dict[str, Subscription] = {}
        self.claimed: set[str] = set()
        self.budget: Budget | None = None
        self._send: Any = None
        self.is_open = False
        self._said_hello = False
        self._hello_timer: asyncio.TimerHandle | None = None
        self._opener: asyncio.Task[None] | None = None
        self._requests: deque[Any] = deque()
        self._requester: asyncio.Task[None] | None = None
        self._repeats: deque[envelope.Message] = deque()
        self._repeater: asyncio.Task[None] | None = None
        self._readers: dict[Subscription, None] = {}
        self._pump: asyncio.Task[None] | None = None
        self._owing: dict[Subscription, None] = {}
        self._payer: asyncio.TimerHandle | None = None
        self._conflated: dict[Any, bytes] = {}
        self._ack_due = False
        self._reading_held = False
        self.refreshed_at = 0.0
        self._room_waiters: list[asyncio.Future[None]] = []

    # The connection

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        self.refreshed_at = conn.loop.time()
        self.address = door.address_of(conn.remote_address)
        self._send = conn.send_nowait
        if not conn.traits.supports(Delivery.RELIABLE_ORDERED):
            self.cut(CloseCode.POLICY, "events need a transport that is reliable and ordered")
            return
        self.app.links[self] = None
        self._hello_timer = conn.loop.call_later(limits.EVENTS_HELLO_S, self._no_hello)

    def _no_hello(self) -> None:
        if not self._said_hello:
            self.hub.counters["refused_hello_timeout"] += 1
            self.cut(CloseCode.HANDSHAKE_TIMEOUT, f"no HELLO within {limits.EVENTS_HELLO_S:g} s")

    def message_received(self, message: Any, channel: int) -> None:
        if self.over:
            return
        try:
            self._take(parse.parse(message, parse.FROM_CLIENT), len(message))
        except Malformed as error:
            self.hub.counters["malformed"] += 1
            self.cut(error.code, error.reason)

    def pause_writing(self) -> None:
        self.paused = True
        self.hub.counters["slow"] += 1

    def resume_writing(self) -> None:
        self.paused = False
        waiting, self._conflated = self._conflated, {}
        for frame in waiting.values():
            self._write_loose(frame)
        for future in self._room_waiters:
            if not future.done():
                future.set_result(None)
        self._room_waiters.clear()
        self._start_pump()

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        """Nothing more is done for this connection. Idempotent."""
        self.over = True
        self.app.links.pop(self, None)
        for timer in (self._hello_timer, self._payer):
            if timer is not None:
                timer.cancel()
        for task in (self._opener, self._requester, self._repeater, self._pump):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        for future in self._room_waiters:
            if not future.done():
                future.set_result(None)
        for sub in list(self.subs.values()):
            self._drop(sub)
        self._readers.clear()
        self._owing.clear()
        self._conflated.clear()
        self.hub.calls.gone(self)
        session, self.session = self.session, None
        if session is not None and session.member is self:
            session.member = None
            self.app.detached(session)

    def cut(self, code: int, reason: str) -> None:
        """Ends the connection with a code that the client is told."""
        if not self.over:
            self._end()
            self.conn.close_soon(code, reason[: limits.REASON_BYTES_MAX // 4])

    def refuse(self, reason: str, text: str, code: int, retry_ms: int = -1, generation: int = 0) -> None:
        """The same, with a REFUSED before it."""
        if not self.over:
            self.hub.counters[f"refused_{reason if reason in KNOWN else 'by_program'}"] += 1
            self.write(envelope.refused(reason, text, retry_ms, generation))
            self.cut(code, f"{reason}: {text}")

    def fence(self, generation: int) -> None:
        """A newer connection of the session has taken over."""
        self.refuse("superseded", "the session was resumed on a newer connection", CloseCode.POLICY, -1, generation)

    def fenced(self, error: Fenced) -> None:
        """The log says that the session is at another generation, or that it knows no such session any more."""
        if error.generation is None:  # its time is over, as by a clock that was set: the client may begin anew
            self.refuse("log", "the session is forgotten", CloseCode.OVERLOADED, self.app.retry_ms())
        else:
            self.fence(error.generation)

    @property
    def is_opening(self) -> bool:
        """It is being let in."""
        return self._opener is not None

    @property
    def reader_count(self) -> int:
        """Its streams that read the log."""
        return sum([1 for sub in self.subs.values() if sub.mode is Mode.READING])

    def go_away(self, frame: bytes) -> None:
        """The server is about to end: the client is told when to come back. What it still sends is handled."""
        if self.session is not None:
            self.write(frame)

    async def left(self) -> None:
        """Returns when all that was said has left, or the connection is over."""
        try:
            await self.conn.flush()
        except ConnectionClosed:
            pass

    def hold_reading(self, waiting: int) -> None:
        """Its messages pile up before its handlers, so many bytes and another: it is not read until `go_on_reading`.

        Unless it is asked something: its answer comes behind what it has sent, and handlers may wait for that.
        """
        if self.over:
            return
        if self.hub.calls.wait_for(self):
            if waiting > limits.EVENTS_INBOX_CALL_BYTES:
                self.hub.counters["overflows"] += 1
                self.cut(CloseCode.OVERLOADED, "too many messages come before an answer")
        elif not self._reading_held:
            self._reading_held = True
            self.hub.counters["reading_held"] += 1
            self.conn.pause_reading()

    def go_on_reading(self) -> None:
        """There is room again."""
        if self._reading_held and not self.over:
            self._reading_held = False
            self.conn.resume_reading()

    # Writing

    def write(self, frame: bytes) -> bool:
        """Queues a frame; False if it is over what this client takes."""
        if len(frame) > self.largest:  # known here alone, where the transport is not told
            self.hub.counters["too_large"] += 1
            return False
        try:
            self._send(frame)
        except MessageTooLarge:
            self.hub.counters["too_large"] += 1
            return False
        except WouldBlock:
            self.hub.counters["overflows"] += 1
            self.cut(CloseCode.OVERLOADED, "the outbound buffer is full")
        except ConnectionClosed:
            pass
        except Exception:  # others that get the same frame must not miss it
            log.exception("a client can't be written to")
            self.cut(CloseCode.INTERNAL_ERROR, "internal error")
        return True

    def call(self, frame: bytes) -> bool:
        """Writes a CALL, and reads on: the answer has to come through. False if it is over what this client takes."""
        if not self.write(frame):
            return False
        self.go_on_reading()
        return True

    def volatile(self, frame: bytes, place: Any) -> bool:
        """Writes what may be lost. Under pressure the latest of each `place` waits, and the rest is dropped."""
        if self.paused:
            counters = self.hub.counters
            if place is None or (place not in self._conflated and len(self._conflated) >= limits.EVENTS_CONFLATED_MAX):
                counters["volatile_dropped"] += 1
                return False
            counters["conflated"] += place in self._conflated
            self._conflated[place] = frame
            return True
        self._write_loose(frame)
        return True

    def _write_loose(self, frame: bytes) -> None:
        if len(frame) > self.largest:
            self.hub.counters["too_large"] += 1
            return
        try:
            self._send(frame, delivery=Delivery.UNRELIABLE)
        except MessageTooLarge:  # for an unreliable message: there may be room in a reliable one
            self.write(frame)
        except TransportError:
            pass
        except Exception:  # others that get the same frame must not miss it
            log.exception("a client can't be written to")
            self.cut(CloseCode.INTERNAL_ERROR, "internal error")

    async def room_to_write(self) -> None:
        """Returns when the budget has room again, or the connection is over."""
        while self.paused and not self.over:
            future: asyncio.Future[None] = self.conn.loop.create_future()
            self._room_waiters.append(future)
            await future

    def acknowledge(self) -> None:
        """Soon tells the client which messages were handled: once for all of one turn of the loop."""
        if not self._ack_due and not self.over:
            self._ack_due = True
            self.conn.loop.call_soon(self._write_ack)

    def _write_ack(self) -> None:
        self._ack_due = False
        if self.session is not None and not self.over:
            self.write(envelope.ack(self.session.contiguous))

    def owes(self, subscription: Subscription) -> None:
        """An advance of its cursor waits: soon it is told, if no event takes it along."""
        self._owing[subscription] = None
        if self._payer is None:
            self._payer = self.conn.loop.call_later(limits.EVENTS_ADVANCE_S, self._pay)

    def _pay(self) -> None:
        self._payer = None
        owing, self._owing = self._owing, {}
        for sub in owing:
            if not self.over and sub.mode is not Mode.PAUSED:
                sub.pay()

    # Frames

    def _take(self, frame: Any, size: int) -> None:
        session = self.session
        if session is None:
            if type(frame) is not envelope.Hello or self._said_hello:
                raise Malformed("a client begins with one HELLO and waits for its WELCOME")
            self._said_hello = True
            self.largest = frame.largest or self.largest
            self._opener = self.conn.loop.create_task(self.app.let_in(self, frame))
        elif type(frame) is envelope.Message:
            self._message(session, frame, size)
        elif type(frame) is envelope.Answer:
            self.hub.calls.answered(self, frame.call, frame.ok, frame.data)
        elif type(frame) is envelope.Join or type(frame) is envelope.Leave:
            if len(self._requests) >= limits.EVENTS_REQUESTS_MAX:
                raise Malformed("too many joins wait for their answers", CloseCode.OVERLOADED)
            self._requests.append(frame)
            self.start_requests()
        elif type(frame) is envelope.Pause:
            sub = self.subs.get(frame.alias)
            if sub is not None:
                self.hub.counters["pauses"] += 1
                self._readers.pop(sub, None)
                sub.pause()
        elif type(frame) is envelope.Continue:
            sub = self.subs.get(frame.alias)
            if sub is not None and not sub.go_on(frame.offset):
                raise Malformed(f"a stream can't go on behind {frame.offset}", CloseCode.POLICY)
        else:
            raise Malformed("a second HELLO")

    def _message(self, session: Session, frame: envelope.Message, size: int) -> None:
        verdict = session.message(frame.number, frame.floor)
        if verdict is Verdict.RUN:
            self.app.dispatch(session, frame, size)
        elif verdict is Verdict.DONE:
            self.hub.counters["duplicates"] += 1
            if len(self._repeats) >= limits.EVENTS_REPEATS_MAX:
                raise Malformed("messages that were handled are sent again and again", CloseCode.OVERLOADED)
            self._repeats.append(frame)
            if self._repeater is None:
                self._repeater = self.conn.loop.create_task(self._repeat())
        elif verdict is Verdict.AGAIN:
            self.hub.counters["duplicates"] += 1
            if frame.number in session.unstored:
                self.app.settle_again(session, frame.number)
        elif verdict is Verdict.VIOLATION:
            raise Malformed(f"message {frame.number} is outside of the window")

    async def _repeat(self) -> None:
        """Answers again what was answered before, as fast as the client takes it."""
        try:
            while self._repeats and self.session is not None:
                await self.room_to_write()
                if self.session is not None:
                    await dispatch.repeat(self.session, self, self._repeats.popleft())
        finally:
            self._repeater = None

    def start_requests(self) -> None:
        """Joins and leaves are worked on one by one, in the order in which they came."""
        if self._requester is None and self._requests and not self.over and self._opener is None:
            self._requester = self.conn.loop.create_task(self._work_requests())

    def opened(self) -> None:
        """The client is let in, its old streams are entered: what it asked for since is next."""
        self._opener = None
        self.is_open = True
        self.start_requests()

    async def _work_requests(self) -> None:
        try:
            while self._requests and not self.over:
                frame = self._requests.popleft()
                await self.app.requested(self, frame)
        except Fenced as error:
            self.fenced(error)
        except Refused:
            self.fence(0)
        except LogError as error:
            self.log_failed(error)
        except Exception:  # a client whose wish is never answered would wait for ever
            log.exception("what a client asked for could not be done")
            self.cut(CloseCode.INTERNAL_ERROR, "internal error")
        finally:
            self._requester = None

    def log_failed(self, error: BaseException) -> None:
        """The log can't be read or written now; the client may come back and find it mended."""
        log.warning("the log failed for a client: %s", error)
        self.hub.counters["log_failures"] += 1
        self.refuse("log", "the log is not available", CloseCode.OVERLOADED, self.app.retry_ms())

    # Streams

    def place(self, sub: Subscription) -> None:
        """A subscription of this client begins."""
        self.subs[sub.stream.alias] = sub
        self.rooms[sub.room] = sub
        sub.stream.add(sub)

    def _drop(self, sub: Subscription) -> None:
        self.subs.pop(sub.stream.alias, None)
        self._readers.pop(sub, None)
        if self.rooms.get(sub.room) is sub:
            del self.rooms[sub.room]
        if sub.mode is not Mode.GONE:
            sub.stream.remove(sub)
        self.hub.leave(sub.stream)

    def drop_room(self, room: str) -> bool:
        """A subscription ends; False if there is none."""
        sub = self.rooms.get(room)
        if sub is None:
            return False
        self._drop(sub)
        return True

    def renewed(self, sub: Subscription) -> None:
        """From the hub: the stream has another epoch."""
        if not self.over:
            self._requests.append(sub)
            self.start_requests()

    # Reading the log

    def has_to_read(self, subscription: Subscription) -> None:
        """A subscription of it reads from now on."""
        self._readers[subscription] = None
        self._start_pump()

    def _start_pump(self) -> None:
        if self._pump is None and self._readers and not self.paused and not self.over:
            self._pump = self.conn.loop.create_task(self._read())

    async def _read(self) -> None:
        """Pages for the subscriptions that read, in turn, as fast as the client takes them."""
        sent = 0
        try:
            while self._readers and not self.paused and not self.over:
                sub = next(iter(self._readers))
                del self._readers[sub]
                if sub.mode is not Mode.READING:
                    continue
                if sub.missing is not None:
                    await self._tell_gap(sub)
                elif not sub.catch_up():
                    sent += await self._read_page(sub)
                    await asyncio.sleep(0)  # a log in memory lets nobody else have a turn
                if sub.mode is Mode.READING:
                    self._readers[sub] = None
                if sent >= limits.EVENTS_FLUSH_BYTES:
                    sent = 0
                    await self.conn.flush()
        except ConnectionClosed:
            pass
        except LogError as error:
            self.log_failed(error)
        except Exception:  # a stream that stands still without a word would be a silent loss
            log.exception("a client's streams can't be read")
            self.cut(CloseCode.INTERNAL_ERROR, "internal error")
        finally:
            self._pump = None
            self._start_pump()

    async def _read_page(self, sub: Subscription) -> int:
        stream, after = sub.stream, sub.sent
        try:
            async with self.hub.reads:
                page = await self.hub.log.read(
                    stream.name, after, count=limits.EVENTS_PAGE_EVENTS, bytes=limits.EVENTS_PAGE_BYTES
                )
        except UnknownStream:
            self.hub.renew(stream)
            return 0
        if self.over or sub.mode is not Mode.READING or sub.sent != after:
            return 0
        if page.head.epoch != stream.epoch:
            self.hub.renew(stream)
            return 0
        sub.take(page)
        if not page.events and not page.trimmed and not sub.catch_up():
            await asyncio.sleep(limits.EVENTS_ADVANCE_S)  # it is not there yet: no busy loop
        return sum([len(event.payload) for event in page.events])

    async def _tell_gap(self, sub: Subscription) -> None:
        """Reads where the stream begins, has the namespace say how to go on, and tells the client."""
        stream, missing = sub.stream, sub.missing
        assert missing is not None
        assert self.session is not None
        head = await self.hub.log.head(stream.name)
        if head.epoch != stream.epoch:
            self.hub.renew(stream)
            return
        namespace = self.session.namespace
        policy, snapshot, offset = namespace.policy, None, stream.top
        if policy is Policy.SNAPSHOT and sub.room:
            policy, snapshot = await self.app.snapshot(namespace, sub.room)
        elif policy is Policy.SNAPSHOT:
            policy = Policy.NOW
        if sub.missing is missing and not self.over:
            self.hub.counters[f"gaps_{missing.why.name.lower()}"] += 1
            sub.close_gap(head.first, policy, snapshot, offset)
