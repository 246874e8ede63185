"""Packets as text for people, layer by layer, and as JSON for machines.

What is not known is shown as not known: a number whose upper part nobody has told begins with dots, a checksum that
could not be compared says so. It must never show more of a message than was asked for, nor fail for one that can't be
decoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transport import limits
from transport.codec.base import NAMES, resolve
from transport.errors import CodecError
from transport.rudp import dissect, packet
from transport.rudp.dissect import DELIVERIES, Frame
from transport.sight.capture import Packet
from transport.sight.follow import Connection, Direction, Found
from transport.sight.headers import ECN, TCP, UDP, Headers, shown, shown_end

WIDTH = 9  # of the names of layers
_ETHERTYPES = {0x0800: "IPv4", 0x86DD: "IPv6", 0x0806: "ARP"}
_PROTOCOLS = {UDP: "UDP", TCP: "TCP", 1: "ICMP", 58: "ICMPv6"}
_TEXT_BYTES = frozenset({9, 10, 13, *range(32, 127)})
COUNTED = {
    "copies": "with copies", "tries": "that try a larger size", "marked": "marked by a queue (CE)", "moves": "moves",
    "again": "again", "damaged": "damaged", "malformed": "malformed",
}  # fmt: skip
"""What is counted of a direction, for people."""


@dataclass(slots=True)
class Wanted:
    """What is shown.

    Args:
        bodies: bytes of each message, at most.
        codec: by which bodies are read; "" for the one that the connection has announced.
        frames: only frames of these names; empty for all.
    """

    bodies: int = limits.SIGHT_BODY_BYTES
    codec: str = ""
    frames: frozenset[str] = frozenset()


# Layers below ours


def link_line(headers: Headers) -> str:
    """The link as one line."""
    fields = headers.fields
    parts = []
    if "target" in fields:
        parts.append(f"{fields['source']} > {fields['target']}")
    elif "source" in fields:
        parts.append(f"from {fields['source']}")
    if "way" in fields:
        parts.append(fields["way"])
    parts += [f"VLAN {tag}" for tag in fields.get("vlan", [])]
    kind = fields.get("type", 0)
    if kind:
        parts.append(_ETHERTYPES.get(kind, f"type {kind:#06x}"))
    return _line(1, headers.link, ", ".join(parts))


def ip_line(headers: Headers) -> str:
    """The IP header as one line."""
    ip = headers.ip
    assert ip is not None
    parts = [f"{shown(ip.source)} > {shown(ip.target)}", f"ttl {ip.ttl}", ECN[ip.ecn]]
    if ip.dscp:
        parts.append(f"dscp {ip.dscp}")
    if ip.is_fragment:
        parts.append(
            f"fragment of {ip.identity:#x} from byte {ip.offset}{', more follow' if ip.more else ', the last'}"
        )
    elif ip.version == 4 and not ip.whole:
        parts.append("may be fragmented")
    if ip.protocol not in (UDP, TCP):
        parts.append(_PROTOCOLS.get(ip.protocol, f"protocol {ip.protocol}"))
    return _line(1, f"IPv{ip.version}", ", ".join(parts))


def segment_line(headers: Headers) -> str:
    """The UDP or TCP header as one line."""
    segment = headers.segment
    assert segment is not None
    text = f"{segment.source[1]} > {segment.target[1]}, {_bytes(segment.size)}"
    return _line(1, _PROTOCOLS[segment.protocol], text)


def layers(headers: Headers) -> list[str]:
    """The lines of all headers, and what is wrong with them."""
    found = [link_line(headers)]
    if headers.ip is not None:
        found.append(ip_line(headers))
    if headers.segment is not None:
        found.append(segment_line(headers))
    if headers.problem is not None:
        found.append(_line(1, "!", headers.problem))
    return found


def heading(number: int, at_s: float, captured: Packet, headers: Headers) -> str:
    """What stands above the layers of a captured packet."""
    ends = ""
    if headers.segment is not None:
        ends = f"  {shown_end(headers.segment.source)} > {shown_end(headers.segment.target)}"
    elif headers.ip is not None:
        ends = f"  {shown(headers.ip.source)} > {shown(headers.ip.target)}"
    cut = f" of {captured.size}" if captured.size > len(captured.data) else ""
    return f"#{number}  {at_s:.6f} s{ends}  {len(captured.data)}{cut} bytes"


def note_line(text: str) -> str:
    """Something to be told about a packet, as one line."""
    return _line(1, "note", text)


def brief(number: int, at_s: float, headers: Headers, found: Found, wanted: Wanted) -> str:
    """One packet of ours as one line."""
    made, segment = found.dissection, headers.segment
    assert segment is not None
    arrow = f"{shown_end(segment.source)} > {shown_end(segment.target)}"
    parts = [made.kind]
    if "number" in made.fields:
        parts.append(("" if found.is_sure else "...") + str(made.fields["number"]))
    parts.append(f"{found.size}B")
    frames = [f"{frame.name} {_short(frame)}".rstrip() for frame in chosen(found, wanted) if frame.name != "PAD"]
    told = [made.problem] if made.problem else []
    return f"#{number}  {at_s:.6f} s  {arrow}  {' '.join(parts)}  {'; '.join([*frames, *told, *found.notes])}".rstrip()


def _short(frame: Frame) -> str:
    fields = frame.fields
    if frame.name == "MSG":
        assert frame.body is not None
        piece = f"+{fields['offset']}/{fields['total']}" if "offset" in fields else ""
        lane = f"{fields['channel']}{'OUSL'[fields['delivery']]}"
        return f"{lane}{fields['number']}{piece} {frame.body[1] - frame.body[0]}B"
    if "ranges" in fields:
        first = fields["ranges"][0]
        more = f" +{len(fields['ranges']) - 1}" if len(fields["ranges"]) > 1 else ""
        return f"{first[0]}-{first[1]}{more}"
    if frame.name == "SKIP":
        return f"{fields['channel']}{'OU'[fields['delivery']]} " + " ".join(
            [str(number) for number, _ in fields["messages"]]
        )
    return " ".join([str(value) for value in fields.values()])


def headers_fields(headers: Headers) -> dict[str, Any]:
    """The headers for machines."""
    found: dict[str, Any] = {"link": {"layer": headers.link, **headers.fields}}
    ip, segment = headers.ip, headers.segment
    if ip is not None:
        found["ip"] = {
            "version": ip.version, "source": shown(ip.source), "target": shown(ip.target), "ttl": ip.ttl,
            "dscp": ip.dscp, "ecn": ip.ecn, "protocol": ip.protocol,
        }  # fmt: skip
        if ip.is_fragment:
            found["ip"]["fragment"] = {"id": ip.identity, "offset": ip.offset, "more": ip.more}
    if segment is not None:
        found[_PROTOCOLS[segment.protocol].lower()] = {
            "source": segment.source[1], "target": segment.target[1], "bytes": segment.size,
        }  # fmt: skip
    if headers.problem is not None:
        found["problem"] = headers.problem
    return found


# Our packets


def packet_lines(found: Found, wanted: Wanted) -> Iterator[str]:
    """One packet of ours, its frames and its messages."""
    made = found.dissection
    parts = [*_head(found), *_whose(found)]
    yield _line(1, made.kind or "UDP data", ", ".join(parts))
    for name, value in made.fields.get("parameters", {}).items():
        yield _line(2, "", f"{name} {value!r}" if name == "codec" else f"{name} {value}")
    for frame in chosen(found, wanted):
        yield _line(2, frame.name, _frame(found, frame))
        if frame.body is not None:
            yield from _body(found, frame, wanted)
    if made.rest[1] > made.rest[0]:
        start, end = made.rest
        what = "not read" if made.problem else "behind the CLOSE, of no meaning"
        yield _line(2, "", f"{_bytes(end - start)} {what}: {_hex(found.data[start:end], wanted.bodies)}")
    if made.problem:
        yield _line(1, "!", made.problem)
    for note in found.notes:
        yield _line(1, "note", note)


def chosen(found: Found, wanted: Wanted) -> list[Frame]:
    """The frames that are to be shown."""
    frames = found.dissection.frames
    return [frame for frame in frames if frame.name in wanted.frames] if wanted.frames else frames


def _head(found: Found) -> Iterator[str]:
    made = found.dissection
    fields = made.fields
    if found.of > 1:
        yield f"{found.piece} of {found.of} in one train, {_bytes(found.size)}"
    if "number" in fields:
        dots = "" if found.is_sure else "..."
        yield f"number {dots}{fields['number']} ({_bytes(fields['number_bytes'])})"
    if "version" in fields:
        version = int(fields["version"], 16)
        yield f"version {version & 0xFFFF}" if version >> 16 == packet.VERSION >> 16 else f"version {fields['version']}"
    for name in ("cid", "dcid", "scid", "token"):
        if fields.get(name, "0" * 16) != "0" * 16:
            yield f"{name} {fields[name]}"
    if fields.get("cookie"):
        yield f"cookie of {_bytes(len(fields['cookie']) // 2)}"
    if "code" in fields:
        yield f"code {fields['code']} {fields['reason']!r}"
    if fields.get("versions"):
        yield f"versions {', '.join(fields['versions'])}"
    if fields.get("copies"):
        yield "has copies"
    if fields.get("padding"):
        yield f"{fields['padding']} zeros"
    if made.kind and made.kind != dissect.RESET:
        yield f"{fields.get('checksum', 'checksum')} {made.checksum}"


def _whose(found: Found) -> Iterator[str]:
    if found.connection is not None:
        yield f"connection {found.connection.number}"
        yield found.way


def _frame(found: Found, frame: Frame) -> str:
    fields = frame.fields
    if frame.name == "PAD":
        return f"{fields['count']} times" if fields["count"] > 1 else ""
    if "ranges" in fields:
        ranges = " ".join([str(low) if low == high else f"{low}-{high}" for low, high in fields["ranges"]])
        marks = f", ECT(0) {fields['ect0']}, ECT(1) {fields['ect1']}, CE {fields['ce']}" if "ce" in fields else ""
        return f"{ranges}, delay {fields['delay_us']} us{marks}"
    if frame.name == "MSG":
        return _message(found, frame)
    if frame.name == "SKIP":
        given_up = " ".join([f"{number} ({cost})" for number, cost in fields["messages"]])
        return f"channel {fields['channel']}, {DELIVERIES[fields['delivery']]}, messages (cost) {given_up}"
    if frame.name == "BLOCKED":
        where = "the connection" if fields["channel"] < 0 else f"channel {fields['channel']}"
        return f"{where}, needs {fields['limit']}"
    if frame.name == "CLOSE":
        return f"code {fields['code']} {fields['reason']!r}"
    return ", ".join([f"{name} {value}" for name, value in fields.items()])


def _message(found: Found, frame: Frame) -> str:
    fields = frame.fields
    assert frame.body is not None
    size = frame.body[1] - frame.body[0]
    dots = "" if found.knows_lanes else "..."
    where = "streams" if fields["channel"] == packet.STREAM_CHANNEL else f"channel {fields['channel']}"
    text = f"{where}, {DELIVERIES[fields['delivery']]}, number {dots}{fields['number']}"
    if "offset" in fields:
        return f"{text}, bytes {fields['offset']} to {fields['offset'] + size} of {fields['total']}"
    return f"{text}, {_bytes(size)}"


# Messages


def _body(found: Found, frame: Frame, wanted: Wanted) -> Iterator[str]:
    assert frame.body is not None
    start, end = frame.body
    is_whole = "offset" not in frame.fields
    if frame.fields["channel"] == packet.STREAM_CHANNEL and is_whole:
        frames, problem = dissect.stream_frame(found.data, start, end)
        for inner in frames:
            text = ", ".join([f"{name} {value}" for name, value in inner.fields.items()])
            if inner.body is not None:
                text += f", {_bytes(inner.body[1] - inner.body[0])}"
            yield _line(3, inner.name, text)
        if problem:
            yield _line(3, "!", problem)
    elif wanted.bodies and end > start:
        yield _line(3, *body_text(found.data[start:end], _codec(found, wanted) if is_whole else "raw", wanted.bodies))


def _codec(found: Found, wanted: Wanted) -> str:
    return wanted.codec or (found.connection.codec if found.connection is not None else "")


def body_text(body: bytes, codec: str, most: int) -> tuple[str, str]:
    """How a message's body is to be read, and the body, at most `most` bytes of it."""
    if codec in NAMES and codec != "raw":
        try:
            text = repr(resolve(codec).decode(body))
        except CodecError as error:
            return "!", f"{codec}: {error}"
        return codec, text if len(text) <= most else f"{text[:most]}..."
    if all(byte in _TEXT_BYTES for byte in body[:most]):
        text = body[:most].decode("ascii")
        return "text", repr(text) + ("..." if len(body) > most else "")
    return "bytes", repr(body[:most]) + ("..." if len(body) > most else "")


