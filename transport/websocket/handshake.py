"""HTTP/1.1 until a connection becomes a WebSocket, on the `h11` package (extra `ws`), both sides.

A server's side may answer any number of plain requests first. Sans-IO like everything here: the session feeds it and
takes `out`, `events` and `due`. It must never read a request further than its limits, nor answer one twice.
"""

from __future__ import annotations

import binascii
import re
import string
from collections.abc import Sequence
from typing import Any

import h11

from transport import limits
from transport.errors import CloseCode
from transport.url import unquote
from transport.websocket import deflate, upgrade
from transport.websocket.config import Agreement, WebSocketConfig
from transport.websocket.http import REASONS, Asked, HttpRequest, HttpResponse, SocketRoute, UpgradeAsked, plain
from transport.websocket.upgrade import Refused

METHODS = (b"GET", b"HEAD", b"OPTIONS", b"POST")
VERSIONS = (b"1.0", b"1.1")
ALLOWED, ALLOWED_STATIC = [("Allow", "GET, HEAD, OPTIONS, POST")], [("Allow", "GET, HEAD")]
BODILESS = (204, 304)
START = b"HTTP/1."  # of every answer
INFORMATIONAL_MAX = 16  # answers of 1xx before the real one
ERROR_CHARS_MAX = 200  # of what h11 says, which repeats what it did not like
_FIRST = frozenset(b"!#$%&'*+-.^_`|~\r\n" + string.ascii_letters.encode() + string.digits.encode())  # of a request
_UNSEEN = re.compile(r"[^\x20-\x7e\xa0-\xff]")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class ServerSide:
    """What a server hears and says before 101.

    Attributes:
        out: bytes to send.
        events: for the session's owner.
        due: when to call `expire`, or -1.
        over: the last answer is written; the stream has to end.
        waiting: a request waits for `respond`, `accept` or `refuse`.
        held_bytes: what came behind it, or behind what was enough for one turn.
        more: others have their turn, then `go_on` has to follow.
        ended: the client's stream has.
        request, subprotocol, agreement: of the WebSocket that was asked for.
    """

    is_client = False

    def __init__(self, config: WebSocketConfig, now: int) -> None:
        self.out = bytearray()
        self.events: list[Any] = []
        self.over = False
        self.waiting = False
        self.more = False
        self.ended = False
        self.held_bytes = 0
        self.request: HttpRequest | None = None
        self.subprotocol = ""
        self.agreement: Agreement | None = None
        self._config = config
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HTTP_HEAD_BYTES_MAX)
        self._held: list[bytes] = []
        self._requests = 0
        self._begun = False  # something of the next request is here
        self._draining = False  # the server is closing: no further request
        self._extension = ""
        self._reset()
        self.due = now + config.handshake_ns if config.handshake_ns else -1

    def _reset(self) -> None:
        self._method = b""
        self._path = self._query = ""
        self._headers: Sequence[tuple[bytes, bytes]] = ()
        self._body: list[bytes] = []
        self._size = 0
        self._route: Any = None
        self._socket: SocketRoute | None = None
        self._refusal: Refused | None = None
        self._is_upgrade = False

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" at the end of the client's stream."""
        if self.over:
            return
        if not data:
            self.ended = True
        if self.waiting or self.more:
            if data:
                self._held.append(data)
                self.held_bytes += len(data)
            return
        if not self._begun and data:
            self._begun = True
            if not self._requests and data[0] not in _FIRST:  # h11 would wait for the end of a head that never comes
                self._fail(Refused(400, "this port speaks HTTP and WebSocket: connect with ws://"), now)
                return
            if self._requests:  # the first one has had its time since the connection began
                self._arm(now, self._config.handshake_ns)
        self._feed(data, now)

    def _feed(self, data: bytes, now: int) -> None:
        """Reads on. Of what may be a head h11 gets no more at once than a head may have, for it would parse it all."""
        most = limits.HTTP_HEAD_BYTES_MAX
        is_long = len(data) > most and self._h11.their_state is h11.IDLE
        if is_long:
            self._held = [data[most:]]
            self.held_bytes = len(data) - most
            data = data[:most]
        if data:
            self._h11.receive_data(data)
        if self.ended and not is_long:
            self._h11.receive_data(b"")
        self._advance(now)
        self.more = self.more or (is_long and not self.waiting and not self.over)

    def _arm(self, now: int, duration_ns: int) -> None:
        self.due = now + duration_ns if duration_ns else -1

    def _advance(self, now: int) -> None:
        """Goes on until more is needed, somebody else has to answer, or others have to have their turn."""
        left = limits.HTTP_EVENTS_PER_TURN
        while not self.over and not self.waiting:
            if not left:
                self.more = True
                return
            left -= 1
            try:
                event: Any = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                self._fail(Refused(error.error_status_hint or 400, str(error)[:ERROR_CHARS_MAX]), now)
                return
            kind = type(event)
            try:
                if kind is h11.Request:
                    self._on_head(event)
                elif kind is h11.Data:
                    self._on_body(event.data)
                elif kind is h11.EndOfMessage:
                    self._on_end(now)
                elif kind is h11.ConnectionClosed:
                    self.over = True
                else:  # NEED_DATA, PAUSED
                    if self._h11.they_are_waiting_for_100_continue:
                        self.out += self._send(h11.InformationalResponse(status_code=100, headers=[]))
                    return
            except Refused as refused:
                self._fail(refused, now)
                return

    def _on_head(self, event: Any) -> None:
        """Checks everything that can be known before the body. Raises Refused to end the connection."""
        self._reset()
        self._requests += 1
        self._config.count("http_requests")
        self._method = bytes(event.method)
        headers = self._headers = list(event.headers)
        if bytes(event.http_version) not in VERSIONS:
            raise Refused(505, "this side speaks HTTP/1.1")
        if len(headers) > limits.HTTP_HEADERS_MAX:
            raise Refused(431, f"more than {limits.HTTP_HEADERS_MAX} header lines")
        if sum([len(name) + len(value) + 4 for name, value in headers]) > limits.HTTP_HEAD_BYTES_MAX:
            raise Refused(431, f"more than {limits.HTTP_HEAD_BYTES_MAX} bytes of header lines")
        if len(event.target) > limits.HTTP_TARGET_BYTES_MAX:
            raise Refused(414, f"a target of more than {limits.HTTP_TARGET_BYTES_MAX} bytes")
        check_framing(headers, bytes(event.http_version))
        self._path, self._query = _target(bytes(event.target))
        has_body = _has_body(headers)
        try:
            self._find(event, has_body)
        except Refused as refused:
            if has_body or refused.status not in (404, 405):
                raise
            self._refusal = refused  # answered at the request's end, and the connection goes on

    def _find(self, event: Any, has_body: bool) -> None:
        config = self._config
        self._route = config.routes.get(self._path)
        if isinstance(self._route, SocketRoute):
            self._socket, self._route = self._route, self._route.http
        asks = self._socket is not None and (self._route is None or upgrade.is_wanted(self._headers))
        if self._route is None or asks:
            if self._socket is None and config.path and self._path != config.path:
                raise Refused(404, "there is nothing here")
            if has_body:
                raise Refused(400, "a request for a WebSocket has no body")
            self._is_upgrade = True
            upgrade.check_request(self._method, bytes(event.http_version), self._headers, config)
            self.subprotocol = upgrade.choose_subprotocol(self._headers, config)
            chosen = upgrade.choose_extension(self._headers, config)
            self.agreement, self._extension = (None, "") if chosen is None else chosen
            return
        is_static = isinstance(self._route, HttpResponse)
        if self._method not in METHODS or (is_static and self._method in (b"OPTIONS", b"POST")):
            raise Refused(405, "not by this method", ALLOWED_STATIC if is_static else ALLOWED)
        for value in upgrade.values(self._headers, b"content-length"):
            if len(value) > 18 or int(value) > config.body_max:
                raise Refused(413, f"a body of more than {config.body_max} bytes")

    def _on_body(self, data: Any) -> None:
        self._size += len(data)
        if self._size > self._config.body_max:
            raise Refused(413, f"a body of more than {self._config.body_max} bytes")
        self._body.append(bytes(data))

    def _on_end(self, now: int) -> None:
        if self._refusal is not None:
            self._answer(plain(self._refusal.status, self._refusal.text, self._refusal.headers), now)
            return
        self.waiting = True
        self.due = -1
        request = HttpRequest(
            self._method.decode("ascii"), self._path, self._query, self._headers, b"".join(self._body)
        )
        self._body = []
        if self._is_upgrade:
            self.request = request
            self.events.append(UpgradeAsked(request, self._socket))
        else:
            self.events.append(Asked(request, self._route))

    # Answers

    def respond(self, response: HttpResponse, now: int) -> None:
        """Answers the request that waits, and goes on with what came behind it."""
        if self.over or not self.waiting:
            return
        self._answer(response, now)
        self._resume(now)

    def _resume(self, now: int) -> None:
        if self.over:
            return
        if self._held:
            self._begun = True
            self._arm(now, self._config.handshake_ns)
        self._take_held(now)

    def _take_held(self, now: int) -> None:
        held, self._held, self.held_bytes = self._held, [], 0
        self._feed(b"".join(held), now)

    def go_on(self, now: int) -> None:
        """Others have had their turn: looks at the rest of what has come."""
        self.more = False
        if not self.over:
            self._take_held(now)

    def accept(self, now: int) -> bytes:
        """Answers 101, and gives what came behind the request."""
        assert self.request is not None
        (key,) = upgrade.values(self._headers, b"sec-websocket-key")
        headers = [
            (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", upgrade.accept_of(key)),
        ]  # fmt: skip
        if self.subprotocol:
            headers.append((b"Sec-WebSocket-Protocol", self.subprotocol.encode()))
        if self._extension:
            headers.append((b"Sec-WebSocket-Extensions", self._extension.encode()))
        self.out += self._send(h11.InformationalResponse(status_code=101, headers=headers, reason=_reason(101)))
        self.waiting = False
        return bytes(self._h11.trailing_data[0]) + b"".join(self._held)

    def refuse(self, status: int, text: str, now: int) -> None:
        """Answers a request for a WebSocket with no."""
        self._fail(Refused(status, text), now)

    def drain(self) -> None:
        """The server is closing: the answer that is due is the last, and nothing new is heard."""
        self._draining = True
        if not self.waiting:
            self.over = True

    def _fail(self, refused: Refused, now: int) -> None:
        """One last answer."""
        self._draining = True
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer(plain(refused.status, refused.text, refused.headers), now)
        self.over = True

    def _answer(self, response: HttpResponse, now: int) -> None:
        status = response.status
        self._config.count(f"http_{status}")
        body = response.payload()
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.lines()]
        if status in BODILESS:
            body = b""
        else:
            headers.append((b"Content-Length", b"%d" % len(body)))
        if self._config.date is not None:
            headers.append((b"Date", self._config.date().encode("ascii")))
        is_final = self.ended and not self._held and not self._h11.trailing_data[0]
        last = self._draining or self._requests >= limits.HTTP_REQUESTS_MAX or is_final
        if last:
            headers.append((b"Connection", b"close"))
        self.out += self._send(h11.Response(status_code=status, headers=headers, reason=_reason(status)))
        if body and self._method != b"HEAD":
            self.out += self._send(h11.Data(data=body))
        self.out += self._send(h11.EndOfMessage())
        self.waiting = False
        if last or self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            self.over = True
            return
        self._h11.start_next_cycle()
        self._reset()
        self._begun = False
        self._arm(now, int(limits.HTTP_IDLE_S * limits.SECOND_NS))

    def _send(self, event: Any) -> bytes:
        return self._h11.send(event) or b""

    def moved(self, now: int) -> None:
        """Some of an answer has left: the client is alive."""
        if self.due >= 0 and not self._begun:
            self._arm(now, int(limits.HTTP_IDLE_S * limits.SECOND_NS))

    def expire(self, now: int) -> None:
        """A request that takes too long gets 408; one that never began gets nothing."""
        if self.due < 0 or now < self.due or self.over:
            return
        self.due = -1
        if self._begun:
            self._fail(Refused(408, "the request was not complete in time"), now)
        else:
            if not self._requests:
                self._config.count("http_silent")
            self.over = True


