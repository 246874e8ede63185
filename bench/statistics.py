"""Percentiles, histograms and paired ratios.

The unit of statistics is the round: percentiles are taken within one, medians and ranges over many. It must never
show a percentile that too few samples stand behind.
"""

from __future__ import annotations

import functools
import math
import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Any

TAIL_SAMPLES_MIN = 30  # a percentile p is shown only when n * (1 - p) reaches this
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "p9999": 0.9999}
DRAWS = 4000  # of the bootstrap
CONFIDENCE = 0.95
BUCKETS_AN_OCTAVE = 64  # a bucket is at most 1.1 % wide


def percentile(ordered: Sequence[float], quantile: float) -> float:
    """The smallest value that at least `quantile` of the sorted samples do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no samples")
    rank = math.ceil(quantile * len(ordered) - 1e-9)
    return ordered[min(len(ordered), max(1, rank)) - 1]


def enough(count: int, quantile: float) -> bool:
    """Whether `count` samples carry a percentile."""
    return count * (1 - quantile) >= TAIL_SAMPLES_MIN - 1e-9


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def bucket_of(value_ns: int) -> int:
    """Index of the logarithmic bucket that holds `value_ns`."""
    return int(math.log2(max(1, value_ns)) * BUCKETS_AN_OCTAVE)


def bucket_value(index: int) -> float:
    """Middle of a bucket, in ns."""
    return float(2 ** ((index + 0.5) / BUCKETS_AN_OCTAVE))


def summarize_samples(samples: Sequence[int]) -> dict[str, Any]:
    """Percentiles that n supports (the others are None), extremes, mean, and a mergeable histogram."""
    ordered = sorted(samples)
    count = len(ordered)
    if not count:
        return {"n": 0, "hist": []}
    histogram: dict[int, int] = {}
    for value in ordered:
        index = bucket_of(value)
        histogram[index] = histogram.get(index, 0) + 1
    result: dict[str, Any] = {"n": count, "min_ns": ordered[0], "max_ns": ordered[-1], "mean_ns": sum(ordered) / count}
    for name, quantile in QUANTILES.items():
        result[f"{name}_ns"] = percentile(ordered, quantile) if enough(count, quantile) else None
    result["hist"] = [[index, histogram[index]] for index in sorted(histogram)]
    return result


def merge_histograms(histograms: Iterable[Sequence[Sequence[int]]]) -> list[tuple[int, int]]:
    """Sum of several rounds' histograms, sorted by bucket."""
    merged: dict[int, int] = {}
    for histogram in histograms:
        for index, count in histogram:
            merged[index] = merged.get(index, 0) + count
    return sorted(merged.items())


def at_time(marks: Sequence[Sequence[int]], when_ns: int, column: int) -> float:
    """A running count at one moment, on the straight line between the marks around it; nothing before the first mark,
    flat after the last.
    """
    after = next((at for at, mark in enumerate(marks) if mark[0] > when_ns), len(marks))
    if after == len(marks):
        return marks[-1][column]
    if after == 0:
        return 0.0
    (begin, *low), (end, *high) = marks[after - 1], marks[after]
    share = (when_ns - begin) / (end - begin)
    return low[column - 1] + share * (high[column - 1] - low[column - 1])


def rate_in_window(marks: Sequence[Sequence[int]], begin_ns: int, end_ns: int) -> dict[str, Any] | None:
    """Messages and bytes that arrived in the sender's window, and their rates; idle time in it counts.

    Args:
        marks: (time in ns, messages so far, bytes so far), by time, the first at the first message.
        begin_ns, end_ns: of the window, on the same clock.

    Returns:
        None when nothing arrived in the window.
    """
    if not marks:
        return None
    seconds = (end_ns - begin_ns) / 1e9
    messages, size = (at_time(marks, end_ns, column) - at_time(marks, begin_ns, column) for column in (1, 2))
    if messages < 1:
        return None
    return {
        "messages": round(messages),
        "seconds": seconds,
        "per_second": messages / seconds,
        "bytes_per_second": size / seconds,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": median(values), "min": min(values), "max": max(values), "n": len(values)}


def paired_ratios(above: dict[int, float], below: dict[int, float]) -> dict[int, float]:
    """Ratio per block, for the blocks in which both were measured."""
    return {block: above[block] / below[block] for block in sorted(above) if below.get(block)}


def ratio_interval(above: Sequence[float], below: Sequence[float], seed: int = 1) -> tuple[float, float]:
    """The 95 % interval of median(above) / median(below), rounds of two runs.

    Percentile bootstrap over rounds (Efron 1979), each run drawn from by itself; the same figures always give the same
    interval.
    """
    draw = random.Random(seed).choices
    ratios = sorted(
        median(draw(above, k=len(above))) / median(draw(below, k=len(below))) for _ in range(DRAWS)
    )  # fmt: skip
    tail = (1 - CONFIDENCE) / 2
    return percentile(ratios, tail), percentile(ratios, 1 - tail)


@functools.lru_cache(maxsize=8)
def medians_drawn(values: tuple[float, ...], draws: int, seed: int) -> list[float]:
    """Sorted medians of as many draws with replacement; kept, for intervals of several widths are asked for."""
    choose = random.Random(seed).choices
    return sorted(median(choose(values, k=len(values))) for _ in range(draws))


def bca_interval(
    values: Sequence[float], confidence: float = CONFIDENCE, draws: int = DRAWS, seed: int = 1
) -> tuple[float, float]:
    """The interval of the median of `values` (one a block) by bootstrap over blocks, bias-corrected and accelerated.

    BCa after Efron (1987): the quantiles to read are moved by how far the draws lie to one side (ties count half) and
    by the skewness of the leave-one-out medians. The same figures always give the same interval.
    """
    middle = median(values)
    found = medians_drawn(tuple(values), draws, seed)
    if found[0] == found[-1]:
        return middle, middle
    normal = NormalDist()
    below = (bisect_left(found, middle) + bisect_right(found, middle)) / 2
    bias = normal.inv_cdf(min(max(below, 1), draws - 1) / draws)
    left_out = [median([*values[:at], *values[at + 1 :]]) for at in range(len(values))]
    mean = sum(left_out) / len(left_out)
    squares = sum((mean - value) ** 2 for value in left_out)
    skew = sum((mean - value) ** 3 for value in left_out) / (6 * squares**1.5) if squares else 0.0

    def quantile(share: float) -> float:
        shifted = bias + normal.inv_cdf(share)
        return percentile(found, normal.cdf(bias + shifted / (1 - skew * shifted)))

    tail = (1 - confidence) / 2
    return quantile(tail), quantile(1 - tail)
