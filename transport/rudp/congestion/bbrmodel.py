"""What BBR believes of its path: bandwidth, least round trip, aggregation, and how much of it is safe at present.

Kept apart from what BBR does about it (`bbr`). Names are the draft's (draft-ietf-ccwg-bbr sections 2 and 5.5). It must
never believe a rate at which the application was the limit, unless it is higher than what is known.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.base import Controller, initial_window
from transport.rudp.congestion.rates import RateSampler

INFINITE = 1 << 62
MOST = 1 << 50  # bytes; no window comes near
SECOND_NS = limits.SECOND_NS
MS_NS = limits.MS_NS
BETA_PERCENT = 70  # BBR.Beta
MIN_PIPE_PACKETS = 4  # BBR.MinPipeCwnd
PROBE_RTT_NS = 5 * SECOND_NS  # BBR.ProbeRTTInterval; BBR.MinRTTFilterLen is twice that
PROBE_RTT_ROUNDS = 10  # not in the draft: where that is longer, for else hardly a probe for bandwidth comes to its end
EXTRA_ROUNDS = 5  # half of BBR.ExtraAckedFilterLen: the window has two halves
FULL_ROUNDS = 3
FULL_GROWTH_PERCENT = 125
QUIET_PERCENT = 60  # of what the path holds
NOISE_PACKETS = 64  # that have to be settled before anything is made of what was lost of them
NOISE_MEMORY = 512  # packets that count in full
NOISE_NEWS = 10  # permille more than was known
NOISE_PERMILLE_MAX = 50  # what is lost above that is answered as congestion, whatever it is
NOISE_CHANCE = 3  # packets
QUANTUM_BYTES_MAX = limits.GSO_BYTES_MAX
QUANTA_PER_S = 1000
DICE_MASK = (1 << 32) - 1


def volume_of(rate: int, span_ns: int) -> int:
    """Bytes that `rate` carries in `span_ns`, at most 2**50."""
    if span_ns <= 0:
        return 0
    if rate > INFINITE // span_ns:
        return MOST
    return min(rate * span_ns // SECOND_NS, MOST)


class BbrModel(Controller):
    """The model of the path, and what it is made from.

    Args:
        mss: largest datagram at present, in bytes.
        dice: what its draws begin with, so that flows do not probe in step.

    Attributes:
        max_bw: bytes per second, the most that was delivered in this cycle of probing and the one before.
        bw_shortterm: what losses since the last probe leave of it; 2**62 without.
        bw: the lesser of both.
        min_rtt: least round trip of the last 10 s (ns); 2**62 for none yet.
        extra_acked: bytes that acks came ahead of `bw`, at most, in the last rounds.
        inflight_longterm: bytes in flight that probing found to be safe; 2**62 while it never lost too much.
        inflight_shortterm: what losses since the last probe leave of the window; 2**62 without.
        noise: bytes of each thousand that are lost while less is in flight than the path holds, and which are no sign
            of congestion therefore. The draft has no such thing, and comes to a standstill above 2 %.
        round_count: round trips, counted by packets.
        full_bw_reached: the path has been full at least once.
    """

    def __init__(self, mss: int, dice: int) -> None:
        Controller.__init__(self, "bbr", mss)
        self._rs = RateSampler()  # the draft's RS, and C.delivered
        self.samples = self._rs
        self.max_bw = 0
        self.bw_shortterm = INFINITE
        self.bw = 0
        self.min_rtt = INFINITE
        self.extra_acked = 0
        self.inflight_longterm = INFINITE
        self.inflight_shortterm = INFINITE
        self.noise = 0
        self.round_count = 0
        self.full_bw_reached = False
        self._dice = (dice & DICE_MASK) or 1
        self._bw_now = 0  # halves of the filter of `max_bw`: this cycle, and the one before
        self._bw_before = 0
        # rounds
        self._round_start = False
        self._next_round_delivered = 0
        self._rounds_since_probe_up = 0
        self._is_cwnd_limited = False  # in the round before this, or in this
        self._was_cwnd_limited = False
        # a full pipe
        self._full_bw_now = False
        self._full_bw = 0
        self._full_bw_count = 0
        # least round trips
        self._min_rtt_stamp = -1
        self._probe_rtt_min_delay = INFINITE
        self._probe_rtt_min_stamp = -1
        self._probe_rtt_expired = False
        # aggregation
        self._extra_start = -1
        self._extra_delivered = 0
        self._extra_now = 0
        self._extra_before = 0
        self._extra_rounds = 0
        # what was lost
        self._is_loss_in_round = False
        self._lost_in_round = 0
        self._loss_round_delivered = 0
        self._loss_round_start = False
        self._bw_latest = 0
        self._inflight_latest = 0
        # noise
        self._latest_rtt = 0
        self._quiet_bytes = 0  # settled of what left while little was in flight, old ones by halves
        self._quiet_lost = 0
        self._noise_known = 0  # when it was last reason to probe, or less if it has been less since
        self._bw_probe_wait = 0  # from one probe to the next, at most (ns)

    def _draw(self, below: int) -> int:
        """A whole number from 0 to under `below`, by Marsaglia's xorshift: for mixing, not for secrets."""
        dice = self._dice
        dice ^= (dice << 13) & DICE_MASK
        dice ^= dice >> 17
        dice ^= (dice << 5) & DICE_MASK
        self._dice = dice
        return dice % below

    # Volumes

    def _min_pipe(self) -> int:
        return MIN_PIPE_PACKETS * self.mss

    def _quantum(self, rate: int) -> int:
        """What leaves together (section 5.6.3); it may be acknowledged as one, so it has to be in flight."""
        return max(2 * self.mss, min(rate // QUANTA_PER_S, QUANTUM_BYTES_MAX))

    def _bdp(self, rate: int, gain_percent: int) -> int:
        """A multiple of what the path holds at `rate`, the bandwidth-delay product."""
        if self.min_rtt == INFINITE:
            return initial_window(self.mss)
        return volume_of(rate, self.min_rtt) * gain_percent // 100

    def _target_inflight(self) -> int:
        return min(self._bdp(self.bw, 100), self.window)

    # Rounds and rates

    def _start_round(self) -> None:
        self._next_round_delivered = self._rs.delivered

    def _update_round(self) -> None:
        """Section 5.5.1."""
        if self._rs.prior_delivered < self._next_round_delivered:
            self._round_start = False
            return
        self._start_round()
        self.round_count += 1
        self._rounds_since_probe_up += 1
        self._round_start = True
        self._was_cwnd_limited = self._is_cwnd_limited
        self._is_cwnd_limited = False

    def _update_max_bw(self) -> None:
        """Section 5.5.5."""
        self._update_round()
        samples = self._rs
        rate = samples.rate
        if rate > 0 and (rate >= self.max_bw or not samples.is_app_limited):
            self._bw_now = max(self._bw_now, rate)
            self.max_bw = max(self._bw_now, self._bw_before)

    def _advance_max_bw(self) -> None:
        """A cycle is over; one without a sample of its own does not count (section 5.5.6)."""
        if self._bw_now:
            self._bw_before = self._bw_now
            self._bw_now = 0

    def _update_min_rtt(self, rtt: int, now: int) -> None:
        """Section 5.3.4.3."""
        if self._probe_rtt_min_stamp < 0:
            self._probe_rtt_min_stamp = self._min_rtt_stamp = now
        interval = PROBE_RTT_NS
        if self.min_rtt < INFINITE:
            interval = max(interval, PROBE_RTT_ROUNDS * self.min_rtt)
        self._probe_rtt_expired = now > self._probe_rtt_min_stamp + interval
        if rtt < self._probe_rtt_min_delay or self._probe_rtt_expired:
            self._probe_rtt_min_delay = rtt
            self._probe_rtt_min_stamp = now
        if self._probe_rtt_min_delay < self.min_rtt or now > self._min_rtt_stamp + 2 * interval:
            self.min_rtt = self._probe_rtt_min_delay
            self._min_rtt_stamp = self._probe_rtt_min_stamp

    def _update_aggregation(self, now: int) -> None:
        """Section 5.5.9."""
        if self._extra_start < 0:
            self._extra_start = now
        expected = volume_of(self.bw, now - self._extra_start)
        if self._extra_delivered <= expected:
            self._extra_delivered = 0
            self._extra_start = now
            expected = 0
        self._extra_delivered += self._rs.acked
        extra = min(self._extra_delivered - expected, self.window)
        if self._round_start:
            self._extra_rounds += 1
            if self._extra_rounds >= (EXTRA_ROUNDS if self.full_bw_reached else 1):
                self._extra_rounds = 0
                self._extra_before = self._extra_now
                self._extra_now = 0
        self._extra_now = max(self._extra_now, extra)
        self.extra_acked = max(self._extra_now, self._extra_before)

    # A full pipe

    def _reset_full_bw(self, rate: int) -> None:
        self._full_bw = rate
        self._full_bw_count = 0
        self._full_bw_now = False

    def _check_full_bw(self) -> None:
        """Three rounds in which more was sent and hardly more delivered (section 5.3.1.2)."""
        samples = self._rs
        if self._full_bw_now or not self._round_start or samples.is_app_limited:
            return
        if samples.rate * 100 >= self._full_bw * FULL_GROWTH_PERCENT:
            self._reset_full_bw(samples.rate)
            return
        self._full_bw_count += 1
        if self._full_bw_count >= FULL_ROUNDS:
            self._full_bw_now = True
            self.full_bw_reached = True

    # What losses leave

    def _note_loss(self, size: int) -> None:
        """So many bytes were lost in this round; of what is only marked, all."""
        if not self._is_loss_in_round:
            self._loss_round_delivered = self._rs.delivered
            self._lost_in_round = 0
        self._is_loss_in_round = True
        self._lost_in_round += size

    def _noise_of(self, size: int) -> int:
        """How much of `size` bytes may be lost by no fault of congestion: half again the noise, and a few by chance."""
        return (size * 3 * self.noise // 2000 + NOISE_CHANCE * self.mss) if self.noise else 0

    def _hear_noise(self, in_flight: int, size: int, lost: int) -> None:
        """So much was settled of what left with `in_flight` bytes under way, `lost` of it as lost.

        It counts if the path held less than it can, and no queue stood on it: then the losses are not our doing, and
        nobody's who fills that queue.
        """
        if in_flight * 100 > volume_of(self.max_bw, self.min_rtt) * QUIET_PERCENT:
            return
        if self._latest_rtt > self.min_rtt + (self.min_rtt >> 2) + MS_NS:
            return
        if self._quiet_bytes > NOISE_MEMORY * self.mss:
            self._quiet_bytes >>= 1
            self._quiet_lost >>= 1
        self._quiet_bytes += size
        self._quiet_lost += lost
        if self._quiet_bytes >= NOISE_PACKETS * self.mss:
            self.noise = min(self._quiet_lost * 1000 // self._quiet_bytes, NOISE_PERMILLE_MAX)
            self._noise_known = min(self._noise_known, self.noise)
            if self.noise >= self._noise_known + NOISE_NEWS:
                self._noise_known = self.noise
                self._bw_probe_wait = 0  # what was taken for too much was noise: time to look again

    def _reset_congestion_signals(self) -> None:
        self._is_loss_in_round = False
        self._bw_latest = 0
        self._inflight_latest = 0

    def _reset_short_term(self) -> None:
        self.bw_shortterm = INFINITE
        self.inflight_shortterm = INFINITE

    def _update_latest(self) -> None:
        """The most of this round (section 5.5.10.3)."""
        samples = self._rs
        self._loss_round_start = False
        self._bw_latest = max(self._bw_latest, samples.rate)
        self._inflight_latest = max(self._inflight_latest, samples.volume)
        if samples.prior_delivered >= self._loss_round_delivered:
            self._loss_round_delivered = samples.delivered
            self._loss_round_start = True

    def _advance_latest(self) -> None:
        if self._loss_round_start:
            self._bw_latest = self._rs.rate
            self._inflight_latest = self._rs.volume

    def _lower_bounds(self) -> None:
        """Comes down to what this round has delivered, by three tenths at most (section 5.5.10.3)."""
        if self.bw_shortterm == INFINITE:
            self.bw_shortterm = self.max_bw
        if self.inflight_shortterm == INFINITE:
            self.inflight_shortterm = self.window
        self.bw_shortterm = max(self._bw_latest, self.bw_shortterm * BETA_PERCENT // 100)
        self.inflight_shortterm = max(self._inflight_latest, self.inflight_shortterm * BETA_PERCENT // 100)
