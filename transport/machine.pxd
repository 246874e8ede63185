cimport cython


cdef class Path:
    cdef readonly object local
    cdef readonly object remote
    cdef public object raw
    cdef Py_hash_t _hash


cdef class Transmit:
    cdef public Py_ssize_t size
    cdef public Py_ssize_t segment_bytes
    cdef public object path
    cdef public int ecn
