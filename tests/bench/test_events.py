"""The figures of the events layer, tiny: every part starts, counts what arrives, and says why when it can't measure."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import bars, cli, cli_events, schema
from bench.child import ChildFailed
from bench.events import clients, deaf, fanout, idle, receivers, rooms, stage, storm, stub
from bench.events.tally import Tally
from bench.probes import connections
from bench.tables import WIDTH, probe_text

LATER = float("inf")
SOON = {"seconds": 0.02, "warmup": 0.01}


def nothing(_what: str) -> None:
    pass


def by_id(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {bar["id"]: bar for bar in found}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-socketio is not installed, whatever is."""
    monkeypatch.setattr("bench.peers.socketio.SocketIo.missing", lambda _self: "pip install python-socketio")


@pytest.fixture
def tally() -> Iterator[Tally]:
    made = Tally()
    yield made
    made.close()


def test_a_tally_is_seen_by_whoever_has_its_path(tally: Tally) -> None:
    other = Tally(tally.path)
    other.value += 2**40
    assert tally.value == 2**40
    other.close()


@pytest.mark.parametrize("peer", stub.PEERS)
def test_every_delivery_of_an_emit_to_stubs_is_counted(peer: str) -> None:
    if peer == rooms.SOCKETIO:
        pytest.importorskip("socketio")
    found = asyncio.run(stub.one(peer, members=30, **SOON))
    assert found["emits"] > 0
    assert found["per_cpu_second"] > 0


def test_stubbed_fan_out_without_the_peer(without: None) -> None:
    ticks: list[str] = []
    found, seen = stub.run(ticks.append, LATER, members=10, rounds=2, **SOON)
    assert len(ticks) == cli_events.PARTS["fanout-stub"].ticks(2) == 2
    assert found[0]["verdict"] == bars.NOT_MEASURED
    assert "pip install python-socketio" in found[0]["why"]
    assert [cell["peer"] for cell in seen["cells"]] == [stub.OURS] * 2
    ours, theirs = seen["table"]["rows"]
    assert ours[1] != "-" == theirs[1], "no peer is silently missing"
    assert "not installed" in seen["table"]["note"]


@pytest.mark.slow  # two processes
@pytest.mark.parametrize("peer", fanout.TITLES)
def test_fan_out_over_sockets(peer: str) -> None:
    if peer == rooms.SOCKETIO:
        pytest.importorskip("socketio")
        pytest.importorskip("aiohttp")
    found = fanout.measure(peer, 3, 0.1, 0.02)
    assert found["deliveries"] > 0
    assert found["emitted"] * 3 >= found["deliveries"]
    assert found["bytes_each"] > fanout.PAYLOAD


def test_a_fan_out_of_all_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = {"deliveries": 9, "per_second": 80e3, "server_busy": 0.9, "receivers_busy": 0.4, "steal_percent": 1.0}
    monkeypatch.setattr("bench.peers.socketio.SocketIo.missing", lambda _self: None)
    monkeypatch.setattr(
        fanout, "measure", lambda peer, *_: cell | {"per_cpu_second": 20e3 if peer == rooms.SOCKETIO else 90e3}
    )
    found, seen = fanout.run(nothing, LATER, 10, rounds=2)
    assert (found[0]["value"], found[0]["n"], found[0]["verdict"]) == (4.5, 2, bars.PASS)
    assert {bar["verdict"] for bar in found[1:]} == {bars.INFORMATION}
    rows = seen["table"]["rows"]
    assert rows[-1][1:] == ["20.0 k", "20.0 k - 20.0 k", "80.0 k", "90 %", "40 %", "1.0 %"]
    assert max(map(len, probe_text(seen["table"]).splitlines())) <= WIDTH


@pytest.mark.slow  # two processes
def test_an_event_that_does_not_arrive_fails_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.Stage, "finish", lambda _self, expected: {"least": expected - 1, "most": expected})
    with pytest.raises(ChildFailed, match="members have"):
        fanout.measure("tcp", 2, 0.02, 0.01)


@pytest.mark.slow  # two processes, three times
def test_idle_connections(monkeypatch: pytest.MonkeyPatch, without: None) -> None:
    monkeypatch.setattr(connections, "WARM", 2)
    monkeypatch.setattr(connections, "SETTLE_S", 0.01)
    found = by_id(idle.run(nothing, LATER, count=6)[0])
    for peer in (idle.ALONE, "ws"):
        assert found[f"memory-{peer}"]["value"] is not None, found[f"memory-{peer}"]["why"]
    theirs = found[f"memory-{rooms.SOCKETIO}"]
    assert theirs["verdict"] == bars.INFORMATION
    assert "not installed" in theirs["why"]
    assert idle.run(nothing, LATER, count=1)[0][0]["why"] == "more than 2 connections are needed"


