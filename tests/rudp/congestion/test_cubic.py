"""CUBIC against the formulas of RFC 9438, written down a second time, and its reactions."""

from __future__ import annotations

import random

import pytest

from tests.rudp.congestion.flow import Flow, after_a_cut
from transport import limits
from transport.rudp.congestion.cubic import Cubic, cube_root

US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
MSS = 1200
MOST = limits.RUDP_CONGESTION_BYTES_MAX
PUBLIC = ("window", "slow_start_threshold", "cuts", "cuts_undone", "cuts_spared", "collapses")


class Model:
    """RFC 9438 sections 4.2 to 4.5 in segments and seconds, as they stand there."""

    def __init__(self, cwnd: float, w_max: float, prior: float, start: float) -> None:
        self.cwnd = self.w_est = cwnd
        self.w_max = w_max
        self.prior = prior
        self.start = start
        self.k = ((w_max - cwnd) / 0.4) ** (1 / 3)

    def w_cubic(self, t: float) -> float:
        return 0.4 * (t - self.k) ** 3 + self.w_max

    def ack(self, now: float, rtt: float) -> None:
        t = now - self.start
        alpha = 3 * (1 - 0.7) / (1 + 0.7) if self.w_est < self.prior else 1
        self.w_est += alpha / self.cwnd
        if self.w_cubic(t) < self.w_est:
            self.cwnd = max(self.cwnd, self.w_est)
        else:
            target = min(max(self.w_cubic(t + rtt), self.cwnd), 1.5 * self.cwnd)
            self.cwnd += (target - self.cwnd) / self.cwnd


@pytest.mark.parametrize("value", [1e-9, 0.3, 1.0, 7.999, 8.0, 8.001, 123.456, 1e6, 2.0**40])
def test_cube_root(value: float) -> None:
    assert cube_root(value) == pytest.approx(value ** (1 / 3), rel=1e-14)
    assert cube_root(0.0) == cube_root(-value) == 0.0


# Slow start


def test_slow_start_doubles() -> None:
    flow = Flow(Cubic(MSS), 50 * MS)
    flow.send()
    for power in range(8):
        assert flow.controller.window == 10 * MSS << power
        flow.round()


@pytest.mark.parametrize("mss", [1200, 8952, 65_000])
def test_loopback_is_filled_at_once(mss: int, rng: random.Random) -> None:
    """Round trips of 30 to 100 us with hiccups of up to 3 ms: doubling goes on, up to megabytes in under 20 rounds."""
    flow = Flow(Cubic(mss), 30 * US)
    flow.jitter = lambda: rng.randrange(70 * US) + (rng.randrange(3 * MS) if rng.random() < 0.01 else 0)
    flow.send()
    for _ in range(20):
        if flow.controller.window < 2 * 1024 * 1024:
            flow.round()
    assert flow.controller.window >= 2 * 1024 * 1024
    assert flow.controller.statistics()["slow_start_threshold"] == 0


def test_hystart_ends_slow_start_when_a_queue_builds() -> None:
    """Beyond 100 packets the path queues: slow start ends long before a loss would have ended it."""
    controller = Cubic(MSS)
    flow = Flow(controller, 50 * MS)
    flow.jitter = lambda: max(0, flow.in_flight - 100 * MSS) * 50 * MS // (100 * MSS)
    flow.send()
    for _ in range(15):
        flow.round()
    threshold = controller.statistics()["slow_start_threshold"]
    assert 100 * MSS < threshold < 1000 * MSS
    assert controller.cuts == 0
    before = controller.window
    flow.jitter = lambda: 0
    flow.round()
    assert before <= controller.window < before * 1.5  # congestion avoidance goes on from there, without a cut


def test_slow_start_of_a_path_without_end_stops_at_the_bound() -> None:
    flow = Flow(Cubic(65_000), 1 * MS)
    flow.send()
    while flow.controller.window < MOST:
        flow.round()
    flow.round()
    assert flow.controller.window == MOST
    flow.lose()
    flow.controller.window = MOST  # and in congestion avoidance
    flow.recover()
    for _ in range(3):
        flow.round()
        assert flow.controller.window == MOST


# Congestion avoidance


