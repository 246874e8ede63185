cimport cython


@cython.final
cdef class Outflow:
    cdef public long long total, limit, needs_credit
    cdef public Py_ssize_t queued, blocked, flight
    cdef public bint overtook, has_wishes
    cdef public object last_lane
    cdef public long long last_number
    cdef public long long expired, dropped, skipped, messages, retransmitted_bytes


@cython.final
cdef class Fence:
    cdef public Py_ssize_t pending


@cython.final
cdef class OutChannel:
    cdef public int number
    cdef public long long total, limit, needs_credit, told
    cdef public bint is_free
    cdef public Py_ssize_t blocked
