"""A client that says anything, and many that come and go: nobody else notices, and nothing is left behind."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import transport
from tests.events.test_bounds import Raw, run
from tests.events.test_envelope import FROM_CLIENT
from transport import limits
from transport.errors import TransportError
from transport.events import envelope
from transport.events.testing import NAME, Kit


def frame(rng: random.Random) -> bytes:
    """Something that a client might say, or not."""
    body = envelope.payload(rng.choice(["x", "y", "@presence", ""]), rng.choice([None, 1, "r", {"a": [1]}]))
    room = rng.choice(["r", "s", "@presence/r", "\n", "x" * 300])
    claim = envelope.Claim(room, rng.randrange(2**64), rng.randrange(2**40), rng.randrange(9), True, rng.randbytes(16))
    made = rng.choice([
        lambda: envelope.message(rng.randrange(1, 400), rng.randrange(1, 400), rng.random() < 0.5, body),
        lambda: envelope.join(rng.randrange(9), room, rng.choice(["now", "oldest", "cursor"]), claim),
        lambda: envelope.join(rng.randrange(9), room, "now"),
        lambda: envelope.leave(rng.randrange(9), room),
        lambda: envelope.pause(rng.randrange(6)),
        lambda: envelope.go_on(rng.randrange(6), rng.randrange(6)),
        lambda: envelope.answer(rng.randrange(6), True, None),
        lambda: rng.choice([one for one, _ in FROM_CLIENT.values()]),
        lambda: rng.randbytes(rng.randrange(30)),
    ])  # fmt: skip
    return made()


def test_anything(seed: int) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        rng = random.Random(seed)
        namespace.on("x", lambda ctx, data: data)
        good = await kit.client()
        got: list[int] = []
        good.on("x", lambda m: got.append(m.offset))
        await good.join("r")
        entered = said = 0
        for number in range(150):
            raw = Raw(await transport.connect(f"memory://{NAME}", codec="raw"))
            try:
                if rng.random() < 0.9:
                    await raw.enter()
                    entered += 1
                for _ in range(rng.randrange(1, 30)):
                    await raw.conn.send(frame(rng))
                    said += 1
                    if rng.random() < 0.3:
                        await kit.advance(0.01)
            except TransportError:
                pass
            raw.conn.abort()
            await namespace.to("r").emit("x", number)
            if number % 10 == 0:
                assert await good.call("x", number, timeout=1) == number
        await kit.advance(1)
        assert got == list(range(1, 151))
        assert entered > 100
        assert said > 300
        assert len(kit.app.links) == 1
        assert not good.reconnects

    run(scenario)


def test_nothing_is_left_behind() -> None:
    """After they have gone for good, and their sessions' time is over."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        namespace.on("x", lambda ctx, data: data)
        app = kit.app
        for _ in range(3):
            clients = await asyncio.gather(*[kit.client() for _ in range(30)])
            for number, client in enumerate(clients):
                await client.join(f"room {number % 7}")
                await client.join("all")
                await client.call("x", 1)
            await namespace.to("all").emit("x", 1)
            result = await namespace.to("all").call("x", 1, timeout=1)
            assert len(result.failed) == 30
            for number, client in enumerate(clients):
                if number % 3 == 0:
                    await client.leave("all")
                elif number % 3 == 1:
                    kit.drop(client)
            await kit.advance(5)
            for client in clients:
                await client.close()
            kit._clients.clear()
        await kit.advance(1)
        assert len(app.hub.sessions) == 90
        assert len(app.links) == 0
        assert app.hub.stream_count == 0
        assert app.log._watching._count == 0
        assert len(app.hub.calls) == 0
        assert app.hub.calls._of == {}
        assert app.hub._watches == {}
        await kit.advance(3 * limits.EVENTS_SESSION_S)
        assert app.hub.sessions == {}
        assert await app.log.sessions() == []
        assert await app.log.streams(private=True) == []
        assert not app._tasks

    run(scenario)
