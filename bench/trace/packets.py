"""From a captured packet to what a program sent: link, IP and UDP or TCP headers, no more of each than is needed.

Sizes are read from the headers, so that a capture of the first hundred bytes of each packet will do. What gives no
message is named by a reason, never by an exception: whatever bytes may be in a capture. It must never look at payloads.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bench.trace.capture import Packet

UDP, TCP = 17, 6
SYN, ACK = 0x02, 0x10
_IPV4, _IPV6 = 0x0800, 0x86DD
_TAGS = {0x8100, 0x88A8, 0x9100}  # VLAN, in all its spellings
_TAGS_MAX = 4
_EXTENSIONS = {0, 43, 60, 135, 139, 140}  # of IPv6; a length in units of 8 bytes stands in the second byte
_FRAGMENT, _AUTHENTICATION = 44, 51
_EXTENSIONS_MAX = 16
_NULL, _ETHERNET, _RAW_OLD, _RAW_BSD, _RAW, _LOOP, _SLL, _IPV4_ONLY, _IPV6_ONLY, _SLL2 = (
    0, 1, 12, 14, 101, 108, 113, 228, 229, 276,
)  # fmt: skip
_FAMILIES = {2: _IPV4, 10: _IPV6, 24: _IPV6, 28: _IPV6, 30: _IPV6}  # AF_INET, and AF_INET6 of each system

NOT_IP, FRAGMENT, MALFORMED, CUT = "not IP", "fragments", "malformed", "cut off before the end of their headers"
OTHER = "neither UDP nor TCP"

End = tuple[bytes, int]  # address and port


class Skipped(Exception):
    """This packet gives no message; the text is the reason by which it is counted."""


@dataclass(slots=True)
class Segment:
    """One UDP datagram or TCP segment.

    Attributes:
        at: ns.
        protocol: `UDP` or `TCP`.
        source, target: its two ends.
        size: bytes of payload, as sent.
        sequence, flags: of TCP.
    """

    at: int
    protocol: int
    source: End
    target: End
    size: int
    sequence: int = 0
    flags: int = 0


def decode(packet: Packet) -> Segment:
    """What a packet carries. Raises Skipped."""
    data = packet.data
    try:
        kind, at = _link(packet.link, data)
        wire = max(packet.size, len(data)) - at  # from the IP header on, where that does not say it itself
        if kind == _IPV4:
            return _ipv4(packet.at, data, at, wire)
        if kind == _IPV6:
            return _ipv6(packet.at, data, at, wire)
    except (struct.error, IndexError):
        raise Skipped(CUT if packet.size > len(data) else MALFORMED) from None
    raise Skipped(NOT_IP)


def _link(link: int, data: bytes) -> tuple[int, int]:
    """(EtherType, where its content begins)."""
    if link == _ETHERNET:
        return _tagged(struct.unpack_from(">H", data, 12)[0], data, 14)
    if link in (_RAW, _RAW_OLD, _RAW_BSD, _IPV4_ONLY, _IPV6_ONLY):
        return {4: _IPV4, 6: _IPV6}.get(data[0] >> 4, 0), 0
    if link == _SLL:
        return _tagged(struct.unpack_from(">H", data, 14)[0], data, 16)
    if link == _SLL2:
        return _tagged(struct.unpack_from(">H", data, 0)[0], data, 20)
    if link in (_NULL, _LOOP):
        family = min(struct.unpack_from(">I", data)[0], struct.unpack_from("<I", data)[0])  # of whichever machine
        return _FAMILIES.get(family, 0), 4
    raise Skipped(f"of link type {link}, which is not known here")


def _tagged(kind: int, data: bytes, at: int) -> tuple[int, int]:
    for _ in range(_TAGS_MAX):
        if kind not in _TAGS:
            break
        kind = struct.unpack_from(">H", data, at + 2)[0]
        at += 4
    return kind, at


def _ipv4(when: int, data: bytes, at: int, wire: int) -> Segment:
    head = (data[at] & 15) * 4
    total, _, piece = struct.unpack_from(">HHH", data, at + 2)
    total = total or wire  # an offload that is larger than the field can say
    if data[at] >> 4 != 4 or head < 20 or total < head or total > wire:
        raise Skipped(MALFORMED)
    if piece & 0x3FFF:
        raise Skipped(FRAGMENT)
    ends = _part(data, at + 12, 4), _part(data, at + 16, 4)
    return _transport(when, data[at + 9], ends, data, at + head, total - head)


def _ipv6(when: int, data: bytes, at: int, wire: int) -> Segment:
    if data[at] >> 4 != 6:
        raise Skipped(MALFORMED)
    left = struct.unpack_from(">H", data, at + 4)[0] or wire - 40
    if not 0 <= left <= wire - 40:
        raise Skipped(MALFORMED)
    kind = data[at + 6]
    ends = _part(data, at + 8, 16), _part(data, at + 24, 16)
    at += 40
    for _ in range(_EXTENSIONS_MAX):
        if kind == _FRAGMENT:
            if struct.unpack_from(">H", data, at + 2)[0] & 0xFFF9:
                raise Skipped(FRAGMENT)
            size = 8
        elif kind in _EXTENSIONS:
            size = data[at + 1] * 8 + 8
        elif kind == _AUTHENTICATION:
            size = data[at + 1] * 4 + 8
        else:
            return _transport(when, kind, ends, data, at, left)
        kind = data[at]
        at += size
        left -= size
    raise Skipped(MALFORMED)


def _part(data: bytes, at: int, size: int) -> bytes:
    found = data[at : at + size]
    if len(found) < size:
        raise IndexError
    return found


def _transport(when: int, kind: int, ends: tuple[bytes, bytes], data: bytes, at: int, left: int) -> Segment:
    if kind not in (UDP, TCP):
        raise Skipped(OTHER)
    source, target = struct.unpack_from(">HH", data, at)
    here, there = (ends[0], source), (ends[1], target)
    if kind == UDP:
        size = struct.unpack_from(">H", data, at + 4)[0] or left  # 0 of an offload, likewise
        if not 8 <= size <= left:
            raise Skipped(MALFORMED)
        return Segment(when, UDP, here, there, size - 8)
    sequence, _, offset, flags = struct.unpack_from(">IIBB", data, at + 4)
    head = (offset >> 4) * 4
    if not 20 <= head <= left:
        raise Skipped(MALFORMED)
    return Segment(when, TCP, here, there, left - head, sequence, flags)
