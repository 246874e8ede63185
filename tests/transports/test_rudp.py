"""`rudp://` on real sockets: what the contract suite can't ask because it is this scheme's own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from typing import Any

import pytest

import transport
from tests.rudp.lossy import LossyTransport, losing, registry
from transport import limits
from transport.delivery import Delivery
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectTimeout,
    LocalProtocolError,
    MessageTooLarge,
    UnsupportedOperation,
    WouldBlock,
)

pytestmark = pytest.mark.asyncio
ANY = "rudp://127.0.0.1:0"


async def echo(conn: Any) -> None:
    async for message in conn:
        await conn.send(message)


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def pair(server_options: Any = None, **options: Any) -> Any:
    """(client, peer, server) of a new connection."""
    async with transport.serve(ANY, **{**options, **(server_options or {})}) as server:
        async with transport.connect(server.url, **options) as client:
            yield client, await server.accept(), server


def fill(conn: Any, size: int, **options: Any) -> None:
    """Sends until no more is taken."""
    with contextlib.suppress(WouldBlock):
        for _ in range(10_000):
            conn.send_nowait(bytes(size), **options)


# Sending


async def test_redundancy_is_asked_for_by_a_message() -> None:
    async with pair(codec="raw", redundancy=False) as (client, peer, _):
        for _ in range(10):
            await client.send(b"burst", redundancy=2)
            await asyncio.sleep(0)  # a packet of its own
        assert [await peer.recv() for _ in range(10)] == [b"burst"] * 10
        assert client.statistics().counters["copies_sent"] > 5
        plain = client.statistics().counters["copies_sent"]
        for _ in range(10):
            await client.send(b"burst", redundancy=0)
            await asyncio.sleep(0)
        assert [await peer.recv() for _ in range(10)] == [b"burst"] * 10
        assert client.statistics().counters["copies_sent"] <= plain + 2  # of those before
        for wrong in (-1, limits.REDUNDANCY_MAX + 1, "2", 1.5):
            with pytest.raises(LocalProtocolError, match="redundancy"):
                await client.send(b"x", redundancy=wrong)  # type: ignore[arg-type]


async def test_redundancy_is_a_wish_elsewhere() -> None:
    async with transport.serve("tcp://127.0.0.1:0", echo) as server, transport.connect(server.url) as client:
        await client.send("x", redundancy=3)
        assert await client.recv() == "x"


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_too_large_is_told_at_the_call(delivery: Delivery) -> None:
    async with pair(codec="raw", max_message=100_000) as (client, peer, _):
        most = 100_000 if delivery <= Delivery.RELIABLE_UNORDERED else limits.RUDP_UNRELIABLE_BYTES_MAX
        with pytest.raises(MessageTooLarge, match=str(most)):
            await client.send(bytes(most + 1), delivery=delivery)
        await client.send(bytes(most), delivery=delivery)
        assert len(await peer.recv()) == most


async def test_the_smaller_of_both_limits_counts() -> None:
    async with pair({"max_message": 1000}, codec="raw") as (client, _, _server):
        with pytest.raises(MessageTooLarge, match="1000"):
            client.send_nowait(bytes(1001))


async def test_a_message_larger_than_the_windows_arrives() -> None:
    """Even while its reader takes nothing at first."""
    async with pair(codec="raw", channel_window=65_536, connection_window=65_536) as (client, peer, _):
        await client.send(bytes(40_000))
        await until(lambda: client.statistics().queued_bytes == 0)
        sending = asyncio.ensure_future(client.send(bytes(60_000)))
        await asyncio.sleep(0.02)
        assert len(await peer.recv()) == 40_000
        assert len(await peer.recv()) == 60_000
        await sending
        await client.send(bytes(limits.MIB))
        assert len(await peer.recv()) == limits.MIB
        assert peer.statistics().counters["window"] <= limits.MIB + limits.MESSAGE_COST_BYTES


async def test_flush_means_acknowledged() -> None:
    async with pair(codec="raw") as (client, peer, _):
        for channel in range(8):
            for _ in range(20):
                await client.send(bytes(5000), channel=channel)
        await client.flush()
        assert peer.statistics().messages_received == 160
        assert client.statistics().queued_bytes == 0


async def test_flush_returns_under_traffic_on_other_channels(rng: Any) -> None:
    lossy = losing(0.05, rng.getrandbits(32))
    async with pair(codec="raw", registry=registry(lossy)) as (client, peer, _):

        async def traffic(channel: int) -> None:
            while True:
                await client.send(bytes(500), channel=channel, priority=channel % 3)

        async def read() -> None:
            async for message in peer:
                if len(message) == 100:
                    got.append(message)

        got: list[bytes] = []
        tasks = [asyncio.ensure_future(one) for one in (traffic(1), traffic(2), traffic(3), read())]
        try:
            await asyncio.sleep(0.05)
            for round_ in range(1, 11):
                for _ in range(10):
                    await client.send(bytes(100), channel=0)
                async with asyncio.timeout(3):
                    await client.flush()
                assert peer.statistics().counters["channel_0_received"] == 10 * round_
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        client.abort()


async def test_flush_that_waits_is_told_of_the_end() -> None:
    async with pair(codec="raw") as (client, peer, _):
        for _ in range(200):  # longer than the peer's window may grow
            fill(client, 30_000)
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(client.flush())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        peer.abort()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_cancelled_flush_leaves_nothing_behind() -> None:
    async with pair(codec="raw") as (client, peer, _):
        await client.send(bytes(300_000))
        waiting = asyncio.ensure_future(client.flush())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert len(await peer.recv()) == 300_000
        await client.flush()


async def test_an_unread_channel_stalls_no_other() -> None:
    async with pair(codec="raw") as (client, peer, _):
        stuck = peer.channel(7)
        fill(client, 10_000, channel=7)
        sent = client.statistics().messages_sent
        for index in range(200):
            await client.send(b"%d" % index, channel=1)
            assert await peer.recv() == b"%d" % index
        for _ in range(sent):
            assert len(await stuck.recv()) == 10_000


async def test_pause_and_resume_writing() -> None:
    said: list[str] = []

    class Sender(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            said.append("made")

        def pause_writing(self) -> None:
            said.append("pause")

        def resume_writing(self) -> None:
            said.append("resume")

    async with transport.serve(ANY, codec="raw") as server:
        async with transport.connect(server.url, protocol=Sender, codec="raw", high_water=50_000) as client:
            peer = await server.accept()
            fill(client, 5000)
            assert said == ["made", "pause"]
            for _ in range(client.statistics().messages_sent):
                await peer.recv()
            await until(lambda: said == ["made", "pause", "resume"])


async def test_streams_with_progress() -> None:
    async with pair(codec="raw") as (client, peer, _):
        body = bytes(range(256)) * 8192

        async def send() -> None:
            stream = await client.open_stream(3, total=len(body))
            await stream.write(body)
            await stream.finish()

        sending = asyncio.ensure_future(send())
        stream = await peer.accept_stream()
        assert (stream.channel, stream.total) == (3, len(body))
        got = b""
        async for piece in stream:
            got += piece
            if len(got) == len(piece):
                await client.send(b"beside it")
                assert await peer.recv() == b"beside it"
        assert got == body
        await sending


# Life


async def test_ping_measures_a_round_trip() -> None:
    async with pair() as (client, peer, _):
        for conn in (client, peer):
            assert 0 < await conn.ping() < 1
            several = await asyncio.gather(*(conn.ping() for _ in range(20)))
            assert max(several) < 1


@pytest.mark.parametrize("code", [0, 1, 999, CloseCode.GOING_AWAY, CloseCode.POLICY])
async def test_codes_and_reasons_both_ways(code: int) -> None:
    for by_client in (True, False):
        async with pair() as (client, peer, _):
            ender, other = (client, peer) if by_client else (peer, client)
            await ender.close(code, "förbi")
            await other.wait_closed()
            assert (other.close_code, other.close_reason) == (code, "förbi")
            assert (ender.close_code, ender.close_reason) == (code, "förbi")
            with pytest.raises(ConnectionClosed) as caught:
                await other.recv()
            assert (caught.value.code, caught.value.by_peer) == (code, True)
            assert isinstance(caught.value, ConnectionLost) == (code not in (0, CloseCode.GOING_AWAY))


async def test_a_long_reason_is_cut_between_characters() -> None:
    async with pair() as (client, peer, _):
        await client.close(5, "ä" * 200)
        await peer.wait_closed()
        assert peer.close_reason == "ä" * 128


async def test_both_ends_close_at_once() -> None:
    for _ in range(10):
        async with pair() as (client, peer, _server):
            for conn in (client, peer):
                await conn.send("last")
            began = time.monotonic()
            await asyncio.gather(client.close(), peer.close())
            assert time.monotonic() - began < 1
            assert client.exception.by_peer is False
            assert not isinstance(client.exception, ConnectionLost)
            assert not isinstance(peer.exception, ConnectionLost)


async def test_close_sends_what_is_queued_first() -> None:
    async with pair(codec="raw") as (client, peer, _):
        for _ in range(100):
            await client.send(bytes(5000))
        closing = asyncio.ensure_future(client.close())
        got = [message async for message in peer]
        await closing
        assert len(got) == 100


@pytest.mark.parametrize("by_client", [True, False])
async def test_an_abort_is_noticed_at_once(by_client: bool) -> None:
    async with pair() as (client, peer, _):
        ender, other = (client, peer) if by_client else (peer, client)
        waiting = asyncio.ensure_future(other.recv())
        await asyncio.sleep(0.01)
        ender.abort(77, "enough")
        with pytest.raises(ConnectionLost, match="enough"):
            await asyncio.wait_for(waiting, 0.5)
        assert other.close_code == 77


async def test_a_handler_that_fails_tells_its_peer(caplog: Any) -> None:
    async def handler(conn: Any) -> None:
        raise RuntimeError("on purpose")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with transport.serve(ANY, handler) as server, transport.connect(server.url) as client:
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(client.recv(), 2)
        assert client.close_code == CloseCode.INTERNAL_ERROR


async def test_a_callback_that_fails_tells_its_peer() -> None:
    class Fails(transport.Protocol):
        def message_received(self, message: Any, channel: int) -> None:
            raise RuntimeError("on purpose")

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with transport.serve(ANY, protocol=Fails) as server, transport.connect(server.url) as client:
        await client.send("x")
        with pytest.raises(ConnectionLost):
            await asyncio.wait_for(client.recv(), 2)
        assert client.close_code == CloseCode.INTERNAL_ERROR


async def test_a_closed_port_fails_within_a_second() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(ConnectFailed, match="refused"):
        await transport.connect(f"rudp://127.0.0.1:{port}")
    assert time.monotonic() - began < 1


async def test_a_silent_port_times_out() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"rudp://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(ConnectTimeout):
            await transport.connect(url, connect_timeout=0.2)
        with pytest.raises(ConnectTimeout):
            await transport.connect(url, handshake_timeout=0.2)


async def test_codecs_that_differ_are_named() -> None:
    async with transport.serve(ANY, echo, codec="json") as server:
        with pytest.raises(ConnectFailed, match="codec is 'json', not 'msgpack'"):
            await transport.connect(server.url)


async def test_a_full_server_says_so_and_has_room_again() -> None:
    async with transport.serve(ANY, echo, max_connections=1) as server:
        async with transport.connect(server.url) as first:
            await first.send(1)
            assert await first.recv() == 1
            with pytest.raises(ConnectFailed, match="too many connections"):
                await transport.connect(server.url)
        async with transport.connect(server.url) as again:
            await again.send(2)
            assert await again.recv() == 2
        assert server.statistics().counters["refused_hellos"] == 1


async def test_a_cookie_is_asked_for() -> None:
    async with transport.serve(ANY, echo, cookie="always") as server, transport.connect(server.url) as client:
        await client.send(1)
        assert await client.recv() == 1
        assert server.statistics().counters["retries_sent"] >= 1


async def test_a_machine_has_no_place() -> None:
    with pytest.raises(UnsupportedOperation, match="machine"):
        await transport.serve(ANY, machine=object)
    with pytest.raises(UnsupportedOperation, match="machine"):
        await transport.connect("rudp://127.0.0.1:9", machine=object)


async def test_silence_ends_a_connection() -> None:
    """The peer hears nothing because everything is lost from some moment on."""
    cut = False
    lossy = LossyTransport(lambda _: cut)
    async with pair(registry=registry(lossy), idle_timeout=0.3, keepalive=0.1) as (client, peer, _):
        await asyncio.sleep(0.6)  # kept alive
        assert not client.is_closed
        assert not peer.is_closed
        cut = True
        for conn in (client, peer):
            with pytest.raises(ConnectionLost):
                await asyncio.wait_for(conn.recv(), 3)
            assert conn.close_code == CloseCode.IDLE_TIMEOUT


async def test_without_keepalive_an_idle_connection_ends_on_both_sides() -> None:
    async with pair(idle_timeout=0.2, keepalive=None) as (client, peer, _):
        for conn in (client, peer):
            with pytest.raises(ConnectionLost):
                await asyncio.wait_for(conn.recv(), 3)
            assert conn.close_code == CloseCode.IDLE_TIMEOUT


async def test_idle_for_ever() -> None:
    async with pair(idle_timeout=None, keepalive=None) as (client, peer, _):
        await asyncio.sleep(0.1)
        await client.send("still here")
        assert await peer.recv() == "still here"


async def test_a_restarted_server_says_that_it_knows_nothing() -> None:
    """Within a round trip, by RESET: the same key, or the same machine and port."""
    for options in ({"key": b"sixteen bytes and more"}, {}):
        first = await transport.serve(ANY, **options)
        client = await transport.connect(first.url)
        peer = await first.accept()
        port = first.url.port
        for listener in (first,):
            _vanish(listener)
        second = await transport.serve(f"rudp://127.0.0.1:{port}", **options)
        began = time.monotonic()
        await client.send("anybody there?")
        with pytest.raises(ConnectionLost, match="lost this connection"):
            await asyncio.wait_for(client.recv(), 2)
        assert time.monotonic() - began < 0.25
        assert client.close_code == CloseCode.LOST
        async with transport.connect(second.url):
            pass
        await second.close()
        await first.close()
        await peer.wait_closed()


def _vanish(server: Any) -> None:
    """Closes a server's sockets as a crash would: nobody is told."""
    for driver in server._listener.drivers:
        driver._release()


