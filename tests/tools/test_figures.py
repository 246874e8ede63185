"""Figures of measured times."""

from __future__ import annotations

import math
import random
import statistics

import pytest

from transport.tools.figures import Figures


def test_nothing_measured_gives_zeros() -> None:
    figures = Figures()
    assert (figures.count, figures.least, figures.most, figures.mean, figures.deviation) == (0, 0, 0, 0, 0)
    assert figures.percentiles(0.5, 0.99) == [0, 0]


def test_agree_with_the_standard_library(rng: random.Random) -> None:
    values = [rng.expovariate(1000) for _ in range(997)]
    figures = Figures()
    for value in values:
        figures.add(value)
    assert figures.mean == pytest.approx(statistics.fmean(values))
    assert figures.deviation == pytest.approx(statistics.pstdev(values))
    assert (figures.least, figures.most) == (min(values), max(values))
    assert figures.percentiles(0.5, 0.99, 1.0, 0.0) == [
        sorted(values)[498], sorted(values)[math.ceil(0.99 * 997) - 1], max(values), min(values),
    ]  # fmt: skip


def test_percentiles_are_values_that_occurred() -> None:
    figures = Figures()
    figures.add(1.0)
    assert figures.percentiles(0.01, 0.5, 0.99) == [1.0, 1.0, 1.0]
    figures.add(3.0)
    assert figures.percentiles(0.5, 0.51) == [1.0, 3.0]


def test_what_is_kept_is_bounded_and_even() -> None:
    figures = Figures(kept_max=1000)
    for number in range(20_000):
        figures.add(float(number))
    assert (figures.count, figures.kept) == (20_000, 1000)
    assert (figures.least, figures.most) == (0.0, 19_999.0)
    (middle,) = figures.percentiles(0.5)
    assert 8_000 < middle < 12_000  # five standard deviations of the median of such a sample are 1,600
