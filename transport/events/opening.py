"""How a client is let in: who it is, whether the session is its own, which rooms it may still be in, what it missed.

The order is what keeps it safe: identity first, then the proof, then the log's compare-and-set of the generation, which
fences whoever held the session, and only then a word of what was missed. It must never tell a client that was denied
anything about a stream.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from transport import CloseCode, limits
from transport.errors import CodecError
from transport.events import envelope, presence
from transport.events.envelope import Claim, Policy, Why
from transport.events.errors import Busy, Denied, Refused, Superseded
from transport.events.hub import looked_at
from transport.events.namespace import Context, Hello, Namespace
from transport.events.session import Room, Session
from transport.events.streams import Budget, Stream, Subscription
from transport.log.errors import Fenced, LogError
from transport.log.records import Receipt
from transport.log.records import Session as Record
from transport.log.records import Stream as Name

if TYPE_CHECKING:
    from transport.events.app import Events
    from transport.events.link import Link

log = logging.getLogger("transport.events")


async def let_in(app: Events, link: Link, hello: envelope.Hello) -> None:
    """Answers a HELLO: with a WELCOME and one answer for each stream, or with a REFUSED and the end."""
    try:
        namespace = app.may_enter(link, hello)
        try:
            await _enter(app, link, namespace, hello)
        finally:
            app.door.entered(link.address)
    except Busy as error:
        code = CloseCode.GOING_AWAY if error.reason == "going_away" else CloseCode.OVERLOADED
        link.refuse(error.reason, error.text, code, app.retry_ms())
    except Refused as error:
        link.refuse(error.reason, error.text, CloseCode.POLICY, -1, error.generation)
    except Fenced as error:
        link.fenced(error)
    except LogError as error:
        link.log_failed(error)
    except Exception:
        log.exception("a client of %r could not be let in", hello.namespace)
        link.refuse("failed", "internal error, see the server's log", CloseCode.INTERNAL_ERROR, app.retry_ms())
    else:
        link.opened()
        if link.session is not None:
            link.session.inbox.start()


async def _enter(app: Events, link: Link, namespace: Namespace, hello: envelope.Hello) -> None:
    """A client of whom nothing is known yet."""
    identity = await _identify(namespace, link, hello)
    session, generation, resumed = await _session(app, namespace, hello, identity)
    if link.over:
        return
    _attach(app, link, session, generation, resumed)
    await _restore(app, link, session, hello.claims)
    if namespace.on_connected is not None and not link.over:
        await _within(app.handler_timeout, namespace.on_connected(session.context))


async def _within(seconds: float, result: Any) -> Any:
    """What a program's function gives, which may be a coroutine, within so many seconds."""
    if not hasattr(result, "__await__"):
        return result
    try:
        async with asyncio.timeout(seconds):
            return await result
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("a function of the program ended as if it had been cancelled") from None


async def _identify(namespace: Namespace, link: Link, hello: envelope.Hello) -> Any:
    if namespace.authorizer is None:
        return None
    conn = link.conn
    asked = Hello(hello.auth, namespace.name, bool(hello.session), conn.remote_address, conn.get_extra_info)
    identity = await _within(limits.EVENTS_AUTHORIZE_S, namespace.authorizer(asked))
    if identity is False:  # a program that answers yes or no, and means no
        raise Denied
    return identity


