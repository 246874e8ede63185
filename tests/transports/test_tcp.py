"""tcp:// from end to end: options, addresses, framings, limits, ends."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.strangers import echo, until
from transport import limits
from transport.api import connect, serve
from transport.codec.framing.base import MalformedFrame
from transport.delivery import Delivery
from transport.drive.lanes import StreamError
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    MessageTooLarge,
    UnsupportedOperation,
)

URL = "tcp://127.0.0.1:0"

pytestmark = pytest.mark.asyncio


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def sockets(conn: Any, peer: Any) -> list[socket.socket]:
    return [conn.get_extra_info("socket"), peer.get_extra_info("socket")]


async def test_small_segments_leave_at_once_unless_asked_otherwise() -> None:
    for options, wanted in (({}, 1), ({"nodelay": True}, 1), ({"nodelay": False}, 0)):
        async with serve(URL, **options) as server, connect(server.url, **options) as conn:
            for sock in sockets(conn, await server.accept()):
                assert bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) == wanted


@pytest.mark.linux
async def test_options_reach_both_ends() -> None:
    """The kernel doubles buffers (socket(7)); the code point is the upper six bits of the field."""
    options = {"rcvbuf": "32k", "sndbuf": 40 * 1024, "dscp": 46}
    async with serve(URL, **options) as server, connect(f"{server.url}?dscp=46", rcvbuf=32768, sndbuf=40960) as conn:
        for sock in sockets(conn, await server.accept()):
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * 32 * 1024
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * 40 * 1024
            assert sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) == 46 << 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rcvbuf": -1}, "rcvbuf"),
        ({"dscp": 64}, "0 to 63"),
        ({"backlog": 0}, "backlog"),
        ({"max_message": limits.MESSAGE_BYTES_MAX + 1}, "max_message"),
        ({"nodlay": True}, "nodelay"),
        ({"timestamps": True}, "timestamps"),
        ({"low_water": 1000, "high_water": 100}, "above 'high_water'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
async def test_a_wrong_option_is_refused_before_anything_is_opened(options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidURL, match=text):
        await serve(URL, **options)
    with pytest.raises(InvalidURL, match=text):
        await connect("tcp://127.0.0.1:1", **options)


async def test_the_url_has_the_port_that_the_system_chose() -> None:
    async with serve(URL, echo) as server:
        assert server.url.port > 0
        assert str(server.url) == f"tcp://127.0.0.1:{server.url.port}"
        async with connect(str(server.url)) as conn:
            assert conn.remote_address == ("127.0.0.1", server.url.port)
            assert conn.local_address[0] == "127.0.0.1"
            assert next(iter(server.connections)).remote_address == conn.local_address


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6 loopback")
async def test_ipv6() -> None:
    async with serve("tcp://[::1]:0", echo, dscp=10) as server, connect(server.url) as conn:
        assert str(server.url) == f"tcp://[::1]:{server.url.port}"
        await conn.send("six")
        assert await conn.recv() == "six"
        assert conn.remote_address[:2] == ("::1", server.url.port)
        with pytest.raises(ConnectFailed):
            await connect(f"tcp://127.0.0.1:{server.url.port}")  # a socket of one family serves that one


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6 loopback")
async def test_a_name_with_several_addresses_is_served_on_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]

    async def resolve(host: str, port: int, kind: int, *, passive: bool = False) -> list[Any]:
        return [(*entry[:4], (entry[4][0], port, *entry[4][2:])) for entry in found]

    monkeypatch.setattr("transport.net.connect.resolve", resolve)
    async with serve("tcp://both.test:0", echo) as server:
        assert str(server.url) == f"tcp://both.test:{server.url.port}"
        for address in ("::1", "127.0.0.1"):
            with socket.create_connection((address, server.url.port)):
                await until(lambda: server.connections)
            await until(lambda: not server.connections)
        found.reverse()
        async with connect(server.url) as conn:
            assert conn.remote_address[0] == "127.0.0.1"


async def test_a_name() -> None:
    async with serve("tcp://localhost:0", echo) as server, connect(server.url) as conn:
        await conn.send("by name")
        assert await conn.recv() == "by name"


async def test_nobody_there_is_said_with_every_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed, match=f"can't connect: 127.0.0.1 port {port}: Connection refused") as caught:
            await connect(f"tcp://127.0.0.1:{port}")
    assert caught.value.errno == errno.ECONNREFUSED
    assert isinstance(caught.value, OSError)


async def test_a_name_that_nobody_knows() -> None:
    with pytest.raises(ConnectFailed, match="can't resolve"):
        await connect("tcp://no-such-name.invalid:1")
    with pytest.raises(OSError, match="can't resolve"):
        await serve("tcp://no-such-name.invalid:1")


async def test_a_port_that_is_taken() -> None:
    async with serve(URL) as server:
        with pytest.raises(OSError) as caught:
            await serve(server.url)
        assert caught.value.errno == errno.EADDRINUSE


async def test_no_answer_in_time() -> None:
    """The kernel takes the connection, nobody speaks on it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ConnectTimeout, match=rf"tcp://127.0.0.1:{port}: no connection within 0.05 s") as caught:
            await connect(f"tcp://127.0.0.1:{port}", connect_timeout=0.05)
        assert isinstance(caught.value, TimeoutError)


