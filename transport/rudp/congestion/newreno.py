"""NewReno as QUIC has it (RFC 9002 section 7.3): the plainest controller that shares a path fairly.

For comparison, and for paths on which CUBIC's long memory does harm. It must never know anything that `LossBased` does
not: half of the window after a loss, then a packet more each round trip.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.lossbased import LossBased

BETA_TENTHS = 5  # kLossReductionFactor, RFC 9002 appendix B.1
MOST = limits.RUDP_CONGESTION_BYTES_MAX


class NewReno(LossBased):
    """One packet more for each window that is acknowledged.

    Args:
        mss: largest datagram at present, in bytes.
    """

    def __init__(self, mss: int) -> None:
        LossBased.__init__(self, "newreno", mss, BETA_TENTHS)
        self._credit = 0  # bytes times bytes: what has been acknowledged and is no whole byte of the window yet

    def _avoid(self, acked: int, since: int, smoothed_rtt: int) -> None:
        """Congestion avoidance (RFC 9002 section 7.3.3)."""
        window = self.window
        self._credit += self.mss * min(acked, window)  # under 2**17 * 2**28
        grown = self._credit // window
        self._credit -= grown * window
        self.window = min(window + grown, MOST)

    def _begin_anew(self) -> None:
        self._credit = 0

    def _before_cut(self) -> None:
        self._credit = 0

    def _put_back(self, kept: object, is_higher: bool) -> None:
        self._credit = 0

    def _forget(self) -> None:
        self._credit = 0
