"""What is over the limit of one side, on connections that tell it and on those that don't: nobody is cut off."""

from __future__ import annotations

from typing import Any

import pytest

import transport
from tests.events.test_events import until
from transport import limits
from transport.errors import MessageTooLarge
from transport.events import CallFailed, Events, connect_events

LARGE = b"x" * 100_000
SMALL_BYTES = 65_536


@pytest.fixture(params=["tcp", "ws"])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "ws":
        pytest.importorskip("h11")
    return f"{request.param}://127.0.0.1:0"


@pytest.mark.asyncio
async def test_a_client_with_a_small_limit(url: str) -> None:
    app = Events()
    namespace = app.namespace("/")
    namespace.on("large", lambda ctx, data: LARGE)
    async with (
        app.serve(url) as serving,
        connect_events(serving.url, max_message=SMALL_BYTES) as small,
        connect_events(serving.url) as large,
    ):
        got: dict[Any, list[Any]] = {small: [], large: []}
        for client, heard in got.items():
            client.on("x", lambda m, heard=heard: heard.append(len(m.event)))
            client.on("loose", lambda m, heard=heard: heard.append("loose"))
            client.on("ask", lambda m: len(m.event))
            client.on_gap(lambda m, heard=heard: heard.append((m.gap.reason, m.gap.lost)))
            await client.join("r")
        await namespace.to("r").emit("x", LARGE)
        await namespace.to("r").emit("loose", LARGE, volatile=True)
        await namespace.to("r").emit("x", b"y")
        await until(lambda: all(heard and heard[-1] == 1 for heard in got.values()))
        assert got[small] == [("too_large", 1), 1]
        assert sorted(map(str, got[large])) == ["1", "100000", "loose"]
        answers = await namespace.to("r").call("ask", LARGE)
        assert answers.acked == {large.machine.session: len(LARGE)}
        assert [error.code for error in answers.failed.values()] == ["too_large"]
        (ctx,) = [ctx for ctx in namespace.contexts() if ctx.id == small.machine.session]
        with pytest.raises(CallFailed, match="too_large"):
            await ctx.call("ask", LARGE)
        assert await ctx.call("ask", b"small") == 5
        with pytest.raises(CallFailed, match="too large"):
            await small.call("large")
        assert await large.call("large") == LARGE
        assert small.reconnects == 0
        assert app.statistics()["too_large"] == 5


@pytest.mark.asyncio
async def test_a_server_with_a_small_limit(url: str) -> None:
    app = Events()
    app.namespace("/").on("x", lambda ctx, data: len(data))
    async with app.serve(url, max_message=SMALL_BYTES) as serving, connect_events(serving.url) as client:
        with pytest.raises(MessageTooLarge, match="event of 1000") as caught:
            await client.call("x", LARGE)
        assert caught.value.limit == SMALL_BYTES - limits.EVENTS_FRAME_COST_BYTES
        with pytest.raises(MessageTooLarge):
            await client.emit("x", LARGE)
        assert await client.call("x", b"small") == 5
        await client.flush()
        assert client.reconnects == 0


@pytest.mark.asyncio
async def test_what_a_connection_knows_of_it(url: str) -> None:
    """The smaller of both sides' limits where the peer says its own; over ws it does not."""
    async with (
        transport.serve(url, max_message=SMALL_BYTES) as server,
        transport.connect(server.url) as conn,
        transport.connect(server.url, max_message=1000) as small,
    ):
        known = limits.MESSAGE_BYTES_DEFAULT if url.startswith("ws") else SMALL_BYTES
        assert [one.get_extra_info("max_message") for one in (conn, small)] == [known, 1000]
