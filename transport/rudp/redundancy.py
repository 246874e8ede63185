"""Whether small messages may ride again in later packets, and how often: gate, queue guard, ramp and byte budget.

Copies spare a thin stream the wait for retransmissions, and cost bytes, never packets. On a narrow link those bytes
fill its queue, and the losses that follow look like a reason for more copies: that is what the guard is for. This
module owns no message and must never send one. Its figures were found by simulation.
"""

from __future__ import annotations

from transport import limits

RIDES = (1, 2, 5)
"""In which packets after its own a message rides again: spread out, so that one burst does not take all of them."""

RIDES_MAX = limits.RUDP_RIDES
SAMPLES = limits.RUDP_GUARD_SAMPLES
MARGIN_NS = limits.RUDP_GUARD_MARGIN_NS
OFF_MIN_NS = limits.RUDP_GUARD_OFF_MIN_NS
OFF_MAX_NS = limits.RUDP_GUARD_OFF_MAX_NS
START_NS = limits.RUDP_COPIES_START_NS
HOLD_NS = limits.RUDP_COPIES_HOLD_NS
BYTES_PER_S = limits.RUDP_COPY_BYTES_PER_S
BURST_BYTES = limits.RUDP_COPY_BURST_BYTES
PACKETS_MAX = limits.RUDP_RING_MAX
SECOND_NS = limits.SECOND_NS

ONE = 1 << 30  # a loss average of 100 %
ON_ABOVE = ONE // 1000  # 0.1 %
FADE_32 = 4_162_761_483  # (1023 / 1024) ** 32, times 2 ** 32
SHARP_RISES = 4  # of the round trip, one after the other
FULL_NS = BURST_BYTES * SECOND_NS // BYTES_PER_S  # after so long without copies the bucket is full


def is_due(distance: int, rides: int) -> bool:
    """Whether a message that may ride `rides` times rides in the packet `distance` after its own.

    The first three are 1, 2 and 5; 4 to 8 rides fill up to 1 .. 8 (5 rides: 1, 2, 5, 3, 4).
    """
    if distance == 5:
        return rides >= 3
    if distance == 3 or distance == 4:
        return rides > distance
    return 0 < distance <= rides


def fade(average: int, packets: int) -> int:
    """`average` after so many packets of which none was lost, with alpha 1/1024."""
    while packets >= 32 and average >= 1024:
        average = average * FADE_32 >> 32
        packets -= 32
    while packets > 0 and average >= 1024:
        average -= average // 1024
        packets -= 1
    return average


