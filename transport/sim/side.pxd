cimport cython
from libc.stdint cimport int64_t

from transport cimport lists
from transport.datagram.base cimport Endpoint
from transport.machine cimport Path, Transmit
from transport.rudp cimport pen
from transport.sim.link cimport Entry, Link
from transport.sim.network cimport Port, SimNetwork

cdef int FLUSH_MAX
cdef Py_ssize_t ROOM_BYTES


cdef class Side:
    cdef public object name
    cdef public object machine
    cdef public SimNetwork network
    cdef public list events
    cdef public list batches
    cdef public object on_input
    cdef public bint consumes
    cdef public long long wakes
    cdef public long long next_due
    cdef object _clock
    cdef bint _session

    cpdef int64_t now(self) except? -1
    @cython.locals(due="long long")
    cpdef int64_t due(self) except? -1
    @cython.locals(now="long long", inbox=list, expired=bint)
    cpdef bint wake(self) except -1
    cpdef settle(self)
    cpdef _check_deadline(self, long long now, before)
    @cython.locals(batches=list)
    cpdef collect(self)
    cpdef list inbox(self)
    cpdef _receive(self, list inbox, long long now)
    cpdef flush(self)


cdef class DatagramSide(Side):
    cdef public list ports
    cdef public object peer
    cdef object _room
    cdef object _known
    cdef Endpoint _endpoint
    cdef bint _tells
    cdef Transmit _item

    @cython.locals(port=Port, found=list)
    cpdef list inbox(self)
    @cython.locals(port=Port, entry=tuple)
    cpdef _receive(self, list inbox, long long now)
    cpdef Endpoint _peers(self)
    @cython.locals(endpoint=Endpoint, due="long long", there="long long")
    cpdef int64_t due(self) except? -1
    @cython.locals(endpoint=Endpoint, came=bint, port=Port, now="long long", due="long long", expired=bint)
    cpdef bint wake(self) except -1
    @cython.locals(inbox=list, count=Py_ssize_t, start=Py_ssize_t, entry=Entry, ecn=int, payloads=list,
                   following=Entry)
    cpdef _deliver(self, Endpoint endpoint, Port port, long long now)
    cpdef collect(self)
    @cython.locals(now="long long", endpoint=Endpoint, item=Transmit)
    cpdef flush(self)
    @cython.locals(size=Py_ssize_t, segment=Py_ssize_t, path=Path, port=Port, start=Py_ssize_t, end=Py_ssize_t)
    cpdef _send(self, Transmit batch)
    @cython.locals(port=Port, first=Port)
    cpdef Port _port(self, local)


cdef class ByteSide(Side):
    cdef public Port port
    cdef public ByteSide other
    cdef public bint reading
    cdef public Py_ssize_t unsent_bytes
    cdef Link _link
    cdef object _target
    cdef object _chunks
    cdef object _draw
    cdef Py_ssize_t _window
    cdef object _unsent
    cdef Py_ssize_t _offset
    cdef long long _taken_bytes
    cdef bint _ended
    cdef bint _cut

    cpdef list inbox(self)
    @cython.locals(woken=bint)
    cpdef bint wake(self) except -1
    @cython.locals(data=bytes)
    cpdef _receive(self, list inbox, long long now)
    @cython.locals(now="long long", due="long long", opens="long long")
    cpdef int64_t due(self) except? -1
    @cython.locals(now="long long")
    cpdef flush(self)
    @cython.locals(data=bytes)
    cpdef _take(self, buffers)
    @cython.locals(now="long long", data=bytes, size=Py_ssize_t)
    cpdef _push(self)
    @cython.locals(room="long long")
    cpdef int64_t _piece(self, long long now) except? -1
    cpdef _send(self, bytes data)
    cpdef cut(self)
