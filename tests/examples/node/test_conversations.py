"""The peers in Node, which know only docs/protocol.md, and the package's talk to each other over real sockets."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import transport
from tests.examples.node.relay import Relay, relay
from tests.examples.node.running import body, needs_node, talker
from transport import limits
from transport.errors import ConnectionClosed, ConnectionLost

pytestmark = [needs_node, pytest.mark.slow]

LOSS = 0.05
DOUBLED = 0.02
KEY = bytes(range(32))
RETRY_HEAD = 0xD0


def some_sizes(rng: random.Random, count: int) -> list[int]:
    """From nothing to 100 KB, most of them small."""
    sizes = [0, 100_000, *(int(100_000 * rng.random() ** 60) for _ in range(count - 2))]
    rng.shuffle(sizes)
    return sizes


class Served:
    """A server of the package, and how each connection of it ended."""

    def __init__(self) -> None:
        self.url = ""
        self.ends: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def echo(self, conn: transport.Connection) -> None:
        async for message in conn:
            await conn.send(message)
        self.ended(conn)

    def ended(self, conn: transport.Connection) -> None:
        """Notes how it ended."""
        assert conn.close_code is not None
        self.ends.put_nowait((conn.close_code, conn.close_reason))


@asynccontextmanager
async def served(handler: Any = None, **options: Any) -> AsyncIterator[Served]:
    """An echoing server, or one with this handler."""
    made = Served()

    async def handle(conn: transport.Connection) -> None:
        await (handler(made, conn) if handler else made.echo(conn))

    async with transport.serve("rudp://127.0.0.1:0", handle, codec="raw", **options) as server:
        made.url = str(server.url)
        yield made


def port_of(there: Served | Relay) -> int:
    return there.address[1] if isinstance(there, Relay) else int(there.url.rpartition(":")[2])


# Node as the client


@pytest.mark.asyncio
async def test_asks_and_is_answered(rng: random.Random) -> None:
    """1,000 messages there and back, over a relay that loses 5 % each way; it says goodbye, and both know."""
    sizes = some_sizes(rng, 1000)

    async def answer(server: Served, conn: transport.Connection) -> None:
        for _ in sizes:
            await conn.send(await conn.recv())
        between.loss = 0.0  # whether a goodbye is heard is left to chance else, by the rules
        await server.echo(conn)

    async with served(answer) as server, relay(server.url, rng, LOSS, DOUBLED) as between:
        async with talker("ask", port=port_of(between), sizes=sizes) as node:
            assert await node.line() == {"open": True}
            end = {"code": 0, "reason": "bye", "clean": True}
            assert await node.line() == {"answers": 1000, "wrong": 0, "closed": end}
            assert await server.ends.get() == (0, "bye")
            await node.ended()
        assert between.lost > 50


@pytest.mark.asyncio
async def test_is_asked_and_answers(rng: random.Random) -> None:
    """The other way round: the server sends, and says goodbye."""
    sizes = some_sizes(rng, 1000)
    wrong: list[int] = []

    async def ask(server: Served, conn: transport.Connection) -> None:
        async def listen() -> None:
            for index, size in enumerate(sizes):
                if await conn.recv() != body(index, size):
                    wrong.append(index)

        listening = asyncio.ensure_future(listen())
        for index, size in enumerate(sizes):
            await conn.send(body(index, size))
        await listening
        between.loss = 0.0
        await conn.close(7, "enough")
        server.ended(conn)

    async with served(ask) as server, relay(server.url, rng, LOSS, DOUBLED) as between:
        async with talker("echo", port=port_of(between)) as node:
            assert await node.line() == {"open": True}
            assert await node.line() == {"closed": {"code": 7, "reason": "enough", "clean": False}}
            assert await server.ends.get() == (7, "enough")
            await node.ended()
        assert wrong == []
        assert between.lost > 50


@pytest.mark.asyncio
async def test_proves_its_address(rng: random.Random) -> None:
    async with served(cookie="always") as server, relay(server.url, rng) as between:
        async with talker("ask", port=port_of(between), sizes=[1, 2, 3]) as node:
            assert await node.line() == {"open": True}
            assert (await node.line())["wrong"] == 0
            await node.ended()
        assert between.heads[RETRY_HEAD] == 1


@pytest.mark.asyncio
async def test_is_refused() -> None:
    async with served() as server, talker("ask", port=port_of(server), parameters={"codec": "msgpack"}) as node:
        assert await node.line() == {"refused": 1104}
        await node.ended()


@pytest.mark.asyncio
async def test_all_deliveries_and_copies(rng: random.Random) -> None:
    """Each lane brings what it was given, once, though messages ride again and datagrams come twice."""
    wanted = {(channel, delivery): 20 for channel in (0, 3) for delivery in range(4)}

    async def ask(server: Served, conn: transport.Connection) -> None:
        for index in range(20):
            for channel, delivery in wanted:
                how = transport.Delivery(delivery)
                await conn.send(body(index, 40), channel=channel, delivery=how, redundancy=2)
            await asyncio.sleep(0)  # so that they leave, and ride again in packets behind
        await conn.ping()
        await conn.close()
        server.ended(conn)

    async with served(ask) as server, relay(server.url, rng, doubled=0.3) as between:
        async with talker("count", port=port_of(between)) as node:
            assert await node.line() == {"open": True}
            counts = (await node.line())["counts"]
            assert (await node.line())["closed"]["code"] == 0
            await node.ended()
        assert {tuple(map(int, lane.split())): count for lane, count in counts.items()} == wanted
        assert sum(count for head, count in between.heads.items() if head & 0xD0 == 0x50) > 0


@pytest.mark.asyncio
async def test_hears_that_the_server_has_forgotten(rng: random.Random) -> None:
    """A server that was started again under the same key answers a packet by RESET."""
    async with served(key=KEY) as old, relay(old.url, rng) as between:
        async with talker("echo", port=port_of(between)) as node:
            assert await node.line() == {"open": True}
            async with served(key=KEY) as new:
                between.target = ("127.0.0.1", port_of(new))
                node.tell("ping")
                assert (await node.line())["closed"]["code"] == 1006
                await node.ended()


@pytest.mark.asyncio
async def test_takes_no_streams() -> None:
    refused: asyncio.Queue[int] = asyncio.Queue()

    async def open_one(server: Served, conn: transport.Connection) -> None:
        stream = await conn.open_stream()
        with pytest.raises(transport.StreamError) as broken:
            await stream.write(b"into the void")  # waits for credit, of which none is announced
        refused.put_nowait(broken.value.code)
        await server.echo(conn)

    async with served(open_one) as server, talker("ask", port=port_of(server), sizes=[5]) as node:
        assert await node.line() == {"open": True}
        assert await refused.get() == 1013
        assert (await node.line())["wrong"] == 0
        await node.ended()


@pytest.mark.asyncio
async def test_windows_that_are_smaller_than_a_message(rng: random.Random) -> None:
    """BLOCKED says what is needed, and one message always fits."""
    windows = {"connection_window": 100, "channel_window": 100}
    sizes = [0, 5000, 100, 20_000, 60_000, 1]
    async with served() as server, relay(server.url, rng, LOSS) as between:
        async with talker("ask", port=port_of(between), sizes=sizes, parameters=windows) as node:
            assert await node.line() == {"open": True}
            assert (await node.line())["wrong"] == 0
            await node.ended()


@pytest.mark.asyncio
async def test_stays_when_it_gets_a_spare_cid(monkeypatch: pytest.MonkeyPatch) -> None:
    """They talk until it has one, and a little longer, so that what it thinks of it would have come."""
    monkeypatch.setattr(limits, "RUDP_CID_NS", 1_000_000)

    async def ask(server: Served, conn: transport.Connection) -> None:
        having = b""
        while having != b"\x01":
            await conn.send(b"how many?")
            having = bytes(await conn.recv())
        await conn.ping()
        await conn.send(b"and now?")
        assert await conn.recv() == b"\x01"
        await conn.close(0, "enough")
        server.ended(conn)

    async with served(ask) as server, talker("cids", port=port_of(server)) as node:
        assert await node.line() == {"open": True}
        assert (await node.line())["closed"] == {"code": 0, "reason": "enough", "clean": True}
        assert await server.ends.get() == (0, "enough")
        await node.ended()


# Node as the server


@pytest.mark.asyncio
async def test_serves(rng: random.Random) -> None:
    sizes = some_sizes(rng, 300)
    async with talker("serve") as node:
        port = (await node.line())["port"]
        async with relay(f"rudp://127.0.0.1:{port}", rng, LOSS, DOUBLED) as between:
            url = f"rudp://127.0.0.1:{port_of(between)}"
            async with transport.connect(url, codec="raw") as conn:
                for index, size in enumerate(sizes):
                    await conn.send(body(index, size))
                for index, size in enumerate(sizes):
                    assert await conn.recv() == body(index, size)
                between.loss = 0.0
                await conn.close(3, "enough")
            assert await node.line() == {"closed": {"code": 3, "reason": "enough", "clean": False}}


@pytest.mark.asyncio
async def test_serves_until_it_closes() -> None:
    async with talker("serve") as node:
        port = (await node.line())["port"]
        async with transport.connect(f"rudp://127.0.0.1:{port}", codec="raw") as conn:
            await conn.send(b"hello")
            assert await conn.recv() == b"hello"
            node.tell("close")
            with pytest.raises(ConnectionClosed) as closed:
                await conn.recv()
            assert (closed.value.code, closed.value.reason) == (1001, "the server closes")
        assert (await node.line())["closed"] == {"code": 1001, "reason": "the server closes", "clean": True}
        await node.ended()


@pytest.mark.asyncio
async def test_refuses_another_codec() -> None:
    async with talker("serve") as node:
        port = (await node.line())["port"]
        with pytest.raises(transport.TransportError) as refused:
            await transport.connect(f"rudp://127.0.0.1:{port}", codec="json")
        assert "1104" in str(refused.value)


@pytest.mark.asyncio
async def test_tells_who_it_has_forgotten(rng: random.Random) -> None:
    """A client whose packets reach another server than before is told, and loses its connection."""
    async with talker("serve", key=KEY.hex()) as old, talker("serve", key=KEY.hex()) as new:
        port = (await old.line())["port"]
        async with relay(f"rudp://127.0.0.1:{port}", rng) as between:
            async with transport.connect(f"rudp://127.0.0.1:{port_of(between)}", codec="raw") as conn:
                await conn.send(b"hello")
                assert await conn.recv() == b"hello"
                between.target = ("127.0.0.1", (await new.line())["port"])
                await conn.send(b"still there?")
                with pytest.raises(ConnectionLost):
                    await conn.recv()
