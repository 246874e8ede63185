"""The stream session by its verbs: opening, messages, credit, and the bounds of its queue."""

from __future__ import annotations

import pytest

from tests.stream.by_hand import HELLO, ORDERED, UNORDERED, UNRELIABLE, ended, message, opened, said, send
from tests.stream.joined import MS, QUIET, SECOND, Frame, Joined, frames_of, preface_size
from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, WouldBlock
from transport.machine import ByteMachine, Established
from transport.stream import frames
from transport.stream.config import StreamConfig
from transport.stream.preface import Preface
from transport.stream.session import StreamSession

# Opening


def test_it_is_a_machine() -> None:
    assert isinstance(StreamSession(StreamConfig(), 0), ByteMachine)


def test_the_preface_is_said_without_waiting_and_once() -> None:
    session = StreamSession(StreamConfig(codec="json", **QUIET), 0)
    assert session.transmit(0) == [Preface(codec="json").encode()]
    assert session.transmit(0) == []
    assert session.state == 0


def test_the_smaller_limits_of_both_sides_hold() -> None:
    session = StreamSession(StreamConfig(max_message=500, channels=9, **QUIET), 0)
    assert (session.send_max, session.channels_max()) == (500, 9)
    session.receive(Preface(max_message=400, channels=20).encode(), 0)
    assert (session.send_max, session.channels_max()) == (400, 9)
    session = StreamSession(StreamConfig(max_message=500, channels=9, **QUIET), 0)
    session.receive(Preface(max_message=600, channels=3).encode(), 0)
    assert (session.send_max, session.channels_max()) == (500, 3)


def test_the_largest_numbers_of_the_wire_are_limits_like_others() -> None:
    most = varint.VALUE_MAX
    session = StreamSession(StreamConfig(**QUIET), 0)
    session.transmit(0)
    session.receive(Preface(most, most, most, most, most).encode(), 0)
    assert session.state == 1
    assert (session.send_max, session.channels_max()) == (limits.MESSAGE_BYTES_DEFAULT, limits.CHANNELS_MAX)
    send(session, b"x" * 100, 255)
    assert said(session) == [Frame(frames.MESSAGE, 255, 0, b"x" * 100)]


def test_messages_sent_before_the_peer_has_spoken_wait_for_it() -> None:
    session = StreamSession(StreamConfig(**QUIET), 0)
    for delivery in range(4):
        send(session, b"m%d" % delivery, delivery, delivery)
    session.transmit(0)
    assert session.transmit(0) == []
    session.receive(HELLO, 0)
    assert sorted(frame.body for frame in said(session)) == [b"m0", b"m1", b"m2", b"m3"]


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_a_preface_in_pieces_with_messages_behind_it(chunk: int) -> None:
    session = StreamSession(StreamConfig(**QUIET), 0)
    data = HELLO + message(b"one") + message(b"two", 5)
    for at in range(0, len(data), chunk):
        session.receive(data[at : at + chunk], 0)
    assert session.events() == [Established()]
    assert [(b.channel, payload) for b in session.take() for payload in b.payloads] == [(0, b"one"), (5, b"two")]


def test_two_codecs_that_differ_never_exchange_a_message() -> None:
    pair = Joined(StreamConfig(codec="msgpack", **QUIET), StreamConfig(codec="json", **QUIET))
    pair.settle()
    for end, _ in pair.ends:
        assert end.closed is not None
        assert end.closed.code == CloseCode.CODEC_MISMATCH
        assert "msgpack" in end.closed.reason
        assert "json" in end.closed.reason
        assert end.eof == 1


@pytest.mark.parametrize("codec", ["", "msgpack"])
def test_a_side_that_names_no_codec_takes_any(codec: str) -> None:
    Joined(StreamConfig(codec=codec, **QUIET), StreamConfig(codec="", **QUIET)).open()


