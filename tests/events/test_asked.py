"""A server that asks its clients while these send: an answer comes through, whatever was sent before it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

import transport
from tests.events.test_bounds import Raw, run
from tests.events.test_restored import frame
from transport import CloseCode, limits
from transport.errors import ConnectionClosed
from transport.events import Events, PeerGone, envelope
from transport.events.testing import NAME, Kit

BODY = envelope.payload("x", b"x" * 100_000)


async def sent(raw: Raw, count: int) -> None:
    """Many large messages, without a look at what the server says."""
    for number in range(1, count + 1):
        await raw.conn.send(envelope.message(number, 1, False, BODY))


@pytest.mark.parametrize("is_late", [False, True], ids=["asked at once", "asked when it is not read any more"])
def test_an_answer_behind_many_messages(is_late: bool) -> None:
    """More than the inbox takes lies before it: not to read on would be to wait for it for ever."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        gate = asyncio.Event()
        answers: list[Any] = []

        async def take(ctx: Any, data: bytes) -> None:
            await gate.wait()
            answers.append(await ctx.call("ask", timeout=30))

        namespace.on("x", take)
        raw = await Raw.connect()
        await raw.enter()
        if not is_late:
            gate.set()
        await sent(raw, 30)
        await kit.advance(1)
        assert kit.app.statistics().get("reading_held", 0) == is_late
        gate.set()
        begin = asyncio.get_running_loop().time()
        for number in range(30):
            call = await frame(raw, envelope.Call)
            await raw.conn.send(envelope.answer(call.call, True, number))
        await kit.advance(1)
        assert answers == list(range(30))
        assert asyncio.get_running_loop().time() - begin < 10

    assert 30 * len(BODY) > limits.EVENTS_INBOX_BYTES
    run(scenario)


def test_too_many_messages_before_an_answer() -> None:
    """A client that sends and sends in place of answering is cut off, and whoever asked it hears of it."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        ended: list[Any] = []

        async def take(ctx: Any, data: bytes) -> None:
            try:
                await ctx.call("ask", timeout=300)
            except PeerGone as error:
                ended.append(error)

        namespace.on("x", take)
        raw = await Raw.connect()
        await raw.enter()
        with contextlib.suppress(ConnectionClosed):
            await sent(raw, 60)
        assert await raw.ended() == CloseCode.OVERLOADED
        await kit.advance(1)
        assert ended
        assert kit.app.statistics()["overflows"] == 1

    assert 60 * len(BODY) > limits.EVENTS_INBOX_CALL_BYTES
    run(scenario)


def test_one_large_message_before_an_answer() -> None:
    """It goes alone, as it may, and is no reason to cut anybody off."""
    app = Events()
    namespace = app.namespace("/")

    async def scenario(kit: Kit) -> None:
        sizes: list[int] = []
        namespace.on("x", lambda ctx, data: sizes.append(len(data)))
        raw = Raw(await transport.connect(f"memory://{NAME}?max_message=8MiB", codec="raw"))
        await raw.enter()
        (ctx,) = namespace.contexts()
        asked = asyncio.create_task(ctx.call("ask"))
        call = await frame(raw, envelope.Call)
        body = envelope.payload("x", bytes(6 * limits.MIB))
        await raw.conn.send(envelope.message(1, 1, False, body))
        await raw.conn.send(envelope.answer(call.call, True, 5))
        assert await asked == 5
        await kit.advance(1)
        assert sizes == [6 * limits.MIB]

    kit = app.test(5)
    kit.serve_options = {"max_message": 8 * limits.MIB}
    kit.run(scenario)
