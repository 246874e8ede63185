cimport cython
from libc.stdint cimport int64_t

from transport.rudp.congestion.base cimport Controller, initial_window
from transport.rudp.congestion.rates cimport RateSampler

cdef long long INFINITE, MOST, SECOND_NS, BETA_PERCENT, MIN_PIPE_PACKETS, PROBE_RTT_NS, PROBE_RTT_ROUNDS
cdef long long FULL_ROUNDS, FULL_GROWTH_PERCENT, EXTRA_ROUNDS, QUANTUM_BYTES_MAX, QUANTA_PER_S, DICE_MASK
cdef long long QUIET_PERCENT, NOISE_PACKETS, NOISE_MEMORY, NOISE_NEWS, NOISE_PERMILLE_MAX, NOISE_CHANCE, MS_NS

cpdef int64_t volume_of(long long rate, long long span_ns) except? -1


cdef class BbrModel(Controller):
    cdef readonly long long max_bw, bw_shortterm, bw, min_rtt, extra_acked
    cdef readonly long long inflight_longterm, inflight_shortterm, noise, round_count
    cdef readonly bint full_bw_reached
    cdef RateSampler _rs
    cdef long long _dice, _bw_now, _bw_before
    cdef bint _round_start
    cdef long long _next_round_delivered, _rounds_since_probe_up
    cdef bint _is_cwnd_limited, _was_cwnd_limited
    cdef bint _full_bw_now
    cdef long long _full_bw, _full_bw_count
    cdef long long _min_rtt_stamp, _probe_rtt_min_delay, _probe_rtt_min_stamp
    cdef bint _probe_rtt_expired
    cdef long long _extra_start, _extra_delivered, _extra_now, _extra_before, _extra_rounds
    cdef bint _is_loss_in_round
    cdef long long _lost_in_round, _loss_round_delivered
    cdef bint _loss_round_start
    cdef long long _bw_latest, _inflight_latest
    cdef long long _latest_rtt, _quiet_bytes, _quiet_lost, _noise_known
    cdef long long _bw_probe_wait

    @cython.locals(dice="long long")
    cdef int64_t _draw(self, long long below) except? -1
    cdef int64_t _min_pipe(self) except? -1
    cdef int64_t _quantum(self, long long rate) except? -1
    cdef int64_t _bdp(self, long long rate, long long gain_percent) except? -1
    cdef int64_t _target_inflight(self) except? -1
    cdef _start_round(self)
    cdef _update_round(self)
    @cython.locals(samples=RateSampler, rate="long long")
    cdef _update_max_bw(self)
    cdef _advance_max_bw(self)
    @cython.locals(interval="long long")
    cdef _update_min_rtt(self, long long rtt, long long now)
    @cython.locals(expected="long long", extra="long long")
    cdef _update_aggregation(self, long long now)
    cdef _reset_full_bw(self, long long rate)
    @cython.locals(samples=RateSampler)
    cdef _check_full_bw(self)
    cdef _note_loss(self, long long size)
    cdef int64_t _noise_of(self, long long size) except? -1
    cdef _hear_noise(self, long long in_flight, long long size, long long lost)
    cdef _reset_congestion_signals(self)
    cdef _reset_short_term(self)
    @cython.locals(samples=RateSampler)
    cdef _update_latest(self)
    cdef _advance_latest(self)
    cdef _lower_bounds(self)
