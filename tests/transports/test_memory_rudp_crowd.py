"""Crowds of coroutines over random links with reliable UDP: whatever the link does, the promises hold, and all ends."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import Any

import pytest

import transport
from transport import CloseCode, Delivery, limits, testing
from transport.drive import memory as drive

ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = Delivery
PATIENCE_S = 600.0  # of virtual time: at 20 % loss CUBIC leaves some 10 KB a second, and goodbyes come last
ENDS = ("close", "code", "abort", "peer")


def link(rng: random.Random) -> str:
    """A link of any quality on which a connection can live."""
    parts = [f"loss={rng.choice((0, 0.01, 0.05, 0.2))}", f"delay={rng.choice((0, 1, 10, 80))}ms"]
    parts.append(f"jitter={rng.choice((0, 5, 30))}ms")
    parts += rng.sample(
        ["jitter_reorders=true", "duplicate=0.1", "reorder=0.1&reorder_delay=40ms", "corrupt=0.02",
         "rate=4mbit&queue=64k", "burst_good=500ms&burst_bad=50ms", f"blackouts={rng.randrange(100, 3000)}ms-4s",
         "checksum=crc32c", "congestion=none", "redundancy=off", "cookie=always"],
        3,
    )  # fmt: skip
    return "&".join(parts)


def body(rng: random.Random, largest: int) -> bytes:
    """A message whose damage would be seen."""
    size = min(largest, int(rng.expovariate(1 / rng.choice((30, 3000, 40_000)))))
    data = rng.randbytes(size)
    return zlib.crc32(data).to_bytes(4, "big") + data


def is_whole(message: bytes) -> bool:
    return zlib.crc32(message[4:]).to_bytes(4, "big") == message[:4]


class Client:
    """Says all kinds of things on several channels; a handler echoes each on its own channel and delivery."""

    def __init__(self, url: Any, seed: int, is_dark: bool) -> None:
        self.url = url
        self.is_dark = is_dark  # at times
        self.rng = random.Random(seed)
        self.sent: dict[int, list[bytes]] = {}
        self.got: dict[int, list[bytes]] = {}

    def deliveries(self) -> dict[int, Delivery]:
        return {channel: self.rng.choice(list(Delivery)) for channel in range(self.rng.randrange(1, 6))}

    async def run(self) -> str:
        rng = self.rng
        await asyncio.sleep(rng.random())
        async with asyncio.timeout(60):
            conn = await transport.connect(self.url, codec="raw", connect_timeout=60, handshake_timeout=60)
        end = rng.choice(ENDS)
        kinds = self.deliveries()
        reading = asyncio.create_task(self.read(conn))
        for _ in range(rng.randrange(60)):
            channel, delivery = rng.choice(list(kinds.items()))
            message = body(rng, 60_000 if delivery >= SEQUENCED else 200_000)
            self.sent.setdefault(channel, []).append(message)
            await conn.send(message, channel=channel, delivery=delivery, priority=rng.choice((None, 0, 5, -5)),
                            redundancy=rng.choice((None, None, 0, 3)))  # fmt: skip
            await asyncio.sleep(rng.choice((0, 0, 0.01)))
        if end == "abort":
            conn.abort()
        elif end == "peer":
            await conn.send(b"goodbye", delivery=ORDERED, channel=9)
            await conn.wait_closed()
        else:
            while any(kinds[channel] < SEQUENCED and len(self.got.get(channel, [])) < len(sent)
                      for channel, sent in self.sent.items()):  # fmt: skip
                await asyncio.sleep(0.01)
            await conn.close(9 if end == "code" else 0, grace=PATIENCE_S)
        await reading
        assert conn.is_closed
        assert end == "abort" or conn.close_code in self.codes(end)
        for channel, got in self.got.items():
            self.check(got, self.sent[channel], kinds[channel], end)
        return end

    def codes(self, end: str) -> tuple[int, ...]:
        """How a connection may end. A link that is dark for long may outlast all tries of a goodbye: lost, then."""
        if end == "peer":
            return (77, CloseCode.LOST) if self.is_dark else (77,)
        return ({"close": 0, "code": 9}[end],)

    async def read(self, conn: transport.Connection) -> None:
        try:
            while True:
                received = await conn.receive()
                assert is_whole(received.message)
                self.got.setdefault(received.channel, []).append(received.message)
        except transport.ConnectionClosed:
            pass

    def check(self, got: list[bytes], sent: list[bytes], delivery: Delivery, end: str) -> None:
        if delivery is ORDERED:
            assert got == sent[: len(got)]
        left = list(sent)
        for message in got:  # each at most as often as it was sent
            left.remove(message)
        if delivery < SEQUENCED and end in ("close", "code"):
            assert not left


async def handler(conn: transport.Connection) -> None:
    """Echoes, as reliable as it came."""
    async for message, channel, delivery in received(conn):
        if message == b"goodbye":
            await conn.close(77, grace=PATIENCE_S)
            return
        await conn.send(message, channel=channel, delivery=delivery)


async def received(conn: transport.Connection) -> Any:
    while True:
        try:
            one = await conn.receive()
        except transport.ConnectionLost:
            return
        except transport.ConnectionClosed:
            return
        yield one.message, one.channel, one.delivery


@pytest.mark.parametrize("part", range(3))
def test_a_crowd_on_random_links(part: int, rng: random.Random) -> None:
    async def main() -> None:
        for _ in range(3):
            query = link(rng)
            print(query)
            async with transport.serve(f"memory://lab?rudp=true&{query}", handler, codec="raw") as server:
                clients = [Client(server.url, rng.getrandbits(32), "blackouts" in query) for _ in range(8)]
                ends = await asyncio.gather(*(client.run() for client in clients))
                assert len(ends) == 8
                async with asyncio.timeout(limits.IDLE_NS / limits.SECOND_NS * 3):
                    while server.connections:
                        await asyncio.sleep(0.1)
        assert drive.hub_in_use(asyncio.get_running_loop()) is None

    testing.run(main(), seed=rng.getrandbits(32))
