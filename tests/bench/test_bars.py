"""Verdicts: by the median of paired ratios, never for want of data."""

from __future__ import annotations

from typing import Any

import pytest

from bench import bars
from bench.cases import latency, throughput
from bench.message import PACKED_BYTES, make_dict
from bench.peers import all_peers
from tests.bench.results import failed_round, latency_round, throughput_round

RTT = latency(64)
BIG = throughput(65536)


def rtt_bar(limit: float = 1.1, **more: Any) -> bars.Bar:
    return bars.Bar("rtt", "tcp / echo", (RTT, "tcp"), (RTT, "uvloop-bare"), "<=", limit, **more)


def rounds_of(figures: list[tuple[int, int]], **flags: Any) -> list[dict[str, Any]]:
    found = []
    for block, (ours, theirs) in enumerate(figures):
        found += [latency_round("tcp", block, ours, **flags), latency_round("uvloop-bare", block, theirs)]
    return found


def test_the_verdict_is_by_the_median_of_the_ratios() -> None:
    entry = bars.judge(rtt_bar(2.5), rounds_of([(20, 10), (60, 20), (20, 10)]))
    assert entry["verdict"] == bars.PASS
    assert entry["value"] == pytest.approx(1.83, abs=0.1)
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["n"] == 3
    assert bars.judge(rtt_bar(1.5), rounds_of([(20, 10), (60, 20), (20, 10)]))["verdict"] == bars.FAIL


def test_no_data_is_no_pass() -> None:
    entry = bars.judge(rtt_bar(), [])
    assert entry["verdict"] == bars.NOT_MEASURED
    assert "tcp, uvloop-bare" in entry["why"]
    alone = bars.judge(rtt_bar(), [latency_round("tcp", 0, 10)])
    assert alone["verdict"] == bars.NOT_MEASURED
    assert alone["why"] == "not run: uvloop-bare"


def test_only_rounds_of_one_block_are_compared() -> None:
    rounds = [latency_round("tcp", 0, 10), latency_round("uvloop-bare", 1, 10)]
    assert bars.judge(rtt_bar(), rounds)["verdict"] == bars.NOT_MEASURED


def test_a_failed_round_fails_the_bar() -> None:
    rounds = [*rounds_of([(10, 10), (10, 10)]), failed_round(RTT.id, "tcp", 2, "client: lost a message\nmore")]
    entry = bars.judge(rtt_bar(), rounds)
    assert entry["verdict"] == bars.FAIL
    assert entry["why"] == "1 rounds failed: client: lost a message"


def test_rounds_with_steal_are_kept_and_shown_apart() -> None:
    rounds = [
        *rounds_of([(10, 10), (10, 10)]),
        latency_round("tcp", 2, 90, flagged=True),
        latency_round("uvloop-bare", 2, 10),
    ]
    entry = bars.judge(rtt_bar(1.5), rounds)
    assert entry["n"] == 3
    assert entry["high"] > 5
    assert entry["quiet"] == pytest.approx(1.0)


def test_a_bar_on_quiet_rounds_needs_three_of_them() -> None:
    bar = bars.Bar("big", "tcp / pyzmq", (BIG, "tcp"), (BIG, "pyzmq"), ">=", 1.2, quiet_only=True)
    rounds = []
    for block in range(3):
        rounds += [
            throughput_round(BIG.id, "tcp", block, 3e4, 65536, flagged=block == 2),
            throughput_round(BIG.id, "pyzmq", block, 2e4, 65536),
        ]
    entry = bars.judge(bar, rounds)
    assert entry["verdict"] == bars.NOT_MEASURED
    assert entry["why"] == "only 2 rounds had little steal, 3 are needed"
    rounds[4]["flagged"] = False
    assert bars.judge(bar, rounds)["verdict"] == bars.PASS


def test_the_codec_bar_is_on_time_and_not_on_a_rate() -> None:
    bar = bars.codec_bars()[0]
    assert bar.codec_floor is not None
    raw, alone = 4e6, 1e6  # 250 ns and 1000 ns: 1250 ns are allowed, times 1.25
    rounds = [
        throughput_round(bar.below[0].id, "tcp", 0, raw, 64),
        throughput_round(bar.codec_floor[0].id, bars.CODEC_FLOOR, 0, alone, 64),
        throughput_round(bar.above[0].id, "tcp", 0, 8e5, 64),
    ]
    entry = bars.judge(bar, rounds)
    assert entry["value"] == pytest.approx(1250 / 1250)
    assert entry["verdict"] == bars.PASS


def test_every_acceptance_bar_names_peers_that_can_run_its_cases() -> None:
    known = all_peers()
    every = bars.acceptance_bars()
    assert len({bar.id for bar in every}) == len(every)
    for bar in every:
        for case, name in bar.sides():
            assert known[name.partition("@")[0]].supports(case), (bar.id, name)


def test_work_holds_each_case_and_peer_once() -> None:
    work = bars.work_for(bars.acceptance_bars())
    assert len({case for case, _ in work}) == len(work)
    assert all(len(set(names)) == len(names) for _, names in work)
    assert {bars.AGAIN, "tcp", "tcp-coro", "unix", "udp"} <= set(dict(work)[RTT])
    assert {"blocking-tcp", "blocking-unix", "blocking-udp"} <= set(dict(work)[RTT]), "floors in every table"


def test_the_small_dict_packs_to_the_size_that_raw_is_compared_at() -> None:
    import msgpack

    assert {len(msgpack.packb(make_dict(number))) for number in range(1024)} == {PACKED_BYTES}


def test_a_plain_figure_has_an_upper_limit() -> None:
    assert bars.simple_bar("x", "x", "ms", 25.0, 25.0)["verdict"] == bars.PASS
    assert bars.simple_bar("x", "x", "ms", 25.1, 25.0)["verdict"] == bars.FAIL
    assert bars.simple_bar("x", "x", "ms", None, 25.0, why="no")["verdict"] == bars.NOT_MEASURED