class ClientSide:
    """What a client says and hears before 101.

    Attributes:
        out: bytes to send.
        due: always -1: the session minds the time.
        done: the server has agreed; `trailing` came behind its answer.
        failure: (code, reason) when it has not.
        subprotocol, agreement: what it agreed on.
    """

    is_client = True
    request: HttpRequest | None = None
    due = -1

    def __init__(
        self, config: WebSocketConfig, host: str, target: str, headers: Sequence[tuple[str, str]], key: bytes
    ) -> None:
        self.done = False
        self.failure: tuple[int, str] | None = None
        self.trailing = b""
        self.subprotocol = ""
        self.agreement: Agreement | None = None
        self._config = config
        self._key = binascii.b2a_base64(key, newline=False)
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.HTTP_HEAD_BYTES_MAX)
        self._informational = 0
        self._first = b""  # until it is as long as START
        lines = [
            ("Host", host), ("Upgrade", "websocket"), ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key.decode()), ("Sec-WebSocket-Version", "13"),
        ]  # fmt: skip
        if config.subprotocols:
            lines.append(("Sec-WebSocket-Protocol", ", ".join(config.subprotocols)))
        if config.compression:
            lines.append(("Sec-WebSocket-Extensions", deflate.offer(config)))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in [*lines, *headers]]
        request = h11.Request(method=b"GET", target=target.encode("ascii"), headers=encoded)
        self.out = bytearray(self._h11.send(request) or b"")
        self.out += self._h11.send(h11.EndOfMessage()) or b""

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" at the end of the server's stream."""
        if len(self._first) < len(START):
            self._first = (self._first + data)[: len(START)]
            if not START.startswith(self._first):  # h11 would wait for the end of a head
                self.failure = (
                    CloseCode.PROTOCOL_ERROR,
                    "no HTTP answer: the peer speaks another scheme, tcp:// perhaps",
                )
                return
        try:
            self._h11.receive_data(data)
            while not self.done and self.failure is None:
                event = self._h11.next_event()
                kind = type(event)
                if kind is h11.InformationalResponse:
                    self._on_informational(event)
                elif kind is h11.Response:
                    self._refused(event)
                elif kind is h11.ConnectionClosed:
                    self.failure = (CloseCode.LOST, "the server closed the connection before it answered")
                else:  # NEED_DATA, PAUSED
                    return
        except h11.RemoteProtocolError as error:
            self.failure = (CloseCode.PROTOCOL_ERROR if data else CloseCode.LOST, f"no HTTP answer: {error}")

    def _on_informational(self, event: Any) -> None:
        self._informational += 1
        headers = list(event.headers)
        size = sum([len(name) + len(value) + 4 for name, value in headers])
        if event.status_code != 101:
            if self._informational > INFORMATIONAL_MAX:
                self.failure = (CloseCode.PROTOCOL_ERROR, "the server does not come to its answer")
            return
        if event.http_version != b"1.1":  # section 4.1: there is no Upgrade in HTTP/1.0
            self.failure = (CloseCode.PROTOCOL_ERROR, "the server's answer is not HTTP/1.1")
            return
        if len(headers) > limits.HTTP_HEADERS_MAX or size > limits.HTTP_HEAD_BYTES_MAX:
            self.failure = (CloseCode.PROTOCOL_ERROR, "the head of the server's answer is too large")
            return
        try:
            self.subprotocol, self.agreement = upgrade.check_answer(headers, self._key, self._config)
        except ValueError as error:
            self.failure = (CloseCode.PROTOCOL_ERROR, f"the server's answer is wrong: {error}")
            return
        self.done = True
        self.trailing = bytes(self._h11.trailing_data[0])

    def _refused(self, event: Any) -> None:
        status = event.status_code
        # h11 lets control characters by; they have no business in an error that somebody's terminal shows
        reason = REASONS.get(status) or _UNSEEN.sub("?", bytes(event.reason)[:60].decode("latin-1"))
        code = {401: CloseCode.POLICY, 403: CloseCode.POLICY, 429: CloseCode.OVERLOADED, 503: CloseCode.OVERLOADED}
        self.failure = (code.get(status, CloseCode.PROTOCOL_ERROR), f"the server answered {status} {reason}")


