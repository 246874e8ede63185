"""Mistakes in a call are named at the call, and nothing is lost or half done by them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import pytest

from tests.drive.linked import done, linked, on_socket, pipe, turns
from transport.errors import CloseCode, CodecError, ConnectionClosed, LocalProtocolError, UnsupportedOperation

pytestmark = pytest.mark.asyncio


class Given:
    """Encodes every message to what it was told to."""

    name = "given"
    result: Any = b""

    def encode(self, message: Any) -> Any:
        return self.result

    def decode(self, payload: bytes) -> bytes:
        return payload


@pytest.mark.parametrize("result", ["text", ["list"], None, 7])
async def test_a_codec_that_gives_no_bytes_is_the_callers_error(result: Any) -> None:
    codec = Given()
    left, right = pipe()
    one, two = on_socket(left, codec=codec), on_socket(right)
    await one.wait_open()
    codec.result = result
    with pytest.raises(CodecError, match="'given' encodes to"):
        await one.send("x")
    codec.result = b"sound"
    await one.send("x")
    assert await two.recv() == b"sound"
    await done(one, two)


@pytest.mark.parametrize("kind", [bytearray, memoryview, type("Mine", (bytes,), {})])
async def test_any_kind_of_bytes_will_do(kind: Any) -> None:
    codec = Given()
    left, right = pipe()
    one, two = on_socket(left, codec=codec), on_socket(right)
    await one.wait_open()
    codec.result = kind(b"sound")
    await one.send("x")
    assert await two.recv() == b"sound"
    await done(one, two)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, None), (0, b"bytes"), (0, 7), (1.5, ""), ("1", ""), (-1, ""), (1000, ""), (CloseCode.LOST, ""), (None, "")],
)
async def test_a_close_that_cannot_be_said_says_nothing(code: Any, reason: Any) -> None:
    one, two = await linked()
    for number in range(50):
        await one.send(b"%d" % number)
    with pytest.raises(LocalProtocolError):
        await one.close(code, reason)
    assert not one.is_closed
    closing = asyncio.create_task(one.close(3, "enough"))
    assert [int(await two.recv()) for _ in range(50)] == list(range(50))
    with pytest.raises(ConnectionClosed) as caught:
        await two.recv()
    assert (caught.value.code, caught.value.reason) == (3, "enough")
    await closing


@pytest.mark.parametrize(("code", "reason"), [(5, None), (10**9, "x"), ("x", "y")])
async def test_an_abort_that_makes_no_sense_does_nothing(code: Any, reason: Any) -> None:
    one, two = await linked()
    with pytest.raises(LocalProtocolError):
        one.abort(code, reason)
    await one.send(b"still open")
    assert await two.recv() == b"still open"
    await done(one, two)


@pytest.mark.parametrize("delivery", ["reliable", 1.5, object()])
async def test_a_delivery_that_is_none(delivery: Any) -> None:
    one, two = await linked()
    with pytest.raises(LocalProtocolError, match="delivery is a transport.Delivery"):
        await one.send(b"x", delivery=delivery)
    await done(one, two)


async def test_a_reader_may_be_woken_from_its_own_context() -> None:
    """A callback and a task in one context: the task can't be stepped from within, so it is stepped by the loop."""
    one, two = await linked()
    context = contextvars.copy_context()
    loop = asyncio.get_running_loop()
    reading = loop.create_task(one.recv(), context=context)
    await turns()
    loop.call_soon(one.close_soon, context=context)
    with pytest.raises(ConnectionClosed):
        await reading
    await done(one, two)


async def test_a_send_that_is_not_awaited_warns() -> None:
    one, two = await linked()
    with pytest.warns(RuntimeWarning, match="never awaited"):
        one.send(b"lost")  # type: ignore[unused-coroutine]
    await one.send(b"kept")
    assert await two.recv() == b"kept"
    await done(one, two)


