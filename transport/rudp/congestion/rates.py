"""How fast the path delivers: a sample of the delivery rate for each ack (draft-ietf-ccwg-bbr section 4.1).

Only controllers that model the path ask for it, and only then does a sent packet have a `Mark`. A sample is how much
arrived between the sending of a packet and its ack, over the longer of the times that sending it and acknowledging it
took; so a burst of acks makes no path look faster than it was fed. It must never look at a packet or a clock.
"""

from __future__ import annotations

from transport import limits

SECOND_NS = limits.SECOND_NS
RATE_MAX = limits.RUDP_RATE_MAX
EXACT_BYTES = 1 << 33  # times 10**9 that is under 2**63


def rate_of(size: int, span_ns: int) -> int:
    """Bytes per second, at most `RUDP_RATE_MAX`, of `size` bytes in `span_ns`, which is over 0."""
    if size < EXACT_BYTES:
        return min(size * SECOND_NS // span_ns, RATE_MAX)
    return min(size // (span_ns // SECOND_NS + 1), RATE_MAX)  # of a packet that was under way for minutes


class Mark:
    """What was known when a packet left; one belongs to a record of a packet, and is used again with it.

    Attributes:
        delivered, lost: bytes acknowledged and declared lost until then.
        delivered_at: when the last of those was acknowledged.
        first_sent_at: when the flight that it belongs to began to be sent.
        in_flight: bytes, its own included.
        is_app_limited: there had not been enough to send.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self.lost = 0
        self.delivered_at = 0
        self.first_sent_at = 0
        self.in_flight = 0
        self.is_app_limited = False


class RateSampler:
    """What a connection has delivered, and the sample of the ack that is being read.

    Attributes:
        delivered, lost: bytes acknowledged and declared lost, over the life of the connection.
        app_limited: samples are of a sender that had too little to send until so many bytes are delivered; 0 for not.
        has_data: the ack acknowledges something for the first time; without, the rest of the sample is an old one's.
        rate: bytes per second; 0 if the ack says nothing of it.
        volume: bytes delivered while its newest packet was under way.
        lost_since: bytes declared lost in that time.
        prior_delivered: bytes that had been delivered when that packet left.
        in_flight: bytes in flight then, its own included.
        is_app_limited: whether there was too little to send when it left.
        sent_at: when it left.
        acked: bytes that the ack acknowledges for the first time.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self.lost = 0
        self.app_limited = 0
        self._delivered_at = 0
        self._first_sent_at = 0
        self.has_data = False
        self.rate = 0
        self.volume = 0
        self.lost_since = 0
        self.prior_delivered = 0
        self.in_flight = 0
        self.is_app_limited = False
        self.sent_at = 0
        self.acked = 0
        self._number = -1
        self._prior_lost = 0
        self._send_span = 0
        self._ack_span = 0

    def on_sent(self, mark: Mark | None, size: int, in_flight: int, now: int) -> Mark:
        """A packet of `size` bytes leaves, which `in_flight` counts; returns its mark, a new one if it had none."""
        if mark is None:
            mark = Mark()
        if in_flight <= size:  # nothing was under way: whatever is acknowledged from now on was sent from now on
            self._first_sent_at = now
            self._delivered_at = now
        mark.delivered = self.delivered
        mark.lost = self.lost
        mark.delivered_at = self._delivered_at
        mark.first_sent_at = self._first_sent_at
        mark.in_flight = in_flight
        mark.is_app_limited = self.app_limited > 0
        return mark

    def on_dry(self, in_flight: int) -> None:
        """There is nothing more to send, though there would be room: what is sent next follows a gap."""
        self.app_limited = max(self.delivered + in_flight, 1)

    def begin(self) -> None:
        """An ack is about to be read."""
        self.has_data = False
        self.rate = 0
        self.acked = 0

    def on_acked(self, mark: Mark, number: int, size: int, sent_at: int, now: int) -> None:
        """Packet `number`, sent at `sent_at`, is acknowledged for the first time, by the ack that is being read."""
        self.delivered += size
        self.acked += size
        self._delivered_at = now
        if self.has_data and number < self._number:
            return
        self.has_data = True
        self._number = number
        self.sent_at = sent_at
        self.prior_delivered = mark.delivered
        self.in_flight = mark.in_flight
        self.is_app_limited = mark.is_app_limited
        self._prior_lost = mark.lost
        self._send_span = sent_at - mark.first_sent_at
        self._ack_span = now - mark.delivered_at
        if sent_at > self._first_sent_at:
            self._first_sent_at = sent_at

    def finish(self, min_rtt: int) -> None:
        """The ack has been read, and what it shows to be lost was counted; the sample is complete.

        Args:
            min_rtt: the least round trip of the connection (ns). A sample of less time is none, for it would show more
                than the path delivers.
        """
        if self.app_limited and self.delivered > self.app_limited:
            self.app_limited = 0
        if not self.has_data:
            return
        self.volume = self.delivered - self.prior_delivered
        self.lost_since = self.lost - self._prior_lost
        span = max(self._send_span, self._ack_span)
        if span > 0 and span >= min_rtt:
            self.rate = rate_of(self.volume, span)