async def test_a_cancelled_connect_leaves_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        connecting = asyncio.ensure_future(connect(f"tcp://127.0.0.1:{silent.getsockname()[1]}"))
        peer, _ = await asyncio.get_running_loop().sock_accept(silent)
        with peer:
            peer.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(peer, 4)  # it waits for our preface now
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            while await asyncio.get_running_loop().sock_recv(peer, 4096):
                pass


async def test_sockets_made_by_others() -> None:
    """A bound one is made to listen; both ends then belong to whoever they were given to."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    address = listening.getsockname()
    async with serve(URL, echo, sock=listening) as server:
        assert server.url.port == address[1]
        client = socket.create_connection(address)
        async with connect(f"tcp://ignored.invalid:{address[1]}", sock=client) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client.fileno() == -1
    assert listening.fileno() == -1


async def test_both_ends_of_a_socketpair() -> None:
    one, two = socket.socketpair()
    first, second = await asyncio.gather(connect("tcp://pair:1", sock=one), connect("tcp://pair:1", sock=two))
    await first.send("hello")
    assert await second.recv() == "hello"
    await asyncio.gather(first.close(), second.close())
    assert (first.close_code, second.close_code) == (0, 0)


@pytest.mark.parametrize("framing", ["length32", "lines", "netstring", "bytes"])
async def test_half_close_with_a_plain_framing(framing: str) -> None:
    """The peer ends its stream after its questions and still gets every answer."""
    async with serve(URL, echo, framing=framing, codec="raw") as server:
        sock = socket.create_connection(("127.0.0.1", server.url.port))
        sock.setblocking(False)
        said = {"length32": b"\0\0\0\x03abc", "lines": b"abc\n", "netstring": b"3:abc,", "bytes": b"abc"}[framing]
        loop = asyncio.get_running_loop()
        with sock:
            await loop.sock_sendall(sock, said)
            sock.shutdown(socket.SHUT_WR)
            heard = b""
            while data := await loop.sock_recv(sock, 4096):
                heard += data
        assert heard == said


@pytest.mark.parametrize("framing", ["message", "length32", "msgpack", "lines", "netstring"])
async def test_framings_by_name(framing: str) -> None:
    codec = "json" if framing == "lines" else "msgpack"
    async with serve(URL, echo, framing=framing, codec=codec) as server:
        async with connect(server.url, framing=framing, codec=codec) as conn:
            for message in ("x", 5, [1, {"a": None}], "y" * 60_000):
                await conn.send(message)
                assert await conn.recv() == message
            assert conn.traits.ping == (framing == "message")
            if framing != "message":
                with pytest.raises(UnsupportedOperation, match="ping"):
                    await conn.ping()
                with pytest.raises(UnsupportedOperation, match="stream"):
                    await conn.open_stream()


class Semicolons:
    """A framing of a user's own."""

    def encode(self, payload: bytes) -> bytes:
        return payload + b";"

    def decoder(self) -> Any:
        return SemicolonDecoder()


