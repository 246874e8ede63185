"""Programs for network namespaces, where each end is a process of its own.

`python -m tests.rudp.roamer serve URL` echoes, and says how often a client has moved when it is asked.
`python -m tests.rudp.roamer load URL MOVES` sends and receives, a batch after the other, until the server has seen so
many moves and one batch more has gone through.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import transport

BATCH = 300
BODIES = [index.to_bytes(2, "big") * (1 + index * 7 % 900) for index in range(BATCH)]
QUESTION = b"how often have I moved?"


async def _echo(conn: Any) -> None:
    async for message in conn:
        answer = message
        if message == QUESTION:
            answer = str(conn.statistics().counters["path_changes"]).encode()
        await conn.send(answer)


async def serve(url: str) -> None:
    async with transport.serve(url, _echo, codec="raw"):
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def load(url: str, moves: int) -> None:
    seen = 0
    async with transport.connect(url, codec="raw", keepalive=0.2) as conn:  # it may be waiting when its address goes
        while True:
            is_last = seen >= moves
            print("batch", seen, flush=True)
            sending = asyncio.ensure_future(_send_all(conn))
            for body in BODIES:
                assert await conn.recv() == body
            await sending
            await conn.send(QUESTION)
            seen = int(await conn.recv())
            if is_last:
                break
        print("moves", seen, conn.get_extra_info("sockname")[0], flush=True)


async def _send_all(conn: Any) -> None:
    for body in BODIES:
        await conn.send(body)


if __name__ == "__main__":
    command, where, *rest = sys.argv[1:]
    asyncio.run(serve(where) if command == "serve" else load(where, int(rest[0])))
