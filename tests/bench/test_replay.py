"""`replay`: the trace format, the plan that both ends share, and a round over loopback that plays it."""

from __future__ import annotations

import json
import struct
from array import array
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import campaign, cases, cli, schema
from bench.campaign import command_line
from bench.cases import Case, open_loop
from bench.job import ARRIVALS_FILE, LATE_FILE, SCHEDULE_FILE
from bench.link.model import Link
from bench.openloop import OpenLoop
from bench.openresult import Account, wrong_bytes
from bench.peers import all_peers
from bench.runner import OK, Entry, Plan, run_round
from bench.schedule import TAIL_MESSAGES, Schedule, make_schedule, replay_schedule
from bench.trace import file as file_module
from bench.trace.file import BadTrace, Trace, make_trace, read_trace, write_trace
from bench.trace.model import Recorded
from tests.bench.broken_peers import SIZES_FOLDER, Measuring

LINES = [(0.0, 4, 7), (0.010, 100, 2), (0.010, 200, 7), (0.040, 3000, 2)]


def text_of(lines: list[tuple[float, int, int]]) -> str:
    return "".join([json.dumps({"at": at, "size": size, "connection": lane}) + "\n" for at, size, lane in lines])


def a_trace(tmp_path: Path, lines: list[tuple[float, int, int]] | None = None) -> Trace:
    path = tmp_path / "calls.jsonl"
    path.write_text(text_of(LINES if lines is None else lines))
    return read_trace(path)


def played(trace: Trace, **how: Any) -> Case:
    return cases.replay(replace(trace.facts, **how))


def test_a_trace_is_sorted_raised_and_renumbered(tmp_path: Path) -> None:
    trace = a_trace(tmp_path, [(at + 100.5, size, lane) for at, size, lane in [LINES[3], *LINES[:3]]])
    assert list(trace.at) == [0, 10_000_000, 10_000_000, 40_000_000]
    assert list(trace.size) == [16, 100, 200, 3000]
    assert list(trace.connection) == [1, 0, 1, 0]
    facts = trace.facts
    assert (facts.name, facts.messages, facts.bytes, facts.raised) == ("calls.jsonl", 4, 3316, 1)
    assert (facts.smallest, facts.largest, facts.connections, facts.span_s) == (16, 3000, 2, 0.04)
    assert len(facts.sha256) == 64
    assert a_trace(tmp_path).facts.sha256 != facts.sha256


def test_the_connection_may_be_left_out_and_the_last_newline_too(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b'{"at": 1, "size": 20}\r\n{"size": 30, "at": 2.5}')
    trace = read_trace(path)
    assert (list(trace.at), list(trace.size), list(trace.connection)) == ([0, 1_500_000_000], [20, 30], [0, 0])


