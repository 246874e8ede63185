cimport cython
from libc.stdint cimport int64_t

cdef long long SECOND_NS
cdef long long BYTES_MAX
cdef long long DEBT_MAX
cdef long long UNLIMITED
cdef long long LATE_NS


@cython.final
cdef class Pacer:
    cdef long long _credit
    cdef long long _burst
    cdef long long _time
    cdef long long _due
    cdef long long _spare

    @cython.locals(full="long long", missing="long long")
    cpdef int64_t room(self, long long now, long long rate, long long burst) except? -1
    cpdef spend(self, long long size)
    @cython.locals(missing="long long")
    cpdef int64_t when(self, long long now, long long rate, long long size) except? -1
