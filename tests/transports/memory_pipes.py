"""What the tests of memory pipes share."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Any

import pytest

import transport
from tests.sim.machines import Bytes
from transport.errors import (
    ConnectFailed,
    WouldBlock,
)


async def echo(conn: transport.Connection) -> None:
    async for message in conn:
        await conn.send(message)


def now() -> int:
    """Nanoseconds of virtual time since the loop began."""
    loop = asyncio.get_running_loop()
    return loop.time_ns() - loop.clock.start_ns


async def end_of(conn: transport.MachineConnection) -> None:
    """Raises what ended it."""
    while True:
        await conn.next_event()


def fill(conn: transport.Connection) -> int:
    """Sends until it would block; how many messages that took."""
    count = 0
    while True:
        try:
            conn.send_nowait(bytes(65_536))
        except WouldBlock:
            return count
        count += 1


class Recorder(Bytes):
    """A byte machine whose turn can be waited for."""

    made: list[Recorder] = []

    def __init__(self) -> None:
        super().__init__()
        Recorder.made.append(self)


async def pipe(url: str, server: Callable[[], object] = Recorder) -> tuple[Any, Any, Any]:
    """A server and a client that run machines: (server, client's connection, server's machine)."""
    Recorder.made = []
    served = await transport.serve(url, machine=server)
    conn = await transport.connect(served.url, machine=Bytes)
    return served, conn, Recorder.made[0] if Recorder.made else None


async def refused(url: str, **options: object) -> ConnectFailed:
    with pytest.raises(ConnectFailed) as caught:
        await transport.connect(url, **options)
    assert caught.value.errno == errno.ECONNREFUSED
    return caught.value
