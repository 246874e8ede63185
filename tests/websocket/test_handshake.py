"""HTTP/1.1 before the frames: the handshake of both sides, plain routes, bad requests (RFC 6455 section 4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.websocket.by_hand import (
    PONG,
    QUIET,
    REQUEST_ACCEPT,
    SECOND,
    TEXT,
    config,
    ended,
    feed,
    frame,
    frames_of,
    listening,
    messages,
    request,
    written,
)
from transport import limits
from transport.errors import CloseCode, LocalProtocolError
from transport.machine import EOF, Closed, Established
from transport.sim.seeds import entropy
from transport.websocket.config import WebSocketConfig
from transport.websocket.handshake import ClientSide
from transport.websocket.http import Asked, HttpRequest, HttpResponse, UpgradeAsked, plain
from transport.websocket.session import WebSocketSession
from transport.websocket.states import Phase

STATIC = HttpResponse("<p>hello", content_type="text/html")
ROUTES: dict[str, Any] = {"/health": object(), "/": STATIC, "/a b": STATIC}
STEPS = pytest.mark.parametrize("step", [1, 7, 1 << 60])


def answers(data: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of every answer, as far as they say how long their bodies are."""
    found = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = int(headers.get("content-length", 0))
        found.append((int(status), headers, data[:size]))
        data = data[size:]
    return found


def answer(session: WebSocketSession) -> tuple[int, dict[str, str], bytes]:
    (only,) = answers(written(session))
    return only


