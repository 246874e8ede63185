"""Percentiles, histograms, rates and paired ratios."""

from __future__ import annotations

import math
import random

import pytest

from bench import statistics


def test_percentile_is_nearest_rank() -> None:
    ordered = list(range(1, 101))
    assert statistics.percentile(ordered, 0.5) == 50
    assert statistics.percentile(ordered, 0.99) == 99
    assert statistics.percentile(ordered, 0.999) == 100
    assert statistics.percentile([7], 0.5) == 7
    with pytest.raises(ValueError, match="no samples"):
        statistics.percentile([], 0.5)


@pytest.mark.parametrize(("count", "quantile", "shown"), [
    (59, 0.5, False), (60, 0.5, True), (2999, 0.99, False), (3000, 0.99, True), (29_999, 0.999, False),
    (30_000, 0.999, True),
])  # fmt: skip
def test_a_percentile_needs_thirty_samples_beyond_it(count: int, quantile: float, shown: bool) -> None:
    assert statistics.enough(count, quantile) is shown


def test_summary_leaves_out_what_the_samples_do_not_carry() -> None:
    summary = statistics.summarize_samples(range(1000, 4000))
    assert summary["n"] == 3000
    assert summary["p50_ns"] == 2499
    assert summary["p99_ns"] == 3969
    assert summary["p999_ns"] is None
    assert sum(count for _, count in summary["hist"]) == 3000
    assert statistics.summarize_samples([]) == {"n": 0, "hist": []}


@pytest.mark.parametrize("value", [1, 99, 12_345, 10**9])
def test_a_bucket_is_about_a_percent_wide(value: int) -> None:
    assert statistics.bucket_value(statistics.bucket_of(value)) == pytest.approx(value, rel=0.011)


def test_histograms_add_up() -> None:
    assert statistics.merge_histograms([[[1, 2], [5, 1]], [[1, 3]]]) == [(1, 5), (5, 1)]


def test_median() -> None:
    assert statistics.median([3, 1, 2]) == 2
    assert statistics.median([4, 1, 2, 3]) == 2.5
    with pytest.raises(ValueError, match="no values"):
        statistics.median([])


def test_a_rate_is_taken_over_the_whole_window() -> None:
    second = 10**9
    marks = [(0, 0, 0), (second, 100, 1000), (3 * second, 300, 3000), (4 * second, 300, 3000)]
    steady = statistics.rate_in_window(marks, second, 3 * second)
    assert steady is not None
    assert steady["per_second"] == pytest.approx(100)
    assert steady["bytes_per_second"] == pytest.approx(1000)
    stalled = statistics.rate_in_window(marks, 2 * second, 6 * second)
    assert stalled is not None
    assert stalled["per_second"] == pytest.approx(25), "a stall in the window counts as time"


def test_no_rate_without_arrivals() -> None:
    assert statistics.rate_in_window([], 0, 10) is None
    late = statistics.rate_in_window([(20, 1, 5), (25, 5, 25)], 10, 30)
    assert late is not None
    assert late["messages"] == 5, "what came before the first mark is nothing"
    assert statistics.rate_in_window([(5, 5, 5)], 10, 30) is None, "nothing came in it"


def test_ratios_pair_blocks_that_both_have() -> None:
    assert statistics.paired_ratios({0: 4.0, 1: 9.0, 2: 5.0}, {0: 2.0, 1: 3.0, 3: 1.0}) == {0: 2.0, 1: 3.0}


def test_spread() -> None:
    assert statistics.spread([1.0, 5.0, 2.0]) == {"median": 2.0, "min": 1.0, "max": 5.0, "n": 3}


def test_an_interval_has_a_known_answer() -> None:
    """The symmetrical case: as a percentile bootstrap; a constant: a point."""
    values = [float(at) for at in range(-5, 6)]
    low, high = statistics.bca_interval(values)
    assert (low, high) == statistics.bca_interval(values), "the same figures, the same interval"
    assert low == pytest.approx(-high, abs=1.0)
    assert -4 <= low <= -2 and 2 <= high <= 4
    assert statistics.bca_interval([3.0] * 7) == (3.0, 3.0)
    wide = statistics.bca_interval(values, 0.999)
    assert wide[0] <= low and high <= wide[1]


@pytest.mark.slow
def test_an_interval_holds_the_truth_as_often_as_it_says(rng: random.Random) -> None:
    """95 % is promised; of 150 runs of 12 skewed values, between 88 and 100 % hold the true median."""
    truth, runs = math.log(2), 150
    hits = 0
    for _ in range(runs):
        low, high = statistics.bca_interval([rng.expovariate(1) for _ in range(12)], draws=1000)
        hits += low <= truth <= high
    assert 0.88 <= hits / runs <= 1.0
