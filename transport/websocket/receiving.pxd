cimport cython
from transport.session cimport Batch
from transport.websocket cimport frames
from transport.websocket.sending cimport SendingHalf

cdef int OPEN, CLOSED
cdef int FIN, RSV1, RSV, OPCODE
cdef int TEXT, BINARY, CLOSE, PONG
cdef int WHOLE_TEXT, WHOLE_BINARY
cdef Py_ssize_t INFLATE_TURN, INFLATE_COST, MERGE_BYTES


cdef class ReceivingHalf(SendingHalf):
    cdef int _mask_bit
    cdef Batch _batch
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
    cdef Py_ssize_t _inflated
    cdef Py_ssize_t _receive_max
    cdef public long long messages_received

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
    cdef _on_control(self, int opcode, bytes body)
