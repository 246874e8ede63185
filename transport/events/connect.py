"""`connect_events`: a client that comes back by itself, and goes on where it was.

A thin shell around the machine in `client`: it opens connections, gives frames and takes them, and hands to the program
what happened. It must never lose what the machine said, nor run two handlers of one client at once unless it was asked.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Any

import transport
from transport import CloseCode, limits
from transport.api import Opening
from transport.errors import ConnectionClosed, LocalProtocolError, MessageTooLarge, WouldBlock
from transport.events import client as machine
from transport.events import cursors, envelope, handlers
from transport.events.errors import CallFailed, CallTimeout, Denied, Refused, Uncertain
from transport.events.following import Stream
from transport.events.life import Life
from transport.events.messages import Gap, Message, Subscription
from transport.events.namespace import Position, body_of, check_room
from transport.events.work import Work

log = logging.getLogger("transport.events")


class EventsClient(Life):
    """A client of one namespace. Made by `connect_events`.

    Attributes:
        machine: what it knows of its session; see `transport.events.client`.
        reconnects: how often it has come back.
        closed: it ended, by `close` or because the server does not want it.
    """

    def __init__(self, url: Any, namespace: str, auth: Any, cursor: Any, ack: str, reconnect: Any, concurrency: int,
                 options: dict[str, Any]) -> None:  # fmt: skip
        _check(namespace, cursor, ack, reconnect)
        Life.__init__(self, url, reconnect, options)
        self.loop = asyncio.get_running_loop()
        self.machine = machine.Client(namespace, auth)
        self.reconnects = 0
        self.closed = False
        self._ack_received = ack == "received"
        self._store: Any = cursors.FileCursor(cursor) if isinstance(cursor, (str, os.PathLike)) else cursor
        self._save_timer: asyncio.TimerHandle | None = None
        self._room_for: deque[asyncio.Future[None]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._joining: dict[str, Subscription] = {}
        self._work = Work(self, concurrency)
        self._final: BaseException | None = None

    def _finish(self, error: BaseException | None) -> None:
        """Nothing more will come: everybody who waits is told."""
        if self.closed and self._final is not None:
            return
        self.closed = True
        self._final = error or ConnectionClosed(CloseCode.NORMAL, "the client is closed")
        for waiter in [*self._room_for, *self._idle]:
            if not waiter.done():
                waiter.set_result(None)
        self._room_for.clear()
        self._idle.clear()
        self._work.end()
        if error is not None and not isinstance(error, asyncio.CancelledError):  # handlers alone would never hear of it
            log.warning("the client of %s has ended and does not come back: %s", self._shown_url, error)
        for stream in self.machine.streams.values():
            if isinstance(stream.sink, Subscription):
                stream.sink.end(error)
        for sub in self._joining.values():
            sub.end(error)
        for future in self.machine.give_up():
            if isinstance(future, asyncio.Future) and not future.done():
                future.set_exception(self._final)
                future.exception()
        self.save()

    async def close(self, grace: float = limits.CLOSE_GRACE_S) -> None:
        """Ends the client: waits for what it sent to be settled, for at most `grace` seconds. Idempotent.

        The session stays, so that a client with the same cursor goes on.
        """
        if not self.closed:
            try:
                async with asyncio.timeout(grace):
                    await self.flush()
            except (TimeoutError, ConnectionClosed, Refused):
                pass
        if self._keeper is not None:
            self._keeper.cancel()
        wire = self._wire
        self._finish(None)
        if wire is not None and wire.conn is not None:
            await wire.conn.close(grace=grace)
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        await self._work.ended()

    async def wait_closed(self) -> None:
        """Returns when the client has ended. Raises what ended it, unless that was `close`."""
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        if self._final is not None and not (
            isinstance(self._final, ConnectionClosed) and self._final.code == CloseCode.NORMAL
        ):
            raise self._final

    async def __aenter__(self) -> EventsClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What happened

    def _happened(self) -> None:
        for what in self.machine.events():
            kind = type(what)
            if kind is machine.Delivered:
                event = what.event
                self._give(what.stream, Message(self, what.stream, what.stream.room, what.epoch, event.offset,
                                                event.name, event.data, replay=event.replay))  # fmt: skip
            elif kind is machine.Settled:
                self._settled(what.outgoing, what.reply)
            else:
                _HEAR[kind](self, what)

    def _give(self, stream: Stream, message: Message) -> None:
        if self._ack_received:
            message.done()
        sink = stream.sink
        if sink is None:
            stream.held.append(message)
            self._adopt_if_handled(stream)
        else:
            sink.put(message)

    def _adopt_if_handled(self, stream: Stream) -> None:
        """Streams that nobody has to ask for go to the handlers, once there are any."""
        if (not stream.room or not stream.by_client) and self._work.handlers.count:
            self.adopt(stream, self._work)

    def adopt(self, stream: Stream, sink: Any) -> None:
        """From now on a stream's events go there, those that waited first."""
        before, stream.sink = stream.sink, sink
        if isinstance(before, Subscription) and before is not sink:
            for message in before.give_up():
                sink.put(message)
        while stream.held:
            sink.put(stream.held.popleft())

    def _hear_opened(self, what: machine.Opened) -> None:
        for outgoing in what.uncertain:
            self._fail(outgoing, Uncertain("the server forgot the session; nobody knows whether this was handled"))
        if self.machine.up:
            if self._opened is not None and not self._opened.done():
                self._opened.set_result(None)
            self.save()

    def _hear_closed(self, what: machine.Closed) -> None:
        self._refusal = what.refused

    def _hear_loose(self, what: machine.Loose) -> None:
        event = what.event
        message = Message(self, None, what.room, 0, 0, event.name, event.data, volatile=True)
        stream = self.machine.streams.get(what.room)
        sink = None if stream is None else stream.sink
        if isinstance(sink, Subscription):
            sink.put_loose(message)
        else:
            self._work.put_loose(message)

    def _hear_gap(self, what: machine.GapFound) -> None:
        gap = what.gap
        told = Gap(gap.why.name.lower(), gap.first, gap.top, gap.policy.name.lower(),
                   None if gap.lost < 0 else gap.lost, gap.snapshot)  # fmt: skip
        message = Message(self, what.stream, what.room, what.epoch, gap.offset, "", None, gap=told)
        if what.stream is not None:
            self._give(what.stream, message)
        else:
            self._work.put(message)

    def _hear_caught_up(self, what: machine.CaughtUp) -> None:
        self._work.caught_up(what.stream.room, what.events)

    def _hear_rewound(self, what: machine.Rewound) -> None:
        log.warning("the log of %r has gone back: its offsets are given again", what.stream.room or "this client")
        self.save()  # before the program sees any of what follows: another life must know it, too

    def _hear_entered(self, what: machine.Entered) -> None:
        sub = self._joining.pop(what.stream.room, None)
        if sub is not None:
            self.adopt(what.stream, sub)
        if isinstance(what.token, asyncio.Future) and not what.token.done():
            what.token.set_result(Position(what.stream.epoch, what.top))
        if what.stream.sink is None:
            self._adopt_if_handled(what.stream)
        self._save_soon(0.0)  # a crash right after must not make the client forget where it is

    def _hear_outside(self, what: machine.Outside) -> None:
        token = what.token
        if isinstance(token, asyncio.Future) and not token.done():
            if what.reason:
                reason, _, text = what.reason.partition(": ")
                token.set_exception(Denied(text) if reason == "denied" else Refused(reason, text))
                token.exception()
            else:
                token.set_result(None)
        if what.stream is not None and isinstance(what.stream.sink, Subscription):
            what.stream.sink.end(Denied(what.reason.removeprefix("denied: ")) if what.reason else None)
        self._save_soon()

    def _hear_asked(self, what: machine.Asked) -> None:
        self._work.asked(what)

    def _hear_going(self, what: machine.GoingAway) -> None:
        share = self._backoff.random() if self._backoff is not None else 0.0
        self._going_s = (what.retry_ms + share * what.jitter_ms) / 1000

    # The cursor

    def finished(self, stream: Stream, epoch: int, offset: int) -> None:
        """The program is done with an event."""
        if self.machine.finish(stream, epoch, offset):
            self._save_soon()
        if self.machine.out:
            self.write()

    def told(self, room: str) -> None:
        """The program knows that a room has begun anew with the session."""
        self.machine.untold.told(room)
        self._save_soon()

    def set_aside(self, stream: Stream, epoch: int, offset: int) -> None:
        """The effect of an event has failed."""
        self.machine.set_aside(stream, epoch, offset)
        self._happened()

    def _hear_stalled(self, what: machine.Stalled) -> None:
        log.warning(
            "no more events of %r come: the effects of %d have failed. It goes on when enough of them are done, by"
            " another `once` or `done()` of their messages, or after a restart",
            what.stream.room or "this client", what.failed,
        )  # fmt: skip

    def _save_soon(self, seconds: float = limits.EVENTS_CURSOR_S) -> None:
        if self._store is None or self.closed:
            return
        if self._save_timer is not None and not seconds:
            self._save_timer.cancel()
            self._save_timer = None
        if self._save_timer is None:
            self._save_timer = self.loop.call_later(seconds, self.save)

    def save_again(self) -> None:
        """What was saved last may be lost."""
        self._save_soon()

    def save(self) -> None:
        """Writes the cursor now, if it is kept anywhere. A failure is logged: the client goes on, from further back."""
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        if self._store is not None and self.machine.session:
            try:
                self._store.save(cursors.pack(self.machine))
            except Exception:
                log.exception("the cursor can't be kept")

    @property
    def keeps_cursor(self) -> bool:
        """Whether a program that is started again goes on where this one was."""
        return self._store is not None

    @property
    def cursors(self) -> dict[str, Position]:
        """How far the program is in each room; "" is what was sent to this client alone."""
        return {
            room: Position(stream.epoch, stream.tracker.cursor) for room, stream in self.machine.streams.items()
        }  # fmt: skip

    # Sending

    async def emit(self, event: Any, data: Any = None) -> None:
        """Sends an event to the server's handler; waits only while EVENTS_WINDOW messages are not settled.

        It arrives once, also across reconnects; `flush` waits for that.

        Raises:
            CodecError, MessageTooLarge, LocalProtocolError: as they say. ConnectionClosed, Refused: the client ended.
        """
        body = body_of(event, data)
        await self._send(body, False, None)

    async def call(self, event: Any, data: Any = None, *, timeout: float | None = 10.0) -> Any:
        """Sends an event and returns what its handler does, also across reconnects.

        Raises:
            CallFailed: the handler's error. CallTimeout: no reply in time; the message may have been handled.
            Uncertain: the server forgot the session.
        """
        body = body_of(event, data)
        future = self.loop.create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._send(body, True, future)
                return await future
        except TimeoutError:
            if future.done() and not future.cancelled():
                raise
            raise CallTimeout(f"no reply to {event!r:.60} within {timeout} s") from None

    async def _send(self, body: bytes, wants_reply: bool, token: Any) -> None:
        """One message, once there is room. Whoever fails here passes the room on: others may wait for it."""
        try:
            await self._slot()
            limit = self.machine.largest - limits.EVENTS_FRAME_COST_BYTES
            if self.machine.up and len(body) > limit:
                raise MessageTooLarge(len(body), limit, "event")
            self.machine.send(body, wants_reply, token)
        finally:
            self._wake_next()
        self.write()

    async def _slot(self) -> None:
        while not self.closed and self.machine.is_full:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._room_for.append(waiter)
            await waiter
        self._check_open()

    def _check_open(self) -> None:
        if self.closed:
            raise self._final or ConnectionClosed(CloseCode.NORMAL, "the client is closed")

    def _settled(self, outgoing: machine.Outgoing, reply: envelope.Reply | None) -> None:
        future = outgoing.token
        if isinstance(future, asyncio.Future) and not future.done():
            if reply is not None and reply.ok:
                future.set_result(reply.data)
            else:
                future.set_exception(CallFailed.of(None if reply is None else reply.data))
                future.exception()
        self._has_room()

    def _fail(self, outgoing: machine.Outgoing, error: Exception) -> None:
        future = outgoing.token
        if isinstance(future, asyncio.Future):
            if not future.done():
                future.set_exception(error)
                future.exception()
        else:
            self.machine.counters["uncertain"] += 1
            log.warning("an emitted event may be lost: %s", error)
        self._has_room()

    def _wake_next(self) -> None:
        while self._room_for and not self.machine.is_full:
            waiter = self._room_for.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def _hear_too_large(self, what: machine.TooLarge) -> None:
        self._fail(what.outgoing, MessageTooLarge(what.size, what.limit, "event"))

    def _has_room(self) -> None:
        self._wake_next()
        if not self.machine.unsettled:
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
            self._idle.clear()

    async def flush(self) -> None:
        """Returns when the server has handled all that was sent. Raises what ended the client."""
        while self.machine.unsettled:
            self._check_open()
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._idle.append(waiter)
            await waiter

    # Rooms

    async def join(self, room: str, *, since: str = "cursor") -> Position:
        """Enters a room, whose events go to the handlers; returns (epoch, top).

        Args:
            room: its name.
            since: "cursor" for where this client was, which is now for a new one; "now"; "oldest", where the server
                lets newcomers read what was before.

        Raises:
            Denied, Refused: the server says no.
        """
        position = await self._enter(room, since)
        stream = self.machine.streams.get(room)
        if stream is not None and stream.sink is None:
            self.adopt(stream, self._work)
        return position

    async def _enter(self, room: str, since: str) -> Position:
        check_room(room)
        if since not in {"cursor", "now", "oldest"}:
            raise LocalProtocolError(f"since is 'cursor', 'now' or 'oldest', not {since!r:.60}")
        self._check_open()
        stream = self.machine.streams.get(room)
        if since == "cursor" and stream is not None and stream.alias:
            return Position(stream.epoch, stream.tracker.received)
        if self.machine.wishes >= limits.EVENTS_REQUESTS_MAX:
            raise WouldBlock(f"{limits.EVENTS_REQUESTS_MAX} joins and leaves wait for their answers")
        future: asyncio.Future[Position] = self.loop.create_future()
        self.machine.join(room, since, future)
        self.write()
        return await future

    async def leave(self, room: str) -> None:
        """Leaves a room; its cursor is forgotten."""
        check_room(room)
        self._check_open()
        stream = self.machine.streams.get(room)
        if stream is not None and isinstance(stream.sink, Subscription):
            stream.sink.end(None)
        future: asyncio.Future[None] = self.loop.create_future()
        self.machine.leave(room, future)
        self.write()
        await future

    def subscribe(self, room: str, *, since: str = "cursor") -> Subscription:
        """The events of a room for `async for`; `since` as for `join`. Raises, at the first one, what `join` does."""
        return Subscription(self, check_room(room), since)

    async def read_room(self, sub: Subscription) -> None:
        """From a subscription: it begins."""
        stream = self.machine.streams.get(sub.room)
        if stream is not None and stream.alias and sub.since == "cursor":
            self.adopt(stream, sub)
            return
        before, self._joining[sub.room] = self._joining.get(sub.room), sub
        if before is not None:
            before.end(None)  # it has nothing yet; the later one has the room, as ever
        try:
            await self._enter(sub.room, sub.since)
        finally:
            if self._joining.get(sub.room) is sub:
                del self._joining[sub.room]

    async def presence(self, room: str) -> list[Any]:
        """Who is in a room, as [{"id", "info"}]; joins and leaves come as events of the room "@presence/" + room."""
        watched = "@presence/" + room
        if watched not in self.machine.streams:
            await self.join(watched, since="now")
        found: list[Any] = await self.call("@presence", room)
        return found

    # Handlers

    def on(self, event: Any, function: Callable[..., Any] | None = None, *, once: bool = False) -> Any:
        """Has `function(message)` called for a name, a pattern such as "room.*", or a class. Also a decorator.

        What it returns is the answer where the server calls. Events of rooms that are read by `subscribe` go there.
        """
        if function is None:
            handlers.check_event(event)
            return lambda given: self.on(event, given, once=once)
        self._work.handlers.on(event, function, once)
        for stream in self.machine.streams.values():
            if stream.sink is None:
                self._adopt_if_handled(stream)
        return function

    def once(self, event: Any, function: Callable[..., Any] | None = None) -> Any:
        """The same, for one event."""
        return self.on(event, function, once=True)

    def off(self, event: Any, function: Callable[..., Any] | None = None) -> int:
        """Forgets the handlers of an event, or one of them; returns how many."""
        return self._work.handlers.off(event, function)

    def on_gap(self, function: Any) -> Any:
        """Decorator: `function(message)` for gaps in rooms that go to handlers; without it they are logged."""
        handlers.check(function, "the function of `on_gap`", "message")
        self._work.on_gap = function
        return function

    def statistics(self) -> dict[str, int]:
        """Counters, and how things stand."""
        streams = self.machine.streams.values()
        now = {
            "reconnects": self.reconnects, "unsettled": self.machine.unsettled,
            "undone": sum([len(stream.tracker.failed) for stream in streams]),
            "stalled": sum([stream.stalled for stream in streams]), **self._work.counters,
        }  # fmt: skip
        return {**now, **self.machine.counters}


