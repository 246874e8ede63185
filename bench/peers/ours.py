"""Ours: every scheme, by callbacks (`transport.Protocol`) and by coroutines (`send`, `recv`).

Only public names are used. Options are the defaults but for the codec, which is "raw" so that bytes are compared with
bytes ("msgpack" in the cases that are about it).
"""

from __future__ import annotations

import asyncio
import functools
import operator
import os
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Counter, Pump, Sender
from bench.openloop import Backlog
from bench.peers.base import OURS, CallbackPeer, CoroutinePeer, LoopPeer, finish
from bench.peers.certificate import CERTIFICATE, KEY
from bench.peers.datagrams import HELLO

DATAGRAMS = "udp"
DELIVERIES = {"ordered": 0, "unordered": 1, "sequenced": 2, "unreliable": 3}  # transport.Delivery, in short
SCHEMES = ("tcp", "unix", "udp", "rudp", "tls", "ws", "memory")


def callbacks(**methods: Any) -> Any:
    """A `transport.Protocol` class with these callbacks, bound straight to the load: no call of ours in between."""
    import transport

    return type("Callbacks", (transport.Protocol,), {name: staticmethod(method) for name, method in methods.items()})


class Ours(LoopPeer):
    """What both styles share: URLs, options, the server."""

    kind = OURS
    modules = ("transport",)
    distributions = ("transport",)
    codecs = frozenset({"raw", "msgpack"})

    def __init__(self, scheme: str, loop: str, name: str, style: str) -> None:
        self.scheme = scheme
        self.loop = loop
        self.name = name
        self.title = f"transport {scheme}, {style}" + ("" if loop == "uvloop" else f", {loop}")
        self.reliable = self.ordered = scheme != DATAGRAMS
        self.one_process = scheme == "memory"
        self.fans_out = scheme == DATAGRAMS
        self.payload_max = 65_507 if scheme == DATAGRAMS else 1024 * 1024
        if scheme == "memory":
            self.note = "both ends on one event loop: no kernel, no second process"

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {"codec": "raw, or msgpack where the case says so"}

    def versions(self) -> dict[str, str]:
        """See `Peer`."""
        found = super().versions()
        if self.missing() is None:
            import transport

            found["compiled"] = str(getattr(transport, "compiled", "unknown"))
        return found

    def url(self, job: Job) -> str:
        """Where the server is to listen."""
        if self.scheme == "unix":
            return f"unix://{os.path.join(job.scratch, 'ours.sock')}"
        if self.scheme == "memory":
            return "memory://bench"
        return f"{self.scheme}://{job.host}:0"

    def serve_options(self, job: Job) -> dict[str, Any]:
        """Keyword options of `serve`."""
        options: dict[str, Any] = {"codec": job.case.codec}
        if self.scheme == "tls":
            options |= {"certfile": str(CERTIFICATE), "keyfile": str(KEY)}
        return options

    def connect_options(self, job: Job) -> dict[str, Any]:
        """Keyword options of `connect`."""
        options: dict[str, Any] = {"codec": job.case.codec}
        if self.scheme == "tls":
            options |= {"cafile": str(CERTIFICATE)}
        return options

    def echo(self) -> Any:
        """The echoing protocol of the callback style."""
        import transport

        class Echo(transport.Protocol):
            def connection_made(self, conn: Any) -> None:
                self.send = conn.send_nowait  # kept, as the bare protocols keep theirs

            def message_received(self, message: Any, channel: int) -> None:
                self.send(message)

        return Echo()

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        import transport

        if job.case.fanout > 1:
            await self.fan_out(job)
            return
        counter = job.counter(self.reliable) if job.is_one_way else None
        make = callbacks(message_received=counter.take) if counter else self.echo
        self.server = await transport.serve(self.url(job), protocol=make, **self.serve_options(job))
        self.listening(job)

    def listening(self, job: Job) -> None:
        """Says where; a peer in one process keeps it for itself."""
        job.address = str(self.server.url)
        if not self.one_process:
            job.ready(job.address)

    async def fan_out(self, job: Job) -> None:
        """One serving socket; whoever said hello is sent to in turn."""
        import transport

        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        sender = job.sender()
        sends: list[Any] = []
        state = {"next": 0}

        def send_many(messages: list[Any]) -> int:
            number, taken = state["next"], 0
            try:
                for message in messages:
                    sends[number](message)
                    taken += 1
                    number += 1
                    if number == len(sends):
                        number = 0
            except transport.WouldBlock:
                pass
            state["next"] = number
            return taken

        pump = Pump(sender, send_many, lambda: finish(done), loop.call_soon, job.case.burst)

        def connection_made(conn: Any) -> None:
            sends.append(conn.send_nowait)
            if len(sends) == job.case.fanout:
                loop.call_soon(pump.run)

        make = callbacks(connection_made=connection_made, pause_writing=pump.pause, resume_writing=pump.resume)
        self.server = await transport.serve(self.url(job), protocol=make, **self.serve_options(job))
        self.listening(job)
        await done
        job.report_sent(sender)

    async def receive_many(self, job: Job, counter: Counter) -> None:
        """The receiving side of a fan-out: many sockets, one counter."""
        import transport

        self.connections = []
        receiver = callbacks(message_received=counter.take)
        for _ in range(job.case.fanout):
            conn = await transport.connect(job.address, protocol=receiver, **self.connect_options(job))
            conn.send_nowait(HELLO)
            self.connections.append(conn)

    async def drive(self, job: Job) -> None:
        """See `LoopPeer`."""
        if job.case.fanout > 1:
            await self.receive_many(job, job.counter(reliable=False))
        else:
            await super().drive(job)