def get(path: str, *lines: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: x", *lines, "", ""]).encode("latin-1") + body


def upgraded(data: bytes, step: int = 1 << 60, **options: Any) -> WebSocketSession:
    """A session that has accepted the request in `data`."""
    one = listening(**options)
    feed(one, data, step)
    events = one.events()
    assert [type(event) for event in events] == [UpgradeAsked]
    assert one.state == Phase.HTTP
    one.accept(0)
    return one


# A WebSocket is asked for


@STEPS
def test_4_2_2_101(step: int) -> None:
    one = upgraded(
        request(
            path="/chat?room=7&x=%20",
        ),
        step,
    )
    status, headers, body = answer(one)
    assert (status, body) == (101, b"")
    assert headers == {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": REQUEST_ACCEPT.decode()}
    assert one.events() == [Established()]
    assert one.state == Phase.OPEN
    assert one.http is None
    assert one.info("path") == "/chat"
    assert one.info("query") == "room=7&x=%20"
    assert one.info("request").header("HOST") == "example.com"
    assert (one.info("subprotocol"), one.info("compression"), one.info("nothing")) == (None, None, None)


@STEPS
def test_frames_right_behind_the_request(step: int) -> None:
    one = listening()
    feed(one, request() + frame(TEXT, b"early") + frame(9, b"?"), step)
    one.events()
    one.accept(0)
    head, _, rest = written(one).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols")
    assert [found.opcode for found in frames_of(rest)[0]] == [PONG]
    assert messages(one) == [b"early"]


def test_subprotocol_and_compression_are_answered() -> None:
    lines = ("Sec-WebSocket-Protocol: b, a", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits")
    one = upgraded(request(*lines), subprotocols=("a",), compression=True, window_bits=12)
    _, headers, _ = answer(one)
    assert headers["sec-websocket-protocol"] == "a"
    assert headers["sec-websocket-extensions"] == "permessage-deflate; server_max_window_bits=12"
    assert (one.info("subprotocol"), one.info("compression")) == ("a", "deflate")
    off = upgraded(request(*lines))
    assert "sec-websocket-extensions" not in answer(off)[1]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (request(path="/other"), 404),
        (request(without="connection"), 400),
        (request(without="sec-websocket-key"), 400),
        (request(without="host"), 400),
        (request(without="upgrade"), 426),
        (request("Origin: http://evil.example"), 403),
        (request("Content-Length: 5") + b"hello", 400),
        (request("Sec-WebSocket-Extensions: a b"), 400),
        (request("Sec-WebSocket-Protocol: a b"), 400),
        (request(method="POST"), 405),
        (b"GET / HTTP/1.1\r\nHost x\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\xd4TRp\x01\x00\x00\r\n\r\n", 400),
        (request(path="*"), 400),
        (request(path="/%zz"), 400),
        (request(path="/" + "x" * 9000), 414),
        (b"GET /chat HTTP/1.1\r\n" + b"a: b\r\n" * 101 + b"\r\n", 400),
    ],
)
def test_bad_requests(data: bytes, status: int) -> None:
    path = "/chat" if b"/other" in data else ""
    one = listening(path=path)
    feed(one, data)
    got, headers, body = answer(one)
    assert got == status
    assert body.startswith(str(status).encode())
    if status == 426:
        assert headers["upgrade"] == "websocket"
    assert one.config.counts[f"http_{status}"] == 1
    if status not in (404, 405):
        assert headers["connection"] == "close"
        assert one.state == Phase.CLOSED
        assert ended(one).code == 0


@pytest.mark.parametrize("version", ["0", "8", "12", "14", "255", "x"])
def test_4_4_a_client_of_another_version_is_told_ours(version: str) -> None:
    one = listening()
    feed(one, request(f"Sec-WebSocket-Version: {version}", without="sec-websocket-version"))
    status, headers, _ = answer(one)
    assert (status, headers["sec-websocket-version"], headers["upgrade"]) == (426, "13", "websocket")
    assert one.state == Phase.CLOSED


@pytest.mark.parametrize(("version", "more"), [("1.1", ("Content-Length: 5",)), ("1.0", ())])
def test_a_body_that_ends_where_a_proxy_may_not_see_it(version: str, more: tuple[str, ...]) -> None:
    """RFC 9112 section 6.1: two lengths in one request, or chunks in HTTP/1.0, are how requests are smuggled."""
    one = listening(routes=ROUTES)
    feed(one, get("/health", "Transfer-Encoding: chunked", *more, method="POST", version=version, body=b"0\r\n\r\n"))
    status, headers, _ = answer(one)
    assert (status, headers["connection"]) == (400, "close")


def test_the_owner_may_refuse() -> None:
    one = listening()
    feed(one, request())
    one.events()
    one.refuse(503, "the server is full", 0)
    status, headers, body = answer(one)
    assert (status, headers["connection"]) == (503, "close")
    assert body == b"503 Service Unavailable: the server is full\n"
    assert one.state == Phase.CLOSED


# Plain routes


@STEPS
def test_a_plain_request(step: int) -> None:
    one = listening(routes=ROUTES, path="/ws", date=lambda: "now")
    feed(one, get("/health?deep=1", "X-A: 1", "x-a: 2"), step)
    (asked,) = one.events()
    assert isinstance(asked, Asked)
    assert asked.route is ROUTES["/health"]
    found = asked.request
    assert (found.method, found.path, found.query, found.body) == ("GET", "/health", "deep=1", b"")
    assert found.header("X-A") == "1, 2"
    assert found.header("nothing", "else") == "else"
    assert found.headers[0] == ("host", "x")
    one.respond(HttpResponse("fine", headers={"X-B": "3"}), 0)
    status, headers, body = answer(one)
    assert (status, body) == (200, b"fine")
    assert headers == {"content-type": "text/plain; charset=utf-8", "x-b": "3", "content-length": "4", "date": "now"}
    assert one.state == Phase.HTTP


def test_keep_alive_and_pipelining() -> None:
    one = listening(routes=ROUTES, path="/ws")
    feed(one, get("/health") * 3 + get("/nothing") + request(path="/ws"))
    for _ in range(3):
        (asked,) = one.events()
        assert isinstance(asked, Asked)
        one.respond(plain(200), 0)
    assert [status for status, _, _ in answers(written(one))] == [200, 200, 200, 404]
    assert isinstance(one.events()[0], UpgradeAsked)
    one.accept(0)
    assert answer(one)[0] == 101
    assert one.config.counts["http_requests"] == 5


def test_what_comes_behind_a_request_is_counted() -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/health"))
    one.events()
    feed(one, bytes(1000))
    assert one.http.held_bytes == 1000
    one.respond(plain(200), 0)
    assert [status for status, _, _ in answers(written(one))] == [200, 400]


def test_head_has_no_body() -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/", method="HEAD"))
    one.events()
    one.respond(STATIC, 0)
    head = written(one)
    assert b"content-length: 8\r\n" in head.lower()
    assert head.endswith(b"\r\n\r\n")
    feed(one, get("/"))
    one.events()
    one.respond(STATIC, 0)
    assert answer(one)[2] == b"<p>hello"


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(status: int) -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/health"))
    one.events()
    one.respond(HttpResponse("dropped", status=status), 0)
    data = written(one)
    assert data.endswith(b"\r\n\r\n")
    assert one.state == Phase.HTTP


@STEPS
@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 5",), b"hello"),
        (("Content-Length: 0",), b""),
        (("Transfer-Encoding: chunked",), b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
)
def test_post(lines: tuple[str, ...], body: bytes, step: int) -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/health", *lines, method="POST", body=body), step)
    (asked,) = one.events()
    assert asked.request.body == (b"" if not body else b"hello")
    assert asked.request.method == "POST"


def test_100_continue() -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/health", "Content-Length: 5", "Expect: 100-continue", method="POST"))
    assert written(one) == b"HTTP/1.1 100 \r\n\r\n"
    feed(one, b"hello")
    assert one.events()[0].request.body == b"hello"


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (get("/health", "Content-Length: 101", method="POST"), 413),
        (get("/health", "Content-Length: 99999999999999999999", method="POST"), 413),
        (get("/health", "Transfer-Encoding: chunked", method="POST", body=b"65\r\n" + b"x" * 101), 413),
        (get("/health", "Content-Length: 1", "Content-Length: 2", method="POST", body=b"x"), 400),
        (get("/health", "Content-Length: -1", method="POST"), 400),
        (get("/health", "Transfer-Encoding: gzip", method="POST"), 501),
        (get("/health", "Content-Length: 5", method="DELETE", body=b"hello"), 405),
        (get("/nothing", "Content-Length: 5", method="POST", body=b"hello"), 404),
        (get("/health", *[f"a: {n}" for n in range(limits.HTTP_HEADERS_MAX)]), 431),
        (get("/health", "a: " + "x" * limits.HTTP_HEAD_BYTES_MAX), 431),
        (b"GET /health HTTP/1.1\r\na: " + b"x" * 20_000, 431),
    ],
)
def test_limits(data: bytes, status: int) -> None:
    one = listening(routes=ROUTES, path="/ws", body_max=100)
    feed(one, data, 4096)
    assert one.events() == [Closed(0, "", False, True)]
    got, headers, _ = answer(one)
    assert (got, headers["connection"]) == (status, "close")
    feed(one, b"more")
    assert written(one) == b""


