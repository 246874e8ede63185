cimport cython
from libc.stdint cimport int64_t
from cpython cimport array
from transport.rudp cimport longs

cdef Py_ssize_t KEPT_MAX


cdef array.array _NONE


@cython.final
cdef class Ranges:
    cdef readonly Py_ssize_t count
    cdef readonly long long total
    cdef long long _start
    cdef long long _end
    cdef array.array _bounds

    @cython.locals(added=cython.longlong)
    cpdef int64_t add(self, long long start, long long end) except? -1
    @cython.locals(bounds=array.array, low=Py_ssize_t, high=Py_ssize_t, starts=bint, ends=bint, added=cython.longlong)
    cdef int64_t _add_to_many(self, long long start, long long end) except? -1
    @cython.locals(bounds=array.array, i=Py_ssize_t, found=cython.longlong)
    cdef int64_t _within(self, Py_ssize_t low, Py_ssize_t high, long long start, long long end) except? -1
    @cython.locals(removed=cython.longlong)
    cpdef int64_t remove(self, long long start, long long end) except? -1
    @cython.locals(bounds=array.array, low=Py_ssize_t, high=Py_ssize_t, cuts=bint, leaves=bint,
                   removed=cython.longlong)
    cdef int64_t _remove_from_many(self, long long start, long long end) except? -1
    cdef _spread(self)
    @cython.locals(bounds=array.array)
    cdef _settle(self)
    cpdef int64_t first_start(self) except? -1
    cpdef bint contains(self, long long number) except? -1
    @cython.locals(place=Py_ssize_t)
    cpdef int64_t covered_to(self, long long start) except? -1
    @cython.locals(place=Py_ssize_t)
    cpdef int64_t next_start(self, long long number, long long most) except? -1
    cpdef clear(self)
    cpdef list pairs(self)


@cython.final
cdef class AckRanges:
    cdef readonly long long largest
    cdef readonly long long floor
    cdef long long _start
    cdef array.array _bounds

    cpdef bint add(self, long long number) except? -1
    @cython.locals(bounds=array.array, low=Py_ssize_t, high=Py_ssize_t, starts=bint, ends=bint)
    cdef bint _add_below(self, long long number) except? -1
    cdef _limit(self)
    cpdef bint contains(self, long long number) except? -1
    @cython.locals(place=Py_ssize_t)
    cpdef forget_to(self, long long number)
    cpdef Py_ssize_t range_count(self) except? -1
    cpdef int64_t range_start(self, Py_ssize_t index) except? -1
    cpdef int64_t range_end(self, Py_ssize_t index) except? -1
