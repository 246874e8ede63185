"""`transport echo`: every scheme, whatever codec the peer has; what is counted; its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trustme

import transport
from tests.tools.running import Running, running
from transport import Delivery
from transport.tools.echo import Echo

pytestmark = pytest.mark.asyncio


async def counted(command: Running, **wanted: Any) -> dict[str, Any]:
    """The first statistics that say so; never, and the test's time limit ends it."""
    return await command.event("interval", **wanted)


FAST = ("--every", "20ms")


@pytest.mark.parametrize("codec", ["msgpack", "raw", "json"])
@pytest.mark.parametrize("scheme", ["tcp", "udp", "rudp", "unix"])
async def test_any_codec_over_any_scheme(scheme: str, codec: str, tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/echo" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    message: Any = {"msgpack": {"a": [1, b"x"]}, "raw": b"bytes", "json": {"a": [1, "x"]}}[codec]
    async with running("echo", url, *FAST) as (command, served):
        async with transport.connect(served, codec=codec) as conn:
            for _ in range(3):
                await conn.send(message)
                assert await conn.recv() == message
            seen = await counted(command, messages=3)
            assert (seen["connections"], seen["accepted"], seen["errors"]) == (1, 1, 0)
            assert seen["bytes"] >= 3 * 5
        status, summary = await command.end()
    assert status == 0
    assert (summary["messages"], summary["accepted"]) == (3, 1)


async def test_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with running("echo", f"tls://127.0.0.1:0?certfile={tmp_path}/server.pem") as (_, url):
        async with transport.connect(url, cafile=str(tmp_path / "ca.pem")) as conn:
            await conn.send("hello")
            assert await conn.recv() == "hello"


async def test_on_the_channel_and_with_the_delivery_it_came_by() -> None:
    async with running("echo", "rudp://127.0.0.1:0") as (_, url), transport.connect(url) as conn:
        for channel, delivery in enumerate(Delivery):
            await conn.send(channel, channel=channel, delivery=delivery)
            got = await conn.receive()
            assert (got.message, got.channel, got.delivery) == (channel, channel, delivery)


async def test_more_in_flight_than_the_buffers_hold() -> None:
    """A peer that sends all before it reads: the echo waits for room, and nothing is lost."""
    async with running("echo", "tcp://127.0.0.1:0") as (_, url), transport.connect(url, codec="raw") as conn:
        body = bytes(100_000)

        async def send() -> None:
            for _ in range(100):
                await conn.send(body)

        task = asyncio.ensure_future(send())
        for _ in range(100):
            assert await conn.recv() == body
        await task


async def test_another_framing() -> None:
    async with running("echo", "tcp://127.0.0.1:0", "--framing", "lines") as (_, url):
        reader, writer = await asyncio.open_connection(*transport.url.parse(url).endpoint())
        writer.write(b"hello\nyou\n")
        assert [await reader.readline(), await reader.readline()] == [b"hello\n", b"you\n"]
        writer.close()
        await writer.wait_closed()


async def test_a_codec_by_name_is_required_of_peers() -> None:
    async with running("echo", "tcp://127.0.0.1:0", "--codec", "json") as (_, url):
        with pytest.raises(transport.ConnectFailed, match="codec"):
            await transport.connect(url, codec="msgpack")
        async with transport.connect(url, codec="json") as conn:
            await conn.send([1])
            assert await conn.recv() == [1]


async def test_errors_are_counted_by_kind() -> None:
    command = ("echo", "tcp://127.0.0.1:0", "--codec", "json", "--max-connections", "1", *FAST)
    async with running(*command) as (echo, url):
        conn = await transport.connect(url, codec="json")
        with pytest.raises(transport.ConnectFailed):
            await transport.connect(url, codec="json")
        await counted(echo, error_kinds={"refused": 1})
        conn.abort()
        await counted(echo, connections=0, error_kinds={"refused": 1, "lost": 1})

        class Broken:
            name = "json"

            def encode(self, _: Any) -> bytes:
                return b"{"

            def decode(self, payload: bytes) -> bytes:
                return payload

        conn = await transport.connect(url, codec=Broken())
        await conn.send("")
        with pytest.raises(transport.ConnectionLost):
            await conn.recv()
        seen = await counted(echo, connections=0, error_kinds={"refused": 1, "lost": 1, "invalid": 1})
        assert seen["errors"] == 3


async def test_an_answer_the_peer_would_not_take_is_an_error() -> None:
    class Conn:
        left = [bytes(2000), b"goes on"]  # of a peer that sends more than it takes
        sent: list[bytes] = []

        async def receive(self) -> transport.Received:
            if not self.left:
                raise transport.ConnectionClosed
            return transport.Received(self.left.pop(0), 0, Delivery.UNRELIABLE)

        async def send(self, message: bytes, **_: Any) -> None:
            if len(message) > 1000:
                raise transport.MessageTooLarge(len(message), 1000)
            self.sent.append(message)

    served = Echo()
    await served.handle(Conn())
    assert (served.messages, served.errors, Conn.sent) == (1, {"too_large": 1}, [b"goes on"])


async def test_its_end_says_goodbye() -> None:
    async with running("echo", "tcp://127.0.0.1:0") as (command, url):
        conn = await transport.connect(url)
        await command.end()
        with pytest.raises(transport.ConnectionClosed) as ended:
            await conn.recv()
        assert ended.value.code == transport.CloseCode.GOING_AWAY


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["memory://lab"], "memory:// stays within one process"),
        (["nonsense"], "is no URL"),
        (["ftp://127.0.0.1:0"], "ftp"),
        (["tcp://127.0.0.1:0?colour=red"], "unknown option 'colour'"),
        (["tcp://127.0.0.1:0", "--framing", "semaphore"], "semaphore"),
        (["udp://127.0.0.1:0", "--workers", "2"], "udp:// can't be served by several processes"),
    ],
)
async def test_mistakes(arguments: list[str], said: str) -> None:
    with pytest.raises(transport.TransportError, match=said):
        await Running("echo", *arguments).task


async def test_an_address_that_is_taken() -> None:
    async with transport.serve("tcp://127.0.0.1:0", protocol=transport.Protocol) as server:
        with pytest.raises(OSError, match="in use"):
            await Running("echo", str(server.url)).task
