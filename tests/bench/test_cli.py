"""The commands end to end, short: files, exit status, missing peers, wrong input."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bench import cli, peers, schema
from bench.campaign import Campaign, Request, command_line
from bench.cases import latency
from bench.progress import Progress, seconds_text
from bench.runner import Entry, Plan
from bench.tables import missing_text
from tests.bench import results
from tests.bench.broken_peers import Absent

SHORT = ["--seconds", "0.05", "--warmup", "0.02"]


def run(*arguments: str) -> int:
    return cli.main([*arguments])


def test_a_tiny_run_writes_a_valid_result_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    assert run("quick", *SHORT, "--rounds", "2", "--peers", "blocking-tcp,asyncio-streams", "--payload", "64",
               "--json", str(path)) == 0  # fmt: skip
    data = schema.load(path)
    assert data["preview"] is True
    assert data["complete"] is True
    assert len(data["rounds"]) == 8
    assert data["config"]["rounds"] == 2
    assert data["environment"]["sysctl"]["net.ipv4.tcp_congestion_control"]
    out = capsys.readouterr()
    assert "asyncio streams on asyncio" in out.out
    assert "quick: 8/8" in out.err
    assert path.with_suffix(".html").read_text().startswith("<!doctype html>")
    assert run("report", str(path), "--html", str(tmp_path / "again.html")) == 0
    assert (tmp_path / "again.html").exists()


def test_no_command_is_the_quick_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, Any]] = []

    def record(options: Any) -> int:
        seen.append((options.command, options.peers))
        return 0

    monkeypatch.setitem(cli.COMMANDS, "quick", record)
    assert run() == 0
    assert run("--peers", "tcp") == 0
    assert seen == [("quick", None), ("quick", "tcp")]


@pytest.mark.parametrize(("arguments", "text"), [
    (["latency", "--peers", "nobody"], "no peer 'nobody'"),
    (["accept", "--only", "nothing"], "no bar 'nothing'"),
    (["report", "no-such-file.json"], "no-such-file.json"),
])  # fmt: skip
def test_wrong_input_is_told_in_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["latency", "--payload", "3"],
        ["latency", "--rounds", "0"],
        ["latency", "--seconds", "-1"],
        ["latency", "--payload", "x"],
        ["quack"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        run(*arguments)
    assert error.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_report_rewrites_a_readme(tmp_path: Path) -> None:
    path, readme = tmp_path / "result.json", tmp_path / "README.md"
    schema.save(results.result(), path)
    readme.write_text("<!-- bench:begin -->\n<!-- bench:end -->\n")
    assert run("report", str(path), "--readme", str(readme)) == 0
    assert "| p50 us |" in readme.read_text()
    readme.write_text("no marks")
    assert run("report", str(path), "--readme", str(readme)) == 2


def test_a_missing_peer_is_left_out_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    known = peers.all_peers() | {"absent": Absent()}
    monkeypatch.setattr("bench.campaign.all_peers", lambda: known)
    campaign = Campaign(Request("latency", [(latency(64), ["absent", "blocking-tcp"])], 1, 0.05, 0.02, 1))
    campaign.run()
    data = campaign.result()
    schema.validate(data)
    assert data["missing"] == [{"id": "absent", "install": "pip install no-such-package"}]
    assert {item["peer"] for item in data["rounds"]} == {"blocking-tcp"}


def test_fewer_rounds_where_the_budget_is_small() -> None:
    request = Request("quick", [(latency(64), ["blocking-tcp"])], 50, 1.0, 0.1, 1, budget_s=10.0, fit=True)
    campaign = Campaign(request)
    assert 3 <= campaign.plan().rounds < 10
    assert campaign.why_incomplete is not None
    assert "of 50 rounds, to fit in 10 s" in campaign.why_incomplete


def test_the_quick_run_completes_within_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every peer installed, by the estimate, and with an eighth of the time to spare: machines differ."""
    seen: list[Request] = []

    def record(_options: Any, request: Request) -> int:
        seen.append(request)
        return 0

    monkeypatch.setattr(cli, "measure", record)
    assert run("quick") == 0
    (request,) = seen
    known = peers.all_peers()
    work = [
        (case, [Entry(name, known[name]) for name in names if known[name].supports(case)])
        for case, names in request.work
    ]
    plan = Plan(work, request.rounds, request.seconds, request.warmup, request.seed, request.budget_s)
    assert plan.budget_s == cli.QUICK_BUDGET_S
    assert plan.estimate_s < cli.QUICK_BUDGET_S * 7 / 8


