cimport cython
from libc.stdint cimport int64_t

cdef long long RISE_MIN_NS
cdef long long RISE_MAX_NS
cdef long long INFINITE
cdef int RISE_DIVISOR, SAMPLES, GROWTH_DIVISOR, CAREFUL_ROUNDS, CAREFUL, DONE, SLOW_START


@cython.final
cdef class HyStart:
    cdef readonly int phase
    cdef long long _largest
    cdef long long _round_end
    cdef long long _least
    cdef long long _least_before
    cdef long long _samples
    cdef long long _baseline
    cdef int _careful_rounds

    cpdef int64_t growth(self, long long acked_bytes) except? -1
    @cython.locals(rise="long long")
    cpdef on_ack(self, long long rtt, long long largest_acked_pn, long long next_pn, bint is_limited)
    cdef _begin_round(self, long long next_pn, bint is_limited)
