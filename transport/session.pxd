cimport cython
from libc.stdint cimport int64_t


cdef class Batch:
    cdef public int channel
    cdef public int delivery
    cdef public list payloads
    cdef public Py_ssize_t size


cdef class MessageSession:
    cdef public int state
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t flight_bytes
    cdef public Py_ssize_t blocked_bytes
    cdef public long long sent_total
    cdef public bint overtaking
    cdef public Py_ssize_t cut_bytes
    cdef public Py_ssize_t send_max
    cdef public bint uses_credit
    cdef public list batches
    cdef public bytes lone
    cdef public int lone_channel
    cdef public int lone_delivery
    cdef public bint is_awaited

    cpdef send(self, bytes payload, int channel, int delivery, int priority, long long expires_at, long long now)
    cpdef send_copies(self, bytes payload, int channel, int delivery, int priority, long long expires_at, int copies,
                      long long now)
    cpdef fence(self)
    @cython.locals(batches=list)
    cpdef list take(self)
    cpdef bint has_received(self) except? -1
    cpdef drop_received(self)
    @cython.locals(payload=bytes, batch=Batch)
    cpdef Batch join_lone(self)
    cpdef consumed(self, int channel, Py_ssize_t size, Py_ssize_t messages)
    cpdef Py_ssize_t channel_queued(self, int channel) except? -1
    cpdef int channels_max(self) except? -1
    cpdef bint wants_output(self) except? -1
    cpdef bint credit_waiting(self) except? -1
    cpdef ping(self, long long token, long long now)
    cpdef close(self, int code, str reason, long long now)
    cpdef abort(self, int code, str reason, long long now)
    cpdef events(self)
    cpdef deadline(self)
    cpdef expire(self, long long now)


cdef class ByteSession(MessageSession):
    cdef public bint is_full

    cpdef receive(self, bytes data, long long now)
    cpdef list transmit(self, long long now)
    cpdef bytearray transmit_run(self)
    cpdef recycle(self, bytearray run)
    cpdef bint pending(self) except? -1
    cpdef listening(self, bint is_reading, long long now)
    cpdef int64_t due(self) except? -1
    @cython.locals(due=cython.longlong)
    cpdef deadline(self)
