"""The benchmark in virtual time: exact where nothing is lost, the same by seed, and honest about peers that fail."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli, schema, virtual
from bench.link.model import BadLink, Link
from bench.report import html
from bench.scenarios import kcp as published
from bench.virtual import command, echo, grid
from bench.virtual.conversation import Conversation, PeerFailed
from bench.virtual.link import config_of, delay_max_ns
from bench.virtual.machine import Entropy, VirtualMachine, VirtualPeer
from bench.virtual.open_loop import FAIL, OK, Load, Stream, run_cell, schedule
from transport.sim.config import BurstLoss, LinkConfig

MS = 1_000_000
NAMES = list(virtual.all_peers())
SHORT = Load(Link(delay_ms=10, loss=0.05), 64, seconds=1.0, warmup=0.1, connections=2)


def peer_of(name: str) -> VirtualPeer:
    """A peer by name, or the test is skipped."""
    peer = virtual.all_peers()[name]
    missing = peer.missing()
    if missing:
        pytest.skip(f"{name} is not installed: {missing}")
    return peer


class Bare(VirtualMachine):
    """Messages as they are, a datagram each: what no protocol at all does."""

    is_open = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.got: list[bytes] = []

    def connect(self, now: int) -> None:
        pass

    def send(self, message: bytes, now: int) -> None:
        self.sent.append(message)

    def receive(self, datagram: bytes, now: int) -> None:
        self.got.append(datagram)

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None:
        raise AssertionError("there is no timer")

    def output(self, now: int) -> list[bytes]:
        found, self.sent = self.sent, []
        return found

    def take(self) -> list[bytes]:
        found, self.got = self.got, []
        return found


class BarePeer(VirtualPeer):
    """Promises everything, keeps what the network keeps."""

    name = title = "bare"

    def __init__(self, machine: Callable[[], VirtualMachine] = Bare, reliable: bool = True) -> None:
        self.machine = machine
        self.reliable = self.ordered = reliable

    def pair(self, entropy: Entropy) -> tuple[VirtualMachine, VirtualMachine]:
        return self.machine(), self.machine()


class Damages(Bare):
    def receive(self, datagram: bytes, now: int) -> None:
        super().receive(datagram[:-1] + b"?!", now)


class Doubles(Bare):
    def receive(self, datagram: bytes, now: int) -> None:
        self.got += [datagram, datagram]


class Swaps(Bare):
    def take(self) -> list[bytes]:
        return [] if len(self.got) % 2 else super().take()[::-1]


class Raises(Bare):
    def send(self, message: bytes, now: int) -> None:
        raise ValueError("a bug in the library")


class Breaks(Bare):
    def receive(self, datagram: bytes, now: int) -> None:
        self.broken = "closed: idle"


class Spins(Bare):
    def deadline(self) -> int | None:
        return 1

    def expire(self, now: int) -> None:
        pass


class NeverOpens(Bare):
    is_open = False


# Links


def test_a_link_becomes_the_simulators() -> None:
    link = config_of(Link(delay_ms=25, jitter_ms=2, loss=0.02, duplicate=0.01, reorder=0.1, reorder_ms=5))
    assert (link.delay_ns, link.jitter_ns, link.loss, link.duplicate) == (25 * MS, 2 * MS, 0.02, 0.01)
    assert (link.reorder, link.reorder_ns, link.mtu, link.overhead_bytes) == (0.1, 5 * MS, 1500, 28)
    assert link.jitter_reorders and link.burst is None and not link.blackouts


def test_a_rate_has_a_queue_and_jitter_overtakes_behind_it() -> None:
    link = config_of(Link(delay_ms=50, jitter_ms=2, rate_mbit=10))
    assert (link.rate_bits_per_s, link.queue_bytes) == (10_000_000, 125_000)
    assert link.jitter_reorders
    assert delay_max_ns(Link(delay_ms=50, rate_mbit=10)) == 150 * MS


def test_bursts_lose_the_share_of_the_time() -> None:
    link = config_of(Link(loss=0.05, burst_ms=30))
    assert link.loss == 0 and link.burst == BurstLoss(good_ns=570 * MS, bad_ns=30 * MS)
    assert link.burst.mean_loss == pytest.approx(0.05)


def test_what_is_damaged_is_lost_and_a_hole_drops_everything() -> None:
    link = config_of(Link(loss=0.1, corrupt=0.1, hole_at_s=2, hole_s=0.5))
    assert link.loss == pytest.approx(0.19)
    assert (link.corrupt, link.blackouts) == (0, ((2_000 * MS, 2_500 * MS),))


def test_a_queue_that_the_simulator_has_no_room_for_is_refused() -> None:
    with pytest.raises(BadLink, match="the simulator can't play it: queue_bytes"):
        config_of(Link(rate_mbit=1, queue_bytes=1 << 29))


# Schedules


def test_constant_arrivals_have_a_phase_of_each_connections_own() -> None:
    first, second = schedule(SHORT, 0), schedule(SHORT, 1)
    gaps = {later - earlier for earlier, later in itertools.pairwise(first)}
    assert gaps <= {9_999_999, 10_000_000, 10_000_001}
    assert 0 <= first[0] < 10 * MS and first[0] != second[0]
    assert schedule(SHORT, 0) == first


def test_poisson_arrivals_keep_the_rate() -> None:
    load = Load(Link(), 64, rate=1000, seconds=5, arrivals="poisson")
    planned = schedule(load, 0)
    assert list(planned) == sorted(planned)
    assert 0.95e6 < planned[-1] / len(planned) < 1.05e6
    gaps = [later - earlier for earlier, later in itertools.pairwise(planned)]
    assert 0.60 < sum(gap < 1e6 for gap in gaps) / len(gaps) < 0.66  # 1 - 1/e


# Figures


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_figures(name: str) -> None:
    peer = peer_of(name)
    first, again, other = (run_cell(load, peer) for load in (SHORT, SHORT, SHORT.at(SHORT.link, 64, 2)))
    left_out = {"wall_s"}
    if "quic" in name or "qh3" in name:  # their keys are the system's, so what is on the wire differs, not when
        left_out |= {"trace", "wire_bytes"}
        assert first["wire_bytes"] == pytest.approx(again["wire_bytes"], rel=0.01)
    for key in first.keys() - left_out:
        assert first[key] == again[key], key
    assert first["status"] == OK and first["n"] + first["lost"] == first["sent"] == 200
    assert first["trace"] != other["trace"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("rudp")])
@pytest.mark.parametrize("payload", [64, 1024])
def test_without_loss_latency_is_the_delay_and_nothing_else(name: str, payload: int) -> None:
    cell = run_cell(SHORT.at(Link(delay_ms=7), payload, 1), peer_of(name))
    assert cell["min_ns"] == cell["max_ns"] == 7 * MS
    assert (cell["n"], cell["lost"], cell["duplicates"], cell["within_100ms"]) == (200, 0, 0, 1.0)
    assert cell["wire_bytes"] > payload + 28


def test_a_rate_adds_the_time_on_the_wire() -> None:
    link = Link(delay_ms=7, rate_mbit=1)
    cell = run_cell(SHORT.at(link, 64, 1), BarePeer())
    assert cell["min_ns"] == cell["max_ns"] == 7 * MS + (64 + 28) * 8 * 1000
    stream = Stream(SHORT.at(link, 64, 1), peer_of("rudp-unreliable"), 0)
    packets, size = stream.wire[:2]
    assert packets == 100
    assert sum(stream.late) == 100 * 7 * MS + size * 8 * 1000


def test_loss_is_counted() -> None:
    load = Load(Link(delay_ms=10, loss=0.2), 64, seconds=5.0, warmup=0.1, connections=2)
    cell = run_cell(load, peer_of("rudp-unreliable"))
    assert cell["status"] == OK
    assert cell["lost"] == cell["sent"] - cell["n"] == 1000 - cell["n"]
    assert 140 < cell["lost"] < 260  # over four standard deviations
    assert cell["within_100ms"] == cell["n"] / 1000


def test_what_comes_late_is_counted() -> None:
    cell = run_cell(SHORT.at(Link(delay_ms=101), 64, 1), BarePeer())
    assert (cell["late"], cell["within_100ms"], cell["lost"]) == (200, 0, 0)


def test_percentiles_need_samples() -> None:
    cell = run_cell(SHORT.at(Link(delay_ms=10), 64, 1), BarePeer())
    assert cell["p50_ns"] == 10 * MS and cell["p99_ns"] is None
    assert sum(count for _, count in cell["hist"]) == cell["n"] == 200


@pytest.mark.parametrize(
    ("machine", "why"),
    [
        (Damages, "damaged"),
        (Doubles, "delivered twice"),
        (Swaps, "out of order"),
        (Raises, "ValueError: a bug in the library"),
        (Breaks, "the server closed: idle"),
        (Spins, "spins: 1000 steps, and time stands still"),
        (NeverOpens, "no connection within 30 s"),
    ],
)
def test_a_peer_that_breaks_its_promise_fails(machine: type[VirtualMachine], why: str) -> None:
    cell = run_cell(SHORT.at(Link(delay_ms=10), 64, 1), BarePeer(machine))
    assert cell["status"] == FAIL
    assert why in cell["why"]


def test_a_reliable_peer_that_loses_a_message_fails_and_an_unreliable_one_does_not() -> None:
    cell = run_cell(SHORT, BarePeer())
    assert cell["status"] == FAIL and "lost" in cell["why"]
    assert cell["lost"] > 0
    assert run_cell(SHORT, BarePeer(reliable=False))["status"] == OK


def test_handshakes_happen_in_virtual_time() -> None:
    talk = Conversation(1, LinkConfig(delay_ns=7 * MS), peer_of("rudp"))
    assert talk.opened_ns == 21 * MS
    with pytest.raises(PeerFailed, match="no connection within 30 s"):
        Conversation(1, LinkConfig(loss=1.0), peer_of("rudp"))


# The grid


def small_grid(peers: list[VirtualPeer]) -> grid.Grid:
    load = Load(Link(), 64, seconds=0.2, warmup=0.1, connections=2)
    return grid.Grid([Link(delay_ms=5), Link(delay_ms=5, loss=0.01)], [64, 100], peers, [1, 2], load)


def test_the_whole_grid_is_run_with_a_seed_before_the_next() -> None:
    ours = peer_of("rudp")
    bare = BarePeer(reliable=False)
    work = small_grid([ours, bare])
    cells: list[dict[str, Any]] = []
    ticks: list[str] = []
    assert grid.run(work, cells, lambda what, _: ticks.append(what)) is None
    assert len(ticks) == work.connections == 32
    assert [cell["seed"] for cell in cells] == [1] * 8 + [2] * 8
    assert [cell["peer"] for cell in cells] == ["rudp", "bare"] * 8
    found = grid.tables(work, cells)
    assert list(found) == [f"virtual-rtt10{loss}-{payload}" for loss in ("", "-loss1") for payload in (64, 100)]
    shown = found["virtual-rtt10-64"]
    assert [row[0] for row in shown["table"]["rows"]] == ["rudp, ordered", "bare"]
    assert all(len(row) == len(shown["table"]["head"]) for row in shown["table"]["rows"])
    assert [(cell["peer"], cell["seed"]) for cell in shown["cells"]] == [
        ("rudp", 1), ("bare", 1), ("rudp", 2), ("bare", 2),
    ]  # fmt: skip
    json.dumps(found)


def test_a_break_leaves_whole_cells() -> None:
    cells: list[dict[str, Any]] = []
    ticks = 0

    def tick(_what: str, _more: int) -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 4:  # in the midst of the second cell
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid.run(small_grid([BarePeer(reliable=False)]), cells, tick)
    assert [cell["sent"] for cell in cells] == [40]


def test_a_budget_ends_between_cells() -> None:
    cells: list[dict[str, Any]] = []
    why = grid.run(small_grid([BarePeer(reliable=False)]), cells, lambda *_: None, budget_s=0.0)
    assert (why, cells) == ("0 of 8 cells, for the budget of 0 s", [])


def test_overviews_have_a_column_for_each_link_and_show_failures() -> None:
    load = Load(Link(), 64, rate=1000, seconds=3, warmup=0.1, connections=1)
    work = grid.Grid([Link(delay_ms=5), Link(delay_ms=5, loss=0.02)], [64], [BarePeer()], [1], load)
    cells: list[dict[str, Any]] = []
    grid.run(work, cells, lambda *_: None)
    found = grid.tables(work, cells)
    assert found["virtual-p99-64"]["table"]["head"] == ["", "10/0", "10/2"]
    assert found["virtual-p99-64"]["table"]["rows"] == [["bare", "5.0", "FAIL"]]
    lossy = found["virtual-rtt10-loss2-64"]["table"]
    assert lossy["rows"][0][0] == "bare ! FAIL 1/1"
    assert "FAIL: bare, seed 1: " in lossy["note"]


# KCP's test


@pytest.mark.parametrize("name", [name for name, peer in virtual.all_peers().items() if peer.reliable and peer.ordered])
def test_kcps_own_test(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = peer_of(name)
    monkeypatch.setattr(published, "ECHOES", 50)
    monkeypatch.setattr(published, "LINK", LinkConfig(delay_ns=30 * MS))
    cells: list[dict[str, Any]] = []
    assert echo.run([peer], [1, 2], cells, lambda *_: None) is None
    (cell,) = cells
    assert (cell["status"], cell["n"], cell["lost"]) == (OK, 100, 0)
    assert 60 * MS <= cell["p50_ns"] <= 80 * MS  # KCP waits for a tick at both ends
    assert cell["wire_packets"] >= 1.9
    shown = echo.tables([peer], cells)["kcp-test"]["table"]
    assert all(len(row) == len(shown["head"]) for row in shown["rows"])
    assert shown["rows"][1][:3] == published.THEIRS[:3]


def test_an_echo_that_does_not_come_back_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "ECHOES", 100)
    cell = echo.measure(BarePeer(), [1], lambda *_: None)
    assert cell["status"] == FAIL and cell["lost"] > 0
    assert cell["why"] == f"seed 1: {cell['lost']} echoes did not come back"


# The command


def run_command(tmp_path: Path, *more: str) -> tuple[int, Path]:
    path = tmp_path / "result.json"
    short = ("--rtt", "10", "--loss", "0,2", "--payload", "64", "--seconds", "0.5", "--warmup", "0.1")
    return cli.main(["virtual", *short, "--connections", "2", "--json", str(path), *more]), path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, path = run_command(tmp_path, "--peers", "rudp,rudp-unreliable*")
    assert status == 0
    out = capsys.readouterr()
    assert "RTT 10 ms, loss 2 %, 64 B" in out.out
    assert "rudp, unreliable, redundancy=1" in out.out
    assert "virtual: 12/12" in out.err
    data = schema.load(path)
    assert data["complete"] and [peer["id"] for peer in data["peers"]] == [
        "rudp",
        "rudp-unreliable",
        "rudp-unreliable-copy",
    ]
    cells = data["probes"]["virtual-rtt10-loss2-64"]["cells"]
    assert Link.from_dict(cells[0]["link"]) == Link(delay_ms=5, loss=0.02)
    assert {"peer", "payload", "n", "p50_ns", "p9999_ns", "hist", "wire_bytes", "wire_packets", "lost", "within_100ms",
            "seed", "status"} <= cells[0].keys()  # fmt: skip
    assert "rudp, unreliable" in html(data)


def test_the_command_fails_when_ours_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(load: Load, peer: VirtualPeer, tick: Callable[[], None]) -> dict[str, Any]:
        return run_cell(load, BarePeer(Raises)) | {"peer": peer.name}

    monkeypatch.setattr(grid, "run_cell", fails)
    status, path = run_command(tmp_path, "--peers", "rudp", "--no-html")
    assert status == 1
    assert schema.load(path)["probes"]["virtual-rtt10-64"]["cells"][0]["status"] == FAIL


def test_an_interrupted_command_keeps_its_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def breaks(load: Load, peer: VirtualPeer, tick: Callable[[], None]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return run_cell(load, peer, tick)

    monkeypatch.setattr(grid, "run_cell", breaks)
    status, path = run_command(tmp_path, "--peers", "rudp", "--no-html")
    data = schema.load(path)
    assert status == 130
    assert data["why_incomplete"] == "interrupted after 1 cells"
    assert list(data["probes"]) == ["virtual-rtt10-64"]


def test_peers_that_are_not_installed_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("kcp", "aioquic", "qh3"):
        monkeypatch.setattr(type(virtual.all_peers()[name]), "missing", lambda self: f"pip install {self.modules[0]}")
    status, path = run_command(tmp_path, "--peers", "rudp,kcp,qh3*", "--no-html")
    assert status == 0
    assert [item["id"] for item in schema.load(path)["missing"]] == ["kcp", "qh3", "qh3-streams"]
    assert "left out: qh3, qh3-streams; to have: pip install qh3" in capsys.readouterr().err
    assert cli.main(["virtual", "--peers", "kcp"]) == 2
    assert "left out: kcp; to have: pip install kcp" in capsys.readouterr().err


def test_kcps_test_by_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "ECHOES", 50)
    status, path = run_command(tmp_path, "--kcp-test", "--peers", "rudp*", "--seeds", "2", "--no-html")
    assert status == 0
    cells = schema.load(path)["probes"]["kcp-test"]["cells"]
    assert [cell["peer"] for cell in cells] == ["rudp", "rudp-plain", "rudp-nocc"]
    assert cells[0]["n"] == 100
    assert cli.main(["virtual", "--kcp-test", "--peers", "rudp-unreliable"]) == 2


@pytest.mark.parametrize(
    "words",
    [("--link", "quack=1"), ("--loss", "x"), ("--payload", "1"), ("--rtt", "-5"), ("--rate", "0"), ("--seeds", "0")],
)
def test_wrong_options_are_refused(words: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["virtual", *words])
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_options_that_make_no_link_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["virtual", "--loss", "100"]) == 2
    assert "loss is a share" in capsys.readouterr().err
    assert cli.main(["virtual", "--peers", "quack"]) == 2
    assert "no peer 'quack'; there are: rudp, " in capsys.readouterr().err


def test_links_in_words_take_the_place_of_the_grid() -> None:
    options = cli.parser().parse_args(["virtual", "--link", "rtt=50ms,loss=2%", "--link", "rtt=20ms,rate=1mbit"])
    assert command.links_of(options) == [Link(delay_ms=25, loss=0.02), Link(delay_ms=10, rate_mbit=1)]
    options = cli.parser().parse_args(["virtual"])
    assert len(command.links_of(options)) == 12
