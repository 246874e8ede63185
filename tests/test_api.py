"""The front door: what `connect` and `serve` give, how they are used, and which mistakes they name."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.drive.linked import exceptions_of, until
from tests.drive.scripted import Scripted
from tests.strangers import Echo, echo
from transport import CloseCode, Delivery, Protocol, Registry, connect, run, serve
from transport.api import Opening
from transport.drive.connection import Connection
from transport.drive.runner import MachineConnection
from transport.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    UnknownScheme,
    UnsupportedOperation,
)
from transport.machine import EOF
from transport.server import Server
from transport.url import parse

URL = "tcp://127.0.0.1:0"


@contextlib.contextmanager
def silent() -> Iterator[tuple[socket.socket, str]]:
    """A socket to connect to: the kernel does that much by itself, and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening, f"tcp://127.0.0.1:{listening.getsockname()[1]}"


# Both styles, both ways to open


@pytest.mark.asyncio
async def test_the_example_of_the_manual() -> None:
    async with serve(URL, echo) as server:
        assert isinstance(server, Server)
        assert server.url.port
        async with connect(server.url) as conn:
            assert isinstance(conn, Connection)
            await conn.send({"hello": [1, 2.5, b"\x00"]})
            assert await conn.recv() == {"hello": [1, 2.5, b"\x00"]}
        assert conn.close_code == 0


@pytest.mark.asyncio
async def test_what_they_return_can_be_awaited_too() -> None:
    server = await serve(URL, echo)
    conn = await connect(str(server.url))
    await conn.send(1)
    assert await conn.recv() == 1
    await conn.close()
    await server.close()
    assert server.connections == frozenset()


@pytest.mark.asyncio
async def test_one_opening_may_be_used_again() -> None:
    async with serve(URL, echo) as server:
        opening = connect(server.url)
        for _ in range(3):
            async with opening as conn:
                await conn.ping()


@pytest.mark.asyncio
async def test_an_opening_that_failed_has_nothing_to_close() -> None:
    async def fail() -> None:
        raise ConnectFailed("no")

    opening = Opening(fail)
    with pytest.raises(ConnectFailed):
        await opening.__aenter__()
    await opening.__aexit__(None, None, None)


@pytest.mark.asyncio
async def test_an_error_in_the_block_is_told_to_the_peer() -> None:
    ends: list[tuple[int | None, str]] = []

    async def note(conn: Any) -> None:
        await conn.wait_closed()
        ends.append((conn.close_code, conn.close_reason))

    async with serve(URL, note) as server:
        with pytest.raises(ZeroDivisionError):
            async with connect(server.url):
                raise ZeroDivisionError
        await until(lambda: ends)
    assert ends == [(CloseCode.INTERNAL_ERROR, "ZeroDivisionError")]


@pytest.mark.asyncio
async def test_callbacks_on_both_ends() -> None:
    class Client(Protocol):
        def connection_made(self, conn: Any) -> None:
            self.conn = conn
            self.got: list[Any] = []
            self.lost: list[Any] = []
            for number in range(3):
                conn.send_nowait(number, channel=number)

        def message_received(self, message: Any, channel: int) -> None:
            self.got.append((message, channel))

        def connection_lost(self, error: Exception | None) -> None:
            self.lost.append(error)

    made: list[Client] = []

    def factory() -> Client:
        made.append(Client())
        return made[-1]

    async with serve(URL, protocol=Echo) as server:
        conn = await connect(server.url, protocol=factory)
        (client,) = made
        assert client.conn is conn
        await until(lambda: len(client.got) == 3)
        assert client.got == [(0, 0), (1, 1), (2, 2)]
        await conn.close()
        assert client.lost == [None]


@pytest.mark.asyncio
async def test_connections_taken_one_by_one() -> None:
    async with serve(URL) as server:
        connecting = [asyncio.create_task(_open(server.url)) for _ in range(3)]
        for _ in range(3):
            conn = await server.accept()
            await conn.send("hi")
            await conn.close()
        assert await asyncio.gather(*connecting) == ["hi"] * 3


