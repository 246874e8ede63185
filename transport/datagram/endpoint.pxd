cimport cython
from libc.stdint cimport int64_t
from transport.datagram.base cimport PeerSession
from transport.datagram.session cimport DatagramSession, Exchange
from transport.machine cimport Transmit

cdef int OPEN


cdef class DatagramEndpoint(Exchange):
    cdef public bint listening
    cdef public long long idle_ns
    cdef public Py_ssize_t peers_max
    cdef public dict sessions
    cdef public long long strays
    cdef public long long evicted
    cdef public long long too_large
    cdef DatagramSession _sole
    cdef object _last_path
    cdef DatagramSession _last
    cdef DatagramSession _oldest
    cdef DatagramSession _newest

    @cython.locals(oldest=DatagramSession, session=DatagramSession)
    cpdef DatagramSession _add(self, path, long long now)
    cpdef forget(self, PeerSession session)
    cpdef _forget(self, DatagramSession session)
    cpdef receive(self, data, path, int ecn, long long now)
    @cython.locals(session=DatagramSession)
    cpdef receive_one(self, bytes payload, path, int ecn, long long now)
    @cython.locals(size=Py_ssize_t, largest=Py_ssize_t, length=Py_ssize_t, payload=bytes, session=DatagramSession)
    cpdef receive_many(self, list payloads, path, int ecn, long long now)
    @cython.locals(session=DatagramSession)
    cpdef DatagramSession _route(self, path, long long now)
    cpdef error(self, path, int errno, long long now)
    @cython.locals(session=DatagramSession, size=Py_ssize_t)
    cpdef bint fill(self, Transmit item, room, long long now) except? -1
    @cython.locals(session=DatagramSession)
    cpdef bytes single(self)
    @cython.locals(session=DatagramSession)
    cpdef single_sent(self, long long now)
    cpdef int64_t due(self) except? -1
    cpdef expire(self, long long now)
    cpdef _link(self, DatagramSession session)
    @cython.locals(older=DatagramSession, newer=DatagramSession)
    cpdef _unlink(self, DatagramSession session)
    cpdef _refresh(self, DatagramSession session)