async def test_a_send_is_awaited_once() -> None:
    one, two = await linked()
    sending = one.send(b"x")
    await sending
    with pytest.raises(RuntimeError, match="already awaited"):
        await sending
    await one.send(b"y")
    assert [await two.recv(), await two.recv()] == [b"x", b"y"]
    await done(one, two)


@pytest.mark.parametrize("grace", [float("nan"), -1, "1", None])
async def test_a_grace_that_is_no_time_says_nothing(grace: Any) -> None:
    one, two = await linked()
    with pytest.raises(LocalProtocolError, match="grace is a number of seconds"):
        await one.close(grace=grace)
    await one.send(b"still open")
    assert await two.recv() == b"still open"
    await done(one, two)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("channel", [None, "", "1", b"", [], 0.0, 0.5, 2.0, float("nan"), 1j])
async def test_a_channel_that_is_no_number_is_refused(channel: Any, debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked()
    with pytest.raises(LocalProtocolError, match="a channel is a number, not"):
        await one.send(b"x", channel=channel)
    with pytest.raises(LocalProtocolError, match="a channel is a number, not"):
        one.send_nowait(b"x", channel=channel)
    with pytest.raises(LocalProtocolError, match="a channel is a number, not"):
        one.channel(channel)
    with pytest.raises(LocalProtocolError, match="is out of range"):
        await one.open_stream(channel)
    with pytest.raises(LocalProtocolError, match="a stream of"):
        await one.open_stream(total=channel or "")
    stream = await one.open_stream(True)
    await stream.finish()
    assert (await two.accept_stream()).channel == 1
    await one.send(b"sound", channel=True)
    assert (await two.receive()).channel == 1
    await done(one, two)


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("channel", [-1, 256, 1 << 31, -(1 << 31) - 1, 1 << 80])
async def test_a_channel_that_there_is_not_is_refused(channel: int, debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    one, two = await linked()
    with pytest.raises(UnsupportedOperation, match=f"channel {channel}: this connection has channels 0 to 255"):
        await one.send(b"x", channel=channel)
    with pytest.raises(UnsupportedOperation, match=f"channel {channel}: this connection has channels 0 to 255"):
        one.send_nowait(b"x", channel=channel)
    await done(one, two)


WRONG = {
    "delivery": ["x", 1.0, 4, -1, 1 << 80],
    "expires": ["1", 0, -1.0, float("nan"), 1j],
    "priority": ["1", 1.5, 8, -9, float("nan"), 1 << 80],
    "redundancy": ["1", 1.0, 9, -1, 1 << 80],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
async def test_an_argument_of_send_that_makes_no_sense_is_refused(name: str, value: Any) -> None:
    one, two = await linked()
    with pytest.raises((LocalProtocolError, ValueError)):
        await one.send(b"x", **{name: value})
    with pytest.raises((LocalProtocolError, ValueError)):
        one.send_nowait(b"x", **{name: value})
    if name in ("delivery", "priority"):
        with pytest.raises((LocalProtocolError, ValueError)):
            one.channel(1, **{name: value})
    await one.send(b"sound")
    assert await two.recv() == b"sound"
    await done(one, two)


async def test_a_stream_refuses_what_makes_no_sense_and_goes_on() -> None:
    one, two = await linked()
    for total in (-1, 1.5, "5", 1 << 62):
        with pytest.raises(LocalProtocolError, match="a stream of"):
            await one.open_stream(total=total)  # type: ignore[arg-type]
    out = await one.open_stream()
    coming = await two.accept_stream()
    for data in (5, "text", [1, 2], None):
        with pytest.raises(LocalProtocolError, match="a stream carries bytes, not"):
            await out.write(data)  # type: ignore[arg-type]
    for code in (-1, 1 << 62, "x", 1.0, None):
        for stream in (out, coming):
            with pytest.raises(LocalProtocolError, match="the code of a stream"):
                stream.abort(code)
    await out.write(memoryview(b"s-o-u-n-d")[::2])
    await out.finish()
    assert b"".join([chunk async for chunk in coming]) == b"sound"
    await done(one, two)
