cimport cython
from libc.stdint cimport int64_t
from transport cimport lists
from transport.rudp cimport pen
from transport.rudp.accepting cimport Accepting
from transport.rudp.ackpolicy cimport AckPolicy
from transport.rudp.acks cimport AckState
from transport.rudp.congestion.base cimport Controller
from transport.rudp.congestion.rates cimport RateSampler
from transport.rudp.ecn cimport EcnValidator
from transport.rudp.inlane cimport InChannel, InFlow
from transport.rudp.mtu cimport MtuSearch
from transport.rudp.outflow cimport OutChannel, Outflow
from transport.rudp.outlane cimport OutLane
from transport.rudp.pacer cimport Pacer
from transport.rudp.redundancy cimport Redundancy, is_due
from transport.rudp.rtt cimport RttEstimator
from transport.rudp.schedule cimport Schedule
from transport.rudp.sent cimport Item, Rider, SentPacket, SentRing, SkipRecord
from transport.rudp.turns cimport Exchange

cdef int BLOCKED, OPEN, CREDIT, PING, POLICY, QUIET, SENT, SKIPPED
cdef Py_ssize_t FRAME_BYTES
cdef Py_ssize_t CHECKSUM_BYTES, TRAIN_BYTES, CONTROL_BYTES, PAD_MAX, RIDER_BYTES, RIDERS_MAX
cdef Py_ssize_t BASE, THIN_ROOM
cdef int FIXED_BIT, COPIES_BIT, PING_FRAME, SKIP_FRAME, CONNECTION_CREDIT_FRAME, CHANNEL_CREDIT_FRAME, BLOCKED_FRAME
cdef Py_ssize_t TINY_BYTES
cdef int RIDES_MAX, TINY_RIDES, SEGMENTS_MAX, ACK_ONLY_MAX
cdef long long SKIP_EVERY, LATE_FLIGHTS
cdef Py_ssize_t SKIPS_PER_FRAME
cdef int ACK_THRESHOLD, BURST_PACKETS, QUANTA_PER_S


cdef class Sending(Accepting):
    cdef public unsigned long long own_cid, peer_cid, addressed
    cdef public Py_ssize_t mtu, segment, answerable
    cdef public MtuSearch search
    cdef public bint wants_probe
    cdef public EcnValidator ecn
    cdef public int mark
    cdef public long long in_flight, copied
    cdef public bint is_app_limited, has_probes, ids_due, policy_due
    cdef public AckPolicy policy
    cdef public int checksum_kind
    cdef public RttEstimator rtt
    cdef public Controller controller
    cdef public Pacer pacer
    cdef public Redundancy redundancy
    cdef public AckState acks
    cdef public SentRing ring
    cdef readonly list _riders
    cdef list _credit_due
    cdef readonly InFlow _in_flow
    cdef long long _blocked_told
    cdef list _pings
    cdef int _probes
    cdef long long _largest_acked, _eliciting_at, _data_packets, _skip_at, _pace_at
    cdef bytes _dice
    cdef int _ack_only
    cdef bint _is_ping_due, _is_question
    cdef bint _has_skips
    cdef public long long packets_sent, bytes_sent, copies_sent, copy_bytes, copies_saved, probes_sent

    @cython.locals(size=Py_ssize_t, mtu=Py_ssize_t, window="long long", rate="long long", at="long long",
                   total=Py_ssize_t, count=int, made=Py_ssize_t, samples=RateSampler)
    cpdef Py_ssize_t fill_packets(self, room, long long now) except? -1
    cpdef int64_t _burst(self, long long rate) except? -1
    @cython.locals(quantum="long long")
    cpdef int64_t _quantum(self, long long rate, Py_ssize_t mtu) except? -1
    @cython.locals(flow=Outflow)
    cpdef _look_dry(self, RateSampler samples)
    @cython.locals(window="long long")
    cpdef int64_t _window_room(self, Py_ssize_t mtu) except? -1
    @cython.locals(has_data=bint, is_probe=bint, acks=AckState, has_control=bint, number="long long", number_bytes=int,
                   start=Py_ssize_t, end=Py_ssize_t, pos=Py_ssize_t, packet=SentPacket, flags=int, unasked=Py_ssize_t,
                   before="long long", is_eliciting=bint)
    cpdef Py_ssize_t _build(self, room, Py_ssize_t base, Py_ssize_t mtu, long long window, long long now) except -1
    cpdef _make_room(self, long long now)
    cpdef bint _asks_for_ack(self, bint has_data) except? -1
    @cython.locals(total="unsigned long long", size=Py_ssize_t, controller=Controller, samples=RateSampler)
    cpdef Py_ssize_t _finish_packet(self, room, Py_ssize_t base, Py_ssize_t pos, long long number, int number_bytes,
                                    int flags,
                                    SentPacket packet, bint is_eliciting, long long now) except -1
    @cython.locals(dice="long long", packet=SentPacket)
    cpdef _leave_out(self, long long now)
    @cython.locals(flow=Outflow, state=OutChannel)
    cpdef bint _tells_blocked(self) except -1
    @cython.locals(in_flow=InFlow, channel=InChannel)
    cpdef Py_ssize_t _put_control(self, room, Py_ssize_t pos, Py_ssize_t end, SentPacket packet,
                                  long long now) except -1
    @cython.locals(flow=Outflow, state=OutChannel)
    cpdef Py_ssize_t _put_blocked(self, room, Py_ssize_t pos, Py_ssize_t end, SentPacket packet) except -1
    cpdef Py_ssize_t put_ids(self, room, Py_ssize_t pos, Py_ssize_t end, SentPacket packet) except -1
    @cython.locals(room_left=Py_ssize_t, count=Py_ssize_t, i=Py_ssize_t, record=SkipRecord)
    cpdef Py_ssize_t _put_skips(self, room, Py_ssize_t pos, Py_ssize_t end, OutLane lane, SentPacket packet) except -1
    @cython.locals(begin=Py_ssize_t, is_thin=bint, rides=int, has_new=bint, schedule=Schedule, lane=OutLane,
                   before=Py_ssize_t, after=Py_ssize_t)
    cpdef Py_ssize_t _put_data(self, room, Py_ssize_t pos, Py_ssize_t end, SentPacket packet, long long now) except -1
    cpdef bint _is_thin(self, Py_ssize_t room) except? -1
    @cython.locals(is_sole=bint, start="long long", after="long long", copies=int, is_forced=bint, payload=bytes,
                   before=Py_ssize_t, rider=Rider)
    cpdef Py_ssize_t _put_new(self, room, Py_ssize_t pos, Py_ssize_t end, OutLane lane, SentPacket packet,
                              bint is_thin, int rides, long long now) except -1
    @cython.locals(before=Py_ssize_t, payload=bytes, number="long long", rider=Rider)
    cpdef Py_ssize_t _put_again(self, room, Py_ssize_t pos, Py_ssize_t end, OutLane lane, SentPacket packet,
                                long long now) except -1
    @cython.locals(riders=list, here="long long", waiting="long long", begin=Py_ssize_t, budget="long long",
                   chosen=list, index=Py_ssize_t, rider=Rider, age="long long", lane=OutLane,
                   size=Py_ssize_t)
    cpdef Py_ssize_t _put_copies(self, room, Py_ssize_t pos, Py_ssize_t end, SentPacket packet, long long now,
                                 int rides) except -1
    cpdef bint _rides_now(self, Rider rider, long long age, int rides) except? -1
    cpdef bint has_waiting(self) except -1
    cpdef bint may_have_more(self) except? -1
    @cython.locals(lane=OutLane)
    cpdef drop_all(self)
