"""`transport proxy` for datagrams: what the link does to them, who is whose client, and its bounds."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import transport
from tests.tools.running import Running, ran, running
from transport.sim.config import LinkConfig
from transport.tools.air import Air
from transport.tools.datagrams import Datagrams, dropped_by_kernel
from transport.url import parse

pytestmark = pytest.mark.asyncio
FAST = ("--every", "10ms")


class Target:
    """A bare UDP socket, and clients of the same kind."""

    def __init__(self) -> None:
        self._open: list[socket.socket] = []
        self.sock = self.bound()
        self.url = f"udp://127.0.0.1:{self.sock.getsockname()[1]}"

    def bound(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        self._open.append(sock)
        return sock

    def close(self) -> None:
        for sock in self._open:
            sock.close()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.close()


async def came(sock: socket.socket) -> tuple[bytes, Any]:
    """The next datagram; never, and the test's time limit ends it. Not `sock_recvfrom`, which uvloop lacks."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock.fileno(), ready.set)
    try:
        await ready.wait()
        return sock.recvfrom(65_536)
    finally:
        loop.remove_reader(sock.fileno())


def address(url: str) -> tuple[str, int]:
    return parse(url).endpoint()


async def test_each_client_has_an_address_of_its_own(target: Target) -> None:
    async with running("proxy", target.url) as (_, url):
        one, two = target.bound(), target.bound()
        one.sendto(b"one", address(url))
        first = await came(target.sock)
        two.sendto(b"two", address(url))
        second = await came(target.sock)
        assert (first[0], second[0]) == (b"one", b"two")
        assert first[1] != second[1]
        target.sock.sendto(b"to two", second[1])
        target.sock.sendto(b"to one", first[1])
        assert await came(two) == (b"to two", address(url))
        assert await came(one) == (b"to one", address(url))


@pytest.mark.parametrize("size", [0, 1, 65_507])
async def test_any_size_passes(target: Target, size: int) -> None:
    async with running("proxy", target.url) as (_, url):
        client = target.bound()
        client.sendto(bytes(size), address(url))
        data, back = await came(target.sock)
        assert data == bytes(size)
        target.sock.sendto(data, back)
        assert (await came(client))[0] == data


async def test_losses_come_from_the_seed(target: Target) -> None:
    """The same datagrams are lost in two runs, about as many as was asked for, and each is counted."""
    runs = []
    for _ in range(2):
        async with running("proxy", target.url, "--up-loss", "20%", "--seed", "5", *FAST) as (command, url):
            client = target.bound()
            for number in range(200):
                client.sendto(b"%d" % number, address(url))
            client.sendto(b"end", address(url))
            while (await command.event("interval"))["up"]["sent"] < 201:
                pass
            _, summary = await command.end()
            got = []
            while len(got) < summary["up"]["arrived"]:
                got.append((await came(target.sock))[0])
            assert summary["up"]["lost"] == 201 - len(got)
            runs.append(got)
    assert runs[0] == runs[1]
    assert 140 < len(runs[0]) < 180


async def test_both_directions_meet_the_link_and_each_its_own(target: Target) -> None:
    both = {"delay": "10ms", "loss": "1%", "rate": "1mbit"}
    arguments = [f"--{name}={value}" for name, value in both.items()]
    async with running("proxy", target.url, *arguments, "--up-delay", "20ms", "--down-loss", "0") as (command, _):
        said = command.seen[0]
        assert said["up"] == {**both, "delay": "20ms"}
        assert said["down"] == {**both, "loss": "0"}


async def test_reliable_udp_through_a_bad_network() -> None:
    """Everything at once, and every message arrives, in order."""
    bad = ("--loss", "5%", "--delay", "5ms", "--jitter", "2ms", "--jitter-reorders", "--reorder", "3%",
           "--duplicate", "3%", "--corrupt", "2%", "--rate", "50mbit")  # fmt: skip
    async with running("echo", "rudp://127.0.0.1:0") as (_, target):
        async with running("proxy", target, *bad, "--seed", "3") as (command, url):
            async with transport.connect(url, codec="raw") as conn:
                for number in range(100):
                    await conn.send(b"%d" % number * 100)
                for number in range(100):
                    assert await conn.recv() == b"%d" % number * 100
            _, summary = await command.end()
    assert url.startswith("rudp://127.0.0.1:")
    assert summary["up"]["lost"] + summary["down"]["lost"] > 0
    assert summary["up"]["dropped_kernel"] == 0


async def test_a_blackout_counts_from_the_first_datagram(target: Target) -> None:
    async with running("proxy", target.url, "--blackouts", "0s-60s", *FAST) as (command, url):
        target.bound().sendto(b"lost", address(url))
        while not (seen := await command.event("interval"))["up"]["dropped_down"]:
            pass
        assert seen["up"]["arrived"] == 0


