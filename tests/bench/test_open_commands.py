"""Commands of open loops: what they are asked for is run, or refused in one line before anything is measured."""

from __future__ import annotations

import copy
import json
import resource
import socket
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from bench import cli, cli_open, runner, schema
from bench.cases import Case, open_loop, throughput
from bench.link import emulator
from bench.link.model import Link
from bench.peers import all_peers
from bench.peers.blocking import tune_datagram
from bench.report import findings
from bench.report.openpage import heat_cell
from bench.summary import cell_of, summarize
from bench.sweeps import SWEEPS
from bench.tables import open_row
from tests.bench.results import open_round


def test_bulk_also_runs_the_flows_that_share_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def record(_options: Any, request: Any, **more: Any) -> int:
        seen[request.command] = more.get("probes", [])
        return 0

    monkeypatch.setattr(emulator, "why_not", lambda: None)
    monkeypatch.setattr(cli, "measure", record)
    assert cli.main(["bulk", "--peers", "tcp", "--rounds", "2"]) == 0
    ((name, total, _),) = seen["bulk"]
    assert (name, total) == ("sharing", len(cli_open.RIVALS) * 2)
    assert cli.main(["bulk", "--peers", "tcp", "--no-sharing"]) == 0
    assert not seen["bulk"]
    assert cli.main(["rate", "--peers", "tcp"]) == 0
    assert not seen["rate"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["rate", "--rates", "100,100000", "--seconds", "200"], "messages are planned, 8388608 at most can be"),
        (["rate", "--rates", "0.1", "--seconds", "1"], "0.1 messages would count in 1 s, 2 at least must"),
        (["sweep", "hole", "--seconds", "1"], "a round is over after 3 s, before the hole"),
        (["rate", "--rates", "99999.99,99999.98"], "two cases are too much alike to be told apart"),
        (["loss", "--link", "rate=0.0001kbit"], "rate is 0 or from 0.001 to 100000 Mbit/s"),
        (["loss", "--link", "hole-at=1s,hole=99999999s"], "hole_s is from 0 to 86400 s"),
        (["loss", "--link", "queue=" + "9" * 400], "queue is from 0 to"),
        (["bulk", "--rate-mbit", "nan"], "rate is 0 or from 0.001 to 100000 Mbit/s, not nan"),
        (["rate", "--peers", "uvloop-bare"], "nothing can be run; left out: nobody that is here can run"),
        (["rate", "--payload", "2097152", "--peers", "tcp"], "nothing can be run; left out: nobody that is here can"),
        (["rate", "--json", "/proc/version/x.json"], "--json /proc/version/x.json: "),
        (["rate", "--json", "/proc"], "--json /proc: is a folder"),
    ],
)
def test_what_can_not_be_run_is_refused_before_anything_is_measured(
    words: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_round(*_: Any) -> None:
        raise AssertionError("a round was run")

    monkeypatch.setattr(emulator, "why_not", lambda: None)
    monkeypatch.setattr(runner, "run_round", no_round)
    assert cli.main([*words, "--no-html"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("bench: ")
    assert said in err
    assert err.count("\n") == 1


def test_more_connections_than_descriptors_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 4096))
    assert cli.main(["rate", "--connections", "4000", "--rates", "8000", "--peers", "tcp"]) == 2
    assert capsys.readouterr().err == (
        "bench: 4000 connections take more descriptors than may be had here (ulimit -Hn)\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["rate", "--payload", "5"],
        ["rate", "--payload", "-1"],
        ["loss", "--payload", "100000000"],
        ["rate", "--rates", "inf"],
        ["loss", "--rtt", "nan"],
        ["rate", "--seconds", "inf"],
    ],
)
def test_wrong_numbers_are_wrong_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        cli.main(words)
    assert error.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_what_is_asked_for_twice_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    options = cli.parser().parse_args(["rate", "--rates", "100,100", "--payload", "64,64", "--peers", "tcp"])
    assert len(cli_open.work_of(options)) == 1


