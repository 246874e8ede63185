"""`udp://host:port`: a message per datagram, payload only; a connection per peer address; multicast and broadcast.

Nothing is promised and nothing of ours is on the wire. A server's connection begins with a peer's first datagram and
ends when it has been silent for `idle_timeout`; `close` is local, for there is no way to tell the peer.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint, PeerSession
from transport.datagram.endpoint import DatagramEndpoint
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.drive.datagram import DatagramDriver
from transport.drive.timers import clock_of
from transport.errors import ConnectFailed
from transport.machine import Address, Path
from transport.net import datagram as net
from transport.net.connect import resolve
from transport.net.datagram_options import DatagramOptions, Granted
from transport.options import SOCKET, Option, boolean, duration, integer, table, text
from transport.transports.base import Listener, PipeInfo, Request
from transport.url import Url

BUSY_POLL = Option(
    "busy_poll_us", integer(0, limits.BUSY_POLL_US_MAX),
    "microseconds for which the driver looks for more before its loop sleeps, a millisecond at most; the kernel polls "
    "the device as long",
)  # fmt: skip
OPTIONS: Mapping[str, Option] = {
    **{name: SOCKET[name] for name in ("rcvbuf", "sndbuf", "dscp", "timestamps", "reuse_port",
                                       "ipv6_only")},
    **table(
        BUSY_POLL,
        Option("interface", text, "interface for multicast both ways, or that a socket is bound to"),
        Option("ttl", integer(0, 255), "hops that datagrams may take"),
        Option("loop", boolean, "multicast comes back to this host", default=True),
        Option("broadcast", boolean, "may send to a broadcast address", default=False),
        Option("gso", boolean, "segmentation offload, where the kernel has it", default=True),
        Option("max_peers", integer(1, limits.UDP_PEERS_LIMIT), "peers of a server at once, least recent evicted",
               default=limits.UDP_PEERS_MAX),
        Option("idle_timeout", duration(0.001, limits.TIME_S_MAX, none=True),
               "silence after which a peer's connection ends, or none", default=limits.UDP_IDLE_NS / limits.SECOND_NS),
    ),
}  # fmt: skip


def traits_of(request: Request) -> Traits:
    """Nothing is promised."""
    return Traits(reliable=False, ordered=False, max_message=max_message(request))


def max_message(request: Request) -> int:
    """The largest message in bytes: what a datagram holds, or less where the option says so."""
    return min(int(request.options.get("max_message", limits.UDP_MESSAGE_BYTES_MAX)), limits.UDP_MESSAGE_BYTES_MAX)


def socket_options(request: Request) -> DatagramOptions:
    """The request's options as the socket layer takes them. Marks are read for machines, which may want them."""
    given = request.options
    names = ("rcvbuf", "sndbuf", "dscp", "busy_poll_us", "timestamps", "reuse_port", "ipv6_only", "interface", "ttl",
             "loop", "broadcast")  # fmt: skip
    kept = {name: given[name] for name in names if name in given}
    return DatagramOptions(offload=given.get("gso", True), ecn=request.machine is not None, **kept)


def make_endpoint(request: Request, *, listening: bool) -> DatagramEndpoint:
    """The endpoint for a new socket. A client's session ends by itself only if `idle_timeout` says so."""
    options = request.options
    idle = options.get("idle_timeout", limits.UDP_IDLE_NS / limits.SECOND_NS if listening else None)
    return DatagramEndpoint(
        listening,
        max_message(request),
        0 if idle is None else int(idle * limits.SECOND_NS),
        options.get("max_peers", limits.UDP_PEERS_MAX),
        options.get("inbox", limits.UDP_INBOX_BYTES),
    )


def equip(driver: DatagramDriver, granted: Granted, request: Request) -> None:
    """What a new driver is told beside its socket and machine."""
    driver.granted = granted
    driver.busy_poll_ns = request.options.get("busy_poll_us", 0) * 1000


async def run_machine(request: Request, sock: socket.socket, url: Url) -> tuple[Owner, DatagramDriver]:
    """A user's machine on a socket of its own. Raises what the owner raised, and OSError; the socket is closed then."""
    loop = asyncio.get_running_loop()
    made, granted = await net.adopt_on(loop, sock, socket_options(request))
    try:
        assert request.machine is not None
        machine = request.machine()
        driver = DatagramDriver(loop, made, machine)
        equip(driver, granted, request)
        info = PipeInfo(url, traits_of(request), sock.getsockname(), net.peer_of(sock))
        owner = request.owner(machine, driver, info)
        driver.attach(owner)
    except BaseException:
        made.close()
        raise
    driver.start()
    return owner, driver


