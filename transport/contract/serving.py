"""Promises about servers, addresses, records and connecting: what a program sees around its messages."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from transport.contract.base import (
    HELLO,
    Arena,
    arrival,
    ask,
    echo,
    end_of,
    need,
    nobody_there,
    promise,
    raises,
    same,
    shown,
    take,
    turns,
    until,
)
from transport.delivery import Delivery, Traits
from transport.errors import CloseCode, ConnectFailed, ConnectionClosed, ConnectionLost, LocalProtocolError
from transport.url import parse

CLIENTS = 8


@promise
async def traits(arena: Arena) -> None:
    """The declared traits make sense, are the same at both ends, and cannot be changed."""
    async with arena.pair() as ends:
        found = ends.client.traits
        need(isinstance(found, Traits), f"traits is {found!r}")
        same(ends.peer.traits, found, "traits of the server's end")
        need(found.channels >= 1, f"channels is {found.channels}")
        need(found.max_message is None or found.max_message > 0, f"max_message is {found.max_message}")
        need(found.supports(Delivery.UNRELIABLE), "not even UNRELIABLE is supported")
        need(not found.streams or found.reliable, "streams without reliability")
        with raises(dataclasses.FrozenInstanceError, "an assignment to traits.reliable"):
            found.reliable = not found.reliable


@promise
async def real_url(arena: Arena) -> None:
    """server.url can be connected to as it is and as text: it carries the real address, never port 0."""
    async with arena.serve(echo) as server:
        need(server.url.port != 0, f"server.url is {server.url}")
        for url in (server.url, str(server.url)):
            same(parse(url).scheme, server.url.scheme, "the scheme of server.url")
            async with arena.connect(url) as client:
                same(await ask(client, "x"), "x", f"the echo of a server at {shown(url)}")
                same(str(client.url), str(server.url), "url of the client")
        need(str(server.url) in repr(server), f"{server!r} does not say where it is")


@promise
async def awaited(arena: Arena) -> None:
    """Serve and connect can be awaited as well as entered."""
    server = await arena.serve(echo)
    try:
        client = await arena.connect(server)
        same(await ask(client, "x"), "x", "the echo")
        await client.close()
    finally:
        await server.close()


@promise
async def addresses(arena: Arena) -> None:
    """Both ends agree on their addresses, and get_extra_info gives its default for what it does not know."""
    async with arena.pair() as ends:
        for own, other in ((ends.client, ends.peer), (ends.peer, ends.client)):
            need(own.remote_address is not None or other.local_address in (None, ""), "remote_address is None")
            if own.remote_address and other.local_address:
                same(other.local_address, own.remote_address, "local_address, beside remote_address of the other end")
            same(own.get_extra_info("nothing of that name", 42), 42, "get_extra_info with a default")
            need(own.get_extra_info("nothing of that name") is None, "get_extra_info of what is not there")
            peername = own.get_extra_info("peername")
            need(peername is None or peername == own.remote_address, f"peername is {peername!r}")
        need(str(ends.server.url) == str(ends.peer.url.without_query()), f"url of the server's end is {ends.peer.url}")


@promise
async def several_connections(arena: Arena) -> None:
    """Connections at once do not mix, and each is a connection of its own on the server."""
    seen: set[Any] = set()

    async def tagged(conn: Any) -> None:
        seen.add(conn)
        async for message in conn:
            await conn.send([message, conn.remote_address])

    async def talk(server: Any, tag: int) -> None:
        async with arena.connect(server) as client:
            for index in range(20):
                answer = await ask(client, [tag, index])
                while not client.traits.reliable and answer[0] != [tag, index]:
                    need(answer[0][0] == tag, f"client {tag} got what belongs to another: {answer}")
                    answer = await client.recv() if answer[0][1] > index else await ask(client, [tag, index])
                same(answer[0], [tag, index], f"the answer to client {tag}")

    async with arena.serve(tagged) as server:
        await asyncio.gather(*(talk(server, tag) for tag in range(CLIENTS)))
        need(len(seen) == CLIENTS, f"{CLIENTS} clients were {len(seen)} connections on the server")
        need(server.statistics().accepted == CLIENTS, f"statistics().accepted is {server.statistics().accepted}")
        if next(iter(seen)).traits.reliable:
            await until(lambda: not server.connections)


@promise
async def accept(arena: Arena) -> None:
    """Both accept and `async for` give the connections of a server without handler, and end with it."""
    server = await arena.serve()
    try:
        clients = [await arena.connect(server) for _ in range(3)]
        peers = [await arrival(server, client) for client in clients]
        same(len(set(peers)), 3, "connections accepted")
        for client in clients:
            client.abort()
        waiting = asyncio.ensure_future(server.accept())
        cancelled = asyncio.ensure_future(server.accept())
        await turns(2)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        for peer in peers:
            peer.abort()
    finally:
        await server.close()
    with raises(ConnectionClosed, "accept() on a server that closes"):
        await waiting
    need([conn async for conn in server] == [], "iteration over a closed server gave a connection")
    async with arena.serve(echo) as server:
        with raises(LocalProtocolError, "accept() on a server with a handler"):
            await server.accept()


@promise
async def server_close(arena: Arena) -> None:
    """server.close() tells every peer, ends every handler, frees the address, and may be called again."""
    begun: list[Any] = []
    ended: list[Any] = []

    async def stubborn(conn: Any) -> None:
        begun.append(conn)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(conn)

    server = await arena.serve(stubborn)
    clients = [await arena.connect(server) for _ in range(3)]
    for client in clients:
        await client.send(HELLO)
    while len(begun) < 3:
        for client in clients:
            if not client.traits.reliable:
                await client.send(HELLO)
        await asyncio.sleep(0.002)
    reading = [asyncio.ensure_future(end_of(client)) for client in clients if client.traits.reliable]
    forever = asyncio.ensure_future(server.serve_forever())
    await asyncio.gather(server.close(grace=0.2), server.close())
    await asyncio.wait_for(forever, 5)
    same(len(ended), 3, "handlers that were ended")
    same((len(server.connections), server.statistics().connections), (0, 0), "connections after close()")
    for task, client in zip(reading, clients, strict=False):
        await task
        if client.traits.close_reason:
            same(int(client.close_code), int(CloseCode.GOING_AWAY), "the code that the clients were told")
    for client in clients:
        client.abort()
        await client.wait_closed()
    await server.close()
    await nobody_there(arena.connect(server), "connect to a closed server")
    async with arena.serve(echo, url=server.url) as again, arena.connect(again) as client:
        same(await ask(client, "x"), "x", "the echo of a new server at the same address")


@promise
async def nobody_listens(arena: Arena) -> None:
    """Connecting to an address where nobody listens raises ConnectFailed, and harms nothing."""
    server = await arena.serve(echo)
    await server.close()
    for _ in range(3):
        await nobody_there(arena.connect(server), "connect to nobody")


@promise
async def cancelled_connect(arena: Arena) -> None:
    """A connect() that is cancelled, at whatever moment, leaves nothing behind at either end."""
    async with arena.serve(echo) as server:
        for count in range(16):
            task = asyncio.ensure_future(_open(arena, server))
            await turns(count)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                await task.result().close()
        async with arena.connect(server) as client:
            same(await ask(client, "x"), "x", "the echo after connects that were cancelled")
            if client.traits.reliable:
                await until(lambda: len(server.connections) <= 1)


async def _open(arena: Arena, server: Any) -> Any:
    return await arena.connect(server)


@promise
async def address_in_use(arena: Arena) -> None:
    """A second server on the address of a running one raises OSError, and the first goes on."""
    async with arena.serve(echo) as server:
        with raises(OSError, "serve on an address in use"):
            await (await arena.serve(echo, url=server.url)).close()
        async with arena.connect(server) as client:
            same(await ask(client, "x"), "x", "the echo of the first server")


@promise
async def failing_handler(arena: Arena) -> None:
    """A handler that raises closes its own connection with an error code, and nothing else."""

    async def touchy(conn: Any) -> None:
        async for message in conn:
            if message == "fail":
                raise ZeroDivisionError("on purpose: a check of the transport's contract")
            await conn.send(message)

    async with arena.client_of(touchy) as (server, good), arena.connect(server) as bad:
        same(await ask(good, "x"), "x", "the echo")
        same(await ask(bad, "y"), "y", "the echo")
        while not server.statistics().failed_handlers:
            if not bad.is_closed:
                await bad.send("fail")
            await asyncio.sleep(0.002 if bad.traits.reliable else 0.02)
            if bad.traits.reliable:
                break
        if bad.traits.reliable:
            error = await end_of(bad)
            if bad.traits.close_reason:
                need(isinstance(error, ConnectionLost), f"the peer of a handler that raised got {error!r}")
                same(bad.close_code, int(CloseCode.INTERNAL_ERROR), "close_code")
        same(server.statistics().failed_handlers, 1, "statistics().failed_handlers")
        await _still_there(good)


async def _still_there(client: Any) -> None:
    answer = await ask(client, "still there")
    while answer != "still there":
        need(not client.traits.reliable, f"the echo is {answer!r}")
        answer = await ask(client, "still there")


@promise
async def handler_returns(arena: Arena) -> None:
    """A handler that returns closes its connection cleanly, after what it has sent."""

    async def greet(conn: Any) -> None:
        await conn.recv()
        for index in range(50):
            await conn.send(index)

    async with arena.client_of(greet) as (server, client):
        if client.traits.reliable:
            await client.send("hello")
            got = await take(client, 50)
            same(sorted(got), list(range(50)), "what the handler sent")
            need(await end_of(client) is None, "the end was not clean")
            await client.close()
            await until(lambda: not server.connections)
        else:
            need(await ask(client, "hello") in range(50), "nothing came from the handler")


@promise
async def statistics(arena: Arena) -> None:
    """The statistics are a snapshot that counts what happened and cannot be changed."""
    async with arena.pair() as ends:
        first = ends.client.statistics()
        for index in range(10):
            await ends.client.send(index)
        await ends.client.flush()
        second = ends.client.statistics()
        need(second.messages_sent - first.messages_sent == 10,
             f"ten messages count as {second.messages_sent - first.messages_sent}")  # fmt: skip
        with raises(dataclasses.FrozenInstanceError, "an assignment to a snapshot"):
            second.messages_sent = 5
        second.counters["messages_sent"] = -7
        need(ends.client.statistics().counters.get("messages_sent") != -7, "a snapshot's counters are the live ones")
        if ends.traits.reliable:
            await take(ends.peer, 10)
            seen = ends.peer.statistics()
            same((seen.messages_received, seen.inbox_bytes), (10, 0), "messages_received and inbox_bytes of the peer")
            need(first.messages_sent == 0, f"messages_sent of a new connection is {first.messages_sent}")
        names = ("queued_bytes", "unsent_bytes", "blocked_bytes", "inbox_bytes", "inbox_dropped")
        negative = [name for name in names if getattr(ends.client.statistics(), name) < 0]
        need(not negative, f"negative figures in statistics(): {negative}")
        server = ends.server.statistics()
        same((server.connections, server.accepted), (1, 1), "connections and accepted of the server")
        with raises(dataclasses.FrozenInstanceError, "an assignment to a server's snapshot"):
            server.accepted = 9


@promise
async def full_server(arena: Arena) -> None:
    """max_connections is kept: one more is refused or cut, and there is room again when one ends."""
    async with arena.serve(echo, max_connections=1) as server, arena.connect(server) as first:
        same(await ask(first, "x"), "x", "the echo")
        if not first.traits.reliable:
            async with arena.connect(server) as second:
                for _ in range(5):
                    await second.send("x")
                    await asyncio.sleep(0.002)
            need(len(server.connections) == 1, f"{len(server.connections)} connections where 1 is allowed")
            return
        with raises((ConnectFailed, ConnectionClosed), "one connection more than max_connections"):
            async with arena.connect(server) as second:
                await ask(second, "x")
        await first.close()
        await until(lambda: not server.connections)
        async with arena.connect(server) as third:
            same(await ask(third, "x"), "x", "the echo when there was room again")
