"""What every byte pipe has to do, whoever moves its bytes: tcp, unix and tls, natively and by the loop's transports."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import struct
from typing import Any

import pytest

from tests.transports.conftest import Site, until
from transport import limits
from transport.drive.protocol import Protocol
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    UnsupportedOperation,
)


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


def family(site: Site) -> int:
    return socket.AF_UNIX if site.scheme == "unix" else socket.AF_INET


def raw(server: Any, site: Site) -> socket.socket:
    """A plain client of its own, blocking only in connect."""
    sock = socket.socket(family(site), socket.SOCK_STREAM)
    sock.connect(server.url.path if site.scheme == "unix" else ("127.0.0.1", server.url.port))
    sock.setblocking(False)
    return sock


def test_messages_go_both_ways(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo) as server, site.connect(server) as conn:
            for message in ({"a": [1, 2.5, b"\0"]}, "x" * 5, None, b"y" * 1_000_000):
                await conn.send(message)
                assert await conn.recv() == message
            assert await conn.ping() > 0
            assert conn.traits.encrypted == (site.scheme == "tls")
            await conn.flush()
        assert conn.close_code == 0
        assert server.statistics().accepted == 1
        assert not server.connections

    runner.run(main())


def test_many_messages_in_flight_keep_their_order(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo) as server, site.connect(server) as conn:

            async def send() -> None:
                for number in range(3000):
                    await conn.send([number, b"z" * (number % 300)])

            task = asyncio.create_task(send())
            for number in range(3000):
                assert (await conn.recv())[0] == number
            await task

    runner.run(main())


def test_a_slow_reader_stops_the_sender_and_nothing_is_lost(site: Site, runner: asyncio.Runner) -> None:
    """More than every buffer on the way holds: send() waits, and goes on when the other end reads."""
    window = 64 * limits.KIB
    options = {"codec": "raw", "channel_window": window, "connection_window": window}

    async def main() -> None:
        async with site.serve(**options) as server, site.connect(server, high_water=window, **options) as conn:
            peer = await server.accept()
            sent = 0

            async def send() -> None:
                nonlocal sent
                for _ in range(200):
                    await conn.send(b"m" * 10_000)
                    sent += 1

            task = asyncio.create_task(send())
            assert await peer.recv()  # the queue moves
            await until(lambda: conn.statistics().blocked_bytes or task.done())
            await conn.ping()
            assert sent < 100
            for _ in range(199):
                assert await peer.recv() == b"m" * 10_000
            await task

    runner.run(main())


def test_a_foreign_framing_meets_the_pipes_own_back_pressure(site: Site, runner: asyncio.Runner) -> None:
    """Without credit of ours the pipe itself has to fill up: reading stops, writing blocks, both go on."""

    async def main() -> None:
        options = {"codec": "raw", "framing": "length32", "high_water": 64 * limits.KIB, "inbox": 64 * limits.KIB}
        async with site.serve(**options) as server, site.connect(server, **options) as conn:
            task = asyncio.create_task(send_many(conn))
            peer = await server.accept()
            blocked = 0
            while blocked < 50 and not task.done():
                blocked = blocked + 1 if conn.statistics().queued_bytes + conn.statistics().unsent_bytes else 0
                await asyncio.sleep(0)
            for _ in range(2000):
                assert await peer.recv() == b"m" * 10_000
            await task

    async def send_many(conn: Any) -> None:
        for _ in range(2000):
            await conn.send(b"m" * 10_000)

    runner.run(main())


@pytest.mark.parametrize("by_server", [False, True])
def test_code_and_reason_of_a_close_arrive(site: Site, runner: asyncio.Runner, by_server: bool) -> None:
    async def main() -> None:
        async with site.serve() as server, site.connect(server) as conn:
            peer = await server.accept()
            first, second = (peer, conn) if by_server else (conn, peer)
            await first.send("last words")
            await first.close(42, "had enough")
            assert await second.recv() == "last words"
            with pytest.raises(ConnectionLost, match="had enough"):
                await second.recv()
            assert (second.close_code, second.close_reason) == (42, "had enough")
            await second.wait_closed()

    runner.run(main())


def test_both_ends_closing_at_once_is_clean(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve() as server, site.connect(server) as conn:
            peer = await server.accept()
            await asyncio.gather(conn.close(), peer.close())
            assert (conn.close_code, peer.close_code) == (0, 0)

    runner.run(main())


def test_an_abort_is_a_loss_for_the_peer(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve() as server, site.connect(server) as conn:
            peer = await server.accept()
            conn.abort()
            await conn.wait_closed()
            with pytest.raises(ConnectionLost):
                await peer.recv()
            assert peer.close_code == CloseCode.LOST
            await peer.wait_closed()

    runner.run(main())


def test_a_closing_server_says_goodbye(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo) as server, site.connect(server) as conn:
            await conn.send(1)
            assert await conn.recv() == 1
            await server.close()
            with pytest.raises(ConnectionClosed):
                await conn.recv()
            assert conn.close_code == CloseCode.GOING_AWAY
            with pytest.raises(ConnectFailed):
                await site.connect(server)

    runner.run(main())


def test_protocols_work_on_every_pipe(site: Site, runner: asyncio.Runner) -> None:
    class Echo(Protocol):
        def connection_made(self, conn: Any) -> None:
            self.conn = conn

        def message_received(self, message: Any, channel: int) -> None:
            self.conn.send_nowait(message, channel=channel)

    async def main() -> None:
        async with site.serve(protocol=Echo) as server, site.connect(server) as conn:
            for number in range(100):
                await conn.send(number, channel=number % 3)
            assert sorted([await conn.recv() for _ in range(100)]) == list(range(100))

    runner.run(main())


def test_a_body_larger_than_a_message_comes_through(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve() as server, site.connect(server) as conn:
            peer = await server.accept()

            async def send() -> None:
                async with await conn.open_stream(total=3_000_000) as stream:
                    for number in range(30):
                        await stream.write(bytes([number]) * 100_000)

            task = asyncio.create_task(send())
            incoming = await peer.accept_stream()
            assert incoming.total == 3_000_000
            body = b"".join([chunk async for chunk in incoming])
            assert body == b"".join(bytes([number]) * 100_000 for number in range(30))
            await task

    runner.run(main())


class Shouter:
    """A machine: upper-cases what comes, says goodbye when the peer is done."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.seen: list[object] = []
        self.done = False

    def receive(self, data: bytes, now: int) -> None:
        if data:
            self.out.append(data.upper())
            self.seen.append(data)
        else:
            self.done = True
            self.seen.append("end")

    def transmit(self, now: int) -> list[bytes]:
        out, self.out = self.out, []
        if self.done:
            self.done = False
            out.append(b"")
        return out

    def events(self) -> list[object]:
        seen, self.seen = self.seen, []
        return seen

    def deadline(self) -> int | None:
        return None

    def expire(self, now: int) -> None:
        raise AssertionError


