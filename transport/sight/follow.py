"""Which connection a captured datagram belongs to, and what must be known of it to read its packets.

A capture may begin in the middle, miss packets, and hold what is none of ours: what only the handshake tells (the kind
of checksum, the upper parts of numbers, who is the server, the codec) is told as far as it is known and no further.
It must never keep more than its limits allow, however long it watches.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from transport import limits
from transport.rudp import dissect, packet
from transport.rudp.dissect import Dissection, Numbers
from transport.rudp.handshake import agreed_checksum
from transport.rudp.ranges import AckRanges
from transport.sight.headers import CE, End, Segment

CONNECTIONS_MAX = limits.SIGHT_CONNECTIONS_MAX
FURTHER_MAX = limits.SIGHT_CIDS_MAX
PAIRS_MAX = limits.SIGHT_PAIRS_MAX
TO_SERVER, TO_CLIENT = "client to server", "server to client"
AGAIN = "this number has come before: the network doubled it, or it was captured twice"
CUT = "the capture has only a part of it"
UNSURE = "no checksum that is known fits: damaged, or without one; the handshake, which would tell, was not seen"
MOVED = "it comes from another address than those before"
TRIES = "it tries whether the path carries so much"
NOT_OURS = "not reliable UDP"
RESET_MIN = packet.RESET_RANDOM_MIN + packet.TOKEN_BYTES


@dataclass(slots=True)
class Direction:
    """What is known of the packets to one side of a connection.

    Attributes:
        cid: the receiver's; 0 while nobody knows.
        numbers: what completes truncated numbers.
        counts: packets, bytes, messages and so on, by name.
        came: packet numbers.
        least, different: the lowest of them, and how many there were.
    """

    cid: int = 0
    numbers: Numbers = field(default_factory=lambda: Numbers(is_sure=False))
    counts: Counter[str] = field(default_factory=Counter)
    came: AckRanges = field(default_factory=AckRanges)
    least: int = -1
    different: int = 0

    def note(self, number: int) -> bool:
        """One packet of this number; whether it is new."""
        is_new = self.came.add(number)
        self.different += is_new
        self.least = number if self.least < 0 else min(self.least, number)
        return is_new

    def begin(self, expected: int) -> None:
        """Whole numbers are known from now on."""
        self.numbers.expected = expected
        self.numbers.is_sure = True
        self.came = AckRanges()
        self.least, self.different = -1, 0

    @property
    def missing(self) -> int:
        """Numbers between the lowest and the highest that were not seen: lost before they came by here, or left out."""
        return self.came.largest - self.least + 1 - self.different if self.different else 0


@dataclass(slots=True)
class Connection:
    """One connection of a capture.

    Attributes:
        number: from 1, in the order of their first packets.
        client, server: its ends; without a handshake a guess, by the ports: clients have the high ones.
        to_server, to_client: its two directions.
        sum_kind: the checksum that was agreed, as sessions have it; None while nobody knows.
        hello, accept: the parameters that each side announced; None for what was not seen.
        tokens: of RESETs.
        further: ids beside the first two.
        pairs: of ends, between which it was seen.
        first, last: times of its first and last packet, ns.
    """

    number: int
    client: End
    server: End
    first: int
    last: int = 0
    to_server: Direction = field(default_factory=Direction)
    to_client: Direction = field(default_factory=lambda: Direction(numbers=Numbers(is_sure=False, by_server=True)))
    sum_kind: int | None = None
    hello: dict[str, Any] | None = None
    accept: dict[str, Any] | None = None
    tokens: set[bytes] = field(default_factory=set)
    further: set[int] = field(default_factory=set)
    pairs: set[tuple[End, End]] = field(default_factory=set)

    @property
    def codec(self) -> str:
        """The name that both announced, or one of them; "" while nobody knows."""
        names = [str((side or {}).get("codec", "")) for side in (self.accept, self.hello)]
        return names[0] or names[1]

    def begin(self) -> None:
        """Its handshake is seen: all numbers begin at 0."""
        for direction in (self.to_server, self.to_client):
            direction.numbers.is_sure = direction.numbers.knows_lanes = True

    def settle(self) -> None:
        """Both sides have spoken: what they agreed on."""
        if self.hello is not None and self.accept is not None:
            masks = [int(side.get("checksums", packet.CHECKSUM_CRC32)) for side in (self.hello, self.accept)]
            self.sum_kind = agreed_checksum(masks[0], masks[1])


@dataclass(slots=True)
class Found:
    """One packet of a datagram.

    Attributes:
        data: its bytes, as far as they were captured.
        size: how many it had.
        dissection: what they mean.
        connection: whose it is, if that is known.
        way: TO_SERVER or TO_CLIENT, "" where nobody knows.
        notes: what else is to be told.
        piece, of: which of the packets of one captured datagram.
        is_sure, knows_lanes: its number, and those of its messages, are whole; else their upper parts are guessed.
    """

    data: bytes
    size: int
    dissection: Dissection
    connection: Connection | None = None
    way: str = ""
    notes: list[str] = field(default_factory=list)
    piece: int = 1
    of: int = 1
    is_sure: bool = False
    knows_lanes: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether it is a packet of reliable UDP, as far as anybody can know."""
        return bool(self.dissection.kind)


