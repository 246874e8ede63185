"""Datagrams between ends of one event loop: what a UDP socket is to the datagram driver, on simulated links.

Has the contract of `transport.net.datagram.DatagramSocket` for loops that can't watch descriptors. It must never hold
more than a kernel's receive buffer would, and never tell a sender what became of a datagram.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint
from transport.drive.base import Owner
from transport.drive.datagram import DatagramDriver
from transport.drive.memory import MemoryHub
from transport.machine import Path
from transport.net.datagram_base import DatagramSocket, Outgoing
from transport.sim.config import LinkConfig
from transport.sim.link import Link


class Route:
    """The way to one peer: the link, who is at its end, and the path under which the driver knows it."""

    def __init__(self, link: Link, peer: MemorySocket, path: Path) -> None:
        self.link = link
        self.peer = peer
        self.path = path


class MemorySocket(DatagramSocket):
    """One address.

    Attributes: those of `DatagramSocket`.
        routes: to the peers that it may reach, by address.
        overrun: datagrams dropped because the driver did not read.
        on_close: called once, when the address is given back.
    """

    def __init__(self, hub: MemoryHub, address: Any, path: Path | None) -> None:
        nothing: Any = None  # the system knows nothing of it
        DatagramSocket.__init__(self, nothing, path, address)
        self.selectable = False
        self.hub = hub
        self.overrun = 0
        self.routes: dict[Any, Route] = {}
        self.is_closed = False
        self.on_close: Callable[[], object] | None = None
        self._arrived: list[tuple[Path, int, list[bytes]]] = []
        self._arrived_bytes = 0
        self._readable: Callable[[], None] | None = None
        hub.acquire()

    def fileno(self) -> int:
        """No descriptor."""
        return -1

    def start(self, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        """Has `readable` called when something came. Sends never fall short."""
        self._readable = readable
        if self._arrived:
            self.hub.loop.call_soon(self.arrived)

    def arrive(self, data: bytes, ecn: int, source: Any) -> bool:
        """From the hub: a datagram is there; False when this address is closed."""
        if self.is_closed:
            return False
        size = len(data)
        if self._arrived_bytes + size > limits.MEMORY_INBOX_BYTES:
            self.overrun += 1
            return True
        self._arrived_bytes += size
        route = self.routes.get(source)
        path = Path(self.local, source) if route is None else route.path
        if self._arrived:
            last = self._arrived[-1]
            if last[0] is path and last[1] == ecn:
                last[2].append(data)
                return True
        self._arrived.append((path, ecn, [data]))
        return True

    def arrived(self) -> None:
        """From the hub: everything of this instant is there."""
        if self._arrived and self._readable is not None:
            self._readable()

    def receive(self, sink: Endpoint, now: int) -> int:
        """Gives everything that has come to `sink`."""
        arrived, self._arrived = self._arrived, []
        self.received_bytes, self._arrived_bytes = self._arrived_bytes, 0
        sink.stamp = 0
        count = 0
        for path, ecn, payloads in arrived:
            count += len(payloads)
            sink.receive_many(payloads, path, ecn, now)
        return count

    def send(self, batch: Outgoing) -> bool:
        """Puts a batch on its links; all of it is taken."""
        if self.is_closed:
            batch.first = batch.count
        now = self.hub.now()
        room = batch.room
        while batch.first < batch.count:
            item = batch.entries[batch.first]
            size, offset, segment = item.size, item.offset, item.segment_bytes
            if size < 0 or not 0 <= offset <= len(room) - size or segment <= 0 < size:
                raise ValueError("a batch entry lies outside its room, or has no segments")
            batch.first += 1
            path = item.path if self.path is None or item.path.remote is not None else self.path
            route = self.routes.get(path.remote)
            if route is None:
                self.unsent += 1
                continue
            whole = bytes(room[offset : offset + size])
            if segment >= size:
                route.link.send(whole, item.ecn, now, self.local, route.peer)
                continue
            for start in range(0, size, segment):
                route.link.send(whole[start : start + segment], item.ecn, now, self.local, route.peer)
        self.hub.arm()
        return True

    def close(self) -> None:
        """Gives the address back; what is in the air to it reaches nobody. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._readable = None
        self._arrived = []
        for route in self.routes.values():
            route.peer.routes.pop(self.local, None)
        self.routes = {}
        if self.on_close is not None:
            self.on_close()
            self.on_close = None
        self.hub.release()


class MemoryDatagramDriver(DatagramDriver):
    """A `DatagramDriver` whose socket has no descriptor to ask."""

    def resume_reading(self, owner: Owner) -> None:
        """Also takes in what has come meanwhile: nothing else would tell of it."""
        DatagramDriver.resume_reading(self, owner)
        sock: Any = self.sock
        self.loop.call_soon(sock.arrived)

    def info(self, owner: Owner, name: str) -> Any:
        """sockname, peername; link: counters of the simulated link towards the peer of a client."""
        sock: MemorySocket = self.sock  # type: ignore[assignment]
        if name == "sockname":
            return sock.local
        if name == "link":
            route = None if sock.path is None else sock.routes.get(sock.path.remote)
            return None if route is None else route.link.statistics()
        return DatagramDriver.info(self, owner, name)


def join(client: MemorySocket, server: MemorySocket, config: LinkConfig, seed: int) -> None:
    """Puts a link each way between a client and a server."""
    there = client.hub.link((client.local, server.local), config, seed)
    back = client.hub.link((server.local, client.local), config, seed)
    assert client.path is not None
    client.routes[server.local] = Route(there, server, client.path)
    server.routes[client.local] = Route(back, client, Path(server.local, client.local))