async def _session(
    app: Events, namespace: Namespace, hello: envelope.Hello, identity: Any
) -> tuple[Session, int, bool]:
    """The client's session, taken over from whoever had it; its generation; and whether what it had sent is known."""
    hub, tokens = app.hub, app.hub.tokens
    try:
        encoded = envelope.encode_body(identity)
    except CodecError as error:
        raise TypeError(f"what authorize returns is kept as the client's identity, such as a name: {error}") from None
    expires = app.expires_ms()
    if not hello.session:
        session = Session(tokens.new_session(), namespace, 1, identity)
        proof = tokens.proof(tokens.secret(session.id, namespace.name, encoded))
        await hub.log.put_session(Record(session.id, proof, 1, encoded, expires), None)
        return _remember(app, session), 1, False
    if not tokens.owns(hello.session, namespace.name, encoded, hello.secret):
        raise Denied("the session is not this client's")
    record, taken = await _take_over(app, hello, encoded, expires)
    before = known = hub.sessions.get(hello.session)
    if known is None or record is None:  # where the log has forgotten it, its messages are counted anew there
        known = Session(hello.session, namespace, 0, identity)
        if record is not None:
            received = await hub.log.received(known.id)
            known.restore(received.contiguous, received.beyond)
            for stream, position in record.streams.items():
                if not stream.private:
                    known.rooms[stream.room] = Room(False, position.epoch, position.offset)
        if (found := hub.sessions.get(hello.session)) is not before:
            known = found or known
    if known.generation > taken.generation:
        raise Superseded("the session was resumed at the same time", known.generation)
    known.generation, known.identity = taken.generation, identity
    for had in (before, known):
        if had is not None and had.member is not None:
            hub.counters["fenced"] += 1
            had.member.fence(known.generation)
    _remember(app, known)
    if known is before:
        await _correct(app, known, taken)
    knows = record is not None and hello.floor - 1 <= known.seen  # else the log has gone back behind what is settled
    if not hello.floor or not knows:
        await _abandon(app, known)
    return known, taken.generation, knows


async def _take_over(
    app: Events, hello: envelope.Hello, encoded: bytes, expires: int
) -> tuple[Record | None, Record]:  # fmt: skip
    """The log's compare-and-set of the generation: what the log had, and what it has now.

    An earlier try of the same client, given up while the log was slow, may be written in between: then once more.
    Raises Superseded, LogError.
    """
    while True:
        record = await app.hub.log.get_session(hello.session)
        held = None if record is None else record.generation
        if held is not None and hello.generation <= held:
            raise Superseded("the session is at a newer generation", held)
        taken = Record(
            hello.session, app.hub.tokens.proof(hello.secret), max(hello.generation, 1), encoded, expires,
            {} if record is None else record.streams,
        )  # fmt: skip
        writing = app.task(_write(app, taken, held))
        writing.add_done_callback(looked_at)
        try:
            await asyncio.shield(writing)
        except Fenced:
            continue
        return record, taken


async def _write(app: Events, taken: Record, held: int | None) -> None:
    """The log and the memory in one, also where the client is gone meanwhile: its handlers go on with what holds."""
    await app.hub.log.put_session(taken, held)
    known = app.hub.sessions.get(taken.id)
    if known is not None and held is not None and known.generation < taken.generation:
        known.generation = taken.generation


async def _correct(app: Events, session: Session, taken: Record) -> None:
    """The program may have put the client into a room, or out of one, between the reading of its record and the
    writing: the log gets what holds.
    """  # fmt: skip
    stored = {stream.room: stream for stream in taken.streams if not stream.private}
    join = [(stream_name(session, room), one.since) for room, one in session.rooms.items() if room not in stored]
    leave = [stream for room, stream in stored.items() if room not in session.rooms]
    if join or leave:
        await update(app, session, join=join, leave=leave)


def _remember(app: Events, session: Session) -> Session:
    if session.context is None:
        session.context = Context(session, session.namespace)
        session.inbox = app.inbox_of(session)
    app.hub.sessions[session.id] = session
    return session


async def _abandon(app: Events, session: Session) -> None:
    """The client forgot what it had sent: numbers that never came, or came in vain, will not come again."""
    for number in session.abandoned():
        receipt = Receipt(session.id, session.generation, number)
        await app.hub.log.commit((), receipt)
        session.handled(number)


