"""BBR version 3 (draft-ietf-ccwg-bbr): sends at the rate at which the path delivers, instead of until it loses.

Names are the draft's. It begins by doubling until no more is delivered, lets the queue go, and from then on cycles: a
little slower, at the rate, then for a moment faster to see whether there is more. It must never take a single loss for
a full path, nor keep a queue standing at the bottleneck.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.base import initial_window, minimum_window
from transport.rudp.congestion.bbrmodel import BbrModel
from transport.rudp.congestion.rates import Mark
from transport.rudp.states import BBR, CRUISE, DOWN, DRAIN, PROBE_RTT, REFILL, STARTUP, UP, Found

INFINITE = 1 << 62
WINDOW_MAX = limits.RUDP_CONGESTION_BYTES_MAX
SECOND_NS = limits.SECOND_NS
PACING_PERCENT = (277, 50, 90, 100, 100, 125, 100)  # by state
WINDOW_PERCENT = (200, 200, 200, 200, 200, 225, 50)
MARGIN_PERCENT = 99  # 100 less BBR.PacingMarginPercent
LOSS_PERCENT = 2  # BBR.LossThresh
BETA_PERCENT = 70  # BBR.Beta
HEADROOM_PERCENT = 15  # BBR.Headroom
FULL_LOSSES = 6  # BBRStartupFullLossCnt
FULL_MARKED_ROUNDS = 2
DRAIN_ROUNDS = 3
RENO_ROUNDS = 63
PROBE_WAIT_NS = 2 * SECOND_NS  # until the next probe, and up to so much more
PROBE_WAIT_MORE_NS = 1 * SECOND_NS
PROBE_RTT_SPAN_NS = 200 * limits.MS_NS  # BBR.ProbeRTTDuration
GROWTH_ROUNDS_MAX = 30
ACKS_INIT, ACKS_REFILLING, ACKS_PROBE_STARTING, ACKS_PROBE_FEEDBACK, ACKS_PROBE_STOPPING = range(5)
NONE = -1


class Bbr(BbrModel):
    """See the module; the draft's sections are named at what they describe.

    Args:
        mss: largest datagram at present, in bytes.
        dice: see `BbrModel`.

    Attributes:
        state: one of `states.Probe`.
        probes, probes_too_high: how often more was tried, and how often that lost too much.
        undone, collapses: losses that turned out to be none; persistent congestion.
    """

    def __init__(self, mss: int, dice: int = 1) -> None:
        BbrModel.__init__(self, mss, dice)
        self.state = int(STARTUP)
        self.probes = 0
        self.probes_too_high = 0
        self.undone = 0
        self.collapses = 0
        self._pacing_gain = PACING_PERCENT[STARTUP]
        self._cwnd_gain = WINDOW_PERCENT[STARTUP]
        self._pacing_rate = 0
        self._is_idle_restart = False
        self._drain_start_round = 0
        # the cycle
        self._ack_phase = ACKS_INIT
        self._cycle_stamp = 0
        self._is_bw_probe_sample = False
        self._is_prev_too_high = False
        self._is_prev_precautionary = False
        self._bw_probe_up_rounds = 0
        self._bw_probe_up_acked = 0
        self._probe_up_acked_per_inc = INFINITE
        # ProbeRTT
        self._probe_rtt_done_stamp = NONE
        self._is_probe_rtt_round_done = False
        # losses and marks
        self._loss_events = 0  # in this round, a run of packets counts once
        self._last_lost = NONE
        self._is_marked = False  # since the last ack, and in this round
        self._is_marked_in_round = False
        self._marked_rounds = 0
        # the last recovery, and what was before it
        self._prior_cwnd = 0
        self._is_in_recovery = False
        self._recovery = NONE  # what was sent until then belongs to it
        self._recovery_before = NONE
        self._owed = 0  # bytes lost in it that have not turned up
        self._may_undo = False
        self._undo_state = NONE
        self._undo_bw_shortterm = INFINITE
        self._undo_inflight_shortterm = INFINITE
        self._undo_inflight_longterm = INFINITE

    # What the sender calls

    def rate(self, smoothed_rtt: int) -> int:
        return self._pacing_rate  # 0 before the first round trip: an initial window goes at once

    def set_mss(self, mss: int) -> None:
        if mss == self.mss:
            return
        self.mss = mss
        if not self._rs.delivered:
            self.window = initial_window(mss)
        self.window = max(self.window, minimum_window(mss))

    def on_sent(self, pn: int, size: int, in_flight: int, now: int) -> None:
        if in_flight <= size and self._rs.app_limited:
            self._restart(now)
        if in_flight + self.mss > self.window:
            self._is_cwnd_limited = True

    def on_packet_lost(self, mark: Mark, number: int, size: int, sent_time: int, now: int) -> None:
        """Section 5.5.10.2."""
        if sent_time > self._recovery:
            self._begin_recovery(now)
        self._owed += size
        if number != self._last_lost + 1:
            self._loss_events += 1
        self._last_lost = number
        self._note_loss(size)
        self._hear_noise(mark.in_flight, size, size)
        if not self._is_bw_probe_sample:
            return
        lost = self._rs.lost - mark.lost - self._noise_of(mark.in_flight)
        if lost * 100 > mark.in_flight * LOSS_PERCENT:
            before = mark.in_flight - size
            spare = LOSS_PERCENT * before - 100 * (lost - size)  # how much of this packet could be lost, too
            safe = before + max(0, spare // (100 - LOSS_PERCENT))
            self._inflight_too_high(safe, mark.is_app_limited, now)

    def on_sample(self, in_flight: int, now: int) -> None:
        """Section 5.2.3."""
        samples = self._rs
        rtt = self._latest_rtt = now - samples.sent_at
        self._hear_noise(samples.in_flight, samples.acked, 0)
        if self._is_in_recovery and samples.sent_at > self._recovery:
            self._is_in_recovery = False
            self._restore_cwnd()
        self._update_latest()
        self._update_max_bw()
        self._update_marks(now)
        if self._loss_round_start:
            if self._is_loss_in_round and not self._is_probing() and not self._is_just_noise():
                self._lower_bounds()
            self._is_loss_in_round = False
        self._update_aggregation(now)
        self._check_full_bw()
        if self.state == STARTUP:
            self._check_startup(now)
        if self.state == DRAIN:
            self._check_drain(in_flight, now)
        if self.full_bw_reached:
            self._update_cycle(in_flight, now)
        self._update_min_rtt(rtt, now)
        self._check_probe_rtt(in_flight, now)
        self._advance_latest()
        self.bw = min(self.max_bw, self.bw_shortterm)
        if not self._pacing_rate:
            self._pacing_rate = initial_window(self.mss) * SECOND_NS // max(rtt, 1) * self._pacing_gain // 100
        self._set_pacing_rate(self._pacing_gain)
        self._set_cwnd()

    def on_spurious(self, now: int, sent_time: int = -1, size: int = 0) -> None:
        """Section 5.5.11.2."""
        self._quiet_lost = max(0, self._quiet_lost - size)
        if not self._may_undo or (sent_time >= 0 and not self._recovery_before < sent_time <= self._recovery):
            return
        self._owed -= size
        if size > 0 and self._owed > 0:
            return
        self.undone += 1
        self._may_undo = False
        self._is_in_recovery = False
        self._recovery = self._recovery_before
        self._restore_cwnd()
        self._is_loss_in_round = False
        self._reset_full_bw(0)
        self.bw_shortterm = max(self.bw_shortterm, self._undo_bw_shortterm)
        self.inflight_shortterm = max(self.inflight_shortterm, self._undo_inflight_shortterm)
        self.inflight_longterm = max(self.inflight_longterm, self._undo_inflight_longterm)
        if self._undo_state == STARTUP:
            self.full_bw_reached = False
            if self.state != PROBE_RTT and self.state != STARTUP:
                self._enter(Found.NO_LOSS_AT_START)
        elif self._undo_state == UP and self.state != PROBE_RTT and self.state != UP:
            self._start_refill(Found.NO_LOSS)
        self._undo_state = NONE

    def on_persistent(self, now: int) -> None:
        """Begins again with two packets, as after a retransmission time-out (section 5.6.4.4); the model stays."""
        self.collapses += 1
        self.window = minimum_window(self.mss)
        self._prior_cwnd = 0  # it grows again by what is acknowledged
        self._recovery_before = self._recovery = now
        self._is_in_recovery = True
        self._may_undo = False

    def uses_ecn(self) -> bool:
        return True

    def on_ecn(self, sent_time: int, now: int) -> None:
        """The draft says no more than that a mark is a sign of congestion (section 3.7): it is taken for a loss in this
        round, and for too many of them while probing. Startup ends when two rounds in a row are marked.
        """
        self._is_marked = True

    # States

    def _enter(self, found: Found) -> None:
        self.state = BBR.after(self.state, found)
        self._pacing_gain = PACING_PERCENT[self.state]
        self._cwnd_gain = WINDOW_PERCENT[self.state]

    def _is_probing(self) -> bool:
        return self.state == STARTUP or self.state == REFILL or self.state == UP

    def _is_cycling(self) -> bool:
        return self.state == DOWN or self.state == CRUISE or self.state == REFILL or self.state == UP

    def _is_too_high(self) -> bool:
        """Whether too much was lost while the packet was under way that is acknowledged now."""
        in_flight = self._rs.in_flight
        return (self._rs.lost_since - self._noise_of(in_flight)) * 100 > in_flight * LOSS_PERCENT

    def _is_just_noise(self) -> bool:
        """Whether what was lost in this round is no more than what is lost anyway."""
        return self._lost_in_round <= self._noise_of(self._rs.volume + self._lost_in_round)

    def _update_marks(self, now: int) -> None:
        """Takes in what `on_ecn` has noted."""
        if self._round_start:
            self._marked_rounds = self._marked_rounds + 1 if self._is_marked_in_round else 0
            self._is_marked_in_round = False
        if not self._is_marked:
            return
        self._is_marked = False
        self._is_marked_in_round = True
        self._may_undo = False
        self._note_loss(self._rs.acked)
        if self._is_bw_probe_sample:
            self._inflight_too_high(self._rs.in_flight, self._rs.is_app_limited, now)

    def _check_startup(self, now: int) -> None:
        """Ends Startup at a full pipe, be it seen by rates, losses or marks (section 5.3.1)."""
        if not self.full_bw_reached:
            lossy = self._loss_round_start and self._loss_events >= FULL_LOSSES and self._is_too_high()
            if lossy or self._marked_rounds >= FULL_MARKED_ROUNDS:
                self._undo_state = STARTUP
                self.full_bw_reached = True
                self.inflight_longterm = max(self._bdp(self.max_bw, 100), self._inflight_latest)
        if self._loss_round_start:
            self._loss_events = 0
        if self.full_bw_reached:
            self._enter(Found.FULL)
            self._drain_start_round = self.round_count

    def _check_drain(self, in_flight: int, now: int) -> None:
        """Section 5.3.2."""
        is_late = self.round_count > self._drain_start_round + DRAIN_ROUNDS
        if is_late or in_flight <= self._budget(self._bdp(self.bw, 100)):
            self._start_down(Found.EMPTY, now)

    def _start_down(self, found: Found, now: int) -> None:
        self._reset_congestion_signals()
        self._probe_up_acked_per_inc = INFINITE
        self._rounds_since_probe_up = self._draw(2)
        self._bw_probe_wait = PROBE_WAIT_NS + self._draw(PROBE_WAIT_MORE_NS)
        self._cycle_stamp = now
        self._ack_phase = ACKS_PROBE_STOPPING
        self._start_round()
        self._enter(found)

    def _start_refill(self, found: Found) -> None:
        self._reset_short_term()
        self._bw_probe_up_rounds = 0
        self._bw_probe_up_acked = 0
        self._is_prev_precautionary = False
        self._ack_phase = ACKS_REFILLING
        self._start_round()
        self._enter(found)

    def _start_up(self) -> None:
        self.probes += 1
        self._is_bw_probe_sample = True
        self._ack_phase = ACKS_PROBE_STARTING
        self._start_round()
        self._reset_full_bw(self._rs.rate)
        self._enter(Found.ROUND)
        self._raise_slope()

    def _update_cycle(self, in_flight: int, now: int) -> None:
        """Section 5.3.3.8."""
        if self._adapt_long_term():
            return
        state = self.state
        if state == DOWN or state == CRUISE:
            if self._is_time_to_probe(now):
                self._start_refill(Found.TIME)
            elif state == DOWN and in_flight <= min(
                self._inflight_with_headroom(), self._budget(self._bdp(self.max_bw, 100))
            ):
                self._enter(Found.SPARE)
        elif state == REFILL:
            if self._round_start:
                self._start_up()
        elif state == UP and self._is_time_to_go_down(in_flight):
            self._is_prev_too_high = False
            self._start_down(Found.ENOUGH, now)

    def _is_time_to_probe(self, now: int) -> bool:
        """After some time, or when Reno would have grown by as much as one probe (section 5.3.3.7)."""
        if now > self._cycle_stamp + self._bw_probe_wait:
            return True
        return self._rounds_since_probe_up >= min(self._target_inflight() // self.mss, RENO_ROUNDS)

    def _is_time_to_go_down(self, in_flight: int) -> bool:
        """Whether the pipe is full, or what was too much before is reached: then that is enough for now."""
        before = in_flight + self._rs.acked
        if self._is_prev_too_high and before + self.mss > self.inflight_longterm:  # not one packet more would go
            self._is_prev_precautionary = True
            return True
        if self._is_limited() and self.window >= self.inflight_longterm:
            self._reset_full_bw(self._rs.rate)  # it is our own bound that holds the rate down
            return False
        return self._full_bw_now

    def _is_limited(self) -> bool:
        return self._is_cwnd_limited or self._was_cwnd_limited

    def _adapt_long_term(self) -> bool:
        """Follows which phase acks tell of, and raises what is thought safe; True if that began another probe."""
        samples = self._rs
        if self._round_start:
            if self._ack_phase == ACKS_PROBE_STARTING:
                self._ack_phase = ACKS_PROBE_FEEDBACK
            elif self._ack_phase == ACKS_PROBE_STOPPING:
                self._is_bw_probe_sample = False
                self._ack_phase = ACKS_INIT
                if self._is_cycling():
                    if not samples.is_app_limited:
                        self._advance_max_bw()
                    if self._is_prev_precautionary and not self._is_prev_too_high:
                        self._start_refill(Found.TIME)
                        return True
        if self.inflight_longterm == INFINITE or self._is_too_high():
            return False
        self.inflight_longterm = max(self.inflight_longterm, samples.in_flight)
        if self.state == UP:
            self._probe_upward()
        return False

    def _raise_slope(self) -> None:
        growth = 1 << self._bw_probe_up_rounds
        self._bw_probe_up_rounds = min(self._bw_probe_up_rounds + 1, GROWTH_ROUNDS_MAX)
        self._probe_up_acked_per_inc = max(self.window // growth, self.mss)

    def _probe_upward(self) -> None:
        """Raises the bound by 1, 2, 4, ... packets a round while it is in use (section 5.3.3.8)."""
        if not self._is_limited() or self.window < self.inflight_longterm:
            return
        self._bw_probe_up_acked += self._rs.acked
        if self._bw_probe_up_acked >= self._probe_up_acked_per_inc:
            steps = self._bw_probe_up_acked // self._probe_up_acked_per_inc
            self._bw_probe_up_acked -= steps * self._probe_up_acked_per_inc
            self.inflight_longterm += steps * self.mss
        if self._round_start:
            self._raise_slope()

    def _inflight_too_high(self, safe: int, is_app_limited: bool, now: int) -> None:
        """A probe has lost too much, from `safe` bytes in flight on; once for each probe (section 5.5.10.2)."""
        self.probes_too_high += 1
        self._is_prev_too_high = True
        self._is_bw_probe_sample = False
        if not is_app_limited:
            self.inflight_longterm = max(safe, self._target_inflight() * BETA_PERCENT // 100)
        if self.state == UP:
            self._undo_state = UP
            self._start_down(Found.ENOUGH, now)

    # ProbeRTT

    def _check_probe_rtt(self, in_flight: int, now: int) -> None:
        """Section 5.3.4.3."""
        if self.state != PROBE_RTT and self._probe_rtt_expired and not self._is_idle_restart:
            self._save_cwnd()
            self._enter(Found.STALE)
            self._probe_rtt_done_stamp = NONE
            self._ack_phase = ACKS_PROBE_STOPPING
            self._start_round()
        if self.state == PROBE_RTT:
            self._rs.on_dry(in_flight)  # what is delivered now says nothing of the path
            if self._probe_rtt_done_stamp == NONE:
                if in_flight <= self._probe_rtt_cwnd():
                    self._probe_rtt_done_stamp = now + PROBE_RTT_SPAN_NS
                    self._is_probe_rtt_round_done = False
                    self._start_round()
            else:
                if self._round_start:
                    self._is_probe_rtt_round_done = True
                if self._is_probe_rtt_round_done:
                    self._check_probe_rtt_done(now)
        if self._rs.volume > 0:
            self._is_idle_restart = False

    def _probe_rtt_cwnd(self) -> int:
        return max(self._bdp(self.bw, WINDOW_PERCENT[PROBE_RTT]), self._min_pipe())

    def _check_probe_rtt_done(self, now: int) -> None:
        if self._probe_rtt_done_stamp == NONE or now <= self._probe_rtt_done_stamp:
            return
        self._probe_rtt_min_stamp = now
        self._restore_cwnd()
        self._reset_short_term()
        if self.full_bw_reached:
            self._start_down(Found.FRESH, now)  # the clock of the cycle begins anew
        else:
            self._enter(Found.FRESH_EARLY)

    def _restart(self, now: int) -> None:
        """The first packet after a silence: at the rate, neither faster nor slower (section 5.4.1)."""
        self._is_idle_restart = True
        self._extra_start = now
        if self._is_cycling():
            self._set_pacing_rate(100)
        elif self.state == PROBE_RTT:
            self._check_probe_rtt_done(now)

    # Recovery

    def _begin_recovery(self, now: int) -> None:
        """Keeps what an undo needs (section 5.5.11.1)."""
        self._save_cwnd()
        self._is_in_recovery = True
        self._recovery_before = self._recovery
        self._recovery = now
        self._owed = 0
        self._may_undo = True
        self._undo_state = NONE
        self._undo_bw_shortterm = self.bw_shortterm
        self._undo_inflight_shortterm = self.inflight_shortterm
        self._undo_inflight_longterm = self.inflight_longterm

    def _save_cwnd(self) -> None:
        if not self._is_in_recovery and self.state != PROBE_RTT:
            self._prior_cwnd = self.window
        else:
            self._prior_cwnd = max(self._prior_cwnd, self.window)

    def _restore_cwnd(self) -> None:
        self.window = max(self.window, self._prior_cwnd)

    # Rate and window

    def _set_pacing_rate(self, gain_percent: int) -> None:
        """Section 5.6.2. Before the pipe was full it only ever grows."""
        rate = self.bw * gain_percent // 100 * MARGIN_PERCENT // 100
        if rate > self._pacing_rate or (rate and self.full_bw_reached):
            self._pacing_rate = rate

    def _budget(self, inflight: int) -> int:
        """At least what keeps batches and late acks from stopping the flow (section 5.6.4.2)."""
        inflight = max(inflight, self._quantum(self._pacing_rate), self._min_pipe())
        return inflight + 2 * self.mss if self.state == UP else inflight

    def _inflight_with_headroom(self) -> int:
        """The bound with some room for others left free."""
        if self.inflight_longterm == INFINITE:
            return INFINITE
        headroom = max(self.mss, self.inflight_longterm * HEADROOM_PERCENT // 100)
        return max(self.inflight_longterm - headroom, self._min_pipe())

    def _set_cwnd(self) -> None:
        """Section 5.6.4.6 and 5.6.4.7."""
        window = self.window
        most = self._budget(self._bdp(self.bw, self._cwnd_gain) + self.extra_acked)
        if self.full_bw_reached:
            window = min(window + self._rs.acked, most)
        elif window < most or self._rs.delivered < initial_window(self.mss):
            window += self._rs.acked
        window = max(window, self._min_pipe())
        if self.state == PROBE_RTT:
            window = min(window, self._probe_rtt_cwnd())
        cap = self.inflight_shortterm
        if self.state == PROBE_RTT or self.state == CRUISE:
            cap = min(cap, self._inflight_with_headroom())
        elif self._is_cycling():
            cap = min(cap, self.inflight_longterm)
        self.window = min(window, max(cap, self._min_pipe()), WINDOW_MAX)

    def statistics(self) -> dict[str, int]:
        """Bounds that are not set, and what is not known yet, are 0."""
        return {
            "window": self.window,
            "state": self.state,
            "pacing_rate": self._pacing_rate,
            "max_bandwidth": self.max_bw,
            "bandwidth": self.bw,
            "min_rtt_ns": 0 if self.min_rtt == INFINITE else self.min_rtt,
            "inflight_longterm": 0 if self.inflight_longterm == INFINITE else self.inflight_longterm,
            "inflight_shortterm": 0 if self.inflight_shortterm == INFINITE else self.inflight_shortterm,
            "extra_acked": self.extra_acked,
            "noise_permille": self.noise,
            "probes": self.probes,
            "probes_too_high": self.probes_too_high,
            "undone": self.undone,
            "collapses": self.collapses,
        }
