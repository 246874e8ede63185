cimport cython
from transport.rudp cimport pen
from transport.rudp.ranges cimport AckRanges

cdef int THRESHOLD, RIDE_THRESHOLD, ACK, ACK_ECN
cdef long long THRESHOLD_MAX
cdef long long DELAY_MIN_NS, DELAY_MAX_NS, RIDE_NS
cdef Py_ssize_t SENT_RANGES


@cython.final
cdef class AckState:
    cdef public AckRanges ranges
    cdef public int eliciting
    cdef public bint is_due
    cdef public long long due_at, sent, ect0, ect1, ce, own_every
    cdef readonly long long threshold, delay_most, reordering, policies
    cdef long long _largest_at, _own_at, _policy, _told

    @cython.locals(due="long long", threshold="long long")
    cpdef came(self, long long number, bint is_eliciting, bint is_in_order, long long now, long long srtt)
    @cython.locals(ranges=AckRanges, behind="long long", first="long long", i=Py_ssize_t, missing="long long")
    cpdef bint _is_missing(self) except? -1
    cpdef obey(self, long long number, long long threshold, long long delay_us, long long reordering)
    cpdef came_again(self)
    cpdef ask(self)
    cpdef marked(self, int ecn, bint is_eliciting)
    @cython.locals(every="long long")
    cpdef own_data(self, long long now)
    cpdef bint must_send(self, long long now) except? -1
    cpdef bint wants(self) except? -1
    @cython.locals(ranges=AckRanges, count=Py_ssize_t, start="long long", delay="long long", fits=Py_ssize_t,
                   size=Py_ssize_t, left=Py_ssize_t, low="long long", high="long long", is_marked=bint, i=Py_ssize_t)
    cpdef Py_ssize_t write(self, room, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
