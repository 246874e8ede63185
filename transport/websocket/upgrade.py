"""The WebSocket handshake's own header fields (RFC 6455 sections 4 and 9.1), apart from how HTTP carries them.

Functions of header fields alone, so that each sentence of the RFC has its case in a test.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Sequence
from typing import NoReturn

from transport import limits
from transport.websocket import deflate
from transport.websocket.config import Agreement, WebSocketConfig

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
VERSION = b"13"
KEY_BYTES = 16
Headers = Sequence[tuple[bytes, bytes]]

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # noqa: S105 - RFC 9110 section 5.6.2
TOKEN = re.compile(_TOKEN)
_PARAMETER = re.compile(rf'\s*;\s*({_TOKEN})\s*(?:=\s*(?:({_TOKEN})|"((?:[^"\\]|\\.)*)"))?')
_NAME = re.compile(rf"\s*({_TOKEN})")
_END = re.compile(r"\s*(?:,|$)")
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


class Refused(Exception):
    """A request gets this status and no connection; never leaves the package."""

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Every value of a header whose name, in small letters, is `name`."""
    return [value for key, value in headers if key == name]


def tokens(headers: Headers, name: bytes) -> list[str]:
    """The elements of a header that is a list, empty ones left out."""
    joined = b",".join(values(headers, name)).decode("latin-1")
    return [part.strip() for part in joined.split(",") if part.strip()]


def has_token(headers: Headers, name: bytes, token: str) -> bool:
    """Whether a list holds `token`, whatever the case of its letters."""
    return token in [found.lower() for found in tokens(headers, name)]


def accept_of(key: bytes) -> bytes:
    """Sec-WebSocket-Accept for a key (section 4.2.2, step 5.4)."""
    return binascii.b2a_base64(hashlib.sha1(key + GUID, usedforsecurity=False).digest(), newline=False)


def extensions(headers: Headers) -> list[deflate.Extension]:
    """The elements of Sec-WebSocket-Extensions (section 9.1). Raises ValueError for what is none."""
    text = b",".join(values(headers, b"sec-websocket-extensions")).decode("latin-1")
    if len(text) > limits.WS_EXTENSION_BYTES_MAX:
        raise ValueError("Sec-WebSocket-Extensions is too long")
    found: list[deflate.Extension] = []
    at = 0
    while at < len(text):
        empty = _END.match(text, at)
        if empty is not None:  # an empty element
            at = max(empty.end(), at + 1)
            continue
        name = _NAME.match(text, at)
        if name is None:
            raise ValueError("malformed Sec-WebSocket-Extensions")
        at = name.end()
        parameters: list[tuple[str, str | None]] = []
        while (parameter := _PARAMETER.match(text, at)) is not None:
            value = parameter[2]
            if parameter[3] is not None:
                value = re.sub(r"\\(.)", r"\1", parameter[3])
                if not TOKEN.fullmatch(value):  # section 9.1: unquoted, it has to be a token
                    raise ValueError("malformed Sec-WebSocket-Extensions")
            parameters.append((parameter[1], value))
            at = parameter.end()
        end = _END.match(text, at)
        if end is None:
            raise ValueError("malformed Sec-WebSocket-Extensions")
        at = end.end()
        found.append((name[1], parameters))
    return found


