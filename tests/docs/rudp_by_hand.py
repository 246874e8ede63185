"""A decoder of reliable UDP written from docs/protocol.md alone. It imports nothing of the package."""

from __future__ import annotations

import re
from typing import Any

from tests.docs.by_hand import Malformed, Reader

KINDS = ("HELLO", "RETRY", "ACCEPT", "REFUSE")
PARAMETERS = {
    1: "max_ack_delay_us", 2: "idle_ms", 3: "max_datagram", 4: "connection_window", 5: "channel_window",
    6: "max_message", 7: "channels", 8: "checksums", 9: "codec", 10: "reset_token", 11: "stream_window",
}  # fmt: skip
DEFAULTS = {
    "max_ack_delay_us": 5000, "idle_ms": 30_000, "max_datagram": 1200, "connection_window": 262_144,
    "channel_window": 262_144, "max_message": 1_048_576, "channels": 256, "checksums": 2, "codec": "",
    "reset_token": "", "stream_window": 1_048_576,
}  # fmt: skip
POLYNOMIALS = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78}


class Dropped(Exception):
    """A packet that the page has a reader drop."""


def spelled(text: str) -> bytes:
    """Bytes as the tables have them: `01 00*3` is 01 00 00 00."""
    return bytes.fromhex(re.sub(r"([0-9a-f]{2})\*([0-9]+)", lambda found: found[1] * int(found[2]), text))


def checksum(kind: str, data: bytes, before: int) -> int:
    """The checksum of `data`, going on from `before`, bit by bit."""
    register = before ^ 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register // 2 ^ (POLYNOMIALS[kind] if register % 2 else 0)
    return register ^ 0xFFFFFFFF


def nearest(truncated: bytes, expected: int) -> int:
    """The whole number with these lowest bytes that is nearest to the expected one."""
    span = 256 ** len(truncated)
    first = expected // span * span + int.from_bytes(truncated, "big")
    allowed = [number for number in (first + span, first, first - span) if 0 <= number < 2**62]
    return min(allowed, key=lambda number: abs(number - expected))


def parameters(data: bytes) -> dict[str, Any]:
    """What stands in the block, and nothing for what is absent."""
    reader = Reader(data)
    found: dict[str, Any] = {}
    seen = set()
    while reader.at < len(data):
        key = reader.varint()
        value = Reader(reader.take(reader.varint()))
        if key in seen:
            raise Malformed(1002)
        seen.add(key)
        if key == 9:
            found["codec"] = value.rest().decode()
        elif key == 10:
            found["reset_token"] = value.take(16).hex()
        elif key in PARAMETERS:
            number = found[PARAMETERS[key]] = value.varint()
            if (4 <= key <= 7 and not number) or (key == 1 and number > 1_000_000) or (key == 3 and number < 1200):
                raise Malformed(1002)
        else:
            continue
        if value.rest():
            raise Malformed(1002)
    return found


