"""`transport proxy` for streams: time, order, ends, and what befalls connections."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.tools.running import Running, ran, running
from transport import limits
from transport.sim.config import LinkConfig
from transport.tools.air import Air
from transport.tools.streams import Mischief, Streams, linger
from transport.url import parse

pytestmark = pytest.mark.asyncio
FAST = ("--every", "10ms")


@asynccontextmanager
async def server(handler: Any) -> AsyncIterator[str]:
    """A bare TCP server, and its URL."""
    made = await asyncio.start_server(handler, "127.0.0.1", 0, limit=1 << 20)
    try:
        yield f"tcp://127.0.0.1:{made.sockets[0].getsockname()[1]}"
    finally:
        made.close()
        await made.wait_closed()


async def opened(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*parse(url).endpoint(), limit=1 << 20)


async def meets_a_reset(url: str) -> None:
    """A connection is broken off, just when it is opened or as soon as it is read from."""
    writer = None
    with pytest.raises(ConnectionResetError):  # noqa: PT012
        reader, writer = await opened(url)
        await reader.read(1)
    if writer is not None:
        await closed(writer)


async def all_of(reader: asyncio.StreamReader) -> int:
    """How many bytes come until the end."""
    size = 0
    while piece := await reader.read(1 << 20):
        size += len(piece)
    return size


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except ConnectionError:
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back all, and ends when the client has ended."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    await closed(writer)


@pytest.mark.parametrize("link", [[], ["--delay", "5ms", "--jitter", "5ms"], ["--rate", "400mbit", "--jitter", "1ms"]])
async def test_bytes_arrive_as_they_were_sent_and_the_end_behind_them(link: list[str], rng: random.Random) -> None:
    body = rng.randbytes(2_000_000)
    async with server(echo) as target, running("proxy", target, *link) as (command, url):
        reader, writer = await opened(url)

        async def send() -> None:
            for start in range(0, len(body), 70_000):
                writer.write(body[start : start + 70_000])
                await writer.drain()
            writer.write_eof()

        task = asyncio.ensure_future(send())
        assert await reader.read(-1) == body
        await task
        await closed(writer)
        _, summary = await command.end()
    assert summary["up"]["arrived_bytes"] == summary["down"]["arrived_bytes"] == len(body)
    assert (summary["connections"], summary["resets"], summary["open"]) == (1, 0, 0)


async def test_delay_counts_each_way() -> None:
    async with running("echo", "tcp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, "--up-delay", "40ms", "--down-delay", "20ms") as (_, url):
            _, summary, _ = await ran("ping", url, "-c", "3", "-i", "5ms")
    assert 60 <= summary["min_ms"] < 1000


async def test_a_rate_holds_bytes_up_and_loses_none() -> None:
    """A queue that is full is not read on: 200 KB at 8 Mbit/s take 200 ms, less what the first queue holds."""
    async with server(echo) as target, running("proxy", target, "--up-rate", "8mbit", "--queue", "64k") as (_, url):
        reader, writer = await opened(url)
        began = time.monotonic()
        writer.write(bytes(200_000))
        writer.write_eof()
        assert len(await reader.read(-1)) == 200_000
        assert time.monotonic() - began >= 0.199
        await closed(writer)


async def test_a_slow_reader_holds_up_its_own_sender_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROXY_PIPE_BYTES", 200_000)
    let_go = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(4) == b"slow":
            await let_go.wait()
        await echo(reader, writer)

    async with server(slow) as target, running("proxy", target, *FAST) as (_, url):
        reader, writer = await opened(url)
        writer.write(b"slow" + bytes(30_000_000))
        _, other = quick = await opened(url)
        other.write(b"fastwords")
        assert await quick[0].readexactly(5) == b"words"
        assert writer.transport.get_write_buffer_size() > 1_000_000  # the kernels and the proxy hold no more
        let_go.set()
        writer.write_eof()
        assert await all_of(reader) == 30_000_000
        await closed(writer)
        await closed(other)


@pytest.mark.parametrize("bound", ["100ms", "50k"])
async def test_connections_are_broken_off(bound: str) -> None:
    async with server(echo) as target, running("proxy", target, "--reset-after", bound, *FAST) as (command, url):
        reader, writer = await opened(url)
        writer.write(bytes(60_000 if bound == "50k" else 10))
        with pytest.raises(ConnectionResetError):
            await all_of(reader)
        await command.event("interval", resets=1, open=0)
        await closed(writer)


async def test_a_connection_falls_silent_and_stays_open() -> None:
    async with server(echo) as target, running("proxy", target, "--silent-after", "50ms", *FAST) as (command, url):
        reader, writer = await opened(url)
        writer.write(b"heard")
        assert await reader.readexactly(5) == b"heard"
        await command.event("interval", silent=1)
        writer.write(b"not heard")
        await command.event("interval", swallowed_bytes=9, open=1)
        assert not reader.at_eof()
        await closed(writer)
        _, summary = await command.end()
    assert summary["resets"] == 0


async def test_a_stall_holds_up_and_ends() -> None:
    async with server(echo) as target, running("proxy", target, "--blackouts", "0s-200ms") as (_, url):
        began = time.monotonic()
        reader, writer = await opened(url)
        writer.write(b"held up")
        assert await reader.readexactly(7) == b"held up"
        assert time.monotonic() - began >= 0.19
        await closed(writer)


async def test_a_reset_passes_through_behind_what_came_before() -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger(writer.get_extra_info("socket"))
        await closed(writer)

    async with server(rude) as target, running("proxy", target, "--down-delay", "30ms") as (_, url):
        reader, writer = await opened(url)
        writer.write(b"x")
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            assert await reader.read(1) == b"?"
        assert time.monotonic() - began >= 0.03
        await closed(writer)


async def test_half_a_close_leaves_the_other_half() -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read(-1) == b"question"
        writer.write(b"answer")
        await closed(writer)

    async with server(late) as target, running("proxy", target, "--delay", "5ms") as (_, url):
        reader, writer = await opened(url)
        writer.write(b"question")
        writer.write_eof()
        assert await reader.read(-1) == b"answer"
        await closed(writer)


async def test_a_target_that_is_not_there_is_a_reset() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with running("proxy", f"tcp://127.0.0.1:{port}", *FAST) as (command, url):
            await meets_a_reset(url)
            await command.event("interval", failed=1)


@asynccontextmanager
async def bare(
    target: str, link: LinkConfig | None = None, dial: Any = None, queue: int = 1 << 20, **bounds: int
) -> AsyncIterator[tuple[Streams, Air, str]]:
    """A proxy with bounds of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    where = parse(target).endpoint()

    async def plain() -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
        return sock

    def deliver(way: int, data: bytes, whose: Any) -> None:
        proxy.deliver(way, data, whose)

    connections = {"connections_max": bounds.pop("connections_max")} if "connections_max" in bounds else {}
    air = Air((link or LinkConfig(), link or LinkConfig()), 1, deliver, **bounds)
    proxy = Streams(listening, dial or plain, air, Mischief(), (queue, queue), **connections)
    air.open()
    proxy.start()
    try:
        yield proxy, air, f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        proxy.close()
        air.close()


