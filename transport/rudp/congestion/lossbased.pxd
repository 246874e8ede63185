cimport cython
from libc.stdint cimport int64_t

from transport.rudp.congestion.base cimport Controller, initial_window, minimum_window
from transport.rudp.congestion.hystart cimport HyStart

cdef long long SLOW_START_GAIN
cdef long long GAIN
cdef long long INFINITE
cdef int DONE
cdef long long MOST
cdef int SPARED_SHIFT
cdef long long QUEUE_NS


cdef class LossBased(Controller):
    cdef readonly long long cuts
    cdef readonly long long cuts_undone
    cdef readonly long long cuts_spared
    cdef readonly long long collapses
    cdef long long _beta_tenths
    cdef long long _threshold
    cdef HyStart _hystart
    cdef bint _is_initial
    cdef long long _peak
    cdef long long _peak_pn
    cdef bint _peak_is_old
    cdef bint _app_limited
    cdef long long _counted
    cdef long long _spared
    cdef long long _round_end
    cdef bint _has_queue
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
    cdef bint _used(self, long long in_flight) except? -1
    @cython.locals(window="long long")
    cdef _cut(self, long long now)
    @cython.locals(base="long long")
    cpdef on_loss(
        self, long long largest_lost_sent_time, long long lost_bytes, long long in_flight_before, long long now)
    @cython.locals(window="long long")
    cpdef on_spurious(self, long long now, long long sent_time=*, long long size=*)
    @cython.locals(window="long long")
    cpdef on_persistent(self, long long now)
    cpdef bint uses_ecn(self) except? -1
    cpdef on_ecn(self, long long sent_time, long long now)
    cdef _avoid(self, long long acked, long long since, long long smoothed_rtt)
    cdef _before_cut(self)
    cdef object _kept(self)
    cdef _put_back(self, kept, bint is_higher)
    cdef _begin_anew(self)
    cdef _forget(self)
