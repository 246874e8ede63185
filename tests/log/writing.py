"""A process that appends until it is killed, and says on its output what was acknowledged: `writing.py FILE DURABILITY
SEED`.

Each line is one commit that the log has acknowledged: the stream, the offset of its last event, how many events. One in
eight is a client's message with its reply. On its way it trims, retains and drops, so that every kind of transaction is
cut at some time.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

from transport.log import Append, History, Receipt, Session, SQLiteLog, Stream

STREAMS = [Stream("/", name) for name in "abcd"]


async def write(log: SQLiteLog, stream: Stream, rng: random.Random) -> None:
    """Appends to one stream for ever."""
    while True:
        top = (await log.head(stream)).top
        count = rng.choice((1, 1, 1, 3, 40))
        size = rng.choice((0, 10, 300, 9000))
        done = await log.commit(
            [Append(stream, b"%s %d " % (stream.room.encode(), top + at + 1) + bytes(size)) for at in range(count)]
        )
        print("events", stream.room, done.appended[-1].epoch, done.appended[-1].offset, count, flush=True)


async def answer(log: SQLiteLog) -> None:
    """Handles one message of a client after the other, each with an event on its private stream."""
    session = await log.get_session("client")
    generation = session.generation if session else 0
    await log.put_session(Session("client", b"", generation + 1, b"", 2**62), generation or None)
    number = (await log.received("client")).contiguous
    own = Stream("/", "client", True)
    while True:
        number += 1
        done = await log.commit(
            [Append(own, b"%d" % number)], Receipt("client", generation + 1, number, b"reply %d" % number)
        )
        print("message", number, done.appended[0].offset, flush=True)


async def tend(log: SQLiteLog, rng: random.Random) -> None:
    """Has the log forget."""
    while True:
        await asyncio.sleep(rng.random() * 0.01)
        await log.retain()
        await log.drop(Stream("/", f"short-lived {rng.randrange(3)}"))
        await log.append(Stream("/", f"short-lived {rng.randrange(3)}"), b"x", key="k")


async def main(path: str, durability: str, seed: int) -> None:
    rng = random.Random(seed)
    history = History(count=300, age_ms=None, bytes=None)
    async with SQLiteLog(path, durability=durability, history=history) as log:
        print("open", time.time_ns(), flush=True)
        async with asyncio.TaskGroup() as tasks:
            for stream in STREAMS:
                tasks.create_task(write(log, stream, random.Random(rng.random())))
            tasks.create_task(answer(log))
            tasks.create_task(tend(log, rng))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
