"""No control: nothing moves the window, and nothing is paced."""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.unlimited import Unlimited


def test_nothing_moves_it() -> None:
    controller = Unlimited(1200)
    controller.on_sent(0, 1200, 1200, 5)
    controller.on_loss(5, 1200, limits.RUDP_CONGESTION_BYTES_MAX, 20)
    controller.on_ecn(5, 20)
    controller.on_persistent(30)
    assert controller.window == limits.RUDP_CONGESTION_BYTES_MAX
    assert controller.rate(1_000_000) == 0
