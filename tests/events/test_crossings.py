"""Where a client that comes back, the program's own calls and the log cross each other's way at the server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from transport.events import envelope, parse
from transport.events.testing import Kit
from transport.log.records import Stream as Name


async def heard(raw: Raw, kind: type) -> Any:
    """The next frame of a kind."""
    while True:
        frame = parse.parse(await raw.conn.recv(), parse.FROM_SERVER)
        if isinstance(frame, kind):
            return frame


# A stream that begins anew


@pytest.mark.parametrize("says", ["continue", "pause"])
def test_a_client_that_speaks_of_a_stream_that_has_begun_anew(says: str) -> None:
    """What it says is about the old one, whose new one it has not been told of: nothing reads the old one for ever."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        answer = asyncio.Event()

        async def may(ctx: Any, room: str) -> bool:
            if room == "slow":
                await answer.wait()
            return True

        namespace.authorize_room(may)
        raw = await Raw.connect()
        await raw.enter()
        await raw.conn.send(envelope.join(1, "r", "now"))
        joined = await heard(raw, envelope.Joined)
        await raw.conn.send(envelope.pause(joined.alias))
        await kit.advance(1)
        await namespace.to("r").emit("missed")
        await raw.conn.send(envelope.join(2, "slow", "now"))
        await kit.advance(1)
        await kit.lose("r")
        await namespace.to("r").emit("first")
        frame = envelope.go_on(joined.alias, 0) if says == "continue" else envelope.pause(joined.alias)
        await raw.conn.send(frame)
        reads = 0
        log: Any = kit.app.log
        original = log.read

        async def read(*arguments: Any, **bounds: Any) -> Any:
            nonlocal reads
            reads += 1
            assert reads < 100, "the log is read again and again for a stream that nobody is in"
            return await original(*arguments, **bounds)

        log.read = read
        await kit.advance(1)
        answer.set()
        assert (await heard(raw, envelope.Joined)).room == "slow"
        anew = await heard(raw, envelope.Joined)
        assert (anew.room, anew.epoch == joined.epoch) == ("r", False)
        assert (await heard(raw, envelope.Gap)).alias == anew.alias
        await namespace.to("r").emit("second")
        assert (await heard(raw, envelope.Event)).name == "second"

    run(scenario)


# A log that is slow for a while


class Stalled:
    """A log's writes of sessions wait until it goes on, and are then done in order, whether or not anybody waits.

    As of a file on a disk that stands still; reads go on meanwhile.
    """

    def __init__(self, log: Any, name: str) -> None:
        self._write = getattr(log, name)
        self._gate = asyncio.Event()
        self._lock = asyncio.Lock()
        self.waiting = 0
        setattr(log, name, self)

    async def __call__(self, *arguments: Any, **more: Any) -> Any:
        self.waiting += 1
        return await asyncio.shield(asyncio.ensure_future(self._later(arguments, more)))

    async def _later(self, arguments: Any, more: Any) -> Any:
        async with self._lock:
            await self._gate.wait()
            return await self._write(*arguments, **more)

    def go_on(self) -> None:
        self._gate.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_whose_earlier_tries_wait_in_the_log() -> None:
    """They were given up, and are written all the same: it is no other client that they have made way for."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        client = await kit.client(connect_timeout=2)
        stalled = Stalled(kit.app.log, "put_session")
        kit.drop(client)
        await kit.advance(5)
        assert stalled.waiting >= 2
        stalled.go_on()
        await kit.advance(20)
        assert not client.closed
        assert await client.call("x", 7, timeout=5) == 7

    run(scenario)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_handler_at_work_while_a_try_is_given_up() -> None:
    """The log has a newer generation by then, of a connection that never was: the handler's end counts all the same."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        runs: list[int] = []
        gate = asyncio.Event()

        async def work(ctx: Any, data: int) -> None:
            runs.append(data)
            await gate.wait()
            await namespace.to("r").emit("done", data)

        namespace.on("x", work)
        client = await kit.client()
        await client.emit("x", 1)
        await kit.advance(1)
        stalled = Stalled(kit.app.log, "put_session")
        kit.drop(client)
        await kit.advance(1)
        assert stalled.waiting == 1
        client.url = "memory://nobody-is-there"
        kit.drop(client)
        await kit.advance(1)
        stalled.go_on()
        await kit.advance(1)
        gate.set()
        await kit.advance(1)
        kit.heal(client)
        await client.flush()
        assert runs == [1]
        assert (await kit.app.log.head(Name("/", "r"))).top == 1

    run(scenario)
