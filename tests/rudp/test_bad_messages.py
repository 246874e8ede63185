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


def test_very_many_pieces_that_overlap(rig: Rig) -> None:
    """A piece costs the same however many have come: else one packet would hold the server up for seconds."""
    hand = Hand(rig)
    total = 4 * limits.RUDP_GAPS_MAX
    for start in range(0, 2 * limits.RUDP_GAPS_MAX, 128):
        hand.say(*[message(b"x", part=(at, total), number_bytes=1) for at in range(start, start + 128, 2)])
    again = message(b"x", part=(0, total), number_bytes=1)
    for _ in range(8):
        hand.say(again * (60_000 // len(again)))
    assert hand.closed() is None
    ends(hand, 1002, message(b"xxxxy", part=(4, total)), reason="differ")


@pytest.mark.parametrize("delivery", [2, 3])
def test_very_many_unreliable_messages_in_part(rig: Rig, delivery: int) -> None:
    """They are few for a lane however small they are, and whole ones that come meanwhile don't look at each of them."""
    hand = Hand(rig)
    for start in range(0, 40_000, 4000):
        parts = [message(b"x", 1000 + number, 1, delivery, part=(0, 2)) for number in range(start, start + 4000)]
        hand.say(*parts)
    lane = hand.session._in_lanes[4 + delivery]
    assert list(lane.partial) == list(range(41_000 - limits.RUDP_LOOSE_UNFINISHED_MAX, 41_000))
    if delivery == 2:
        hand.say(message(b"", 0, 1, 2), message(b"", successor=True, delivery=2) * 999)
        hand.say(*[message(b"", 999, 1, 2)] * 3000)
        assert len(hand.got) == 1000
    hand.say(message(b"y", 40_999, 1, delivery, part=(1, 2)))
    assert hand.got[-1] == b"xy"


def test_unreliable_messages_in_part_on_every_channel(rig: Rig) -> None:
    """All lanes together have a bound, too; a lane that holds little keeps it."""
    hand = Hand(rig)
    hand.say(message(b"little", 0, 0, 3, part=(0, 12)))
    for number in range(4):
        for channel in range(256):
            hand.say(*[message(b"x", number, channel, delivery, part=(5, 60_000)) for delivery in (2, 3) if channel])
            lanes = hand.session._in_lanes.values()
            assert sum([lane.held for lane in lanes]) <= limits.RUDP_LOOSE_UNFINISHED_BYTES
    hand.say(message(b" thing", 0, 0, 3, part=(6, 12)))
    assert hand.closed() is None
    assert hand.got == [b"little thing"]


def test_very_many_reliable_messages_in_part() -> None:
    """Credit counts less for them than they take. Beyond a bound only the one that a lane waits for is taken."""
    rig = Rig(start_window=1 << 20, channels=3)
    hand = Hand(rig)
    for channel in (0, 1):
        for start in range(1, limits.RUDP_UNFINISHED_MAX // 2 + 1, 64):
            hand.say(*[message(b"a", number, channel, 0, part=(0, 2)) for number in range(start, start + 64)])
    assert hand.session.packets_refused == 0
    assert hand.say(message(b"a", 9000, 0, 0, part=(0, 2))) == []
    assert hand.session.packets_refused == 1
    hand.say(message(b"a", 0, 2, 0, part=(0, 2)), number=hand.number - 1)
    hand.say(message(b"b", 0, 2, 0, part=(1, 2)))
    assert hand.got == [b"ab"]
    for channel in (0, 1):
        hand.say(message(b"", 0, channel))
        for start in range(1, limits.RUDP_UNFINISHED_MAX // 2 + 1, 64):
            hand.say(*[message(b"b", number, channel, 0, part=(1, 2)) for number in range(start, start + 64)])
    assert len(hand.got) == 1 + limits.RUDP_UNFINISHED_MAX + 2
    hand.say(*[message(b"a", 10_000 + number, 0, 0, part=(0, 2)) for number in range(9)])
    assert (hand.session.packets_refused, hand.closed()) == (1, None)


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


def test_skips_far_ahead(rig: Rig) -> None:
    """Credit for what is skipped comes back at once, so that it can't bound what is kept of it."""
    hand = Hand(rig)
    for start in range(1, 100_801, 32):
        entries = b"".join([varints(number, COST) for number in range(start, start + 32)])
        hand.say(bytes([packet.SKIP]) + varints(0, 32) + entries)
    lane = hand.session._in_lanes[0]
    assert (lane.done.count, len(lane.early)) == (1, 0)
    hand.say(message(b"behind", 100_801))
    assert not hand.got
    hand.say(message(b"before", 0))
    assert hand.got == [b"before", b"behind"]
    assert hand.session._in_flow.received == hand.session._in_flow.consumed


@pytest.mark.parametrize("delivery", [0, 1])
def test_skips_beyond_all_gaps(rig: Rig, delivery: int) -> None:
    """There is no room for an entry: its packet is not acknowledged, and what stands behind the entry is still read."""
    hand = Hand(rig)
    for start in range(2, 2 * limits.RUDP_GAPS_MAX + 2, 64):
        entries = b"".join([varints(number, COST) for number in range(start, start + 64, 2)])
        hand.say(bytes([packet.SKIP]) + varints(delivery, 32) + entries)
    assert hand.session.packets_refused == 0
    hand.say(bytes([packet.SKIP]) + varints(delivery, 3, 20_000, COST, 30_000, COST, 0, COST), message(b"x", 1, 7, 1))
    assert hand.session.packets_refused == 1
    assert hand.closed() is None
    assert hand.got == [b"x"]
    hand.say(message(b"y", 1, 0, delivery), number=hand.number - 1)
    assert hand.got == [b"x", b"y"]
    hand.say(bytes([packet.SKIP]) + varints(delivery, 1, 20_000, COST))
    assert hand.session.packets_refused == 1


def test_every_channel_is_opened(rig: Rig) -> None:
    hand = Hand(rig)
    for channel in range(256):
        for delivery in range(4):
            hand.say(message(b"x", 0, channel, delivery))
    assert len(hand.got) == 1024
    counts = hand.session.statistics()
    assert counts["messages_received"] == 1024


def test_credit_again_and_again(rig: Rig) -> None:
    """Many frames of credit in one packet ask the lanes once."""
    hand = Hand(rig)
    for channel in range(256):
        for delivery in range(4):
            hand.session.send(b"x", channel, delivery, 0, 0, rig.now)
    rig.settle()
    for start in range(1 << 40, (1 << 40) + 150_000, 5000):
        hand.say(*[bytes([packet.CONNECTION_CREDIT]) + varint(limit) for limit in range(start, start + 5000)])
    for start in range(1 << 40, (1 << 40) + 100_000, 5000):
        hand.say(*[bytes([packet.CHANNEL_CREDIT]) + varints(9, limit) for limit in range(start, start + 5000)])
    assert hand.closed() is None
    assert hand.session.flow.limit == (1 << 40) + 149_999


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


@pytest.mark.parametrize("head", [b"\x64", b"\x68\x41\x00", b"\x68\xff" + b"\xff" * 7])
def test_heads_of_stream_frames(rig: Rig, head: bytes) -> None:
    """A reserved bit, and channels that are not taken, as in the `message` framing."""
    hand = Hand(rig)
    ends(hand, 1002, message(head + b"\x02\x00\x00", 0, 256))


def test_a_flood_that_comes_early_on_the_hidden_channel(rig: Rig) -> None:
    """It needs no credit, and so has a bound of its own, beyond which nothing is acknowledged."""
    hand = Hand(rig)
    for number in range(1, 100):
        hand.say(message(b"x", number, 256, part=(0, 60_000)))
    assert hand.session.packets_refused > 20
    hand.number += 1
    goes_on(hand)


def test_messages_of_no_bytes_that_come_early_on_the_hidden_channel(rig: Rig) -> None:
    hand = Hand(rig)
    for start in range(1, 300_000, 30_000):
        hand.say(message(b"", start, 256), message(b"", successor=True) * 29_999)
    assert hand.session.packets_refused >= 5
    assert len(hand.session._in_lanes[1024].early) <= limits.RUDP_HIDDEN_BYTES // COST
    hand.number += 1
    goes_on(hand)
