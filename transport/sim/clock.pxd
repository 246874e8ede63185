cdef class SimClock:
    cdef public long long start_ns
    cdef public long long now_ns

    cpdef long long time_ns(self)
    cpdef advance_to(self, long long time_ns)
