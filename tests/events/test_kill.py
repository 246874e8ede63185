"""A server that is killed (-9) in the middle of its work, with a log in a file: nothing is lost or happens twice."""

from __future__ import annotations

import asyncio
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

SERVER = """
import sys
import transport
from transport.events import Events
from transport.log import SQLiteLog

app = Events(SQLiteLog(sys.argv[1], durability="os"))
room = app.namespace("/")

@room.on("add")
async def add(ctx, number):
    return await room.to("r").emit("added", number)

async def main():
    async with app.serve(sys.argv[2]) as serving:
        print("ready", flush=True)
        await serving.serve_forever()

transport.run(main())
"""


async def start(path: Path, url: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, str(path), url, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def kill(process: Any) -> None:
    process.send_signal(signal.SIGKILL)
    await process.communicate()


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_kill(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/s"
    log = tmp_path / "events.db"
    process = await start(log, url)
    backoff = transport.Backoff(initial=0.02, maximum=0.1)
    client = await connect_events(url, reconnect=backoff, cursor=tmp_path / "me.cur")
    got: list[int] = []
    client.on("added", lambda m: got.append(m.event))
    client.on_gap(lambda m: got.append(-1))
    await client.join("r")

    async def send() -> None:
        for number in range(600):
            if number % 3:
                await client.emit("add", number)
            else:
                await client.call("add", number, timeout=None)

    sender = asyncio.create_task(send())
    for count in (100, 250, 400):
        await until(lambda count=count: len(got) >= count, 15)
        await kill(process)
        process = await start(log, url)
    await sender
    await client.flush()
    await until(lambda: len(got) >= 600, 15)
    await client.close()
    await kill(process)
    assert sorted(got) == list(range(600))
    async with SQLiteLog(log) as there:
        stored: list[int] = []
        while True:
            page = await there.read(Stream("/", "r"), len(stored))
            if not page.events:
                break
            stored += [_codec.decode(event.payload)[1] for event in page.events]
    assert stored == got, "each once, and in the order in which it came"
    assert client.reconnects == 3
