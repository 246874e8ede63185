cimport cython
from libc.stdint cimport int64_t
from transport.datagram.base cimport PeerSession
from transport.machine cimport Transmit
from transport.rudp cimport pen
from transport.rudp.session cimport RudpSession
from transport.rudp.turns cimport Exchange, TurnSession

cdef int CLOSING, CLOSED, ENDED, LINGERING, OPENING
cdef Py_ssize_t SHORT_MIN, REPLIES_MAX
cdef long long SECOND_NS, HALF_OPEN_NS


cdef class RudpEndpoint(Exchange):
    cdef public object config
    cdef public bint listening
    cdef public int worker
    cdef public object pass_on
    cdef public dict sessions
    cdef object _entropy
    cdef bytes _key
    cdef object _cookies
    cdef readonly dict _half_open, _clients, _client_keys, _lingering, _aliases
    cdef readonly list _replies
    cdef readonly dict _probing
    cdef unsigned long long _last_cid
    cdef RudpSession _last, _sole
    cdef long long _now, _second
    cdef long long _hellos, _resets
    cdef public long long strays, malformed, refused, retries_sent, resets_sent, accepts_sent, dropped_replies
    cdef public long long half_open_dropped, passed_on

    cpdef forget(self, PeerSession session)
    @cython.locals(fresh=list, session=PeerSession)
    cpdef list take_fresh(self)
    cpdef _remove(self, RudpSession session, int event)
    @cython.locals(session=RudpSession)
    cpdef receive_one(self, bytes payload, path, int ecn, long long now)
    cpdef _rested(self, RudpSession session)
    @cython.locals(touched=RudpSession, session=RudpSession, form=int, cid="unsigned long long", data=bytes)
    cpdef receive_many(self, list payloads, path, int ecn, long long now)
    cpdef _packet(self, RudpSession session, bytes data, path, int ecn, long long now)
    cpdef _after(self, RudpSession session)
    cpdef RudpSession _on_stranger(self, bytes data, cid, path, int ecn, long long now)
    @cython.locals(session=RudpSession, probing=RudpSession)
    cpdef error(self, path, int errno, long long now)
    @cython.locals(session=RudpSession, size=Py_ssize_t, data=bytes)
    cpdef bint fill(self, Transmit item, room, long long now) except? -1
    cpdef probes(self, TurnSession session)
    cpdef int64_t due(self) except? -1
    @cython.locals(session=RudpSession)
    cpdef expire(self, long long now)