@pytest.mark.slow  # more has to be sent than kernels keep
def test_a_client_that_never_reads() -> None:
    found, seen = deaf.run(nothing, LATER, total=32 << 20)
    assert found[0]["value"] is not None, found[0]["why"]
    (cell,) = seen["cells"]
    assert cell["statistics"]["slow"] >= 1
    assert cell["statistics"]["readers"] == 1


@pytest.mark.slow  # two processes
def test_a_client_that_was_never_slow_proves_nothing() -> None:
    found, seen = deaf.run(nothing, LATER, total=8192)
    assert found[0]["verdict"] == bars.FAIL
    assert "never slow" in found[0]["why"]
    assert seen["cells"] == []


@pytest.mark.slow  # clients wait before they come back
def test_a_storm_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "STORMS", {"tcp": ("tcp", True)})
    monkeypatch.setattr(storm, "BEFORE_S", 0.05)
    found, seen = storm.run(nothing, LATER, count=5)
    (cell,) = seen["cells"]
    assert by_id(found)["storm-tcp-complete"]["verdict"] == bars.PASS, found
    assert (cell["cut"], cell["back"], cell["complete"], cell["reconnects"]) == (5, 5, 5, 5)
    assert cell["statistics"]["resumed"] == 5


def test_a_storm_in_which_somebody_is_lost() -> None:
    cell = {"back": 4, "all_s": None, "grown_mib": 1.0, "complete": 3, "behind": 1, "wrong": 1, "gaps": 0}
    resumed, memory, complete = storm.bars_of("tcp", 5, cell, None)
    assert (resumed["verdict"], resumed["why"]) == (bars.FAIL, "only 4 of 5 came back")
    assert memory["verdict"] == bars.PASS
    assert (complete["verdict"], complete["value"]) == (bars.FAIL, 3)
    assert complete["why"] == "1 clients not at the end, 1 numbers not due, 0 gaps"


def test_a_client_counts_what_was_not_due(tally: Tally) -> None:
    one = clients.One(tally)
    one.client = SimpleNamespace(reconnects=0)
    for number in (0, 2, 2, 3):  # 1 is lost, 2 comes twice
        one.take(SimpleNamespace(event=number))
    assert (one.next, one.wrong, one.back, tally.value) == (4, 2, 0.0, 0)
    one.client.reconnects = 1
    for number in (4, 5):
        one.take(SimpleNamespace(event=number))
    assert (one.wrong, tally.value) == (2, 1), "back once"
    one.missed(None)
    assert one.gaps == 1


def test_a_mark_in_two_pieces_is_counted_once(tally: Tally) -> None:
    opening = receivers.Opening(b"", bool, b"")
    for cut in range(len(rooms.MARK) + 1):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            many = receivers.Receivers(opening, ("", 0), tally)
            many.add(theirs)
            before = tally.value
            for piece in (b"x" + rooms.MARK[:cut], rooms.MARK[cut:] + b"x", rooms.MARK * 2):
                ours.sendall(piece)
                many.turn(1.0)
            assert tally.value - before == 3
            assert many.finish(3) == {"least": 3, "most": 3, "bytes": 2 + 3 * len(rooms.MARK)}
            ours.close()
            with pytest.raises(ConnectionError, match="closed"):
                many.turn(1.0)
            many.epoll.close()


def test_who_is_deaf_is_not_read(tally: Tally) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    many = receivers.Receivers(receivers.Opening(b"", bool, b""), ("", 0), tally, deaf=1)
    for ours, theirs in pairs:
        many.add(theirs)
        ours.sendall(rooms.MARK)
    many.turn(1.0)
    assert tally.value == len(many.counts) == len(many.unread) == 1
    many.epoll.close()
    for pair in pairs:
        for one in pair:
            one.close()


