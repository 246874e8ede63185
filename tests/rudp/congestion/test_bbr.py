"""BBR's states on a simulated bottleneck: the cases of the appendix of draft-ietf-ccwg-bbr, and a few more."""

from __future__ import annotations

import pytest

from tests.rudp.congestion.path import MS, SECOND, Path
from transport import limits
from transport.rudp.congestion.base import initial_window
from transport.rudp.congestion.bbr import Bbr
from transport.rudp.states import CRUISE, DOWN, DRAIN, PROBE_RTT, REFILL, STARTUP, UP

MSS = 1200
RATE = 1_250_000
RTT = 50 * MS
BDP = RATE * RTT // SECOND
MARGIN = 0.99


def path_of(rate: int = RATE, queue: int = 1 << 40, dice: int = 1) -> Path:
    return Path(Bbr(MSS, dice), rate, RTT, queue)


def in_state(state: int, path: Path | None = None) -> Path:
    """A flow that has just come into `state`."""
    path = path or path_of()
    path.run_until(lambda: path.controller.state == state)
    return path


def rounds(path: Path, count: int) -> None:
    """So many round trips, counted as BBR counts them."""
    end = path.controller.round_count + count
    path.run_until(lambda: path.controller.round_count >= end)


# Startup and Drain


def test_the_first_window_goes_at_once_and_is_paced_from_the_first_ack_on() -> None:
    path = path_of()
    controller = path.controller
    assert (controller.window, controller.rate(RTT)) == (initial_window(MSS), 0)
    path.run_until(lambda: path.delivered)
    assert path.pn == 10
    assert controller.rate(RTT) == pytest.approx(2.77 * initial_window(MSS) * SECOND / RTT, rel=0.05)
    controller.set_mss(1400)
    assert controller.window > initial_window(MSS)


def test_another_size_before_anything_was_sent_is_another_first_window() -> None:
    controller = Bbr(MSS)
    controller.set_mss(1400)
    assert controller.window == initial_window(1400)
    controller.set_mss(65_000)
    assert controller.window == 130_000


def test_startup_doubles_and_ends_when_no_more_is_delivered() -> None:
    path = path_of(rate=20 * RATE)
    controller = path.controller
    seen = []
    for _ in range(5):
        rounds(path, 1)
        seen.append(controller.max_bw)
    assert seen[-1] > 6 * seen[0]
    path.run_until(lambda: controller.full_bw_reached)
    assert controller.max_bw == pytest.approx(20 * RATE, rel=0.02)
    assert controller.state == DRAIN
    assert controller.inflight_longterm == 1 << 62


def test_startup_goes_on_while_the_application_is_the_limit() -> None:
    path = path_of()
    path.most = 5 * MSS
    path.run_for(4)
    assert path.controller.state == STARTUP
    assert path.controller.max_bw < RATE
    path.run_for(3)
    assert path.controller.state in (STARTUP, PROBE_RTT)


@pytest.mark.parametrize("most", [1 << 62, 100 * MSS], ids=["bulk", "application-limited"])
def test_startup_ends_when_much_is_lost(most: int) -> None:
    path = path_of(rate=100 * RATE)
    path.most = most
    path.drops = lambda pn: pn % 10 == 9
    path.run_until(lambda: path.controller.state == DRAIN, 5)
    assert path.controller.full_bw_reached
    assert path.controller.max_bw < 50 * RATE
    assert path.controller.inflight_longterm < 1 << 62


def test_startup_does_not_mind_a_few_losses() -> None:
    path = path_of(rate=20 * RATE)
    path.drops = lambda pn: pn % 100 == 99
    path.run_until(lambda: path.controller.full_bw_reached)
    assert path.controller.max_bw == pytest.approx(20 * RATE, rel=0.02)


def test_a_run_of_lost_packets_is_one_event() -> None:
    """A burst that takes a tenth of a round is no sign of a full pipe: there have to be six."""
    path = path_of(rate=20 * RATE)
    path.drops = lambda pn: 400 <= pn < 440
    path.run_until(lambda: path.controller.full_bw_reached)
    assert path.lost >= 40 * MSS
    assert path.controller.max_bw == pytest.approx(20 * RATE, rel=0.02)


def test_startup_ends_when_two_rounds_are_marked() -> None:
    path = path_of(rate=100 * RATE)
    path.marks = lambda pn: pn == 50
    rounds(path, 5)
    assert path.controller.state == STARTUP
    path.marks = lambda pn: pn > 100
    path.run_until(lambda: path.controller.state == DRAIN, 1)
    assert path.controller.max_bw < 50 * RATE


def test_drain_ends_when_the_queue_is_gone() -> None:
    path = in_state(DRAIN)
    assert path.in_flight > 1.5 * BDP
    assert path.controller.rate(RTT) < 0.5 * RATE
    path.run_until(lambda: path.controller.state != DRAIN)
    assert path.in_flight <= BDP + 2 * MSS


