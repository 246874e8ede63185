"""`memory://` on every loop: names, links, both kinds of pipe, and the same run from the same seed."""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import os
import random
import subprocess
import sys
import weakref
from pathlib import Path as FilePath

import pytest

import transport
from tests.sim.machines import Datagrams
from tests.transports.memory_pipes import echo, now, refused
from transport import limits, testing
from transport.drive import memory as drive
from transport.errors import (
    CloseCode,
)
from transport.sim.trace import Trace
from transport.transports import memory


async def talk(query: str, count: int = 3) -> None:
    async with transport.serve(f"memory://lab{query}", echo) as server, transport.connect(server.url) as conn:
        for index in range(count):
            await conn.send({"index": index})
        assert [await conn.recv() for _ in range(count)] == [{"index": index} for index in range(count)]
        assert (conn.local_address, conn.remote_address) == (("lab", 1), ("lab", 0))
        assert conn.get_extra_info("peername") == ("lab", 0)
        assert conn.get_extra_info("sockname") == ("lab", 1)
        assert conn.get_extra_info("socket") is None
        assert await conn.ping() >= 0
        await conn.close(7, "enough")
        assert conn.close_code == 7


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "?delay=1ms", "?delay=1ms&jitter=1ms&rate=10mbit"])
async def test_any_real_loop(query: str):
    await talk(query)
    assert drive.hub_in_use(asyncio.get_running_loop()) is None


@pytest.mark.asyncio
async def test_datagrams_on_any_real_loop():
    async with transport.serve("memory://lab?datagrams", echo) as server, transport.connect(server.url) as conn:
        await conn.send("x")
        assert await conn.recv() == "x"
        assert not conn.traits.reliable
        assert conn.get_extra_info("peername") == ("lab", 0)
        assert conn.get_extra_info("sockname") == ("lab", 1)
        assert conn.get_extra_info("link")["sent"] == 1
    assert drive.hub_in_use(asyncio.get_running_loop()) is None


@pytest.mark.parametrize("query", ["", "?delay=20ms", "?delay=20ms&jitter=30ms", "?rate=64kbit"])
def test_virtual_time(query: str):
    testing.run(talk(query))


def test_without_delay_no_time_passes():
    async def main() -> None:
        await talk("")
        assert now() == 0

    testing.run(main())


# Names


def test_nobody_there_is_known_at_once():
    async def main() -> None:
        await refused("memory://nobody?delay=1s")
        assert now() == 0
        async with transport.serve("memory://lab", echo):
            await refused("memory://other")
        await refused("memory://lab")
        assert drive.hub_in_use(asyncio.get_running_loop()) is None

    testing.run(main())


def test_a_name_is_taken_once_and_free_again_after():
    async def main() -> None:
        async with transport.serve("memory://lab", echo):
            with pytest.raises(OSError, match="in use") as caught:
                await transport.serve("memory://lab", echo)
            assert caught.value.errno == errno.EADDRINUSE
        async with transport.serve("memory://lab", echo):
            pass

    testing.run(main())


def test_loops_don_t_see_each_other_and_leave_nothing():
    async def hold(loops: list) -> None:
        loop = asyncio.get_running_loop()
        loops.append(weakref.ref(loop))
        server = await transport.serve("memory://lab", echo)
        conn = await transport.connect(server.url)
        await conn.send("x")
        await refused("memory://second")
        await asyncio.to_thread(testing.run, refused("memory://lab"))  # on a loop of its own
        await conn.close()
        await server.close()

    loops: list = []
    testing.run(hold(loops))
    gc.collect()
    assert loops[0]() is None


def test_a_full_server_refuses():
    async def main() -> None:
        async with transport.serve("memory://lab", echo, max_connections=1) as server:
            async with transport.connect(server.url):
                await refused(server.url)
                assert server.statistics().refused == 1
            async with transport.connect(server.url):
                pass

    testing.run(main())


def test_a_server_that_can_t_set_a_connection_up_says_so():
    async def main() -> None:
        told: list = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

        def broken() -> transport.Protocol:
            raise RuntimeError("a mistake")

        async with transport.serve("memory://lab", protocol=broken) as server:
            await refused(server.url)
        async with transport.serve("memory://lab", echo) as server:
            with pytest.raises(RuntimeError):
                await transport.connect(server.url, protocol=broken)
        assert [str(error) for error in told[:1]] == ["a mistake"]
        assert drive.hub_in_use(asyncio.get_running_loop()) is None

    testing.run(main())


