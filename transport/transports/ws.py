"""`ws://host:port/path`: WebSocket, and on a server plain HTTP routes on the same port.

The query of a URL belongs to the request, so options are keywords only. HTTP is parsed by
the `h11` package (extra `ws`), which is imported when the scheme is first used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.drive.timers import clock_of
from transport.errors import InvalidURL, LocalProtocolError, UnsupportedOperation
from transport.options import Option, boolean, integer, size, table
from transport.transports import pipe, tcp
from transport.transports.base import Listener, Request, running_loop
from transport.transports.listen import PipeListener, Shared
from transport.url import Url, quote
from transport.websocket.config import WebSocketConfig
from transport.websocket.http import OWN, HttpResponse, SocketRoute, check_header
from transport.websocket.upgrade import TOKEN

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
RESERVED = OWN | {
    "host", "origin", "sec-websocket-accept", "sec-websocket-extensions", "sec-websocket-key",
    "sec-websocket-protocol", "sec-websocket-version", "upgrade",
}  # fmt: skip
CLIENT_ONLY = ("headers", "origin")
SERVER_ONLY = ("routes", "origins", "http_body", "http_connections")
KEY_BYTES = 16
DEFAULT_PORTS = {"ws": 80, "wss": 443}


def _subprotocols(value: object) -> tuple[str, ...]:
    """Names, as a list or separated by commas."""
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("expects names such as chat,superchat")
    if len(names) > limits.WS_SUBPROTOCOLS_MAX or len(set(names)) != len(names):
        raise ValueError(f"expects at most {limits.WS_SUBPROTOCOLS_MAX} names, each once")
    if not all(TOKEN.fullmatch(name) for name in names):
        raise ValueError("a subprotocol is a token: letters, digits, and a few signs")
    return tuple(names)


def _origins(value: object) -> tuple[str, ...] | None:
    """Origins, or "*" for any."""
    if value is None:
        return None
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("expects origins such as https://example.com, or *")
    if "*" in names:
        return ()
    if not names or len(names) > limits.WS_ORIGINS_MAX:
        raise ValueError(f"expects 1 to {limits.WS_ORIGINS_MAX} origins")
    for name in names:
        _origin(name)
    return tuple(name.lower() for name in names)


def _origin(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or (value != "null" and "://" not in value):
        raise ValueError("an origin is a scheme and a host, as in https://example.com")
    if value.endswith("/") or value.partition("://")[2].count("/"):
        raise ValueError("an origin has no path, not even a slash")
    return _line("Origin", value)


def _line(name: object, value: object, refused: frozenset[str] = frozenset()) -> str:
    try:
        check_header(name, value, refused)
    except LocalProtocolError as error:
        raise ValueError(str(error)) from None
    return str(value)


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    """Header lines, as a mapping or as pairs."""
    pairs: Any = list(value.items()) if isinstance(value, Mapping) else value
    pairs_only = isinstance(pairs, list | tuple) and all(isinstance(pair, list | tuple) for pair in pairs)
    if not pairs_only or not all(len(pair) == 2 for pair in pairs):
        raise ValueError("expects header lines as a mapping, or as pairs")
    if len(pairs) > limits.HTTP_HEADERS_MAX // 2:
        raise ValueError(f"more than {limits.HTTP_HEADERS_MAX // 2} header lines")
    for name, text in pairs:
        _line(name, text, RESERVED)
    return tuple((name, text) for name, text in pairs)


def _routes(value: object) -> dict[str, Any]:
    """Answers by path."""
    if not isinstance(value, Mapping) or len(value) > limits.HTTP_ROUTES_MAX:
        raise ValueError(f"expects a mapping of at most {limits.HTTP_ROUTES_MAX} paths")
    for path, route in value.items():
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"a path begins with a slash, {path!r} does not")
        plain = route.http if isinstance(route, SocketRoute) else route
        if isinstance(route, SocketRoute) and not callable(route.protocol):
            raise ValueError(f"the protocol of {path} is neither a class nor a function")  # noqa: TRY004
        if not (callable(plain) or isinstance(plain, HttpResponse) or (plain is None and plain is not route)):
            raise ValueError(f"the route of {path} is neither a coroutine function nor an HttpResponse")
    return dict(value)


OPTIONS: Mapping[str, Option] = {
    **tcp.OPTIONS,
    **table(
        Option("text", boolean, "messages are sent as text frames, which have to be UTF-8; on by itself with "
               "codec=\"json\""),
        Option("subprotocols", _subprotocols, "offered by a client, known to a server; a server takes the first of the "
               "client's that it knows"),
        Option("compression", boolean, "permessage-deflate is offered, or accepted", default=False),
        Option("compress_above", size(0, limits.MESSAGE_BYTES_MAX), "shorter messages are sent as they are",
               default=limits.WS_COMPRESS_ABOVE_BYTES),
        Option("window_bits", integer(9, 15), "size of this side's compression window, as a power of two",
               default=limits.WS_WINDOW_BITS),
        Option("context_takeover", boolean, "compression may refer to earlier messages: better, for memory that stays",
               default=True),
        Option("fragment", size(limits.WS_FRAGMENT_BYTES_MIN, limits.MESSAGE_BYTES_MAX),
               "longer messages are sent in fragments of this size"),
        Option("headers", _headers, "client: more header lines for its request", secret=True),
        Option("origin", _origin, "client: the Origin it claims"),
        Option("origins", _origins, "server: origins whose pages may connect, or *; otherwise its own, and clients "
               "that are no browsers"),
        Option("routes", _routes, "server: plain HTTP by path, each a coroutine function of an HttpRequest, or an "
               "HttpResponse; or a SocketRoute"),
        Option("http_body", size(0, limits.MESSAGE_BYTES_MAX), "server: largest body of a plain request",
               default=limits.HTTP_BODY_BYTES_MAX),
        Option("http_connections", integer(1, limits.CONNECTIONS_MAX), "server: connections at once that are no "
               "WebSockets; the one idle for longest makes room, so that long polls need more than pages do",
               default=limits.HTTP_CONNECTIONS_MAX),
    ),
}  # fmt: skip


def _handshake() -> ModuleType:
    """The module that needs h11. Raises LocalProtocolError where that is not installed."""
    try:
        from transport.websocket import handshake
    except ImportError as error:
        if error.name != "h11":
            raise
        raise LocalProtocolError("ws:// and wss:// need h11: pip install h11") from error
    return handshake


def config_of(request: Request, *, server: bool, secure: bool) -> WebSocketConfig:
    """The sessions' configuration. Raises LocalProtocolError for options of the other side."""
    options = request.options
    wrong = [name for name in (CLIENT_ONLY if server else SERVER_ONLY) if name in options]
    if wrong:
        raise LocalProtocolError(f"{request.url.scheme}: {wrong[0]} is for {'clients' if server else 'servers'}")
    keepalive = pipe.nanoseconds(options, "keepalive", limits.KEEPALIVE_NS)
    return WebSocketConfig(
        max_message=options.get("max_message", limits.MESSAGE_BYTES_DEFAULT),
        text=options.get("text", request.codec_name == "json"),
        fragment=options.get("fragment", 0),
        compression=options.get("compression", False),
        compress_above=options.get("compress_above", limits.WS_COMPRESS_ABOVE_BYTES),
        window_bits=options.get("window_bits", limits.WS_WINDOW_BITS),
        context_takeover=options.get("context_takeover", True),
        keepalive_ns=keepalive,
        idle_ns=pipe.nanoseconds(options, "idle_timeout", 2 * keepalive),
        handshake_ns=pipe.nanoseconds(options, "handshake_timeout", limits.HANDSHAKE_NS),
        subprotocols=options.get("subprotocols", ()),
        origins=options.get("origins"),
        path=request.url.path if server else "",
        routes=options.get("routes", {}),
        body_max=options.get("http_body", limits.HTTP_BODY_BYTES_MAX),
        date=http_date if server else None,
        secure=secure,
    )


