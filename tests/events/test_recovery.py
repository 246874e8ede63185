"""The situations in which a recovery usually fails, on tcp, ws and rudp: nothing is lost, and nothing comes twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import transport
from tests.events.test_events import chat, until
from transport.events import Denied, Events, EventsClient, FileCursor, History, connect_events
from transport.log.memory import MemoryLog

QUICK = transport.Backoff(initial=0.01, maximum=0.05)


@pytest.fixture(params=["tcp", "ws", "rudp"])
def url(request: pytest.FixtureRequest) -> str:
    return f"{request.param}://127.0.0.1:0"


class Listener:
    """A client that writes down what it gets."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.got: list[Any] = []
        self.replayed: list[Any] = []
        client.on("*", self.take)
        client.on_gap(lambda m: self.got.append(("gap", m.gap.reason)))

    def take(self, m: Any) -> None:
        self.got.append(m.event)
        if m.replay:
            self.replayed.append(m.event)


async def away(client: Any) -> None:
    """Cuts the connection, and keeps the client from coming back until `back`."""
    client.home, client.url = client.url, "memory://nobody-is-there"
    client.wire.conn.abort()
    await until(lambda: not client.machine.up)


async def back(client: Any, reconnects: int) -> None:
    client.url = client.home
    streams = client.machine.streams
    await until(lambda: client.reconnects == reconnects and all(one.alias for one in list(streams.values())))


@pytest.mark.asyncio
async def test_after_one_event(url: str) -> None:
    app, namespace = chat()
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await client.join("r")
            await namespace.to("r").emit("said", 1)
            await until(lambda: listener.got == [1])
            await away(client)
            await namespace.to("r").emit("said", 2)
            await back(client, 1)
            await namespace.to("r").emit("said", 3)
            await until(lambda: len(listener.got) == 3)
            assert listener.got == [1, 2, 3]
            assert listener.replayed == [2]


@pytest.mark.asyncio
async def test_before_any_event(url: str) -> None:
    app, namespace = chat()
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await client.join("r")
            await away(client)
            await namespace.to("r").emit("said", 1)
            await back(client, 1)
            await until(lambda: listener.got == [1])
            assert client.statistics()["caught_up"] == 2, "the room and the private stream are answered"


@pytest.mark.asyncio
async def test_after_acknowledged_events_only(url: str) -> None:
    app, namespace = chat()
    contexts: list[Any] = []
    namespace.connected(lambda ctx: None if ctx in contexts else contexts.append(ctx))
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            client.on("ask", lambda m: m.event + 1)
            await client.join("r")
            assert (await namespace.to("r").call("ask", 1)).acked == {client.machine.session: 2}
            assert await contexts[0].call("ask", 5) == 6
            await away(client)
            await namespace.to("r").emit("said", "missed")
            await contexts[0].send("note", "missed too")
            await back(client, 1)
            await until(lambda: len(listener.got) == 2)
            assert sorted(listener.got) == ["missed", "missed too"]


@pytest.mark.asyncio
async def test_a_volatile_event_between(url: str) -> None:
    app, namespace = chat()
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await client.join("r")
            await namespace.to("r").emit("said", 1)
            await namespace.to("r").emit("pos", "a text that some would take for a cursor", volatile=True)
            await until(lambda: len(listener.got) == 2)
            await away(client)
            await namespace.to("r").emit("said", 2)
            await back(client, 1)
            await until(lambda: len(listener.got) == 3)
            assert listener.got[-1] == 2
            assert listener.replayed == [2]


@pytest.mark.asyncio
async def test_half_open(url: str) -> None:
    """The client comes back before the server has noticed: the old connection must not take what is the new one's."""
    app, namespace = chat()
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await client.join("r")
            await namespace.to("r").emit("said", 1)
            await until(lambda: listener.got == [1])
            ghost = client.wire.conn
            client.lose_wire()
            await namespace.to("r").emit("said", 2)  # to the old connection, which nobody reads any more
            await until(lambda: client.reconnects == 1 and client.machine.up)
            await namespace.to("r").emit("said", 3)
            await until(lambda: len(listener.got) == 3)
            assert listener.got == [1, 2, 3]
            assert app.statistics()["fenced"] == 1
            assert len(app.links) == 1
            ghost.abort()


