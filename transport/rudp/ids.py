"""Connection ids beside the first: what the peer may use, and what the peer has given (RFC 9000 section 5.1).

A client that changes its address on purpose goes on under an id that nobody has seen on the old path, and gives its
server one in return, so that nobody can tell by the ids that it is the same. Made for a session when the first such id
is given or comes. It must never keep more than a few ids, whatever the peer does, nor use one that is retired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transport import limits
from transport.errors import RemoteProtocolError
from transport.rudp import pen
from transport.rudp.kinds import NEW_CID, RETIRE_CID
from transport.rudp.packet import TOKEN_BYTES
from transport.rudp.sent import Item

if TYPE_CHECKING:
    from transport.rudp.located import Located

CIDS_MAX = limits.RUDP_CIDS_MAX
GIVEN = 2  # ids that this side lets its peer have: one in use and one to move with
NEW_BYTES_MAX = 1 + 8 + 8 + 8 + TOKEN_BYTES
RETIRE_BYTES_MAX = 1 + 8


class Ids:
    """The ids of one session, by sequence number; 0 is that of the handshake.

    Attributes:
        own: that the peer may use.
        next: the sequence number of the next one.
        current: of the peer's id in use; lower ones are never used again.
        pool: (id, reset token) of the peer's that may be used later.
        floor: the peer wants ids below it to be given up.
        news: of our ids, those that the peer has to be told.
        retiring: of the peer's, those that are given up; true while it has to be told.
    """

    __slots__ = ("current", "floor", "news", "next", "own", "pool", "retiring")

    def __init__(self, own_cid: int) -> None:
        self.own = {0: own_cid}
        self.next = 1
        self.current = 0
        self.pool: dict[int, tuple[int, bytes]] = {}
        self.floor = 0
        self.news: list[int] = []
        self.retiring: dict[int, bool] = {}

    def retire(self, number: int) -> None:
        """Gives one of the peer's ids up. Raises RemoteProtocolError when the peer lets us do nothing else."""
        self.retiring[number] = True
        if len(self.retiring) > limits.RUDP_RETIRES_MAX:
            raise RemoteProtocolError("the peer takes no notice of ids that are given up")

    def is_due(self) -> bool:
        """Whether there are frames to send."""
        return bool(self.news) or any(self.retiring.values())


def of(session: Located) -> Ids:
    """The session's ids, made at first use."""
    ids: Ids | None = session.ids
    if ids is None:
        ids = session.ids = Ids(session.own_cid)
    return ids


# Ours


def give(session: Located) -> None:
    """Gives the peer a spare id, unless it has one: a server in good time, a client when it moves."""
    ids = of(session)
    session.ids_at = 0
    if len(ids.own) >= GIVEN:
        return
    exchange: Any = session.exchange
    ids.own[ids.next] = exchange.new_id(session)
    ids.news.append(ids.next)
    ids.next += 1
    session.ids_due = True


def retired(session: Located, number: int, now: int) -> None:
    """The peer has given up one of ours; a client gets another in a while. Raises RemoteProtocolError."""
    ids = of(session)
    if number >= ids.next:
        raise RemoteProtocolError(f"id {number} was given up and never given")
    cid = ids.own.pop(number, None)
    if cid is None:
        return
    if number in ids.news:
        ids.news.remove(number)
    if number:  # the first is what the session is known by here
        exchange: Any = session.exchange
        exchange.drop_id(cid)
    if not session.is_client:
        session.ids_at = now + limits.RUDP_CID_NS


# The peer's


def came(session: Located, number: int, floor: int, cid: int, token: bytes) -> None:
    """The peer gives an id, and wants those below `floor` to be given up. Raises RemoteProtocolError."""
    if floor > number or not cid:
        raise RemoteProtocolError("malformed connection id")
    ids = of(session)
    known = _in_use(session, token) if number == ids.current else ids.pool.get(number)
    if known is not None and known != (cid, token):
        raise RemoteProtocolError("a connection id came again as another")
    if number > ids.current and number >= ids.floor:
        ids.pool[number] = (cid, token)
    elif number != ids.current:
        ids.retire(number)
    if floor > ids.floor:
        ids.floor = floor
        for old in [old for old in ids.pool if old < floor]:
            del ids.pool[old]
            ids.retire(old)
        if ids.current < floor:
            _take(session, ids)
    if len(ids.pool) >= CIDS_MAX:
        raise RemoteProtocolError(f"more than {CIDS_MAX} connection ids")
    session.ids_due = ids.is_due()


def _in_use(session: Located, token: bytes) -> tuple[int, bytes]:
    """The id that the peer is spoken to by, and its token; `token` where that of the handshake came without."""
    return session.peer_cid, session.token if session.is_client and session.token else token


def spare(session: Located) -> int:
    """The id that `switch` would take, 0 for none."""
    ids: Ids | None = session.ids
    return ids.pool[min(ids.pool)][0] if ids is not None and ids.pool else 0


def switch(session: Located) -> None:
    """Speaks to the peer by a spare id from now on, if there is one, and gives up the one that was in use.

    A peer that takes no notice of what is given up goes on to be spoken to by the same: moving must not raise.
    """
    ids: Ids | None = session.ids
    if ids is not None and ids.pool and len(ids.retiring) < limits.RUDP_RETIRES_MAX:
        _take(session, ids)


def _take(session: Located, ids: Ids) -> None:
    """The lowest spare id replaces the one in use. Raises RemoteProtocolError."""
    ids.retire(ids.current)
    ids.current = min(ids.pool)  # the lowest, so that one below is known to be over when it comes again
    session.peer_cid, session.token = ids.pool.pop(ids.current)
    if session.trace is not None:
        session.trace.renamed(session.peer_cid)
    session.ids_due = True


# Frames


def put(session: Located, room: memoryview, pos: int, end: int, packet: Any) -> int:
    """Writes NEW_CID and RETIRE_CID frames, as many as fit; returns the place behind them."""
    ids = of(session)
    exchange: Any = session.exchange
    while ids.news and pos + NEW_BYTES_MAX <= end:
        number = ids.news.pop(0)
        cid = ids.own[number]
        pos = pen.put8(room, pos, NEW_CID)
        pos = pen.put_varint(room, pos, number)
        pos = pen.put_varint(room, pos, 0)
        pos = pen.put64(room, pos, cid)
        if not session.is_client:
            pos = pen.put_bytes(room, pos, exchange.token_of(cid), 0, TOKEN_BYTES)
        packet.add(Item(NEW_CID, None, number, 0))
    for number, is_waiting in ids.retiring.items():
        if is_waiting and pos + RETIRE_BYTES_MAX <= end:
            ids.retiring[number] = False
            pos = pen.put8(room, pos, RETIRE_CID)
            pos = pen.put_varint(room, pos, number)
            packet.add(Item(RETIRE_CID, None, number, 0))
    session.ids_due = ids.is_due()
    return pos


def settled(session: Located, item: Item, is_lost: bool) -> None:
    """A frame of ours was acknowledged or lost."""
    ids = of(session)
    number = item.start
    if item.kind == NEW_CID:
        if is_lost and number in ids.own and number not in ids.news:
            ids.news.append(number)
    elif is_lost and number in ids.retiring:
        ids.retiring[number] = True
    elif not is_lost:
        ids.retiring.pop(number, None)
    session.ids_due = ids.is_due()
