"""Promises about channels, streams and ping: where the traits declare them they work, elsewhere they raise."""

from __future__ import annotations

import asyncio
from typing import Any

from transport.contract.base import Arena, fill, need, one_by_one, promise, raises, same, shown, take, until
from transport.contract.messages import pattern
from transport.drive.lanes import StreamError
from transport.errors import ConnectionClosed, UnsupportedOperation, WouldBlock

STREAM_BYTES = 3 * 1024 * 1024 + 17
SMALL_WINDOWS = {"channel_window": 65_536, "connection_window": 1024 * 1024, "high_water": 65_536}
TRIES = 4000  # messages of 16 KiB that nobody reads, before a transport without bounds is given up


@promise
async def channel_range(arena: Arena) -> None:
    """Every channel that the traits declare carries messages; any other raises UnsupportedOperation."""
    async with arena.pair() as ends:
        count = ends.traits.channels
        need(count >= 1, f"traits.channels is {count}")
        for number in (count, count + 1, -1, 100_000):
            with raises(UnsupportedOperation, f"channel({number}) of {count}"):
                ends.client.channel(number)
            with raises(UnsupportedOperation, f"send(channel={number}) of {count}"):
                await ends.client.send("x", channel=number)
            with raises(UnsupportedOperation, f"send_nowait(channel={number}) of {count}"):
                ends.client.send_nowait("x", channel=number)
        for number in sorted({0, 1, count // 2, count - 1} & set(range(count))):
            message = f"over channel {number}"
            if ends.traits.reliable:
                await ends.client.send(message, channel=number)
                received = await ends.peer.receive()
                same((received.message, received.channel), (message, number), "receive()")
            else:
                got = await one_by_one(ends.client, ends.peer, [message], channel=number)
                need(message in got, f"nothing came over channel {number}")


@promise
async def channel_objects(arena: Arena) -> None:
    """A channel object has an inbox of its own, which messages that wait move to; the others stay in recv()."""
    async with arena.pair() as ends:
        if ends.traits.channels < 3 or not ends.traits.reliable:
            got = await one_by_one(ends.client.channel(0), ends.peer.channel(0), ["by an object"])
            need("by an object" in got, "nothing came by channel(0)")
            return
        for index in range(30):
            await ends.client.channel(index % 3).send([index % 3, index])
        await ends.client.send("last")
        await until(lambda: ends.peer.statistics().messages_received >= 31)
        late = ends.peer.channel(2)
        same(late.number, 2, "Channel.number")
        same([await late.recv() for _ in range(10)], [[2, i] for i in range(2, 30, 3)], "what waited for channel 2")
        with raises(WouldBlock, "recv_nowait of an empty channel"):
            late.recv_nowait()
        one = ends.peer.channel(1)
        received = await one.receive()
        same((received.message, received.channel), ([1, 1], 1), "Channel.receive()")
        same(one.recv_nowait(), [1, 4], "Channel.recv_nowait()")
        zero = await take(ends.peer, 11)
        ordered = [message for message in zero if message != "last"]
        same(sorted(ordered), [[0, i] for i in range(0, 30, 3)], "what is left for recv()")
        need(ends.peer.channel(2) is late, "channel(2) twice gives two objects")


@promise
async def channel_order(arena: Arena) -> None:
    """Messages of one channel keep their order whatever goes over the others."""
    async with arena.pair() as ends:
        count = min(ends.traits.channels, 5)
        if not (ends.traits.reliable and ends.traits.ordered):
            return
        for index in range(1000):
            await ends.client.send(index, channel=index % count)
        got: dict[int, list[int]] = {number: [] for number in range(count)}
        for _ in range(1000):
            received = await ends.peer.receive()
            got[received.channel].append(received.message)
        for number, found in got.items():
            same(found, list(range(number, 1000, count)), f"channel {number}")


@promise
async def slow_channel(arena: Arena) -> None:
    """A channel that nobody reads holds up no other, and loses nothing."""
    async with arena.pair(codec="raw", **SMALL_WINDOWS) as ends:
        if ends.traits.channels < 2 or not ends.traits.reliable:
            return
        stuck, free = ends.peer.channel(1), ends.peer.channel(0)
        sent = await fill(ends.client, lambda _: pattern(16_384), TRIES, channel=1)
        for index in range(20):
            await ends.client.send(index.to_bytes(2, "big"), channel=0)
            same(await free.recv(), index.to_bytes(2, "big"), "channel 0 beside one that nobody reads")
        for index in range(sent):
            need(await stuck.recv() == pattern(16_384), f"message {index} of the channel that was stuck was altered")


@promise
async def ping(arena: Arena) -> None:
    """A ping gives seconds where the traits declare it, and raises UnsupportedOperation elsewhere."""
    async with arena.pair() as ends:
        for conn in (ends.client, ends.peer):
            if not ends.traits.ping:
                with raises(UnsupportedOperation, "ping()"):
                    await conn.ping()
                continue
            seconds = await conn.ping()
            need(isinstance(seconds, float) and 0 <= seconds < 60, f"ping() gave {seconds!r}")
            need(conn.statistics().rtt == seconds, f"statistics().rtt is {conn.statistics().rtt}, not {seconds}")
            several = await asyncio.gather(*(conn.ping() for _ in range(10)))
            need(all(0 <= one < 60 for one in several), f"ten pings at once gave {several}")


@promise
async def ping_ends(arena: Arena) -> None:
    """A ping that is cancelled or cut off by the end of the connection breaks nothing else."""
    async with arena.pair() as ends:
        if not ends.traits.ping:
            return
        for _ in range(100):  # more than may be unanswered at once
            task = asyncio.ensure_future(ends.client.ping())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        need(await ends.client.ping() >= 0, "no ping after a hundred that were cancelled")
        task = asyncio.ensure_future(ends.client.ping())
        await asyncio.sleep(0)
        ends.client.abort()
        await asyncio.wait([task])
        need(task.exception() is None or isinstance(task.exception(), ConnectionClosed), f"{task!r}")
        with raises(ConnectionClosed, "ping() after abort()"):
            await ends.client.ping()


async def _read(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


@promise
async def streams(arena: Arena) -> None:
    """A stream larger than a message arrives byte for byte beside messages; UnsupportedOperation where none exist."""
    async with arena.pair(codec="raw") as ends:
        if not ends.traits.streams:
            with raises(UnsupportedOperation, "open_stream()"):
                await ends.client.open_stream()
            with raises(UnsupportedOperation, "accept_stream()"):
                await ends.client.accept_stream()
            return
        data = pattern(STREAM_BYTES)
        for sender, reader in ((ends.client, ends.peer), (ends.peer, ends.client)):
            outgoing = await sender.open_stream(0, total=len(data))
            writing = asyncio.ensure_future(_write(outgoing, data))
            incoming = await reader.accept_stream()
            same((incoming.total, incoming.channel, incoming.received), (len(data), 0, 0), "an accepted stream")
            await sender.send(b"beside it")
            need(await reader.recv() == b"beside it", "a message beside a stream that nobody reads")
            got = await _read(incoming)
            await writing
            need(got == data, f"a stream of {len(data)} bytes came as {len(got)} bytes, or altered")
            same((outgoing.sent, incoming.received), (len(data), len(data)), "sent and received of the stream")


async def _write(stream: Any, data: bytes) -> None:
    async with stream:
        for start in range(0, len(data), 300_000):
            await stream.write(data[start : start + 300_000])


@promise
async def several_streams(arena: Arena) -> None:
    """Streams at once do not mix, and an empty one is complete."""
    async with arena.pair() as ends:
        if not ends.traits.streams:
            return
        contents = [pattern(200_000 + index)[index:] for index in range(5)] + [b""]
        for content in contents:
            stream = await ends.client.open_stream()
            writing = asyncio.ensure_future(_write(stream, content))
            incoming = await ends.peer.accept_stream()
            need(await _read(incoming) == content, f"a stream of {len(content)} bytes came altered")
            await writing
        writers = [asyncio.ensure_future(_write(await ends.client.open_stream(), content)) for content in contents]
        incoming = [await ends.peer.accept_stream() for _ in contents]
        got = await asyncio.gather(*(_read(stream) for stream in incoming))
        await asyncio.gather(*writers)
        need(got == contents, f"streams at once were mixed: sizes {[len(one) for one in got]}")


@promise
async def streams_broken_off(arena: Arena) -> None:
    """Either end may break a stream off: the other gets a StreamError with the code, and the connection goes on."""
    async with arena.pair() as ends:
        if not ends.traits.streams:
            return
        outgoing = await ends.client.open_stream()
        await outgoing.write(b"begun")
        incoming = await ends.peer.accept_stream()
        same(await incoming.read(), b"begun", "the first chunk")
        outgoing.abort(42)
        with raises(StreamError, "read() of a stream that its sender broke off") as caught:
            while await incoming.read():
                pass
        same(caught[0].code, 42, "StreamError.code")
        outgoing = await ends.client.open_stream()
        await outgoing.write(b"begun")
        incoming = await ends.peer.accept_stream()
        incoming.abort(43)
        with raises(StreamError, "write() to a stream that its reader broke off") as caught:
            while outgoing.sent < 64 * STREAM_BYTES:
                await outgoing.write(bytes(100_000))
        same(caught[0].code, 43, "StreamError.code")
        await ends.client.send("alive")
        same(await ends.peer.recv(), "alive", f"after two streams were broken off ({shown(ends.client)})")