class OursByCallbacks(Ours, CallbackPeer):
    """`transport.Protocol`: the answer's callback sends the next message."""

    modes = frozenset({LATENCY, THROUGHPUT, OPEN})

    def __init__(self, scheme: str, loop: str = "uvloop") -> None:
        super().__init__(scheme, loop, scheme if loop == "uvloop" else f"{scheme}-{loop}", "callbacks")

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        import transport

        class Ping(transport.Protocol):
            def connection_made(self, conn: Any) -> None:
                self.send = conn.send_nowait

            def message_received(self, message: Any, channel: int) -> None:
                following = load.reply(message)
                if following is None:
                    finish(done)
                else:
                    self.send(following)

        self.conn = await transport.connect(job.address, protocol=Ping, **self.connect_options(job))
        self.conn.send_nowait(load.first())

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        import transport

        self.connections = []
        backlogs = [Backlog(transport.WouldBlock) for _ in range(job.case.connections)]
        for backlog in backlogs:
            conn = await transport.connect(
                job.address, protocol=callbacks(resume_writing=backlog.resume), **self.connect_options(job)
            )
            self.connections.append(conn)
            backlog.send = self.sender(conn)
        return [backlog.put for backlog in backlogs]

    def sender(self, conn: Any) -> Any:
        """What sends a message on `conn`."""
        return conn.send_nowait

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        import transport

        def send_many(messages: list[Any]) -> int:
            send = self.conn.send_nowait
            left = iter(messages)
            try:
                for message in left:
                    send(message)
            except transport.WouldBlock:
                return len(messages) - operator.length_hint(left) - 1
            return len(messages)

        later = None if self.reliable else asyncio.get_running_loop().call_soon
        pump = Pump(sender, send_many, lambda: finish(done), later, job.case.burst)
        self.conn = await transport.connect(
            job.address,
            protocol=callbacks(pause_writing=pump.pause, resume_writing=pump.resume),
            **self.connect_options(job),
        )
        asyncio.get_running_loop().call_soon(pump.run)


class OursOpen(OursByCallbacks):
    """Reliable UDP by another delivery than the default, or without copies; for the open loop alone."""

    modes = frozenset({OPEN})

    def __init__(self, delivery: str, copies: bool = True) -> None:
        super().__init__("rudp")
        self.delivery = DELIVERIES[delivery]
        self.redundancy = None if copies else 1
        self.name = f"rudp-{delivery}" if copies else f"rudp-{delivery}-once"
        self.title = f"transport rudp, {delivery}" + ("" if copies else ", no copies")
        self.reliable = self.delivery <= DELIVERIES["unordered"]
        self.ordered = delivery in ("ordered", "sequenced")

    def sender(self, conn: Any) -> Any:
        """See `OursByCallbacks`."""
        import transport

        return functools.partial(
            conn.send_nowait, delivery=transport.Delivery(self.delivery), redundancy=self.redundancy
        )


class OursControlled(OursByCallbacks):
    """Reliable UDP under another congestion controller than the default; where there is something to control."""

    modes = frozenset({OPEN, THROUGHPUT})

    def __init__(self, congestion: str) -> None:
        super().__init__("rudp")
        self.congestion = congestion
        self.name = f"rudp-{congestion}"
        self.title = f"transport rudp, {congestion.upper()}"

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return super().settings() | {"congestion": self.congestion}

    def serve_options(self, job: Job) -> dict[str, Any]:
        """See `Ours`."""
        return super().serve_options(job) | {"congestion": self.congestion}

    def connect_options(self, job: Job) -> dict[str, Any]:
        """See `Ours`."""
        return super().connect_options(job) | {"congestion": self.congestion}


class OursByCoroutines(Ours, CoroutinePeer):
    """`await conn.send(...)`, `await conn.recv()`; the server is an `async for` that sends back."""

    def __init__(self, scheme: str, loop: str = "uvloop") -> None:
        name = f"{scheme}-coro" if loop == "uvloop" else f"{scheme}-coro-{loop}"
        super().__init__(scheme, loop, name, "coroutines")
        self.fans_out = False

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        import transport

        async def count(conn: Any) -> None:
            take = job.counter(self.reliable).take
            async for message in conn:
                take(message)

        async def echo(conn: Any) -> None:
            async for message in conn:
                await conn.send(message)

        handler = count if job.is_one_way else echo
        self.server = await transport.serve(self.url(job), handler, **self.serve_options(job))
        self.listening(job)

    async def connect(self, job: Job) -> None:
        """See `CoroutinePeer`."""
        import transport

        self.conn: Any = await transport.connect(job.address, **self.connect_options(job))

    async def roundtrip(self, message: Any) -> Any:
        """See `CoroutinePeer`."""
        await self.conn.send(message)
        return await self.conn.recv()

    async def send_many(self, messages: list[Any]) -> None:
        """See `CoroutinePeer`."""
        send = self.conn.send
        for message in messages:
            await send(message)


PEERS = [
    *(OursByCallbacks(scheme) for scheme in SCHEMES),
    *(OursByCoroutines(scheme) for scheme in SCHEMES),
    OursByCallbacks("tcp", "asyncio"),
    OursByCoroutines("tcp", "asyncio"),
    *(OursOpen(delivery) for delivery in ("unordered", "sequenced", "unreliable")),
    OursOpen("ordered", copies=False),
    OursControlled("bbr"),
]
