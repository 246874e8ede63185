"""ECN: whether a path keeps marks, and what congestion control makes of those that say "congestion experienced"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.rudp.by_hand import Hand, Rig, message
from tests.soak.duo import CONFIG, MIB, MS, SECOND, Duo
from tests.walks import pairs, walked
from transport import limits
from transport.machine import ECN_CE, ECN_ECT0, ECN_ECT1, Path, Transmit
from transport.rudp.config import CONGESTION
from transport.rudp.congestion import make
from transport.rudp.ecn import EcnValidator
from transport.rudp.states import CAPABLE, ECN, FAILED, OFF, TESTING, UNKNOWN, Ecn, Marked
from transport.sim.config import LinkConfig
from transport.states import IllegalTransition

TEST, KIB = limits.RUDP_ECN_TEST_PACKETS, limits.KIB
NEVER = 1 << 62
LINK = LinkConfig(delay_ns=10 * MS, rate_bits_per_s=20_000_000, queue_bytes=200_000)
BODY = bytes(MIB)


# The validation by itself


def after_test() -> EcnValidator:
    """After the test."""
    made = EcnValidator()
    made.start(0, NEVER)
    made.on_sent(TEST, 1)
    return made


def capable() -> EcnValidator:
    """All of the test came as it left; the next packet is 20."""
    made = after_test()
    made.on_acked(0, TEST)
    assert not made.on_ack(True, TEST, 0, 0, True, 20)
    assert (made.state, made.mark) == (CAPABLE, ECN_ECT0)
    return made


def test_ten_packets_are_the_test() -> None:
    made = EcnValidator()
    assert (made.state, made.mark) == (OFF, 0)
    made.start(5, NEVER)
    assert (made.state, made.mark) == (TESTING, ECN_ECT0)
    made.on_sent(5 + TEST - 1, 1)
    assert made.state == TESTING
    made.on_sent(5 + TEST, 1)
    assert (made.state, made.mark) == (UNKNOWN, 0)


def test_the_test_ends_in_time() -> None:
    made = EcnValidator()
    made.start(0, 1000)
    made.on_sent(1, 999)
    assert made.state == TESTING
    made.on_sent(2, 1000)
    assert (made.state, made.mark) == (UNKNOWN, 0)
    made.on_acked(0, 2)
    made.on_ack(True, 2, 0, 0, True, 3)
    assert made.state == CAPABLE


def test_an_ack_during_the_test_is_enough() -> None:
    made = EcnValidator()
    made.start(0, NEVER)
    made.on_sent(3, 1)
    made.on_acked(0, 2)
    made.on_ack(True, 2, 0, 0, True, 3)
    assert (made.state, made.mark) == (CAPABLE, ECN_ECT0)
    made.on_acked(2, 5)
    made.on_ack(True, 5, 0, 0, True, 6)
    assert made.state == CAPABLE


def test_packets_between_test_and_proof_are_not_marked() -> None:
    made = after_test()
    made.on_acked(0, TEST)
    made.on_ack(True, TEST, 0, 0, True, 50)
    made.on_acked(TEST, 50)  # none of them had a mark
    made.on_ack(True, TEST, 0, 0, True, 51)
    assert made.state == CAPABLE
    made.on_acked(50, 52)
    made.on_ack(True, TEST + 1, 0, 0, True, 52)
    assert made.state == FAILED, "two marked ones came, one was counted"


def test_congestion_counts_as_having_come() -> None:
    made = after_test()
    made.on_acked(0, TEST)
    assert made.on_ack(True, TEST - 3, 0, 3, True, 20)
    assert (made.state, made.ect0, made.ce) == (CAPABLE, TEST - 3, 3)
    made.on_acked(20, 22)
    assert not made.on_ack(True, TEST - 1, 0, 3, True, 22), "no more than before"
    made.on_acked(22, 23)
    assert made.on_ack(True, TEST - 1, 0, 4, True, 23)


@pytest.mark.parametrize(
    ("has_counts", "ect0", "ect1", "ce"),
    [
        (False, 0, 0, 0),
        (True, TEST, 0, 0),
        (True, TEST + 1, 0, 0),
        (True, TEST, 2, 0),
        (True, TEST + 2, 1, 0),
        (True, TEST - 1, 0, 5),
        (True, 500, 0, 0),
        (True, TEST, 0, 500),
    ],
    ids=["no counts", "wiped", "one wiped", "remarked", "invented", "fewer", "too many", "too much congestion"],
)
def test_what_does_not_add_up_ends_it(has_counts: bool, ect0: int, ect1: int, ce: int) -> None:
    made = capable()
    made.on_acked(20, 22)
    assert not made.on_ack(has_counts, ect0, ect1, ce, True, 22)
    assert (made.state, made.mark) == (FAILED, 0)
    made.on_acked(22, 30)
    assert not made.on_ack(True, 30, 0, 9, True, 30), "for good"
    assert made.state == FAILED


def test_congestion_that_is_taken_back_ends_it() -> None:
    made = after_test()
    made.on_acked(0, TEST)
    made.on_ack(True, TEST - 3, 0, 3, True, 20)
    made.on_acked(20, 22)
    made.on_ack(True, TEST + 4, 0, 2, True, 22)
    assert made.state == FAILED


def test_acks_that_were_overtaken_say_nothing() -> None:
    made = capable()
    made.on_acked(25, 26)
    assert not made.on_ack(True, TEST + 6, 0, 0, True, 30)
    made.on_acked(20, 25)
    assert not made.on_ack(True, TEST + 2, 0, 0, False, 30), "older counts, of packets that are counted already"
    made.on_acked(26, 27)
    assert not made.on_ack(True, TEST + 7, 0, 0, True, 30)
    assert made.state == CAPABLE


def test_an_ack_of_nothing_marked_needs_no_counts() -> None:
    made = EcnValidator()
    made.start(5, NEVER)
    made.on_acked(0, 5)
    made.on_ack(False, 0, 0, 0, True, 6)
    assert made.state == TESTING


def test_another_path_is_tested_anew() -> None:
    made = capable()
    made.start(30, NEVER)
    assert (made.state, made.mark) == (TESTING, ECN_ECT0)
    made.on_sent(40, 1)
    made.on_acked(20, 30)  # on their way over the other path; their counts are welcome
    made.on_ack(True, TEST + 10, 0, 0, True, 40)
    assert made.state == UNKNOWN
    made.on_acked(30, 31)
    made.on_ack(True, TEST + 10, 0, 0, True, 41)
    assert made.state == FAILED


def test_every_row_is_walked_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = walked(ECN, monkeypatch)
    testing = EcnValidator()
    for made in (EcnValidator(), testing, after_test(), capable()):
        made.start(0, NEVER)
        made.start(0, NEVER)
    testing.on_acked(0, 1)
    testing.on_ack(True, 1, 0, 0, True, 2)
    for made in (after_test(), capable()):
        made.on_acked(0, 100)
        made.on_ack(False, 0, 0, 0, True, 100)
        made.start(200, NEVER)
    testing.start(300, NEVER)
    testing.on_acked(300, 301)
    testing.on_ack(False, 0, 0, 0, True, 301)
    assert set(walk) == set(pairs(ECN))
    legal = {pair[:2] for pair in pairs(ECN)}
    for state in Ecn:
        for event in Marked:
            if (state, event) not in legal:
                with pytest.raises(IllegalTransition, match="an ECN validation in state"):
                    ECN.after(state, event)


# On simulated links


def moved(duo: Duo, size: int, end: str = "near") -> float:
    """Has one end send so many bytes; returns the seconds until the other had them."""
    other = "far" if end == "near" else "near"
    began, before = duo.now, duo.bytes[other]
    getattr(duo, end).send(BODY[:size], 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: duo.bytes[other] - before == size, 60)
    return (duo.now - began) / SECOND


@pytest.mark.parametrize("end", ["near", "far"])
def test_a_queue_that_marks_loses_nothing(end: str) -> None:
    """The window is cut by marks, once a round trip at most, before the queue overflows."""
    duo = Duo(CONFIG, replace(LINK, ecn_mark_bytes=50_000)).opened()
    sender = getattr(duo, end)
    took = 0.0
    for _ in range(10):
        took += moved(duo, MIB, end)
    counts = sender.statistics()
    assert counts["ecn"] == 1
    assert counts["ecn_congested"] > 0
    assert counts["packets_lost"] == 0
    assert counts["rtt_ns"] < 20 * MS + 60_000 * 8 * SECOND // 20_000_000
    assert 0 < sender.controller.cuts <= took / 0.02
    assert took < 10 * 8 * MIB / 20_000_000 * 1.15, "and the link stays full"
    source = ("c", "s") if end == "near" else ("s", "c")
    assert duo.network.link(*source).statistics()["marked"] >= counts["ecn_congested"]


def test_the_same_queue_without_marks_overflows() -> None:
    duo = Duo(replace(CONFIG, ecn=False), replace(LINK, ecn_mark_bytes=50_000)).opened()
    for _ in range(10):
        moved(duo, MIB)
    counts = duo.near.statistics()
    assert (counts["ecn"], counts["ecn_congested"]) == (0, 0)
    assert counts["packets_lost"] > 0


def test_a_path_that_wipes_marks() -> None:
    duo = Duo(CONFIG, replace(LINK, ecn_clear=True)).opened()
    moved(duo, MIB)
    for session in (duo.near, duo.far):
        assert session.ecn.state == FAILED
    moved(duo, MIB)
    assert duo.near.mark == 0


def test_a_path_that_begins_to_wipe_marks() -> None:
    duo = Duo(CONFIG, LINK).opened()
    moved(duo, MIB)
    assert duo.near.ecn.state == CAPABLE
    duo.network.link("c", "s").change(duo.network.elapsed_ns, ecn_clear=True)
    moved(duo, MIB)
    assert (duo.near.ecn.state, duo.far.ecn.state) == (FAILED, CAPABLE)


def test_loss_reordering_and_copies_are_no_mismatch(seed: int) -> None:
    link = replace(LINK, loss=0.1, duplicate=0.1, reorder=0.2, reorder_ns=5 * MS, ecn_mark_bytes=30_000)
    duo = Duo(CONFIG, link, seed).opened()
    for _ in range(4):
        moved(duo, 300_000)
        moved(duo, 300_000, "far")
    assert duo.near.ecn.state == duo.far.ecn.state == CAPABLE


def test_two_sides_in_congestion_do_not_acknowledge_each_other_for_ever() -> None:
    """Every packet is marked, acks too: whoever answered an ack at once would be answered at once."""
    duo = Duo(CONFIG, replace(LINK, ecn_mark_bytes=0)).opened()
    moved(duo, 100_000)
    duo.world.run_for(1.0)
    before = duo.network.statistics()["sent"]
    duo.world.run_for(5.0)
    assert duo.network.statistics()["sent"] - before <= 2


@pytest.mark.parametrize("name", CONGESTION)
def test_only_who_reacts_marks(name: str) -> None:
    rate = 1_000_000 if name == "fixed" else 0
    duo = Duo(replace(CONFIG, congestion=name, rate=rate), LINK).opened()
    moved(duo, 100_000)
    uses = make(name, 1200, rate).uses_ecn()
    assert uses is (name not in ("fixed", "none"))
    assert (duo.near.ecn.state != OFF) is uses


def test_the_handshake_is_not_marked() -> None:
    """So a path that drops marked packets can't keep a connection from opening; it only ends the test."""
    duo = Duo(CONFIG, LINK)
    item, room = Transmit(0, 0, Path(None, None)), memoryview(bytearray(65_536))
    assert duo.client.fill(item, room, duo.now)
    hello = bytes(room[: item.size])
    assert item.ecn == 0
    duo.server.receive(hello, Path("s", "c"), 0, duo.now)
    assert duo.server.fill(item, room, duo.now)
    assert item.ecn == 0
    duo.client.receive(bytes(room[: item.size]), Path("c", "s"), 0, duo.now)
    assert duo.client.fill(item, room, duo.now)
    assert item.ecn == ECN_ECT0, "its first ordinary packet"


