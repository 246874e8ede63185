"""Words between the peers of one run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from bench import cli, schema
from bench.comparing import against
from bench.comparing.verdict import FASTER, SAME, SLOWER, UNCLEAR
from tests.bench.results import LATENCY, latency_round, result


def measured(rng: random.Random, rounds: int = 12) -> dict[str, Any]:
    """Unix takes 10 us, tcp 20, tcp-coro 20.2, blocking-tcp 15; noise of 1 %, blocks differ by a fifth."""
    data = result() | {"preview": False}
    cost = {"unix": 10, "tcp": 20, "tcp@again": 20, "tcp-coro": 20.2, "blocking-tcp": 15}
    data["peers"] = [peer.describe() for peer in cli.all_peers().values() if peer.name in cost]
    data["cases"] = [LATENCY.as_dict() | {"peers": list(cost)}]
    data["rounds"] = []
    for block in range(rounds):
        machine = rng.uniform(0.9, 1.1)
        for peer, micros in cost.items():
            data["rounds"].append(latency_round(peer, block, round(1000 * micros * machine * rng.gauss(1, 0.01))))
    return data


def told(data: dict[str, Any], chosen: str | None = None) -> dict[str, str]:
    return {peer: one.word for _, peer, _, one in against.words(data, chosen)}


def test_words_against_the_best_of_ours_and_against_a_chosen_peer(rng: random.Random) -> None:
    data = measured(rng)
    assert told(data) == {"tcp": SLOWER, "tcp-coro": SLOWER, "blocking-tcp": SLOWER}
    assert told(data, "tcp") == {"unix": FASTER, "tcp-coro": SAME, "blocking-tcp": FASTER}
    found = against.probe_of(data, "tcp")
    assert found is not None
    data["probes"]["against"] = found
    schema.validate(data)
    assert found["cells"][0]["noise_half"] > 0, "the pair of the same is used"


def test_a_preview_and_a_few_rounds_have_no_words(rng: random.Random) -> None:
    few = measured(rng, against.BLOCKS_MIN - 1)
    assert set(told(few).values()) == {UNCLEAR}
    found = against.probe_of(few)
    assert found is not None
    assert found["table"]["rows"][0][-1] == "too few rounds, a preview"
    assert against.probe_of(few | {"preview": True}) is None


def test_a_block_with_steal_changes_the_word_and_both_are_said(rng: random.Random) -> None:
    data = measured(rng, 40)  # 31 of them slower: far from where the words change
    for item in data["rounds"]:
        if item["block"] >= 9:
            item["flagged"] = True
            if item["peer"] == "tcp-coro":
                item["latency"]["p50_ns"] *= 2
    found = against.probe_of(data, "tcp")
    assert found is not None
    word = next(row[-1] for row in found["table"]["rows"] if row[1] == "tcp-coro")
    assert word == "slower; without flagged rounds: too few rounds"


def test_the_command_says_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    arguments = ["latency", "--payload", "64", "--seconds", "0.02", "--warmup", "0.01", "--json", str(path),
                 "--no-html", "--peers", "blocking-tcp,asyncio-streams"]  # fmt: skip
    assert cli.main([*arguments, "--rounds", "2", "--against", "blocking-tcp"]) == 0
    assert "too few rounds, a preview" in capsys.readouterr().out
    assert cli.main([*arguments, "--against", "tcp"]) == 2
    assert "--against 'tcp' is not among the peers" in capsys.readouterr().err