# Looking


async def test_statistics_are_complete_and_never_raise() -> None:
    async with transport.serve(ANY, codec="raw") as server:
        connecting = transport.connect(server.url, codec="raw")
        client = await connecting
        peer = await server.accept()
        for channel in (0, 5):
            await client.send(bytes(100), channel=channel)
            await peer.recv()
        seen = client.statistics().counters
        for name in (
            "packets_sent", "packets_received", "bytes_sent", "bytes_received", "rtt_ns", "rtt_min_ns", "packets_lost",
            "acks_sent", "congestion_window", "in_flight", "expired", "skipped", "packets_duplicate", "packets_corrupt",
            "copies_sent", "mtu", "credit", "window", "channel_0_sent", "channel_5_sent", "probes_sent",
        ):  # fmt: skip
            assert seen[name] >= 0, name
        assert seen["channel_5_sent"] == 1
        assert peer.statistics().counters["channel_5_received"] == 1
        assert all(type(value) is int for value in seen.values())
        await client.close()
        for conn in (client, peer):
            assert conn.statistics().messages_sent >= 0
        await peer.wait_closed()
        assert peer.statistics().counters["queued_bytes"] == 0
        counters = server.statistics().counters
        assert counters["accepts_sent"] == 1
        assert counters["peers"] == 0


