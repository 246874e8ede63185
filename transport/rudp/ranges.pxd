cimport cython

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
    cpdef long long add(self, long long start, long long end)
    @cython.locals(starts=list, ends=list, last=Py_ssize_t, low=Py_ssize_t, high=Py_ssize_t, i=Py_ssize_t,
                   added=cython.longlong)
    cdef long long _add_to_many(self, long long start, long long end)
    @cython.locals(removed=cython.longlong)
    cpdef long long remove(self, long long start, long long end)
    @cython.locals(starts=list, ends=list, low=Py_ssize_t, high=Py_ssize_t, i=Py_ssize_t, removed=cython.longlong,
                   left=cython.longlong, right=cython.longlong)
    cdef long long _remove_from_many(self, long long start, long long end)
    cdef _spread(self)
    cdef _settle(self)
    cpdef long long first_start(self)
    cpdef long long first_end(self)
    cpdef tuple first(self)
    @cython.locals(start=cython.longlong, end=cython.longlong)
    cpdef tuple pop_first(self, long long most)
    cpdef bint contains(self, long long number)
    @cython.locals(i=Py_ssize_t)
    cpdef long long covered_to(self, long long start)
    @cython.locals(index=Py_ssize_t)
    cpdef long long next_start(self, long long number, long long most)
    cpdef long long last_end(self)
    cpdef clear(self)
    cpdef list pairs(self)


@cython.final
cdef class AckRanges:
    cdef readonly long long largest
    cdef readonly long long floor
    cdef long long _start
    cdef list _starts
    cdef list _ends

    cpdef bint add(self, long long number)
    @cython.locals(starts=list, ends=list, i=Py_ssize_t, count=Py_ssize_t, after=Py_ssize_t, grows=bint, is_top=bint,
                   meets=bint)
    cdef bint _add_below(self, long long number)
    cdef _limit(self)
    @cython.locals(i=Py_ssize_t)
    cpdef bint contains(self, long long number)
    @cython.locals(i=Py_ssize_t)
    cpdef forget_to(self, long long number)
    cpdef Py_ssize_t range_count(self)
    cpdef long long range_start(self, Py_ssize_t index)
    cpdef long long range_end(self, Py_ssize_t index)
