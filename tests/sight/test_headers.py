"""Headers with all their fields; tests/bench/test_record.py has sizes and reasons, in whole captures."""

from __future__ import annotations

import struct

import pytest

from tests.sight import captures as made
from transport.sight.capture import Packet
from transport.sight.headers import (
    CUT,
    FRAGMENT,
    MALFORMED,
    NOT_IP,
    OTHER,
    TCP,
    UDP,
    Headers,
    read_headers,
    shown,
    shown_end,
)

LINKS = [made.ETHERNET, made.RAW, made.NULL, made.LOOP, made.SLL, made.SLL2]


def read(link: int, data: bytes, size: int | None = None) -> Headers:
    return read_headers(Packet(5, link, data, len(data) if size is None else size))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("version", [4, 6])
def test_every_link_type(link: int, version: int) -> None:
    inner = made.udp_with(b"payload")
    data = made.on_link(link, made.ipv4(inner) if version == 4 else made.ipv6(inner))
    found = read(link, data)
    assert found.problem is None and found.ip is not None and found.segment is not None
    assert (found.ip.version, found.ip.protocol, found.ip.ttl) == (version, UDP, 64)
    assert data[found.segment.start : found.segment.start + found.segment.size] == b"payload"
    assert shown_end(found.segment.source) == ("10.0.0.1:40000" if version == 4 else "[2001:db8::1]:40000")
    assert shown(found.ip.target) == ("10.0.0.2" if version == 4 else "2001:db8::2")
    assert not found.link.startswith("link type")


def test_fields_of_links() -> None:
    inner = made.ipv4(made.udp(1))
    ethernet = read(made.ETHERNET, bytes(range(12)) + made.on_link(made.ETHERNET, inner, tags=2)[12:])
    assert ethernet.fields == {
        "source": "06:07:08:09:0a:0b", "target": "00:01:02:03:04:05", "type": 0x0800, "vlan": [1, 2],
    }  # fmt: skip
    cooked = struct.pack(">HHH", 4, 1, 6) + b"\x01\x02\x03\x04\x05\x06\0\0" + b"\x08\x00" + inner
    assert read(made.SLL, cooked).fields == {"way": "from us", "source": "01:02:03:04:05:06", "type": 0x0800}
    second = struct.pack(">HHIHBB", 0x0800, 0, 3, 1, 0, 6) + b"\x01\x02\x03\x04\x05\x06\0\0" + inner
    assert read(made.SLL2, second).fields == {
        "interface": 3, "way": "to us", "source": "01:02:03:04:05:06", "type": 0x0800,
    }  # fmt: skip
    assert read(147, b"x").link == "link type 147"


def test_fields_of_ip() -> None:
    data = bytearray(made.ipv4(made.udp(1), piece=0x4000))
    data[1] = 46 << 2 | 3
    found = read(made.RAW, bytes(data)).ip
    assert found is not None
    assert (found.dscp, found.ecn, found.whole, found.identity) == (46, 3, True, 1)
    six = bytearray(made.ipv6(made.udp(1)))
    six[0:2] = struct.pack(">H", 6 << 12 | (10 << 2 | 1) << 4)
    other = read(made.RAW, bytes(six)).ip
    assert other is not None
    assert (other.dscp, other.ecn, other.whole, other.identity) == (10, 1, True, None)


def test_fragments_are_noted_with_their_place() -> None:
    first = read(made.RAW, made.ipv4(made.udp(10), piece=0x2000))
    assert first.problem == FRAGMENT and first.segment is None and first.ip is not None
    assert (first.ip.offset, first.ip.more, first.ip.identity, first.ip.protocol) == (0, True, 1, UDP)
    last = read(made.RAW, made.ipv4(bytes(10), piece=100))
    assert last.ip is not None
    assert (last.problem, last.ip.offset, last.ip.more) == (FRAGMENT, 800, False)
    head = bytes([17, 0]) + struct.pack(">HI", 1448 | 1, 77)
    six = read(made.RAW, made.ipv6(head + bytes(20), 44))
    assert six.ip is not None
    assert (six.problem, six.ip.offset, six.ip.more, six.ip.identity) == (FRAGMENT, 1448, True, 77)
    assert six.ip.protocol == UDP and not six.ip.whole
    whole = read(made.RAW, made.ipv6(bytes([17, 0]) + struct.pack(">HI", 0, 78) + made.udp(3), 44))
    assert whole.problem is None and whole.ip is not None and whole.ip.identity == 78


def test_what_is_before_the_damage_is_kept() -> None:
    good = made.on_link(made.ETHERNET, made.ipv4(made.udp(10)))
    cut = read(made.ETHERNET, good[:36], len(good))
    assert (cut.problem, cut.ip is not None, cut.fields["type"]) == (CUT, True, 0x0800)
    short = read(made.ETHERNET, good[:36])
    assert (short.problem, short.ip) == (MALFORMED, None)  # the length is more than there is
    arp = read(made.ETHERNET, made.MAC + b"\x08\x06" + bytes(28))
    assert (arp.problem, arp.fields["type"], arp.ip) == (NOT_IP, 0x0806, None)
    icmp = read(made.RAW, made.ipv4(bytes(8), 1))
    assert icmp.problem == OTHER and icmp.ip is not None and icmp.ip.protocol == 1
    tcp = read(made.RAW, made.ipv4(made.tcp(20, 7, options=3), 6))
    assert tcp.segment is not None
    assert (tcp.segment.protocol, tcp.segment.size, tcp.segment.sequence) == (TCP, 20, 7)
    assert tcp.segment.start == 20 + 32
