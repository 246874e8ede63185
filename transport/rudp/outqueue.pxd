cimport cython
from cpython cimport array
from transport.rudp cimport longs
from transport.rudp.outflow cimport Fence, OutChannel, Outflow
from transport.rudp.ranges cimport Ranges

cdef Py_ssize_t COST, LOOSE_BYTES, LOOSE_MESSAGES


cdef class OutQueue:
    cdef public Outflow flow
    cdef public OutChannel state
    cdef public int channel, delivery, rank, listed
    cdef public bint is_reliable, is_active, is_blocked
    cdef public list skips, skip_costs
    cdef public Ranges lost
    cdef public Py_ssize_t waiting
    cdef public long long floor, cut_start, cut_end
    cdef public Py_ssize_t cut_index, untold
    cdef public bytes cut_payload
    cdef public int cut_copies
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
    @cython.locals(marks=list, place=Py_ssize_t, first=Py_ssize_t)
    cpdef _drop_oldest(self)
    @cython.locals(payload=bytes, cost=Py_ssize_t)
    cpdef _remove(self, Py_ssize_t index)
    cpdef set_fence(self, Fence fence)
    @cython.locals(number="long long")
    cpdef _shift_fences(self, Py_ssize_t place, Py_ssize_t by)
    @cython.locals(reached="long long")
    cpdef _open_fences(self)
    @cython.locals(payload=bytes, state=OutChannel, flow=Outflow, cost=Py_ssize_t)
    cpdef bint _has_credit(self) except? -1
    @cython.locals(state=OutChannel)
    cpdef _block(self)
    @cython.locals(state=OutChannel)
    cpdef _unblock(self)
    cpdef credited(self)
