"""Room for what comes later: a foreign wire in the same rooms, on the same port, without a change of the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.events.socketio import Adapter, Client
from transport.events import Denied, Events, connect_events
from transport.log import MemoryLog, SQLiteLog

pytestmark = pytest.mark.asyncio


async def until(condition: Any, seconds: float = 4.0) -> None:
    """Waits for something that will be so soon."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def served(log: Any = None, budget: int = 65_536, **options: Any) -> AsyncIterator[Any]:
    """An app with a native and a foreign wire on one port: (app, namespace, adapter, serving)."""
    app = Events(log)
    chat = app.namespace("/chat", **options)
    adapter = Adapter(app, budget)

    @chat.authorize
    async def who(hello: Any) -> Any:
        if hello.auth and hello.auth.get("name") == "mallory":
            raise Denied("no")
        return None

    @chat.authorize_room  # on this wire the program joins for its clients, so that it has to say who may come back
    async def may(ctx: Any, room: str) -> bool:
        return True

    @chat.on("join")
    async def join(ctx: Any, room: Any) -> Any:
        return (await ctx.join(room)).offset

    @chat.on("said")
    async def said(ctx: Any, data: Any) -> Any:
        return (await chat.to("room:7").emit("said", data, skip=ctx)).offset

    async with app.serve("ws://127.0.0.1:0/events", routes={"/socket.io/": adapter.route}) as serving:
        yield app, chat, adapter, serving
        for engine in list(adapter.engines.values()):
            engine.close()


async def test_both_wires_are_in_the_same_room() -> None:
    async with served() as (app, chat, adapter, serving):
        port = serving.url.port
        polls, sockets = await Client(port).polling(), await Client(port).websocket()
        async with connect_events(serving.url, namespace="/chat") as native:
            heard: list[Any] = []
            native.on("said", lambda m: heard.append((m.event, m.offset)))
            await native.join("room:7")
            for client in (polls, sockets):
                assert await client.enter() is False
                assert await client.ask("join", "room:7") == 0
            assert len(chat.to("room:7").members) == 3
            before = adapter.translated.count
            await chat.to("room:7").emit("said", {"text": "to all"})
            assert await polls.event() == await sockets.event() == ["said", {"text": "to all"}]
            assert adapter.translated.count == before + 1  # one translation, however many there are
            assert await polls.ask("said", "from polls") == 2  # an emit with an ack reaches the same handler
            assert await sockets.event() == ["said", "from polls"]
            await sockets.emit("said", "from sockets")
            assert await polls.event() == ["said", "from sockets"]
            assert await native.call("said", "native") == 4
            assert await polls.event() == await sockets.event() == ["said", "native"]
            await until(lambda: len(heard) == 3)
            assert heard == [({"text": "to all"}, 1), ("from polls", 2), ("from sockets", 3)]
            answers = asyncio.ensure_future(chat.to("room:7").call("vote", 5, timeout=3))
            native.on("vote", lambda m: m.event + 1)
            for number, client in enumerate((polls, sockets)):
                call, event = await client.event()
                assert event == ["vote", 5]
                await client.answer(call, number)
            assert sorted((await answers).acked.values()) == [0, 1, 6]
        with pytest.raises(PermissionError, match="denied"):
            await (await Client(port).polling()).enter(name="mallory")


async def test_the_upgrade_from_polls_to_a_websocket_loses_nothing() -> None:
    async with served() as (app, chat, adapter, serving):
        client = await Client(serving.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        await chat.to("room:7").emit("n", 0)
        waiting = asyncio.ensure_future(client.event())
        assert await waiting == ["n", 0]
        await chat.to("room:7").emit("n", 1)
        await client.websocket()
        await chat.to("room:7").emit("n", 2)
        assert [await client.event() for _ in range(2)] == [["n", 1], ["n", 2]]
        assert await client.ask("join", "other") == 0


async def test_polls_that_are_slow_make_a_reader_of_the_log() -> None:
    async with served(budget=32_768) as (app, chat, adapter, serving):
        client = await Client(serving.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        (engine,) = adapter.engines.values()
        for number in range(1000):
            await chat.to("room:7").emit("n", [number, "x" * 1000])
        assert engine.most < 2 * 32_768
        assert app.statistics()["readers"] == 1
        assert [(await client.event())[1][0] for _ in range(1000)] == list(range(1000))
        assert engine.most < 2 * 32_768 + 131_072  # a page above, while it reads
        await until(lambda: app.statistics()["readers"] == 0)


@pytest.mark.parametrize("first", ["polling", "websocket"])
async def test_a_client_recovers_by_its_cursor_before_its_loss_was_noticed(first: str) -> None:
    async with served() as (app, chat, adapter, serving):
        client = Client(serving.url.port)
        await getattr(client, first)()
        await client.enter()
        await client.ask("join", "room:7")  # and no event is had before the loss
        await client.ask("join", "room:8")
        client.drop()
        await chat.to("room:7").emit("n", 1)
        await chat.to("room:8").emit("n", 2)
        await (await client.websocket()).enter()
        while len(client.missed) < 2:
            await client.event()
        assert sorted(client.missed) == [["n", 1], ["n", 2]]
        assert app.statistics()["fenced"] == 1  # the older connection, half-open, can't take events away
        await chat.to("room:7").emit("n", "now a string", volatile=True)  # which is no cursor
        assert await client.event() == ["n", "now a string"]
        client.drop()
        await chat.to("room:7").emit("n", 3)
        recovered = await (await client.polling()).enter()
        assert recovered
        assert [event for event in client.missed or [await client.event()]] == [["n", 3]]


async def test_a_client_recovers_from_a_server_that_was_started_again(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with served(SQLiteLog(path, durability="os")) as (app, chat, adapter, serving):
        client = await Client(serving.url.port).websocket()
        await client.enter()
        await client.ask("join", "room:7")
        await chat.to("room:7").emit("n", 1)
        assert await client.event() == ["n", 1]
        client.drop()
        await chat.to("room:7").emit("n", 2)
    async with served(SQLiteLog(path, durability="os")) as (app, chat, adapter, serving):
        client.port = serving.url.port
        assert await (await client.polling()).enter()
        await chat.to("room:7").emit("n", 3)
        while len(client.missed) < 2:
            await client.event()
        assert client.missed == [["n", 2], ["n", 3]]


async def test_a_client_that_missed_too_much_is_told_so() -> None:
    from transport.events import History

    async with served(MemoryLog(), history=History(count=2)) as (app, chat, adapter, serving):
        client = await Client(serving.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        client.drop()
        for number in range(10):
            await chat.to("room:7").emit("n", number)
        while await app.log.retain():
            pass
        assert not await (await client.polling()).enter()