def test_a_stranger_gets_our_preface_a_goodbye_and_the_end() -> None:
    session = StreamSession(StreamConfig(**QUIET), 0)
    session.receive(b"GET / HTTP/1.1\r\n\r\n", 0)
    closed = ended(session)
    assert (closed.code, closed.by_peer, closed.clean) == (CloseCode.PROTOCOL_ERROR, False, False)
    assert "HTTP" in closed.reason
    *data, eof = map(bytes, session.transmit(0))
    assert eof == b""
    wire = b"".join(data)
    (goodbye,), left = frames_of(wire[preface_size(wire) :])
    assert goodbye.kind == frames.CLOSE
    assert not left
    assert session.transmit(0) == []


# Messages


@pytest.mark.parametrize("size", [0, 1, 63, 64, 16_383, 16_384, 65_536, 1_048_576])
@pytest.mark.parametrize("channel", [0, 1, 255])
def test_every_size_crosses(size: int, channel: int) -> None:
    pair = Joined().open()
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for delivery in range(4):
        send(pair.one.session, payload, channel, delivery)
        pair.settle(chunk=30_000)
    assert pair.two.messages == [(channel, delivery, payload) for delivery in range(4)]


def test_a_batch_is_consecutive_messages_of_one_channel_and_delivery() -> None:
    session = opened()
    sent = [(0, 0), (0, 0), (1, 0), (1, 0), (0, 0), (0, 1), (0, 1)]
    session.receive(b"".join(message(b"%d" % i, *what) for i, what in enumerate(sent)), 0)
    got = [(b.channel, b.delivery, b.payloads, b.size) for b in session.take()]
    assert got == [
        (0, 0, [b"0", b"1"], 2), (1, 0, [b"2", b"3"], 2), (0, 0, [b"4"], 1), (0, 1, [b"5", b"6"], 2),
    ]  # fmt: skip
    assert session.take() == []
    assert session.messages_received == 7


def test_a_batch_that_was_taken_does_not_grow() -> None:
    session = opened()
    session.receive(message(b"a"), 0)
    (first,) = session.take()
    session.receive(message(b"b"), 0)
    (second,) = session.take()
    assert (first.payloads, second.payloads) == ([b"a"], [b"b"])
    session.receive(message(b"c"), 0)  # a batch not taken yet may, or a new one may come: nothing is lost
    session.receive(message(b"d"), 0)
    assert [payload for batch in session.take() for payload in batch.payloads] == [b"c", b"d"]


def test_queued_bytes_are_what_transmit_has_not_given() -> None:
    session = opened()
    assert (session.queued_bytes, session.sent_total) == (0, 0)
    send(session, bytes(100))
    send(session, bytes(20_000), 3)
    wanted = len(message(bytes(100))) + len(message(bytes(20_000), 3))
    assert (session.queued_bytes, session.sent_total) == (wanted, wanted)
    assert sum(map(len, session.transmit(0))) == wanted
    assert (session.queued_bytes, session.sent_total) == (0, wanted)


def test_statistics_count() -> None:
    pair = Joined().open()
    send(pair.one.session, b"abc")
    pair.one.session.send(b"late", 0, 0, 0, pair.now, 0)
    pair.settle()
    here, there = pair.one.session.statistics(), pair.two.session.statistics()
    assert (here["messages_sent"], here["expired"]) == (2, 1)
    assert there["messages_received"] == 1
    assert there["bytes_received"] == len(pair.one.wrote)
    assert set(here) == set(there)


# Credit


def test_a_channel_without_credit_waits_and_holds_nobody_else_up() -> None:
    small = StreamConfig(channel_window=1000, connection_window=100_000, **QUIET)
    pair = Joined(small).open()
    one = pair.one.session
    for _ in range(3):
        send(one, bytes(600), 1)
    send(one, b"free", 2)
    send(one, b"loose", 1, UNRELIABLE)
    pair.settle(consume=False)
    assert sorted((c, len(p)) for c, _, p in pair.two.messages) == [(1, 5), (1, 600), (1, 600), (2, 4)]
    assert one.blocked_bytes == one.channel_queued(1) == 603 + 1
    assert one.channel_queued(2) == 0
    assert one.queued_bytes == 0
    assert one.blocked_count == 1
    pair.settle()
    assert [(c, len(p)) for c, _, p in pair.two.messages][-1] == (1, 600)
    assert one.blocked_bytes == 0


