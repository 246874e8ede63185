"""`Events`: an application of namespaces, served on any URLs at once; and what all its connections share.

It must never keep anything of a client but its session, and that within bounds: what was missed is in the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any

from transport import CloseCode, limits
from transport.errors import LocalProtocolError
from transport.events import dispatch, door, envelope, opening, presence
from transport.events.envelope import Policy
from transport.events.errors import Busy, Refused
from transport.events.hub import Hub
from transport.events.link import Link
from transport.events.namespace import History, Namespace, Position, check_name
from transport.events.session import Session
from transport.events.streams import Subscription
from transport.events.tokens import Tokens
from transport.events.watch import Watch
from transport.events.wire import Wire
from transport.log.base import Log
from transport.log.errors import Fenced, LogClosed, LogLimit

log = logging.getLogger("transport.events")
SWEEP_S = 30.0
NEVER_MS = 10 * 366 * 86_400_000


def wall_ms() -> int:
    """The wall clock in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def _check(log: Any, key: Any, **seconds: Any) -> None:
    """The arguments of an app. Raises LocalProtocolError."""
    if not hasattr(log, "set_history"):
        raise LocalProtocolError(f"log is one of transport.log, such as SQLiteLog('events.db'), not {log!r:.60}")
    if key is not None and (not isinstance(key, bytes) or len(key) < 16):
        raise LocalProtocolError("the key of an Events has at least 16 bytes, and is bytes")
    for name, value in seconds.items():
        if not isinstance(value, int | float) or not value > 0:
            raise LocalProtocolError(f"{name} is a number of seconds, not {value!r:.60}")


