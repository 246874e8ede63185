"""NewReno against RFC 9002 section 7.3; what it shares with CUBIC is tested there."""

from __future__ import annotations

import pytest

from tests.rudp.congestion.flow import Flow
from tests.rudp.congestion.path import Path
from transport import limits
from transport.rudp.congestion.newreno import NewReno

MS = 1_000_000
MSS = 1200
MOST = limits.RUDP_CONGESTION_BYTES_MAX


def cut(packets: int) -> Flow:
    """A flow that has just come out of recovery, from a window of `packets` before."""
    controller = NewReno(MSS)
    controller.window = packets * MSS
    flow = Flow(controller, 50 * MS)
    flow.send(spread=True)
    flow.lose()
    flow.recover()
    return flow


def test_slow_start_doubles() -> None:
    flow = Flow(NewReno(MSS), 50 * MS)
    before = flow.controller.window
    flow.send()
    for _ in range(4):
        flow.round()
    assert flow.controller.window == pytest.approx(16 * before, rel=0.1)


def test_a_loss_halves_and_ends_slow_start() -> None:
    controller = NewReno(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, MSS, 100 * MSS, 10)
    controller.on_loss(8, MSS, 100 * MSS, 11)
    assert (controller.window, controller.cuts) == (50 * MSS, 1)
    assert controller.statistics()["slow_start_threshold"] == 50 * MSS


def test_a_packet_more_each_round() -> None:
    flow = cut(200)
    for _ in range(20):
        before = flow.controller.window
        flow.round()
        assert flow.controller.window - before == pytest.approx(MSS, abs=2 * MSS / 100)


def test_the_remainder_is_not_lost() -> None:
    """Acks of single bytes make it grow as one of all of them does."""
    one, many = NewReno(MSS), NewReno(MSS)
    for controller in (one, many):
        controller.window = 100 * MSS
        controller.on_loss(5, MSS, 100 * MSS, 10)
    one.on_ack(10_000, 20, 50 * MSS, MS, MS, MS, 30, 5, 6, False)
    for number in range(10_000):
        many.on_ack(1, 20, 50 * MSS, MS, MS, MS, 30, 5 + number, 6 + number, False)
    assert one.window == 50 * MSS + MSS * 10_000 // (50 * MSS)
    assert one.window - 3 <= many.window <= one.window


def test_an_undo_and_a_new_path() -> None:
    flow = cut(100)
    for _ in range(5):
        flow.round()
    before = flow.controller.window
    flow.lose()
    assert flow.controller.window == before // 2
    flow.controller.on_spurious(flow.now)
    assert flow.controller.window == before
    flow.controller.set_mss(1400)
    assert flow.controller.mss == 1400
    flow.controller.on_persistent(flow.now)
    assert flow.controller.window == 2 * 1400


def test_no_cut_while_less_than_half_is_used() -> None:
    controller = NewReno(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, MSS, 50 * MSS - 1, 10)
    assert (controller.window, controller.cuts_spared) == (100 * MSS, 1)
    controller.on_ecn(6, 10)
    assert (controller.window, controller.cuts_spared) == (100 * MSS, 2)


def test_nothing_grows_above_the_limit() -> None:
    controller = NewReno(65_000)
    controller.window = MOST
    controller.on_loss(5, MSS, MOST, 10)
    controller.window = MOST
    controller.on_ack(MOST, 20, MOST, MS, MS, MS, 30, 5, 6, False)
    assert controller.window == MOST


def test_a_bottleneck_with_a_queue_is_kept_busy() -> None:
    rate, rtt = 1_250_000, 50 * MS
    path = Path(NewReno(MSS), rate, rtt, queue=rate * rtt // 10**9)
    path.run_for(3)
    assert path.goodput(10) > 0.93 * rate
    assert path.controller.cuts > 1
