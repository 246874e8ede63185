"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), in bytes: the controller that shares a path with everybody else's TCP.

Time counts only while the window is in use, so an idle or thin flow comes back where it stopped. All floats are made by
the four operations in a fixed order, so that both builds and every C library give the same window.
It must never let time count in which the window was not in use.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.rudp.congestion.lossbased import LossBased

C = 0.4  # packets per second cubed, RFC 9438 section 5.1
BETA_TENTHS = 7  # section 4.6
CONVERGENCE = 0.85  # (1 + 0.7) / 2, section 4.7
ALPHA = 9.0 / 17.0  # 3 * (1 - 0.7) / (1 + 0.7), section 4.3
GROWTH_MAX = 1.5  # of the window, in one round trip, section 4.2
SECOND = 1e9  # nanoseconds
MOST = limits.RUDP_CONGESTION_BYTES_MAX


def cube_root(value: float) -> float:
    """The cube root of a number over 0, by Newton's method; 0 for others."""
    if value <= 0.0:
        return 0.0
    scale = 1.0
    while value >= 8.0:
        value = value * 0.125
        scale = scale * 2.0
    while value < 1.0:
        value = value * 8.0
        scale = scale * 0.5
    root = 1.0 + (value - 1.0) / 7.0
    for _ in range(6):
        root = (2.0 * root + value / (root * root)) / 3.0
    return scale * root


class Cubic(LossBased):
    """The default. After slow start the cubic function of time, or Reno's line where that is higher.

    Args:
        mss: largest datagram at present, in bytes.
    """

    def __init__(self, mss: int) -> None:
        LossBased.__init__(self, "cubic", mss, BETA_TENTHS)
        self._in_epoch = False
        self._elapsed = 0  # ns of this congestion avoidance, those without use left out
        self._origin = 0.0  # K, seconds
        self._w_max = 0.0
        self._w_est = 0.0
        self._prior = 0.0  # cwnd_prior
        self._fraction = 0.0  # of a byte, of the window

    def _avoid(self, acked: int, since: int, smoothed_rtt: int) -> None:
        """Congestion avoidance (RFC 9438 sections 4.2 to 4.5); `since` is what the curve's clock goes on by."""
        steep = C * self.mss
        window = float(self.window)
        if self._in_epoch:
            self._elapsed += since
        else:
            self._begin_epoch(steep)
        share = min(acked, self.window) / window
        alpha = ALPHA if self._w_est < self._prior else 1.0
        self._w_est += alpha * self.mss * share  # section 4.3
        time = self._elapsed / SECOND - self._origin
        if steep * (time * time * time) + self._w_max < self._w_est:
            grown = max(window + self._fraction, self._w_est)
        else:
            time = time + smoothed_rtt / SECOND  # section 4.2: where the curve will be a round trip from now
            target = min(max(steep * (time * time * time) + self._w_max, window), GROWTH_MAX * window)
            grown = window + self._fraction + (target - window) * share  # sections 4.4 and 4.5
        if grown >= MOST:
            grown = float(MOST)
        self.window = int(grown)
        self._fraction = grown - self.window

    def _begin_epoch(self, steep: float) -> None:
        window = float(self.window)
        self._in_epoch = True
        self._elapsed = 0
        self._w_est = window  # RFC 9438 section 4.3
        if window < self._w_max:
            self._origin = cube_root((self._w_max - window) / steep)  # section 4.2
        else:
            self._origin = 0.0  # sections 4.8 and 4.10
            self._w_max = window

    def _before_cut(self) -> None:
        window = self.window
        if window < self._w_max:
            self._w_max = window * CONVERGENCE  # RFC 9438 section 4.7: leave room for others
        else:
            self._w_max = float(window)
        self._prior = float(window)
        self._begin_anew()

    def _kept(self) -> Any:
        return (self._w_max, self._prior, self._in_epoch, self._elapsed, self._origin, self._w_est)

    def _put_back(self, kept: Any, is_higher: bool) -> None:
        self._w_max, self._prior, self._in_epoch, self._elapsed, self._origin, self._w_est = kept
        self._in_epoch = self._in_epoch and is_higher
        self._fraction = 0.0

    def _begin_anew(self) -> None:
        self._in_epoch = False  # K is found anew; after another `mss` the curve is steeper or flatter
        self._fraction = 0.0

    def _forget(self) -> None:
        self._w_max = 0.0  # the next epoch begins with K = 0
        self._prior = 0.0
        self._begin_anew()
