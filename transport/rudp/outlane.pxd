cimport cython
from cpython cimport array
from transport.rudp cimport longs, pen
from transport.rudp.ranges cimport Ranges

cdef Py_ssize_t COST, LOOSE_BYTES, LOOSE_MESSAGES, KEEP, COMPACT_AT, FRAGMENT_MIN
cdef int MSG, FRAGMENT, LENGTH, SUCCESSOR
cdef long long LATE


@cython.final
cdef class Outflow:
    cdef public long long total, limit, needs_credit
    cdef public Py_ssize_t queued, blocked
    cdef public bint overtook
    cdef public OutLane last_lane
    cdef public long long last_number
    cdef public long long expired, dropped, skipped, messages, retransmitted_bytes


@cython.final
cdef class Fence:
    cdef public Py_ssize_t pending


@cython.final
cdef class OutChannel:
    cdef public int number
    cdef public long long total, limit, needs_credit, told
    cdef public bint is_free, is_blocked
    cdef public Py_ssize_t waiting


@cython.final
cdef class OutLane:
    cdef public Outflow flow
    cdef public OutChannel state
    cdef public int channel, delivery, rank, listed
    cdef public bint is_reliable, is_active
    cdef public OutLane following
    cdef public list skips, skip_costs
    cdef public Ranges lost
    cdef public Py_ssize_t waiting
    cdef public long long floor, cut_start, cut_end
    cdef public Py_ssize_t cut_index
    cdef list _payloads, _marks
    cdef long long _base
    cdef Py_ssize_t _head, _next, _offset
    cdef array.array _starts
    cdef long long _head_start, _position, _acked_to
    cdef Ranges _acked
    cdef int _number_bytes
    cdef list _fences

    @cython.locals(cost=Py_ssize_t)
    cpdef append(self, bytes payload, int priority, long long expires_at, int copies)
    @cython.locals(marks=list, place=Py_ssize_t, first=Py_ssize_t)
    cpdef _insert(self, bytes payload, int priority, long long expires_at, int copies)
    @cython.locals(marks=list, place=Py_ssize_t)
    cpdef _drop_oldest(self)
    @cython.locals(payload=bytes, cost=Py_ssize_t)
    cpdef _remove(self, Py_ssize_t index)
    cpdef set_fence(self, Fence fence)
    @cython.locals(number="long long")
    cpdef _shift_fences(self, Py_ssize_t place, Py_ssize_t by)
    @cython.locals(reached="long long", fence=Fence)
    cpdef _open_fences(self)
    cpdef bint has_new(self)
    cpdef bint has_output(self)
    cpdef bint is_idle(self)
    @cython.locals(payload=bytes, state=OutChannel, flow=Outflow, cost=Py_ssize_t)
    cpdef bint _has_credit(self)
    @cython.locals(state=OutChannel)
    cpdef _block(self)
    @cython.locals(state=OutChannel)
    cpdef _unblock(self)
    cpdef credited(self)
    @cython.locals(state=OutChannel, reach="long long")
    cpdef _begin(self, Py_ssize_t cost)
    @cython.locals(payloads=list, count=Py_ssize_t, flow=Outflow, channel_bytes=int, taken=Py_ssize_t, payload=bytes,
                   size=Py_ssize_t, offset=Py_ssize_t, number="long long", follows=bint, reach="long long", head=Py_ssize_t,
                   left=Py_ssize_t, last=bint, pos_after=Py_ssize_t)
    cpdef Py_ssize_t cut(self, room, Py_ssize_t pos, Py_ssize_t end, long long now, bint is_sole, Py_ssize_t most) except -1
    @cython.locals(size=Py_ssize_t, offset=Py_ssize_t, head=Py_ssize_t, rest=Py_ssize_t, left=Py_ssize_t,
                   take=Py_ssize_t, length=Py_ssize_t)
    cpdef Py_ssize_t _cut_fragment(self, room, Py_ssize_t pos, Py_ssize_t end, bytes payload, long long number,
                                   bint is_sole) except -1
    @cython.locals(flags=int)
    cdef Py_ssize_t _head_of(self, room, Py_ssize_t pos, long long number, bint follows, Py_ssize_t offset,
                             Py_ssize_t total, Py_ssize_t length) except -1
    @cython.locals(reach="long long")
    cpdef Py_ssize_t put_copy(self, room, Py_ssize_t pos, long long number, bytes payload) except -1
    cpdef Py_ssize_t copy_size(self, Py_ssize_t size)
    cpdef long long mark(self)
    cpdef long long next_number(self)
    @cython.locals(payload=bytes)
    cpdef Py_ssize_t next_size(self) except? -1
    @cython.locals(payload=bytes)
    cpdef bytes next_payload(self)
    cpdef int next_copies(self) except? -1
    @cython.locals(marks=list, following=Py_ssize_t)
    cpdef _next_rank(self)
    cpdef bint pass_lapsed(self, long long now) except -1
    @cython.locals(expires_at="long long", payload=bytes)
    cpdef bint _lapsed(self, long long now) except -1
    @cython.locals(payload=bytes, start="long long", end="long long")
    cpdef _give_up(self, Py_ssize_t index)
    cpdef settle(self, long long start, long long end)
    @cython.locals(payloads=list, start="long long", head=Py_ssize_t, freed=Py_ssize_t, size=Py_ssize_t, payload=bytes)
    cpdef _release(self)
    @cython.locals(payloads=list, payload=bytes)
    cpdef _release_sent(self)
    @cython.locals(head=Py_ssize_t)
    cpdef _compact(self)
    @cython.locals(before="long long", first="long long", last="long long")
    cpdef long long lose(self, long long start, long long end)
    cpdef bint is_settled(self, long long start, long long end)
    @cython.locals(start="long long", stop="long long", begins="long long", index=Py_ssize_t, payload=bytes)
    cpdef Py_ssize_t cut_lost(self, room, Py_ssize_t pos, Py_ssize_t end, long long now) except -1
    @cython.locals(size=Py_ssize_t, number="long long", reach="long long", flow=Outflow, whole=bint, follows=bint,
                   head=Py_ssize_t, take=Py_ssize_t, room_left=Py_ssize_t, begins="long long")
    cpdef Py_ssize_t _cut_again(self, room, Py_ssize_t pos, Py_ssize_t end, bytes payload, Py_ssize_t index,
                                Py_ssize_t offset, Py_ssize_t stop) except -1
    cpdef bytes payload_at(self, Py_ssize_t index)
    cpdef long long number_at(self, Py_ssize_t index)
    cpdef clear(self)
