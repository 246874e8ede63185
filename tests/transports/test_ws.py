"""`ws://` and `wss://` on real sockets: messages, plain HTTP beside them, what bad peers get, and other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

import transport
from tests.transports.conftest import Certificates, until
from tests.websocket.by_hand import BINARY, CLOSE, PING, TEXT, close_body, frame, frames_of, request
from transport import CloseCode, ConnectFailed, ConnectionLost, LocalProtocolError, connect, limits, serve
from transport.errors import InvalidURL, UnsupportedOperation
from transport.websocket.http import HttpRequest, HttpResponse

URL = "ws://127.0.0.1:0"


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


class Stranger:
    """A bare socket that says what it likes."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard = b""
        self.ended = False

    async def say(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def hear(self, wanted: bytes = b"") -> bytes:
        """Reads until `wanted` has come, or to the end; gives everything and forgets it."""
        while not self.ended and not (wanted and wanted in self.heard):
            try:
                data = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            except ConnectionError:
                data = b""
            self.ended = not data
            self.heard += data
        found, self.heard = self.heard, b""
        return found

    async def frames(self, count: int) -> list[Any]:
        """So many frames."""
        while len(frames_of(self.heard)[0]) < count and not self.ended:
            data = await asyncio.get_running_loop().sock_recv(self.sock, 65_536)
            self.ended = not data
            self.heard += data
        found, self.heard = frames_of(self.heard)
        return found


@contextlib.asynccontextmanager
async def stranger(server: Any) -> AsyncIterator[Stranger]:
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.url.port))
        yield Stranger(sock)
    finally:
        sock.close()


