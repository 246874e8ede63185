"""Connections whose buffers are full, for the tests of back pressure."""

from __future__ import annotations

from typing import Any

import pytest

from tests.drive.linked import turns
from transport.drive.connection import Connection
from transport.errors import WouldBlock

OPEN_WIDE = {"channel_window": 1 << 30, "connection_window": 1 << 30}
DEBUG = pytest.mark.parametrize("debug", [False, True], ids=["waiter", "future"])


def queued(conn: Connection) -> int:
    statistics = conn.statistics()
    return statistics.queued_bytes + statistics.unsent_bytes + statistics.blocked_bytes


async def full(conn: Connection, size: int = 10_000, **options: Any) -> int:
    """Sends until the connection takes no more, with the pipe full; how many messages that took."""
    count = 0
    quiet = 0
    while quiet < 3:
        try:
            conn.send_nowait(bytes(size), **options)
            count += 1
            quiet = 0
        except WouldBlock:
            quiet += 1
            await turns(2)
    return count


async def choke(conn: Connection) -> None:
    """Sends until the kernel takes no more, and hardly beyond."""
    quiet = 0
    while quiet < 10:
        if not conn.statistics().unsent_bytes:
            conn.send_nowait(bytes(10_000))
            quiet = 0
        quiet += 1
        await turns(2)