def test_drain_ends_after_some_rounds_if_the_queue_stays() -> None:
    path = path_of()
    path.run_until(lambda: path.controller.max_bw > 0.97 * RATE)
    path.rate = RATE // 4
    in_state(DRAIN, path)
    began = path.controller.round_count
    path.run_until(lambda: path.controller.state != DRAIN)
    assert path.in_flight > BDP
    assert path.controller.round_count == began + 4


# ProbeBW


def test_a_cycle() -> None:
    """Each state with its rate, and the queue empty in between."""
    path = in_state(CRUISE)
    controller = path.controller
    assert controller.rate(RTT) == pytest.approx(MARGIN * RATE, rel=0.01)
    began = path.now
    path.run_until(lambda: controller.state == REFILL)
    assert 2 * SECOND < path.now - began < 3.2 * SECOND
    assert path.in_flight <= BDP + 2 * MSS
    before = controller.round_count
    path.run_until(lambda: controller.state == UP)
    assert controller.round_count == before + 1
    path.run_until(lambda: controller.state == DOWN)
    assert controller.round_count <= before + 6
    assert BDP * 1.2 < path.in_flight < BDP * 2.5
    assert controller.rate(RTT) == pytest.approx(0.9 * MARGIN * RATE, rel=0.01)
    path.run_until(lambda: controller.state == CRUISE)
    assert path.in_flight <= BDP + 2 * MSS
    assert controller.probes == 1


def test_nearly_all_of_the_link_is_used_and_hardly_any_queue() -> None:
    path = in_state(CRUISE)
    assert path.goodput(20) > 0.94 * RATE
    assert path.controller.max_bw == pytest.approx(RATE, rel=0.02)
    assert not path.lost