_HEAR: dict[type, Any] = {
    machine.Opened: EventsClient._hear_opened, machine.Closed: EventsClient._hear_closed,
    machine.Loose: EventsClient._hear_loose, machine.GapFound: EventsClient._hear_gap,
    machine.CaughtUp: EventsClient._hear_caught_up, machine.Entered: EventsClient._hear_entered,
    machine.TooLarge: EventsClient._hear_too_large,
    machine.Outside: EventsClient._hear_outside, machine.Asked: EventsClient._hear_asked,
    machine.GoingAway: EventsClient._hear_going, machine.Rewound: EventsClient._hear_rewound,
    machine.Stalled: EventsClient._hear_stalled,
}  # fmt: skip


async def _begin(make: Callable[[], EventsClient]) -> EventsClient:
    client = make()
    await client.start()
    return client


_DEFAULT = object()


def _check(namespace: Any, cursor: Any, ack: Any, reconnect: Any) -> None:
    """The arguments of `connect_events`. Raises LocalProtocolError."""
    if not isinstance(namespace, str) or not namespace:
        raise LocalProtocolError(f"namespace is the name of one of the server's, such as '/', not {namespace!r:.60}")
    if ack not in {"processed", "received"}:
        raise LocalProtocolError(f"ack is 'processed' or 'received', not {ack!r:.60}")
    if not isinstance(cursor, (str, os.PathLike, type(None))) and not (
        hasattr(cursor, "load") and hasattr(cursor, "save")
    ):
        raise LocalProtocolError(f"cursor is a path, a FileCursor, a SQLiteCursor or None, not {cursor!r:.60}")
    if reconnect is not None and not isinstance(reconnect, transport.Backoff):
        raise LocalProtocolError(f"reconnect is a transport.Backoff, or None for one connection, not {reconnect!r:.60}")


def connect_events(
    url: Any,
    *,
    namespace: str = "/",
    auth: Any = None,
    cursor: Any = None,
    ack: str = "processed",
    reconnect: Any = _DEFAULT,
    concurrency: int = 1,
    **options: Any,
) -> Opening[EventsClient]:
    """A client of an `Events` app: await it, or use it with `async with`.

    Args:
        url: of any scheme of the library that is reliable and ordered.
        namespace: to enter.
        auth: what the server's `authorize` is given.
        cursor: where to keep what is needed to go on after a restart: a path, a `FileCursor`, a `SQLiteCursor`, or any
            object with `load` and `save`.
        ack: when the cursor moves: "processed", when the program is done with an event, or "received".
        reconnect: a `transport.Backoff`; None for one connection only.
        concurrency: handlers at once; 1 keeps events in order.
        **options: as of `transport.connect`.

    Raises (when awaited):
        Denied, Refused: the server says no. ConnectFailed: as of `transport.connect`.
    """
    backoff = transport.Backoff() if reconnect is _DEFAULT else reconnect

    def make() -> EventsClient:
        return EventsClient(url, namespace, auth, cursor, ack, backoff, concurrency, options)

    return Opening(functools.partial(_begin, make), "connect_events(...)")