def http_date() -> str:
    """The time as HTTP writes it (RFC 9110 section 5.6.7), whatever the locale."""
    now = time.gmtime()
    day, month = DAYS[now.tm_wday], MONTHS[now.tm_mon - 1]
    return f"{day}, {now.tm_mday:02} {month} {now.tm_year} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} GMT"


def host_of(url: Url) -> str:
    """The Host header for a URL: no scope of an address, no port where it is the scheme's own."""
    host = url.host.partition("%")[0]
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            raise InvalidURL(f"{url.redacted()}: the host is no name") from None
    if ":" in host:
        host = f"[{host}]"
    return host if url.port == DEFAULT_PORTS[url.scheme] else f"{host}:{url.port}"


def target_of(url: Url) -> str:
    """Path and query of a URL as a request has them."""
    query = "".join([char if char.isascii() else quote(char) for char in url.query_text])
    return (quote(url.path) or "/") + (f"?{query}" if query else "")


class WebSocketListener(PipeListener):
    """A listener whose connections begin with HTTP."""

    def __init__(self, request: Request, traits: Traits, socks: list[Any], url: Url, secure: Any = None) -> None:
        from transport.drive.http import Gates
        from transport.websocket.session import WebSocketSession

        handshake = _handshake()
        config = config_of(request, server=True, secure=secure is not None)
        clock = clock_of(running_loop())
        self._counts = config.counts
        most = request.options.get("http_connections", limits.HTTP_CONNECTIONS_MAX)
        self._gates = Gates(request.owner, config.counts, most)

        def machine() -> WebSocketSession:
            now = clock()
            return WebSocketSession(config, handshake.ServerSide(config, now), os.urandom, now)

        request = replace(request, owner=self._gates.own, machine=machine)
        super().__init__(request, traits, socks, url, secure=secure)

    def statistics(self) -> dict[str, int]:
        """Beside those of every pipe: requests, answers by status, closes for what a peer did by status."""
        counts = {"http_connections": len(self._gates), "http_requests": 0, "http_dropped": 0, "origins_refused": 0}
        return {**super().statistics(), **counts, **self._counts}

    def stop(self) -> None:
        """Accepts no more; requests under way are still answered. Idempotent."""
        super().stop()
        self._gates.stop()

    async def close(self) -> None:
        """Accepts no more, and cuts what speaks HTTP after a little patience."""
        await super().close()
        await self._gates.close()


