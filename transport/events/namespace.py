"""What a program says about one namespace: who may enter, who is called, what is kept, how a gap is closed.

And the two things it talks to: `Room`, everybody in one, and `Context`, one client. It must never let a client into a
room of which nobody said that it may be in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from transport import limits
from transport.errors import LocalProtocolError, MessageTooLarge, UnsupportedOperation
from transport.events import envelope, handlers, presence
from transport.events.dispatch import append
from transport.events.envelope import Policy
from transport.events.errors import CallFailed, CallTimeout, PeerGone
from transport.events.handlers import Handlers
from transport.log.records import History as Kept
from transport.log.records import Stream as Name
from transport.options import duration, size

if TYPE_CHECKING:
    from transport.events.app import Events
    from transport.events.session import Session

F = TypeVar("F", bound=Callable[..., Any])
Next = Callable[[], Awaitable[Any]]
_POLICIES = {"snapshot": Policy.SNAPSHOT, "oldest": Policy.OLDEST, "now": Policy.NOW}
_DURABILITIES = ("memory", "os", "disk")
_seconds = duration(0.001, 10 * limits.TIME_S_MAX)
_bytes = size(0, 1 << 50)
BODY_BYTES_MAX = limits.MESSAGE_BYTES_DEFAULT - limits.EVENTS_FRAME_COST_BYTES
_TOO_LARGE = {"code": "too_large", "text": "the call is over what this client takes"}


def _count(value: Any) -> None:
    if value is not None and (not isinstance(value, int) or value < 0):
        raise ValueError(f"count is a number of events or None, not {value!r:.60}")


@dataclass(frozen=True, slots=True)
class History:
    """How much of each room of a namespace can be missed and still be had.

    Args:
        count: events, or None.
        age: seconds, or text such as "24h", or None.
        bytes: of events, or text such as "64MiB", or None.
        joiners: what a client that joins for the first time may ask for: "now" for what comes after, or "oldest" for
            all that is kept.
    """

    count: int | None = 10_000
    age: float | str | None = "24h"
    bytes: int | str | None = "64MiB"
    joiners: str = "now"

    def __post_init__(self) -> None:
        if self.joiners not in {"now", "oldest"}:
            raise LocalProtocolError(f"joiners is 'now' or 'oldest', not {self.joiners!r}")
        try:
            _count(self.count)
            self.kept()
        except ValueError as error:
            raise LocalProtocolError(f"History: {error}") from None

    def kept(self) -> Kept:
        """The same as the log takes it."""
        age_ms = None if self.age is None else int(_seconds(self.age) * 1000)
        return Kept(self.count, age_ms, None if self.bytes is None else _bytes(self.bytes))


@dataclass(frozen=True, slots=True)
class Hello:
    """A client that wants in; what `authorize` is asked with.

    Attributes:
        auth: what the client gave.
        namespace: its name.
        resuming: whether it comes back.
        remote_address: of its connection.
        get_extra_info: as of its connection: `hello.get_extra_info("request").header("cookie")` on ws, "peercert" on
            tls.
    """

    auth: Any
    namespace: str
    resuming: bool
    remote_address: Any
    get_extra_info: Callable[[str], Any] = lambda name: None


class Incoming(NamedTuple):
    """A message of a client, for middleware."""

    name: str
    data: Any


@dataclass(slots=True)
class Answers:
    """What an acknowledged broadcast led to; by session id.

    Attributes:
        acked: what each handler gave back.
        failed: those that answered with an error.
        timed_out: those that did not answer in time.
        gone: those whose connection ended.
    """

    acked: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, CallFailed] = field(default_factory=dict)
    timed_out: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


class Namespace:
    """Made by `Events.namespace`."""

    def __init__(self, app: Events, name: str, history: History, on_gap: str, concurrency: int, presence: bool) -> None:
        if on_gap not in _POLICIES:
            raise LocalProtocolError(f"on_gap is one of {', '.join(_POLICIES)}, not {on_gap!r}")
        check_history(history)
        handlers.check_concurrency(concurrency)
        self.app = app
        self.name = name
        self.history = history
        self.policy = _POLICIES[on_gap]
        self.concurrency = concurrency
        self.has_presence = presence
        self.handlers = Handlers()
        self.authorizer: Callable[[Hello], Any] | None = None
        self.room_authorizer: Callable[[Context, str], Any] | None = None
        self.snapshooter: Callable[[str], Any] | None = None
        self.on_connected: Callable[[Context], Any] | None = None
        self.on_disconnected: Callable[[Context], Any] | None = None
        self.present: dict[str, dict[str, Session]] = {}
        self.warned = False  # that rooms need somebody who is asked about them
        self.noted: set[str] = set()  # names that have been logged
        self._middleware: list[Callable[[Context, Incoming, Next], Awaitable[Any]]] = []

    # What a program registers

    def authorize(self, function: F) -> F:
        """Decorator. `await function(hello)` gives the client's identity, or raises Denied: on connect and on resume.

        The identity is what msgpack carries, such as a name; False is the same as Denied. A session can be resumed only
        by the same identity.
        """
        handlers.check(function, "the function of `authorize`", "hello")
        self.authorizer = function
        return function

    def authorize_room(self, function: F) -> F:
        """Decorator. Whether `await function(ctx, room)` lets a client be in a room: on every join and every resume.

        Without it a client may be in what it asks to join, and on a resume in nothing else.
        """
        handlers.check(function, "the function of `authorize_room`", "ctx", "room")
        self.room_authorizer = function
        return function

    def snapshot(self, function: F) -> F:
        """Decorator. `await function(room)` gives the state that closes a gap, under `on_gap="snapshot"`."""
        handlers.check(function, "the function of `snapshot`", "room")
        self.snapshooter = function
        self.policy = Policy.SNAPSHOT
        return function

    def connected(self, function: F) -> F:
        """Decorator. `await function(ctx)` after each connect and resume, before any handler."""
        handlers.check(function, "the function of `connected`", "ctx")
        self.on_connected = function
        return function

    def disconnected(self, function: F) -> F:
        """Decorator. `await function(ctx)` after each loss of a connection."""
        handlers.check(function, "the function of `disconnected`", "ctx")
        self.on_disconnected = function
        return function

    def use(self, function: F) -> F:
        """Decorator: middleware. `await function(ctx, incoming, call_next)` around every handler, first one outside."""
        handlers.check(function, "middleware", "ctx", "incoming", "call_next")
        if len(self._middleware) >= limits.EVENTS_MIDDLEWARE_MAX:
            raise LocalProtocolError(f"more than {limits.EVENTS_MIDDLEWARE_MAX} middleware functions")
        self._middleware.append(function)
        return function

    def on(self, event: Any, function: Callable[..., Any] | None = None, *, once: bool = False) -> Any:
        """Has `function(ctx, data)` called for a name, a pattern ("room.*": `(ctx, name, data)`) or a class.

        Without a function it is a decorator. What the first handler returns is the reply.
        """
        if function is None:
            handlers.check_event(event)
            return lambda given: self.on(event, given, once=once)
        self.handlers.on(event, function, once)
        return function

    def once(self, event: Any, function: Callable[..., Any] | None = None) -> Any:
        """The same, for one event."""
        return self.on(event, function, once=True)

    def off(self, event: Any, function: Callable[..., Any] | None = None) -> int:
        """Forgets the handlers of an event, or one of them; returns how many."""
        return self.handlers.off(event, function)

    # What it talks to

    def to(self, room: str, *, skip: Any = None) -> Room:
        """Everybody in a room, but for one context or several."""
        check_room(room)
        return Room(self, room, _ids(skip))

    def contexts(self) -> list[Context]:
        """Of all sessions in memory, with and without a connection."""
        hub = self.app.hub
        return [session.context for session in hub.sessions.values() if session.namespace is self]

    # From the machinery

    async def handle(self, ctx: Context, name: str, data: Any) -> Any:
        """Calls whoever wants an event, through the middleware. Raises CallFailed when nobody does."""
        if name == presence.QUESTION and self.has_presence:
            found_there = await presence.answer(ctx._session, data)
            if found_there is None:
                raise CallFailed("denied", "not in that room")
            return found_there

        async def innermost() -> Any:
            found = self.handlers.find(name)
            if not found:
                raise CallFailed("unknown_event", f"nobody handles {name!r:.80}")
            reply = await handlers.call(found[0], ctx, name, data)
            for handler in found[1:]:
                await handlers.call(handler, ctx, name, data)
            return reply

        step: Next = innermost
        incoming = Incoming(name, data)
        for function in reversed(self._middleware):
            step = _around(function, ctx, incoming, step)
        return await step()


def _around(function: Callable[..., Awaitable[Any]], ctx: Context, incoming: Incoming, step: Next) -> Next:
    return lambda: function(ctx, incoming, step)


def _ids(skip: Any) -> tuple[str, ...]:
    if skip is None:
        return ()
    many: Iterable[Any] = skip if isinstance(skip, (list, tuple, set, frozenset)) else (skip,)
    found = []
    for one in many:
        name = getattr(one, "id", one)
        if not isinstance(name, str):
            raise LocalProtocolError(f"skip is a context, the id of a session, or several of these, not {skip!r:.60}")
        found.append(name)
    return tuple(found)


def check_name(name: Any) -> None:
    """Of a namespace. Raises LocalProtocolError."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= limits.EVENTS_NAME_BYTES_MAX:
        raise LocalProtocolError(f"a namespace is a name such as '/chat', not {name!r:.60}")


