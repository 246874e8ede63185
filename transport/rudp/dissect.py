"""Packets of reliable UDP taken apart for people: every field by its name and its place.

For traces and for `transport inspect`, which see packets of others: unlike a session it acts on nothing, knows only
what it is told, and goes as far as the bytes are good. docs/protocol.md has the layout; names are those of its vectors.
It must never raise for what is in a packet, nor claim to know what only the handshake would tell.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transport import limits
from transport.delivery import Delivery
from transport.rudp import checksum, packet, pen
from transport.rudp.kinds import FRAME_NAMES, PACKET_NAMES
from transport.stream import frames as stream_frames

DELIVERIES = tuple(delivery.name.lower().replace("_", "-") for delivery in Delivery)
KINDS, FRAMES = PACKET_NAMES, FRAME_NAMES
LONGS = dict(zip((packet.HELLO, packet.RETRY, packet.ACCEPT, packet.REFUSE), KINDS, strict=False))
SHORT, RESET = KINDS[4:]
PLAIN = {
    packet.PAD: ("PAD", ()), packet.PING: ("PING", ()), packet.CONNECTION_CREDIT: ("CONNECTION_CREDIT", ("limit",)),
    packet.CHANNEL_CREDIT: ("CHANNEL_CREDIT", ("channel", "limit")), packet.BLOCKED: ("BLOCKED", ("channel", "limit")),
    packet.RETIRE_CID: ("RETIRE_CID", ("number",)),
    packet.ACK_POLICY: ("ACK_POLICY", ("number", "threshold", "delay_us", "reordering")),
}  # fmt: skip
"""Frames that are a type and a few varints: name, and names of the fields."""
OTHERS = {
    packet.ACK: "ACK", packet.ACK_ECN: "ACK_ECN", packet.SKIP: "SKIP", packet.CLOSE: "CLOSE",
    packet.PATH_CHALLENGE: "PATH_CHALLENGE", packet.PATH_RESPONSE: "PATH_RESPONSE", packet.NEW_CID: "NEW_CID",
}  # fmt: skip
STREAM_KINDS = {
    stream_frames.STREAM_OPEN: ("STREAM_OPEN", ("stream", "total")),
    stream_frames.STREAM_DATA: ("STREAM_DATA", ("stream",)),
    stream_frames.STREAM_END: ("STREAM_END", ("stream",)),
    stream_frames.STREAM_RESET: ("STREAM_RESET", ("stream", "code", "side")),
    stream_frames.STREAM_CREDIT: ("STREAM_CREDIT", ("stream", "limit")),
}  # fmt: skip
SUMS = {packet.CHECKSUM_CRC32: "crc32", packet.CHECKSUM_CRC32C: "crc32c", 0: "none"}
"""Names of what both sides can agree on, by the kind that sessions have."""

GOOD, WRONG, UNVERIFIED, ABSENT = "good", "wrong", "not verified", "none"
ACK_DELAY_UNIT_US = 8
PATH_TOKEN_BYTES = 8
SHORT_MIN = 11  # flags, connection id, a number of one byte, one frame
DAMAGED = "the checksum is wrong: these bytes are not what was sent"
_CUT = "cut off"


@dataclass(slots=True)
class Frame:
    """One frame of a packet.

    Attributes:
        name: as in docs/protocol.md.
        fields: by name, in the order of the wire.
        start, end: its place in the packet.
        body: where its payload lies, if it has one.
    """

    name: str
    fields: dict[str, Any]
    start: int
    end: int = 0
    body: tuple[int, int] | None = None

    def meaning(self, data: bytes) -> dict[str, Any]:
        """As the vectors of docs/protocol.md have it; `data` is the packet."""
        found = {"frame": self.name, **self.fields}
        if self.body is not None:
            found["body"] = data[self.body[0] : self.body[1]].hex()
        return found


@dataclass(slots=True)
class Dissection:
    """A packet.

    Attributes:
        kind: one of `KINDS`, "" for a datagram that is none of ours.
        fields: of the head, and of the body of a LONG packet.
        frames: of a SHORT packet.
        checksum: GOOD, WRONG, UNVERIFIED or ABSENT.
        problem: what is wrong with it, "" for nothing.
        rest: where bytes lie that could not be read because of that.
    """

    kind: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    checksum: str = UNVERIFIED
    problem: str = ""
    rest: tuple[int, int] = (0, 0)


class Numbers:
    """What completes the truncated numbers of one direction of a connection.

    Attributes:
        expected: the packet number behind the largest that was seen.
        lanes: by channel * 4 + delivery, the message number behind the largest.
        is_sure: it was followed from the beginning, or an ack has told; else the upper parts of packet numbers are
            guessed.
        by_server: the server sends them, which says how NEW_CID is laid out.
        knows_lanes: it was followed from the beginning; else the upper parts of message numbers are guessed.
    """

    __slots__ = ("by_server", "expected", "is_sure", "knows_lanes", "lanes")

    def __init__(self, *, is_sure: bool, by_server: bool = False) -> None:
        self.by_server = by_server
        self.expected = 0
        self.lanes: dict[int, int] = {}
        self.is_sure = self.knows_lanes = is_sure

    def copy(self) -> Numbers:
        """Another, for what is not to be believed."""
        made = Numbers(is_sure=self.is_sure, by_server=self.by_server)
        made.knows_lanes = self.knows_lanes
        made.expected = self.expected
        made.lanes = dict(self.lanes)
        return made


class Broken(Exception):
    """These bytes can't be read on."""


