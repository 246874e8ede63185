# inline: declarations of a .pyx, not a module of its own
from transport.machine cimport Path
from transport.net._native cimport *

cdef enum:
    KEY = 42  # port, address and scope of the peer, address and interface of ours
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
cdef void path_key(char *key, const void *name, uint32_t local4, const in6_pktinfo *local6) noexcept
cdef object address_at(int family, const char *where, int port, const char *scope)
