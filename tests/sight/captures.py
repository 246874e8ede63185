"""Hand-made packets and capture files, written by the formats' documents and not by our reader."""

from __future__ import annotations

import socket
import struct

A, B = "10.0.0.1", "10.0.0.2"
SIX_A, SIX_B = "2001:db8::1", "2001:db8::2"
MAC = bytes(12)
SYN, ACK = 0x02, 0x10
ETHERNET, RAW, NULL, LOOP, SLL, SLL2 = 1, 101, 0, 108, 113, 276


def udp(size: int, source: int = 40000, target: int = 5000, claimed: int | None = None) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + size if claimed is None else claimed, 0) + bytes(size)


def udp_with(payload: bytes, source: int = 40000, target: int = 5000) -> bytes:
    """A datagram with a content of its own."""
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def tcp(size: int, sequence: int, source: int = 40000, target: int = 5000, flags: int = ACK, options: int = 0) -> bytes:
    offset = (5 + options) << 4
    head = struct.pack(">HHIIBBHHH", source, target, sequence % (1 << 32), 0, offset, flags, 1000, 0, 0)
    return head + bytes(4 * options) + bytes(size)


def ipv4(body: bytes, protocol: int = 17, source: str = A, target: str = B, piece: int = 0, options: int = 0,
         ecn: int = 0) -> bytes:  # fmt: skip
    total = 20 + 4 * options + len(body)
    head = struct.pack(">BBHHHBBH", 0x45 + options, ecn, total, 1, piece, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(target) + bytes(4 * options) + body


def ipv6(body: bytes, protocol: int = 17, source: str = SIX_A, target: str = SIX_B) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target)
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + ends + body


def on_link(link: int, packet: bytes, tags: int = 0) -> bytes:
    """A packet as it is captured on a link type."""
    kind = struct.pack(">H", 0x0800 if packet[0] >> 4 == 4 else 0x86DD)
    kind = b"".join([struct.pack(">HH", 0x8100, tag + 1) for tag in range(tags)]) + kind
    six = packet[0] >> 4 == 6
    heads = {
        ETHERNET: MAC + kind,
        RAW: b"",
        NULL: struct.pack("<I", 30 if six else 2),
        LOOP: struct.pack(">I", 24 if six else 2),
        SLL: struct.pack(">HHH", 0, 1, 6) + bytes(8) + kind,
        SLL2: kind[:2] + struct.pack(">HIHBB", 0, 1, 1, 0, 6) + bytes(8) + kind[2:],
    }
    return heads[link] + packet


def pcap(
    packets: list[tuple[int, bytes]], link: int = ETHERNET, order: str = "<", ns: bool = False, snap: int = 262144
) -> bytes:
    """A classic file of (ns, bytes on the wire)."""
    out = struct.pack(order + "IHHiIII", 0xA1B23C4D if ns else 0xA1B2C3D4, 2, 4, 0, 0, snap, link)
    for at, data in packets:
        fraction = at % 10**9 // (1 if ns else 1000)
        out += struct.pack(order + "IIII", at // 10**9, fraction, min(snap, len(data)), len(data)) + data[:snap]
    return out


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", 12 + len(body))
    return struct.pack(order + "I", kind) + length + body + length


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str = "<") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + option(order, 4, b"us"))


def interface(link: int, order: str = "<", resolution: int | None = None, offset: int | None = None) -> bytes:
    body = struct.pack(order + "HHI", link, 0, 0) + option(order, 2, b"eth0")
    if resolution is not None:
        body += option(order, 9, bytes([resolution]))
    if offset is not None:
        body += option(order, 14, struct.pack(order + "q", offset))
    return block(order, 1, body + option(order, 0, b""))


def enhanced(units: int, data: bytes, order: str = "<", number: int = 0, size: int | None = None) -> bytes:
    size = len(data) if size is None else size
    body = struct.pack(order + "IIIII", number, units >> 32, units & 0xFFFFFFFF, len(data), size)
    return block(order, 6, body + data + bytes(-len(data) % 4) + option(order, 1, b"a comment"))


def simple(data: bytes, order: str = "<") -> bytes:
    return block(order, 3, struct.pack(order + "I", len(data)) + data)
