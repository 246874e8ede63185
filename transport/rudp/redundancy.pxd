cimport cython
from libc.stdint cimport int64_t

cdef int RIDES_MAX
cdef int SAMPLES
cdef long long MARGIN_NS
cdef long long OFF_MIN_NS
cdef long long OFF_MAX_NS
cdef long long START_NS
cdef long long HOLD_NS
cdef long long BYTES_PER_S
cdef long long BURST_BYTES
cdef long long PACKETS_MAX
cdef long long SECOND_NS
cdef long long ONE
cdef long long ON_ABOVE
cdef long long FADE_32
cdef int SHARP_RISES
cdef long long FULL_NS

cpdef bint is_due(long long distance, int rides) except? -1
cpdef int64_t fade(long long average, long long packets) except? -1


@cython.final
cdef class Redundancy:
    cdef public bint is_enabled
    cdef readonly int ramp
    cdef readonly long long trips
    cdef readonly long long off_until
    cdef long long _start_until
    cdef long long _hold_until
    cdef long long _average
    cdef long long _off
    cdef long long _since
    cdef int _count
    cdef long long _first
    cdef long long _second
    cdef long long _last
    cdef int _rises
    cdef long long _rise_from
    cdef bint _is_unproven
    cdef bint _is_new_step
    cdef long long _tokens
    cdef long long _filled_at

    cpdef start_low(self)
    @cython.locals(is_start=bint)
    cpdef bint is_wanted(self, long long now) except? -1
    cpdef int rides(self, long long now) except? -1
    cpdef bint spend(self, long long size, long long now) except? -1
    @cython.locals(passed=cython.longlong)
    cdef _fill(self, long long now)
    cpdef on_packets(self, long long acked, long long lost, long long now)
    cpdef int64_t loss_ppm(self) except? -1
    @cython.locals(margin=cython.longlong)
    cpdef on_rtt(self, long long sample_ns, long long min_rtt, long long variance, long long interval_ns, long long now)
    @cython.locals(growth=cython.longlong, is_queue=bint)
    cdef _judge(self, long long line, long long margin, long long now)
    cdef bint _rises_sharply(self, long long sample_ns, long long margin) except? -1
    cdef _trip(self, long long now)
    cdef _step(self, long long now)
