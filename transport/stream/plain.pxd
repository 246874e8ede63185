cimport cython
from transport.session cimport Batch, MessageSession

cdef int _RELIABLE_ORDERED, _OPEN, _CLOSING, _CLOSED
cdef Py_ssize_t _BY_REFERENCE, _TAKE


cdef class Expiring:
    cdef list buffers
    cdef Py_ssize_t size
    cdef long long expires_at


cdef class PlainSession(MessageSession):
    cdef public long long messages_sent
    cdef public long long messages_received
    cdef public long long bytes_received
    cdef public long long expired
    cdef str _framing_name
    cdef object _encode
    cdef object _decoder
    cdef object _feed
    cdef Py_ssize_t _max
    cdef long long _idle
    cdef long long _active
    cdef bint _half_open
    cdef bint _input_ended
    cdef tuple _goodbye
    cdef bint _eof_sent
    cdef list _events
    cdef bytearray _run
    cdef object _queue
    cdef Py_ssize_t _expiring

    @cython.locals(size=Py_ssize_t)
    cpdef send(self, bytes payload, int channel, int delivery, int priority, long long expires_at, long long now)
    cdef Py_ssize_t _queue_parts(self, object encoded, long long expires_at) except -1
    cdef list _checked(self, object encoded)
    cdef _seal(self)
    cpdef close(self, int code, str reason, long long now)
    cpdef abort(self, int code, str reason, long long now)
    cpdef receive(self, data, long long now)
    @cython.locals(size=Py_ssize_t, count=Py_ssize_t, length=Py_ssize_t)
    cdef _deliver(self, list payloads)
    cdef _on_eof(self)
    cdef _finish(self, int code, str reason, bint by_peer)
    cdef _fail(self, int code, str reason)
    cdef _end(self, int code, str reason, bint by_peer, bint clean)
    cdef _drop(self)
    @cython.locals(out=list)
    cpdef list transmit(self, long long now)
    @cython.locals(taken=Py_ssize_t, late=Expiring)
    cdef _take_some(self, long long now, list out)
    cpdef events(self)
    cpdef deadline(self)
    cpdef expire(self, long long now)
