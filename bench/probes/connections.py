"""Many connections at once: all of them echo, and what an idle one costs in memory.

Memory is private pages of the server process (kernel buffers are not in it), between 100 connections, when every lazy
part is loaded, and all of them. Run as a child: `python -m bench.probes.connections`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
from collections.abc import Callable
from time import monotonic, perf_counter, sleep
from typing import Any

from bench.bars import simple_bar
from bench.child import Child, ChildFailed
from bench.peers.base import fastest_loop
from bench.procstat import memory_bytes

CONNECTIONS = 5000
WARM = 100
AT_ONCE = 100  # connects under way
SPARE_DESCRIPTORS = 200
LIMIT_KIB = 16.0
DEADLINE_S = 120.0
SETTLE_S = 1.0
STYLES = {"callbacks": "callbacks", "coroutines": "coroutines", "uvloop": "bare uvloop"}
MESSAGE = b"m" * 64


def raise_descriptors(count: int) -> int:
    """Asks for room for `count` sockets; returns what is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + SPARE_DESCRIPTORS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft - SPARE_DESCRIPTORS


class Echo(asyncio.Protocol):
    """The bare server, to compare with."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Answer(asyncio.Protocol):
    """The bare client: a future per message."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.answer: asyncio.Future[bytes] | None = None

    async def ask(self, message: bytes) -> bytes:
        """One echo of a short message."""
        self.answer = asyncio.get_running_loop().create_future()
        self.transport.write(message)
        return await self.answer

    def data_received(self, data: bytes) -> None:
        assert self.answer is not None
        self.answer.set_result(data)


async def listen(style: str) -> Any:
    """Starts an echo server; returns what a client needs to connect."""
    if style == "uvloop":
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=1024)
        return server.sockets[0].getsockname()[:2]
    import transport

    class Calls(transport.Protocol):
        def connection_made(self, conn: Any) -> None:
            self.conn = conn

        def message_received(self, message: Any, channel: int) -> None:
            self.conn.send_nowait(message, channel=channel)

    async def handler(conn: Any) -> None:
        async for message in conn:
            await conn.send(message)

    scheme = style.rpartition("-")[0] or "tcp"
    if style.endswith("callbacks"):
        ours = await transport.serve(f"{scheme}://127.0.0.1:0", protocol=Calls, codec="raw")
    else:
        ours = await transport.serve(f"{scheme}://127.0.0.1:0", handler, codec="raw")
    listen.server = ours  # type: ignore[attr-defined]  # kept alive
    return str(ours.url)


async def connect(style: str, address: Any) -> Callable[[], Any]:
    """One connection; calling the result awaits one checked echo."""
    if style == "uvloop":
        _, protocol = await asyncio.get_running_loop().create_connection(Answer, *address)

        async def ask() -> None:
            if await protocol.ask(MESSAGE) != MESSAGE:
                raise ValueError("wrong echo")

        return ask
    import transport

    conn = await transport.connect(address, codec="raw")

    async def ask_ours() -> None:
        await conn.send(MESSAGE)
        if await conn.recv() != MESSAGE:
            raise ValueError("wrong echo")

    return ask_ours


def say(message: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(message), flush=True)


async def hear() -> dict[str, Any]:
    """One line from the parent."""
    line = await asyncio.to_thread(sys.stdin.readline)
    if not line:
        raise SystemExit
    return dict(json.loads(line))


async def client(style: str, address: Any) -> None:
    """Opens as many connections as it is told, in steps; every step ends with an echo on all of them at once."""
    asks: list[Callable[[], Any]] = []
    while True:
        wanted = (await hear())["connections"]
        while len(asks) < wanted:
            some = min(AT_ONCE, wanted - len(asks))
            asks += await asyncio.gather(*(connect(style, address) for _ in range(some)))
        began = perf_counter()
        await asyncio.gather(*(ask() for ask in asks))
        say({"echoed": {"connections": len(asks), "seconds": perf_counter() - began}})


async def main() -> None:
    """A child: server or client."""
    command = await hear()
    raise_descriptors(CONNECTIONS)
    gc.collect()
    if command["role"] == "server":
        say({"ready": await listen(command["style"])})
        await hear()
    else:
        await client(command["style"], command["address"])


def measure(style: str, count: int) -> dict[str, Any]:
    """One style. Raises ChildFailed."""
    deadline = monotonic() + DEADLINE_S
    with Child("server", __name__) as server, Child("client", __name__) as clients:
        server.tell({"role": "server", "style": style})
        address = server.hear("ready", deadline)
        clients.tell({"role": "client", "style": style, "address": address})
        seen: dict[str, Any] = {}
        for step, connections in (("warm", WARM), ("full", count)):
            clients.tell({"connections": connections})
            seen[step] = clients.hear("echoed", deadline)
            sleep(SETTLE_S)  # nothing is timed: the allocator and both loops come to rest
            seen[step] |= {"server": memory_bytes(server.pid), "client": memory_bytes(clients.pid)}
        for side in ("server", "client"):
            grown = seen["full"][side]["private"] - seen["warm"][side]["private"]
            seen[f"{side}_bytes_a_connection"] = grown / (count - WARM)
        return seen


def run(tick: Callable[[str], None], count: int = CONNECTIONS) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(bars, what was seen)."""
    allowed = raise_descriptors(count)
    bars: list[dict[str, Any]] = []
    probes: dict[str, Any] = {}
    for style, title in STYLES.items():
        seen: dict[str, Any] = {}
        why: str | None = f"only {allowed} descriptors are allowed (ulimit -n)"
        if allowed >= count:
            try:
                seen, why = measure(style, count), None
            except ChildFailed as failure:
                why = str(failure)
        value = seen["server_bytes_a_connection"] / 1024 if seen else None
        bar = simple_bar(
            f"memory-{style}", f"KiB an idle connection of {count}, {title}", "KiB", value, LIMIT_KIB, why=why
        )
        if style == "uvloop":
            bar["verdict"] = "INFORMATION"
        bars.append(bar)
        probes[style] = seen
        tick(style)
    return bars, probes


if __name__ == "__main__":
    fastest_loop().run_until_complete(main())