def check_history(history: Any) -> None:
    """Raises LocalProtocolError."""
    if not isinstance(history, History):
        raise LocalProtocolError(f"history is a History(count=..., age=..., bytes=...), not {history!r:.60}")


def check_room(room: Any) -> str:
    """A room's name. Raises LocalProtocolError."""
    if not isinstance(room, str) or not room or not room.isprintable():
        raise LocalProtocolError(f"a room is a name that can be printed, not {room!r:.60}")
    if len(room.encode("utf-8", "replace")) > limits.EVENTS_NAME_BYTES_MAX:
        raise LocalProtocolError(f"the name of a room has at most {limits.EVENTS_NAME_BYTES_MAX} bytes")
    return room


def body_of(event: Any, data: Any) -> bytes:
    """Name and data as they are kept and sent. Raises CodecError, MessageTooLarge, LocalProtocolError."""
    body = envelope.payload(*handlers.named(event, data))
    if len(body) > BODY_BYTES_MAX:
        raise MessageTooLarge(len(body), BODY_BYTES_MAX, "event")
    return body


class Position(NamedTuple):
    """Where an event is in its stream."""

    epoch: int
    offset: int


class Room:
    """Everybody in a room, from `Namespace.to`."""

    __slots__ = ("_namespace", "_skip", "name")

    def __init__(self, namespace: Namespace, name: str, skip: tuple[str, ...]) -> None:
        self.name = name
        self._namespace = namespace
        self._skip = skip

    @property
    def stream(self) -> Name:
        """Its name in the log."""
        return Name(self._namespace.name, self.name)

    async def emit(
        self,
        event: Any,
        data: Any = None,
        *,
        skip: Any = None,
        volatile: bool = False,
        conflate: str | None = None,
        key: str | None = None,
        durability: str | None = None,
    ) -> Position | None:
        """Sends an event to everybody in the room, those who come back later included.

        Args:
            event: a name, or a typed event.
            data: whatever msgpack carries.
            skip: contexts or session ids that must not see it, now or in a replay.
            volatile: it may be lost, and is not kept.
            conflate: with `volatile`: of events with the same key only the latest waits for a client that is slow.
            key: an event with a key that was used in the room lately is not sent again.
            durability: the least that is asked of the log: "memory", "os" or "disk".

        Returns:
            Epoch and offset, once the event is as durable as the log makes it; None for a volatile one.

        Raises:
            LogError: it could not be kept, and was sent to nobody.
            UnsupportedOperation: the log is less durable than asked.
            CodecError, MessageTooLarge, LocalProtocolError: as they say.
        """
        hub = self._namespace.app.hub
        body = body_of(event, data)
        left_out = self._skip + _ids(skip)
        if volatile:
            hub.volatile(self.stream, body, left_out, conflate)
            return None
        if durability is not None and durability not in _DURABILITIES:
            raise LocalProtocolError(f"durability is one of {', '.join(_DURABILITIES)}, not {durability!r}")
        has = hub.log.durability
        if durability is not None and _DURABILITIES.index(durability) > _DURABILITIES.index(has):
            raise UnsupportedOperation(f"durability {durability!r} is asked for, the log has {has!r}")
        done = await append(hub.log, self.stream, body, left_out, key)
        hub.counters["emitted"] += 1
        return Position(done.epoch, done.offset)

    async def call(self, event: Any, data: Any = None, *, timeout: float = 5.0, skip: Any = None) -> Answers:
        """Asks everybody who is connected and in the room now, and collects their answers for `timeout` seconds."""
        hub = self._namespace.app.hub
        left_out = set(self._skip + _ids(skip))
        members = [member for member in hub.members(self.stream) if member.id not in left_out]
        return await ask(hub, members, hub.alias_of(self.stream), body_of(event, data), timeout)

    @property
    def members(self) -> list[Context]:
        """Those who are connected and in it."""
        members = self._namespace.app.hub.members(self.stream)
        return [member.session.context for member in members if member.session is not None]


