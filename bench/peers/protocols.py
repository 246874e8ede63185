"""asyncio.Protocol on asyncio and on uvloop: bare (whatever arrives goes back) and framed in plain Python.

The bare one is the strongest thing to stand beside for one message in flight: no framing, no checks, no queue. It only
fits a closed loop of messages of known size. The framed one carries messages: four bytes of length before each, one
`write` a message, parsed in `data_received` by slices.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Pump, Sender
from bench.peers.base import BASELINE, CallbackPeer, finish
from bench.peers.cutting import LENGTH, Cutter


class BareEcho(asyncio.Protocol):
    """The server without framing."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class BarePing(asyncio.Protocol):
    """The client without framing: an answer is as many bytes as were sent."""

    def __init__(self, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        self.load = load
        self.done = done
        self.size = 0
        self.got = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        message = self.load.first()
        self.size = len(message)
        transport.write(message)

    def data_received(self, data: bytes) -> None:
        if len(data) != self.size:
            self.got += data
            if len(self.got) < self.size:
                return
            data, self.got = self.got, b""
        message = self.load.reply(data)
        if message is None:
            finish(self.done)
        else:
            self.transport.write(message)


class Framed(Cutter, asyncio.Protocol):
    """Cuts messages from the stream and hands each to `take`, at first back where it came from."""

    data_received = Cutter.feed

    def __init__(self) -> None:
        super().__init__(self.echo)
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def echo(self, message: bytes) -> None:
        """Back where it came from."""
        self.transport.write(LENGTH.pack(len(message)) + message)


class FramedPing(Framed):
    """The closed loop over framed messages."""

    def __init__(self, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        super().__init__()
        self.load = load
        self.done = done
        self.take = self.answered

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.echo(self.load.first())

    def answered(self, message: bytes) -> None:
        """The answer is here: the next one, or the end."""
        following = self.load.reply(message)
        if following is None:
            finish(self.done)
        else:
            self.transport.write(LENGTH.pack(len(following)) + following)


class FramedSend(asyncio.Protocol):
    """The sender: one `write` a message until the transport asks to pause."""

    def __init__(self, sender: Sender, done: asyncio.Future[None]) -> None:
        self.pump = Pump(sender, self.send_many, lambda: finish(done))

    def connection_made(self, transport: Any) -> None:
        self.write = transport.write
        asyncio.get_running_loop().call_soon(self.pump.run)

    def send_many(self, messages: list[bytes]) -> None:
        """One write each."""
        write = self.write
        pack = LENGTH.pack
        for message in messages:
            write(pack(len(message)) + message)

    def pause_writing(self) -> None:
        self.pump.pause()

    def resume_writing(self) -> None:
        self.pump.resume()


class FramedWriter(asyncio.Protocol):
    """The sender of an open loop: what the socket does not take waits in the transport's buffer."""

    def connection_made(self, transport: Any) -> None:
        self.write = transport.write

    def send(self, message: bytes) -> None:
        """One write."""
        self.write(LENGTH.pack(len(message)) + message)


class ProtocolPeer(CallbackPeer):
    """asyncio.Protocol over tcp or unix."""

    kind = BASELINE

    def __init__(self, loop: str, framed: bool, scheme: str = "tcp") -> None:
        self.loop = loop
        self.framed = framed
        self.scheme = scheme
        suffix = "" if scheme == "tcp" else f"-{scheme}"
        self.name = f"{loop}-{'protocol' if framed else 'bare'}{suffix}"
        self.title = f"{loop} Protocol, {'framed' if framed else 'bare'}, {scheme}"
        self.modes = frozenset({LATENCY, THROUGHPUT, OPEN} if framed else {LATENCY})
        self.note = "" if framed else "no framing: whatever arrives goes back"

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""

        def make() -> asyncio.Protocol:
            if not self.framed:
                return BareEcho()
            protocol = Framed()
            if job.is_one_way:
                protocol.take = job.counter(reliable=True).take
            return protocol

        loop = asyncio.get_running_loop()
        if self.scheme == "unix":
            path = os.path.join(job.scratch, "protocol.sock")
            await loop.create_unix_server(make, path)
            job.ready(path)
            return
        self.server = await self.listen(job, make)
        job.ready(self.server.sockets[0].getsockname()[:2])

    async def listen(self, job: Job, make: Callable[[], asyncio.Protocol]) -> asyncio.Server:
        """A server on a free port of the job's host."""
        return await asyncio.get_running_loop().create_server(make, job.host, 0)

    async def open(self, job: Job, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """One connection with a protocol of `make`."""
        loop = asyncio.get_running_loop()
        if self.scheme == "unix":
            return (await loop.create_unix_connection(make, job.address))[1]
        return (await loop.create_connection(make, *job.address))[1]

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        await self.open(job, lambda: FramedPing(load, done) if self.framed else BarePing(load, done))

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        made: list[FramedWriter] = []
        for _ in range(job.case.connections):
            made.append(FramedWriter())
            await self.open(job, lambda: made[-1])
        return [protocol.send for protocol in made]

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        await self.open(job, lambda: FramedSend(sender, done))


PEERS = [
    ProtocolPeer("uvloop", framed=False),
    ProtocolPeer("uvloop", framed=False, scheme="unix"),
    ProtocolPeer("asyncio", framed=True),
    ProtocolPeer("uvloop", framed=True),
]