def test_flows_do_not_probe_in_step() -> None:
    waits = set()
    for dice in range(5):
        path = in_state(CRUISE, path_of(dice=dice))
        began = path.now
        path.run_until(lambda path=path: path.controller.state == REFILL)  # type: ignore[misc]
        waits.add((path.now - began) // (50 * MS))
    assert len(waits) > 2


def test_probing_is_as_frequent_as_reno_would_lose_on_small_paths() -> None:
    path = in_state(CRUISE, path_of(rate=RATE // 10))  # 5 packets
    began = path.controller.round_count
    path.run_until(lambda: path.controller.state == REFILL)
    assert path.controller.round_count - began <= 8


def test_down_gives_way_to_the_next_probe_if_the_queue_stays() -> None:
    path = in_state(REFILL)
    path.rtt -= MS  # so that it is not time to look for the least round trip
    path = in_state(DOWN, in_state(UP, path))
    path.rate = RATE * 6 // 10
    began = path.now
    path.run_until(lambda: path.controller.state != DOWN)
    assert path.controller.state == REFILL
    assert path.now - began >= 2 * SECOND


def test_ten_times_the_bandwidth_is_found() -> None:
    path = in_state(CRUISE)
    path.rate = 10 * RATE
    began = path.now
    path.run_until(lambda: path.controller.max_bw > 9 * RATE, 30)
    assert path.now - began < 12 * SECOND


def test_ten_times_the_bandwidth_is_found_after_losses() -> None:
    """The bound that losses have set grows by 1, 2, 4, ... packets a round."""
    path = path_of(queue=BDP // 2)
    path.run_until(lambda: path.controller.inflight_longterm < 1 << 62, 20)
    path.queue = 1 << 40
    path.rate = 10 * RATE
    path.run_until(lambda: path.controller.max_bw > 8 * RATE, 30)
    assert path.controller.inflight_longterm > 6 * BDP


def test_a_tenth_of_the_bandwidth_is_kept_to() -> None:
    path = in_state(CRUISE, path_of(queue=BDP))
    path.run_until(lambda: path.controller.probes == 2)
    path.run_until(lambda: path.controller.state == CRUISE)
    path.rate = RATE // 10
    path.run_until(lambda: path.controller.bw_shortterm < 0.5 * RATE, 3)
    path.run_until(lambda: path.controller.max_bw < 0.15 * RATE, 60)
    path.run_for(5)
    assert path.goodput(10) > 0.08 * RATE


def test_less_than_a_packet_for_a_round_trip() -> None:
    path = Path(Bbr(MSS), 10_000, 10 * MS)
    path.run_for(10)
    assert path.goodput(20) > 9000
    assert path.controller.window >= 4 * MSS


def test_a_policer_is_no_reason_to_lose_for_ever() -> None:
    """No queue at all behind the bottleneck: what is too much is dropped at once."""
    path = path_of(queue=4 * MSS)
    path.run_for(10)
    lost, pn = path.lost, path.pn
    assert path.goodput(20) > 0.6 * RATE
    assert (path.lost - lost) / MSS < 0.05 * (path.pn - pn)


# Aggregation


@pytest.mark.parametrize("batch", [20 * MS, 40 * MS])
def test_acks_in_batches_do_not_stop_the_flow(batch: int) -> None:
    path = path_of()
    path.batch = batch
    path.run_for(8)
    controller = path.controller
    assert controller.extra_acked > 0.5 * batch * RATE / SECOND
    assert controller.window > 2 * BDP
    assert path.goodput(10) > 0.9 * RATE


def test_what_came_ahead_is_forgotten() -> None:
    path = path_of()
    path.batch = 30 * MS
    path.run_for(8)
    most = path.controller.extra_acked
    path.batch = 0
    path.run_for(6)  # sending 1 % below the rate uses it up, then it takes ten rounds
    assert path.controller.extra_acked < most // 3


# ProbeRTT


def test_the_least_round_trip_is_looked_for_every_five_seconds() -> None:
    path = in_state(PROBE_RTT)
    controller = path.controller
    began = path.now
    path.run_until(lambda: path.in_flight <= BDP // 2 + MSS)
    path.run_until(lambda: controller.state != PROBE_RTT)
    assert controller.state == CRUISE
    assert 200 * MS <= path.now - began <= 200 * MS + 3 * RTT
    path.run_until(lambda: path.in_flight > 0.9 * BDP, 1)
    ended = path.now
    path.run_until(lambda: controller.state == PROBE_RTT)
    assert 5 * SECOND <= path.now - ended + 3 * RTT < 6 * SECOND


def test_on_a_very_long_way_probes_come_to_their_end() -> None:
    """Five seconds are not even three round trips."""
    path = Path(Bbr(MSS), 20_000, 2 * SECOND)
    path.run_for(60)
    path.rate = 20 * RATE // 100
    path.run_until(lambda: path.controller.max_bw > 0.9 * path.rate, 200)


def test_a_longer_way_is_noticed() -> None:
    path = in_state(CRUISE)
    path.rtt = 90 * MS
    path.run_until(lambda: path.controller.min_rtt > 85 * MS, 20)
    assert path.goodput(10) > 0.85 * RATE


def test_a_pause_spares_the_look() -> None:
    path = in_state(CRUISE)
    path.idle(6)
    seen = set()
    for _ in range(1000):
        path.step()
        seen.add(path.controller.state)
    assert PROBE_RTT not in seen


def test_a_pause_in_the_midst_of_the_look_ends_it() -> None:
    path = in_state(PROBE_RTT)
    path.run_for(0.15)
    path.idle(1)
    assert path.controller.state == PROBE_RTT
    path.run_for(0.001)
    assert path.controller.state == CRUISE
    assert path.controller.window > BDP


def test_a_look_in_startup_leads_back_to_it() -> None:
    path = path_of()
    path.most = 5 * MSS
    path.run_until(lambda: path.controller.state == PROBE_RTT, 10)
    path.run_until(lambda: path.controller.state != PROBE_RTT)
    assert path.controller.state == STARTUP
    path.most = 1 << 62
    path.run_until(lambda: path.controller.state == CRUISE)
    assert path.controller.max_bw == pytest.approx(RATE, rel=0.02)


# The application is the limit


def test_slow_samples_of_a_slow_application_are_not_believed() -> None:
    path = in_state(REFILL)
    before = path.controller.max_bw
    path.most = 4 * MSS
    path.run_until(lambda: path.controller.state == UP, 2)
    path.run_for(1.5)
    assert path.controller.max_bw == before
    assert path.controller.state == UP  # without a loss it waits there for something to try
    path.most = 1 << 62
    path.run_until(lambda: path.controller.state in (DOWN, PROBE_RTT), 2)


def test_after_a_pause_it_goes_on_at_the_rate() -> None:
    path = in_state(CRUISE)
    path.idle(2)
    assert path.goodput(0.5) > 0.85 * RATE


# Bounds and numbers


def test_the_largest_numbers_fit() -> None:
    path = Path(Bbr(65_000), limits.RUDP_RATE_MAX, 60 * SECOND)
    controller = path.controller
    controller.window = limits.RUDP_CONGESTION_BYTES_MAX
    for _ in range(9000):
        path.step()
    assert controller.window <= limits.RUDP_CONGESTION_BYTES_MAX
    assert 0 <= controller.rate(1) <= 3 * limits.RUDP_RATE_MAX


def test_statistics() -> None:
    path = path_of()
    assert path.controller.statistics()["inflight_longterm"] == path.controller.statistics()["min_rtt_ns"] == 0
    path.run_for(10)
    found = path.controller.statistics()
    assert found["window"] == path.controller.window
    assert found["min_rtt_ns"] == pytest.approx(RTT, rel=0.05)
    assert found["bandwidth"] == found["max_bandwidth"] == pytest.approx(RATE, rel=0.02)
    assert found["probes"] > 1
    assert found["collapses"] == found["undone"] == found["probes_too_high"] == found["noise_permille"] == 0