@pytest.mark.parametrize(("path", "method", "allow"), [
    ("/health", "DELETE", "GET, HEAD, OPTIONS, POST"), ("/", "OPTIONS", "GET, HEAD"), ("/", "POST", "GET, HEAD"),
    ("/health", "CONNECT", "GET, HEAD, OPTIONS, POST"),
])  # fmt: skip
def test_other_methods(path: str, method: str, allow: str) -> None:
    one = listening(routes=ROUTES, path="/ws")
    feed(one, get(path, method=method))
    status, headers, _ = answer(one)
    assert (status, headers["allow"]) == (405, allow)
    if method != "CONNECT":
        assert one.state == Phase.HTTP  # and goes on


def test_paths_are_decoded_and_may_be_absolute() -> None:
    for target in ("/a%20b", "http://other.example/a%20b", "HTTPS://x/a%20b?q"):
        one = listening(routes=ROUTES)
        feed(one, get(target))
        assert isinstance(one.events()[0], Asked), target


def test_http_1_0_is_answered_and_closed() -> None:
    one = listening(routes=ROUTES)
    feed(one, get("/health", version="1.0"))
    one.events()
    one.respond(plain(200), 0)
    assert answer(one)[0] == 200
    assert one.state == Phase.CLOSED


def test_requests_of_one_connection_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_REQUESTS_MAX", 3)
    one = listening(path="/ws")
    feed(one, get("/nothing") * 5)
    found = answers(written(one))
    assert [status for status, _, _ in found] == [404] * 3
    assert found[-1][1]["connection"] == "close"
    assert one.state == Phase.CLOSED


def test_an_end_of_stream_between_requests() -> None:
    one = listening(routes=ROUTES)
    one.receive(b"", 0)
    assert one.transmit(0) == [EOF]
    two = listening(routes=ROUTES)
    feed(two, get("/health"))
    two.events()
    two.receive(b"", 0)  # half-closed: the answer is still wanted
    two.respond(plain(200), 0)
    assert answer(two)[1]["connection"] == "close"
    assert two.state == Phase.CLOSED


