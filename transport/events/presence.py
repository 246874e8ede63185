"""Who is in a room: a stream of joins and leaves beside it, which can be missed and had again as any other.

The stream of "room:7" is the room "@presence/room:7" with the events "join" and "leave". A client joins it, then asks
"@presence" for the list: what changes between the two comes as an event, and the events say what is, not what changed.
A connection that is lost and comes back within the grace leaves no trace. It must never tell a client about a room that
it could not be in itself.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transport import limits
from transport.errors import CodecError
from transport.events import envelope
from transport.log.errors import LogError
from transport.log.records import Stream as Name

if TYPE_CHECKING:
    from transport.events.app import Events
    from transport.events.session import Session

log = logging.getLogger("transport.events")
PREFIX = "@presence/"
QUESTION = "@presence"


def is_watched(room: str) -> bool:
    """Whether this is the stream beside a room, not a room of the program's."""
    return room.startswith(PREFIX)


def _wanted(session: Session, room: str) -> bool:
    return bool(session.namespace.has_presence) and not is_watched(room)


def describe(session: Session) -> dict[str, Any]:
    """What others see of a client."""
    return {"id": session.id, "info": session.context.info}


def entered(app: Events, session: Session, room: str) -> None:
    """A client is in a room; told once until it leaves."""
    if _wanted(session, room):
        present = session.namespace.present.setdefault(room, {})
        is_news = session.id not in present
        present[session.id] = session
        if is_news:
            app.task(_tell(app, session, room, "join"))


def left(app: Events, session: Session, room: str) -> None:
    """A client is no longer in a room."""
    if _wanted(session, room):
        present = session.namespace.present.get(room, {})
        if present.get(session.id) is session:
            del present[session.id]
            if not present:
                session.namespace.present.pop(room, None)
            app.task(_tell(app, session, room, "leave"))


def detached(app: Events, session: Session) -> None:
    """A client lost its connection: after a grace without one it is no longer present anywhere."""
    if session.namespace.has_presence and session.rooms:
        app.loop.call_later(limits.EVENTS_PRESENCE_S, _gone, app, session, session.detached_at)


def _gone(app: Events, session: Session, detached_at: float) -> None:
    if session.member is None and session.detached_at == detached_at and app.serves:
        for room in list(session.rooms):
            left(app, session, room)


async def _tell(app: Events, session: Session, room: str, what: str) -> None:
    try:
        body = envelope.payload(what, describe(session))
        await app.hub.log.append(Name(session.namespace.name, PREFIX + room), body)
    except (LogError, CodecError) as error:
        app.hub.counters["presence_lost"] += 1
        log.warning("presence of %r is not kept: %s", room, error)


async def may_watch(session: Session, room: str) -> bool:
    """Whether a client may see who is in a room: if it is in there, or may be."""
    from transport.events import opening

    watched = room[len(PREFIX) :]
    if not session.namespace.has_presence or not watched:
        return False
    return watched in session.rooms or await opening.may_be_in(session, watched, False)


async def answer(session: Session, room: Any) -> list[dict[str, Any]] | None:
    """Who is in a room now; None if the client may not know."""
    if not isinstance(room, str) or not await may_watch(session, PREFIX + room):
        return None
    return [describe(other) for other in session.namespace.present.get(room, {}).values()]
