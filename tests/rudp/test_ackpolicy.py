"""When a sender asks for fewer acks, for how many, and what its peer makes of that."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.rudp.by_hand import MS, Rig, varints
from tests.soak.duo import CONFIG, Duo
from transport import limits
from transport.machine import Path
from transport.rudp import packet
from transport.rudp.ackpolicy import AckPolicy, choose
from transport.rudp.acks import AckState
from transport.sim.config import LinkConfig

SECOND = limits.SECOND_NS
FAST = limits.RUDP_ACK_POLICY_PACKETS_PER_S
MOST = limits.RUDP_ACK_THRESHOLD_MAX
DEFAULT = 2
NUMBER_MAX = (1 << 62) - 1
LINK = LinkConfig(delay_ns=5 * MS, rate_bits_per_s=1_000_000_000, overhead_bytes=28, queue_bytes=4 * limits.MIB)


# The rule


@pytest.mark.parametrize("rate", [0, 1, FAST - 1])
@pytest.mark.parametrize("srtt", [0, MS, SECOND])
def test_nothing_is_asked_of_a_slow_sender(rate: int, srtt: int) -> None:
    assert choose(DEFAULT, rate, srtt) == DEFAULT


def test_nothing_is_asked_while_hardly_anything_is_in_flight() -> None:
    """A million packets a second over a loopback of 20 us: twenty in flight, of which eight acks are to remain."""
    assert choose(DEFAULT, 1_000_000, 20_000) == DEFAULT


def test_so_many_acks_as_a_round_trip_needs() -> None:
    """52,000 packets a second and 5 ms: 260 in flight, and 16 leave more than eight acks."""
    assert choose(DEFAULT, 52_000, 5 * MS) == 16


def test_the_threshold_has_a_limit() -> None:
    assert choose(DEFAULT, 10_000_000, SECOND) == MOST == 64


def test_it_is_bounded_by_what_is_in_flight(rng: random.Random) -> None:
    for _ in range(10_000):
        current = rng.choice([2, 4, 8, 16, 32, 64])
        rate, srtt = rng.randrange(2_000_000), rng.randrange(50 * MS)
        found = choose(current, rate, srtt)
        assert found in (2, 4, 8, 16, 32, 64)
        flight = rate * srtt // SECOND
        assert found == DEFAULT or found * limits.RUDP_ACKS_PER_ROUND <= flight
        assert found == DEFAULT or rate >= FAST * 3 // 4


def test_it_stays_where_it_is_while_the_rate_only_trembles() -> None:
    """15 % more and less than what a threshold was chosen for change nothing."""
    for rate in (FAST * 21 // 20, 52_000, 100_000, 500_000):
        current = choose(DEFAULT, rate, 8 * MS)
        seen = {current}
        for percent in (85, 100, 115, 90, 110, 100, 85, 115) * 4:
            current = choose(current, rate * percent // 100, 8 * MS)
            seen.add(current)
        assert len(seen) <= 2  # it may settle one higher, and stays there


# Its owner


def reviewed(policy: AckPolicy, packets: int, rate: int, span: int, now: int, srtt: int = 5 * MS) -> tuple[bool, int]:
    """A review after `span` at some rate: its answer, and the count of packets then."""
    packets += rate * span // SECOND
    return policy.review(packets, srtt, now), packets


def test_it_counts_over_ten_milliseconds_at_least() -> None:
    policy = AckPolicy()
    assert not policy.review(0, 5 * MS, SECOND)
    assert not policy.review(10_000, 5 * MS, SECOND + limits.RUDP_ACK_POLICY_NS - 1)
    assert policy.review(10_000, 5 * MS, SECOND + limits.RUDP_ACK_POLICY_NS)
    assert policy.threshold == 64


def test_a_policy_is_told_once_and_ends_when_the_rate_falls() -> None:
    policy, now, packets = AckPolicy(), SECOND, 0
    assert (policy.number, policy.threshold, policy.delay_us) == (-1, DEFAULT, 5000)
    policy.review(0, 5 * MS, now)
    told = []
    for rate in [52_000] * 50 + [1000] * 50:
        now += 10 * MS
        is_new, packets = reviewed(policy, packets, rate, 10 * MS, now)
        if is_new:
            told.append((policy.number, policy.threshold, policy.delay_us))
    assert told == [(0, 16, 1250), (1, DEFAULT, 5000)]


def test_a_pause_ends_it() -> None:
    """What came in a second of silence and one burst is no rate."""
    policy = AckPolicy()
    policy.review(0, 5 * MS, SECOND)
    assert policy.review(520, 5 * MS, SECOND + 10 * MS)
    assert policy.review(1040, 5 * MS, 2 * SECOND)
    assert policy.threshold == DEFAULT


def test_another_path_ends_it() -> None:
    policy = AckPolicy()
    assert not policy.reset(0, SECOND)
    assert policy.review(520, 5 * MS, SECOND + 10 * MS)
    assert policy.reset(520, SECOND + 15 * MS)
    assert (policy.number, policy.threshold) == (1, DEFAULT)
    assert not policy.review(10_000, 5 * MS, SECOND + 20 * MS)  # counted from the change on


def test_the_frame() -> None:
    policy = AckPolicy()
    policy.review(0, 5 * MS, SECOND)
    policy.review(520, 5 * MS, SECOND + 10 * MS)
    room = memoryview(bytearray(20))
    assert bytes(room[: policy.write(room, 0)]) == bytes([packet.ACK_POLICY]) + varints(0, 16, 1250, 1)
    assert policy.sent == 1


# Who obeys it


def due_after(acks: AckState, *, now: int = 0, gap_at: int = -1) -> int:
    """After how many packets in a row, from the next on, an ack is due; `gap_at` is left out."""
    written(acks, now)
    start = acks.ranges.largest + 1
    for count in range(1, 1000):
        number = start + count - 1
        if gap_at >= 0 and count >= gap_at:
            number += 1
        in_order = number == acks.ranges.largest + 1
        acks.ranges.add(number)
        acks.came(number, True, in_order, now, 8 * MS)
        if acks.must_send(now):
            return count
    return 1000


def written(acks: AckState, now: int) -> None:
    room = memoryview(bytearray(1000))
    acks.write(room, 0, 1000, now)


def test_the_newest_policy_holds() -> None:
    acks = AckState()
    assert due_after(acks) == DEFAULT
    acks.obey(3, 16, 1250, 1)
    assert due_after(acks) == 16
    acks.obey(2, 4, 1250, 1)
    acks.obey(3, 4, 1250, 1)
    assert due_after(acks) == 16
    acks.obey(4, DEFAULT, 5000, 1)
    assert due_after(acks) == DEFAULT
    assert acks.policies == 2


def test_what_may_be_asked_for_has_bounds() -> None:
    acks = AckState()
    acks.obey(NUMBER_MAX, NUMBER_MAX, NUMBER_MAX, 1)
    assert (acks.threshold, acks.delay_most) == (MOST, limits.RUDP_ACK_DELAY_MAX_NS)
    assert due_after(acks) == MOST
    acks = AckState()
    acks.obey(0, 1, 0, 1)
    assert (acks.threshold, acks.delay_most) == (1, limits.RUDP_ACK_DELAY_MIN_NS)
    assert due_after(acks) == 1


def test_the_delay_that_was_asked_for_holds() -> None:
    """A receiver that does not know the round trip yet takes the sender's word for it."""
    acks = AckState()
    acks.obey(0, 64, 1250, 1)
    acks.ranges.add(0)
    acks.came(0, True, True, 100, 100 * MS)
    assert acks.due_at == 100 + 1_250_000