def test_a_machine_that_can_t_be_made_leaves_nothing_behind():
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await transport.serve("memory://lab", machine=lambda: 1 / 0)
        assert drive.hub_in_use(asyncio.get_running_loop()) is None

    testing.run(main())


# Datagrams


def test_a_lossy_link_carries_datagrams_and_loses_as_it_says():
    count = 5000

    async def main(seed: int) -> list[int]:
        got = []

        async def collect(conn: transport.Connection) -> None:
            async for message in conn:
                got.append(message)

        url = f"memory://lab?loss=0.1&delay=20ms&seed={seed}"
        async with transport.serve(url, collect) as server, transport.connect(url) as conn:
            assert not conn.traits.reliable
            with pytest.raises(transport.UnsupportedDelivery):
                await conn.send(1, delivery=transport.Delivery.RELIABLE_ORDERED)
            for index in range(count):
                await conn.send(index)
                if index % 50 == 0:
                    await asyncio.sleep(0.001)
            await asyncio.sleep(1)
            counters = server.statistics().counters
            assert counters["link_sent"] == count
            assert counters["link_lost"] == count - len(got)
        return got

    got = testing.run(main(7))
    assert abs(count - len(got) - 0.1 * count) < 4.5 * math.sqrt(count * 0.1 * 0.9)
    assert got == sorted(got)
    assert got == testing.run(main(7), seed=99)
    assert got != testing.run(main(8))


@pytest.mark.parametrize(
    "query", ["loss=0.1", "duplicate=0.1", "reorder=0.1", "corrupt=0.1", "mtu=1200", "burst_good=1s&burst_bad=10ms",
              "jitter=5ms&jitter_reorders", "datagrams"],
)  # fmt: skip
def test_what_makes_a_pipe_carry_datagrams(query: str):
    async def main() -> None:
        async with transport.serve("memory://lab", echo) as server:
            async with transport.connect(f"memory://lab?{query}") as conn:
                assert not conn.traits.reliable
                await conn.send("x")
            async with transport.connect(server.url) as conn:  # both kinds on one server
                assert conn.traits.reliable
                await conn.send("x")
                assert await conn.recv() == "x"

    testing.run(main())


def test_the_client_s_word_counts_then_the_server_s():
    async def main() -> None:
        async with transport.serve("memory://lab?delay=20ms&loss=0.5", echo):
            async with transport.connect("memory://lab") as conn:
                assert not conn.traits.reliable
            async with transport.connect("memory://lab?loss=0") as conn:
                assert conn.traits.reliable
                assert await conn.ping() == pytest.approx(0.04)
            async with transport.connect("memory://lab?loss=0&delay=5ms") as conn:
                assert await conn.ping() == pytest.approx(0.01)

    testing.run(main())


def test_the_seed_of_the_loop_is_the_seed_of_links_that_name_none():
    async def main() -> list[int]:
        async with transport.serve("memory://lab?loss=0.5", echo), transport.connect("memory://lab") as conn:
            for index in range(100):
                await conn.send(index)
            await asyncio.sleep(1)
            return [conn.recv_nowait() for _ in range(conn.get_extra_info("link") is None)] + [
                conn.get_extra_info("link")["lost"]
            ]

    assert testing.run(main(), seed=1) == testing.run(main(), seed=1)
    assert len({tuple(testing.run(main(), seed=seed)) for seed in range(10)}) > 3


def test_idle_peers_end():
    async def main() -> None:
        ended = []

        async def handler(conn: transport.Connection) -> None:
            try:
                async for _ in conn:
                    pass
            finally:
                ended.append((conn.close_code, now()))

        async with transport.serve("memory://lab?datagrams", handler, idle_timeout=5) as server:
            async with transport.connect(server.url) as conn:
                await conn.send("x")
                await asyncio.sleep(10)
        assert ended == [(CloseCode.IDLE_TIMEOUT, 5 * limits.SECOND_NS)]

    testing.run(main())


def test_a_socket_that_is_not_read_drops_above_its_bound_and_goes_on_when_it_is():
    async def main() -> None:
        server = await transport.serve("memory://lab?datagrams", machine=Datagrams)
        conn = await transport.connect(server.url, machine=Datagrams)
        peer = next(iter(server._conns))
        peer._driver.pause_reading(peer)
        size = 60_000
        fits = limits.MEMORY_INBOX_BYTES // size
        for _ in range(fits + 5):
            conn.machine.send(bytes(size))
            conn.wake()
            await asyncio.sleep(0.001)
        assert peer.machine.got == []
        assert server.statistics().counters["overrun"] == 5
        peer._driver.resume_reading(peer)
        await asyncio.sleep(0.001)
        assert len(peer.machine.got) == fits
        await conn.close()
        await server.close()

    testing.run(main())


