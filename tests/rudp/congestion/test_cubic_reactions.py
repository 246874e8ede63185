"""What CUBIC does about losses and marks, and what it takes back."""

from __future__ import annotations

import pytest

from tests.rudp.congestion.flow import Flow, after_a_cut
from tests.rudp.congestion.path import Path
from transport.rudp.congestion.cubic import Cubic

MS = 1_000_000
MSS = 1200


def test_one_cut_for_the_losses_of_a_round() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    flow = Flow(controller, 50 * MS)
    flow.send()
    for _ in range(10):
        flow.lose()
    assert (controller.window, controller.cuts) == (70 * MSS, 1)
    flow.recover()
    flow.now += 1
    flow.send()
    flow.recover()
    before = controller.window
    flow.lose()
    assert (controller.window, controller.cuts) == (before * 7 // 10, 2)


def test_no_cut_while_less_than_half_is_used() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, MSS, 50 * MSS - 1, 10)
    controller.on_loss(6, MSS, 3 * MSS, 10)
    assert (controller.window, controller.cuts, controller.cuts_spared) == (100 * MSS, 0, 2)
    controller.on_loss(7, MSS, 50 * MSS, 10)
    assert (controller.window, controller.cuts) == (70 * MSS, 1)


def test_a_window_that_is_not_used_is_cut_from_what_was_in_flight_where_that_overfills_a_queue() -> None:
    """Much is lost while round trips are long. Much is more than an eighth, and than half an initial window."""
    for used, most in ((10 * MSS, 5 * MSS), (80 * MSS, 10 * MSS)):
        controller = Cubic(MSS)
        controller.window = 400 * MSS
        controller.on_sent(0, MSS, used, 5)
        controller.on_ack(MSS, 5, used, MS, MS, MS, 10, 0, 1, True)
        controller.on_loss(5, 2 * most, 3 * MSS, 10)  # lost at random: nothing waits on this path
        controller.on_ack(MSS, 5, used, 11 * MS, MS, MS, 10, 1, 2, True)  # the next round trip
        assert (controller.window, controller.cuts, controller.cuts_spared) == (400 * MSS, 0, 1)
        for _ in range(3):
            controller.on_loss(5, most // 3, 3 * MSS, 10)
        assert (controller.cuts, controller.cuts_spared) == (0, 4)
        controller.on_loss(6, MSS, 3 * MSS, 10)
        assert (controller.window, controller.cuts, controller.cuts_spared) == (used * 7 // 10, 1, 4)
        controller.on_spurious(20, 6, MSS)
        assert controller.window == 400 * MSS


def test_an_application_that_overfills_a_path_is_slowed_down() -> None:
    """It never has more than 900 KB under way, and what the path and its queue hold is 625: less than half of a window
    that has grown while nothing was lost.
    """
    path = Path(Cubic(MSS), 6_250_000, 50 * MS, 312_500)
    path.controller.window = 2_000_000
    path.most = 900_000
    path.run_for(5)
    lost, sent = path.lost, path.pn
    path.run_for(10)
    assert path.lost - lost < (path.pn - sent) * MSS // 100
    assert path.goodput(5) > 0.95 * path.rate


def test_a_full_window_seen_late_is_cut() -> None:
    """Acks of one batch have emptied it before the loss is seen; the flow has more to send than it may."""
    flow = after_a_cut(100, 50 * MS)
    controller = flow.controller
    for _ in range(len(flow.sent) - 3):
        flow.ack(sends=False)
    flow.lose()
    assert controller.cuts == 2
    thin = after_a_cut(100, 50 * MS)
    thin.drain()
    thin.most = 60 * MSS
    thin.send()
    while len(thin.sent) > 3:
        thin.ack(sends=False)
    thin.lose()
    assert (thin.controller.cuts, thin.controller.cuts_spared) == (1, 1)


@pytest.mark.parametrize("mss", [1200, 1472, 65_000])
def test_no_window_under_two_packets(mss: int) -> None:
    controller = Cubic(mss)
    for number in range(40):
        controller.on_loss(2 * number, mss, controller.window, 2 * number + 1)
    assert controller.cuts == 40
    assert controller.window == 2 * mss
    controller.on_ack(mss, 100, 2 * mss, MS, MS, MS, 200, 90, 91, False)
    assert 2 * mss < controller.window <= 3 * mss


def test_a_spurious_loss_is_undone() -> None:
    flow = after_a_cut(400, 100 * MS)
    controller = flow.controller
    for _ in range(20):
        flow.round()
    before = controller.window
    flow.lose()
    assert controller.window == before * 7 // 10
    controller.on_spurious(flow.now)
    assert (controller.window, controller.cuts, controller.cuts_undone) == (before, 2, 1)
    controller.on_spurious(flow.now)  # there is nothing more to undo
    assert (controller.window, controller.cuts_undone) == (before, 1)


def test_after_an_undo_the_curve_goes_on() -> None:
    """One round trip later the window is where it would have been, and so it is ten seconds later."""
    windows = []
    for has_loss in (False, True):
        flow = after_a_cut(400, 100 * MS)
        for _ in range(20):
            flow.round()
        if has_loss:
            flow.lose()
            flow.controller.on_spurious(flow.now)
            flow.send()
        for _ in range(50):
            flow.round()
        windows.append(flow.controller.window)
    assert windows[1] == pytest.approx(windows[0], rel=0.002)


def test_an_undo_resumes_slow_start() -> None:
    flow = Flow(Cubic(MSS), 50 * MS)
    flow.send()
    flow.round()
    flow.lose()
    assert flow.controller.statistics()["slow_start_threshold"] == 14 * MSS
    flow.controller.on_spurious(flow.now)
    assert flow.controller.statistics()["slow_start_threshold"] == 0
    before = flow.controller.window
    flow.send()
    flow.round()
    assert flow.controller.window == pytest.approx(2 * before, rel=0.1)


def test_only_the_last_cut_is_undone() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, MSS, 100 * MSS, 10)
    controller.on_loss(15, MSS, 70 * MSS, 20)
    controller.on_spurious(30)
    assert controller.window == 70 * MSS
    controller.on_spurious(30)
    assert controller.window == 70 * MSS


def test_a_packet_of_an_older_cut_undoes_nothing() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, MSS, 100 * MSS, 10)
    controller.on_loss(15, MSS, 70 * MSS, 20)
    for sent in (0, 5, 10, 21):
        controller.on_spurious(30, sent, MSS)
        assert controller.window == 49 * MSS
    controller.on_spurious(30, 15, MSS)
    assert controller.window == 70 * MSS


