"""Events over every scheme: the same programs on tcp, ws, rudp, unix and memory."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from transport.events import (
    CallFailed,
    CallTimeout,
    Denied,
    Events,
    Failure,
    History,
    PeerGone,
    Refused,
    connect_events,
)

SCHEMES = ["tcp", "ws", "rudp", "unix", "memory"]


@pytest.fixture(params=SCHEMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "tcp": "tcp://127.0.0.1:0", "ws": "ws://127.0.0.1:0", "rudp": "rudp://127.0.0.1:0",
        "unix": f"unix://{tmp_path}/s", "memory": "memory://e",
    }[request.param]  # fmt: skip


async def until(condition: Any, seconds: float = 5.0) -> None:
    """Waits for something that will be so soon."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def chat(**options: Any) -> tuple[Events, Any]:
    app = Events()
    namespace = app.namespace("/chat", **options)

    @namespace.on("say")
    async def say(ctx: Any, data: Any) -> Any:
        return await namespace.to(data["room"]).emit("said", data["text"], skip=ctx if data.get("skip") else None)

    return app, namespace


@pytest.mark.asyncio
async def test_a_room(url: str) -> None:
    app, _ = chat()
    async with app.serve(url) as serving:
        async with (
            connect_events(serving.url, namespace="/chat") as ann,
            connect_events(serving.url, namespace="/chat") as bob,
        ):
            heard: list[Any] = []
            bob.on("said", lambda m: heard.append((m.room, m.event, m.offset, m.replay)))
            joined = await bob.join("room:7")
            assert joined.offset == 0
            epoch, offset = await ann.call("say", {"room": "room:7", "text": "hi"})
            assert (epoch, offset) == (joined.epoch, 1)
            await ann.emit("say", {"room": "room:7", "text": "again"})
            await ann.flush()
            await until(lambda: len(heard) == 2)
            assert heard == [("room:7", "hi", 1, False), ("room:7", "again", 2, False)]
            assert bob.cursors["room:7"].offset == 2


@pytest.mark.asyncio
async def test_a_subscription_and_skip(url: str) -> None:
    app, namespace = chat()
    async with app.serve(url) as serving:
        async with (
            connect_events(serving.url, namespace="/chat") as ann,
            connect_events(serving.url, namespace="/chat") as bob,
        ):
            await ann.join("r")
            got = []

            async def read() -> None:
                async for m in bob.subscribe("r"):
                    got.append(m.event)
                    if m.event == "end":
                        return

            reader = asyncio.create_task(read())
            await until(lambda: len(namespace.to("r").members) == 2)
            await ann.call("say", {"room": "r", "text": 1, "skip": True})
            await namespace.to("r").emit("said", "end")
            await reader
            assert got == [1, "end"]
            await until(lambda: ann.cursors["r"].offset == 2)
            assert ann.statistics()["unhandled"] == 1, "the skipped one never came"
            assert "holes" not in ann.statistics()


@pytest.mark.asyncio
async def test_errors_of_handlers() -> None:
    app, namespace = chat()

    @namespace.on("boom")
    async def boom(ctx: Any, data: Any) -> None:
        raise ValueError("secret")

    @namespace.on("no")
    async def no(ctx: Any, data: Any) -> None:
        raise Failure("full", "no seat is left")

    @namespace.on("odd")
    async def odd(ctx: Any, data: Any) -> Any:
        return object()

    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url, namespace="/chat") as client:
            expected = [
                ("boom", "failed", "internal error"), ("no", "full", "no seat is left"),
                ("odd", "failed", "internal error"), ("what", "unknown_event", "nobody"),
            ]  # fmt: skip
            for event, code, text in expected:
                with pytest.raises(CallFailed) as caught:
                    await client.call(event)
                assert caught.value.code == code
                assert text in caught.value.text
            await client.emit("what")
            await client.flush()
        counted = app.statistics()
        assert (counted["failed_unknown_event"], counted["failed_failed"]) == (2, 2)


