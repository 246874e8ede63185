"""`memory://name?loss=0.02&delay=20ms&jitter=5ms&seed=7`: two ends in one event loop, with a simulated link between.

Without anything that loses, doubles, alters or overtakes it is an ordered byte pipe that runs the same sessions as
`tcp`; with any of that it is a message per datagram, as on `udp`, or reliable UDP with `rudp=true`. Names belong to the
running loop. On a simulated loop everything happens in virtual time. It must never reach another process, and nothing
of it may hang on a real clock.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping
from typing import Any

from transport import limits
from transport.datagram.base import Endpoint, PeerSession
from transport.datagram.endpoint import DatagramEndpoint
from transport.delivery import Traits
from transport.drive import memory_datagram
from transport.drive.base import Owner
from transport.drive.memory import MemoryDriver, MemoryHub, hub_in_use, hub_of, join
from transport.drive.memory_datagram import MemoryDatagramDriver, MemorySocket
from transport.errors import ConnectFailed, InvalidURL, LocalProtocolError, UnsupportedOperation
from transport.machine import DatagramMachine, Path
from transport.options import Option
from transport.sim.config import LinkConfig
from transport.sim.link import COUNTERS, Link
from transport.transports import pipe
from transport.transports.base import Listener, PipeInfo, Request
from transport.transports.memory_link import OPTIONS, link_config, wants_datagrams, wants_rudp


def datagram_traits(request: Request) -> Traits:
    """Nothing is promised."""
    largest = min(int(request.options.get("max_message", limits.UDP_MESSAGE_BYTES_MAX)), limits.UDP_MESSAGE_BYTES_MAX)
    return Traits(reliable=False, ordered=False, max_message=largest)


def traits_of(request: Request, datagrams: bool, rudp: bool = False) -> Traits:
    """What connections promise."""
    if rudp:
        from transport.transports import memory_rudp

        return memory_rudp.traits(request)
    return datagram_traits(request) if datagrams else pipe.traits(request)


def seed_of(options: Mapping[str, Any], loop: Any) -> int:
    """The seed that options name, else the simulated loop's, else 0."""
    return options.get("seed", getattr(loop, "seed", 0))  # type: ignore[no-any-return]


def make_endpoint(request: Request, address: Any, rudp: bool, seed: int, *, listening: bool) -> Endpoint:
    """The endpoint of a socket. A client's session without `rudp` ends by itself only if `idle_timeout` says so."""
    if rudp:
        from transport.transports import memory_rudp

        return memory_rudp.make_endpoint(request, address, seed, listening=listening)
    options = request.options
    idle = options.get("idle_timeout", limits.UDP_IDLE_NS / limits.SECOND_NS if listening else None)
    return DatagramEndpoint(
        listening,
        datagram_traits(request).max_message or limits.UDP_MESSAGE_BYTES_MAX,
        0 if idle is None else int(idle * limits.SECOND_NS),
        options.get("max_peers", limits.UDP_PEERS_MAX),
        options.get("inbox", limits.UDP_INBOX_BYTES),
    )


def _refused(request: Request, why: str) -> ConnectFailed:
    failed = ConnectFailed(f"{request.url.redacted()}: {why}")
    failed.errno = errno.ECONNREFUSED
    return failed


