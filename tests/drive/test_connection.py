"""Messages, errors and the end of one connection, by coroutines, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from tests.drive.linked import Peer, done, linked, on_socket, peered, pipe, tcp_pipe, turns, until
from transport import limits
from transport.codec.base import resolve
from transport.delivery import Delivery, Traits
from transport.drive.connection import Connection
from transport.drive.records import Received
from transport.drive.stream import SocketDriver
from transport.errors import (
    CloseCode,
    CodecError,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    MessageTooLarge,
    UnsupportedDelivery,
    UnsupportedOperation,
    WouldBlock,
)
from transport.stream import frames
from transport.stream.session import StreamConfig, StreamSession
from transport.url import parse

# Messages


@pytest.mark.asyncio
async def test_messages_with_channel_and_delivery() -> None:
    one, two = await linked()
    await one.send(b"a")
    await one.send(b"b", channel=3, delivery=Delivery.RELIABLE_UNORDERED)
    one.send_nowait(b"c", channel=255, delivery=Delivery.UNRELIABLE_SEQUENCED, expires=60, priority=3, redundancy=2)
    got = [await two.receive() for _ in range(3)]
    assert sorted(got) == [
        Received(b"a", 0, Delivery.RELIABLE_ORDERED),
        Received(b"b", 3, Delivery.RELIABLE_UNORDERED),
        Received(b"c", 255, Delivery.UNRELIABLE_SEQUENCED),
    ]
    assert all(isinstance(each.delivery, Delivery) for each in got)
    await done(one, two)


@pytest.mark.asyncio
async def test_what_is_here_already_needs_no_wait() -> None:
    one, two = await linked()
    with pytest.raises(WouldBlock):
        two.recv_nowait()
    await one.send(b"a")
    await one.send(b"b")
    assert await two.recv() == b"a"
    assert two.recv_nowait() == b"b"
    await done(one, two)
    with pytest.raises(ConnectionLost):
        two.recv_nowait()


@pytest.mark.asyncio
@pytest.mark.parametrize("debug", [False, True], ids=["waiter", "future"])
async def test_a_second_reader_is_refused_and_the_first_goes_on(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked()
    first = asyncio.create_task(two.recv())
    await turns(3)
    for read in (two.recv, two.receive, two.__anext__):
        with pytest.raises(LocalProtocolError, match="another task"):
            await read()
    with pytest.raises(LocalProtocolError, match="another task"):
        two.recv_nowait()
    await one.send(b"for the first")
    assert await first == b"for the first"
    await done(one, two)


@pytest.mark.asyncio
async def test_a_message_that_is_too_large_is_refused_with_the_limit() -> None:
    one, two = await linked(max_message=1000)
    with pytest.raises(MessageTooLarge, match="1001 bytes is over the limit of 1000"):
        await one.send(bytes(1001))
    await one.send(bytes(1000))
    assert len(await two.recv()) == 1000
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"channel": 256}, UnsupportedOperation),
        ({"channel": -1}, UnsupportedOperation),
        ({"channel": 1 << 40}, UnsupportedOperation),
        ({"channel": 1 << 80}, UnsupportedOperation),
        ({"expires": 0}, LocalProtocolError),
        ({"expires": -1.5}, LocalProtocolError),
        ({"expires": float("nan")}, LocalProtocolError),
        ({"priority": 8}, LocalProtocolError),
        ({"priority": -9}, LocalProtocolError),
        ({"redundancy": 9}, LocalProtocolError),
        ({"redundancy": -1}, LocalProtocolError),
        ({"delivery": 4}, ValueError),
        ({"delivery": -1}, ValueError),
    ],
)
async def test_an_option_out_of_range_is_refused_and_nothing_is_queued(
    options: dict[str, Any], error: type[Exception]
) -> None:
    one, two = await linked()
    with pytest.raises(error):
        one.send_nowait(b"x", **options)
    with pytest.raises(error):
        await one.send(b"x", **options)
    assert one.statistics().messages_sent == 0
    await one.send(b"fine")
    assert await two.recv() == b"fine"
    await done(one, two)


@pytest.mark.asyncio
@pytest.mark.parametrize("expires", [1e-9, 1e9, 1e300, float("inf"), 1 << 70])
async def test_any_time_to_live_is_taken(expires: float) -> None:
    one, two = await linked()
    one.send_nowait(b"may go", expires=expires)
    await one.send(b"goes")
    assert await two.recv() in (b"may go", b"goes")
    await done(one, two)


@pytest.mark.asyncio
async def test_a_delivery_that_the_transport_cannot_keep_is_refused_by_its_traits() -> None:
    loop = asyncio.get_running_loop()
    near, far = pipe()
    near.setblocking(False)
    session = StreamSession(StreamConfig(), 0)
    driver = SocketDriver(loop, session, near)
    conn = Connection(session, driver, resolve("raw"), Traits(reliable=False, ordered=False), parse("udp://h:1"))
    driver.start(conn)
    with pytest.raises(UnsupportedDelivery, match="RELIABLE_ORDERED"):
        conn.send_nowait(b"x", delivery=Delivery.RELIABLE_ORDERED)
    conn.send_nowait(b"x")
    for operation in (conn.ping, conn.open_stream):
        with pytest.raises(UnsupportedOperation):
            await operation()
    await done(conn)
    far.close()


@pytest.mark.asyncio
async def test_a_message_that_the_codec_refuses_queues_nothing() -> None:
    one, two = await linked(codec="msgpack")
    with pytest.raises(CodecError):
        await one.send(object())
    await one.send({"fine": 1})
    assert await two.recv() == {"fine": 1}
    await done(one, two)


@pytest.mark.asyncio
async def test_a_body_that_cannot_be_decoded_ends_the_connection_with_a_code_on_both_sides() -> None:
    conn, peer = await peered(codec="msgpack")
    await peer.say(b"\x00\x01\x07" + b"\x00\x01\xc1")
    assert await conn.recv() == 7
    with pytest.raises(CodecError):
        await conn.recv()
    assert conn.close_code == CloseCode.INVALID_BODY
    (goodbye,) = await peer.to_the_end()
    assert goodbye.kind == frames.CLOSE
    assert goodbye.body[:4] == b"\x43\xef" + b"un"
    with pytest.raises(ConnectionLost) as caught:
        await conn.recv()
    assert caught.value.code == CloseCode.INVALID_BODY
    peer.close()
    await conn.wait_closed()


@pytest.mark.asyncio
async def test_send_from_another_thread() -> None:
    one, two = await linked()
    outcome: list[Any] = []

    def work() -> None:
        outcome.append(one.send_threadsafe(b"hello", channel=2).result(10))
        with pytest.raises(MessageTooLarge):
            one.send_threadsafe(bytes(2 << 20)).result(10)
        outcome.append("refused")

    thread = threading.Thread(target=work)
    thread.start()
    assert await two.receive() == Received(b"hello", 2, Delivery.RELIABLE_ORDERED)
    await until(lambda: not thread.is_alive())
    thread.join()
    assert outcome == [None, "refused"]
    await done(one, two)


# The end, as coroutines see it


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, CloseCode.GOING_AWAY])
async def test_iteration_ends_quietly_on_a_clean_close(code: int) -> None:
    one, two = await linked()
    for number in range(5):
        await one.send(b"%d" % number)
    closing = asyncio.create_task(one.close(code, "bye"))
    assert [message async for message in two] == [b"%d" % number for number in range(5)]
    await closing
    for conn, by_peer in ((one, False), (two, True)):
        await conn.wait_closed()
        assert (conn.close_code, conn.close_reason, conn.is_closed) == (code, "bye", True)
        error = conn.exception
        assert type(error) is ConnectionClosed
        assert (error.code, error.reason, error.by_peer) == (code, "bye", by_peer)
        with pytest.raises(ConnectionClosed) as caught:
            await conn.recv()
        assert not isinstance(caught.value, ConnectionLost)
        with pytest.raises(ConnectionClosed):
            await conn.send(b"late")
        with pytest.raises(ConnectionClosed):
            conn.send_nowait(b"late")
        with pytest.raises(ConnectionClosed):
            await conn.ping()
        assert [message async for message in conn] == []


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [7, 999, CloseCode.POLICY])
async def test_iteration_raises_on_any_other_close_after_the_last_message(code: int) -> None:
    one, two = await linked()
    await one.send(b"last")
    closing = asyncio.create_task(one.close(code, "because"))
    assert await anext(two) == b"last"
    with pytest.raises(ConnectionLost, match="because") as caught:
        await anext(two)
    assert (caught.value.code, caught.value.by_peer) == (code, True)
    await closing
    await two.wait_closed()


@pytest.mark.asyncio
async def test_a_lost_connection_gives_what_had_come_and_then_raises() -> None:
    conn, peer = await peered()
    await peer.say(b"\x00\x01a" + b"\x00\x01b" + b"\x00\x05cut")
    peer.close()
    await until(lambda: conn.is_closed)
    assert [await conn.recv(), await conn.recv()] == [b"a", b"b"]
    with pytest.raises(ConnectionLost) as caught:
        await conn.recv()
    assert caught.value.code == CloseCode.LOST
    assert caught.value.by_peer
    assert conn.close_code == CloseCode.LOST
    await conn.wait_closed()


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [-1, 1000, 1003, 5000, 1 << 40])
async def test_a_code_that_belongs_to_nobody_is_refused(code: int) -> None:
    one, two = await linked()
    with pytest.raises(LocalProtocolError):
        await one.close(code)
    assert not one.is_closed
    await done(one, two)


@pytest.mark.asyncio
async def test_closing_is_idempotent_and_both_may_do_it_at_once() -> None:
    one, two = await linked()
    await asyncio.gather(one.close(), one.close(3, "too late"), two.close(), two.close())
    await one.close()
    assert (one.close_code, two.close_code) == (0, 0)
    one.abort()
    two.abort()
    await one.wait_closed()


@pytest.mark.asyncio
async def test_a_close_sends_what_was_queued_first() -> None:
    one, two = await linked(sndbuf=8192)
    for number in range(200):
        one.send_nowait(b"%04d" % number + bytes(3000))
    one.close_soon()
    got = [int(message[:4]) async for message in two]
    assert got == list(range(200))
    await one.wait_closed()


@pytest.mark.asyncio
async def test_a_peer_that_does_not_answer_is_cut_after_the_grace() -> None:
    conn, peer = await peered()
    waiting = asyncio.create_task(conn.wait_closed())
    await conn.close(grace=0.01)
    await waiting
    assert conn.close_code == CloseCode.LOST
    peer.close()


@pytest.mark.asyncio
async def test_a_peer_that_does_not_read_is_cut_after_the_grace() -> None:
    conn, peer = await peered(hello={"channel_window": 1 << 30, "connection_window": 1 << 30})
    while True:
        try:
            conn.send_nowait(bytes(100_000))
        except WouldBlock:
            break
        await asyncio.sleep(0)
    assert conn.statistics().unsent_bytes
    await conn.close(grace=0.01)
    peer.close()


@pytest.mark.asyncio
async def test_a_cancelled_close_cuts_and_leaves_nothing_open() -> None:
    conn, peer = await peered()
    closing = asyncio.create_task(conn.close(grace=60))
    await turns(3)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await conn.wait_closed()
    peer.close()


@pytest.mark.asyncio
async def test_waiting_for_the_end_can_be_given_up() -> None:
    one, two = await linked()
    waiters = [asyncio.create_task(one.wait_closed()) for _ in range(3)]
    await turns(3)
    waiters[1].cancel()
    await turns(3)
    assert [waiter.done() for waiter in waiters] == [False, True, False]
    await one.close()
    await waiters[0]
    await waiters[2]
    await two.wait_closed()


@pytest.mark.asyncio
async def test_an_abort_is_immediate_and_tells_the_peer_nothing_clean() -> None:
    one, two = await linked()
    reading = asyncio.create_task(one.recv())
    await turns(3)
    one.send_nowait(b"never")
    one.abort()
    one.abort()
    with pytest.raises(ConnectionLost):
        await reading
    with pytest.raises(ConnectionLost):
        await two.recv()
    await one.wait_closed()
    await two.wait_closed()
    assert (one.close_code, one.close_reason) == (CloseCode.LOST, "aborted")


@pytest.mark.asyncio
async def test_the_context_manager_closes_with_what_happened() -> None:
    one, two = await linked()
    async with one as same:
        assert same is one
    assert one.close_code == 0
    await two.wait_closed()
    one, two = await linked()
    with pytest.raises(ZeroDivisionError):
        async with one:
            raise ZeroDivisionError
    await two.wait_closed()
    assert (two.close_code, two.close_reason) == (CloseCode.INTERNAL_ERROR, "ZeroDivisionError")


@pytest.mark.asyncio
async def test_a_connection_that_never_opens() -> None:
    near, far = tcp_pipe()
    conn = on_socket(near)
    opening = asyncio.create_task(conn.wait_open())
    far.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionLost, match="before its preface"):
        await opening
    with pytest.raises(ConnectionLost):
        await conn.wait_open()
    far.close()
    await conn.wait_closed()


# Pings


@pytest.mark.asyncio
async def test_pings_give_seconds_and_are_bounded() -> None:
    one, two = await linked()
    assert one.statistics().rtt is None
    seconds = await one.ping()
    assert seconds > 0
    assert one.statistics().rtt == seconds
    pings = [asyncio.create_task(one.ping()) for _ in range(limits.PINGS_OUTSTANDING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(WouldBlock, match="64 pings"):
        await one.ping()
    assert all(seconds > 0 for seconds in await asyncio.gather(*pings))
    await done(one, two)


@pytest.mark.asyncio
async def test_an_unanswered_ping_ends_with_the_connection_or_by_cancellation() -> None:
    conn, peer = await peered()
    first, second = asyncio.create_task(conn.ping()), asyncio.create_task(conn.ping())
    (asked, _) = await peer.frames(2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await peer.say(b"\x40\x08" + asked.body + b"\x40\x08" + bytes(7) + b"\x63")  # late, and never asked
    await turns()
    assert not conn.is_closed
    peer.close()
    with pytest.raises(ConnectionLost):
        await second
    await conn.wait_closed()


# Looking


@pytest.mark.asyncio
async def test_what_a_connection_tells_about_itself() -> None:
    one, two = await linked()
    assert "open" in repr(one)
    assert "tcp://" in repr(one)
    assert not one.is_closed
    assert one.exception is None
    assert (one.close_code, one.close_reason) == (None, "")
    sock = one.get_extra_info("socket")
    assert sock.fileno() >= 0
    assert one.get_extra_info("sockname") == sock.getsockname()
    assert one.get_extra_info("peername") == sock.getpeername()
    assert one.get_extra_info("nonsense") is None
    assert one.get_extra_info("nonsense", 7) == 7
    await one.send(b"abc")
    await two.recv()
    here, there = one.statistics(), two.statistics()
    assert (here.messages_sent, there.messages_received, there.inbox_bytes) == (1, 1, 0)
    assert here.counters["messages_sent"] == 1
    one.close_soon()
    assert "closing" in repr(one)
    await one.wait_closed()
    assert "closed" in repr(one)
    assert one.get_extra_info("peername") is None
    await two.wait_closed()


@pytest.mark.asyncio
async def test_a_peer_may_be_a_bare_socket() -> None:
    """The helper itself: what a test says and hears."""
    conn, peer = await peered()
    assert isinstance(peer, Peer)
    await conn.send(b"out")
    (frame,) = await peer.frames(1)
    assert frame.body == b"out"
    await peer.say(b"\x00\x02in")
    assert await conn.recv() == b"in"
    await done(conn)
    peer.close()
