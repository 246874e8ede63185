cimport cython
from libc.stdint cimport int64_t
from transport.rudp cimport pen

cdef long long SECOND_NS, FAST, THRESHOLD_MAX, ACKS_PER_ROUND, SPAN_NS, DELAY_MIN_NS, DELAY_MAX_NS
cdef int THRESHOLD, REORDERING, ACK_POLICY_FRAME

@cython.locals(most="long long")
cpdef int64_t choose(long long current, long long rate, long long srtt) except? -1
@cython.locals(found="long long")
cpdef int64_t power(long long most) except? -1


@cython.final
cdef class AckPolicy:
    cdef readonly long long number, threshold, delay_us, sent
    cdef long long _since, _packets

    @cython.locals(span="long long", rate="long long")
    cpdef bint review(self, long long packets, long long srtt, long long now) except? -1
    cpdef bint reset(self, long long packets, long long now) except? -1
    @cython.locals(delay="long long")
    cpdef bint _ask(self, long long threshold, long long srtt) except? -1
    cpdef Py_ssize_t write(self, room, Py_ssize_t pos) except -1