async def test_a_silent_client_is_forgotten(target: Target) -> None:
    async with running("proxy", target.url, "--idle", "30ms", *FAST) as (command, url):
        client = target.bound()
        client.sendto(b"one", address(url))
        _, first = await came(target.sock)
        await command.event("interval", open=0)
        client.sendto(b"two", address(url))
        _, second = await came(target.sock)
        assert first != second


async def test_clients_are_bounded_and_the_longest_silent_makes_room(target: Target) -> None:
    listening = target.bound()
    air = Air((LinkConfig(), LinkConfig()), 1, lambda way, data, whose: proxy.deliver(way, data, whose))
    proxy = Datagrams(listening, (socket.AF_INET, target.sock.getsockname()), air, 60.0, clients_max=2)
    air.open()
    proxy.start()
    try:
        clients = [target.bound() for _ in range(3)]
        for number in (0, 1, 0, 2):
            clients[number].sendto(b"%d" % number, listening.getsockname())
            await came(target.sock)
        assert proxy.connections() == 2
        assert (proxy.counts["clients"], proxy.counts["evicted"]) == (3, 1)
        assert [client.address for client in proxy._clients.values()] == [
            clients[number].getsockname() for number in (0, 2)
        ]
    finally:
        proxy.close()
        air.close()


async def test_strangers_are_not_believed(target: Target) -> None:
    async with running("proxy", target.url, *FAST) as (command, url):
        client = target.bound()
        client.sendto(b"hello", address(url))
        _, theirs = await came(target.sock)
        target.bound().sendto(b"forged", ("127.0.0.1", theirs[1]))
        await command.event("interval", strangers=1)
        target.sock.sendto(b"true", theirs)
        assert (await came(client))[0] == b"true"


async def test_what_comes_too_late_for_its_client_is_counted(target: Target) -> None:
    arguments = ("--delay", "300ms", "--idle", "30ms")
    async with running("proxy", target.url, *arguments, *FAST) as (command, url):
        target.bound().sendto(b"hello", address(url))
        await command.event("interval", gone=1)


async def test_a_target_that_is_gone_stops_nothing(target: Target) -> None:
    async with running("proxy", target.url, *FAST) as (command, url):
        client = target.bound()
        client.sendto(b"one", address(url))
        await came(target.sock)
        port = target.sock.getsockname()[1]
        target.sock.close()
        for number in range(5):
            client.sendto(b"lost", address(url))
            while (await command.event("interval"))["up"]["arrived"] < number + 2:
                pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.setblocking(False)
            back.bind(("127.0.0.1", port))
            client.sendto(b"again", address(url))
            assert (await came(back))[0] == b"again"


async def test_what_the_kernel_dropped_is_known(target: Target) -> None:
    full = target.bound()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client = target.bound()
    for _ in range(200):
        client.sendto(bytes(1000), full.getsockname())
    assert 150 < dropped_by_kernel(full) < 200


async def test_no_descriptor_left_is_counted(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running("proxy", target.url, *FAST) as (command, url):
        client = target.bound()

        def none(*_: Any) -> Any:
            raise OSError(24, "Too many open files")

        with monkeypatch.context() as patched:
            patched.setattr(socket, "socket", none)
            client.sendto(b"one", address(url))
            await command.event("interval", failed=1)
        client.sendto(b"two", address(url))
        assert (await came(target.sock))[0] == b"two"


async def test_a_server_that_listens_everywhere_is_reached_here() -> None:
    async with running("echo", "udp://0.0.0.0:0") as (_, target), running("proxy", target) as (_, url):
        status, summary, _ = await ran("ping", url, "-c", "1")
    assert (status, summary["answered"]) == (0, 1)


async def test_over_ipv6() -> None:
    async with running("echo", "rudp://[::1]:0") as (_, target):
        async with running("proxy", target, "--listen", "[::1]:0") as (_, url):
            status, _, _ = await ran("ping", url, "-c", "1")
    assert status == 0
    assert url.startswith("rudp://[::1]:")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["udp://127.0.0.1:9", "--reset-after", "5s"], "--reset-after is for streams"),
        (["udp://127.0.0.1:9", "--silent-after", "5s"], "--silent-after is for streams"),
        (["udp://127.0.0.1:9", "--burst-good", "5s"], "go together"),
        (["udp://127.0.0.1:9", "--listen", "unix:///tmp/x"], "HOST:PORT"),
        (["udp://127.0.0.1:9", "--listen", "nonsense"], "--listen"),
        (["udp://127.0.0.1:9?ttl=3"], "give the target without them"),
        (["udp://127.0.0.1:0"], "needs its real one"),
        (["memory://lab"], "can't be proxied"),
    ],
)
async def test_mistakes(arguments: list[str], said: str) -> None:
    with pytest.raises(transport.TransportError, match=said):
        await Running("proxy", *arguments).task
