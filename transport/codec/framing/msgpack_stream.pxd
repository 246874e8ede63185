cimport cython
from transport.codec cimport memory
from transport.codec.scan cimport Scanner

cdef int _DONE, _WANTS_MORE


cdef class MsgpackStream:
    cdef readonly Py_ssize_t max_message

    @cython.locals(scanner=Scanner)
    cpdef encode(self, bytes payload)


cdef class MsgpackStreamDecoder:
    cdef Py_ssize_t _max
    cdef Scanner _scanner
    cdef bytearray _value
    cdef bytes _tail

    @cython.locals(payloads=list, scanner=Scanner, pos=Py_ssize_t, end=Py_ssize_t, start=Py_ssize_t)
    cpdef list feed(self, bytes data)
    cpdef eof(self)
