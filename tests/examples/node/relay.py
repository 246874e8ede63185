"""A relay on real sockets between clients and one server, which loses and doubles datagrams by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

Address = tuple[str, int]


class Relay:
    """Passes on. A test may change `target`, `loss`, `doubled` and `is_cut` meanwhile.

    Attributes:
        target: the server's address.
        loss, doubled: shares of the datagrams, both ways.
        is_cut: nothing passes.
        lost: datagrams lost by chance.
        heads: how often each first byte came from the server.
    """

    def __init__(self, target: Address, rng: random.Random, loss: float, doubled: float) -> None:
        self.target = target
        self.rng = rng
        self.loss = loss
        self.doubled = doubled
        self.is_cut = False
        self.lost = 0
        self.heads: dict[int, int] = {}
        self.address: Address = ("", 0)
        self._front: Any = None
        self._backs: dict[Address, Any] = {}  # the socket towards the server, for each client
        self._opening: dict[Address, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        side = _Side(self._from_client)
        self._front, _ = await loop.create_datagram_endpoint(lambda: side, local_addr=("127.0.0.1", 0))
        self.address = self._front.get_extra_info("sockname")

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        for transport in [self._front, *self._backs.values()]:
            transport.close()
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _from_client(self, data: bytes, client: Address) -> None:
        if client in self._backs:
            self._pass(self._backs[client], data, self.target)
        elif client in self._opening:
            self._opening[client].append(data)
        else:
            self._opening[client] = [data]
            task = asyncio.ensure_future(self._meet(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _meet(self, client: Address) -> None:
        """A new client: the server shall see it at a port of its own."""
        side = _Side(lambda data, _: self._from_server(client, data))
        loop = asyncio.get_running_loop()
        self._backs[client], _ = await loop.create_datagram_endpoint(lambda: side, local_addr=("127.0.0.1", 0))
        for data in self._opening.pop(client):
            self._pass(self._backs[client], data, self.target)

    def _from_server(self, client: Address, data: bytes) -> None:
        self.heads[data[0]] = self.heads.get(data[0], 0) + 1
        self._pass(self._front, data, client)

    def _pass(self, transport: Any, data: bytes, to: Address) -> None:
        if self.is_cut:
            return
        if self.rng.random() < self.loss:
            self.lost += 1
            return
        transport.sendto(data, to)
        if self.rng.random() < self.doubled:
            transport.sendto(data, to)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, came: Any) -> None:
        self.datagram_received = came


@asynccontextmanager
async def relay(url: str, rng: random.Random, loss: float = 0.0, doubled: float = 0.0) -> AsyncIterator[Relay]:
    """A relay before the server of `url`."""
    host, _, port = url.rpartition("/")[2].rpartition(":")
    made = Relay((host, int(port)), rng, loss, doubled)
    await made.open()
    try:
        yield made
    finally:
        await made.close()
