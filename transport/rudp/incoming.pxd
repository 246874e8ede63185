cimport cython
from libc.stdint cimport int64_t
from transport.rudp cimport pen
from transport.rudp.acks cimport AckState
from transport.rudp.inlane cimport Assembly, InChannel, InFlow, InLane, Unfinished
from transport.rudp.outflow cimport OutChannel
from transport.rudp.ranges cimport AckRanges
from transport.rudp.recovery cimport Recovery
from transport.session cimport Batch

cdef Py_ssize_t COST, LOOSE_MAX, GAPS_MAX, SKIPS_MAX, REASON_MAX, HIDDEN_BYTES, FRAME_MAX, CHECKSUM_BYTES
cdef long long LOOSE_UNFINISHED_BYTES
cdef int PAD, PING, ACK, ACK_ECN, ACK_POLICY, SKIP, CONNECTION_CREDIT, CHANNEL_CREDIT, BLOCKED, CLOSE
cdef int MSG, FRAGMENT, LENGTH, SUCCESSOR, STREAM_CHANNEL, OPEN, CLOSED
cdef int NEW_CID, PATH_CHALLENGE, PATH_RESPONSE, RETIRE_CID


cdef class Incoming(Recovery):
    cdef readonly dict _in_lanes, _in_channels
    cdef Unfinished _unfinished
    cdef InLane _in_last, _in_before
    cdef long long _in_number
    cdef InChannel _in_state
    cdef Batch _batch
    cdef Py_ssize_t _receive_max
    cdef bint _has_no_room, _has_words
    cdef int _own_channels
    cdef long long _start_window
    cdef readonly long long _lent
    cdef public Py_ssize_t last_bytes
    cdef long long _spacing
    cdef public long long heard, messages_received, packets_received, bytes_received
    cdef public long long packets_duplicate, packets_corrupt, packets_refused

    cpdef batch_over(self)
    @cython.locals(size=Py_ssize_t, flags=int, number_bytes=int, pos=Py_ssize_t, end=Py_ssize_t, acks=AckState,
                   ranges=AckRanges, number="long long", is_eliciting=bint, is_in_order=bint)
    cpdef bint receive_packet(self, bytes data, path, int ecn, long long now) except -1
    cpdef bint _drop_packet(self, bytes data, str why, long long now) except -1
    cpdef came_by(self, path, long long number, Py_ssize_t size, long long now)
    cpdef repeat_close(self)
    cpdef fail(self, int code, str reason, long long now)
    @cython.locals(is_eliciting=bint, has_credit=bint, kind=int, limit="long long")
    cpdef bint _parse(self, bytes data, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
    @cython.locals(channel="long long", limit="long long", state=OutChannel)
    cpdef Py_ssize_t _on_channel_credit(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    @cython.locals(number="long long", threshold="long long", delay_us="long long", reordering="long long")
    cpdef Py_ssize_t _on_policy(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    cpdef Py_ssize_t on_path_frame(self, int kind, bytes data, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
    @cython.locals(code="long long", size="long long")
    cpdef Py_ssize_t _read_close(self, bytes data, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
    cpdef on_close(self, int code, str reason, long long now)
    @cython.locals(lane=InLane, number="long long", channel="long long", size="long long", offset="long long",
                   total="long long", stop=Py_ssize_t)
    cpdef Py_ssize_t _on_message(self, bytes data, Py_ssize_t pos, Py_ssize_t end, int kind) except -1
    cpdef Py_ssize_t _size_max(self, InLane lane) except? -1
    @cython.locals(last=InLane, lane=InLane)
    cpdef InLane _in_lane(self, long long channel, int delivery)
    @cython.locals(state=InChannel)
    cpdef InChannel _in_channel(self, long long channel)
    @cython.locals(delivery=int)
    cpdef _on_whole(self, InLane lane, long long number, bytes data, Py_ssize_t pos, Py_ssize_t stop)
    @cython.locals(size=Py_ssize_t, partial=Assembly)
    cpdef _on_unusual(self, InLane lane, long long number, bytes data, Py_ssize_t pos, Py_ssize_t stop)
    cpdef bint _has_room(self, InLane lane, long long number, Py_ssize_t size) except -1
    cpdef _arrived(self, InLane lane, long long number, bytes payload, Py_ssize_t size)
    @cython.locals(waiting=bytes)
    cpdef _deliver_early(self, InLane lane)
    @cython.locals(state=InChannel, flow=InFlow)
    cpdef _charge(self, Py_ssize_t size)
    @cython.locals(batch=Batch)
    cpdef _deliver(self, InLane lane, bytes payload, Py_ssize_t size)
    cpdef on_stream_frame(self, bytes frame)
    @cython.locals(size=Py_ssize_t, assembly=Assembly)
    cpdef _on_fragment(self, InLane lane, long long number, bytes data, Py_ssize_t pos, Py_ssize_t stop,
                       long long offset,
                       long long total)
    @cython.locals(lane=InLane, count=Py_ssize_t, half="long long")
    cpdef _give_up_fragments(self)
    @cython.locals(key="long long", count="long long", lane=InLane, state=InChannel, number="long long",
                   cost="long long",
                   has_begun=bint, partial=Assembly)
    cpdef Py_ssize_t _on_skip(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
    @cython.locals(state=InChannel)
    cpdef consumed(self, int channel, Py_ssize_t size, Py_ssize_t messages)
    @cython.locals(flow=InFlow)
    cpdef _consume(self, InChannel state, Py_ssize_t cost)
    @cython.locals(loan="long long")
    cpdef int64_t _loan(self, InChannel state) except? -1
    @cython.locals(loan="long long", limit="long long", share="long long")
    cpdef _extend_channel(self, InChannel state)
    @cython.locals(flow=InFlow, parked="long long", limit="long long")
    cpdef _extend_connection(self)
    cpdef _tune(self, InFlow flow)
    @cython.locals(which="long long", needed="long long", flow=InFlow, window="long long", one="long long",
                   most="long long")
    cpdef Py_ssize_t _on_blocked(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except -1
