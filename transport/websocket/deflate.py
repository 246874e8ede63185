"""permessage-deflate (RFC 7692): its negotiation, and one compressor or decompressor for each direction.

It must never build more of a message than the limit it was given, whatever the compressed bytes say, and never let a
peer choose parameters that this side cannot keep.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from transport import limits
from transport.errors import CloseCode, RemoteProtocolError
from transport.websocket.config import Agreement, WebSocketConfig

NAME = "permessage-deflate"
TAIL = b"\x00\x00\xff\xff"  # left out at the end of every message (section 7.2.1)
EMPTY = b"\x00"  # a message of no bytes (section 7.2.3.6)
BITS_MIN, BITS_MAX = 8, 15
ZLIB_BITS_MIN = 9  # zlib writes no raw stream with a window of 256 bytes
MEMORY_LEVEL_MAX = 8  # zlib's default

SERVER_TAKEOVER, CLIENT_TAKEOVER = "server_no_context_takeover", "client_no_context_takeover"
SERVER_BITS, CLIENT_BITS = "server_max_window_bits", "client_max_window_bits"
PARAMETERS = frozenset({SERVER_TAKEOVER, CLIENT_TAKEOVER, SERVER_BITS, CLIENT_BITS})

Extension = tuple[str, Sequence[tuple[str, str | None]]]


def offer(config: WebSocketConfig) -> str:
    """What a client asks for."""
    parts = [NAME, CLIENT_BITS]
    if not config.context_takeover:
        parts += [CLIENT_TAKEOVER, SERVER_TAKEOVER]
    return "; ".join(parts)


def choose(offers: Sequence[Extension], config: WebSocketConfig) -> tuple[Agreement, str] | None:
    """What a server makes of the client's offers: the first that it can keep, and its answer. None: no compression."""
    for name, parameters in offers[: limits.WS_EXTENSIONS_MAX]:
        if name != NAME:
            continue
        try:
            asked = _checked(parameters)
            own_bits = _bits(asked.get(SERVER_BITS, "15"))
            peer_bits = 15 if asked.get(CLIENT_BITS) is None else _bits(asked[CLIENT_BITS])
        except ValueError:
            continue  # an offer that is not understood is declined (section 5.1)
        own_bits = min(own_bits, max(config.window_bits, ZLIB_BITS_MIN))
        answer = [NAME]
        own_takeover = config.context_takeover and SERVER_TAKEOVER not in asked
        peer_takeover = config.context_takeover and CLIENT_TAKEOVER not in asked
        if not own_takeover:
            answer.append(SERVER_TAKEOVER)
        if not peer_takeover:
            answer.append(CLIENT_TAKEOVER)
        if own_bits < BITS_MAX or SERVER_BITS in asked:  # section 7.1.2.1: accepted by answering it, with 15 too
            answer.append(f"{SERVER_BITS}={own_bits}")
        if peer_bits < BITS_MAX:
            answer.append(f"{CLIENT_BITS}={peer_bits}")
        return Agreement(own_bits, own_takeover, peer_bits, peer_takeover), "; ".join(answer)
    return None


def agree(answers: Sequence[Extension], config: WebSocketConfig) -> Agreement | None:
    """What a client makes of the server's answer to `offer`; None where it declined.

    Raises:
        ValueError: the server answers what was not offered, or what is malformed (section 7.1).
    """
    if not answers:
        return None
    if len(answers) > 1 or answers[0][0] != NAME or not config.compression:
        raise ValueError("it answers with an extension that was not offered")
    given = _checked(answers[0][1])
    if CLIENT_BITS in given and given[CLIENT_BITS] is None:
        raise ValueError(f"its {CLIENT_BITS} has no value")
    own_bits = min(_bits(given.get(CLIENT_BITS, "15")), max(config.window_bits, ZLIB_BITS_MIN))
    peer_bits = _bits(given.get(SERVER_BITS, "15"))
    own_takeover = config.context_takeover and CLIENT_TAKEOVER not in given
    return Agreement(own_bits, own_takeover, peer_bits, SERVER_TAKEOVER not in given)


def _checked(parameters: Sequence[tuple[str, str | None]]) -> dict[str, str | None]:
    """Parameters by name. Raises ValueError for an unknown one, one given twice, or a value that must not be there."""
    found: dict[str, str | None] = {}
    for name, value in parameters:
        if name not in PARAMETERS:
            raise ValueError(f"unknown parameter {name}")
        if name in found:
            raise ValueError(f"{name} stands twice")
        if name in (SERVER_TAKEOVER, CLIENT_TAKEOVER) and value is not None:
            raise ValueError(f"{name} takes no value")
        if name == SERVER_BITS and value is None:
            raise ValueError(f"{name} has no value")
        found[name] = value
    return found


def _bits(value: str | None) -> int:
    """A window size: 8 to 15, without leading zeroes (section 7.1.2.1)."""
    if value is None or not value.isascii() or not value.isdigit() or value[0] == "0":
        raise ValueError("a window size is no number")
    bits = int(value) if len(value) <= 2 else 0
    if not BITS_MIN <= bits <= BITS_MAX:
        raise ValueError("a window size is not within 8 to 15")
    return bits


class Compressor:
    """What this side sends. Without context takeover it costs memory only while it works."""

    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._deflate: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes:
        """The payload of a message that is marked as compressed."""
        if not payload:
            return EMPTY
        deflate = self._deflate
        if deflate is None:
            level = min(MEMORY_LEVEL_MAX, self._bits - 7)
            deflate = zlib.compressobj(wbits=-self._bits, memLevel=level)
            if self._takeover:
                self._deflate = deflate
        data = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
        assert data.endswith(TAIL)
        return data[: -len(TAIL)] or EMPTY


class Decompressor:
    """What the peer sends."""

    def __init__(self, bits: int, takeover: bool) -> None:
        self._bits = bits
        self._takeover = takeover
        self._inflate: zlib._Decompress | None = None

    def decompress(self, data: bytes, most: int) -> bytes:
        """The payload of a compressed message.

        Raises:
            RemoteProtocolError: TOO_LARGE before more than `most` bytes are built, INVALID_BODY for what is no
                compressed data (section 7.2.2).
        """
        if not data:  # no block at all: the tail alone would leave half of one behind
            return b""
        left = data + TAIL
        parts: list[bytes] = []
        room = most
        for _ in range(limits.WS_FINAL_BLOCKS_MAX):
            inflate = self._inflate or zlib.decompressobj(wbits=-self._bits)
            self._inflate = inflate
            try:
                part = inflate.decompress(left, room + 1)
            except zlib.error:
                self._inflate = None
                raise RemoteProtocolError("a message is no compressed data", CloseCode.INVALID_BODY) from None
            room -= len(part)
            if room < 0 or inflate.unconsumed_tail:
                self._inflate = None
                raise RemoteProtocolError(
                    f"a decompressed message is over the limit of {most} bytes", CloseCode.TOO_LARGE
                )
            parts.append(part)
            if not inflate.eof:
                break
            left = inflate.unused_data  # a final block ended it (section 7.2.3.4): what follows begins anew
            self._inflate = None
            if not left:
                break
        else:
            raise RemoteProtocolError("a compressed message has too many final blocks", CloseCode.POLICY)
        if not self._takeover:
            self._inflate = None
        return parts[0] if len(parts) == 1 else b"".join(parts)