async def test_connections_are_bounded() -> None:
    async with server(echo) as target:
        async with bare(target, connections_max=1) as (proxy, _, url):
            reader, writer = await opened(url)
            writer.write(b"first")
            assert await reader.readexactly(5) == b"first"
            await meets_a_reset(url)
            assert (proxy.connections(), proxy.counts["refused"]) == (1, 1)
            await closed(writer)
            assert await reader.read(-1) == b""
        assert proxy.connections() == 0


@pytest.mark.parametrize("bounds", [{"packets_max": 200}, {"bytes_max": 300_000}])
async def test_what_is_under_way_is_bounded_and_nothing_is_lost(bounds: dict[str, int], rng: random.Random) -> None:
    """Two connections that want far more than there may be; one ends before the other."""
    link = LinkConfig(delay_ns=5 * limits.MS_NS, rate_bits_per_s=10**9)
    bodies = [rng.randbytes(300_000), rng.randbytes(900_000)]

    async def talk(url: str, body: bytes) -> None:
        reader, writer = await opened(url)
        writer.write(body)
        writer.write_eof()
        assert await reader.read(-1) == body
        await closed(writer)

    async with server(echo) as target, bare(target, link, **bounds) as (_, air, url):
        await asyncio.gather(*[talk(url, body) for body in bodies])
        assert air.full == [0, 0]


