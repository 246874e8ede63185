"""Sessions of plain framings: messages in any cut, orderly and disorderly ends, expiry, idle time, hostile peers."""

from __future__ import annotations

import itertools
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transport import limits
from transport.codec.framing.base import MalformedFrame, resolve_framing
from transport.codec.framing.chunks import Chunks
from transport.codec.framing.length32 import Length32
from transport.codec.framing.lines import Lines
from transport.errors import (
    CloseCode,
    ConnectionClosed,
    LocalProtocolError,
    RemoteProtocolError,
    UnsupportedOperation,
)
from transport.machine import EOF, ByteMachine, Closed, Established
from transport.session import SessionState
from transport.stream.plain import BY_REFERENCE_BYTES, TAKE_BYTES, InputEnded, PlainSession

SECOND = limits.SECOND_NS
NAMES = ["length32", "msgpack", "lines", "netstring"]


def make(framing: Any = "length32", limit: int = limits.MIB, idle_ns: int = 0, **keywords: Any) -> PlainSession:
    session = PlainSession(resolve_framing(framing, limit), limit, idle_ns, 0, **keywords)
    assert session.events() == [Established()]
    return session


def send(session: PlainSession, *payloads: bytes, expires_at: int = 0, priority: int = 0) -> None:
    for payload in payloads:
        session.send(payload, 0, 0, priority, expires_at, 0)


def written(session: PlainSession, now: int = 0) -> tuple[bytes, bool]:
    """Everything that `transmit` gives, and whether it ended the stream."""
    wire = b""
    while buffers := session.transmit(now):
        for buffer in buffers[:-1]:
            assert len(buffer), "an empty buffer in the middle would end the stream"
        wire += b"".join(buffers)
        if buffers[-1] == EOF:
            assert session.transmit(now) == []
            return wire, True
    return wire, False


def taken(session: PlainSession) -> list[bytes]:
    payloads = []
    for batch in session.take():
        assert (batch.channel, batch.delivery) == (0, 0)
        assert batch.size == sum(map(len, batch.payloads))
        payloads += batch.payloads
    return payloads


def ended(session: PlainSession) -> Closed:
    (event,) = session.events()
    assert isinstance(event, Closed)
    assert session.state == SessionState.CLOSED
    return event


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
@settings(derandomize=True)
def test_messages_arrive_however_the_bytes_are_cut(name: str, data: st.DataObject) -> None:
    raw = st.binary(max_size=50) | st.sampled_from([b"x" * 5000, b"y" * BY_REFERENCE_BYTES, b"z" * 40_000])
    payloads = data.draw(st.lists(raw.map(msgpack.packb) if name == "msgpack" else raw, max_size=8))
    if name == "lines":
        payloads = [payload.replace(b"\n", b"").rstrip(b"\r") for payload in payloads]
    one, other = make(name), make(name)
    wire = b""
    for payload in payloads:
        send(one, payload)
        if data.draw(st.booleans()):
            wire += written(one)[0]
    wire += written(one)[0]
    assert one.queued_bytes == 0
    assert one.sent_total == len(wire)
    cuts = data.draw(st.lists(st.integers(0, 2**17), max_size=10))
    for start, end in itertools.pairwise(sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})):
        other.receive(wire[start:end], 0)
    assert taken(other) == payloads
    assert one.statistics()["messages_sent"] == other.statistics()["messages_received"] == len(payloads)
    assert other.statistics()["bytes_received"] == len(wire)


def test_it_is_a_byte_machine_and_open_at_once() -> None:
    session = make()
    assert isinstance(session, ByteMachine)
    assert session.state == SessionState.OPEN
    assert session.transmit(0) == []
    assert session.deadline() is None
    assert (session.send_max, session.channels_max(), session.uses_credit) == (limits.MIB, 1, False)
    with pytest.raises(UnsupportedOperation):
        session.ping(1, 0)