def _attach(app: Events, link: Link, session: Session, generation: int, resumed: bool) -> None:
    """From here on the session has this connection. Before any event the client is told that it is in."""
    if session.generation != generation:
        raise Superseded("the session was resumed at the same time", session.generation)
    if session.member is not None:
        session.member.fence(generation)
    session.member, link.session, link.id = link, session, session.id
    app.hub.sessions[session.id] = session  # its time may have been over while it was let in
    link.budget = Budget()
    app.hub.counters["resumed" if resumed else "opened"] += 1
    tokens = app.hub.tokens
    secret = tokens.secret(session.id, session.namespace.name, envelope.encode_body(session.identity))
    frame = envelope.welcome(
        envelope.Welcome(
            session.id, secret, session.generation, resumed, session.contiguous, sorted(session.beyond),
            session.seen, limits.EVENTS_WINDOW, link.conn.get_extra_info("max_message"),
        )
    )  # fmt: skip
    if not link.write(frame):
        raise Refused("too_large", f"this client takes no message of {len(frame)} bytes, which is what a WELCOME has")


# Streams


def stream_name(session: Session, room: str) -> Name:
    """Of a room, or of the session's private stream."""
    if room:
        return Name(session.namespace.name, room)
    return Name(session.namespace.name, session.id, True)


async def _restore(app: Events, link: Link, session: Session, claims: list[Claim]) -> None:
    """Enters the streams that the client says it was in, and those that the server knows it was in."""
    claimed = {claim.room: claim for claim in claims}
    link.claimed = set(claimed)
    await restore(app, link, session, "", claimed.pop("", None))
    rooms = [*claimed, *[room for room in session.rooms if room not in claimed]]
    for room in sorted(rooms, key=presence.is_watched):  # who may watch a room depends on being in it
        if link.over:
            return
        await restore(app, link, session, room, claimed.get(room))
        link.claimed.discard(room)


async def restore(
    app: Events, link: Link, session: Session, room: str, claim: Claim | None, request: int = 0,
    by_client: bool = False, *, ask: bool = True,
) -> None:  # fmt: skip
    """One stream of a client that comes back: entered and answered, or denied.

    Args:
        app, link, session: whose.
        room: its name, "" for the private stream.
        claim: what the client says; None where only the server knows that it was in there.
        request: the client asks to join with an old position.
        by_client: the same.
        ask: whether the program is asked if the client may be there.
    """
    was = known = session.rooms.get(room)
    if claim is not None and not _believable(app, session, claim, known):
        await deny(app, link, session, room, request, "the cursor is not this session's")
        return
    if claim is None and known is None and room:
        return  # it left the room meanwhile
    if claim is None and known is None:
        known = Room(True, 0, 0)  # a private stream that nothing was had of
    if claim is None:
        assert known is not None
        claim = Claim(room, known.epoch, known.since, known.since, known.by_client, b"")
    own = by_client or claim.by_client or not room
    if room and ask and not await may_enter(session, room, own):
        await deny(app, link, session, room, request, "not allowed in that room")
        return
    try:
        async with session.entering:
            await _come_back(app, link, session, claim, (known, was), own, request)
    except Refused as error:
        if request:
            raise
        await deny(app, link, session, room, 0, error.text)


async def _come_back(
    app: Events, link: Link, session: Session, claim: Claim, before: tuple[Room | None, Room | None], own: bool,
    request: int,
) -> None:  # fmt: skip
    """The same, once it is allowed; `before` is what is known of the room, and what the session has of it."""
    known, was = before
    room = claim.room
    if room:
        _check_count(session, room)
    name = stream_name(session, room)
    stream = await app.hub.enter(name)
    if claim.epoch == stream.epoch and claim.since > stream.top:  # which the server knows itself, or has signed
        app.hub.leave(stream)
        await app.hub.gone_back(stream)
        stream = await app.hub.enter(name)
    if was is not None and session.rooms.get(room) is not was:  # the program has put it out meanwhile
        app.hub.leave(stream)
        if request:
            link.write(envelope.left(request, room, "denied: put out of the room"))
        return
    fresh = claim.epoch == 0 and not room
    same = claim.epoch == stream.epoch
    since = claim.since if same else 0
    if room and (known is None or known.epoch != stream.epoch or room not in session.rooms):
        await _record(app, session, name, room, Room(own, stream.epoch, since), stream)
    elif known is not None:  # the log does not keep who asked; the ticket does
        known.by_client = known.by_client or own
    offset = claim.offset if same else 0 if fresh else -1
    place(app, link, session, stream, room, Room(own, stream.epoch, since), offset, request, answer=not fresh)