@pytest.mark.asyncio
async def test_a_handler_that_never_returns() -> None:
    app = Events(handler_timeout=0.05)
    namespace = app.namespace("/")
    namespace.on("sleep", lambda ctx, data: asyncio.sleep(100))
    namespace.on("quick", lambda ctx, data: "here")
    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url) as slow, connect_events(serving.url) as other:
            waiting = asyncio.create_task(slow.call("sleep"))
            assert await other.call("quick") == "here"
            with pytest.raises(CallFailed, match="timeout"):
                await waiting
            assert await slow.call("quick") == "here"


@pytest.mark.asyncio
async def test_calls_both_ways(url: str) -> None:
    app, namespace = chat()
    contexts: list[Any] = []
    namespace.connected(contexts.append)
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat") as client:
            client.on("add", lambda m: m.event[0] + m.event[1])
            await until(lambda: contexts)
            assert await contexts[0].call("add", [2, 3]) == 5
            with pytest.raises(CallFailed, match="unknown_event"):
                await contexts[0].call("sub")
            client.on("never", lambda m: asyncio.sleep(100))
            with pytest.raises(CallTimeout):
                await contexts[0].call("never", timeout=0.05)
            waiting = asyncio.create_task(contexts[0].call("never", timeout=5))
            await asyncio.sleep(0)
            await asyncio.sleep(0.02)
        with pytest.raises(PeerGone):
            await waiting
        with pytest.raises(PeerGone):
            await contexts[0].call("add", [1, 1])


@pytest.mark.asyncio
async def test_an_acknowledged_broadcast(url: str) -> None:
    app, namespace = chat()
    async with app.serve(url) as serving:
        clients = [await connect_events(serving.url, namespace="/chat") for _ in range(4)]
        for number, client in enumerate(clients):
            await client.join("r")
            if number == 3:
                client.on("vote", lambda m: asyncio.sleep(100))
            elif number:
                client.on("vote", lambda m, number=number: number)
        result = await namespace.to("r").call("vote", timeout=0.2)
        assert sorted(result.acked.values()) == [1, 2]
        assert len(result.failed) == 1
        assert result.timed_out == [clients[3].machine.session]
        waiting = asyncio.create_task(namespace.to("r").call("vote", timeout=5))
        await asyncio.sleep(0.05)
        await clients[3].close(grace=0.1)
        result = await waiting
        assert result.gone == [clients[3].machine.session]
        for client in clients[:3]:
            await client.close(grace=0.1)


@pytest.mark.asyncio
async def test_direct_and_volatile(url: str) -> None:
    app, namespace = chat()
    contexts: list[Any] = []
    namespace.connected(contexts.append)
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat") as client:
            got: list[Any] = []
            client.on("*", lambda m: got.append((m.name, m.event, m.offset, m.volatile, m.room)))
            await until(lambda: contexts)
            position = await contexts[0].send("note", 1)
            await contexts[0].send("pos", [1, 2], volatile=True, conflate="pos")
            await contexts[0].join("r")
            await until(lambda: "r" in client.cursors)
            await namespace.to("r").emit("pos", 3, volatile=True)
            await until(lambda: len(got) == 3)
            expected = [("note", 1, position.offset, False, ""), ("pos", [1, 2], 0, True, ""), ("pos", 3, 0, True, "r")]
            assert sorted(got, key=str) == sorted(expected, key=str)
            assert await contexts[0].leave("r")
            assert not await contexts[0].leave("r")
            await until(lambda: "r" not in client.cursors)


@dataclass
class Said:
    user: str
    text: str


@pytest.mark.asyncio
async def test_typed_events_wildcards_middleware_once() -> None:
    app, namespace = chat()
    trail: list[Any] = []

    @namespace.use
    async def outer(ctx: Any, incoming: Any, call_next: Any) -> Any:
        trail.append(("before", incoming.name))
        result = await call_next()
        trail.append(("after", incoming.name))
        return result

    @namespace.on(Said)
    async def typed(ctx: Any, event: Said) -> Said:
        assert isinstance(event, Said)
        return Said(event.user, event.text.upper())

    namespace.on("room.*", lambda ctx, name, data: [name, data])
    namespace.on("room.special.*", lambda ctx, name, data: "special")
    namespace.once("first", lambda ctx, data: "once")
    async with app.serve("memory://e") as serving:
        async with connect_events(serving.url, namespace="/chat") as client:
            assert await client.call(Said("ann", "hi")) == {"user": "ann", "text": "HI"}
            assert trail == [("before", "said"), ("after", "said")]
            with pytest.raises(CallFailed, match="invalid"):
                await client.call("said", {"user": "ann"})
            assert await client.call("room.made", 1) == ["room.made", 1]
            assert await client.call("room.special.made", 1) == "special"
            assert await client.call("first") == "once"
            with pytest.raises(CallFailed, match="unknown_event"):
                await client.call("first")
            assert namespace.off("room.*") == 1