async def _open(url: Any) -> Any:
    async with connect(url) as conn:
        return await conn.recv()


@pytest.mark.asyncio
async def test_machines_on_both_ends() -> None:
    class Shout(Scripted):
        def receive(self, data: bytes, now: int) -> None:
            super().receive(data, now)
            self.said.append(data)
            self.output.append([data.upper()] if data else [EOF])

    machines: list[Any] = []

    async def handler(conn: Any) -> None:
        assert isinstance(conn, MachineConnection)
        machines.append([event async for event in conn])

    async with serve(URL, handler, machine=Shout) as server:
        async with connect(server.url, machine=lambda: Scripted([b"hello"])) as conn:
            assert isinstance(conn, MachineConnection)
            await until(lambda: conn.machine.data == b"HELLO")
        await until(lambda: machines)
    assert machines == [[b"hello", b""]]


@pytest.mark.asyncio
async def test_machines_taken_one_by_one() -> None:
    async with serve(URL, machine=Scripted) as server:
        with socket.create_connection(("127.0.0.1", server.url.port)) as client:
            conn = await server.accept()
            client.sendall(b"raw")
            await until(lambda: conn.machine.data == b"raw")
            conn.machine.output.append([b"back", EOF])
            conn.wake()
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            assert await loop.sock_recv(client, 10) == b"back"
        await conn.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("codec", ["msgpack", "raw", "json"])
async def test_codecs_by_name(codec: str) -> None:
    message: Any = b"bytes" if codec == "raw" else {"a": [1, None]}
    async with serve(URL, echo, codec=codec) as server, connect(server.url, codec=codec) as conn:
        await conn.send(message)
        assert await conn.recv() == message


@pytest.mark.asyncio
async def test_a_codec_of_ones_own() -> None:
    class Rot13:
        def encode(self, message: str) -> bytes:
            return bytes(char ^ 13 for char in message.encode())

        def decode(self, payload: bytes) -> str:
            return bytes(char ^ 13 for char in payload).decode()

    async with serve(URL, echo, codec=Rot13()) as server, connect(server.url, codec=Rot13()) as conn:
        await conn.send("secret")
        assert await conn.recv() == "secret"


@pytest.mark.asyncio
async def test_two_codecs_that_differ_do_not_connect() -> None:
    async with serve(URL, echo, codec="json") as server:
        with pytest.raises(ConnectFailed, match="json"):
            await connect(server.url, codec="msgpack")


@pytest.mark.asyncio
async def test_options_by_url_and_by_keyword() -> None:
    async with (
        serve(f"{URL}?max_message=2KiB&channels=3", echo) as server,
        connect(server.url, max_message=3000, high_water=5000) as conn,
    ):
        with pytest.raises(ValueError, match="2048"):
            await conn.send(bytes(2100))
        with pytest.raises(UnsupportedOperation):
            await conn.send(1, channel=3)
        await conn.send(bytes(2000), channel=2, delivery=Delivery.RELIABLE_UNORDERED)
        assert len(await conn.recv()) == 2000


# Who is not there, who does not answer


@pytest.mark.asyncio
async def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    with pytest.raises(ConnectFailed, match="refused") as caught:
        await connect(f"tcp://127.0.0.1:{port}")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno


