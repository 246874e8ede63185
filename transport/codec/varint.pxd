cimport cython

cdef long long _MAX


cpdef int length(int first)

@cython.locals(number=cython.longlong, size=Py_ssize_t, i=Py_ssize_t)
cpdef long long value(bytes data, Py_ssize_t pos)

cpdef int size_of(long long number)

@cython.locals(shift=int)
cpdef append(bytearray out, long long number)

@cython.locals(out=bytearray)
cpdef bytes encode(number)

@cython.locals(size=Py_ssize_t, end=Py_ssize_t)
cpdef tuple decode(bytes data, Py_ssize_t pos=*)
