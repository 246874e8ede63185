"""Room for what comes later: a foreign wire in the same rooms, on the same port, without a change of the core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.events.socketio import Adapter, Client
from tests.log.plain import PlainLog
from transport.events import Denied, Events, History, connect_events
from transport.log import MemoryLog, SQLiteLog

pytestmark = pytest.mark.asyncio


async def until(condition: Any, seconds: float = 4.0) -> None:
    """Waits for something that will be so soon."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class Served:
    """An app with a native and a foreign wire on one port."""

    app: Events
    chat: Any
    adapter: Adapter
    url: Any


@asynccontextmanager
async def served(log: Any = None, budget: int = 65_536, **options: Any) -> AsyncIterator[Served]:
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
        yield Served(app, chat, adapter, serving.url)
        for engine in list(adapter.engines.values()):
            engine.close()


async def test_both_wires_are_in_the_same_room() -> None:
    async with served() as it:
        port = it.url.port
        polls, sockets = await Client(port).polling(), await Client(port).websocket()
        async with connect_events(it.url, namespace="/chat") as native:
            heard: list[Any] = []
            native.on("said", lambda m: heard.append((m.event, m.offset)))
            await native.join("room:7")
            for client in (polls, sockets):
                assert await client.enter() is False
                assert await client.ask("join", "room:7") == 0
            assert len(it.chat.to("room:7").members) == 3
            before = it.adapter.translated.count
            await it.chat.to("room:7").emit("said", {"text": "to all"})
            assert await polls.event() == await sockets.event() == ["said", {"text": "to all"}]
            assert it.adapter.translated.count == before + 1  # one translation, however many there are
            assert await polls.ask("said", "from polls") == 2  # an emit with an ack reaches the same handler
            assert await sockets.event() == ["said", "from polls"]
            await sockets.emit("said", "from sockets")
            assert await polls.event() == ["said", "from sockets"]
            assert await native.call("said", "native") == 4
            assert await polls.event() == await sockets.event() == ["said", "native"]
            await until(lambda: len(heard) == 3)
            assert heard == [({"text": "to all"}, 1), ("from polls", 2), ("from sockets", 3)]
            answers = asyncio.ensure_future(it.chat.to("room:7").call("vote", 5, timeout=3))
            native.on("vote", lambda m: m.event + 1)
            for number, client in enumerate((polls, sockets)):
                call, event = await client.event()
                assert event == ["vote", 5]
                await client.answer(call, number)
            assert sorted((await answers).acked.values()) == [0, 1, 6]
        with pytest.raises(PermissionError, match="denied"):
            await (await Client(port).polling()).enter(name="mallory")