def test_the_limit_on_sending_is_the_smaller_one() -> None:
    assert make("lines").send_max == limits.LINE_BYTES_MAX
    assert make(Length32(500)).send_max == 500
    assert make(Length32(500), 100).send_max == 100


def test_small_messages_leave_in_one_buffer_and_large_ones_by_reference() -> None:
    session = make()
    large = b"x" * BY_REFERENCE_BYTES
    send(session, b"a", b"b", large, b"c")
    assert session.queued_bytes == 5 + 5 + 4 + len(large) + 5
    buffers = session.transmit(0)
    assert [bytes(buffer) for buffer in buffers] == [
        b"\0\0\0\1a\0\0\0\1b" + len(large).to_bytes(4, "big"), large, b"\0\0\0\1c"]  # fmt: skip
    assert buffers[1] is large
    assert session.queued_bytes == 0
    send(session, b"d")
    assert bytes(buffers[2]) == b"\0\0\0\1c", "what was handed out is left alone"


def test_close_flushes_then_ends_the_stream() -> None:
    one, other = make(), make()
    send(one, b"last")
    one.close(0, "bye", 0)
    assert one.state == SessionState.CLOSING
    with pytest.raises(ConnectionClosed) as caught:
        send(one, b"more")
    assert not caught.value.by_peer
    wire, eof = written(one)
    assert eof
    assert one.events() == []
    other.receive(wire, 0)
    other.receive(EOF, 0)
    assert taken(other) == [b"last"]
    assert ended(other) == Closed(0, "", True, True)
    assert written(other) == (b"", True)
    one.receive(b"\0\0\0\1x\0\0", 0)  # comes too late to be taken, and may be cut short
    one.receive(EOF, 0)
    assert taken(one) == []
    assert ended(one) == Closed(0, "bye", False, True)
    one.close(0, "", 0)
    one.abort(5, "", 0)
    one.receive(b"junk", 0)
    one.expire(10**18)
    assert one.events() == []


def test_close_with_a_code_is_not_clean() -> None:
    session = make()
    session.close(7, "done", 0)
    session.close(8, "again", 0)
    session.receive(EOF, 0)
    assert ended(session) == Closed(7, "done", False, False)
    away = make()
    away.close(CloseCode.GOING_AWAY, "", 0)
    away.receive(EOF, 0)
    assert ended(away).clean


def test_what_was_received_before_close_is_dropped() -> None:
    session = make()
    session.receive(b"\0\0\0\1x", 0)
    session.close(0, "", 0)
    assert session.take() == []


def test_both_ends_close_at_once() -> None:
    one, other = make(), make()
    one.close(0, "", 0)
    other.close(0, "", 0)
    assert written(one)[1]
    assert written(other)[1]
    one.receive(EOF, 0)
    other.receive(EOF, 0)
    assert ended(one).clean
    assert ended(other).clean


def test_the_peer_ends_while_something_is_queued() -> None:
    session = make()
    send(session, b"answer")
    session.receive(EOF, 0)
    assert ended(session) == Closed(0, "", True, True)
    assert written(session) == (b"\0\0\0\6answer", True)


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_ends_within_a_frame(name: str) -> None:
    session = make(name)
    whole = make(name)
    payload = msgpack.packb("hello") if name == "msgpack" else b"hello"
    send(whole, payload)
    wire = written(whole)[0]
    send(session, payload)
    session.receive(wire + wire[:-1], 0)
    session.receive(EOF, 0)
    event = ended(session)
    assert (event.code, event.by_peer, event.clean) == (CloseCode.LOST, True, False)
    assert event.reason.startswith("truncated frame")
    assert taken(session) == [payload]
    assert written(session) == (b"", True)