def _hex(data: bytes, most: int) -> str:
    return data[:most].hex(" ") + (" ..." if len(data) > most else "")


# For machines


def packet_fields(found: Found, wanted: Wanted) -> dict[str, Any]:
    """One packet of ours for machines."""
    made = found.dissection
    fields: dict[str, Any] = {"packet": made.kind or None, "bytes": found.size, **made.fields}
    if made.kind and made.kind != dissect.RESET:
        fields["checksum_kind"] = fields.pop("checksum", None)
        fields["checksum"] = made.checksum
    if found.connection is not None:
        fields |= {
            "connection": found.connection.number,
            "way": found.way,
            "number_known": found.is_sure,
            "message_numbers_known": found.knows_lanes,
        }
    if found.of > 1:
        fields |= {"piece": found.piece, "pieces": found.of}
    if made.kind == dissect.SHORT:
        fields["frames"] = [_frame_fields(found, frame, wanted) for frame in chosen(found, wanted)]
    if made.problem:
        fields["problem"] = made.problem
        fields["unread"] = found.data[made.rest[0] : made.rest[1]][: wanted.bodies].hex()
    if found.notes:
        fields["notes"] = found.notes
    return fields


def _frame_fields(found: Found, frame: Frame, wanted: Wanted) -> dict[str, Any]:
    fields = {"frame": frame.name, **frame.fields}
    if frame.body is not None:
        start, end = frame.body
        fields |= {"size": end - start, "body": found.data[start : min(end, start + wanted.bodies)].hex()}
        if fields["channel"] == packet.STREAM_CHANNEL and "offset" not in fields:
            inner, problem = dissect.stream_frame(found.data, start, end)
            fields["streams"] = [{"frame": one.name, **one.fields} for one in inner]
            if problem:
                fields["problem"] = problem
    return fields