def test_what_is_unusual_is_acknowledged_at_once_all_the_same() -> None:
    acks = AckState()
    acks.obey(0, 64, 5000, 1)
    assert due_after(acks, gap_at=5) == 5
    for at_once in (acks.came_again, acks.ask, lambda: acks.marked(3, True)):
        written(acks, 0)
        assert not acks.must_send(0)
        at_once()
        assert acks.must_send(0)


def test_acks_that_ride_wait_for_no_more_than_was_asked() -> None:
    """Own data leaves every 10 ms, and takes an ack along after eight packets, unless a policy wants one or more."""
    for asked, found in ((1, 1), (2, 8), (4, 8), (8, 8), (16, 16), (64, 64)):
        acks = AckState()
        for turn in range(5):
            acks.own_data(turn * 10 * MS)
        acks.obey(0, asked, 5000, 1)
        assert due_after(acks, now=41 * MS) == found


def test_a_gap_may_be_told_later_where_the_peer_says_so() -> None:
    """As in the example of draft-ietf-quic-ack-frequency section 6.2.1: with 3, acks are due at 5, 9 and 10."""
    acks = AckState()
    acks.obey(0, 64, 5000, 3)
    due = []
    for number in (0, 1, 3, 4, 5, 8, 9, 10):
        in_order = number == acks.ranges.largest + 1
        acks.ranges.add(number)
        acks.came(number, True, in_order, 0, 8 * MS)
        if acks.must_send(0):
            due.append(number)
            written(acks, 0)
    assert due == [5, 9, 10]
    acks = AckState()
    acks.obey(0, 64, 5000, 0)
    assert due_after(acks, gap_at=5) == 64  # never because of the order


