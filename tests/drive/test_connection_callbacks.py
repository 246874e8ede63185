"""One connection by callbacks: their order, their failures, what is held back while reading is paused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.drive.linked import Noted, done, exceptions_of, linked, on_socket, peered, pipe
from transport.drive.protocol import Protocol
from transport.errors import (
    CloseCode,
    ConnectionLost,
    UnsupportedOperation,
)
from transport.stream import frames


@pytest.mark.asyncio
async def test_callbacks_come_in_order_and_none_after_the_last() -> None:
    noted = Noted()
    one, two = await linked(protocols=(None, noted))
    assert noted.conn is two
    await one.send(b"a")
    await one.send(b"b", channel=4)
    await one.close()
    await two.wait_closed()
    assert noted.log == ["made", "message", "message", ("lost", None)]
    assert noted.messages == [(b"a", 0), (b"b", 4)]
    assert noted.over


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [CloseCode.GOING_AWAY, 9])
async def test_connection_lost_tells_a_clean_end_from_others(code: int) -> None:
    noted = Noted()
    one, two = await linked(protocols=(None, noted))
    await one.close(code, "why")
    await two.wait_closed()
    (_, error) = noted.log[-1]
    if code == CloseCode.GOING_AWAY:
        assert error is None
    else:
        assert isinstance(error, ConnectionLost)
        assert (error.code, error.reason, error.by_peer) == (code, "why", True)


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize("where", ["connection_made", "message_received", "connection_lost"])
async def test_a_callback_that_fails_is_told_and_closes_its_own_connection(where: str, kind: Any) -> None:
    told = exceptions_of(asyncio.get_running_loop())

    class Broken(Protocol):
        pass

    def fail(*_: Any) -> None:
        raise kind(where)

    setattr(Broken, where, fail)
    near, far = pipe()
    two = on_socket(near, protocol=Broken())
    one = on_socket(far)
    await one.wait_open()
    if where == "message_received":
        await one.send(b"x")
        await one.send(b"y")
    if where == "connection_lost":
        await one.close()
    await one.wait_closed()
    await two.wait_closed()
    assert [str(context["exception"]) for context in told] == [where]
    if where != "connection_lost":
        assert (one.close_code, one.close_reason) == (CloseCode.INTERNAL_ERROR, "internal error")


@pytest.mark.asyncio
async def test_a_body_that_cannot_be_decoded_reaches_no_callback() -> None:
    noted = Noted()
    conn, peer = await peered(codec="msgpack", protocol=noted)
    await peer.say(b"\x00\x01\x07" + b"\x00\x01\xc1" + b"\x00\x01\x08")
    (goodbye,) = await peer.to_the_end()
    assert goodbye.kind == frames.CLOSE
    peer.close()
    await conn.wait_closed()
    assert noted.messages == [(7, 0)]
    (_, error) = noted.log[-1]
    assert error.code == CloseCode.INVALID_BODY


class Echo(Protocol):
    """The example of every manual."""

    def __init__(self) -> None:
        self.lost: list[Exception | None] = []

    def connection_made(self, conn: Any) -> None:
        self.conn = conn

    def message_received(self, message: Any, channel: int) -> None:
        self.conn.send_nowait(message, channel=channel)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.append(error)


@pytest.mark.asyncio
async def test_answering_a_peer_that_has_said_goodbye_is_no_failure() -> None:
    """Its last messages and its goodbye come in one read; the echo of them has nowhere to go."""
    told = exceptions_of(asyncio.get_running_loop())
    echo = Echo()
    conn, peer = await peered(protocol=echo)
    await peer.say(b"\x00\x01a\x00\x01b\x08\x01\x01c" + b"\x50\x01\x00")
    await peer.to_the_end()
    peer.close()
    await conn.wait_closed()
    assert told == []
    assert echo.lost == [None]
    assert conn.statistics().messages_received == 3


@pytest.mark.asyncio
async def test_messages_in_front_of_a_goodbye_all_reach_the_callback() -> None:
    class Answering(Noted):
        def message_received(self, message: Any, channel: int) -> None:
            super().message_received(message, channel)
            self.conn.send_nowait(message)

    noted = Answering()
    conn, peer = await peered(protocol=noted)
    await peer.say(b"\x00\x01a\x00\x01b\x08\x01\x01c" + b"\x50\x01\x05")
    await peer.to_the_end()
    peer.close()
    await conn.wait_closed()
    assert noted.messages == [(b"a", 0), (b"b", 0), (b"c", 1)]


@pytest.mark.asyncio
@pytest.mark.parametrize("how", ["close_soon", "abort"])
async def test_a_callback_may_end_its_connection(how: str) -> None:
    class Quitter(Noted):
        def message_received(self, message: Any, channel: int) -> None:
            super().message_received(message, channel)
            getattr(self.conn, how)()

    noted = Quitter()
    one, two = await linked(protocols=(None, noted))
    for _ in range(5):
        one.send_nowait(b"x")
    await one.wait_closed()
    await two.wait_closed()
    assert noted.messages == [(b"x", 0)]
    assert noted.over


@pytest.mark.asyncio
@pytest.mark.parametrize("held", [False, True], ids=["at once", "held"])
@pytest.mark.parametrize("how", ["close_soon", "abort", "fail"])
async def test_a_callback_that_ends_what_the_peer_has_ended_hears_no_more(how: str, held: bool) -> None:
    """Messages and a goodbye come in one read, or messages were held when it came."""
    exceptions_of(asyncio.get_running_loop())

    class Quitter(Noted):
        def message_received(self, message: Any, channel: int) -> None:
            super().message_received(message, channel)
            getattr(self.conn, how)()

    noted = Quitter()
    conn, peer = await peered(protocol=noted)
    if held:
        conn.pause_reading()
    await peer.say(b"\x00\x01a\x00\x01b\x08\x01\x01c" + b"\x50\x01\x05")
    peer.close()
    await conn.wait_closed()
    assert noted.messages == [(b"a", 0)]
    assert noted.over


@pytest.mark.asyncio
async def test_the_two_styles_do_not_mix() -> None:
    one, two = await linked(protocols=(None, Noted()))
    for read in (two.recv, two.receive, two.channel(3).recv):
        with pytest.raises(UnsupportedOperation):
            await read()
    with pytest.raises(UnsupportedOperation):
        two.recv_nowait()
    with pytest.raises(UnsupportedOperation):
        one.pause_reading()
    with pytest.raises(UnsupportedOperation):
        one.resume_reading()
    await done(one, two)