def test_writing_and_reading_are_inverse(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.jsonl"
    start = 1_700_000_000_123_456_789
    write_trace([(start + 3 * 10**9 + 1, 50, 1), (start, 20, 0), (start + 7, 16, 4)], path)
    trace = read_trace(path)
    assert list(zip(trace.at, trace.size, trace.connection, strict=True)) == [
        (0, 20, 0), (7, 16, 2), (3_000_000_001, 50, 1),
    ]  # fmt: skip
    assert [entry.name for entry in path.parent.iterdir()] == ["x.jsonl"]


GOOD = '{"at": 0, "size": 20}'


@pytest.mark.parametrize(("line", "text"), [
    ("", "blank"), ("  ", "blank"), ("# hello", "a comment"), ("// hello", "a comment"), ("hello", "no JSON"),
    ("[1, 2]", "not an object"), ("17", "not an object"), ('{"at": 1}', "size is a whole number"),
    ('{"size": 1}', "at is a number of seconds from 0 to 1e+11, not missing"),
    ('{"at": -1, "size": 1}', "at is a number"), ('{"at": NaN, "size": 1}', "not NaN"),
    ('{"at": Infinity, "size": 1}', "not Infinity"), ('{"at": "1", "size": 1}', 'not "1"'),
    ('{"at": true, "size": 1}', "not true"), ('{"at": 1e12, "size": 1}', "at is a number"),
    ('{"at": 1' + "0" * 400 + ', "size": 1}', "at is a number"),
    ('{"at": 1, "size": 1.5}', "not 1.5"), ('{"at": 1, "size": -1}', "size is a whole number"),
    ('{"at": 1, "size": 16777217}', "from 0 to 16777216"), ('{"at": 1, "size": false}', "not false"),
    ('{"at": 1, "size": 1, "connection": -1}', "connection is a whole number"),
    ('{"at": 1, "size": 1, "connection": "a"}', "connection is a whole number"),
    ('{"at": 1, "size": 1, "conn": 2}', "'conn' is none of at, size, connection"),
    ('{"at": 1, "size": 1, "connection": ' + " " * 1000 + "0}", "longer than 1000 bytes"), ("[" * 999, "no JSON"),
    ("\xff\xfe", "no JSON"),
])  # fmt: skip
def test_a_wrong_line_is_told_with_its_number(
    line: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(f"{GOOD}\n{GOOD}\n{line}\n{GOOD}\n".encode("latin-1"))
    with pytest.raises(BadTrace) as error:
        read_trace(path)
    assert str(error.value).startswith("x.jsonl, line 3: ")
    assert text in str(error.value)
    assert cli.main(["replay", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and text in said


def test_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_text(text_of([(at, 100, at) for at in range(6)]))  # type: ignore[misc]
    for name, value, text in (
        ("MESSAGES_MAX", 5, "more than 5 messages"), ("BYTES_MAX", 599, "line 6: more than 599 bytes"),
        ("CONNECTIONS_MAX", 5, "6 connections, 5 at most"), ("SPAN_S_MAX", 4.0, "spans 5 s, 4 s at most"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(file_module, name, value)
            with pytest.raises(BadTrace, match=text):
                read_trace(path)
    assert len(read_trace(path)) == 6
    for content, text in ((b"", "has no messages"), (b"\xd4\xc3\xb2\xa1\0", "is a packet capture")):
        path.write_bytes(content)
        with pytest.raises(BadTrace, match=text):
            read_trace(path)


def test_the_plan_is_the_trace(tmp_path: Path) -> None:
    trace = a_trace(tmp_path)
    schedule = replay_schedule(played(trace), trace, 0.005)
    assert list(schedule.due) == [0, 10_000_000, 10_000_000, 40_000_000]
    assert (list(schedule.size), list(schedule.connection)) == (list(trace.size), list(trace.connection))
    assert (schedule.first, schedule.last) == (1, 4)
    assert list(replay_schedule(played(trace, speed=2.5), trace, 0.001).due) == [0, 4_000_000, 4_000_000, 16_000_000]


def test_a_trace_is_repeated_and_cut_with_what_would_come_next_as_the_tail(tmp_path: Path) -> None:
    trace = a_trace(tmp_path, [(0.0, 20, 0), (0.1, 30, 1), (0.2, 40, 0)])
    schedule = replay_schedule(played(trace, loop=True, length_s=0.75), trace, 0.05)
    assert [at // 100_000_000 for at in schedule.due[:9]] == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert list(schedule.size[:7]) == [20, 30, 40, 20, 30, 40, 20]
    assert (schedule.first, schedule.last) == (1, 8)
    assert schedule.due[schedule.last - 1] < 750_000_000 <= schedule.due[schedule.last]
    assert schedule.due[-1] < 1_750_000_000
    fast = replay_schedule(played(trace, loop=True, length_s=0.75, speed=100.0), trace, 0.05)
    assert Counter(fast.connection[fast.last :]) == {0: TAIL_MESSAGES, 1: TAIL_MESSAGES}
    cut = replay_schedule(played(trace, loop=True, length_s=0.15), trace, 0.0)
    assert (cut.first, cut.last) == (0, 2)


def test_what_can_t_be_played_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = a_trace(tmp_path)
    with pytest.raises(BadTrace, match=r"1 messages come after a warm-up of 0.03 s, 2 at least"):
        replay_schedule(played(trace), trace, 0.03)
    with pytest.raises(BadTrace, match="0 messages come after a warm-up"):
        replay_schedule(played(trace), trace, 9.0)
    still = make_trace([(5, 20, 0), (5, 20, 0)], "x", "0" * 64)
    with pytest.raises(BadTrace, match="same time"):
        replay_schedule(played(still, loop=True, length_s=1.0), still, 0.0)
    assert list(replay_schedule(played(still), still, 0.0).due) == [0, 0]
    monkeypatch.setattr("bench.schedule.TRACE_MESSAGES_MAX", 10)
    with pytest.raises(BadTrace, match="more than 10 messages are to be played"):
        replay_schedule(played(trace, loop=True, length_s=1.0), trace, 0.0)


def test_a_schedule_is_the_same_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "schedule"
    trace = a_trace(tmp_path)
    for schedule in (
        replay_schedule(played(trace), trace, 0.005), make_schedule(open_loop(64, 100.0, 3), 0.5, 0.1, 1),
    ):  # fmt: skip
        schedule.save(path)
        assert Schedule.load(path) == schedule


def test_a_case_with_a_trace_goes_through_json(tmp_path: Path) -> None:
    trace = a_trace(tmp_path)
    case = cases.replay(replace(trace.facts, speed=2.0, loop=True, length_s=60.0), Link(delay_ms=5))
    again = json.loads(json.dumps(case.as_dict()))
    assert Case.from_dict(again) == case
    assert case.title == (
        "recorded traffic calls.jsonl: 4 messages, mean 829 B (16 to 3,000), 2 connections, over 0.04 s, at 2 times "
        "the speed, repeated to 60 s, 1 raised to the smallest size; RTT 10 ms"
    )
    assert case.id == f"replay-calls-{trace.facts.sha256[:8]}-x2-loop60-rtt10"
    assert (case.payload, case.mixed, case.connections, case.rate) == (3000, True, 2, pytest.approx(100.0))
    assert str(tmp_path) not in json.dumps(again)
    schema.validate(again | {"peers": []}, schema.SCHEMA["properties"]["cases"]["items"])


class NoWindow:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.append("begin")

    def end(self) -> None:
        self.calls.append("end")


@pytest.mark.parametrize(("first", "last"), [(0, 4), (1, 4), (2, 3), (0, 2)])
def test_the_window_is_opened_once_and_closed_once(first: int, last: int) -> None:
    due = array("q", [0, 1000, 2000, 3000])
    schedule = Schedule(due, array("i", [0, 1, 0, 1]), array("i", [16, 50, 20, 900]), first, last)
    window = NoWindow()
    load = OpenLoop(schedule, 1, window)
    sent: list[tuple[int, int]] = []
    load.begin([lambda message: sent.append((0, len(message))), lambda message: sent.append((1, len(message)))])
    while not load.is_done:
        load.send_next()
    assert sent == [(0, 16), (1, 50), (0, 20), (1, 900)]
    assert window.calls == ["begin", "end"]


def test_wrong_sizes_fail_a_round() -> None:
    schedule = Schedule(array("q", [0, 1]), array("i", [0, 0]), array("i", [16, 50]), 0, 2)
    found = Account(array("q", [1, 1]), 0, 0, 0, 0)
    assert wrong_bytes(schedule, found, 2, 66) is None
    assert wrong_bytes(schedule, found, 1, 16) is None
    assert wrong_bytes(schedule, found, 2, 67) == ("FAIL", "67 bytes have arrived in 2 messages, 66 were planned")


def test_each_size_arrives_as_often_as_it_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In real processes; the receiving one notes the size of everything that it takes, and on which connection."""
    lines = [(at / 500, (16, 17, 1000, 70_000)[at % 4], at % 3) for at in range(200)]
    trace = a_trace(tmp_path, lines)
    case = played(trace, length_s=0.4)
    monkeypatch.setenv(SIZES_FOLDER, str(tmp_path))
    peer = Measuring()
    plan = Plan([(case, [Entry(peer.name, peer)])], 1, 0.35, 0.05, 1, traces={trace.facts.sha256: trace})
    item = run_round(plan, case, plan.work[0][1][0], 0, 0)
    assert item["status"] in (OK, "INVALID"), item["why"]
    assert item["open"]["planned"] == item["open"]["arrived"] == item["latency"]["n"] == 175
    assert not item["open"]["lost"] and not item["open"]["doubled"] and not item["open"]["swapped"]
    sizes = [size for (size,) in struct.iter_unpack("<I", (tmp_path / "sizes").read_bytes())]
    assert Counter(sizes) == Counter([size for _, size, _ in lines]) and sum(sizes) == trace.facts.bytes
    kept = Schedule.load(tmp_path / SCHEDULE_FILE)  # the sending process wrote down what it has played
    assert kept == plan.schedule_of(case)
    assert {LATE_FILE, ARRIVALS_FILE}.isdisjoint({entry.name for entry in tmp_path.iterdir()})


def replay(*arguments: str) -> int:
    return cli.main(["replay", *arguments])


@pytest.mark.slow
def test_the_command_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "INVALID", "none")  # on a busy machine rounds are, and would be taken again
    a_trace(tmp_path, [(at / 400, (4, 60, 70_000)[at % 3], at % 2) for at in range(120)])
    trace, path = tmp_path / "calls.jsonl", tmp_path / "result.json"
    common = ["--warmup", "0.02", "--rounds", "1", "--no-html", "--json", str(path)]
    able = "asyncio-protocol,asyncio-streams"
    assert replay(str(trace), "--peers", f"{able},blocking-tcp,blocking-udp,c-tcp", *common) == 0
    data = schema.load(path)
    out = capsys.readouterr()
    assert "40 of 120 messages were smaller than the 16 B of a header" in out.err
    assert "left out: blocking-udp: takes messages of up to 65,507 B, the largest here has 70,000" in out.err
    assert "left out: blocking-tcp: knows no messages" in out.err
    assert "left out: c-tcp: has no open loop" in out.err
    assert "recorded traffic calls.jsonl: 120 messages" in out.out
    (case,) = data["cases"]
    assert case["peers"] == ["asyncio-streams", "asyncio-protocol"]
    assert (case["trace"]["name"], case["trace"]["messages"], case["trace"]["raised"]) == ("calls.jsonl", 120, 40)
    assert {item["status"] for item in data["rounds"]} <= {"OK", "INVALID"}
    assert [item["open"]["lost"] for item in data["rounds"]] == [0, 0]
    assert str(tmp_path) not in path.read_text()
    assert replay(str(trace), "--peers", able, *common, "--resume") == 0
    assert schema.load(path)["rounds"] == data["rounds"], "all had been run"
    a_trace(tmp_path, [(at / 400, 60, 0) for at in range(120)])
    assert replay(str(trace), "--peers", able, *common, "--resume") == 2
    assert "is of another request" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "text"), [
    (["--peers", "blocking-tcp"], "nobody is left to play it to"), (["--peers", "nobody"], "no peer 'nobody'"),
    (["--warmup", "5"], "0 messages come after a warm-up"), (["--loop", "4000"], "a round would take 4,000 s"),
    (["--resume"], "--resume needs the file"), (["--link", "quack=1"], "'quack=1'"),
])  # fmt: skip
def test_wrong_usage_is_told(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_trace(tmp_path)
    assert replay(str(tmp_path / "calls.jsonl"), *arguments) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_a_file_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "none", tmp_path):
        assert replay(str(path)) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_the_command_in_a_result_has_the_name_of_the_trace_only(tmp_path: Path) -> None:
    a_trace(tmp_path)
    path = str(tmp_path / "calls.jsonl")
    assert command_line(["replay", path, "--json", "x"]) == "python -m bench replay calls.jsonl"
    assert command_line(["loss", "--link", "delay=1ms/2"]) == "python -m bench loss --link delay=1ms/2"


def test_names_are_fit_for_file_names() -> None:
    def named(name: str) -> str:
        return Recorded(name, "ab" * 32, 1, 16, 16, 16, 1, 1.0).id

    assert named("my calls (2).jsonl") == "my-calls-2-abababab"
    assert named("...") == "trace-abababab"
    assert len(named("x" * 300)) < 60


def test_every_peer_says_why_it_is_left_out(tmp_path: Path) -> None:
    trace = a_trace(tmp_path, [(0.0, 20, 0), (1.0, 2 << 20, 0)])
    case = played(trace)
    from bench.cli_trace import why_not

    reasons = {name: why_not(peer, case) for name, peer in all_peers().items() if not peer.supports(case)}
    assert reasons["tcp"] == "takes messages of up to 1,048,576 B, the largest here has 2,097,152"
    assert "can't run this" not in reasons.values()
