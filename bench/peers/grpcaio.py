"""grpcio: one bidirectional stream of `grpc.aio`, messages as raw bytes, no protobuf, no encryption.

Its core is in C with threads of its own, pinned with the process. `write` waits while HTTP/2's flow control does: this
is the back-pressure.
"""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

import asyncio
from typing import Any

from bench.job import Job
from bench.peers.base import LIBRARY, CoroutinePeer

SERVICE = "bench.Bench"
METHOD = "Messages"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
CONNECT_S = 10


class Grpc(CoroutinePeer):
    """grpc.aio, stream_stream."""

    name = "grpcio"
    title = "gRPC by grpcio on uvloop, tcp"
    kind = LIBRARY
    scheme = "tcp"
    loop = "uvloop"
    modules = ("grpc",)
    distributions = ("grpcio",)
    note = "HTTP/2; raw bytes without protobuf"

    def __init__(self) -> None:
        self.channels: list[Any] = []  # kept: one that is forgotten closes

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {
            "call": "one bidirectional stream in grpc.aio (grpc.io, page 'Performance Best Practices': streaming for a "
            "long-lived flow, asyncio for Python)",
            "serializers": "none, bytes as they are",
            "channel": "insecure",
            "max_send_message_length, max_receive_message_length": "-1, unlimited",
        }

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        import grpc

        async def echo(request_iterator: Any, context: Any) -> None:
            async for message in request_iterator:
                await context.write(message)

        async def count(request_iterator: Any, context: Any) -> None:
            take = job.counter(reliable=True).take
            async for message in request_iterator:
                take(message)

        handler = grpc.stream_stream_rpc_method_handler(count if job.is_one_way else echo)
        self.server = grpc.aio.server(options=OPTIONS)
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
        port = self.server.add_insecure_port(f"{job.host}:0")
        await self.server.start()
        job.ready(f"{job.host}:{port}")

    async def open(self, job: Job) -> Any:
        """One channel and its stream; `await write(message)` waits when the peer is slower."""
        import grpc

        channel = grpc.aio.insecure_channel(job.address, options=OPTIONS)
        self.channels.append(channel)
        await asyncio.wait_for(channel.channel_ready(), CONNECT_S)
        return channel.stream_stream(f"/{SERVICE}/{METHOD}")()

    async def connect(self, job: Job) -> None:
        """See `CoroutinePeer`."""
        self.call = await self.open(job)

    async def roundtrip(self, message: bytes) -> Any:
        """See `CoroutinePeer`."""
        await self.call.write(message)
        return await self.call.read()

    async def send_many(self, messages: list[bytes]) -> None:
        """See `CoroutinePeer`."""
        write = self.call.write
        for message in messages:
            await write(message)

    async def close(self) -> None:
        """See `CoroutinePeer`."""
        await self.call.done_writing()


PEERS = [Grpc()]
