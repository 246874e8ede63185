"""`flush`: when everything sent so far has left, whatever overtook what."""

from __future__ import annotations

import asyncio

import pytest

from tests.drive.full import DEBUG, OPEN_WIDE, choke, full, queued
from tests.drive.linked import done, linked, peered, turns
from transport.errors import ConnectionClosed, ConnectionLost


@pytest.mark.asyncio
@DEBUG
async def test_flush_returns_when_the_kernel_has_it(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    conn, peer = await peered(hello=OPEN_WIDE)
    await conn.flush()
    await conn.send(b"x")
    await conn.flush()
    assert queued(conn) == 0
    sent = await full(conn)
    flushing = [asyncio.create_task(conn.flush()) for _ in range(3)]
    await turns()
    assert not any(task.done() for task in flushing)
    later = asyncio.create_task(conn.send(b"later"))
    heard = 0
    while not flushing[2].done():
        heard += len(await peer.loop.sock_recv(peer.sock, 1 << 20))
    assert heard < sent * 10_003 + 8
    await asyncio.gather(*flushing)
    while not later.done():
        await peer.loop.sock_recv(peer.sock, 1 << 20)
    await done(conn)
    peer.close()


@pytest.mark.asyncio
async def test_flush_waits_for_a_channel_that_waits_for_credit() -> None:
    """What overtakes on other channels must not be counted in its place."""
    one, two = await linked(channel_window=2000)
    stuck, free = two.channel(1), two.channel(2)
    for _ in range(5):
        await one.send(bytes(1000), channel=1)
    flushing = asyncio.create_task(one.flush())
    for _ in range(50):
        await one.send(bytes(1000), channel=2)
        await free.recv()
    await turns()
    assert not flushing.done()
    for _ in range(5):
        await stuck.recv()
    await flushing
    assert one.statistics().blocked_bytes == 0
    await done(one, two)


@pytest.mark.asyncio
async def test_flush_waits_for_what_was_overtaken() -> None:
    conn, peer = await peered(hello=OPEN_WIDE)
    await choke(conn)
    conn.send_nowait(b"low" + bytes(1000), channel=1, priority=-8)
    flushing = asyncio.create_task(conn.flush())
    await turns(2)
    for _ in range(30):
        conn.send_nowait(bytes(20_000), channel=2, priority=7)
    heard = bytearray()
    while b"low" not in heard:
        heard += await peer.loop.sock_recv(peer.sock, 1 << 16)
        assert not flushing.done() or not queued(conn)
    while not flushing.done():
        await peer.loop.sock_recv(peer.sock, 1 << 16)
    await flushing
    await done(conn)
    peer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, 9])
async def test_flush_raises_when_the_end_took_what_was_queued(code: int) -> None:
    """Also when the end was clean: what was to leave has not."""
    conn, peer = await peered(hello={"channel_window": 100})
    await conn.send(bytes(200))
    await conn.send(b"waits for credit")
    flushing = asyncio.create_task(conn.flush())
    await turns()
    assert not flushing.done()
    await peer.say(b"\x50\x01" + bytes([code]))
    with pytest.raises(ConnectionClosed) as caught:
        await flushing
    assert isinstance(caught.value, ConnectionLost) == (code != 0)
    with pytest.raises(ConnectionClosed):
        await conn.flush()
    peer.close()
    await conn.wait_closed()


@pytest.mark.asyncio
async def test_flush_after_a_clean_end_that_took_nothing_is_content() -> None:
    one, two = await linked()
    await one.send(b"x")
    assert await two.recv() == b"x"
    await two.close()
    await one.wait_closed()
    await one.flush()
    one, two = await linked()
    await done(one)
    with pytest.raises(ConnectionLost):
        await one.flush()
    await done(two)
