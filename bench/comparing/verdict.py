"""From figures of blocks to a word. The unit is the block: its log ratio is one value, whatever lies in it.

*slower* and *faster* are said only when the interval leaves 1 out and the effect is larger than the noise floor: the
larger of 3 % and twice the half-width of the A/A interval of the same blocks. The interval that decides is shared
between all cells of a run (Bonferroni), so that many cells together give no more false alarms than one. It must never
say "no difference shown" where there are too few blocks to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import exp, log
from typing import Any

from bench.cases import THROUGHPUT
from bench.statistics import CONFIDENCE, bca_interval, median

SLOWER, FASTER, SAME, UNCLEAR = "slower", "faster", "no difference shown", "too few rounds"
BLOCKS_MIN = 6  # the interval of a median of fewer is not much less than their range
EFFECT_MIN = 0.03

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be said of one cell.

    Attributes:
        ratio: time a message takes, new over old; `low`, `high`: its 95 % interval. None with too few blocks.
        decides: the interval that decides the word, wider where a run has many cells.
        noise: median of the A/A ratios; `noise_half`: half the width of their 95 % interval, as a share.
        floor: an effect must exceed it, as a share.
        word: what may be said. `calm_word`: the same without flagged blocks, where that is another word.
        blocks, flagged: how many; flagged are those with too much steal.
    """

    word: str
    blocks: int
    flagged: int
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    decides: tuple[float, float] | None = None
    noise: float | None = None
    noise_half: float | None = None
    floor: float | None = None
    calm_word: str | None = None

    def as_dict(self) -> Result:
        """For the result file."""
        return asdict(self) | {"decides": list(self.decides) if self.decides else None}


@dataclass(frozen=True, slots=True)
class Series:
    """The blocks of one cell.

    Attributes:
        effects: log of new over old, one a block. noise: log of a pair over its like, of the same blocks; may be empty.
        flagged: which blocks had too much steal.
    """

    effects: list[float]
    noise: list[float]
    flagged: list[bool]

    def calm(self) -> Series:
        """Without flagged blocks."""
        keep = [at for at, is_flagged in enumerate(self.flagged) if not is_flagged]
        return Series(
            [self.effects[at] for at in keep],
            [self.noise[at] for at in keep] if self.noise else [],
            [False] * len(keep),
        )


def verdict(series: Series, cells: int = 1, blocks_min: int = BLOCKS_MIN) -> Verdict:
    """The word for one of `cells` cells that are judged together, and the word without flagged blocks beside it."""
    first = judge(series, cells, blocks_min)
    if not any(series.flagged) or all(series.flagged):
        return first
    calm = judge(series.calm(), cells, blocks_min)
    if calm.word == first.word:
        return first
    return Verdict(**{name: getattr(first, name) for name in Verdict.__slots__ if name != "calm_word"},
                   calm_word=calm.word)  # fmt: skip


def judge(series: Series, cells: int, blocks_min: int) -> Verdict:
    """The word for the blocks as they are."""
    count, flagged = len(series.effects), sum(series.flagged)
    if count < blocks_min:
        return Verdict(UNCLEAR, count, flagged)
    effect = median(series.effects)
    low, high = bca_interval(series.effects)
    decides = bca_interval(series.effects, 1 - (1 - CONFIDENCE) / cells)
    noise = half = 0.0
    if series.noise:
        noise = median(series.noise)
        bounds = bca_interval(series.noise)
        half = (bounds[1] - bounds[0]) / 2
    floor = max(log(1 + EFFECT_MIN), 2 * half)
    word = SAME
    if decides[0] > 0 and effect > floor:
        word = SLOWER
    elif decides[1] < 0 and effect < -floor:
        word = FASTER
    return Verdict(
        word, count, flagged, exp(effect), exp(low), exp(high), (exp(decides[0]), exp(decides[1])),
        exp(noise) if series.noise else None, exp(half) - 1 if series.noise else None, exp(floor) - 1,
    )  # fmt: skip


def series_of(rounds: Sequence[Result], case: Result, peer: str, key: str = "turns") -> Series:
    """The blocks of a comparison of trees in which every pair was well (see `bench.comparing.blocks`).

    In each turn the pairs of a tree are averaged; the median over turns of new over old is the block's effect, and that
    of one pair over the other, of the same turns, is its noise. `key` names the figures of a round: "turns" (p50, or
    messages a second) or "turns_cpu" (messages a second of CPU time, which others on the core hardly move).
    """
    sign = -1.0 if case["mode"] == THROUGHPUT else 1.0
    blocks: dict[int, dict[str, list[Result]]] = {}
    for item in sorted(rounds, key=lambda one: (one["block"], one["pair"])):
        if item["case"] == case["id"] and item["peer"].partition("@")[0] == peer and "@" in item["peer"]:
            blocks.setdefault(item["block"], {}).setdefault(item["tree"], []).append(item)
    series = Series([], [], [])
    for trees in blocks.values():
        if any(item["status"] != "OK" for items in trees.values() for item in items) or len(trees) != 2:
            continue
        old, new = ([[sign * log(value) for value in item[key]] for item in trees[name]] for name in ("old", "new"))
        turns = list(zip(*new, *old, strict=True))
        pairs = len(new)
        series.effects.append(median(sum(turn[:pairs]) / pairs - sum(turn[pairs:]) / pairs for turn in turns))
        series.noise.append(median((turn[0] - turn[1] + turn[pairs] - turn[pairs + 1]) / 2 for turn in turns))
        series.flagged.append(any(item["flagged"] for items in trees.values() for item in items))
    return series