def test_an_end_of_stream_behind_several_requests() -> None:
    """As `printf ... | nc` does it: each of them is still answered."""
    one = listening(routes=ROUTES, path="/ws")
    one.receive(get("/health") * 2 + get("/nothing"), 0)
    one.receive(b"", 0)
    for _ in range(2):
        (asked,) = one.events()
        assert isinstance(asked, Asked)
        one.respond(plain(200), 0)
    found = answers(written(one))
    assert [status for status, _, _ in found] == [200, 200, 404]
    assert found[-1][1]["connection"] == "close"
    assert one.state == Phase.CLOSED


def test_an_end_of_stream_behind_a_request_for_a_websocket() -> None:
    """Nobody would say so once more: without it the connection would be there for as long as it may be silent."""
    one = listening(routes=ROUTES, path="/ws")
    feed(one, get("/health") + request(path="/ws") + frame(TEXT, b"last words"))
    one.receive(b"", 0)
    (asked,) = one.events()
    assert isinstance(asked, Asked)
    one.respond(plain(200), 0)
    assert isinstance(one.events()[0], UpgradeAsked)
    one.accept(0)
    assert messages(one) == [b"last words"]
    assert ended(one).code == CloseCode.LOST
    assert one.config.counts["close_1006"] == 1


def test_draining() -> None:
    one = listening(routes=ROUTES)
    one.drain()
    assert one.transmit(0) == [EOF]
    two = listening(routes=ROUTES)
    feed(two, get("/health"))
    two.drain()
    assert two.state == Phase.HTTP
    two.respond(plain(200), 0)
    assert answer(two)[1]["connection"] == "close"


# Time


def test_408_for_a_request_that_takes_too_long() -> None:
    one = listening(routes=ROUTES, handshake_ns=10 * SECOND)
    assert one.deadline() == 10 * SECOND
    feed(one, get("/health")[:20], now=5 * SECOND)
    one.expire(10 * SECOND)
    assert answer(one)[0] == 408
    assert one.state == Phase.CLOSED
    two = listening(routes=ROUTES, handshake_ns=10 * SECOND)
    two.expire(10 * SECOND)
    assert two.transmit(0) == [EOF]  # it has asked for nothing
    assert two.config.counts == {"http_silent": 1}


def test_the_time_between_requests_is_bounded() -> None:
    idle = int(limits.HTTP_IDLE_S * SECOND)
    one = listening(routes=ROUTES, handshake_ns=10 * SECOND)
    feed(one, get("/health"))
    assert one.deadline() is None  # a route has its own time
    one.events()
    one.respond(plain(200), SECOND)
    assert one.deadline() == SECOND + idle
    one.moved(2 * SECOND)
    assert one.deadline() == 2 * SECOND + idle
    feed(one, b"GET", now=3 * SECOND)
    assert one.deadline() == 13 * SECOND
    one.expire(13 * SECOND)
    assert [status for status, _, _ in answers(written(one))] == [200, 408]


# Answers that can't be sent


