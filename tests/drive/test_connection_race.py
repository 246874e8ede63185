"""Cancellations at any moment: no message is lost by a cancelled recv, none sent by halves by a cancelled send."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from tests.drive.linked import done, exceptions_of, linked, on_socket, pipe, turns
from transport import limits
from transport.drive.connection import Connection
from transport.drive.lanes import StreamError
from transport.errors import ConnectionClosed, LocalProtocolError

DEBUG = pytest.mark.parametrize("debug", [False, True], ids=["waiter", "future"])


async def somewhere(rng: random.Random) -> None:
    """A moment later, or several, or none."""
    await turns(rng.choice((0, 0, 1, 1, 2, 5)))


@pytest.mark.asyncio
@DEBUG
@pytest.mark.parametrize("kind", ["recv", "receive", "anext", "channel"])
async def test_a_cancelled_recv_loses_no_message(kind: str, debug: bool, rng: random.Random) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked()
    lane = two.channel(5)
    total = 400

    async def produce() -> None:
        for number in range(total):
            await one.send(b"%d" % number, channel=5 if kind == "channel" else 0)
            await somewhere(rng)

    async def read() -> int:
        if kind == "recv":
            return int(await two.recv())
        if kind == "receive":
            return int((await two.receive()).message)
        if kind == "anext":
            return int(await anext(two))
        return int(await lane.recv())

    producing = asyncio.create_task(produce())
    got: list[int] = []
    cancelled = 0
    while len(got) < total:
        task = asyncio.create_task(read())
        await somewhere(rng)
        if rng.random() < 0.5:
            task.cancel()
        try:
            got.append(await task)
        except asyncio.CancelledError:
            cancelled += 1
    assert got == list(range(total))
    assert cancelled
    await producing
    await done(one, two)


@pytest.mark.asyncio
@DEBUG
async def test_a_time_out_around_recv_loses_no_message(debug: bool, rng: random.Random) -> None:
    """`asyncio.timeout` and `wait_for` both, with a deadline that has passed already or comes with the message."""
    loop = asyncio.get_running_loop()
    loop.set_debug(debug)
    one, two = await linked()
    got: list[int] = []
    total = 200
    for number in range(total):
        loop.call_soon(one.send_nowait, b"%d" % number)
        await somewhere(rng)
        while len(got) <= number:
            try:
                if rng.random() < 0.5:
                    async with asyncio.timeout(rng.choice((0, 0.0001, 10))):
                        got.append(int(await two.recv()))
                else:
                    got.append(int(await asyncio.wait_for(two.recv(), rng.choice((0.0001, 10)))))
            except TimeoutError:
                continue
    assert got == list(range(total))
    await done(one, two)


@pytest.mark.asyncio
@DEBUG
async def test_a_cancelled_send_has_queued_all_or_nothing(debug: bool, rng: random.Random) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked(sndbuf=8192, high_water=30_000, low_water=10_000, channel_window=10_000)
    total = 250
    got: list[int] = []

    async def consume() -> None:
        async for message in two:
            got.append(int(message[:8]))
            assert len(message) == 3008
            await turns(4)

    consuming = asyncio.create_task(consume())
    tasks: list[asyncio.Task[None]] = []
    for number in range(total):
        operation = one.send(b"%08d" % number + bytes(3000))
        tasks.append(asyncio.create_task(operation))
        await somewhere(rng)
        if rng.random() < 0.4:
            rng.choice(tasks[-20:]).cancel()
    await asyncio.wait(tasks)
    await one.close()
    await consuming
    assert len(set(got)) == len(got)
    assert set(got) == {number for number, task in enumerate(tasks) if not task.cancelled()}
    assert total // 10 < len(got) < total - total // 20
    await two.wait_closed()


@pytest.mark.asyncio
@DEBUG
async def test_everything_cancelled_at_once_leaves_a_working_connection(debug: bool, rng: random.Random) -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(debug)
    told = exceptions_of(loop)
    one, two = await linked(sndbuf=8192, high_water=30_000, low_water=10_000, channel_window=20_000)
    lane = two.channel(3)

    async def write_stream() -> None:
        async with await one.open_stream(total=50_000) as stream:
            await stream.write(bytes(50_000))

    async def read_stream() -> None:
        async for _ in await two.accept_stream():
            pass

    operations: list[Any] = [
        lambda: one.send(bytes(5000)), lambda: one.send(bytes(5000), channel=3), one.flush, one.ping, two.ping,
        two.recv, lane.recv, write_stream, read_stream, one.wait_closed,
    ]  # fmt: skip
    tasks: list[asyncio.Task[Any]] = []
    for _ in range(300):
        tasks.append(asyncio.create_task(rng.choice(operations)()))
        await somewhere(rng)
        if rng.random() < 0.6:
            rng.choice(tasks[-10:]).cancel()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            second_reader = isinstance(task.exception(), LocalProtocolError)
            assert second_reader or isinstance(task.exception(), StreamError), task.exception()
    assert not one.is_closed
    assert not two.is_closed
    sending = asyncio.create_task(one.send(b"still here"))
    while await two.recv() != b"still here":
        pass
    await sending
    assert await one.ping() > 0
    for _ in range(limits.PINGS_OUTSTANDING_MAX):  # cancelled pings count no more
        await two.ping()
    one.close_soon()
    async for _ in lane:  # what waits for credit leaves before the goodbye
        pass
    await one.wait_closed()
    await two.wait_closed()
    assert told == []


@pytest.mark.asyncio
async def test_ends_at_any_moment_of_a_busy_connection_are_told_to_everybody(rng: random.Random) -> None:
    loop = asyncio.get_running_loop()
    told = exceptions_of(loop)
    for round_ in range(60):
        ends = pipe(8192)
        conns = [on_socket(end, high_water=20_000, channel_window=10_000) for end in ends]
        tasks: list[asyncio.Task[None]] = []

        async def chatter(conn: Connection) -> None:
            await conn.wait_open()
            while True:
                await conn.send(bytes(rng.choice((1, 3000))))
                if rng.random() < 0.3:
                    await conn.flush()
                if rng.random() < 0.2:
                    await conn.ping()

        async def listen(conn: Connection) -> None:
            await conn.wait_open()
            while True:
                await conn.recv()

        for conn in conns:
            tasks += [asyncio.create_task(chatter(conn)), asyncio.create_task(listen(conn))]
        await turns(rng.randrange(60))
        how = round_ % 4
        if how == 0:
            await conns[0].close(grace=5)
        elif how == 1:
            conns[0].abort()
        elif how == 2:
            await asyncio.gather(conns[0].close(), conns[1].close())
        else:
            conns[1].close_soon(4, "enough")
        for task in tasks:
            with pytest.raises(ConnectionClosed):
                await task
        for conn in conns:
            await conn.wait_closed()
            assert conn.is_closed
            assert conn.statistics().unsent_bytes == conn.statistics().queued_bytes == 0
    assert told == []


@pytest.mark.asyncio
async def test_a_reader_woken_by_the_end_may_use_the_connection() -> None:
    """Woken straight from the callback that ends the connection, with everything half torn down."""
    one, two = await linked()
    found: list[Any] = []

    async def reader(number: int) -> None:
        lane = two.channel(number)
        try:
            await lane.recv()
        except ConnectionClosed:
            found.append(two.channel(number + 100))
            two.abort()
            found.append(two.statistics().inbox_bytes)
            two.close_soon()

    tasks = [asyncio.create_task(reader(number)) for number in range(5)]
    await turns()
    await one.close()
    await asyncio.gather(*tasks)
    await two.wait_closed()
    assert len(found) == 10
