cimport cython
from transport.rudp cimport pen
from transport.rudp.ranges cimport Ranges

cdef Py_ssize_t COST, GAPS_MAX, LOOSE_BYTES, UNFINISHED_MAX, LOOSE_UNFINISHED_MAX
cdef long long LOOSE_WINDOW
cdef int ORDERED, UNORDERED, SEQUENCED, UNRELIABLE


cdef class InFlow:
    cdef public long long received, consumed, limit, window, window_max, told_at, wanted
    cdef public bint is_due


@cython.final
cdef class InChannel(InFlow):
    cdef public int number
    cdef public long long given


@cython.final
cdef class Assembly:
    cdef public Py_ssize_t total
    cdef public Ranges have
    cdef object _body

    @cython.locals(have=Ranges, stop=Py_ssize_t, low="long long", high="long long", at=Py_ssize_t)
    cpdef bint add(self, bytes data, Py_ssize_t start, Py_ssize_t end, Py_ssize_t offset) except -1
    cpdef bytes whole(self)


@cython.final
cdef class Unfinished:
    cdef public Py_ssize_t reliable
    cdef public long long loose


@cython.final
cdef class InLane:
    cdef public Unfinished unfinished
    cdef public int channel, delivery
    cdef public bint is_reliable
    cdef public long long expected, highest, duplicates, delivered
    cdef public dict early, partial
    cdef public InChannel state
    cdef public Ranges done
    cdef public Py_ssize_t held
    cdef long long _oldest

    @cython.locals(fresh=bint)
    cpdef bint is_new(self, long long number) except -1
    cpdef bint has_room(self, long long number) except? -1
    cpdef bint has_place(self, long long number) except? -1
    cpdef take(self, long long number)
    @cython.locals(done=Ranges, reached="long long")
    cpdef _settle(self, long long number)
    cpdef _forget_older(self, long long number)
    cpdef keep(self, long long number, bytes payload)
    cpdef bint has_early(self) except -1
    @cython.locals(payload=bytes)
    cpdef bytes take_early(self)
    @cython.locals(found=Assembly, made=Assembly)
    cpdef Assembly assembly(self, long long number, Py_ssize_t total)
    @cython.locals(total=Py_ssize_t)
    cpdef finished(self, long long number)
    cpdef give_up(self)
    cpdef bint pass_over(self, long long number) except -1
