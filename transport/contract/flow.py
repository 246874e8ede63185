"""Promises about a sender faster than its reader: it waits, memory stays within its marks, and nothing is lost."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from transport.contract.base import (
    Arena,
    fill,
    need,
    one_by_one,
    outbound,
    promise,
    raises,
    same,
    stalled,
    turns,
    until,
)
from transport.drive.protocol import Protocol
from transport.errors import ConnectionClosed

HIGH = 65_536
PIECE = 16_384
MARKS = {
    "codec": "raw",
    "high_water": HIGH,
    "low_water": HIGH // 4,
    "inbox": 131_072,
    "channel_window": 131_072,
    "connection_window": 131_072,
}
INBOX_MOST = 131_072 + 1_048_576  # what one read of a pipe without credit may bring on top
FLOOD = 8000  # pieces: more than any kernel keeps for a reader that does not read
STORM = 3000


def piece(index: int) -> bytes:
    """A message of `PIECE` bytes that says which it is."""
    return index.to_bytes(4, "big") * (PIECE // 4)


def number(message: bytes) -> int:
    """Which `piece` it is; raises `Broken` if it is none."""
    index = int.from_bytes(message[:4], "big")
    need(message == piece(index), "a message was altered")
    return index


@promise
async def back_pressure(arena: Arena) -> None:
    """send() waits for a reader that does not read, both ends stay within their marks, then everything arrives."""
    async with arena.pair(**MARKS) as ends:
        if not ends.traits.reliable:
            await _storm(ends)
            return
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for index in range(FLOOD):
                await ends.client.send(piece(index))
                sent = index + 1

        sending = asyncio.ensure_future(flood())
        try:
            count = await stalled(lambda: sent)
            need(count < FLOOD, f"{FLOOD * PIECE:,} bytes were sent to a peer that reads nothing")
            need(outbound(ends.client) <= 3 * HIGH, f"{outbound(ends.client):,} bytes wait at a high water of {HIGH:,}")
            kept = ends.peer.statistics().inbox_bytes
            need(kept <= INBOX_MOST, f"{kept:,} bytes are in the inbox of a reader that reads nothing")
            for index in range(count):
                need(number(await ends.peer.recv()) == index, f"message {index} is missing")
            await until(lambda: sent > count)
            need(ends.peer.statistics().inbox_dropped == 0, "reliable messages were dropped")
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        ends.client.abort()


async def _storm(ends: Any) -> None:
    """An unreliable message never waits, and takes no room for ever."""
    for index in range(STORM):
        ends.client.send_nowait(piece(index)[: min(1000, ends.traits.max_message or 1000)])
        waiting = outbound(ends.client)
        need(waiting <= 1024 * 1024, f"{waiting:,} bytes of unreliable messages wait to leave")
    await asyncio.wait_for(ends.client.flush(), 10)
    for _ in range(200):
        await asyncio.sleep(0.0005)
        kept = ends.peer.statistics().inbox_bytes
        need(kept <= 4 * 1024 * 1024, f"{kept:,} bytes of unreliable messages wait for a reader that reads nothing")
    need(b"alive" in await one_by_one(ends.client, ends.peer, [b"alive"]), "nothing came after a flood")


@promise
async def hard_limit(arena: Arena) -> None:
    """send_nowait raises WouldBlock at twice high water, keeps what it took, and send() waits there."""
    async with arena.pair(**MARKS) as ends:
        if not ends.traits.reliable:
            return
        sent = await fill(ends.client, piece, FLOOD)
        waiting_bytes = outbound(ends.client)
        need(waiting_bytes <= 3 * HIGH, f"{waiting_bytes:,} bytes wait at a high water of {HIGH:,}")
        waiting = asyncio.ensure_future(ends.client.send(piece(sent)))
        await turns(5)
        need(not waiting.done(), "send() has queued a message above the hard limit")
        for index in range(sent + 1):
            need(number(await ends.peer.recv()) == index, f"message {index} is missing")
        await waiting
        await ends.client.flush()


@promise
async def flush(arena: Arena) -> None:
    """A flush returns when nothing waits to leave, and at once when nothing was sent."""
    async with arena.pair(codec="raw") as ends:
        await ends.client.flush()
        for size in (10, 200_000):
            for _ in range(10):
                await ends.client.send(bytes(min(size, ends.traits.max_message or size)))
            reading = asyncio.ensure_future(_read_all(ends.peer))
            await ends.client.flush()
            seen = ends.client.statistics()
            same((seen.queued_bytes, seen.unsent_bytes), (0, 0), "bytes that wait after flush()")
            reading.cancel()
            await asyncio.wait([reading])
        need(ends.client.statistics().messages_sent >= 20, "flush() returned before 20 messages were sent")
        several = [asyncio.ensure_future(ends.client.flush()) for _ in range(3)]
        several[1].cancel()
        await asyncio.wait(several)
        need(several[0].exception() is None and several[2].exception() is None, "flush() beside a cancelled one failed")


async def _read_all(conn: Any) -> None:
    async for _ in conn:
        pass


@promise
async def flush_is_told(arena: Arena) -> None:
    """flush() and send() that wait for a peer which reads nothing raise ConnectionClosed when the connection ends."""
    async with arena.pair(**MARKS) as ends:
        if not ends.traits.reliable:
            return
        await fill(ends.client, piece, FLOOD)
        waiting = [asyncio.ensure_future(one) for one in (ends.client.flush(), ends.client.send(piece(1)))]
        await turns(5)
        need(not any(task.done() for task in waiting), "flush() or send() returned while the peer reads nothing")
        ends.client.abort()
        await asyncio.wait(waiting)
        for task in waiting:
            need(isinstance(task.exception(), ConnectionClosed), f"a waiting call got {task.exception()!r}")


@promise
async def cancelled_send(arena: Arena) -> None:
    """A send that is cancelled while it waits has queued its message whole or not at all, and holds up no other."""
    async with arena.pair(**MARKS) as ends:
        if not ends.traits.reliable:
            return
        sent = await fill(ends.client, piece, FLOOD)
        tasks = [asyncio.ensure_future(ends.client.send(piece(sent + index))) for index in range(40)]
        await turns(3)
        for task in tasks[::2]:
            task.cancel()
        reading = asyncio.ensure_future(_numbers(ends.peer))
        await asyncio.wait(tasks)
        await ends.client.send(b"")
        got = await reading
        kept = [sent + index for index, task in enumerate(tasks) if not task.cancelled()]
        need(len(kept) >= 20, "send() that nobody cancelled was cancelled")
        same(got[:sent], list(range(sent)), "what was queued before")
        late = got[sent:]
        need(len(late) == len(set(late)), "messages came twice")
        lost = set(kept) - set(late)
        need(not lost, f"messages of send() that was not cancelled are lost: {sorted(lost)}")
        strange = set(late) - set(range(sent, sent + 40))
        need(not strange, f"messages came that nobody sent: {sorted(strange)}")


@promise
async def send_as_a_task(arena: Arena) -> None:
    """What send() returns can be awaited, gathered, timed and made a task of, like any coroutine."""
    async with arena.pair() as ends:
        send = ends.client.send
        await asyncio.gather(send(1), send(2))
        await asyncio.wait_for(send(3), 5)
        await asyncio.create_task(send(4))
        async with asyncio.TaskGroup() as group:
            group.create_task(send(5))
        async with asyncio.timeout(5):
            await send(6)
        await ends.client.channel(0).send(7)
        if ends.traits.reliable:
            same(sorted([await ends.peer.recv() for _ in range(7)]), list(range(1, 8)), "what was sent")
        else:
            await ends.client.flush()
            need(ends.client.statistics().messages_sent >= 8, "not all were sent")
        send(8).close()  # never awaited: nothing happens, and nobody is warned


async def _numbers(conn: Any) -> list[int]:
    got = []
    while message := await conn.recv():
        got.append(number(message))
    return got


class EchoBack(Protocol):
    """Answers each message by itself, with send_nowait and no thought of marks."""

    def connection_made(self, conn: Any) -> None:
        self.conn = conn

    def message_received(self, message: Any, channel: int) -> None:
        self.conn.send_nowait(message, channel=channel)


@promise
async def auto_pause(arena: Arena) -> None:
    """An echo in callbacks is right against a peer that reads slowly: it is not called while it may not send."""
    async with arena.serve(protocol=EchoBack, **MARKS) as server, arena.connect(server, **MARKS) as client:
        if not client.traits.reliable:
            need(b"x" in await one_by_one(client, client, [b"x"]), "no echo")
            return
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for index in range(FLOOD):
                await client.send(piece(index))
                sent = index + 1

        sending = asyncio.ensure_future(flood())
        try:
            count = await stalled(lambda: sent)
            need(count < FLOOD, f"{FLOOD * PIECE:,} bytes were sent to an echo whose answers nobody reads")
            need(not client.is_closed, f"the echo has failed: {client.exception}")
            (conn,) = server.connections
            need(outbound(conn) <= 4 * HIGH, f"{outbound(conn):,} bytes wait at a high water of {HIGH:,}")
            for index in range(count):
                need(number(await client.recv()) == index, f"the echo of message {index} is missing")
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        client.abort()


@promise
async def send_threadsafe(arena: Arena) -> None:
    """send_threadsafe sends from another thread, and its future says what send() would have raised."""
    async with arena.pair() as ends:
        loop = asyncio.get_running_loop()

        async def other_thread(message: Any, **options: Any) -> None:
            call = functools.partial(ends.client.send_threadsafe, message, **options)
            await asyncio.wrap_future(await loop.run_in_executor(None, call))

        if ends.traits.reliable:
            for index in range(5):
                await other_thread(index)
            same(sorted([await ends.peer.recv() for _ in range(5)]), list(range(5)), "what another thread sent")
        else:
            await other_thread("x")
        with raises(ValueError, "send_threadsafe with a delivery that is none"):
            await other_thread("x", delivery=9)
        ends.client.abort()
        with raises(ConnectionClosed, "send_threadsafe after abort()"):
            await other_thread("x")