async def test_a_target_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROXY_CONNECT_S", 0.05)

    async def never() -> socket.socket:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async with bare("tcp://127.0.0.1:9", dial=never) as (proxy, _, url):
        await meets_a_reset(url)
        assert proxy.counts["failed"] == 1


@pytest.mark.slow
async def test_a_long_way_does_not_slow_a_rate_down() -> None:
    """Room in the queue is used when it is there, not when what has left it arrives: 0.7 s, and 9.6 s otherwise."""
    link = LinkConfig(delay_ns=300 * limits.MS_NS, rate_bits_per_s=40_000_000)
    size = 2_000_000

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await all_of(reader) == size
        await closed(writer)

    async with server(sink) as target, bare(target, link, queue=65_536) as (_, __, url):
        reader, writer = await opened(url)
        began = time.monotonic()
        writer.write(bytes(size))
        writer.write_eof()
        assert await reader.read(-1) == b""
        assert 0.99 <= time.monotonic() - began < 5  # there and back
        await closed(writer)


async def test_its_end_resets_what_is_open() -> None:
    async with server(echo) as target, running("proxy", target) as (command, url):
        reader, writer = await opened(url)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await command.end()
        with pytest.raises(ConnectionResetError):
            assert await reader.read(1) == b"?"
        await closed(writer)


async def test_unix_sockets_on_both_sides(tmp_path: Path) -> None:
    listening = tmp_path / "proxy"
    async with running("echo", f"unix://{tmp_path}/echo") as (_, target):
        async with running("proxy", target, "--listen", f"unix://{listening}", "--delay", "5ms") as (_, url):
            assert url == f"unix://{listening}"
            status, summary, _ = await ran("ping", url, "-c", "2", "-i", "5ms")
            assert status == 0 and summary["min_ms"] >= 10
        assert not listening.exists()
        async with running("proxy", target) as (_, url):
            assert url.startswith("tcp://127.0.0.1:")
            status, _, _ = await ran("ping", url, "-c", "1")
            assert status == 0


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("precious")
    with pytest.raises(OSError, match="taken: Address already in use"):
        await Running("proxy", "tcp://127.0.0.1:9", "--listen", f"unix://{tmp_path}/taken").task
    assert (tmp_path / "taken").read_text() == "precious"


@pytest.mark.parametrize(
    "impossible",
    [["--loss", "5%"], ["--up-loss", "5%"], ["--duplicate", "1%"], ["--reorder", "1%"], ["--corrupt", "1%"],
     ["--mtu", "1400"], ["--jitter-reorders"], ["--burst-good", "1s", "--burst-bad", "1s"]],
)  # fmt: skip
@pytest.mark.parametrize("target", ["tcp://127.0.0.1:9", "unix:///nowhere"])
async def test_what_a_stream_cannot_do_is_refused_with_the_reason(target: str, impossible: list[str]) -> None:
    scheme = target.partition(":")[0]
    with pytest.raises(transport.InvalidURL, match=f"a proxy for {scheme}:// can't .* because each kernel repairs"):
        await Running("proxy", target, *impossible).task


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tcp://127.0.0.1:9", "--up-blackouts", "1s-2s"], "hold up both directions"),
        (["tcp://nowhere.invalid:9"], "can't resolve"),
        (["tcp://127.0.0.1:0"], "needs its real one"),
    ],
)
async def test_mistakes(arguments: list[str], said: str) -> None:
    with pytest.raises(transport.TransportError, match=said):
        await Running("proxy", *arguments).task
