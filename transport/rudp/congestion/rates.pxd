cimport cython
from libc.stdint cimport int64_t

cdef long long SECOND_NS, RATE_MAX, EXACT_BYTES

cpdef int64_t rate_of(long long size, long long span_ns) except? -1


cdef class Mark:
    cdef public long long delivered, lost, delivered_at, first_sent_at, in_flight
    cdef public bint is_app_limited


cdef class RateSampler:
    cdef readonly long long delivered
    cdef public long long lost
    cdef readonly long long app_limited
    cdef long long _delivered_at, _first_sent_at
    cdef readonly bint has_data
    cdef readonly long long rate, volume, lost_since, prior_delivered, in_flight
    cdef readonly bint is_app_limited
    cdef readonly long long sent_at, acked
    cdef long long _number, _prior_lost, _send_span, _ack_span

    cpdef Mark on_sent(self, Mark mark, long long size, long long in_flight, long long now)
    cpdef on_dry(self, long long in_flight)
    cpdef begin(self)
    cpdef on_acked(self, Mark mark, long long number, long long size, long long sent_at, long long now)
    @cython.locals(span="long long")
    cpdef finish(self, long long min_rtt)