def test_the_connection_has_a_credit_of_its_own() -> None:
    small = StreamConfig(channel_window=4000, connection_window=5000, **QUIET)
    pair = Joined(small).open()
    for channel in range(4):
        for _ in range(4):
            send(pair.one.session, bytes(900), channel)
    pair.settle(consume=False)
    assert 5000 <= sum(len(p) for _, _, p in pair.two.messages) < 6000
    pair.settle()
    assert len(pair.two.messages) == 16


def test_channels_that_wait_go_on_in_turn() -> None:
    small = StreamConfig(channel_window=100_000, connection_window=4000, **QUIET)
    pair = Joined(small).open()
    send(pair.one.session, bytes(4000))
    for channel in (1, 2, 3):
        for _ in range(10):
            send(pair.one.session, bytes(300), channel)
    pair.settle(consume=False)
    pair.two.consume(1)
    pair.settle(consume=False)
    got = [c for c, _, _ in pair.two.messages[1:]]
    assert got[:9] == [1, 2, 3] * 3


def test_one_message_of_any_permitted_size_fits_into_a_small_window() -> None:
    small = StreamConfig(max_message=1 << 20, channel_window=1000, connection_window=1000, **QUIET)
    pair = Joined(small).open()
    for _ in range(3):
        send(pair.one.session, bytes(1 << 20))
    pair.settle()
    assert [len(p) for _, _, p in pair.two.messages] == [1 << 20] * 3


def test_a_peer_that_sends_beyond_its_channel_credit_is_cut() -> None:
    """One message of the largest size may lie beyond the limit: priorities change the order after the choice."""
    session = opened(channel_window=1000, max_message=500)
    cost = limits.MESSAGE_COST_BYTES
    session.receive(message(bytes(500), 4) * 2 + message(bytes(499 - 2 * cost), 4), 0)
    assert session.state == 1
    session.receive(message(b"", 4), 0)
    closed = ended(session)
    assert closed.code == CloseCode.FLOW_CONTROL
    assert "channel 4" in closed.reason


def test_a_peer_that_sends_beyond_its_connection_credit_is_cut() -> None:
    session = opened(channel_window=1000, connection_window=1500, max_message=500)
    for channel in range(3):
        session.receive(message(bytes(500), channel), 0)
    session.receive(message(bytes(499 - 3 * limits.MESSAGE_COST_BYTES), 3), 0)
    assert session.state == 1
    session.receive(message(b"", 4), 0)
    closed = ended(session)
    assert closed.code == CloseCode.FLOW_CONTROL
    assert "connection" in closed.reason


def test_what_expires_in_the_queue_gives_its_credit_back() -> None:
    """Charged for ever, a few expired messages would silence a channel."""
    joined = Joined(StreamConfig(channel_window=1000, connection_window=1500, **QUIET)).open()
    one = joined.one.session
    for _ in range(50):
        one.send(bytes(900), 1, 0, 0, joined.now + MS, joined.now)
        one.send(bytes(900), 2, 1, 3, joined.now + MS, joined.now)
        joined.now += 2 * MS
        joined.settle()
    assert joined.two.messages == []
    assert one.statistics()["expired"] == 100
    send(one, bytes(900), 1)
    send(one, b"waits", 1)
    assert one.blocked_bytes == 0


def test_what_waits_behind_expired_messages_leaves_in_the_same_transmit() -> None:
    joined = Joined(StreamConfig(channel_window=1000, **QUIET)).open()
    one = joined.one.session
    for _ in range(4):
        one.send(bytes(900), 1, 0, 0, joined.now + MS, joined.now)
    send(one, b"waits", 1)
    assert one.blocked_bytes
    joined.now += 2 * MS
    assert b"waits" in b"".join(map(bytes, one.transmit(joined.now)))
    assert (one.queued_bytes, one.blocked_bytes) == (0, 0)


def test_an_overtaking_message_never_looks_like_a_breach_of_credit() -> None:
    """Both are within credit when they are queued; the larger one leaves first."""
    joined = Joined(StreamConfig(channel_window=5000, connection_window=1000, max_message=4000, **QUIET)).open()
    one = joined.one.session
    one.send(b"", 0, 0, 1, 0, 0)
    joined.settle()
    one.send(bytes(700), 1, 1, -1, 0, 0)
    one.send(bytes(4000), 2, 1, 5, 0, 0)
    joined.settle()
    assert [len(p) for _, _, p in joined.two.messages] == [0, 4000, 700]
    assert joined.two.closed is None


