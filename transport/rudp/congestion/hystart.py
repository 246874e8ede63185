"""HyStart++ (RFC 9406): ends the first slow start when round trips grow, before the queue overflows.

Rounds are told by packet numbers. It only watches: the window belongs to the controller. It must never end slow start
because of jitter on a fast path, hence the least rise of 4 ms that the RFC asks for.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.states import CAREFUL, DONE, HYSTART, SLOW_START, Seen

RISE_MIN_NS = 4 * limits.MS_NS  # MIN_RTT_THRESH, RFC 9406 section 4.3
RISE_MAX_NS = 16 * limits.MS_NS  # MAX_RTT_THRESH
RISE_DIVISOR = 8  # MIN_RTT_DIVISOR
SAMPLES = 8  # N_RTT_SAMPLE
GROWTH_DIVISOR = 4  # CSS_GROWTH_DIVISOR
CAREFUL_ROUNDS = 5  # CSS_ROUNDS
INFINITE = 1 << 62


class HyStart:
    """The state of one slow start.

    Attributes:
        phase: a state of `states.Phase`.
    """

    def __init__(self) -> None:
        self.phase: int = SLOW_START
        self._largest = -1
        self._round_end = 0  # the first packet number of the next round
        self._least = INFINITE  # round trip of this round
        self._least_before = INFINITE  # of the round before
        self._samples = 0
        self._baseline = INFINITE
        self._careful_rounds = 0

    def growth(self, acked_bytes: int) -> int:
        """What the window grows by."""
        return acked_bytes // GROWTH_DIVISOR if self.phase == CAREFUL else acked_bytes

    def on_ack(self, rtt: int, largest_acked_pn: int, next_pn: int, is_limited: bool) -> None:
        """Looks at an ack.

        Args:
            rtt: its sample, in nanoseconds; looked at only when the largest packet number has risen.
            largest_acked_pn: the highest packet number acknowledged.
            next_pn: the number of the next packet to be sent.
            is_limited: the window was in use. Otherwise a longer round trip is not our doing, and only the rounds and
                their least round trip are followed.
        """
        if self.phase == DONE or largest_acked_pn <= self._largest:
            return  # no sample (RFC 9002 section 5.1)
        self._largest = largest_acked_pn
        if largest_acked_pn >= self._round_end:
            self._begin_round(next_pn, is_limited)
        if rtt <= 0 or self.phase == DONE:
            return
        self._samples += 1
        self._least = min(self._least, rtt)
        if self._samples < SAMPLES:
            return
        if self.phase == CAREFUL:
            if self._least < self._baseline:  # RFC 9406 section 4.2: the delay was jitter, back to slow start
                self.phase = HYSTART.after(self.phase, Seen.FALL)
                self._baseline = INFINITE
        elif is_limited and self._least_before != INFINITE:
            rise = max(RISE_MIN_NS, min(self._least_before // RISE_DIVISOR, RISE_MAX_NS))
            if self._least >= self._least_before + rise:  # section 4.2: into conservative slow start
                self.phase = HYSTART.after(self.phase, Seen.RISE)
                self._baseline = self._least
                self._careful_rounds = 0

    def _begin_round(self, next_pn: int, is_limited: bool) -> None:
        """A packet sent after the last beginning of a round has been acknowledged (RFC 9406 section 4.2)."""
        self._round_end = next_pn
        self._least_before = self._least
        self._least = INFINITE
        self._samples = 0
        if self.phase == CAREFUL and is_limited:
            self._careful_rounds += 1  # a round that was careful in part counts
            if self._careful_rounds >= CAREFUL_ROUNDS:
                self.phase = HYSTART.after(self.phase, Seen.ROUNDS)
