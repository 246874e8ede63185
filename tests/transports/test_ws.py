"""`ws://` and `wss://` on real sockets: messages, the handshake as a program sees it, and other libraries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest

import transport
from tests.transports.conftest import Certificates, until
from tests.transports.ws_peers import URL, echo, shaken
from tests.websocket.by_hand import BINARY, TEXT, frame
from transport import ConnectFailed, HttpResponse, connect, serve
from transport.errors import UnsupportedOperation
from transport.transports.ws import host_of, target_of
from transport.url import Url

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
        found = await peer.frames(2)
        assert [(one.opcode, one.payload) for one in found] == [(TEXT, b'{"a":1}'), (TEXT, b'{"b":2}')]
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
            try:
                while sent < 5000:
                    conn.send_nowait(bytes(30_000))
                    sent += 1
                    await asyncio.sleep(0)
            except transport.WouldBlock:
                pass
            assert 0 < sent < 5000
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


# What a client asks with (RFC 6455 section 4.1)


@pytest.mark.asyncio
async def test_4_1_every_connection_has_a_key_of_its_own() -> None:
    keys: list[str] = []

    async def look(conn: Any) -> None:
        keys.append(conn.get_extra_info("request").header("sec-websocket-key"))

    async with serve(URL, look) as server:
        for _ in range(3):
            async with connect(server.url) as conn:
                await conn.wait_closed()
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (Url("ws", "example.com", 80), "example.com"),
        (Url("ws", "example.com", 443), "example.com:443"),
        (Url("wss", "example.com", 443), "example.com"),
        (Url("wss", "example.com", 80), "example.com:80"),
        (Url("ws", "::1", 8080), "[::1]:8080"),
        (Url("ws", "fe80::1%eth0", 80), "[fe80::1]"),
        (Url("ws", "münchen.example", 80), "xn--mnchen-3ya.example"),
    ],
)
def test_4_1_the_host_of_a_request(url: Url, host: str) -> None:
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (Url("ws", "h", 80), "/"),
        (Url("ws", "h", 80, "/chat"), "/chat"),
        (Url("ws", "h", 80, "/a b", "x=%20&y"), "/a%20b?x=%20&y"),
        (Url("ws", "h", 80, "/ä", "q=ä"), "/%C3%A4?q=%C3%A4"),
        (Url("ws", "h", 80, "", "x"), "/?x"),
    ],
)
def test_3_the_target_of_a_request(url: Url, target: str) -> None:
    assert target_of(url) == target


# Memory


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_nothing_of_the_handshake_stays() -> None:
    async with serve(URL, echo) as server, connect(server.url) as conn:
        await conn.send(1)
        await conn.recv()
        gc.collect()
        kinds = [(type(found).__module__, type(found).__name__) for found in gc.get_objects()]
        assert ("h11._connection", "Connection") not in kinds


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
    closed = pytest.importorskip("websockets.exceptions").ConnectionClosed

    async def handler(other: Any) -> None:
        with contextlib.suppress(closed):
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
        await until(lambda: len(told) == 4)
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