class UdpListener:
    """The sockets of one server: one for each address of its host.

    Attributes:
        drivers: of the sockets that are open.
        on_close: called before they are closed.
    """

    def __init__(self, transport: UdpTransport, request: Request, socks: list[socket.socket]) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._request = request
        self._traits = transport.traits(request)
        self.drivers: list[DatagramDriver] = []
        self.on_close: Callable[[], None] | None = None
        address = socks[0].getsockname()
        self.url: Url = request.url.replace(port=address[1])

    async def open(self, socks: list[socket.socket]) -> None:
        """Begins to receive. Raises OSError."""
        for sock in socks:
            if self._request.machine is not None:
                self.drivers.append((await run_machine(self._request, sock, self.url))[1])
                continue
            options = self._transport.socket_options(self._request, sock.getsockname())
            made, granted = await net.adopt_on(self._loop, sock, options)
            endpoint = self._transport.endpoint(self._request, granted, sock.getsockname(), True)
            driver = DatagramDriver(self._loop, made, endpoint, is_shared=True)
            driver.accept = self._acceptor(driver)
            equip(driver, granted, self._request)
            self.drivers.append(driver)
            driver.start()

    def _acceptor(self, driver: DatagramDriver) -> Any:
        def accept(session: PeerSession) -> Owner:
            local = session.path.local or driver.sock.sock.getsockname()
            return self._request.owner(session, driver, PipeInfo(self.url, self._traits, local, session.path.remote))

        return accept

    def statistics(self) -> dict[str, int]:
        """Counters of its sockets together."""
        total: dict[str, int] = {}
        for driver in self.drivers:
            counters = {**getattr(driver.machine, "statistics", dict)(), "refused": driver.refused,
                        "truncated": driver.sock.truncated, "unsent": driver.sock.unsent}  # fmt: skip
            for name, count in counters.items():
                total[name] = total.get(name, 0) + count
        return total

    def stop(self) -> None:
        """Takes no new peers; those that are there go on."""
        for driver in self.drivers:
            if isinstance(driver.machine, Endpoint):
                driver.machine.listening = False  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Closes the sockets."""
        if self.on_close is not None:
            self.on_close()
        for driver in self.drivers:
            driver.end()


class UdpTransport:
    """The record of the scheme."""

    scheme = "udp"
    options: Mapping[str, Option] = OPTIONS

    def socket_options(self, request: Request, address: Address | None = None) -> DatagramOptions:
        """What a socket is asked for that is bound or to be connected to `address`, None while it is being made."""
        return socket_options(request)

    def traits(self, request: Request) -> Traits:
        """Unreliable, one channel, no ping, no close reason."""
        return traits_of(request)

    def endpoint(self, request: Request, granted: Granted, address: Address, listening: bool) -> Endpoint:
        """What runs on a new socket of ours, bound to or connected to `address`."""
        return make_endpoint(request, listening=listening)

    def session(self, endpoint: Endpoint, path: Path, now: int, sole: bool) -> PeerSession:
        """A client's session; `sole` gets what any address sends."""
        assert isinstance(endpoint, DatagramEndpoint)
        return endpoint.open(path, now, sole)

    def roam(self, driver: DatagramDriver, target: Address) -> None:
        """A client's socket is its own, and connected: whether it may get another address is the scheme's affair."""

    async def connect(self, request: Request) -> Owner:
        """Resolves the host and connects a socket to the first address that has a route. Raises ConnectFailed."""
        options = self.socket_options(request)
        sock: socket.socket | None = None
        try:
            sock, target = await self._open(request, options)
            if request.machine is not None:
                return (await run_machine(request, sock, request.url))[0]
            return await self._start(request, sock, target)
        except OSError as error:
            if sock is not None:
                sock.close()
            if isinstance(error, ConnectFailed):
                raise
            failed = ConnectFailed(f"{request.url.redacted()}: {error}")
            failed.errno = error.errno
            raise failed from error
        except BaseException:
            if sock is not None:
                sock.close()
            raise

    async def _open(self, request: Request, options: DatagramOptions) -> tuple[socket.socket, Address]:
        """A socket towards the URL's host, and the address that it is for."""
        if request.sock is not None:
            peer = net.peer_of(request.sock)
            if peer is not None:
                return request.sock, peer
        host, port = request.url.endpoint()
        errors: list[OSError] = []
        for family, _, _, _, address in await resolve(host, port, socket.SOCK_DGRAM):
            try:
                if request.sock is None:
                    return net.make_socket(None, address, options), address
                if request.sock.family == family:
                    request.sock.connect(address)
                    return request.sock, address
            except OSError as error:
                errors.append(error)
        raise errors[-1] if errors else ConnectFailed(f"{host!r} has no address of the socket's family")

    async def _start(self, request: Request, sock: socket.socket, target: Address) -> Owner:
        loop = asyncio.get_running_loop()
        made, granted = await net.adopt_on(loop, sock, self.socket_options(request, target))
        endpoint = self.endpoint(request, granted, target, False)
        path = made.path or Path(None, target)
        session = self.session(endpoint, path, clock_of(loop)(), made.path is None)
        driver = DatagramDriver(loop, made, endpoint)
        equip(driver, granted, request)
        driver.may_linger = request.sock is None
        if driver.may_linger and made.path is not None and made.selectable:
            self.roam(driver, target)
        info = PipeInfo(request.url, self.traits(request), sock.getsockname(), target)
        owner = request.owner(session, driver, info)
        driver.attach(owner, session)
        driver.start()
        return owner

    async def listen(self, request: Request) -> Listener:
        """Binds every address of the host; a multicast group is joined. Raises OSError."""
        if request.sock is not None:
            socks = [request.sock]
        else:
            socks = await self._bind(request)
        listener = UdpListener(self, request, socks)
        try:
            await listener.open(socks)
        except BaseException:
            await listener.close()
            for sock in socks:
                sock.close()
            raise
        return listener

    async def _bind(self, request: Request) -> list[socket.socket]:
        host, port = request.url.endpoint()
        options = self.socket_options(request)
        found = await resolve(host, port, socket.SOCK_DGRAM, passive=True)
        if request.machine is not None:
            found = found[:1]  # one machine, one socket
        socks: list[socket.socket] = []
        try:
            for _, _, _, _, address in found:
                if socks and not port:  # every address on the port that the first was given
                    address = (address[0], socks[0].getsockname()[1], *address[2:])
                socks.append(net.make_socket(address, None, options))
        except BaseException:
            for sock in socks:
                sock.close()
            raise
        return socks


TRANSPORT = UdpTransport()
