"""Requests that are wrong in ways that proxies and servers disagree about (RFC 9112): refused, or read one way."""

from __future__ import annotations

from typing import Any

import pytest

from tests.websocket.by_hand import feed, frame, listening, request, turn, written
from tests.websocket.test_handshake import answers, get
from transport import limits
from transport.websocket.http import Asked, HttpRequest, UpgradeAsked, plain
from transport.websocket.states import Phase

ROUTES: dict[str, Any] = {"/health": object()}
POST = b"POST /health HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
STEPS = pytest.mark.parametrize("step", [1, 5, 1 << 60])


def asked(data: bytes, step: int = 1 << 60) -> HttpRequest:
    """The only request in `data`, which is taken."""
    one = listening(routes=ROUTES, path="/ws")
    feed(one, data, step)
    (event,) = one.events()
    assert isinstance(event, Asked)
    return event.request


REFUSED: dict[str, tuple[bytes, set[int]]] = {
    "a space in front of a colon": (b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", {400}),
    "a header line without a name": (get("/health", ": x"), {400}),
    "a folded line with nothing in front": (b"GET /health HTTP/1.1\r\n Host: x\r\n\r\n", {400}),
    "a NUL in a value": (get("/health", "a: b\0c"), {400}),
    "a carriage return in a value": (get("/health", "a: b\rc"), {400}),
    "no host": (b"GET /health HTTP/1.1\r\n\r\n", {400}),
    "two hosts": (get("/health", "Host: y"), {400}),
    "two spaces": (b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
    "no version": (b"GET /health\r\nHost: x\r\n\r\n", {400}),
    "HTTP/2 with prior knowledge": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "a target that is no path": (get("health"), {400}),
    "an authority": (get("example.com:443", method="CONNECT"), {400}),
    "another scheme": (get("ftp://x/health"), {400}),
    "a broken escape": (get("/%e"), {400}),
    "bytes that are no UTF-8": (get("/%ff"), {400, 404}),
    "lengths that differ": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {400}),
    "lengths that differ, in one line": (POST + b"Content-Length: 5, 6\r\n\r\nhello", {400}),
    "a length with a sign": (POST + b"Content-Length: +5\r\n\r\nhello", {400}),
    "a length in hexadecimal": (POST + b"Content-Length: 0x5\r\n\r\nhello", {400}),
    "an empty length": (POST + b"Content-Length: \r\n\r\n", {400}),
    "chunks twice": (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n", {400, 501}),
    "chunks and something behind": (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n", {400, 501}),
    "chunks in two lines": (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n", {400, 501}),
    "a coding that almost is chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n", {400, 501}),
    "both lengths": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    "a chunk's size with a prefix": (CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n", {400}),
    "a chunk's size with a sign": (CHUNKED + b"+1\r\nx\r\n0\r\n\r\n", {400}),
    "a chunk's size that is too large": (CHUNKED + b"f" * 21 + b"\r\n", {400}),
    "a chunk that is longer than it says": (CHUNKED + b"1\r\nxy\r\n0\r\n\r\n", {400}),
    "a chunk's line without its carriage return": (CHUNKED + b"1\nx\n0\n\n" + bytes(20_000), {400, 431}),
    "chunks of more than the limit": (CHUNKED + b"ffffffff\r\n" + bytes(limits.HTTP_BODY_BYTES_MAX + 1), {413}),
    "an extension of a chunk without end": (CHUNKED + b"1;" + b"x" * 20_000, {400, 431}),
    "trailers without end": (CHUNKED + b"0\r\n" + b"a: b\r\n" * 5000, {400, 431}),
    "a WebSocket with a body": (request("Content-Length: 3", path="/ws") + b"abc", {400}),
    "a WebSocket in chunks": (request("Transfer-Encoding: chunked", path="/ws") + b"0\r\n\r\n", {400}),
    "a WebSocket in HTTP/1.0": (request(path="/ws").replace(b"HTTP/1.1", b"HTTP/1.0"), {400, 505}),
    "a WebSocket by HEAD": (request(path="/ws", method="HEAD"), {405}),
    "a WebSocket with two keys": (request("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", path="/ws"), {400}),
    "a WebSocket with two versions": (request("Sec-WebSocket-Version: 13", path="/ws"), {426}),
    "a WebSocket with two origins": (request("Origin: http://example.com", "Origin: http://x", path="/ws"), {403}),
}  # fmt: skip


@STEPS
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, step: int) -> None:
    data, wanted = REFUSED[name]
    if step < 100 and len(data) > 100_000:
        step = 4096
    one = listening(routes=ROUTES, path="/ws")
    feed(one, data, step)
    assert [type(event).__name__ for event in one.events()] in ([], ["Closed"])
    found = answers(written(one))
    assert [status for status, _, _ in found][:1] == [*{found[0][0]} & wanted]
    assert one.config.counts[f"http_{found[0][0]}"] == 1
    assert len(found[0][2]) < 400  # what was wrong is not repeated at any length
    if found[0][0] not in (404, 405):
        assert len(found) == 1
        assert found[0][1]["connection"] == "close"
        assert one.state == Phase.CLOSED
        feed(one, get("/health"))  # what stands behind it is not taken for another request
        assert written(one) == b""


@STEPS
def test_read_in_one_way(step: int) -> None:
    folded = asked(b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n \t c\r\n\r\n", step)
    assert folded.header("a") == "b c"
    bare = asked(b"GET /health HTTP/1.1\nHost: x\n\n", step)
    assert bare.path == "/health"
    same = asked(POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", step)
    assert same.body == b"hello"
    with_body = asked(b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", step)
    assert (with_body.method, with_body.body) == ("GET", b"hello")
    extended = asked(CHUNKED + b"5;name=value\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", step)
    assert extended.body == b"hello"
    assert extended.header("trailer") is None
    absolute = asked(b"GET http://other/health?x HTTP/1.1\r\nHost: x\r\n\r\n", step)
    assert (absolute.path, absolute.query) == ("/health", "x")
    switching = asked(
        get("/health", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMA"), step
    )
    assert switching.path == "/health"  # an upgrade that is not wanted is passed over


def test_what_is_hidden_in_a_body_is_a_body() -> None:
    inner = get("/health", "X-Hidden: yes")
    one = listening(routes=ROUTES, path="/ws")
    feed(one, POST + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + get("/health"))
    (event,) = one.events()
    assert isinstance(event, Asked)
    assert event.request.body == inner
    one.respond(plain(200), 0)
    turn(one)
    (event,) = one.events()
    assert isinstance(event, Asked)
    assert event.request.header("x-hidden") is None


def test_the_path_of_an_absolute_target_is_judged_like_any_other() -> None:
    one = listening(path="/ws")
    feed(one, request(path="http://anything/ws"))
    assert [type(event) for event in one.events()] == [UpgradeAsked]
    two = listening(path="/ws")
    feed(two, request(path="http://anything/other"))
    assert answers(written(two))[0][0] == 404


def test_expect_100_continue_is_said_once_and_not_where_the_answer_is_no() -> None:
    one = listening(routes=ROUTES, body_max=100)
    feed(one, get("/health", "Content-Length: 5", "Expect: 100-continue", method="POST"), 3)
    assert written(one).count(b"HTTP/1.1 100 ") == 1
    for lines, status in ((("Content-Length: 500",), 413), (("Content-Length: 5", "Transfer-Encoding: chunked"), 400)):
        two = listening(routes=ROUTES, body_max=100)
        feed(two, get("/health", "Expect: 100-continue", *lines, method="POST"))
        found = written(two)
        assert b"HTTP/1.1 100 " not in found
        assert answers(found)[0][0] == status


@STEPS
def test_a_refused_websocket_leaves_nothing_behind_it(step: int) -> None:
    """Frames behind a request that gets no 101 are neither frames nor requests."""
    one = listening(path="/ws")
    feed(one, request(path="/ws", without="connection") + frame(1, b"early") + get("/ws"), step)
    assert [status for status, _, _ in answers(written(one))] == [400]
    assert one.state == Phase.CLOSED