@pytest.mark.parametrize("size", [0, 1, 2])
def test_messages_of_hardly_any_bytes_use_credit_too(size: int) -> None:
    """Else a peer fills the memory of an application that is slow to take them, for next to nothing."""
    session = opened()
    frame = message(bytes(size))
    for _ in range(200):
        session.receive(frame * 5000, 0)
        if session.state == 3:
            break
    assert session.state == 3
    assert session.messages_received * limits.MESSAGE_COST_BYTES <= 2 * limits.CHANNEL_WINDOW_BYTES


def test_empty_messages_flow_for_ever_while_they_are_taken() -> None:
    small = StreamConfig(channel_window=4096, connection_window=8192, **QUIET)
    pair = Joined(small).open()
    for number in range(2000):
        send(pair.one.session, b"", number % 3)
    pair.settle()
    assert len(pair.two.messages) == 2000
    assert pair.one.session.blocked_bytes == 0


def test_credit_is_given_back_in_time_and_only_when_it_is_due() -> None:
    session = opened(channel_window=1000, connection_window=1 << 20)
    session.receive(message(bytes(300), 2) * 2, 0)
    session.consumed(2, 300, 1)
    assert not session.credit_waiting()
    assert not session.pending()
    session.consumed(2, 300, 1)
    assert session.credit_waiting()
    assert session.pending()
    (credit,) = said(session)
    assert (credit.kind, credit.channel) == (frames.CHANNEL_CREDIT, 2)
    assert varint.decode(credit.body) == (1600 + 2 * limits.MESSAGE_COST_BYTES, 2)
    assert not session.credit_waiting()


def test_credit_never_shrinks() -> None:
    session = opened()
    for kind, channel in ((frames.CHANNEL_CREDIT, 1), (frames.CONNECTION_CREDIT, 0)):
        session.receive(frames.header(kind, 1, channel) + b"\x00", 0)
    send(session, b"x", 1)
    assert session.blocked_bytes == 0


def test_what_expired_while_it_waited_for_credit_never_leaves() -> None:
    small = StreamConfig(channel_window=500, connection_window=100_000, **QUIET)
    pair = Joined(small).open()
    one = pair.one.session
    send(one, bytes(600), 1)
    one.send(b"short", 1, 0, 0, pair.now + MS, pair.now)
    one.send(b"long", 1, 0, 0, pair.now + SECOND, pair.now)
    pair.settle(consume=False)
    assert one.blocked_bytes
    pair.now += 2 * MS
    pair.settle()
    assert [p for _, _, p in pair.two.messages][1:] == [b"long"]
    assert one.statistics()["expired"] == 1


# Priorities


def test_an_unordered_message_between_them_does_not_let_ordered_ones_overtake() -> None:
    joined = Joined().open()
    one = joined.one.session
    send(one, b"in use", 0, ORDERED, 1)
    joined.settle()
    send(one, b"first", 1, ORDERED, -3)
    send(one, b"loose", 1, UNORDERED)
    send(one, b"second", 1, ORDERED)
    send(one, b"third", 1, ORDERED, 7)
    joined.settle()
    assert [p for _, d, p in joined.two.messages if d == ORDERED] == [b"in use", b"first", b"second", b"third"]


def test_a_priority_acts_across_channels_and_not_within_one() -> None:
    joined = Joined().open()
    one = joined.one.session
    send(one, b"in use", 0, ORDERED, 1)
    joined.settle()
    for number in range(3):
        send(one, b"slow%d" % number, 1, ORDERED, -8)
    send(one, b"plain", 2)
    for number in range(3):
        send(one, b"fast%d" % number, 3, ORDERED, 7)
    send(one, b"slow3", 1, ORDERED, 7)
    joined.settle()
    assert [p for _, _, p in joined.two.messages[1:]] == [
        b"fast0", b"fast1", b"fast2", b"plain", b"slow0", b"slow1", b"slow2", b"slow3",
    ]  # fmt: skip


