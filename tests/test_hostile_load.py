"""Peers that try to fill a memory or to keep a server busy: what they cost is bounded, all others go on."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import msgpack
import pytest

from tests.strangers import HELLO, RAW_HELLO, STYLES, ended_by, scene, until
from transport import limits
from transport.api import connect, serve
from transport.codec import varint
from transport.errors import CloseCode, WouldBlock
from transport.stream import frames

WINDOW = 64 * limits.KIB
SMALL = {"channel_window": WINDOW, "connection_window": WINDOW, "high_water": WINDOW, "sndbuf": 4096}
DEAF = {"SO_RCVBUF": 4096}

pytestmark = pytest.mark.asyncio


def frame(kind: int, body: bytes = b"", channel: int = 0, delivery: int = 0) -> bytes:
    return frames.header(kind, len(body), channel, delivery) + body


MARK = frame(frames.MESSAGE, msgpack.packb("mark"))  # behind a flood: seen when all of it has been taken in


class Traced:
    """How much memory came into use, at most, in a `with` block. Bytes."""

    def __enter__(self) -> Traced:
        gc.collect()
        tracemalloc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.left, self.peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()


def held(conn: Any) -> int:
    """Everything that a connection keeps for or from its peer. Bytes."""
    stats = conn.statistics()
    return int(stats.queued_bytes + stats.unsent_bytes + stats.blocked_bytes + stats.inbox_bytes)


def fill(conn: Any, message: bytes) -> None:
    while True:
        conn.send_nowait(message)


async def standing(stage: Any, count: Any) -> int:
    """Returns what `count` gives once it has not changed for many rounds of the healthy connection."""
    last, same = count(), 0
    while same < 20:
        await stage.healthy.more(2)
        now = count()
        last, same = now, same + 1 if now == last else 0
    return int(last)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("channel", [0, 255])
async def test_more_than_the_credit_allows(style: str, channel: int) -> None:
    """A peer that reads no answers, and sends on when its credit is used up, is cut off before it fills a memory."""
    async with scene(style, codec="raw", message=b"well", max_message=WINDOW, **SMALL) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        said = memoryview(RAW_HELLO + frame(frames.MESSAGE, bytes(30_000), channel) * 200)
        with Traced() as traced:
            for at in range(0, len(said), 10_000):
                await stranger.say(said[at : at + 10_000])
            await ended_by(conn, CloseCode.FLOW_CONTROL, "out of credit")
        assert traced.peak < 10 * WINDOW
        assert await stranger.goodbye() == (CloseCode.FLOW_CONTROL, conn.close_reason)
        stranger.end()
        await until(lambda: conn not in stage.server.connections)


@pytest.mark.parametrize("style", STYLES)
async def test_a_peer_that_stops_reading(style: str) -> None:
    """Its answers wait, its further requests wait, in bounds; the server's other work goes on."""
    async with scene(style, codec="raw", message=b"well", max_message=WINDOW, **SMALL) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        await stranger.say(RAW_HELLO)
        said = asyncio.ensure_future(stranger.say(frame(frames.MESSAGE, bytes(1000)) * 60))
        await said
        assert await standing(stage, lambda: held(conn)) <= 5 * WINDOW
        assert conn.close_code is None
        while len([found for found in (stranger.frames() if stranger.said else []) if not found.kind]) < 60:
            assert await stranger.hear()  # it reads again: nothing was lost
        assert conn.close_code is None


@pytest.mark.parametrize("framing", ["message", "length32", "lines"])
async def test_sending_to_a_peer_that_reads_nothing_waits(framing: str) -> None:
    async with scene(codec="raw", message=b"well", framing=framing, **SMALL) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        await stranger.say(RAW_HELLO if framing == "message" else b"")
        await until(lambda: " open " in repr(conn))
        sent = 0

        async def push() -> None:
            nonlocal sent
            while True:
                await conn.send(b"x" * 10_000)
                sent += 1

        pushing = asyncio.ensure_future(push())
        count = await standing(stage, lambda: sent)
        assert held(conn) <= 2 * WINDOW
        with pytest.raises(WouldBlock, match="bytes are queued"):
            fill(conn, b"x" * 10_000)
        assert held(conn) <= 2 * WINDOW + 20_000
        while sent < count + 20:  # it reads again, and sending goes on
            assert await stranger.hear()
        pushing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pushing


async def test_endless_pings_from_a_peer_that_reads_no_answer() -> None:
    """Answers are queued up to a bound, then dropped: a ping unanswered is what its sender asked for."""
    async with scene(sndbuf=4096) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        await stranger.say(HELLO)
        with Traced() as traced:
            for _ in range(100):
                await stranger.say(frame(frames.PING, b"12345678") * 2000)
            await until(lambda: conn.statistics().counters["pings_ignored"] > 1000)
        assert traced.peak < 3 * limits.MIB
        await stranger.say(MARK)
        await until(lambda: conn.statistics().messages_received)
        assert conn.close_code is None


async def test_pongs_that_nobody_asked_for() -> None:
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO)
        with Traced() as traced:
            for number in range(20):
                await stranger.say(frame(frames.PONG, number.to_bytes(8, "big")) * 2000)
            await stranger.say(MARK)
            await until(lambda: conn.statistics().messages_received)
        assert traced.left < limits.MIB
        assert conn.statistics().rtt is None


