"""A transport of your own, both ends: pair://name connects within one process by pairs of connected sockets.

python examples/pair_transport.py

exec_transport.py only connects; here is the other operation too: `listen`, and what a listener has to do.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Mapping

import transport
from transport.delivery import Traits
from transport.drive.base import Owner
from transport.drive.timers import clock_of
from transport.options import Option
from transport.transports import pipe
from transport.transports.base import PipeInfo, Request
from transport.url import Url


class PairListener:
    """One name. The package asks it to stop, and to close when no connection is left."""

    def __init__(self, transport_: PairTransport, request: Request) -> None:
        self.url: Url = request.url
        self._transport = transport_
        self._request = request

    def accept(self, sock: socket.socket) -> None:
        """A new pipe: a machine for it, a driver for the machine, and an owner, who may refuse."""
        loop = asyncio.get_running_loop()
        info = PipeInfo(self.url, self._transport.traits(self._request), self.url.host, "client")
        machine = pipe.make_machine(self._request, clock_of(loop)())
        pipe.own(self._request, pipe.socket_driver(loop, machine, sock), info)

    def stop(self) -> None:
        """Accepts nothing from now on."""
        self._transport.listeners.pop(self.url.host, None)

    async def close(self) -> None:
        """Nothing else to release."""
        self.stop()


class PairTransport:
    """The record of the scheme."""

    scheme = "pair"
    options: Mapping[str, Option] = {}

    def __init__(self) -> None:
        self.listeners: dict[str, PairListener] = {}

    def traits(self, request: Request) -> Traits:
        """What every byte pipe gives: it depends on the framing."""
        return pipe.traits(request)

    async def connect(self, request: Request) -> Owner:
        """Gives one end to the listener and keeps the other. Raises ConnectFailed."""
        listener = self.listeners.get(request.url.host)
        if listener is None:
            raise pipe.failure(request, ConnectionRefusedError(errno.ECONNREFUSED, "nobody has that name"))
        ours, its = socket.socketpair()
        for sock in (ours, its):
            sock.setblocking(False)
        try:
            listener.accept(its)  # it closes its end if it refuses
        except ConnectionRefusedError as error:
            ours.close()
            raise pipe.failure(request, error) from error
        return await pipe.start(request, self.traits(request), ours)  # type: ignore[no-any-return]

    async def listen(self, request: Request) -> PairListener:
        """Takes a name. Raises OSError when it is taken."""
        if request.url.host in self.listeners:
            raise OSError(errno.EADDRINUSE, "somebody has that name")
        listener = self.listeners[request.url.host] = PairListener(self, request)
        return listener


async def echo(conn: transport.Connection) -> None:
    """Gives every message back."""
    async for message in conn:
        await conn.send(message)


async def main() -> None:
    """Everything that a byte pipe of ours has, over the new scheme."""
    registry = transport.Registry.default().register(PairTransport())
    async with transport.serve("pair://echo", echo, registry=registry) as server:
        async with transport.connect(server.url, registry=registry) as conn:
            await conn.send({"over": "a pair"})
            print(await conn.recv(), conn.traits.channels, 0 < await conn.ping() < 5)
        try:
            await transport.connect("pair://nobody", registry=registry)
        except transport.ConnectFailed as error:
            print(error)


if __name__ == "__main__":
    transport.run(main())
