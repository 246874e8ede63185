"""How a stream session ends, and what it does about silence, pings and frames that are wrong."""

from __future__ import annotations

import pytest

from tests.stream.by_hand import HELLO, ended, message, opened, said, send
from tests.stream.joined import QUIET, SECOND, Joined, frames_of
from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, ConnectionClosed, LocalProtocolError, WouldBlock
from transport.machine import Closed
from transport.stream import frames
from transport.stream.config import StreamConfig
from transport.stream.session import CONTROL_QUEUE_BYTES, Pong, StreamSession

# Goodbye


def test_a_close_follows_everything_that_was_accepted() -> None:
    pair = Joined().open()
    for number in range(500):
        pair.one.session.send(bytes(300) + b"%d" % number, number % 5, number % 2, number % 3 - 1, 0, 0)
    pair.one.session.close(0, "done", 0)
    assert pair.one.session.state == 2
    pair.settle(chunk=777)
    assert len(pair.two.messages) == 500
    assert pair.two.closed == Closed(0, "done", True, True)
    assert pair.one.closed == Closed(0, "done", False, True)
    assert pair.one.eof == pair.two.eof == 1


def test_a_close_waits_for_the_credit_of_what_was_accepted() -> None:
    pair = Joined(StreamConfig(channel_window=1000, **QUIET)).open()
    for _ in range(10):
        send(pair.one.session, bytes(700), 1)
    pair.one.session.close(0, "", 0)
    pair.settle(consume=False)
    assert pair.one.closed is None
    pair.settle()
    assert len(pair.two.messages) == 10
    assert pair.one.closed == Closed(0, "", False, True)


def test_both_ends_closing_at_once_is_clean() -> None:
    pair = Joined().open()
    pair.one.session.close(0, "mine", 0)
    pair.two.session.close(0, "yours", 0)
    pair.one.transmit(pair.now)
    pair.two.transmit(pair.now)
    pair.settle()
    assert pair.one.closed == Closed(0, "mine", False, True)
    assert pair.two.closed == Closed(0, "yours", False, True)
    assert pair.one.eof == pair.two.eof == 1


@pytest.mark.parametrize(
    ("code", "clean"), [(0, True), (CloseCode.GOING_AWAY, True), (7, False), (CloseCode.INTERNAL_ERROR, False)]
)
def test_a_code_reaches_the_peer_and_says_whether_it_was_clean(code: int, clean: bool) -> None:
    pair = Joined().open()
    pair.one.session.close(code, "why", 0)
    pair.settle()
    assert pair.one.closed == Closed(code, "why", False, clean)
    assert pair.two.closed == Closed(code, "why", True, clean)


def test_what_still_comes_after_an_own_goodbye_is_dropped_and_its_credit_returned() -> None:
    pair = Joined(StreamConfig(channel_window=2000, connection_window=3000, **QUIET)).open()
    pair.one.session.close(0, "", 0)
    for number in range(50):
        send(pair.two.session, bytes(200), number % 4)
    pair.two.transmit(pair.now)
    while pair.carry(pair.two, pair.one):
        pair.one.session.transmit(pair.now)
        pair.two.transmit(pair.now)
    assert pair.one.messages == []


def test_closing_twice_keeps_the_first_reason() -> None:
    session = opened()
    session.close(3, "first", 0)
    session.close(4, "second", 0)
    (goodbye,) = said(session)
    assert goodbye.body == varint.encode(3) + b"first"


@pytest.mark.parametrize("code", [-1, 1 << 16])
def test_a_code_that_the_wire_does_not_hold_is_this_sides_mistake(code: int) -> None:
    session = opened()
    with pytest.raises(LocalProtocolError):
        session.close(code, "", 0)
    assert session.state == 1


def test_after_a_close_every_command_is_refused() -> None:
    session = opened()
    session.close(0, "", 0)
    for command in (
        lambda: send(session, b"x"),
        lambda: session.ping(1, 0),
        lambda: session.open_stream(0, -1),
    ):
        with pytest.raises(ConnectionClosed):
            command()


def test_a_close_before_the_peer_has_spoken_waits_for_it() -> None:
    pair = Joined()
    send(pair.one.session, b"early")
    pair.one.session.close(5, "soon", 0)
    pair.settle()
    assert [p for _, _, p in pair.two.messages] == [b"early"]
    assert pair.two.closed == Closed(5, "soon", True, False)
    assert pair.one.closed == Closed(5, "soon", False, False)


