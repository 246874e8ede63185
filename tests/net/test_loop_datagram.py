"""Datagrams by a transport of the loop's own, on loops that can't watch descriptors."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.drive.portable import PORTABLE_LOOPS
from tests.net.sockets import Keep, batch, dead_address, name
from transport import limits
from transport.machine import Path
from transport.net import datagram as net
from transport.net.datagram_options import DatagramOptions
from transport.net.loop_datagram import LoopDatagramSocket


@pytest.fixture(params=list(PORTABLE_LOOPS.values()), ids=list(PORTABLE_LOOPS))
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def runner(main: Any) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return runner


class Tap:
    """A driver in small: keeps what comes and counts what it is told."""

    def __init__(self, sock: LoopDatagramSocket) -> None:
        self.sock = sock
        self.keep = Keep()
        self.writable = 0
        sock.start(self.on_readable, self.on_writable)

    def on_readable(self) -> None:
        self.sock.receive(self.keep, 0)

    def on_writable(self) -> None:
        self.writable += 1

    async def take(self, count: int) -> list[bytes]:
        while len(self.keep.payloads) < count:
            await asyncio.sleep(0)
        return self.keep.payloads


async def opened(local: Any = None, remote: Any = None) -> LoopDatagramSocket:
    sock = net.make_socket(local, remote, DatagramOptions())
    made, granted = await net.adopt_on(asyncio.get_running_loop(), sock, DatagramOptions())
    assert isinstance(made, LoopDatagramSocket)
    assert granted.rcvbuf > 0
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_cross_both_ways(run: Any, host: str) -> None:
    async def main() -> None:
        server = await opened((host, 0, 0, 0) if ":" in host else (host, 0))
        client = await opened(None, name(server))
        there, here = Tap(server), Tap(client)
        payloads = [b"a", b"", b"b" * 60_000, b"c"]
        assert client.send(batch(*[(payload, len(payload), client.path, 0) for payload in payloads]))
        assert client.send(batch((b"123456789", 4, client.path, 2)))
        assert await there.take(7) == [*payloads, b"1234", b"5678", b"9"]
        path = there.keep.calls[0][1]
        assert (path.remote, path.local) == (name(client), name(server))
        assert all(call[1] is path for call in there.keep.calls)
        assert server.send(batch((b"answer", 6, path, 0), (b"", 0, path, 0)))
        assert await here.take(2) == [b"answer", b""]
        for sock in (server, client):
            sock.close()
            sock.close()
            assert sock.fileno() == -1
        assert client.send(batch((b"late", 4, client.path, 0)))

    run(main())


def test_what_comes_before_the_start_is_kept_and_bounded(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOOP_DATAGRAMS_QUEUED", 3)

    async def main() -> None:
        server = await opened(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
            for number in range(5):
                source.sendto(b"%d" % number, name(server))
            while server.overrun < 2:
                await asyncio.sleep(0)
        tap = Tap(server)
        assert await tap.take(3) == [b"2", b"3", b"4"]
        assert server.received_bytes == 3
        server.close()

    run(main())


def test_paths_are_kept_within_bounds(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATHS_CACHED_MAX", 2)

    async def main() -> None:
        server = await opened(("127.0.0.1", 0))
        tap = Tap(server)
        for count in range(1, 5):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source:
                source.sendto(b"x", name(server))
                await tap.take(count)
        assert len(server._paths) == 2
        server.close()

    run(main())


def test_a_full_transport_keeps_the_rest(run: Any) -> None:
    class Full:
        """A transport whose buffer never empties by itself."""

        def __init__(self) -> None:
            self.buffer: list[bytes] = []

        def get_write_buffer_size(self) -> int:
            return sum(map(len, self.buffer))

        def sendto(self, data: bytes, address: Any) -> None:
            self.buffer.append(data)

    async def main() -> None:
        server = await opened(("127.0.0.1", 0))
        tap = Tap(server)
        real, full = server._transport, Full()
        server._transport = full
        path = Path(None, ("127.0.0.1", 9))
        whole = batch((b"x" * 120_000, 40_000, path, 0), (b"last", 4, path, 0))
        assert not server.send(whole)
        assert (whole.first, whole.entries[0].size) == (0, 40_000)
        assert not server.send(whole)
        full.buffer.clear()
        server.resume_writing()
        assert tap.writable == 1
        assert server.send(whole)
        assert full.buffer == [b"x" * 40_000, b"last"]
        server._transport = real
        server.close()

    run(main())


def test_errors_have_a_path_where_there_is_one_peer(run: Any) -> None:
    async def main() -> None:
        client = await opened(None, dead_address())
        Tap(client)
        while not client.errors:
            client.send(batch((b"anybody?", 8, client.path, 0)))
            await asyncio.sleep(0)
        assert client.errors[0] == (client.path, errno.ECONNREFUSED)
        assert client.disturbed
        client.close()
        server = await opened(("127.0.0.1", 0))
        server.error_received(OSError(errno.EHOSTUNREACH, "whose?"))
        assert server.errors == []
        assert server.send(batch((b"", 0, Path(None, ("no address", 9)), 0)))
        assert [code for _, code in server.errors] == [errno.EINVAL] or server.unsent == 1
        wrong = batch((b"abcd", 4, client.path, 0))
        wrong.entries[0].offset = 1
        with pytest.raises(ValueError, match="batch entry"):
            server.send(wrong)
        server.close()

    run(main())


def test_an_opening_that_is_cancelled_leaves_nothing(run: Any) -> None:
    async def main() -> None:
        for turns in range(6):
            sock = net.make_socket(("127.0.0.1", 0), None, DatagramOptions())
            task = asyncio.ensure_future(net.adopt_on(asyncio.get_running_loop(), sock, DatagramOptions()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if task.cancelled():
                sock.close()
            else:
                task.result()[0].close()

    run(main())  # a descriptor left open is a ResourceWarning, and a loop that can't end is a time-out


def test_a_socket_that_the_loop_refuses_stays_the_caller_s(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        sock = net.make_socket(("127.0.0.1", 0), None, DatagramOptions())

        class Refusing:
            call_soon = loop.call_soon

            async def create_datagram_endpoint(self, *_: Any, **__: Any) -> Any:
                raise OSError(errno.EMFILE, "no more")

        from transport.net.loop_datagram import open_on_loop

        with pytest.raises(OSError, match="no more"):
            await open_on_loop(Refusing(), sock, None, None)  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert sock.fileno() >= 0
        sock.close()

    run(main())