def long(data: bytes) -> dict[str, Any]:
    """A packet of the handshake."""
    if len(data) < 25 or data[0] < 0xC0 or checksum("crc32", data[:-4], 0) != int.from_bytes(data[-4:], "big"):
        raise Dropped
    reader = Reader(data[:-4])
    flags = reader.take(1)[0]
    kind = KINDS[flags // 16 % 4]
    meaning: dict[str, Any] = {"packet": kind, "version": reader.take(4).hex()}
    meaning["dcid"], meaning["scid"] = reader.take(8).hex(), reader.take(8).hex()
    wanted = {"HELLO": (False, True), "RETRY": (True, False), "ACCEPT": (True, True), "REFUSE": (True, False)}[kind]
    if (meaning["dcid"] != "0" * 16, meaning["scid"] != "0" * 16) != wanted or (kind == "HELLO" and len(data) < 1200):
        raise Dropped
    if meaning["version"] != "74720001" and kind == "HELLO":
        return meaning
    if meaning["version"] != "74720001" and kind != "REFUSE":
        raise Dropped
    if meaning["version"] == "74720001" and flags % 16:
        raise Dropped
    try:
        _body(kind, reader, meaning)
    except (Malformed, UnicodeDecodeError):
        raise Dropped from None
    return meaning


def _counted(reader: Reader, most: int) -> bytes:
    size = reader.varint()
    if size > most:
        raise Malformed(1002)
    return reader.take(size)


def _body(kind: str, reader: Reader, meaning: dict[str, Any]) -> None:
    if kind in ("HELLO", "RETRY"):
        meaning["cookie"] = _counted(reader, 255).hex()
        if kind == "RETRY" and not meaning["cookie"]:
            raise Malformed(1002)
    if kind in ("HELLO", "ACCEPT"):
        meaning["parameters"] = parameters(_counted(reader, 1024))
    if kind == "REFUSE":
        meaning["code"] = reader.varint()
        meaning["reason"] = _counted(reader, 256).decode("utf-8", "replace")
        count = reader.varint()
        if count > 16 or meaning["code"] >= 65_536:
            raise Malformed(1002)
        meaning["versions"] = [reader.take(4).hex() for _ in range(count)]


def short(data: bytes, kind: str, expected: int = 0, limits: Limits | None = None) -> dict[str, Any]:
    """An ordinary packet, where the checksum of that kind was agreed."""
    size = 0 if kind == "none" else 4
    if len(data) < 11 + size or data[0] // 64 != 1 or data[0] & 0b101100:
        raise Dropped
    body = data[: len(data) - size]
    if size and checksum(kind, body, int.from_bytes(data[5:9], "big")) != int.from_bytes(data[-4:], "big"):
        raise Dropped
    reader = Reader(body)
    flags = reader.take(1)[0]
    meaning: dict[str, Any] = {"packet": "SHORT", "cid": reader.take(8).hex()}
    meaning["number"] = nearest(reader.take(flags % 4 + 1), expected)
    meaning["copies"] = bool(flags & 16)
    meaning["frames"] = frames(reader.rest(), limits or Limits())
    if not meaning["frames"]:
        raise Dropped
    return meaning


class Limits:
    """What this side announced, and what it has sent and got."""

    def __init__(
        self, *, channels: int = 256, max_message: int = 1_048_576, sent: int = 2**62, is_client: bool = True
    ) -> None:
        self.channels = channels
        self.is_client = is_client
        self.max_message = max_message
        self.sent = sent  # the number of the next packet
        self.highest: dict[tuple[int, int], int] = {}  # number that is expected, by lane
        self.last: tuple[int, int, int] | None = None  # channel, delivery and number of the MSG before


def frames(data: bytes, limits: Limits) -> list[dict[str, Any]]:
    """The frames of a packet."""
    reader = Reader(data)
    found = []
    limits.last = None
    while reader.at < len(data):
        kind = reader.take(1)[0]
        found.append(_message(kind, reader, limits) if kind >= 0x80 else _control(kind, reader, limits))
        if found[-1]["frame"] == "SKIP":
            limits.last = None
        if found[-1]["frame"] == "CLOSE":
            break
    return found


def _control(kind: int, reader: Reader, limits: Limits) -> dict[str, Any]:
    if kind in (0, 1):
        return {"frame": ("PAD", "PING")[kind]}
    if kind in (2, 3):
        return _ack(kind, reader, limits)
    if kind == 4:
        meaning = {"frame": "ACK_POLICY", "number": reader.varint(), "threshold": reader.varint()}
        meaning.update(delay_us=reader.varint(), reordering=reader.varint())
        if not meaning["threshold"]:
            raise Malformed(1002)
        return meaning
    if kind == 5:
        return _skip(reader, limits)
    if kind == 6:
        return {"frame": "CONNECTION_CREDIT", "limit": reader.varint()}
    if kind == 7:
        meaning = {"frame": "CHANNEL_CREDIT", "channel": reader.varint(), "limit": reader.varint()}
        if meaning["channel"] >= limits.channels:
            raise Malformed(1002)
        return meaning
    if kind == 8:
        where, limit = reader.varint(), reader.varint()
        if where > limits.channels:
            raise Malformed(1002)
        return {"frame": "BLOCKED", "channel": where - 1, "limit": limit}
    if kind in (9, 10):
        return {"frame": ("PATH_CHALLENGE", "PATH_RESPONSE")[kind - 9], "token": reader.take(8).hex()}
    if kind == 11:
        meaning = {"frame": "NEW_CID", "number": reader.varint(), "floor": reader.varint(), "cid": reader.take(8).hex()}
        if limits.is_client:
            meaning["reset_token"] = reader.take(16).hex()
        if meaning["floor"] > meaning["number"] or meaning["cid"] == "0" * 16:
            raise Malformed(1002)
        return meaning
    if kind == 12:
        return {"frame": "RETIRE_CID", "number": reader.varint()}
    if kind == 14:
        code = reader.varint()
        if code >= 65_536:
            raise Malformed(1002)
        return {"frame": "CLOSE", "code": code, "reason": _counted(reader, 256).decode("utf-8", "replace")}
    raise Malformed(1002)


def _ack(kind: int, reader: Reader, limits: Limits) -> dict[str, Any]:
    largest, delay, count, run = (reader.varint() for _ in range(4))
    if largest >= limits.sent or count > 31:
        raise Malformed(1002)
    ranges = [[largest - run, largest]]
    for _ in range(count):
        high = ranges[-1][0] - reader.varint() - 2
        ranges.append([high - reader.varint(), high])
    if ranges[-1][0] < 0:
        raise Malformed(1002)
    meaning = {"frame": ("ACK", "ACK_ECN")[kind - 2], "ranges": ranges, "delay_us": delay * 8}
    if kind == 3:
        meaning.update({name: reader.varint() for name in ("ect0", "ect1", "ce")})
    return meaning


def _skip(reader: Reader, limits: Limits) -> dict[str, Any]:
    lane, count = reader.varint(), reader.varint()
    if lane % 4 > 1 or not 1 <= count <= 32 or lane // 4 >= limits.channels:
        raise Malformed(1002)
    entries = [[reader.varint(), reader.varint()] for _ in range(count)]
    if any(not 32 <= cost <= limits.max_message + 32 for _, cost in entries):
        raise Malformed(1002)
    _came(limits, (lane // 4, lane % 4), max(number for number, _ in entries))
    return {"frame": "SKIP", "channel": lane // 4, "delivery": lane % 4, "messages": entries}


def _came(limits: Limits, lane: tuple[int, int], number: int) -> None:
    limits.highest[lane] = max(number + 1, limits.highest.get(lane, 0))


def _message(kind: int, reader: Reader, limits: Limits) -> dict[str, Any]:
    delivery = kind // 32 % 4
    if kind & 4:
        if limits.last is None or limits.last[1] != delivery or kind & 3:
            raise Malformed(1002)
        channel, _, number = limits.last
        number += 1
    else:
        channel = reader.varint()
        number = nearest(reader.take(kind % 4 + 1), limits.highest.get((channel, delivery), 0))
    if channel >= limits.channels and (channel, delivery) != (256, 0):
        raise Malformed(1002)
    limits.last = (channel, delivery, number)
    _came(limits, (channel, delivery), number)
    meaning: dict[str, Any] = {"frame": "MSG", "channel": channel, "delivery": delivery, "number": number}
    if kind & 16:
        meaning["offset"], meaning["total"] = reader.varint(), reader.varint()
    body = reader.take(reader.varint()) if kind & 8 else reader.rest()
    meaning["body"] = body.hex()
    if kind & 16 and not 0 < len(body) <= meaning["total"] - meaning["offset"]:
        raise Malformed(1002)
    most = 66_560 if channel == 256 else limits.max_message if delivery < 2 else min(limits.max_message, 65_536)
    if meaning.get("total", len(body)) > most:
        raise Malformed(1009)
    return meaning
