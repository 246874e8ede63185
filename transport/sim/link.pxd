cimport cython
from libc.stdint cimport int64_t

from transport.sim.burst cimport BurstProcess
from transport.sim.trace cimport Trace

cdef long long BIT_NS
cdef long long NEVER
cdef Py_ssize_t COMPACT_AT
cdef int ARRIVES, COPY, DOWN, TOO_LARGE, QUEUE_FULL, LOST, BURST


cdef class Link


@cython.final
@cython.freelist(256)
cdef class Entry:
    cdef readonly long long time, number
    cdef readonly Link link
    cdef readonly bytes data
    cdef readonly int ecn
    cdef readonly object source, target, action

    cdef fill(self, long long time, long long number, Link link, bytes data, int ecn, source, target, action)
    cdef bint is_before(self, Entry other) noexcept


@cython.final
cdef class Line:
    cdef Entry first
    cdef long long last
    cdef Py_ssize_t count
    cdef list _entries
    cdef Py_ssize_t _head

    cdef append(self, Entry entry)
    @cython.locals(entries=list)
    cdef drop(self)


cdef class Flight:
    cdef public Py_ssize_t events_max
    cdef public long long bytes_max
    cdef public long long number
    cdef public long long bytes
    cdef Entry _first
    cdef Line _one, _two
    cdef list _heap

    @cython.locals(one=Line, two=Line, entry=Entry)
    cpdef push(self, long long time, Link link, bytes data, int ecn, object source, object target)
    @cython.locals(entry=Entry)
    cpdef act(self, long long time, object action)
    cpdef int64_t next_time(self) except? -1
    @cython.locals(entry=Entry)
    cpdef Entry pop(self, long long now)
    @cython.locals(first=Entry, other=Entry)
    cdef Entry _earliest(self)


cdef class Link:
    cdef public int number
    cdef public object name
    cdef public object seed
    cdef public object config
    cdef public long long epoch
    cdef public Flight flight
    cdef public Trace trace
    cdef list _changes
    cdef long long _change_number
    cdef long long _change_at
    cdef list _blackouts
    cdef BurstProcess _burst
    cdef list _bag
    cdef long long _free_at
    cdef long long _remainder
    cdef long long _latest
    cdef readonly long long latest_in_order
    cdef public object last_target, last_holder
    cdef public long long last_version
    cdef long long _delay
    cdef long long _jitter
    cdef bint _jitter_reorders
    cdef double _loss
    cdef int _loss_per
    cdef double _duplicate
    cdef double _reorder
    cdef long long _reorder_ns
    cdef double _corrupt
    cdef int _corrupt_bits
    cdef long long _rate
    cdef long long _queue_bytes
    cdef long long _mark_bytes
    cdef bint _marks
    cdef bint _ecn_clear
    cdef long long _mtu
    cdef long long _overhead
    cdef bint _down
    cdef object _draw_loss
    cdef object _draw_jitter
    cdef object _draw_duplicate
    cdef object _draw_reorder
    cdef object _draw_corrupt
    cdef public long long sent
    cdef public long long sent_bytes
    cdef public long long arrived
    cdef public long long arrived_bytes
    cdef public long long dropped_down
    cdef public long long dropped_mtu
    cdef public long long dropped_queue
    cdef public long long lost
    cdef public long long lost_burst
    cdef public long long duplicated
    cdef public long long held_back
    cdef public long long overtook
    cdef public long long corrupted
    cdef public long long marked
    cdef public long long unreachable
    cdef public long long peak_queue_bytes

    cpdef configure(self, object config, long long now)
    cpdef _settle(self, long long now)
    cpdef _look_ahead(self)
    cpdef _apply(self, object config, long long now)
    @cython.locals(waiting="long long")
    cpdef _set_rate(self, long long rate, long long now)
    @cython.locals(fate=int, arrival="long long", leaves="long long", draw=double)
    cpdef int send(self, bytes data, int ecn, long long now, object source, object target) except -1
    @cython.locals(backlog="long long", work="long long")
    cpdef int _enter(self, long long wire, long long now) except -1
    cpdef int64_t queued_bytes(self, long long now) except? -1
    @cython.locals(end="long long")
    cpdef int64_t opens_at(self, long long now) except? -1
    @cython.locals(loss=double, lost=bint)
    cpdef int _loses(self, long long time) except -1
    @cython.locals(losses=int, index=int, other=int, draw=double)
    cpdef bint _from_bag(self) except -1
    @cython.locals(altered=bytearray, bit="long long", draw=double)
    cpdef bytes _flip(self, bytes data)
    @cython.locals(time="long long", draw=double)
    cpdef int64_t _arrival(self, long long leaves) except? -1
    @cython.locals(arrival="long long")
    cpdef _copy(self, bytes data, int ecn, long long now, long long leaves, object source, object target)
