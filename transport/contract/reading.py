"""Promises about taking messages: nothing is lost to a cancelled recv, one reader at a time, a quiet end."""

from __future__ import annotations

import asyncio
from typing import Any

from transport.contract.base import (
    END,
    RETRY_S,
    Arena,
    end_of,
    is_hello,
    need,
    one_by_one,
    promise,
    raises,
    same,
    take,
    turns,
    until,
)
from transport.errors import ConnectionClosed, ConnectionLost, LocalProtocolError, WouldBlock

COUNT = 400


@promise
async def recv_nowait(arena: Arena) -> None:
    """recv_nowait gives what is there, raises WouldBlock when there is nothing, and what ended the connection."""
    async with arena.pair() as ends:
        await _drain(ends.peer)
        with raises(WouldBlock, "recv_nowait without a message"):
            ends.client.recv_nowait()
        got: list[Any] = []

        async def look() -> None:
            while len(set(got)) < 3:
                try:
                    message = ends.peer.recv_nowait()
                except WouldBlock:
                    await asyncio.sleep(0.001)
                else:
                    if not is_hello(message):
                        got.append(message)

        looking = asyncio.ensure_future(look())
        for message in ("a", "b", "c"):
            await ends.client.send(message)
        while not looking.done():
            await asyncio.wait([looking], timeout=RETRY_S)
            if not ends.traits.reliable and not looking.done():
                for message in ("a", "b", "c"):
                    await ends.client.send(message)
        await looking
        if ends.traits.reliable and ends.traits.ordered:
            same(got, ["a", "b", "c"], "what recv_nowait gave")
        await asyncio.gather(ends.peer.close(), ends.client.close())
        with raises(ConnectionClosed, "recv_nowait after close()"):
            ends.peer.recv_nowait()


async def _drain(conn: Any) -> None:
    while not conn.traits.reliable:
        try:
            conn.recv_nowait()
        except WouldBlock:
            return


@promise
async def cancelled_recv(arena: Arena) -> None:
    """A recv that is cancelled, at whatever moment, loses no message and leaves the next one to work."""
    async with arena.pair() as ends:
        got: list[Any] = []
        sending = asyncio.ensure_future(_send_slowly(ends.client))
        try:
            step = 0
            while END not in got:
                task = asyncio.ensure_future(ends.peer.recv())
                await turns(step % 7)
                step += 1
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    got.append(task.result())
                elif step % 7 == 0:
                    await asyncio.sleep(0.001)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        _whole(ends, [message for message in got if isinstance(message, int)], "cancelled recv")


@promise
async def timed_out_recv(arena: Arena) -> None:
    """A recv under a time limit that runs out loses no message."""
    async with arena.pair() as ends:
        got: list[Any] = []
        sending = asyncio.ensure_future(_send_slowly(ends.client))
        try:
            step = 0
            while END not in got:
                step += 1
                try:
                    async with asyncio.timeout(0 if step % 2 else 0.0003):
                        got.append((await ends.peer.receive()).message)
                except TimeoutError:
                    await turns(1)
        finally:
            sending.cancel()
            await asyncio.wait([sending])
        _whole(ends, [message for message in got if isinstance(message, int)], "recv with a time limit")


async def _send_slowly(conn: Any) -> None:
    for index in range(COUNT):
        await conn.send(index)
        if index % 5 == 0:
            await asyncio.sleep(0.0005 if index % 50 == 0 else 0)
    await conn.send(END)
    while not conn.traits.reliable:
        await asyncio.sleep(RETRY_S)
        await conn.send(END)


def _whole(ends: Any, got: list[int], what: str) -> None:
    need(len(got) == len(set(got)), f"{what}: messages came twice")
    if ends.traits.reliable:
        lost = sorted(set(range(COUNT)) - set(got))
        need(not lost, f"{what}: {len(lost)} of {COUNT} messages are lost, the first of them {lost[:3]}")
    if ends.traits.ordered:
        need(got == sorted(got), f"{what}: messages came out of order")


@promise
async def second_recv(arena: Arena) -> None:
    """A second task in recv on one inbox gets LocalProtocolError, and the first still gets its message."""
    async with arena.pair() as ends:
        await _drain(ends.peer)
        first = asyncio.ensure_future(ends.client.recv())
        await turns(3)
        for name in ("recv", "receive", "__anext__"):
            with raises(LocalProtocolError, f"{name}() while another task is in recv()"):
                await getattr(ends.client, name)()
        with raises(LocalProtocolError, "recv_nowait() while another task is in recv()"):
            ends.client.recv_nowait()
        need(not first.done(), "the first recv() has ended with the second")
        while not first.done():
            await ends.peer.send("for the first")
            await asyncio.wait([first], timeout=None if ends.traits.reliable else RETRY_S)
        same(await first, "for the first", "the first recv()")


@promise
async def iteration_ends(arena: Arena) -> None:
    """`async for` gives what was sent before a clean close, then ends; recv raises ConnectionClosed."""
    async with arena.pair() as ends:
        if not ends.traits.reliable:
            await ends.client.close()
            need(await end_of(ends.client) is None, "iteration after the own close() raised")
            return
        for index in range(100):
            await ends.client.send(index)
        closing = asyncio.ensure_future(ends.client.close())
        got = [message async for message in ends.peer]
        got.sort()
        same(got, list(range(100)), "what was sent before the close")
        with raises(ConnectionClosed, "recv() after a clean end") as caught:
            await ends.peer.recv()
        need(not isinstance(caught[0], ConnectionLost), f"a clean close gave {caught[0]!r}")
        need(await end_of(ends.peer) is None, "a second iteration after a clean end raised")
        await ends.peer.close()
        await closing
        need(await end_of(ends.client) is None, "iteration after the own close() raised")


@promise
async def waiting_reader_is_told(arena: Arena) -> None:
    """A task in recv, on the connection or on a channel, is woken by its own close() and abort()."""
    for how in ("close", "abort"):
        async with arena.pair() as ends:
            lane = ends.client.channel(ends.traits.channels - 1)
            tasks = [asyncio.ensure_future(lane.recv())]
            if ends.traits.channels > 1:
                tasks.append(asyncio.ensure_future(ends.client.recv()))
            await turns(3)
            if how == "close":
                await asyncio.gather(ends.client.close(), ends.peer.close())
            else:
                ends.client.abort()
            await asyncio.wait(tasks)
            for task in tasks:
                error = task.exception()
                need(isinstance(error, ConnectionClosed), f"recv() during {how}() gave {error!r}")


@promise
async def cancelled_iteration(arena: Arena) -> None:
    """Leaving an `async for` and coming back loses nothing."""
    async with arena.pair() as ends:
        if not ends.traits.reliable:
            need(9 in await one_by_one(ends.client, ends.peer, [9]), "nothing came")
            return
        for index in range(9):
            await ends.client.send(index)
        got = []
        for _ in range(3):
            async for message in ends.peer:
                got.append(message)
                if len(got) % 3 == 0:
                    break
        same(sorted(got), list(range(9)), "what three loops took")
        await ends.client.send("x")
        await until(lambda: ends.peer.statistics().messages_received >= 10)
        same(await take(ends.peer, 1), ["x"], "recv() after the loops")
