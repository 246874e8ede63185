"""`memory://...&rudp=true`: reliable UDP over links that lose, double, alter and overtake, on real and virtual time."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path as FilePath
from typing import Any

import pytest

import transport
from tests.sim.machines import Datagrams
from tests.transports.memory_pipes import echo, now
from transport import Delivery, limits, testing
from transport.drive import memory as drive
from transport.errors import CloseCode, ConnectFailed, InvalidURL
from transport.sim.trace import Trace
from transport.transports import memory

LOSSES = ["0.05", "0.1", "0.2"]


def url(loss: object, more: str = "delay=20ms&jitter=5ms") -> str:
    return f"memory://lab?rudp=true&loss={loss}&{more}"


@pytest.mark.asyncio
async def test_any_real_loop() -> None:
    async with transport.serve(url(0.1, "delay=1ms"), echo) as server, transport.connect(server.url) as conn:
        for index in range(100):
            await conn.send(index)
        assert [await conn.recv() for _ in range(100)] == list(range(100))
        assert (conn.local_address, conn.remote_address) == (("lab", 1), ("lab", 0))
        assert await conn.ping() > 0.001
        assert conn.get_extra_info("link")["sent"] > 0
        await conn.close(7, "enough")
        assert conn.close_code == 7
    assert drive.hub_in_use(asyncio.get_running_loop()) is None


def test_traits_are_those_of_the_scheme() -> None:
    async def main() -> None:
        async with transport.serve("memory://lab", echo) as server:
            for query, wanted in (("rudp=true", True), ("loss=0.1", False), ("rudp=false", True)):
                async with transport.connect(f"memory://lab?{query}", channels=9) as conn:  # all kinds on one server
                    assert conn.traits.reliable is wanted
                    assert conn.traits.sequenced is (query == "rudp=true")
                    await conn.send("x", delivery=Delivery.UNRELIABLE)
            async with transport.connect("memory://lab?rudp&loss=0.2", channels=9) as conn:
                assert conn.traits.channels == 9
                await conn.send("x")
                assert await conn.recv() == "x"
            assert server.statistics().counters["accepts_sent"] >= 2

    testing.run(main())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("asked", list(Delivery))
def test_every_delivery_over_loss(loss: str, asked: Delivery, seed: int) -> None:
    """Reliable ones all arrive, once; ordered and sequenced ones in order; the others lose what the link does."""
    count = 400

    async def main() -> list[int]:
        got: list[int] = []

        async def collect(conn: transport.Connection) -> None:
            async for message in conn:
                got.append(message)

        async with transport.serve(url(loss), collect) as server:
            async with transport.connect(server.url, redundancy=False) as conn:
                for index in range(count):
                    await conn.send(index, delivery=asked)
                    await asyncio.sleep(0.002)
                await conn.flush()
                await asyncio.sleep(0.2)
                assert got or asked >= 2
        return got

    got = testing.run(main(), seed=seed)
    assert len(set(got)) == len(got)
    assert set(got) <= set(range(count))
    if asked < Delivery.UNRELIABLE_SEQUENCED:
        assert sorted(got) == list(range(count))
    else:
        assert len(got) > count * (1 - float(loss)) * 0.7
    if asked in (Delivery.RELIABLE_ORDERED, Delivery.UNRELIABLE_SEQUENCED):
        assert got == sorted(got)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_channel_that_nobody_reads_holds_up_no_other(loss: str, seed: int) -> None:
    async def main() -> None:
        async def handler(conn: transport.Connection) -> None:
            full, free = conn.channel(1), conn.channel(2)
            filling = asyncio.create_task(send_all(full, [bytes(100_000)] * 400))
            await send_all(free, list(range(300)))
            assert not filling.done()
            await conn.recv()
            filling.cancel()

        async with transport.serve(url(loss), handler) as server, transport.connect(server.url) as conn:
            full, free = conn.channel(1), conn.channel(2)
            assert [await free.recv() for _ in range(300)] == list(range(300))
            assert [len(await full.recv()) for _ in range(10)] == [100_000] * 10
            await conn.send("enough")
            await conn.close()

    testing.run(main(), seed=seed)


async def send_all(channel: Any, messages: list[Any]) -> None:
    for message in messages:
        await channel.send(message)


@pytest.mark.parametrize("loss", LOSSES)
def test_streams_arrive_whole(loss: str, seed: int) -> None:
    body = random.Random(seed).randbytes(700_000)

    async def main() -> None:
        async def handler(conn: transport.Connection) -> None:
            stream = await conn.accept_stream()
            got = b"".join([chunk async for chunk in stream])
            assert got == body
            await conn.send(len(got))

        async with transport.serve(url(loss), handler) as server, transport.connect(server.url) as conn:
            async with await conn.open_stream(total=len(body)) as stream:
                for start in range(0, len(body), 50_000):
                    await stream.write(body[start : start + 50_000])
            assert await conn.recv() == len(body)

    testing.run(main(), seed=seed)


def test_many_open_and_close_over_loss(seed: int) -> None:
    """Every one is opened and closed in the end, with its code on both sides, whoever says goodbye, or both at once."""
    count = 60

    async def main() -> None:
        codes: list[tuple[int | None, int | None]] = []

        async def handler(conn: transport.Connection) -> None:
            who = await conn.recv()
            if who % 3:
                await conn.close(100 + who, "from the server")
            await conn.wait_closed()
            codes.append((who, conn.close_code))

        async def client(number: int) -> None:
            await asyncio.sleep(number * 0.003)
            conn = await transport.connect(server.url)
            await conn.send(number)
            if number % 3 != 1:
                await conn.close(100 + number, "from the client")
            await conn.wait_closed()
            assert conn.close_code == 100 + number

        async with transport.serve(url(0.2), handler) as server:
            await asyncio.gather(*(client(number) for number in range(count)))
            async with asyncio.timeout(30):
                while len(codes) < count:
                    await asyncio.sleep(0.1)
        assert sorted(codes) == [(number, 100 + number) for number in range(count)]

    testing.run(main(), seed=seed)


def test_it_comes_back_after_the_dark(seed: int) -> None:
    """A link that is dark for longer than the idle time ends the connection, and `reconnect` opens the next."""

    async def main() -> None:
        async with transport.serve(url(0.05, "delay=20ms&blackouts=1s-20s"), echo, keepalive=1) as server:
            backoff = transport.Backoff(initial=0.5)
            async with transport.connect(server.url, keepalive=1, reconnect=backoff) as conn:
                await conn.send("before")
                assert await conn.recv() == "before"
                await asyncio.sleep(25)
                await conn.send("after")
                assert await conn.recv() == "after"

    testing.run(main(), seed=seed)


def test_what_comes_late_is_not_taken_for_something_else(seed: int) -> None:
    """Packets held back for long, while thousands of messages go on, and doubled ones: each message comes once."""
    count = 20_000

    async def main() -> list[int]:
        got: list[int] = []

        async def collect(conn: transport.Connection) -> None:
            async for message in conn:
                got.append(message)

        link = "delay=5ms&jitter=2ms&reorder=0.05&reorder_delay=80ms&duplicate=0.05"
        async with transport.serve(url(0.02, link), collect) as server, transport.connect(server.url) as conn:
            for index in range(count):
                await conn.send(index)
                if index % 37 == 0:
                    await asyncio.sleep(0.0003)
            await conn.flush()
            await asyncio.sleep(0.3)
        return got

    assert testing.run(main(), seed=seed) == list(range(count))


@pytest.mark.parametrize("asked", [Delivery.RELIABLE_ORDERED, Delivery.RELIABLE_UNORDERED])
def test_late_messages_are_not_taken_for_others(asked: Delivery) -> None:
    """Few packets, many messages: those of a packet that is held back are hundreds behind when it comes."""

    async def main() -> list[int]:
        got: list[int] = []
        numbers = iter(range(1_000_000))

        async def collect(conn: transport.Connection) -> None:
            async for message in conn:
                got.append(message)

        link = "delay=2ms&reorder=0.3&reorder_delay=15ms"
        async with transport.serve(url(0, link), collect) as server, transport.connect(server.url) as conn:
            for _ in range(150):
                for burst in (2, 200):
                    for _ in range(burst):
                        await conn.send(next(numbers), delivery=asked)
                    await asyncio.sleep(0.003)
            await conn.flush()
            await asyncio.sleep(0.1)
        return got

    for seed in range(3):
        got = testing.run(main(), seed=seed)
        assert (got if asked is Delivery.RELIABLE_ORDERED else sorted(got)) == list(range(150 * 202))


def test_bits_that_flip_reach_nobody(seed: int) -> None:
    async def main() -> None:
        async with transport.serve(url(0.02, "delay=5ms&corrupt=0.1"), echo) as server:
            async with transport.connect(server.url) as conn:
                for index in range(300):
                    await conn.send(index)
                    await asyncio.sleep(0.001)
                assert [await conn.recv() for _ in range(300)] == list(range(300))
                assert conn.statistics().counters["packets_corrupt"] > 0

    testing.run(main(), seed=seed)


# Options


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("rudp&datagrams=false", "datagrams"),
        ("rudp&mtu=1000", "mtu"),
        ("rudp=maybe", "rudp"),
        ("rudp&congestion=fixed", "congestion"),
        ("rudp&checksum=md5", "checksum"),
    ],
)
def test_options_that_make_no_sense(query: str, text: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidURL, match=text):
            await transport.serve(f"memory://lab?{query}", echo)
        async with transport.serve("memory://lab", echo):
            with pytest.raises(InvalidURL, match=text):
                await transport.connect(f"memory://lab?{query}")
        assert drive.hub_in_use(asyncio.get_running_loop()) is None

    testing.run(main())


@pytest.mark.parametrize(
    "query",
    ["mtu=1200", "congestion=none", "congestion=bbr", "congestion=newreno", "checksum=none", "checksum=crc32c",
     "cookie=always", "redundancy=off", "rate=1mbit&queue=64KiB", "burst_good=1s&burst_bad=20ms"],
)  # fmt: skip
def test_options_that_do(query: str, seed: int) -> None:
    async def main() -> None:
        async with transport.serve(url(0.05, query), echo) as server, transport.connect(server.url) as conn:
            await conn.send(bytes(100_000))
            assert await conn.recv() == bytes(100_000)
            assert (server.statistics().counters["retries_sent"] > 0) is (query == "cookie=always")

    testing.run(main(), seed=seed)


def test_machines_have_no_place() -> None:
    async def main() -> None:
        for opening in (transport.serve, transport.connect):
            async with transport.serve("memory://other", echo):
                with pytest.raises(transport.UnsupportedOperation, match="datagrams=true"):
                    await opening("memory://other?rudp" if opening is transport.connect else "memory://lab?rudp",
                                  machine=Datagrams)  # fmt: skip
        async with transport.serve("memory://lab", machine=Datagrams):
            with pytest.raises(ConnectFailed, match="runs a machine"):
                await transport.connect("memory://lab?rudp")

    testing.run(main())


def test_nobody_answers() -> None:
    """A link that loses everything: the handshake ends when its time is over."""

    async def main() -> None:
        async with transport.serve("memory://lab?rudp&loss=1", echo) as server:
            with pytest.raises((ConnectFailed, TimeoutError)):
                await transport.connect(server.url, handshake_timeout=2)
            assert now() == 2 * limits.SECOND_NS

    testing.run(main())


def test_an_idle_connection_lives_by_its_keepalives_and_ends_without() -> None:
    async def main() -> None:
        ended: list[Any] = []

        async def handler(conn: transport.Connection) -> None:
            await conn.wait_closed()
            ended.append(conn.close_code)

        async with transport.serve("memory://lab?rudp&loss=0.1", handler) as server:
            async with transport.connect(server.url) as conn:
                await asyncio.sleep(3600)
                assert not conn.is_closed
            conn = await transport.connect(server.url)
            for link in memory.links_of("lab"):
                link.change(0, loss=1.0)
            with pytest.raises(transport.ConnectionLost):
                await conn.recv()
            await asyncio.sleep(60)
        assert ended == [0, CloseCode.IDLE_TIMEOUT]

    testing.run(main())


# The same run from the same seed


def scenario() -> str:
    """Clients, streams and losses; the trace's digest and what was received."""
    trace = Trace()
    got: list[object] = []

    async def client(index: int, address: Any) -> None:
        await asyncio.sleep(0.001 * index)
        async with transport.connect(address) as conn:
            for turn in range(10):
                await conn.send([index, turn, "x" * turn * 300], delivery=turn % 2, channel=index)
                got.append(await conn.recv())

    async def main() -> None:
        link = "delay=3ms&jitter=9ms&jitter_reorders&duplicate=0.05&corrupt=0.01"
        async with transport.serve(url(0.1, link), echo) as server, asyncio.TaskGroup() as group:
            for index in range(12):
                group.create_task(client(index, server.url))

    testing.run(main(), seed=7, trace=trace)
    return f"{trace.hexdigest()} {trace.count} {len(got)}"


def test_the_same_seed_is_the_same_run_on_any_hash_seed_and_build() -> None:
    expected = scenario()
    assert scenario() == expected
    root = FilePath(memory.__file__).parents[2]
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['scenario']())"
    for changes in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TRANSPORT_PURE": "1"}, {"TRANSPORT_PURE": "0"}):
        ran = subprocess.run([sys.executable, "-c", code, __file__], cwd=root, capture_output=True, text=True,
                             check=True, env={**os.environ, "PYTHONPATH": str(root), **changes})  # fmt: skip
        assert ran.stdout.strip() == expected, changes
