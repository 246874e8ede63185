"""How much may be on its way: the congestion controllers, by name.

A controller never sends and never reads a clock; it is told what was sent, acknowledged and lost.
"""

from __future__ import annotations

from transport.rudp.congestion.base import Controller
from transport.rudp.congestion.cubic import Cubic
from transport.rudp.congestion.fixed import Fixed
from transport.rudp.congestion.unlimited import Unlimited

NAMES = ("cubic", "fixed", "none")


def make(name: str, mss: int, rate: int = 0) -> Controller:
    """A new controller.

    Args:
        name: one of `NAMES`.
        mss: largest datagram at present, in bytes.
        rate: bytes per second, for "fixed" alone.

    Raises:
        ValueError: there is no controller of that name, or "fixed" came without a rate.
    """
    if name == "cubic":
        return Cubic(mss)
    if name == "fixed":
        return Fixed(mss, rate)
    if name == "none":
        return Unlimited(mss)
    raise ValueError(f"no congestion controller is called {name!r}: there are {', '.join(NAMES)}")
