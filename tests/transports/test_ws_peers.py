"""What bad peers and bad calls of `ws://` get, while everybody else goes on."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from typing import Any

import pytest

from tests.transports.conftest import until
from tests.transports.ws_peers import URL, echo, shaken, stranger
from tests.websocket.by_hand import BINARY, CLOSE, PING, TEXT, close_body, frame, request
from transport import (
    CloseCode,
    ConnectFailed,
    ConnectionLost,
    HttpRequest,
    HttpResponse,
    LocalProtocolError,
    connect,
    serve,
)
from transport.errors import InvalidURL, UnsupportedOperation


async def health(asked: HttpRequest) -> HttpResponse:
    return HttpResponse("fine")


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
        gone.set()

    gone = asyncio.Event()
    server = await asyncio.start_server(other, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectFailed, match="no HTTP answer"):
            await connect(f"ws://127.0.0.1:{port}")
        await gone.wait()


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
    assert ran.stdout.splitlines() == ["ws:// and wss:// need h11: pip install h11"] * 2


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
