"""How often the peer shall acknowledge what we send (draft-ietf-quic-ack-frequency), looked at once a round trip.

An ack for every other packet is dear at many packets a second, for both sides. A sender that is so fast asks for fewer,
but for so many in a round trip that congestion control, pacing and loss detection see no less; what is unusual is
acknowledged at once all the same. It must never ask a slow sender's peer to wait, nor anybody again and again.
"""

from __future__ import annotations

from transport import limits
from transport.rudp import pen

SECOND_NS = limits.SECOND_NS
FAST = limits.RUDP_ACK_POLICY_PACKETS_PER_S
THRESHOLD_MAX = limits.RUDP_ACK_THRESHOLD_MAX
ACKS_PER_ROUND = limits.RUDP_ACKS_PER_ROUND
SPAN_NS = limits.RUDP_ACK_POLICY_NS
DELAY_MIN_NS = limits.RUDP_ACK_DELAY_MIN_NS
DELAY_MAX_NS = limits.RUDP_ACK_DELAY_MAX_NS
THRESHOLD = 2  # where nothing else was asked for (RFC 9000 section 13.2.2)
REORDERING = 1  # every packet out of order is acknowledged at once: losses are to be found as early as ever
FRAME_BYTES = 16  # at most
ACK_POLICY_FRAME = 4


def choose(current: int, rate: int, srtt: int) -> int:
    """After how many packets the peer shall acknowledge.

    A power of two, so that it seldom changes; and it rises only with a quarter to spare, for the same reason.

    Args:
        current: what it was asked for last.
        rate: packets that arrive, a second.
        srtt: a round trip (ns); with the rate it says how many packets are in flight.
    """
    if rate < (FAST if current == THRESHOLD else FAST - FAST // 4):
        return THRESHOLD
    most = rate * srtt // SECOND_NS // ACKS_PER_ROUND
    if most < current:
        return power(most)
    return max(current, power(most - most // 4))


def power(most: int) -> int:
    """The largest power of two up to `most`, within what may be asked for."""
    found = THRESHOLD
    while 2 * found <= most and 2 * found <= THRESHOLD_MAX:
        found *= 2
    return found


class AckPolicy:
    """What the peer was asked for.

    Attributes:
        number: of the newest policy, -1 before the first.
        threshold: packets after which it shall acknowledge.
        delay_us: the longest time for which it may keep an ack back.
        sent: frames written.
    """

    def __init__(self) -> None:
        self.number = -1
        self.threshold = THRESHOLD
        self.delay_us = DELAY_MAX_NS // 1000
        self.sent = 0
        self._since = 0  # what is counted began then
        self._packets = 0  # acknowledged by then

    def review(self, packets: int, srtt: int, now: int) -> bool:
        """Whether the peer has to hear of a new policy. Call it once a round trip.

        Args:
            packets: acknowledged since the connection began.
            srtt: a round trip (ns).
            now: the present (ns).
        """
        span = now - self._since
        if span < SPAN_NS:
            return False
        rate = (packets - self._packets) * SECOND_NS // span
        self._since = now
        self._packets = packets
        return self._ask(choose(self.threshold, rate, srtt), srtt)

    def reset(self, packets: int, now: int) -> bool:
        """Back to what everybody does, because the path is another; as `review`."""
        self._since = now
        self._packets = packets
        return self._ask(THRESHOLD, 0)

    def _ask(self, threshold: int, srtt: int) -> bool:
        if threshold == self.threshold:
            return False
        self.number += 1
        self.threshold = threshold
        delay = DELAY_MAX_NS if threshold == THRESHOLD else min(max(srtt // 4, DELAY_MIN_NS), DELAY_MAX_NS)
        self.delay_us = delay // 1000
        return True

    def write(self, room: memoryview, pos: int) -> int:
        """Writes the frame, for which there are `FRAME_BYTES`; returns the place behind it."""
        self.sent += 1
        pos = pen.put8(room, pos, ACK_POLICY_FRAME)
        pos = pen.put_varint(room, pos, self.number)
        pos = pen.put_varint(room, pos, self.threshold)
        pos = pen.put_varint(room, pos, self.delay_us)
        return pen.put_varint(room, pos, REORDERING)
