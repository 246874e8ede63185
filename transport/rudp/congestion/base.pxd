from libc.stdint cimport int64_t

from transport.rudp.congestion.rates cimport Mark, RateSampler

cdef int INITIAL_PACKETS, INITIAL_BYTES, MINIMUM_PACKETS

cpdef int64_t initial_window(long long mss) except? -1
cpdef int64_t minimum_window(long long mss) except? -1


cdef class Controller:
    cdef readonly str name
    cdef readonly long long mss
    cdef public long long window
    cdef readonly RateSampler samples

    cpdef int64_t rate(self, long long smoothed_rtt) except? -1
    cpdef set_mss(self, long long mss)
    cpdef on_sent(self, long long pn, long long size, long long in_flight, long long now)
    cpdef on_ack(
        self, long long acked_bytes, long long largest_sent_time, long long in_flight_before, long long latest_rtt,
        long long smoothed_rtt, long long min_rtt, long long now, long long largest_acked_pn, long long next_pn,
        bint app_limited)
    cpdef on_loss(
        self, long long largest_lost_sent_time, long long lost_bytes, long long in_flight_before, long long now)
    cpdef on_packet_lost(self, Mark mark, long long number, long long size, long long sent_time, long long now)
    cpdef on_sample(self, long long in_flight, long long now)
    cpdef on_spurious(self, long long now, long long sent_time=*, long long size=*)
    cpdef on_persistent(self, long long now)
    cpdef bint uses_ecn(self) except? -1
    cpdef on_ecn(self, long long sent_time, long long now)
