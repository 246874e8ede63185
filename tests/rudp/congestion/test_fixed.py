"""One rate, whatever happens; the window is out of its way, and bounded."""

from __future__ import annotations

import pytest

from transport import limits
from transport.rudp.congestion.fixed import Fixed

MS = 1_000_000
MOST = limits.RUDP_CONGESTION_BYTES_MAX


def acked(controller: Fixed, smoothed: int) -> None:
    controller.on_ack(1200, 5, 12_000, smoothed, smoothed, smoothed, 50 * MS, 3, 9, False)


def test_losses_change_nothing() -> None:
    controller = Fixed(1200, 125_000)
    before = controller.window
    controller.on_loss(5, 1200, before, 20)
    controller.on_ecn(5, 20)
    controller.on_persistent(30)
    assert controller.window == before
    assert controller.rate(0) == controller.rate(5 * MS) == 125_000
    assert controller.statistics() == {"window": before, "rate": 125_000}


def test_window_is_four_round_trips_and_a_little() -> None:
    controller = Fixed(1200, 1_000_000)
    assert controller.window == 500_000  # 100 ms are assumed
    acked(controller, 20 * MS)
    assert controller.window == 180_000
    acked(controller, 0)  # no sample
    assert controller.window == 180_000


def test_window_is_never_under_the_initial_one() -> None:
    controller = Fixed(1200, 1)
    assert controller.window == 12_000
    controller.set_mss(65_000)
    assert (controller.mss, controller.window) == (65_000, 130_000)


@pytest.mark.parametrize("rate", [1_000_000_000, 2**62])
def test_window_is_bounded(rate: int) -> None:
    controller = Fixed(1200, rate)
    acked(controller, 10**14)
    assert controller.window == MOST
    assert controller.rate(1) == rate


def test_largest_products_fit() -> None:
    """Near the bound, the exact product."""
    for rate in (1, 3, 1000, 999_999_937, 10**10):
        controller = Fixed(1200, rate)
        smoothed = (MOST * 10**9 // rate - 100 * MS) // 4 - 1
        if smoothed > 0:
            acked(controller, smoothed)
            assert controller.window == max(rate * (4 * smoothed + 100 * MS) // 10**9, 12_000)


def test_a_rate_is_a_rate() -> None:
    with pytest.raises(ValueError, match="not 0"):
        Fixed(1200, 0)
