"""python-socketio on uvloop: AsyncServer in aiohttp, AsyncClient, WebSocket only, binary events.

A binary event is two WebSocket messages: a JSON text that announces it, and the bytes. Both ends queue without end, so
the sender asks for an acknowledgement of the last message of every run and holds back while too many are missing.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import asyncio
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Sender
from bench.openloop import Mailbox
from bench.peers.base import LIBRARY, CallbackPeer, finish

EVENT = "bench"
RUNS_UNANSWERED_MAX = 4  # a run has 64 KiB or one message
BUFFER_BYTES = 2 * 1024 * 1024


class SocketIo(CallbackPeer):
    """socketio.AsyncServer and socketio.AsyncClient."""

    name = "python-socketio"
    title = "Socket.IO on uvloop, tcp"
    kind = LIBRARY
    scheme = "tcp"
    loop = "uvloop"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    modules = ("socketio", "aiohttp")
    distributions = ("python-socketio", "aiohttp")
    payload_max = 1024 * 1024
    note = "over WebSocket, two frames a message; throughput is held back by acknowledgements"

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "server": "AsyncServer in aiohttp (python-socketio documentation, 'Deployment', first for asyncio)",
            "transports": "websocket only",
            "async_handlers": "False: one event after the other, in order, without a task for each",
            "max_http_buffer_size": "2 MiB, above the payload",
            "back-pressure": f"ours: the last message of a run is acknowledged, {RUNS_UNANSWERED_MAX} runs may be "
            "missing (same documentation, 'Event Callbacks')",
        }

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        import socketio
        from aiohttp import web

        server = socketio.AsyncServer(
            async_mode="aiohttp", transports=["websocket"], async_handlers=False, max_http_buffer_size=BUFFER_BYTES
        )
        counter = job.counter(reliable=True) if job.is_one_way else None

        async def count(_sid: str, message: bytes) -> None:
            assert counter is not None
            counter.take(message)

        async def echo(sid: str, message: bytes) -> None:
            await server.emit(EVENT, message, to=sid)

        server.on(EVENT, count if counter else echo)
        app = web.Application()
        server.attach(app)
        self.runner = web.AppRunner(app, access_log=None)
        await self.runner.setup()
        site = web.TCPSite(self.runner, job.host, 0)
        await site.start()
        host, port = self.runner.addresses[0][:2]
        job.ready(f"http://{host}:{port}")

    async def open(self, job: Job) -> Any:
        """One connection; `await emit(EVENT, message)` never waits, its queue has no end."""
        import socketio

        client = socketio.AsyncClient(reconnection=False, handle_sigint=False)

        async def refused(data: Any) -> None:
            job.fail(f"socket.io: {data}")

        client.on("connect_error", refused)
        await client.connect(job.address, transports=["websocket"])
        return client

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        loop = asyncio.get_running_loop()
        self.clients = [await self.open(job) for _ in range(job.case.connections)]

        def mailbox(client: Any) -> Mailbox:
            async def emit(messages: list[bytes]) -> None:
                await client.emit(EVENT, messages[0])

            return Mailbox(loop, emit, job.fail)

        self.mailboxes = [mailbox(client) for client in self.clients]
        return [one.put for one in self.mailboxes]

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        self.client = client = await self.open(job)
        emit = client.emit

        async def answered(message: bytes) -> None:
            following = load.reply(message)
            if following is None:
                finish(done)
            else:
                await emit(EVENT, following)

        client.on(EVENT, answered)
        await emit(EVENT, load.first())

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        self.client = client = await self.open(job)
        emit = client.emit
        room = asyncio.Semaphore(RUNS_UNANSWERED_MAX)

        def acknowledged(*_: Any) -> None:
            room.release()

        while (batch := sender.next()) is not None:
            await room.acquire()
            for message in batch[:-1]:
                await emit(EVENT, message)
            await emit(EVENT, batch[-1], callback=acknowledged)
        finish(done)


PEERS = [SocketIo()]
