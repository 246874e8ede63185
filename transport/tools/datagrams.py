"""A proxy for datagrams: between it and the target each client has a socket of its own.

It must never open more sockets than its bound, and never believe a datagram that does not come from the target.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from transport import limits
from transport.tools.air import DOWN, UP, Air

MEMINFO, MEMINFO_BYTES, MEMINFO_DROPS = 55, 36, 8  # SO_MEMINFO of Linux: nine 32-bit numbers, the last is drops


class Client:
    """One address that datagrams came from, with the socket that speaks to the target for it."""

    def __init__(self, address: Any, sock: socket.socket, now: int) -> None:
        self.address = address
        self.sock = sock
        self.latest = now  # time of the latest datagram, either way; the loop's own is too coarse
        self.is_open = True


class Datagrams:
    """The proxy on one bound UDP socket, which it owns.

    Args:
        listening: bound, not blocking.
        target: (family, address) of the target.
        idle: seconds of silence after which a client is forgotten.

    Attributes:
        counts: what happened beside the link: clients, evicted, strangers, unsent, gone, unreachable_client.
    """

    def __init__(self, listening: socket.socket, target: tuple[int, Any], air: Air, idle: float,
                 clients_max: int = limits.PROXY_CLIENTS_MAX) -> None:  # fmt: skip
        self._loop = asyncio.get_running_loop()
        self._listening = listening
        self._family, self._target = target
        self._air = air
        self._idle = int(idle * limits.SECOND_NS)
        self._clients_max = clients_max
        self._clients: dict[Any, Client] = {}
        self._room = bytearray(limits.DATAGRAM_BYTES_MAX + 1)
        self._view = memoryview(self._room)
        self._sweeper: asyncio.TimerHandle | None = None
        self._past_drops = [0, 0]
        self.counts = dict.fromkeys(("clients", "evicted", "strangers", "unsent", "gone", "failed"), 0)

    def start(self) -> None:
        """Begins to forward."""
        enlarge(self._listening)
        self._loop.add_reader(self._listening.fileno(), self._from_clients)
        self._sweep()

    def close(self) -> None:
        """Closes every socket."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for client in list(self._clients.values()):
            self._forget(client)
        self._loop.remove_reader(self._listening.fileno())
        self._past_drops[UP] += dropped_by_kernel(self._listening)
        self._listening.close()

    def connections(self) -> int:
        """Clients that are remembered."""
        return len(self._clients)

    def kernel_drops(self, way: int) -> int:
        """Datagrams that the kernel dropped before this proxy could read them: it was too slow."""
        socks = [self._listening] if way == UP else [client.sock for client in self._clients.values()]
        return self._past_drops[way] + sum([dropped_by_kernel(sock) for sock in socks])

    def _from_clients(self) -> None:
        air, clients = self._air, self._clients
        for _ in range(limits.PROXY_READS_PER_TURN):
            try:
                size, address = self._listening.recvfrom_into(self._room)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an ICMP error of some client: its datagrams go nowhere, as on any network
                continue
            client = clients.get(address) or self._welcome(address)
            if client is not None:
                client.latest = air.now()
                air.send(UP, bytes(self._view[:size]), client)
        air.pump()

    def _from_target(self, client: Client) -> None:
        air = self._air
        for _ in range(limits.PROXY_READS_PER_TURN):
            try:
                size, address = client.sock.recvfrom_into(self._room)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                continue
            if address[:2] != self._target[:2]:
                self.counts["strangers"] += 1
                continue
            client.latest = air.now()
            air.send(DOWN, bytes(self._view[:size]), client)
        air.pump()

    def _welcome(self, address: Any) -> Client | None:
        """A client seen for the first time; above the bound the one silent for longest makes room."""
        if len(self._clients) >= self._clients_max:
            self._forget(min(self._clients.values(), key=lambda client: client.latest))
            self.counts["evicted"] += 1
        try:
            sock = socket.socket(self._family, socket.SOCK_DGRAM)
        except OSError:  # no descriptor left
            self.counts["failed"] += 1
            return None
        # Not connected: an ICMP error would make uvloop stop watching it, and each send could meet one.
        sock.setblocking(False)
        enlarge(sock)
        try:
            sock.bind(("", 0))
        except OSError:
            sock.close()
            self.counts["failed"] += 1
            return None
        client = self._clients[address] = Client(address, sock, self._air.now())
        self._loop.add_reader(sock.fileno(), self._from_target, client)
        self.counts["clients"] += 1
        return client

    def _forget(self, client: Client) -> None:
        del self._clients[client.address]
        client.is_open = False
        self._loop.remove_reader(client.sock.fileno())
        self._past_drops[DOWN] += dropped_by_kernel(client.sock)
        client.sock.close()

    def _sweep(self) -> None:
        now = self._air.now()
        for client in [each for each in self._clients.values() if now - each.latest >= self._idle]:
            self._forget(client)
        self._sweeper = self._loop.call_later(min(1.0, self._idle / 2 / limits.SECOND_NS), self._sweep)

    def deliver(self, way: int, data: bytes, client: Client) -> None:
        """From the air: a datagram has arrived."""
        if not client.is_open:
            self.counts["gone"] += 1
            return
        try:
            if way == UP:
                client.sock.sendto(data, self._target)
            else:
                self._listening.sendto(data, client.address)
        except OSError:  # a full buffer, no route, too large: gone, as datagrams may be, but counted apart
            self.counts["unsent"] += 1


def enlarge(sock: socket.socket) -> None:
    """Asks for large buffers; the system may give less."""
    for name in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        try:
            sock.setsockopt(socket.SOL_SOCKET, name, limits.SOCKET_BUFFER_BYTES)
        except OSError:
            pass


def dropped_by_kernel(sock: socket.socket) -> int:
    """Datagrams that found a socket's receive buffer full; 0 where the system does not say."""
    try:
        numbers = sock.getsockopt(socket.SOL_SOCKET, MEMINFO, MEMINFO_BYTES)
    except OSError:
        return 0
    return int.from_bytes(numbers[4 * MEMINFO_DROPS :][:4], "little")
