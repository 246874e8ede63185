"""Rounds in real processes: a good one, and every way in which one goes wrong."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from bench import pair, runner
from bench.cases import EACH, FREE, SAME, Case, latency, open_loop, throughput
from bench.child import Child, ChildFailed
from bench.link.model import Link
from bench.peers import all_peers
from bench.runner import Entry, Plan, run_plan
from tests.bench.broken_peers import PEERS as BROKEN
from tests.bench.rounds import SHORT, one_round

BROKEN_PEERS = {peer.name: peer for peer in BROKEN}


def processes() -> set[str]:
    """Worker processes of this test process that are alive."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "status").read_text()
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            if f"PPid:\t{os.getpid()}\n" in status and "bench.worker" in command:
                found.add(entry.name)
    return found


@pytest.mark.parametrize(
    "name", ["blocking-tcp", "blocking-unix", "blocking-udp", "asyncio-streams", "asyncio-protocol", "asyncio-udp"]
)
def test_a_round_trip(name: str) -> None:
    item = one_round(latency(64), all_peers()[name])
    assert item["status"] == "OK", item["why"]
    assert item["latency"]["n"] == item["messages"] > 0
    assert item["latency"]["min_ns"] > 0
    assert set(item["processes"]) == {"client", "server"}
    assert item["processes"]["server"]["cpu_ns"] > 0
    assert not processes()


@pytest.mark.parametrize("name", ["blocking-tcp", "blocking-udp", "asyncio-streams", "asyncio-protocol", "asyncio-udp"])
def test_throughput(name: str) -> None:
    peer = all_peers()[name]
    item = one_round(throughput(1024), peer)
    assert item["status"] == "OK", item["why"]
    figures = item["throughput"]
    assert 0 < figures["received"] <= figures["sent"]
    assert figures["received"] == figures["sent"] or not peer.reliable
    assert figures["bytes_per_second"] == pytest.approx(figures["per_second"] * 1024, rel=0.1)
    assert not processes()


def test_one_socket_to_many() -> None:
    case = Case("many", "throughput", 64, fanout=5, placement=EACH, burst=64 * 5)
    item = one_round(case, all_peers()["asyncio-udp"])
    assert item["status"] == "OK", item["why"]
    assert item["throughput"]["checked"] > 0


def test_both_ends_in_one_process() -> None:
    item = one_round(throughput(64, codec="msgpack"), all_peers()["msgpack-alone"])
    assert item["status"] == "OK", item["why"]
    assert set(item["processes"]) == {"both"}


@pytest.mark.parametrize(("name", "case", "why"), [
    ("crashing", latency(64), "server: RuntimeError: the server fell over"),
    ("dying", latency(64), "client: SystemExit: 3"),
    ("lying", latency(64), "client: the answer to message 0 differs from what was sent"),
    ("losing", throughput(64), "server: got"),
])  # fmt: skip
def test_a_broken_peer_is_kept_as_failed(name: str, case: Case, why: str) -> None:
    item = one_round(case, BROKEN_PEERS[name])
    assert item["status"] == "FAIL"
    assert why in item["why"]
    assert item["flagged"] is False
    assert not processes()


def test_a_silent_peer_runs_into_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair, "STARTUP_S", 0.5)
    began = monotonic()
    item = one_round(latency(64), BROKEN_PEERS["silent"])
    assert item["status"] == "FAIL"
    assert "server: no ready in time" in item["why"]
    assert monotonic() - began < 10
    assert not processes()


def test_the_others_go_on() -> None:
    good = all_peers()["blocking-tcp"]
    plan = Plan([(latency(64), [Entry("crashing", BROKEN_PEERS["crashing"]), Entry("blocking-tcp", good)])],
                **(SHORT | {"rounds": 2}))  # fmt: skip
    rounds: list[dict[str, Any]] = []
    seen: list[tuple[int, int]] = []
    assert run_plan(plan, rounds, lambda _item, done, total: seen.append((done, total))) is None
    assert sorted((item["peer"], item["block"], item["status"]) for item in rounds) == [
        ("blocking-tcp", 0, "OK"), ("blocking-tcp", 1, "OK"), ("crashing", 0, "FAIL"), ("crashing", 1, "FAIL"),
    ]  # fmt: skip
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_a_break_ends_the_workers_and_keeps_the_rounds() -> None:
    plan = Plan([(latency(64), [Entry("blocking-tcp", all_peers()["blocking-tcp"])])], **(SHORT | {"rounds": 5}))
    rounds: list[dict[str, Any]] = []

    def report(_item: dict[str, Any], done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, rounds, report)
    assert len(rounds) == 2
    assert not processes()


def test_the_budget_ends_a_run_at_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run_round", lambda *_: {"status": "OK"})
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(runner, "monotonic", lambda: next(clock))
    peer = all_peers()["blocking-tcp"]
    plan = Plan([(latency(64), [Entry("a", peer), Entry("b", peer)])], **(SHORT | {"rounds": 50}), budget_s=60)
    rounds: list[dict[str, Any]] = []
    why = run_plan(plan, rounds, lambda *_: None)
    assert why is not None
    assert "time budget of 60 s" in why
    assert 2 <= len(rounds) < 100
    assert len(rounds) % 2 == 0


