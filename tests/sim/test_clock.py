"""Virtual time is whole, monotonic, and seen askew where that is asked for."""

from __future__ import annotations

import random

import pytest

from transport.sim.clock import START_NS, SimClock, SkewedClock
from transport.sim.errors import SimulationError


def test_it_moves_only_when_told():
    clock = SimClock()
    assert clock.time_ns() == clock.now_ns == clock.start_ns == START_NS > 0
    clock.advance_to(START_NS + 5)
    clock.advance_to(START_NS + 5)
    assert clock.time_ns() == START_NS + 5
    with pytest.raises(SimulationError, match="go back"):
        clock.advance_to(START_NS + 4)


@pytest.mark.parametrize("ppm", [-500_000, -100, -1, 0, 1, 100, 1_000_000])
def test_world_is_the_first_instant_at_which_the_local_clock_is_there(ppm: int, rng: random.Random):
    clock = SimClock()
    skewed = SkewedClock(clock, offset_ns=12_345, ppm=ppm)
    for _ in range(200):
        local = START_NS + rng.randrange(-(10**8), 10**13)
        world = skewed.world(local)
        assert skewed.local(world) >= local > skewed.local(world - 1)


def test_skew_adds_up():
    clock = SimClock()
    skewed = SkewedClock(clock, offset_ns=-7, ppm=100)
    clock.advance_to(START_NS + 10**9)
    assert skewed.time_ns() == START_NS - 7 + 10**9 + 100_000


@pytest.mark.parametrize("arguments", [(0, 1_000_001), (0, -500_001), (-START_NS - 1, 0)])
def test_refused(arguments: tuple[int, int]):
    with pytest.raises(ValueError):
        SkewedClock(SimClock(), *arguments)
