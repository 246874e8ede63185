"""What a path looks like to the kernel. Only `transport.net._datagram` uses it; it must never look a name up."""

from libc.string cimport memcpy, memset


cdef class Wire:
    """A `Path` as socket addresses, kept in its `raw`."""


cdef Wire wire_of(Path path):
    """The kernel's form of a path, made at first use. Raises ValueError for what is no address."""
    raw = path.raw
    if type(raw) is Wire:
        return <Wire> raw
    cdef Wire wire = Wire()
    cdef sockaddr_in6 *v6 = <sockaddr_in6 *> wire.remote
    cdef sockaddr_in *v4 = <sockaddr_in *> wire.remote
    remote, local = path.remote, path.local
    memset(wire.remote, 0, REMOTE)
    memset(&wire.local6, 0, sizeof(wire.local6))
    if len(remote) == 4:
        wire.family, wire.size = AF_INET6, sizeof(sockaddr_in6)
        v6.sin6_family, v6.sin6_port, v6.sin6_scope_id = AF_INET6, htons(remote[1]), remote[3]
        parse(AF_INET6, remote[0], &v6.sin6_addr)
        if local is not None:
            parse(AF_INET6, local[0], &wire.local6.ipi6_addr)
            wire.local6.ipi6_ifindex = local[3]
    else:
        wire.family, wire.size = AF_INET, sizeof(sockaddr_in)
        v4.sin_family, v4.sin_port = AF_INET, htons(remote[1])
        parse(AF_INET, remote[0], &v4.sin_addr)
        if local is not None:
            parse(AF_INET, local[0], &wire.local4)
    wire.bound = local is not None
    path.raw = wire
    return wire


cdef int parse(int family, str host, void *target) except -1:
    cdef bytes text = host.partition("%")[0].encode()
    if inet_pton(family, text, target) != 1:
        raise ValueError(f"{host!r} is not an address")
    return 0


cdef size_t put(char *control, int level, int type, const void *data, size_t size) noexcept:
    """Writes one control message; the room that it takes."""
    cdef cmsghdr *head = <cmsghdr *> control
    head.cmsg_level = level
    head.cmsg_type = type
    head.cmsg_len = CMSG_LEN(size)
    memcpy(CMSG_DATA(head), data, size)
    return CMSG_SPACE(size)