def test_an_abort_drops_what_is_queued_and_still_says_why() -> None:
    pair = Joined().open()
    send(pair.one.session, b"lost")
    pair.one.session.abort(CloseCode.POLICY, "no", 0)
    assert pair.one.session.queued_bytes == 0
    pair.settle()
    assert pair.two.messages == []
    assert pair.two.closed == Closed(CloseCode.POLICY, "no", True, False)


def test_an_abort_as_lost_says_nothing_but_the_end() -> None:
    session = opened()
    session.abort(CloseCode.LOST, "aborted", 0)
    assert session.transmit(0) == [b""]
    session.abort(CloseCode.LOST, "again", 0)
    assert session.events() == [Closed(CloseCode.LOST, "aborted", False, False)]
    session.receive(b"anything", 0)
    session.receive(b"", 0)
    session.expire(1 << 60)
    assert session.events() == []
    assert session.deadline() is None


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (b"", "before its preface"),
        (HELLO[:3], "before its preface"),
        (HELLO, "without a goodbye"),
        (HELLO + message(bytes(100))[:50], "in the middle of a frame"),
        (HELLO + b"\x08", "in the middle of a frame"),
    ],
)
def test_an_end_without_a_goodbye_is_a_loss(before: bytes, reason: str) -> None:
    session = StreamSession(StreamConfig(**QUIET), 0)
    if before:
        session.receive(before, 0)
    session.receive(b"", 0)
    closed = ended(session)
    assert (closed.code, closed.by_peer, closed.clean) == (CloseCode.LOST, True, False)
    assert reason in closed.reason
    assert session.transmit(0)[-1] == b""


@pytest.mark.parametrize(
    ("reason", "arrives"),
    [
        ("x" * 300, "x" * 256),
        ("é" * 200, "é" * 128),
        ("x" + "é" * 200, "x" + "é" * 127),
        ("\ud800 is no character", "? is no character"),
    ],
)
def test_a_reason_is_cut_between_characters_at_the_limit(reason: str, arrives: str) -> None:
    assert limits.REASON_BYTES_MAX == 256
    pair = Joined().open()
    pair.one.session.close(9, reason, 0)
    pair.settle()
    assert pair.two.closed == Closed(9, arrives, True, False)


def test_a_longer_or_broken_reason_of_the_peer_is_cut_and_mended() -> None:
    session = opened()
    session.receive(frames.numbers(frames.CLOSE, 9, tail=b"\xff" + b"y" * 900), 0)
    assert ended(session).reason == "\ufffd" + "y" * 255


# Pings and answers


def test_a_ping_comes_back_with_its_token() -> None:
    pair = Joined().open()
    for token in (1, 77, (1 << 63) - 1):
        pair.one.session.ping(token, pair.now)
    pair.settle()
    assert pair.one.of(Pong) == [Pong(1), Pong(77), Pong((1 << 63) - 1)]
    assert pair.two.of(Pong) == []


def test_pings_of_a_peer_that_does_not_read_are_ignored_above_a_bound() -> None:
    session = opened()
    ping = frames.header(frames.PING, 8) + bytes(8)
    for _ in range(200):
        session.receive(ping * 1000, 0)
    answers = b"".join(map(bytes, session.transmit(0)))
    assert len(answers) <= CONTROL_QUEUE_BYTES + 10
    assert session.pings_ignored == 200_000 - len(answers) // 10
    assert session.state == 1
    session.receive(ping, 0)
    assert [frame.kind for frame in said(session)] == [frames.PONG]


@pytest.mark.parametrize("kind", [frames.PING, frames.PONG])
@pytest.mark.parametrize("size", [0, 7, 9])
def test_a_ping_of_another_size_is_malformed(kind: int, size: int) -> None:
    session = opened()
    session.receive(frames.header(kind, size) + bytes(size), 0)
    assert ended(session).code == CloseCode.PROTOCOL_ERROR


