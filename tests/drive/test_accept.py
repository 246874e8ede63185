"""Accepting: bounded, robust against what peers do, and patient when the system has no descriptors left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conftest import LOOPS
from tests.drive.portable import PORTABLE_LOOPS
from transport import limits
from transport.drive.accept import PASSING, Acceptor

Dial = Callable[[int], list[socket.socket]]
EVERY_LOOP = {**LOOPS, **PORTABLE_LOOPS}


@pytest.fixture(params=list(EVERY_LOOP.values()), ids=list(EVERY_LOOP))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=request.param) as made:
        yield made


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=256) as sock:
        sock.setblocking(False)
        yield sock


@pytest.fixture
def dial(listening: socket.socket) -> Iterator[Callable[[int], list[socket.socket]]]:
    """Connects so many clients; all are closed at the end. The acceptor owns the listening socket, so ask it now."""
    address = listening.getsockname()
    with contextlib.ExitStack() as stack:
        yield lambda count: [stack.enter_context(socket.create_connection(address)) for _ in range(count)]


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


class Listening:
    """A listening socket whose `accept` fails as it is told to, then works."""

    def __init__(self, sock: socket.socket, errors: list[int]) -> None:
        self.sock = sock
        self.errors = errors

    def accept(self) -> Any:
        if self.errors:
            raise OSError(self.errors.pop(0), "told to")
        return self.sock.accept()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def test_every_connection_arrives_non_blocking(runner: asyncio.Runner, listening: socket.socket, dial: Dial) -> None:
    async def main() -> None:
        got: list[socket.socket] = []
        clients = dial(3 * limits.ACCEPTS_PER_TICK)
        acceptor = Acceptor(asyncio.get_running_loop(), listening, got.append)
        await until(lambda: len(got) == len(clients))
        assert all(sock.gettimeout() == 0 for sock in got)
        assert {sock.getpeername() for sock in got} == {sock.getsockname() for sock in clients}
        acceptor.stop()
        acceptor.stop()
        await acceptor.wait_stopped()
        for sock in got:
            sock.close()

    runner.run(main())


def test_one_tick_takes_a_bounded_number(listening: socket.socket, dial: Dial) -> None:
    """Others have their turn while a crowd comes in."""

    async def main() -> None:
        got: list[socket.socket] = []
        clients = dial(2 * limits.ACCEPTS_PER_TICK)
        acceptor = Acceptor(asyncio.get_running_loop(), listening, got.append)
        seen = set()
        while len(got) < len(clients):
            await asyncio.sleep(0)
            seen.add(len(got))
        assert limits.ACCEPTS_PER_TICK in seen
        acceptor.stop()
        for sock in got:
            sock.close()

    asyncio.run(main())


def test_nothing_is_accepted_while_paused_or_stopped(
    runner: asyncio.Runner, listening: socket.socket, dial: Dial
) -> None:
    async def main() -> None:
        got: list[socket.socket] = []
        acceptor = Acceptor(asyncio.get_running_loop(), listening, got.append)
        await asyncio.sleep(0)
        acceptor.pause()
        dial(10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(got) <= 1  # one where a pending accept can't be called back
        acceptor.resume()
        acceptor.resume()
        await until(lambda: len(got) == 10)
        acceptor.pause()
        acceptor.resume()
        dial(5)
        await until(lambda: len(got) == 15)
        acceptor.stop()
        await acceptor.wait_stopped()
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            dial(1)
        for sock in got:
            sock.close()

    runner.run(main())


def test_a_stop_from_within_the_callback(runner: asyncio.Runner, listening: socket.socket, dial: Dial) -> None:
    async def main() -> None:
        got: list[socket.socket] = []

        def on_socket(sock: socket.socket) -> None:
            got.append(sock)
            acceptor.stop()

        dial(5)
        acceptor = Acceptor(asyncio.get_running_loop(), listening, on_socket)
        await until(lambda: got)
        await acceptor.wait_stopped()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(got) == 1
        for sock in got:
            sock.close()

    runner.run(main())


def test_a_callback_that_raises_costs_one_connection(
    runner: asyncio.Runner, listening: socket.socket, dial: Dial
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        reported: list[Any] = []
        loop.set_exception_handler(lambda _, context: reported.append(context))
        got: list[socket.socket] = []

        def on_socket(sock: socket.socket) -> None:
            got.append(sock)
            if len(got) == 1:
                raise ValueError("mistake")

        dial(2)
        acceptor = Acceptor(loop, listening, on_socket)
        await until(lambda: len(got) == 2)
        assert [str(context["exception"]) for context in reported] == ["mistake"]
        assert got[0].fileno() == -1
        acceptor.stop()
        await acceptor.wait_stopped()
        for sock in got:
            sock.close()

    runner.run(main())


@pytest.mark.parametrize("code", sorted(PASSING), ids=lambda code: errno.errorcode[code])
def test_trouble_of_one_connection_does_not_stop_the_others(listening: socket.socket, dial: Dial, code: int) -> None:
    async def main() -> None:
        got: list[socket.socket] = []
        dial(1)
        troubled: Any = Listening(listening, [code] * 100)
        acceptor = Acceptor(asyncio.get_running_loop(), troubled, got.append)
        await until(lambda: got)
        assert acceptor.backoffs == 0
        acceptor.stop()
        for sock in got:
            sock.close()

    asyncio.run(main())


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EINVAL])
def test_lack_of_resources_is_waited_out(
    listening: socket.socket, dial: Dial, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "ACCEPT_BACKOFF_S", 0.001)

    async def main() -> None:
        got: list[socket.socket] = []
        dial(3)
        troubled: Any = Listening(listening, [code] * 3)
        acceptor = Acceptor(asyncio.get_running_loop(), troubled, got.append)
        await until(lambda: len(got) == 3)
        assert acceptor.backoffs == 3
        acceptor.stop()
        for sock in got:
            sock.close()

    caplog.set_level(logging.WARNING, "transport")
    asyncio.run(main())
    assert len(caplog.records) == (3 if code == errno.EINVAL else 1)  # the known ones are said once


def test_a_stop_while_it_waits_for_resources(listening: socket.socket, dial: Dial) -> None:
    async def main() -> None:
        troubled: Any = Listening(listening, [errno.EMFILE] * 1000)
        dial(1)
        acceptor = Acceptor(asyncio.get_running_loop(), troubled, lambda _: None)
        await until(lambda: acceptor.backoffs)
        acceptor.pause()
        acceptor.resume()  # keeps waiting
        acceptor.stop()
        assert listening.fileno() == -1

    asyncio.run(main())


PROGRAM = """
import asyncio, resource, socket, sys
sys.path.insert(0, {root!r})
from tests.conftest import LOOPS
from tests.drive.portable import PORTABLE_LOOPS
import transport

