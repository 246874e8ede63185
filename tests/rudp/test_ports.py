"""A NAT that gives a client another port, and whose old entry is gone at once: what was on its way there, and how soon
a client that hears nothing makes itself known. In virtual time.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.rudp.by_hand import MS, Hand, Rig, ack, message
from tests.rudp.moving import CLIENT, CONFIG, SECOND, SERVER, Moving
from tests.rudp.test_paths import PING, frames_of
from transport import limits
from transport.rudp import dissect, packet
from transport.rudp.states import SENT
from transport.sim.config import LinkConfig

FULL = limits.RUDP_DATAGRAM_BYTES_MIN
TRIP = 50 * MS
LINE = LinkConfig(delay_ns=TRIP // 2, rate_bits_per_s=20_000_000, queue_bytes=125_000, overhead_bytes=28)
EVERY_MS = 100
BODY = bytes(16_384)


def unanswered(session: Any) -> list[int]:
    """Packets in flight, by number."""
    ring = session.ring
    return [number for number in range(ring.oldest, ring.next) if ring.get(number).state == SENT]


def full(size: int) -> Hand:
    """A client whose server has just sent it `size` bytes."""
    hand = Hand(Rig(redundancy=False))
    hand.session.send(bytes(size), 0, 0, 0, 0, hand.rig.now)
    hand.rig.settle()
    return hand


def moves(hand: Hand, *frames: bytes) -> list[bytes]:
    """It goes on from its next port; returns what comes back there."""
    hand.address = (hand.address[0], hand.address[1] + 1)
    return hand.say(*(frames or (PING,)))


# What the server makes of it


def test_another_port_hears_at_once_what_has_come() -> None:
    """Acks that the old one should have had are lost, and the window of a client that gets none stays full."""
    hand = Hand(Rig())
    assert hand.say(message(b"a", 0)) == []
    hand.rig.wait(10)
    [answer] = moves(hand, message(b"b", 1))
    assert frames_of(answer)[0] == packet.ACK
    hand.rig.wait(10)
    assert hand.say(message(b"c", 2)) == []


def test_what_went_to_a_port_that_was_left_is_no_congestion() -> None:
    """And the window does not grow before half of it has been delivered."""
    hand = full(9000)
    session = hand.session
    old = unanswered(session)
    session.send(bytes(3000), 0, 0, 0, 0, hand.rig.now)
    moves(hand)
    session.send(bytes(3000), 0, 0, 0, 0, hand.rig.now)
    hand.rig.settle()
    new = [number for number in unanswered(session) if number > old[-1]]
    answers = hand.say(ack((new[-1], new[-1])))
    assert session.packets_lost >= len(old)
    assert sum(map(len, answers)) > 8000, "it goes again"
    assert session.controller.statistics()["cuts"] == 0
    first = [number for number in unanswered(session) if number > new[-1]]
    window = session.controller.window
    hand.say(ack((first[0], first[0])))
    assert session.controller.window == window
    hand.say(ack((first[0], first[-1])))
    assert session.controller.window > window


@pytest.mark.parametrize("behind", [10, limits.RUDP_MOVED_PACKETS + 1])
def test_another_port_hears_again_of_credit_that_is_on_its_way(behind: int) -> None:
    """If it is not long ago; else when it counts as lost, like everything else."""
    hand = Hand(Rig(redundancy=False, congestion="none", start_window=8192))
    before = len(hand.rig.sent[hand.address])
    for number in range(6):
        hand.say(message(bytes(1000), number))
    assert gives_credit(hand.rig.sent[hand.address][before:])
    for _ in range(behind):
        hand.session.send(bytes(1100), 1, 0, 0, 0, hand.rig.now)
        hand.rig.settle()
    assert gives_credit(moves(hand)) is (behind == 10)
    before = len(hand.rig.sent[hand.address])
    hand.rig.wait(50)
    assert gives_credit(hand.rig.sent[hand.address][before:])


def gives_credit(datagrams: list[bytes]) -> bool:
    """Whether there is credit for the connection in one of them."""
    numbers = dissect.Numbers(is_sure=True, by_server=True)
    frames = [frame for data in datagrams for frame in dissect.short(data, None, numbers).frames]
    return any(frame.name == "CONNECTION_CREDIT" for frame in frames)


def test_a_loss_before_the_port_changed_is_congestion() -> None:
    """Something that was sent to the old port later has arrived."""
    hand = full(9000)
    session = hand.session
    old = unanswered(session)
    moves(hand)
    hand.say(ack((old[-1], old[-1])))
    assert session.packets_lost == len(old) - limits.RUDP_REORDER_PACKETS_MIN
    assert session.controller.statistics()["cuts"] == 1


def test_the_port_changes_twice_within_a_round_trip() -> None:
    """What went to either is told apart."""
    hand = full(5000)
    session = hand.session
    first = unanswered(session)
    moves(hand)
    session.send(bytes(3000), 0, 0, 0, 0, hand.rig.now)
    hand.rig.settle()
    second = [number for number in unanswered(session) if number > first[-1]]
    moves(hand)
    hand.say(ack((second[-1], second[-1])))
    assert session.packets_lost >= len(first)
    assert session.controller.statistics()["cuts"] == 0


def test_late_acks_of_what_went_to_the_old_port_are_no_news() -> None:
    """It was given up, and arrives after all: nothing is undone that was not done, and all is counted once."""
    hand = full(9000)
    session = hand.session
    old = unanswered(session)
    moves(hand)
    hand.rig.wait(40)
    lost = session.packets_lost
    assert lost >= len(old)
    window = session.controller.window
    hand.say(ack((old[0], old[-1])))
    assert session.packets_spurious == len(old)
    assert session.controller.statistics()["cuts_undone"] == 0
    assert session.controller.window == window
    assert session.in_flight == sum([session.ring.get(number).size for number in unanswered(session)])


def opened(**changes: Any) -> Moving:
    """A connection of 20 ms round trip that has been used."""
    duo = Moving(config=replace(CONFIG, redundancy=False, **changes))
    for index in range(20):
        duo.says(bytes([index]) * 1000)
    duo.world.run_for(0.1)
    duo.network.sent.clear()
    return duo


@pytest.mark.parametrize("congestion", ["cubic", "newreno", "bbr"])
def test_what_was_lost_with_the_port_goes_again_without_a_time_out(congestion: str) -> None:
    """As soon as its ack should have come, though nothing later is acknowledged."""
    duo = opened(congestion=congestion)
    duo.network.rebind(duo.port, ("c", 2))
    before, began = len(duo.got["near"]), duo.now
    duo.far.send(bytes(10_000), 0, 0, 0, 0, duo.now)
    duo.world.run_for(0.012)
    duo.near.ping(1, duo.now)  # at the server when the ack of the first packet would be
    duo.world.run_until(lambda: len(duo.got["near"]) > before, 10)
    assert duo.now - began < 50 * MS
    assert duo.far.probes_sent == 0
    assert duo.far.packets_lost == 9


def test_an_old_port_that_lives_on_loses_nothing() -> None:
    """Acks come as ever, so nothing is sent twice."""
    duo = Moving(LINE)
    duo.every(EVERY_MS, 20, lambda index: duo.network.rebind(duo.port, ("c", index + 2), keep_ns=SECOND))
    for _ in range(200):
        duo.far.send(BODY, 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: len(duo.got["near"]) == 200, 30)
    assert len(duo.got["near"]) == 200
    assert duo.far.path_changes >= 10
    assert duo.far.packets_spurious == 0


# What a client does


def came(duo: Moving) -> list[int]:
    """When the server sent anything (ns)."""
    return [when for when, source, _, _ in duo.network.sent if source == SERVER]


def flow(duo: Moving, count: int, ms: float) -> None:
    """The server sends so many full packets, so far apart."""
    for _ in range(count):
        duo.far.send(bytes(1250), 0, 3, 0, 0, duo.now)
        duo.world.run_for(ms / 1000)


def test_a_client_asks_after_a_short_pause_of_a_steady_flow() -> None:
    duo = Moving(LinkConfig(delay_ns=MS // 4), config=replace(CONFIG, mtu=1400))
    duo.world.run_for(1)
    duo.network.sent.clear()
    flow(duo, 200, 0.25)
    assert duo.asked() == []
    last = came(duo)[-1] + MS // 4
    duo.world.run_for(5)
    assert duo.asked() == [last + limits.RUDP_HUSH_NS]


def test_a_client_asks_once_in_a_pause() -> None:
    """And not more often than that about one flow, however many pauses it has."""
    duo = Moving(config=replace(CONFIG, mtu=1400))
    duo.world.run_for(1)
    duo.network.sent.clear()
    for _ in range(40):
        flow(duo, 30, 0.5)
        duo.world.run_for(0.02)
    times = duo.asked()
    assert 5 <= len(times) <= 40
    assert min(after - before for before, after in pairwise(times)) >= limits.RUDP_ASK_STEADY_NS
    duo.world.run_for(10)
    assert len(duo.asked()) <= len(times) + 1


def test_a_client_asks_a_few_times_in_a_silence() -> None:
    """Then the last question is repeated like all that is not acknowledged, later each time."""
    duo = Moving(config=replace(CONFIG, mtu=1400))
    duo.world.run_for(1)
    flow(duo, 200, 0.5)
    duo.network.sent.clear()
    duo.network.partition([CLIENT], [SERVER], duo.network.elapsed_ns, duo.network.elapsed_ns + 10 * SECOND)
    duo.world.run_for(3)
    assert len(duo.asked()) - duo.near.probes_sent == limits.RUDP_ASK_TRIES
    assert len(duo.asked()) <= 20


def test_packets_far_apart_are_no_steady_flow() -> None:
    duo = Moving(config=replace(CONFIG, mtu=1400))
    duo.world.run_for(1)
    duo.network.sent.clear()
    flow(duo, 50, 40)
    assert len(duo.asked()) <= 3


def test_a_client_whose_acks_stop_makes_itself_known() -> None:
    """Its window is full, so that it would send nothing before the probe time-out."""
    duo = Moving(LINE)
    for _ in range(500):
        duo.say(BODY)
    duo.world.run_for(2)
    assert duo.near.in_flight > duo.near.controller.window - FULL
    duo.network.sent.clear()
    duo.network.rebind(duo.port, ("c", 2))
    began = duo.now
    duo.world.run_until(lambda: duo.far.path.remote == ("c", 2), 2)
    assert 1 <= len(duo.asked()) <= 2
    assert duo.now - began < duo.near.rtt.smoothed + TRIP // 2


def goodput(is_up: bool) -> float:
    """Share of the line that a transfer of three seconds has while ports change, the old ones gone at once."""
    duo = Moving(LINE, replace(CONFIG, keepalive_ns=500 * MS))
    sender, end = (duo.near, "far") if is_up else (duo.far, "near")
    count = 0

    def feed(_index: int) -> None:
        nonlocal count
        while sender.queued_bytes + sender.blocked_bytes < limits.MIB:
            sender.send(BODY, 0, 0, 0, 0, duo.now)
            count += 1

    duo.every(5, 600, feed)
    duo.every(EVERY_MS, 30, lambda index: duo.network.rebind(duo.port, ("c", index + 2)))
    duo.world.run_for(3)
    share = 8 * duo.bytes[end] / 3 / LINE.rate_bits_per_s
    duo.world.run_until(lambda: len(duo.got[end]) == count, 60)
    assert len(duo.got[end]) == count
    assert duo.far.path_changes >= 25
    return share


def test_goodput_to_the_server_while_ports_are_gone_at_once() -> None:
    assert goodput(True) > 0.6


def test_goodput_to_the_client_while_ports_are_gone_at_once() -> None:
    """Half of it at most: what is on its way to the old port until the server hears of the new one is lost."""
    assert goodput(False) > 0.3
