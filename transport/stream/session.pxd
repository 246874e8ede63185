cimport cython
from libc.stdint cimport int64_t
from transport.codec cimport memory, varint
from transport.session cimport Batch
from transport.stream.channel cimport ChannelState
from transport.stream.outbox cimport Outbox
from transport.stream.sending cimport SendingHalf

cdef int OPENING, OPEN, CLOSING, CLOSED
cdef int HAS_CHANNEL, DELIVERY_MASK
cdef Py_ssize_t COST
cdef long long UNBOUNDED


cdef class StreamSession(SendingHalf):
    cdef Py_ssize_t _receive_max
    cdef Py_ssize_t _overdraft
    cdef list _events
    cdef bytearray _control
    cdef list _credit_due
    cdef bint _connection_credit_due
    cdef long long _in_received
    cdef long long _in_consumed
    cdef long long _in_limit
    cdef long long _channel_half
    cdef long long _connection_half
    cdef Batch _batch
    cdef ChannelState _batch_state
    cdef bytes _tail
    cdef Py_ssize_t _need
    cdef list _parts
    cdef int _head
    cdef int _head_channel
    cdef Py_ssize_t _varint_end
    cdef long long _opened
    cdef long long _heard
    cdef long long _pinged
    cdef long long _keepalive_ns
    cdef long long _idle_ns
    cdef long long _handshake_ns
    cdef bint _preface_sent
    cdef object _goodbye
    cdef bint _goodbye_sent
    cdef bint _eof_sent
    cdef public long long messages_received
    cdef public long long bytes_received
    cdef public long long pings_ignored

    @cython.locals(state=ChannelState, window=Py_ssize_t)
    cpdef consumed(self, int channel, Py_ssize_t size, Py_ssize_t messages)
    cdef _consumed_connection(self, Py_ssize_t size)
    cpdef bint credit_waiting(self) except? -1
    cpdef receive(self, bytes data, long long now)
    @cython.locals(end=Py_ssize_t, position=Py_ssize_t, start=Py_ssize_t, head=int, channel=cython.longlong,
                   size=cython.longlong)
    cdef _parse(self, bytes data, long long now)
    @cython.locals(batch=Batch, state=ChannelState, payloads=list, before=Py_ssize_t, room=cython.longlong,
                   taken=Py_ssize_t, cost=cython.longlong, size=Py_ssize_t, start=Py_ssize_t)
    cdef Py_ssize_t _take_run(self, bytes data, Py_ssize_t position, Py_ssize_t end, int head) except? -1
    @cython.locals(size=Py_ssize_t)
    cdef int64_t _varint(self, bytes data, Py_ssize_t position, Py_ssize_t end) except? -1
    @cython.locals(kind=int)
    cdef _check_header(self, int head, long long channel, long long size)
    @cython.locals(position=Py_ssize_t)
    cdef Py_ssize_t _continue_body(self, bytes data, Py_ssize_t end) except? -1
    @cython.locals(state=ChannelState, batch=Batch)
    cdef _on_message(self, bytes payload, Py_ssize_t size, int channel, int delivery)
    @cython.locals(box=Outbox, run=bytearray)
    cpdef bytearray transmit_run(self)
    cpdef recycle(self, bytearray run)
    cpdef list transmit(self, long long now)
    cpdef bint pending(self) except? -1
    @cython.locals(due=cython.longlong, ping_at=cython.longlong)
    cpdef int64_t due(self) except? -1
