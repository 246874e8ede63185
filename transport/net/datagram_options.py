"""Socket options of datagram sockets, set in one place for every implementation.

Exists because half of them have no name in the standard library and differ between IPv4 and IPv6. It must never hide
that an option was refused: what the user asked for raises, what we ask for our own sake (offload, error queue) falls
back silently and shows in `Granted`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from dataclasses import dataclass

from transport import limits
from transport.machine import Address

LINUX = sys.platform == "linux"

# Linux's numbers for what the socket module has no name for (uapi/linux/in.h, in6.h, udp.h, asm-generic/socket.h)
SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104
IP_PKTINFO = 8
IP_MTU_DISCOVER = 10
IP_RECVERR = 11
IP_PMTUDISC_PROBE = 3
IP_MULTICAST_ALL = 49
IPV6_MTU_DISCOVER = 23
IPV6_RECVERR = 25
IPV6_DONTFRAG = 62
IPV6_MULTICAST_ALL = 29
SO_TIMESTAMPNS = 35
SO_BUSY_POLL = 46

DONT_FRAGMENT = {"darwin": (28, 62), "freebsd": (67, 62), "win32": (14, 14)}
"""IP_DONTFRAG and IPV6_DONTFRAG where `IP_MTU_DISCOVER` is not the way (netinet/in.h, netinet6/in6.h, ws2ipdef.h)."""


@dataclass(frozen=True, slots=True)
class DatagramOptions:
    """What a datagram socket is asked for.

    Args:
        reuse_port: several sockets may bind one port; the system spreads peers over them.
        ipv6_only: a socket bound to `::` takes no IPv4.
        rcvbuf: receive buffer asked for, bytes.
        sndbuf: send buffer asked for, bytes.
        dscp: differentiated services code point, 0-63.
        broadcast: may send to broadcast addresses.
        interface: name (or IPv4 address) of the interface that multicast joins and leaves by, and that a unicast
            socket is bound to.
        ttl: hops that datagrams may take; None for the system's (1 for multicast).
        loop: whether multicast comes back to this host.
        busy_poll_us: microseconds the kernel polls the device before it sleeps, where it lets this user.
        timestamps: the kernel stamps what arrives (CLOCK_REALTIME, nanoseconds).
        ecn: marks of received datagrams are read.
        mark: ECN mark of what is sent, where a batch asks for no other.
        offload: segmentation and receive offload where the kernel has it.
        probing: path MTU probing: datagrams are never fragmented, and what the kernel or ICMP believes of the path's
            MTU is ignored; see `Granted.probing`.
    """

    reuse_port: bool = False
    ipv6_only: bool = True
    rcvbuf: int = limits.SOCKET_BUFFER_BYTES
    sndbuf: int = limits.SOCKET_BUFFER_BYTES
    dscp: int = 0
    broadcast: bool = False
    interface: str | None = None
    ttl: int | None = None
    loop: bool = True
    busy_poll_us: int = 0
    timestamps: bool = False
    ecn: bool = False
    mark: int = 0
    offload: bool = True
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Granted:
    """What the system gave.

    Args:
        rcvbuf: bytes that datagrams and the kernel's bookkeeping for them may take.
        sndbuf: the same for sending.
        offload: trains of equal datagrams may leave in one call.
        probing: no datagram of this socket is fragmented.
    """

    rcvbuf: int
    sndbuf: int
    offload: bool
    probing: bool = False


def is_group(address: Address) -> bool:
    """Whether an address is a multicast group."""
    host = address[0].partition("%")[0]
    if ":" in host:
        return socket.inet_pton(socket.AF_INET6, host)[0] == 0xFF
    return 224 <= socket.inet_pton(socket.AF_INET, host)[0] <= 239


def is_wildcard(address: Address) -> bool:
    """Whether a bound address stands for all of this host's."""
    host = address[0].partition("%")[0]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return not any(socket.inet_pton(family, host))