async def ask(hub: Any, members: list[Any], alias: int, body: bytes, timeout: float) -> Answers:
    """Sends one CALL to each member, encoded once, and waits for the answers."""
    asked = hub.calls.begin(members)
    frame = envelope.call(asked.number, alias, body)
    try:
        for member in members:
            if not member.call(frame):
                hub.calls.answered(member, asked.number, False, _TOO_LARGE)
        asked.check()
        async with asyncio.timeout(timeout):
            await asked.future
    except TimeoutError:
        pass
    finally:
        hub.calls.end(asked)
    late = [member.id for member in asked.waiting]
    return Answers(asked.answers, asked.failed, late, asked.gone)


class Context:
    """One client, as handlers see it: the same object for as long as its session is in memory.

    Attributes:
        id: of its session.
        namespace: that it is in.
        data: a dict of the program's own.
        info: what presence tells others about it.
    """

    def __init__(self, session: Session, namespace: Namespace) -> None:
        self.id = session.id
        self.namespace = namespace
        self.data: dict[str, Any] = {}
        self.info: Any = None
        self._session = session

    @property
    def identity(self) -> Any:
        """What `authorize` gave."""
        return self._session.identity

    @property
    def connected(self) -> bool:
        """Whether it has a connection now."""
        return self._session.member is not None

    @property
    def remote_address(self) -> Any:
        """Of its connection, None without one."""
        member = self._session.member
        return None if member is None else member.conn.remote_address

    @property
    def rooms(self) -> list[str]:
        """That it is in, with and without a connection."""
        return [room for room in self._session.rooms if room]

    async def join(self, room: str) -> Position:
        """Puts the client into a room; returns where it begins there. Raises LogError, LocalProtocolError."""
        check_room(room)
        return await self.namespace.app.join(self._session, room)

    async def leave(self, room: str) -> bool:
        """Takes it out; False if it was not in there."""
        return await self.namespace.app.leave(self._session, room, "put out")

    async def send(
        self, event: Any, data: Any = None, *, volatile: bool = False, conflate: str | None = None,
        key: str | None = None,
    ) -> Position | None:  # fmt: skip
        """Sends an event to this client alone, over its private stream: it can be missed, and comes later.

        Arguments, result and errors as of `Room.emit`. A volatile one goes to a client with a connection only.
        """
        body = body_of(event, data)
        hub = self.namespace.app.hub
        if volatile:
            member = self._session.member
            if member is not None:
                member.volatile(envelope.volatile(0, body), None if conflate is None else (0, conflate))
            return None
        stream = Name(self.namespace.name, self.id, True)
        done = await append(hub.log, stream, body, (), key)
        return Position(done.epoch, done.offset)

    async def call(self, event: Any, data: Any = None, *, timeout: float = 5.0) -> Any:
        """Asks this client, and returns what its handler does.

        Raises:
            PeerGone: it has no connection, or lost it. CallTimeout: no answer in time. CallFailed: it says why.
        """
        member = self._session.member
        if member is None:
            raise PeerGone(f"session {self.id} has no connection")
        answers = await ask(self.namespace.app.hub, [member], 0, body_of(event, data), timeout)
        if self.id in answers.acked:
            return answers.acked[self.id]
        if self.id in answers.failed:
            raise answers.failed[self.id]
        if answers.gone:
            raise PeerGone(f"session {self.id} lost its connection")
        raise CallTimeout(f"no answer to {event!r:.60} within {timeout:g} s")

    def close(self, reason: str = "") -> None:
        """Ends its connection, if there is one, for good: the client does not come back by itself."""
        member = self._session.member
        if member is not None:
            member.refuse("closed", reason or "the server has closed the session's connection", 0)

    def __repr__(self) -> str:
        return f"<Context {self.id} of {self.namespace.name} {'connected' if self.connected else 'away'}>"
