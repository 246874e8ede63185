"""Requests and answers as a route sees them, and the events by which a session asks for an answer.

It must never let a header line out that could begin another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transport.errors import LocalProtocolError
from transport.machine import Event

REASONS: Mapping[int, str] = {
    100: "Continue", 101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 307: "Temporary Redirect",
    308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict", 413: "Content Too Large", 414: "URI Too Long",
    417: "Expectation Failed", 422: "Unprocessable Content", 426: "Upgrade Required", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
}  # fmt: skip
OWN = frozenset({"connection", "content-length", "date", "transfer-encoding"})  # written by this side
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_IN_VALUE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


def check_header(name: object, value: object, refused: frozenset[str] = OWN) -> None:
    """Raises LocalProtocolError for a header line that can't be sent, or that is not the caller's to write."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise LocalProtocolError("names and values of headers are text")
    if not _NAME.fullmatch(name):
        raise LocalProtocolError(f"{name[:40]!r} is no name of a header")
    if name.lower() in refused:
        raise LocalProtocolError(f"header {name!r} is written by the transport itself")
    if _BAD_IN_VALUE.search(value):
        raise LocalProtocolError(f"the value of header {name!r} holds a character that no header may have")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer to a plain HTTP request.

    Args:
        body: bytes, or text that is sent as UTF-8.
        status: 200 to 599.
        content_type: of the body; "" for none.
        headers: more of them, by name.

    Raises:
        LocalProtocolError: a status, a header or a body that can't be sent.
    """

    body: bytes | str = b""
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = ()

    def __post_init__(self) -> None:
        status: object = self.status  # whatever a program may have given
        if not isinstance(status, int) or not 200 <= status <= 599:
            raise LocalProtocolError(f"status {self.status!r} is not within 200 to 599")
        if not isinstance(self.body, bytes | str):
            raise LocalProtocolError(f"the body of an answer is bytes or text, not {type(self.body).__name__}")
        try:
            self.payload()
        except UnicodeEncodeError:
            raise LocalProtocolError("the body of an answer has characters that are no text") from None
        for name, value in self.lines():
            check_header(name, value)

    def lines(self) -> list[tuple[str, str]]:
        """Header lines, the content type first."""
        given = list(self.headers.items()) if isinstance(self.headers, Mapping) else list(self.headers)
        return ([("Content-Type", self.content_type)] if self.content_type else []) + given

    def payload(self) -> bytes:
        """The body as bytes."""
        return self.body.encode() if isinstance(self.body, str) else self.body


def plain(status: int, text: str = "", headers: Sequence[tuple[str, str]] = ()) -> HttpResponse:
    """An answer of this package's own: the status in words, and why."""
    reason = REASONS.get(status, "")
    return HttpResponse(f"{status} {reason}" + (f": {text}" if text else "") + "\n", status, headers=headers)


@dataclass(frozen=True, slots=True)
class SocketRoute:
    """A path whose WebSockets speak another protocol than the server's own, beside plain HTTP on the same path.

    There a message keeps the kind that it was sent with: `str` is a text message of WebSocket, `bytes` a binary one.

    Args:
        protocol: makes a `Protocol` for each of its WebSockets.
        http: the route of plain requests, as of any path; None for none.
    """

    protocol: Callable[[], Any]
    http: Any = None


class HttpRequest:
    """A request as it came.

    Attributes:
        method: "GET", "HEAD", "OPTIONS" or "POST".
        path: decoded.
        query: what stood behind `?`, as it was written.
        body: what came with it; hardly anything but POST has one.
        remote_address: of the client, as the socket module writes it.
    """

    __slots__ = ("_head", "body", "method", "path", "query", "remote_address")

    def __init__(
        self, method: str, path: str, query: str, head: Sequence[tuple[bytes, bytes]] = (), body: bytes = b""
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.body = body
        self.remote_address: Any = None
        self._head = b"\n".join([name + b":" + value for name, value in head])  # a fifth of the memory of pairs

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names in small letters, with their values, in the order in which they came."""
        if not self._head:
            return []
        parts = [line.partition(b":") for line in self._head.split(b"\n")]
        return [(name.decode("latin-1"), value.decode("latin-1")) for name, _, value in parts]

    def header(self, name: str, default: str | None = None) -> str | None:
        """The values of a header, joined by commas where it stands more than once."""
        wanted = name.lower()
        found = [value for key, value in self.headers if key == wanted]
        return ", ".join(found) if found else default

    def __repr__(self) -> str:  # without the query and the headers, which may hold secrets
        return f"<HttpRequest {self.method} {self.path[:100]!r}>"


@dataclass(frozen=True, slots=True)
class Asked(Event):
    """A plain request for `route` is complete: `respond` has to follow."""

    request: HttpRequest
    route: Any


@dataclass(frozen=True, slots=True)
class UpgradeAsked(Event):
    """A client wants a WebSocket, and all that the session can check is right: `accept` or `refuse` has to follow.

    `route` is the path's own, None on that of the server.
    """

    request: HttpRequest
    route: SocketRoute | None = None
