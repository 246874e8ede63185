"""A rate that the user has set, kept whatever is lost: for paths whose capacity is known or paid for.

It must never raise that rate by itself, nor fill a path that has gone dead without end.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.base import Controller, initial_window

MOST = limits.RUDP_CONGESTION_BYTES_MAX
SECOND_NS = limits.SECOND_NS
SLACK_NS = limits.RUDP_INITIAL_RTT_NS
ROUNDS = 4  # until what is lost has been declared so, and its place is free again: a probe time-out is about three


class Fixed(Controller):
    """Paces at one rate. The window only stops a path that answers no more.

    Args:
        mss: largest datagram at present, in bytes.
        rate: bytes per second, at least 1.

    Raises:
        ValueError: the rate is lower.
    """

    def __init__(self, mss: int, rate: int) -> None:
        if rate < 1:
            raise ValueError(f"a fixed rate is at least 1 byte per second, not {rate}")
        Controller.__init__(self, "fixed", mss)
        self._rate = rate
        self._smoothed = SLACK_NS
        self._resize()

    def _resize(self) -> None:
        """Bytes sent at the rate in `ROUNDS` round trips and a little: a path that works never fills them."""
        span = ROUNDS * self._smoothed + SLACK_NS
        if span >= MOST * SECOND_NS // self._rate:  # and so the product below stays under MOST seconds: under 2**58
            self.window = MOST
        else:
            self.window = max(self._rate * span // SECOND_NS, initial_window(self.mss))

    def rate(self, smoothed_rtt: int) -> int:
        return self._rate

    def set_mss(self, mss: int) -> None:
        self.mss = mss
        self._resize()

    def on_ack(
        self, acked_bytes: int, largest_sent_time: int, in_flight_before: int, latest_rtt: int, smoothed_rtt: int,
        min_rtt: int, now: int, largest_acked_pn: int, next_pn: int, app_limited: bool,
    ) -> None:  # fmt: skip
        if smoothed_rtt > 0 and smoothed_rtt != self._smoothed:
            self._smoothed = smoothed_rtt
            self._resize()

    def statistics(self) -> dict[str, int]:
        return {"window": self.window, "rate": self._rate}
