cimport cython
from transport.rudp cimport checksum as sums
from transport.sim cimport record

cdef Py_ssize_t _SIZE, _PENDING_BYTES


cdef class Trace:
    cdef public long long count
    cdef Py_ssize_t _keep
    cdef object _hash
    cdef bytearray _pending
    cdef Py_ssize_t _filled
    cdef object _kept

    @cython.locals(size=Py_ssize_t, checksum="unsigned long long")
    cpdef datagram(self, int fate, int link, long long time, bytes data, long long arrival)
    @cython.locals(body=bytes)
    cpdef note(self, long long time, str text)
    cpdef _flush(self)