def _check_count(session: Session, room: str) -> None:
    """Raises Refused where a session is in as many other rooms as it may be."""
    if room not in session.rooms and len(session.rooms) >= limits.EVENTS_ROOMS_MAX:
        raise Refused("too_many_rooms", f"a session is in {limits.EVENTS_ROOMS_MAX} rooms at most")


async def _record(app: Events, session: Session, name: Name, room: str, entry: Room, stream: Stream) -> None:
    """Keeps, in the log too, that a session is in a room."""
    try:
        await update(app, session, join=[(name, entry.since)])
    except BaseException:
        app.hub.leave(stream)
        raise
    session.rooms[room] = entry


async def update(app: Events, session: Session, **changes: Any) -> None:
    """Changes what the log has of a session. Where its client comes back meanwhile, as its newer generation.

    Raises Fenced where it lives on in another process, or is forgotten; LogError.
    """
    while True:
        held = session.generation
        try:
            await app.hub.log.update_session(session.id, held, **changes)
        except Fenced:
            if session.generation == held:
                raise
        else:
            return


def _believable(app: Events, session: Session, claim: Claim, known: Room | None) -> bool:
    """Whether a client was where it says: by the server's signature, or by what the server remembers itself."""
    if app.hub.tokens.admits(session.id, session.namespace.name, claim):
        return True
    return known is not None and claim.epoch == known.epoch and claim.offset >= known.since == claim.since


async def may_be_in(session: Session, room: str, by_client: bool) -> bool:
    """Whether a room is allowed. Without anybody to ask: what the client asked to join itself."""
    authorizer = session.namespace.room_authorizer
    if authorizer is None:
        if not by_client and not session.namespace.warned:
            session.namespace.warned = True
            log.warning(
                "a client that comes back is not let into %r of %r again: your program had put it there, and without"
                " @namespace.authorize_room a client may be in the rooms only that it asked for",
                room, session.namespace.name,
            )  # fmt: skip
        return by_client
    try:
        return bool(await _within(limits.EVENTS_AUTHORIZE_S, authorizer(session.context, room)))
    except Denied:
        return False
    except Exception:
        log.exception("authorize_room failed for %r", room)
        return False


async def may_enter(session: Session, room: str, by_client: bool) -> bool:
    """The same of any room, which may be the protocol's own."""
    if presence.is_watched(room):
        return await presence.may_watch(session, room)
    return await may_be_in(session, room, by_client)


async def deny(app: Events, link: Link, session: Session, room: str, request: int, text: str) -> None:
    """Tells a client that a stream is not for it, and no more; if it was in there until now, it is no longer."""
    app.hub.counters["denied"] += 1
    async with session.entering:
        link.drop_room(room)
        if session.rooms.pop(room, None) is not None:
            presence.left(app, session, room)
            await update(app, session, leave=[stream_name(session, room)])
    if link.over:
        return
    if request:
        link.write(envelope.left(request, room, f"denied: {text}"))
    else:
        link.write(envelope.gap(envelope.Gap(0, Why.DENIED, Policy.NOW, 0, room, 0, 0, -1, None)))


