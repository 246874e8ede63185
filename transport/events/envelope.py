"""The frames of the events protocol: one per message of the connection below, a small header and a msgpack body.

`docs/events-protocol.md` is normative; this file is what it says, in both directions. A frame that many clients get is
encoded once. A parser must never raise anything but `Malformed`, and never build a body before its header was checked.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from transport import MsgpackCodec, limits
from transport.codec import varint
from transport.errors import CodecError

VERSION = 1
CARRIED = "events carry None, bool, int, float, str, bytes, lists and dicts of these"


class _Codec(MsgpackCodec):
    """Says of what can't be sent what could be in place of it: the codec is fixed here."""

    def _judge(self, value: Any) -> str:
        reason = super()._judge(value).partition(" (MsgpackCodec")[0]
        hint = ", such as value.isoformat()" if reason.startswith("a datetime") else ""
        return f"{reason} ({CARRIED}{hint})" if reason else ""

    def _judge_key(self, key: Any) -> str:
        return super()._judge_key(key).partition(", or else MsgpackCodec")[0]


_codec = _Codec()
encode_body = _codec.encode


class Kind(IntEnum):
    """The first byte of a frame."""

    HELLO = 0x01
    JOIN = 0x02
    LEAVE = 0x03
    MESSAGE = 0x04
    ANSWER = 0x05
    PAUSE = 0x06
    CONTINUE = 0x07
    WELCOME = 0x41
    REFUSED = 0x42
    JOINED = 0x43
    LEFT = 0x44
    EVENT = 0x45
    REPLAYED = 0x46
    VOLATILE = 0x47
    ADVANCE = 0x48
    CAUGHT_UP = 0x49
    GAP = 0x4A
    REPLY = 0x4B
    ACK = 0x4C
    CALL = 0x4D
    GOAWAY = 0x4E


class Why(IntEnum):
    """The reason of a gap, as a byte."""

    EPOCH = 0
    TRIMMED = 1
    LIMIT = 2
    DENIED = 3
    TOO_LARGE = 4


class Policy(IntEnum):
    """Where a stream goes on after a gap, as a byte."""

    NOW = 0
    OLDEST = 1
    SNAPSHOT = 2


class Claim(NamedTuple):
    """A stream that a resuming client says it was in. `room` is empty for its private stream.

    Attributes:
        room: its name.
        epoch, offset: of the last event that it had.
        since: the offset it was let in at.
        by_client: whether it asked to join.
        ticket: the server's signature of all that but `offset`.
    """

    room: str
    epoch: int
    offset: int
    since: int
    by_client: bool
    ticket: bytes


class Hello(NamedTuple):
    """The first frame of a connection.

    `session` is empty for a new one; `floor` is 0 where the client forgot it; `largest`, the bytes of a frame that it
    takes, is 0 where it does not say.
    """

    namespace: str
    auth: Any
    session: str
    secret: bytes
    generation: int
    floor: int
    claims: list[Claim]
    largest: int = 0


class Join(NamedTuple):
    """A wish to be in a room, or to go on reading it elsewhere. `since` is "now", "oldest" or "cursor"."""

    request: int
    room: str
    since: str
    claim: Claim | None


class Leave(NamedTuple):
    """A wish to leave a room."""

    request: int
    room: str


class Message(NamedTuple):
    """A numbered message of a client. All below `floor` are settled for it: it has their replies."""

    number: int
    floor: int
    wants_reply: bool
    name: str
    data: Any


class Answer(NamedTuple):
    """What a client answers to a call of the server."""

    call: int
    ok: bool
    data: Any


class Pause(NamedTuple):
    """The client can't take more of a stream."""

    alias: int


class Continue(NamedTuple):
    """The client wants a stream from behind `offset` on."""

    alias: int
    offset: int


