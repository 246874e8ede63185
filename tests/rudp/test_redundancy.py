"""When copies are allowed: gate, guard, ramp and budget, and all of them together on links that are simulated."""

from __future__ import annotations

import heapq
import random

import pytest

from transport import limits
from transport.rudp.redundancy import RIDES, Redundancy, fade, is_due
from transport.rudp.rtt import RttEstimator

MS = limits.MS_NS
SECOND = limits.SECOND_NS
SAMPLES = limits.RUDP_GUARD_SAMPLES
RTT = 50 * MS
START = limits.RUDP_COPIES_START_NS
HOLD = limits.RUDP_COPIES_HOLD_NS


@pytest.mark.parametrize(
    ("rides", "distances"),
    [(0, []), (1, [1]), (2, [1, 2]), (3, list(RIDES)), (4, [1, 2, 3, 5]), (5, [1, 2, 3, 4, 5]), (8, list(range(1, 9)))],
)
def test_in_which_packets_a_message_rides(rides: int, distances: list[int]) -> None:
    assert [distance for distance in range(-2, 20) if is_due(distance, rides)] == distances


@pytest.mark.parametrize("packets", [0, 1, 31, 32, 33, 1000, 10_000, limits.RUDP_RING_MAX])
def test_the_average_fades_as_told_one_by_one(packets: int) -> None:
    one = 1 << 30
    wanted = one * (1023 / 1024) ** packets
    assert abs(fade(one, packets) - wanted) <= max(0.001 * wanted, 1024)