async def echo(conn):
    async for message in conn:
        await conn.send(message)

async def main():
    async with transport.serve("tcp://127.0.0.1:0", echo) as server, transport.connect(server.url) as conn:
        free = socket.socket()
        resource.setrlimit(resource.RLIMIT_NOFILE, (free.fileno() + 20, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        free.close()
        last = socket.socket()
        crowd = [last]
        try:
            while True:  # the clients' own ends fill the table too
                crowd.append(socket.create_connection(("127.0.0.1", server.url.port)))
        except OSError:
            last.connect(("127.0.0.1", server.url.port))
        while not server.statistics().accept_backoffs:
            await asyncio.sleep(0)
        await conn.send("served meanwhile")
        assert await conn.recv() == "served meanwhile"
        for sock in crowd:
            sock.close()
        async with transport.connect(server.url) as another:
            await another.send("recovered")
            assert await another.recv() == "recovered"
    print("done")

with asyncio.Runner(loop_factory={{**LOOPS, **PORTABLE_LOOPS}}[sys.argv[1]]) as runner:
    runner.run(main())
"""


@pytest.mark.linux
@pytest.mark.parametrize("loop", list(EVERY_LOOP))
def test_a_full_descriptor_table_stops_neither_those_served_nor_the_server(loop: str) -> None:
    from tests.meta.tree import ROOT

    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(root=str(ROOT)), loop], capture_output=True, text=True, timeout=19
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "done\n"
    assert ended.stderr.count("out of resources") == 1
