"""An app that is served, ends, and is served again, by several at once: it is open while anybody serves it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from transport.events import Events, connect_events
from transport.log import History, LogClosed, LogFailed, MemoryLog, Stream


class Slow(MemoryLog):
    """A log that takes its time to close."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closing = asyncio.Event()
        self.may_close = asyncio.Event()

    async def close(self) -> None:
        self.is_closing.set()
        await self.may_close.wait()
        await super().close()


def made(log: MemoryLog) -> Events:
    app = Events(log)
    app.namespace("/").on("x", lambda ctx, data: data)
    return app


async def serve(app: Events, name: str) -> Any:
    return await app.serve(f"memory://{name}")


async def check(serving: Any) -> None:
    async with connect_events(serving.url, reconnect=None) as client:
        assert await client.call("x", 5) == 5


@pytest.mark.asyncio
async def test_served_again_while_it_ends() -> None:
    """The next one waits until the log is closed, and opens it again."""
    log = Slow()
    app = made(log)
    ending = asyncio.create_task((await serve(app, "one")).close(grace=0))
    await log.is_closing.wait()
    beginning = asyncio.create_task(serve(app, "two"))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not beginning.done()
    log.may_close.set()
    await ending
    async with await beginning as serving:
        assert app.serves
        await check(serving)
    assert not app.serves
    with pytest.raises(LogClosed):
        await log.statistics()


@pytest.mark.asyncio
async def test_an_end_that_is_cancelled() -> None:
    log = Slow()
    app = made(log)
    ending = asyncio.create_task((await serve(app, "one")).close(grace=0))
    await log.is_closing.wait()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert not app.serves
    log.may_close.set()
    async with await serve(app, "two") as serving:
        await check(serving)


@pytest.mark.asyncio
async def test_a_beginning_that_is_cancelled_while_another_ends() -> None:
    log = Slow()
    app = made(log)
    ending = asyncio.create_task((await serve(app, "one")).close(grace=0))
    await log.is_closing.wait()
    beginning = asyncio.create_task(serve(app, "two"))
    await asyncio.sleep(0)
    beginning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await beginning
    log.may_close.set()
    await ending
    assert not app.serves
    async with await serve(app, "three") as serving:
        await check(serving)
    assert not app.serves


@pytest.mark.asyncio
async def test_a_log_that_is_open_and_fails_is_closed_again() -> None:
    class Failing(MemoryLog):
        async def set_history(self, scope: Stream | str, history: History) -> None:
            raise LogFailed("as the test says")

    app = made(Failing())
    with pytest.raises(LogFailed, match="as the test says"):
        await serve(app, "one")
    assert not app.serves
    with pytest.raises(LogClosed):
        await app.log.statistics()


@pytest.mark.asyncio
async def test_many_that_begin_and_end(rng: random.Random) -> None:
    """Whoever serves is served, whatever the others do."""

    class Unsteady(MemoryLog):
        async def open(self) -> None:
            await pause()
            await super().open()

        async def close(self) -> None:
            await pause()
            await super().close()

    async def pause() -> None:
        for _ in range(rng.randrange(8)):
            await asyncio.sleep(0)

    app = made(Unsteady())

    async def live(number: int) -> None:
        for turn in range(10):
            await pause()
            async with await serve(app, f"{number}-{turn}") as serving:
                await check(serving)
                await pause()

    await asyncio.gather(*[live(number) for number in range(4)])
    assert not app.serves
