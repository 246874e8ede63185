"""A connection that comes back: over real sockets, with the waiting done by the test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from transport import limits
from transport.api import connect, serve
from transport.errors import (
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    WouldBlock,
)
from transport.reconnect import Backoff, Reconnecting, State


class Sleeper:
    """Takes the place of `asyncio.sleep`: notes the delays; with `hold` it waits for `go`."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.hold = False
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, delay: float) -> None:
        self.delays.append(delay)
        if self.hold:
            self.waiting.set()
            await self.go.wait()
        else:
            await asyncio.sleep(0)


class Site:
    """A server that can be stopped and started again at the same place, and clients that come back to it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"unix://{folder}/s"
        self.sleep = Sleeper()
        self.server: Any = None
        self.clients: list[Any] = []

    async def up(self) -> None:
        self.server = await serve(self.url)

    async def down(self) -> None:
        await self.server.close()

    async def connect(self, **options: Any) -> Reconnecting:
        backoff = Backoff(**{"sleep": self.sleep, "jitter": 0.0, **options})
        conn: Reconnecting = await connect(self.url, reconnect=backoff)
        self.clients.append(conn)
        return conn

    async def cut(self, peer: Any) -> None:
        """Ends one connection as a broken network does."""
        peer.abort()
        await peer.wait_closed()

    async def close(self) -> None:
        for conn in self.clients:
            await conn.close(grace=1.0)
        await self.down()


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    made = Site(tmp_path)
    await made.up()
    yield made
    await made.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.mark.asyncio
async def test_iteration_goes_on_across_losses(site: Site) -> None:
    conn = await site.connect()
    states = conn.states()
    got: list[Any] = []

    async def read() -> None:
        async for message in conn:
            got.append(message)

    task = asyncio.ensure_future(read())
    for number in range(3):
        peer = await site.server.accept()
        await peer.send(number)
        await until(lambda: len(got) > number)  # noqa: B023  # awaited within the same turn
        await (peer.close(CloseCode.GOING_AWAY) if number == 1 else site.cut(peer))
    peer = await site.server.accept()
    await peer.send("last")
    await peer.close()
    await task
    assert got == [0, 1, 2, "last"]
    assert conn.reconnects == 3
    assert conn.close_code == 0
    seen = [change async for change in states]
    assert [change.state for change in seen] == [State.LOST, State.WAITING, State.CONNECTED] * 3 + [State.CLOSED]
    assert [change.attempt for change in seen if change.state is State.WAITING] == [1, 2, 3]
    assert site.sleep.delays == [0.1, 0.2, 0.4]
    assert seen[3].error.code == CloseCode.GOING_AWAY  # type: ignore[union-attr]
    assert seen[5].reconnects == 2


@pytest.mark.asyncio
async def test_a_server_that_comes_back_at_the_same_place(site: Site) -> None:
    conn = await site.connect()
    await site.down()
    await until(lambda: len(site.sleep.delays) == 5)
    await site.up()
    await conn.send("hello again")
    assert await (await site.server.accept()).recv() == "hello again"
    assert site.sleep.delays[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]


@pytest.mark.asyncio
async def test_a_connection_that_lasted_starts_the_count_afresh(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    conn = await site.connect()
    await site.cut(await site.server.accept())
    await site.cut(await site.server.accept())
    peer = await site.server.accept()
    monkeypatch.setattr(limits, "RECONNECT_RESET_S", 0.0)
    await site.cut(peer)
    await site.server.accept()
    await until(lambda: conn.reconnects == 3)
    assert site.sleep.delays == [0.1, 0.2, 0.1]


@pytest.mark.asyncio
async def test_what_came_before_a_loss_is_given_out_before_what_came_after(site: Site) -> None:
    conn = await site.connect()
    for number in range(3):
        peer = await site.server.accept()
        for item in range(5):
            await peer.send((number, item))
        await peer.flush()
        await peer.ping()
        await site.cut(peer)
    await (await site.server.accept()).send("end")
    got = [await conn.recv() for _ in range(16)]
    assert got == [*([number, item] for number in range(3) for item in range(5)), "end"]


@pytest.mark.asyncio
async def test_unread_connections_are_kept_up_to_a_bound(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    conn = await site.connect()
    count = limits.RECONNECT_UNREAD_MAX + 3
    for number in range(count):
        peer = await site.server.accept()
        await peer.send(number)
        await peer.ping()
        await site.cut(peer)
    await (await site.server.accept()).send("end")
    await until(lambda: conn.unread_dropped == 4)
    assert "given up" in caplog.text
    assert [await conn.recv() for _ in range(count - 3)] == [*range(4, count), "end"]


@pytest.mark.asyncio
async def test_send_waits_for_the_next_connection(site: Site) -> None:
    site.sleep.hold = True
    conn = await site.connect()
    await site.cut(await site.server.accept())
    await site.sleep.waiting.wait()
    assert conn.state is State.WAITING
    assert conn.connection is None
    task = asyncio.ensure_future(conn.send("patience"))
    ping = asyncio.ensure_future(conn.ping())
    await asyncio.sleep(0)
    assert not task.done()
    with pytest.raises(WouldBlock, match="coming back"):
        conn.send_nowait("now")
    with pytest.raises(WouldBlock):
        conn.recv_nowait()
    site.sleep.go.set()
    await task
    assert await (await site.server.accept()).recv() == "patience"
    assert await ping >= 0
    conn.send_nowait("now")


@pytest.mark.asyncio
@pytest.mark.parametrize("wait", [0, 0.001])
async def test_send_gives_up_after_its_bound(site: Site, wait: float) -> None:
    site.sleep.hold = True
    conn = await site.connect(wait=wait)
    await site.cut(await site.server.accept())
    await site.sleep.waiting.wait()
    for call in (conn.send("x"), conn.ping(), conn.open_stream()):
        with pytest.raises(ConnectionLost, match="not back within"):
            await call
    assert not conn.is_closed


@pytest.mark.asyncio
async def test_a_send_that_waits_for_room_moves_on_to_the_next_connection(site: Site) -> None:
    """It was not queued when the connection went, so it may be sent on the next without being sent twice."""
    conn = await site.connect()
    peer = await site.server.accept()
    big = b"x" * 500_000
    task: asyncio.Future[None] | None = None
    while task is None or task.done():
        task = asyncio.ensure_future(conn.send(big))
        for _ in range(10):
            await asyncio.sleep(0)
    await site.cut(peer)
    second = await site.server.accept()
    await task
    assert await second.recv() == big
    with pytest.raises(ConnectionLost, match="may be lost"):
        await conn.flush()


@pytest.mark.asyncio
async def test_nothing_is_sent_twice_and_flush_tells_of_the_loss_once(site: Site) -> None:
    conn = await site.connect()
    first = await site.server.accept()
    await conn.send("one")
    await conn.flush()
    assert await first.recv() == "one"
    await conn.send("perhaps")
    await site.cut(first)
    second = await site.server.accept()
    await conn.send("two")
    with pytest.raises(ConnectionLost, match="may be lost with its connection"):
        await conn.flush()
    await conn.flush()
    await conn.flush()
    assert await second.recv() == "two"
    await conn.close()
    with pytest.raises(ConnectionClosed):
        await second.recv()


@pytest.mark.asyncio
async def test_flush_counts_a_goodbye_of_the_peer_as_a_loss(site: Site) -> None:
    conn = await site.connect()
    peer = await site.server.accept()
    await conn.send("perhaps")
    await peer.close(CloseCode.GOING_AWAY)
    await site.server.accept()
    with pytest.raises(ConnectionLost, match="may be lost"):
        await conn.flush()


@pytest.mark.asyncio
async def test_the_hook_goes_first_on_every_new_connection(site: Site) -> None:
    async def log_in(fresh: Any) -> None:
        await fresh.send("login")
        assert await fresh.recv() == "welcome"

    conn = await site.connect(on_reconnect=log_in)
    first = await site.server.accept()
    await conn.send("no hook at first")
    assert await first.recv() == "no hook at first"
    await site.cut(first)
    sending = asyncio.ensure_future(conn.send("work"))
    second = await site.server.accept()
    assert await second.recv() == "login"
    assert not sending.done()
    await second.send("welcome")
    assert await second.recv() == "work"
    await sending


@pytest.mark.asyncio
async def test_a_connection_that_is_lost_in_the_hook_is_tried_again(site: Site) -> None:
    async def log_in(fresh: Any) -> None:
        await fresh.recv()

    conn = await site.connect(on_reconnect=log_in)
    await site.cut(await site.server.accept())
    await site.cut(await site.server.accept())
    third = await site.server.accept()
    await third.send("welcome")
    await conn.send("x")
    assert await third.recv() == "x"
    assert conn.reconnects == 1
    assert site.sleep.delays == [0.1, 0.2]


@pytest.mark.asyncio
async def test_a_hook_that_is_refused_or_fails_ends_it(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    async def refused(fresh: Any) -> None:
        await fresh.recv()

    conn = await site.connect(on_reconnect=refused)
    await site.cut(await site.server.accept())
    await (await site.server.accept()).close(7, "wrong password")
    with pytest.raises(ConnectionLost, match="wrong password"):
        await conn.recv()
    assert (conn.close_code, conn.close_reason) == (7, "wrong password")

    async def wrong(fresh: Any) -> None:
        raise ValueError("a mistake")

    conn = await site.connect(on_reconnect=wrong)
    await site.cut(await site.server.accept())
    peer = await site.server.accept()
    with pytest.raises(ConnectionLost, match="on_reconnect failed: ValueError") as caught:
        await conn.recv()
    assert isinstance(caught.value.__cause__, ValueError)
    assert conn.close_code == CloseCode.INTERNAL_ERROR
    assert "on_reconnect failed" in caplog.text
    with pytest.raises(ConnectionLost):
        await peer.recv()


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [0, 5, CloseCode.POLICY])
async def test_some_ends_are_meant(site: Site, code: int) -> None:
    conn = await site.connect()
    await (await site.server.accept()).close(code, "enough")
    if code:
        with pytest.raises(ConnectionLost, match="enough"):
            [message async for message in conn]
    else:
        assert [message async for message in conn] == []
    assert (conn.close_code, conn.close_reason) == (code, "enough")
    assert conn.is_closed
    assert conn.exception is not None
    assert conn.state is State.CLOSED
    assert site.sleep.delays == []
    for call in (conn.send(1), conn.ping(), conn.accept_stream()):
        with pytest.raises(ConnectionClosed, match="enough"):
            await call
    with pytest.raises(ConnectionClosed, match="enough"):
        conn.send_nowait(1)
    with pytest.raises(ConnectionClosed, match="enough"):
        conn.recv_nowait()


@pytest.mark.asyncio
async def test_which_ends_are_meant_is_a_choice(site: Site) -> None:
    conn = await site.connect(codes=frozenset({5}))
    await (await site.server.accept()).close(5)
    await site.cut(await site.server.accept())
    with pytest.raises(ConnectionLost):
        await conn.recv()
    assert conn.reconnects == 1


@pytest.mark.asyncio
async def test_it_gives_up_after_so_many_tries(site: Site) -> None:
    conn = await site.connect(attempts=3)
    states = conn.states()
    await site.down()
    with pytest.raises(ConnectionLost, match="gave up after 3 tries") as caught:
        await conn.recv()
    assert isinstance(caught.value.__cause__, ConnectFailed)
    assert site.sleep.delays == [0.1, 0.2, 0.4]
    assert [change async for change in states][-1].state is State.CLOSED
    await site.up()


@pytest.mark.asyncio
async def test_the_first_connect_fails_at_once_or_is_tried_again(site: Site) -> None:
    await site.down()
    with pytest.raises(ConnectFailed):
        await site.connect()
    with pytest.raises(ConnectFailed, match="gave up after 2 tries"):
        await site.connect(retry_first=True, attempts=2)
    site.sleep.delays.clear()
    task = asyncio.ensure_future(site.connect(retry_first=True))
    await until(lambda: len(site.sleep.delays) == 4)
    await site.up()
    conn = await task
    await conn.send("hello")
    assert await (await site.server.accept()).recv() == "hello"
    assert conn.reconnects == 0


@pytest.mark.asyncio
async def test_a_peer_with_another_codec_is_not_asked_again(site: Site) -> None:
    """It would only say the same again."""
    with pytest.raises(ConnectFailed, match="codec"):
        await connect(site.url, codec="json", reconnect=Backoff(retry_first=True, sleep=site.sleep))
    assert site.sleep.delays == []


@pytest.mark.asyncio
async def test_a_mistake_in_the_call_is_not_repeated(site: Site) -> None:
    for wrong in (True, 5, "yes"):
        with pytest.raises(LocalProtocolError, match="expects a Backoff"):
            await connect(site.url, reconnect=wrong)
    with pytest.raises(LocalProtocolError, match="without sock="):
        connect(site.url, reconnect=Backoff(), machine=object)


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["close", "close_soon", "abort"])
async def test_closing_during_the_wait_ends_it(site: Site, how: str) -> None:
    site.sleep.hold = True
    conn = await site.connect()
    await site.cut(await site.server.accept())
    await site.sleep.waiting.wait()
    reading = asyncio.ensure_future(anext(conn, "over"))  # type: ignore[arg-type]
    sending = asyncio.ensure_future(conn.send("x"))
    await asyncio.sleep(0)
    if how == "close":
        await conn.close(3, "done")
    else:
        getattr(conn, how)()
        await conn.wait_closed()
    assert await reading == "over"
    with pytest.raises(ConnectionClosed):
        await sending
    assert conn.close_code == {"close": 3, "close_soon": 0, "abort": CloseCode.LOST}[how]
    await conn.close()
    conn.abort()


@pytest.mark.asyncio
async def test_closing_while_it_connects_or_logs_in(site: Site) -> None:
    entered = asyncio.Event()

    async def log_in(fresh: Any) -> None:
        entered.set()
        await fresh.recv()

    conn = await site.connect(on_reconnect=log_in)
    await site.cut(await site.server.accept())
    await entered.wait()
    await conn.close()
    peer = await site.server.accept()
    with pytest.raises(ConnectionLost):
        await peer.recv()


@pytest.mark.asyncio
async def test_closing_an_open_one_says_goodbye(site: Site) -> None:
    async with await site.connect() as conn:
        peer = await site.server.accept()
        await conn.send("last words")
        with pytest.raises(LocalProtocolError, match="close code"):
            await conn.close(123456)
        assert not conn.is_closed
    assert await peer.recv() == "last words"
    with pytest.raises(ConnectionClosed):
        await peer.recv()
    assert (conn.close_code, peer.close_code, conn.reconnects) == (0, 0, 0)
    with pytest.raises(ValueError, match="mine"):
        async with await site.connect():
            raise ValueError("mine")


@pytest.mark.asyncio
async def test_cancelled_from_outside_it_ends(site: Site) -> None:
    """As at the end of `asyncio.run`: nobody is left waiting."""
    conn = await site.connect()
    reading = asyncio.ensure_future(conn.recv())
    await asyncio.sleep(0)
    assert conn._task is not None
    conn._task.cancel()
    with pytest.raises(ConnectionLost, match="cancelled"):
        await reading


@pytest.mark.asyncio
async def test_channels_outlive_connections(site: Site) -> None:
    conn = await site.connect()
    lane = conn.channel(3, priority=2)
    assert conn.channel(3) is lane
    for number in range(3):
        peer = await site.server.accept()
        await peer.send(f"three {number}", channel=3)
        await peer.send(f"zero {number}")
        assert await lane.recv() == f"three {number}"
        assert await conn.recv() == f"zero {number}"
        await lane.send("back")
        assert (await peer.receive()).channel == 3
        await site.cut(peer)
    peer = await site.server.accept()
    await peer.send("more", channel=3)
    received = await lane.receive()
    assert (received.message, received.channel) == ("more", 3)
    lane.send_nowait("x")
    assert (await peer.receive()).channel == 3
    with pytest.raises(WouldBlock):
        lane.recv_nowait()
    await peer.send("again", channel=3)
    await peer.send("once more", channel=3)
    assert await anext(aiter(lane)) == "again"
    assert lane.recv_nowait() == "once more"
    assert conn.channel(3, priority=5).priority == 5
    await peer.close()
    assert [message async for message in lane] == []


@pytest.mark.asyncio
async def test_messages_that_are_here_are_taken_across_a_loss_without_waiting(site: Site) -> None:
    conn = await site.connect()
    for number in range(2):
        peer = await site.server.accept()
        await peer.send(number)
        await peer.ping()
        await site.cut(peer)
    peer = await site.server.accept()
    await peer.send("end")
    await peer.ping()
    assert [conn.recv_nowait() for _ in range(3)] == [0, 1, "end"]


@pytest.mark.asyncio
async def test_one_reader_at_a_time(site: Site) -> None:
    conn = await site.connect()
    task = asyncio.ensure_future(conn.recv())
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError, match="another task"):
        await conn.recv()
    with pytest.raises(LocalProtocolError, match="another task"):
        conn.recv_nowait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await (await site.server.accept()).send("kept")
    assert await conn.recv() == "kept"


@pytest.mark.asyncio
async def test_streams_belong_to_their_connection(site: Site) -> None:
    conn = await site.connect()
    peer = await site.server.accept()
    stream = await conn.open_stream(total=10)
    await stream.write(b"12345")
    incoming = await peer.accept_stream()
    assert await incoming.read() == b"12345"
    accepting = asyncio.ensure_future(conn.accept_stream())
    await asyncio.sleep(0)
    await site.cut(peer)
    second = await site.server.accept()
    with pytest.raises(ConnectionClosed):
        await stream.write(b"67890")
    async with await second.open_stream() as outgoing:
        await outgoing.write(b"hello")
    assert await (await accepting).read() == b"hello"


@pytest.mark.asyncio
async def test_statistics_add_up(site: Site) -> None:
    conn = await site.connect()
    for _ in range(3):
        peer = await site.server.accept()
        for _ in range(4):
            await conn.send("x")
            await peer.recv()
        await peer.send("y")
        await conn.recv()
        assert conn.statistics().messages_sent % 4 == 0
        await site.cut(peer)
    await site.server.accept()
    await until(lambda: conn.reconnects == 3)
    now = conn.statistics()
    assert (now.messages_sent, now.messages_received) == (12, 3)
    assert now.counters["messages_sent"] == 12
    await conn.close()
    ended = conn.statistics()
    assert (ended.messages_sent, ended.messages_received, ended.queued_bytes) == (12, 3, 0)
    assert ended.counters["messages_received"] == 3


@pytest.mark.asyncio
async def test_it_looks_like_a_connection(site: Site) -> None:
    conn = await site.connect()
    peer = await site.server.accept()
    assert str(conn.url) == site.url
    assert conn.traits.reliable
    assert conn.get_extra_info("socket").fileno() >= 0
    assert conn.remote_address == site.url.removeprefix("unix://")
    assert conn.local_address == ""
    assert "connected" in repr(conn)
    assert conn.exception is None
    assert conn.close_code is None
    site.sleep.hold = True
    await site.cut(peer)
    await site.sleep.waiting.wait()
    assert conn.get_extra_info("socket", "none") == "none"
    site.sleep.go.set()
    peer = await site.server.accept()
    await asyncio.wrap_future(await asyncio.to_thread(conn.send_threadsafe, "from a thread"))
    assert await peer.recv() == "from a thread"