@pytest.mark.parametrize("first_complete", [False, True])
async def test_streams_opened_and_broken_off_for_ever(first_complete: bool) -> None:
    """Each may hold a window full that nobody reads; broken off, it holds nothing."""
    chunk = bytes(60_000)
    said = b""
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO)
        with Traced() as traced:
            for number in range(60):
                said = frames.numbers(frames.STREAM_OPEN, number, 0)
                said += frames.numbers(frames.STREAM_DATA, number, tail=chunk) * 10
                said += frames.numbers(frames.STREAM_END, number) if first_complete else b""
                await stranger.say(said + frames.numbers(frames.STREAM_RESET, number, 1, 0))
            said = b""
            await stranger.say(MARK)
            await until(lambda: conn.statistics().messages_received)
        assert traced.left < 2 * limits.MIB, "of 36 MB that came"


async def test_a_stream_in_pieces_of_two_bytes() -> None:
    """What waits for its reader costs about what it holds; the reader gets it all, in order."""
    count = 20_000
    async with serve("tcp://127.0.0.1:0") as server, connect(server.url) as conn:
        peer = await server.accept()
        with Traced() as traced:
            stream = await conn.open_stream()
            for number in range(count // 200):
                for _ in range(200):
                    await stream.write(number.to_bytes(2, "big"))
                await asyncio.sleep(0)
            await stream.finish()
            await conn.send("mark")
            assert await peer.recv() == "mark"
        assert traced.left < 4 * 2 * count
        incoming = await peer.accept_stream()
        body = b"".join([chunk async for chunk in incoming])
        assert body == b"".join(number.to_bytes(2, "big") * 200 for number in range(count // 200))


async def test_more_streams_than_may_be_open_are_refused_one_by_one() -> None:
    async with scene() as stage:
        stranger, conn = await stage.stranger()
        await stranger.say(HELLO + b"".join(frames.numbers(frames.STREAM_OPEN, n, 0) for n in range(200)) + MARK)
        while MARK not in stranger.said:
            assert await stranger.hear()
        resets = [found.body for found in stranger.frames() if found.kind == frames.STREAM_RESET]
        assert len(resets) == 200 - limits.STREAMS_MAX
        stream, end = varint.decode(resets[0], 0)
        assert (stream, varint.decode(resets[0], end)[0]) == (limits.STREAMS_MAX, CloseCode.OVERLOADED)
        assert conn.close_code is None


async def test_streams_without_end_from_a_peer_that_reads_no_refusal() -> None:
    async with scene(sndbuf=4096) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        await stranger.say(HELLO)
        number = 0
        while conn.close_code is None:
            opened = [frames.numbers(frames.STREAM_OPEN, n, 0) for n in range(number, number + 2000)]
            await stranger.say(b"".join(opened))
            await asyncio.sleep(0)
            number += 2000
        await ended_by(conn, CloseCode.POLICY, "reads no answers")
        stranger.cut()


@pytest.mark.parametrize("delivery", [2, 3])
@pytest.mark.parametrize("style", STYLES)
async def test_unreliable_messages_without_end(style: str, delivery: int) -> None:
    """They need no credit, so the oldest are dropped where nobody takes them."""
    async with scene(style, codec="raw", message=b"well", max_message=WINDOW, **SMALL) as stage:
        stranger, conn = await stage.stranger(**DEAF)
        await stranger.say(RAW_HELLO + frame(frames.MESSAGE, bytes(30_000)) * 2)
        flood = frame(frames.MESSAGE, bytes(1000), delivery=delivery) * 500
        for _ in range(20):
            await stranger.say(flood)
        await until(lambda: conn.statistics().counters["bytes_received"] > 18 * len(flood))
        assert held(conn) < limits.UDP_INBOX_BYTES + 6 * WINDOW
        stranger.cut()


async def test_channels_taken_one_by_one_are_bounded_too_without_credit() -> None:
    """A plain framing has no credit: what waits in a channel object stops reading as an inbox does."""
    options: dict[str, Any] = {"framing": "length32", "codec": "raw", "inbox": WINDOW, "high_water": WINDOW}
    async with serve("tcp://127.0.0.1:0", rcvbuf=WINDOW, **options) as server:
        async with connect(server.url, sndbuf=WINDOW, **options) as conn:
            peer = await server.accept()
            lane = peer.channel(0)

            async def push() -> None:
                for number in range(400):
                    await conn.send(number.to_bytes(2, "big") * 5000)

            pushing = asyncio.ensure_future(push())
            await until(lambda: conn.must_wait(0))
            for number in range(400):
                assert lane.inbox.size < WINDOW + 2 * limits.RECEIVE_BEFORE_TRANSMIT_BYTES
                assert await lane.recv() == number.to_bytes(2, "big") * 5000
            await pushing
            peer.close_soon()


async def test_peers_that_come_and_go_leave_nothing() -> None:
    async with scene() as stage:
        for number in range(100):
            stranger, conn = await stage.stranger()
            if number % 2:
                await stranger.say(HELLO[: number % len(HELLO)])
            stranger.cut()
            await until(lambda conn=conn: conn not in stage.server.connections)
        assert len(stage.server.connections) == 1