# By hand


def test_a_mark_is_answered_at_once_with_counts(rig: Rig) -> None:
    hand = Hand(rig)
    session = hand.session
    for number, mark in enumerate((ECN_ECT0, ECN_ECT1, ECN_ECT0, ECN_CE)):
        rig.server.receive(hand.packet(message(b"x", number)), Path(None, hand.address), mark, rig.now)
    assert (session.acks.ect0, session.acks.ect1, session.acks.ce) == (2, 1, 1)
    assert session.acks.is_due
    before = len(rig.sent[hand.address])
    rig.settle()
    (answer,) = rig.sent[hand.address][before:]
    assert bytes([2, 1, 1]) in answer
    rig.wait(10)


def test_a_duplicate_is_counted_once(rig: Rig) -> None:
    hand = Hand(rig)
    data = hand.packet(message(b"x"))
    for _ in range(3):
        rig.server.receive(data, Path(None, hand.address), ECN_CE, rig.now)
    assert hand.session.acks.ce == 1
    rig.wait(10)


def test_a_marked_ack_is_not_answered(rig: Rig) -> None:
    hand = Hand(rig)
    rig.wait(50)
    before = len(rig.sent[hand.address])
    rig.server.receive(hand.packet(b"\x00\x00"), Path(None, hand.address), ECN_CE, rig.now)
    rig.wait(50)
    assert len(rig.sent[hand.address]) == before
    assert hand.session.acks.ce == 1


Counts = Callable[[int], bytes]


@pytest.mark.parametrize("counts", [b"\x00\x01\x00", b"\x40\x64\x00\x00"], ids=["ECT(1)", "too many"])
def test_a_peer_that_counts_what_was_not_sent(rig: Rig, counts: bytes) -> None:
    """It ends the marking, not the connection."""
    hand = Hand(rig)
    hand.session.send(b"marked", 0, 0, 0, 0, rig.now)
    rig.settle()
    hand.say(b"\x03\x00\x00\x00\x00" + counts)
    assert hand.session.ecn.state == FAILED
    assert hand.closed() is None
