cimport cython
from transport.codec cimport memory

cdef Py_ssize_t _BY_REFERENCE


cdef class Length32:
    cdef readonly long long max_message

    @cython.locals(size=Py_ssize_t, head=bytes)
    cpdef encode(self, bytes payload)


cdef class Length32Decoder:
    cdef Py_ssize_t _max
    cdef bytes _head
    cdef bytearray _body
    cdef Py_ssize_t _missing

    @cython.locals(payloads=list, pos=Py_ssize_t, end=Py_ssize_t, size=Py_ssize_t)
    cpdef list feed(self, bytes data)
    cpdef eof(self)
