cimport cython
from libc.stdint cimport int64_t
from transport.rudp.outlane cimport OutLane

cdef int RANKS, RANK_0


@cython.final
cdef class Schedule:
    cdef public Py_ssize_t count
    cdef list _heads, _tails
    cdef int _top
    cdef OutLane _front

    cpdef add(self, OutLane lane)
    @cython.locals(rank=int, tail=OutLane)
    cpdef _append(self, OutLane lane)
    cpdef remove(self, OutLane lane)
    @cython.locals(rank=int, before=OutLane, item=OutLane)
    cpdef _unlink(self, OutLane lane)
    cpdef bint refresh(self, OutLane lane) except? -1
    @cython.locals(lane=OutLane)
    cpdef OutLane first(self)
    cpdef turn_over(self, OutLane lane)
    @cython.locals(total="long long", rank=int, lane=OutLane)
    cpdef int64_t waiting(self) except? -1
    @cython.locals(lane=OutLane)
    cpdef clear(self)
