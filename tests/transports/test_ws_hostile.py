"""Hostile peers of a WebSocket server, and beside each of them a good one: it goes on, and what happened is counted."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest

from tests.transports.conftest import Certificates, until
from tests.transports.ws_peers import URL, echo, shaken, stranger
from tests.websocket.by_hand import BINARY, CLOSE, CONTINUATION, PING, TEXT, close_body, frame, request
from tests.websocket.test_turns import bombs
from transport import HttpRequest, HttpResponse, Protocol, connect, limits, serve
from transport.drive import stream

CLOSING = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def goes_on(good: Any, count: int = 5) -> None:
    """A good peer gets its answers."""
    for index in range(count):
        await good.send(index)
        assert await good.recv() == index


# Floods: each is what somebody may send as fast as the wire takes it, and none of it is an offence by itself

FLOODS: dict[str, bytes] = {
    "pings": frame(PING, bytes(125)) * 1000,
    "pongs nobody asked for": frame(10, bytes(8)) * 5000,
    "empty messages": frame(BINARY, b"\xc0") * 5000,
    "a byte in each fragment": frame(TEXT, b"\xa1", fin=False) + frame(CONTINUATION, b"x", fin=False) * 10_000,
    "fragments of nothing": frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 10_000,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_of_frames_holds_up_nobody_else(name: str) -> None:
    async def sink(conn: Any) -> None:
        async for message in conn:
            if isinstance(message, int):
                await conn.send(message)

    async with serve(URL, sink) as server, connect(server.url) as good, shaken(server) as bad:
        flood = asyncio.ensure_future(bad.say(FLOODS[name]))  # whose answers it does not read
        await goes_on(good)
        await flood
        await goes_on(good)


@pytest.mark.asyncio
async def test_a_flood_of_requests_holds_up_nobody_else() -> None:
    chunks = b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000
    routes = {"/health": HttpResponse("fine")}

    async def health(asked: HttpRequest) -> HttpResponse:
        return HttpResponse("fine")

    async with (
        serve("ws://127.0.0.1:0/ws", echo, routes={**routes, "/health": health}) as server,
        connect(server.url) as good, stranger(server) as one, stranger(server) as two,
    ):  # fmt: skip
        floods = [
            asyncio.ensure_future(one.say(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" * 2000)),
            asyncio.ensure_future(two.say(chunks)),
        ]
        await goes_on(good)
        assert (await one.hear()).count(b"HTTP/1.1 404 ") == limits.HTTP_REQUESTS_MAX
        await asyncio.gather(*floods)
        await goes_on(good)
        assert server.statistics().counters["http_404"] == limits.HTTP_REQUESTS_MAX


@pytest.mark.asyncio
async def test_bombs_within_the_limit_fill_an_inbox_no_further_than_its_mark() -> None:
    """126 of them come with one read. All were built at once before, in memory that nobody had asked for."""
    async with serve(URL, codec="raw", compression=True, inbox=limits.MIB) as server, stranger(server) as bad:
        await bad.say(request("Sec-WebSocket-Extensions: permessage-deflate"))
        assert b"permessage-deflate" in await bad.hear(b"\r\n\r\n")
        peer = await server.accept()
        sending = asyncio.ensure_future(bad.say(bombs(120)))
        await until(lambda: peer.statistics().inbox_bytes > limits.MIB)
        for _ in range(20):  # turns of the loop
            await asyncio.sleep(0)
        most = limits.MIB + limits.WS_INFLATE_TURN_BYTES + limits.MESSAGE_BYTES_DEFAULT
        assert peer.statistics().inbox_bytes <= most + limits.MESSAGE_COST_BYTES * 3
        async with connect(server.url, codec="raw") as good:
            other = await server.accept()
            await good.send(b"x")
            assert await other.recv() == b"x"
        for _ in range(120):
            assert len(await peer.recv()) == limits.MIB
        await sending


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_messages_that_shrink_a_thousandfold_all_arrive(scheme: str, certificates: Certificates) -> None:
    """In turns, by the native pipe and by the loop's own."""

    async def count(conn: Any) -> None:
        total = 0
        async for message in conn:
            total += len(message)
            if len(message) == 1:
                await conn.send(str(total).encode())

    secure = scheme == "wss"
    theirs = {"certfile": certificates.certfile} if secure else {}
    ours = {"cafile": certificates.cafile} if secure else {}
    async with serve(f"{scheme}://127.0.0.1:0", count, codec="raw", compression=True, **theirs) as server:
        async with connect(server.url, codec="raw", compression=True, window_bits=15, **ours) as conn:
            for _ in range(12):
                conn.send_nowait(bytes(limits.MIB))
            await conn.send(b".")
            assert await conn.recv() == b"%d" % (12 * limits.MIB + 1)


