"""The token bucket: bursts, rates and times, exact to the byte."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.rudp.pacer import Pacer

MS = 1_000_000
SECOND = 1_000_000_000
UNLIMITED = 2**62
MOST = limits.RUDP_PACER_BYTES_MAX


def test_full_at_first_and_never_over_a_burst() -> None:
    pacer = Pacer()
    assert pacer.room(0, 1_000_000, 12_000) == 12_000
    assert pacer.room(3600 * SECOND, 1_000_000, 12_000) == 12_000
    pacer.spend(12_000)
    assert pacer.room(3600 * SECOND, 1_000_000, 12_000) == 0
    assert pacer.room(7200 * SECOND, 1_000_000, 12_000) == 12_000


def test_fills_at_the_rate() -> None:
    pacer = Pacer()
    pacer.room(0, 1_000_000, 12_000)
    pacer.spend(12_000)
    assert pacer.room(1 * MS, 1_000_000, 12_000) == 1000
    assert pacer.room(1 * MS + 999, 1_000_000, 12_000) == 1000
    assert pacer.room(1 * MS + 1000, 1_000_000, 12_000) == 1001
    assert pacer.room(2 * MS, 1_000_000, 12_000) == 2000
    assert pacer.room(2 * MS, 1_000_000, 1500) == 1500  # a smaller burst holds at once


def test_no_rate_is_no_pacing() -> None:
    pacer = Pacer()
    assert pacer.room(5, 0, 12_000) == UNLIMITED
    pacer.spend(100_000)
    assert pacer.when(6, 0, 1200) == 6
    assert pacer.room(7, 0, 12_000) == UNLIMITED
    pacer.spend(5_000)
    assert pacer.room(8, 1000, 12_000) == 12_000  # pacing begins with a full bucket
    assert pacer.room(9, 0, 12_000) == UNLIMITED
    assert pacer.when(10, 1000, 1200) == 10


def test_a_debt_is_paid() -> None:
    """What passes without room is made good before anything else goes."""
    pacer = Pacer()
    pacer.room(0, 1_000_000, 2000)
    pacer.spend(5000)
    assert pacer.room(2 * MS, 1_000_000, 2000) == 0
    assert pacer.room(4 * MS, 1_000_000, 2000) == 1000
    assert pacer.when(4 * MS, 1_000_000, 1500) == 4 * MS + MS // 2


def test_when_is_the_first_moment_with_room(rng: random.Random) -> None:
    for _ in range(500):
        rate = rng.randrange(1, 10 ** rng.randrange(2, 13))
        burst = rng.randrange(1, 200_000)
        size = rng.randrange(1, 2 * burst)
        wanted = min(size, burst)
        pacer, twin = Pacer(), Pacer()
        now = rng.randrange(10**15)
        spent = burst + rng.randrange(burst)
        for each in (pacer, twin):
            each.room(now, rate, burst)
            each.spend(spent)
        at = pacer.when(now, rate, size)
        assert at > now
        assert twin.room(at - 1, rate, burst) < wanted
        assert pacer.room(at, rate, burst) >= wanted
        assert pacer.when(at, rate, size) == at, "asked again at once: a timer would spin"


def test_the_average_is_the_rate(rng: random.Random) -> None:
    """Sends of random sizes as soon as there is room: the rate to within a burst, whatever the rate."""
    for rate in (999, 12_345, 1_000_003, 125_000_000, 40_000_000_007):
        pacer = Pacer()
        burst = 15_000
        now, sent = 0, 0
        for _ in range(2000):
            size = rng.randrange(1, 3000)
            now = pacer.when(now, rate, size)
            assert pacer.room(now, rate, burst) >= size
            pacer.spend(size)
            sent += size
            assert sent <= burst + rate * now // SECOND + 1
        assert sent >= rate * now // SECOND - burst


@pytest.mark.parametrize("late_ms", [(0, 0), (1, 4), (4, 4), (8, 8)])
@pytest.mark.parametrize("rate", [125_000, 6_250_000, 125_000_000])
def test_timers_that_are_late_keep_the_rate(rate: int, late_ms: tuple[int, int], rng: random.Random) -> None:
    """Who asks for the time and comes later has the rate all the same, and never more than a burst ahead of it."""
    pacer = Pacer()
    burst = max(12_000, min(rate // 1000, 65_536))
    now, sent = 0, 0
    for _ in range(3000):
        room = pacer.room(now, rate, burst)
        while room >= 1200:
            pacer.spend(1200)
            room -= 1200
            sent += 1200
        assert sent <= burst + rate * now // SECOND
        now = pacer.when(now, rate, max(1200, rate // 1000))
        now += rng.randrange(late_ms[0] * MS, late_ms[1] * MS + 1)
    assert sent >= 0.995 * rate * now / SECOND - burst


def test_lateness_is_made_up_for_within_a_bound() -> None:
    pacer = Pacer()
    pacer.room(0, 1_000_000, 2000)
    pacer.spend(2000)
    due = pacer.when(0, 1_000_000, 1000)
    assert due == 1 * MS
    late = limits.RUDP_PACER_LATE_NS
    assert pacer.room(due + SECOND, 1_000_000, 2000) == 2000 + 1000 * late // MS
    pacer.spend(1000)  # a train has gone, and there is room for another at the same instant
    assert pacer.room(due + SECOND, 1_000_000, 2000) == 1000 + 1000 * late // MS
    assert pacer.room(due + SECOND + 1, 1_000_000, 2000) == 2000  # what was not used then is lost


def test_nobody_waited_for_what_comes_after_a_pause() -> None:
    pacer = Pacer()
    pacer.room(0, 1_000_000, 2000)
    pacer.spend(2000)
    due = pacer.when(0, 1_000_000, 1000)
    assert pacer.room(due, 1_000_000, 2000) == 1000  # in time: there is no other time that somebody waits for
    assert pacer.room(due + SECOND, 1_000_000, 2000) == 2000


def test_time_that_stands_still_or_goes_back() -> None:
    pacer = Pacer()
    pacer.room(100, 10**9, 2000)
    pacer.spend(2000)
    assert pacer.room(100, 10**9, 2000) == 0
    assert pacer.room(50, 10**9, 2000) == 0
    assert pacer.when(50, 10**9, 10) == 110
    assert pacer.room(110, 10**9, 2000) == 10


def test_the_largest_numbers_fit() -> None:
    for rate in (1, 2**59, 2**62):
        pacer = Pacer()
        assert pacer.room(2**61, rate, 2**62) == MOST
        pacer.spend(2**62)
        pacer.spend(2**62)
        pacer.spend(2**62)
        late = pacer.when(2**61, rate, 2**62)
        assert late >= 2**61
        assert 0 <= pacer.room(2**61 + 1, 2**62, 2**62) <= MOST + MOST * limits.RUDP_PACER_LATE_NS // SECOND
        assert pacer.room(2**62, 2**62, 2**62) == MOST


def test_a_debt_is_bounded() -> None:
    pacer = Pacer()
    pacer.room(0, MOST, 1000)
    for _ in range(10):
        pacer.spend(2**40)
    assert pacer.when(0, MOST, 1) == SECOND + 1
