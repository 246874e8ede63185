cimport cython


@cython.locals(whole=int, falls=int, first=double, last=double, value=double)
cpdef double exponential(draw)


cdef class BurstProcess:
    cdef object _draw
    cdef long long _good_ns
    cdef long long _bad_ns
    cdef double _loss_good
    cdef double _loss_bad
    cdef bint _bad
    cdef long long _until

    cpdef _redraw(self, long long time)
    @cython.locals(mean="long long")
    cpdef _stay(self)
    cpdef double loss(self, long long time) except? -1
