"""A small result file with known figures, for tests of everything that reads one."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import Any

from bench import schema
from bench.cases import Case, latency, open_loop, throughput
from bench.environment import environment
from bench.link.model import Link
from bench.peers import all_peers
from bench.statistics import summarize_samples
from bench.sweeps import grid, rates

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


# Open loops ----------------------------------------------------------------------------------------------------------
OPEN_PEERS = ("blocking-tcp", "pyzmq", "tcp", "rudp", "rudp-unordered", "rudp-unreliable")
TAIL_FACTOR = {"blocking-tcp": 3.0, "pyzmq": 4.0, "tcp": 3.5, "rudp": 1.0, "rudp-unordered": 0.7,
               "rudp-unreliable": 0.0}  # fmt: skip
LINK_LATE_NS = 40_000


def link_report(case: Case, planned: float, packets: float, size: int, **more: Any) -> dict[str, Any]:
    """What the router says: `packets` a message there and half as many back, of `size` bytes."""
    assert case.link is not None
    side = {
        "packets_in": int(planned * packets), "bytes_in": int(planned * packets) * size, "packets_out": 0,
        "bytes_out": 0, "duplicated": 0, "corrupted": 0, "reordered": 0, "overtaken": 0, "queue_high_bytes": 0,
        "dropped": dict.fromkeys(("hole", "mtu", "queue", "overflow", "refused", "device"), 0)
        | {"loss": int(planned * packets * case.link.loss)},
        "lateness_ns": {"n": 100, "p50": 400, "p99": LINK_LATE_NS, "p999": 2 * LINK_LATE_NS, "max": 9 * LINK_LATE_NS},
    }  # fmt: skip
    back = side | {"packets_in": side["packets_in"] // 2, "bytes_in": side["packets_in"] // 2 * size}
    return {"client": side, "server": back, "valid": True, "why": None, "unpublishable": None, "seconds": 3.0,
            "congestion": "cubic"} | more  # fmt: skip


def open_round(
    case: Case, peer: str, block: int, *, tail: float | None = None, lost: int = 0, planned: int = 4000, **more: Any
) -> dict[str, Any]:
    """Latencies from the one-way delay (0.1 ms over loopback) upwards; 4 % of them are a tail that grows with loss."""
    link = case.link
    base = 100_000 if link is None else int(link.delay_ms * 1e6)
    worse = TAIL_FACTOR[peer] if tail is None else tail
    share = 0.02 if link is None else link.loss
    late = int(base * (1 + 20 * share * worse))
    tails = planned // 25
    bulk = planned - lost - tails
    samples = [base + base * at // (50 * bulk) for at in range(bulk)] + [late + 10 * at for at in range(tails)]
    found = {
        "planned": planned, "arrived": planned - lost, "lost": lost, "doubled": 0, "swapped": 0,
        "within_100ms": sum(value <= 100_000_000 for value in samples) / planned,
        "lateness": summarize_samples([500] * planned),
    }  # fmt: skip
    item = a_round(case.id, peer, block, messages=planned - lost, latency=summarize_samples(samples), open=found)
    if link is not None:
        packets = 2.0 if peer.startswith("rudp") else 1.5
        item["link"] = link_report(case, case.rate * case.connections * 2.5, packets, 150)
    return item | more


def open_cases() -> list[Case]:
    """Every loss at two round-trip times, four rates over loopback, two more jitters, one size by itself."""
    point = Link(delay_ms=25.0, loss=0.02)
    return [
        *grid([64], [20.0, 50.0], [0.0, 0.02, 0.05]),
        *rates(64, [100.0, 1000.0, 10_000.0, 50_000.0]),
        *(open_loop(64, 100.0, 10, link=replace(point, jitter_ms=jitter)) for jitter in (5.0, 50.0)),
        open_loop(1024, 50.0, 3, link=point),
    ]


def open_result() -> dict[str, Any]:
    """A copy of `_open_result`, to be changed at will."""
    return dict(json.loads(_open_result()))


@functools.cache
def _open_result() -> str:
    """Two rounds: reliable UDP is best where packets are lost, pyzmq without; tcp fails at the highest rate, once at
    5 %; pyzmq's rounds are invalid at RTT 20 ms, 5 %; unreliable messages are lost.
    """
    rounds = []
    cases = open_cases()
    for block in range(2):
        for case in cases:
            for peer in OPEN_PEERS:
                if case.link is None and peer in ("rudp-unordered", "rudp-unreliable"):
                    continue
                item = open_round(case, peer, block)
                if peer == "rudp-unreliable" and case.link is not None:
                    item = open_round(case, peer, block, lost=int(4000 * case.link.loss))
                elif case.link is None and case.rate == 50_000 and peer == "tcp":
                    item |= {"status": "FAIL", "why": "200 of 4000 messages have not arrived"}
                elif case.link is None or not case.link.loss:
                    item = open_round(case, peer, block, tail=0.2 if peer == "pyzmq" else 1.0)
                elif case.link == Link(delay_ms=10.0, loss=0.05) and peer == "pyzmq":
                    item |= {"status": "INVALID", "why": "the sender was 900 us late at p99, 50 us may be"}
                elif case.link == Link(delay_ms=25.0, loss=0.05) and peer == "tcp" and block:
                    item = failed_round(case.id, peer, block, "server: <gone> & away")
                rounds.append(item)
    data = {
        "schema": schema.VERSION,
        "tool": {"command": "python -m bench loss --loss 0,2,5", "commit": "0" * 40, "dirty": False, "version": "1"},
        "started": "2030-01-02T03:04:05+00:00", "seconds": 90.0, "preview": False, "complete": True,
        "why_incomplete": None, "environment": environment(),
        "config": {"rounds": 2, "seconds": 1.0, "warmup": 0.5, "seed": 1},
        "peers": [peer.describe() for name, peer in all_peers().items() if name in OPEN_PEERS], "missing": [],
        "cases": [
            case.as_dict() | {"peers": [peer for peer in OPEN_PEERS if any(
                (item["case"], item["peer"]) == (case.id, peer) for item in rounds)]} for case in cases
        ],
        "rounds": rounds, "bars": [], "probes": {},
    }  # fmt: skip
    schema.validate(data)
    return json.dumps(data)
