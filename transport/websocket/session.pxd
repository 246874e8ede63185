cimport cython
from libc.stdint cimport int64_t
from transport.stream.outbox cimport Outbox
from transport.websocket.receiving cimport ReceivingHalf

cdef int HTTP, OPEN, CLOSING, CLOSED
cdef int CLOSE, PING, PONG


cdef class WebSocketSession(ReceivingHalf):
    cdef public object http
    cdef public object request
    cdef public str subprotocol
    cdef list _events
    cdef bint _eof_sent
    cdef bint _end_waits
    cdef object _broken
    cdef long long _opened
    cdef long long _heard
    cdef long long _pinged
    cdef bint _is_reading
    cdef public long long bytes_received
    cdef public long long pings_ignored

    cpdef listening(self, bint is_reading, long long now)
    cpdef receive(self, bytes data, long long now)
    cdef _receive_frames(self, bytes data)
    cdef bint _goes_on(self) except? -1
    @cython.locals(box=Outbox, run=bytearray)
    cpdef bytearray transmit_run(self)
    cpdef recycle(self, bytearray run)
    @cython.locals(box=Outbox)
    cpdef list transmit(self, long long now)
    cpdef bint pending(self) except? -1
    @cython.locals(due=cython.longlong, ping_at=cython.longlong)
    cpdef int64_t due(self) except? -1
