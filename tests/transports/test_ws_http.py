"""Plain HTTP on the port of a WebSocket server, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from tests.transports.conftest import until
from tests.transports.ws_peers import echo, stranger
from tests.websocket.by_hand import BINARY, TEXT, frame, request
from transport import CodecError, InvalidURL, Protocol, connect, limits, serve
from transport.websocket.http import HttpRequest, HttpResponse, SocketRoute
from transport.websocket.kinds import KindsCodec


async def health(asked: HttpRequest) -> HttpResponse:
    text = f"{asked.method} {asked.query} {len(asked.body)}"
    return HttpResponse(text, headers={"X-From": str(asked.remote_address[0])})


@pytest.mark.asyncio
async def test_routes_beside_the_websocket() -> None:
    async def text(asked: HttpRequest) -> str:
        return "text"

    async def wrong(asked: HttpRequest) -> int:
        return 5

    async def fails(asked: HttpRequest) -> str:
        raise ZeroDivisionError

    async def gives_up(asked: HttpRequest) -> str:
        raise asyncio.CancelledError

    routes = {"/health": health, "/text": text, "/wrong": wrong, "/fails": fails, "/gives-up": gives_up,
              "/": HttpResponse(b"<p>page", content_type="text/html")}  # fmt: skip
    async with serve("ws://127.0.0.1:0/ws", echo, routes=routes) as server, stranger(server) as peer:
        await peer.say(b"GET /health?a=b HTTP/1.1\r\nHost: x\r\n\r\n")
        found = await peer.hear(b"GET a=b 0")
        assert found.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"x-from: 127.0.0.1" in found.lower()
        assert b"GMT" in found
        await peer.say(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert b"POST  3" in await peer.hear(b"POST  3")
        for path, status in (("/wrong", 500), ("/fails", 500), ("/gives-up", 500), ("/nothing", 404)):
            await peer.say(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await peer.hear(f"{status} ".encode())
            await asyncio.sleep(0)
        await peer.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await peer.hear(b"<p>page")
        await peer.say(request(path="/ws") + frame(TEXT, b"\xa1x"))
        assert b"HTTP/1.1 101" in await peer.hear(b"\r\n\r\n")
        counters = server.statistics().counters
        assert (counters["http_200"], counters["http_500"], counters["http_404"]) == (3, 3, 1)
        assert server.statistics().accepted == 1


@pytest.mark.asyncio
async def test_a_slow_route_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_HANDLER_S", 0.05)
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled = []

    async def slow(asked: HttpRequest) -> str:
        try:
            await gate
        except asyncio.CancelledError:
            cancelled.append(asked.path)
            raise
        return "never"

    async with serve("ws://127.0.0.1:0/ws", echo, routes={"/slow": slow}) as server, stranger(server) as peer:
        await peer.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        async with connect(server.url) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
        assert b"503 Service Unavailable" in await peer.hear(b"\r\n\r\n")
        assert cancelled == ["/slow"]


@pytest.mark.asyncio
async def test_a_client_that_goes_cancels_its_route() -> None:
    cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def slow(asked: HttpRequest) -> str:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set_result(None)
            raise
        return "never"

    async with serve("ws://127.0.0.1:0/ws", echo, routes={"/slow": slow}) as server:
        async with stranger(server) as peer:
            await peer.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: server.statistics().counters["http_requests"] == 1)
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # leave by a reset
        await cancelled
        await until(lambda: server.statistics().counters["http_connections"] == 0)


@pytest.mark.asyncio
async def test_a_client_that_reads_no_answers_holds_a_bounded_amount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_IDLE_S", 0.2)
    page = HttpResponse(bytes(limits.MIB))
    url = "ws://127.0.0.1:0/ws"
    async with serve(url, echo, routes={"/": page}, sndbuf=65_536) as server, stranger(server) as peer:
        await peer.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 900)
        await until(lambda: server.statistics().counters.get("http_200", 0) >= 1)
        await asyncio.sleep(0.1)
        assert server.statistics().counters["http_200"] <= 8  # what the kernel has room for
        await until(lambda: server.statistics().counters["http_connections"] == 0)


@pytest.mark.asyncio
async def test_connections_that_are_no_websockets_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 5)
    async with serve("ws://127.0.0.1:0", echo) as server, contextlib.AsyncExitStack() as stack:
        idle = [await stack.enter_async_context(stranger(server)) for _ in range(20)]
        async with connect(server.url) as conn:
            await conn.send("still welcome")
            assert await conn.recv() == "still welcome"
        assert await idle[0].hear() == b""
        assert server.statistics().counters["http_dropped"] >= 15


@pytest.mark.asyncio
async def test_a_closing_server_answers_what_it_has_begun() -> None:
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def slow(asked: HttpRequest) -> str:
        begun.set_result(None)
        await asyncio.sleep(0.05)
        return "done all the same"

    server = await serve("ws://127.0.0.1:0/ws", echo, routes={"/slow": slow})
    async with stranger(server) as idle, stranger(server) as peer:
        await peer.say(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        await begun
        closing = asyncio.ensure_future(server.close())
        assert await idle.hear() == b""
        found = await peer.hear()
        assert b"connection: close" in found.lower()
        assert found.endswith(b"done all the same")
        idle.sock.close()
        peer.sock.close()
        await closing


class Kinds(Protocol):
    """Says what it got back, and of which kind it was."""

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        conn.send_nowait(conn.get_extra_info("query"))

    def message_received(self, message: Any, channel: int) -> None:
        self.conn.send_nowait(message)
        self.conn.send_nowait(type(message).__name__)


@pytest.mark.asyncio
async def test_a_path_with_websockets_of_another_protocol() -> None:
    routes = {"/other/": SocketRoute(Kinds, health), "/alone": SocketRoute(Kinds)}
    url = "ws://127.0.0.1:0/ws"
    async with serve(url, echo, routes=routes) as server, stranger(server) as peer, connect(server.url) as own:
        await peer.say(b"GET /other/?a HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"GET a 0" in await peer.hear(b"GET a 0")
        await peer.say(b"OPTIONS /other/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"OPTIONS  0" in await peer.hear(b"OPTIONS  0")
        await peer.say(request(path="/other/?sid=7"))
        head = await peer.hear(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        peer.heard = head.partition(b"\r\n\r\n")[2]
        big = "ä" * 40_000
        await peer.say(frame(TEXT, "ä".encode()) + frame(BINARY, b"\x01") + frame(TEXT, b""))
        await peer.say(frame(TEXT, big.encode()[:3], fin=False) + frame(0, big.encode()[3:]))
        told = [(each.opcode, each.payload) for each in await peer.frames(9)]
        assert told == [
            (TEXT, b"sid=7"), (TEXT, "ä".encode()), (TEXT, b"str"), (BINARY, b"\x01"), (TEXT, b"bytes"), (TEXT, b""),
            (TEXT, b"str"), (TEXT, big.encode()), (TEXT, b"str"),
        ]  # fmt: skip
        await own.send({"native": 1})  # and the server's own speak as ever
        assert await own.recv() == {"native": 1}
        assert (server.statistics().accepted, len(server.connections)) == (2, 2)
    async with serve(url, echo, routes=routes) as server, stranger(server) as peer:
        await peer.say(b"GET /alone HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await peer.hear(b"\r\n\r\n")).startswith(b"HTTP/1.1 426 ")
    with pytest.raises(InvalidURL, match="protocol of /x"):
        await serve(url, echo, routes={"/x": SocketRoute(None)})  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="str or bytes"):
        KindsCodec().encode(5)
    with pytest.raises(CodecError, match="no text"):
        KindsCodec().encode("\ud800")


@pytest.mark.asyncio
@pytest.mark.parametrize("before", [b"", b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "behind another"])
@pytest.mark.parametrize("path", ["/ws", "/other"])
async def test_a_protocol_that_can_not_be_made(path: str, before: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets an answer, and the server's program a line in its log."""

    def wrong() -> Protocol:
        raise ZeroDivisionError

    routes = {"/other": SocketRoute(wrong), "/health": health}
    async with serve("ws://127.0.0.1:0/ws", protocol=wrong, routes=routes) as server, stranger(server) as peer:
        await peer.say(before + request(path=path))
        assert b"HTTP/1.1 500 " in await peer.hear()
        assert await peer.hear() == b""
        assert not server.connections
    assert "no protocol for a WebSocket" in caplog.text


@pytest.mark.asyncio
async def test_how_many_long_polls_there_may_be_is_an_option() -> None:
    waiting: list[asyncio.Future[str]] = []

    async def poll(asked: HttpRequest) -> str:
        waiting.append(asyncio.get_running_loop().create_future())
        return await waiting[-1]

    url = "ws://127.0.0.1:0/ws"
    async with (
        serve(url, echo, routes={"/": poll}, http_connections=3) as server,
        stranger(server) as one, stranger(server) as two,
    ):  # fmt: skip
        for peer in (one, two):
            await peer.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(waiting) == 2)
        async with stranger(server) as three:
            await three.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await three.hear(b"being answered")).startswith(b"HTTP/1.1 503 ")
        for future in waiting:
            future.set_result("news")
        await one.hear(b"news")
        await two.hear(b"news")
