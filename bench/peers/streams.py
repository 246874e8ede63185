"""asyncio streams with a four-byte length before each message, as the documentation writes them.

`readexactly(4)`, `readexactly(n)`; sending is one `write` a message, and one `drain` after each run of at most 64 KiB
(after every message would cost more and gain nothing). On asyncio and on uvloop, over tcp, unix and tls.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from bench.job import Job
from bench.peers.base import BASELINE, CoroutinePeer
from bench.peers.certificate import client_context, server_context


class Streams(CoroutinePeer):
    """asyncio.StreamReader and StreamWriter."""

    kind = BASELINE
    distributions = ()

    def __init__(self, scheme: str, loop: str) -> None:
        self.scheme = scheme
        self.loop = loop
        suffix = "" if scheme == "tcp" else f"-{scheme}"
        self.name = f"{loop}-streams{suffix}"
        self.title = f"asyncio streams on {loop}, {scheme}"
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def serve(self, job: Job) -> None:
        """See `LoopPeer`."""

        async def on_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if job.is_one_way:
                take = job.counter(reliable=True).take
                while True:
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    take(await reader.readexactly(size))
            try:
                while True:
                    header = await reader.readexactly(4)
                    message = await reader.readexactly(int.from_bytes(header, "big"))
                    writer.write(header + message)
                    await writer.drain()
            except asyncio.IncompleteReadError:
                writer.close()

        if self.scheme == "unix":
            path = os.path.join(job.scratch, "streams.sock")
            await asyncio.start_unix_server(on_connection, path)
            job.ready(path)
            return
        tls = server_context() if self.scheme == "tls" else None
        server = await asyncio.start_server(on_connection, job.host, 0, ssl=tls)
        self._server = server
        job.ready(server.sockets[0].getsockname()[:2])

    async def connect(self, job: Job) -> None:
        """See `CoroutinePeer`."""
        if self.scheme == "unix":
            self.reader, self.writer = await asyncio.open_unix_connection(job.address)
            return
        options: dict[str, Any] = {}
        if self.scheme == "tls":
            options = {"ssl": client_context(), "server_hostname": "localhost"}
        self.reader, self.writer = await asyncio.open_connection(*job.address, **options)

    async def roundtrip(self, message: bytes) -> bytes:
        """See `CoroutinePeer`."""
        self.writer.write(len(message).to_bytes(4, "big") + message)
        await self.writer.drain()
        size = int.from_bytes(await self.reader.readexactly(4), "big")
        return await self.reader.readexactly(size)

    async def send_many(self, messages: list[bytes]) -> None:
        """See `CoroutinePeer`."""
        write = self.writer.write
        for message in messages:
            write(len(message).to_bytes(4, "big") + message)
        await self.writer.drain()

    async def close(self) -> None:
        """See `CoroutinePeer`."""
        self.writer.close()


PEERS = [
    Streams("tcp", "asyncio"),
    Streams("tcp", "uvloop"),
    Streams("unix", "uvloop"),
    Streams("tls", "uvloop"),
]
