"""One side of a round: what it adds to the process that it measures."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import pytest

from bench import job as module
from bench.cases import Case, latency, throughput
from bench.job import Job


def started(monkeypatch: pytest.MonkeyPatch, case: Case) -> list[str]:
    """Names of the threads that a job of `case` would start."""
    names: list[str] = []

    class Recorded(threading.Thread):
        def start(self) -> None:
            names.append(self.name)

    monkeypatch.setattr(module.threading, "Thread", Recorded)
    config: dict[str, Any] = {
        "case": case.as_dict(), "role": "server", "peer": "udp", "scratch": "", "seed": 1, "seconds": 1.0,
        "warmup": 0.0, "pids": {}, "cores": [0],
    }  # fmt: skip
    Job(config, io.StringIO(), io.StringIO()).watch()
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the thread sees that the parent has gone")
def test_a_latency_round_gets_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, latency(64)) == []


def test_a_throughput_round_has_a_thread_that_collects(monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(monkeypatch, throughput(64)) == ["bench-control"]
