"""Plans of open loops: the same for both ends, at the rate asked for, bounded."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bench.cases import CONSTANT, POISSON, Case, open_loop
from bench.link.model import Link
from bench.schedule import MESSAGES_MAX, TAIL_MESSAGES, make_schedule


@pytest.mark.parametrize("arrival", [CONSTANT, POISSON])
def test_both_ends_make_the_same_plan(arrival: str) -> None:
    case = open_loop(64, 100, 7, arrival=arrival, link=Link(delay_ms=10, loss=0.1))
    again = Case.from_dict(case.as_dict())
    assert again == case
    one, other = make_schedule(case, 2, 0.5, 3), make_schedule(again, 2, 0.5, 3)
    assert one == other
    assert make_schedule(case, 2, 0.5, 4).due != one.due


def test_a_constant_plan_has_a_period_and_phases() -> None:
    plan = make_schedule(open_loop(64, 50, 4), 2, 1, 1)
    assert list(plan.due) == sorted(plan.due)
    phases = set()
    for connection in range(4):
        due = [at for at, where in zip(plan.due, plan.connection, strict=True) if where == connection]
        assert all(abs(later - earlier - 20_000_000) <= 1 for earlier, later in pairwise(due))
        assert 0 <= due[0] < 20_000_000
        phases.add(due[0])
    assert len(phases) == 4
    assert plan.last - plan.first == 2 * 50 * 4
    assert all(1e9 <= plan.due[at] < 3e9 for at in range(plan.first, plan.last))
    assert len(plan) - plan.last == pytest.approx(4 * TAIL_MESSAGES, abs=4)


def test_a_poisson_plan_has_gaps_like_an_exponential() -> None:
    plan = make_schedule(open_loop(64, 1000, 1, arrival=POISSON), 20, 1, 5)
    gaps = [later - earlier for earlier, later in pairwise(plan.due)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1e6, rel=0.05)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.1)


def test_a_plan_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match=f"{MESSAGES_MAX} at most"):
        make_schedule(open_loop(64, 100_000, 1), 100, 1, 1)
    for rate, connections in ((0, 1), (10, 0), (10, 10_001), (1e6, 2)):
        with pytest.raises(ValueError, match="connections"):
            open_loop(64, rate, connections)
