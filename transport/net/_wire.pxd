# inline: declarations of a .pyx, not a module of its own
from transport.machine cimport Path
from transport.net._native cimport *

cdef enum:
    REMOTE = 28  # sizeof(sockaddr_in6)
    UDP_SEGMENT = 103
    UDP_GRO = 104
    SO_TIMESTAMPNS = 35


cdef class Wire:
    cdef char remote[REMOTE]
    cdef socklen_t size
    cdef int family
    cdef bint bound
    cdef in_addr local4
    cdef in6_pktinfo local6


cdef Wire wire_of(Path path)
cdef size_t put(char *control, int level, int type, const void *data, size_t size) noexcept
