"""websockets on uvloop, its coroutine API, without compression (its documentation's advice for speed)."""

# mypy: disable-error-code="import-not-found,import-untyped,unused-ignore,no-any-return"

from __future__ import annotations

from typing import Any

from bench.job import Job
from bench.peers.base import LIBRARY, CoroutinePeer


class WebSockets(CoroutinePeer):
    """websockets.asyncio."""

    name = "websockets"
    title = "websockets on uvloop, tcp"
    kind = LIBRARY
    scheme = "tcp"
    modules = ("websockets",)
    distributions = ("websockets",)

    def settings(self) -> dict[str, str]:
        """See `Peer`."""
        return {"compression": "None", "max_size": "None", "ping_interval": "20 s (default)"}

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""
        from websockets.asyncio.server import serve

        async def on_connection(socket: Any) -> None:
            if job.is_one_way:
                take = job.counter(reliable=True).take
                async for message in socket:
                    take(message)
            else:
                async for message in socket:
                    await socket.send(message)

        self.server = await serve(on_connection, job.host, 0, compression=None, max_size=None)
        host, port = next(iter(self.server.sockets)).getsockname()[:2]
        job.ready(f"ws://{host}:{port}")

    async def connect(self, job: Job) -> None:
        """See `CoroutinePeer`."""
        from websockets.asyncio.client import connect

        self.socket: Any = await connect(job.address, compression=None, max_size=None, proxy=None)

    async def roundtrip(self, message: bytes) -> Any:
        """See `CoroutinePeer`."""
        await self.socket.send(message)
        return await self.socket.recv()

    async def send_many(self, messages: list[bytes]) -> None:
        """See `CoroutinePeer`."""
        send = self.socket.send
        for message in messages:
            await send(message)


PEERS = [WebSockets()]
