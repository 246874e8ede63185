"""Back pressure of one connection in both directions: marks, waiting senders, paused readers."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any

import pytest

from tests.drive.full import DEBUG, OPEN_WIDE, choke, full, queued
from tests.drive.linked import Noted, done, linked, peered, turns, until
from transport import limits
from transport.delivery import Delivery
from transport.drive.connection import Connection
from transport.drive.inbox import FutureWaiter, Waiter
from transport.drive.protocol import Protocol
from transport.errors import ConnectionClosed, WouldBlock

KIB = 1024


# Sending


@pytest.mark.asyncio
@DEBUG
async def test_a_sender_waits_above_high_water_and_goes_on_when_there_is_room(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    conn, peer = await peered(hello=OPEN_WIDE, high_water=100_000, low_water=20_000)
    sent = 0

    async def produce() -> None:
        nonlocal sent
        for _ in range(2000):
            await conn.send(bytes(10_000))
            sent += 1
            assert queued(conn) <= 100_000 + 10_004

    producing = asyncio.create_task(produce())
    before = -1
    while before != sent or not sent:
        before = sent
        await turns(50)
    assert 0 < sent < 2000
    assert queued(conn) > 20_000
    total = 0
    while total < 2000 * 10_003:
        total += len(await peer.loop.sock_recv(peer.sock, 1 << 20))
    await producing
    assert total == 2000 * 10_003
    await done(conn)
    peer.close()


@pytest.mark.asyncio
@DEBUG
async def test_many_waiting_senders_all_have_their_turn(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked(high_water=20_000, low_water=5000, sndbuf=8192)
    count = 60
    tasks = [asyncio.create_task(one.send(bytes([number]) * 3000)) for number in range(count)]
    got = [(await two.recv())[0] for _ in range(count)]
    assert got == list(range(count))
    await asyncio.gather(*tasks)
    await done(one, two)


@pytest.mark.asyncio
async def test_send_is_a_coroutine_wherever_one_is_taken() -> None:
    """Compiled, it is an object of ours; nothing may take it for a future."""
    one, two = await linked()
    sending = one.send(b"never started")
    assert asyncio.iscoroutine(sending)
    assert not asyncio.isfuture(sending)
    sending.close()  # and that is no message forgotten
    await asyncio.gather(one.send(b"1"), one.send(b"2"))
    await asyncio.wait_for(one.send(b"3"), 10)
    await asyncio.ensure_future(one.send(b"4"))
    await asyncio.create_task(one.send(b"5"))
    await asyncio.shield(one.send(b"6"))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(one.send(b"7"))
    coroutine = one.send(b"not sent")
    coroutine.close()
    assert [await two.recv() for _ in range(7)] == [b"%d" % number for number in range(1, 8)]
    await done(one, two)


@pytest.mark.asyncio
async def test_send_nowait_is_refused_at_twice_high_water() -> None:
    conn, peer = await peered(hello=OPEN_WIDE, high_water=50_000)
    await full(conn)
    assert 100_000 <= queued(conn) < 110_010
    with pytest.raises(WouldBlock):
        conn.send_nowait(b"x")
    await done(conn)
    peer.close()


@pytest.mark.asyncio
async def test_an_unreliable_message_never_waits() -> None:
    conn, peer = await peered(hello=OPEN_WIDE, high_water=50_000)
    await full(conn)
    for number in range(300):
        conn.send_nowait(bytes(2000), delivery=Delivery(2 + number % 2))
    counters = conn.statistics().counters
    assert counters["dropped"] > 0
    assert queued(conn) < 110_010 + limits.UNRELIABLE_QUEUE_BYTES
    await done(conn)
    peer.close()


@pytest.mark.asyncio
@DEBUG
async def test_a_channel_without_credit_stops_its_own_senders_only(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked(channel_window=10_000, high_water=64 * KIB)
    two.channel(1)  # nobody reads it
    other = two.channel(2)
    stuck = asyncio.create_task(flood(one, 1))
    await until(lambda: one.statistics().blocked_bytes > limits.BLOCKED_HIGH_BYTES)
    while one.statistics().blocked_bytes < 2 * 64 * KIB:
        one.send_nowait(bytes(1000), channel=1)
    with pytest.raises(WouldBlock, match="channel 1"):
        one.send_nowait(bytes(1000), channel=1)
    for number in range(200):
        await one.send(b"%d" % number + bytes(1000), channel=2)
        assert (await other.recv()).startswith(b"%d" % number)
    assert not stuck.done()
    stuck.cancel()
    await asyncio.wait([stuck])
    await done(one, two)


async def flood(conn: Connection, channel: int) -> None:
    while True:
        await conn.send(bytes(1000), channel=channel)


@pytest.mark.asyncio
@DEBUG
async def test_senders_that_give_up_leave_nothing_behind(debug: bool) -> None:
    """A program that retries with a time-out against a stuck peer must not grow."""
    asyncio.get_running_loop().set_debug(debug)
    conn, peer = await peered(hello=OPEN_WIDE, high_water=20_000)
    await full(conn, 1000)
    sent = conn.statistics().messages_sent

    async def give_up() -> None:
        for operation in (conn.send(b"x"), conn.flush()):
            task = asyncio.create_task(operation)  # type: ignore[arg-type]
            await turns(2)
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    def waiters() -> int:
        gc.collect()
        return sum(isinstance(each, Waiter | FutureWaiter) for each in gc.get_objects())

    await give_up()
    before = waiters()
    for _ in range(50):
        await give_up()
    assert waiters() <= before + 2
    assert conn.statistics().messages_sent == sent
    await done(conn)
    peer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("end", ["abort", "peer", "close"])
async def test_waiting_senders_are_told_of_the_end(end: str) -> None:
    conn, peer = await peered(hello=OPEN_WIDE, high_water=20_000)
    await full(conn)
    tasks = [asyncio.create_task(conn.send(b"x")) for _ in range(3)] + [asyncio.create_task(conn.flush())]
    await turns()
    assert not any(task.done() for task in tasks)
    closing: list[asyncio.Task[None]] = []
    if end == "abort":
        conn.abort()
    elif end == "close":
        closing.append(asyncio.create_task(conn.close(grace=0.01)))
    peer.close()
    for task in tasks:
        with pytest.raises(ConnectionClosed):
            await task
    await asyncio.gather(*closing)
    await conn.wait_closed()


# Callbacks


@pytest.mark.asyncio
async def test_callbacks_hear_of_the_marks() -> None:
    noted = Noted()
    conn, peer = await peered(protocol=noted, hello=OPEN_WIDE, high_water=50_000, low_water=10_000)
    await choke(conn)
    noted.log.clear()
    await full(conn)
    assert noted.log == ["pause"]
    while queued(conn):
        await peer.hear_more()
    assert noted.log == ["pause", "resume"]
    await done(conn)
    peer.close()


class Echo(Protocol):
    """Answers everything, and lets the default hold it back."""

    def connection_made(self, conn: Any) -> None:
        self.conn = conn
        self.failed: list[Exception] = []

    def message_received(self, message: Any, channel: int) -> None:
        self.conn.send_nowait(message, channel=channel)


@pytest.mark.asyncio
async def test_an_echo_against_a_slow_reader_stays_bounded_and_loses_nothing(rng: random.Random) -> None:
    one, two = await linked(
        protocols=(None, Echo()), sndbuf=8192, high_water=60_000, low_water=20_000,
        channel_window=100_000, connection_window=300_000,
    )  # fmt: skip
    total = 3000
    most = 0

    async def produce() -> None:
        for number in range(total):
            await one.send(number.to_bytes(4, "big") + bytes(rng.choice((0, 500, 4000))), channel=number % 3)

    producing = asyncio.create_task(produce())
    latest = [-1, -1, -1]
    for _ in range(total):
        if rng.random() < 0.2:
            await turns(5)
        received = await one.receive()
        statistics = two.statistics()
        most = max(most, queued(two) + statistics.inbox_bytes)
        number = int.from_bytes(received.message[:4], "big")
        assert latest[received.channel] < number
        latest[received.channel] = number
    await producing
    assert not two.is_closed
    assert most < 60_000 * 2 + 300_000 + 100_000
    await done(one, two)


@pytest.mark.asyncio
async def test_without_auto_pause_delivery_goes_on_above_high_water() -> None:
    noted = Noted()
    conn, peer = await peered(protocol=noted, hello=OPEN_WIDE, high_water=20_000, auto_pause=False)
    await choke(conn)
    noted.log.clear()
    await full(conn)
    await peer.say(b"\x00\x01a" * 3)
    await until(lambda: len(noted.messages) == 3)
    assert noted.log == ["pause", "message", "message", "message"]
    await done(conn)
    peer.close()


class Wordy(Noted):
    """Answers a message with 40 KB, as a protocol that needs no code for back-pressure may."""

    def message_received(self, message: Any, channel: int) -> None:
        super().message_received(message, channel)
        for _ in range(40):
            self.conn.send_nowait(bytes(1000))


@pytest.mark.asyncio
async def test_with_auto_pause_messages_wait_for_room_for_their_answers() -> None:
    noted = Wordy()
    conn, peer = await peered(protocol=noted, hello=OPEN_WIDE, high_water=30_000)
    await choke(conn)
    noted.log.clear()
    await peer.say(b"\x00\x01a\x00\x01b" + b"\x40\x08" + bytes(8))
    await until(lambda: noted.messages)
    await turns()
    assert noted.messages == [(b"a", 0)]
    assert conn.statistics().inbox_bytes
    while len(noted.messages) < 2:
        await peer.hear_more()
    assert noted.messages == [(b"a", 0), (b"b", 0)]
    assert conn.statistics().inbox_bytes == 0
    conn.abort()
    peer.close()


@pytest.mark.asyncio
async def test_answers_of_a_full_side_wait_too() -> None:
    """Full by its own doing a side goes on taking what comes, but not without a bound for what it answers."""
    noted = Wordy()
    conn, peer = await peered(protocol=noted, hello=OPEN_WIDE, high_water=100_000)
    await choke(conn)
    while queued(conn) <= 100_000:
        conn.send_nowait(bytes(10_000))
    await peer.say(b"\x00\x01a" * 10)
    await until(lambda: noted.messages)
    await turns()
    assert noted.messages == [(b"a", 0)]
    assert conn.exception is None
    conn.abort()
    peer.close()


class Answering(Noted):
    def message_received(self, message: Any, channel: int) -> None:
        super().message_received(message, channel)
        self.conn.send_nowait(message, channel=channel)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [100, 10_000])
async def test_a_side_that_sends_of_its_own_accord_goes_on_taking_what_comes(size: int) -> None:
    """Both ends with the defaults: one sends as fast as it may, the other echoes. Neither may wait for the other."""
    noted = Noted()
    one, two = await linked(protocols=(noted, Answering()), channel_window=50_000, high_water=60_000)
    for _ in range(3_000_000 // (size + 1000)):
        await one.send(bytes(size))
    await until(lambda: len(noted.messages) == 3_000_000 // (size + 1000))
    await done(one, two)


@pytest.mark.asyncio
async def test_answers_that_left_long_ago_hold_nothing_up() -> None:
    """What was answered before the buffer was last empty is not what fills it now."""
    noted = Answering()
    conn, peer = await peered(protocol=noted, hello=OPEN_WIDE, high_water=1_000_000)
    for count in range(1, 31):
        await peer.say(b"\x00\x67\x10" + bytes(10_000))
        await until(lambda count=count: len(noted.messages) == count)
        while queued(conn):
            await peer.hear_more()
        await peer.hear_more()
    while queued(conn) <= 1_000_000:  # until the kernel takes no more either
        conn.send_nowait(bytes(10_000))
        await asyncio.sleep(0)
    await peer.say(b"\x00\x01a")
    await until(lambda: len(noted.messages) == 31)
    assert queued(conn) > 1_000_000
    conn.abort()
    peer.close()


@pytest.mark.asyncio
async def test_answers_that_left_long_ago_hold_nothing_up_where_credit_is_used_up() -> None:
    """They took all of it, so what this side sends of its own accord waits for the peer from the first byte on."""
    noted = Wordy()
    conn, peer = await peered(protocol=noted, hello={**OPEN_WIDE, "channel_window": 41_000}, high_water=100_000)
    await peer.say(b"\x00\x01a")
    await until(lambda: noted.messages)
    while queued(conn):
        await peer.hear_more()
    while "pause" not in noted.log:
        conn.send_nowait(bytes(1000))
    assert conn.statistics().blocked_bytes > limits.BLOCKED_HIGH_BYTES
    await peer.say(b"\x00\x01b")
    await until(lambda: len(noted.messages) == 2)
    conn.abort()
    peer.close()


@pytest.mark.asyncio
async def test_a_channel_that_nobody_reads_does_not_stop_delivery_of_others() -> None:
    noted = Noted()
    one, two = await linked(protocols=(noted, None), channel_window=20_000)
    two.channel(5)  # nobody reads it
    while one.statistics().blocked_bytes <= limits.BLOCKED_HIGH_BYTES:
        one.send_nowait(bytes(1000), channel=5)
    await two.send(b"still there?")
    await until(lambda: noted.messages)
    assert noted.messages == [(b"still there?", 0)]
    one.abort()
    await done(two)


class Slow(Noted):
    """Pauses after every message."""

    def message_received(self, message: Any, channel: int) -> None:
        super().message_received(message, channel)
        self.conn.pause_reading()


@pytest.mark.asyncio
async def test_reading_paused_by_hand() -> None:
    noted = Slow()
    one, two = await linked(protocols=(None, noted), channel_window=5000)
    for number in range(20):
        await one.send(b"%02d" % number + bytes(1000))
    for count in range(1, 21):
        await until(lambda count=count: len(noted.messages) == count)
        await turns(5)
        assert len(noted.messages) == count
        two.resume_reading()
    assert [int(message[:2]) for message, _ in noted.messages] == list(range(20))
    assert await one.ping() > 0
    await done(one, two)


@pytest.mark.asyncio
async def test_credit_goes_back_before_all_that_is_held_was_delivered() -> None:
    noted = Slow()
    one, two = await linked(protocols=(None, noted), channel_window=10_000)
    two.pause_reading()
    for _ in range(13):
        one.send_nowait(bytes(1000))
    await until(lambda: two.statistics().inbox_bytes == 10_000)
    for count in range(1, 8):
        two.resume_reading()
        await until(lambda count=count: len(noted.messages) == count)
    await until(lambda: not one.statistics().blocked_bytes)
    assert len(noted.messages) == 7
    await done(one, two)


@pytest.mark.asyncio
async def test_pausing_and_resuming_within_a_callback_keeps_the_order() -> None:
    class Nervous(Noted):
        def message_received(self, message: Any, channel: int) -> None:
            super().message_received(message, channel)
            self.conn.pause_reading()
            if len(self.messages) % 3:
                self.conn.resume_reading()
            else:
                self.conn.loop.call_soon(self.conn.resume_reading)

    noted = Nervous()
    one, two = await linked(protocols=(None, noted))
    for number in range(100):
        one.send_nowait(b"%d" % number, channel=number % 2)
    await until(lambda: len(noted.messages) == 100)
    assert [int(message) for message, _ in noted.messages] == list(range(100))
    await done(one, two)


@pytest.mark.asyncio
async def test_the_peer_is_slowed_down_while_reading_is_paused() -> None:
    noted = Noted()
    one, two = await linked(protocols=(None, noted), channel_window=10_000, high_water=30_000)
    two.pause_reading()
    sending = asyncio.create_task(flood(one, 3))
    await until(lambda: one.statistics().blocked_bytes > limits.BLOCKED_HIGH_BYTES)
    await turns()
    assert two.statistics().inbox_bytes < 12_000
    assert noted.messages == []
    two.resume_reading()
    await until(lambda: len(noted.messages) > 100)
    sending.cancel()
    await asyncio.wait([sending])
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 1000])
async def test_a_flood_of_unreliable_messages_while_reading_is_paused_is_bounded(size: int) -> None:
    noted = Noted()
    conn, peer = await peered(protocol=noted)
    conn.pause_reading()
    await peer.say(b"\x00\x08reliable")
    frame = b"\x03" + (b"\x00" if not size else b"\x43\xe8" + bytes(size))
    other = b"\x0b\x01" + frame[1:]
    cost = size + limits.MESSAGE_COST_BYTES
    total = 2 * (limits.UDP_INBOX_BYTES // cost)
    for _ in range(0, total, 100):
        await peer.say((frame + other) * 50)
    await until(lambda: conn.statistics().messages_received > total)
    statistics = conn.statistics()
    assert statistics.inbox_bytes <= limits.UDP_INBOX_BYTES + 200 * cost
    assert statistics.inbox_dropped > total // 4
    conn.resume_reading()
    await until(lambda: conn.statistics().inbox_bytes == 0)
    assert noted.messages[0] == (b"reliable", 0)
    assert len(noted.messages) + statistics.inbox_dropped == statistics.messages_received
    await done(conn)
    peer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, 5])
async def test_what_was_held_back_comes_before_the_end(code: int) -> None:
    noted = Noted()
    one, two = await linked(protocols=(None, noted))
    two.pause_reading()
    for number in range(5):
        one.send_nowait(b"%d" % number)
    await one.close(code)
    await two.wait_closed()
    assert [message for message, _ in noted.messages] == [b"%d" % number for number in range(5)]
    assert noted.log[-1][0] == "lost"


@pytest.mark.asyncio
async def test_after_an_own_close_nothing_held_back_comes() -> None:
    noted = Noted()
    one, two = await linked(protocols=(None, noted))
    two.pause_reading()
    for number in range(5):
        one.send_nowait(b"%d" % number)
    await until(lambda: two.statistics().inbox_bytes)
    await two.close()
    assert noted.messages == []
    await one.wait_closed()


# Flush