def test_a_machine_runs_on_every_pipe(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        ended: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

        async def handle(conn: Any) -> None:
            seen = []
            with contextlib.suppress(ConnectionLost):
                async for event in conn:
                    seen.append(event)
            ended.set_result(seen)

        async with site.serve(handle, machine=Shouter) as server:
            async with site.connect(server, machine=Shouter) as conn:
                conn.machine.out.append(b"hello")
                conn.wake()
                assert await conn.next_event() == b"HELLO"
            seen = await ended
            assert seen[0] == b"hello"
            assert "end" in seen

    runner.run(main())


@pytest.mark.parametrize(
    ("said", "name"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "tls"),
        (b"\0" * 64, "zeros"),
        (b"", "nothing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_foreign_client_ends_only_itself(site: Site, runner: asyncio.Runner, said: bytes, name: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with site.serve(echo) as server, site.connect(server) as conn:
            with raw(server, site) as stranger:
                await loop.sock_sendall(stranger, said)
                stranger.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionError):
                    while await loop.sock_recv(stranger, 4096):
                        pass
            await conn.send("still here")
            assert await conn.recv() == "still here"
            assert server.statistics().accepted == 1

    runner.run(main())


def test_a_reset_in_the_middle_ends_only_that_connection(site: Site, runner: asyncio.Runner) -> None:
    if site.scheme == "unix":
        pytest.skip("a Unix socket has no reset")

    async def main() -> None:
        async with site.serve(echo) as server, site.connect(server) as conn:
            strangers = [raw(server, site) for _ in range(20)]
            for stranger in strangers:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stranger.send(b"\xd4TR")
                stranger.close()
            await conn.send("still here")
            assert await conn.recv() == "still here"

    runner.run(main())


def test_a_silent_client_is_cut_off(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with site.serve(echo, handshake_timeout=0.05) as server:
            with raw(server, site) as stranger, contextlib.suppress(ConnectionError):
                while await loop.sock_recv(stranger, 4096):
                    pass
            assert server.statistics().accepted == 0

    runner.run(main())


def test_a_full_server_refuses_and_recovers(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo, max_connections=1) as server:
            async with site.connect(server):
                with pytest.raises(ConnectFailed):
                    await site.connect(server)
                assert server.statistics().refused == 1
            await until(lambda: not server.connections)
            async with site.connect(server) as conn:
                await conn.send(1)
                assert await conn.recv() == 1

    runner.run(main())


def test_a_server_that_closes_with_connections_half_open(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo) as server:
            strangers = [raw(server, site) for _ in range(5)]
            await until(lambda: server.statistics().counters.get("handshakes", 0) + len(server.connections) == 5)
            await server.close(grace=0.05)
        for stranger in strangers:
            stranger.close()

    runner.run(main())


def test_an_inherited_socket_serves_and_connects(site: Site, runner: asyncio.Runner, tmp_path: Any) -> None:
    async def main() -> None:
        listening = socket.socket(family(site), socket.SOCK_STREAM)
        listening.bind(f"{tmp_path}/inherited" if site.scheme == "unix" else ("127.0.0.1", 0))
        url = f"unix://{tmp_path}/inherited" if site.scheme == "unix" else f"{site.scheme}://127.0.0.1:0"
        site.url = url
        async with site.serve(echo, sock=listening) as server:
            client = raw(server, site)
            async with site.connect(server, sock=client) as conn:
                await conn.send("hello")
                assert await conn.recv() == "hello"

    runner.run(main())


def test_an_inherited_socket_of_another_kind_is_refused(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(LocalProtocolError, match="stream socket"):
                await site.serve(echo, sock=datagrams)
            with pytest.raises(LocalProtocolError, match="stream socket"):
                await site.connect(site, sock=datagrams)

    runner.run(main())


def test_a_socket_that_is_not_connected_is_refused(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        with socket.socket(family(site), socket.SOCK_STREAM) as sock, pytest.raises(ConnectFailed) as caught:
            await site.connect(site, sock=sock)
        assert caught.value.errno

    runner.run(main())


def test_extra_information(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        async with site.serve(echo) as server, site.connect(server) as conn:
            assert conn.get_extra_info("socket").fileno() >= 0
            assert conn.get_extra_info("no such thing", 5) == 5
            if site.scheme != "unix":
                assert conn.get_extra_info("sockname") == conn.local_address
                assert conn.get_extra_info("peername") == conn.remote_address
                assert conn.get_extra_info("peercred") is None

    runner.run(main())


def test_nobody_there(site: Site, runner: asyncio.Runner, tmp_path: Any) -> None:
    async def main() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # not listening: every connect is refused
            site.url = (
                f"unix://{tmp_path}/none"
                if site.scheme == "unix"
                else f"{site.scheme}://127.0.0.1:{taken.getsockname()[1]}"
            )
            with pytest.raises(ConnectFailed) as caught:
                await site.connect(site)
        assert caught.value.errno

    runner.run(main())


def test_a_framing_without_ping_says_so(site: Site, runner: asyncio.Runner) -> None:
    async def main() -> None:
        options = {"framing": "lines", "codec": "raw"}
        async with site.serve(echo, **options) as server, site.connect(server, **options) as conn:
            await conn.send(b"line")
            assert await conn.recv() == b"line"
            with pytest.raises(UnsupportedOperation):
                await conn.ping()

    runner.run(main())


def test_nothing_is_left_behind(site: Site, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    """Connections that came and went in every way leave no task, no timer and no log entry."""

    async def main() -> None:
        async with site.serve(echo) as server:
            for number in range(6):
                conn = await site.connect(server)
                await conn.send(number)
                if number % 3 == 0:
                    await conn.close()
                elif number % 3 == 1:
                    conn.abort()
                    await conn.wait_closed()
                else:
                    await conn.recv()
                    await asyncio.gather(*(peer.close() for peer in server.connections))
                    await conn.wait_closed()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    caplog.set_level(logging.WARNING)
    runner.run(main())
    gc.collect()
    assert not caplog.records
