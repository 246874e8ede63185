"""`tcp://host:port`: messages over TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.net import connect as net
from transport.options import SOCKET, Option
from transport.transports import pipe
from transport.transports.base import Listener, Request
from transport.transports.listen import PipeListener, Shared
from transport.url import Url

OPTIONS = {name: option for name, option in SOCKET.items() if name != "timestamps"}
FAMILIES = (socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_UNIX", socket.AF_INET))  # the last: a socketpair


async def open_socket(request: Request) -> socket.socket:
    """A connected socket: the inherited one, or the first of the host's addresses to answer. Raises ConnectFailed."""
    if request.sock is not None:
        sock = pipe.inherited(request.sock, FAMILIES, listening=False)
        net.apply_options(sock, request.options)
        return sock
    host, port = request.url.endpoint()
    return await net.race(await net.resolve(host, port, socket.SOCK_STREAM), request.options)


async def open_listeners(request: Request) -> list[socket.socket]:
    """Listening sockets: the inherited one, or one for every address of the host. Raises OSError."""
    if request.sock is not None:
        return [pipe.inherited(request.sock, FAMILIES[:2], listening=True)]
    host, port = request.url.endpoint()
    return await bind_all(host, port, request.options)


async def bind_all(host: str, port: int, options: Mapping[str, Any]) -> list[socket.socket]:
    """A listening socket for every address of `host`, all on one port. Raises OSError."""
    found = await net.resolve(host, port, socket.SOCK_STREAM, passive=True)
    for tries_left in reversed(range(limits.BIND_TRIES)):
        try:
            return _bind_each(found, port, options)
        except OSError as error:  # the port that one family was given may be taken in the other
            if port or len(found) == 1 or error.errno != errno.EADDRINUSE or not tries_left:
                raise
    raise AssertionError("unreachable")


def _bind_each(found: list[net.AddressInfo], port: int, options: Mapping[str, Any]) -> list[socket.socket]:
    socks: list[socket.socket] = []
    try:
        for family, _, _, _, address in found:
            if socks and not port:
                address = (address[0], socks[0].getsockname()[1], *address[2:])
            socks.append(net.bind(family, address, options))
    except BaseException:
        for sock in socks:
            sock.close()
        raise
    return socks


def real_url(url: Url, socks: list[socket.socket]) -> Url:
    """`url` with the port that the system chose."""
    return url.with_port(socks[0].getsockname()[1])


async def share(request: Request, count: int) -> Shared:
    """Listening sockets of their own for each of `count` processes, all on one port.

    The kernel spreads connections over them by their addresses (socket(7), SO_REUSEPORT). Raises OSError, also when
    somebody else has the port already.
    """
    host, port = request.url.endpoint()
    for sock in await bind_all(host, port, {**request.options, "reuse_port": False}):
        with sock:  # unshared: with SO_REUSEPORT alone a second server would silently take half of our connections
            port = port or sock.getsockname()[1]
    options = {**request.options, "reuse_port": True}
    groups: list[list[socket.socket]] = []
    try:
        for _ in range(count):
            groups.append(await bind_all(host, port, options))
    except BaseException:
        for sock in [sock for group in groups for sock in group]:
            sock.close()
        raise
    return Shared(request.url.with_port(port), groups)


class TcpTransport:
    """The record of the scheme."""

    scheme = "tcp"
    options: Mapping[str, Option] = OPTIONS

    def traits(self, request: Request) -> Traits:
        """Reliable and ordered; channels, ping, reasons and streams with our own framing."""
        return pipe.traits(request)

    async def connect(self, request: Request) -> Owner:
        """Resolves, races the addresses, and starts the session. Raises ConnectFailed."""
        sock = await open_socket(request)
        return await pipe.start(request, self.traits(request), sock)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> Listener:
        """Binds every address of the host. Raises OSError."""
        socks = await open_listeners(request)
        return PipeListener(request, self.traits(request), socks, real_url(request.url, socks))

    async def share(self, request: Request, count: int) -> Shared:
        """Listening sockets for `count` processes; see `share`."""
        return await share(request, count)


TRANSPORT = TcpTransport()