def test_own_pings_that_nobody_takes_are_bounded() -> None:
    session = opened()
    for token in range(1, CONTROL_QUEUE_BYTES // 10 + 2):
        session.ping(token, 0)
    with pytest.raises(WouldBlock):
        session.ping(1, 0)
    assert sum(map(len, session.transmit(0))) <= CONTROL_QUEUE_BYTES + 10
    session.ping(1, 0)


# Frames that are wrong


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x04\x00", CloseCode.PROTOCOL_ERROR),  # the reserved bit
        (b"\xb0\x00", CloseCode.PROTOCOL_ERROR),  # an unknown kind
        (b"\x08\x41\x00\x00", CloseCode.PROTOCOL_ERROR),  # channel 256
        (b"\x08\xff" + b"\xff" * 7 + b"\x00", CloseCode.PROTOCOL_ERROR),  # channel 2**62 - 1
        (b"\x00\x80\x10\x00\x01", CloseCode.TOO_LARGE),  # a message of 1 MiB and one byte
        (b"\x00\xff" + b"\xff" * 7, CloseCode.TOO_LARGE),  # of 2**62 - 1 bytes
        (b"\x00\xc0\x00\x00\x00\x80\x00\x00\x00", CloseCode.TOO_LARGE),  # of 2**31: negative in 32 bits
        (b"\x00\xc0\x00\x00\x01\x00\x00\x00\x00", CloseCode.TOO_LARGE),  # of 2**32: zero in 32 bits
        (b"\x30\x44\x01", CloseCode.TOO_LARGE),  # a ping of 1025 bytes
        (b"\xc0\x44\x01", CloseCode.TOO_LARGE),  # an ignorable frame of 1025 bytes
        (b"\x70\x80\x01\x00\x09", CloseCode.TOO_LARGE),  # a stream chunk of 64 KiB and 9 bytes
        (b"\x10\x00", CloseCode.PROTOCOL_ERROR),  # credit without a number
        (b"\x20\x01\x40", CloseCode.PROTOCOL_ERROR),  # a number cut off
        (b"\x50\x00", CloseCode.PROTOCOL_ERROR),  # a goodbye without a code
        (b"\x50\x04\x80\x01\x00\x00", CloseCode.PROTOCOL_ERROR),  # with code 65,536
        (b"\x60\x01\x00", CloseCode.PROTOCOL_ERROR),  # a stream without a total
    ],
)
@pytest.mark.parametrize("chunk", [1, 100])
def test_a_malformed_frame_ends_the_session_with_a_code(frame: bytes, code: int, chunk: int) -> None:
    session = opened()
    for at in range(0, len(frame), chunk):
        session.receive(frame[at : at + chunk], 0)
    closed = ended(session)
    assert closed.code == code
    assert closed.reason
    assert not closed.by_peer
    *data, eof = session.transmit(0)
    (goodbye,), _ = frames_of(b"".join(map(bytes, data)))
    assert eof == b""
    assert varint.decode(goodbye.body)[0] == code
    session.receive(message(b"ignored"), 0)
    assert session.take() == []


def test_messages_in_front_of_a_malformed_frame_are_still_delivered() -> None:
    session = opened()
    session.receive(message(b"good") + b"\x04\x00" + message(b"never"), 0)
    assert [batch.payloads for batch in session.take()] == [[b"good"]]
    ended(session)


def test_the_largest_frames_of_each_kind_are_taken() -> None:
    session = opened()
    data = message(bytes(limits.MESSAGE_BYTES_DEFAULT))
    data += frames.header(frames.IGNORABLE, frames.CONTROL_BYTES_MAX) + bytes(frames.CONTROL_BYTES_MAX)
    data += frames.header(15, 5, 255) + bytes(5)
    data += frames.numbers(frames.STREAM_OPEN, 0, 0)
    chunk = varint.encode(0) + bytes(limits.STREAM_CHUNK_BYTES)
    data += frames.header(frames.STREAM_DATA, len(chunk)) + chunk
    for at in range(0, len(data), 100_000):
        session.receive(data[at : at + 100_000], 0)
    assert session.state == 1
    assert session.take()[0].size == limits.MESSAGE_BYTES_DEFAULT


def test_a_longer_way_to_write_a_number_is_taken() -> None:
    """The wire does not ask for the shortest form."""
    session = opened()
    session.receive(b"\x08\xc0" + bytes(7) + b"\x80\x00\x00\x03abc", 0)
    assert [(b.channel, b.payloads) for b in session.take()] == [(0, [b"abc"])]


