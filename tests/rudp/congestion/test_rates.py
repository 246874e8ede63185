"""Samples of the delivery rate, by hand."""

from __future__ import annotations

import random

from transport import limits
from transport.rudp.congestion.rates import Mark, RateSampler, rate_of

MS = 1_000_000
SECOND = 1_000_000_000
SIZE = 1000


class Sender:
    """Packets of one size, and their marks."""

    def __init__(self) -> None:
        self.samples = RateSampler()
        self.marks: list[Mark] = []
        self.times: list[int] = []
        self.in_flight = 0

    def send(self, now: int) -> int:
        self.in_flight += SIZE
        self.marks.append(self.samples.on_sent(None, SIZE, self.in_flight, now))
        self.times.append(now)
        return len(self.marks) - 1

    def ack(self, now: int, *numbers: int, min_rtt: int = 0) -> RateSampler:
        self.samples.begin()
        for number in numbers:
            self.samples.on_acked(self.marks[number], number, SIZE, self.times[number], now)
            self.in_flight -= SIZE
        self.samples.finish(min_rtt)
        return self.samples


def test_a_lone_packet_is_delivered_in_its_round_trip() -> None:
    sender = Sender()
    sender.send(5 * MS)
    found = sender.ack(55 * MS, 0)
    assert (found.rate, found.volume, found.acked) == (SIZE * 20, SIZE, SIZE)
    assert (found.prior_delivered, found.delivered, found.in_flight, found.sent_at) == (0, SIZE, SIZE, 5 * MS)
    assert not found.is_app_limited


def test_the_rate_is_that_of_a_round_trip_not_that_of_an_ack() -> None:
    sender = Sender()
    for number in range(10):
        sender.send(number * MS)
    for number in range(10):
        sender.ack((50 + number) * MS, number)
        sender.send((50 + number) * MS)
    found = sender.ack(100 * MS, 10)
    assert found.volume == 10 * SIZE  # what was delivered between its sending, behind the first, and its ack
    assert found.rate == 10 * SIZE * 20


def test_acks_that_come_together_make_no_path_faster() -> None:
    """A flight that took 90 ms to send is acknowledged within 1 ms."""
    sender = Sender()
    for number in range(10):
        sender.send(number * 10 * MS)
    found = sender.ack(100 * MS, 0)
    for number in range(1, 10):
        found = sender.ack(101 * MS, number)
    assert found.volume == 10 * SIZE
    assert found.rate == rate_of(10 * SIZE, 101 * MS)
    for number in range(10):
        sender.send((101 + 10 * number) * MS)
    for number in range(10, 20):
        found = sender.ack(200 * MS, number)
    assert found.rate <= rate_of(10 * SIZE, 90 * MS)


def test_one_ack_for_many_counts_from_the_newest() -> None:
    sender = Sender()
    for number in range(4):
        sender.send(number * MS)
    found = sender.ack(50 * MS, 3, 2, 1)
    assert (found.sent_at, found.acked, found.in_flight) == (3 * MS, 3 * SIZE, 4 * SIZE)
    again = sender.ack(51 * MS, 0)
    assert again.sent_at == 0
    assert again.volume == 4 * SIZE


def test_an_ack_of_nothing_new_is_no_sample() -> None:
    sender = Sender()
    sender.send(0)
    sender.ack(50 * MS, 0)
    found = sender.ack(60 * MS)
    assert (found.has_data, found.rate, found.acked) == (False, 0, 0)


def test_faster_than_the_least_round_trip_is_no_sample() -> None:
    sender = Sender()
    sender.send(0)
    found = sender.ack(40 * MS, 0, min_rtt=41 * MS)
    assert (found.has_data, found.rate, found.volume) == (True, 0, SIZE)


def test_after_a_silence_the_rate_counts_from_its_end() -> None:
    sender = Sender()
    sender.send(0)
    sender.ack(50 * MS, 0)
    sender.send(10 * SECOND)
    assert sender.ack(10 * SECOND + 50 * MS, 1).rate == SIZE * 20


def test_what_follows_a_gap_is_marked_until_the_gap_is_over() -> None:
    sender = Sender()
    sender.send(0)
    sender.samples.on_dry(sender.in_flight)
    sender.send(10 * MS)
    assert not sender.ack(50 * MS, 0).is_app_limited
    sender.send(50 * MS)
    found = sender.ack(60 * MS, 1)
    assert found.is_app_limited
    assert not found.app_limited  # more is delivered than was sent before the gap
    sender.send(60 * MS)
    assert sender.ack(100 * MS, 2).is_app_limited
    assert not sender.ack(110 * MS, 3).is_app_limited


def test_what_was_lost_on_the_way_counts() -> None:
    sender = Sender()
    for _ in range(3):
        sender.send(0)
    sender.samples.lost += SIZE
    late = sender.send(MS)
    sender.samples.lost += 2 * SIZE
    assert sender.ack(50 * MS, 0).lost_since == 3 * SIZE
    assert sender.ack(51 * MS, late).lost_since == 2 * SIZE


def test_a_mark_is_used_again() -> None:
    samples = RateSampler()
    mark = samples.on_sent(None, SIZE, SIZE, 5)
    assert samples.on_sent(mark, SIZE, 2 * SIZE, 6) is mark
    assert mark.in_flight == 2 * SIZE


def test_rates_fit() -> None:
    assert rate_of(1, SECOND) == 1
    assert rate_of(3, 2 * SECOND) == 1
    assert rate_of(2**62, 1) == rate_of(2**32, 1) == limits.RUDP_RATE_MAX
    assert rate_of(2**33, SECOND) == 2**32  # of so much only whole seconds count
    assert rate_of(2**33 - 1, SECOND) == 2**33 - 1


def test_the_rate_never_exceeds_the_bottleneck(rng: random.Random) -> None:
    """Packets at random times through a bottleneck, acknowledged in batches: no sample is higher than it."""
    sender = Sender()
    every = 2 * MS  # of the bottleneck, a packet
    now = free_at = 0
    acks: list[tuple[int, int]] = []
    best = 0
    for _ in range(3000):
        if acks and (rng.random() < 0.5 or len(acks) > 60):
            now = max(now, acks[0][0])
            came = [number for at, number in acks if at <= now]
            acks = acks[len(came) :]
            if came:
                best = max(best, sender.ack(now, *came, min_rtt=20 * MS).rate)
        else:
            now += rng.randrange(MS)
            number = sender.send(now)
            free_at = max(free_at, now) + every
            arrival = free_at + 20 * MS
            acks.append((max(arrival, acks[-1][0] if acks else 0), number))
    assert 0.9 * SIZE * SECOND / every < best <= 1.1 * SIZE * SECOND / every