@pytest.mark.asyncio
async def test_calls_go_on_across_a_drop(url: str) -> None:
    app, namespace = chat()
    ran: list[int] = []

    @namespace.on("work")
    async def work(ctx: Any, number: int) -> int:
        ran.append(number)
        await asyncio.sleep(0.05)
        return number * 2

    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            calls = [asyncio.create_task(client.call("work", number)) for number in range(5)]
            await until(lambda: len(ran) == 2)
            client.lose_wire()
            assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8]
            assert ran == [0, 1, 2, 3, 4], "each was handled once"


@pytest.mark.asyncio
async def test_a_server_that_was_started_again(url: str, tmp_path: Path) -> None:
    """With the log's sessions, and with nothing but the cursors that the server had signed."""
    log = MemoryLog()
    for keeps_sessions in (True, False):
        app = Events(log)
        namespace = app.namespace("/chat")
        serving = await app.serve(url)
        path = tmp_path / f"{keeps_sessions}.cur"
        client = await connect_events(serving.url, namespace="/chat", cursor=FileCursor(path, fsync=True))
        listener = Listener(client)
        await client.join("r")
        await namespace.to("r").emit("said", 1)
        await until(lambda listener=listener: listener.got == [1])
        await client.close()
        await namespace.to("r").emit("said", 2)
        await serving.close()
        if not keeps_sessions:
            await log.open()
            for session in await log.sessions():
                await log.drop_session(session.id, session.generation)
            await log.close()
        serving = await app.serve(url)
        client = await connect_events(serving.url, namespace="/chat", cursor=FileCursor(path))
        listener = Listener(client)
        await namespace.to("r").emit("said", 3)
        await client.join("r")
        await until(lambda listener=listener: 3 in listener.got)
        gaps = [("gap", "epoch")] if not keeps_sessions else []  # the private stream went with the session
        assert [one for one in listener.got if isinstance(one, int)] == [2, 3]
        assert [one for one in listener.got if isinstance(one, tuple)] == gaps
        await client.close()
        await serving.close()


@pytest.mark.asyncio
async def test_a_server_that_is_started_again_while_a_client_is_there(url: str) -> None:
    app, namespace = chat()
    serving = await app.serve(url)
    async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
        listener = Listener(client)
        await client.join("r")
        await namespace.to("r").emit("said", 1)
        await until(lambda: listener.got == [1])
        client.url = "memory://nobody-is-there"
        await serving.close()
        await until(lambda: not client.machine.up)
        serving = await app.serve(url)
        await namespace.to("r").emit("said", 2)
        client.home = serving.url
        await back(client, 1)
        _, offset = await client.call("say", {"room": "r", "text": 3})
        assert offset == 3
        await until(lambda: len(listener.got) == 3)
        assert listener.got == [1, 2, 3]
        assert listener.replayed == [2]
        assert app.statistics()["resumed"] == 1
    await serving.close()


@pytest.mark.asyncio
async def test_somebody_else_s_session(tmp_path: Path) -> None:
    """A resume needs the session's secret and its owner's identity; a forged position is denied."""
    app = Events()
    namespace = app.namespace("/chat")

    @namespace.authorize
    async def who(hello: Any) -> str:
        return str(hello.auth)

    async with app.serve("memory://e") as serving:
        ann = await connect_events(serving.url, namespace="/chat", auth="ann")
        await ann.join("r")
        await namespace.to("r").emit("said", 1)
        thief = await connect_events(serving.url, namespace="/chat", auth="bob", reconnect=None)
        session = thief.machine.session
        await thief.close()
        for auth, secret in (("bob", ann.machine.secret), ("ann", b"x" * 24)):
            client = EventsClient(serving.url, "/chat", auth, None, "processed", None, 1, {})
            client.machine.session, client.machine.secret = ann.machine.session, secret
            client.machine.start_over = lambda: None
            with pytest.raises(Denied, match="not this client's"):
                await client.start()
        assert ann.machine.up, "nobody was thrown out by it"
        # A room of which the ticket is somebody else's
        client = EventsClient(serving.url, "/chat", "bob", None, "processed", None, 1, {})
        client.machine.session, client.machine.secret = session, thief.machine.secret
        client.machine.generation = 1
        stolen = client.machine.streams["r"] = type(ann.machine.streams["r"])("r", ann.machine.streams["r"].epoch, 0)
        stolen.ticket = ann.machine.streams["r"].ticket
        gaps: list[Any] = []
        stolen.sink = type("Sink", (), {"put": lambda self, m: gaps.append(m.gap.reason)})()
        await client.start()
        await until(lambda: gaps == ["denied"])
        assert app.statistics()["denied"] == 1
        await client.close()
        await ann.close()


