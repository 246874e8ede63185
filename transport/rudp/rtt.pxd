cimport cython
from libc.stdint cimport int64_t

cdef long long GRANULARITY_NS
cdef long long RTT_MAX_NS


@cython.final
cdef class RttEstimator:
    cdef readonly long long latest
    cdef readonly long long smoothed
    cdef readonly long long variance
    cdef readonly long long minimum
    cdef readonly long long samples

    cpdef reset(self, long long initial_ns)
    cpdef forget_minimum(self)
    @cython.locals(deviation=cython.longlong)
    cpdef update(self, long long sample_ns, long long ack_delay_ns)
    cpdef int64_t probe_timeout(self, long long max_ack_delay_ns) except? -1
