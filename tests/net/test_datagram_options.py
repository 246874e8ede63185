"""Options of UDP sockets as the kernel has them afterwards, and multicast on this host."""

from __future__ import annotations

import errno
import select
import socket
import struct
from typing import Any

import pytest

from transport.net import datagram as net
from transport.net import datagram_options as names
from transport.net.datagram_options import DatagramOptions

pytestmark = pytest.mark.skipif(not names.LINUX, reason="reads options back that only Linux has")
GROUP4, GROUP6 = "239.255.77.77", "ff02::7777"


def udp(host: str = "127.0.0.1", **options: Any) -> socket.socket:
    sock = net.make_socket((host, 0, 0, 0) if ":" in host else (host, 0), None, DatagramOptions(**options))
    try:
        net.prepare(sock, DatagramOptions(**options))
    except BaseException:
        sock.close()
        raise
    return sock


def test_buffers_are_asked_for_and_the_grant_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        granted = net.prepare(sock, DatagramOptions(rcvbuf=65_536, sndbuf=32_768))[3]
        assert (granted.rcvbuf, granted.sndbuf) == (65_536, 32_768)
        assert granted.offload
        granted = net.prepare(sock, DatagramOptions(rcvbuf=1 << 30, sndbuf=1 << 30, offload=False))[3]
        assert 0 < granted.rcvbuf < 1 << 30
        assert not granted.offload


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_options_reach_the_kernel(host: str) -> None:
    with udp(host, dscp=46, ttl=9, broadcast=True, busy_poll_us=1, timestamps=True, ecn=True, probing=True) as sock:
        v6 = ":" in host
        ip, ip6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) == 1
        assert sock.getsockopt(socket.SOL_SOCKET, names.SO_TIMESTAMPNS) == 1
        assert sock.getsockopt(ip, socket.IP_RECVTOS) == 1
        assert sock.getsockopt(ip, names.IP_MTU_DISCOVER) == names.IP_PMTUDISC_PROBE
        assert sock.getsockopt(ip, names.IP_RECVERR) == 1
        if v6:
            assert sock.getsockopt(ip6, socket.IPV6_TCLASS) == 46 << 2
            assert sock.getsockopt(ip6, socket.IPV6_UNICAST_HOPS) == 9
            assert sock.getsockopt(ip6, socket.IPV6_RECVTCLASS) == 1
            assert sock.getsockopt(ip6, names.IPV6_RECVERR) == 1
            assert sock.getsockopt(ip6, names.IPV6_MTU_DISCOVER) == names.IP_PMTUDISC_PROBE
            assert sock.getsockopt(ip6, names.IPV6_DONTFRAG) == 1
            assert sock.getsockopt(ip6, socket.IPV6_V6ONLY) == 1
        else:
            assert sock.getsockopt(ip, socket.IP_TOS) == 46 << 2
            assert sock.getsockopt(ip, socket.IP_TTL) == 9


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_whether_fragments_are_forbidden_is_told(host: str) -> None:
    for wanted in (True, False):
        with udp(host) as sock:
            assert net.prepare(sock, DatagramOptions(probing=wanted))[3].probing is wanted
    with udp(host) as sock:
        level, name = (socket.IPPROTO_IPV6, names.IPV6_MTU_DISCOVER) if ":" in host else (0, names.IP_MTU_DISCOVER)
        assert sock.getsockopt(level, name) != names.IP_PMTUDISC_PROBE, "not by itself"


class Asked:
    """A socket of another system, which notes what it is asked for."""

    def __init__(self, family: int, *, refuses: bool = False) -> None:
        self.family = family
        self.refuses = refuses
        self.options: list[tuple[int, int, int]] = []

    def setsockopt(self, level: int, name: int, value: int) -> None:
        if self.refuses:
            raise OSError(errno.ENOPROTOOPT, "unknown")
        self.options.append((level, name, value))


@pytest.mark.parametrize(("platform", "v4", "v6"), [
    ("darwin", 28, 62), ("freebsd14", 67, 62), ("win32", 14, 14), ("sunos5", None, None),
])  # fmt: skip
def test_other_systems_forbid_fragments_their_way(
    monkeypatch: pytest.MonkeyPatch, platform: str, v4: int | None, v6: int | None
) -> None:
    monkeypatch.setattr(names, "LINUX", False)
    monkeypatch.setattr("sys.platform", platform)
    for family, level, name in ((socket.AF_INET, socket.IPPROTO_IP, v4), (socket.AF_INET6, socket.IPPROTO_IPV6, v6)):
        sock: Any = Asked(family)
        assert names.forbid_fragments(sock) is (name is not None)
        assert sock.options == ([] if name is None else [(level, name, 1)])
        refusing: Any = Asked(family, refuses=True)
        assert not names.forbid_fragments(refusing)


def test_a_loop_s_own_transport_gets_no_error_queue_and_no_packet_info() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        path, local, packet_info, _ = net.prepare(sock, DatagramOptions(), by_descriptor=False)
        assert (path, local, packet_info) == (None, None, True)
        assert sock.getsockopt(socket.IPPROTO_IP, names.IP_RECVERR) == 0
        assert sock.getsockopt(socket.IPPROTO_IP, names.IP_PKTINFO) == 0