async def test_addresses_and_sockets() -> None:
    async with pair() as (client, peer, server):
        assert client.remote_address == ("127.0.0.1", server.url.port)
        assert peer.remote_address == client.local_address
        assert isinstance(client.get_extra_info("socket").getsockname(), tuple)
        assert client.get_extra_info("rcvbuf") > 0
        assert client.get_extra_info("no such thing", 5) == 5
        assert client.traits.channels == 256
        assert "rudp" in repr(client)


async def test_ipv6() -> None:
    try:
        server = await transport.serve("rudp://[::1]:0", echo)
    except OSError:
        pytest.skip("no IPv6 here")
    async with server, transport.connect(server.url) as client:
        await client.send("x")
        assert await client.recv() == "x"


# Many


@pytest.mark.slow
@pytest.mark.timeout(60)  # 8 s alone and interpreted
@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_a_thousand_connections_of_one_socket(rng: Any) -> None:
    lossy = losing(0.01, rng.getrandbits(32))
    known = registry(lossy)
    count = 1000
    options = {"registry": known, "handshake_timeout": 60, "idle_timeout": 60}  # for a slow machine
    async with transport.serve(ANY, echo, rcvbuf=8 * limits.MIB, **options) as server:
        began = time.monotonic()
        opening = asyncio.Semaphore(100)  # a slow machine would give up half-open handshakes of more
        all_open = asyncio.Barrier(count)

        async def one(index: int) -> None:
            async with opening:
                client = await transport.connect(server.url, connect_timeout=60, **options)
            async with client:
                for turn in range(10):
                    await client.send([index, turn])
                    assert await client.recv() == [index, turn]
                    if turn == 0 and await all_open.wait() == 0:
                        assert len(server.connections) == count

        async with asyncio.TaskGroup() as group:
            for index in range(count):
                group.create_task(one(index))
        took = time.monotonic() - began
        lost = sum([endpoint.lost for endpoint in lossy.endpoints])
        print(f"{count} connections, 10 messages each way: {took:.1f} s, {lost} datagrams lost")
        assert lost > 0
        await until(lambda: not server.connections)
