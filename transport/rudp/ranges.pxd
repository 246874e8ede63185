cimport cython
from libc.stdint cimport int64_t

cdef Py_ssize_t KEPT_MAX


@cython.locals(low=Py_ssize_t, high=Py_ssize_t, middle=Py_ssize_t)
cdef Py_ssize_t _find(list numbers, long long value)


@cython.final
cdef class Ranges:
    cdef readonly Py_ssize_t count
    cdef readonly long long total
    cdef long long _start
    cdef long long _end
    cdef list _starts
    cdef list _ends

    @cython.locals(added=cython.longlong)
    cpdef int64_t add(self, long long start, long long end) except? -1
    @cython.locals(starts=list, ends=list, last=Py_ssize_t, low=Py_ssize_t, high=Py_ssize_t, i=Py_ssize_t,
                   added=cython.longlong)
    cdef int64_t _add_to_many(self, long long start, long long end) except? -1
    @cython.locals(removed=cython.longlong)
    cpdef int64_t remove(self, long long start, long long end) except? -1
    @cython.locals(starts=list, ends=list, low=Py_ssize_t, high=Py_ssize_t, i=Py_ssize_t, removed=cython.longlong,
                   left=cython.longlong, right=cython.longlong)
    cdef int64_t _remove_from_many(self, long long start, long long end) except? -1
    cdef _spread(self)
    cdef _settle(self)
    cpdef int64_t first_start(self) except? -1
    cpdef int64_t first_end(self) except? -1
    cpdef tuple first(self)
    @cython.locals(start=cython.longlong, end=cython.longlong)
    cpdef tuple pop_first(self, long long most)
    cpdef bint contains(self, long long number) except? -1
    @cython.locals(i=Py_ssize_t)
    cpdef int64_t covered_to(self, long long start) except? -1
    @cython.locals(index=Py_ssize_t)
    cpdef int64_t next_start(self, long long number, long long most) except? -1
    cpdef int64_t last_end(self) except? -1
    cpdef clear(self)
    cpdef list pairs(self)


@cython.final
cdef class AckRanges:
    cdef readonly long long largest
    cdef readonly long long floor
    cdef long long _start
    cdef list _starts
    cdef list _ends

    cpdef bint add(self, long long number) except? -1
    @cython.locals(starts=list, ends=list, i=Py_ssize_t, count=Py_ssize_t, after=Py_ssize_t, grows=bint, is_top=bint,
                   meets=bint)
    cdef bint _add_below(self, long long number) except? -1
    cdef _limit(self)
    @cython.locals(i=Py_ssize_t)
    cpdef bint contains(self, long long number) except? -1
    @cython.locals(i=Py_ssize_t)
    cpdef forget_to(self, long long number)
    cpdef Py_ssize_t range_count(self) except? -1
    cpdef int64_t range_start(self, Py_ssize_t index) except? -1
    cpdef int64_t range_end(self, Py_ssize_t index) except? -1
