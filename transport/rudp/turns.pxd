cimport cython
from libc.stdint cimport int64_t
from transport.datagram.base cimport Endpoint, PeerSession


cdef class TurnSession(PeerSession):
    cdef public Exchange exchange
    cdef public bint is_turn
    cdef public TurnSession next_turn
    cdef public long long armed_at

    cpdef want(self)
    cpdef int64_t due(self) except? -1


cdef class Exchange(Endpoint):
    cdef public Py_ssize_t flight_bytes
    cdef TurnSession _first
    cdef TurnSession _final
    cdef readonly list _heap
    cdef long long _heap_number, _top_due
    cdef Py_ssize_t _heap_most

    cpdef take_turn(self, TurnSession session)
    cpdef probes(self, TurnSession session)
    @cython.locals(session=TurnSession)
    cpdef turn_over(self)
    @cython.locals(due="long long")
    cpdef arm(self, TurnSession session)
    @cython.locals(heap=list, entry=tuple)
    cpdef int64_t first_due(self) except? -1
    cpdef disarm(self, TurnSession session)
    cpdef _sweep(self)
    @cython.locals(heap=list, session=TurnSession, due="long long", real="long long")
    cpdef TurnSession pop_due(self, long long now)
