"""Burst loss moves with the clock alone."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from transport.sim.burst import MEMORY, BurstProcess, exponential
from transport.sim.config import BurstLoss
from transport.sim.seeds import stream

MS = 1_000_000
CONFIG = BurstLoss(good_ns=90 * MS, bad_ns=10 * MS, loss_bad=1.0)


def process(seed: int = 7, config: BurstLoss = CONFIG, time: int = 0) -> BurstProcess:
    return BurstProcess(config, stream(seed, "state").random, time)


def test_the_exponential_distribution():
    draw = stream(7, "exponential").random
    values = [exponential(draw) for _ in range(40_000)]
    assert sum(values) / len(values) == pytest.approx(1.0, abs=4.5 / math.sqrt(len(values)))
    for bound in (0.1, 0.5, 1.0, 2.0, 4.0):
        share = sum(value > bound for value in values) / len(values)
        expected = math.exp(-bound)
        assert abs(share - expected) < 4.5 * math.sqrt(expected * (1 - expected) / len(values))


def states(step_ns: int, until_ns: int) -> dict[int, float]:
    burst = process()
    return {time: burst.loss(time) for time in range(0, until_ns, step_ns)}


def test_the_rate_of_packets_changes_nothing():
    often = states(MS // 10, 20_000 * MS)
    seldom = states(10 * MS, 20_000 * MS)
    assert seldom == {time: often[time] for time in seldom}
    assert 0 < sum(seldom.values()) < len(seldom)


def test_the_share_and_the_length_of_bad_times():
    losses = list(states(MS // 2, 2_000_000 * MS).values())
    bad = sum(losses)
    starts = sum(after > before for before, after in pairwise(losses))
    # 20,000 cycles of mean 100 ms: the share of bad time has a deviation of about 0.1 * 0.9 * sqrt(2 / 20000)
    assert bad / len(losses) == pytest.approx(0.1, abs=4.5 * 0.09 * math.sqrt(2 / 20_000))
    assert bad / 2 / starts == pytest.approx(10.0, rel=0.06)  # mean length in ms; the grid misses the shortest


def test_a_long_silence_is_passed_in_one_step_and_forgets_the_state():
    year = 365 * 86_400 * 1000 * MS
    count = 2000
    bad = 0
    for seed in range(count):
        burst = process(seed)
        burst.loss(0)
        bad += burst.loss(year) == 1.0
    assert abs(bad / count - 0.1) < 4.5 * math.sqrt(0.1 * 0.9 / count)


def test_a_silence_just_under_the_memory_is_walked():
    near = MEMORY * 100 * MS - MS
    walked, stepped = process(), process()
    for time in range(0, near, MS):
        walked.loss(time)
    assert stepped.loss(near) == walked.loss(near)


def test_the_state_at_the_start_is_that_of_the_long_run():
    count = 4000
    bad = sum(process(seed).loss(0) == 1.0 for seed in range(count))
    assert abs(bad / count - 0.1) < 4.5 * math.sqrt(0.1 * 0.9 / count)


def test_a_burst_of_a_nanosecond_ends():
    burst = process(config=BurstLoss(good_ns=1, bad_ns=1, loss_bad=0.5, loss_good=0.25))
    assert {burst.loss(time) for time in range(200)} == {0.5, 0.25}
