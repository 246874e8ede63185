"""Promises about the end of a connection: who hears what, from whichever side and in whichever way it comes."""

from __future__ import annotations

import asyncio
from typing import Any

from transport.contract.base import Arena, echo, end_of, fill, need, promise, raises, same, turns
from transport.contract.flow import FLOOD, piece
from transport.errors import ConnectionClosed, ConnectionLost, LocalProtocolError


async def _gone(conn: Any) -> None:
    """After the end: every command raises, every wait returns."""
    await conn.wait_closed()
    need(conn.is_closed, "is_closed is false after wait_closed()")
    need(isinstance(conn.exception, ConnectionClosed), f"exception is {conn.exception!r} after the end")
    need(conn.close_code is not None, "close_code is None after the end")
    for name, call in (("send", conn.send), ("channel(0).send", conn.channel(0).send)):
        with raises(ConnectionClosed, f"{name} after the end"):
            await call("x")
    with raises(ConnectionClosed, "send_nowait after the end"):
        conn.send_nowait("x")
    with raises(ConnectionClosed, "recv after the end"):
        await conn.recv()
    if conn.traits.ping:
        with raises(ConnectionClosed, "ping after the end"):
            await conn.ping()
    before = (conn.close_code, conn.close_reason)
    await conn.close(5, "again")
    conn.abort()
    await conn.wait_closed()
    same((conn.close_code, conn.close_reason), before, "code and reason after a second close()")
    conn.statistics()
    repr(conn)


@promise
async def clean_close(arena: Arena) -> None:
    """close() is clean at both ends, whichever calls it, and nothing works after it."""
    for by_server in (False, True):
        async with arena.pair() as ends:
            own, other = (ends.peer, ends.client) if by_server else (ends.client, ends.peer)
            need(own.close_code is None and own.exception is None, "an open connection has a close_code or exception")
            await _close_both(own, other)
            same((own.close_code, own.close_reason), (0, ""), "close_code and close_reason of who closed")
            need(type(own.exception) is ConnectionClosed, f"exception of who closed is {own.exception!r}")
            await _gone(own)
            if ends.traits.reliable:
                same(other.close_code, 0, "close_code of the other end")
                await _gone(other)


async def _close_both(own: Any, other: Any, *arguments: Any) -> Exception | None:
    """The one closes, the other reads to its end, which is returned, and then closes too."""
    closing = asyncio.ensure_future(own.close(*arguments))
    error = None
    if own.traits.reliable:
        error = await end_of(other)
        await other.close()
    await closing
    return error


@promise
async def close_reason(arena: Arena) -> None:
    """Code and reason of close() reach the peer where the traits say so, and always stay with who closed."""
    for by_server in (False, True):
        async with arena.pair() as ends:
            own, other = (ends.peer, ends.client) if by_server else (ends.client, ends.peer)
            error = await _close_both(own, other, 7, "enough \u00e4")
            same((own.close_code, own.close_reason), (7, "enough \u00e4"), "close_code and close_reason of who closed")
            if not ends.traits.close_reason:
                continue
            need(isinstance(error, ConnectionLost), f"a close with code 7 ended iteration with {error!r}")
            assert isinstance(error, ConnectionLost)
            same((error.code, error.reason, error.by_peer), (7, "enough \u00e4", True), "what the peer was told")
            same(
                (other.close_code, other.close_reason), (7, "enough \u00e4"), "close_code and close_reason of the peer"
            )


@promise
async def close_codes(arena: Arena) -> None:
    """0, 1 to 999 and CloseCode may be given to close(); anything else raises and closes nothing."""
    async with arena.pair() as ends:
        for wrong in (-1, 1000, 1200, 70_000):
            with raises(LocalProtocolError, f"close({wrong})"):
                await ends.client.close(wrong)
        need(not ends.client.is_closed, "a close() that raised has closed the connection")
    for code in (0, 1, 999, 1001, 1011):
        async with arena.pair() as ends:
            await _close_both(ends.client, ends.peer, code)
            same(int(ends.client.close_code), code, "close_code of who closed")
            if ends.traits.close_reason:
                same(int(ends.peer.close_code), code, "close_code of the peer")


@promise
async def close_keeps_what_was_sent(arena: Arena) -> None:
    """What was sent before close() still arrives, however much it is."""
    async with arena.pair(codec="raw") as ends:
        if not ends.traits.reliable:
            return
        for index in range(300):
            await ends.client.send(index.to_bytes(4, "big") * 2000)
            if index == 200:
                break
        closing = asyncio.ensure_future(ends.client.close(grace=10.0))
        got = [int.from_bytes(message[:4], "big") async for message in ends.peer]
        same(sorted(got), list(range(201)), "what was sent before close()")
        await ends.peer.close()
        await closing
        same(ends.client.close_code, 0, "close_code")


@promise
async def close_at_once(arena: Arena) -> None:
    """Both ends closing at once is clean at both."""
    for turn in range(4):
        async with arena.pair() as ends:
            for conn in (ends.client, ends.peer):
                await conn.send("on its way")
            closing = [asyncio.ensure_future(ends.client.close())]
            await turns(turn)
            closing.append(asyncio.ensure_future(ends.peer.close()))
            await asyncio.gather(*closing)
            same((ends.client.close_code, ends.peer.close_code), (0, 0), f"close codes, {turn} turns apart")