# Ends


@pytest.mark.asyncio
async def test_a_message_in_front_of_a_broken_frame_is_answered() -> None:
    async with serve(URL, echo, codec="raw") as server, shaken(server) as bad:
        await bad.say(frame(BINARY, b"fine") + frame(3) + frame(BINARY, b"behind"))
        answer, last = await bad.frames(2)
        assert (answer.payload, last.opcode, last.payload[:2]) == (b"fine", CLOSE, close_body(1002))
        assert await bad.hear() == b""


@pytest.mark.asyncio
@pytest.mark.parametrize("reset", [True, False])
async def test_an_end_in_the_middle_of_a_frame(reset: bool) -> None:
    async with serve(URL, echo) as server, connect(server.url) as good:
        async with shaken(server) as bad:
            await bad.say(frame(BINARY, bytes(1000))[:500])
            if reset:
                bad.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        await until(lambda: server.statistics().connections == 1)
        assert server.statistics().counters["close_1006"] == 1
        await goes_on(good)


@pytest.mark.asyncio
async def test_who_says_nothing_at_all_is_counted() -> None:
    async with serve(URL, echo, handshake_timeout=0.05) as server, stranger(server) as silent:
        assert await silent.hear() == b""
        assert server.statistics().counters["http_silent"] == 1


# HTTP: slow, or too much


