"""No congestion control: for loopback and links that belong to nobody else.

It must never be the default, because on a shared path it starves everybody.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.base import Controller


class Unlimited(Controller):
    """A window as large as windows get; what is in flight is bounded by credit and by the records of sent packets."""

    def __init__(self, mss: int) -> None:
        Controller.__init__(self, "none", mss)
        self.window = limits.RUDP_CONGESTION_BYTES_MAX
