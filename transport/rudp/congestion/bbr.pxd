cimport cython
from libc.stdint cimport int64_t

from transport.rudp.congestion.base cimport initial_window, minimum_window
from transport.rudp.congestion.bbrmodel cimport BbrModel
from transport.rudp.congestion.rates cimport Mark, RateSampler

cdef long long INFINITE, WINDOW_MAX, SECOND_NS, MARGIN_PERCENT, LOSS_PERCENT, BETA_PERCENT, HEADROOM_PERCENT
cdef long long FULL_LOSSES, FULL_MARKED_ROUNDS, DRAIN_ROUNDS, RENO_ROUNDS, PROBE_WAIT_NS, PROBE_WAIT_MORE_NS
cdef long long PROBE_RTT_SPAN_NS, GROWTH_ROUNDS_MAX, NONE
cdef int ACKS_INIT, ACKS_REFILLING, ACKS_PROBE_STARTING, ACKS_PROBE_FEEDBACK, ACKS_PROBE_STOPPING
cdef int CRUISE, DOWN, DRAIN, PROBE_RTT, REFILL, STARTUP, UP


cdef class Bbr(BbrModel):
    cdef readonly int state
    cdef readonly long long probes, probes_too_high, undone, collapses
    cdef long long _pacing_gain, _cwnd_gain, _pacing_rate
    cdef bint _is_idle_restart
    cdef long long _drain_start_round
    cdef int _ack_phase
    cdef long long _cycle_stamp
    cdef bint _is_bw_probe_sample, _is_prev_too_high, _is_prev_precautionary
    cdef long long _bw_probe_up_rounds, _bw_probe_up_acked, _probe_up_acked_per_inc
    cdef long long _probe_rtt_done_stamp
    cdef bint _is_probe_rtt_round_done
    cdef long long _loss_events, _last_lost
    cdef bint _is_marked, _is_marked_in_round
    cdef long long _marked_rounds, _prior_cwnd
    cdef bint _is_in_recovery
    cdef long long _recovery, _recovery_before, _owed
    cdef bint _may_undo
    cdef int _undo_state
    cdef long long _undo_bw_shortterm, _undo_inflight_shortterm, _undo_inflight_longterm

    cpdef int64_t rate(self, long long smoothed_rtt) except? -1
    cpdef set_mss(self, long long mss)
    cpdef on_sent(self, long long pn, long long size, long long in_flight, long long now)
    @cython.locals(lost="long long", before="long long", spare="long long",
                   safe="long long")
    cpdef on_packet_lost(self, Mark mark, long long number, long long size, long long sent_time, long long now)
    @cython.locals(samples=RateSampler, rtt="long long")
    cpdef on_sample(self, long long in_flight, long long now)
    cpdef on_spurious(self, long long now, long long sent_time=*, long long size=*)
    cpdef on_persistent(self, long long now)
    cpdef bint uses_ecn(self) except? -1
    cpdef on_ecn(self, long long sent_time, long long now)
    cdef _enter(self, found)
    cdef bint _is_probing(self) except? -1
    cdef bint _is_cycling(self) except? -1
    @cython.locals(in_flight="long long")
    cdef bint _is_too_high(self) except? -1
    cdef bint _is_just_noise(self) except? -1
    cdef _update_marks(self, long long now)
    @cython.locals(lossy=bint)
    cdef _check_startup(self, long long now)
    @cython.locals(is_late=bint)
    cdef _check_drain(self, long long in_flight, long long now)
    cdef _start_down(self, found, long long now)
    cdef _start_refill(self, found)
    cdef _start_up(self)
    @cython.locals(state=int)
    cdef _update_cycle(self, long long in_flight, long long now)
    cdef bint _is_time_to_probe(self, long long now) except? -1
    @cython.locals(before="long long")
    cdef bint _is_time_to_go_down(self, long long in_flight) except? -1
    cdef bint _is_limited(self) except? -1
    @cython.locals(samples=RateSampler)
    cdef bint _adapt_long_term(self) except? -1
    @cython.locals(growth="long long")
    cdef _raise_slope(self)
    @cython.locals(steps="long long")
    cdef _probe_upward(self)
    cdef _inflight_too_high(self, long long safe, bint is_app_limited, long long now)
    cdef _check_probe_rtt(self, long long in_flight, long long now)
    cdef int64_t _probe_rtt_cwnd(self) except? -1
    cdef _check_probe_rtt_done(self, long long now)
    cdef _restart(self, long long now)
    cdef _begin_recovery(self, long long now)
    cdef _save_cwnd(self)
    cdef _restore_cwnd(self)
    @cython.locals(rate="long long")
    cdef _set_pacing_rate(self, long long gain_percent)
    cdef int64_t _budget(self, long long inflight) except? -1
    @cython.locals(headroom="long long")
    cdef int64_t _inflight_with_headroom(self) except? -1
    @cython.locals(window="long long", most="long long", cap="long long")
    cdef _set_cwnd(self)
