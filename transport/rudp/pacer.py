"""Spreads what a window allows over a round trip: a token bucket (RFC 9002 section 7.7).

Exact to the byte at every rate: the bucket counts bytes times 10**9, so that a rate times nanoseconds fits without a
remainder. A timer that comes late, or a program that is busy when it comes, does not lower the rate: what the bucket
would have overflowed with since then may go as well, up to `RUDP_PACER_LATE_NS`. It must never decide what is sent,
only when; and never let time that nobody waited through grow into more than one burst.
"""

from __future__ import annotations

from transport import limits

SECOND_NS = limits.SECOND_NS
BYTES_MAX = limits.RUDP_PACER_BYTES_MAX
DEBT_MAX = -BYTES_MAX * SECOND_NS
UNLIMITED = 1 << 62
LATE_NS = limits.RUDP_PACER_LATE_NS


class Pacer:
    """A bucket, full at first."""

    def __init__(self) -> None:
        self._credit = 0  # bytes * 10**9, under 0 after more was sent than it held
        self._burst = 0  # bytes that it holds
        self._time = -1  # when the credit was counted; -1 for never, or not paced then
        self._due = 0  # until then somebody was told to wait; 0 for nobody
        self._spare = 0  # what may go beside a burst at this instant, because that was before it

    def room(self, now: int, rate: int, burst: int) -> int:
        """Bytes that may go now.

        Args:
            now: the present, in nanoseconds.
            rate: bytes per second; 0 for no pacing.
            burst: bytes that may go at once after a pause.

        Returns:
            0 to `burst`, or to what has come together since the time that `when` gave, for `RUDP_PACER_LATE_NS` at
            most, beside it; 2**62 without pacing.
        """
        self._burst = min(burst, BYTES_MAX)
        if now > self._time:
            self._spare = 0
            if 0 < self._due < now and rate > 0:
                self._spare = min(now - self._due, LATE_NS) * min(rate, BYTES_MAX)  # under 2**54
            self._due = 0
        full = self._burst * SECOND_NS + self._spare  # under 2**61
        if rate <= 0:
            self._credit = full
            self._time = -1
            return UNLIMITED
        if self._time < 0:
            self._credit = full
            self._time = now
        elif now > self._time:
            missing = full - self._credit  # under 2**62
            if now - self._time > missing // rate:
                self._credit = full
            else:
                self._credit += (now - self._time) * rate  # not more than what was missing, so no overflow
            self._time = now
        self._credit = min(self._credit, full)
        return self._credit // SECOND_NS if self._credit > 0 else 0

    def spend(self, size: int) -> None:
        """Bytes have gone, with room for them or without; what goes without has to be made good by a later pause."""
        self._credit = max(self._credit - min(size, BYTES_MAX) * SECOND_NS, DEBT_MAX)

    def when(self, now: int, rate: int, size: int) -> int:
        """The time, in nanoseconds and not before `now`, at which `room` will be `size` bytes, or a whole burst if that
        is less. Ask `room` first, with the same rate: from this time on lateness is made up for.
        """
        if rate <= 0 or self._time < 0:
            return now
        missing = min(size, self._burst) * SECOND_NS - self._credit
        if missing <= 0:
            return now
        self._due = max(now, self._time + (missing + rate - 1) // rate)
        return self._due
