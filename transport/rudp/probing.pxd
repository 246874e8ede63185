cimport cython
from transport.rudp cimport pen
from transport.rudp.mtu cimport MtuSearch
from transport.rudp.sending cimport Sending
from transport.rudp.sent cimport Item, SentPacket, SentRing

cdef int BLACK_HOLE_PACKETS, DOUBTING, FIXED_BIT, LOST, OPEN, PING_FRAME, PROBE, SENT
cdef Py_ssize_t BASE, CHECKSUM_BYTES
cdef long long LATE_FLIGHTS


cdef class Probing(Sending):
    cdef public object probed_path
    cdef long long _large_acked, _large_lost
    cdef int _holes

    cpdef set_path_limits(self, long long most)
    @cython.locals(window="long long", size=Py_ssize_t, number="long long", packet=SentPacket, number_bytes=int,
                   end=Py_ssize_t, pos=Py_ssize_t, flags=int)
    cpdef Py_ssize_t fill_probe(self, room, long long now) except? -1
    cpdef bint is_search(self, SentPacket packet) except? -1
    cpdef _probe_acked(self, long long number, long long size)
    cpdef _probe_lost(self, long long number, long long size, long long now, long long pause)
    @cython.locals(ring=SentRing, before=int, after=int)
    cpdef bint _is_in_burst(self, long long number) except? -1
    cpdef _try_again(self, long long now)
    cpdef _resize(self)
    cpdef _on_large_lost(self, long long number)
    cpdef _doubt(self)
    cpdef forget_mtu(self)
