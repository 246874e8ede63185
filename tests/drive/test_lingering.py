"""A client's socket after its end: it answers a server that did not hear the last words, and holds nobody up."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from typing import Any

import pytest

import transport
from tests.rudp.lossy import LossyTransport, registry
from transport import limits
from transport.drive.lingering import Lingering
from transport.errors import CloseCode, ConnectionLost
from transport.rudp import packet

ANY = "rudp://127.0.0.1:0"


def is_close(data: bytes) -> bool:
    """Whether a datagram is a packet that begins with CLOSE."""
    start = 10 + (data[0] & 3)
    return data[0] & 0xC0 == packet.FIXED_BIT and data[start : start + 1] == bytes([packet.CLOSE])


class Losing(LossyTransport):
    """A server that does not hear the first `count` goodbyes."""

    def __init__(self, count: int) -> None:
        super().__init__(self._drops)
        self.left = count

    def _drops(self, data: bytes) -> bool:
        if self.left and is_close(data):
            self.left -= 1
            return True
        return False


@contextlib.asynccontextmanager
async def pair(count: int = 0, **options: Any) -> Any:
    """(client, its peer); the server does not hear `count` goodbyes, and the client believes its peer to be far."""
    keeping = LossyTransport(lambda _: False)
    async with transport.serve(ANY, registry=registry(Losing(count))) as server:
        client = await transport.connect(server.url, registry=registry(keeping), **options)
        peer = await server.accept()
        for session in keeping.endpoints[0].sessions.values():
            session.rtt.update(limits.RUDP_RTT_MAX_NS, 0)
        yield client, peer


@pytest.fixture(autouse=True)
def nobody_is_left() -> Any:
    """Whatever a test leaves, its loop takes along."""
    gc.collect()
    assert Lingering.count == 0
    yield
    gc.collect()
    assert Lingering.count == 0


def run(main: Any, loop_factory: Any) -> None:
    """On a loop that ends at once afterwards."""
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main)


def test_a_server_whose_goodbye_was_answered_in_vain_asks_again(loop_factory: Any) -> None:
    async def main() -> None:
        async with pair(3) as (client, peer):
            await peer.close(5, "bye")
            await client.wait_closed()
            assert (peer.close_code, peer.close_reason) == (5, "bye")
            assert peer.exception.by_peer is False
            assert Lingering.count == 1

    run(main(), loop_factory)


def test_an_error_is_told_again(loop_factory: Any) -> None:
    async def main() -> None:
        async with pair(1) as (client, peer):
            client.abort(77, "enough")
            await peer.send("are you there?")
            await peer.wait_closed()
            assert (peer.close_code, peer.close_reason) == (77, "enough")

    run(main(), loop_factory)


def test_a_socket_lingers_for_a_bounded_time(loop_factory: Any) -> None:
    """Three probe time-outs, which are milliseconds on this machine."""

    async def main() -> None:
        async with transport.serve(ANY) as server:
            client = await transport.connect(server.url)
            sock = client.get_extra_info("socket")
            await client.close()
            async with asyncio.timeout(5):
                while sock.fileno() >= 0:
                    await asyncio.sleep(0.001)

    run(main(), loop_factory)


def test_a_bounded_number_of_sockets_linger(loop_factory: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(limits, "LINGERING_SOCKETS_MAX", 2)

    async def main() -> None:
        for index in range(3):
            async with pair() as (client, _):
                sock = client.get_extra_info("socket")
                await client.close()
                assert Lingering.count == min(index + 1, 2)
                assert (sock.fileno() < 0) == (index == 2)

    run(main(), loop_factory)


def test_a_socket_of_the_callers_does_not_linger(loop_factory: Any) -> None:
    """Its address may be wanted again at once."""

    async def main() -> None:
        async with transport.serve(ANY) as server:
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setblocking(False)
            client = await transport.connect(server.url, sock=sock)
            await client.close()
            assert sock.fileno() < 0

    run(main(), loop_factory)


def test_who_was_refused_does_not_linger(loop_factory: Any) -> None:
    """There is nobody to be told."""

    async def main() -> None:
        async with transport.serve(ANY, codec="raw") as server:
            with pytest.raises(transport.ConnectFailed):
                await transport.connect(server.url, codec="json")
        assert Lingering.count == 0

    run(main(), loop_factory)


def test_a_peer_that_is_gone_ends_it(loop_factory: Any) -> None:
    """The kernel says so when the goodbye is repeated to a closed port."""

    async def main() -> None:
        async with pair() as (client, peer):
            sock = client.get_extra_info("socket")
            path = sock.getpeername()
            await client.close()
            assert Lingering.count == 1
            await peer.wait_closed()
        del peer
        assert path
        sock.send(b"anybody?")  # as the last word would
        async with asyncio.timeout(5):
            while Lingering.count:
                await asyncio.sleep(0.001)

    run(main(), loop_factory)


def test_what_is_heard_is_checked_as_ever(loop_factory: Any) -> None:
    """Noise, and packets of somebody else's, get no answer, and do no harm."""

    async def main() -> None:
        async with pair(2) as (client, peer):
            address = client.get_extra_info("sockname")
            closing = asyncio.ensure_future(peer.close(CloseCode.GOING_AWAY, ""))
            await client.wait_closed()
            noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with noise:
                for size in (0, 1, 11, 40, 1200):
                    noise.sendto(b"\x40" * size, address)
            await closing
            assert not isinstance(peer.exception, ConnectionLost)

    run(main(), loop_factory)