class Cursor:
    """Takes fields off the front of bytes `at` to `end`."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if size > self.end - self.at:
            raise Broken(_CUT)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        """The next `size` bytes as a number."""
        return int.from_bytes(self.take(size), "big")

    def varint(self) -> int:
        """The next number (RFC 9000 section 16)."""
        if self.at >= self.end:
            raise Broken(_CUT)
        size = 1 << (self.data[self.at] >> 6)
        return self.number(size) & ((1 << (8 * size - 2)) - 1)


# Datagrams


def pieces(payload: bytes) -> list[tuple[int, int]]:
    """Where the packets of a payload lie: several of equal size where the kernel cuts, or has joined, a train.

    A capture on the machine that sends has the train whole, and nothing in it says where it will be cut; but each
    packet begins with the same form and connection id.
    """
    size = len(payload)
    is_long = size > 0 and payload[0] & 0xC0 == 0xC0
    begin, least = (0, packet.LONG_MIN_BYTES) if is_long else (1, SHORT_MIN)
    mark = payload[begin : packet.LONG_HEAD_BYTES if is_long else 9]
    if size < 2 * least or not payload[0] & packet.FIXED_BIT:
        return [(0, size)]
    at = payload.find(mark, least + begin) - begin
    while at >= least:
        if all(_begins(payload, place, mark, begin) for place in range(at, size, at)):
            return [(place, min(size, place + at)) for place in range(0, size, at)]
        at = payload.find(mark, at + begin + 1) - begin
    return [(0, size)]


def _begins(payload: bytes, place: int, mark: bytes, begin: int) -> bool:
    return payload[place] & 0xC0 == payload[0] & 0xC0 and payload.startswith(mark, place + begin)


# Packets


def sum_is_good(data: bytes, kind: int) -> bool:
    """Whether a SHORT packet's last four bytes are its checksum of this kind (of `packet`, not 0)."""
    end = len(data) - packet.CHECKSUM_BYTES
    if end < SHORT_MIN - 1:
        return False
    seed = int.from_bytes(data[5:9], "big")
    made = checksum.crc32c if kind == packet.CHECKSUM_CRC32C else checksum.crc32
    return made(data, 0, end, seed) == int.from_bytes(data[end:], "big")