@pytest.mark.parametrize(
    "arguments",
    [
        {"status": 101},
        {"status": 600},
        {"status": "200"},
        {"body": 5},
        {"body": "\ud800"},
        {"headers": {"A\r\nB": "c"}},
        {"headers": {"A": "b\r\nC: d"}},
        {"headers": {"A": "b\nc"}},
        {"headers": {"A": "\0"}},
        {"headers": {"": "b"}},
        {"headers": {"A b": "c"}},
        {"headers": {"A": 5}},
        {"headers": {"Content-Length": "5"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"headers": [("Connection", "close")]},
        {"content_type": "a\r\nb: c"},
    ],
)
def test_an_answer_that_can_not_be_sent(arguments: Any) -> None:
    with pytest.raises(LocalProtocolError):
        HttpResponse(**arguments)


def test_a_request_shows_no_secrets() -> None:
    found = HttpRequest("GET", "/p", "token=secret", [(b"authorization", b"secret")])
    assert "secret" not in repr(found)
    assert found.headers == [("authorization", "secret")]
    assert HttpRequest("GET", "/", "").headers == []


# A client


def asking(settings: WebSocketConfig | None = None, **options: Any) -> WebSocketSession:
    settings = settings or config(**options)
    http = ClientSide(settings, "example.com", "/chat?x", [("X-Token", "t")], b"the sample nonce")
    return WebSocketSession(settings, http, entropy(7, "client"), 0)


GOOD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    b"Sec-WebSocket-Accept: " + REQUEST_ACCEPT + b"\r\n\r\n"  # fmt: skip


def test_4_1_what_a_client_asks() -> None:
    one = asking(subprotocols=("a", "b"), compression=True)
    assert written(one).decode() == (
        "GET /chat?x HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: a, b\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nX-Token: t\r\n\r\n"
    )


@STEPS
def test_4_1_a_client_whose_server_agrees(step: int) -> None:
    one = asking()
    one.send(b"waits", 0, 0, 0, 0, 0)
    assert written(one).startswith(b"GET ")
    feed(one, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + GOOD + frame(TEXT, b"first", key=None), step)
    assert one.events() == [Established()]
    assert messages(one) == [b"first"]
    assert [found.payload for found in frames_of(written(one))[0]] == [b"waits"]


@pytest.mark.parametrize(
    ("data", "code", "text"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", CloseCode.POLICY, "answered 403 Forbidden"),
        (b"HTTP/1.1 503 X\r\n\r\n", CloseCode.OVERLOADED, "answered 503"),
        (b"HTTP/1.1 426 X\r\nSec-WebSocket-Version: 8, 7\r\n\r\n", CloseCode.PROTOCOL_ERROR, "answered 426"),
        (b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\n\r\n", CloseCode.POLICY, "answered 401"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", CloseCode.PROTOCOL_ERROR, "answered 200 OK"),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", CloseCode.PROTOCOL_ERROR, "302"),
        (GOOD.replace(b"Accept: s", b"Accept: t"), CloseCode.PROTOCOL_ERROR, "Accept does not fit"),
        (GOOD.replace(b"Upgrade: websocket", b"Upgrade: other"), CloseCode.PROTOCOL_ERROR, "Upgrade"),
        (GOOD[:-2] + b"Sec-WebSocket-Extensions: x\r\n\r\n", CloseCode.PROTOCOL_ERROR, "not offered"),
        (GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"), CloseCode.PROTOCOL_ERROR, "not HTTP/1.1"),
        (GOOD[:-2] + b"Sec-WebSocket-Protocol: c\r\n\r\n", CloseCode.PROTOCOL_ERROR, "not offered"),
        (GOOD.replace(b"Sec-WebSocket-Accept", b"X"), CloseCode.PROTOCOL_ERROR, "Accept does not fit"),
        (GOOD.replace(b"Connection: Upgrade", b"Connection: keep-alive"), CloseCode.PROTOCOL_ERROR, "Connection"),
        (b"HTTP/1.1 499 \x1b[31mred\x7f\x9b\r\n\r\n", CloseCode.PROTOCOL_ERROR, "answered 499 ?[31mred??"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n", CloseCode.PROTOCOL_ERROR, "200 OK"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", CloseCode.PROTOCOL_ERROR, "no HTTP answer"),
        (b"HTTP/1.1 101 X\r\n" + b"a: b\r\n" * 20_000, CloseCode.PROTOCOL_ERROR, "no HTTP answer"),
        (GOOD[:-2] + b"a: b\r\n" * 101 + b"\r\n", CloseCode.PROTOCOL_ERROR, "too large"),
        (b"HTTP/1.1 103 E\r\n\r\n" * 17, CloseCode.PROTOCOL_ERROR, "does not come to its answer"),
    ],
)
@STEPS
def test_4_1_a_client_whose_server_does_not(data: bytes, code: int, text: str, step: int) -> None:
    if step == 1 and len(data) > 1000:
        pytest.skip("says no more than larger steps")
    one = asking()
    written(one)
    feed(one, data, step)
    closed = ended(one)
    assert closed.code == code
    assert text in closed.reason
    assert one.transmit(0) == [EOF]


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 101 Sw"])
def test_a_server_that_hangs_up(data: bytes) -> None:
    one = asking()
    written(one)
    feed(one, data)
    one.receive(b"", 0)
    assert ended(one).code == CloseCode.LOST


def test_a_server_that_does_not_answer() -> None:
    one = asking(WebSocketConfig(**{**QUIET, "handshake_ns": 10 * SECOND}))
    assert one.deadline() == 10 * SECOND
    one.expire(10 * SECOND)
    assert ended(one).code == CloseCode.HANDSHAKE_TIMEOUT