# Sessions


def fast(duo: Duo, ms: int) -> None:
    """Sends as fast as it goes for so long."""
    for _ in range(ms):
        while duo.near.queued_bytes + duo.near.blocked_bytes < limits.HIGH_WATER_BYTES:
            duo.near.send(bytes(16_000), 0, 0, 0, 0, duo.now)
        duo.world.run_for(0.001)


def started(config: Any = CONFIG, link: LinkConfig = LINK) -> Duo:
    """A pair of which one asked the other for fewer acks."""
    duo = Duo(config, link).opened()
    for _ in range(100):
        fast(duo, 10)
        if duo.far.acks.threshold > DEFAULT:
            return duo
    raise AssertionError("nothing was asked for")


def test_a_fast_sender_asks_and_takes_it_back() -> None:
    duo = started()
    near, far = duo.near.statistics(), duo.far.statistics()
    assert near["ack_threshold_asked"] >= far["ack_threshold"] > DEFAULT == near["ack_threshold"]
    assert near["ack_policies_sent"] >= far["ack_policies_received"] > 0
    duo.world.run_for(1)
    for _ in range(20):
        duo.near.send(b"thin", 0, 0, 0, 0, duo.now)
        duo.world.run_for(0.02)
    assert duo.far.acks.threshold == duo.near.policy.threshold == DEFAULT
    assert far["ack_policies_sent"] == 0


def test_a_slow_sender_asks_for_nothing() -> None:
    """100 Mbit/s are 10,000 packets a second."""
    duo = Duo(CONFIG, LinkConfig(delay_ns=20 * MS, rate_bits_per_s=100_000_000)).opened()
    fast(duo, 1000)
    assert duo.bytes["far"] > 8_000_000
    assert duo.near.statistics()["ack_policies_sent"] == 0


def test_a_lost_policy_is_sent_again_with_what_holds_then() -> None:
    """Whatever gets lost, the receiver has the newest in the end, and each packet with one asks for an ack."""
    lossy = LinkConfig(delay_ns=5 * MS, rate_bits_per_s=1_000_000_000, loss=0.05, queue_bytes=4 * limits.MIB)
    for seed in range(10):
        duo = Duo(CONFIG, lossy, seed).opened()
        for turn in range(1, 21):  # by hand, for at this loss no window lets it be fast
            duo.near.policy.review(duo.near.packets_acked, 5 * MS, duo.now)
            duo.near.policy.review(duo.near.packets_acked + (turn % 3) * 400, 5 * MS, duo.now + 10 * MS)
            duo.near.policy_due = True
            duo.near.want()
            duo.world.run_for(0.02)
        number = duo.near.policy.number
        duo.world.run_for(5)
        assert number > 5
        assert duo.far.acks.threshold == duo.near.policy.threshold
        assert not duo.near.in_flight and not duo.near.policy_due


def test_a_policy_that_was_overtaken_is_not_sent_again() -> None:
    """The first gets lost, the second does not: nothing is said a third time."""
    rig = Rig()
    session = rig.honest
    session.policy.review(0, 5 * MS, 2 * SECOND)
    session.policy.review(520, 5 * MS, 2 * SECOND + 10 * MS)
    rig.drops = lambda data, from_client: from_client
    session.policy_due = True
    session.want()
    rig.settle()
    session.policy.reset(520, 2 * SECOND + 20 * MS)
    rig.drops = None
    session.policy_due = True
    session.want()
    rig.settle()
    rig.wait(500)
    assert session.policy.sent == 2
    assert session.statistics()["packets_lost"] + session.statistics()["probes_sent"] > 0
    assert rig.of_honest().acks.policies == 1 and rig.of_honest().acks.threshold == DEFAULT


def test_another_host_is_asked_for_nothing() -> None:
    duo = started()
    number = duo.near.policy.number
    duo.near.change_path(Path("c", "s"), duo.now)
    assert duo.near.policy.threshold == DEFAULT
    assert duo.near.policy.number == number + 1 and duo.near.policy_due
    duo.world.run_for(0.05)
    assert duo.far.acks.threshold == DEFAULT