def before_bind(sock: socket.socket, options: DatagramOptions, *, group: bool) -> None:
    """Options that decide what a bind may do.

    Raises:
        OSError: as the system refused one.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, options.ipv6_only)
    if options.reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if group:  # several listeners of one group on one host are the normal case
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    elif options.interface is not None and hasattr(socket, "SO_BINDTODEVICE"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.interface.encode())


def configure(sock: socket.socket, options: DatagramOptions, *, packet_info: bool, error_queue: bool) -> Granted:
    """Everything else but multicast, on a new or an inherited socket.

    Args:
        sock: the socket.
        options: what is asked for.
        packet_info: the local address of each datagram is wanted.
        error_queue: ICMP errors are wanted with the address that they are about, in a queue that must then be read.

    Raises:
        OSError: as the system refused one that the user asked for.
    """
    v6 = sock.family == socket.AF_INET6
    for name, size in ((socket.SO_RCVBUF, options.rcvbuf), (socket.SO_SNDBUF, options.sndbuf)):
        sock.setsockopt(socket.SOL_SOCKET, name, size)
    if options.broadcast:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if tos := options.dscp << 2 | options.mark:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
            set_quietly(sock, socket.IPPROTO_IP, socket.IP_TOS, tos)  # towards its IPv4 peers
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    if options.ttl is not None:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, options.ttl)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, options.ttl)
    if LINUX:
        _configure_linux(sock, options, v6, packet_info, error_queue)
    doubled = 2 if LINUX else 1  # Linux reports twice what it grants
    return Granted(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // doubled,
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // doubled,
        options.offload and LINUX and set_quietly(sock, SOL_UDP, UDP_SEGMENT, 0),
        options.probing and forbid_fragments(sock),
    )


def _configure_linux(
    sock: socket.socket, options: DatagramOptions, v6: bool, packet_info: bool, error_queue: bool
) -> None:
    if options.timestamps:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    if options.busy_poll_us:
        set_quietly(sock, socket.SOL_SOCKET, SO_BUSY_POLL, options.busy_poll_us)  # asks for a privilege; ours does not
    if options.ecn:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    if error_queue:
        set_quietly(sock, socket.IPPROTO_IP, IP_RECVERR, 1)  # on an IPv6 socket for its IPv4 peers
        if v6:
            set_quietly(sock, socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
    if packet_info:
        if v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def forbid_fragments(sock: socket.socket) -> bool:
    """Has the system send every datagram whole or not at all, however large it believes the path to be (RFC 8899
    section 3: the path must not fragment probes); whether it took that.
    """
    v6 = sock.family == socket.AF_INET6
    if LINUX:
        v4_too = set_quietly(sock, socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)  # its IPv4 peers, on IPv6
        if not v6:
            return v4_too
        set_quietly(sock, socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
        return set_quietly(sock, socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    for platform, (name, name6) in DONT_FRAGMENT.items():
        if sys.platform.startswith(platform):
            level = socket.IPPROTO_IPV6 if v6 else socket.IPPROTO_IP
            return set_quietly(sock, level, name6 if v6 else name, 1)
    return False


def set_quietly(sock: socket.socket, level: int, name: int, value: int) -> bool:
    """Sets an option that nobody asked for; whether the system took it."""
    with contextlib.suppress(OSError):
        sock.setsockopt(level, name, value)
        return True
    return False


def send_to_group(sock: socket.socket, options: DatagramOptions) -> None:
    """How multicast leaves this socket.

    Raises:
        OSError: no such interface, or as the system refused an option.
    """
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, options.loop)
        if options.ttl is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, options.ttl)
        if options.interface is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, _index(options.interface))
        return
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, options.loop)
    if options.ttl is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, options.ttl)
    if options.interface is not None:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _membership(b"\0" * 4, options.interface))


def join_group(sock: socket.socket, group: Address, options: DatagramOptions) -> None:
    """Joins a group on one interface, and takes no other group's datagrams on this socket.

    Raises:
        OSError: no such interface, or as the system refused to join.
    """
    host, _, scope = group[0].partition("%")
    if sock.family == socket.AF_INET6:
        index = group[3] if len(group) == 4 else 0
        if options.interface is not None:
            index = _index(options.interface)
        elif not index and scope:
            index = _index(scope)
        request = socket.inet_pton(socket.AF_INET6, host) + struct.pack("@I", index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
        if LINUX:
            set_quietly(sock, socket.IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0)
        return
    request = _membership(socket.inet_aton(host), options.interface)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    if LINUX:
        set_quietly(sock, socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)


def _membership(group: bytes, interface: str | None) -> bytes:
    """`struct ip_mreqn`: the interface by its index, or by an address of it."""
    if interface is None:
        return group + struct.pack("@4si", b"\0" * 4, 0)
    try:
        return group + struct.pack("@4si", socket.inet_pton(socket.AF_INET, interface), 0)
    except OSError:
        return group + struct.pack("@4si", b"\0" * 4, _index(interface))


def _index(interface: str) -> int:
    """The number of an interface, from its name or from the number itself."""
    return int(interface) if interface.isdigit() else socket.if_nametoindex(interface)
