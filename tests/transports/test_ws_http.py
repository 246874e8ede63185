"""Plain HTTP on the port of a WebSocket server, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.transports.conftest import until
from tests.transports.ws_peers import echo, stranger
from tests.websocket.by_hand import TEXT, frame, request
from transport import connect, limits, serve
from transport.websocket.http import HttpRequest, HttpResponse


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
