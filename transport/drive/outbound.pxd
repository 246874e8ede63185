cimport cython
from transport.drive.base cimport Driver
from transport.drive.waiting cimport Send, Source
from transport.session cimport MessageSession

cdef int CLOSING


cdef class Outbound(Source):
    cdef readonly object url
    cdef readonly object traits
    cdef readonly object codec
    cdef readonly object loop
    cdef bint _debug
    cdef MessageSession _session
    cdef Driver _driver
    cdef object _encode
    cdef bint _raw
    cdef int _default
    cdef int _supported
    cdef Py_ssize_t _high
    cdef Py_ssize_t _low
    cdef Py_ssize_t _hard
    cdef Py_ssize_t _blocked_high
    cdef object _closed
    cdef bint _lost
    cdef bint _writing_paused
    cdef bint _delivering
    cdef long long _sent_since
    cdef long long _answered_since
    cdef dict _writers
    cdef object _flushers
    cdef list _fences
    cdef bint _mixed
    cdef dict _pings
    cdef long long _ping_token
    cdef object _rtt
    cdef object _streams

    @cython.locals(session=MessageSession, payload=bytes, size=Py_ssize_t,
                   promise=int, expires_at=cython.longlong, rank=int,
                   number=int, waiting=Py_ssize_t, is_empty=bint)
    cpdef queue(self, message, delivery, channel, expires, priority, redundancy)
    cdef bint _above_high(self) except? -1
    @cython.locals(session=MessageSession)
    cdef Py_ssize_t _waiting(self) except? -1
    @cython.locals(session=MessageSession)
    cpdef bint must_wait(self, int channel) except? -1
    @cython.locals(session=MessageSession, outbound=Py_ssize_t)
    cpdef flushed(self)
    @cython.locals(session=MessageSession, waiting=Py_ssize_t)
    cdef bint _has_left(self, long long mark) except? -1
    cpdef add_writer(self, waiter, int channel)
    cpdef drop_writer(self, waiter)
    @cython.locals(sending=Send)
    cdef _sending(self, message, delivery, int channel, expires, priority, redundancy)
    cdef int _number(self, channel) except -1
    cdef int _promise(self, delivery) except? -1
    cdef int _copies(self, redundancy) except -1
    cpdef bint answers_pile_up(self) except? -1
    cpdef hold_answers(self)
    cpdef writing_paused(self)
    cpdef writing_resumed(self)
    cpdef end_error(self)
