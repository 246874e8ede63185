"""What a peer of reliable UDP may do wrong with messages, credit and streams; see test_bad_input."""

from __future__ import annotations

import pytest

from tests.rudp.by_hand import (
    Hand,
    Rig,
    ack,
    ends,
    goes_on,
    message,
    varint,
    varints,
)
from transport import limits
from transport.errors import CloseCode
from transport.rudp import packet

COST = limits.MESSAGE_COST_BYTES
PING = bytes([packet.PING])


# Fragments


def test_fragments_that_overlap_and_agree(rig: Rig) -> None:
    hand = Hand(rig)
    body = bytes(range(200))
    for start, end in ((100, 150), (0, 60), (50, 120), (140, 200)):
        hand.say(message(body[start:end], part=(start, 200)))
    assert hand.got == [body]


def test_fragments_that_overlap_and_differ(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"a" * 50, part=(0, 200)))
    ends(hand, 1002, message(b"b" * 50, part=(49, 200)), reason="differ")


def test_fragments_of_another_total(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"a" * 50, part=(0, 200)))
    ends(hand, 1002, message(b"a" * 50, part=(50, 201)), reason="200 bytes became one of 201")


def test_a_whole_message_after_fragments_of_another_size(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"a" * 50, part=(0, 200)))
    ends(hand, 1002, message(b"a" * 100), reason="size")


@pytest.mark.parametrize(
    "frame",
    [
        message(b"", part=(0, 10)),
        message(b"x", part=(10, 10)),
        message(b"xx", part=(9, 10)),
        message(b"x", part=(0, 0)),
        message(b"x", part=((1 << 62) - 1, 10)),
    ],
)
def test_malformed_fragments(rig: Rig, frame: bytes) -> None:
    ends(Hand(rig), 1002, frame, reason="fragment")


def test_fragments_over_the_limit(rig: Rig) -> None:
    hand = Hand(rig)
    ends(hand, CloseCode.TOO_LARGE, message(b"x", part=(0, limits.MESSAGE_BYTES_DEFAULT + 1)), reason="over the limit")
    huge = Hand(rig, port=6)
    ends(huge, CloseCode.TOO_LARGE, message(b"x", part=(0, (1 << 62) - 1)))
    for delivery in (2, 3):
        loose = Hand(rig, port=7 + delivery)
        ends(
            loose, CloseCode.TOO_LARGE, message(b"x", delivery=delivery, part=(0, limits.RUDP_UNRELIABLE_BYTES_MAX + 1))
        )


def test_whole_messages_over_the_limit() -> None:
    rig = Rig(max_message=500)
    ends(Hand(rig), CloseCode.TOO_LARGE, message(bytes(501)), reason="over the limit")
    rig.check_honest()


def test_endless_unreliable_fragments(rig: Rig) -> None:
    """Messages that are begun and never finished: the oldest go."""
    hand = Hand(rig)
    for delivery in (2, 3):
        for number in range(300):
            hand.say(message(b"x", number, 1, delivery, part=(5, 60_000)))
    goes_on(hand)


def test_endless_reliable_fragments(rig: Rig) -> None:
    """Credit bounds them."""
    hand = Hand(rig)
    for number in range(3):
        hand.say(message(b"x", number, 1, 1, part=(5, 80_000)))
    ends(hand, CloseCode.FLOW_CONTROL, message(b"x", 3, 1, 1, part=(5, 80_000)), reason="credit")


def test_a_message_in_very_many_pieces(rig: Rig) -> None:
    """Every second byte: above a bound of gaps a packet is not acknowledged, so that it comes again."""
    hand = Hand(rig)
    total = 4 * limits.RUDP_GAPS_MAX
    for start in range(0, 2 * limits.RUDP_GAPS_MAX + 200, 2):
        hand.say(message(b"x", part=(start, total)))
    assert hand.session.packets_refused == 100
    for start in range(0, total, 1000):
        hand.say(message(b"x" * min(1000, total - start), part=(start, total)))
    assert hand.got == [b"x" * total]


def test_very_many_gaps_in_an_unordered_lane(rig: Rig) -> None:
    hand = Hand(rig)
    for number in range(0, 2 * limits.RUDP_GAPS_MAX + 20, 2):
        hand.say(message(b"", number, 0, 1))
    assert len(hand.got) == limits.RUDP_GAPS_MAX + 1
    assert hand.session.packets_refused == 9
    for number in range(1, 2 * limits.RUDP_GAPS_MAX, 2):
        hand.say(message(b"", number, 0, 1))
    assert len(hand.got) == 2 * limits.RUDP_GAPS_MAX + 1


# Credit


def test_a_channel_beyond_its_credit() -> None:
    rig = Rig(start_window=100_000)
    hand = Hand(rig)
    rig.unread.add(hand.peer_cid)
    for number in range(99):
        hand.say(message(bytes(1000 - COST), number))
    assert hand.closed() is None
    hand.say(message(bytes(1000 - COST), 99))
    ends(hand, CloseCode.FLOW_CONTROL, message(b"", 100), reason="channel 0 is out of credit")
    rig.check_honest()


