"""Several processes behind one UDP port, and clients that move: each reaches the process that has its connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.transports.test_rudp_moving import Drivers, move
from transport.api import connect, serve
from transport.errors import ConnectionLost, TransportError, UnsupportedOperation
from transport.reconnect import Backoff
from transport.transports import seats
from transport.transports.registry import Registry
from transport.workers import WorkerServer, parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="workers inherit their sockets, which only Unix systems allow"),
]
HANDLERS = """
import os

async def who(conn):
    async for message in conn:
        if message == "crash":
            os._exit(7)
        await conn.send([os.getpid(), message])
"""
CLIENTS = 200
URL = "rudp://127.0.0.1:0"


@pytest.fixture(autouse=True)
def handlers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moving_handlers.py").write_text(HANDLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(parent, "RESTART", Backoff(initial=0.01, maximum=0.01, jitter=0.0))


async def ask(conn: Any, message: Any) -> int:
    """Which process answers."""
    await conn.send(message)
    pid, echoed = await conn.recv()
    assert echoed == message
    return int(pid)


async def passed_on(server: WorkerServer) -> int:
    statistics = await server.refresh()
    return statistics.counters["passed_on"]


@pytest.mark.asyncio
@pytest.mark.parametrize("is_steered", [True, False], ids=["steered", "passed-on"])
async def test_two_workers_and_200_moving_clients(is_steered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No connection is lost, whether the kernel knows where a packet belongs or the workers tell each other."""
    if is_steered and not seats.LINUX:
        pytest.skip("only Linux steers datagrams by a program")
    if not is_steered:
        monkeypatch.setattr(seats, "steer", lambda sock, count: False)
    scheme = Drivers()
    registry = Registry.default().register(scheme)
    async with serve(URL, "moving_handlers:who", workers=2) as server, contextlib.AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(connect(server.url, registry=registry)) for _ in range(CLIENTS)]
        homes = [await ask(conn, index) for index, conn in enumerate(conns)]
        assert set(homes) == set(server.pids)
        before = await passed_on(server)
        assert before == 0
        for turn in range(5):
            for driver in scheme.drivers:
                move(driver)
            found = await asyncio.gather(*(ask(conn, [turn, index]) for index, conn in enumerate(conns)))
            assert found == homes
        assert not any(conn.is_closed for conn in conns)
        statistics = await server.refresh()
        assert statistics.connections == CLIENTS
        if is_steered:
            assert statistics.counters["passed_on"] == 0
        else:
            assert statistics.counters["passed_on"] > 100


@pytest.mark.asyncio
async def test_bulk_to_a_worker_that_the_kernel_does_not_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats, "steer", lambda sock, count: False)
    scheme = Drivers()
    registry = Registry.default().register(scheme)
    async with serve(URL, "moving_handlers:who", workers=2) as server:
        async with connect(server.url, registry=registry) as conn:
            home = await ask(conn, "first")
            body = bytes(200_000)
            for _ in range(6):
                move(scheme.drivers[0])
                assert await ask(conn, body) == home
        assert await passed_on(server) > 0


@pytest.mark.asyncio
async def test_a_worker_that_was_restarted_says_so() -> None:
    """Its clients learn at once that their connection is gone, and others that they still have theirs."""
    scheme = Drivers()
    registry = Registry.default().register(scheme)
    async with serve(URL, "moving_handlers:who", workers=2) as server, contextlib.AsyncExitStack() as stack:
        conns = [await stack.enter_async_context(connect(server.url, registry=registry)) for _ in range(12)]
        homes = [await ask(conn, index) for index, conn in enumerate(conns)]
        doomed = homes[0]
        await conns[0].send("crash")
        while server.restarts < 1 or len(server.pids) < 2:
            await asyncio.sleep(0.01)
        for conn, driver, home in zip(conns, scheme.drivers, homes, strict=True):
            move(driver)
            if home == doomed:
                with pytest.raises(ConnectionLost):
                    await ask(conn, "still there?")
            else:
                assert await ask(conn, "still there?") == home


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_a_port_that_somebody_has_is_refused() -> None:
    async with serve(URL, lambda conn: asyncio.sleep(0)) as other:
        with pytest.raises(OSError, match="in use"):
            await serve(other.url, "moving_handlers:who", workers=2)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_plain_udp_has_no_workers() -> None:
    with pytest.raises(UnsupportedOperation, match="several processes"):
        await serve("udp://127.0.0.1:0", "moving_handlers:who", workers=2)


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_several_addresses_of_one_name() -> None:
    """Each worker has a socket for each."""
    async with serve("rudp://localhost:0", "moving_handlers:who", workers=2) as server:
        for host in ("127.0.0.1", "[::1]"):
            scheme = Drivers()
            try:
                opened = connect(f"rudp://{host}:{server.url.port}", registry=Registry.default().register(scheme),
                                 connect_timeout=5)  # fmt: skip
                async with opened as conn:
                    home = await ask(conn, "first")
                    for _ in range(5):
                        move(scheme.drivers[0])
                        assert await ask(conn, "again") == home
            except TransportError:
                assert host == "[::1]", sys.exc_info()[1]  # where the name stands for IPv4 alone