class MemoryListener:
    """A name that can be connected to. Releases the hub, which is acquired for it, when it closes."""

    def __init__(self, hub: MemoryHub, request: Request) -> None:
        self.url = request.url
        self.request = request
        self.name = request.url.host
        self.links: dict[tuple[str, int], tuple[Link, Link]] = {}
        self._hub = hub
        self._clients = 0
        self._refused = 0
        self._past = dict.fromkeys(COUNTERS, 0)
        self._spare: Any = None  # a byte machine that was made to see what it is
        self._drivers: dict[bool, MemoryDatagramDriver] = {}  # of plain datagrams, and of reliable UDP
        self._sockets: dict[bool, MemorySocket] = {}
        self._closed = False
        self.speaks: bool | None = None  # a machine's dialect: True for datagrams; None for sessions, which speak both
        if self.name in hub.names:
            raise OSError(errno.EADDRINUSE, f"memory://{self.name} is in use on this loop")
        if request.machine is not None:
            machine = request.machine()
            self.speaks = isinstance(machine, DatagramMachine)
            if self.speaks:
                self._open_socket(machine, False)
            else:
                self._spare = machine
        hub.names[self.name] = self

    @property
    def address(self) -> tuple[str, int]:
        """Of the server's end."""
        return (self.name, 0)

    def next_address(self) -> tuple[str, int]:
        """Of a new client."""
        self._clients += 1
        return (self.name, self._clients)

    # Byte pipes

    def accept(self, client: MemoryDriver, config: LinkConfig, seed: int) -> None:
        """Gives a new pipe to the server's owner. Raises ConnectionRefusedError."""
        window = _window(config)
        machine, self._spare = self._spare, None
        if machine is None:
            machine = pipe.make_machine(self.request, self._hub.now())
        driver = MemoryDriver(self._hub, machine, self.address, window)
        join(client, driver, config, seed)
        if client.link is not None and driver.link is not None:
            client.on_close = self._keep(client.address, client.link, driver.link)
        try:
            pipe.own(self.request, driver, PipeInfo(self.url, pipe.traits(self.request), self.address, client.address))
        except ConnectionRefusedError:
            self._refused += 1
            raise
        except Exception as error:
            self._hub.loop.call_exception_handler(
                {"message": "an accepted connection could not be set up, it is closed", "exception": error}
            )
            raise ConnectionRefusedError("the server could not set the connection up") from error

    def _keep(self, address: Any, there: Link, back: Link) -> Callable[[], object]:
        """Keeps the links of a client while it is connected, and their counters for longer."""
        self.links[address] = (there, back)

        def forget() -> None:
            del self.links[address]
            there.add_to(self._past)
            back.add_to(self._past)

        return forget

    # Datagrams

    def socket(self, rudp: bool) -> MemorySocket:
        """The server's socket, opened with the first client that speaks datagrams, or reliable UDP on them."""
        if rudp not in self._sockets:
            self._open_socket(None, rudp)
        sock = self._sockets[rudp]
        if len(sock.routes) >= limits.MEMORY_ROUTES_MAX:
            raise ConnectionRefusedError(f"MEMORY_ROUTES_MAX = {limits.MEMORY_ROUTES_MAX:,} clients are connected")
        return sock

    def _open_socket(self, machine: Any, rudp: bool) -> None:
        loop = self._hub.loop
        request = self.request
        traits = traits_of(request, True, rudp)
        if machine is None:
            endpoint = make_endpoint(request, self.address, rudp, seed_of(request.options, loop), listening=True)
            sock = MemorySocket(self._hub, self.address, None)
            driver = MemoryDatagramDriver(loop, sock, endpoint, None, True)

            def accept(session: PeerSession) -> Owner:
                info = PipeInfo(self.url, traits, self.address, session.path.remote)
                return request.owner(session, driver, info)

            driver.accept = accept
        else:
            sock = MemorySocket(self._hub, self.address, None)
            driver = MemoryDatagramDriver(loop, sock, machine)
            try:
                driver.attach(request.owner(machine, driver, PipeInfo(self.url, traits, self.address)))
            except BaseException:
                sock.close()
                raise
        self._sockets[rudp], self._drivers[rudp] = sock, driver
        driver.start()

    def join_datagrams(self, client: MemorySocket, config: LinkConfig, seed: int, rudp: bool) -> None:
        """Puts links between a client and the server's socket. Raises ConnectionRefusedError."""
        server = self.socket(rudp)
        memory_datagram.join(client, server, config, seed)
        client.on_close = self._keep(client.local, client.routes[server.local].link, server.routes[client.local].link)

    # As a listener

    def statistics(self) -> dict[str, int]:
        """Counters of the links together, refused connections, and those of the datagram socket where there is one."""
        links = dict(self._past)
        for link in [link for pair in self.links.values() for link in pair]:
            link.add_to(links)
        total = {"refused": self._refused, **{f"link_{name}": number for name, number in links.items()}}
        for rudp, driver in self._drivers.items():
            counters = {**getattr(driver.machine, "statistics", dict)(), "overrun": self._sockets[rudp].overrun}
            for name, number in counters.items():
                total[name] = total.get(name, 0) + number
        return total

    def stop(self) -> None:
        """Accepts no more; what is connected goes on. Idempotent."""
        if self._hub.names.get(self.name) is self:
            del self._hub.names[self.name]
        for driver in self._drivers.values():
            if isinstance(driver.machine, Endpoint):
                driver.machine.listening = False  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Gives the name back. Idempotent."""
        self.stop()
        if not self._closed:
            self._closed = True
            for driver in self._drivers.values():
                driver.end()
            self._hub.release()


def _window(config: LinkConfig) -> int:
    """Bytes on their way on a byte pipe: more where the way is long."""
    return limits.MEMORY_WINDOW_BYTES if config.delay_ns or config.rate_bits_per_s else limits.MEMORY_PIPE_BYTES


def links_of(name: str) -> list[Link]:
    """The links of every connection to `memory://name` on the running loop: to change them, or to read their counters.

    Empty where connections need no link; ask for any delay (`delay=1ns`) to have one. Raises LookupError.
    """
    hub = hub_in_use(asyncio.get_running_loop())
    if hub is None or name not in hub.names:
        raise LookupError(f"nobody has the name {name!r} on this loop")
    listener: MemoryListener = hub.names[name]
    return [link for pair in listener.links.values() for link in pair]


class MemoryTransport:
    """The record of the scheme."""

    scheme = "memory"
    options: Mapping[str, Option] = OPTIONS

    def traits(self, request: Request) -> Traits:
        """As the request's own options say; a server's may add to a client's."""
        datagrams = wants_datagrams(request.options, link_config(request.options))
        return traits_of(request, datagrams, wants_rudp(request.options))

    async def connect(self, request: Request) -> Owner:
        """Connects to a name of this loop. Raises ConnectFailed, at once, when nobody has it."""
        _check(request)
        loop = asyncio.get_running_loop()
        hub = hub_in_use(loop)
        listener: MemoryListener | None = None if hub is None else hub.names.get(request.url.host)
        if listener is None:
            raise _refused(request, "nobody has that name on this loop")
        given = listener.request.options
        options = {**{name: given[name] for name in OPTIONS if name in given}, **request.options}
        config = link_config(options)
        seed = seed_of(options, loop)
        datagrams = wants_datagrams(options, config) or bool(listener.speaks)
        if wants_rudp(options):
            _refuse_machine(request)
            if listener.speaks is not None:
                raise _refused(request, "the server runs a machine, and reliable UDP is asked for")
        machine = None
        if request.machine is not None:
            machine = request.machine()
            if not isinstance(machine, DatagramMachine) and datagrams:
                raise _refused(request, f"{type(machine).__name__} is a byte machine, and this link has datagrams")
            datagrams = isinstance(machine, DatagramMachine)
        if datagrams and listener.speaks is False:
            raise _refused(request, "the server runs a byte machine, and this link has datagrams")
        try:
            if datagrams:
                return self._connect_datagrams(request, listener, config, seed, machine, wants_rudp(options))
            return self._connect_bytes(request, listener, config, seed, machine)
        except ConnectionRefusedError as error:
            raise _refused(request, str(error)) from error

    def _connect_bytes(self, request: Request, listener: MemoryListener, config: LinkConfig, seed: int,
                       machine: Any) -> Owner:  # fmt: skip
        hub = hub_of(asyncio.get_running_loop())
        if machine is None:
            machine = pipe.make_machine(request, hub.now())
        client = MemoryDriver(hub, machine, listener.next_address(), _window(config))
        try:
            listener.accept(client, config, seed)
        except BaseException:
            client.discard()
            raise
        info = PipeInfo(request.url, pipe.traits(request), client.address, listener.address)
        return pipe.own(request, client, info)  # type: ignore[no-any-return]

    def _connect_datagrams(self, request: Request, listener: MemoryListener, config: LinkConfig, seed: int,
                           machine: Any, rudp: bool) -> Owner:  # fmt: skip
        loop = asyncio.get_running_loop()
        hub = hub_of(loop)
        address = listener.next_address()
        path = Path(address, listener.address)
        sock = MemorySocket(hub, address, path)
        try:
            listener.join_datagrams(sock, config, seed, rudp)
            info = PipeInfo(request.url, traits_of(request, True, rudp), address, listener.address)
            if machine is None:
                endpoint: Any = make_endpoint(request, address, rudp, seed, listening=False)
                session = endpoint.connect(path, hub.now()) if rudp else endpoint.open(path, hub.now())
                driver = MemoryDatagramDriver(loop, sock, endpoint)
                owner = request.owner(session, driver, info)
                driver.attach(owner, session)
            else:
                driver = MemoryDatagramDriver(loop, sock, machine)
                owner = request.owner(machine, driver, info)
                driver.attach(owner)
        except BaseException:
            sock.close()
            raise
        driver.start()
        return owner

    async def listen(self, request: Request) -> Listener:
        """Takes a name of this loop. Raises OSError when it is taken."""
        _check(request)
        self.traits(request)  # a mistake is raised here
        if wants_rudp(request.options):
            _refuse_machine(request)
            make_endpoint(request, None, True, 0, listening=True)  # likewise
        hub = hub_of(asyncio.get_running_loop())
        hub.acquire()
        try:
            return MemoryListener(hub, request)
        except BaseException:
            hub.release()
            raise


def _refuse_machine(request: Request) -> None:
    if request.machine is not None:
        raise UnsupportedOperation("rudp=true takes no machine=, its datagrams are its own; datagrams=true does")


def _check(request: Request) -> None:
    if request.sock is not None:
        raise LocalProtocolError("memory:// has no sockets: leave sock= out")
    if not request.url.host:
        raise InvalidURL("write memory://name")


TRANSPORT = MemoryTransport()