class Follower:
    """Takes the datagrams of a capture in their order.

    Args:
        trusts: what does not prove to be ours is read as such, if it has the form: the user has said which port it is.

    Attributes:
        connections: in the order in which they were found, those of the limit's last ones that are still known.
        forgotten: connections that made room for others.
    """

    def __init__(self, *, trusts: bool = False) -> None:
        self.connections: dict[int, Connection] = {}
        self.forgotten = 0
        self._trusts = trusts
        self._made = 0
        self._cids: dict[int, tuple[Connection, str]] = {}
        self._pairs: dict[tuple[End, End], dict[int, Connection]] = {}  # by both ends, sorted

    def take(self, segment: Segment, payload: bytes) -> list[Found]:
        """The packets of one datagram, of which `payload` was captured."""
        places = dissect.pieces(payload)
        is_cut = len(payload) < segment.size
        found = []
        for index, (start, end) in enumerate(places, 1):
            is_last = is_cut and index == len(places)
            size = end - start + (segment.size - len(payload) if is_last else 0)
            one = self._packet(segment, payload[start:end], size, is_cut=is_last)
            one.piece, one.of = index, len(places)
            found.append(one)
        return found

    def _packet(self, segment: Segment, data: bytes, size: int, *, is_cut: bool) -> Found:
        form = data[0] & 0xC0 if data else 0
        if form == 0xC0 and len(data) >= packet.LONG_HEAD_BYTES:
            found = self._long(segment, data, size, is_cut=is_cut)
        elif form == packet.FIXED_BIT and size >= dissect.SHORT_MIN:
            found = self._short(segment, data, size, is_cut=is_cut)
        else:
            found = Found(data, size, Dissection(problem=NOT_OURS))
        if is_cut:
            found.notes.append(CUT)
        if found.connection is not None:
            self._count(found, segment)
        return found

    # The handshake

    def _long(self, segment: Segment, data: bytes, size: int, *, is_cut: bool) -> Found:
        made = dissect.long(data, is_cut=is_cut)
        found = Found(data, size, made)
        if made.checksum == dissect.WRONG or int(made.fields["version"], 16) >> 16 != packet.VERSION >> 16:
            known = self._of_pair(segment)
            if known is None and not self._trusts and int(made.fields["version"], 16) != packet.VERSION:
                return Found(data, size, Dissection(problem=NOT_OURS))
            return found
        is_hello = made.kind == "HELLO"
        cid = int(made.fields["scid" if is_hello else "dcid"], 16)
        known_cid = self._cids.get(cid)
        if known_cid is not None:
            connection = known_cid[0]
        else:
            ends = (segment.source, segment.target) if is_hello else (segment.target, segment.source)
            connection = self._new(*ends, segment.at)
            self._name(connection, TO_CLIENT, cid)
        found.connection, found.way = connection, TO_SERVER if is_hello else TO_CLIENT
        if is_hello:
            connection.hello = made.fields.get("parameters")
            connection.begin()
        elif made.kind == "ACCEPT":
            self._accepted(connection, made)
        connection.settle()
        return found

    def _accepted(self, connection: Connection, made: Dissection) -> None:
        connection.accept = made.fields.get("parameters")
        if connection.accept and connection.accept.get("reset_token"):
            connection.tokens.add(bytes.fromhex(connection.accept["reset_token"]))
        cid = int(made.fields["scid"], 16)
        if cid and not connection.to_server.cid:
            self._name(connection, TO_SERVER, cid)
        connection.begin()

    # Ordinary packets

    def _short(self, segment: Segment, data: bytes, size: int, *, is_cut: bool) -> Found:
        cid = int.from_bytes(data[1:9], "big") if len(data) >= 9 else 0
        known = self._cids.get(cid)
        if known is None:
            token = self._token(segment, data)
            if token is not None:
                made = Dissection(dissect.RESET, {"token": data[-packet.TOKEN_BYTES :].hex()}, checksum=dissect.ABSENT)
                return Found(data, size, made, token, self._way(token, segment))
            known = self._stranger(segment, data, cid, is_cut=is_cut)
        if known is None:
            return self._unknown(segment, data, size, is_cut=is_cut)
        connection, way = known
        direction = self._direction(connection, way)
        made = dissect.short(data, connection.sum_kind, direction.numbers, is_cut=is_cut)
        found = Found(data, size, made, connection, way)
        found.is_sure, found.knows_lanes = direction.numbers.is_sure, direction.numbers.knows_lanes
        if made.checksum == dissect.GOOD and connection.sum_kind is None:
            connection.sum_kind = {name: kind for kind, name in dissect.SUMS.items()}[made.fields["checksum"]]
        if made.checksum == dissect.UNVERIFIED and not is_cut:
            found.notes.append(UNSURE)
        if "number" in made.fields and not made.problem and not direction.note(made.fields["number"]):
            found.notes.append(AGAIN)
        if not made.problem:
            self._take_ids(found)
            self._take_place(found, segment)
            if dissect.tries_size(made, size):
                found.notes.append(TRIES)
        self._anchor(found)
        return found

    def _take_ids(self, found: Found) -> None:
        """Further connection ids, each of whoever sends it."""
        connection = found.connection
        assert connection is not None
        for frame in found.dissection.frames:
            if frame.name == "NEW_CID" and len(connection.further) < FURTHER_MAX:
                cid = int(frame.fields["cid"], 16)
                connection.further.add(cid)
                self._cids.setdefault(cid, (connection, TO_CLIENT if found.way == TO_SERVER else TO_SERVER))
                if "reset_token" in frame.fields:
                    connection.tokens.add(bytes.fromhex(frame.fields["reset_token"]))

    def _take_place(self, found: Found, segment: Segment) -> None:
        """Where it was sent from: a client may move."""
        connection = found.connection
        assert connection is not None
        if found.way == TO_SERVER and segment.source != connection.client:
            found.notes.append(MOVED)
            connection.client = segment.source
        self._place(connection, segment.source, segment.target)

    def _place(self, connection: Connection, one: End, other: End) -> None:
        low, high = sorted((one, other))
        if (low, high) not in connection.pairs and len(connection.pairs) < PAIRS_MAX:
            connection.pairs.add((low, high))
            self._pairs.setdefault((low, high), {})[connection.number] = connection

    def _anchor(self, found: Found) -> None:
        """An ack has whole numbers of the other direction."""
        connection = found.connection
        assert connection is not None
        other = connection.to_client if found.way == TO_SERVER else connection.to_server
        if other.numbers.is_sure or found.dissection.problem:
            return
        for frame in found.dissection.frames:
            if "ranges" in frame.fields:
                other.begin(frame.fields["ranges"][0][1] + 1)
                return

    def _stranger(self, segment: Segment, data: bytes, cid: int, *, is_cut: bool) -> tuple[Connection, str] | None:
        """A connection that began before the capture, if a checksum proves that it is one."""
        kinds = (packet.CHECKSUM_CRC32C, packet.CHECKSUM_CRC32)
        if is_cut or not any(dissect.sum_is_good(data, kind) for kind in kinds):
            return None
        low, high = sorted((segment.source, segment.target))
        half = [
            one for one in self._pairs.get((low, high), {}).values()
            if not self._direction(one, self._way(one, segment)).cid
        ]  # fmt: skip
        if len(half) == 1:
            connection = half[0]
        elif segment.source[1] >= segment.target[1]:
            connection = self._new(segment.source, segment.target, segment.at)
        else:
            connection = self._new(segment.target, segment.source, segment.at)
        way = self._way(connection, segment)
        self._name(connection, way, cid)
        return connection, way

    def _unknown(self, segment: Segment, data: bytes, size: int, *, is_cut: bool) -> Found:
        """It has the form of one of ours, and nothing proves it."""
        pair = self._of_pair(segment)
        if pair is None and not self._trusts:
            return Found(data, size, Dissection(problem=NOT_OURS))
        made = dissect.short(data, None, Numbers(is_sure=False), is_cut=is_cut)
        found = Found(data, size, made)
        found.notes.append("its connection id is not known here" if is_cut else UNSURE)
        return found

    def _token(self, segment: Segment, data: bytes) -> Connection | None:
        """The connection whose RESET this is."""
        if len(data) < RESET_MIN:
            return None
        low, high = sorted((segment.source, segment.target))
        tail = data[-packet.TOKEN_BYTES :]
        return next((one for one in self._pairs.get((low, high), {}).values() if tail in one.tokens), None)

    # The table

    def _new(self, client: End, server: End, at: int) -> Connection:
        if len(self.connections) >= CONNECTIONS_MAX:
            self._forget(next(iter(self.connections.values())))
        self._made += 1
        connection = self.connections[self._made] = Connection(self._made, client, server, at)
        self._place(connection, client, server)
        return connection

    def _forget(self, connection: Connection) -> None:
        self.forgotten += 1
        del self.connections[connection.number]
        for ends in connection.pairs:
            del self._pairs[ends][connection.number]
            if not self._pairs[ends]:
                del self._pairs[ends]
        for cid in (connection.to_server.cid, connection.to_client.cid, *connection.further):
            if cid in self._cids and self._cids[cid][0] is connection:
                del self._cids[cid]

    def _name(self, connection: Connection, way: str, cid: int) -> None:
        """From now on a packet with this id belongs to the connection."""
        self._direction(connection, way).cid = cid
        self._cids[cid] = (connection, way)

    def _of_pair(self, segment: Segment) -> Connection | None:
        """Some connection between the same two ends."""
        low, high = sorted((segment.source, segment.target))
        return next(iter(self._pairs.get((low, high), {}).values()), None)

    def _way(self, connection: Connection, segment: Segment) -> str:
        return TO_CLIENT if segment.source == connection.server else TO_SERVER

    def _direction(self, connection: Connection, way: str) -> Direction:
        return connection.to_server if way == TO_SERVER else connection.to_client

    def _count(self, found: Found, segment: Segment) -> None:
        connection, made = found.connection, found.dissection
        assert connection is not None
        connection.last = segment.at
        self.connections[connection.number] = self.connections.pop(connection.number)  # the newest stands last
        counts = (connection.to_server if found.way == TO_SERVER else connection.to_client).counts
        counts["packets"] += 1
        counts["bytes"] += found.size
        counts["damaged"] += made.checksum == dissect.WRONG
        counts["malformed"] += made.checksum != dissect.WRONG and bool(made.problem)
        counts["again"] += AGAIN in found.notes
        counts["marked"] += segment.ecn == CE
        if made.checksum == dissect.WRONG:
            return
        counts["copies"] += bool(made.fields.get("copies"))
        counts["tries"] += TRIES in found.notes
        counts["moves"] += MOVED in found.notes
        counts["message_frames"] += sum(1 for frame in made.frames if frame.name == "MSG")
