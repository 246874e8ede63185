cimport cython


@cython.final
cdef class ChannelState:
    cdef public long long out_sent
    cdef public long long out_limit
    cdef public long long in_received
    cdef public long long in_limit
    cdef public long long in_consumed
    cdef public bint credit_due
    cdef public object blocked
    cdef public Py_ssize_t blocked_bytes

    cpdef bint has_credit(self) except? -1
    cpdef block(self, entry)
    cpdef unblock(self)
