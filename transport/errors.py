"""Every exception that leaves this package, under one root, and the close codes that connections carry.

Exists so that a user can catch one class, and so that a code means the same on every scheme.
It must never import anything of the package.
"""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a connection ended. 0 is a clean close, 1-999 belong to the application, the rest is ours.

    The numbers from 1000 follow WebSocket (RFC 6455 section 7.4.1) where it has one, so that one table serves
    every scheme; see `to_websocket`.
    """

    NORMAL = 0
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    LOST = 1006  # never on the wire: the pipe ended without a goodbye
    INVALID_BODY = 1007
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL_ERROR = 1011
    OVERLOADED = 1013
    HANDSHAKE_TIMEOUT = 1101
    IDLE_TIMEOUT = 1102
    FLOW_CONTROL = 1103
    CODEC_MISMATCH = 1104


APPLICATION_CODE_MAX = 999


def to_websocket(code: int) -> int:
    """The WebSocket status for one of our close codes (0 is 1000, application code n is 4000 + n)."""
    if code == CloseCode.NORMAL:
        return 1000
    if 1 <= code <= APPLICATION_CODE_MAX:
        return 4000 + code
    if code in (CloseCode.GOING_AWAY, CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_BODY, CloseCode.POLICY,
                CloseCode.TOO_LARGE, CloseCode.INTERNAL_ERROR, CloseCode.OVERLOADED):  # fmt: skip
        return code
    return 1002 if code in (CloseCode.FLOW_CONTROL, CloseCode.CODEC_MISMATCH) else 1001


def from_websocket(status: int) -> int:
    """Our close code for a WebSocket status; the inverse of `to_websocket` where one exists."""
    if status in (1000, 1005):
        return CloseCode.NORMAL
    if 4001 <= status <= 4000 + APPLICATION_CODE_MAX:
        return status - 4000
    return status


class TransportError(Exception):
    """Root of everything that this package raises on purpose."""


class ConnectionClosed(TransportError):
    """The connection has ended; `code`, `reason` and `by_peer` say how."""

    def __init__(self, code: int = 0, reason: str = "", by_peer: bool = False) -> None:
        super().__init__(code, reason, by_peer)
        self.code = code
        self.reason = reason
        self.by_peer = by_peer

    def __str__(self) -> str:
        who = "the peer" if self.by_peer else "this side"
        try:
            name = CloseCode(self.code).name.lower().replace("_", " ")
        except ValueError:
            name = "application code"
        return f"connection closed by {who}: {self.code} ({name})" + (f", {self.reason}" if self.reason else "")


class ConnectionLost(ConnectionClosed):
    """The connection ended in another way than a clean close: reset, time-out, error, or a
    code other than 0 (normal) and 1001 (going away).
    """


class ConnectFailed(TransportError, OSError):
    """No connection came about. Also an `OSError`, with `errno` where the system gave one."""


class ConnectTimeout(ConnectFailed, TimeoutError):
    """No connection came about in time."""


class ProtocolError(TransportError):
    """Somebody broke the rules of a protocol."""


class LocalProtocolError(ProtocolError):
    """This side's program broke them: a mistake to mend in the program."""


class RemoteProtocolError(ProtocolError):
    """The peer broke them. `code` is the close code the connection ended with."""

    def __init__(self, reason: str, code: int = CloseCode.PROTOCOL_ERROR) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class MessageTooLarge(TransportError, ValueError):
    """A message is over the limit of this connection; raised at the call that would send it."""

    def __init__(self, size: int, limit: int, what: str = "message") -> None:
        option = " (option max_message)" if what == "message" else ""  # other bounds are no option's
        super().__init__(f"{what} of {size} bytes is over the limit of {limit} bytes{option}")
        self.size = size
        self.limit = limit
        self.what = what

    def __reduce__(self) -> tuple[type, tuple[int, int, str]]:
        return type(self), (self.size, self.limit, self.what)


class CodecError(TransportError, ValueError):
    """A message could not be encoded, or a body not decoded."""


class WouldBlock(TransportError):
    """A `_nowait` call would have had to wait."""


class UnknownScheme(TransportError, LookupError):
    """No transport is registered for a URL's scheme."""


class UnsupportedDelivery(TransportError, ValueError):
    """The transport can't keep the delivery promise that was asked for."""


class UnsupportedOperation(TransportError):
    """The transport or framing has no such operation (its declared traits say so)."""


class InvalidURL(TransportError, ValueError):
    """A URL or one of its options is malformed; the text never shows a secret."""
