"""Initial windows, and what every controller can be asked."""

from __future__ import annotations

import pytest

from transport import limits
from transport.rudp import congestion
from transport.rudp.config import CONGESTION
from transport.rudp.congestion.base import Controller, initial_window


@pytest.mark.parametrize(
    ("mss", "expected"),
    [(1200, 12_000), (1452, 14_520), (1472, 14_720), (4096, 14_720), (8952, 17_904), (65_000, 130_000)],
)
def test_initial_window(mss: int, expected: int) -> None:
    assert initial_window(mss) == expected


def test_a_controller_that_reacts_to_nothing() -> None:
    controller = Controller("nothing", 1200)
    controller.on_sent(0, 1200, 1200, 5)
    controller.on_ack(1200, 5, 1200, 10, 10, 10, 15, 0, 1, False)
    controller.on_loss(5, 1200, 12_000, 20)
    controller.on_ecn(5, 20)
    controller.on_spurious(25)
    controller.on_persistent(30)
    controller.set_mss(1400)
    assert (controller.window, controller.mss, controller.rate(10)) == (12_000, 1400, 0)
    assert controller.statistics() == {"window": 12_000}


def test_make() -> None:
    made = {name: congestion.make(name, 1200, 1_000_000) for name in CONGESTION}
    assert {name: controller.name for name, controller in made.items()} == {name: name for name in CONGESTION}
    for controller in made.values():
        assert controller.mss == 1200
        assert controller.statistics()["window"] == controller.window <= limits.RUDP_CONGESTION_BYTES_MAX


def test_make_refuses() -> None:
    with pytest.raises(ValueError, match="'vegas'.*cubic, bbr, newreno, fixed, none"):
        congestion.make("vegas", 1200)
    with pytest.raises(ValueError, match="at least 1 byte"):
        congestion.make("fixed", 1200)