@pytest.mark.parametrize(
    ("name", "junk", "code"),
    [
        ("length32", b"GET / HTTP/1.1\r\n\r\n", CloseCode.TOO_LARGE),
        ("length32", b"\x80\0\0\0", CloseCode.TOO_LARGE),
        ("netstring", b"GET / HTTP/1.1\r\n\r\n", CloseCode.PROTOCOL_ERROR),
        ("netstring", b"-1:", CloseCode.PROTOCOL_ERROR),
        ("lines", b"x" * 70_000, CloseCode.TOO_LARGE),
        ("msgpack", b"\xc1", CloseCode.PROTOCOL_ERROR),
        ("msgpack", b"\x91" * 500, CloseCode.INVALID_BODY),
        ("msgpack", b"\xdd\xff\xff\xff\xff" + b"\xc0" * 65536, CloseCode.TOO_LARGE),
    ],
)
def test_malformed_input_ends_it_and_keeps_what_came_before(name: str, junk: bytes, code: int) -> None:
    session, sender = make(name), make(name)
    payload = msgpack.packb("good") if name == "msgpack" else b"good"
    send(sender, payload)
    send(session, payload)
    session.receive(written(sender)[0] + junk, 0)
    event = ended(session)
    assert (event.code, event.by_peer, event.clean) == (code, False, False)
    assert event.reason
    assert taken(session) == [payload]
    assert session.queued_bytes == 0
    assert written(session) == (b"", True)
    session.receive(b"more", 0)
    session.receive(EOF, 0)
    assert session.events() == []


@given(st.lists(st.binary(min_size=1, max_size=100), max_size=5), st.sampled_from(NAMES))
@settings(derandomize=True)
def test_nothing_that_a_peer_sends_is_raised(parts: list[bytes], name: str) -> None:
    session = make(name, 50)
    for part in parts:
        session.receive(part, 0)
    session.receive(EOF, 0)
    assert ended(session).by_peer or parts
    assert all(len(payload) <= 50 for payload in taken(session))


def test_abort_drops_everything() -> None:
    session = make()
    send(session, b"x", b"y" * 100_000)
    send(session, b"z", expires_at=5)
    session.abort(CloseCode.INTERNAL_ERROR, "r" * 1000, 0)
    assert session.queued_bytes == 0
    assert ended(session) == Closed(CloseCode.INTERNAL_ERROR, "r" * limits.REASON_BYTES_MAX, False, False)
    assert written(session) == (b"", True)
    with pytest.raises(ConnectionClosed) as caught:
        send(session, b"x")
    assert caught.value.code == CloseCode.INTERNAL_ERROR


