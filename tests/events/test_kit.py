"""The test kit: what can break is broken in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.events.test_events import chat
from transport.events import Events
from transport.events.testing import Kit


def test_everything_that_breaks() -> None:
    app, namespace = chat()

    async def scenario(kit: Kit) -> Any:
        client = await kit.client(namespace="/chat")
        got: list[int] = []
        gaps: list[str] = []
        client.on("said", lambda m: got.append(m.event))
        client.on_gap(lambda m: gaps.append(m.gap.reason))
        await client.join("r")

        async def emit(*numbers: int) -> None:
            for number in numbers:
                await namespace.to("r").emit("said", number)

        kit.drop(client)
        await emit(1, 2)
        await kit.advance("5s")
        kit.half_open(client)
        await emit(3)
        await kit.advance("5s")
        kit.partition(client)
        await emit(4, 5)
        await kit.advance("60s")
        assert not client.machine.up
        kit.heal(client)
        await kit.advance("5s")
        await kit.restart(after="1s")
        await emit(6)
        await kit.advance("5s")
        assert got == [1, 2, 3, 4, 5, 6]
        kit.partition(client)
        await emit(7, 8, 9)
        await kit.trim("r", 9, "/chat")
        kit.heal(client)
        await kit.advance("5s")
        assert gaps == ["trimmed"]
        kit.partition(client)
        await kit.lose("r", "/chat")
        await emit(10)
        kit.heal(client)
        await kit.advance("5s")
        assert gaps == ["trimmed", "epoch"]
        return asyncio.get_running_loop().time()

    assert app.test(seed=3).run(scenario) > 90


def test_the_same_seed_gives_the_same_run() -> None:
    def once(seed: int) -> list[Any]:
        app = Events()
        app.namespace("/")
        ids: list[Any] = []

        async def scenario(kit: Kit) -> None:
            client = await kit.client()
            kit.drop(client)
            await kit.advance("3s")
            ids.append((client.machine.session, client.machine.secret, kit.random.random()))

        app.test(seed=seed).run(scenario)
        return ids

    assert once(1) == once(1)
    assert once(1) != once(2)


def test_a_session_s_time() -> None:
    """Who stays away for too long begins anew, and is told so."""
    app = Events(session_s=60)
    namespace = app.namespace("/")
    namespace.on("work", lambda ctx, data: data)

    async def scenario(kit: Kit) -> None:
        client = await kit.client()
        gaps: list[Any] = []
        client.on_gap(lambda m: gaps.append((m.room, m.gap.reason)))
        client.on("x", lambda m: None)
        await kit.advance("1000s")
        assert len(await app.log.sessions()) == 1, "who is connected is kept"
        kit.partition(client)
        await kit.advance("1000s")
        assert await app.log.sessions() == []
        assert app.hub.sessions == {}
        kit.heal(client)
        await kit.advance("10s")
        assert client.machine.up
        assert gaps == [("", "epoch")]
        assert await client.call("work", 1) == 1

    app.test().run(scenario)
