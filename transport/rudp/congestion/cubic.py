"""CUBIC (RFC 9438) with HyStart++ (RFC 9406), in bytes: the controller that shares a path with everybody else's TCP.

Time counts only while the window is in use, so an idle or thin flow comes back where it stopped. All floats are made by
the four operations in a fixed order, so that both builds and every C library give the same window.
It must never grow a window that is not used, nor cut twice for what was lost in one round trip.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.base import Controller, initial_window, minimum_window
from transport.rudp.congestion.hystart import HyStart
from transport.rudp.states import DONE

C = 0.4  # packets per second cubed, RFC 9438 section 5.1
BETA_TENTHS = 7  # section 4.6
CONVERGENCE = 0.85  # (1 + 0.7) / 2, section 4.7
ALPHA = 9.0 / 17.0  # 3 * (1 - 0.7) / (1 + 0.7), section 4.3
GROWTH_MAX = 1.5  # of the window, in one round trip, section 4.2
SECOND = 1e9  # nanoseconds
SLOW_START_GAIN = 2_000_000_000  # RFC 9002 section 7.7: times 10**9
GAIN = 1_250_000_000
INFINITE = 1 << 62
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


class Cubic(Controller):
    """The default. Slow start until HyStart++, a loss or a mark ends it; then the cubic function of time, or Reno's
    line where that is higher.

    Args:
        mss: largest datagram at present, in bytes.

    Attributes:
        cuts, cuts_undone: reactions to losses and marks, and those that turned out to be wrong.
        cuts_spared: losses and marks without one, because less than half of the window was used.
        collapses: persistent congestion.
    """

    def __init__(self, mss: int) -> None:
        Controller.__init__(self, "cubic", mss)
        self.cuts = 0
        self.cuts_undone = 0
        self.cuts_spared = 0
        self.collapses = 0
        self._threshold = INFINITE  # of slow start
        self._hystart = HyStart()
        self._is_initial = True
        # what the window is used for
        self._peak = 0  # most in flight in the last round trip
        self._peak_pn = -1  # sent at that moment
        self._peak_is_old = True  # a round trip ago: the next packet sent replaces it
        self._app_limited = True
        # the curve
        self._in_epoch = False
        self._elapsed = 0  # ns of this congestion avoidance, those without use left out
        self._counted = 0  # up to when they are counted
        self._origin = 0.0  # K, seconds
        self._w_max = 0.0
        self._w_est = 0.0
        self._prior = 0.0  # cwnd_prior
        self._fraction = 0.0  # of a byte, of the window
        # the last reaction
        self._recovery = -1  # what was sent until then belongs to it
        self._recovery_before = -1
        self._owed = 0  # bytes lost in it that have not turned up
        self._undo: tuple[int, int, float, float, bool, int, float, float] | None = None

    def rate(self, smoothed_rtt: int) -> int:
        if smoothed_rtt <= 0 or self.window <= initial_window(self.mss):
            return 0  # a burst of the initial window is allowed (RFC 9002 section 7.7)
        return self.window * (SLOW_START_GAIN if self.window < self._threshold else GAIN) // smoothed_rtt

    def set_mss(self, mss: int) -> None:
        if mss == self.mss:
            return
        self.mss = mss
        if self._is_initial:
            self.window = initial_window(mss)  # RFC 9002 section 7.2
        self.window = max(self.window, minimum_window(mss))
        self._in_epoch = False  # the curve is steeper for larger packets: K is found anew
        self._fraction = 0.0
        self._undo = None

    def on_sent(self, pn: int, size: int, in_flight: int, now: int) -> None:
        if in_flight <= size:
            self._counted = now  # nothing was on its way: that time is none of the curve's (RFC 9438 section 5.8)
        if in_flight >= self._peak or self._peak_is_old:
            self._peak = in_flight
            self._peak_pn = pn
            self._peak_is_old = False

    def on_ack(
        self, acked_bytes: int, largest_sent_time: int, in_flight_before: int, latest_rtt: int, smoothed_rtt: int,
        min_rtt: int, now: int, largest_acked_pn: int, next_pn: int, app_limited: bool,
    ) -> None:  # fmt: skip
        used = max(in_flight_before, self._peak)
        if largest_acked_pn >= self._peak_pn:
            self._peak_is_old = True
        self._app_limited = app_limited
        since = now - self._counted
        self._counted = now
        is_limited = self._is_limited(used, app_limited)
        if self._threshold == INFINITE:
            self._hystart.on_ack(latest_rtt, largest_acked_pn, next_pn, is_limited)
            if self._hystart.phase == DONE:
                self._threshold = self.window  # RFC 9406 section 4.2; on with K = 0 (RFC 9438 section 4.10)
        if largest_sent_time <= self._recovery or not is_limited:
            return  # in recovery the window stays (RFC 9002 section 7.3.2); unused it does not grow (section 7.8)
        if self.window < self._threshold:
            grown = acked_bytes  # HyStart++ is for the first slow start (RFC 9406 section 4.3)
            if self._threshold == INFINITE:
                grown = self._hystart.growth(acked_bytes)
            self.window = min(self.window + grown, self._threshold, MOST)
            self._is_initial = False
        else:
            self._avoid(acked_bytes, since, smoothed_rtt)

    def _is_limited(self, used: int, app_limited: bool) -> bool:
        """Whether the window was in use; it never grows over about twice what was in flight (RFC 9438 section 4.6)."""
        window = self.window
        if not app_limited or window < self._threshold:
            return used * 2 >= window
        return used + max(minimum_window(self.mss), window >> 3) >= window

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
        self._is_initial = False

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

    def _used(self, in_flight: int) -> bool:
        """Whether at least half of the window was in flight.

        A flow that has more to send than it may is judged by its last round trip: acks of one batch empty it before the
        loss is seen. One that has not is judged by this moment, so that thin streams are left alone.
        """
        if not self._app_limited and self._peak > in_flight:
            in_flight = self._peak
        return in_flight * 2 >= self.window

    def _cut(self, now: int) -> None:
        """One multiplicative decrease (RFC 9438 section 4.6)."""
        window = self.window
        self.cuts += 1
        self._recovery_before = self._recovery
        self._recovery = now  # RFC 9002 section 7.3.1
        if window < self._w_max:
            self._w_max = window * CONVERGENCE  # RFC 9438 section 4.7: leave room for others
        else:
            self._w_max = float(window)
        self._prior = float(window)
        self.window = max(window * BETA_TENTHS // 10, minimum_window(self.mss))
        self._threshold = self.window
        self._in_epoch = False
        self._is_initial = False
        self._fraction = 0.0

    def on_loss(self, largest_lost_sent_time: int, lost_bytes: int, in_flight_before: int, now: int) -> None:
        if largest_lost_sent_time <= self._recovery:
            self._owed += lost_bytes  # of the same round (RFC 9002 section 7.3.1)
            return
        if not self._used(in_flight_before):
            self.cuts_spared += 1  # not this window's doing
            return
        self._undo = (self.window, self._threshold, self._w_max, self._prior, self._in_epoch, self._elapsed,
                      self._origin, self._w_est)  # fmt: skip
        self._owed = lost_bytes
        self._cut(now)

    def on_spurious(self, now: int, sent_time: int = -1, size: int = 0) -> None:
        if self._undo is None:
            return
        if sent_time >= 0 and not self._recovery_before < sent_time <= self._recovery:
            return
        self._owed -= size
        if size > 0 and self._owed > 0:
            return
        # RFC 9438 section 4.9.2
        window, self._threshold, self._w_max, self._prior, in_epoch, self._elapsed, self._origin, self._w_est = (
            self._undo
        )
        self._in_epoch = in_epoch and window >= self.window
        self.window = max(self.window, window)
        self._fraction = 0.0
        self._recovery = self._recovery_before
        self._undo = None
        self.cuts_undone += 1

    def on_persistent(self, now: int) -> None:
        window = self.window
        self.window = minimum_window(self.mss)  # RFC 9002 section 7.6.2
        if self._threshold == INFINITE:
            self._threshold = max(window * BETA_TENTHS // 10, self.window)  # RFC 9438 section 4.8
        self._w_max = 0.0  # the next epoch begins with K = 0
        self._prior = 0.0
        self._in_epoch = False
        self._is_initial = False
        self._fraction = 0.0
        self._recovery = now  # not "none" as in RFC 9002 appendix B.8: what is still lost of before is no news
        self._undo = None
        self.collapses += 1

    def uses_ecn(self) -> bool:
        return True

    def on_ecn(self, sent_time: int, now: int) -> None:
        if sent_time <= self._recovery:
            return
        if self._peak * 2 < self.window:
            self.cuts_spared += 1
            return
        self._cut(now)
        self._undo = None

    def statistics(self) -> dict[str, int]:
        """`slow_start_threshold` is 0 while the first slow start lasts."""
        return {
            "window": self.window,
            "slow_start_threshold": 0 if self._threshold == INFINITE else self._threshold,
            "cuts": self.cuts,
            "cuts_undone": self.cuts_undone,
            "cuts_spared": self.cuts_spared,
            "collapses": self.collapses,
        }