def short(data: bytes, sum_kind: int | None, numbers: Numbers, *, is_cut: bool = False) -> Dissection:
    """A SHORT packet.

    Args:
        data: from its first byte.
        sum_kind: which checksum was agreed, 0 for none; None if nobody knows: then both are tried, and a packet that
            neither fits may be damaged, or have none.
        numbers: of its direction; taken further by what is in the packet.
        is_cut: the capture does not have all of it, so that nothing can be verified.
    """
    found = Dissection(SHORT)
    flags = data[0] if data else 0
    cursor = Cursor(data, 1, len(data))
    try:
        found.fields["cid"] = cursor.take(8).hex()
        size = (flags & 3) + 1
        low = cursor.number(size)
    except Broken:
        found.problem = "the head is cut off"
        found.rest = (min(cursor.at, len(data)), len(data))
        return found
    number = pen.expand(low, size, numbers.expected)
    found.fields.update(number=number, number_bytes=size, copies=bool(flags & packet.COPIES_BIT))
    if flags & 0x2C:
        found.problem = "a reserved bit is set"
    if not is_cut:
        cursor.end = _verify(data, sum_kind, found)
    if found.checksum == WRONG:
        found.problem = DAMAGED
    if found.problem:
        numbers = numbers.copy()
    numbers.expected = max(numbers.expected, number + 1)
    _frames(cursor, found, numbers)
    if not found.frames and not found.problem:
        found.problem = "no frame"
    return found


def frames_of(data: bytes, numbers: Numbers, *, has_sum: bool) -> Dissection:
    """The same of a packet that is known to be whole: nothing is verified."""
    found = Dissection(SHORT)
    size = (data[0] & 3) + 1
    number = pen.expand(int.from_bytes(data[9 : 9 + size], "big"), size, numbers.expected)
    numbers.expected = max(numbers.expected, number + 1)
    found.fields.update(number=number, copies=bool(data[0] & packet.COPIES_BIT))
    _frames(Cursor(data, 9 + size, len(data) - packet.CHECKSUM_BYTES * has_sum), found, numbers)
    return found


def tries_size(found: Dissection, size: int) -> bool:
    """Whether a packet of `size` bytes only tries whether the path carries it: PING and PADs, in more bytes than every
    path carries.
    """
    return size > limits.RUDP_DATAGRAM_BYTES_MIN and sorted([frame.name for frame in found.frames]) == ["PAD", "PING"]


def _verify(data: bytes, sum_kind: int | None, found: Dissection) -> int:
    """Where the frames end."""
    end = len(data) - packet.CHECKSUM_BYTES
    for kind in (packet.CHECKSUM_CRC32C, packet.CHECKSUM_CRC32) if sum_kind is None else (sum_kind,):
        if kind and sum_is_good(data, kind):
            found.checksum = GOOD
            found.fields["checksum"] = SUMS[kind]
            return end
    if sum_kind == 0:
        found.checksum = ABSENT
        return len(data)
    if sum_kind is None:
        return len(data)
    found.checksum = WRONG
    found.fields["checksum"] = SUMS[sum_kind]
    return max(end, 0)


def _frames(cursor: Cursor, found: Dissection, numbers: Numbers) -> None:
    """All frames up to the end, or to the first that can't be read."""
    last: tuple[int, int] | None = None  # lane and number of the message frame right before
    while cursor.at < cursor.end:
        start = cursor.at
        kind = cursor.data[start]
        frame = Frame(_name(kind), {}, start)
        cursor.at += 1
        try:
            if kind & packet.MSG:
                last = _message(cursor, kind, frame, numbers, last)
            else:
                _control(cursor, kind, frame, numbers)
                last = last if kind == packet.PAD else None
        except Broken as reason:
            frame.end = cursor.end
            found.problem = found.problem or f"{frame.name} at byte {start}: {reason}"
            found.rest = (start, max(start, cursor.end))
            return
        frame.end = cursor.at
        found.frames.append(frame)
        if kind == packet.CLOSE and cursor.at < cursor.end:
            found.rest = (cursor.at, cursor.end)  # of no interest to its reader, either
            return


