"""Samples of the round trip, against RFC 9002 section 5 in exact numbers."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.rudp.rtt import RttEstimator

MS = limits.MS_NS


def test_what_is_assumed_before_the_first_sample() -> None:
    rtt = RttEstimator(100 * MS)
    assert (rtt.latest, rtt.minimum, rtt.samples) == (0, 0, 0)
    assert (rtt.smoothed, rtt.variance) == (100 * MS, 50 * MS)
    assert rtt.probe_timeout(0) == 300 * MS
    assert rtt.probe_timeout(5 * MS) == 305 * MS


def test_the_first_sample_replaces_it_and_ignores_the_ack_delay() -> None:
    rtt = RttEstimator(100 * MS)
    rtt.update(20 * MS, 5 * MS)
    assert (rtt.latest, rtt.smoothed, rtt.variance, rtt.minimum, rtt.samples) == (20 * MS, 20 * MS, 10 * MS, 20 * MS, 1)
    assert rtt.probe_timeout(5 * MS) == 65 * MS


def test_later_samples() -> None:
    rtt = RttEstimator(100 * MS)
    rtt.update(20 * MS, 0)
    rtt.update(36 * MS, 8 * MS)  # 28 are left, 8 from the average
    assert (rtt.latest, rtt.minimum) == (36 * MS, 20 * MS)
    assert (rtt.variance, rtt.smoothed) == (9_500_000, 21 * MS)
    rtt.update(16 * MS, 0)
    assert rtt.minimum == 16 * MS


@pytest.mark.parametrize(("delay", "believed"), [(0, 0), (4, 4), (5, 0), (1000, 0), (-3, 0)])
def test_an_ack_delay_is_believed_while_plausible(delay: int, believed: int) -> None:
    """Section 5.3: taking it off must leave the minimum at least."""
    rtt, other = RttEstimator(100 * MS), RttEstimator(100 * MS)
    for each in (rtt, other):
        each.update(20 * MS, 0)
    rtt.update(24 * MS, delay * MS)
    other.update((24 - believed) * MS, 0)
    assert (rtt.smoothed, rtt.variance) == (other.smoothed, other.variance)
    assert rtt.latest == 24 * MS


def test_a_still_path_has_the_granularity_left() -> None:
    rtt = RttEstimator(100 * MS)
    for _ in range(200):
        rtt.update(20 * MS, 0)
    assert (rtt.smoothed, rtt.variance) == (20 * MS, 0)
    assert rtt.probe_timeout(0) == 21 * MS


@pytest.mark.parametrize(
    ("sample", "taken"), [(0, 1), (-5, 1), (limits.RUDP_RTT_MAX_NS + 1, limits.RUDP_RTT_MAX_NS), (2**62, 60 * 10**9)]
)
def test_samples_are_bounded(sample: int, taken: int) -> None:
    rtt = RttEstimator(100 * MS)
    rtt.update(sample, 0)
    assert (rtt.latest, rtt.minimum, rtt.smoothed) == (taken, taken, taken)


def test_a_new_path_starts_afresh() -> None:
    rtt = RttEstimator(100 * MS)
    rtt.update(20 * MS, 0)
    rtt.reset(50 * MS)
    assert (rtt.latest, rtt.smoothed, rtt.variance, rtt.minimum, rtt.samples) == (0, 50 * MS, 25 * MS, 0, 0)
    rtt.update(30 * MS, 0)
    rtt.forget_minimum()
    assert rtt.minimum == 0
    rtt.update(40 * MS, 0)
    assert rtt.minimum == 40 * MS


def test_estimates_stay_between_the_samples(rng: random.Random) -> None:
    rtt = RttEstimator(100 * MS)
    low, high = 2**62, 0
    for _ in range(2000):
        sample = rng.randrange(1, 400 * MS)
        low, high = min(low, sample), max(high, sample)
        rtt.update(sample, rng.randrange(30 * MS))
        assert rtt.minimum == low
        assert low - 2000 <= rtt.smoothed <= high  # each step rounds down by less than 1 ns
        assert 0 <= rtt.variance <= high
