cimport cython

cdef int CAPABLE, FAILED, OFF, TESTING, ECT_0
cdef long long TEST_PACKETS, NEVER


@cython.final
cdef class EcnValidator:
    cdef readonly int state, mark
    cdef readonly long long ect0, ce
    cdef long long _start, _until, _end, _again, _newly

    cpdef start(self, long long following, long long until)
    cpdef on_sent(self, long long following, long long now)
    cpdef on_acked(self, long long start, long long end)
    @cython.locals(newly="long long", is_congested=bint)
    cpdef bint on_ack(self, bint has_counts, long long ect0, long long ect1, long long ce, bint is_newest,
                      long long following) except? -1
    cdef _fail(self, long long following)