@pytest.mark.parametrize("says_yes", [False, True])
@pytest.mark.asyncio
async def test_rooms_that_the_program_chose_are_denied_on_a_resume_unless_somebody_says_yes(says_yes: bool) -> None:
    app, namespace = chat()
    contexts: list[Any] = []
    namespace.connected(contexts.append)
    if says_yes:
        namespace.authorize_room(lambda ctx, room: True)
    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await until(lambda: contexts)
            await contexts[0].join("r")
            await until(lambda: "r" in client.cursors)
            await away(client)
            await namespace.to("r").emit("said", 1)
            await back(client, 1)
            await until(lambda: listener.got)
            assert listener.got == ([1] if says_yes else [("gap", "denied")])


@pytest.mark.parametrize(("policy", "expected"), [("now", []), ("oldest", [8, 9, 10])])
@pytest.mark.asyncio
async def test_history_that_was_forgotten(policy: str, expected: list[Any]) -> None:
    app, namespace = chat(history=History(count=3), on_gap=policy)
    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            listener = Listener(client)
            await client.join("r")
            await away(client)
            for number in range(1, 11):
                await namespace.to("r").emit("said", number)
            await back(client, 1)
            await until(lambda: len(listener.got) == 1 + len(expected))
            assert listener.got == [("gap", "trimmed"), *expected]
            await namespace.to("r").emit("said", 11)
            await until(lambda: listener.got[-1] == 11)


@pytest.mark.asyncio
async def test_a_snapshot_closes_a_gap() -> None:
    app, namespace = chat(history=History(count=3))
    state = {"count": 0}

    @namespace.snapshot
    async def snapshot(room: str) -> Any:
        return {"room": room, **state}

    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url, namespace="/chat", reconnect=QUICK) as client:
            gaps: list[Any] = []
            client.on("said", lambda m: None)
            client.on_gap(lambda m: gaps.append(m.gap))
            await client.join("r")
            await away(client)
            for state["count"] in range(1, 11):
                await namespace.to("r").emit("said", state["count"])
            await back(client, 1)
            await until(lambda: gaps)
            assert gaps[0].snapshot == {"room": "r", "count": 10}
            assert (gaps[0].policy, gaps[0].first_available, gaps[0].top, gaps[0].lost) == ("snapshot", 8, 10, 10)


@pytest.mark.asyncio
async def test_a_client_that_is_started_again_knows_what_it_had_done(url: str, tmp_path: Path) -> None:
    app, namespace = chat()
    path = tmp_path / "me.cur"
    async with app.serve(url) as serving:
        first = await connect_events(serving.url, namespace="/chat", cursor=path)
        await first.call("say", {"room": "other", "text": 0})
        room = first.subscribe("r")
        asked = asyncio.create_task(room.__anext__())
        await until(lambda: "r" in first.cursors)
        for number in range(1, 6):
            await namespace.to("r").emit("said", number)
        assert (await asked).event == 1
        assert (await room.__anext__()).event == 2
        assert (await room.__anext__()).event == 3  # 1 and 2 are done, 3 is not: the program dies in the middle of it
        await first.close()
        assert path.stat().st_mode & 0o077 == 0
        again = await connect_events(serving.url, namespace="/chat", cursor=path)
        assert again.machine.session == first.machine.session
        got = []
        async for m in again.subscribe("r"):
            got.append((m.event, m.replay))
            if m.event == 5:
                break
        assert got == [(3, True), (4, True), (5, True)]
        assert await again.call("say", {"room": "other", "text": 0}), "its numbers go on where they were"
        await again.close()