def test_status_tells_failures_of_ours() -> None:
    data = results.result()
    assert cli.status_of(data) == 1, "unix failed"
    data["rounds"] = [item for item in data["rounds"] if item["peer"] != "unix"]
    assert cli.status_of(data) == 0
    data["rounds"].append(results.failed_round(results.SMALL.id, "pyzmq", 3, "not ours"))
    assert cli.status_of(data) == 0
    data["bars"] = [{"verdict": "NOT MEASURED"}]
    assert cli.status_of(data) == 1


def test_the_recorded_command_holds_no_path_of_the_result() -> None:
    assert command_line(["quick", "--json", "/some/where.json", "--seed", "3"]) == "python -m bench quick --seed 3"
    assert command_line(["quick", "--json=/some/where.json"]) == "python -m bench quick"


def test_peers_that_one_command_brings_share_a_line() -> None:
    missing = [{"id": name, "install": install} for name, install in (("a", "x"), ("b", "y"), ("c", "x"))]
    assert missing_text(missing) == ["left out: a, c; to have: x", "left out: b; to have: y"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_break_keeps_what_was_measured(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "result.json"
    command = [sys.executable, "-m", "bench", "latency", *SHORT, "--rounds", "1000", "--peers", "blocking-tcp",
               "--payload", "64", "--json", str(path)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("latency: 0/1000")
        assert process.stderr.readline().startswith("1000 rounds, about")
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 130, err
    if path.exists():
        assert schema.load(path)["why_incomplete"].startswith("interrupted after")
        assert "INCOMPLETE" in out
    else:
        assert "interrupted before anything was measured" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_leaves_no_folder(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bench", "latency", "--seconds", "60", "--peers", "blocking-tcp", "--payload",
               "64", "--json", str(tmp_path / "x.json")]  # fmt: skip
    folders = tmp_path / "folders"
    folders.mkdir()
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ, TMPDIR=str(folders))
    ) as process:
        until = monotonic() + 15
        while not list(folders.glob("bench-run-*/bench-*")) and monotonic() < until:
            process.poll()
        assert list(folders.glob("bench-run-*/bench-*"))
        process.send_signal(number)
        process.wait(15)
    until = monotonic() + 15
    while os.listdir(folders) and monotonic() < until:
        os.sched_yield()
    assert not os.listdir(folders)


def test_peers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("peers") == 0
    assert "blocking sockets, tcp (floor)" in capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar_on_a_terminal() -> None:
    out = Terminal()
    with Progress("quick", 4, out) as progress:
        progress.update(1, "tcp")
        progress.say("a line")
    text = out.getvalue()
    assert "[######..................] 1/4" in text
    assert "left" in text
    assert "a line\n" in text
    assert text.endswith("\r")


def test_progress_lines_elsewhere() -> None:
    out = io.StringIO()
    with Progress("quick", 2, out) as progress:
        progress.update(1, "tcp")
        progress.update(2, "udp")
    assert out.getvalue() == "quick: 0/2, starting\nquick: 2/2, 0:00 left udp\n"
    assert seconds_text(75) == "1:15"


def test_result_files_are_named_by_time_and_command() -> None:
    name = Campaign(Request("latency", [], 1, 1.0, 0.1, 1)).default_path().name
    assert name.endswith("-latency.json")
    assert json.loads(json.dumps(name))