def test_window_follows_the_cubic_function() -> None:
    """RTT 100 ms, 1000 packets: concave up to K = 9.1 s, then convex; equal to the formulas at every ack."""
    flow = after_a_cut(1000, 100 * MS)
    controller = flow.controller
    model = Model(700, 1000, 1000, flow.sent[0][3] / SECOND)
    start = flow.now
    seen: dict[int, int] = {}
    while flow.now - start < 14 * SECOND:
        time = flow.sent[0][3]
        flow.ack()
        model.ack(time / SECOND, 0.1)
        assert abs(controller.window - model.cwnd * MSS) < 2
        seen.setdefault((flow.now - start) // SECOND, controller.window)
    speeds = [seen[second + 1] - seen[second] for second in range(13)]
    assert speeds[:8] == sorted(speeds[:8], reverse=True)
    assert speeds[9:] == sorted(speeds[9:])
    assert seen[9] == pytest.approx(1000 * MSS, rel=0.002)
    assert seen[2] == pytest.approx((0.4 * (2 - model.k) ** 3 + 1000) * MSS, rel=0.01)


def test_short_round_trips_grow_like_reno() -> None:
    """RTT 1 ms: 9/17 packet a round trip up to the window before the cut, then a whole one (section 4.3)."""
    flow = after_a_cut(100, 1 * MS)
    controller = flow.controller
    model = Model(70, 100, 100, flow.sent[0][3] / SECOND)
    crossed = 0
    for number in range(120):
        before = controller.window
        last = flow.pn
        while flow.sent[0][0] < last:
            time = flow.sent[0][3]
            flow.ack()
            model.ack(time / SECOND, 0.001)
            assert abs(controller.window - model.cwnd * MSS) < 2
        grown = (controller.window - before) / MSS
        if controller.window <= 100 * MSS:
            crossed = number + 1
            assert grown == pytest.approx(9 / 17, rel=0.05)
        elif before > 100 * MSS:
            assert grown == pytest.approx(1, rel=0.05)
    assert crossed == pytest.approx(30 / (9 / 17), abs=2)


def test_recovery_on_loopback_is_quick() -> None:
    """RTT 50 us, 1 MB: back where it was within 1 ms."""
    flow = after_a_cut(16, 50 * US, mss=65_000)
    start = flow.now
    while flow.controller.window < 16 * 65_000:
        flow.ack()
    assert flow.now - start < 1 * MS


def test_growth_within_a_round_trip_is_bounded() -> None:
    """However late it is on the curve, half more a round trip at most (section 4.2)."""
    flow = after_a_cut(10, 2 * SECOND)
    flow.round()
    for _ in range(12):
        before = flow.controller.window
        flow.round()
        assert flow.controller.window <= before * 1.5 + MSS


def test_after_hystart_the_curve_begins_at_its_plateau() -> None:
    """Section 4.10: K = 0 and W_max is the window, so the first second brings 0.4 packets, and Reno's line more."""
    controller = Cubic(MSS)
    flow = Flow(controller, 100 * MS)
    flow.send()
    for _ in range(5):
        flow.round()
    flow.jitter = lambda: 50 * MS
    while controller.statistics()["slow_start_threshold"] == 0:
        flow.round()
    flow.drain()
    flow.jitter = lambda: 0
    start, before = flow.now, controller.window
    flow.send(spread=True)
    while flow.now < start + 2 * SECOND:
        flow.ack()
    assert before + 10 * MSS < controller.window < before + 30 * MSS  # one packet each round trip


def test_fast_convergence() -> None:
    """A second cut before the old window is reached again plateaus lower: W_max is 0.85 of the window (section 4.7)."""
    flow = after_a_cut(1000, 100 * MS)
    controller = flow.controller
    assert controller.window < 710 * MSS
    flow.lose()
    assert controller.cuts == 2
    after = controller.window
    assert after == pytest.approx(490 * MSS, rel=0.01)
    flow.recover()
    start = flow.now
    k = ((0.85 - 0.7) * 700 / 0.4) ** (1 / 3)
    while flow.now < start + k * SECOND:
        flow.ack()
    assert controller.window == pytest.approx(0.85 * 700 * MSS, rel=0.02)


def test_idle_time_is_no_time() -> None:
    """Section 5.8: after a pause the curve goes on where it stopped."""
    windows = []
    for pause in (0, 3600 * SECOND):
        flow = after_a_cut(400, 100 * MS)
        for _ in range(20):
            flow.round()
        flow.drain()
        flow.now += pause
        flow.send(spread=True)
        for _ in range(20):
            flow.round()
        windows.append(flow.controller.window)
    assert windows[0] == windows[1]


def test_time_without_use_is_no_time() -> None:
    """Section 5.8: a thin flow does not grow, and comes back where it stopped."""
    flow = after_a_cut(400, 100 * MS)
    controller = flow.controller
    for _ in range(20):
        flow.round()
    flow.drain()
    before = controller.window
    flow.most = 10 * MSS
    flow.send(spread=True)
    start = flow.now
    while flow.now < start + 60 * SECOND:
        flow.ack()
    assert controller.window == before
    flow.most = 1 << 62
    flow.send()
    flow.round()
    flow.round()
    assert before < controller.window < before + 20 * MSS


# When a window is in use


def test_slow_start_grows_up_to_twice_what_is_used() -> None:
    flow = Flow(Cubic(MSS), 50 * MS)
    flow.most = 20 * MSS
    flow.send()
    for _ in range(20):
        flow.round()
    assert 40 * MSS <= flow.controller.window <= 60 * MSS
    settled = flow.controller.window
    for _ in range(20):
        flow.round()
    assert flow.controller.window == settled


def test_a_sender_that_is_only_slow_does_not_grow_without_end() -> None:
    """The queue is never empty, yet little is in flight: the processor is the limit."""
    controller = Cubic(MSS)
    for number in range(5000):
        now, rtt = number * 10 * US, 300 * US
        controller.on_sent(number, MSS, 30 * MSS, now)
        controller.on_ack(MSS, now - rtt, 30 * MSS, rtt, rtt, rtt, now, number - 30, number + 1, False)
    assert 60 * MSS <= controller.window <= 62 * MSS


def test_acks_in_one_batch_count_as_one_use() -> None:
    """The whole window was out; each ack of the batch sees less of it in flight."""
    flow = after_a_cut(100, 1 * MS)
    before = flow.controller.window
    flow.drain()
    assert flow.controller.window - before == pytest.approx(MSS * 9 / 17, rel=0.1)


def test_no_growth_in_recovery() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    flow = Flow(controller, 50 * MS)
    flow.send(spread=True)
    flow.lose()
    for _ in range(99):
        flow.ack(sends=False)
        assert controller.window == 70 * MSS


# Pacing, datagram sizes


def test_pacing_rate() -> None:
    controller = Cubic(MSS)
    assert controller.rate(50 * MS) == 0  # the initial window may go at once
    controller.window = 100 * MSS
    assert controller.rate(0) == 0  # no sample
    assert controller.rate(50 * MS) == 2 * 100 * MSS * 20
    controller.on_loss(5, MSS, 100 * MSS, 10)
    assert controller.rate(50 * MS) == 70 * MSS * 20 * 5 // 4
    controller.window = 10 * MSS
    assert controller.rate(50 * MS) == 0
    controller.window = 10 * MSS + 1
    assert controller.rate(50 * MS) == (10 * MSS + 1) * 40  # slow start up to the threshold


def test_the_largest_rate_fits() -> None:
    controller = Cubic(MSS)
    controller.window = MOST
    assert controller.rate(1) == MOST * 2_000_000_000


def test_larger_datagrams() -> None:
    controller = Cubic(MSS)
    controller.set_mss(1472)
    assert (controller.mss, controller.window) == (1472, 14_720)  # nothing has happened yet: the initial one anew
    controller.set_mss(1200)
    assert controller.window == 12_000
    controller.on_sent(0, MSS, MSS, 5)
    controller.on_ack(MSS, 5, 10 * MSS, MS, MS, MS, 10, 0, 10, False)
    assert controller.window == 11 * MSS
    controller.set_mss(1472)
    assert controller.window == 11 * MSS
    controller.set_mss(65_000)
    assert controller.window == 130_000  # two packets at least
    controller.set_mss(1200)
    assert controller.window == 130_000


def test_larger_datagrams_keep_the_plateau() -> None:
    flow = after_a_cut(1000, 100 * MS)
    before = flow.controller.window
    flow.controller.set_mss(2400)
    flow.drain()
    flow.send(spread=True)
    start = flow.now
    k = (300 * MSS / 2400 / 0.4) ** (1 / 3)
    for time in (2.0, k):
        while flow.now < start + time * SECOND:
            flow.ack()
        expected = 1000 * MSS + 0.4 * 2400 * (time - k) ** 3
        assert before < flow.controller.window == pytest.approx(expected, rel=0.02)


def test_statistics() -> None:
    controller = Cubic(MSS)
    assert controller.statistics() == dict.fromkeys(PUBLIC, 0) | {"window": 12_000}


# Anything at all


def test_what_holds_whatever_happens(rng: random.Random) -> None:
    """Bounds, no growth but by acks, one cut a flight, no cut of an unused window; also for nonsense of a peer."""
    for mss in (1200, 8952):
        controller = Cubic(mss)
        now, pn, last_cut = 1, 0, -1
        for _ in range(20_000):
            now += rng.choice([0, 1, 10 * US, 3 * MS, 10 * SECOND])
            window, cuts, undone = controller.window, controller.cuts, controller.cuts_undone
            flight = rng.randrange(2 * window)
            act = rng.randrange(100)
            if act < 45:
                controller.on_sent(pn, mss, flight, now)
                pn += 1
                assert controller.window == window
            elif act < 92:
                rtt = rng.choice([0, 1, 50 * US, 80 * MS, 7 * SECOND])
                acked = rng.randrange(1, 50 * mss)
                sent = now - rng.randrange(now + 1)
                largest, idle = rng.randrange(pn + 1), rng.random() < 0.5
                controller.on_ack(acked, sent, flight, rtt, rtt, rtt, now, largest, pn, idle)
                assert window <= controller.window <= window + max(acked, window // 2 + 1)
            elif act < 96:
                sent = now - rng.randrange(min(now, 100 * MS) + 1)
                controller.on_loss(sent, mss, flight, now)
                if controller.cuts > cuts:
                    assert sent > last_cut
                    last_cut = now
                    assert controller.window == max(2 * mss, window * 7 // 10)
                else:
                    assert controller.window == window
            elif act < 98:
                controller.on_spurious(now)
                assert controller.window >= window
                last_cut = last_cut if controller.cuts_undone == undone else -1
            elif act == 98:
                controller.on_ecn(now, now)
                last_cut = now if controller.cuts > cuts else last_cut
            elif rng.random() < 0.1:
                controller.on_persistent(now)
                assert controller.window == 2 * mss
            assert 2 * mss <= controller.window <= MOST
            assert controller.rate(rng.choice([0, 1, 50 * MS])) >= 0
