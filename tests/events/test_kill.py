"""A server that is killed (-9) in the middle of its commits, with a log in a file: nothing is lost or happens twice.

TRANSPORT_KILL_ROUNDS says how often it is killed in a test.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.events.test_events import until
from transport.events import connect_events
from transport.events.envelope import _codec
from transport.log import SQLiteLog, Stream

ROUNDS = int(os.environ.get("TRANSPORT_KILL_ROUNDS", "2"))
MESSAGES = (ROUNDS + 1) * 130
SERVER = """
import sys
import transport
from transport.events import Events, History
from transport.log import SQLiteLog

app = Events(SQLiteLog(sys.argv[1], durability="os"))
room = app.namespace("/", history=History(count=10_000_000, bytes="1GiB"))

@room.on("add")
async def add(ctx, number):
    return await room.to("r").emit("added", number)

async def main():
    async with app.serve(sys.argv[2]) as serving:
        print(serving.url, flush=True)
        await serving.serve_forever()

transport.run(main())
"""


async def start(path: Path, url: str) -> tuple[Any, str]:
    """A server's process, and its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(path), url, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert process.stdout is not None
    real = (await process.stdout.readline()).decode().strip()
    assert real.startswith(url.partition("://")[0])
    return process, real


async def kill(process: Any) -> None:
    process.send_signal(signal.SIGKILL)
    await process.communicate()


async def send(client: Any, numbers: range) -> None:
    """Two messages of three are only sent, of the third the reply is awaited."""
    for number in numbers:
        if number % 3:
            await client.emit("add", number)
        else:
            await client.call("add", number, timeout=None)


async def kept(log: Path) -> list[int]:
    """What the log has of the room, once nobody writes it any more."""
    async with SQLiteLog(log, check=True) as there:
        stored: list[int] = []
        while (page := await there.read(Stream("/", "r"), len(stored))).events:
            stored += [_codec.decode(event.payload)[1] for event in page.events]
    return stored


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize("scheme", ["tcp", "ws", "rudp"])
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_kill(scheme: str, tmp_path: Path, rng: random.Random) -> None:
    any_port = f"{scheme}://127.0.0.1:0"
    log, cursor = tmp_path / "events.db", tmp_path / "me.cur"
    process, url = await start(log, any_port)
    backoff = transport.Backoff(initial=0.02, maximum=0.1)
    client = await connect_events(url, reconnect=backoff, cursor=cursor, connect_timeout=2.0)
    got: list[int] = []
    client.on("added", lambda m: got.append(m.event))
    client.on_gap(lambda m: got.append(-1))
    await client.join("r")
    sender = asyncio.create_task(send(client, range(MESSAGES)))
    for _ in range(ROUNDS):
        enough = min(len(got) + rng.randrange(20, 120), MESSAGES)
        await until(lambda enough=enough: len(got) >= enough, 30)
        await kill(process)
        process, client.url = await start(log, any_port)
        if client.wire is not None and client.wire.conn is not None:
            client.wire.conn.abort()  # over UDP nothing tells, for half a minute, that a process is gone
    await sender
    await client.flush()
    await until(lambda: len(got) >= MESSAGES, 30)
    assert client.reconnects == ROUNDS
    session = client.machine.session
    await client.close()
    await kill(process)
    assert sorted(got) == list(range(MESSAGES))
    assert await kept(log) == got, "each once, and in the order in which it came"

    process, url = await start(log, any_port)  # and both are started again
    again = await connect_events(url, cursor=cursor)
    assert again.machine.session == session
    fresh: list[int] = []
    again.on("added", lambda m: fresh.append(m.event))
    again.on_gap(lambda m: fresh.append(-1))
    await again.join("r")
    assert (await again.call("add", MESSAGES))[1] == MESSAGES + 1
    await until(lambda: fresh, 15)
    await again.close()
    await kill(process)
    assert fresh == [MESSAGES]
