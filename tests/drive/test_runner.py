"""A user's own machine on a ready driver: its events, its commands, its end."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import Any

import pytest

from tests.drive.linked import TRAITS, URL, exceptions_of, pipe, tcp_pipe, turns, until
from tests.drive.scripted import Scripted, read_to_the_end
from tests.drive.test_stream import reset
from transport import limits
from transport.drive.runner import MachineConnection
from transport.drive.stream import SocketDriver
from transport.errors import ConnectionLost, LocalProtocolError
from transport.machine import EOF
from transport.transports.base import PipeInfo

DEBUG = pytest.mark.parametrize("debug", [False, True], ids=["waiter", "future"])


class Shout(Scripted):
    """Every byte that comes is an event, and is answered in capitals."""

    def receive(self, data: bytes, now: int) -> None:
        super().receive(data, now)
        if data:
            self.said += [bytes([byte]) for byte in data]
            self.output.append([data.upper()])


def running(sock: socket.socket, machine: Any) -> MachineConnection:
    sock.setblocking(False)
    driver = SocketDriver(asyncio.get_running_loop(), machine, sock)
    conn = MachineConnection(machine, driver, PipeInfo(URL, TRAITS, "here", "there"))
    driver.start(conn)
    return conn


@pytest.mark.asyncio
@DEBUG
async def test_events_come_in_order_and_answers_leave(debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    near, far = pipe()
    machine = Shout()
    conn = running(near, machine)
    assert conn.machine is machine
    assert (conn.local_address, conn.remote_address, conn.traits, conn.url) == ("here", "there", TRAITS, URL)
    waiting = asyncio.create_task(conn.next_event())
    await turns(3)
    far.send(b"abc")
    assert await waiting == b"a"
    assert await conn.next_event() == b"b"
    assert await anext(conn) == b"c"
    far.setblocking(False)
    assert far.recv(10) == b"ABC"
    assert conn.get_extra_info("socket") is near
    assert conn.get_extra_info("nothing", 5) == 5
    assert conn.now() > 0
    await conn.close(grace=0.01)
    far.close()


@pytest.mark.asyncio
async def test_a_command_leaves_after_a_wake() -> None:
    near, far = pipe()
    machine = Shout()
    async with running(near, machine) as conn:
        machine.output.append([b"command"])
        conn.wake()
        loop = asyncio.get_running_loop()
        far.setblocking(False)
        assert await loop.sock_recv(far, 100) == b"command"
        far.close()
    assert conn.is_closed


@pytest.mark.asyncio
async def test_an_orderly_end_is_quiet_after_the_last_event() -> None:
    near, far = pipe()
    machine = Shout()
    conn = running(near, machine)
    far.send(b"xy")
    far.shutdown(socket.SHUT_WR)
    await until(lambda: b"" in machine.received)
    machine.output.append([EOF])
    conn.wake()
    await conn.wait_closed()
    far.close()
    assert [event async for event in conn] == [b"x", b"y"]
    with pytest.raises(EOFError):
        await conn.next_event()


@pytest.mark.asyncio
async def test_a_reset_is_a_loss_after_the_last_event() -> None:
    near, far = tcp_pipe()
    machine = Shout()
    conn = running(near, machine)
    waiting = asyncio.create_task(conn.next_event())
    await turns(3)
    far.send(b"x")
    assert await waiting == b"x"
    waiting = asyncio.create_task(conn.next_event())
    await turns(3)
    far.send(b"y")
    await until(lambda: machine.data == b"xy")
    reset(far)
    await conn.wait_closed()
    assert await waiting == b"y"
    with pytest.raises(ConnectionLost) as caught:
        await conn.next_event()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(ConnectionLost):
        await anext(conn)


@pytest.mark.asyncio
async def test_a_second_reader_is_refused_and_a_cancelled_one_loses_nothing() -> None:
    near, far = pipe()
    conn = running(near, Shout())
    first = asyncio.create_task(conn.next_event())
    await turns(3)
    with pytest.raises(LocalProtocolError, match="another task"):
        await conn.next_event()
    first.cancel()
    await asyncio.wait([first])
    got = []
    total = 60
    for number in range(total):
        task = asyncio.create_task(conn.next_event())
        await turns(number % 3)
        far.send(b"%c" % number)
        await turns(number % 4)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            got.append(task.result())
    while len(got) < total:
        got.append(await conn.next_event())
    assert got == [b"%c" % number for number in range(total)]
    conn.abort()
    await conn.wait_closed()
    far.close()


@pytest.mark.asyncio
async def test_reading_pauses_while_too_many_events_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_HIGH", 100)
    monkeypatch.setattr(limits, "EVENTS_LOW", 20)
    near, far = pipe()
    machine = Shout()
    conn = running(near, machine)
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    for _ in range(10):
        await loop.sock_sendall(far, b"z" * 30)
        await turns(5)
    assert 100 < len(machine.data) <= 100 + 60
    for _ in range(300):
        assert await conn.next_event() == b"z"
    assert len(machine.data) == 300
    conn.abort()
    await conn.wait_closed()
    far.close()


@pytest.mark.asyncio
async def test_close_writes_what_is_left_and_waits_for_the_peer() -> None:
    near, far = pipe()
    machine = Shout([b"x" * 100_000])
    conn = running(near, machine)
    closing = [asyncio.create_task(conn.close()), asyncio.create_task(conn.close())]
    assert await read_to_the_end(far) == b"x" * 100_000
    await turns()
    assert not closing[0].done()
    far.close()
    await asyncio.gather(*closing)
    await conn.close()
    conn.abort()
    conn.close_soon(5, "a machine has no reasons")
    assert conn.is_closed


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["grace", "cancel", "abort"])
async def test_a_peer_that_does_not_end_is_cut(how: str) -> None:
    near, far = pipe()
    conn = running(near, Shout())
    waiting = asyncio.create_task(conn.next_event())
    await turns()
    if how == "grace":
        await conn.close(grace=0.01)
    elif how == "cancel":
        closing = asyncio.create_task(conn.close())
        await turns()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert near.fileno() == -1
    else:
        conn.abort()
    await conn.wait_closed()
    with pytest.raises(EOFError):
        await waiting
    far.close()


@pytest.mark.asyncio
async def test_a_machine_that_fails_is_a_loss_for_who_waits() -> None:
    told = exceptions_of(asyncio.get_running_loop())
    near, far = pipe()
    machine = Shout()
    conn = running(near, machine)
    waiting = asyncio.create_task(conn.next_event())
    await turns()
    machine.fails["receive"] = RuntimeError("broken machine")
    far.send(b"x")
    with pytest.raises(ConnectionLost, match="broken machine"):
        await waiting
    assert [str(context["exception"]) for context in told] == ["broken machine"]
    far.close()


@pytest.mark.asyncio
async def test_who_wants_to_know_is_told_once_at_the_end() -> None:
    near, far = pipe()
    conn = running(near, Shout())
    told: list[Any] = []
    conn.on_lost = told.append
    conn.abort()
    await conn.wait_closed()
    conn.lost(None)
    assert told == [conn]
    far.close()


@pytest.mark.asyncio
async def test_a_closed_one_keeps_nothing_alive() -> None:
    near, far = pipe()
    machine = Shout()
    conn = running(near, machine)
    conn.abort()
    await conn.wait_closed()
    far.close()
    reference = weakref.ref(machine)
    del conn, machine
    await turns()
    gc.collect()
    assert reference() is None
