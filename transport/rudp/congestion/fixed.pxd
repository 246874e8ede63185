cimport cython
from libc.stdint cimport int64_t

from transport.rudp.congestion.base cimport Controller, initial_window

cdef long long MOST
cdef long long SECOND_NS
cdef long long SLACK_NS
cdef int ROUNDS


cdef class Fixed(Controller):
    cdef long long _rate
    cdef long long _smoothed

    @cython.locals(span="long long")
    cdef _resize(self)
    cpdef int64_t rate(self, long long smoothed_rtt) except? -1
    cpdef set_mss(self, long long mss)
    cpdef on_ack(
        self, long long acked_bytes, long long largest_sent_time, long long in_flight_before, long long latest_rtt,
        long long smoothed_rtt, long long min_rtt, long long now, long long largest_acked_pn, long long next_pn,
        bint app_limited)
