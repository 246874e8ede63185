"""A small result file with known figures, for tests of everything that reads one."""

from __future__ import annotations

from typing import Any

from bench import schema
from bench.cases import latency, throughput
from bench.environment import environment
from bench.peers import all_peers
from bench.statistics import summarize_samples

LATENCY = latency(64)
SMALL = throughput(64)
LARGE = throughput(65536)
USE = {"cpu_ns": 8_000_000, "voluntary_switches": 2000, "involuntary_switches": 10}


def a_round(case: str, peer: str, block: int, **more: Any) -> dict[str, Any]:
    common = {
        "case": case, "peer": peer, "block": block, "order": 0, "status": "OK", "why": None, "flagged": False,
        "wall_s": 0.5, "placement": {"client": [1], "server": [1]}, "measured_s": 0.5, "steal_ms": 0.0,
        "steal_percent": 0.0, "pressure_us": 0, "messages": 1000, "memory": {},
        "processes": {"client": dict(USE), "server": dict(USE)},
    }  # fmt: skip
    return common | more


def latency_round(peer: str, block: int, microseconds: int, **more: Any) -> dict[str, Any]:
    samples = [microseconds * 1000 + at for at in range(4000)]
    return a_round(LATENCY.id, peer, block, messages=4000, latency=summarize_samples(samples), **more)


def throughput_round(case: str, peer: str, block: int, rate: float, size: int, **more: Any) -> dict[str, Any]:
    figures = {
        "sent": 1000, "received": 1000, "checked": 17, "messages": 1000, "seconds": 0.5, "per_second": rate,
        "bytes_per_second": rate * size, "lost_percent": more.pop("lost", 0.0),
    }  # fmt: skip
    return a_round(case, peer, block, throughput=figures, **more)


def failed_round(case: str, peer: str, block: int, why: str) -> dict[str, Any]:
    item = a_round(case, peer, block, status="FAIL", why=why)
    return {name: item[name] for name in ("case", "peer", "block", "order", "status", "why", "flagged", "wall_s",
                                          "placement")}  # fmt: skip


def result() -> dict[str, Any]:
    """Three rounds: tcp takes 20 us of blocking-tcp's 10, one round of it flagged; unix fails; udp loses."""
    rounds = []
    for block in range(3):
        rounds += [
            latency_round("blocking-tcp", block, 10),
            latency_round("tcp", block, 20 + 30 * (block == 2), flagged=block == 2),
            failed_round(LATENCY.id, "unix", block, "server: <nothing> & more"),
            throughput_round(SMALL.id, "tcp", block, 4e6, 64),
            throughput_round(SMALL.id, "pyzmq", block, 5e5, 64),
            throughput_round(SMALL.id, "udp", block, 2e6, 64, lost=3.0),
            throughput_round(LARGE.id, "tcp", block, 3e4, 65536),
            throughput_round(LARGE.id, "pyzmq", block, 1e4, 65536),
        ]
    names = {item["peer"] for item in rounds}
    data = {
        "schema": schema.VERSION,
        "tool": {"command": "python -m bench quick", "commit": "0" * 40, "dirty": False, "version": "1"},
        "started": "2030-01-02T03:04:05+00:00", "seconds": 12.5, "preview": True, "complete": True,
        "why_incomplete": None, "environment": environment(),
        "config": {"rounds": 3, "seconds": 0.5, "warmup": 0.1, "seed": 1},
        "peers": [peer.describe() for name, peer in all_peers().items() if name in names],
        "missing": [{"id": "picows", "install": "pip install picows"}],
        "cases": [
            LATENCY.as_dict() | {"peers": ["blocking-tcp", "tcp", "unix"]},
            SMALL.as_dict() | {"peers": ["tcp", "pyzmq", "udp"]},
            LARGE.as_dict() | {"peers": ["tcp", "pyzmq"]},
        ],
        "rounds": rounds, "bars": [], "probes": {},
    }  # fmt: skip
    schema.validate(data)
    return data
