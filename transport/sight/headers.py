"""The headers in front of what a program sent: link, IP, and UDP or TCP, each as far as its bytes are good.

Sizes are read from the headers, so that a capture of the first hundred bytes of each packet will do. What can't be read
is named by a reason, never by an exception: whatever bytes may be in a capture. It must never look at payloads.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass, field
from typing import Any

from transport.sight.capture import Packet

UDP, TCP = 17, 6
SYN, ACK = 0x02, 0x10
IPV4, IPV6 = 0x0800, 0x86DD
_TAGS = {0x8100, 0x88A8, 0x9100}  # VLAN, in all its spellings
_TAGS_MAX = 4
_EXTENSIONS = {0, 43, 60, 135, 139, 140}  # of IPv6; a length in units of 8 bytes stands in the second byte
_FRAGMENT, _AUTHENTICATION = 44, 51
_EXTENSIONS_MAX = 16
NULL, ETHERNET, RAW_OLD, RAW_BSD, RAW, LOOP, SLL, IPV4_ONLY, IPV6_ONLY, SLL2 = (
    0, 1, 12, 14, 101, 108, 113, 228, 229, 276,
)  # fmt: skip
"""Link types, by their numbers in captures (LINKTYPE_...)."""
_LINKS = {
    NULL: "loopback", LOOP: "loopback", ETHERNET: "Ethernet", RAW_OLD: "raw IP", RAW_BSD: "raw IP", RAW: "raw IP",
    IPV4_ONLY: "raw IP", IPV6_ONLY: "raw IP", SLL: "Linux cooked", SLL2: "Linux cooked v2",
}  # fmt: skip
_WAYS = ("to us", "broadcast", "multicast", "passing by", "from us")  # of Linux cooked captures
_FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}  # AF_INET, and AF_INET6 of each system
ECN = ("not ECT", "ECT(1)", "ECT(0)", "CE")  # RFC 3168
CE = 3

NOT_IP, FRAGMENT, MALFORMED, CUT = "not IP", "fragments", "malformed", "cut off before the end of their headers"
OTHER = "neither UDP nor TCP"

End = tuple[bytes, int]  # address and port


class Skipped(Exception):
    """This packet gives nothing; the text is the reason by which it is counted."""


@dataclass(slots=True)
class Segment:
    """One UDP datagram or TCP segment.

    Attributes:
        at: ns.
        protocol: `UDP` or `TCP`.
        source, target: its two ends.
        size: bytes of payload, as sent.
        sequence, flags: of TCP.
        start: where the payload begins in the captured bytes.
        ecn: the mark of its IP packet, see `ECN`.
    """

    at: int
    protocol: int
    source: End
    target: End
    size: int
    sequence: int = 0
    flags: int = 0
    start: int = 0
    ecn: int = 0


@dataclass(slots=True)
class Ip:
    """An IP header, extensions of IPv6 included.

    Attributes:
        version: 4 or 6.
        source, target: addresses, 4 or 16 bytes.
        ttl: or hop limit.
        dscp, ecn: the two parts of the traffic class.
        protocol: what it carries.
        identity, offset, more: of a fragment; `offset` in bytes. `identity` is None where there is none.
        whole: it may not be fragmented on its way.
    """

    version: int
    source: bytes
    target: bytes
    ttl: int
    dscp: int
    ecn: int
    protocol: int = 0
    identity: int | None = None
    offset: int = 0
    more: bool = False
    whole: bool = False

    @property
    def is_fragment(self) -> bool:
        """Whether it carries a part of a datagram only."""
        return self.offset > 0 or self.more


@dataclass(slots=True)
class Headers:
    """What is in front of a payload, as far as it could be read.

    Attributes:
        link: the link type's name.
        fields: of the link: addresses, VLAN tags, the EtherType, by name.
        ip, segment: the next layers.
        problem: why there is no segment; one of the reasons above, or None.
    """

    link: str
    fields: dict[str, Any] = field(default_factory=dict)
    ip: Ip | None = None
    segment: Segment | None = None
    problem: str | None = None


def read_headers(packet: Packet) -> Headers:
    """All headers of a packet."""
    found = Headers(_LINKS.get(packet.link, f"link type {packet.link}"))
    try:
        _read(packet, found)
    except (struct.error, IndexError):
        found.problem = CUT if packet.size > len(packet.data) else MALFORMED
    except Skipped as reason:
        found.problem = str(reason)
    return found


def decode(packet: Packet) -> Segment:
    """The UDP datagram or TCP segment that a packet carries. Raises Skipped."""
    found = read_headers(packet)
    if found.segment is None:
        raise Skipped(found.problem)
    return found.segment


def shown(address: bytes) -> str:
    """An IP address as people write it."""
    return str(ipaddress.ip_address(address))


def shown_end(end: End) -> str:
    """An address and a port."""
    return f"[{shown(end[0])}]:{end[1]}" if len(end[0]) == 16 else f"{shown(end[0])}:{end[1]}"


def _read(packet: Packet, found: Headers) -> None:
    data = packet.data
    kind, at = _link(packet.link, data, found.fields)
    found.fields["type"] = kind
    wire = max(packet.size, len(data)) - at  # from the IP header on, where that does not say it itself
    if kind == IPV4:
        left, at = _ipv4(data, at, wire, found)
    elif kind == IPV6:
        left, at = _ipv6(data, at, wire, found)
    else:
        raise Skipped(NOT_IP)
    assert found.ip is not None
    if found.ip.is_fragment:
        raise Skipped(FRAGMENT)
    found.segment = _transport(packet.at, found.ip, data, at, left)


def _link(link: int, data: bytes, fields: dict[str, Any]) -> tuple[int, int]:
    """(EtherType, where its content begins)."""
    if link == ETHERNET:
        kind = struct.unpack_from(">H", data, 12)[0]
        fields["source"], fields["target"] = data[6:12].hex(":"), data[:6].hex(":")
        return _tagged(kind, data, 14, fields)
    if link in (RAW, RAW_OLD, RAW_BSD, IPV4_ONLY, IPV6_ONLY):
        return {4: IPV4, 6: IPV6}.get(data[0] >> 4, 0), 0
    if link == SLL:
        way, _, size = struct.unpack_from(">HHH", data, 0)
        kind = struct.unpack_from(">H", data, 14)[0]
        _cooked(way, data[6 : 6 + min(size, 8)], fields)
        return _tagged(kind, data, 16, fields)
    if link == SLL2:
        kind, _, fields["interface"], _, way, size = struct.unpack_from(">HHIHBB", data, 0)
        _cooked(way, data[12 : 12 + min(size, 8)], fields)
        return _tagged(kind, data, 20, fields)
    if link in (NULL, LOOP):
        family = min(struct.unpack_from(">I", data)[0], struct.unpack_from("<I", data)[0])  # of whichever machine
        return _FAMILIES.get(family, 0), 4
    raise Skipped(f"of link type {link}, which is not known here")


def _cooked(way: int, source: bytes, fields: dict[str, Any]) -> None:
    fields["way"] = _WAYS[way] if way < len(_WAYS) else str(way)
    if source:
        fields["source"] = source.hex(":")


def _tagged(kind: int, data: bytes, at: int, fields: dict[str, Any]) -> tuple[int, int]:
    for _ in range(_TAGS_MAX):
        if kind not in _TAGS:
            break
        tag, kind = struct.unpack_from(">HH", data, at)
        fields.setdefault("vlan", []).append(tag & 0xFFF)
        at += 4
    return kind, at


def _ipv4(data: bytes, at: int, wire: int, found: Headers) -> tuple[int, int]:
    """(bytes behind the header, where they begin)."""
    head = (data[at] & 15) * 4
    total, identity, piece = struct.unpack_from(">HHH", data, at + 2)
    total = total or wire  # an offload that is larger than the field can say
    if data[at] >> 4 != 4 or head < 20 or total < head or total > wire:
        raise Skipped(MALFORMED)
    source, target = _part(data, at + 12, 4), _part(data, at + 16, 4)
    found.ip = Ip(
        4, source, target, data[at + 8], data[at + 1] >> 2, data[at + 1] & 3, data[at + 9], identity,
        (piece & 0x1FFF) * 8, bool(piece & 0x2000), bool(piece & 0x4000),
    )  # fmt: skip
    return total - head, at + head


def _ipv6(data: bytes, at: int, wire: int, found: Headers) -> tuple[int, int]:
    """(bytes behind the headers, where they begin)."""
    if data[at] >> 4 != 6:
        raise Skipped(MALFORMED)
    left = struct.unpack_from(">H", data, at + 4)[0] or wire - 40
    if not 0 <= left <= wire - 40:
        raise Skipped(MALFORMED)
    kind, hops = data[at + 6 : at + 8]
    source, target = _part(data, at + 8, 16), _part(data, at + 24, 16)
    traffic = (data[at] << 4 | data[at + 1] >> 4) & 0xFF
    ip = found.ip = Ip(6, source, target, hops, traffic >> 2, traffic & 3, whole=True)
    at += 40
    for _ in range(_EXTENSIONS_MAX):
        if kind == _FRAGMENT:
            piece, ip.identity = struct.unpack_from(">HI", data, at + 2)
            ip.offset, ip.more, ip.whole = piece & 0xFFF8, bool(piece & 1), False
            size = 8
        elif kind in _EXTENSIONS:
            size = data[at + 1] * 8 + 8
        elif kind == _AUTHENTICATION:
            size = data[at + 1] * 4 + 8
        else:
            ip.protocol = kind
            return left, at
        kind = data[at]
        at += size
        left -= size
        if ip.offset:
            ip.protocol = kind
            return left, at  # what stands behind is from the middle of the datagram
    raise Skipped(MALFORMED)


def _part(data: bytes, at: int, size: int) -> bytes:
    part = data[at : at + size]
    if len(part) < size:
        raise IndexError
    return part


def _transport(when: int, ip: Ip, data: bytes, at: int, left: int) -> Segment:
    if ip.protocol not in (UDP, TCP):
        raise Skipped(OTHER)
    source, target = struct.unpack_from(">HH", data, at)
    here, there = (ip.source, source), (ip.target, target)
    if ip.protocol == UDP:
        size = struct.unpack_from(">H", data, at + 4)[0] or left  # 0 of an offload, likewise
        if not 8 <= size <= left:
            raise Skipped(MALFORMED)
        return Segment(when, UDP, here, there, size - 8, start=at + 8, ecn=ip.ecn)
    sequence, _, offset, flags = struct.unpack_from(">IIBB", data, at + 4)
    head = (offset >> 4) * 4
    if not 20 <= head <= left:
        raise Skipped(MALFORMED)
    return Segment(when, TCP, here, there, left - head, sequence, flags, at + head, ip.ecn)
