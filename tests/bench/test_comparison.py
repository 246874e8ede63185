"""`compare`: what is called a change, and what is not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bench import cli, schema
from bench.cases import open_loop
from bench.comparison import FASTER, NOISE_MIN, SAME, SLOWER, UNCLEAR, compare, noise_of, status_of, times
from bench.statistics import ratio_interval, summarize_samples
from tests.bench.results import LATENCY, SMALL, a_round, latency_round, result, throughput_round

ROUNDS = 9


def timed(peer: str, block: int, nanoseconds: float) -> dict[str, Any]:
    samples = [round(nanoseconds * (1 + at / 2000)) for at in range(200)]
    return a_round(LATENCY.id, peer, block, messages=200, latency=summarize_samples(samples))


def measured(rng: random.Random, factor: float = 1.0, machine: float = 1.0, rounds: int = ROUNDS) -> dict[str, Any]:
    """A result in which tcp takes `factor` times 20 us on a machine whose blocks differ by a fifth, noise of 1 %."""
    data = result()
    data["rounds"] = []
    for block in range(rounds):
        slow = machine * rng.uniform(0.9, 1.1)
        for peer, cost in (("blocking-tcp", 10.0), ("tcp", 20.0 * factor)):
            data["rounds"].append(timed(peer, block, 1000 * cost * slow * rng.gauss(1, 0.01)))
        for peer, rate in (("pyzmq", 5e5), ("tcp", 4e6 / factor)):
            data["rounds"].append(throughput_round(SMALL.id, peer, block, rate * rng.gauss(1, 0.01), 64))
    return data


def words(old: dict[str, Any], new: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(change.case, change.peer): change.word for change in compare(old, new) if change.word != UNCLEAR}


def test_a_planted_slow_down_is_found_and_nothing_else(rng: random.Random) -> None:
    for _ in range(10):
        old, new = measured(rng), measured(rng, 1.10, machine=1.3)
        found = words(old, new)
        assert found[LATENCY.id, "tcp"] == found[SMALL.id, "tcp"] == SLOWER
        assert found[SMALL.id, "pyzmq"] == SAME
        assert status_of(compare(old, new)) == 1
        assert words(new, old)[LATENCY.id, "tcp"] == FASTER


def test_an_open_loop_is_slower_when_it_takes_longer() -> None:
    case = open_loop(64, 100).as_dict()
    rounds = [
        {"case": case["id"], "peer": "tcp", "block": block, "status": "OK", "latency": {"p50_ns": 1000.0 + block}}
        for block in range(9)
    ]
    assert times({"rounds": rounds}, case, {"id": "tcp"}) == [1000.0 + block for block in range(9)]


def test_the_same_twice_is_no_difference(rng: random.Random) -> None:
    """But for the few that chance makes: a 95 % interval and a floor of 2 % leave about one of a hundred."""
    seen = []
    for _ in range(10):
        changes = compare(measured(rng), measured(rng, machine=1.3))
        ours = [change.word for change in changes if change.is_ours and change.word != UNCLEAR]
        assert status_of(changes) == int(SLOWER in ours)
        seen += ours
    assert len(seen) == 20
    assert seen.count(SAME) >= 16


def test_a_few_rounds_are_too_few() -> None:
    rng = random.Random(1)
    (change,) = [one for one in compare(measured(rng, rounds=3), measured(rng, 2.0)) if one.case == LATENCY.id
                 and one.peer == "tcp"]  # fmt: skip
    assert (change.word, change.ratio, change.rounds) == (UNCLEAR, None, (3, ROUNDS))


def test_noise_is_what_a_peer_shows_against_itself() -> None:
    data = measured(random.Random(1))
    assert noise_of(data) == NOISE_MIN
    data["cases"][0]["peers"].append("tcp@again")
    data["rounds"] += [latency_round("tcp@again", block, 30) for block in range(ROUNDS)]
    assert noise_of(data) > 0.3


def test_an_interval_is_always_the_same_and_holds_the_ratio() -> None:
    above, below = [11.0, 12.0, 10.5, 11.5, 30.0], [10.0, 10.2, 9.9, 10.1, 10.0]
    low, high = ratio_interval(above, below)
    assert ratio_interval(above, below) == (low, high)
    assert 1.0 < low <= 1.15 <= high
    assert ratio_interval(below, below)[0] <= 1 <= ratio_interval(below, below)[1]


def test_the_command_says_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    schema.save(measured(rng), old)
    schema.save(measured(rng, 1.2), new)
    assert cli.main(["compare", str(old), str(new)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "noise floor 2.0 %" in lines[0]
    assert "slower" in lines[4] and "tcp" in lines[4]
    assert cli.main(["compare", str(old), str(old)]) == 0
    assert cli.main(["compare", str(old), str(tmp_path / "none.json")]) == 2
