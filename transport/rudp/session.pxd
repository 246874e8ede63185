cimport cython
from libc.stdint cimport int64_t
from transport.rudp cimport pen
from transport.rudp.ecn cimport EcnValidator
from transport.rudp.located cimport Located
from transport.rudp.rtt cimport RttEstimator
from transport.rudp.sent cimport SentPacket

cdef int ASK_TRIES, CLOSE, CLOSE_BYTES, PTO_COUNT, TROUBLE_COUNT, PINGS_MAX, UNHEARD_MAX, FIXED_BIT, STREAM_CHANNEL
cdef int CLOSED, CLOSING, FLUSHING, LINGERING, OPEN, OPENING, TESTING
cdef long long LINGER_MAX_NS, ASK_NS, ASK_STEADY_NS, HUSH_NS, RARE, ANSWER
cdef Py_ssize_t FULL_BYTES, MUCH_BYTES
cdef list PUBLIC


cdef class RudpSession(Located):
    cdef public object handshake
    cdef public long long opened_at, path_errors, linger_until, closes_sent
    cdef public object streams
    cdef list _streams_due, _events
    cdef long long _asked, _answered, _pinged, _idle_ns, _keepalive_ns, _close_at
    cdef int _questions
    cdef tuple _goodbye
    cdef bint _says_close

    cpdef step(self, int event)
    cpdef gone(self, str reason)
    cpdef refuse(self, int code, str reason)
    cpdef _say(self, int code, str reason)
    cpdef _queue_frame(self, bytes frame)
    @cython.locals(made=Py_ssize_t, ecn=EcnValidator)
    cpdef Py_ssize_t fill(self, room, long long now) except? -1
    @cython.locals(made=Py_ssize_t)
    cpdef Py_ssize_t _fill(self, room, long long now) except? -1
    @cython.locals(backed="long long", number="long long", packet=SentPacket, number_bytes=int, start=Py_ssize_t,
                   pos=Py_ssize_t, text=bytes, flags=int)
    cpdef Py_ssize_t _fill_close(self, room, long long now) except? -1
    cpdef bint has_news(self) except? -1
    @cython.locals(first="long long")
    cpdef int64_t due(self) except? -1
    cpdef int64_t _idle_at(self) except? -1
    @cython.locals(is_much=bint, is_part=bint, is_amid=bint, rtt=RttEstimator, timeout="long long",
                   pause="long long", at="long long", oldest=SentPacket, overdue="long long",
                   sent_at="long long")
    cpdef int64_t _ask_at(self) except? -1
    cpdef int64_t _count(self) except? -1
    @cython.locals(count="long long")
    cpdef _ask(self, long long now)
    cpdef linger(self, long long now)


cdef long long _earlier(long long one, long long other) noexcept