def test_clients_of_one_name_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "MEMORY_ROUTES_MAX", 2)

    async def main() -> None:
        async with transport.serve("memory://lab?datagrams", echo) as server:
            first = await transport.connect(server.url)
            async with transport.connect(server.url):
                assert "MEMORY_ROUTES_MAX" in str(await refused(server.url))
                await first.close()
                async with transport.connect(server.url):
                    pass

    testing.run(main())


def test_a_server_that_has_stopped_takes_no_new_peer():
    async def main() -> None:
        server = await transport.serve("memory://lab?datagrams", echo)
        conn = await transport.connect(server.url)
        await conn.send("x")
        assert await conn.recv() == "x"
        await server.close()
        await refused(server.url)
        await conn.send("into the void")
        await asyncio.sleep(1)
        await conn.close()

    testing.run(main())


# The same run from the same seed


def scenario() -> str:
    """Servers, clients, timers and losses; the trace's digest and what was received."""
    trace = Trace()
    got: list[object] = []

    async def client(index: int, url: str) -> None:
        await asyncio.sleep(0.001 * index)
        async with transport.connect(url) as conn:
            for turn in range(10):
                await conn.send({"client": index, "turn": turn})
                try:
                    async with asyncio.timeout(0.1):
                        got.append(await conn.recv())
                except TimeoutError:
                    got.append((index, turn, "lost"))

    async def main() -> None:
        async with (
            transport.serve("memory://bytes?delay=3ms&jitter=2ms&rate=5mbit", echo) as one,
            transport.serve("memory://datagrams?delay=3ms&jitter=9ms&jitter_reorders&loss=0.1", echo) as two,
            asyncio.TaskGroup() as group,
        ):
            for index in range(12):
                group.create_task(client(index, (one if index % 2 else two).url))

    testing.run(main(), seed=7, trace=trace)
    return f"{trace.hexdigest()} {trace.count} {len(got)} {sum('lost' in entry for entry in got)}"


def test_the_same_seed_is_the_same_run_on_any_hash_seed_and_build():
    expected = scenario()
    assert scenario() == expected
    root = FilePath(memory.__file__).parents[2]
    code = "import runpy, sys; print(runpy.run_path(sys.argv[1])['scenario']())"
    for changes in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TRANSPORT_PURE": "1"}, {"TRANSPORT_PURE": "0"}):
        ran = subprocess.run([sys.executable, "-c", code, __file__], cwd=root, capture_output=True, text=True,
                             check=True, env={**os.environ, "PYTHONPATH": str(root), **changes})  # fmt: skip
        assert ran.stdout.strip() == expected, changes


def test_a_crowd_on_random_links(rng: random.Random):
    """Whatever the link, a byte pipe gives back what went in; whoever leaves in the middle disturbs nobody."""

    async def client(url: str, seed: int) -> int:
        mine = random.Random(seed)
        messages = [mine.randbytes(int(mine.expovariate(1 / 20_000))) for _ in range(mine.randrange(1, 30))]
        leaves_at = mine.randrange(60)
        conn = await transport.connect(url, codec="raw")

        async def send() -> None:
            for message in messages:
                await conn.send(message)
                await asyncio.sleep(mine.random() * 0.01)

        sending = asyncio.create_task(send())
        for index, message in enumerate(messages):
            if index == leaves_at:
                sending.cancel()
                conn.abort()
                await conn.wait_closed()
                return index
            assert await conn.recv() == message
        await sending
        await conn.close()
        return len(messages)

    async def main() -> None:
        for _ in range(4):
            delay, jitter, start = (rng.randrange(50) for _ in range(3))
            query = f"delay={delay}ms&jitter={jitter}ms&blackouts={start}ms-{start + 200}ms"
            if rng.random() < 0.5:
                query += f"&rate={rng.randrange(1, 50)}mbit&queue={rng.randrange(2, 200)}k"
            async with transport.serve(f"memory://lab?{query}", echo, codec="raw") as server:
                done = await asyncio.gather(*(client(server.url, rng.getrandbits(32)) for _ in range(12)))
            assert sum(done) > 12

    testing.run(main(), seed=rng.getrandbits(32))