class Welcome(NamedTuple):
    """The client is in. `contiguous` and `beyond` are its messages that were handled, `seen` the highest that came.

    `largest` as of `Hello`, of the server.
    """

    session: str
    secret: bytes
    generation: int
    resumed: bool
    contiguous: int
    beyond: list[int]
    seen: int
    window: int
    largest: int = 0


class Refused(NamedTuple):
    """The client is not in, or no longer. `retry_ms` says when another try makes sense, -1 that none does."""

    reason: str
    text: str
    retry_ms: int
    generation: int


class Joined(NamedTuple):
    """The client is in a room; its next event follows `offset`. `catching_up`: one CAUGHT_UP or GAP will follow."""

    request: int
    alias: int
    catching_up: bool
    room: str
    epoch: int
    top: int
    offset: int
    since: int
    by_client: bool
    ticket: bytes


class Left(NamedTuple):
    """The client is not in a room: it left, was put out, or its wish to join was refused (`reason` is not empty)."""

    request: int
    room: str
    reason: str


class Event(NamedTuple):
    """An event of a stream; `step` is its offset less that of the event before it."""

    alias: int
    offset: int
    step: int
    replay: bool
    name: str
    data: Any
    size: int


class Volatile(NamedTuple):
    """An event that may be lost; `alias` is 0 for one that was sent to this client alone."""

    alias: int
    name: str
    data: Any


class Advance(NamedTuple):
    """Events that this client is not meant to see."""

    alias: int
    offset: int
    step: int


class CaughtUp(NamedTuple):
    """Everything that was missed has come: so many events, up to `offset`."""

    alias: int
    offset: int
    events: int


class Gap(NamedTuple):
    """Events are missing: those after the last one that came, up to `offset`. `lost` is -1 where nobody knows."""

    alias: int
    why: Why
    policy: Policy
    offset: int
    room: str
    first: int
    top: int
    lost: int
    snapshot: Any


class Reply(NamedTuple):
    """The answer to a client's message; `data` is {"code", "text"} where it is not `ok`."""

    number: int
    ok: bool
    data: Any


class Ack(NamedTuple):
    """All messages up to `contiguous` were handled."""

    contiguous: int


class Call(NamedTuple):
    """The server asks; `alias` is that of the room it asks in, or 0."""

    call: int
    alias: int
    name: str
    data: Any


class Goaway(NamedTuple):
    """The server is about to end: come back after so long, and a random share of `jitter_ms` more."""

    retry_ms: int
    jitter_ms: int


# Encoding


def _head(kind: Kind, *numbers: int) -> bytearray:
    out = bytearray((kind,))
    for number in numbers:
        varint.append(out, number)
    return out


def payload(name: str, data: Any) -> bytes:
    """What the log keeps of an event, and the body of its frames. Raises CodecError."""
    try:
        return encode_body((name, data))
    except CodecError as error:
        raise CodecError(str(error).replace("message[1]", f"the data of {name!r:.80}", 1)) from None


def hello(message: Hello) -> bytes:
    """A HELLO."""
    body = {
        "v": [VERSION], "namespace": message.namespace, "auth": message.auth, "session": message.session,
        "secret": message.secret, "generation": message.generation, "floor": message.floor,
        "streams": [list(claim) for claim in message.claims],
    }  # fmt: skip
    if message.largest:
        body["largest"] = message.largest
    return bytes(_head(Kind.HELLO)) + encode_body(body)


def join(request: int, room: str, since: str, claim: Claim | None = None) -> bytes:
    """A JOIN."""
    return bytes(_head(Kind.JOIN, request)) + encode_body([room, since, None if claim is None else list(claim)])


def leave(request: int, room: str) -> bytes:
    """A LEAVE."""
    return bytes(_head(Kind.LEAVE, request)) + encode_body([room])


def message(number: int, floor: int, wants_reply: bool, body: bytes) -> bytes:
    """A MESSAGE around the body that `payload` gave."""
    out = _head(Kind.MESSAGE, number, floor)
    out.append(wants_reply)
    return bytes(out) + body


