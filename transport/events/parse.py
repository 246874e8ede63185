"""Frames of the events protocol, taken apart and checked; the other half of `envelope`.

A client's frames and a server's have a table each, so that neither can be sent what only the other may say. It must
never raise anything but `Malformed` for what a peer may have sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transport import CloseCode, CodecError, limits
from transport.codec import varint
from transport.events import envelope
from transport.events.envelope import Kind, Policy, Why
from transport.events.errors import Malformed

EPOCH_MAX = 2**64 - 1
SINCE = ("now", "oldest", "cursor")
_decode = envelope._codec.decode


class _Reader:
    """A frame and a place in it."""

    __slots__ = ("data", "pos")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 1

    def number(self) -> int:
        try:
            found, self.pos = varint.decode(self.data, self.pos)
        except CodecError:
            raise Malformed("a frame ends within its header") from None
        return found

    def byte(self, largest: int) -> int:
        if self.pos >= len(self.data):
            raise Malformed("a frame ends within its header")
        found = self.data[self.pos]
        if found > largest:
            raise Malformed(f"a byte of a header is {found}, {largest} is the largest")
        self.pos += 1
        return found

    def body(self) -> Any:
        try:
            return _decode(self.data[self.pos :])
        except CodecError as error:
            raise Malformed(str(error), CloseCode.INVALID_BODY) from None

    def items(self, *types: Any) -> list[Any]:
        """A body that is a list of values of these types."""
        return _items(self.body(), *types)

    def end(self) -> None:
        if self.pos != len(self.data):
            raise Malformed("bytes behind a frame's end")


def _invalid(what: str) -> Malformed:
    return Malformed(what, CloseCode.INVALID_BODY)


def _is(value: Any, kind: Any) -> bool:
    if kind is int:
        return type(value) is int and value >= 0
    return kind is Any or isinstance(value, kind)


def _items(body: Any, *types: Any) -> list[Any]:
    if not isinstance(body, list) or len(body) != len(types):
        raise _invalid(f"a body is not a list of {len(types)}")
    for value, kind in zip(body, types, strict=True):
        if not _is(value, kind):
            raise _invalid(f"a body has {type(value).__name__} where {getattr(kind, '__name__', kind)} belongs")
    return body


def _fields(body: Any, **types: Any) -> list[Any]:
    """The values of a map, in the order asked for; more keys are passed over, for versions to come."""
    if not isinstance(body, dict):
        raise _invalid("a body is not a map")
    for name, kind in types.items():
        if name not in body or not _is(body[name], kind):
            raise _invalid(f"a body lacks a good {name!r}")
    return [body[name] for name in types]


def check_name(name: str, what: str, *, empty: bool = False) -> str:
    """A name within its bound. Raises Malformed."""
    if len(name.encode("utf-8", "replace")) > limits.EVENTS_NAME_BYTES_MAX or (not name and not empty):
        raise _invalid(f"the name of {what} is empty or over {limits.EVENTS_NAME_BYTES_MAX} bytes")
    if not name.isprintable():
        raise _invalid(f"the name of {what} has characters that can't be printed")
    return name


def _named(reader: _Reader) -> tuple[str, Any]:
    name, data = reader.items(str, Any)
    return check_name(name, "an event"), data


def _claim(body: Any) -> envelope.Claim:
    room, epoch, offset, since, by_client, ticket = _items(body, str, int, int, int, bool, bytes)
    check_name(room, "a room", empty=True)
    if epoch > EPOCH_MAX or max(offset, since) > varint.VALUE_MAX:
        raise _invalid("a position is out of range")
    return envelope.Claim(room, epoch, offset, since, by_client, ticket)


def _largest(body: Any) -> int:
    """What a side says that it takes; 0 where it does not."""
    found = body.get("largest", 0)
    if not _is(found, int):
        raise _invalid("a body lacks a good 'largest'")
    return int(found)


def _hello(reader: _Reader) -> envelope.Hello:
    body = reader.body()
    versions, namespace, session, secret, generation, floor, streams = _fields(
        body, v=list, namespace=str, session=str, secret=bytes, generation=int, floor=int, streams=list
    )
    if envelope.VERSION not in versions:
        raise Malformed(f"version {envelope.VERSION} of the events protocol is not among {versions!r:.40}")
    if len(streams) > limits.EVENTS_ROOMS_MAX + 1:
        raise Malformed(f"more than {limits.EVENTS_ROOMS_MAX} rooms", CloseCode.POLICY)
    check_name(namespace, "a namespace")
    check_name(session, "a session", empty=True)
    if max(generation, floor) > varint.VALUE_MAX:
        raise _invalid("a number is out of range")
    claims = [_claim(claim) for claim in streams]
    return envelope.Hello(namespace, body.get("auth"), session, secret, generation, floor, claims, _largest(body))


def _join(reader: _Reader) -> envelope.Join:
    request = reader.number()
    room, since, claim = reader.items(str, str, Any)
    if since not in SINCE:
        raise _invalid(f"since is one of {', '.join(SINCE)}")
    return envelope.Join(request, check_name(room, "a room"), since, None if claim is None else _claim(claim))


def _leave(reader: _Reader) -> envelope.Leave:
    request = reader.number()
    (room,) = reader.items(str)
    return envelope.Leave(request, check_name(room, "a room"))


def _message(reader: _Reader) -> envelope.Message:
    number, floor, wants = reader.number(), reader.number(), reader.byte(1)
    if not 1 <= floor <= number:
        raise Malformed(f"message {number} with a floor of {floor}")
    return envelope.Message(number, floor, bool(wants), *_named(reader))


def _answer(reader: _Reader) -> envelope.Answer:
    return envelope.Answer(reader.number(), bool(reader.byte(1)), reader.body())


def _pause(reader: _Reader) -> envelope.Pause:
    found = envelope.Pause(reader.number())
    reader.end()
    return found


def _continue(reader: _Reader) -> envelope.Continue:
    found = envelope.Continue(reader.number(), reader.number())
    reader.end()
    return found


def _welcome(reader: _Reader) -> envelope.Welcome:
    body = reader.body()
    session, secret, generation, resumed, contiguous, beyond, seen, window = _fields(
        body, session=str, secret=bytes, generation=int, resumed=bool, contiguous=int, beyond=list, seen=int,
        window=int,
    )  # fmt: skip
    if not all(_is(number, int) for number in beyond) or len(beyond) > limits.EVENTS_WINDOW:
        raise _invalid("a WELCOME has bad numbers of messages")
    return envelope.Welcome(
        session, secret, generation, resumed, contiguous, beyond, seen, window, _largest(body)
    )  # fmt: skip


def _refused(reader: _Reader) -> envelope.Refused:
    reason, text, retry, generation = _fields(reader.body(), reason=str, text=str, retry_ms=Any, generation=int)
    if type(retry) is not int:
        raise _invalid("a REFUSED has no good retry_ms")
    return envelope.Refused(reason, text, retry, generation)


def _joined(reader: _Reader) -> envelope.Joined:
    request, alias, catching = reader.number(), reader.number(), reader.byte(1)
    room, epoch, top, offset, since, by_client, ticket = reader.items(str, int, int, int, int, bool, bytes)
    check_name(room, "a room", empty=True)
    return envelope.Joined(request, alias, bool(catching), room, epoch, top, offset, since, by_client, ticket)


def _left(reader: _Reader) -> envelope.Left:
    request = reader.number()
    return envelope.Left(request, *reader.items(str, str))


def _event(reader: _Reader) -> envelope.Event:
    alias, offset, step = reader.number(), reader.number(), reader.number()
    if not 1 <= step <= offset:
        raise Malformed(f"event {offset} with a step of {step}")
    replay = reader.data[0] == Kind.REPLAYED
    size = len(reader.data) - reader.pos
    name, data = _named(reader)
    return envelope.Event(alias, offset, step, replay, name, data, size)


def _volatile(reader: _Reader) -> envelope.Volatile:
    return envelope.Volatile(reader.number(), *_named(reader))


def _advance(reader: _Reader) -> envelope.Advance:
    found = envelope.Advance(reader.number(), reader.number(), reader.number())
    reader.end()
    if not 1 <= found.step <= found.offset:
        raise Malformed(f"an advance to {found.offset} by {found.step}")
    return found


def _caught_up(reader: _Reader) -> envelope.CaughtUp:
    found = envelope.CaughtUp(reader.number(), reader.number(), reader.number())
    reader.end()
    return found


def _gap(reader: _Reader) -> envelope.Gap:
    alias, why, policy, offset = reader.number(), reader.byte(max(Why)), reader.byte(max(Policy)), reader.number()
    room, first, top, lost, snapshot = reader.items(str, int, int, Any, Any)
    if type(lost) is not int:
        raise _invalid("a GAP has no good number of lost events")
    return envelope.Gap(alias, Why(why), Policy(policy), offset, room, first, top, lost, snapshot)


def _reply(reader: _Reader) -> envelope.Reply:
    return envelope.Reply(reader.number(), bool(reader.byte(1)), reader.body())


def _ack(reader: _Reader) -> envelope.Ack:
    found = envelope.Ack(reader.number())
    reader.end()
    return found


def _call(reader: _Reader) -> envelope.Call:
    return envelope.Call(reader.number(), reader.number(), *_named(reader))


def _goaway(reader: _Reader) -> envelope.Goaway:
    found = envelope.Goaway(reader.number(), reader.number())
    reader.end()
    return found


Table = dict[int, Callable[[_Reader], Any]]
FROM_CLIENT: Table = {
    Kind.HELLO: _hello, Kind.JOIN: _join, Kind.LEAVE: _leave, Kind.MESSAGE: _message, Kind.ANSWER: _answer,
    Kind.PAUSE: _pause, Kind.CONTINUE: _continue,
}  # fmt: skip
FROM_SERVER: Table = {
    Kind.WELCOME: _welcome, Kind.REFUSED: _refused, Kind.JOINED: _joined, Kind.LEFT: _left, Kind.EVENT: _event,
    Kind.REPLAYED: _event, Kind.VOLATILE: _volatile, Kind.ADVANCE: _advance, Kind.CAUGHT_UP: _caught_up,
    Kind.GAP: _gap, Kind.REPLY: _reply, Kind.ACK: _ack, Kind.CALL: _call, Kind.GOAWAY: _goaway,
}  # fmt: skip


def parse(data: bytes, table: Table) -> Any:
    """One frame as a record of `envelope`. Raises Malformed."""
    if not data:
        raise Malformed("an empty frame")
    found = table.get(data[0])
    if found is None:
        raise Malformed(f"a frame of the unknown kind {data[0]:#04x}")
    return found(_Reader(data))
