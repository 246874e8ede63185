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
    cdef object _last_remote
    cdef object _last_path
    cdef object last_target
    cdef Link last_link
    cdef long long last_version

    @cython.locals(inbox=list, entry=Entry)
    cpdef list take(self)
    cpdef path(self, object remote)
    cdef _path(self, object remote)


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
    cdef long long _version
    cdef public dict links

    @cython.locals(holder=Port, link=Link)
    cpdef int send(self, Port port, object target, bytes data, int ecn=*) except -1
    cpdef int64_t next_time(self) except? -1
    cdef _set_name(self, object address, Port port)
    cpdef list pump(self)
    @cython.locals(now="long long", actions=int, entry=Entry)
    cpdef arrive(self, list touched)
    @cython.locals(link=Link, port=Port, inbox=list)
    cdef _arrive(self, Entry entry, list touched)
