"""`m.once(db)`: an effect exactly once, and what it says where that can't be had."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.events.test_bounds import run
from transport.errors import LocalProtocolError
from transport.events import Events, History, SQLiteCursor
from transport.events.cursors import make_tables, unpack
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


def forget_session(kit: Kit, client: Any) -> None:
    """The server will not take its session again."""
    client.machine.secret = bytes(len(client.machine.secret))
    kit.drop(client)


@pytest.mark.parametrize("at_once", [False, True], ids=["in turn", "at once"])
def test_an_effect_that_fails_and_another_that_does_not(at_once: bool) -> None:
    """The second says nothing about the first: the event is not done, and comes again."""
    db, other = [sqlite3.connect(":memory:") for _ in range(2)]
    done: list[str] = []

    async def scenario(kit: Kit, namespace: Any) -> None:
        async def first(m: Any, fails: bool) -> None:
            async with m.once(db) as fresh:
                if at_once:
                    await kit.advance(0.2)
                if fails:
                    raise ValueError("not now")
                if fresh:
                    done.append("first")

        async def second(m: Any) -> None:
            async with m.once(other) as fresh:
                if fresh:
                    done.append("second")

        for life in range(2):
            client = await kit.client(cursor=SQLiteCursor(db))

            async def effects(m: Any, life: int = life) -> None:
                if at_once:
                    await asyncio.gather(first(m, not life), second(m), return_exceptions=True)
                    return
                try:
                    await first(m, not life)
                except ValueError:
                    pass
                await second(m)

            client.on("x", effects)
            await client.join("r")
            if not life:
                await namespace.to("r").emit("x", 1)
            await kit.advance(1)
            assert client.cursors["r"].offset == life
            await client.close()
        assert done == ["second", "first"]

    run(scenario)
    db.close()
    other.close()


def test_a_second_try_over_another_connection_to_the_same_file(tmp_path: Path) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        tries: list[int] = []

        async def effect(m: Any) -> None:
            while len(tries) < 2:
                tries.append(m.event)
                with closing(sqlite3.connect(tmp_path / "effects.db")) as db:
                    try:
                        async with m.once(db):
                            if len(tries) == 1:
                                raise ValueError("not now")
                    except ValueError:
                        pass

        client.on("x", effect)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        assert tries == [1, 1]
        assert client.cursors["r"].offset == 1

    run(scenario)


@pytest.mark.parametrize("how", ["left", "session forgotten"])
def test_an_event_at_work_while_its_client_begins_anew_further_on(how: str) -> None:
    """The new cursor says nothing about what lies before the place where the client began."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(concurrency=4)
        gate = asyncio.Event()
        done: list[int] = []

        async def effect(m: Any) -> None:
            if m.event == 1:
                await gate.wait()
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        client.on("x", effect)
        await client.join("r")
        for number in (1, 2, 3):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        if how == "left":
            await client.leave("r")
            await client.join("r", since="now")
        else:
            forget_session(kit, client)
            await kit.advance(5)
        await namespace.to("r").emit("x", 4)
        await kit.advance(1)
        gate.set()
        await kit.advance(1)
        assert done == [2, 3, 4, 1]

    run(scenario)
    db.close()


def test_a_client_that_begins_earlier_than_before() -> None:
    """Events from before it joined for the first time have had no effect; the others have, however they were noted."""
    db = sqlite3.connect(":memory:")
    app = Events()
    app.namespace("/", history=History(joiners="oldest"))

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[int] = []

        async def effect(m: Any) -> None:
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        for number in (1, 2, 3):
            await namespace.to("r").emit("x", number)
        for life in range(3):
            client = await kit.client(cursor=SQLiteCursor(db))
            client.on("x", effect)
            await client.join("r", since="oldest" if life == 2 else "cursor")
            for number in (4, 5) if not life else (6, 7) if life == 1 else (8,):
                await namespace.to("r").emit("x", number)
            await kit.advance(1)
            if life == 1:
                await client.leave("r")
            await client.close()
        assert done == [4, 5, 6, 7, 1, 2, 3, 8]
        assert db.execute("SELECT min(since), max(offset) FROM transport_cursors").fetchone() == (0, 8)
        assert db.execute("SELECT count(*) FROM transport_done").fetchone() == (0,)

    run(scenario, app)
    db.close()


def test_an_event_of_before_whose_effects_are_tried_again() -> None:
    """The one that was had already is not had again, though nothing would bring the event."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client(concurrency=4)
        gate = asyncio.Event()
        done: list[str] = []

        async def effects(m: Any) -> None:
            await gate.wait()
            for fails in (True, False):
                try:
                    async with m.once(db, "first") as fresh:
                        if fresh:
                            done.append("first")
                    async with m.once(db, "second") as fresh:
                        if fails:
                            raise ValueError("not now")
                        if fresh:
                            done.append("second")
                except ValueError:
                    pass

        client.on("x", effects)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        await kit.lose("r")
        kit.drop(client)
        await kit.advance(5)
        gate.set()
        await kit.advance(1)
        assert done == ["first", "second"]

    run(scenario)
    db.close()


def test_gaps_that_are_in_no_log() -> None:
    """A session that the server forgets, again and again: each time is news."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        news: list[bool] = []

        async def gap(m: Any) -> None:
            if m.room:
                async with m.once(db) as fresh:
                    news.append(fresh)

        client.on_gap(gap)
        client.on("x", lambda m: None)
        await client.join("r")
        for _ in range(3):
            forget_session(kit, client)
            await kit.advance(5)
        assert news == [True, True, True]

    run(scenario)
    db.close()


def test_what_is_at_work_is_counted_once() -> None:
    """Also gaps that have no place in their stream, which begins anew before the program is past them."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        gate = asyncio.Event()

        async def slow(m: Any) -> None:
            await gate.wait()

        client.on("x", slow)
        client.on_gap(slow)
        await client.join("r")
        await namespace.to("r").emit("x", 1)
        await kit.advance(1)
        forget_session(kit, client)
        await kit.advance(5)
        for _ in range(2):
            await kit.lose("r")
            kit.drop(client)
            await kit.advance(5)
        stream = client.machine.streams["r"]
        assert (stream.waiting, stream.lingering) == (1, 3)
        gate.set()
        await kit.advance(1)
        assert [(stream.waiting, stream.lingering) for stream in client.machine.streams.values()] == [(0, 0)] * 2

    run(scenario)


@pytest.mark.parametrize("key", ["consumer, room", "consumer, room, epoch"])
def test_notes_of_an_earlier_version(key: str) -> None:
    """What they say is done is done."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        done: list[int] = []

        async def effect(m: Any) -> None:
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        client.on("x", effect)
        epoch, _ = await client.join("r")
        db.execute(
            "CREATE TABLE transport_cursors (consumer TEXT NOT NULL, room TEXT NOT NULL, epoch TEXT NOT NULL,"
            f" offset INTEGER NOT NULL, PRIMARY KEY ({key}))"
        )
        db.execute("INSERT INTO transport_cursors VALUES ('', 'r', ?, 2)", (str(epoch),))
        db.commit()
        for number in (1, 2, 3):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        assert done == [3]
        assert db.execute("SELECT since, offset FROM transport_cursors").fetchall() == [(0, 3)]
        make_tables(db)

    run(scenario)
    db.close()
