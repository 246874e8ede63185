"""`transport top`: figures of two answers, the table, the terminal, and whom it asks."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.tools.running import Running, finished
from tests.tools.test_live import Terminal, terminal  # noqa: F401 - a fixture
from transport.tools import top
from transport.tools.live import CLEAR, CLEAR_BELOW, ENTER_SCREEN, HOME, LEAVE_SCREEN, Output, Screen
from transport.tools.top import Row, Source, View


async def echo(conn: transport.Connection) -> None:
    async for message in conn:
        await conn.send(message)


def row(remote: str = "10.0.0.1:7", **values: Any) -> Row:
    fields = dict.fromkeys(Row._fields)
    return Row(**{**fields, "remote": remote, **values})


def told(*connections: dict[str, Any], **server: Any) -> dict[str, Any]:
    return {
        "pid": 12, "url": "rudp://127.0.0.1:7000", "uptime": 75.2, "left_out": 0, "connections": list(connections),
        "server": {"connections": len(connections), "accepted": 9, "counters": {}, **server},
    }  # fmt: skip


def one(number: int, **counters: int) -> dict[str, Any]:
    return {
        "id": 5, "remote": "10.0.0.1:7", "messages_sent": 100 * number, "messages_received": 10 * number,
        "queued_bytes": 7, "blocked_bytes": 0, "inbox_bytes": 3, "rtt": None, "counters": counters,
    }  # fmt: skip


def test_rates_are_differences() -> None:
    source = Source("x")
    counters = {"rtt_ns": 2_500_000, "packets_sent": 100, "packets_lost": 5, "bytes_sent": 1000, "in_flight": 12,
                "bytes_received": 50, "congestion_window": 12_000}  # fmt: skip
    (first,) = source._seen(told(one(1, **counters)), 10.0).rows
    assert (first.sent, first.lost, first.rtt_ms, first.queued) == (None, None, 2.5, 7)
    later = {**counters, "packets_sent": 140, "packets_lost": 7, "bytes_sent": 3000}
    (second,) = source._seen(told(one(3, **later)), 12.0).rows
    assert (second.sent, second.received, second.bytes_sent, second.bytes_received) == (100.0, 10.0, 1000.0, 0.0)
    assert (second.lost, second.in_flight, second.window, second.unread) == (0.05, 12, 12_000, 3)
    (other,) = source._seen(told({**one(9, **later), "id": 6}), 13.0).rows
    assert other.sent is None, "another connection at the same address"
    (again,) = source._seen(told({**one(1), "id": 6, "rtt": 0.004}), 14.0).rows
    assert (again.rtt_ms, again.lost, again.sent) == (4.0, None, 0.0)


def test_the_table() -> None:
    first = row("10.0.0.1:7", sent=5.0, received=1.0, bytes_received=12.0, rtt_ms=20.0, lost=0.0, queued=1500)
    rows = [first,
            row("[2001:db8:aaaa:bbbb:cccc:dddd::1]:7", sent=50.0, received=2.0, rtt_ms=1.234, lost=0.0123)]  # fmt: skip
    view = View(told({}, {}, refused=2, counters={"half_open": 3}), rows)
    lines = top.lines([view], "out", 200, 40)
    assert lines[0] == (
        "rudp://127.0.0.1:7000  pid 12  up 1 min 15 s  2 connections  9 accepted  2 refused  3 half open"
    )
    assert lines[1].startswith("  sent 55/s  received 3/s 12 B/s  rtt 1.23/20/20 ms  1 connection with losses, 1.23% ")
    assert lines[1].endswith("queued 1.5 kB  blocked 0 B  unread 0 B")
    assert lines[2].split() == ["peer", "sent/s", "recv/s", "rtt", "ms", "lost", "queued", "B/s", "out", "B/s", "in",
                                "flight", "window", "blocked", "unread", "mtu", "marked", "moves", "state"]  # fmt: skip
    assert lines[3].split()[:5] == ["[2001:db8:aaaa:bbbb:...", "50", "2", "1.23", "1.23%"]
    assert lines[4].split()[:6] == ["10.0.0.1:7", "5", "1", "20", "0%", "1.5k"]
    assert len({len(line) for line in lines[2:5]}) == 1, "columns stand below their titles"
    narrow = top.lines([view], "rtt", 60, 40)
    assert max(len(line) for line in narrow) <= 60 and narrow[-2].split()[0] == "10.0.0.1:7"
    short = top.lines([View({**view.told, "left_out": 7}, rows * 10)], "age", 200, 10)
    assert short[-1] == "  and 22 more" and len(short) == 9
    assert "no server answers" in top.lines([], "out", 80, 24)[0]


def test_congestion_control_and_the_path() -> None:
    """What holds of the path, and what congestion control is about, by its figures; its name stands above."""
    source = Source("x")
    loss_based = {"packets_sent": 100, "ecn_congested": 2, "mtu": 1472, "path_changes": 1, "congestion_window": 9000,
                  "congestion_slow_start_threshold": 0}  # fmt: skip
    (first,) = source._seen(told(one(1, **loss_based)), 1.0).rows
    assert (first.mtu, first.marked, first.moves, first.state) == (1472, None, 1, "slow start")
    cut = {**loss_based, "packets_sent": 200, "ecn_congested": 7, "congestion_slow_start_threshold": 9000}
    view = source._seen(told(one(2, **cut)), 2.0)
    assert (view.rows[0].marked, view.rows[0].state) == (0.05, "avoidance")
    assert "  9 accepted  cubic" in top.lines([view], "out", 140, 40)[0]
    assert top.lines([view], "out", 140, 40)[-1].split()[-4:] == ["1472", "5%", "1", "avoidance"]
    for state, name in top.PHASES.items():
        (row_of,) = source._seen(told(one(3, congestion_state=int(state))), 3.0).rows
        assert row_of.state == name and len(name) < 11
    assert source._seen(told(one(4, congestion_state=99)), 4.0).rows[0].state == "99"
    named = View({**told({}), "congestion": "newreno"}, [row(state="avoidance")])
    assert "accepted  newreno" in top.lines([named], "out", 140, 40)[0]
    assert "accepted  " not in top.lines([View(told({}), [row()])], "out", 140, 40)[0], "a connection over tcp"


@pytest.mark.parametrize("width", [80, 100, 140])
def test_no_column_runs_into_another(width: int) -> None:
    """However large or small the figures: there is a space between two, and the line fits."""
    wide = row(
        "10.0.0.1:40000", sent=999_499.0, received=123_456.0, rtt_ms=123_456.0, lost=0.000012345, queued=99_999_999,
        bytes_sent=123_456_789.0, bytes_received=999.4, in_flight=123_456, window=2**28, blocked=99_950, unread=99_949,
        mtu=65_000, marked=0.0012345, moves=1234, state="slow start",
    )  # fmt: skip
    head, line = top.lines([View(told({}), [wide])], "out", width, 40)[-2:]
    assert len(head) == len(line) <= width
    titles = {80: 7, 100: 10, 140: 15}[width]
    assert len(line.split()) == 1 + titles + (width == 140), "one word each, but for the state's two"
    assert "<0.01%" in line


@pytest.mark.parametrize(("by", "first"), [
    ("out", "a"), ("in", "b"), ("rtt", "c"), ("lost", "d"), ("queued", "e"), ("age", "z"),
])  # fmt: skip
def test_the_order(by: str, first: str) -> None:
    rows = [row("z"), row("a", sent=9.0), row("b", received=9.0), row("c", rtt_ms=9.0), row("d", lost=0.9),
            row("e", queued=4, blocked=5)]  # fmt: skip
    assert top.sort(rows, by)[0].remote == first


def test_times_for_people() -> None:
    assert [top.duration(value) for value in (0.4, 59.4, 60, 3599, 3600, 86_399, 90_000)] == [
        "0 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "23 h 59 min", "1 d 1 h",
    ]  # fmt: skip


def test_a_terminal_is_rewritten_and_left_as_it_was(terminal: Terminal) -> None:  # noqa: F811
    screen = Screen(Output(stream=terminal.stream))
    assert screen.live and screen.size() == (40, 24)
    screen.show(["first", "x" * 100, "bell\x07"] + ["more"] * 40)
    written = terminal.written()
    assert written.startswith(f"{ENTER_SCREEN}{HOME}first{CLEAR}\r\n{'x' * 40}{CLEAR}\r\nbell?{CLEAR}\r\nmore")
    assert written.count("\r\n") == 23 and written.endswith(CLEAR_BELOW)
    screen.show(["second"])
    assert terminal.written() == f"{HOME}second{CLEAR}{CLEAR_BELOW}"
    screen.leave()
    screen.leave()
    assert terminal.written() == LEAVE_SCREEN


def test_elsewhere_there_are_blocks_of_lines() -> None:
    stream = io.StringIO()
    screen = Screen(Output(stream=stream))
    screen.show(["one", "two"])
    screen.leave()
    assert stream.getvalue() == "one\ntwo\n" and not screen.live


@pytest.mark.asyncio
async def test_servers_come_and_go(tmp_path: Path) -> None:
    """Two servers in one folder, one of which ends; a socket that nobody answers is no server."""
    folder = tmp_path / "status"
    async with transport.serve("rudp://127.0.0.1:0", echo, status=folder) as first:
        async with transport.connect(first.url) as conn:
            command = Running("top", str(folder), "--every", "10ms")
            (server,) = (await command.event("interval"))["servers"]
            assert server["url"] == str(first.url)
            async with transport.serve("tcp://127.0.0.1:0", echo, status=folder) as second:
                while len((event := await command.event("interval"))["servers"]) < 2:
                    pass
                assert {one["url"] for one in event["servers"]} == {str(first.url), str(second.url)}
            while len((await command.event("interval"))["servers"]) > 1:
                pass
            await conn.send("x")
            assert await conn.recv() == "x"
            while not (event := await command.event("interval"))["servers"][0]["connections"][0]["messages_sent"]:
                pass
            assert event["servers"][0]["rows"][0]["queued"] is not None
            command.stop.wish()
            assert await command.task == 0


@pytest.mark.asyncio
async def test_so_often_and_one_socket(tmp_path: Path) -> None:
    async with transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path):
        (path,) = tmp_path.iterdir()
        command = Running("top", str(path), "--every", "1ms", "-c", "3")
        assert await command.task == 0
        assert command._lines.queue.qsize() == 4  # three, and the end


@pytest.mark.asyncio
async def test_what_answers_nonsense_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [b"[]\n", b"no json\n", b"x" * 300 + b"\n", b"", b"[" * 200 + b"\n"]

    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answers.pop(0))
        writer.close()

    monkeypatch.setattr(top, "ANSWER_MAX", 250)
    server = await asyncio.start_unix_server(nonsense, tmp_path / "x.sock")
    try:
        while answers:
            command = Running("top", str(tmp_path), "-c", "1")
            assert (await command.event("interval"))["servers"] == []
            assert await command.task == 1
    finally:
        server.close()


def test_so_many_servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    bound = []
    for number in range(4):
        one_socket = socket.socket(socket.AF_UNIX)
        one_socket.bind(str(tmp_path / f"{number}.sock"))
        bound.append(one_socket)
    (tmp_path / "other.sock").write_text("no socket")
    monkeypatch.setattr(top, "SERVERS_MAX", 3)
    assert [Path(path).name for path in top.sockets(str(tmp_path))] == ["0.sock", "1.sock", "2.sock"]
    for one_socket in bound:
        one_socket.close()


def test_mistakes_and_nobody_there(tmp_path: Path) -> None:
    nowhere = finished("top", TRANSPORT_STATUS="")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1) and "needs the folder" in nowhere.stderr
    missing = finished("top", str(tmp_path / "none"))
    assert missing.returncode == 2 and "No such file" in missing.stderr
    empty = finished("top", "-c", "1", TRANSPORT_STATUS=str(tmp_path))
    assert empty.returncode == 1 and "no server answers" in empty.stdout


@pytest.mark.slow
def test_a_server_as_a_process(tmp_path: Path) -> None:
    """The whole, as a person meets it, at a terminal of 100 columns."""
    from tests.tools.running import process, url_of

    with process("echo", "rudp://127.0.0.1:0", "-q", env={**os.environ, "TRANSPORT_STATUS": str(tmp_path)}) as server:
        assert server.stdout is not None
        url = url_of(server.stdout.readline())
        with process("ping", url, "--echo", "-i", "2ms", "-q") as ping:
            assert ping.stdout is not None and ping.stdout.readline()
            shown = finished("top", str(tmp_path), "-c", "3", "--every", "200ms")
    assert shown.returncode == 0 and not shown.stderr
    assert re.search(
        rf"^{re.escape(url)}  pid {server.pid}  up \d+ s  1 connection  1 accepted  cubic$", shown.stdout, re.M
    )
    assert re.search(r"^  127\.0\.0\.1:\d+ +[1-9]\d* +[1-9]\d* +\d", shown.stdout, re.M)


@pytest.mark.asyncio
async def test_json_is_an_object_a_turn(tmp_path: Path) -> None:
    async with transport.serve("tcp://127.0.0.1:0", echo, status=tmp_path):
        given = Running("top", str(tmp_path), "-c", "2", "--every", "1ms")
        assert await given.task == 0
        first = await given.event("interval")
        assert json.dumps(first) and first["servers"][0]["pid"] == os.getpid()
