"""Series and grids of open-loop cases, and the commands that run them."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from bench import campaign, cli, cli_open, schema
from bench.cases import OPEN
from bench.link import emulator
from bench.sweeps import LOSSES, RTTS_MS, SWEEPS, grid


def options(*words: str) -> argparse.Namespace:
    return cli.parser().parse_args(list(words))


@pytest.mark.parametrize("name", SWEEPS)
def test_a_series_is_made_of_different_open_loops(name: str) -> None:
    cases = SWEEPS[name].cases()
    assert len({case.id for case in cases}) == len(cases) > 2
    assert all(case.mode == OPEN for case in cases)
    assert all(not case.link or case.link.delay_ms >= emulator.PUBLISHED_DELAY_MS for case in cases)


def test_the_grid_is_complete() -> None:
    cases = grid([64, 1024], RTTS_MS, LOSSES)
    assert len(cases) == 2 * 3 * 4
    assert {(case.payload, case.link and (2 * case.link.delay_ms, case.link.loss)) for case in cases} == {
        (payload, (rtt, loss)) for payload in (64, 1024) for rtt in RTTS_MS for loss in LOSSES
    }
    assert all(case.connections * case.rate == 1000 for case in cases)


def test_commands_say_what_they_would_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "why_not", lambda: None)
    work = cli_open.work_of(options("loss", "--loss", "0,5", "--rtt", "20", "--payload", "64", "--peers", "tcp,rudp"))
    assert [(case.link and case.link.id, peers) for case, peers in work] == [
        ("rtt20", ["tcp", "rudp"]), ("rtt20-loss5", ["tcp", "rudp"])
    ]  # fmt: skip
    ((case, _),) = cli_open.work_of(options("loss", "--link", "delay=10ms,rate=2mbit", "--payload", "100"))
    assert case.link is not None
    assert (case.link.rate_mbit, case.payload) == (2.0, 100)
    work = cli_open.work_of(options("rate", "--rates", "500", "--connections", "5", "--peers", "tcp"))
    assert [(case.rate, case.connections) for case, _ in work] == [(100.0, 5)]
    every = cli_open.work_of(options("all", "--budget", "60"))
    assert len({case.id for case, _ in every}) == len(every) > 50


def test_series_keep_to_their_own_seconds_unless_told() -> None:
    assert {case.seconds for case, _ in cli_open.work_of(options("sweep", "payload"))} == {SWEEPS["payload"].seconds}
    given = options("sweep", "payload", "--seconds", "2")
    assert {case.seconds or given.seconds for case, _ in cli_open.work_of(given)} == {2.0}


def test_a_machine_without_a_link_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(emulator, "why_not", lambda: "no emulated link here: not root; virtual time needs none")
    assert cli.main(["loss", "--peers", "tcp"]) == 2
    assert capsys.readouterr().err == "bench: no emulated link here: not root; virtual time needs none\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["sweep", "nonsense"], "bench: no series 'nonsense'; there are: "),
        (["loss", "--link", "colour=red"], "bench: 'colour=red': a link is made of delay, "),
        (["rate", "--peers", "nobody"], "bench: no peer 'nobody'"),
        (["rate", "--resume"], "bench: --resume needs the file: --json FILE"),
        (["rate", "--connections", "0"], "bench: an open loop has 1 to 10000 connections"),
    ],
)
def test_wrong_words_get_one_line(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emulator, "why_not", lambda: None)
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(60)  # eight rounds of real processes, which wait for the processor
def test_a_run_that_was_broken_off_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "INVALID", "none")  # on a busy machine rounds are, and would be taken again
    path = tmp_path / "rate.json"
    words = ["rate", "--peers", "asyncio-protocol,blocking-tcp", "--rates", "100,200", "--seconds", "0.2",
             "--warmup", "0.1", "--json", str(path), "--no-html", "--resume"]  # fmt: skip
    assert cli.main([*words, "--rounds", "1"]) == 0
    first = schema.load(path)["rounds"]
    assert len(first) == 4
    assert cli.main([*words, "--rounds", "2"]) == 0
    rounds = schema.load(path)["rounds"]
    assert len(rounds) == 8
    assert rounds[:4] == first
    assert {(item["block"], item["case"], item["peer"]) for item in rounds[4:]} == {
        (1, item["case"], item["peer"]) for item in first
    }
    capsys.readouterr()
    assert cli.main([*words, "--rounds", "2", "--seed", "9"]) == 2
    assert capsys.readouterr().err == "bench: rate.json is of another request: other cases, seconds, seed or lanes\n"
    data = json.loads(path.read_text())
    assert len(data["rounds"]) == 8
