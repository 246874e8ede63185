cimport cython
from libc.stdint cimport int64_t

cdef int COMPLETE, DOUBTING, SEARCHING, TRIES
cdef long long BASE, RAISE_NS, WAIT_NS, NEVER


@cython.final
cdef class MtuSearch:
    cdef readonly int phase
    cdef readonly long long size, most, due, number, sent, lost, holes
    cdef long long _candidate, _tries, _failed, _forget_at, _since

    @cython.locals(reach="long long")
    cpdef int64_t next_size(self, long long window, long long now) except? -1
    @cython.locals(count=int, within=int, size="long long", index=int)
    cdef _choose(self, long long reach, long long now)
    cpdef on_sent(self, long long number)
    cpdef bint on_acked(self, long long number, long long size) except? -1
    @cython.locals(was_carried=bint)
    cpdef bint on_lost(self, long long number, long long size, long long now, long long pause) except? -1
    cpdef hurry(self, long long now)
    @cython.locals(candidate="long long")
    cpdef doubt(self, long long following)
    cpdef move(self, long long following)
    cdef _anew(self)
