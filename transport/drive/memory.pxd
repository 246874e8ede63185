cimport cython
from libc.stdint cimport int64_t

from transport.codec cimport memory
from transport.drive.base cimport Owner
from transport.drive.stream cimport StreamDriver
from transport.sim.link cimport Flight, Link

cdef Py_ssize_t PIECE_BYTES, SEGMENT_BYTES
cdef int ARRIVES


cdef class MemoryDriver(StreamDriver):
    cdef readonly object hub
    cdef readonly object address
    cdef public Link link
    cdef public object on_close
    cdef public MemoryDriver _peer
    cdef Py_ssize_t _window
    cdef object _inbox
    cdef Py_ssize_t _unread
    cdef bint _coming
    cdef bint _peer_gone
    cdef bint _retrying
    cdef bint _eof_asked
    cdef bint _eof_left

    @cython.locals(pending=list, whole=bytes, start=Py_ssize_t, first=Py_ssize_t, size=Py_ssize_t, piece=Py_ssize_t)
    cpdef bint _write(self) except? -1
    @cython.locals(whole=bytes)
    cpdef bytes _joined(self)
    @cython.locals(room=Py_ssize_t, link=Link, now=cython.longlong)
    cpdef Py_ssize_t _room(self) except? -1
    @cython.locals(peer=MemoryDriver)
    cpdef _hand_over(self, bytes data)
    cpdef _retry_later(self)
    cpdef _retry(self)
    @cython.locals(now=cython.longlong, opens=cython.longlong)
    cpdef int64_t _opens(self) except? -1
    cpdef _half_close(self)
    cpdef _write_failed(self)
    cpdef bint arrive(self, bytes data, int ecn, source) except? -1
    cpdef come(self)
    cpdef _take_in(self)
    @cython.locals(data=bytes, peer=MemoryDriver)
    cpdef arrived(self)
    @cython.locals(size=Py_ssize_t)
    cpdef bytes _gather(self, bytes data)
    cpdef _read_on(self)
    cpdef _read_off(self)
    cpdef _close(self)
    cpdef _leave(self)
    cpdef abandoned(self)