def answer(call: int, ok: bool, data: Any) -> bytes:
    """An ANSWER."""
    out = _head(Kind.ANSWER, call)
    out.append(ok)
    return bytes(out) + encode_body(data)


def pause(alias: int) -> bytes:
    """A PAUSE."""
    return bytes(_head(Kind.PAUSE, alias))


def go_on(alias: int, offset: int) -> bytes:
    """A CONTINUE."""
    return bytes(_head(Kind.CONTINUE, alias, offset))


def welcome(message: Welcome) -> bytes:
    """A WELCOME."""
    body = {
        "v": VERSION, "session": message.session, "secret": message.secret, "generation": message.generation,
        "resumed": message.resumed, "contiguous": message.contiguous, "beyond": message.beyond, "seen": message.seen,
        "window": message.window,
    }  # fmt: skip
    if message.largest:
        body["largest"] = message.largest
    return bytes(_head(Kind.WELCOME)) + encode_body(body)


def refused(reason: str, text: str, retry_ms: int = -1, generation: int = 0) -> bytes:
    """A REFUSED."""
    body = {"reason": reason, "text": text[: limits.EVENTS_TEXT_CHARS_MAX], "retry_ms": retry_ms,
            "generation": generation}  # fmt: skip
    return bytes(_head(Kind.REFUSED)) + encode_body(body)


def joined(message: Joined) -> bytes:
    """A JOINED."""
    out = _head(Kind.JOINED, message.request, message.alias)
    out.append(message.catching_up)
    body = [message.room, message.epoch, message.top, message.offset, message.since, message.by_client, message.ticket]
    return bytes(out) + encode_body(body)


def left(request: int, room: str, reason: str = "") -> bytes:
    """A LEFT."""
    return bytes(_head(Kind.LEFT, request)) + encode_body([room, reason[: limits.EVENTS_TEXT_CHARS_MAX]])


def event(alias: int, offset: int, step: int, body: bytes, replay: bool = False) -> bytes:
    """An EVENT or REPLAYED around the body that `payload` gave."""
    return bytes(_head(Kind.REPLAYED if replay else Kind.EVENT, alias, offset, step)) + body


def volatile(alias: int, body: bytes) -> bytes:
    """A VOLATILE around the body that `payload` gave."""
    return bytes(_head(Kind.VOLATILE, alias)) + body


def advance(alias: int, offset: int, step: int) -> bytes:
    """An ADVANCE."""
    return bytes(_head(Kind.ADVANCE, alias, offset, step))


def caught_up(alias: int, offset: int, count: int) -> bytes:
    """A CAUGHT_UP."""
    return bytes(_head(Kind.CAUGHT_UP, alias, offset, count))


def gap(message: Gap) -> bytes:
    """A GAP."""
    out = _head(Kind.GAP, message.alias)
    out += bytes((message.why, message.policy))
    varint.append(out, message.offset)
    return bytes(out) + encode_body([message.room, message.first, message.top, message.lost, message.snapshot])


def reply(number: int, stored: bytes) -> bytes:
    """A REPLY around what `result` gave."""
    return bytes(_head(Kind.REPLY, number)) + stored


def result(ok: bool, data: Any) -> bytes:
    """What the log keeps of a reply. Raises CodecError."""
    return bytes((ok,)) + encode_body(data)


def failure(code: str, text: str) -> bytes:
    """The same for an error."""
    return result(False, {"code": code, "text": text[: limits.EVENTS_TEXT_CHARS_MAX]})


def ack(contiguous: int) -> bytes:
    """An ACK."""
    return bytes(_head(Kind.ACK, contiguous))


def call(number: int, alias: int, body: bytes) -> bytes:
    """A CALL around the body that `payload` gave."""
    return bytes(_head(Kind.CALL, number, alias)) + body


def goaway(retry_ms: int, jitter_ms: int) -> bytes:
    """A GOAWAY."""
    return bytes(_head(Kind.GOAWAY, retry_ms, jitter_ms))
