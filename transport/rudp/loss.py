"""When a packet that was not acknowledged is called lost, as far as the path reorders (RFC 9002 section 6.1).

Both thresholds begin with what RFC 9002 recommends, widen to what the path has shown and come back step by step: fixed
ones make a path that reorders mildly look lossy. They must never widen beyond their limits, or a peer that delays acks
on purpose would turn off loss detection.
"""

from __future__ import annotations

from transport import limits

PACKETS_MIN = limits.RUDP_REORDER_PACKETS_MIN
PACKETS_MAX = limits.RUDP_REORDER_PACKETS_MAX
EIGHTHS_MIN = limits.RUDP_REORDER_EIGHTHS_MIN
EIGHTHS_MAX = limits.RUDP_REORDER_EIGHTHS_MAX
GRANULARITY_NS = limits.RUDP_GRANULARITY_NS
ROUNDS = limits.RUDP_REORDER_ROUNDS


class LossThresholds:
    """How much later than others a packet may be.

    Attributes:
        packets: it is lost once one so many numbers higher is acknowledged (RFC 9002 section 6.1.1).
        eighths: it is lost once a higher one is acknowledged and so many eighths of a round trip have passed since it
            left (section 6.1.2).
    """

    def __init__(self) -> None:
        self.packets = PACKETS_MIN
        self.eighths = EIGHTHS_MIN
        self._rounds = 0  # since the last step, or the last spurious loss
        self._packets_needed = PACKETS_MIN  # by what came late in these rounds
        self._eighths_needed = EIGHTHS_MIN

    def loss_delay(self, latest_ns: int, smoothed_ns: int) -> int:
        """How long (ns) after it left a packet is lost, if one sent later was acknowledged (section 6.1.2).

        Lost is what left at `now - loss_delay` or before.
        """
        return max(max(latest_ns, smoothed_ns) * self.eighths // 8, GRANULARITY_NS)

    def on_spurious(self, displacement: int, late_ns: int, rtt_ns: int) -> None:
        """Widens the thresholds: a packet that was declared lost is acknowledged after all.

        They grow so far that this packet would not have been declared lost (RFC 8985 section 6.2 widens likewise).

        Args:
            displacement: by how much the largest acknowledged number exceeded its own just before.
            late_ns: from its sending until this ack.
            rtt_ns: the larger of the latest and the smoothed round trip.
        """
        self.on_reordered(displacement, late_ns, rtt_ns)
        self.packets = max(self.packets, self._packets_needed)
        self.eighths = max(self.eighths, self._eighths_needed)
        self._begin()

    def on_reordered(self, displacement: int, late_ns: int, rtt_ns: int) -> None:
        """Notes a packet acknowledged after one sent later, not lost; same arguments. It widens nothing.

        What such packets needed is what the thresholds don't fall below in the next 16 rounds. Without that, each step
        down would be found wrong by another spurious loss.
        """
        packets = min(displacement + 1, PACKETS_MAX)
        self._packets_needed = max(self._packets_needed, packets)
        late_ns = min(late_ns, 2 * rtt_ns)  # so that nothing overflows; EIGHTHS_MAX is twice a round trip
        eighths = EIGHTHS_MAX if rtt_ns <= 0 else min(late_ns * 8 // rtt_ns + 1, EIGHTHS_MAX)
        self._eighths_needed = max(self._eighths_needed, eighths)

    def on_round(self) -> None:
        """Call once a round trip: after 16 without a spurious loss both come one step nearer to where they began."""
        self._rounds += 1
        if self._rounds < ROUNDS:
            return
        if self.packets > self._packets_needed:
            self.packets -= 1
        if self.eighths > self._eighths_needed:
            self.eighths -= 1
        self._begin()

    def _begin(self) -> None:
        """Counts 16 rounds from now."""
        self._rounds = 0
        self._packets_needed = PACKETS_MIN
        self._eighths_needed = EIGHTHS_MIN