@pytest.mark.asyncio
@pytest.mark.parametrize("machine", [None, Scripted])
async def test_somebody_who_takes_no_connection(machine: Any) -> None:
    """The handshake of TCP alone: with a queue that is full the kernel lets the caller wait."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        port = sock.getsockname()[1]
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            fillers.append(filler)
        with pytest.raises(ConnectTimeout, match=r"within 0\.05 s"):
            await connect(f"tcp://127.0.0.1:{port}", connect_timeout=0.05, machine=machine)
        for filler in fillers:
            filler.close()


@pytest.mark.asyncio
async def test_somebody_who_takes_it_and_says_nothing() -> None:
    with silent() as (_, url):
        with pytest.raises(ConnectTimeout) as caught:
            await connect(url, connect_timeout=0.02)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, OSError)
        with pytest.raises(ConnectFailed, match="no preface in time"):
            await connect(url, connect_timeout=None, handshake_timeout=0.02)


@pytest.mark.asyncio
async def test_a_cancelled_connect_leaves_nothing_open() -> None:
    loop = asyncio.get_running_loop()
    with silent() as (listening, url):
        connecting = asyncio.create_task(_open(url))
        taken, _ = await loop.sock_accept(listening)
        with taken:
            assert await loop.sock_recv(taken, 100)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert await loop.sock_recv(taken, 100) == b""


@pytest.mark.asyncio
async def test_a_time_out_of_ones_own_around_connect() -> None:
    with silent() as (_, url):
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.02):
                await connect(url)
        assert not isinstance(caught.value, ConnectTimeout)


@pytest.mark.asyncio
async def test_a_protocol_that_cannot_be_made_is_the_callers_error() -> None:
    def factory() -> Any:
        raise ZeroDivisionError

    told = exceptions_of(asyncio.get_running_loop())
    async with serve(URL, echo) as server:
        with pytest.raises(ZeroDivisionError):
            await connect(server.url, protocol=factory)
        with pytest.raises(ZeroDivisionError):
            await connect(server.url, machine=factory)
        async with connect(server.url) as conn:
            await conn.ping()
    assert told == []


@pytest.mark.asyncio
async def test_an_address_that_is_taken() -> None:
    async with serve(URL, echo) as server:
        with pytest.raises(OSError, match="in use"):
            await serve(server.url, echo)


# Mistakes


@pytest.mark.asyncio
@pytest.mark.parametrize("call", [connect, serve])
@pytest.mark.parametrize(
    ("url", "options", "error", "text"),
    [
        ("tcp:/127.0.0.1:1", {}, InvalidURL, "://"),
        ("nope://127.0.0.1:1", {}, UnknownScheme, "known: .*tcp"),
        ("tcp://127.0.0.1:1?nonsense=1", {}, InvalidURL, "max_message"),
        ("tcp://127.0.0.1:1", {"nonsense": 1}, InvalidURL, "max_message"),
        ("tcp://127.0.0.1:1?max_message=0", {}, InvalidURL, "max_message"),
        ("tcp://127.0.0.1:1?connect_timeout=3", {}, InvalidURL, "connect_timeout"),
        ("tcp://127.0.0.1:1", {"connect_timeout": -1}, InvalidURL, "connect_timeout"),
        ("tcp://127.0.0.1:1", {"connect_timeout": "soon"}, InvalidURL, "connect_timeout"),
        ("tcp://127.0.0.1:1", {"codec": "nope"}, LocalProtocolError, "msgpack"),
        ("tcp://127.0.0.1:1", {"framing": "nope"}, LocalProtocolError, "netstring"),
        ("tcp://127.0.0.1:1", {"codec": object()}, LocalProtocolError, "encode"),
    ],
)
async def test_a_mistake_in_the_call_is_named(
    call: Any, url: str, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        await call(url, **options)


@pytest.mark.asyncio
async def test_a_framing_that_does_not_exist_is_named() -> None:
    async with serve(URL, echo, framing="lines") as server:
        with pytest.raises(LocalProtocolError, match="length32"):
            await connect(server.url, framing="nope")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "style",
    [
        {"handler": echo, "protocol": Echo},
        {"protocol": Echo, "machine": Scripted},
        {"handler": "package.module:handler"},
        {"handler": 7},
        {"protocol": 7},
        {"machine": Scripted()},
        {"protocol": Echo()},
    ],
)
async def test_styles_do_not_mix(style: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError):
        await serve(URL, **style)


@pytest.mark.asyncio
async def test_a_client_has_one_style_too() -> None:
    with pytest.raises(LocalProtocolError, match="handler, protocol and machine"):
        await connect(URL, protocol=Echo, machine=Scripted)
    from transport import Backoff

    for style in ({"protocol": Echo}, {"machine": Scripted}, {"sock": object()}):
        with pytest.raises(LocalProtocolError, match="reconnect"):
            await connect(URL, reconnect=Backoff(), **style)


@pytest.mark.asyncio
async def test_a_registry_of_ones_own() -> None:
    class Other:
        scheme = "other"
        options: dict[str, Any] = {}

        def traits(self, request: Any) -> Any:
            raise NotImplementedError

        async def connect(self, request: Any) -> Any:
            with pytest.raises(AssertionError):
                raise AssertionError
            raise ConnectFailed(f"asked for {request.url.host} by {request.codec_name}")

        async def listen(self, request: Any) -> Any:
            raise OSError("cannot listen")

    registry = Registry.default().register(Other())
    with pytest.raises(ConnectFailed, match="asked for somewhere by msgpack"):
        await connect("other://somewhere", registry=registry)
    with pytest.raises(OSError, match="cannot listen"):
        await serve("other://somewhere", registry=registry)
    with pytest.raises(UnknownScheme):
        await connect("other://somewhere")


@pytest.mark.asyncio
async def test_a_request_is_not_used_without_an_owner() -> None:
    from transport.transports.base import Request

    owners: list[Any] = []

    class Hasty:
        scheme = "hasty"
        options: dict[str, Any] = {}
        connect = listen = traits = None

    from transport import api

    _, request, _ = api._request("hasty://x", None, "message", None, None, Registry().register(Hasty()), {})
    assert isinstance(request, Request)
    with pytest.raises(AssertionError):
        owners.append(request.owner(None, None, None))  # type: ignore[arg-type]
    assert request.url == parse("hasty://x")


# run


def test_run_gives_the_result_on_the_fastest_loop_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    try:
        import uvloop
    except ImportError:
        pass
    else:
        assert run(which()).startswith(uvloop.__name__)
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert run(which()).startswith("asyncio")


@pytest.mark.parametrize("with_uvloop", [True, False])
def test_run_raises_what_the_program_raises(with_uvloop: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not with_uvloop:
        monkeypatch.setitem(sys.modules, "uvloop", None)

    async def fail() -> None:
        raise ZeroDivisionError

    async def debugging() -> bool:
        return asyncio.get_running_loop().get_debug()

    with pytest.raises(ZeroDivisionError):
        run(fail())
    assert run(debugging(), debug=True)
    assert not run(debugging(), debug=False)


def test_a_whole_program_in_debug_mode() -> None:
    """By ordinary futures, and with asyncio's own checks on."""

    async def main() -> list[Any]:
        async with serve(URL, echo) as server, connect(server.url) as conn:
            got = []
            for number in range(20):
                await conn.send(number, channel=number % 2)
                got.append(await conn.recv())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await conn.recv()
            return got

    assert run(main(), debug=True) == list(range(20))


def test_a_program_that_leaves_everything_open_ends(recwarn: pytest.WarningsRecorder) -> None:
    """Cancelled tasks at the end of the program are no reason to hang."""

    async def main() -> None:
        server = await serve(URL, echo)
        tasks = [asyncio.create_task(_open(server.url)) for _ in range(3)]
        await until(lambda: server.statistics().accepted == 3)
        del tasks

    start = time.monotonic()
    run(main())
    assert time.monotonic() - start < 15  # not a time-out after another
    gc.collect()


@pytest.mark.asyncio
async def test_a_lost_server_is_told_to_who_reads_and_who_sends() -> None:
    async with serve(URL, echo) as server:
        conn = await connect(server.url)
        for each in server.connections:
            each.abort()
        with pytest.raises(ConnectionClosed):
            await conn.recv()
        with pytest.raises(ConnectionClosed):
            await conn.send(1)
        await conn.wait_closed()