def test_the_constant_of_32_packets_at_once() -> None:
    assert fade(1 << 30, 32) == ((1023**32 << 32) // 1024**32) >> 2


class Connection:
    """A `Redundancy` and time for it."""

    def __init__(self) -> None:
        self.now = 5 * SECOND
        self.copies = Redundancy(True)
        assert self.rides() == 3

    def rides(self) -> int:
        return self.copies.rides(self.now)

    def window(self, queue: int = 0, growth: int = 0, samples: int = SAMPLES) -> int:
        """One guard window of samples, 20 ms apart, none of which is too old to count."""
        self.now += RTT + queue + growth * samples
        for i in range(samples):
            self.copies.on_rtt(RTT + queue + i * growth, RTT, MS, 20 * MS, self.now)
            self.now += 20 * MS
        return self.rides()


def test_on_for_the_first_ten_seconds_from_the_first_message() -> None:
    copies = Redundancy(True)
    assert copies.is_wanted(10**15), "nothing was asked yet"
    assert copies.rides(3 * SECOND) == 3
    assert copies.rides(3 * SECOND + START - 1) == 3
    assert copies.rides(3 * SECOND + START) == 0
    assert not copies.is_wanted(3 * SECOND + START)


def test_turned_off_it_never_rides() -> None:
    copies = Redundancy(False)
    assert copies.rides(0) == 0
    copies.on_packets(0, 1000, 1)
    assert copies.rides(2) == 0


def test_one_loss_is_not_enough_two_are_and_hold_for_thirty_seconds() -> None:
    connection = Connection()
    copies = connection.copies
    now = connection.now + START
    copies.on_packets(0, 1, now)
    assert copies.loss_ppm() == 976
    assert not copies.is_wanted(now)
    copies.on_packets(100, 1, now)
    copies.on_packets(65_536, 0, now)
    assert copies.loss_ppm() == 0
    assert copies.is_wanted(now + HOLD - 1)
    assert not copies.is_wanted(now + HOLD)


def test_on_as_long_as_the_average_is_high() -> None:
    """A stream so sparse that 30 s pass without a packet."""
    copies = Redundancy(True)
    copies.rides(0)
    copies.on_packets(0, 2, START)
    assert copies.is_wanted(START + 10 * HOLD)
    copies.on_packets(2000, 0, START + 10 * HOLD)
    assert not copies.is_wanted(START + 10 * HOLD)


@pytest.mark.parametrize(("per_mille", "least", "most"), [(0.02, 0.0, 0.3), (1, 0.8, 1.0), (2, 0.97, 1.0)])
def test_how_much_of_the_time_a_loss_rate_turns_it_on(
    rng: random.Random, per_mille: float, least: float, most: float
) -> None:
    """A packet each 10 ms. The calibration had 92 % at 0.1 % of loss and 99 % at 0.2 %."""
    copies = Redundancy(True)
    copies.rides(0)
    on, now = 0, START
    for _ in range(300_000):
        now += 10 * MS
        lost = rng.random() < per_mille / 1000
        copies.on_packets(not lost, lost, now)
        on += copies.is_wanted(now)
    assert least <= on / 300_000 <= most


def test_more_packets_at_once_than_there_can_be() -> None:
    copies = Redundancy(True)
    copies.on_packets(0, 2**40, 0)
    assert 990_000 < copies.loss_ppm() <= 1_000_000
    copies.on_packets(2**40, 0, 0)
    assert copies.loss_ppm() == 0


def test_a_queue_turns_copies_off_and_then_twice_as_long() -> None:
    connection = Connection()
    wanted = limits.RUDP_GUARD_OFF_MIN_NS
    connection.copies.on_packets(0, 1000, connection.now)
    for trip in range(10):
        connection.copies.on_packets(0, 100, connection.now)
        while connection.rides() == 0:
            connection.window()
        assert connection.window(queue=23 * MS) == 0
        assert connection.copies.trips == trip + 1
        began = connection.now - 20 * MS
        assert connection.copies.off_until == began + wanted
        connection.now = connection.copies.off_until
        assert connection.rides() == 0, "the ramp starts from the bottom"
        wanted = min(2 * wanted, limits.RUDP_GUARD_OFF_MAX_NS)
    assert wanted == limits.RUDP_GUARD_OFF_MAX_NS


def test_a_minute_of_all_rides_makes_the_next_time_short_again() -> None:
    connection = Connection()
    for _ in range(3):
        connection.copies.on_packets(0, 100, connection.now)
        while connection.rides() == 0:
            connection.window()
        connection.window(queue=30 * MS)
    connection.now = connection.copies.off_until
    end = connection.now + 70 * SECOND
    while connection.now < end:
        connection.copies.on_packets(0, 100, connection.now)
        connection.window()
    connection.window(queue=30 * MS)
    assert connection.copies.off_until == connection.now - 20 * MS + limits.RUDP_GUARD_OFF_MIN_NS


@pytest.mark.parametrize(("queue", "is_on"), [(22, True), (23, False)])
def test_the_line_of_the_guard(queue: int, is_on: bool) -> None:
    """The interval of 20 ms and twice the deviation of 1 ms are allowed."""
    connection = Connection()
    assert (connection.window(queue=queue * MS) == 3) == is_on


def test_one_quick_sample_in_a_window_clears_it() -> None:
    connection = Connection()
    connection.window(queue=40 * MS, samples=SAMPLES - 1)
    assert connection.window(samples=1) == 3


def test_one_ride_more_each_guard_window() -> None:
    connection = Connection()
    connection.copies.start_low()
    seen = [connection.rides()]
    for _ in range(4):
        assert connection.window(samples=SAMPLES - 1) == seen[-1]
        seen.append(connection.window(samples=1))
    assert seen == [0, 1, 2, 3, 3]


def test_samples_of_packets_from_before_a_step_do_not_count() -> None:
    connection = Connection()
    connection.copies.start_low()
    assert connection.window() == 1
    for _ in range(1000):
        connection.copies.on_rtt(RTT, RTT, MS, 20 * MS, connection.now - 21 * MS + RTT)
    assert connection.rides() == 1


def test_growth_after_a_step_is_a_trip_and_a_little_of_it_no_step() -> None:
    connection = Connection()
    connection.copies.start_low()
    assert connection.window() == 1
    assert connection.window(growth=MS) == 1, "8 ms in half a window"
    assert connection.window() == 2
    assert connection.window(growth=3 * MS) == 0
    assert connection.copies.trips == 1


def test_a_start_with_all_rides_ends_when_round_trips_shoot_up() -> None:
    connection = Connection()
    connection.window(growth=12 * MS, samples=4)
    assert connection.rides() == 3
    connection.copies.on_rtt(RTT + 48 * MS, RTT, MS, 20 * MS, connection.now)
    assert (connection.rides(), connection.copies.trips) == (0, 1)


def test_a_queue_without_copies_is_not_their_fault() -> None:
    connection = Connection()
    connection.copies.start_low()
    for _ in range(5):
        assert connection.window(queue=100 * MS) == 0
    assert connection.copies.trips == 0
    assert connection.window() == 1


def test_wanted_again_they_start_from_the_bottom() -> None:
    connection = Connection()
    connection.now += START
    assert connection.window() == 0
    connection.copies.on_packets(0, 100, connection.now)
    assert connection.rides() == 0
    assert [connection.window() for _ in range(3)] == [1, 2, 3]


def test_the_budget_is_a_bucket() -> None:
    copies = Redundancy(True)
    assert copies.rides(0) == 3
    burst, rate = limits.RUDP_COPY_BURST_BYTES, limits.RUDP_COPY_BYTES_PER_S
    assert not copies.spend(burst + 1, 0)
    assert copies.spend(burst // 2, 0)
    assert copies.rides(0) == 3
    assert copies.spend(1, 0)
    assert copies.rides(0) == 2, "over the budget: two rides first"
    assert copies.spend(burst // 2 - 1, 0)
    assert not copies.spend(1, 0)
    assert copies.rides(0) == 0, "then none"
    byte = SECOND // rate
    assert not copies.spend(1, byte)
    assert copies.spend(1, byte + 1)
    assert copies.rides(10 * SECOND - 1) == 3
    assert copies.spend(burst, 10 * SECOND - 1)
    assert not copies.spend(1, 5 * SECOND), "time that runs back gives nothing"


@pytest.mark.parametrize("interval", [1, 2, 5, 10])
def test_no_more_bytes_than_the_budget(interval: int) -> None:
    copies = Redundancy(True)
    spent, seen = 0, set()
    for now in range(0, START, interval * MS):
        rides = copies.rides(now)
        seen.add(rides)
        for _ in range(rides):
            spent += 69 * copies.spend(69, now)
    rate = spent / (START / SECOND)
    assert rate <= limits.RUDP_COPY_BYTES_PER_S + limits.RUDP_COPY_BURST_BYTES / 10
    if interval <= 2:
        assert rate > 0.95 * limits.RUDP_COPY_BYTES_PER_S
    assert seen == ({3} if interval >= 5 else {0, 2, 3}), "64 bytes every 5 ms may have all of their rides"


class Link:
    """64 B every 20 ms through a link of some rate, each message in the packets that `Redundancy` allows it."""

    def __init__(self, rng: random.Random, rate: int, jitter: int, loss: float, is_enabled: bool) -> None:
        self.rng = rng
        self.rate = rate  # bit/s
        self.jitter = jitter
        self.loss = loss
        self.copies = Redundancy(is_enabled)
        self.rtt = RttEstimator(100 * MS)
        self.acks: list[tuple[int, int, bool]] = []
        self.came: dict[int, int] = {}

    def run(self, seconds: int, every: int) -> list[int]:
        """How long each message took that came, in order of size."""
        free = last = size_sum = 0
        for number in range(seconds * SECOND // every):
            now = number * every
            self.hear(now)
            carried = self.carried(number, now)
            size = 112 + 69 * (len(carried) - 1)
            size_sum += size
            free = max(free, now) + size * 8 * SECOND // self.rate
            last = max(last, free + RTT // 2 + self.rng.randrange(self.jitter + 1))
            is_lost = self.rng.random() < self.loss
            for message in () if is_lost else carried:
                self.came.setdefault(message, last - message * every)
            back = last + RTT // 2 + self.rng.randrange(self.jitter + 1)
            heapq.heappush(self.acks, (back, now, is_lost))
        self.bytes = size_sum / (112 * seconds * SECOND // every)
        return sorted(self.came.values())

    def carried(self, number: int, now: int) -> list[int]:
        rides = self.copies.rides(now)
        return [number] + [
            number - distance
            for distance in RIDES
            if distance <= number and is_due(distance, rides) and self.copies.spend(69, now)
        ]

    def hear(self, now: int) -> None:
        while self.acks and self.acks[0][0] <= now:
            at, left, is_lost = heapq.heappop(self.acks)
            self.copies.on_packets(not is_lost, is_lost, at)
            if not is_lost:
                self.rtt.update(at - left, 0)
                self.copies.on_rtt(at - left, self.rtt.minimum, self.rtt.variance, 20 * MS, at)


@pytest.mark.parametrize("loss", [0, 0.02])
@pytest.mark.parametrize("rate", [64_000, 96_000])
def test_copies_do_not_fill_a_narrow_link(rng: random.Random, rate: int, loss: float) -> None:
    """Without the guard the median alone would be seconds."""
    plain = Link(rng, rate, 0, loss, False).run(120, 20 * MS)
    link = Link(rng, rate, 0, loss, True)
    times = link.run(120, 20 * MS)
    assert link.copies.trips > 0
    assert times[len(times) // 2] - plain[len(plain) // 2] <= MS
    assert times[len(times) * 99 // 100] - plain[len(plain) * 99 // 100] <= 100 * MS
    assert times[-1] - plain[-1] <= 250 * MS, "a start with all rides ends soon"


@pytest.mark.parametrize(("rate", "jitter"), [(256_000, 0), (10_000_000, 31 * MS)])
def test_where_there_is_room_they_stay_on_and_save_what_was_lost(rng: random.Random, rate: int, jitter: int) -> None:
    link = Link(rng, rate, jitter, 0.05, True)
    times = link.run(60, 20 * MS)
    assert link.bytes > 2.3
    assert len(times) >= 0.995 * 60 * 50
    assert link.copies.trips <= 2
