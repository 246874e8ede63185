"""Two result files: which figures changed, and whether by more than noise.

The unit is the round. Where both files have the floor of a peer's family in the same case, each round is divided by the
floor's of its own block first, so that what the machine did to both cancels. A change is only named when its 95 %
interval leaves 1 out and it is larger than the noise floor: the larger of 2 % and what the files' own A/A pairs show.
It must never compare figures of different cases, nor say "no difference" where there are too few rounds to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.cases import THROUGHPUT
from bench.comparing.verdict import FASTER, SAME, SLOWER, UNCLEAR
from bench.statistics import median, paired_ratios, ratio_interval
from bench.summary import FLOOR_OF, by_block
from bench.tables import table

ROUNDS_MIN = 4  # of each file: with fewer, the interval of a median is its range
NOISE_MIN = 0.02
AGAIN = "@again"

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One peer at one case, in both files.

    Attributes:
        case, peer: their ids.
        is_ours: a slow-down of it is a failure.
        ratio: time a message takes, new over old. low, high: its 95 % interval. All None with too few rounds.
        rounds: of the old file and of the new.
        word: what may be said.
    """

    case: str
    peer: str
    is_ours: bool
    ratio: float | None
    low: float | None
    high: float | None
    rounds: tuple[int, int]
    word: str


def compare(old: Result, new: Result) -> list[Change]:
    """Every peer and case that both files have."""
    noise = noise_of(old, new)
    peers = {peer["id"]: peer for peer in new["peers"]}
    cases = {case["id"]: case for case in new["cases"]}
    changes = []
    for case in old["cases"]:
        if case["id"] not in cases:
            continue
        for name in case["peers"]:
            if AGAIN in name or name not in cases[case["id"]]["peers"] or name not in peers:
                continue
            before, after = scaled(old, case, peers[name]), scaled(new, case, peers[name])
            if min(len(before), len(after)) < ROUNDS_MIN:  # no floor beside it
                before, after = times(old, case, peers[name]), times(new, case, peers[name])
            changes.append(judge(case["id"], name, peers[name]["kind"] == "ours", before, after, noise))
    return changes


def judge(case: str, peer: str, is_ours: bool, before: list[float], after: list[float], noise: float) -> Change:
    """The word for two lists of rounds."""
    rounds = (len(before), len(after))
    if min(rounds) < ROUNDS_MIN:
        return Change(case, peer, is_ours, None, None, None, rounds, UNCLEAR)
    ratio = median(after) / median(before)
    low, high = ratio_interval(after, before)
    word = SAME
    if low > 1 and ratio > 1 + noise:
        word = SLOWER
    elif high < 1 and ratio < 1 / (1 + noise):
        word = FASTER
    return Change(case, peer, is_ours, ratio, low, high, rounds, word)


def times(data: Result, case: Result, peer: Result) -> list[float]:
    """Time a message in every good round: latencies as they are, rates turned over."""
    figures = by_block(data["rounds"], case["id"], peer["id"])
    return [1 / value if case["mode"] == THROUGHPUT else value for value in figures.values()]


def scaled(data: Result, case: Result, peer: Result) -> list[float]:
    """`times`, each in floors of its own block; nothing for the floor itself."""
    floor = FLOOR_OF.get(peer["scheme"])
    if floor is None or floor == peer["id"]:
        return []
    rounds = data["rounds"]
    ratios = paired_ratios(by_block(rounds, case["id"], peer["id"]), by_block(rounds, case["id"], floor))
    return [1 / value if case["mode"] == THROUGHPUT else value for value in ratios.values()]


def noise_of(*files: Result) -> float:
    """How far a peer is from itself in the worst of the files' A/A pairs, at least `NOISE_MIN`."""
    noise = NOISE_MIN
    for data in files:
        for case in data["cases"]:
            for name in case["peers"]:
                if AGAIN not in name:
                    continue
                pair = paired_ratios(by_block(data["rounds"], case["id"], name),
                                     by_block(data["rounds"], case["id"], name.partition("@")[0]))  # fmt: skip
                if len(pair) >= ROUNDS_MIN:
                    noise = max(noise, abs(median(pair.values()) - 1))
    return noise


def text(old: Result, new: Result, changes: list[Change]) -> str:
    """For a terminal: what changed first."""
    order = {SLOWER: 0, FASTER: 1, SAME: 2, UNCLEAR: 3}
    rows = [
        [
            change.case,
            change.peer,
            "-" if change.ratio is None else f"{100 * (change.ratio - 1):+.1f} %",
            "-" if change.low is None or change.high is None else
            f"{100 * (change.low - 1):+.1f} to {100 * (change.high - 1):+.1f}",
            f"{change.rounds[0]}, {change.rounds[1]}",
            change.word,
        ]
        for change in sorted(changes, key=lambda one: (order[one.word], one.case, one.peer))
    ]  # fmt: skip
    title = f"time a message, {new['started']} against {old['started']}; noise floor {100 * noise_of(old, new):.1f} %"
    return title + "\n\n" + table(["case", "peer", "change", "95 %", "rounds", ""], rows, 2)


def status_of(changes: list[Change]) -> int:
    """1 when something of ours became slower."""
    return int(any(change.is_ours and change.word == SLOWER for change in changes))
