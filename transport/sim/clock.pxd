from libc.stdint cimport int64_t
cdef class SimClock:
    cdef public long long start_ns
    cdef public long long now_ns

    cpdef int64_t time_ns(self) except? -1
    cpdef advance_to(self, long long time_ns)