class SemicolonDecoder:
    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *payloads, self.rest = (self.rest + data).split(b";")
        if len(self.rest) > 10:
            raise MalformedFrame("no semicolon within 10 bytes", CloseCode.TOO_LARGE, payloads)
        return payloads

    def eof(self) -> None:
        if self.rest:
            raise MalformedFrame("the last part has no semicolon")


async def test_a_framing_of_ones_own() -> None:
    options: dict[str, Any] = {"framing": Semicolons(), "codec": "raw"}
    async with serve(URL, **options) as server, connect(server.url, **options) as conn:
        peer = await server.accept()
        await conn.send(b"one")
        await conn.send(b"a part without end")
        assert await peer.recv() == b"one"
        assert await peer.recv() == b"a part without end"
        async with connect(server.url, framing="bytes", codec="raw") as other:
            second = await server.accept()
            await other.send(b"whole;but then nothing more")
            assert await second.recv() == b"whole"
            with pytest.raises(ConnectionLost, match="no semicolon within 10 bytes"):
                await second.recv()
        peer.close_soon()


async def test_codecs_that_differ_are_told_apart_at_once() -> None:
    async with serve(URL, echo, codec="json") as server:
        with pytest.raises(ConnectFailed, match=r"1104 \(codec mismatch\).*'json'.*'msgpack'|'msgpack'.*'json'"):
            await connect(server.url, codec="msgpack")
        await until(lambda: not server.connections)
        assert server.statistics().accepted <= 1


@pytest.mark.parametrize("smaller", ["client", "server"])
async def test_the_smaller_limit_of_both_sides_holds_for_what_is_sent(smaller: str) -> None:
    small, large = 1000, 100_000
    ours, theirs = (small, large) if smaller == "client" else (large, small)
    async with serve(URL, codec="raw", max_message=theirs) as server:
        async with connect(server.url, codec="raw", max_message=ours) as conn:
            peer = await server.accept()
            for one, two in ((conn, peer), (peer, conn)):
                await one.send(bytes(small))
                assert len(await two.recv()) == small
                text = "message of 1001 bytes is over the limit of 1000 bytes .option max_message"
                with pytest.raises(MessageTooLarge, match=text):
                    await one.send(bytes(small + 1))
                with pytest.raises(MessageTooLarge):
                    one.send_nowait(bytes(small + 1))
            assert conn.close_code is None


async def test_channels_keep_their_messages_apart() -> None:
    async with serve(URL, channels=8) as server, connect(server.url) as conn:
        peer = await server.accept()
        lane = peer.channel(3)
        for number in range(50):
            await conn.send(number, channel=3)
            await conn.send(-number)
        assert [await lane.recv() for _ in range(50)] == list(range(50))
        assert [await peer.recv() for _ in range(50)] == [-number for number in range(50)]
        await conn.channel(7).send("by an object", delivery=Delivery.RELIABLE_UNORDERED)
        received = await peer.receive()
        assert received == ("by an object", 7, Delivery.RELIABLE_UNORDERED)
        with pytest.raises(UnsupportedOperation, match="channel 8: this connection has channels 0 to 7"):
            await conn.send("none", channel=8)
        with pytest.raises(UnsupportedOperation, match="channels 0 to 7"):
            peer.channel(8)


async def test_a_channel_that_nobody_reads_does_not_stop_the_others() -> None:
    window = 64 * limits.KIB
    async with serve(URL, codec="raw", channel_window=window) as server:
        async with connect(server.url, codec="raw", high_water=window) as conn:
            peer = await server.accept()
            peer.channel(1)
            stuck = asyncio.ensure_future(flood(conn))
            await until(lambda: conn.must_wait(1))
            for number in range(100):
                await conn.send(number.to_bytes(2, "big"), channel=2)
                assert await peer.recv() == number.to_bytes(2, "big")
            assert await conn.ping() > 0
            conn.abort()  # or it would wait for somebody to read what it has queued
            with pytest.raises(ConnectionLost):
                await stuck


async def flood(conn: Any) -> None:
    while True:
        await conn.send(bytes(10_000), channel=1)


