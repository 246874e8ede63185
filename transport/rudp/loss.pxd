cimport cython
from libc.stdint cimport int64_t

cdef long long PACKETS_MIN
cdef long long PACKETS_MAX
cdef long long EIGHTHS_MIN
cdef long long EIGHTHS_MAX
cdef long long GRANULARITY_NS
cdef int ROUNDS


@cython.final
cdef class LossThresholds:
    cdef readonly long long packets
    cdef readonly long long eighths
    cdef int _rounds
    cdef long long _packets_needed
    cdef long long _eighths_needed

    cpdef int64_t loss_delay(self, long long latest_ns, long long smoothed_ns) except? -1
    cpdef on_spurious(self, long long displacement, long long late_ns, long long rtt_ns)
    @cython.locals(packets=cython.longlong, eighths=cython.longlong)
    cpdef on_reordered(self, long long displacement, long long late_ns, long long rtt_ns)
    cpdef on_round(self)
    cdef _begin(self)