# Connections


def connection_lines(connection: Connection) -> Iterator[str]:
    """What a capture holds of one connection."""
    yield f"connection {connection.number}: {shown_end(connection.client)} > {shown_end(connection.server)}"
    agreed = "not known" if connection.sum_kind is None else dissect.SUMS[connection.sum_kind]
    codec = f", codec {connection.codec!r}" if connection.codec else ""
    seen = "" if connection.hello is not None or connection.accept is not None else ", its handshake was not seen"
    yield f"  {(connection.last - connection.first) / 1e9:.6f} s, checksum {agreed}{codec}{seen}"
    for name, direction in (("to server", connection.to_server), ("to client", connection.to_client)):
        yield f"  {name}  {direction_text(direction)}"


def direction_text(direction: Direction) -> str:
    """What was counted in one direction."""
    counts = direction.counts
    parts = [f"{counts['packets']} packets", _bytes(counts["bytes"]), f"{counts['message_frames']} message frames"]
    if direction.missing:
        parts.append(f"{direction.missing} numbers not seen")
    parts += [f"{counts[name]} {text}" for name, text in COUNTED.items() if counts[name]]
    return ", ".join(parts)


def connection_fields(connection: Connection) -> dict[str, Any]:
    """The same for machines."""
    return {
        "number": connection.number,
        "client": shown_end(connection.client),
        "server": shown_end(connection.server),
        "seconds": (connection.last - connection.first) / 1e9,
        "checksum": None if connection.sum_kind is None else dissect.SUMS[connection.sum_kind],
        "codec": connection.codec or None,
        "handshake": connection.hello is not None or connection.accept is not None,
        **{
            name: {"cid": f"{one.cid:016x}" if one.cid else None, "missing": one.missing, **one.counts}
            for name, one in (("to_server", connection.to_server), ("to_client", connection.to_client))
        },
    }


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"


def _line(depth: int, name: str, text: str) -> str:
    return f"{'  ' * depth}{name:<{WIDTH}} {text}".rstrip()