def test_a_reason_is_cut_between_characters() -> None:
    session = make()
    session.abort(1, "ü" * 200 + "\udc80", 0)
    assert ended(session).reason == "ü" * (limits.REASON_BYTES_MAX // 2)


def test_expiry() -> None:
    session = make()
    send(session, b"a")
    send(session, b"late", expires_at=10)
    send(session, b"b")
    send(session, b"in time", expires_at=11)
    queued = session.queued_bytes
    assert queued == 5 + 8 + 5 + 11
    assert written(session, 10)[0] == b"\0\0\0\1a\0\0\0\1b\0\0\0\7in time"
    assert session.queued_bytes == 0
    assert session.statistics()["expired"] == session.expired == 1
    send(session, b"late", expires_at=10)
    session.close(0, "", 0)
    assert written(session, 10) == (b"", True)
    assert session.expired == 2


def test_whether_a_message_has_expired_is_decided_late() -> None:
    """While one may expire, no more is handed out at once than is soon written."""
    session = make()
    size = TAKE_BYTES // 2
    for _ in range(4):
        send(session, b"x" * size)
    send(session, b"stale", expires_at=10)
    first = session.transmit(9)
    assert sum(map(len, first)) <= TAKE_BYTES + size + 4
    assert session.queued_bytes == 4 * (size + 4) + 9 - sum(map(len, first))
    assert b"stale" not in written(session, 10)[0]
    assert session.expired == 1


def test_order_holds_across_large_small_and_expiring_messages_whatever_their_priority() -> None:
    session, other = make(), make()
    payloads = [bytes([i]) * (20_000 if i % 3 == 0 else 10) for i in range(30)]
    for i, payload in enumerate(payloads):
        send(session, payload, expires_at=100 if i % 4 == 0 else 0, priority=i % 8)
    other.receive(written(session)[0], 0)
    assert taken(other) == payloads


def test_idle() -> None:
    session = make(idle_ns=30 * SECOND)
    assert session.deadline() == 30 * SECOND
    session.receive(b"\0\0", 5 * SECOND)
    assert session.deadline() == 35 * SECOND
    send(session, b"x")
    assert session.deadline() == 35 * SECOND, "only what moves counts"
    written(session, 6 * SECOND)
    assert session.deadline() == 36 * SECOND
    written(session, 7 * SECOND)
    assert session.deadline() == 36 * SECOND
    session.expire(36 * SECOND - 1)
    assert session.state == SessionState.OPEN
    send(session, b"never sent")
    session.expire(36 * SECOND)
    assert ended(session) == Closed(CloseCode.IDLE_TIMEOUT, "nothing moved for 30 seconds", False, False)
    assert session.deadline() is None
    assert written(session) == (b"", True)


def test_no_idle_time() -> None:
    session = make()
    session.expire(10**18)
    assert session.state == SessionState.OPEN


def test_idle_ends_a_close_that_the_peer_does_not_answer() -> None:
    session = make(idle_ns=SECOND)
    session.close(0, "", 0)
    written(session)
    session.expire(SECOND)
    assert ended(session).code == CloseCode.IDLE_TIMEOUT


def test_half_open() -> None:
    session = make("lines", half_open=True)
    session.receive(b"question\n", 0)
    session.receive(EOF, 0)
    assert session.events() == [InputEnded()]
    assert session.state == SessionState.OPEN
    session.receive(EOF, 0)
    session.receive(b"junk", 0)
    assert session.events() == []
    assert taken(session) == [b"question"]
    send(session, b"answer")
    session.close(0, "", 0)
    assert ended(session) == Closed(0, "", False, True)
    assert written(session) == (b"answer\n", True)
    cut = make("lines", half_open=True)
    cut.receive(b"quest", 0)
    cut.receive(EOF, 0)
    assert ended(cut).code == CloseCode.LOST


def test_buffers_of_other_kinds_are_copied_in() -> None:
    session = make("bytes")
    session.receive(memoryview(b"abc"), 0)  # type: ignore[arg-type]
    session.receive(bytearray(b"def"), 0)  # type: ignore[arg-type]
    assert taken(session) == [b"abc", b"def"]
    assert make("bytes", 2).send_max == 2


def test_a_framing_error_at_send_queues_nothing() -> None:
    session = make("lines")
    with pytest.raises(LocalProtocolError, match="line feed"):
        send(session, b"a\nb")
    with pytest.raises(LocalProtocolError, match="leaves no trace"):
        send(make("bytes"), b"")
    assert session.queued_bytes == session.sent_total == session.messages_sent == 0
    assert written(session) == (b"", False)


class Own:
    """A framing whose parts can be set wrong."""

    def __init__(self, encoded: Any = b"x", decoded: Any = (), ending: Exception | None = None) -> None:
        self.encoded, self.decoded, self.ending = encoded, decoded, ending

    def encode(self, payload: bytes) -> Any:
        return self.encoded

    def decoder(self) -> Own:
        return self

    def feed(self, data: bytes) -> Any:
        if isinstance(self.decoded, Exception):
            raise self.decoded
        return self.decoded

    def eof(self) -> None:
        if self.ending is not None:
            raise self.ending


@pytest.mark.parametrize(
    ("encoded", "wire"),
    [
        (b"abc", b"abc"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc"), b"abc"),
        ([b"a", bytearray(b"b"), memoryview(b"c")], b"abc"),
        ((b"a", b"", b"bc"), b"abc"),
        ([b"a" * 20_000, b"b", bytearray(b"c" * 20_000)], b"a" * 20_000 + b"b" + b"c" * 20_000),
        (b"", b""),
        ([], b""),
        ([b"", b""], b""),
    ],
)
def test_what_a_framing_may_give(encoded: Any, wire: bytes) -> None:
    for expires_at in (0, 10):
        session = make(Own(encoded))
        send(session, b"?", expires_at=expires_at)
        assert session.queued_bytes == len(wire)
        assert written(session) == (wire, False)
        assert session.queued_bytes == 0


def test_a_buffer_that_its_owner_changes_later() -> None:
    buffer = bytearray(b"a" * 20_000)
    session = make(Own([buffer]))
    send(session, b"?")
    buffer[:] = b"b" * 20_000
    assert written(session)[0] == b"a" * 20_000


@pytest.mark.parametrize("encoded", ["text", None, 5, [b"a", "b"], {"a": 1}])
def test_what_a_framing_may_not_give(encoded: Any) -> None:
    session = make(Own(encoded))
    with pytest.raises(LocalProtocolError, match=r"Own.encode\(\) gave \w+, not bytes"):
        send(session, b"?")
    assert session.queued_bytes == 0


@pytest.mark.parametrize(
    ("decoded", "code", "before"),
    [
        ([b"a", "text"], CloseCode.INTERNAL_ERROR, [b"a"]),
        ([b"a", b"x" * 11, b"b"], CloseCode.TOO_LARGE, [b"a"]),
        ((b"a", bytearray(b"b")), CloseCode.INTERNAL_ERROR, [b"a"]),
        (5, CloseCode.INTERNAL_ERROR, []),
        (ValueError("bug"), CloseCode.INTERNAL_ERROR, []),
        (RemoteProtocolError("bad"), CloseCode.PROTOCOL_ERROR, []),
        (RemoteProtocolError("bad", 77), 77, []),
        (MalformedFrame("bad", 78, [b"a"]), 78, [b"a"]),
        (MalformedFrame("bad", 78, [b"a", b"x" * 11]), CloseCode.TOO_LARGE, [b"a"]),
    ],
)
def test_what_a_decoder_may_do(decoded: Any, code: int, before: list[bytes]) -> None:
    session = make(Own(decoded=decoded), 10)
    session.receive(b"?", 0)
    event = ended(session)
    assert (event.code, event.clean) == (code, False)
    assert event.reason
    assert taken(session) == before


def test_payloads_in_a_tuple() -> None:
    session = make(Own(decoded=(b"a", b"b")))
    session.receive(b"?", 0)
    assert taken(session) == [b"a", b"b"]
    nothing = make(Own(decoded=None))
    nothing.receive(b"?", 0)
    assert taken(nothing) == []


@pytest.mark.parametrize(
    ("ending", "code"), [(RemoteProtocolError("cut"), CloseCode.PROTOCOL_ERROR), (KeyError("bug"), 1011)]
)
def test_what_a_decoder_may_do_at_the_end(ending: Exception, code: int) -> None:
    session = make(Own(ending=ending))
    session.receive(EOF, 0)
    assert ended(session).code == code


@pytest.mark.parametrize("limit", [0, -1, True, "1", None])
def test_a_wrong_limit_of_a_framing(limit: Any) -> None:
    framing = Own()
    framing.max_message = limit  # type: ignore[attr-defined]
    with pytest.raises(LocalProtocolError, match="max_message"):
        make(framing)


def test_one_framing_serves_many_connections() -> None:
    framing = Lines()
    one, other = make(framing), make(framing)
    one.receive(b"a", 0)
    other.receive(b"b\n", 0)
    one.receive(b"\n", 0)
    assert (taken(one), taken(other)) == ([b"a"], [b"b"])
    assert taken(make(Chunks(5))) == []
