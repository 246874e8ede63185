"""A file over reliable UDP, with a progress bar: done, rate, time left, loss, and what had to be sent again.

python examples/file_sender.py                             over a link that loses 5 %, then over a real socket
python examples/file_sender.py serve rudp://0.0.0.0:7000 FOLDER
python examples/file_sender.py send rudp://HOST:7000 FILE
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import transport

CHUNK = 64 * 1024
BAR = 30  # characters
LOSSY = "memory://files?rudp=true&loss=0.05&delay=1ms&jitter=500us"


def size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit in ("B", "KB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


class Progress:
    """What a transfer looks like while it runs. `clock` gives seconds."""

    def __init__(self, conn: transport.Connection, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.conn = conn
        self.total = total
        self.clock = clock
        self.begun = clock()

    def line(self, sent: int) -> str:
        """One line. What is queued or in flight is not done: only what the peer has acknowledged is."""
        seen = self.conn.statistics()
        done = min(self.total, max(0, sent - seen.queued_bytes))
        seconds = max(self.clock() - self.begun, 1e-6)
        rate = done / seconds
        left = f"{(self.total - done) / rate:.0f} s left" if rate else "? s left"
        filled = BAR * done // self.total if self.total else BAR
        counters = seen.counters  # docs/guides/statistics.md says what they mean
        lost = counters.get("packets_lost", 0) / max(1, counters.get("packets_sent", 0))
        again = size(counters.get("retransmitted_bytes", 0))
        return (
            f"[{'#' * filled}{'.' * (BAR - filled)}] {size(done)} of {size(self.total)}, {size(rate)}/s, {left}, "
            f"{lost:.1%} lost, {again} sent again"
        )

    async def show(self, stream: transport.OutgoingStream) -> None:
        """Draws the line ten times a second, on a terminal only."""
        while sys.stderr.isatty():
            print(f"\r{self.line(stream.sent)}\x1b[K", end="", file=sys.stderr, flush=True)
            await asyncio.sleep(0.1)


async def receive(conn: transport.Connection, folder: Path) -> None:
    """A name comes as a message, the file as a stream; the answer is what arrived."""
    async for name in conn:
        stream = await conn.accept_stream()
        target = folder / Path(str(name)).name  # never a folder that the peer names
        digest = hashlib.sha256()
        with target.open("wb") as file:
            async for chunk in stream:
                digest.update(chunk)
                await asyncio.to_thread(file.write, chunk)
        await conn.send(digest.hexdigest())


async def send(url: str, path: Path) -> None:
    """Sends one file, shows how it goes, and compares what the receiver says."""
    digest = hashlib.sha256()
    async with transport.connect(url) as conn:
        await conn.send(path.name)
        progress = Progress(conn, (await asyncio.to_thread(path.stat)).st_size)
        async with await conn.open_stream(total=progress.total) as stream:
            showing = asyncio.create_task(progress.show(stream))
            try:
                with path.open("rb") as file:
                    while chunk := await asyncio.to_thread(file.read, CHUNK):
                        digest.update(chunk)
                        await stream.write(chunk)  # waits while the receiver, or the link, is slower
            finally:
                showing.cancel()
        answer = await conn.recv()  # when this is here, all of the file is there
        print(f"{'' if not sys.stderr.isatty() else chr(10)}{progress.line(stream.sent)}")
    print("intact" if answer == digest.hexdigest() else "damaged", "over", str(url).partition("?")[0])


async def serve(url: str, folder: Path) -> None:
    """Serves until it is interrupted."""
    async with transport.serve(url, lambda conn: receive(conn, folder)) as server:
        print("serving", server.url)
        await server.serve_forever()


async def demo(source: Path, folder: Path) -> None:
    """Both ends in one process: a simulated link, then a socket."""
    for url in (LOSSY, "rudp://127.0.0.1:0"):
        async with transport.serve(url, lambda conn: receive(conn, folder)) as server:
            await send(str(server.url), source)


def made_up() -> None:
    """Sends 3 MB from one folder to another."""
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name, "source"), Path(name, "received")
        folder.mkdir()
        source.write_bytes(os.urandom(3_000_000))
        transport.run(demo(source, folder))


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            made_up()
        case ["serve", url, folder]:
            transport.run(serve(url, Path(folder)))
        case ["send", url, file]:
            transport.run(send(url, Path(file)))
        case _:
            sys.exit(__doc__)
