"""`rudp://` on real sockets while addresses change: behind a NAT that forgets, on hosts with many addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

import transport
from tests.rudp.relay import Relay
from transport.drive.datagram import DatagramDriver
from transport.drive.roaming import Roaming
from transport.machine import Address
from transport.transports.registry import Registry
from transport.transports.rudp import RudpTransport

pytestmark = [pytest.mark.asyncio, pytest.mark.linux]
ANY = "rudp://127.0.0.1:0"
BODIES = [index.to_bytes(4, "big") * (1 + index * 97 % 900) for index in range(600)]
HOSTS = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")


class Drivers(RudpTransport):
    """`rudp://` that tells the drivers of its clients."""

    def __init__(self) -> None:
        super().__init__()
        self.drivers: list[DatagramDriver] = []

    def roam(self, driver: DatagramDriver, target: Address) -> None:
        super().roam(driver, target)
        self.drivers.append(driver)


def move(driver: DatagramDriver) -> None:
    """Another port, as if the machine had changed its address."""
    assert isinstance(driver.on_trouble, Roaming)
    driver.on_trouble.move(driver)


async def both_ways(client: Any, peer: Any, bodies: list[bytes] = BODIES) -> None:
    """All arrives, in order, in both directions at once."""

    async def sends(conn: Any) -> None:
        for body in bodies:
            await conn.send(body)

    async def takes(conn: Any) -> None:
        for body in bodies:
            assert await conn.recv() == body

    await asyncio.gather(sends(client), sends(peer), takes(client), takes(peer))


@contextlib.asynccontextmanager
async def behind(**how: Any) -> AsyncIterator[tuple[Any, Any, Relay]]:
    """A client behind a relay, its peer, and the relay."""
    async with transport.serve(ANY, codec="raw") as server:
        relay = Relay(("127.0.0.1", server.url.port), **how)
        try:
            async with transport.connect(f"rudp://127.0.0.1:{relay.address[1]}?mtu=1400", codec="raw") as client:
                yield client, await server.accept(), relay
        finally:
            relay.close()


async def test_a_nat_that_gives_another_port_again_and_again() -> None:
    async with behind(every=50) as (client, peer, relay):
        await both_ways(client, peer)
        assert relay.rebinds >= 5
        assert peer.statistics().counters["path_changes"] >= relay.rebinds - 2
        assert not client.is_closed


async def test_a_nat_that_gives_another_host_again_and_again() -> None:
    async with behind(every=150, hosts=HOSTS) as (client, peer, relay):
        await both_ways(client, peer)
        relay.rebind()
        await both_ways(client, peer, BODIES[:20])
        assert relay.rebinds >= 3
        assert peer.statistics().counters["path_changes"] >= 2
        assert peer.get_extra_info("peername")[0] in HOSTS


async def test_a_client_that_changes_its_own_port() -> None:
    scheme = Drivers()
    async with transport.serve(ANY, codec="raw") as server:
        async with transport.connect(server.url, codec="raw", registry=Registry.default().register(scheme)) as client:
            peer = await server.accept()
            [driver] = scheme.drivers
            ports = {client.get_extra_info("sockname")[1]}
            for part in range(10):
                move(driver)
                ports.add(client.get_extra_info("sockname")[1])
                await both_ways(client, peer, BODIES[part * 20 : part * 20 + 20])
            assert len(ports) > 5
            assert peer.get_extra_info("peername") == client.get_extra_info("sockname")
            assert client.statistics().counters["path_changes"] == 10


async def test_trouble_alone_is_no_reason_to_move() -> None:
    """The system still prefers the address that is in use."""
    scheme = Drivers()
    async with transport.serve(ANY, codec="raw") as server:
        async with transport.connect(server.url, codec="raw", registry=Registry.default().register(scheme)) as client:
            [driver] = scheme.drivers
            before = client.get_extra_info("sockname")
            assert isinstance(driver.on_trouble, Roaming)
            driver.on_trouble(driver)
            assert client.get_extra_info("sockname") == before
            assert driver.on_trouble.moves == 0


@pytest.mark.parametrize("gso", [True, False])
@pytest.mark.parametrize("url", ["rudp://0.0.0.0:0", "rudp://[::]:0?ipv6_only=false"], ids=["v4", "dual"])
async def test_a_server_answers_from_the_address_that_was_asked(url: str, gso: bool) -> None:
    """The clients' sockets are connected, and take nothing from anybody else."""
    async with transport.serve(url, codec="raw", gso=gso, mtu=1300) as server:
        hosts = ["127.0.0.1", "127.0.0.2", "127.1.2.3"] + (["[::1]"] if "::" in url else [])
        for host in hosts:
            async with transport.connect(f"rudp://{host}:{server.url.port}", codec="raw", gso=gso) as client:
                peer = await server.accept()
                await both_ways(client, peer, BODIES[:100])
                local = peer.get_extra_info("sockname")[0]
                assert local in (host.strip("[]"), f"::ffff:{host}")
                assert client.statistics().counters["packets_lost"] < 50


async def test_a_client_that_moves_and_a_server_with_many_addresses() -> None:
    scheme = Drivers()
    async with transport.serve("rudp://[::]:0?ipv6_only=false", codec="raw", mtu=1300) as server:
        for host in ("127.0.0.7", "[::1]"):
            url = f"rudp://{host}:{server.url.port}"
            async with transport.connect(url, codec="raw", registry=Registry.default().register(scheme)) as client:
                peer = await server.accept()
                for part in range(5):
                    move(scheme.drivers[-1])
                    await both_ways(client, peer, BODIES[part * 20 : part * 20 + 20])
                assert peer.get_extra_info("sockname")[0] in (host.strip("[]"), f"::ffff:{host}")


async def test_a_socket_that_was_bound_by_its_owner_stays_there() -> None:
    async with transport.serve(ANY, codec="raw") as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.9", 0))
            sock.connect(("127.0.0.1", server.url.port))
            before = sock.getsockname()
            async with transport.connect(server.url, codec="raw", sock=sock) as client:
                assert client.get_extra_info("sockname") == before
                peer = await server.accept()
                await both_ways(client, peer, BODIES[:5])
                assert client.get_extra_info("sockname") == before
