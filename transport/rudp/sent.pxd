cimport cython
from transport.rudp.congestion.rates cimport Mark
from transport.rudp.outlane cimport OutLane

cdef int FREE, RIDER, SKIP, SPAN
cdef long long RING_MAX, RESERVE, LAST_WORDS


cdef class Item:
    cdef public int kind
    cdef public OutLane lane
    cdef public long long start, end


@cython.final
cdef class Rider(Item):
    cdef public bytes payload
    cdef public long long number, first, first_number
    cdef public int rides, ridden, copies
    cdef public bint is_settled, first_lost, is_repair, is_forced

    cpdef fill(self, OutLane lane, long long start, long long end, bytes payload, long long number, long long first,
               int rides)


@cython.final
cdef class SkipRecord(Item):
    cdef public list numbers, costs


@cython.final
cdef class SentPacket:
    cdef public int state
    cdef public long long time, start, end, ack_largest, lost_at
    cdef public Py_ssize_t size, copied
    cdef public OutLane lane
    cdef public Item item
    cdef public list more
    cdef public Mark mark

    cpdef add_span(self, OutLane lane, long long start, long long end)
    cpdef add(self, Item item)


@cython.final
cdef class SentRing:
    cdef public long long oldest, next
    cdef list _slots
    cdef long long _mask

    cpdef SentPacket get(self, long long number)
    cpdef bint is_full(self) except? -1
    cpdef bint is_over(self) except? -1
    @cython.locals(packet=SentPacket)
    cpdef SentPacket push(self)
    @cython.locals(size="long long")
    cpdef _grow(self)
    @cython.locals(slots=list, number="long long")
    cpdef list _rebuilt(self, list old, long long size)
    cpdef shrink(self)
