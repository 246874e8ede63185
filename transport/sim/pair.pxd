cimport cython
from libc.stdint cimport int64_t

from transport.sim.clock cimport SimClock
from transport.sim.network cimport SimNetwork
from transport.sim.side cimport ByteSide, DatagramSide, Side

cdef long long NEVER, STILL_MAX


cdef class World:
    cdef public SimNetwork network
    cdef public list sides
    cdef public long long steps
    cdef readonly long long _steps_max
    cdef long long _still
    cdef bint _stirred
    cdef Side _settled

    cpdef flush(self)
    cpdef _stir(self)
    @cython.locals(side=Side)
    cpdef _settle(self)
    @cython.locals(first="long long", due="long long", side=Side)
    cpdef int64_t next_time(self) except? -1
    cpdef bint step(self, until_ns=*) except -1
    @cython.locals(first="long long", network=SimNetwork, clock=SimClock, side=Side, acted="long long")
    cpdef bint _advance(self, long long until_ns) except -1
    cpdef _check_steps(self, long long first)


cdef class Pair(World):
    cdef public Side a
    cdef public Side b