def test_a_server_that_speaks_something_else_is_said_so() -> None:
    assert receivers.is_upgraded(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
    assert not receivers.is_upgraded(b"HTTP/1.1 1")
    with pytest.raises(ConnectionError, match="404"):
        receivers.is_upgraded(b"HTTP/1.1 404 Not Found\r\n\r\n")
    with pytest.raises(ValueError, match="rudp is more than bytes"):
        receivers.opening_of("rudp", "127.0.0.1:1")


def cells(ours: list[float], theirs: list[float]) -> dict[str, dict[int, dict[str, Any]]]:
    sides = {"ws": ours, rooms.SOCKETIO: theirs}
    return {peer: {at: {"rate": value} for at, value in enumerate(values)} for peer, values in sides.items()}


def test_a_ratio_is_taken_within_a_round() -> None:
    bar = stage.ratio_bar("x", "what", cells([30, 90, 50], [10, 10]), "ws", "rate", 3.0, {})
    assert (bar["value"], bar["low"], bar["high"], bar["n"], bar["verdict"]) == (6.0, 3.0, 9.0, 2, bars.PASS)
    assert bar["ratios"] == {"0": 3.0, "1": 9.0}
    assert stage.ratio_bar("x", "what", cells([20], [10]), "ws", "rate", 3.0, {})["verdict"] == bars.FAIL
    assert stage.ratio_bar("x", "what", cells([20], []), "ws", "rate", 3.0, {})["verdict"] == bars.NOT_MEASURED


@pytest.mark.parametrize(("trouble", "verdict"), [
    ({"ws": "it fell over"}, bars.FAIL), ({"ws": stage.NO_TIME}, bars.PASS), ({rooms.SOCKETIO: "it"}, bars.PASS),
])  # fmt: skip
def test_a_round_of_ours_that_failed_fails_the_bar(trouble: dict[str, str], verdict: str) -> None:
    bar = stage.ratio_bar("x", "what", cells([90], [10]), "ws", "rate", 3.0, trouble)
    assert (bar["verdict"], bar["why"]) == (verdict, next(iter(trouble.values())))


def test_turns_go_on_behind_one_that_failed(without: None) -> None:
    ran: list[str] = []

    def measure(peer: str) -> dict[str, Any]:
        ran.append(peer)
        if peer == "tcp":
            raise ChildFailed("it fell over\nat line 3")
        return {"rate": 1.0}

    found, trouble = stage.in_turns(nothing, LATER, ["ws", "tcp", rooms.SOCKETIO], 2, 1, measure)
    assert sorted(ran) == ["tcp", "tcp", "ws", "ws"]
    assert found == {"ws": {0: {"rate": 1.0}, 1: {"rate": 1.0}}, "tcp": {}, rooms.SOCKETIO: {}}
    assert trouble["tcp"] == "it fell over"
    assert trouble[rooms.SOCKETIO].startswith("python-socketio is not installed")


def test_nothing_is_begun_when_the_time_is_over(without: None) -> None:
    for found, _ in (
        stub.run(nothing, 0.0), fanout.run(nothing, 0.0, 10), idle.run(nothing, 0.0, 200), deaf.run(nothing, 0.0),
        storm.run(nothing, 0.0, 10),
    ):  # fmt: skip
        assert {bar["value"] for bar in found} == {None}
        assert stage.NO_TIME in found[0]["why"]


def test_too_few_descriptors_are_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "raise_descriptors", lambda _count: 10)
    for run in (fanout.run, idle.run, storm.run):
        found, seen = run(nothing, LATER, count=3000)
        assert "only 10 of 3,000 sockets are allowed" in found[0]["why"]
        assert {bar["verdict"] for bar in found} <= {bars.NOT_MEASURED, bars.INFORMATION}
        assert all(len(row) == len(seen["table"]["head"]) for row in seen.get("table", {"rows": []})["rows"])


def test_the_command(tmp_path: Path, without: None, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "result.json"
    assert cli.main(["events", "--only", "fanout-stub", "--rounds", "1", "--seconds", "0.02", "--warmup", "0.01",
                     "--connections", "10", "--json", str(path)]) == 1, "a bar without a figure"  # fmt: skip
    data = schema.load(path)
    assert [bar["id"] for bar in data["bars"]] == ["fanout-stub"]
    assert [item["id"] for item in data["missing"]] == [rooms.SOCKETIO]
    out = capsys.readouterr().out
    assert "Fan-out, transport stubbed" in out
    assert "left out: python-socketio; to have: pip install python-socketio" in out
    assert "Fan-out, transport stubbed" in path.with_suffix(".html").read_text(encoding="utf-8")


def test_a_part_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["events", "--only", "fanout,nothing"]) == 2
    assert "no part 'nothing'; there are: fanout-stub, fanout, memory, reader, storm" in capsys.readouterr().err
