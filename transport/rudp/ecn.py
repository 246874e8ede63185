"""Whether a path keeps ECN marks, found out before they are relied on (RFC 9000 section 13.4.2 and appendix A.4).

A few packets are marked ECT(0), and the peer says how many came with which mark. Only when that adds up are others
marked; what ever does not add up ends it: a path that wipes marks would hide congestion, one that makes its own would
invent it. Marked packets are told by their numbers, so that nothing is kept for each. It must never know what a
controller makes of a mark.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.states import CAPABLE, ECN, FAILED, OFF, TESTING, Marked

ECT_0 = 2
TEST_PACKETS = limits.RUDP_ECN_TEST_PACKETS
NEVER = 1 << 62


class EcnValidator:
    """Marks towards one path, and what became of them.

    Attributes:
        state: a state of `states.Ecn`.
        mark: what packets are to be marked with from now on, ECT(0) or nothing.
        ect0, ce: how many packets the peer has seen with ECT(0), and with "congestion experienced".
    """

    def __init__(self) -> None:
        self.state: int = OFF
        self.mark = 0
        self.ect0 = 0
        self.ce = 0
        self._start = 0  # the first packet that is marked
        self._until = 0  # the test ends then (ns)
        self._end = 0  # the first behind the test
        self._again = NEVER  # the first that is marked because the path keeps marks
        self._newly = 0  # marked packets that the ack under way names for the first time

    def start(self, following: int, until: int) -> None:
        """Begins the test with packet `following`; it ends at `until` (ns), or after ten packets."""
        self.state = ECN.after(self.state, Marked.START)
        self.mark = ECT_0
        self._start = following
        self._until = until
        self._end = self._again = NEVER

    def on_sent(self, following: int, now: int) -> None:
        """Packets below `following` have left. Call it while the test lasts."""
        if following - self._start >= TEST_PACKETS or now >= self._until:
            self.state = ECN.after(self.state, Marked.TESTED)
            self.mark = 0
            self._end = following

    def on_acked(self, start: int, end: int) -> None:
        """Packets from `start` to below `end` are named by an ack for the first time."""
        self._newly += max(0, min(end, self._end) - max(start, self._start)) + max(0, end - max(start, self._again))

    def on_ack(self, has_counts: bool, ect0: int, ect1: int, ce: int, is_newest: bool, following: int) -> bool:
        """An ack has been read; whether it tells of congestion.

        Args:
            has_counts: it has the peer's counts.
            ect0, ect1, ce: those.
            is_newest: it acknowledges a higher number than any before; others may be older, and say nothing.
            following: the next packet number.
        """
        newly = self._newly
        self._newly = 0
        if self.state in (OFF, FAILED) or not is_newest:
            return False
        if not has_counts:
            if newly:
                self._fail(following)
            return False
        if ect1 or ect0 < self.ect0 or ce < self.ce or not newly <= ect0 - self.ect0 + ce - self.ce <= following:
            self._fail(following)
            return False
        is_congested = ce > self.ce
        self.ect0 = ect0
        self.ce = ce
        if newly and self.state != CAPABLE:
            if self.state == TESTING:
                self._end = following
            self.state = ECN.after(self.state, Marked.CONFIRMED)
            self.mark = ECT_0
            self._again = following
        return is_congested

    def _fail(self, following: int) -> None:
        self.state = ECN.after(self.state, Marked.MISMATCH)
        self.mark = 0
        self._end = min(self._end, following)
        self._again = NEVER