def _name(kind: int) -> str:
    if kind & packet.MSG:
        return "MSG"
    return PLAIN[kind][0] if kind in PLAIN else OTHERS.get(kind, f"type {kind:#04x}")


def _control(cursor: Cursor, kind: int, frame: Frame, numbers: Numbers) -> None:
    fields = frame.fields
    if kind == packet.PAD:
        while cursor.at < cursor.end and cursor.data[cursor.at] == packet.PAD:
            cursor.at += 1
        fields["count"] = cursor.at - frame.start
    elif kind in PLAIN:
        for name in PLAIN[kind][1]:
            fields[name] = cursor.varint()
        if kind == packet.BLOCKED:
            fields["channel"] -= 1
        if kind == packet.ACK_POLICY and not fields["threshold"]:
            raise Broken("malformed")
    elif kind in (packet.ACK, packet.ACK_ECN):
        _ack(cursor, kind, fields)
    elif kind == packet.SKIP:
        lane, count = cursor.varint(), cursor.varint()
        if lane & 2 or not 0 < count <= limits.RUDP_SKIPS_PER_FRAME:
            raise Broken("malformed")
        fields.update(channel=lane >> 2, delivery=lane & 3)
        fields["messages"] = [[cursor.varint(), cursor.varint()] for _ in range(count)]
    elif kind == packet.CLOSE:
        fields["code"] = cursor.varint()
        size = cursor.varint()
        if size > limits.REASON_BYTES_MAX:
            raise Broken("the reason is too long")
        fields["reason"] = cursor.take(size).decode("utf-8", "replace")
    elif kind in (packet.PATH_CHALLENGE, packet.PATH_RESPONSE):
        fields["token"] = cursor.take(PATH_TOKEN_BYTES).hex()
    elif kind == packet.NEW_CID:
        fields.update(number=cursor.varint(), floor=cursor.varint(), cid=cursor.take(8).hex())
        if numbers.by_server:
            fields["reset_token"] = cursor.take(packet.TOKEN_BYTES).hex()
    else:
        raise Broken("unknown")


def _ack(cursor: Cursor, kind: int, fields: dict[str, Any]) -> None:
    largest, delay, count, run = (cursor.varint() for _ in range(4))
    if count >= limits.RUDP_ACK_RANGES_SENT:
        raise Broken("too many ranges")
    ranges = [[largest - run, largest]]
    for _ in range(count):
        high = ranges[-1][0] - cursor.varint() - 2
        ranges.append([high - cursor.varint(), high])
    if ranges[-1][0] < 0:
        raise Broken("a range below 0")
    fields.update(ranges=ranges, delay_us=delay * ACK_DELAY_UNIT_US)
    if kind == packet.ACK_ECN:
        fields.update({name: cursor.varint() for name in ("ect0", "ect1", "ce")})


def _message(
    cursor: Cursor, kind: int, frame: Frame, numbers: Numbers, last: tuple[int, int] | None
) -> tuple[int, int]:
    """Reads a MSG frame; returns its lane and number."""
    delivery = kind >> 5 & 3
    if kind & packet.SUCCESSOR:
        if last is None or kind & 3 or last[0] & 3 != delivery:
            raise Broken("a successor of no message")
        lane, number = last[0], last[1] + 1
    else:
        channel = cursor.varint()
        if channel > packet.STREAM_CHANNEL:
            raise Broken(f"channel {channel}")
        lane = channel * 4 + delivery
        size = (kind & 3) + 1
        number = pen.expand(cursor.number(size), size, numbers.lanes.get(lane, 0))
    fields = frame.fields
    fields.update(channel=lane >> 2, delivery=delivery, number=number)
    offset = -1
    if kind & packet.FRAGMENT:
        offset = fields["offset"] = cursor.varint()
        fields["total"] = cursor.varint()
    size = cursor.varint() if kind & packet.LENGTH else cursor.end - cursor.at
    begin = cursor.at
    cursor.take(size)
    frame.body = (begin, cursor.at)
    if offset >= 0 and (not size or offset + size > fields["total"]):
        raise Broken("a fragment outside of its message")
    numbers.lanes[lane] = max(number + 1, numbers.lanes.get(lane, 0))
    return lane, number


