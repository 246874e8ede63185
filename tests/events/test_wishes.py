"""What a program asks of rooms is answered, and what becomes of them is told, whatever happens on the way."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.events.test_bounds import run
from transport import limits
from transport.events import Denied, envelope
from transport.events.client import Client, Outside
from transport.events.testing import Kit


@pytest.mark.parametrize("allowed", [True, False])
def test_two_that_rely_on_one_claim(allowed: bool) -> None:
    """The client comes back, and says where it was; its answer is for everybody who wants to be there."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        may = [True]
        namespace.authorize_room(lambda ctx, room: may[0])
        client = await kit.client()
        client.on("x", lambda m: None)
        await client.join("r")
        kit.drop(client)
        await kit.advance(0.001)
        assert not client.machine.up
        may[0] = allowed
        joins = [asyncio.create_task(client.join("r")) for _ in range(3)]
        await kit.advance(5)
        assert client.machine.up
        assert [join.done() for join in joins] == [True] * 3
        assert [isinstance(join.exception(), Denied) for join in joins] == [not allowed] * 3
        assert client.machine.wishes == 0

    run(scenario)


def test_a_client_that_is_put_out_while_it_comes_back() -> None:
    client = Client("/")

    def welcome() -> None:
        client.connected()
        client.receive(envelope.welcome(envelope.Welcome("s", b"secret", 1, True, 0, [], 0, limits.EVENTS_WINDOW, 0)))

    welcome()
    client.join("r", "cursor", "before")
    client.receive(envelope.joined(envelope.Joined(1, 7, False, "r", 1, 0, 0, 0, True, b"ticket")))
    client.disconnected()
    welcome()
    for token in ("one", "two"):
        client.join("r", "cursor", token)
    client.events()
    client.receive(envelope.left(0, "r", "kicked: enough"))
    outside = [what for what in client.events() if isinstance(what, Outside)]
    assert [what.token for what in outside] == ["one", "two"]
    assert client.wishes == 0
    assert "r" not in client.streams


def test_two_readers_that_begin_at_once() -> None:
    """The later one has the room, and the earlier one ends."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[Any] = []

        async def read(name: str) -> None:
            async for m in client.subscribe("r"):
                got.append((name, m.event))
            got.append((name, "end"))

        for name in ("ann", "bob"):
            kit.app.task(read(name))
        await kit.advance(1)
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        assert got == [("ann", "end"), ("bob", 1)]

    run(scenario)


def test_a_reader_of_a_room_that_the_program_of_the_server_chose() -> None:
    """The session is forgotten: the program may put the client there again or not, and the reader does not wait."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        @namespace.connected
        async def put(ctx: Any) -> None:
            await ctx.join("r")

        client = await kit.client()
        await kit.advance(1)
        got: list[Any] = []

        async def read() -> None:
            try:
                async for m in client.subscribe("r"):
                    got.append(m.event if m.gap is None else m.gap.reason)
            except Denied as error:
                got.append(error.text)

        for number in (1, 2):
            kit.app.task(read())
            await kit.advance(1)
            await namespace.to("r").emit("x", number)
            await kit.advance(1)
            client.machine.secret = bytes(len(client.machine.secret))
            kit.drop(client)
            await kit.advance(5)
        assert got == [1, "epoch", "the session has begun anew", 2, "epoch", "the session has begun anew"]

    run(scenario)


def test_a_room_that_was_left_while_it_was_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program does with events of before says nothing to the server about the room as it is now."""
    monkeypatch.setattr(limits, "EVENTS_QUEUE_EVENTS", 8)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client, other = await kit.client(), await kit.client()
        await other.join("r")  # so that its number stays
        gate = asyncio.Event()
        got: list[int] = []

        async def slow(m: Any) -> None:
            await gate.wait()
            got.append(m.event)

        client.on("x", slow)
        await client.join("r")
        for number in range(20):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        assert client.statistics()["pauses"] == 1
        await client.leave("r")
        await client.join("r", since="now")
        gate.set()
        await kit.advance(1)
        await namespace.to("r").emit("x", 20)
        await kit.advance(1)
        assert got == [*range(8), 20]
        assert (client.closed, client.reconnects) == (False, 0)

    run(scenario)


@pytest.mark.parametrize("how", ["dies", "raises"])
def test_a_crash_before_a_program_knows_that_its_session_was_forgotten(how: str, tmp_path: Path) -> None:
    """The next life is told, once: its session is as it has always been, and no server would say it."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        told: list[Any] = []
        for life in range(3):
            client = await kit.client(cursor=tmp_path / "me.cur")
            client.on("x", lambda m: told.append(m.event))

            @client.on_gap
            async def gap(m: Any, life: int = life) -> None:
                if not m.room:
                    return
                if not life and how == "dies":
                    await kit.advance(1000)
                if not life:
                    raise ValueError("not now")
                told.append(m.gap.reason)

            await client.join("r")
            if not life:
                await namespace.to("r").emit("x", 1)
                await kit.advance(1)
                kit.partition(client)
                await namespace.to("r").emit("x", 2)
                client.machine.secret = bytes(len(client.machine.secret))
                kit.heal(client)
                await kit.advance(5)
                await client.close()
                await namespace.to("r").emit("x", 3)
            await kit.advance(5)
            await client.close()
        assert told == [1, "epoch", 3]

    run(scenario)


@pytest.mark.parametrize("allowed", [True, False])
def test_events_between_a_forgotten_session_and_the_next_join(allowed: bool) -> None:
    """The gap is told when the client is in the room again, or is not: what a program reads then is not too old."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client, may = await kit.client(), [True]
        got: list[Any] = []

        async def read() -> None:
            try:
                async for m in client.subscribe("r"):
                    got.append((m.event if m.gap is None else m.gap.reason, last[0]))
            except Denied:
                got.append("denied")

        last = [0]
        namespace.authorize_room(lambda ctx, room: may[0])
        kit.app.task(read())
        await kit.advance(1)
        kit.drop(client)
        may[0] = allowed
        client.machine.secret = bytes(len(client.machine.secret))
        while client.machine.session:  # until the server says that it is denied
            await kit.advance(0.001)
        last[0] = 1
        await namespace.to("r").emit("x", 1)
        await kit.advance(5)
        last[0] = 2
        await namespace.to("r").emit("x", 2)
        await kit.advance(1)
        assert got == [("epoch", 1), (2, 2) if allowed else "denied"]

    run(scenario)