@promise
async def concurrent_closes(arena: Arena) -> None:
    """Several tasks may close one connection; a close() that is cancelled has still begun."""
    async with arena.pair() as ends:
        await asyncio.gather(*(ends.client.close() for _ in range(3)), *(ends.peer.close() for _ in range(3)))
        same(ends.client.close_code, 0, "close_code after three close() at once")
    async with arena.pair() as ends:
        closing = asyncio.ensure_future(ends.client.close())
        await turns(1)
        closing.cancel()
        await asyncio.wait([closing])
        need(ends.client.is_closed, "a cancelled close() has closed nothing")
        if ends.traits.reliable:
            need(await end_of(ends.peer) is None, "the peer of a cancelled close() heard of no clean end")
            await ends.peer.close()
        await ends.client.wait_closed()


@promise
async def close_has_an_end(arena: Arena) -> None:
    """close() cuts after its grace when the peer takes nothing any more."""
    async with arena.pair(codec="raw", high_water=65_536, channel_window=65_536, connection_window=65_536,
                          inbox=65_536) as ends:  # fmt: skip
        if not ends.traits.reliable:
            return
        await fill(ends.client, piece, FLOOD)
        await ends.client.close(grace=0.05)
        need(ends.client.is_closed, "is_closed is false after close()")
        await ends.client.wait_closed()
        ends.peer.abort()
        await ends.peer.wait_closed()


@promise
async def abort(arena: Arena) -> None:
    """An abort ends a connection at once: wait_closed returns and nothing works after it."""
    for by_server in (False, True):
        async with arena.pair() as ends:
            own = ends.peer if by_server else ends.client
            await own.send("never mind")
            own.abort()
            need(own.is_closed, "is_closed is false after abort()")
            await own.wait_closed()
            for _ in range(2):  # what had come may still be read
                need(isinstance(await end_of(own), ConnectionLost), "iteration after abort() ended as if all were well")
            same(int(own.close_code), 1006, "close_code after abort()")
            await _gone(own)


@promise
async def peer_abort(arena: Arena) -> None:
    """A peer that aborts is noticed: readers and writers end, with ConnectionLost where an end can be told apart."""
    for by_server in (False, True):
        async with arena.pair() as ends:
            if not ends.traits.reliable:
                return
            own, other = (ends.client, ends.peer) if by_server else (ends.peer, ends.client)
            reading = asyncio.ensure_future(end_of(own))
            await turns(3)
            other.abort()
            error = await reading
            if ends.traits.close_reason:
                need(isinstance(error, ConnectionLost), f"iteration ended with {error!r} when the peer aborted")
                with raises(ConnectionLost, "recv after the peer aborted"):
                    await own.recv()
                await _gone(own)
            with raises(ConnectionClosed, "send to a peer that has aborted"):
                for _ in range(10_000):
                    await own.send("x" * 1000)
                    await asyncio.sleep(0)
            await own.close()


@promise
async def lost_messages_are_told(arena: Arena) -> None:
    """A reliable connection that the peer cuts ends with an error, after what had arrived."""
    async with arena.pair() as ends:
        if not (ends.traits.reliable and ends.traits.close_reason):
            return
        for index in range(50):
            await ends.client.send(index)
        same(await ends.peer.recv(), 0, "the first message")
        ends.client.abort()
        got = [0]
        with raises(ConnectionLost, "iteration over a connection that was cut"):
            async for message in ends.peer:
                got.append(message)
        same(got, list(range(len(got))), "what came before the cut")


@promise
async def wait_closed(arena: Arena) -> None:
    """Everybody in wait_closed returns; one that is cancelled leaves the others alone."""
    async with arena.pair() as ends:
        waiting = [asyncio.ensure_future(ends.client.wait_closed()) for _ in range(4)]
        await turns(2)
        need(not any(task.done() for task in waiting), "wait_closed() returned while the connection is open")
        waiting[1].cancel()
        await turns(2)
        need(not waiting[0].done(), "wait_closed() ended with another task's")
        ends.client.abort()
        await asyncio.wait(waiting)
        failed = [task for index, task in enumerate(waiting) if index != 1 and (task.cancelled() or task.exception())]
        need(not failed, f"wait_closed() failed: {failed}")


@promise
async def context_manager(arena: Arena) -> None:
    """Leaving `async with` closes cleanly; leaving it by an exception tells the peer an internal error."""
    async with arena.serve(echo) as server:
        async with arena.connect(server) as client:
            client_end = client
        same(client_end.close_code, 0, "close_code after `async with`")
        need(client_end.is_closed, "the connection is open after `async with`")
        with raises(ZeroDivisionError, "an exception in the block"):
            async with arena.connect(server) as client:
                client_end = client
                raise ZeroDivisionError
        same(int(client_end.close_code), 1011, "close_code after a block that raised")
