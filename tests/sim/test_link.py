"""Each impairment does what its name says, as often as it says, and nothing else."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from transport import limits
from transport.sim.config import BurstLoss, LinkConfig
from transport.sim.errors import SimulationLimit
from transport.sim.link import COUNTERS, Flight, Link
from transport.sim.trace import Fate, Trace

MS = 1_000_000
COUNT = 20_000
EPOCH = limits.SECOND_NS


def link(seed: int = 7, name: tuple[str, str] = ("a", "b"), **config: object) -> Link:
    return Link(1, name, LinkConfig(**config), seed, EPOCH, Flight(), Trace())


def send(sut: Link, count: int = COUNT, gap_ns: int = MS, data: bytes = b"payload", ecn: int = 0) -> list[int]:
    return [sut.send(data, ecn, EPOCH + index * gap_ns, "a", "b") for index in range(count)]


def arrivals(sut: Link) -> list[tuple[int, bytes, int]]:
    """(time since the epoch, data, ecn) in order of arrival."""
    found = []
    while (entry := sut.flight.pop(1 << 62)) is not None:
        found.append((entry.time - EPOCH, entry.data, entry.ecn))
    return found


def about(count: int, share: float, of: int = COUNT) -> bool:
    return abs(count - share * of) <= 4.5 * math.sqrt(of * share * (1 - share))


def test_a_plain_link_gives_everything_at_once_and_unaltered():
    sut = link()
    assert set(send(sut)) == {Fate.ARRIVES}
    assert arrivals(sut) == [(index * MS, b"payload", 0) for index in range(COUNT)]
    assert sut.flight.bytes == 0


def test_delay_is_exact():
    sut = link(delay_ns=12_345_678)
    send(sut, 100)
    assert [time for time, _, _ in arrivals(sut)] == [index * MS + 12_345_678 for index in range(100)]


def test_jitter_is_uniform_and_keeps_the_order_unless_told():
    ordered, free = link(jitter_ns=9), link(jitter_ns=10 * MS, jitter_reorders=True)
    send(ordered, gap_ns=10)
    delays = [time - index * 10 for index, (time, _, _) in enumerate(arrivals(ordered))]
    for value in range(10):
        assert about(delays.count(value), 0.1)
    sent = [b"%d" % index for index in range(2000)]
    for index, data in enumerate(sent):
        free.send(data, 0, EPOCH + index * MS, "a", "b")
    got = [data for _, data, _ in arrivals(free)]
    assert got != sent
    assert sorted(got, key=int) == sent
    assert free.overtook > 500


def test_ordered_jitter_never_overtakes_even_when_the_delay_falls():
    sut = link(jitter_ns=20 * MS, delay_ns=100 * MS)
    sut.change(1000 * MS, delay_ns=0)
    sent = [b"%d" % index for index in range(2000)]
    for index, data in enumerate(sent):
        sut.send(data, 0, EPOCH + index * MS, "a", "b")
    assert [data for _, data, _ in arrivals(sut)] == sent
    assert sut.overtook == 0


@pytest.mark.parametrize("share", [0.01, 0.05, 0.5])
def test_loss(share: float):
    sut = link(loss=share)
    fates = send(sut)
    assert about(sut.lost, share)
    assert fates.count(Fate.LOST) == sut.lost == COUNT - len(arrivals(sut))
    pairs = sum(a == b == Fate.LOST for a, b in pairwise(fates))
    assert about(pairs, share * share)  # independent of the one before


def test_loss_of_everything_and_of_nothing():
    assert set(send(link(loss=1.0), 100)) == {Fate.LOST}
    assert set(send(link(loss=0.0, loss_per=100), 100)) == {Fate.ARRIVES}


def test_loss_by_the_bag_is_exact_in_each_hundred_at_random_places():
    sut = link(loss=0.05, loss_per=100)
    fates = send(sut, 10_000)
    hundreds = [tuple(fates[start : start + 100]) for start in range(0, 10_000, 100)]
    assert {hundred.count(Fate.LOST) for hundred in hundreds} == {5}
    assert len(set(hundreds)) > 90


BURST = BurstLoss(good_ns=190 * MS, bad_ns=10 * MS)


def test_bursts_are_met_by_time_whatever_is_sent():
    often, seldom = link(burst=BURST), link(burst=BURST)
    fates = send(often, 400_000, MS // 10)
    assert send(seldom, 4000, 10 * MS) == fates[::100]
    lost = fates.count(Fate.BURST)
    assert lost == often.lost_burst
    assert lost / 400_000 == pytest.approx(0.05, abs=4.5 * 0.05 * math.sqrt(2 / 200))  # 200 cycles
    starts = sum(b == Fate.BURST != a for a, b in pairwise(fates))
    assert 60 < lost / starts < 150  # 10 ms of packets each 0.1 ms


def test_loss_inside_and_outside_of_bursts():
    sut = link(burst=BurstLoss(good_ns=MS, bad_ns=MS, loss_bad=0.5, loss_good=0.1))
    send(sut, gap_ns=50 * MS)
    assert about(sut.lost_burst, 0.3)


def test_a_new_burst_process_starts_when_the_configuration_says_so():
    sut = link()
    sut.change(100 * MS, burst=BurstLoss(good_ns=1, bad_ns=10**15))
    sut.change(200 * MS, burst=None)
    fates = send(sut, 300)
    assert set(fates[:100]) == {Fate.ARRIVES} == set(fates[200:])
    assert set(fates[101:200]) == {Fate.BURST}


def test_duplicates_arrive_beside_the_original():
    sut = link(duplicate=0.1, delay_ns=5)
    send(sut)
    assert about(sut.duplicated, 0.1)
    assert len(arrivals(sut)) == COUNT + sut.duplicated


def test_reordering_delays_a_share_and_lets_others_pass():
    sut = link(reorder=0.25, reorder_ns=5 * MS, delay_ns=20 * MS)
    sent = [b"%d" % index for index in range(COUNT)]
    for index, data in enumerate(sent):
        sut.send(data, 0, EPOCH + index * 2 * MS, "a", "b")
    delays = {int(data): time - int(data) * 2 * MS for time, data, _ in arrivals(sut)}
    assert set(delays.values()) == {20 * MS, 25 * MS}
    assert list(delays.values()).count(25 * MS) == sut.held_back
    assert about(sut.held_back, 0.25)
    assert sut.overtook > 0


def test_corruption_flips_that_many_bits():
    sut = link(corrupt=0.1)
    send(sut, data=bytes(32))
    weights = [int.from_bytes(data, "big").bit_count() for _, data, _ in arrivals(sut)]
    assert set(weights) == {0, 1}
    assert sum(weights) == sut.corrupted
    assert about(sut.corrupted, 0.1)
    many = link(corrupt=1.0, corrupt_bits=3)
    send(many, 1000, data=bytes(1000))
    weights = [int.from_bytes(data, "big").bit_count() for _, data, _ in arrivals(many)]
    assert set(weights) <= {1, 3}
    assert weights.count(3) > 950


def test_corruption_reaches_every_bit_and_leaves_nothing_alone_as_it_is():
    sut = link(corrupt=1.0)
    send(sut, 2000, data=bytes(2))
    assert len({data for _, data, _ in arrivals(sut)}) == 16
    send(sut, 10, data=b"")
    assert [data for _, data, _ in arrivals(sut)] == [b""] * 10


@pytest.mark.parametrize("rate", [64_000, 1_000_003, 7, 10**15])
def test_the_rate_is_exact_over_any_number_of_datagrams(rate: int):
    sut = link(rate_bits_per_s=rate)
    send(sut, 1000, gap_ns=0, data=bytes(111))
    times = [time for time, _, _ in arrivals(sut)]
    assert times == [index * 111 * 8 * 10**9 // rate for index in range(1, 1001)]


def test_overhead_counts_for_the_rate():
    sut = link(rate_bits_per_s=8_000, overhead_bytes=28)
    send(sut, 1, data=bytes(72))
    assert arrivals(sut)[0][0] == 100 * MS


def test_the_queue_drops_the_tail():
    sut = link(rate_bits_per_s=8_000, queue_bytes=1000)
    fates = send(sut, 20, gap_ns=0, data=bytes(100))
    assert fates == [Fate.ARRIVES] * 10 + [Fate.QUEUE_FULL] * 10
    assert sut.queued_bytes(EPOCH) == 1000
    assert sut.queued_bytes(EPOCH + 100 * MS) == 900
    assert sut.queued_bytes(EPOCH + 100 * MS + 1) == 900  # what is left of a datagram counts, rounded up
    assert sut.queued_bytes(EPOCH + 2000 * MS) == 0
    assert sut.peak_queue_bytes == 1000
    half_gone = EPOCH + 50 * MS
    assert sut.send(bytes(100), 0, half_gone, "a", "b") == Fate.QUEUE_FULL
    assert sut.send(bytes(50), 0, half_gone, "a", "b") == Fate.ARRIVES
    assert sut.dropped_queue == 11


def test_a_new_rate_takes_the_queue_along_and_keeps_the_order():
    sut = link(rate_bits_per_s=8, queue_bytes=limits.SIM_QUEUE_BYTES)
    sut.send(bytes(1000), 0, EPOCH, "a", "b")
    for rate in (10**9, 8_000, 1, 8_000):
        sut.configure(LinkConfig(rate_bits_per_s=rate), EPOCH + MS)
    waiting = sut.queued_bytes(EPOCH + MS)
    assert 990 <= waiting <= 1000
    sut.send(b"later", 0, EPOCH + MS, "a", "b")
    assert [data for _, data, _ in arrivals(sut)] == [bytes(1000), b"later"]
    sut.configure(LinkConfig(), EPOCH + MS)
    assert sut.queued_bytes(EPOCH + MS) == 0


def test_ecn_marks_above_the_threshold_and_only_what_is_capable():
    sut = link(rate_bits_per_s=8_000, queue_bytes=1000, ecn_mark_bytes=300)
    for ecn in (2, 1, 2, 2, 1, 0, 3):
        sut.send(bytes(100), ecn, EPOCH, "a", "b")
    assert [ecn for _, _, ecn in arrivals(sut)] == [2, 1, 2, 3, 3, 0, 3]
    assert sut.marked == 2
    cleared = link(ecn_clear=True)
    cleared.send(b"x", 2, EPOCH, "a", "b")
    assert arrivals(cleared)[0][2] == 0


def test_mtu_and_its_fall():
    sut = link(mtu=1500, overhead_bytes=28)
    sut.change(100 * MS, mtu=1280)
    fates = [sut.send(bytes(size), 0, EPOCH + time * MS, "a", "b")
             for time, size in ((0, 1472), (0, 1473), (99, 1472), (100, 1472), (100, 1252))]  # fmt: skip
    assert fates == [Fate.ARRIVES, Fate.TOO_LARGE, Fate.ARRIVES, Fate.TOO_LARGE, Fate.ARRIVES]
    assert sut.dropped_mtu == 2


def test_blackouts_and_scheduled_partitions():
    sut = link(blackouts=((10 * MS, 20 * MS), (20 * MS, 21 * MS), (50 * MS, 60 * MS)))
    sut.change(70 * MS, down=True)
    sut.change(80 * MS, down=False)
    dark = {index for index, fate in enumerate(send(sut, 100)) if fate == Fate.DOWN}
    assert dark == {*range(10, 21), *range(50, 60), *range(70, 80)}
    assert sut.dropped_down == len(dark)


def test_opens_at():
    sut = link(blackouts=((10 * MS, 20 * MS),))
    sut.change(70 * MS, down=True)
    sut.change(80 * MS, down=False)
    times = [5, 10, 19, 20, 69, 70, 79, 80]
    assert [(sut.opens_at(EPOCH + at * MS) - EPOCH) // MS for at in times] == [5, 20, 20, 20, 69, 80, 80, 80]
    sut.configure(LinkConfig(down=True), EPOCH + 90 * MS)
    assert sut.opens_at(EPOCH + 90 * MS) == -1


def test_changes_come_in_order_of_time_then_of_the_calls():
    sut = link()
    sut.change(20 * MS, delay_ns=3)
    sut.change(10 * MS, delay_ns=1)
    sut.change(20 * MS, delay_ns=4)
    send(sut, 30)
    delays = [time % MS for time, _, _ in arrivals(sut)]
    assert delays == [0] * 10 + [1] * 10 + [4] * 10
    with pytest.raises(ValueError, match="loss"):
        sut.change(0, loss=2.0)
    with pytest.raises(TypeError):
        sut.change(0, no_such_field=1)


def test_impairments_draw_from_streams_of_their_own():
    plain = send(link(loss=0.1))
    assert plain == send(link(loss=0.1, jitter_ns=5, duplicate=0.5, reorder=0.5, reorder_ns=1, corrupt=0.5))
    assert plain != send(link(loss=0.1, seed=8))
    assert plain != send(link(loss=0.1, name=("b", "a")))


def test_the_account_is_complete():
    sut = link(loss=0.1, burst=BURST, duplicate=0.1, corrupt=0.1, rate_bits_per_s=80_000, queue_bytes=700, mtu=90,
               blackouts=((MS, 9 * MS),))  # fmt: skip
    for index in range(5000):
        sut.send(bytes(index % 100), 0, EPOCH + index * MS, "a", "b")
    counts = sut.statistics()
    assert tuple(counts) == COUNTERS
    dropped = sum(counts[name] for name in ("dropped_down", "dropped_mtu", "dropped_queue", "lost", "lost_burst"))
    assert all(counts[name] for name in ("dropped_down", "dropped_mtu", "dropped_queue", "lost", "lost_burst"))
    assert counts["sent"] + counts["duplicated"] == dropped + len(sut.flight)
    assert counts["sent_bytes"] == sum(index % 100 for index in range(5000))


def test_limits_of_what_is_in_the_air():
    assert Flight().events_max == limits.SIM_EVENTS_MAX
    assert Flight().bytes_max == limits.SIM_FLIGHT_BYTES
    flight = Flight(events_max=3, bytes_max=10)
    for _ in range(2):
        flight.push(1, None, b"12345", 0, "a", "b")
    with pytest.raises(SimulationLimit, match="SIM_FLIGHT_BYTES = 10 reached"):
        flight.push(1, None, b"1", 0, "a", "b")
    flight = Flight(events_max=1, bytes_max=10)
    flight.act(1, print)
    for full in (lambda: flight.push(1, None, b"", 0, "a", "b"), lambda: flight.act(1, print)):
        with pytest.raises(SimulationLimit, match="SIM_EVENTS_MAX = 1 reached"):
            full()


def test_limit_of_scheduled_changes():
    sut = link()
    for _ in range(limits.SIM_CHANGES_MAX):
        sut.change(MS, delay_ns=1)
    with pytest.raises(SimulationLimit, match="SIM_CHANGES_MAX"):
        sut.change(MS, delay_ns=1)


def test_entries_come_in_order_of_time_and_then_of_number(rng):
    """Who arrives behind all others stands in a line or the other, the rest in a heap; together they are in order."""
    flight = Flight()
    expected, found, now = [], [], 0
    for number in range(1, 5000):
        time = now + (10 if rng.random() < 0.7 else rng.randrange(40))
        if rng.random() < 0.1:
            flight.act(time, print)
        else:
            flight.push(time, None, b"data", 0, "a", "b")
        expected.append((time, number))
        if rng.random() < 0.5:
            now += rng.randrange(8)
            assert flight.next_time() == min(set(expected) - set(found))[0]
            while (entry := flight.pop(now)) is not None:
                found.append((entry.time, entry.number))
        if number % 500 == 0:
            expected, found = sorted(set(expected) - set(found)), []
            assert len(flight) == len(expected)
    rest = []
    while (entry := flight.pop(1 << 62)) is not None:
        rest.append((entry.time, entry.number))
    assert rest == sorted(set(expected) - set(found))
    assert (len(flight), flight.bytes, flight.next_time()) == (0, 0, -1)