async def test_the_upgrade_from_polls_to_a_websocket_loses_nothing() -> None:
    async with served() as it:
        client = await Client(it.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        await it.chat.to("room:7").emit("n", 0)
        waiting = asyncio.ensure_future(client.event())
        assert await waiting == ["n", 0]
        await it.chat.to("room:7").emit("n", 1)
        await client.websocket()
        await it.chat.to("room:7").emit("n", 2)
        assert [await client.event() for _ in range(2)] == [["n", 1], ["n", 2]]
        assert await client.ask("join", "other") == 0


async def test_polls_that_are_slow_make_a_reader_of_the_log() -> None:
    async with served(budget=32_768) as it:
        client = await Client(it.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        (engine,) = it.adapter.engines.values()
        for number in range(1000):
            await it.chat.to("room:7").emit("n", [number, "x" * 1000])
        assert engine.most < 2 * 32_768
        assert it.app.statistics()["readers"] == 1
        assert [(await client.event())[1][0] for _ in range(1000)] == list(range(1000))
        assert engine.most < 2 * 32_768 + 131_072  # a page above, while it reads
        await until(lambda: it.app.statistics()["readers"] == 0)


@pytest.mark.parametrize("first", ["polling", "websocket"])
async def test_a_client_recovers_by_its_cursor_before_its_loss_was_noticed(first: str) -> None:
    async with served() as it:
        client = Client(it.url.port)
        await getattr(client, first)()
        await client.enter()
        await client.ask("join", "room:7")  # and no event is had before the loss
        await client.ask("join", "room:8")
        client.drop()
        await it.chat.to("room:7").emit("n", 1)
        await it.chat.to("room:8").emit("n", 2)
        await (await client.websocket()).enter()
        while len(client.missed) < 2:
            await client.event()
        assert sorted(client.missed) == [["n", 1], ["n", 2]]
        assert it.app.statistics()["fenced"] == 1  # the older connection, half-open, can't take events away
        await it.chat.to("room:7").emit("n", "now a string", volatile=True)  # which is no cursor
        assert await client.event() == ["n", "now a string"]
        client.drop()
        await it.chat.to("room:7").emit("n", 3)
        recovered = await (await client.polling()).enter()
        assert recovered
        assert (client.missed or [await client.event()]) == [["n", 3]]


async def test_a_client_recovers_from_a_server_that_was_started_again(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    async with served(SQLiteLog(path, durability="os")) as it:
        client = await Client(it.url.port).websocket()
        await client.enter()
        await client.ask("join", "room:7")
        await it.chat.to("room:7").emit("n", 1)
        assert await client.event() == ["n", 1]
        client.drop()
        await it.chat.to("room:7").emit("n", 2)
    async with served(SQLiteLog(path, durability="os")) as it:
        client.port = it.url.port
        assert await (await client.polling()).enter()
        await it.chat.to("room:7").emit("n", 3)
        while len(client.missed) < 2:
            await client.event()
        assert client.missed == [["n", 2], ["n", 3]]


async def test_a_client_that_missed_too_much_is_told_so() -> None:
    async with served(MemoryLog(), history=History(count=2)) as it:
        client = await Client(it.url.port).polling()
        await client.enter()
        await client.ask("join", "room:7")
        client.drop()
        for number in range(10):
            await it.chat.to("room:7").emit("n", number)
        while await it.app.log.retain():
            pass
        assert not await (await client.polling()).enter()


@pytest.mark.parametrize("stride", [0, 5000], ids=["contiguous", "sparse"])
async def test_an_engine_of_another_kind_serves_an_app(tmp_path: Path, stride: int) -> None:
    """Sparse: offsets only grow, as in a log of all rooms together; how many were missed is counted all the same."""
    app = Events(PlainLog(stride=stride))
    chat = app.namespace("/chat", history=History(count=5), on_gap="oldest")
    heard: list[Any] = []
    async with app.serve("tcp://127.0.0.1:0") as serving:

        @asynccontextmanager
        async def client() -> AsyncIterator[None]:
            async with connect_events(serving.url, namespace="/chat", cursor=tmp_path / "cursor") as made:
                made.on("n", lambda m: heard.append(m.event))
                made.on_gap(lambda m: heard.append((m.gap.reason, m.gap.lost)))
                await made.join("room:7")  # at once, while the answer to its cursor is on its way
                yield
                await made.flush()

        async with client():
            await chat.to("room:7").emit("n", 0)
            await chat.to("room:7").emit("n", 1)
            await until(lambda: heard == [0, 1])
        for number in (2, 3, 4):
            await chat.to("room:8").emit("n", "elsewhere")
            await chat.to("room:7").emit("n", number)
        async with client():
            await until(lambda: len(heard) >= 5)
        assert heard == [0, 1, 2, 3, 4]
        for number in range(5, 15):
            await chat.to("room:7").emit("n", number)
        while await app.log.retain():
            pass
        heard.clear()
        heard.append("later")
        async with client():
            await until(lambda: len(heard) >= 7)
        assert heard == ["later", ("trimmed", None if stride else 5), 10, 11, 12, 13, 14]
