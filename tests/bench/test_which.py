"""The question which transport to use is answered from the nearest cell, or not at all."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from bench import cli, schema, which
from bench.link.model import Link
from bench.report.situations import document
from bench.summary import ANY_ORDER, GUARANTEES, IN_ORDER, summarize
from tests.bench import results

LOSSY = Link(delay_ms=25.0, loss=0.05)


def source(data: dict[str, Any] | None = None, name: str = "a.json") -> which.Source:
    data = results.open_result() if data is None else data
    return which.Source(name, data, summarize(data))


def ask(link: Link | None, *sources: which.Source, **more: Any) -> which.Answer:
    return which.answer(which.Question(link, **more), list(sources) or [source()])


def test_the_very_cell_is_answered_from() -> None:
    found = ask(LOSSY)
    assert Link.from_dict(found.case["link"]) == LOSSY
    assert found.off == []
    assert found.choice.peer["id"] == "rudp"
    assert [cell.peer["id"] for cell in found.order] == ["rudp-unordered", "rudp", "pyzmq"]
    assert [cell.peer["id"] for cell in found.left_out] == ["tcp"], "it failed a round there"


def test_the_nearest_cell_is_named_with_what_is_off() -> None:
    found = ask(Link(delay_ms=30.0, loss=0.03))
    assert Link.from_dict(found.case["link"]) == Link(delay_ms=25.0, loss=0.02)
    assert found.off == ["round-trip time 50 ms for 60 ms", "loss 2 % for 3 %"]
    assert "(round-trip time 50 ms for 60 ms, loss 2 % for 3 %)" in " ".join(which.answer_text(found).split())


@pytest.mark.parametrize("link", [
    Link(delay_ms=250.0, loss=0.05), Link(delay_ms=25.0, loss=0.2), Link(delay_ms=2.0),
    Link(delay_ms=25.0, loss=0.02, rate_mbit=1.0), Link(delay_ms=25.0, loss=0.02, burst_ms=100.0),
])  # fmt: skip
def test_what_was_not_measured_is_not_answered(link: Link) -> None:
    with pytest.raises(which.NoAnswer, match="nothing near was measured: .*there is: one way"):
        ask(link)


@pytest.mark.parametrize("more", [{"payload": 16_384}, {"rate": 100_000.0}])
def test_neither_are_other_sizes_and_rates(more: dict[str, Any]) -> None:
    with pytest.raises(which.NoAnswer, match="nothing near"):
        ask(LOSSY, **more)


def test_loopback_and_links_are_not_near_each_other() -> None:
    found = ask(None)
    assert found.case["link"] is None
    assert found.case["rate"] == 1000
    assert found.choice.peer["id"] == "pyzmq"
    assert ask(Link(delay_ms=10.0)).case["link"] is not None


def test_a_cell_where_all_failed_is_not_answered_from() -> None:
    data = results.open_result()
    for item in data["rounds"]:
        item |= {"status": "INVALID", "why": "late"}
    with pytest.raises(which.NoAnswer, match="no peer that promises enough has a p99"):
        ask(LOSSY, source(data))


def test_files_without_an_open_loop() -> None:
    with pytest.raises(which.NoAnswer, match="no open loop at all"):
        ask(LOSSY, source(results.result()))


def test_of_two_files_with_the_same_cell_the_newer_answers() -> None:
    newer = results.open_result() | {"started": "2031-01-02T03:04:05+00:00"}
    found = ask(LOSSY, source(), source(newer, "b.json"))
    assert found.source.name == "b.json"
    assert ask(LOSSY, source(newer, "b.json"), source()).source.name == "b.json"


def test_the_cheapest_of_those_level_is_named() -> None:
    found = ask(Link(delay_ms=25.0))
    same = {cell.peer["id"] for cell in which.level_with(found.order, None)}
    assert {"pyzmq", "tcp", "rudp"} <= same
    assert found.choice.peer["id"] in ("pyzmq", "tcp"), "1.5 packets a message, not 2"
    assert found.choice.guarantee == IN_ORDER


def test_a_deadline_ranks_by_what_comes_in_time() -> None:
    found = ask(LOSSY, deadline_ns=45e6, guarantees=GUARANTEES)
    best = found.order[0]
    assert best.peer["id"] == "rudp-unordered", "its tail ends at 42.5 ms"
    assert best.share_within(45e6) == 1
    assert found.order[-1].share_within(45e6) == pytest.approx(0.95), "5 % of the unreliable ones are lost"
    text = which.answer_text(found)
    assert "100.00 % within 45.0 ms" in text
    assert max(map(len, text.splitlines())) <= 100


def test_less_than_order_is_offered_where_it_helps() -> None:
    text = which.answer_text(ask(LOSSY))
    assert f"rudp-unordered: p99 42.5 ms, if this will do: {ANY_ORDER}" in text
    assert "tcp: FAIL: server: <gone> & away" in text
    assert "if this will do" not in which.answer_text(ask(Link(delay_ms=25.0)))


def test_who_had_no_valid_round_is_said_aloud() -> None:
    link = Link(delay_ms=10.0, loss=0.05)
    assert "no valid round of pyzmq: might be better; measure again" in which.answer_text(ask(link))
    assert "no valid round" not in which.answer_text(ask(LOSSY)), "a failure is no excuse"


@pytest.mark.parametrize(("text", "ns"), [("100ms", 1e8), ("2s", 2e9), ("500us", 5e5), ("1.5ms", 1.5e6)])
def test_times_are_read(text: str, ns: float) -> None:
    assert which.duration_ns(text) == ns


@pytest.mark.parametrize("text", ["", "100", "0ms", "-1s", "1h", "ms"])
def test_wrong_times_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        which.duration_ns(text)


# Command -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    schema.save(results.open_result(), path)
    return path


def test_on_the_command_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["which", str(file), "--rtt", "50", "--loss", "5"]) == 0
    first = capsys.readouterr().out
    assert "use       rudp: p99 50.0 ms" in first
    assert cli.main(["which", str(file), "--link", "rtt=50ms,loss=5%"]) == 0
    assert capsys.readouterr().out == first
    assert cli.main(["which", str(file), "--rtt", "50", "--loss", "2", "--may-lose"]) == 0
    assert "use       rudp-unreliable" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "text"), [
    (["--rtt", "500"], "nothing near was measured"), (["--link", "rtt=50ms", "--loss", "1"], "leave --rtt and --loss"),
    (["--link", "speed=1"], "a link is made of"), (["--payload", "0"], "above 0"), (["--loss", "200"], "loss"),
])  # fmt: skip
def test_wrong_questions_are_told_in_one_line(
    file: Path, arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["which", str(file), *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1


# The document --------------------------------------------------------------------------------------------------------
def test_the_document_has_every_situation_and_its_choice(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "which-transport.md"
    assert cli.main(["which", str(file), "--markdown", str(target)]) == 0
    text = target.read_text()
    assert "python -m bench which result.json --markdown which-transport.md" in text
    assert str(tmp_path) not in text, "a path says much about a machine"
    (row,) = [line for line in text.splitlines() if line.startswith("| RTT 50 ms, 5 %")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "RTT 50 ms, 5 % (failed: tcp)"
    assert cells[1:4] == ["**rudp**", "50.0", "100.00 %"]
    assert cells[6:] == ["nobody", "rudp-unordered: 42.5 ms", "rudp-unreliable: 25.5 ms, 5.00 % lost"]
    assert "| RTT 20 ms, 5 % (no valid round: pyzmq) | **rudp** |" in text
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}
    assert widths == {10, 6}
    assert "| **tcp** | transport tcp, callbacks | 0 of 13 | 2 of 13 | 3 |" in text
    before = target.stat().st_mtime_ns
    assert cli.main(["which", str(file), "--markdown", str(target)]) == 0
    assert target.read_text() == text
    assert target.stat().st_mtime_ns >= before


def test_every_figure_of_the_document_is_one_of_the_result() -> None:
    found = source()
    text = document([found], ["a.json"], "x.md")
    tables_only = "\n".join(line for line in text.splitlines() if line.startswith("| RTT"))
    shown = {float(value) for value in re.findall(r"\*\* \| ([\d.]+) \|", tables_only)}
    p99s = [cell.percentiles["p99"] for cells in found.cells.values() for cell in cells if cell.rounds]
    known = {round(value / 1e6, 1) for value in p99s if value is not None}
    assert shown
    assert shown <= known


def test_no_document_without_a_figure(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = schema.load(file)
    for item in data["rounds"]:
        item |= {"status": "INVALID", "why": "late"}
    schema.save(data, file)
    target = tmp_path / "x.md"
    assert cli.main(["which", str(file), "--markdown", str(target)]) == 2
    assert "nothing can be recommended" in capsys.readouterr().err
    assert not target.exists()
