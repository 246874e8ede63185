cimport cython
from libc.stdint cimport int64_t
from transport.machine cimport Transmit
from transport.session cimport MessageSession

cdef int OPEN_OR_OPENING


cdef class PeerSession(MessageSession):
    cdef public object path
    cdef public long long stamp
    cdef public object seat
    cdef public bint is_ready
    cdef public bint is_flushed
    cdef public PeerSession next_ready
    cdef public PeerSession next_flushed


cdef class Endpoint:
    cdef public bint pressing
    cdef public bint is_troubled
    cdef public long long stamp
    cdef public bint is_exclusive
    cdef public list fresh_sessions
    cdef public object single_path
    cdef readonly PeerSession first_ready
    cdef PeerSession _last_ready
    cdef readonly PeerSession first_flushed
    cdef PeerSession _last_flushed

    @cython.locals(first=PeerSession)
    cpdef PeerSession sole_ready(self)
    @cython.locals(fresh=list, session=PeerSession)
    cpdef list take_fresh(self)
    @cython.locals(first=PeerSession)
    cpdef PeerSession take_ready(self)
    @cython.locals(following=PeerSession)
    cpdef PeerSession after_ready(self, PeerSession session)
    @cython.locals(first=PeerSession)
    cpdef PeerSession take_flushed(self)
    @cython.locals(following=PeerSession)
    cpdef PeerSession after_flushed(self, PeerSession session)
    cpdef ready(self, PeerSession session)
    cpdef flushed(self, PeerSession session)
    cpdef forget(self, PeerSession session)
    cpdef receive(self, data, path, int ecn, long long now)
    cpdef receive_one(self, bytes payload, path, int ecn, long long now)
    cpdef receive_many(self, list payloads, path, int ecn, long long now)
    cpdef error(self, path, int errno, long long now)
    cpdef bint fill(self, Transmit item, room, long long now) except? -1
    cpdef bytes single(self)
    cpdef single_sent(self, long long now)
    @cython.locals(item=Transmit)
    cpdef transmit(self, room, long long now)
    cpdef events(self)
    cpdef int64_t due(self) except? -1
    cpdef deadline(self)
    cpdef expire(self, long long now)
