"""Channels and streams of a connection as objects: inboxes of their own, bodies larger than a message, progress."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.drive.linked import Noted, done, linked, peered, turns, until
from transport import limits
from transport.delivery import Delivery
from transport.drive.lanes import IncomingStream, StreamError
from transport.drive.records import Received
from transport.errors import (
    CloseCode,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    UnsupportedOperation,
    WouldBlock,
)
from transport.stream import frames

MIB = 1 << 20


async def whole(stream: Any) -> bytes:
    return b"".join([chunk async for chunk in stream])


# Channels


@pytest.mark.asyncio
async def test_a_channel_has_an_inbox_of_its_own() -> None:
    one, two = await linked()
    lane = two.channel(3)
    assert (lane.number, lane.delivery, lane.priority) == (3, None, None)
    await one.send(b"main")
    await one.channel(3).send(b"lane")
    one.channel(3).send_nowait(b"again")
    assert await lane.receive() == Received(b"lane", 3, Delivery.RELIABLE_ORDERED)
    assert await lane.recv() == b"again"
    with pytest.raises(WouldBlock):
        lane.recv_nowait()
    assert two.recv_nowait() == b"main"
    await done(one, two)


@pytest.mark.asyncio
async def test_messages_that_wait_already_move_to_the_channel_object() -> None:
    one, two = await linked()
    for number in range(6):
        await one.send(b"%d" % number, channel=number % 2)
    await until(lambda: two.statistics().messages_received == 6)
    assert await two.recv() == b"0"
    lane = two.channel(1)
    assert [lane.recv_nowait() for _ in range(3)] == [b"1", b"3", b"5"]
    assert [two.recv_nowait() for _ in range(2)] == [b"2", b"4"]
    assert two.statistics().inbox_bytes == 0
    await done(one, two)


@pytest.mark.asyncio
async def test_a_channel_remembers_what_it_is_told() -> None:
    one, two = await linked()
    lane = one.channel(2, delivery=Delivery.UNRELIABLE, priority=5)
    assert one.channel(2) is lane
    assert one.channel(2, priority=1) is lane
    assert (lane.delivery, lane.priority) == (Delivery.UNRELIABLE, 1)
    await lane.send(b"a")
    await lane.send(b"b", delivery=Delivery.RELIABLE_ORDERED, priority=-1, expires=60, redundancy=0)
    got = {await two.receive(), await two.receive()}
    assert got == {Received(b"a", 2, Delivery.UNRELIABLE), Received(b"b", 2, Delivery.RELIABLE_ORDERED)}
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize("number", [-1, 4, 256, 1 << 40])
async def test_only_channels_that_exist(number: int) -> None:
    one, two = await linked(channels=4)
    with pytest.raises(UnsupportedOperation):
        one.channel(number)
    one.channel(3)
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, 5])
async def test_iteration_over_a_channel_ends_as_over_the_connection(code: int) -> None:
    one, two = await linked()
    lane = two.channel(1)
    for number in range(3):
        await one.send(b"%d" % number, channel=1)
    one.close_soon(code)
    assert [await anext(lane) for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(ConnectionLost if code else StopAsyncIteration):
        await anext(lane)
    with pytest.raises(ConnectionClosed):
        await lane.recv()
    await one.wait_closed()
    await two.wait_closed()


@pytest.mark.asyncio
async def test_one_slow_consumer_holds_nobody_else_up() -> None:
    one, two = await linked(channel_window=20_000, high_water=100_000)
    slow, fast = two.channel(1), two.channel(2)

    async def produce(channel: int) -> None:
        number = 0
        while True:
            await one.send(b"%d" % number + bytes(2000), channel=channel)
            number += 1

    tasks = [asyncio.create_task(produce(channel)) for channel in (1, 2)]
    for number in range(500):
        assert (await fast.recv()).startswith(b"%d\0" % number)
    assert two.statistics().inbox_bytes < 60_000
    assert one.statistics().blocked_bytes < 2 * (64 * 1024 + 3000)
    for number in range(100):
        assert (await slow.recv()).startswith(b"%d\0" % number)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await done(one, two)


@pytest.mark.asyncio
async def test_readers_of_many_channels_wait_at_once() -> None:
    one, two = await linked()
    readers = [asyncio.create_task(two.channel(number).recv()) for number in range(1, 256)]
    await turns()
    for number in random.Random(1).sample(range(1, 256), 255):
        one.send_nowait(b"%d" % number, channel=number)
    assert await asyncio.gather(*readers) == [b"%d" % number for number in range(1, 256)]
    await done(one, two)


# Streams


@pytest.mark.asyncio
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_larger_than_a_message_with_progress_on_both_sides(announced: bool, rng: random.Random) -> None:
    one, two = await linked(max_message=1000, high_water=300_000)
    data = rng.randbytes(5 * MIB)
    progress: list[tuple[int, int]] = []

    async def receive() -> bytes:
        stream = await two.accept_stream()
        assert (stream.channel, stream.total) == (9, len(data) if announced else None)
        got = b""
        async for chunk in stream:
            got += chunk
            progress.append((outgoing.sent, stream.received))
        return got

    outgoing = await one.open_stream(9, total=len(data) if announced else None)
    assert outgoing.total == (len(data) if announced else None)
    receiving = asyncio.create_task(receive())
    async with outgoing:
        for at in range(0, len(data), 700_001):
            await outgoing.write(memoryview(data)[at : at + 700_001])
    assert await receiving == data
    assert progress[-1] == (len(data), len(data))
    assert all(sent - received <= limits.STREAM_WINDOW_BYTES for sent, received in progress)
    assert len(progress) > 5
    with pytest.raises(LocalProtocolError, match="finished"):
        await outgoing.write(b"more")
    await outgoing.finish()
    outgoing.abort()
    await done(one, two)


@pytest.mark.asyncio
async def test_messages_go_on_past_a_stream_that_nobody_reads() -> None:
    one, two = await linked()
    stream = await one.open_stream()
    writing = asyncio.create_task(stream.write(bytes(3 * MIB)))
    for number in range(100):
        await one.send(b"%d" % number)
        assert await two.recv() == b"%d" % number
    assert await one.ping() > 0
    assert not writing.done()
    assert stream.sent == limits.STREAM_WINDOW_BYTES
    await done(one, two)
    with pytest.raises(ConnectionClosed):
        await writing


@pytest.mark.asyncio
async def test_a_stream_goes_on_past_a_channel_that_nobody_reads() -> None:
    one, two = await linked(channel_window=10_000, high_water=20_000)
    two.channel(1)
    while one.statistics().blocked_bytes < 30_000:
        one.send_nowait(bytes(5000))
        one.send_nowait(bytes(5000), channel=1)
        await turns(2)
    async with await one.open_stream() as stream:
        await stream.write(b"past it")
    assert await whole(await two.accept_stream()) == b"past it"
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize("waiting", [True, False])
async def test_the_sender_breaks_off(waiting: bool) -> None:
    one, two = await linked()
    stream = await one.open_stream()
    await stream.write(b"half")
    incoming = await two.accept_stream()
    assert await incoming.read() == b"half"
    reading = asyncio.create_task(incoming.read()) if waiting else None
    await turns()
    stream.abort(77)
    stream.abort(78)
    with pytest.raises(StreamError, match="77") as caught:
        await (reading or incoming.read())
    assert caught.value.code == 77
    with pytest.raises(StreamError):
        await incoming.read()
    await one.send(b"the connection goes on")
    assert await two.recv() == b"the connection goes on"
    await done(one, two)


@pytest.mark.asyncio
async def test_an_error_in_the_block_breaks_off() -> None:
    one, two = await linked()

    async def fail() -> None:
        async with await one.open_stream() as stream:
            await stream.write(b"x")
            incoming.append(await two.accept_stream())
            raise ZeroDivisionError

    incoming: list[IncomingStream] = []
    with pytest.raises(ZeroDivisionError):
        await fail()
    with pytest.raises(StreamError) as caught:
        await whole(incoming[0])
    assert caught.value.code == CloseCode.INTERNAL_ERROR
    await done(one, two)


@pytest.mark.asyncio
async def test_less_than_was_announced_is_an_error_here_and_breaks_off_there() -> None:
    one, two = await linked()
    stream = await one.open_stream(total=10)
    await stream.write(b"abc")
    incoming = await two.accept_stream()
    with pytest.raises(LocalProtocolError, match="10 bytes was announced, 3"):
        async with stream:
            pass
    with pytest.raises(StreamError):
        await whole(incoming)
    async with await one.open_stream(total=3) as stream:
        with pytest.raises(LocalProtocolError, match="3 bytes was announced, 4"):
            await stream.write(b"abcd")
        await stream.write(b"abc")
    assert await whole(await two.accept_stream()) == b"abc"
    await done(one, two)


@pytest.mark.asyncio
async def test_the_receiver_breaks_off() -> None:
    one, two = await linked()
    stream = await one.open_stream()
    writing = asyncio.create_task(stream.write(bytes(5 * MIB)))
    incoming = await two.accept_stream()
    reading = asyncio.create_task(consume_until_told(incoming))
    await until(lambda: incoming.received)
    incoming.abort(66)
    for task in (writing, reading):
        with pytest.raises(StreamError) as caught:
            await task
        assert caught.value.code == 66
    with pytest.raises(StreamError):
        await stream.write(b"x")
    with pytest.raises(StreamError):
        await stream.finish()
    stream.abort()
    await one.send(b"on")
    assert await two.recv() == b"on"
    await done(one, two)


async def consume_until_told(stream: IncomingStream) -> None:
    while await stream.read():
        await turns(3)


@pytest.mark.asyncio
async def test_a_waiting_reader_hears_of_its_own_sides_abort() -> None:
    one, two = await linked()
    await one.open_stream()
    incoming = await two.accept_stream()
    reading = asyncio.create_task(incoming.read())
    await turns()
    incoming.abort(5)
    with pytest.raises(StreamError):
        await reading
    await done(one, two)


@pytest.mark.asyncio
async def test_a_complete_stream_that_is_not_wanted() -> None:
    one, two = await linked()
    for _ in range(limits.STREAMS_MAX + 5):  # each gives its place back
        async with await one.open_stream() as stream:
            await stream.write(b"complete")
        incoming = await two.accept_stream()
        await until(lambda incoming=incoming: incoming._ended)
        incoming.abort(3)
        with pytest.raises(StreamError):
            await incoming.read()
    await done(one, two)


@pytest.mark.asyncio
async def test_two_tasks_do_not_use_one_stream_at_once() -> None:
    one, two = await linked()
    stream = await one.open_stream()
    writing = asyncio.create_task(stream.write(bytes(3 * MIB)))
    incoming = await two.accept_stream()
    await until(lambda: stream.sent == limits.STREAM_WINDOW_BYTES)
    with pytest.raises(LocalProtocolError, match="another task is writing"):
        await stream.write(b"x")
    total = 0
    while total < 3 * MIB:
        total += len(await incoming.read())
    await writing
    await stream.write(b"y")
    assert await incoming.read() == b"y"
    reading = asyncio.create_task(incoming.read())
    await turns()
    with pytest.raises(LocalProtocolError, match="another task is reading"):
        await incoming.read()
    await stream.finish()
    assert await reading == b""
    await done(one, two)


@pytest.mark.asyncio
async def test_cancelled_reads_and_writes_leave_a_stream_usable(rng: random.Random) -> None:
    one, two = await linked(high_water=100_000)
    stream = await one.open_stream()
    incoming = await two.accept_stream()
    total = 2 * MIB
    data = rng.randbytes(total)
    got = bytearray()
    while len(got) < total:
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(incoming.read())]
        if stream.sent < total:
            tasks.append(asyncio.create_task(stream.write(data[stream.sent : stream.sent + 200_000])))
        await turns(rng.randrange(6))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        if not tasks[0].cancelled():
            got += tasks[0].result()
    await stream.finish()
    assert got == data
    assert await incoming.read() == b""
    await done(one, two)


@pytest.mark.asyncio
async def test_empty_streams_and_empty_writes() -> None:
    one, two = await linked()
    async with await one.open_stream(total=0) as stream:
        await stream.write(b"")
    incoming = await two.accept_stream()
    assert incoming.total == 0
    assert await incoming.read() == b""
    assert await incoming.read() == b""
    await done(one, two)


@pytest.mark.asyncio
async def test_what_cannot_be_opened() -> None:
    one, two = await linked(channels=4)
    with pytest.raises(LocalProtocolError):
        await one.open_stream(4)
    with pytest.raises(LocalProtocolError):
        await one.open_stream(-1)
    with pytest.raises(LocalProtocolError):
        await one.open_stream(total=-1)
    streams = [await one.open_stream() for _ in range(limits.STREAMS_MAX)]
    with pytest.raises(UnsupportedOperation, match="64 streams"):
        await one.open_stream()
    streams[0].abort()
    await one.open_stream()
    await done(one, two)
    with pytest.raises(ConnectionLost):
        await one.open_stream()


@pytest.mark.asyncio
async def test_many_small_streams_wait_for_a_reader_who_is_slow() -> None:
    """More than may be open: the sender waits for the reader, and nothing is refused or lost."""
    one, two = await linked()
    total = 3 * limits.STREAMS_MAX
    opened = 0

    async def produce() -> None:
        nonlocal opened
        for number in range(total):
            async with await one.open_stream() as stream:
                opened += 1
                await stream.write(b"%d" % number)

    producing = asyncio.create_task(produce())
    await until(lambda: opened == limits.STREAMS_MAX)
    await turns()
    assert opened == limits.STREAMS_MAX
    for number in range(total):
        assert await whole(await two.accept_stream()) == b"%d" % number
    await producing
    await done(one, two)


@pytest.mark.asyncio
async def test_tasks_that_wait_for_a_place_are_served_or_told(rng: random.Random) -> None:
    one, two = await linked()
    for _ in range(limits.STREAMS_MAX):
        await (await one.open_stream()).finish()
    waiting = [asyncio.create_task(one.open_stream()) for _ in range(10)]
    await turns()
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    incoming = await two.accept_stream()
    assert await incoming.read() == b""
    await until(lambda: waiting[1].done())
    opened = await waiting[1]
    opened.abort()
    await until(lambda: waiting[2].done())
    await turns()
    assert not waiting[3].done()
    await done(one)
    for task in waiting[3:]:
        with pytest.raises(ConnectionClosed):
            await task
    await done(two)


@pytest.mark.asyncio
async def test_a_cancelled_accept_passes_its_stream_on(rng: random.Random) -> None:
    """Cancelled in the same turn in which its stream came, it must not leave the next in line asleep."""
    one, two = await linked()
    for _ in range(40):
        first, second = asyncio.create_task(two.accept_stream()), asyncio.create_task(two.accept_stream())
        await turns(3)
        outgoing = await one.open_stream()
        # A callback of the future that the first one waits for runs between its wake-up and its step.
        two.loop.call_soon(lambda first=first: cancel_when_woken(first))
        await asyncio.wait([first])
        incoming = await second if first.cancelled() else first.result()
        second.cancel()
        incoming.abort()
        outgoing.abort()
        await asyncio.wait([second])
        await turns(rng.randrange(10))
    await done(one, two)


def cancel_when_woken(task: asyncio.Task[Any]) -> None:
    """Cancels a task in the turn in which what it waits for is there."""
    waits_for: Any = task._fut_waiter  # type: ignore[attr-defined]
    if waits_for is None or waits_for.done():
        task.cancel()
    else:
        asyncio.get_running_loop().call_soon(cancel_when_woken, task)


@pytest.mark.asyncio
async def test_accept_ends_with_the_connection_and_gives_what_had_come() -> None:
    one, two = await linked()
    async with await one.open_stream() as stream:
        await stream.write(b"complete")
    half = await one.open_stream()
    await half.write(b"half")
    never = await one.open_stream()
    accepting = [asyncio.create_task(one.accept_stream()) for _ in range(2)]
    complete = await two.accept_stream()
    incoming = await two.accept_stream()
    await one.close()
    await two.wait_closed()
    assert await whole(complete) == b"complete"
    assert await incoming.read() == b"half"
    with pytest.raises(ConnectionClosed):
        await incoming.read()
    for task in accepting:
        with pytest.raises(ConnectionClosed):
            await task
    with pytest.raises(ConnectionClosed):
        await two.accept_stream()
    for outgoing in (half, never):
        with pytest.raises(ConnectionClosed):
            await outgoing.write(b"x")


@pytest.mark.asyncio
async def test_streams_reach_callbacks() -> None:
    class Taker(Noted):
        def stream_received(self, stream: Any) -> None:
            self.note("stream")
            self.task = asyncio.get_running_loop().create_task(whole(stream))

    taker = Taker()
    one, two = await linked(protocols=(None, taker))
    async with await one.open_stream(3) as stream:
        await stream.write(b"for a callback")
    await until(lambda: "stream" in taker.log)
    assert await taker.task == b"for a callback"
    await done(one, two)


@pytest.mark.asyncio
async def test_a_stream_in_tiny_pieces_is_read_in_larger_ones() -> None:
    conn, peer = await peered()
    pieces = 5000
    opening = frames.numbers(frames.STREAM_OPEN, 0, 0)
    await peer.say(opening + b"".join(frames.numbers(frames.STREAM_DATA, 0, tail=b"ab") for _ in range(pieces)))
    await peer.say(frames.numbers(frames.STREAM_END, 0))
    stream = await conn.accept_stream()
    await until(lambda: conn.statistics().counters["bytes_received"] > pieces * 5)
    chunks = [chunk async for chunk in stream]
    assert b"".join(chunks) == b"ab" * pieces
    assert len(chunks) < 100
    assert all(type(chunk) is bytes for chunk in chunks)
    await done(conn)
    peer.close()
