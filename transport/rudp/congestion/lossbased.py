"""What CUBIC and NewReno share: slow start, one reaction for what one round trip lost, and taking it back.

How the window grows afterwards is a subclass's. It must never grow a window that is not used, nor cut twice for what
was lost in one round trip, nor cut at all for a loss that a window not half used did not cause. It did cause it if much
is lost while round trips are long: what an application sends overflows a queue, however much more it might send.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.rudp.congestion.base import Controller, initial_window, minimum_window
from transport.rudp.congestion.hystart import HyStart
from transport.rudp.states import DONE

SLOW_START_GAIN = 2_000_000_000  # RFC 9002 section 7.7: times 10**9
GAIN = 1_250_000_000
INFINITE = 1 << 62
MOST = limits.RUDP_CONGESTION_BYTES_MAX
SPARED_SHIFT = 3  # an eighth of what was in flight
QUEUE_NS = 2 * limits.RUDP_ACK_DELAY_MAX_NS  # what acks that are kept back add to a round trip shows no queue


class LossBased(Controller):
    """Slow start until HyStart++, a loss or a mark ends it; then what `_avoid` makes of acks.

    Args:
        name: as in the user's options.
        mss: largest datagram at present, in bytes.
        beta_tenths: what a reaction leaves of the window, in tenths.

    Attributes:
        cuts, cuts_undone: reactions to losses and marks, and those that turned out to be wrong.
        cuts_spared: losses and marks without one: less than half of the window was used, and that overfilled no queue.
        collapses: persistent congestion.
    """

    def __init__(self, name: str, mss: int, beta_tenths: int) -> None:
        Controller.__init__(self, name, mss)
        self.cuts = 0
        self.cuts_undone = 0
        self.cuts_spared = 0
        self.collapses = 0
        self._beta_tenths = beta_tenths
        self._threshold = INFINITE  # of slow start
        self._hystart = HyStart()
        self._is_initial = True
        # what the window is used for
        self._peak = 0  # most in flight in the last round trip
        self._peak_pn = -1  # sent at that moment
        self._peak_is_old = True  # a round trip ago: the next packet sent replaces it
        self._app_limited = True
        self._counted = 0  # up to when time has counted: not while nothing is under way
        self._spared = 0  # bytes lost in this round trip without a reaction
        self._round_end = 0  # it ends when this packet number is acknowledged
        self._has_queue = False  # the last round trip was a quarter longer than the path is
        # the last reaction
        self._recovery = -1  # what was sent until then belongs to it
        self._recovery_before = -1
        self._owed = 0  # bytes lost in it that have not turned up
        self._undo: tuple[int, int, Any] | None = None  # window, threshold and what the subclass kept

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
        self._undo = None
        self._begin_anew()

    def on_sent(self, pn: int, size: int, in_flight: int, now: int) -> None:
        if in_flight <= size:
            self._counted = now  # nothing was on its way: that time is none of a curve's (RFC 9438 section 5.8)
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
        if largest_acked_pn >= self._round_end:
            self._round_end = next_pn
            self._spared = 0
        self._has_queue = min_rtt > 0 and latest_rtt - min_rtt >= max(min_rtt >> 2, QUEUE_NS)
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
        self._is_initial = False
        if self.window < self._threshold:
            grown = acked_bytes  # HyStart++ is for the first slow start (RFC 9406 section 4.3)
            if self._threshold == INFINITE:
                grown = self._hystart.growth(acked_bytes)
            self.window = min(self.window + grown, self._threshold, MOST)
        else:
            self._avoid(acked_bytes, since, smoothed_rtt)

    def _is_limited(self, used: int, app_limited: bool) -> bool:
        """Whether the window was in use; it never grows over about twice what was in flight (RFC 9438 section 4.6)."""
        window = self.window
        if not app_limited or window < self._threshold:
            return used * 2 >= window
        return used + max(minimum_window(self.mss), window >> 3) >= window

    def _used(self, in_flight: int) -> bool:
        """Whether at least half of the window was in flight.

        A flow that has more to send than it may is judged by its last round trip: acks of one batch empty it before the
        loss is seen. One that has not is judged by this moment, so that thin streams are left alone.
        """
        if not self._app_limited and self._peak > in_flight:
            in_flight = self._peak
        return in_flight * 2 >= self.window

    def _cut(self, now: int) -> None:
        """One multiplicative decrease (RFC 9002 section 7.3.2, RFC 9438 section 4.6)."""
        window = self.window
        self.cuts += 1
        self._recovery_before = self._recovery
        self._recovery = now  # RFC 9002 section 7.3.1
        self._before_cut()
        self.window = max(window * self._beta_tenths // 10, minimum_window(self.mss))
        self._threshold = self.window
        self._is_initial = False

    def on_loss(self, largest_lost_sent_time: int, lost_bytes: int, in_flight_before: int, now: int) -> None:
        if largest_lost_sent_time <= self._recovery:
            self._owed += lost_bytes  # of the same round (RFC 9002 section 7.3.1)
            return
        base = self.window
        if not self._used(in_flight_before):
            base = max(self._peak, in_flight_before)
            self._spared += lost_bytes
            if not self._has_queue or self._spared <= max(base >> SPARED_SHIFT, initial_window(self.mss) >> 1):
                self.cuts_spared += 1  # not this window's doing
                return
        self._undo = (self.window, self._threshold, self._kept())
        self._owed = lost_bytes
        self.window = min(self.window, base)  # what was not used is no part of what is cut (RFC 9438 section 4.6)
        self._cut(now)

    def on_spurious(self, now: int, sent_time: int = -1, size: int = 0) -> None:
        if self._undo is None:
            return
        if sent_time >= 0 and not self._recovery_before < sent_time <= self._recovery:
            return
        self._owed -= size
        if size > 0 and self._owed > 0:
            return
        window, self._threshold, kept = self._undo  # RFC 9438 section 4.9.2
        self._put_back(kept, window >= self.window)
        self.window = max(self.window, window)
        self._recovery = self._recovery_before
        self._undo = None
        self.cuts_undone += 1

    def on_persistent(self, now: int) -> None:
        window = self.window
        self.window = minimum_window(self.mss)  # RFC 9002 section 7.6.2
        if self._threshold == INFINITE:
            self._threshold = max(window * self._beta_tenths // 10, self.window)  # RFC 9438 section 4.8
        self._is_initial = False
        self._recovery = now  # not "none" as in RFC 9002 appendix B.8: what is still lost of before is no news
        self._undo = None
        self.collapses += 1
        self._forget()

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

    # What a subclass makes of it

    def _avoid(self, acked: int, since: int, smoothed_rtt: int) -> None:
        """Congestion avoidance: `acked` bytes let the window grow, `since` (ns) after the last time."""
        raise NotImplementedError

    def _before_cut(self) -> None:
        """The window is about to be cut."""

    def _kept(self) -> Any:
        """What `_put_back` needs to go on as if there had been no cut."""
        return None

    def _put_back(self, kept: Any, is_higher: bool) -> None:
        """A cut was wrong; `is_higher`: the window before it is not below what it has become since."""

    def _begin_anew(self) -> None:
        """The window is another one; what growth was reckoned from holds no more."""

    def _forget(self) -> None:
        """The path is another one, too."""

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