@contextlib.asynccontextmanager
async def shaken(server: Any) -> AsyncIterator[Stranger]:
    """The same, behind its handshake."""
    async with stranger(server) as peer:
        await peer.say(request(path=server.url.path or "/"))
        head = await peer.hear(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        peer.heard = head.partition(b"\r\n\r\n")[2]
        yield peer


# Messages


@pytest.mark.asyncio
@pytest.mark.parametrize("options", [{}, {"compression": True}, {"fragment": 1000}, {"codec": "json"}])
async def test_messages_of_every_size(options: Any) -> None:
    async with serve(URL, echo, **options) as server, connect(server.url, **options) as conn:
        for size in (0, 1, 125, 126, 65_535, 65_536, 200_000):
            await conn.send({"n": "x" * size})
            assert await conn.recv() == {"n": "x" * size}
        assert conn.traits.ping
        assert not conn.traits.streams
        assert await conn.ping() > 0
        with pytest.raises(UnsupportedOperation):
            await conn.open_stream()
        with pytest.raises(UnsupportedOperation):
            await conn.send("x", channel=1)


@pytest.mark.asyncio
async def test_what_the_handler_can_know() -> None:
    told: list[Any] = []

    async def look(conn: Any) -> None:
        told.extend(conn.get_extra_info(name) for name in ("path", "query", "subprotocol", "request", "compression"))

    async with serve(URL, look, subprotocols=["b", "a"], compression=True) as server:
        url = server.url.replace(path="/rooms/7 and 8", query_text="token=%20x&y")
        async with connect(
            url, subprotocols="c,a,b", headers={"X-Token": "secret"}, origin=f"http://127.0.0.1:{url.port}",
            compression=True,
        ) as conn:  # fmt: skip
            assert conn.get_extra_info("subprotocol") == "a"
            assert conn.get_extra_info("compression") == "deflate"
            async for _ in conn:
                pass
        assert told[:3] == ["/rooms/7 and 8", "token=%20x&y", "a"]
        assert told[3].header("x-token") == "secret"
        assert told[3].remote_address == conn.local_address
        assert told[4] == "deflate"


@pytest.mark.asyncio
async def test_a_path_is_kept() -> None:
    async with serve("ws://127.0.0.1:0/chat", echo) as server:
        assert server.url.path == "/chat"
        async with connect(server.url) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
        with pytest.raises(ConnectFailed, match="the server answered 404 Not Found"):
            await connect(server.url.replace(path="/other"))
        assert server.statistics().counters["http_404"] == 1
        assert server.statistics().accepted == 1


@pytest.mark.asyncio
async def test_a_json_codec_speaks_text() -> None:
    async with serve(URL, echo, codec="json") as server, shaken(server) as peer:
        await peer.say(frame(TEXT, b'{"a":1}') + frame(BINARY, b'{"b":2}'))
        assert [(found.opcode, found.payload) for found in await peer.frames(2)] == [(TEXT, b'{"a":1}'), (TEXT, b'{"b":2}')]
    async with serve(URL, echo, codec="raw") as server, shaken(server) as peer:
        await peer.say(frame(TEXT, b"text"))
        assert [(found.opcode, found.payload) for found in await peer.frames(1)] == [(BINARY, b"text")]


@pytest.mark.asyncio
async def test_over_tls(certificates: Certificates) -> None:
    routes = {"/health": HttpResponse("fine")}
    async with serve("wss://127.0.0.1:0/x", echo, certfile=certificates.certfile, routes=routes) as server:
        async with connect(server.url, cafile=certificates.cafile) as conn:
            await conn.send(b"y" * 300_000)
            assert await conn.recv() == b"y" * 300_000
            assert conn.traits.encrypted
            assert conn.get_extra_info("ssl_object").version() == "TLSv1.3"
        with pytest.raises(ConnectFailed, match="certificate is refused"):
            await connect(server.url)


@pytest.mark.asyncio
async def test_a_reader_that_falls_behind_slows_the_sender_and_is_not_taken_for_dead() -> None:
    async with serve(URL, codec="raw", keepalive=0.05, idle_timeout=0.2, inbox=65_536) as server:
        async with connect(server.url, codec="raw", keepalive=0.05, idle_timeout=0.2, high_water=65_536) as conn:
            peer = await server.accept()
            sent = 0
            with pytest.raises(transport.WouldBlock):
                while True:
                    conn.send_nowait(bytes(30_000))
                    sent += 1
                    if sent % 3 == 0:
                        await asyncio.sleep(0)
                    if sent > 5000:
                        break
            await asyncio.sleep(0.5)  # several times the silence that ends a connection
            assert not conn.is_closed
            assert not peer.is_closed
            assert peer.statistics().inbox_bytes < 1_000_000
            for _ in range(sent):
                assert len(await peer.recv()) == 30_000


@pytest.mark.asyncio
async def test_callbacks() -> None:
    class Echo(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            self.conn = conn
            conn.send_nowait(conn.get_extra_info("path"))

        def message_received(self, message: Any, channel: int) -> None:
            self.conn.send_nowait(message)

    async with serve(URL, protocol=Echo) as server:
        async with connect(server.url.replace(path="/p")) as conn:
            assert await conn.recv() == "/p"
            await conn.send([1])
            assert await conn.recv() == [1]


# Plain HTTP on the same port


async def health(asked: HttpRequest) -> HttpResponse:
    return HttpResponse(f"{asked.method} {asked.query} {len(asked.body)}", headers={"X-From": str(asked.remote_address[0])})


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
    async with serve("ws://127.0.0.1:0/ws", echo, routes={"/": page}, sndbuf=65_536) as server, stranger(server) as peer:
        await peer.say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 900)
        await until(lambda: server.statistics().counters.get("http_200", 0) >= 1)
        await asyncio.sleep(0.1)
        assert server.statistics().counters["http_200"] <= 8  # what the kernel has room for
        await until(lambda: server.statistics().counters["http_connections"] == 0)


@pytest.mark.asyncio
async def test_connections_that_are_no_websockets_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HTTP_CONNECTIONS_MAX", 5)
    async with serve(URL, echo) as server, contextlib.AsyncExitStack() as stack:
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


# What bad peers get


BAD: dict[str, tuple[bytes, int]] = {
    "not masked": (frame(TEXT, b"x", key=None), 1002),
    "reserved bit": (frame(TEXT, b"x", rsv=4), 1002),
    "reserved opcode": (frame(3, b"x"), 1002),
    "oversized": (frame(BINARY, b"", size=1 << 40), 1009),
    "oversized in fragments": (frame(BINARY, bytes(60_000), fin=False) + frame(0, b"", size=60_000), 1009),
    "not UTF-8": (frame(TEXT, b"\xff"), 1007),
    "no msgpack": (frame(BINARY, b"\xc1"), 1007),
    "long ping": (frame(PING, bytes(126)), 1002),
    "bad status": (frame(CLOSE, close_body(1005)), 1002),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("name", BAD)
async def test_bad_frames_get_the_status_of_the_rfc(name: str) -> None:
    data, status = BAD[name]
    ends: list[Any] = []

    async def handler(conn: Any) -> None:
        try:
            await echo(conn)
        finally:
            ends.append(conn)

    async with serve(URL, handler, max_message=100_000) as server, connect(server.url) as good, shaken(server) as bad:
        await bad.say(data)
        (last,) = await bad.frames(1)
        assert last.opcode == CLOSE
        assert int.from_bytes(last.payload[:2], "big") == status
        assert await bad.hear() == b""
        assert server.statistics().counters[f"close_{status}"] == 1
        await good.send("goes on")
        assert await good.recv() == "goes on"
        await until(lambda: len(ends) == 1)
        assert ends[0].close_code == status


@pytest.mark.asyncio
async def test_a_compression_bomb() -> None:
    from transport.websocket.deflate import Compressor

    bomb = Compressor(15, True).compress(bytes(50_000_000))
    async with serve(URL, echo, compression=True) as server, stranger(server) as peer:
        await peer.say(request("Sec-WebSocket-Extensions: permessage-deflate"))
        assert b"permessage-deflate" in await peer.hear(b"\r\n\r\n")
        await peer.say(frame(BINARY, bomb, rsv=4))
        (last,) = await peer.frames(1)
        assert last.payload[:2] == close_body(1009)


@pytest.mark.asyncio
async def test_a_page_of_another_origin() -> None:
    async with serve(URL, echo) as server:
        with pytest.raises(ConnectFailed, match="answered 403 Forbidden") as caught:
            await connect(server.url, origin="https://evil.example")
        assert caught.value.__cause__.code == CloseCode.POLICY
        counters = server.statistics().counters
        assert (counters["origins_refused"], counters["http_403"]) == (1, 1)
    async with serve(URL, echo, origins=["https://evil.example"]) as server:
        await (await connect(server.url, origin="https://evil.example")).close()
    async with serve(URL, echo, origins="*") as server:
        await (await connect(server.url, origin="null")).close()


@pytest.mark.asyncio
async def test_a_full_server_answers_503() -> None:
    async with serve(URL, echo, max_connections=1) as server, connect(server.url) as conn:
        with pytest.raises(ConnectFailed, match="answered 503 Service Unavailable"):
            await connect(server.url)
        assert server.statistics().refused == 1
        await conn.send(1)
        assert await conn.recv() == 1


@pytest.mark.asyncio
async def test_a_request_that_does_not_come_to_its_end() -> None:
    async with serve(URL, echo, handshake_timeout=0.1) as server, stranger(server) as peer:
        await peer.say(request()[:40])
        assert b"HTTP/1.1 408 " in await peer.hear()


@pytest.mark.asyncio
async def test_a_client_of_something_else() -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed, match="no HTTP answer"):
            await connect(f"ws://127.0.0.1:{port}")


@pytest.mark.asyncio
async def test_a_server_that_sends_bad_frames() -> None:
    async def bad(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from transport.websocket.upgrade import accept_of

        head = await reader.readuntil(b"\r\n\r\n")
        key = head.partition(b"sec-websocket-key: ")[2] or head.lower().partition(b"sec-websocket-key: ")[2]
        key = head[head.lower().index(b"sec-websocket-key: ") + 19 :].split(b"\r\n")[0]
        writer.write(
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: " + accept_of(key)
            + b"\r\n\r\n" + frame(BINARY, b"\x01", key=None) + frame(BINARY, b"x")
        )  # fmt: skip
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(bad, "127.0.0.1", 0)
    async with server:
        conn = await connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await conn.recv() == 1
        with pytest.raises(ConnectionLost) as caught:
            await conn.recv()
        assert (caught.value.code, caught.value.by_peer) == (CloseCode.PROTOCOL_ERROR, False)
        await conn.wait_closed()


# Mistakes of one's own


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"headers": {"A\r\nB": "c"}}, "not shown"),
        ({"headers": {"A": "b\r\nC: d"}}, "not shown"),
        ({"headers": {"Host": "x"}}, "not shown"),
        ({"headers": 5}, "not shown"),
        ({"origin": "https://x/path"}, "no path"),
        ({"origin": "example.com"}, "a scheme and a host"),
        ({"subprotocols": ["a b"]}, "token"),
        ({"subprotocols": ["a", "a"]}, "each once"),
        ({"subprotocols": []}, "expects names"),
        ({"window_bits": 8}, "from 9 to 15"),
        ({"fragment": 1}, "not within 16"),
        ({"nothing": 1}, "unknown option"),
    ],
)
async def test_mistakes_of_a_client(options: Any, text: str) -> None:
    with pytest.raises(InvalidURL, match=text) as caught:
        await connect("ws://127.0.0.1:1", **options)
    assert "C: d" not in str(caught.value)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"routes": {"health": health}}, "begins with a slash"),
        ({"routes": {"/health": "text"}}, "neither a coroutine function"),
        ({"routes": [health]}, "expects a mapping"),
        ({"routes": dict.fromkeys([f"/{n}" for n in range(257)], health)}, "at most 256"),
        ({"origins": []}, "1 to 256"),
        ({"origins": ["https://x/"]}, "no path"),
        ({"origins": 5}, "expects origins"),
    ],
)
async def test_mistakes_of_a_server(options: Any, text: str) -> None:
    with pytest.raises(InvalidURL, match=text):
        await serve(URL, echo, **options)


