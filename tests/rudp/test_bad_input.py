"""What a peer of reliable UDP may do wrong, or do to harm: each is dropped, or ends its own session with the code that
docs/protocol.md says; it is counted and bounded, and no other session feels it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.rudp.by_hand import CRC32_ONLY, HONEST, KEY, MS, Hand, Rig, ack, close_frame, message, varint, varints
from transport import limits
from transport.errors import CloseCode
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.config import RudpConfig

COST = limits.MESSAGE_COST_BYTES
PING = bytes([packet.PING])


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.check_honest()


def ends(hand: Hand, code: int, *frames: bytes, reason: str = "") -> None:
    """Frames that end the session with `code`, told to the peer."""
    hand.say(*frames)
    closed = hand.closed()
    assert closed is not None, "the session goes on"
    assert closed.code == code, closed
    assert reason in closed.reason
    assert not closed.clean
    assert hand.told() == (code, closed.reason)


def goes_on(hand: Hand) -> None:
    """The session is open and takes messages on a channel of its own."""
    before = len(hand.got)
    hand.say(message(b"alive", 0, 200, 1))
    assert hand.got[before:] == [b"alive"]
    assert hand.closed() is None


# Packets


def test_noise(rig: Rig) -> None:
    noise = random.Random(5)
    hand = Hand(rig)
    for _ in range(3000):
        data = noise.randbytes(noise.choice([0, 1, 10, 11, 12, 30, 100, 1200]))
        rig.server.receive(data, Path(None, ("203.0.113.66", 6)), 0, rig.now)
        rig.server.receive(
            bytes([0x40]) + hand.peer_cid.to_bytes(8, "big") + data, Path(None, hand.address), 0, rig.now
        )
    rig.settle()
    assert hand.session.packets_corrupt > 2000
    assert rig.server.malformed > 100
    goes_on(hand)


def test_every_truncation_of_a_packet(rig: Rig) -> None:
    hand = Hand(rig)
    whole = hand.packet(message(b"hello", 0))
    for size in range(len(whole)):
        rig.receive(whole[:size], hand.address)
    assert hand.got == []
    rig.receive(whole, hand.address)
    assert hand.got == [b"hello"]


def test_every_corrupted_bit(rig: Rig) -> None:
    hand = Hand(rig)
    whole = hand.packet(message(b"hello", 0))
    for bit in range(8 * len(whole)):
        bent = bytearray(whole)
        bent[bit // 8] ^= 1 << bit % 8
        rig.receive(bytes(bent), hand.address)
    assert hand.got == []
    assert hand.session.packets_corrupt > 100
    goes_on(hand)


@pytest.mark.parametrize("bit", [0x20, 0x08, 0x04])
def test_reserved_bits(rig: Rig, bit: int) -> None:
    import zlib

    hand = Hand(rig)
    data = bytearray(hand.packet(message(b"x")))
    data[0] |= bit
    data[-4:] = zlib.crc32(data[:-4], hand.peer_cid & 0xFFFFFFFF).to_bytes(4, "big")
    rig.receive(bytes(data), hand.address)
    assert hand.got == []
    goes_on(hand)


def test_a_packet_without_frames(rig: Rig) -> None:
    hand = Hand(rig)
    received = hand.session.packets_corrupt
    hand.say(b"")
    assert hand.session.packets_corrupt == received + 1
    goes_on(hand)


def test_replayed_packets(rig: Rig) -> None:
    hand = Hand(rig)
    packets = [hand.packet(message(b"%d" % index, index)) for index in range(50)]
    for _ in range(3):
        for data in packets:
            rig.receive(data, hand.address)
    assert hand.got == [b"%d" % index for index in range(50)]
    assert hand.session.packets_duplicate == 100


def test_replayed_from_another_address(rig: Rig) -> None:
    """Nothing is sent to who has shown nothing."""
    hand = Hand(rig)
    data = hand.packet(message(b"x"))
    rig.receive(data, hand.address)
    for _ in range(100):
        assert rig.receive(data, ("203.0.113.99", 99)) == []
    assert hand.got == [b"x"]
    goes_on(hand)


def test_messages_again_in_new_packets(rig: Rig) -> None:
    hand = Hand(rig)
    for delivery in range(4):
        for _ in range(5):
            hand.say(message(b"once", 0, 7, delivery))
    assert hand.got == [b"once"] * 4
    assert hand.session.messages_duplicate() == 16


def test_reordered_packets(rig: Rig) -> None:
    hand = Hand(rig)
    packets = [hand.packet(message(b"%03d" % index, index)) for index in range(200)]
    random.Random(3).shuffle(packets)
    for data in packets:
        rig.receive(data, hand.address)
    assert hand.got == [b"%03d" % index for index in range(200)]


def test_packet_numbers_that_jump(rig: Rig) -> None:
    hand = Hand(rig)
    for number in (1000, 1 << 20, (1 << 30) + 5, 999, (1 << 31) + (1 << 30)):
        hand.say(PING, number=number)
    assert hand.closed() is None
    hand.number = (1 << 31) + (1 << 30) + 1
    goes_on(hand)


def test_a_very_holey_sequence_of_numbers(rig: Rig) -> None:
    """Every second number for long: what is kept of it stays bounded."""
    hand = Hand(rig)
    for index in range(2000):
        hand.say(PING, number=2 * index + 100)
    assert hand.session.acks.ranges.range_count() <= limits.RUDP_ACK_RANGES_KEPT
    hand.number = 5000
    goes_on(hand)


# Frames


UNKNOWN = [4, 9, 10, 11, 12, 13, 15, 16, 0x20, 0x40, 0x7F]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_frames(rig: Rig, kind: int) -> None:
    ends(Hand(rig), CloseCode.PROTOCOL_ERROR, bytes([kind]), bytes(8), reason="unknown frame")


WHOLE_FRAMES = [
    bytes([packet.SKIP]) + varints(0, 1, 0, COST),
    bytes([packet.CONNECTION_CREDIT]) + varints(1 << 30),
    bytes([packet.CHANNEL_CREDIT]) + varints(100, 1 << 30),
    bytes([packet.BLOCKED]) + varints(1000, 1 << 30),
    bytes([packet.ACK]) + varints(0, 0, 0, 0),
    bytes([packet.ACK_ECN]) + varints(0, 0, 0, 0, 1000, 1000, 1000),
    close_frame(1000, b"reason"),
    message(b"body", part=(100, 1000)),
    message(b"body", 1, 100),
]


@pytest.mark.parametrize("frame", WHOLE_FRAMES, ids=lambda frame: f"{frame[0]:#x}")
def test_frames_that_are_cut_off(frame: bytes) -> None:
    for size in range(1, len(frame)):
        if frame[0] & 0x80 and size == len(frame):
            continue
        rig = Rig()
        hand = Hand(rig)
        hand.say(frame[:size])
        closed = hand.closed()
        assert closed is not None, f"{size} of {len(frame)} bytes"
        assert closed.code == CloseCode.PROTOCOL_ERROR
        rig.check_honest()


def test_a_successor_of_nothing(rig: Rig) -> None:
    ends(Hand(rig), 1002, message(b"x", successor=True), reason="successor")


def test_a_successor_of_another_delivery(rig: Rig) -> None:
    ends(Hand(rig), 1002, message(b"x"), message(b"y", delivery=1, successor=True), reason="successor")


def test_a_successor_with_a_number(rig: Rig) -> None:
    bad = bytearray(message(b"y", successor=True))
    bad[0] |= 1
    ends(Hand(rig), 1002, message(b"x"), bytes(bad), reason="successor")


def test_a_successor_behind_skip(rig: Rig) -> None:
    ends(Hand(rig), 1002, message(b"x"), bytes([packet.SKIP]) + varints(0, 1, 5, COST), message(b"y", successor=True))


def test_channels_over_the_limit() -> None:
    rig = Rig(channels=4)
    for frame in (
        message(b"x", channel=4),
        message(b"x", channel=256, delivery=1),
        message(b"x", channel=1 << 40),
        bytes([packet.CHANNEL_CREDIT]) + varints(4, 1),
        bytes([packet.BLOCKED]) + varints(5, 1),
        bytes([packet.SKIP]) + varints(16, 1, 0, COST),
        bytes([packet.SKIP]) + varints(256 * 4, 1, 0, COST),
    ):
        ends(Hand(rig), 1002, frame)
    rig.check_honest()


@pytest.mark.parametrize(
    "frame",
    [
        varints(0, 0),
        varints(0, 33) + varints(0, COST) * 33,
        varints(2, 1, 0, COST),
        varints(3, 1, 0, COST),
        varints(0, 1, 0, COST - 1),
        varints(0, 1, 0, limits.MESSAGE_BYTES_DEFAULT + COST + 1),
    ],
)
def test_malformed_skips(rig: Rig, frame: bytes) -> None:
    ends(Hand(rig), 1002, bytes([packet.SKIP]) + frame, reason="skip")


def test_a_skip_of_what_was_delivered(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"a", 0))
    for _ in range(3):
        hand.say(bytes([packet.SKIP]) + varints(0, 2, 0, COST, 1, COST))
    hand.say(message(b"skipped", 1), message(b"c", 2))
    assert hand.got == [b"a", b"c"]
    goes_on(hand)


def test_a_close_that_is_too_long(rig: Rig) -> None:
    ends(Hand(rig), 1002, close_frame(5, bytes(257)))
    ends(Hand(rig), 1002, close_frame(1 << 16))


def test_a_reason_that_is_no_utf8(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(close_frame(5, b"\xff\xfe"))
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.reason) == (5, "��")


# Acks


def test_an_ack_for_what_was_never_sent(rig: Rig) -> None:
    ends(Hand(rig), 1002, ack((100, 200)), reason="never sent")


def test_an_ack_for_a_number_that_was_left_out(rig: Rig) -> None:
    hand = Hand(rig)
    session = hand.session
    skipped = -1
    for _ in range(40):
        session.send(bytes(100_000), 0, 0, 0, 0, rig.now)
        rig.settle()
        highest = session.ring.next - 1
        for number in range(session.ring.oldest, session.ring.next):
            if session.ring.get(number).state == 4:
                skipped = number
        if skipped >= 0:
            break
        hand.say(ack((0, highest)), bytes([packet.CONNECTION_CREDIT]) + varint(1 << 40),
                 bytes([packet.CHANNEL_CREDIT]) + varints(0, 1 << 40))  # fmt: skip
        rig.wait(1)
        if hand.closed() is not None:
            break
    closed = hand.closed()
    if closed is None:
        hand.say(ack((skipped, skipped)))
        closed = hand.closed()
    assert closed is not None
    assert (closed.code, "never sent" in closed.reason) == (1002, True)


@pytest.mark.parametrize(
    "frame",
    [
        varints(0, 0, 0, 1),  # the first run goes below 0
        varints(0, 0, 32, 0) + varints(0, 0) * 32,
        varints(0, 0, 1, 0, 0, 0),
        varints(0, 0, 1, 0, (1 << 62) - 1, 5),
        varints((1 << 62) - 1, 0, 0, 0),
        varints(0, 0, 0, (1 << 62) - 1),
    ],
)
def test_malformed_acks(rig: Rig, frame: bytes) -> None:
    ends(Hand(rig), 1002, bytes([packet.ACK]) + frame)


def test_an_ack_delay_beyond_belief(rig: Rig) -> None:
    hand = Hand(rig)
    hand.session.send(b"x", 0, 0, 0, 0, rig.now)
    rig.settle()
    rig.now += 50 * MS
    hand.say(ack((0, hand.session.ring.next - 1), delay=(1 << 62) - 1))
    assert 40 * MS <= hand.session.rtt.latest <= 60 * MS  # believed up to what the peer announced
    goes_on(hand)


def test_a_peer_that_never_acknowledges(rig: Rig) -> None:
    """What is in flight stays within the window, probes back off, the session ends."""
    hand = Hand(rig)
    session = hand.session
    for _ in range(20):
        session.send(bytes(10_000), 0, 0, 0, 0, rig.now)
    most = session.controller.window + 2 * limits.RUDP_PTO_TRIES * session.mtu  # probes may go beyond the window
    for _ in range(400):
        rig.wait(200)
        assert session.in_flight <= most
        hand.say(PING)  # the path is alive, so that it is no matter of silence
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.reason) == (CloseCode.IDLE_TIMEOUT, "the peer acknowledges nothing")
    sent = sum([len(data) for data in rig.sent[hand.address]])
    assert sent < 400_000  # the first window, and probes


def test_a_peer_that_acknowledges_optimistically(rig: Rig) -> None:
    """Who acknowledges ahead of what has come is found by the first number that was never sent."""
    hand = Hand(rig)
    hand.session.send(bytes(20_000), 0, 0, 0, 0, rig.now)
    rig.settle()
    ends(hand, 1002, ack((0, hand.session.ring.next)), reason="never sent")


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
    assert 100 <= channel <= 150  # parked messages leave room for others, up to half
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


# Handshake


def test_a_flood_of_spoofed_hellos() -> None:
    """Half-open clients are bounded, addresses are proved soon, and nobody gets three times what it sent."""
    rig = Rig()
    parameters = packet.Parameters(codec="raw")
    for index in range(5000):
        address = (f"203.0.{index >> 8 & 255}.{index & 255}", 1024 + index % 50_000)
        hello = packet.encode_hello(index + 1, b"", parameters)
        answers = rig.receive(hello, address)
        assert sum([len(answer) for answer in answers]) <= 3 * len(hello)
    counts = rig.server.statistics()
    assert counts["half_open"] <= limits.RUDP_HALF_OPEN_COOKIE + 1
    assert counts["retries_sent"] > 4800
    assert len(rig.server.sessions) == 1
    rig.check_honest()
    Hand(rig)  # who can answer RETRY still gets in
    rig.wait(11_000)
    Hand(rig, port=8).hello()
    assert rig.server.statistics()["half_open"] <= 2


def test_half_open_clients_are_bounded_without_cookies() -> None:
    rig = Rig(cookie="never", half_open_max=10)
    for index in range(100):
        rig.receive(packet.encode_hello(index + 1, b"", packet.Parameters(codec="raw")), (f"203.0.113.{index}", 5))
    assert rig.server.statistics()["half_open"] == 10
    assert rig.server.statistics()["half_open_dropped"] == 90
    rig.check_honest()


def test_the_same_hello_again_and_again() -> None:
    """Each is answered by the same ACCEPT, within three times what came."""
    rig = Rig()
    hand = Hand(rig, opens=False)
    answers = [answer for _ in range(50) for answer in hand.hello()]
    assert len(set(answers)) == 1
    assert sum([len(answer) for answer in answers]) <= 3 * 1200 * 50
    assert rig.server.statistics()["half_open"] == 1
    hand.open()
    assert hand.hello() == []  # it is in
    goes_on(hand)


def test_answers_to_strangers_are_bounded() -> None:
    rig = Rig()
    hello = packet.encode_hello(7, b"", packet.Parameters(codec="raw"))
    for index in range(1000):
        rig.server.receive(hello, Path(None, (f"203.0.113.{index % 256}", index)), 0, rig.now)
    assert rig.server.statistics()["dropped_replies"] > 700
    rig.settle()
    rig.check_honest()


def test_a_cookie_of_another_address() -> None:
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    retry = packet.decode_long(hand.hello()[0])
    assert retry is not None
    thief = Hand(rig, "203.0.113.99", opens=False)
    thief.cid = hand.cid
    answer = packet.decode_long(thief.hello(retry.cookie)[0])
    assert answer is not None
    assert answer.kind == packet.RETRY
    assert rig.server.statistics()["half_open"] == 0


def test_a_cookie_that_is_replayed() -> None:
    """Within its time it proves the same address again and no other; afterwards nothing."""
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    retry = packet.decode_long(hand.hello()[0])
    assert retry is not None
    for _ in range(20):
        hand.hello(retry.cookie)
    assert rig.server.statistics()["half_open"] == 1
    rig.wait(limits.RUDP_COOKIE_NS / MS + 1000)
    late = packet.decode_long(hand.hello(retry.cookie)[-1])
    assert late is not None
    assert late.kind in (packet.RETRY, packet.ACCEPT)  # still half open, or asked anew
    rig.check_honest()


def test_a_forged_cookie() -> None:
    rig = Rig(cookie="always")
    hand = Hand(rig, opens=False)
    for cookie in (b"x", bytes(16), bytes(24), bytes(255)):
        answer = packet.decode_long(hand.hello(cookie)[0])
        assert answer is not None
        assert answer.kind == packet.RETRY


def test_an_unknown_version() -> None:
    import zlib

    rig = Rig()
    hand = Hand(rig, opens=False)
    data = bytearray(packet.encode_hello(hand.cid, b"", hand.announced))
    data[1:5] = (0x74720002).to_bytes(4, "big")
    data[-4:] = zlib.crc32(data[:-4]).to_bytes(4, "big")
    answer = packet.decode_long(rig.receive(bytes(data), hand.address)[0])
    assert answer is not None
    assert (answer.kind, answer.code, answer.versions) == (packet.REFUSE, 1002, (packet.VERSION,))
    rig.check_honest()


def test_another_codec() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False, codec="json")
    answer = packet.decode_long(hand.hello()[0])
    assert answer is not None
    assert (answer.kind, answer.code) == (packet.REFUSE, CloseCode.CODEC_MISMATCH)
    assert "'raw', not 'json'" in answer.reason


def test_malformed_parameters() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False, max_datagram=1199)
    assert hand.hello() == []
    assert rig.server.statistics()["malformed"] == 1


def test_a_hello_that_is_too_short() -> None:
    import zlib

    rig = Rig()
    data = packet.encode_hello(5, b"", packet.Parameters())[:600]
    assert rig.receive(data + zlib.crc32(data).to_bytes(4, "big"), ("203.0.113.1", 1)) == []


def test_answers_that_nobody_asked_for(rig: Rig) -> None:
    """ACCEPT, RETRY and REFUSE to a server, and forged ones to a client that is connected."""
    hand = Hand(rig)
    for data in (
        packet.encode_accept(hand.peer_cid, 5, packet.Parameters()),
        packet.encode_retry(hand.peer_cid, b"cookie"),
        packet.encode_refuse(hand.peer_cid, 1013, "no"),
        packet.encode_refuse(12345, 1013, "no"),
    ):
        assert rig.receive(data, hand.address) == []
    for data in (
        packet.encode_accept(rig.honest.own_cid, 5, packet.Parameters()),
        packet.encode_retry(rig.honest.own_cid, b"cookie"),
        packet.encode_refuse(rig.honest.own_cid, 1013, "no"),
        packet.encode_hello(5, b"", packet.Parameters()),
    ):
        rig.client.receive(data, Path(None, ("192.0.2.1", 9)), 0, rig.now)
    assert rig.client.statistics()["strays"] == 4
    goes_on(hand)


def test_a_client_whose_first_packet_is_noise() -> None:
    """A half-open client gets a session by a valid packet only."""
    rig = Rig()
    hand = Hand(rig, opens=False)
    answer = packet.decode_long(hand.hello()[-1])
    assert answer is not None
    hand.peer_cid = answer.scid
    rig.receive(hand.packet(PING)[:-1] + b"?", hand.address)
    assert hand.peer_cid not in rig.server.sessions
    hand.say(PING)
    assert hand.peer_cid in rig.server.sessions
    rig.check_honest()


# RESET


def test_packets_for_unknown_connections(rig: Rig) -> None:
    """At most ten answers a second, each shorter than what it answers."""
    hand = Hand(rig)
    answers = []
    for size in range(100):
        answers += [
            (size, answer)
            for answer in rig.receive(hand.packet(bytes(size), cid=rig.rng.getrandbits(64)), hand.address)
        ]
    assert len(answers) == limits.RUDP_RESETS_PER_S
    assert all(len(answer) < size + 17 for size, answer in answers)
    counts = rig.server.statistics()
    assert counts["resets_sent"] == limits.RUDP_RESETS_PER_S
    assert counts["strays"] == 100
    rig.wait(1001)
    assert len(rig.receive(hand.packet(bytes(100), cid=5), hand.address)) == 1
    goes_on(hand)


def test_a_reset_is_answered_by_none(rig: Rig) -> None:
    first = rig.receive(Hand(rig).packet(bytes(100), cid=5), ("203.0.113.1", 1))[0]
    size = len(first)
    for _ in range(40):
        rig.wait(1001)  # so that it is not the rate that is bounded
        answers = rig.receive(first, ("203.0.113.1", 1))
        if not answers:
            break
        first = answers[0]
        assert len(first) < size
        size = len(first)
    assert answers == []


def test_a_forged_reset(rig: Rig) -> None:
    """Without the token it is noise."""
    for token in (bytes(16), packet.reset_token(bytes(32), rig.honest.peer_cid), packet.reset_token(KEY, 5)):
        forged = packet.encode_reset(token, rig.rng.randbytes, 100)
        rig.client.receive(forged, Path(None, ("192.0.2.1", 9)), 0, rig.now)
        rig.client.receive(
            bytes([0x40]) + rig.honest.own_cid.to_bytes(8, "big") + forged, Path(None, HONEST), 0, rig.now
        )
    assert rig.honest.state == 1


def test_a_true_reset() -> None:
    rig = Rig()
    true = packet.encode_reset(packet.reset_token(KEY, rig.honest.peer_cid), rig.rng.randbytes, 100)
    rig.client.receive(true, Path(None, ("192.0.2.1", 9)), 0, rig.now)
    rig.settle()
    assert rig.honest.state == 3
    closed: Any = rig.events[rig.honest.own_cid][-1]
    assert (closed.code, closed.by_peer, closed.clean) == (CloseCode.LOST, True, False)


# CLOSE


def test_a_storm_of_closes(rig: Rig) -> None:
    """The answer is repeated a bounded number of times."""
    hand = Hand(rig)
    for _ in range(200):
        hand.say(close_frame(5, b"storm"))
    answers = [data for data in rig.sent[hand.address] if data[13:14] == b"\x0e" or b"storm" in data]
    assert 1 <= len(answers) <= limits.RUDP_CLOSE_TRIES + 1
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.reason, closed.by_peer) == (5, "storm", True)


def test_a_closed_connection_is_forgotten(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(close_frame(0))
    assert hand.peer_cid in rig.server.sessions
    rig.wait(3000)
    assert hand.peer_cid not in rig.server.sessions
    assert len(rig.server._clients) == 1


def test_closed_connections_are_bounded() -> None:
    rig = Rig()
    for index in range(limits.RUDP_CLOSED_MAX + 50):
        hand = Hand(rig, port=1000 + index)
        hand.say(close_frame(0))
    assert len(rig.server.sessions) <= limits.RUDP_CLOSED_MAX + 1
    rig.check_honest()


def test_a_close_with_data_behind_it(rig: Rig) -> None:
    hand = Hand(rig)
    hand.say(message(b"before"), close_frame(3, b"bye"), message(b"after", 1), bytes([0x7F]))
    assert hand.got == [b"before"] or hand.got == []
    closed = hand.closed()
    assert closed is not None
    assert closed.code == 3


def test_a_peer_that_does_not_answer_the_goodbye(rig: Rig) -> None:
    hand = Hand(rig)
    hand.session.close(7, "bye", rig.now)
    rig.settle()
    before = len(rig.sent[hand.address])
    for _ in range(50):
        rig.wait(500)
    closed = hand.closed()
    assert closed is not None
    assert (closed.code, closed.clean) == (7, False)
    assert len(rig.sent[hand.address]) - before <= limits.RUDP_CLOSE_TRIES


def test_everything_at_random(seed: int) -> None:
    """Valid packets of random frames: a session ends with a code of ours or goes on, and nobody else feels it."""
    rng = random.Random(seed)
    rig = Rig(seed)
    parts = [*WHOLE_FRAMES, PING, b"\0", message(b"x"), message(b"y", 1, 2, 3), ack((0, 0))]
    for index in range(150):
        hand = Hand(rig, port=2000 + index)
        for _ in range(20):
            frames = b"".join([rng.choice(parts) for _ in range(rng.randint(1, 5))])
            if rng.random() < 0.5:
                bent = bytearray(frames)
                bent[rng.randrange(len(bent))] = rng.getrandbits(8)
                frames = bytes(bent)
            hand.say(frames)
            closed = hand.closed()
            if closed is not None:
                assert 0 <= closed.code < 1 << 16
                break
    rig.check_honest()


def test_configuration_of_the_rig() -> None:
    """What is agreed on here is CRC-32, so that packets can be made by the standard library."""
    assert RudpConfig(**CRC32_ONLY).checksums == 2  # type: ignore[arg-type]


def test_a_client_whose_first_packet_ends_it() -> None:
    """It never gets an owner, and is forgotten all the same."""
    rig = Rig()
    for frames in (bytes([0x7F]), close_frame(5)):
        hand = Hand(rig, opens=False)
        answer = packet.decode_long(hand.hello()[-1])
        assert answer is not None
        hand.peer_cid = answer.scid
        hand.say(frames)
        told = hand.told()
        assert told is not None
        rig.wait(5000)
        assert hand.peer_cid not in rig.server.sessions
    rig.check_honest()


def test_a_client_that_goes_before_it_was_taken() -> None:
    rig = Rig()
    hand = Hand(rig, opens=False)
    answer = packet.decode_long(hand.hello()[-1])
    assert answer is not None
    hand.peer_cid = answer.scid
    rig.server.receive_many([hand.packet(PING), hand.packet(close_frame(5))], Path(None, hand.address), 0, rig.now)
    rig.settle()
    assert hand.told() == (5, "")
    rig.wait(5000)
    assert hand.peer_cid not in rig.server.sessions


def test_a_client_says_its_last_word_twice() -> None:
    """Its socket is gone right after, so that nobody could repeat it."""
    rig = Rig()
    rig.of_honest().close(5, "bye", rig.now)
    lost: list[bytes] = []
    real = rig.server.receive

    def losing(data: bytes, path: Path, ecn: int, now: int) -> None:
        if not lost:
            lost.append(data)
        else:
            real(data, path, ecn, now)

    server_cid = rig.honest.peer_cid
    rig._pump(rig.server)
    rig.server = Stub(rig.server, losing)  # type: ignore[assignment]
    rig.settle()
    assert lost
    closed: Any = rig.events[server_cid][-1]
    assert (closed.code, closed.reason, closed.by_peer) == (5, "bye", False)


class Stub:
    """An endpoint with another `receive`."""

    def __init__(self, endpoint: Any, receive: Any) -> None:
        self._endpoint = endpoint
        self.receive = receive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._endpoint, name)
