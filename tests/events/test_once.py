"""`m.once(db)`: an effect exactly once, and what it says where that can't be had."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from tests.events.test_bounds import run
from transport.errors import LocalProtocolError
from transport.events import SQLiteCursor
from transport.events.cursors import unpack
from transport.events.testing import Kit


def test_two_effects_of_one_event_in_two_databases() -> None:
    """The first says nothing about the second: neither that it is done, nor how far the others are."""
    dbs = [sqlite3.connect(":memory:") for _ in range(2)]

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[tuple[int, int]] = []
        fails = [True]
        gate = asyncio.Event()

        async def effect(m: Any) -> None:
            for which, db in enumerate(dbs):
                if which and m.event == 1:
                    await gate.wait()
                async with m.once(db) as fresh:
                    if which and m.event == 3 and fails[0]:
                        raise ValueError("not now")
                    if fresh:
                        done.append((which, m.event))

        for _ in range(2):
            client = await kit.client(cursor=SQLiteCursor(dbs[0]), concurrency=4)
            client.on("x", effect)
            await client.join("r")
            if fails[0]:
                for number in range(1, 5):
                    await namespace.to("r").emit("x", number)
                await kit.advance(1)
                assert sorted(done) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 4)]
                assert client.cursors["r"].offset == 0
                gate.set()
                await kit.advance(1)
                assert sorted(done) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 4)]
                assert client.cursors["r"].offset == 2
                await client.close()
                fails[0] = False
                continue
            await kit.advance(1)
            assert sorted(done) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 1), (1, 2), (1, 3), (1, 4)]
            assert client.cursors["r"].offset == 4

    run(scenario)
    for db in dbs:
        db.close()


def test_an_effect_that_is_done_after_its_handler_gave_up() -> None:
    """The event counts as done from then on."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db))
        failed: list[Any] = []

        async def effect(m: Any) -> None:
            if m.event == 1:
                failed.append(m)
                async with m.once(db):
                    raise ValueError("not now")

        client.on("x", effect)
        await client.join("r")
        for number in (1, 2):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        assert client.cursors["r"].offset == 0
        async with failed[0].once(db) as fresh:
            assert fresh
        assert client.cursors["r"].offset == 2
        assert client.statistics()["undone"] == 0

    run(scenario)
    db.close()


def test_what_is_in_no_stream_is_not_noted() -> None:
    """A volatile event has no place: it leaves the cursor of its room alone."""
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE effects (number INTEGER)")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db))

        async def effect(m: Any) -> None:
            async with m.once(db) as fresh:
                assert fresh
                db.execute("INSERT INTO effects VALUES (?)", (m.event,))

        client.on("x", effect)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        for _ in range(2):
            await namespace.to("r").emit("x", 2, volatile=True)
        await kit.advance(1)
        assert db.execute("SELECT number FROM effects").fetchall() == [(1,), (2,), (2,)]
        assert db.execute("SELECT offset FROM transport_cursors").fetchall() == [(1,)]

    run(scenario)
    db.close()


@pytest.mark.parametrize("why", ["received", "done", "read on"])
def test_an_event_that_counts_as_done_already(why: str) -> None:
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(ack="received" if why == "received" else "processed")
        room = client.subscribe("r")
        await room.begin()
        for number in (1, 2):
            await namespace.to("r").emit("x", number)
        message = await anext(room)
        if why == "done":
            message.done()
        elif why == "read on":
            await anext(room)
        with pytest.raises(LocalProtocolError, match="counts as done already"):
            message.once(db)

    run(scenario)
    db.close()


def test_a_cursor_that_was_saved_in_a_transaction_that_failed() -> None:
    """It is saved again: nothing else might happen for a long time."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db))

        async def effect(m: Any) -> None:
            async with m.once(db):
                await client.join("other")
                await kit.advance(1)
                raise ValueError("not now")

        client.on("x", effect)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(5)
        (row,) = db.execute("SELECT state FROM transport_sessions").fetchall()
        assert sorted([stream[0] for stream in unpack(row[0])["streams"]]) == ["", "other", "r"]

    run(scenario)
    db.close()


@pytest.mark.parametrize("later", [False, True])
def test_notes_of_an_epoch_that_is_over(later: bool) -> None:
    """They go when nobody is at work on it any more; an event whose effect had failed holds them no longer."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(cursor=SQLiteCursor(db), concurrency=4)
        failed: list[Any] = []

        async def effect(m: Any) -> None:
            async with m.once(db):
                if m.event == 2:
                    failed.append(m)
                    raise ValueError("not now")

        client.on("x", effect)
        await client.join("r")
        for number in (1, 2, 3):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        assert db.execute("SELECT offset FROM transport_cursors").fetchall() == [(1,)]
        assert db.execute("SELECT offset FROM transport_done").fetchall() == [(3,)]
        await kit.lose("r")
        kit.drop(client)
        await kit.advance(5)
        if later:
            async with failed[0].once(db) as fresh:
                assert fresh
        await namespace.to("r").emit("x", 4)
        await kit.advance(1)
        assert client.machine.streams["r"].lingering == 0
        assert db.execute("SELECT offset FROM transport_cursors").fetchall() == [(1,)]
        assert db.execute("SELECT offset FROM transport_done").fetchall() == []

    run(scenario)
    db.close()
