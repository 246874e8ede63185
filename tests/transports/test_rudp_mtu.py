"""The MTU search of `rudp://` on real sockets: over loopback, and between two namespaces whose link is narrower."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

import transport
from tests.drive.portable import PORTABLE_LOOPS
from tests.transports.namespaces import NoNamespaces, Two
from transport import limits
from transport.net import datagram as net

BASE, MOST, KIB = limits.RUDP_DATAGRAM_BYTES_MIN, limits.RUDP_DATAGRAM_BYTES_MAX, limits.KIB
MESSAGE = bytes(range(256)) * 256  # 64 KiB


async def until_found(sender: Any, receiver: Any, least: int) -> int:
    """Sends messages of 64 KiB until packets are so large, and some more; what they are filled to then."""
    async with asyncio.timeout(10):
        while sender.statistics().counters["mtu"] < least:
            for _ in range(8):
                await sender.send(MESSAGE)
            for _ in range(8):
                assert await receiver.recv() == MESSAGE
    mtu: int = sender.statistics().counters["mtu"]
    return mtu


@pytest.mark.linux
@pytest.mark.asyncio
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_on_loopback_packets_grow_above_16000_bytes(host: str) -> None:
    try:
        server = await transport.serve(f"rudp://{host}:0", codec="raw")
    except OSError:
        pytest.skip(f"no {host} here")
    async with server, transport.connect(server.url, codec="raw") as client:
        peer = await server.accept()
        for sender, receiver in ((client, peer), (peer, client)):
            assert sender.statistics().counters["mtu"] == BASE
            assert await until_found(sender, receiver, 16_000) >= 16_000
            counts = sender.statistics().counters
            before = counts["packets_sent"]
            for _ in range(10):
                await sender.send(MESSAGE)
                assert await receiver.recv() == MESSAGE
            assert sender.statistics().counters["packets_sent"] - before <= 10 * 6, "64 KiB in 2 to 5 packets"


@pytest.mark.linux
@pytest.mark.asyncio
async def test_a_small_receive_buffer_bounds_the_datagrams() -> None:
    """A peer whose kernel buffer holds little takes no datagrams that would fill it."""
    async with transport.serve("rudp://127.0.0.1:0", codec="raw", rcvbuf=64 * KIB) as server:
        async with transport.connect(server.url, codec="raw") as client:
            peer = await server.accept()
            assert await until_found(client, peer, 4096) == 4096
            for _ in range(20):
                await client.send(MESSAGE)
                await peer.recv()
            assert client.statistics().counters["mtu"] == 4096


@pytest.mark.asyncio
async def test_a_given_size_is_kept() -> None:
    async with transport.serve("rudp://127.0.0.1:0?mtu=1400", codec="raw") as server:
        async with transport.connect(f"{server.url}?mtu=1400", codec="raw") as client:
            peer = await server.accept()
            for _ in range(10):
                await client.send(MESSAGE)
                assert await peer.recv() == MESSAGE
            counts = client.statistics().counters
            assert (counts["mtu"], counts["mtu_probes_sent"]) == (1400, 0)
            assert counts["ecn"] == 0, "nothing on the loopback would change a mark"


@pytest.mark.asyncio
async def test_where_fragments_cannot_be_forbidden_nothing_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transport.net.datagram_options.forbid_fragments", lambda sock: False)
    async with transport.serve("rudp://127.0.0.1:0", codec="raw") as server:
        async with transport.connect(server.url, codec="raw") as client:
            peer = await server.accept()
            for _ in range(10):
                await client.send(MESSAGE)
                assert await peer.recv() == MESSAGE
            counts = client.statistics().counters
            assert (counts["mtu"], counts["mtu_probes_sent"]) == (BASE, 0)


@pytest.mark.linux
@pytest.mark.asyncio
async def test_portable_sockets_search_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(net, "NativeDatagramSocket", None)
    async with transport.serve("rudp://127.0.0.1:0", codec="raw") as server:
        async with transport.connect(server.url, codec="raw") as client:
            assert await until_found(client, await server.accept(), 16_000) >= 16_000


@pytest.mark.linux
@pytest.mark.parametrize("name", PORTABLE_LOOPS)
def test_transports_of_a_loop_search_too(name: str) -> None:
    async def main() -> int:
        async with transport.serve("rudp://127.0.0.1:0", codec="raw") as server:
            async with transport.connect(server.url, codec="raw") as client:
                return await until_found(client, await server.accept(), 8000)

    with asyncio.Runner(loop_factory=PORTABLE_LOOPS[name]) as runner:
        assert runner.run(main()) >= 8000


# Between two namespaces


@pytest.fixture
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """Two namespaces and a connection between them."""
    mtu, options = request.param
    with contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(Two(mtu, **options))
        except NoNamespaces as error:
            pytest.skip(f"no namespaces here: {error}")
        yield made


def cross(two: Two, sender: str, size: int, count: int) -> dict[str, int]:
    """Has messages go from one side to the other; the sender's counters."""
    receiver = "server" if sender == "client" else "client"
    two.start(receiver, "take", size=size, count=count)
    counts: dict[str, int] = two.tell(sender, "send", size=size, count=count)
    assert two.finish(receiver) is True
    return counts


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("two", [(1500, {}), (1400, {}), (9000, {}), (1500, {"gso": False})], indirect=True)
def test_the_mtu_of_a_device_is_found(two: Two, request: pytest.FixtureRequest) -> None:
    """What the system refuses costs no round trip, and nothing is fragmented."""
    mtu = request.node.callspec.params["two"][0]
    two.tell("server", "accept")
    for sender in ("client", "server"):
        counts = cross(two, sender, 64 * KIB, 40)
        assert counts["mtu"] == {1500: 1472, 1400: 1280, 9000: 8952}[mtu]
        assert counts["black_holes"] == 0
    for side in ("client", "server"):
        assert cross(two, side, 1000, 10)["packets_corrupt"] == 0


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("two", [(1500, {}), (1500, {"ecn": False}), (1500, {"congestion": "none"})], indirect=True)
def test_marks_cross_where_there_is_something_on_the_way(two: Two, request: pytest.FixtureRequest) -> None:
    options = request.node.callspec.params["two"][1]
    two.tell("server", "accept")
    for sender in ("client", "server"):
        counts = cross(two, sender, 64 * KIB, 20)
        assert counts["ecn"] == (not options)
        assert counts["ecn_congested"] == counts["ecn_congested_received"] == 0


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("narrow", [("server", "client"), ("server",)], ids=["both", "silently"])
@pytest.mark.parametrize("two", [(1500, {"gso": False})], indirect=True)
def test_a_device_that_shrinks_in_the_middle_of_messages(two: Two, narrow: tuple[str, ...]) -> None:
    """Both ends: the client's own system refuses its packets. The far end alone: they vanish without a word."""
    two.tell("server", "accept")
    assert cross(two, "client", 64 * KIB, 40)["mtu"] == 1472
    two.start("server", "take", size=limits.MIB, count=60)
    two.start("client", "send", size=limits.MIB, count=60)
    for side in narrow:
        two.mtu(side, 1300)
    counts = two.finish("client")
    assert two.finish("server") is True
    if counts["black_holes"] == 0:  # all had crossed before
        counts = cross(two, "client", limits.MIB, 2)
    assert counts["mtu"] == BASE
    assert counts["black_holes"] == 1