def place(
    app: Events, link: Link, session: Session, stream: Stream, room: str, entry: Room, offset: int, request: int,
    *, answer: bool,
) -> None:  # fmt: skip
    """The last step, in which nothing waits: tells the client where it is, and puts it among those who get events.

    Args:
        offset: what the client has; -1 for a position of another epoch.
        answer: whether the client is told, once, how its catching up went.
    """
    if link.over or session.member is not link or (room and room not in session.rooms):
        app.hub.leave(stream)
        return
    before = link.rooms.get(room)
    link.drop_room(room)
    sub = Subscription(stream, link, room, entry.since, entry.by_client)
    if before is not None and before.stream is stream:  # frames of before may be under way
        sub.furthest = max(before.furthest, before.sent)
    if offset > stream.top:
        app.hub.beyond(stream)
    gap = offset < 0 or offset > stream.top
    start = 0 if gap else offset
    sub.sent = start
    claim = sub.claim()
    ticket = app.hub.tokens.ticket(session.id, session.namespace.name, claim)
    link.write(
        envelope.joined(
            envelope.Joined(
                request, stream.alias, answer, room, stream.epoch, stream.top, start, entry.since, entry.by_client,
                ticket,
            )
        )
    )  # fmt: skip
    link.place(sub)
    if gap:
        sub.begin_with_gap(Why.EPOCH, link.budget)
    elif answer:
        sub.resume(start, link.budget)
    elif start < stream.top:
        sub.read_on()
    if room:
        app.entered(session, room)


async def join(app: Events, session: Session, room: str, since: str, asking: Link | None = None,
               request: int = 0) -> tuple[int, int]:  # fmt: skip
    """A room that the client is in from now on; returns (epoch, offset) of where it begins there.

    Args:
        app, session, room: who enters what.
        since: "now" or "oldest".
        asking: the connection that asks for it; None for the program, which is asked by nobody.
        request: of the client.

    One at a time for each session, so that two never begin at two places. Raises LogError, Refused.
    """
    async with session.entering:
        return await _join(app, session, room, since, asking, request)


async def _join(
    app: Events, session: Session, room: str, since: str, asking: Link | None, request: int
) -> tuple[int, int]:  # fmt: skip
    by_client = asking is not None
    link: Link | None = session.member if asking is None else asking
    known = session.rooms.get(room)
    _check_count(session, room)
    sub = None if link is None else link.rooms.get(room)
    if sub is not None and since != "oldest" and link is not None and known is not None:
        known.by_client = sub.by_client = known.by_client or sub.by_client or by_client
        _answer_again(app, link, session, sub, request)
        return sub.stream.epoch, sub.sent
    if sub is None and known is not None and not request:  # it is away, or about to come back: it misses nothing
        known.by_client = known.by_client or by_client
        return known.epoch, known.since
    name = stream_name(session, room)
    if asking is not None and session.namespace.room_authorizer is None:
        await _may_begin(app, asking, name)
    stream = await app.hub.enter(name)
    oldest = since == "oldest" and session.namespace.history.joiners == "oldest"
    start = 0 if oldest else stream.top
    entry = Room(by_client or (known is not None and known.by_client), stream.epoch, start)
    await _record(app, session, name, room, entry, stream)
    link = session.member if asking is None else asking  # the client may have come back, or be gone, meanwhile
    if link is None or room in link.claimed:  # else it is entered where the client says that it was
        app.hub.leave(stream)
    else:
        place(app, link, session, stream, room, entry, start, request, answer=oldest)
    return stream.epoch, start


async def _may_begin(app: Events, link: Link, name: Name) -> None:
    """Nobody is asked about rooms, so that a stranger may name any: the log must not be filled with what he names."""
    if not await app.hub.exists(name) and not app.door.begin_room(link.address, app.loop.time()):
        app.hub.counters["rooms_refused"] += 1
        raise Refused("too_many_rooms", "too many new rooms come from this address")


def _answer_again(app: Events, link: Link, session: Session, sub: Subscription, request: int) -> None:
    """The client is in that room already: it is told again where."""
    sub.pay()
    stream = sub.stream
    ticket = app.hub.tokens.ticket(session.id, session.namespace.name, sub.claim())
    link.write(
        envelope.joined(
            envelope.Joined(
                request, stream.alias, sub.answer_due, sub.room, stream.epoch, stream.top, sub.sent, sub.since,
                sub.by_client, ticket,
            )
        )
    )  # fmt: skip