def test_blocks_are_permutations_of_all_peers_and_follow_the_seed() -> None:
    peer = all_peers()["blocking-tcp"]
    entries = [Entry(str(number), peer) for number in range(6)]
    work = [(latency(64), entries), (throughput(64), entries)]
    seed = random.randrange(1 << 30)
    print("seed", seed)

    def order(number: int) -> list[tuple[int, str, list[str]]]:
        plan = Plan(work, 8, 0.1, 0.1, number)
        return [(block, case.id, [entry.label for entry in found]) for block, case, found in plan.blocks()]

    blocks = order(seed)
    assert len(blocks) == 16
    assert all(sorted(labels) == sorted(entry.label for entry in entries) for _, _, labels in blocks)
    assert {(block, case) for block, case, _ in blocks} == {(n, c.id) for n in range(8) for c, _ in work}
    assert blocks == order(seed)
    assert len({tuple(labels) for _, _, labels in blocks}) > 1


def test_placement() -> None:
    def cores(where: str, available: list[int]) -> tuple[list[int], list[int]]:
        placement = runner.place(latency(64, where), available)
        return sorted(placement.client), sorted(placement.server)

    assert cores(SAME, [0, 1, 2]) == ([2], [2])
    assert cores(EACH, [0, 1, 2]) == ([1], [2])
    assert cores(EACH, [0]) == ([0], [0])
    assert cores(FREE, [0, 1]) == ([], [])


def test_a_child_that_is_gone_is_reported_with_its_last_words() -> None:
    with Child("worker") as child:
        child.tell({"cores": [], "role": "server"})
        with pytest.raises(ChildFailed, match=r"ended with status 1(.|\n)*KeyError"):
            child.hear("ready", monotonic() + 10)
    child.end()


def test_what_a_worker_started_ends_with_it(tmp_path: Path) -> None:
    """A module of the kind that `Child` runs, which starts a process and prints without end."""
    (tmp_path / "starter.py").write_text(
        "import subprocess, sys\n"
        "other = subprocess.Popen(['sleep', '60'])\n"
        "sys.stderr.write('x' * 300_000 + '\\nlast words\\n')\n"
        "sys.stderr.flush()\n"
        "print('{\"ready\": %d}' % other.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with Child("worker", "starter", tmp_path) as child:
        descriptor = os.pidfd_open(child.hear("ready", monotonic() + 10))
        with pytest.raises(ChildFailed, match="last words") as failure:
            child.hear("more", monotonic() + 0.01)
        assert len(str(failure.value)) < 100_000
    try:
        gone, _, _ = select.select([descriptor], [], [], 10)
        assert gone, "it outlived the worker that started it"
    finally:
        os.close(descriptor)
    child.end()


def test_a_worker_may_have_many_descriptors() -> None:
    code = (
        "import resource\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "known = resource.RLIM_INFINITY\n"
        "from bench.descriptors import DESCRIPTORS_MAX, raise_descriptors\n"
        "raise_descriptors()\n"
        "soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]\n"
        "assert soft in ({DESCRIPTORS_MAX} if hard == known else {DESCRIPTORS_MAX, min(hard, DESCRIPTORS_MAX)}), soft\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_workers_die_with_their_parent() -> None:
    code = (
        "from bench.child import Child; import time\n"
        "child = Child('worker'); print(child.pid, flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        descriptor = os.pidfd_open(pid)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    try:
        gone, _, _ = select.select([descriptor], [], [], 10)
        assert gone, "the worker outlived its parent"
    finally:
        os.close(descriptor)


def test_rounds_over_links_run_in_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time, their cores exchanged; over loopback one after the other."""
    together = threading.Barrier(2)
    seen: list[tuple[int, int]] = []

    def fake(plan: Plan, case: Case, entry: Entry, block: int, position: int, lane: int = 0) -> dict[str, Any]:
        if case.link is not None:
            together.wait(10)  # breaks unless another round is under way
        seen.append((position, lane))
        return {"status": "OK", "order": position}

    monkeypatch.setattr(runner, "run_round", fake)
    entries = [Entry(str(number), all_peers()["tcp"]) for number in range(4)]
    over_link = open_loop(64, 100, link=Link(delay_ms=10))
    plan = Plan([(over_link, entries), (latency(64), entries)], **SHORT, lanes=2)
    rounds: list[dict[str, Any]] = []
    assert run_plan(plan, rounds, lambda *_: None) is None
    assert sorted(item["order"] for item in rounds) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(seen) == [(0, 0), (0, 0), (1, 0), (1, 1), (2, 0), (2, 0), (3, 0), (3, 1)]
    assert plan.block_s(over_link, 3) == 2 * plan.round_s(over_link)
    assert plan.block_s(latency(64), 3) == 3 * plan.round_s(latency(64))


def test_a_break_ends_the_rounds_of_all_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of the others are killed, so that nobody waits for their deadlines."""
    started = threading.Barrier(2)

    def fake(plan: Plan, case: Case, entry: Entry, block: int, position: int, lane: int = 0) -> dict[str, Any]:
        if position > 1:
            raise AssertionError("a round began after the break")
        if position == 1:
            started.wait(10)
            return {"status": "OK"}
        with Child("waiting") as child:
            started.wait(10)
            with pytest.raises(ChildFailed, match="ended with status -9"):
                child.hear("anything", monotonic() + 15)
        return {"status": "FAIL"}

    monkeypatch.setattr(runner, "run_round", fake)
    entries = [Entry(str(number), all_peers()["tcp"]) for number in range(2)]
    plan = Plan([(open_loop(64, 100, link=Link(delay_ms=10)), entries)], **SHORT, lanes=2)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    began = monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, [], interrupt)
    assert monotonic() - began < 10
    assert not processes()