def test_a_connection_beyond_its_credit() -> None:
    rig = Rig(start_window=100_000, connection_window=100_000)
    hand = Hand(rig)
    rig.unread.add(hand.peer_cid)
    for channel in range(200):
        hand.say(message(bytes(1000 - COST), 0, channel))
        if hand.closed() is not None:
            break
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.reason) == (CloseCode.FLOW_CONTROL, "the connection is out of credit")
    assert channel == 100
    rig.check_honest()


def test_skips_cost_credit_once(rig: Rig) -> None:
    """Skipping is no way round credit: what is skipped counts as come, and as taken."""
    hand = Hand(rig)
    for number in range(0, 2000, 20):
        entries = b"".join([varints(number + index, 10_000 + COST) for index in range(20)])
        hand.say(bytes([packet.SKIP]) + varints(0, 20) + entries)
    assert hand.closed() is None
    hand.say(message(b"after", 2000))
    assert hand.got == [b"after"]


def test_every_channel_is_opened(rig: Rig) -> None:
    hand = Hand(rig)
    for channel in range(256):
        for delivery in range(4):
            hand.say(message(b"x", 0, channel, delivery))
    assert len(hand.got) == 1024
    counts = hand.session.statistics()
    assert counts["messages_received"] == 1024


def test_a_reader_that_takes_nothing_is_told_of_no_more_credit(rig: Rig) -> None:
    """The server's sending waits, within its window, and says BLOCKED once for each limit."""
    hand = Hand(rig, channel_window=5000, connection_window=5000)
    session = hand.session
    for _ in range(20):
        session.send(bytes(2000), 0, 0, 0, 0, rig.now)
    for _ in range(20):
        rig.wait(50)
        hand.say(ack((0, session.ring.next - 1)))
    frames = b"".join(rig.sent[hand.address])
    assert frames.count(bytes([packet.BLOCKED])) >= 1
    assert session.blocked_bytes == 18 * (2000 + COST)
    hand.say(bytes([packet.CONNECTION_CREDIT]) + varint(1 << 40), bytes([packet.CHANNEL_CREDIT]) + varints(0, 1 << 40))
    rig.wait(10)
    hand.say(ack((0, session.ring.next - 1)))
    rig.wait(10)
    assert session.blocked_bytes == 0
    goes_on(hand)


def test_credit_that_goes_back_has_no_effect(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(bytes([packet.CONNECTION_CREDIT]) + varint(1 << 40))
    hand.say(bytes([packet.CONNECTION_CREDIT]) + varint(5), bytes([packet.CHANNEL_CREDIT]) + varints(0, 5))
    assert hand.session.statistics()["credit"] == 1 << 40
    goes_on(hand)


def test_a_peer_that_says_it_needs_everything(rig: Rig) -> None:
    """BLOCKED raises a window to its maximum and no further, and costs no flood of credit."""
    hand = Hand(rig)
    rig.unread.add(hand.peer_cid)
    for which in (0, 1, 1, 0, 2, 256):
        hand.say(bytes([packet.BLOCKED]) + varints(which, (1 << 62) - 1))
    assert hand.session.receive_window() <= limits.CONNECTION_WINDOW_BYTES
    before = len(rig.sent[hand.address])
    for number in range(50):
        hand.say(message(b"x", number))
    assert len(rig.sent[hand.address]) - before <= 52
    goes_on(hand)


def test_a_peer_that_vanishes(rig: Rig) -> None:
    hand = Hand(rig)
    hand.session.send(b"anybody?", 0, 0, 0, 0, rig.now)
    before = len(rig.sent[hand.address])
    rig.wait(60_000)
    closed = hand.closed()
    assert closed is not None
    assert closed.code == CloseCode.IDLE_TIMEOUT
    assert len(rig.sent[hand.address]) - before < 100
    assert hand.peer_cid not in rig.server.sessions
    rig.wait(10_000)


# Streams


def stream_frame(kind: int, body: bytes) -> bytes:
    return bytes([kind << 4]) + varint(len(body)) + body


@pytest.mark.parametrize("body", [b"", b"\x00", b"\x10\x05abcde", b"\xf0\x00", b"\x50", b"\x50\x09x", b"\xff" * 40])
def test_noise_on_the_hidden_channel(rig: Rig, body: bytes) -> None:
    hand = Hand(rig)
    hand.say(message(body, 0, 256))
    closed = hand.closed()
    assert (closed is None) == (not body)
    if closed is not None:
        assert closed.code == 1002


def test_a_flood_that_comes_early_on_the_hidden_channel(rig: Rig) -> None:
    """It needs no credit, and so has a bound of its own, beyond which nothing is acknowledged."""
    hand = Hand(rig)
    for number in range(1, 100):
        hand.say(message(b"x", number, 256, part=(0, 60_000)))
    assert hand.session.packets_refused > 20
    hand.number += 1
    goes_on(hand)