def check_framing(headers: Sequence[tuple[bytes, bytes]], version: bytes) -> None:
    """Refuses what a proxy might end in another place than this side (RFC 9112 section 6.1: request smuggling)."""
    if upgrade.values(headers, b"transfer-encoding"):
        if upgrade.values(headers, b"content-length"):
            raise Refused(400, "both Content-Length and Transfer-Encoding")
        if version != b"1.1":
            raise Refused(400, "Transfer-Encoding in HTTP/1.0")


def _has_body(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    if upgrade.values(headers, b"transfer-encoding"):
        return True
    return any([value.strip(b"0") for value in upgrade.values(headers, b"content-length")])  # noqa: C419


def _target(target: bytes) -> tuple[str, str]:
    """Path, decoded, and query of a request's target in origin or absolute form (RFC 9112 section 3.2)."""
    try:
        text = target.decode("ascii")
        absolute = _ABSOLUTE.match(text)
        if absolute is not None:
            text = text[absolute.end() :]
            text = text if text.startswith("/") else "/" + text
        if not text.startswith("/"):
            raise ValueError("no path")
        path, _, query = text.partition("?")
        return unquote(path), query
    except ValueError:
        raise Refused(400, "a target is a path, with a query or without") from None


def _reason(status: int) -> bytes:
    return REASONS.get(status, "").encode("ascii")
