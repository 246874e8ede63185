cimport cython
from transport.datagram.base cimport Endpoint
from transport.machine cimport Transmit


cdef class Entry(Transmit):
    cdef public Py_ssize_t offset


cdef class Outgoing:
    cdef public bytearray room
    cdef public list entries
    cdef public Py_ssize_t first
    cdef public Py_ssize_t count


cdef class DatagramSocket:
    cdef public object sock
    cdef public object path
    cdef public object local
    cdef public list errors
    cdef public bint more
    cdef public Py_ssize_t received_bytes
    cdef public bint disturbed
    cdef public bint selectable
    cdef public long long truncated
    cdef public long long unsent
    cdef public Py_ssize_t segment_max

    cpdef fileno(self)
    cpdef Py_ssize_t receive(self, Endpoint sink, long long now) except? -1
    cpdef bint send(self, Outgoing batch) except? -1
    cpdef bint send_single(self, bytes payload, path) except? -1
    cpdef close(self)