@pytest.mark.asyncio
async def test_who_may_enter() -> None:
    app, namespace = chat(history=History(joiners="oldest"))

    @namespace.authorize
    async def who(hello: Any) -> str:
        if hello.auth != "good":
            raise Denied("a wrong token")
        return "ann"

    @namespace.authorize_room
    async def may(ctx: Any, room: str) -> bool:
        return ctx.identity == "ann" and room != "secret"

    async with app.serve("memory://e") as serving:
        with pytest.raises(Denied, match="a wrong token"):
            await connect_events(serving.url, namespace="/chat", auth="bad")
        with pytest.raises(Refused, match="no namespace"):
            await connect_events(serving.url, namespace="/nothing")
        async with connect_events(serving.url, namespace="/chat", auth="good") as client:
            with pytest.raises(Denied):
                await client.join("secret")
            await client.join("open", since="oldest")
        assert app.statistics()["refused_denied"] == 1


@pytest.mark.asyncio
async def test_joining_for_what_was_before() -> None:
    app, namespace = chat(history=History(joiners="oldest"))
    async with app.serve("memory://e") as serving:
        for number in range(5):
            await namespace.to("r").emit("said", number)
        async with connect_events(serving.url, namespace="/chat") as client:
            got = []
            async for m in client.subscribe("r", since="oldest"):
                got.append((m.event, m.offset, m.replay))
                if m.offset == 5:
                    break
            assert got == [(number, number + 1, True) for number in range(5)]


@pytest.mark.asyncio
async def test_presence(url: str) -> None:
    app, _ = chat(presence=True)
    async with app.serve(url) as serving:
        async with connect_events(serving.url, namespace="/chat") as ann:
            changes: list[Any] = []
            ann.on("join", lambda m: changes.append(("join", m.event["id"])))
            ann.on("leave", lambda m: changes.append(("leave", m.event["id"])))
            await ann.join("r")
            assert [one["id"] for one in await ann.presence("r")] == [ann.machine.session]
            async with connect_events(serving.url, namespace="/chat") as bob:
                await bob.join("r")
                await until(lambda: ("join", bob.machine.session) in changes)
                assert len(await ann.presence("r")) == 2
                await bob.leave("r")
                await until(lambda: ("leave", bob.machine.session) in changes)
                with pytest.raises((CallFailed, Denied)):
                    await bob.presence("elsewhere")
            assert len(await ann.presence("r")) == 1


@pytest.mark.asyncio
async def test_order_and_concurrency() -> None:
    for concurrency, expected in ((1, [0, 1, 2, 3]), (4, [3, 2, 1, 0])):
        app = Events()
        namespace = app.namespace("/", concurrency=concurrency)
        order: list[int] = []

        async def work(ctx: Any, number: int, order: list[int] = order) -> None:
            await asyncio.sleep(0.02 * (4 - number))
            order.append(number)

        namespace.on("work", work)
        async with app.serve("memory://e") as serving:
            async with connect_events(serving.url) as client:
                for number in range(4):
                    await client.emit("work", number)
                await client.flush()
        assert order == expected


@pytest.mark.asyncio
async def test_drain() -> None:
    app, namespace = chat()
    namespace.on("slow", lambda ctx, data: asyncio.sleep(0.1, "done"))
    serving = await app.serve("tcp://127.0.0.1:0")
    client = await connect_events(serving.url, namespace="/chat")
    call = asyncio.create_task(client.call("slow"))
    await until(lambda: app.statistics().get("messages"))
    await serving.drain(retry_s=0.01, jitter_s=0.01)
    assert await call == "done"
    again = await app.serve(serving.url)
    await until(lambda: client.reconnects == 1)
    assert await client.call("slow") == "done"
    await client.close()
    await again.close()
