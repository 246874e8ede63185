"""What a peer of reliable UDP may do wrong, or do to harm: each is dropped, or ends its own session with the code that
docs/protocol.md says; it is counted and bounded, and no other session feels it.
"""

from __future__ import annotations

import random

import pytest

from tests.rudp.by_hand import (
    MS,
    Hand,
    Rig,
    ack,
    close_frame,
    ends,
    goes_on,
    message,
    varint,
    varints,
)
from transport import limits
from transport.errors import CloseCode
from transport.machine import Path
from transport.rudp import packet

COST = limits.MESSAGE_COST_BYTES
PING = bytes([packet.PING])


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


UNKNOWN = [13, 15, 16, 0x20, 0x40, 0x7F]


@pytest.mark.parametrize("kind", UNKNOWN)
def test_unknown_frames(rig: Rig, kind: int) -> None:
    ends(Hand(rig), CloseCode.PROTOCOL_ERROR, bytes([kind]), bytes(8), reason="unknown frame")


WHOLE_FRAMES = [
    bytes([packet.SKIP]) + varints(0, 1, 0, COST),
    bytes([packet.CONNECTION_CREDIT]) + varints(1 << 30),
    bytes([packet.CHANNEL_CREDIT]) + varints(100, 1 << 30),
    bytes([packet.BLOCKED]) + varints(1000, 1 << 30),
    bytes([packet.ACK_POLICY]) + varints(100, 64, 1000, 100),
    bytes([packet.PATH_CHALLENGE]) + b"a token!",
    bytes([packet.PATH_RESPONSE]) + b"a token!",
    bytes([packet.NEW_CID]) + varints(100, 50) + b"an id...",
    bytes([packet.RETIRE_CID]) + varints(0),
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
        message(b"x", channel=(1 << 62) - 1),  # times 4 it is beyond 64 bits
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


def test_acks_after_no_packet(rig: Rig) -> None:
    ends(Hand(rig), 1002, bytes([packet.ACK_POLICY]) + varints(0, 0, 1000, 1), reason="ack policy")


def test_a_policy_of_the_largest_numbers(rig: Rig) -> None:
    """It asks for acks as rarely as may be asked for, and no later one is newer."""
    hand = Hand(rig)
    hand.say(bytes([packet.ACK_POLICY]) + varints(*[(1 << 62) - 1] * 4))
    hand.say(bytes([packet.ACK_POLICY]) + varints(5, 1, 0, 1))
    acks = hand.session.acks
    assert (acks.threshold, acks.delay_most) == (limits.RUDP_ACK_THRESHOLD_MAX, limits.RUDP_ACK_DELAY_MAX_NS)
    goes_on(hand)


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
