"""How long a connection waits before it comes back, and what its states tell."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from transport import limits
from transport.errors import LocalProtocolError
from transport.reconnect import Backoff, Change, State, States


def test_delays_grow_up_to_a_maximum() -> None:
    backoff = Backoff(initial=0.5, maximum=5, factor=2, jitter=0)
    assert [backoff.delay(attempt) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 5, 5, 5]
    assert backoff.delay(10**6) == 5
    assert Backoff(initial=0, jitter=0).delay(100) == 0
    assert Backoff(factor=1, jitter=0).delay(10**6) == 0.1


def test_jitter_takes_away_up_to_its_share(rng: random.Random) -> None:
    backoff = Backoff(initial=1, maximum=1, jitter=0.25, random=rng.random)
    delays = [backoff.delay(1) for _ in range(1000)]
    assert 0.75 < min(delays) < 0.8
    assert 0.95 < max(delays) <= 1
    assert Backoff(initial=1, jitter=1, random=lambda: 0.75).delay(1) == 0.25


@pytest.mark.parametrize(
    "options",
    [
        {"initial": -1}, {"initial": 31}, {"maximum": limits.BACKOFF_S_MAX + 1}, {"initial": float("nan")},
        {"factor": 0.5}, {"factor": float("inf")}, {"jitter": -0.1}, {"jitter": 1.1}, {"attempts": 0}, {"wait": -1},
        {"wait": float("nan")},
    ],
)  # fmt: skip
def test_a_senseless_backoff_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        Backoff(**options)


def test_a_backoff_is_a_value() -> None:
    assert Backoff() == Backoff()
    assert Backoff(initial=0.2) != Backoff()
    with pytest.raises(AttributeError):
        Backoff().initial = 1  # type: ignore[misc]


@pytest.mark.asyncio
async def test_a_reader_of_states_that_is_late_misses_the_oldest() -> None:
    states = States(asyncio.get_running_loop(), False)
    for number in range(limits.RECONNECT_STATES_MAX + 5):
        states.add(Change(State.CONNECTED, number))
    states.add(Change(State.CLOSED, 0))
    assert states.missed == 6
    seen = [change async for change in states]
    assert len(seen) == limits.RECONNECT_STATES_MAX
    assert seen[0].reconnects == 6
    assert seen[-1].state is State.CLOSED


@pytest.mark.asyncio
async def test_states_have_one_reader() -> None:
    states = States(asyncio.get_running_loop(), False)
    task = asyncio.ensure_future(anext(states))
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="another task"):
        await anext(states)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    states.add(Change(State.LOST, 3))
    assert (await anext(states)).reconnects == 3
    assert [change async for change in States(asyncio.get_running_loop(), True)] == []
