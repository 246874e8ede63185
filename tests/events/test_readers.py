"""Who reads a room in a client: one subscription after the other, waits that are given up, effects that fail."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from tests.events.test_bounds import run
from transport import limits
from transport.errors import LocalProtocolError
from transport.events import Denied, SQLiteCursor
from transport.events.testing import Kit


def test_another_subscription_goes_on_where_the_first_was_left() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        first = client.subscribe("r")
        await first.begin()
        for number in range(1, 7):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        got = []
        async for m in first:
            got.append(m.event)
            if m.event == 2:
                break
        async for m in client.subscribe("r"):
            got.append(m.event)
            if m.event == 4:
                break
        third = client.subscribe("r")
        while len(got) < 6:
            got.append((await third.__anext__()).event)
        assert got == [1, 2, 3, 4, 5, 6]
        assert client.cursors["r"].offset == 5
        with pytest.raises(StopAsyncIteration):
            await first.__anext__()

    run(scenario)


def test_a_subscription_whose_first_wait_is_given_up() -> None:
    """As by a time-out while there is no connection: the next wait begins once more."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        kit.partition(client)
        room = client.subscribe("r")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(room.__anext__(), 1)
        kit.heal(client)
        await kit.advance(10)
        await namespace.to("r").emit("x", 5)
        assert (await asyncio.wait_for(room.__anext__(), 10)).event == 5
        namespace.authorize_room(lambda ctx, room: False)
        denied = client.subscribe("s")
        for _ in range(2):
            with pytest.raises(Denied):
                await asyncio.wait_for(denied.__anext__(), 10)

    run(scenario)


def test_two_tasks_do_not_read_one_subscription() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        room = client.subscribe("r")
        await room.begin()
        reader = asyncio.create_task(room.__anext__())
        await kit.advance(1)
        with pytest.raises(LocalProtocolError, match="another task"):
            await room.__anext__()
        await namespace.to("r").emit("x", 5)
        assert (await reader).event == 5

    run(scenario)


def test_once_that_failed_comes_again_whatever_was_done_after_it() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE effects (number INTEGER)")

    async def scenario(kit: Kit, namespace: Any) -> None:
        fails = [True]
        for _ in range(2):
            client = await kit.client(cursor=SQLiteCursor(db), reconnect=None)

            async def effect(m: Any) -> None:
                async with m.once(db) as fresh:
                    if m.event == 2 and fails[0]:
                        raise ValueError("not now")
                    if fresh:
                        db.execute("INSERT INTO effects VALUES (?)", (m.event,))

            client.on("x", effect)
            await client.join("r")
            if fails[0]:
                for number in range(1, 5):
                    await namespace.to("r").emit("x", number)
            await kit.advance(5)
            await client.close()
            fails[0] = False

    run(scenario)
    assert db.execute("SELECT number FROM effects ORDER BY rowid").fetchall() == [(1,), (3,), (4,), (2,)]
    assert db.execute("SELECT offset FROM transport_cursors").fetchall() == [(4,)]
    assert db.execute("SELECT * FROM transport_done").fetchall() == []
    db.close()


def test_an_effect_that_failed_does_not_stop_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays undone, and what comes after it is not kept for its sake."""
    monkeypatch.setattr(limits, "EVENTS_QUEUE_BYTES", 5000)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []

        def effect(m: Any) -> None:
            got.append(m.offset)
            m.failed = m.offset == 1

        client.on("x", effect)
        await client.join("r")
        for _ in range(100):
            await namespace.to("r").emit("x", b"x" * 500)
            await kit.advance(0.01)
        await kit.advance(5)
        assert got == list(range(1, 101))
        assert client.cursors["r"].offset == 0
        assert len(client.machine.streams["r"].tracker._open) == 1

    run(scenario)


def test_once_out_of_order() -> None:
    """With several handlers at work the second event's effect must not stand for the first's."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db), concurrency=4)
        got: list[tuple[int, bool]] = []

        async def effect(m: Any) -> None:
            await asyncio.sleep(1 if m.event == 1 else 0)
            async with m.once(db) as fresh:
                got.append((m.event, fresh))

        client.on("x", effect)
        await client.join("r")
        for number in range(1, 4):
            await namespace.to("r").emit("x", number)
        await kit.advance(5)
        assert sorted(got) == [(1, True), (2, True), (3, True)]

    run(scenario)
    db.close()


def test_once_that_can_not_begin_or_commit_is_not_done() -> None:
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db))
        broken = True

        class Failing:
            """The database, with a disk that is full."""

            def __getattr__(self, name: str) -> Any:
                if name == "commit" and broken:
                    raise sqlite3.OperationalError("database or disk is full")
                return getattr(db, name)

        async def effect(m: Any) -> None:
            if m.event == 1:
                db.execute("BEGIN")
            try:
                async with m.once(db if m.event == 1 else Failing()):
                    pass
            finally:
                if m.event == 1:
                    db.rollback()

        client.on("x", effect)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await namespace.to("r").emit("x", 2)
        await kit.advance(1)
        assert client.cursors["r"].offset == 0
        assert client.statistics()["failed"] == 2
        assert not db.in_transaction

    run(scenario)
    db.close()
