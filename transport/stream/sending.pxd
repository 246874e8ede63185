cimport cython
from transport.codec cimport memory
from transport.session cimport ByteSession
from transport.stream.channel cimport ChannelState
from transport.stream.outbox cimport Entry, Outbox

cdef int CLOSING
cdef Py_ssize_t COST, BY_REFERENCE_BYTES, RUN_BYTES


cdef class SendingHalf(ByteSession):
    cdef readonly object config
    cdef readonly object peer
    cdef readonly object streams
    cdef list _streams_due
    cdef Outbox _outbox
    cdef list _channels
    cdef int _peer_channels
    cdef list _blocked
    cdef Py_ssize_t _blocked_entries
    cdef long long _out_sent
    cdef long long _out_limit
    cdef public long long messages_sent
    cdef public long long blocked_count

    @cython.locals(size=Py_ssize_t, state=ChannelState, box=Outbox)
    cpdef send(self, bytes payload, int channel, int delivery, int priority, long long expires_at, long long now)
    @cython.locals(run=bytearray, head=bytes, total=Py_ssize_t)
    cdef Py_ssize_t _append(self, Outbox box, bytes payload, Py_ssize_t size, int channel, int delivery) except? -1
    @cython.locals(size=Py_ssize_t, entry=Entry)
    cdef _send_special(self, ChannelState state, bytes payload, int channel, int delivery, int priority,
                       long long expires_at)
    @cython.locals(box=Outbox, size=Py_ssize_t)
    cdef _admit(self, Entry entry, ChannelState state)
    @cython.locals(state=ChannelState, entry=Entry, channel=int, waiting=list, left=list)
    cdef _unblock(self, long long now)
    @cython.locals(state=ChannelState)
    cpdef Py_ssize_t channel_queued(self, int channel) except? -1
    @cython.locals(state=ChannelState)
    cpdef ChannelState _channel(self, int channel)
    @cython.locals(box=Outbox, entry=Entry, state=ChannelState)
    cpdef list _refund(self, list taken, long long now)