class WebSocketTransport:
    """The record of the scheme, and of `wss` but for TLS."""

    scheme = "ws"
    options: Mapping[str, Option] = OPTIONS
    options_in_query = False

    def traits(self, request: Request) -> Traits:
        """Reliable and ordered, one channel, ping and reasons; no streams."""
        if request.machine is not None:
            raise UnsupportedOperation(f"{self.scheme}:// takes no machine: its frames are its own")
        if request.framing != "message":
            raise UnsupportedOperation(f"{self.scheme}:// takes no framing: its frames are its own")
        return Traits(
            reliable=True, ordered=True, ping=True, close_reason=True, encrypted=self.scheme == "wss",
        )  # fmt: skip

    async def connect(self, request: Request) -> Owner:
        """Resolves, races the addresses, and asks for the WebSocket. Raises ConnectFailed."""
        made = self.client(request)
        sock = await tcp.open_socket(request)
        return await pipe.start(made, self.traits(request), sock)  # type: ignore[no-any-return]

    def client(self, request: Request) -> Request:
        """The request with a machine for its pipe."""
        from transport.websocket.session import WebSocketSession

        handshake = _handshake()
        self.traits(request)
        config = config_of(request, server=False, secure=self.scheme == "wss")
        url, options = request.url, request.options
        headers = list(options.get("headers", ()))
        if "origin" in options:
            headers.append(("Origin", options["origin"]))
        host, target = host_of(url), target_of(url)
        clock = clock_of(running_loop())

        def machine() -> WebSocketSession:
            http = handshake.ClientSide(config, host, target, headers, os.urandom(KEY_BYTES))
            return WebSocketSession(config, http, os.urandom, clock())

        return replace(request, machine=machine)

    def check_server(self, request: Request) -> Traits:
        """What can be wrong before anything is bound. Raises UnsupportedOperation and LocalProtocolError."""
        _handshake()
        config_of(request, server=True, secure=self.scheme == "wss")
        return self.traits(request)

    async def listen(self, request: Request) -> Listener:
        """Binds every address of the host. Raises OSError."""
        traits = self.check_server(request)
        socks = await tcp.open_listeners(request)
        return WebSocketListener(request, traits, socks, tcp.real_url(request.url, socks))

    async def share(self, request: Request, count: int) -> Shared:
        """Listening sockets for `count` processes; see `tcp.share`."""
        self.check_server(request)
        return await tcp.share(request, count)


TRANSPORT = WebSocketTransport()
