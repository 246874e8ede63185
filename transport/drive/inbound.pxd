cimport cython
from transport.drive.inbox cimport Inbox
from transport.drive.outbound cimport Outbound
from transport.session cimport Batch, MessageSession

cdef int CLOSING


cdef class Inbound(Outbound):
    cdef object _decode
    cdef Py_ssize_t _inbox_high
    cdef bint _auto_pause
    cdef object _protocol
    cdef object _on_message
    cdef readonly bint made
    cdef bint _input_ended
    cdef bint _reading_paused
    cdef bint _auto_held
    cdef bint _hold
    cdef bint _leaving
    cdef bint _pipe_paused
    cdef object _held
    cdef bint _may_hold
    cdef Py_ssize_t _held_loose
    cdef Py_ssize_t _held_bytes
    cdef bint _reads_on
    cdef Inbox _inbox
    cdef dict _lanes

    @cython.locals(session=MessageSession, events=list)
    cpdef deliver(self)
    @cython.locals(payload=bytes, decoding=bint, channel=int, delivery=int)
    cdef _deliver_lone(self, MessageSession session)
    cdef bint _survives(self, error, bint decoding) except -1
    @cython.locals(batch=Batch)
    cdef _take(self, MessageSession session)
    cdef Py_ssize_t _unread(self) except? -1
    @cython.locals(old=Batch)
    cdef _hold_back(self, Batch batch)
    @cython.locals(batch=Batch)
    cdef _deliver_next(self)
    @cython.locals(payloads=list, payload=bytes, count=Py_ssize_t, index=Py_ssize_t, size=Py_ssize_t,
                   channel=object, decoding=bint)
    cdef _deliver_batch(self, Batch batch, Py_ssize_t start)
    @cython.locals(session=MessageSession)
    cpdef taken(self, bytes payload, int channel, int delivery)
    cpdef ended(self)
    cpdef wait_for(self, Inbox inbox)