def stream_frame(data: bytes, start: int, end: int) -> tuple[list[Frame], str]:
    """The frames of streams in a message of the hidden channel, and what is wrong with it ("" for nothing)."""
    found: list[Frame] = []
    cursor = Cursor(data, start, end)
    while cursor.at < end:
        begin = cursor.at
        try:
            head = cursor.take(1)[0]
            name, fields = STREAM_KINDS.get(head >> 4, ("", ()))
            if not name:
                raise Broken(f"kind {head >> 4}")
            frame = Frame(name, {"channel": cursor.varint() if head & stream_frames.HAS_CHANNEL else 0}, begin)
            size = cursor.varint()
            body = Cursor(data, cursor.at, cursor.at + size)
            cursor.take(size)
            frame.fields.update({field: body.varint() for field in fields})
        except Broken as reason:
            return found, f"stream frame at byte {begin}: {reason}"
        if name == "STREAM_OPEN":
            frame.fields["total"] -= 1
        if name == "STREAM_DATA":
            frame.body = (body.at, body.end)
        if name != "STREAM_OPEN":
            del frame.fields["channel"]
        frame.end = cursor.at
        found.append(frame)
    return found, ""


def long(data: bytes, *, is_cut: bool = False) -> Dissection:
    """A LONG packet."""
    found = Dissection(LONGS[data[0] >> 4 & 3])
    end = len(data) if is_cut else max(0, len(data) - packet.CHECKSUM_BYTES)
    cursor = Cursor(data, 1, end)
    fields = found.fields
    try:
        fields["version"] = cursor.take(4).hex()
        fields["dcid"] = cursor.take(8).hex()
        fields["scid"] = cursor.take(8).hex()
        if not is_cut:
            is_good = checksum.crc32(data, 0, end, 0) == int.from_bytes(data[end:], "big")
            found.checksum = GOOD if is_good else WRONG
            fields["checksum"] = SUMS[packet.CHECKSUM_CRC32]
        if int(fields["version"], 16) == packet.VERSION or found.kind == "REFUSE":  # which has all versions' form
            _body(cursor, found)
    except Broken as reason:
        found.problem = f"byte {cursor.at}: {reason}"
        found.rest = (cursor.at, max(cursor.at, end))
    if found.checksum == WRONG:
        found.problem = DAMAGED
    return found


def _body(cursor: Cursor, found: Dissection) -> None:
    kind, fields = found.kind, found.fields
    if kind in ("HELLO", "RETRY"):
        fields["cookie"] = cursor.take(cursor.varint()).hex()
    if kind in ("HELLO", "ACCEPT"):
        size = cursor.varint()
        begin = cursor.at
        cursor.take(size)
        fields["parameters"] = parameters(Cursor(cursor.data, begin, cursor.at))
    if kind == "REFUSE":
        fields["code"] = cursor.varint()
        fields["reason"] = cursor.take(cursor.varint()).decode("utf-8", "replace")
        fields["versions"] = [cursor.take(4).hex() for _ in range(min(cursor.varint(), cursor.end))]
    if cursor.at < cursor.end:
        fields["padding"] = cursor.end - cursor.at


def parameters(cursor: Cursor) -> dict[str, Any]:
    """What one side announces, without what is absent. Raises Broken."""
    found: dict[str, Any] = {}
    while cursor.at < cursor.end:
        key = cursor.varint()
        value = cursor.take(cursor.varint())
        if key in packet.NUMBERS:
            number = Cursor(value, 0, len(value))
            found[packet.NUMBERS[key]] = number.varint()
        elif key == packet.CODEC:
            found["codec"] = value.decode("utf-8", "replace")
        elif key == packet.RESET_TOKEN:
            found["reset_token"] = value.hex()
        else:
            found[f"parameter_{key}"] = value.hex()
    return found