async def write_on(stream: Any) -> None:
    while True:
        await stream.write(bytes(10_000))


async def test_streams_cross_with_messages_between_them() -> None:
    size = 3 * limits.STREAM_WINDOW_BYTES
    async with serve(URL) as server, connect(server.url) as conn:
        peer = await server.accept()

        async def send(number: int) -> None:
            async with await conn.open_stream(number, total=size) as stream:
                for _ in range(size // 65536):
                    await stream.write(bytes([number]) * 65536)

        sending = [asyncio.ensure_future(send(number)) for number in range(3)]
        incoming = [await peer.accept_stream() for _ in range(3)]
        assert sorted(stream.channel for stream in incoming) == [0, 1, 2]
        assert all(stream.total == size for stream in incoming)
        await conn.send("between")
        assert await peer.recv() == "between"
        for stream in incoming:
            got = b"".join([chunk async for chunk in stream])
            assert got == bytes([stream.channel]) * size
        await asyncio.gather(*sending)


async def test_a_stream_broken_off_by_either_side() -> None:
    async with serve(URL) as server, connect(server.url) as conn:
        peer = await server.accept()
        out = await conn.open_stream()
        await out.write(b"begun")
        incoming = await peer.accept_stream()
        assert await incoming.read() == b"begun"
        out.abort(7)
        with pytest.raises(StreamError) as caught:
            await incoming.read()
        assert caught.value.code == 7
        out = await conn.open_stream()
        incoming = await peer.accept_stream()
        incoming.abort(8)
        with pytest.raises(StreamError) as caught:
            await write_on(out)
        assert caught.value.code == 8
        await conn.send("still open")
        assert await peer.recv() == "still open"


async def test_a_connection_that_ends_breaks_its_streams() -> None:
    async with serve(URL) as server, connect(server.url) as conn:
        peer = await server.accept()
        out = await conn.open_stream()
        await out.write(b"begun")
        incoming = await peer.accept_stream()
        assert await incoming.read() == b"begun"
        reading = asyncio.ensure_future(incoming.read())
        await asyncio.sleep(0)
        conn.abort()
        with pytest.raises(ConnectionLost):
            await reading
        with pytest.raises(ConnectionClosed):
            await out.write(b"more")
        with pytest.raises(ConnectionClosed):
            await peer.accept_stream()


async def test_both_directions_close_at_once_behind_what_is_queued() -> None:
    """Each has said its last before it heard the other's goodbye: nothing is a loss, both ends are clean."""
    async with serve(URL, codec="raw") as server, connect(server.url, codec="raw") as conn:
        peer = await server.accept()
        for end in (conn, peer):
            for _ in range(20):
                await end.send(bytes(10_000))
        await asyncio.gather(conn.close(), peer.close())
        assert (conn.close_code, peer.close_code) == (0, 0)
        assert type(conn.exception) is type(peer.exception) is ConnectionClosed


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:  # that of the listing itself
            continue
    return found


@pytest.mark.linux
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted by /proc")
async def test_nothing_stays_open() -> None:
    """However a connection ends, its descriptor goes with it, and no task is left."""
    async with serve(URL, echo) as server, connect(server.url) as conn:  # what is made once for each loop
        await conn.ping()
    gc.collect()
    before = descriptors()
    async with serve(URL, echo, max_connections=8, handshake_timeout=0.05) as server:
        strangers = [socket.create_connection(("127.0.0.1", server.url.port)) for _ in range(3)]
        conns = [await connect(server.url) for _ in range(5)]
        await until(lambda: len(server.connections) == 8)
        with pytest.raises(ConnectFailed):
            await connect(server.url)
        await conns[0].close()
        conns[1].abort()
        await conns[1].wait_closed()
        for sock in strangers:
            sock.close()
        with pytest.raises(LocalProtocolError):
            await conns[2].close(5000)
    for conn in conns[2:]:
        await conn.wait_closed()
    with pytest.raises(ConnectFailed):
        await connect(server.url)
    with pytest.raises(OSError):
        await serve("tcp://192.0.2.1:0")
    assert descriptors() - before == set()
    assert asyncio.all_tasks() == {asyncio.current_task()}
