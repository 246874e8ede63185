"""Packets out of a capture file: classic pcap and pcapng, as tcpdump and Wireshark write them.

Why our own reader: of the libraries on PyPI that read both formats, scapy is large, and dpkt, the small one, has had no
release since August 2022; what is needed is the frame around packets and a few headers (`transport.sight.headers`), and
that a damaged file gives what is before the damage instead of an exception. It must never raise for what is in a file
that begins like a capture, and never set memory aside for a length that it has not compared with its limit.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from transport.limits import CAPTURE_BLOCK_BYTES_MAX as BLOCK_BYTES_MAX
from transport.limits import CAPTURE_INTERFACES_MAX as INTERFACES_MAX
from transport.limits import CAPTURE_PACKET_BYTES_MAX as PACKET_BYTES_MAX
from transport.limits import SECOND_NS as NS

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
SECTION, INTERFACE, OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
BYTE_ORDER = 0x1A2B3C4D
OPTION_END, OPTION_TSRESOL, OPTION_TSOFFSET = 0, 9, 14
CLASSIC = {  # magic number -> byte order, ns in a unit of the fraction
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}


class BadCapture(ValueError):
    """A file that is no capture; the text says why, in one line."""


@dataclass(slots=True)
class Packet:
    """One captured packet.

    Attributes:
        at: ns since the file's epoch.
        link: the link type's number (LINKTYPE_...).
        data: what was captured of it.
        size: how many bytes it had on the wire.
    """

    at: int
    link: int
    data: bytes
    size: int


@dataclass(slots=True)
class Seen:
    """What a capture held beside what was looked for.

    Attributes:
        packets: how many were read.
        skipped: reason -> packets that gave nothing.
        notes: reason -> packets that were used, of which something is to be known.
        broken: why the rest of the file could not be read; None if it was read to its end.
    """

    packets: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    broken: str | None = None


class _Broken(Exception):
    """The file is damaged from here on."""


def read_capture(path: Path, seen: Seen) -> Iterator[Packet]:
    """The packets of a file, in its order; `seen` says in the end what is to be known of it.

    Raises:
        BadCapture: it is no capture.
        OSError: no such file, or no right to read it.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:2] == GZIP or magic == ZSTD:
            raise BadCapture(f"{path.name} is compressed: unpack it first")
        if magic in CLASSIC:
            packets = _classic(file, *CLASSIC[magic])
        elif magic == struct.pack(">I", SECTION):
            packets = _Blocks(file, seen).packets()
        else:
            raise BadCapture(f"{path.name} is neither a pcap nor a pcapng file")
        try:
            for packet in packets:
                seen.packets += 1
                yield packet
        except _Broken as error:
            seen.broken = str(error)


def _exactly(file: IO[bytes], size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise _Broken("it ends in the middle of a packet")
    return data


def _classic(file: IO[bytes], order: str, unit_ns: int) -> Iterator[Packet]:
    head = struct.Struct(order + "IIII")
    link = struct.unpack(order + "HHiIII", _exactly(file, 20))[5] & 0xFFFF  # above are bits about a checksum
    while data := file.read(head.size):
        if len(data) < head.size:
            raise _Broken("it ends in the middle of a packet's head")
        seconds, fraction, captured, size = head.unpack(data)
        if captured > PACKET_BYTES_MAX:
            raise _Broken(f"a packet of {captured} bytes")
        yield Packet(seconds * NS + fraction * unit_ns, link, _exactly(file, captured), size)


@dataclass(slots=True)
class _Interface:
    link: int
    snap: int
    numerator: int = NS  # ns = units * numerator // denominator + offset
    denominator: int = 1_000_000
    offset_ns: int = 0


class _Blocks:
    """The blocks of a pcapng file that matter; others are passed over."""

    def __init__(self, file: IO[bytes], seen: Seen) -> None:
        self._file = file
        self._seen = seen
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def packets(self) -> Iterator[Packet]:
        """All packets with a time."""
        kind_bytes = struct.pack(">I", SECTION)  # the first has been read; it is the same in both byte orders
        while kind_bytes:
            if len(kind_bytes) < 4:
                raise _Broken("it ends in the middle of a block")
            kind = struct.unpack(self._order + "I", kind_bytes)[0]
            body = self._section() if kind == SECTION else self._body()
            packet = self._packet(kind, body)
            if packet is not None:
                yield packet
            kind_bytes = self._file.read(4)

    def _section(self) -> bytes:
        length = _exactly(self._file, 4)
        order = _exactly(self._file, 4)
        for sign in "<>":
            if struct.unpack(sign + "I", order)[0] == BYTE_ORDER:
                self._order = sign
                break
        else:
            raise _Broken("a section without its byte order")
        self._interfaces = []
        return self._rest(length, already=12)

    def _body(self) -> bytes:
        return self._rest(_exactly(self._file, 4), already=8)

    def _rest(self, length: bytes, already: int) -> bytes:
        total = struct.unpack(self._order + "I", length)[0]
        if total < already + 4 or total % 4 or total > BLOCK_BYTES_MAX:
            raise _Broken(f"a block of {total} bytes")
        body = _exactly(self._file, total - already)
        if body[-4:] != length:
            raise _Broken("a block whose two lengths differ")
        return body[:-4]

    def _packet(self, kind: int, body: bytes) -> Packet | None:
        if kind == INTERFACE:
            self._interface(body)
        elif kind == SIMPLE_PACKET:
            self._seen.packets += 1
            self._seen.skipped["without a time (simple packet blocks)"] += 1
        elif kind in (ENHANCED_PACKET, OLD_PACKET):
            return self._timed(kind, body)
        return None

    def _interface(self, body: bytes) -> None:
        if len(body) < 8 or len(self._interfaces) >= INTERFACES_MAX:
            raise _Broken("an interface that is none, or one too many")
        link, _, snap = struct.unpack_from(self._order + "HHI", body)
        found = _Interface(link, snap)
        at = 8
        while at + 4 <= len(body):
            code, size = struct.unpack_from(self._order + "HH", body, at)
            value = body[at + 4 : at + 4 + size]
            if code == OPTION_END or len(value) < size:
                break
            if code == OPTION_TSRESOL and size == 1:
                found.denominator = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == OPTION_TSOFFSET and size == 8:
                found.offset_ns = struct.unpack(self._order + "q", value)[0] * NS
            at += 4 + (size + 3) // 4 * 4
        self._interfaces.append(found)

    def _timed(self, kind: int, body: bytes) -> Packet:
        if len(body) < 20:
            raise _Broken("a packet block that is too short")
        form = "IIIII" if kind == ENHANCED_PACKET else "HHIIII"
        number, *_, high, low, captured, size = struct.unpack_from(self._order + form, body)
        if captured > len(body) - 20:
            raise _Broken("a packet that is larger than its block")
        if number >= len(self._interfaces):
            raise _Broken("a packet of an interface that was not named")
        one = self._interfaces[number]
        at = ((high << 32) | low) * one.numerator // one.denominator + one.offset_ns
        return Packet(at, one.link, body[20 : 20 + captured], size)