def test_a_series_is_as_long_as_it_is_told_to_be() -> None:
    def lengths(*words: str) -> set[float]:
        options = cli.parser().parse_args(["sweep", "connections", "payload", "--peers", "tcp", *words])
        return {case.seconds or options.seconds for case, _ in cli_open.work_of(options)}

    assert lengths() == {SWEEPS["connections"].seconds, SWEEPS["payload"].seconds}
    assert lengths("--seconds", "1") == {1.0}


ORIGINS = [("tool", "commit"), ("tool", "changes"), ("environment", "kernel"), ("environment", "cpu")]


@pytest.mark.parametrize("where", [*ORIGINS, ("peers", "versions"), ("environment", "sysctl")])
def test_a_run_is_not_gone_on_with_elsewhere(
    where: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another commit, kernel, machine, setting of the kernel or version of a peer."""
    path = tmp_path / "rate.json"
    words = ["rate", "--peers", "asyncio-udp", "--rates", "100", "--seconds", "1", "--no-html", "--resume", "--json",
             str(path)]  # fmt: skip
    ran: list[str] = []

    def count(_plan: Any, case: Case, entry: Any, block: int, _position: int) -> dict[str, Any]:
        ran.append(entry.label)
        return open_round(case, entry.label, block, tail=1.0)

    monkeypatch.setattr(runner, "run_round", count)
    assert cli.main([*words, "--rounds", "1"]) == 0
    assert cli.main([*words, "--rounds", "2"]) == 0
    assert len(ran) == 2
    data = json.loads(path.read_text())
    part, name = where
    (data[part][0] if part == "peers" else data[part])[name] = {"sysctl": {"net.core.rmem_max": "1"}, "versions": {
        "python": "2.7"}, "cpu": {"count": 1000}}.get(name, "another")  # fmt: skip
    path.write_text(json.dumps(data))
    capsys.readouterr()
    assert cli.main([*words, "--rounds", "3"]) == 2
    assert len(ran) == 2
    err = capsys.readouterr().err
    assert err.startswith("bench: rate.json can't be gone on with: ")
    assert err.count("\n") == 1
    assert json.loads(path.read_text()) == data


def test_a_run_that_is_gone_on_with_takes_invalid_rounds_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They say nothing about a peer; what failed by itself stays."""
    path = tmp_path / "rate.json"
    said = {"asyncio-udp": ["INVALID", "INVALID", "OK"], "blocking-udp": ["OK"], "uvloop-udp": ["FAIL"]}

    def run(_plan: Any, case: Case, entry: Any, block: int, _position: int) -> dict[str, Any]:
        return open_round(case, entry.label, block, tail=1.0, status=said[entry.label].pop(0), why="because")

    monkeypatch.setattr(runner, "run_round", run)
    words = ["rate", "--rates", "100", "--seconds", "1", "--no-html", "--resume", "--json", str(path), "--rounds", "1",
             "--peers", ",".join(said)]  # fmt: skip
    for _ in range(3):
        assert cli.main(words) in (0, 1)
    data = schema.load(path)
    found = {item["peer"]: (item["status"], item.get("again", 0)) for item in data["rounds"]}
    assert found == {"asyncio-udp": ("OK", 2), "blocking-udp": ("OK", 0), "uvloop-udp": ("FAIL", 0)}
    assert said == {name: [] for name in said}, "nothing else ran again"
    cells = summarize(data)
    assert findings.troubles(data["cases"], cells)[-1].endswith("gone on with, 2 times.")


def test_a_run_that_is_gone_on_with_keeps_the_peers_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rate.json"
    monkeypatch.setattr(
        runner, "run_round", lambda _plan, case, entry, block, _position: open_round(case, entry.label, block, tail=1.0)
    )
    words = ["rate", "--rates", "100", "--seconds", "1", "--no-html", "--resume", "--json", str(path)]
    assert cli.main([*words, "--rounds", "1", "--peers", "asyncio-udp,blocking-udp"]) == 0
    assert cli.main([*words, "--rounds", "2", "--peers", "asyncio-udp"]) == 0
    (case,) = schema.load(path)["cases"]
    assert case["peers"] == ["asyncio-udp", "blocking-udp"]


@pytest.mark.parametrize("name", ["unix", "unix-coro", "blocking-unix", "uvloop-streams-unix", "memory"])
def test_who_would_pass_a_link_by_is_left_out(name: str) -> None:
    peer = all_peers()[name]
    assert peer.supports(open_loop(64, 100, 1)) or name == "memory"
    assert not peer.supports(open_loop(64, 100, 1, link=Link(delay_ms=10)))
    assert not peer.supports(throughput(64, link=Link(delay_ms=10)))


def test_plain_datagrams_promise_no_order() -> None:
    known = all_peers()
    for name in ("udp", "udp-coro", "asyncio-udp", "blocking-udp"):
        assert (known[name].reliable, known[name].ordered) == (False, False), name
    for name in ("tcp", "rudp", "rudp-coro", "memory"):
        assert known[name].ordered, name


def test_no_column_says_p50_where_too_few_samples_stand_behind_it() -> None:
    case = open_loop(64, 20, 1)
    few = open_round(case, "tcp", 0, planned=50)
    assert few["latency"]["p50_ns"] is None
    cell = cell_of(case.as_dict(), all_peers()["tcp"].describe(), [few])
    assert open_row(cell)[1:5] == ["-"] * 4
    assert "<small>- · -</small>" in heat_cell(cell, False, 1.0, False)


def test_connections_share_a_context_of_zeromq(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its guide has it; one for each is a thread or two for each."""
    made: list[int] = []

    class Context:
        def __init__(self) -> None:
            made.append(0)

        @classmethod
        def instance(cls) -> Context:
            return shared

        def get(self, _option: int) -> int:
            return made[0]

        def set(self, _option: int, value: int) -> None:
            made[0] = value

        def socket(self, _kind: int) -> Any:
            return types.SimpleNamespace(connect=len, setsockopt=max, poll=max)

    shared = Context()
    zmq = types.SimpleNamespace(Context=Context, MAX_SOCKETS=3, PUSH=8, PAIR=0, IMMEDIATE=39, POLLOUT=2)
    monkeypatch.setitem(sys.modules, "zmq", zmq)
    case = open_loop(64, 1, 2000)
    job: Any = types.SimpleNamespace(case=case, is_one_way=True, is_open=True, address="tcp://127.0.0.1:1")
    peer: Any = all_peers()["pyzmq"]
    assert len(peer.senders(job)) == 2000
    assert len(made) == 1
    assert made[0] > 2000


def test_connections_share_a_host_of_enet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host of ENet is a socket; one for each connection would be asked one after the other."""
    made: list[Any] = []

    class Host:
        def __init__(self, _address: Any, count: int, *_: int) -> None:
            made.append(self)
            self.count = count
            self.own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.socket = types.SimpleNamespace(fileno=self.own.fileno)
            self.flushed = 0

        def connect(self, _address: Any, _channels: int) -> Any:
            sent: list[Any] = []
            return types.SimpleNamespace(sent=sent, send=lambda _channel, packet: sent.append(packet))

        def service(self, _wait: int) -> Any:
            return types.SimpleNamespace(type=1)

        def flush(self) -> None:
            self.flushed += 1

    fake = types.SimpleNamespace(
        Host=Host, Address=lambda *_: None, Packet=lambda data, _flags: data, EVENT_TYPE_CONNECT=1,
        EVENT_TYPE_NONE=1, PACKET_FLAG_RELIABLE=1,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "enet", fake)
    job: Any = types.SimpleNamespace(case=open_loop(64, 1, 5), address="127.0.0.1:1")
    peer: Any = copy.copy(all_peers()["pyenet"])
    plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sends = peer.senders(job)
    sends[3](b"m")
    peer.poll(0)
    (host,) = made
    assert (host.count, len(sends), host.flushed) == (5, 5, 1)
    tune_datagram(plain)
    asked = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert host.own.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == asked
    plain.close()
    host.own.close()