@pytest.mark.asyncio
async def test_options_of_the_other_side() -> None:
    with pytest.raises(LocalProtocolError, match="headers is for clients"):
        await serve(URL, echo, headers={"a": "b"})
    with pytest.raises(LocalProtocolError, match="routes is for servers"):
        await connect("ws://127.0.0.1:1", routes={})
    with pytest.raises(UnsupportedOperation, match="no framing"):
        await serve(URL, echo, framing="lines")
    with pytest.raises(UnsupportedOperation, match="no machine"):
        await connect("ws://127.0.0.1:1", machine=object)


def test_without_h11_an_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['h11'] = None\n"
        "import transport\n"
        "async def main():\n"
        "    for opening in (transport.serve('ws://127.0.0.1:0'), transport.connect('ws://127.0.0.1:1')):\n"
        "        try:\n"
        "            await opening\n"
        "        except transport.LocalProtocolError as error:\n"
        "            print(error)\n"
        "transport.run(main())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["ws:// and wss:// need h11: pip install 'transport[ws]'"] * 2


def test_other_schemes_do_not_pay_for_it() -> None:
    code = (
        "import sys, transport\n"
        "async def main():\n"
        "    async with transport.serve('tcp://127.0.0.1:0') as server, transport.connect(server.url):\n"
        "        pass\n"
        "transport.run(main())\n"
        "print([name for name in sys.modules if name == 'h11' or name.startswith(('transport.websocket', 'zlib'))])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [name for name in eval(ran.stdout) if name != "zlib"] == []


# Memory


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_nothing_of_the_handshake_stays() -> None:
    async with serve(URL, echo) as server, connect(server.url) as conn:
        await conn.send(1)
        await conn.recv()
        gc.collect()
        kinds = [type(found).__module__ for found in gc.get_objects()]
        assert not [kind for kind in kinds if kind == "h11._connection"]


# Other libraries


@pytest.mark.asyncio
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_websockets_as_a_client(compression: Any) -> None:
    websockets = pytest.importorskip("websockets.asyncio.client")
    async with serve(URL, echo, codec="raw", compression=compression is not None, subprotocols=["a"]) as server:
        async with websockets.connect(
            str(server.url), compression=compression, subprotocols=["x", "a"], max_size=None, proxy=None
        ) as other:
            assert other.subprotocol == "a"
            for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                await other.send(b"z" * size)
                assert await other.recv() == b"z" * size
            await other.send("täxt")
            assert await other.recv() == "täxt".encode()
            await other.send(iter([b"one ", b"two ", b"three"]))
            assert await other.recv() == b"one two three"
            await (await other.ping(b"hello"))
        assert (other.close_code, other.close_reason) == (1000, "")


@pytest.mark.asyncio
@pytest.mark.parametrize("compression", [None, "deflate"])
async def test_websockets_as_a_server(compression: Any) -> None:
    websockets = pytest.importorskip("websockets.asyncio.server")

    async def handler(other: Any) -> None:
        async for message in other:
            await other.send(message)
        told.append((other.close_code, other.close_reason))

    told: list[Any] = []
    async with websockets.serve(handler, "127.0.0.1", 0, compression=compression, max_size=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        for options in ({}, {"fragment": 1000}, {"context_takeover": False}, {"text": True}):
            async with connect(
                f"ws://127.0.0.1:{port}/p?q", codec="raw", compression=compression is not None, **options
            ) as conn:
                for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                    await conn.send(b"z" * size)
                    assert await conn.recv() == b"z" * size
                assert await conn.ping() > 0
                await conn.close(7, "enough")
        assert told == [(4007, "enough")] * 4


@pytest.mark.asyncio
async def test_picows_both_ways() -> None:
    picows: Any = pytest.importorskip("picows")
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    class Client(picows.WSListener):  # type: ignore[misc]
        def on_ws_connected(self, other: Any) -> None:
            other.send(picows.WSMsgType.BINARY, b"x" * 100_000)

        def on_ws_frame(self, other: Any, found: Any) -> None:
            if found.msg_type == picows.WSMsgType.BINARY:
                done.set_result(found.get_payload_as_bytes())
                other.send_close(picows.WSCloseCode.OK)

    class Server(picows.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, other: Any, found: Any) -> None:
            if found.msg_type == picows.WSMsgType.BINARY:
                other.send(found.msg_type, found.get_payload_as_bytes())
            elif found.msg_type == picows.WSMsgType.PING:
                other.send_pong(found.get_payload_as_bytes())
            elif found.msg_type == picows.WSMsgType.CLOSE:
                other.send_close(found.get_close_code())
                other.disconnect()

    async with serve(URL, echo, codec="raw") as server:
        await picows.ws_connect(Client, str(server.url))
        assert await done == b"x" * 100_000
    other = await picows.ws_create_server(lambda _: Server(), "127.0.0.1", 0)
    async with other:
        async with connect(f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}/", codec="raw") as conn:
            await conn.send(b"y" * 100_000)
            assert await conn.recv() == b"y" * 100_000
            assert await conn.ping() > 0