class Events:
    """Named events with rooms and replies, and an exact account of what a client missed.

    Args:
        log: a `transport.log` log; a `MemoryLog` when None. Opened and closed with the servers, unless it is open.
        key: signs sessions and cursors; the log's own when None.
        handler_timeout: seconds that a handler may take.
        session_s: seconds that a session is kept without a connection.
        resumes_per_s: clients from one address that are let in per second, once EVENTS_RESUMES_BURST were; others are
            told to come back a little later. Where all come by way of one proxy, that is one address.
        wall: the wall clock in milliseconds, in which the log counts the age of sessions.
        entropy: random bytes; tests give seeded ones.
    """

    def __init__(
        self,
        log: Log | None = None,
        *,
        key: bytes | None = None,
        handler_timeout: float = limits.EVENTS_HANDLER_S,
        session_s: float = limits.EVENTS_SESSION_S,
        resumes_per_s: float = limits.EVENTS_RESUMES_PER_S,
        wall: Callable[[], int] = wall_ms,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if log is None:
            from transport.log.memory import MemoryLog

            log = MemoryLog()
        _check(log, key, handler_timeout=handler_timeout, session_s=session_s)
        self.log = log
        self.namespaces: dict[str, Namespace] = {}
        self.handler_timeout = handler_timeout
        self.session_s = session_s
        self.links: dict[Link, None] = {}
        self.draining = False
        self.door = door.Door(resumes_per_s)
        self._key = key
        self._wall = wall
        self._entropy = entropy
        self._random = random.Random(entropy(8))  # noqa: S311 (it spreads clients in time)
        self._hub: Hub | None = None
        self._users = 0
        self._gate_of: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._owns_log = False
        self._sweeper: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # What a program says

    def namespace(
        self,
        name: str = "/",
        *,
        history: History | None = None,
        on_gap: str = "now",
        concurrency: int = 1,
        presence: bool = False,
    ) -> Namespace:
        """A namespace, with its own handlers, rooms and rules.

        Args:
            name: such as "/chat".
            history: how much of its rooms is kept.
            on_gap: what a client gets that missed more: "now" for nothing, "oldest" for what is left, "snapshot" for
                what `@namespace.snapshot` gives.
            concurrency: handlers of one client at once; 1 keeps its messages in order.
            presence: whether its rooms tell who is in them.

        Raises:
            LocalProtocolError: it exists, or an argument is wrong.
        """
        check_name(name)
        if name in self.namespaces:
            raise LocalProtocolError(f"namespace {name!r} exists")
        if self._hub is not None:
            raise LocalProtocolError("namespaces are made before the app begins to serve")
        made = self.namespaces[name] = Namespace(self, name, history or History(), on_gap, concurrency, presence)
        return made

    def serve(self, *urls: str, **options: Any) -> Any:
        """Serves on all URLs: await it, or use it with `async with`. Gives a `Serving`.

        Options as of `transport.serve`.
        """
        from transport.events.serving import serve

        return serve(self, urls, options)

    def attach(self, wire: Wire) -> Link:
        """A client on a wire that an adapter brings, while the app serves; see `transport.events.wire`."""
        link = Link(self)
        link.connection_made(wire)
        return link

    def test(self, seed: int = 0, link: str = "delay=1ms") -> Any:
        """A kit that runs this app in virtual time and breaks what can break; see `transport.events.testing.Kit`."""
        from transport.events.testing import Kit

        return Kit(self, seed, link)

    # Life

    @property
    def hub(self) -> Hub:
        """What its connections share, while it serves."""
        if self._hub is None:
            raise LocalProtocolError("the app does not serve yet: `async with app.serve(...)`")
        return self._hub

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """That it serves on."""
        return self.hub.loop

    @property
    def is_served_once(self) -> bool:
        """Whether only one `serve` is left that uses it."""
        return self._users == 1

    @property
    def serves(self) -> bool:
        """Whether it serves."""
        return self._hub is not None

    def _gate(self) -> asyncio.Lock:
        """Of this loop: the app is opened by one at a time, and not while it is being shut."""
        loop = asyncio.get_running_loop()
        if self._gate_of is None or self._gate_of[0] is not loop:
            self._gate_of = (loop, asyncio.Lock())
        return self._gate_of[1]

    async def start(self) -> None:
        """One more server uses the app; the first one opens the log. Waits for a `stop` that is under way."""
        async with self._gate():
            if self._hub is None:
                await self._open()
            self._users += 1

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        for namespace in self.namespaces.values():
            if namespace.policy is Policy.SNAPSHOT and namespace.snapshooter is None:
                raise LocalProtocolError(f"{namespace.name!r}: on_gap='snapshot' needs @namespace.snapshot")
        if not self.namespaces:
            raise LocalProtocolError("the app has no namespace, so that no client could enter: app.namespace('/')")
        try:
            await self.log.statistics()
            self._owns_log = False
        except LogClosed:
            await self.log.open()
            self._owns_log = True
        try:
            for namespace in self.namespaces.values():
                await self.log.set_history(namespace.name, namespace.history.kept())
            key = self._key or await self.log.secret("cursor")
        except BaseException:
            if self._owns_log:
                await self.log.close()
            raise
        self.draining = False
        self._hub = Hub(self.log, Tokens(key, self._entropy), loop)
        self._sweeper = loop.create_task(self._sweep())
        self._watch = Watch(loop)

    async def stop(self) -> None:
        """One server less; with the last one handlers are ended and the log is closed."""
        self._users -= 1
        async with self._gate():
            if not self._users and self._hub is not None:  # nobody has begun to serve meanwhile
                try:
                    await self._end_tasks(self._hub)
                finally:
                    try:
                        if self._owns_log:
                            await self.log.close()
                    finally:
                        self._hub = None

    async def _end_tasks(self, hub: Hub) -> None:
        for link in list(self.links):
            link.cut(CloseCode.GOING_AWAY, "the server is closing")
        own = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not own]
        for session in hub.sessions.values():
            session.inbox.cancel()
            tasks += [task for task in session.inbox.tasks if task is not own]
        if self._watch is not None:
            self._watch.end()
        if self._sweeper is not None:
            tasks.append(self._sweeper)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=limits.CANCELLED_HANDLER_S)
        await hub.close()
        for namespace in self.namespaces.values():
            namespace.present.clear()

    async def _sweep(self) -> None:
        """Keeps sessions that are connected alive in the log, and forgets those that were away for too long."""
        while True:
            await asyncio.sleep(min(SWEEP_S, self.session_s / 4))
            hub = self.hub
            hub.sweep()
            hub.expire(self.session_s)
            for link in list(self.links):
                session = link.session
                if session is not None and self.loop.time() - link.refreshed_at > self.session_s / 3:
                    link.refreshed_at = self.loop.time()
                    try:
                        await opening.update(self, session, expires_ms=self.expires_ms())
                    except Fenced as error:
                        link.fenced(error)
                    except Exception as error:  # of the log; the others are to be kept all the same
                        log.warning("session %s can't be kept: %s", session.id, error)

    def expires_ms(self) -> int:
        """When a session may be forgotten that is connected now."""
        return self._wall() + int(self.session_s * 2000)

    def task(self, coroutine: Any) -> asyncio.Task[Any]:
        """Runs something beside, until the app stops."""
        task: asyncio.Task[Any] = self.loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def use_time(self, wall: Callable[[], int], entropy: Callable[[int], bytes], seed: int) -> None:
        """For tests: other clocks and other random bytes, from before it serves."""
        self._wall, self._entropy = wall, entropy
        self._random = random.Random(seed)  # noqa: S311

    # Letting in

    def may_enter(self, link: Link, hello: envelope.Hello) -> Namespace:
        """The namespace of a HELLO, whose client counts as waiting from now on. Raises Busy, Refused."""
        if self.draining:
            raise Busy("going_away", "the server is about to end")
        namespace = self.namespaces.get(hello.namespace)
        if namespace is None:
            raise Refused(
                "namespace", f"there is no namespace {hello.namespace!r:.80}; a client says which (namespace=)"
            )
        if not self.door.enter(link.address, self.loop.time()):
            raise Busy("busy", "too many clients come at once")
        return namespace

    def retry_ms(self) -> int:
        """When a client that was refused should come back: not all in one instant."""
        return door.retry_ms(self._random.random())

    async def let_in(self, link: Link, hello: envelope.Hello) -> None:
        """Answers a HELLO."""
        await opening.let_in(self, link, hello)

    async def requested(self, link: Link, frame: Any) -> None:
        """A join, a leave, or a stream that has another epoch. Raises LogError."""
        session = link.session
        if session is None:
            return
        if isinstance(frame, Subscription):
            if link.rooms.get(frame.room) is not frame:  # it was left meanwhile, or entered anew
                return
            claim = frame.claim()
            ticket = self.hub.tokens.ticket(session.id, session.namespace.name, claim)
            link.drop_room(frame.room)
            await opening.restore(self, link, session, frame.room, claim._replace(ticket=ticket), ask=False)
        elif isinstance(frame, envelope.Leave):
            await self.leave(session, frame.room)
            link.write(envelope.left(frame.request, frame.room))
        else:
            try:
                await self._join(link, session, frame)
            except Refused as error:
                link.write(envelope.left(frame.request, frame.room, f"{error.reason}: {error.text}"))
            except LogLimit as error:
                link.write(envelope.left(frame.request, frame.room, f"limit: {error}"))

    async def _join(self, link: Link, session: Session, frame: envelope.Join) -> None:
        room, claim = frame.room, frame.claim
        if frame.since == "cursor" and claim is not None and claim.room == room:
            await opening.restore(self, link, session, room, claim, frame.request, by_client=True)
            return
        if not await opening.may_enter(session, room, True):
            await opening.deny(self, link, session, room, frame.request, "not allowed in that room")
            return
        await opening.join(self, session, room, frame.since, link, frame.request)

    # Rooms

    async def join(self, session: Session, room: str) -> Position:
        """Puts a client into a room; the program decides that, nobody is asked."""
        return Position(*await opening.join(self, session, room, "now"))

    async def leave(self, session: Session, room: str, reason: str = "") -> bool:
        """Takes a client out of a room."""
        async with session.entering:
            if session.rooms.pop(room, None) is None:
                return False
            link = session.member
            if link is not None:
                link.drop_room(room)
            await opening.update(self, session, leave=[opening.stream_name(session, room)])
        if link is not None and reason:
            link.write(envelope.left(0, room, reason))
        presence.left(self, session, room)
        return True

    def entered(self, session: Session, room: str) -> None:
        """A client is in a room, again or for the first time."""
        presence.entered(self, session, room)

    def detached(self, session: Session) -> None:
        """A session lost its connection."""
        if self._hub is None:
            return
        self._hub.detach(session)
        session.inbox.start()
        presence.detached(self, session)
        function = session.namespace.on_disconnected
        if function is not None:
            self.task(self._tell(function, session))

    async def _tell(self, function: Callable[..., Any], session: Session) -> None:
        try:
            await opening._within(self.handler_timeout, function(session.context))
        except Exception:
            log.exception("the function that hears of disconnects failed")

    async def snapshot(self, namespace: Namespace, room: str) -> tuple[Policy, Any]:
        """The state of a room that closes a gap, or nothing where there is none."""
        if namespace.snapshooter is None:
            return Policy.NOW, None
        try:
            state = await opening._within(self.handler_timeout, namespace.snapshooter(room))
            envelope.encode_body(state)
        except Exception:
            log.exception("no snapshot of %r", room)
            return Policy.NOW, None
        return Policy.SNAPSHOT, state

    # Messages

    def busy(self) -> set[asyncio.Task[Any]]:
        """What is being handled or stored now."""
        found = set(self._tasks)
        for session in self.hub.sessions.values():
            found |= session.inbox.tasks
        return found - {asyncio.current_task()}

    def inbox_of(self, session: Session) -> dispatch.Inbox:
        """The way of a session's messages to their handlers."""
        return dispatch.Inbox(self, session, session.namespace.concurrency)

    def dispatch(self, session: Session, message: envelope.Message, size: int) -> None:
        """A message to its handler."""
        session.inbox.put(message, size)

    def settle_again(self, session: Session, number: int) -> None:
        """The log could not take it before."""
        reply = session.unstored.pop(number)
        self.task(dispatch.store(self, session, number, reply or None))

    # Figures

    def statistics(self) -> dict[str, int]:
        """Counters since the start, and how things stand now. Bytes and numbers."""
        hub = self.hub
        now = {
            "connections": len(self.links),
            "sessions": len(hub.sessions),
            "streams": hub.stream_count,
            "held_bytes": hub.held_bytes(),
            "calls_waiting": len(hub.calls),
            "readers": sum([link.reader_count for link in self.links]),
        }
        return {**now, **{name: hub.counters[name] for name in sorted(hub.counters)}}
