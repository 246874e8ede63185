cimport cython
from libc.stdint cimport int64_t

from transport.rudp.congestion.base cimport Controller, initial_window, minimum_window
from transport.rudp.congestion.hystart cimport HyStart

cdef double C, CONVERGENCE, ALPHA, GROWTH_MAX, SECOND
cdef long long BETA_TENTHS
cdef long long SLOW_START_GAIN
cdef long long GAIN
cdef long long INFINITE
cdef int DONE
cdef long long MOST


@cython.locals(scale=double, root=double)
cpdef double cube_root(double value)


cdef class Cubic(Controller):
    cdef readonly long long cuts
    cdef readonly long long cuts_undone
    cdef readonly long long cuts_spared
    cdef readonly long long collapses
    cdef long long _threshold
    cdef HyStart _hystart
    cdef bint _is_initial
    cdef long long _peak
    cdef long long _peak_pn
    cdef bint _peak_is_old
    cdef bint _app_limited
    cdef bint _in_epoch
    cdef long long _elapsed
    cdef long long _counted
    cdef double _origin
    cdef double _w_max
    cdef double _w_est
    cdef double _prior
    cdef double _fraction
    cdef long long _recovery
    cdef long long _recovery_before
    cdef long long _owed
    cdef tuple _undo

    cpdef int64_t rate(self, long long smoothed_rtt) except? -1
    cpdef set_mss(self, long long mss)
    cpdef on_sent(self, long long pn, long long size, long long in_flight, long long now)
    @cython.locals(used="long long", since="long long", grown="long long", is_limited=bint)
    cpdef on_ack(
        self, long long acked_bytes, long long largest_sent_time, long long in_flight_before, long long latest_rtt,
        long long smoothed_rtt, long long min_rtt, long long now, long long largest_acked_pn, long long next_pn,
        bint app_limited)
    @cython.locals(window="long long")
    cdef bint _is_limited(self, long long used, bint app_limited) except? -1
    @cython.locals(steep=double, window=double, share=double, alpha=double, time=double, target=double, grown=double)
    cdef _avoid(self, long long acked, long long since, long long smoothed_rtt)
    @cython.locals(window=double)
    cdef _begin_epoch(self, double steep)
    cdef bint _used(self, long long in_flight) except? -1
    @cython.locals(window="long long")
    cdef _cut(self, long long now)
    cpdef on_loss(
        self, long long largest_lost_sent_time, long long lost_bytes, long long in_flight_before, long long now)
    @cython.locals(window="long long", in_epoch=bint)
    cpdef on_spurious(self, long long now, long long sent_time=*, long long size=*)
    @cython.locals(window="long long")
    cpdef on_persistent(self, long long now)
    cpdef on_ecn(self, long long sent_time, long long now)
