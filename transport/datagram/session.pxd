cimport cython
from transport cimport lists
from transport.datagram cimport room as rooms
from transport.datagram.base cimport Endpoint, PeerSession
from transport.session cimport Batch

cdef int OPEN, CLOSING, CLOSED, UNRELIABLE
cdef Py_ssize_t COMPACT_AT, QUEUE_BYTES, QUEUE_MESSAGES, INBOX_MESSAGES, FLUSH_BYTES, FLUSH_MESSAGES
cdef Py_ssize_t TRAIN_SEGMENTS, TRAIN_BYTES


cdef class Exchange(Endpoint):
    cdef public Py_ssize_t max_message
    cdef public Py_ssize_t inbox_bytes
    cdef public Py_ssize_t queued_bytes
    cdef public Py_ssize_t queued_messages
    cdef DatagramSession _first
    cdef DatagramSession _final

    cpdef queued(self, DatagramSession session, Py_ssize_t size)
    cpdef take_turn(self, DatagramSession session)
    @cython.locals(session=DatagramSession)
    cpdef _next_turn(self)
    cpdef unqueued(self, Py_ssize_t messages, Py_ssize_t size)


cdef class DatagramSession(PeerSession):
    cdef public long long seen
    cdef public int last_error
    cdef public DatagramSession older
    cdef public DatagramSession newer
    cdef public DatagramSession next_turn
    cdef public bint is_queued
    cdef public Py_ssize_t segment
    cdef Exchange _endpoint
    cdef list _queue
    cdef list _marks
    cdef Py_ssize_t _head
    cdef list _events
    cdef int _close_code
    cdef str _close_reason
    cdef long long _received
    cdef long long _sent
    cdef long long _dropped_in
    cdef long long _dropped_out
    cdef long long _expired
    cdef long long _errors

    @cython.locals(size=Py_ssize_t, queue=list)
    cpdef send(self, bytes payload, int channel, int delivery, int priority, long long expires_at, long long now)
    cpdef close(self, int code, str reason, long long now)
    cpdef abort(self, int code, str reason, long long now)
    cpdef end(self, int code, str reason, bint clean)
    cpdef clear(self)
    @cython.locals(count=Py_ssize_t, batch=Batch)
    cpdef arrived(self, list payloads, Py_ssize_t size)
    cpdef arrived_one(self, bytes payload)
    @cython.locals(queue=list, head=Py_ssize_t, count=Py_ssize_t, segment=Py_ssize_t, total=Py_ssize_t,
                   last=Py_ssize_t, most=Py_ssize_t, size=Py_ssize_t, first=bytes, item=bytes)
    cpdef Py_ssize_t fill(self, room, long long now) except? -1
    cpdef bytes sole(self)
    cpdef sole_left(self)
    @cython.locals(queue=list)
    cpdef _taken(self, Py_ssize_t last, Py_ssize_t total)
    cpdef bint has_queued(self) except? -1
    cpdef finish(self)
    cpdef failed(self, int code)
    @cython.locals(queue=list, marks=list, place=Py_ssize_t)
    cpdef _insert(self, bytes payload, int priority, long long expires_at)
    @cython.locals(expires_at=cython.longlong)
    cpdef bint _is_late(self, Py_ssize_t index, long long now) except? -1
    cpdef _expire(self, long long now)
    @cython.locals(marks=list, place=Py_ssize_t, size=Py_ssize_t)
    cpdef _drop_oldest(self)
    @cython.locals(payloads=list, count=Py_ssize_t, index=Py_ssize_t, size=Py_ssize_t)
    cpdef _drop_received(self, Batch batch)
    cpdef events(self)
    cpdef deadline(self)
    cpdef expire(self, long long now)
