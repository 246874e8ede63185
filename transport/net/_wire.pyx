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


cdef void path_key(char *key, const void *name, uint32_t local4, const in6_pktinfo *local6) noexcept:
    """What tells one path from another: the peer's address, and ours where it matters; `KEY` bytes."""
    cdef const sockaddr_in *v4 = <const sockaddr_in *> name
    cdef const sockaddr_in6 *v6 = <const sockaddr_in6 *> name
    memset(key, 0, KEY)
    memcpy(key, &v4.sin_port, 2)  # at the same place in both
    if v4.sin_family == AF_INET:
        memcpy(key + 2, &v4.sin_addr, 4)
        memcpy(key + 22, &local4, 4)
        return
    memcpy(key + 2, &v6.sin6_addr, 16)
    memcpy(key + 18, &v6.sin6_scope_id, 4)
    if local6 != NULL and local6.ipi6_addr.s6_addr[0] != 0xFF:  # nobody can answer from a group's address
        memcpy(key + 22, &local6.ipi6_addr, 16)
        if local6.ipi6_addr.s6_addr[0] == 0xFE and local6.ipi6_addr.s6_addr[1] & 0xC0 == 0x80:
            memcpy(key + 38, &local6.ipi6_ifindex, 4)  # only a link-local address needs its interface


cdef object address_at(int family, const char *where, int port, const char *scope):
    """An address in the socket module's form, from parts of a key."""
    cdef char text[64]
    cdef uint32_t index = 0
    inet_ntop(family, where, text, sizeof(text))
    host = text.decode("ascii")
    if family == AF_INET:
        return host, port
    memcpy(&index, scope, 4)
    return host, port, 0, index
