"""picows on uvloop: WebSocket in Cython, callbacks. Each message is taken as bytes, as from every peer."""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return,misc"

from __future__ import annotations

import asyncio
import functools
from typing import Any

from bench.cases import LATENCY, OPEN, THROUGHPUT
from bench.job import Job
from bench.load import ClosedLoop, Pump, Sender
from bench.peers.base import LIBRARY, CallbackPeer, finish


class PicoWs(CallbackPeer):
    """picows.ws_create_server and ws_connect."""

    name = "picows"
    title = "picows on uvloop, tcp"
    kind = LIBRARY
    scheme = "tcp"
    modes = frozenset({LATENCY, THROUGHPUT, OPEN})
    modules = ("picows",)
    distributions = ("picows",)

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {"max_frame_size": "raised above the payload", "aiofastnet": "as picows chooses (default)"}

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        import picows

        binary = picows.WSMsgType.BINARY
        take = job.counter(reliable=True).take if job.is_one_way else None

        class Echo(picows.WSListener):
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                if frame.msg_type == binary:
                    transport.send(binary, frame.get_payload_as_bytes())

        class Count(picows.WSListener):
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                if frame.msg_type == binary:
                    assert take is not None
                    take(frame.get_payload_as_bytes())

        make = Count if job.is_one_way else Echo
        self.server = await picows.ws_create_server(
            lambda _request: make(), job.host, 0, max_frame_size=job.case.payload + 1024
        )
        host, port = self.server.sockets[0].getsockname()[:2]
        job.ready(f"ws://{host}:{port}/")

    async def ping(self, job: Job, load: ClosedLoop, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        import picows

        binary = picows.WSMsgType.BINARY

        class Ping(picows.WSListener):
            def on_ws_connected(self, transport: Any) -> None:
                transport.send(binary, load.first())

            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                if frame.msg_type == binary:
                    message = load.reply(frame.get_payload_as_bytes())
                    if message is None:
                        finish(done)
                    else:
                        transport.send(binary, message)

        await picows.ws_connect(Ping, job.address, max_frame_size=job.case.payload + 1024)

    async def senders(self, job: Job) -> list[Any]:
        """See `LoopPeer`."""
        import picows

        binary = picows.WSMsgType.BINARY
        transports = [(await picows.ws_connect(picows.WSListener, job.address))[0] for _ in range(job.case.connections)]
        return [functools.partial(transport.send, binary) for transport in transports]

    async def send(self, job: Job, sender: Sender, done: asyncio.Future[None]) -> None:
        """See `CallbackPeer`."""
        import picows

        binary = picows.WSMsgType.BINARY
        loop = asyncio.get_running_loop()

        class Send(picows.WSListener):
            def __init__(self) -> None:
                super().__init__()
                self.pump = Pump(sender, self.send_many, lambda: finish(done))

            def on_ws_connected(self, transport: Any) -> None:
                self.write = transport.send
                loop.call_soon(self.pump.run)

            def send_many(self, messages: list[bytes]) -> None:
                write = self.write
                for message in messages:
                    write(binary, message)

            def pause_writing(self) -> None:
                self.pump.pause()

            def resume_writing(self) -> None:
                self.pump.resume()

        await picows.ws_connect(Send, job.address)


PEERS = [PicoWs()]