def test_an_undo_waits_for_all_that_was_lost() -> None:
    """Three packets lost in one round: two that turn up late leave a loss to react to, the third does not."""
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_loss(5, 2 * MSS, 100 * MSS, 10)
    controller.on_loss(7, MSS, 70 * MSS, 12)
    for sent in (4, 5):
        controller.on_spurious(20, sent, MSS)
        assert controller.window == 70 * MSS
    controller.on_spurious(20, 7, MSS)
    assert controller.window == 100 * MSS
    controller.on_loss(8, MSS, 100 * MSS, 30)  # of the same flight, and real: a cut of its own
    assert (controller.window, controller.cuts) == (70 * MSS, 2)


def test_an_undo_keeps_what_was_gained_since() -> None:
    controller = Cubic(MSS)
    controller.window = 20 * MSS
    controller.on_loss(5, MSS, 20 * MSS, 10)
    controller.window = 25 * MSS
    controller.on_spurious(30)
    assert controller.window == 25 * MSS


def test_persistent_congestion() -> None:
    """The least window, slow start to where the cut had led, then a curve that begins there (section 4.8)."""
    flow = after_a_cut(100, 200 * MS)
    controller = flow.controller
    threshold = controller.statistics()["slow_start_threshold"]
    flow.drain()
    controller.on_persistent(flow.now)
    controller.on_spurious(flow.now)  # nothing to undo
    assert controller.window == 2 * MSS
    assert controller.collapses == 1
    flow.now += 1
    flow.send()
    for power in range(1, 6):
        flow.round()
        assert controller.window == 2 * MSS << power
    flow.round()
    assert threshold <= controller.window <= threshold + 2 * MSS
    before = controller.window
    for _ in range(10):
        flow.round()
    assert before + 9 * MSS < controller.window < before + 12 * MSS


def test_persistent_congestion_of_a_first_slow_start() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_persistent(10)
    assert controller.statistics()["slow_start_threshold"] == 70 * MSS
    controller.on_loss(9, MSS, 2 * MSS, 11)  # sent before: known already
    assert (controller.window, controller.cuts) == (2 * MSS, 0)
    assert controller.statistics()["slow_start_threshold"] == 70 * MSS


@pytest.mark.parametrize("rounds", [1, 6])
def test_a_later_slow_start_is_never_a_careful_one(rounds: int) -> None:
    """HyStart++ belongs to the first (RFC 9406 section 4.3), whether a loss or its own five rounds have ended that."""
    controller = Cubic(MSS)
    flow = Flow(controller, 100 * MS)
    flow.send()
    for _ in range(5):
        flow.round()
    flow.jitter = lambda: 50 * MS
    for _ in range(rounds + 1):
        flow.round()
    assert (controller.statistics()["slow_start_threshold"] > 0) == (rounds == 6)
    flow.lose()
    flow.drain()
    flow.jitter = lambda: 0
    controller.on_persistent(flow.now)
    flow.now += 1
    flow.send()
    for power in range(1, 6):
        flow.round()
        assert controller.window == 2 * MSS << power


def test_marks_cut_once_a_round_and_are_never_undone() -> None:
    controller = Cubic(MSS)
    controller.window = 100 * MSS
    controller.on_ecn(5, 10)
    assert (controller.cuts, controller.cuts_spared) == (0, 1)  # nothing is known to be in flight
    controller.on_sent(0, MSS, 100 * MSS, 5)
    controller.on_ecn(5, 10)
    controller.on_ecn(6, 11)
    controller.on_ecn(10, 12)
    assert (controller.window, controller.cuts) == (70 * MSS, 1)
    controller.on_spurious(13)
    assert controller.window == 70 * MSS
    controller.on_ecn(11, 14)
    assert (controller.window, controller.cuts) == (49 * MSS, 2)
