cimport cython
from libc.stdint cimport int64_t
from transport.session cimport Batch
from transport.stream.outbox cimport Outbox
from transport.websocket cimport frames
from transport.websocket.sending cimport SendingHalf

cdef int HTTP, OPEN, CLOSING, CLOSED
cdef int FIN, RSV1, RSV, OPCODE
cdef int TEXT, BINARY, PING, PONG
cdef int WHOLE_TEXT, WHOLE_BINARY
cdef Py_ssize_t MERGE_BYTES


cdef class WebSocketSession(SendingHalf):
    cdef public object http
    cdef public object request
    cdef public str subprotocol
    cdef int _mask_bit
    cdef list _events
    cdef Batch _batch
    cdef bint _eof_sent
    cdef bytes _tail
    cdef Py_ssize_t _need
    cdef int _frame_head
    cdef long long _frame_size
    cdef long long _key
    cdef Py_ssize_t _phase
    cdef int _opcode
    cdef bint _compressed
    cdef list _parts
    cdef Py_ssize_t _size
    cdef bytes _control_body
    cdef object _utf8
    cdef object _decompressor
    cdef Py_ssize_t _receive_max
    cdef long long _opened
    cdef long long _heard
    cdef long long _pinged
    cdef bint _is_reading
    cdef public long long messages_received
    cdef public long long bytes_received
    cdef public long long pings_ignored

    cpdef listening(self, bint is_reading, long long now)
    cpdef receive(self, bytes data, long long now)
    cdef _receive_frames(self, bytes data)
    @cython.locals(end=Py_ssize_t, position=Py_ssize_t, start=Py_ssize_t, head=int, size=cython.longlong,
                   key=cython.longlong, payload=bytes)
    cdef _parse(self, bytes data)
    @cython.locals(width=int, size=cython.longlong, index=int)
    cdef Py_ssize_t _read_size(self, bytes data, Py_ssize_t position, Py_ssize_t end, int kind) except? -2
    @cython.locals(opcode=int, rsv=int)
    cdef _check_head(self, int head, int second)
    @cython.locals(most=cython.longlong)
    cdef _check_size(self, int head, long long size)
    @cython.locals(stop=Py_ssize_t, piece=bytes, head=int)
    cdef Py_ssize_t _continue_body(self, bytes data, Py_ssize_t position, Py_ssize_t end) except? -1
    cdef _check_text(self, bytes piece, bint is_last)
    cdef _add_piece(self, bytes piece)
    @cython.locals(opcode=int)
    cdef _on_whole(self)
    @cython.locals(batch=Batch)
    cdef _on_message(self, bytes payload, Py_ssize_t size)
    @cython.locals(box=Outbox, run=bytearray)
    cpdef bytearray transmit_run(self)
    cpdef recycle(self, bytearray run)
    @cython.locals(box=Outbox)
    cpdef list transmit(self, long long now)
    cpdef bint pending(self) except? -1
    @cython.locals(due=cython.longlong, ping_at=cython.longlong)
    cpdef int64_t due(self) except? -1
