cdef int INITIAL_PACKETS, INITIAL_BYTES, MINIMUM_PACKETS

cpdef long long initial_window(long long mss)
cpdef long long minimum_window(long long mss)


cdef class Controller:
    cdef readonly str name
    cdef readonly long long mss
    cdef public long long window

    cpdef long long can_send(self, long long in_flight)
    cpdef long long rate(self, long long smoothed_rtt)
    cpdef set_mss(self, long long mss)
    cpdef on_sent(self, long long pn, long long size, long long in_flight, long long now)
    cpdef on_ack(
        self, long long acked_bytes, long long largest_sent_time, long long in_flight_before, long long latest_rtt,
        long long smoothed_rtt, long long min_rtt, long long now, long long largest_acked_pn, long long next_pn,
        bint app_limited)
    cpdef on_loss(
        self, long long largest_lost_sent_time, long long lost_bytes, long long in_flight_before, long long now)
    cpdef on_spurious(self, long long now, long long sent_time=*, long long size=*)
    cpdef on_persistent(self, long long now)
    cpdef on_ecn(self, long long sent_time, long long now)