class Redundancy:
    """Says how often messages may ride again, for one connection. Times in nanoseconds, sizes in bytes.

    Attributes:
        is_enabled: False turns off all copies but those that a sender asked for, and those of retransmissions.
        ramp: rides that the queue guard allows, 0 to 3. A connection starts with 3, for its first losses matter most.
        trips: how often the guard has turned copies off.
        off_until: until when it has, the last time.
    """

    def __init__(self, is_enabled: bool) -> None:
        self.is_enabled = is_enabled
        self.ramp = RIDES_MAX
        self.trips = 0
        self.off_until = 0
        self._start_until = -1  # the first 10 s begin with the first call of `rides`
        self._hold_until = 0
        self._average = 0  # of losses, ONE is 100 %
        self._off = OFF_MIN_NS  # how long the next trip turns copies off
        self._since = 0  # packets that left before say nothing about this step of the ramp
        self._count = 0  # samples in this guard window
        self._first = 0  # the least of its first half
        self._second = 0  # and of its second
        self._last = 0  # the sample before this one
        self._rises = 0  # samples above the one before, without a break
        self._rise_from = 0
        self._is_unproven = True  # no guard window has passed since the start
        self._is_new_step = False  # the ramp has gone up, and no guard window has passed since
        self._tokens = BURST_BYTES * SECOND_NS  # bytes * ns of the budget that are left
        self._filled_at = 0

    def start_low(self) -> None:
        """Starts the ramp from the bottom: on a new path, or where the handshake has shown that it is narrow."""
        self.ramp = 0
        self._is_unproven = False
        self._is_new_step = False
        self._count = 0

    def is_wanted(self, now: int) -> bool:
        """Whether losses, or the start of the connection, make copies worth their bytes. The guard may still object."""
        is_start = self._start_until < 0 or now < self._start_until
        return self.is_enabled and (is_start or now < self._hold_until or self._average > ON_ABOVE)

    def rides(self, now: int) -> int:
        """How often a message may ride again now, 0 to 3: which packets that means says `RIDES`."""
        if self._start_until < 0:
            self._start_until = now + START_NS
        if self.ramp == 0 or now < self.off_until or not self.is_wanted(now):
            return 0
        self._fill(now)
        if self._tokens < BURST_BYTES * SECOND_NS // 8:  # over the budget: none at last,
            return 0
        if self._tokens < BURST_BYTES * SECOND_NS // 2:  # but two rides first
            return min(self.ramp, 2)
        return self.ramp

    def spend(self, size: int, now: int) -> bool:
        """Takes a copy of `size` bytes out of the budget. Returns False, and takes nothing, if it is not in it."""
        self._fill(now)
        if size > BURST_BYTES or size * SECOND_NS > self._tokens:
            return False
        self._tokens -= size * SECOND_NS
        return True

    def _fill(self, now: int) -> None:
        """Lets the budget grow until `now`: a token bucket, exact to the byte and nanosecond."""
        passed = min(now - self._filled_at, FULL_NS)
        if passed <= 0:
            return
        self._filled_at = now
        self._tokens = min(self._tokens + passed * BYTES_PER_S, BURST_BYTES * SECOND_NS)

    def on_packets(self, acked: int, lost: int, now: int) -> None:
        """Takes packets that were acknowledged and declared lost into the loss average."""
        if lost > 0:
            self._average = ONE - fade(ONE - self._average, min(lost, PACKETS_MAX))
            if self._average > ON_ABOVE:
                self._hold_until = now + HOLD_NS
        if acked > 0 and self._average > 0:
            self._average = fade(self._average, min(acked, PACKETS_MAX))

    def loss_ppm(self) -> int:
        """The loss average, in millionths."""
        return self._average * 1_000_000 // ONE

    def on_rtt(self, sample_ns: int, min_rtt: int, variance: int, interval_ns: int, now: int) -> None:
        """Feeds the queue guard and the ramp with one sample of the round trip.

        A guard window is 16 samples of packets that left after the last step. If even the least of them shows a
        queue, or they have grown by the margin of one since a step up, copies are off for 1 s, and twice as long each
        further time, up to 60 s. If they show none and do not grow, one more ride is allowed.

        Args:
            sample_ns: the sample, ack delay included.
            min_rtt, variance: least and mean deviation, as of `rtt.RttEstimator` after this sample.
            interval_ns: between the messages of the application, or its packets; 0 if not known.
            now: when the ack came.
        """
        if not self.is_wanted(now):
            self.start_low()  # when copies are wanted again, they start as carefully as after a trip
            return
        if now - sample_ns < self._since:  # of a packet that left before the last step, or while copies were off
            return
        margin = max(interval_ns, MARGIN_NS)
        if self._is_unproven and self._rises_sharply(sample_ns, margin):
            self._trip(now)
            return
        self._count += 1
        if self._count <= SAMPLES // 2:
            if self._count == 1 or sample_ns < self._first:
                self._first = sample_ns
            return
        if self._count == SAMPLES // 2 + 1 or sample_ns < self._second:
            self._second = sample_ns
        if self._count >= SAMPLES:
            self._judge(min_rtt + margin + 2 * variance, margin, now)

    def _judge(self, line: int, margin: int, now: int) -> None:
        """Ends a guard window: a trip, a step up, or neither."""
        growth = self._second - self._first
        is_queue = min(self._first, self._second) > line or (self._is_new_step and growth > margin)
        self._is_unproven = False
        self._is_new_step = False
        self._count = 0
        if is_queue:
            if self.ramp > 0:  # without copies the queue is somebody else's
                self._trip(now)
        elif growth > margin // 4:
            return  # a queue may begin to grow: one more ride would only hide which of the steps was too much
        elif self.ramp < RIDES_MAX:
            self.ramp += 1
            self._is_new_step = True
            self._step(now)
        elif now - self._since >= OFF_MAX_NS:
            self._off = OFF_MIN_NS  # a full minute of all rides without a trip: the path has room now

    def _rises_sharply(self, sample_ns: int, margin: int) -> bool:
        """Whether four in a row have grown, by twice the margin in all: for a start with all rides.

        Such a start has no window behind it that had fewer. On a narrow link each message then adds its copies' time
        to the queue, which shows long before a guard window has passed. Jitter alone does so once in 100 starts.
        """
        if self._last == 0 or sample_ns <= self._last:
            self._rises = 0
            self._rise_from = sample_ns
        else:
            self._rises += 1
        self._last = sample_ns
        return self._rises >= SHARP_RISES and sample_ns - self._rise_from > 2 * margin

    def _trip(self, now: int) -> None:
        """Turns copies off for a while; the ramp starts from the bottom."""
        self.trips += 1
        self.start_low()
        self.off_until = now + self._off
        self._off = min(2 * self._off, OFF_MAX_NS)
        self._step(self.off_until)

    def _step(self, now: int) -> None:
        """A new guard window, of packets that leave from `now` on."""
        self._since = now
        self._count = 0
