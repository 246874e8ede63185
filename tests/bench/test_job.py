"""One side of a round: what it adds to the process that it measures."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

import pytest

from bench import job as module
from bench.cases import Case, latency, open_loop, throughput
from bench.job import Job
from bench.link.model import Link
from bench.openloop import AWAKE_ALONE_NS, AWAKE_NS


def config(case: Case, **more: Any) -> dict[str, Any]:
    """What a worker is told about `case`."""
    return {
        "case": case.as_dict(), "role": "server", "peer": "udp", "scratch": "", "seed": 1, "seconds": 1.0,
        "warmup": 0.0, "pids": {}, "cores": [0],
    } | more  # fmt: skip


def started(monkeypatch: pytest.MonkeyPatch, case: Case) -> list[str]:
    """Names of the threads that a job of `case` would start."""
    names: list[str] = []

    class Recorded(threading.Thread):
        def start(self) -> None:
            names.append(self.name)

    monkeypatch.setattr(module.threading, "Thread", Recorded)
    Job(config(case), io.StringIO(), io.StringIO()).watch()
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the thread sees that the parent has gone")
def test_a_latency_round_gets_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, latency(64)) == []


def test_a_throughput_round_has_a_thread_that_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, throughput(64)) == ["bench-control"]


def test_a_server_binds_to_loopback_unless_told_otherwise() -> None:
    assert Job(config(latency(64)), io.StringIO(), io.StringIO()).host == "127.0.0.1"
    assert Job(config(latency(64), host="10.9.8.7"), io.StringIO(), io.StringIO()).host == "10.9.8.7"


def test_a_broker_counts_into_a_load_that_has_been_made() -> None:
    job = Job(config(latency(64), pids={"client": 1, "server": 2}), io.StringIO(), io.StringIO())
    load = job.closed_loop()
    job.watch_process("broker", os.getpid())
    assert load.window.pids == {"client": 1, "server": 2, "broker": os.getpid()}
    assert load.window.look().processes["broker"].cpu_ns > 0


@pytest.mark.parametrize(
    ("cores", "case", "awake_ns"),
    [
        ([0, 1], open_loop(64, 100, 1), AWAKE_ALONE_NS),
        ([0], open_loop(64, 100, 1), AWAKE_NS),
        ([0, 1], open_loop(64, 100, 1, placement="same"), AWAKE_NS),
        ([0, 1], open_loop(64, 100, 1, link=Link(delay_ms=5)), AWAKE_NS),
    ],
)
def test_a_sender_is_up_early_where_it_takes_nobodys_core(cores: list[int], case: Case, awake_ns: int) -> None:
    """Neither that of a receiver nor that of a link's router."""
    load = Job(config(case, cores=cores, role="client"), io.StringIO(), io.StringIO()).open_loop()
    load.begin([])
    assert load.awake_at() == load.start + load.schedule.due[0] - awake_ns