# Times


def timed(**times: int) -> StreamSession:
    return StreamSession(StreamConfig(**{**QUIET, **times}), 1000)


def test_a_peer_that_says_nothing_is_given_up_at_the_handshake_time_out() -> None:
    session = timed(handshake_ns=SECOND, keepalive_ns=1, idle_ns=1)
    assert session.deadline() == 1000 + SECOND
    session.receive(HELLO[:1], 1000 + SECOND - 2)  # trickling does not help
    assert session.deadline() == 1000 + SECOND
    session.expire(1000 + SECOND - 1)
    assert session.state == 0
    session.expire(1000 + SECOND)
    assert ended(session).code == CloseCode.HANDSHAKE_TIMEOUT
    assert session.deadline() is None


def test_a_silent_peer_is_pinged_and_then_given_up() -> None:
    session = timed(handshake_ns=SECOND, keepalive_ns=10 * SECOND, idle_ns=25 * SECOND)
    session.receive(HELLO, 2000)
    session.transmit(2000)
    assert session.deadline() == 2000 + 10 * SECOND
    session.expire(2000 + 10 * SECOND)
    assert [frame.kind for frame in said(session)] == [frames.PING]
    assert session.deadline() == 2000 + 20 * SECOND
    session.expire(2000 + 20 * SECOND)
    assert [frame.kind for frame in said(session)] == [frames.PING]
    assert session.deadline() == 2000 + 25 * SECOND
    session.events()
    session.expire(2000 + 25 * SECOND)
    assert ended(session).code == CloseCode.IDLE_TIMEOUT


def test_anything_heard_moves_both_times_on() -> None:
    session = timed(keepalive_ns=10 * SECOND, idle_ns=25 * SECOND)
    session.receive(HELLO, 0)
    session.receive(b"\x00", 9 * SECOND)
    assert session.deadline() == 19 * SECOND
    session.transmit(0)
    session.expire(10 * SECOND)  # a timer that was armed before
    assert session.transmit(0) == []


def test_an_idle_pair_lives_for_ever() -> None:
    times = StreamConfig(keepalive_ns=15 * SECOND, idle_ns=30 * SECOND)
    pair = Joined(times).open()
    for _ in range(100):
        pair.now = min(end.session.deadline() or 0 for end, _ in pair.ends)
        pair.expire()
        pair.settle()
    assert pair.now > 1000 * SECOND
    assert pair.one.closed is None
    assert pair.one.of(Pong) == []  # the keep-alive's own


def test_an_end_without_keep_alive_is_kept_alive_by_the_other() -> None:
    pair = Joined(StreamConfig(**QUIET), StreamConfig(**{**QUIET, "keepalive_ns": SECOND, "idle_ns": 2 * SECOND}))
    pair.open()
    assert pair.one.session.deadline() is None
    for _ in range(20):
        pair.now += SECOND
        pair.expire()
        pair.settle()
    assert pair.two.closed is None


def test_no_time_is_kept_where_none_is_asked_for() -> None:
    session = timed()
    assert session.deadline() is None
    session.receive(HELLO, 5)
    assert session.deadline() is None
    session.expire(1 << 62)
    assert session.state == 1


def test_after_an_own_goodbye_a_silent_peer_is_still_given_up() -> None:
    session = timed(keepalive_ns=SECOND, idle_ns=3 * SECOND)
    session.receive(HELLO, 0)
    session.close(0, "", 0)
    session.transmit(0)
    session.expire(3 * SECOND)
    assert ended(session).code == CloseCode.IDLE_TIMEOUT


# What `pending` promises the driver


def test_pending_is_true_exactly_while_transmit_gives_something() -> None:
    session = StreamSession(StreamConfig(channel_window=1000, **QUIET), 0)

    def drained() -> None:
        assert session.pending()
        while session.pending():
            assert session.transmit(0)
        assert session.transmit(0) == []

    drained()  # the preface
    send(session, b"early")
    assert not session.pending()
    session.receive(HELLO, 0)
    drained()
    session.ping(1, 0)
    drained()
    session.receive(message(bytes(900), 1), 0)
    session.consumed(1, 900, 1)
    drained()
    session.close(0, "", 0)
    drained()
    session.receive(frames.numbers(frames.CLOSE, 0), 0)
    drained()
    assert not session.pending()
