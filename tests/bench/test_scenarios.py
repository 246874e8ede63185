"""Scenarios in virtual time, with few seeds: they run, give the same figures for the same seed, and judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import bars, cli, scenarios, schema
from bench.child import ChildFailed
from bench.report import html
from bench.scenarios import batches, bulk, bursts, handshakes, idle, kcp, moving, narrow, reorder, speed, table, thin
from bench.scenarios.rig import MS, Rig, Stream
from transport.sim.config import LinkConfig


class Ticks(list[str]):
    def __call__(self, what: str) -> None:
        self.append(what)


def cells_of_two() -> list[tuple[int, int, int]]:
    return [(20, 10, 1), (20, 10, 5)]


def run(scenario: table.Scenario, seeds: int = 1) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Bars by id, and what was seen; the number of ticks is the one that was promised."""
    ticks = Ticks()
    found, seen = scenario.run(ticks, seeds)
    assert len(ticks) == scenario.ticks(seeds)
    assert all(len(row) == len(seen["table"]["head"]) for row in seen["table"]["rows"])
    json.dumps(seen)
    return {bar["id"]: bar for bar in found}, seen


def test_a_stream_without_loss_takes_the_delay_and_nothing_more() -> None:
    rig = Rig(1, LinkConfig(delay_ns=7 * MS))
    stream = Stream(rig, 64, 10 * MS, 20)
    assert list(stream.late) == [7 * MS] * 20
    assert stream.wire.up_packets >= 20
    assert stream.wire.up_bytes > 20 * (64 + 28)


def test_the_same_seed_gives_the_same_figures() -> None:
    link = LinkConfig(delay_ns=10 * MS, loss=0.05)
    first, again = (thin.stream_of(2, link, 10, True, messages=100) for _ in range(2))
    assert first == again
    assert first["n"] == 200


def test_a_bar_over_cells_shows_the_worst_and_names_those_over() -> None:
    bar = table.worst("x", "what", {"a": 0.5, "b": 1.2, "c": 1.0})
    assert (bar["value"], bar["low"], bar["verdict"], bar["n"]) == (1.2, 0.5, bars.FAIL, 3)
    assert bar["why"] == "over in 1 of 3 cells: b"
    assert table.worst("x", "what", {"a": 1.0})["verdict"] == bars.PASS
    assert table.worst("x", "what", {})["verdict"] == bars.NOT_MEASURED


def test_kcp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kcp, "ECHOES", 100)
    found, seen = run(kcp.SCENARIO, 2)
    assert found["kcp-average"]["verdict"] == bars.PASS
    assert found["kcp-packets"]["verdict"] == bars.PASS
    ours, floor = seen["cells"]
    assert ours["average_ms"] > floor["average_ms"] > 90
    assert seen["table"]["rows"][2] == kcp.THEIRS


def test_thin_and_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (thin, bursts):
        monkeypatch.setattr(module, "MESSAGES", 200)
        monkeypatch.setattr(module, "cells_of", cells_of_two)
    found, seen = run(thin.SCENARIO)
    assert found["thin-p99"]["n"] == 2
    assert found["thin-bytes"]["verdict"] == bars.PASS
    assert all(cell["copies"]["copies"] > 1 > cell["plain"]["copies"] for cell in seen["cells"])
    found, seen = run(bursts.SCENARIO)
    assert found["bursts-p99"]["n"] == found["bursts-plain"]["n"] == 1
    assert all(cell["oracle_p99_ms"] <= cell["copies"]["p99_ms"] for cell in seen["cells"])


def test_the_oracle_waits_for_bursts_only() -> None:
    assert bursts.oracle(1, LinkConfig(delay_ns=10 * MS), 5) == 10.0


def test_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrow, "MESSAGES", 100)
    monkeypatch.setattr(narrow, "QUEUES", (1500,))
    found, _ = run(narrow.SCENARIO)
    assert set(found) == {"narrow-p50", "narrow-p999"}