@pytest.mark.asyncio
async def test_an_answer_may_take_longer_than_a_pipe_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds behind the last answer it was cut before, however much of that was still on its way."""
    monkeypatch.setattr(stream, "LINGER_NS", limits.SECOND_NS // 20)
    page = HttpResponse(bytes(4 * limits.MIB))
    async with serve("ws://127.0.0.1:0/ws", echo, routes={"/": page}, sndbuf=65_536) as server:
        async with stranger(server) as slow:
            await slow.say(CLOSING)
            await until(lambda: server.statistics().counters.get("http_200") == 1)
            await asyncio.sleep(0.2)  # several times that
            found = await slow.hear()
            assert len(found.partition(b"\r\n\r\n")[2]) == 4 * limits.MIB
        await until(lambda: server.statistics().counters["http_connections"] == 0)


@pytest.mark.asyncio
async def test_an_answer_over_tls_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch, certificates: Certificates
) -> None:
    monkeypatch.setattr(stream, "LINGER_NS", limits.SECOND_NS // 20)
    page = HttpResponse(bytes(4 * limits.MIB))
    url = "wss://127.0.0.1:0/ws"
    async with serve(url, echo, routes={"/": page}, sndbuf=65_536, certfile=certificates.certfile) as server:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.url.port, ssl=ssl.create_default_context(cafile=certificates.cafile), limit=65_536
        )
        writer.write(CLOSING)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.2)
        assert len(await reader.read(-1)) == 4 * limits.MIB
        writer.close()


@pytest.mark.asyncio
async def test_an_answer_that_is_not_taken_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_IDLE_S", 0.1)
    page = HttpResponse(bytes(4 * limits.MIB))
    async with serve("ws://127.0.0.1:0/ws", echo, routes={"/": page}, sndbuf=65_536) as server:
        async with connect(server.url) as good, stranger(server) as bad:
            await bad.say(CLOSING)
            await until(lambda: server.statistics().counters.get("http_stalled", 0) == 1)
            await until(lambda: server.statistics().counters["http_connections"] == 0)
            await goes_on(good)


@pytest.mark.asyncio
async def test_routes_at_work_leave_room_for_websockets() -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    at_work = []

    async def slow(asked: HttpRequest) -> str:
        at_work.append(asked)
        await gate
        return "at last"

    ask = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
    async with contextlib.AsyncExitStack() as stack:
        url = "ws://127.0.0.1:0/ws"
        server = await stack.enter_async_context(serve(url, echo, routes={"/slow": slow}, http_connections=3))
        first = [await stack.enter_async_context(stranger(server)) for _ in range(2)]
        for one in first:
            await one.say(ask)
        await until(lambda: len(at_work) == 2)
        async with stranger(server) as third:
            await third.say(ask)
            found = await third.hear(b"being answered")
            assert found.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1\r\n" in found.lower()
        async with connect(server.url) as good:
            await goes_on(good)
        gate.set_result(None)
        for one in first:
            assert b"at last" in await one.hear(b"at last")
            await one.say(ask)
            assert b"at last" in await one.hear(b"at last")
        counters = server.statistics().counters
        assert (counters["http_busy"], counters["http_503"], counters["http_200"]) == (1, 1, 4)


@pytest.mark.asyncio
async def test_who_takes_no_answers_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 2)
    page = HttpResponse(bytes(2 * limits.MIB))
    async with contextlib.AsyncExitStack() as stack:
        serving = serve("ws://127.0.0.1:0/ws", echo, routes={"/": page}, sndbuf=65_536)
        server = await stack.enter_async_context(serving)
        for _ in range(2):
            bad = await stack.enter_async_context(stranger(server))
            await bad.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        await until(lambda: server.statistics().counters.get("http_200", 0) >= 2)
        async with connect(server.url) as good:
            await goes_on(good)
        assert server.statistics().counters["http_dropped"] == 1


# Compression that others ask for


@pytest.mark.asyncio
@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_websockets_asks_for_a_window(bits: int) -> None:
    websockets = pytest.importorskip("websockets.asyncio.client")
    factory = pytest.importorskip("websockets.extensions.permessage_deflate").ClientPerMessageDeflateFactory
    offer = factory(server_max_window_bits=bits, client_max_window_bits=bits)
    async with serve(URL, echo, codec="raw", compression=True, window_bits=15) as server:
        async with websockets.connect(str(server.url), compression=None, extensions=[offer], proxy=None) as other:
            assert other.protocol.extensions[0].remote_max_window_bits == bits
            for _ in range(2):
                await other.send(b"window" * 1000)
                assert await other.recv() == b"window" * 1000


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["ws", "wss"])
async def test_a_stream_that_ends_behind_messages_that_wait_for_their_turn(
    scheme: str, certificates: Certificates
) -> None:
    """They came: they are received, over TLS too, whose transport is gone at once."""
    sizes: list[int] = []
    lost = asyncio.Event()

    class Sink(Protocol):
        def message_received(self, message: Any, channel: int) -> None:
            sizes.append(len(message))

        def connection_lost(self, error: Exception | None) -> None:
            lost.set()

    secure = scheme == "wss"
    options = {"certfile": certificates.certfile} if secure else {}
    async with serve(f"{scheme}://127.0.0.1:0", protocol=Sink, codec="raw", compression=True, **options) as server:
        context = ssl.create_default_context(cafile=certificates.cafile) if secure else None
        reader, writer = await asyncio.open_connection("127.0.0.1", server.url.port, ssl=context)
        writer.write(request("Sec-WebSocket-Extensions: permessage-deflate"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(bombs(20))
        writer.close()
        await lost.wait()
    assert sizes == [limits.MIB] * 20
