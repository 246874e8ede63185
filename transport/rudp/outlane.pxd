cimport cython
from libc.stdint cimport int64_t
from transport.rudp cimport longs, pen
from transport.rudp.outflow cimport OutChannel, Outflow
from transport.rudp.outqueue cimport OutQueue
from transport.rudp.ranges cimport Ranges

cdef Py_ssize_t COST, KEEP, COMPACT_AT, FRAGMENT_MIN
cdef int MSG, FRAGMENT, LENGTH, SUCCESSOR
cdef long long LATE


@cython.final
cdef class OutLane(OutQueue):
    cdef public OutLane following

    cpdef bint has_new(self) except? -1
    cpdef bint has_output(self) except? -1
    cpdef bint is_idle(self) except? -1
    @cython.locals(state=OutChannel, reach="long long")
    cpdef _begin(self, Py_ssize_t cost)
    @cython.locals(payloads=list, count=Py_ssize_t, flow=Outflow, channel_bytes=int, taken=Py_ssize_t, payload=bytes,
                   size=Py_ssize_t, offset=Py_ssize_t, number="long long", follows=bint, reach="long long",
                   head=Py_ssize_t,
                   left=Py_ssize_t, last=bint, pos_after=Py_ssize_t)
    cpdef Py_ssize_t cut(self, room, Py_ssize_t pos, Py_ssize_t end, long long now, bint is_sole,
                         Py_ssize_t most) except -1
    @cython.locals(size=Py_ssize_t, offset=Py_ssize_t, head=Py_ssize_t, rest=Py_ssize_t, left=Py_ssize_t,
                   take=Py_ssize_t, length=Py_ssize_t)
    cpdef Py_ssize_t _cut_fragment(self, room, Py_ssize_t pos, Py_ssize_t end, bytes payload, long long number,
                                   bint is_sole) except -1
    @cython.locals(flags=int)
    cdef Py_ssize_t _head_of(self, room, Py_ssize_t pos, long long number, bint follows, Py_ssize_t offset,
                             Py_ssize_t total, Py_ssize_t length) except -1
    @cython.locals(reach="long long")
    cpdef Py_ssize_t put_copy(self, room, Py_ssize_t pos, long long number, bytes payload) except -1
    cpdef Py_ssize_t copy_size(self, Py_ssize_t size) except? -1
    cpdef int64_t mark(self) except? -1
    cpdef int64_t next_number(self) except? -1
    @cython.locals(marks=list, following=Py_ssize_t)
    cpdef _next_rank(self)
    @cython.locals(expires_at="long long", payload=bytes)
    cpdef bint _lapsed(self, long long now) except -1
    @cython.locals(rest=Py_ssize_t)
    cpdef _pass_rest(self, bytes payload)
    @cython.locals(payload=bytes, start="long long", end="long long")
    cpdef _give_up(self, Py_ssize_t index)
    cpdef settle(self, long long start, long long end)
    @cython.locals(payloads=list, start="long long", head=Py_ssize_t, freed=Py_ssize_t, size=Py_ssize_t, payload=bytes)
    cpdef _release(self)
    @cython.locals(payloads=list, payload=bytes)
    cpdef _release_sent(self)
    @cython.locals(head=Py_ssize_t)
    cpdef _compact(self)
    @cython.locals(before="long long", stop="long long", lost=Ranges, acked=Ranges)
    cpdef int64_t lose(self, long long start, long long end) except? -1
    cpdef bint is_settled(self, long long start, long long end) except? -1
    @cython.locals(start="long long", stop="long long", begins="long long", index=Py_ssize_t, payload=bytes)
    cpdef Py_ssize_t cut_lost(self, room, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
    @cython.locals(size=Py_ssize_t, number="long long", reach="long long", flow=Outflow, whole=bint, follows=bint,
                   head=Py_ssize_t, take=Py_ssize_t, room_left=Py_ssize_t, begins="long long")
    cpdef Py_ssize_t _cut_again(self, room, Py_ssize_t pos, Py_ssize_t end, bytes payload, Py_ssize_t index,
                                Py_ssize_t offset, Py_ssize_t stop) except -1
    cpdef bytes payload_at(self, Py_ssize_t index)
    cpdef int64_t number_at(self, Py_ssize_t index) except? -1
    cpdef clear(self)