def is_wanted(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket at all."""
    return has_token(headers, b"upgrade", "websocket")


def check_request(method: bytes, version: bytes, headers: Headers, config: WebSocketConfig) -> None:
    """What a server has to check (section 4.2.1). Raises Refused."""
    if method != b"GET":
        raise Refused(405, "a WebSocket is asked for by GET", [("Allow", "GET")])
    if version != b"1.1":
        raise Refused(505, "a WebSocket is asked for in HTTP/1.1")
    if not is_wanted(headers):
        raise Refused(426, "this is a WebSocket", [("Upgrade", "websocket")])
    if not has_token(headers, b"connection", "upgrade"):
        raise Refused(400, "Connection does not say Upgrade")
    versions = values(headers, b"sec-websocket-version")
    if not versions:
        raise Refused(400, "Sec-WebSocket-Version is missing")
    if versions != [VERSION]:  # section 4.4
        raise Refused(426, "this side speaks version 13", [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
    keys = values(headers, b"sec-websocket-key")
    if len(keys) != 1 or not _is_key(keys[0]):
        raise Refused(400, "Sec-WebSocket-Key is not 16 bytes in base64, once")
    check_origin(headers, config)


def _is_key(key: bytes) -> bool:
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == KEY_BYTES
    except ValueError:
        return False


def check_origin(headers: Headers, config: WebSocketConfig) -> None:
    """Whether a browser's page may connect (section 10.2). Other clients send no Origin, and may. Raises Refused."""
    if config.origins == ():
        return
    origins = [value.decode("latin-1").lower() for value in values(headers, b"origin")]
    if not origins:
        return
    allowed = len(origins) == 1 and (
        origins[0] in config.origins if config.origins is not None else _is_own(origins[0], headers)
    )
    if not allowed:
        config.count("origins_refused")
        raise Refused(403, "this Origin may not connect")


def _is_own(origin: str, headers: Headers) -> bool:
    """Whether a page came from the host and port that it now connects to.

    The scheme is not compared: behind a proxy that ends TLS the page is https and this side sees ws.
    """
    scheme, _, authority = origin.partition("://")
    host = b"".join(values(headers, b"host")).decode("latin-1").lower()
    default = _DEFAULT_PORTS.get(scheme, "")
    return bool(authority) and default != "" and authority.removesuffix(default) == host.removesuffix(default)


def choose_subprotocol(headers: Headers, config: WebSocketConfig) -> str:
    """The first subprotocol that the client wants and this side knows; "" for none (section 4.2.2). Raises Refused."""
    offered = tokens(headers, b"sec-websocket-protocol")
    if len(offered) > limits.WS_SUBPROTOCOLS_MAX:
        raise Refused(400, "too many subprotocols")
    if len(set(offered)) != len(offered) or not all(TOKEN.fullmatch(name) for name in offered):
        raise Refused(400, "malformed Sec-WebSocket-Protocol")
    for name in offered:
        if name in config.subprotocols:
            return name
    return ""


def choose_extension(headers: Headers, config: WebSocketConfig) -> tuple[Agreement, str] | None:
    """What is agreed on, and the header's value that says so. Raises Refused for a malformed header."""
    try:
        offers = extensions(headers)
    except ValueError as error:
        raise Refused(400, str(error)) from None
    return deflate.choose(offers, config) if config.compression else None


def check_answer(headers: Headers, key: bytes, config: WebSocketConfig) -> tuple[str, Agreement | None]:
    """What a client has to check of a 101 (section 4.1): subprotocol and compression. Raises ValueError."""
    if not has_token(headers, b"upgrade", "websocket"):
        _wrong("Upgrade is not websocket")
    if not has_token(headers, b"connection", "upgrade"):
        _wrong("Connection does not say Upgrade")
    if [value.strip() for value in values(headers, b"sec-websocket-accept")] != [accept_of(key)]:
        _wrong("Sec-WebSocket-Accept does not fit the key")
    chosen = values(headers, b"sec-websocket-protocol")
    subprotocol = chosen[0].decode("latin-1").strip() if chosen else ""
    if len(chosen) > 1 or (chosen and subprotocol not in config.subprotocols):
        _wrong("it chose a subprotocol that was not offered")
    if len(values(headers, b"sec-websocket-extensions")) > 1:  # section 11.3.2
        _wrong("Sec-WebSocket-Extensions stands twice")
    return subprotocol, deflate.agree(extensions(headers), config)


def _wrong(text: str) -> NoReturn:
    raise ValueError(text)