# Bounds of the queue


def test_too_many_messages_that_wait_are_refused_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUEUED_MESSAGES_MAX", 10)
    pair = Joined(StreamConfig(channel_window=4096, connection_window=8192, **QUIET)).open()
    one = pair.one.session
    for _ in range(10):
        one.send(bytes(1000), 1, 0, 3, 0, 0)  # some have credit, some wait for it
    before = (one.sent_total, one.queued_bytes, one.blocked_bytes, one.messages_sent)
    for _ in range(20):  # refused often enough to use all credit up, were it charged
        for delivery in (ORDERED, UNORDERED):
            with pytest.raises(WouldBlock, match="10 messages"):
                one.send(bytes(1000), 1, delivery, 3, 0, 0)
    assert (one.sent_total, one.queued_bytes, one.blocked_bytes, one.messages_sent) == before
    pair.settle()
    for _ in range(8):
        for _ in range(3):
            one.send(bytes(1000), 1, 0, 3, 0, 0)
        pair.settle()
    assert len(pair.two.messages) == 34


def test_credit_for_many_that_wait_is_never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are within the bound already; moving them from one queue to another must not fail."""
    monkeypatch.setattr(limits, "QUEUED_MESSAGES_MAX", 30)
    pair = Joined(StreamConfig(channel_window=1000, connection_window=1 << 20, **QUIET)).open()
    one = pair.one.session
    for channel in range(3):
        for number in range(10):
            one.send(number.to_bytes(1, "big") * 600, channel, 0, channel, 0, 0)
    pair.settle(chunk=500)
    assert len(pair.two.messages) == 30
    for channel in range(3):
        assert [p[0] for c, _, p in pair.two.messages if c == channel] == list(range(10))


def test_an_unreliable_message_is_dropped_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNRELIABLE_QUEUE_BYTES", 1000)
    pair = Joined().open()
    for number in range(20):
        send(pair.one.session, bytes([number]) * 97, 0, UNRELIABLE)
    pair.settle()
    assert [p[0] for _, _, p in pair.two.messages] == list(range(10, 20))
    assert pair.one.session.statistics()["dropped"] == 10


# Straight from the run


def test_ordinary_messages_are_one_run_that_is_used_again() -> None:
    session = opened()
    for text in (b"a", b"bc", b"d" * 100, b"e"):
        send(session, text)
        run = session.transmit_run()
        assert run == message(text)
        assert (session.queued_bytes, session.pending()) == (0, False)
        session.recycle(run)
    assert session.transmit_run() is None


def test_what_is_more_than_a_run_is_left_to_transmit() -> None:
    session = StreamSession(StreamConfig(**QUIET), 0)
    session.receive(HELLO, 0)
    send(session, b"before the preface")
    assert session.transmit_run() is None
    assert len(session.transmit(0)) == 2
    send(session, b"large" * 10_000)
    assert session.transmit_run() is None
    assert len(session.transmit(0)) == 2
    send(session, b"loose", 0, UNRELIABLE)
    assert session.transmit_run() is None
    session.transmit(0)
    send(session, b"last words")
    session.close(0, "", 0)
    assert session.transmit_run() is None
    assert len(session.transmit(0)) == 2


def test_a_message_that_comes_alone_needs_no_batch_until_another_comes() -> None:
    session = opened()
    for text in (b"a", b"b"):
        session.receive(message(text), 0)
        assert (session.lone, session.batches) == (text, [])
        (batch,) = session.take()
        assert (batch.payloads, batch.size, batch.channel, batch.delivery) == ([text], 1, 0, ORDERED)
    session.receive(message(b"c"), 0)
    session.receive(message(b"d") + message(b"e"), 0)
    assert session.lone is None
    assert [payload for batch in session.take() for payload in batch.payloads] == [b"c", b"d", b"e"]
    assert not session.has_received()


def test_goodbye_drops_a_message_that_came_alone() -> None:
    session = opened()
    session.receive(message(b"a"), 0)
    session.close(0, "", 0)
    assert (session.lone, session.take()) == (None, [])
