"""How long the path takes, from samples of packets sent and acknowledged (RFC 9002 section 5).

Everything that waits for the peer waits by these figures. It must never trust a peer's ack delay further than it is
plausible, and a sample never makes a time-out longer than the limits allow, whatever became of the host's clock.
"""

from __future__ import annotations

from transport import limits

GRANULARITY_NS = limits.RUDP_GRANULARITY_NS
RTT_MAX_NS = limits.RUDP_RTT_MAX_NS


class RttEstimator:
    """Round trip times of one path, all in nanoseconds.

    Attributes:
        latest: the last sample; 0 before the first.
        smoothed: the moving average; before the first sample what was assumed.
        variance: the mean deviation from it; before the first sample half of what was assumed.
        minimum: the least sample; 0 before the first.
        samples: how many there were since the start or the last `reset`.
    """

    def __init__(self, initial_ns: int) -> None:
        self.reset(initial_ns)

    def reset(self, initial_ns: int) -> None:
        """Forgets all samples and assumes `initial_ns`: a new path (RFC 9000 section 9.4)."""
        self.latest = 0
        self.smoothed = initial_ns  # RFC 9002 section 6.2.2
        self.variance = initial_ns // 2
        self.minimum = 0
        self.samples = 0

    def forget_minimum(self) -> None:
        """Lets the next sample be the least: after persistent congestion (RFC 9002 section 5.2)."""
        self.minimum = 0

    def update(self, sample_ns: int, ack_delay_ns: int) -> None:
        """Takes in one sample.

        Args:
            sample_ns: from sending the largest packet that an ack newly acknowledges until that ack, provided that
                one of the newly acknowledged packets asked for it (RFC 9002 section 5.1). Cut to 1 ns .. 60 s.
            ack_delay_ns: how long the peer says it has held the ack back, cut by the caller to the peer's maximum.
        """
        sample_ns = max(1, min(sample_ns, RTT_MAX_NS))
        self.latest = sample_ns
        self.samples += 1
        if self.minimum == 0 or sample_ns < self.minimum:
            self.minimum = sample_ns  # without regard to the ack delay, RFC 9002 section 5.2
        if self.samples == 1:
            self.smoothed = sample_ns  # section 5.3
            self.variance = sample_ns // 2
            return
        if ack_delay_ns > 0 and sample_ns - self.minimum >= ack_delay_ns:
            sample_ns -= ack_delay_ns  # believed: it leaves no less than the least round trip
        deviation = self.smoothed - sample_ns
        if deviation < 0:
            deviation = -deviation
        self.variance = (3 * self.variance + deviation) // 4  # before `smoothed` moves: RFC 9002 appendix A.7
        self.smoothed = (7 * self.smoothed + sample_ns) // 8

    def probe_timeout(self, max_ack_delay_ns: int) -> int:
        """After how many ns without an ack to probe, without back-off (RFC 9002 section 6.2.1)."""
        return self.smoothed + max(4 * self.variance, GRANULARITY_NS) + max_ack_delay_ns
