"""Files of any size, by streams, with progress. Messages go on beside them.

python examples/file_transfer.py                     sends a made-up file within one process
python examples/file_transfer.py serve URL FOLDER    takes files
python examples/file_transfer.py send URL FILE
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import tempfile
from pathlib import Path

import transport

CHUNK = 256 * 1024


def show(what: str, done: int, total: int | None) -> None:
    """One line of progress, on a terminal only."""
    if sys.stderr.isatty():
        share = f"{done * 100 // total:3} %" if total else f"{done} bytes"
        print(f"\r{what} {share}", end="" if done != total else "\n", file=sys.stderr)


class Receiver:
    """Takes files into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def handle(self, conn: transport.Connection) -> None:
        """A name comes as a message, the file as a stream; the answer is what arrived."""
        async for name in conn:
            stream = await conn.accept_stream()
            target = self.folder / Path(str(name)).name  # never a folder that the peer names
            digest = hashlib.sha256()
            with target.open("wb") as file:
                async for chunk in stream:  # memory stays bounded: the sender waits for our credit
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                    show("received", stream.received, stream.total)
            await conn.send({"size": stream.received, "sha256": digest.hexdigest()})


async def send(url: str, path: Path) -> None:
    """Sends one file and compares what the receiver says."""
    digest = hashlib.sha256()
    async with transport.connect(url) as conn:
        await conn.send(path.name)
        total = (await asyncio.to_thread(path.stat)).st_size
        async with await conn.open_stream(total=total) as stream:  # an error in here breaks the stream off
            with path.open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    digest.update(chunk)
                    await stream.write(chunk)
                    show("sent", stream.sent, total)
        answer = await conn.recv()
    print(f"{answer['size']} bytes,", "intact" if answer["sha256"] == digest.hexdigest() else "damaged")


async def serve(url: str, folder: Path) -> None:
    """Serves until it is interrupted."""
    async with transport.serve(url, Receiver(folder).handle) as server:
        print("serving", server.url)
        await server.serve_forever()


async def demo(source: Path, folder: Path) -> None:
    """Both ends in one process."""
    async with transport.serve("tcp://127.0.0.1:0", Receiver(folder).handle) as server:
        await send(str(server.url), source)


def made_up() -> None:
    """Sends 20 MB from one folder to another."""
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name, "source"), Path(name, "received")
        folder.mkdir()
        source.write_bytes(os.urandom(20_000_000))
        transport.run(demo(source, folder))
        assert (folder / "source").read_bytes() == source.read_bytes()


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
