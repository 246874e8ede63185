cimport cython
from transport.session cimport ByteSession
from transport.stream.outbox cimport Entry, Outbox
from transport.websocket cimport frames

cdef int CLOSING
cdef int FIN, RSV1
cdef Py_ssize_t KEYS_BYTES, REFERENCE_BYTES, SEAL_BYTES


cdef class SendingHalf(ByteSession):
    cdef readonly object config
    cdef object _entropy
    cdef bint _masks
    cdef Outbox _outbox
    cdef bytearray _control
    cdef int _head
    cdef bint _is_text
    cdef bint _kinds
    cdef Py_ssize_t _fragment
    cdef object _compressor
    cdef bytes _keys
    cdef Py_ssize_t _keys_at
    cdef object _goodbye
    cdef bint _goodbye_sent
    cdef public long long messages_sent

    @cython.locals(box=Outbox, size=Py_ssize_t)
    cpdef send(self, bytes payload, int channel, int delivery, int priority, long long expires_at, long long now)
    @cython.locals(key=cython.longlong, start=bytes, total=Py_ssize_t)
    cdef Py_ssize_t _append(self, Outbox box, bytes payload, Py_ssize_t size, int head) except? -1
    @cython.locals(at=Py_ssize_t, keys=bytes, key=cython.longlong)
    cdef long long _next_key(self) except? -1
    @cython.locals(box=Outbox, entry=Entry)
    cdef _send_special(self, bytes payload, int delivery, int priority, long long expires_at)
    @cython.locals(head=int)
    cdef Py_ssize_t _append_whole(self, Outbox box, bytes payload) except? -1
    @cython.locals(size=Py_ssize_t, step=Py_ssize_t, at=Py_ssize_t, end=Py_ssize_t, key=cython.longlong)
    cdef tuple _wire(self, bytes payload, int head)
    cdef _say(self, int opcode, bytes body)
    cpdef ping(self, long long token, long long now)
