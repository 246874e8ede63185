cimport cython
from libc.stdint cimport int64_t

from transport.sim.clock cimport SimClock
from transport.sim.link cimport Entry, Flight, Link
from transport.sim.trace cimport Trace

cdef int UNREACHABLE


cdef class Port:
    cdef public object address
    cdef public object public
    cdef public object owner
    cdef public list inbox
    cdef public dict links
    cdef public dict paths

    @cython.locals(inbox=list)
    cpdef list take(self)
    cpdef path(self, object remote)


cdef class SimNetwork:
    cdef public object seed
    cdef public object default
    cdef public SimClock clock
    cdef public Trace trace
    cdef public Flight flight
    cdef public Py_ssize_t events_max
    cdef public long long start_ns
    cdef public long long unreachable
    cdef public long long acted
    cdef dict _names
    cdef public dict links

    @cython.locals(holder=Port, link=Link)
    cpdef int send(self, Port port, object target, bytes data, int ecn=*) except -1
    cpdef int64_t next_time(self) except? -1
    @cython.locals(now="long long", touched=list, actions=int, entry=Entry)
    cpdef list pump(self)
    @cython.locals(link=Link, port=Port, inbox=list)
    cdef _arrive(self, Entry entry, list touched)
