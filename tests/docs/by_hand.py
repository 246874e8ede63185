"""A decoder of the `message` framing written from docs/protocol.md alone. It imports nothing of the package."""

from __future__ import annotations

from typing import Any

KINDS = (
    "MESSAGE", "CHANNEL_CREDIT", "CONNECTION_CREDIT", "PING", "PONG", "CLOSE", "STREAM_OPEN", "STREAM_DATA",
    "STREAM_END", "STREAM_RESET", "STREAM_CREDIT",
)  # fmt: skip
PARAMETERS = {1: "max_message", 2: "channels", 3: "channel_window", 4: "connection_window", 5: "stream_window"}
DEFAULTS = {
    "max_message": 1_048_576,
    "channels": 256,
    "channel_window": 4_194_304,
    "connection_window": 16_777_216,
    "stream_window": 1_048_576,
    "codec": "",
}


class Malformed(Exception):
    """The page forbids these bytes; `code` is the close code it names."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Reader:
    """Takes fields off the front of some bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise Malformed(1002)
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        first = self.take(1)
        rest = self.take((1, 2, 4, 8)[first[0] // 64] - 1)
        return int.from_bytes(bytes([first[0] % 64]) + rest, "big")

    def rest(self) -> bytes:
        return self.take(len(self.data) - self.at)


def preface(reader: Reader) -> dict[str, Any]:
    """The preface at the front."""
    if reader.take(4) != bytes.fromhex("d4545270") or reader.take(1) != b"\x01":
        raise Malformed(1002)
    size = int.from_bytes(reader.take(2), "big")
    if size > 1024:
        raise Malformed(1002)
    parameters = Reader(reader.take(size))
    found: dict[int, bytes] = {}
    while parameters.at < size:
        key = parameters.varint()
        if key in found:
            raise Malformed(1002)
        found[key] = parameters.take(parameters.varint())
    meaning: dict[str, Any] = {"preface": 1, **DEFAULTS}
    for key, name in PARAMETERS.items():
        if key in found:
            value = Reader(found[key])
            meaning[name] = value.varint()
            if value.rest() or (key < 5 and not meaning[name]):
                raise Malformed(1002)
    if 6 in found:
        meaning["codec"] = found[6].decode()
    return meaning


def frame(reader: Reader, *, max_message: int = 1_048_576, channels: int = 256) -> dict[str, Any]:
    """The frame at the front."""
    head = reader.take(1)[0]
    kind = head >> 4
    if head & 4 or kind == 11:
        raise Malformed(1002)
    channel = reader.varint() if head & 8 else 0
    if channel >= channels:
        raise Malformed(1002)
    size = reader.varint()
    if size > {0: max_message, 7: 65_544}.get(kind, 1024):
        raise Malformed(1009)
    body = Reader(reader.take(size))
    if kind > 11:
        return {"kind": kind}
    meaning: dict[str, Any] = {"kind": KINDS[kind]}
    if kind in (0, 1, 6):
        meaning["channel"] = channel
    if kind == 0:
        meaning["delivery"] = head & 3
    _fields(kind, body, meaning)
    return meaning


def _fields(kind: int, body: Reader, meaning: dict[str, Any]) -> None:
    if kind in (0, 3, 4):
        meaning["body"] = body.rest().hex()
        if kind and len(meaning["body"]) != 16:
            raise Malformed(1002)
    elif kind in (1, 2):
        meaning["limit"] = body.varint()
    elif kind == 5:
        meaning["code"] = body.varint()
        if meaning["code"] >= 65_536:
            raise Malformed(1002)
        meaning["reason"] = body.rest()[:256].decode("utf-8", "replace")
    else:
        meaning["stream"] = body.varint()
        if kind == 6:
            meaning["total"] = body.varint() - 1
        elif kind == 7:
            meaning["body"] = body.rest().hex()
        elif kind == 9:
            meaning["code"] = body.varint()
            meaning["side"] = body.varint()
        elif kind == 10:
            meaning["limit"] = body.varint()
