cimport cython
from libc.stdint cimport int64_t
from transport.rudp cimport pen
from transport.rudp.congestion.rates cimport RateSampler
from transport.rudp.loss cimport LossThresholds
from transport.rudp.outflow cimport Outflow
from transport.rudp.outlane cimport OutLane
from transport.rudp.probing cimport Probing
from transport.rudp.ranges cimport Ranges
from transport.rudp.rtt cimport RttEstimator
from transport.rudp.sent cimport Item, Rider, SentPacket, SentRing, SkipRecord

cdef long long CROWDED, PTO_MAX_NS, SPURIOUS_NS, ACK_DELAY_UNIT_NS, NEVER
cdef int RANGES_MAX, PERSISTENT, BLOCKED, CREDIT, NEW_CID, PING, POLICY, PROBE, RETIRE_CID, RIDER, SKIP, SPAN
cdef int ACKED, FREE, LOST, OPEN, QUIET, SENT, SKIPPED
cdef Py_ssize_t BASE


cdef class Recovery(Probing):
    cdef public LossThresholds thresholds
    cdef public long long peer_ack_delay_ns
    cdef long long _loss_at
    cdef int _pto_count
    cdef long long _round_end, _own_settled
    cdef list _pongs
    cdef public long long acks_received, packets_acked, packets_lost, packets_spurious, loose_lost
    cdef Py_ssize_t _number_end
    cdef long long _ack_bytes, _ack_packets, _ack_spurious, _ack_largest_at, _ack_latest
    cdef Ranges _known
    cdef long long _unsettled, _left, _moved, _moved_before, _gone_to, _proved

    @cython.locals(largest="long long", delay="long long", count="long long", run="long long", before="long long",
                   needed="long long",
                   low="long long", high="long long", gap="long long", ect0="long long", ect1="long long",
                   ce="long long", samples=RateSampler, is_news=bint)
    cpdef Py_ssize_t on_ack(self, bytes data, Py_ssize_t pos, Py_ssize_t end, bint has_marks, long long now) except -1
    @cython.locals(size=int)
    cdef int64_t _number(self, bytes data, Py_ssize_t pos, Py_ssize_t end) except? -1
    @cython.locals(known=Ranges, number="long long", start="long long")
    cpdef _acked_range(self, long long low, long long high, long long now)
    @cython.locals(ring=SentRing, packet=SentPacket, state=int, is_search=bint, displacement="long long",
                   samples=RateSampler)
    cpdef _acked_news(self, long long number, long long end, long long high, long long now)
    @cython.locals(lane=OutLane, more=list, item=Item, only=Item)
    cpdef _acked_packet(self, SentPacket packet, long long number)
    cpdef int64_t _rtt_now(self) except? -1
    cpdef _settle_own(self, SentPacket packet)
    @cython.locals(kind=int, lane=OutLane, rider=Rider)
    cpdef _acked_item(self, Item item)
    @cython.locals(rtt=RttEstimator, sample="long long", flow=Outflow, samples=RateSampler, grown="long long")
    cpdef _after_ack(self, long long largest, long long delay, long long before, long long needed, long long now)
    @cython.locals(ring=SentRing, packet=SentPacket)
    cpdef _make_room(self, long long now)
    cpdef int64_t _grown(self) except? -1
    @cython.locals(ring=SentRing, packet=SentPacket, state=int)
    cpdef _advance(self, long long now)
    @cython.locals(ring=SentRing, number="long long")
    cpdef int64_t _first_sent(self) except? -1
    @cython.locals(ring=SentRing, largest="long long", thresholds=LossThresholds, rtt=RttEstimator, delay="long long",
                   gap="long long", number="long long", lost_bytes="long long", lost_packets="long long",
                   latest="long long", first="long long", packet=SentPacket, span="long long", end="long long",
                   sure="long long", at="long long", is_astray=bint)
    cpdef _detect(self, long long needed, long long now)
    @cython.locals(bound="long long")
    cpdef bint _is_astray(self, long long number) except? -1
    @cython.locals(lane=OutLane, more=list, kept=list, item=Item, only=Item, samples=RateSampler, tried="long long")
    cpdef _lose(self, SentPacket packet, long long number, bint is_astray, long long now)
    @cython.locals(ring=SentRing, number="long long", packet=SentPacket)
    cpdef leave_path(self, long long now)
    cpdef _give_back(self, OutLane lane, long long start, long long end)
    @cython.locals(kind=int, lane=OutLane, rider=Rider)
    cpdef _lost_item(self, Item item, long long number)
    cpdef _blocked_lost(self, int channel)
    cpdef _credit_lost(self, int channel, long long limit)
    cpdef id_settled(self, Item item, bint is_lost)
    cpdef on_round(self, long long now)
    @cython.locals(timeout="long long", count=int, backed="long long")
    cpdef int64_t _probe_at(self) except? -1
    @cython.locals(ring=SentRing, number="long long", budget="long long", packet=SentPacket)
    cpdef _on_probe_timeout(self, long long now)
    cpdef ask_again(self, long long now)
    @cython.locals(lane=OutLane, more=list, item=Item, only=Item)
    cpdef _resend(self, SentPacket packet)
    @cython.locals(lane=OutLane)
    cpdef _resend_item(self, Item item)
    @cython.locals(number="long long")
    cpdef too_large(self, long long now)