def test_one_port_for_several_sockets() -> None:
    with udp(reuse_port=True) as first:
        options = DatagramOptions(reuse_port=True)
        net.make_socket(first.getsockname(), None, options).close()
        with pytest.raises(OSError, match="in use"):
            net.make_socket(first.getsockname(), None, DatagramOptions())


def test_a_socket_bound_to_an_interface() -> None:
    with udp(interface="lo") as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    with pytest.raises(OSError, match=r"No such device|19"):
        udp(interface="nosuch0")


def test_what_the_user_asked_for_is_never_dropped_silently() -> None:
    with pytest.raises(OSError, match="."):
        udp(ttl=100_000)


@pytest.mark.parametrize(("address", "group", "wildcard"), [
    (("224.0.0.1", 1), True, False), (("239.255.255.255", 1), True, False), (("240.0.0.1", 1), False, False),
    (("127.0.0.1", 1), False, False), (("0.0.0.0", 1), False, True), (("::", 1, 0, 0), False, True),
    (("ff02::1%lo", 1, 0, 1), True, False), (("fe80::1%lo", 1, 0, 1), False, False),
])  # fmt: skip
def test_kinds_of_addresses(address: Any, group: bool, wildcard: bool) -> None:
    assert names.is_group(address) is group
    assert names.is_wildcard(address) is wildcard


# Multicast


def arrives(receiver: socket.socket) -> bytes | None:
    """What has arrived; on loopback that is there when the sending call returns."""
    ready, _, _ = select.select([receiver], [], [], 0.05)
    return receiver.recv(100) if ready else None


def way_out(group: str) -> str:
    """The name of an interface that multicast of this family leaves by: Linux gives loopback no IPv6 route for it."""
    if ":" not in group:
        return "lo"
    for index, interface in socket.if_nameindex():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            try:
                sock.sendto(b"", (group, 9, 0, index))
            except OSError:
                continue
            return interface
    pytest.skip("no interface here carries IPv6 multicast")


def group_address(group: str, port: int = 0) -> Any:
    return (group, port, 0, socket.if_nametoindex(way_out(group))) if ":" in group else (group, port)


@pytest.mark.parametrize(("group", "by"), [(GROUP4, "name"), (GROUP4, "number"), (GROUP4, "address"),
                                           (GROUP6, "name"), (GROUP6, "number")])  # fmt: skip
def test_a_group_on_this_host(group: str, by: str) -> None:
    interface = way_out(group)
    interface = {"name": interface, "number": str(socket.if_nametoindex(interface)), "address": "127.0.0.1"}[by]
    options = DatagramOptions(interface=interface)
    with net.make_socket(group_address(group), None, options) as receiver:
        port = receiver.getsockname()[1]
        with net.make_socket(None, group_address(group, port), options) as sender:
            sender.sendto(b"to all", group_address(group, port))
            assert arrives(receiver) == b"to all"


def test_loop_off_keeps_a_group_s_datagrams_from_this_host() -> None:
    options = DatagramOptions(interface="lo", loop=False, ttl=3)
    with net.make_socket(group_address(GROUP4), None, DatagramOptions(interface="lo")) as receiver:
        port = receiver.getsockname()[1]
        with net.make_socket(None, group_address(GROUP4, port), options) as sender:
            assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 3
            assert sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP) == 0
    options = DatagramOptions(interface="lo", loop=False, ttl=3)
    with net.make_socket(None, (GROUP6, 9, 0, 1), options) as sender:
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS) == 3
        assert sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP) == 0
        index = sender.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF)
        assert index == socket.if_nametoindex("lo")


def test_several_listeners_of_one_group() -> None:
    options = DatagramOptions(interface="lo")
    with net.make_socket(group_address(GROUP4), None, options) as first:
        port = first.getsockname()[1]
        with net.make_socket(group_address(GROUP4, port), None, options) as second, udp() as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sender.sendto(b"both", (GROUP4, port))
            assert arrives(first) == arrives(second) == b"both"


def test_another_group_s_datagrams_stay_out() -> None:
    options = DatagramOptions(interface="lo")
    with net.make_socket(group_address(GROUP4), None, options) as receiver:
        port = receiver.getsockname()[1]
        with net.make_socket(group_address("239.255.77.78", port), None, options) as other, udp() as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            sender.sendto(b"for the other", ("239.255.77.78", port))
            assert arrives(other) == b"for the other"
            assert arrives(receiver) is None


def test_a_group_by_its_scope() -> None:
    index = socket.if_nametoindex("lo")
    with net.make_socket((f"{GROUP6}%lo", 0, 0, index), None, DatagramOptions()) as receiver:
        membership = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("@I", index)
        receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, membership)  # it was joined there


def test_an_unknown_interface_is_told() -> None:
    for group in (GROUP4, GROUP6):
        with pytest.raises(OSError, match=r"no interface|No such device") as caught:
            net.make_socket(group_address(group), None, DatagramOptions(interface="nosuch0"))
        assert caught.value.errno in (errno.ENODEV, errno.ENXIO, None)
