"""How much may be on its way: the congestion controllers, by name.

A controller never sends and never reads a clock; it is told what was sent, acknowledged and lost.
"""

from __future__ import annotations

from transport.rudp.config import CONGESTION
from transport.rudp.congestion.base import Controller
from transport.rudp.congestion.bbr import Bbr
from transport.rudp.congestion.cubic import Cubic
from transport.rudp.congestion.fixed import Fixed
from transport.rudp.congestion.newreno import NewReno
from transport.rudp.congestion.unlimited import Unlimited


def make(name: str, mss: int, rate: int = 0, dice: int = 1) -> Controller:
    """A new controller.

    Args:
        name: one of `config.CONGESTION`.
        mss: largest datagram at present, in bytes.
        rate: bytes per second, for "fixed" alone.
        dice: any number, another one for each connection, for "bbr" alone: when it probes.

    Raises:
        ValueError: there is no controller of that name, or "fixed" came without a rate.
    """
    if name == "cubic":
        return Cubic(mss)
    if name == "bbr":
        return Bbr(mss, dice)
    if name == "newreno":
        return NewReno(mss)
    if name == "fixed":
        return Fixed(mss, rate)
    if name == "none":
        return Unlimited(mss)
    raise ValueError(f"no congestion controller is called {name!r}: there are {', '.join(CONGESTION)}")