@pytest.mark.slow  # bulk, if only for moments
def test_reorder_and_bulk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reorder, "MESSAGES", 200)
    monkeypatch.setattr(reorder, "BULK_SECONDS", 0.5)
    found, _ = run(reorder.SCENARIO)
    assert found["reorder-goodput"]["direction"] == ">="
    monkeypatch.setattr(bulk, "SECONDS", 1.0)
    monkeypatch.setattr(bulk, "SHARED_S", 2.0)
    found, seen = run(bulk.SCENARIO)
    assert found["bulk"]["value"] > 20
    assert {"bulk-bbr", "bulk-newreno", "bulk-bbr-loss1", "bulk-bbr-loss5", "bulk-fair", "bulk-fair-bbr"} <= set(found)
    assert found["bulk-bbr-loss5"]["unit"] == "Mbit/s"
    assert seen["cells"][-1]["cell"] == "bbr+cubic"
    assert seen["cells"][-1]["found"][0]["second_mbit"] > 0


def test_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCHES", 30)
    found, seen = run(batches.SCENARIO)
    assert found["batches-bbr"]["n"] == 2
    clean = [cell for cell in seen["cells"] if not cell["loss_percent"]]
    assert [cell["worst_ms"] for cell in clean] == [25.0] * 3
    assert all(cell["n"] == 300 for cell in seen["cells"])


@pytest.mark.slow  # likewise
def test_moving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "SECONDS", 0.5)
    found, seen = run(moving.SCENARIO)
    assert found["moving-lost"]["verdict"] == bars.PASS
    assert found["moving-goodput"]["direction"] == ">="
    assert [cell["changes"] > 0 for cell in seen["cells"]] == [False, True, True, True] * 2


def test_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "ROUNDS", 1)
    monkeypatch.setattr(speed, "BULK_SECONDS", 0.3)
    monkeypatch.setattr(speed, "THIN_MESSAGES", 100)
    ticks = Ticks()
    found, _ = speed.run(ticks, 1)
    assert found[0]["value"] > 0
    assert len(ticks) == 2


def test_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "A_SEED", 10)
    found, seen = run(handshakes.SCENARIO)
    assert set(found) == {"handshakes-never", "handshakes-always"}
    assert [cell["n"] for cell in seen["cells"]] == [10, 10]
    assert seen["cells"][0]["p50_ms"] < seen["cells"][1]["p50_ms"]


def test_a_handshake_that_takes_too_long_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "LINK", LinkConfig(delay_ns=25 * MS, loss=1.0))
    assert handshakes.shake(1, "never") == -1


def test_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_style: str, _count: int) -> dict[str, Any]:
        raise ChildFailed("no such thing")

    monkeypatch.setattr(idle, "CONNECTIONS", 20)
    monkeypatch.setattr(idle.connections, "measure", fails)
    found, _ = run(idle.SCENARIO)
    assert 1 < found["idle-simulated"]["value"] < 40
    assert found["idle-rudp-callbacks"]["verdict"] == bars.NOT_MEASURED
    assert found["idle-rudp-callbacks"]["why"] == "no such thing"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kcp, "ECHOES", 50)
    path = tmp_path / "result.json"
    assert cli.main(["scenarios", "--only", "kcp", "--seeds", "1", "--json", str(path)]) == 0
    out = capsys.readouterr()
    assert "rudp, no loss: the floor" in out.out
    assert "PASS" in out.out
    assert "kcp: 2/2" in out.err
    data = schema.load(path)
    assert data["probes"]["kcp"]["cells"][0]["n"] == 50
    assert "the floor" in html(data)
    monkeypatch.setattr(kcp, "AVERAGE_MS", 1.0)
    assert cli.main(["scenarios", "--only", "kcp", "--seeds", "1", "--json", str(path), "--no-html"]) == 1
    assert cli.main(["scenarios", "--only", "quack"]) == 2
    assert "no scenario 'quack'; there are: kcp, thin" in capsys.readouterr().err


def test_every_scenario_has_its_name() -> None:
    assert list(scenarios.SCENARIOS) == [one.name for one in scenarios.SCENARIOS.values()]
