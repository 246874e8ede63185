"""A log that has gone back: put back from a backup, so that its offsets are given a second time. Nobody misses an event
without hearing of it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.events.test_bounds import Raw, run
from tests.events.test_events import until
from tests.log.test_restored import backup, put_back
from transport import limits
from transport.events import Events, SQLiteCursor, connect_events, envelope, parse
from transport.events.client import Client
from transport.events.testing import Kit
from transport.log import SQLiteLog
from transport.log.numbers import Numbers
from transport.log.records import Stream as Name


def go_back(kit: Kit, room: str, top: int, private: bool = False) -> None:
    """As a disk does that is put back as a whole: the log can't see it."""
    ring = kit.app.log._streams[Name("/", room, private)]
    del ring._events[len(ring._events) - (ring.top - top) :]
    ring.top = top


def hear(client: Any, room: str = "r") -> list[Any]:
    """What a client's program gets of a room: data of events, reasons of gaps."""
    got: list[Any] = []
    client.on("x", lambda m: got.append(m.event))
    client.on_gap(lambda m: got.append(m.gap.reason) if m.room == room else None)
    return got


async def frame(raw: Raw, kind: type) -> Any:
    """The next frame of a kind."""
    while True:
        found = parse.parse(await raw.conn.recv(), parse.FROM_SERVER)
        if isinstance(found, kind):
            return found


async def emitted(namespace: Any, room: str, numbers: Any) -> None:
    for number in numbers:
        await namespace.to(room).emit("x", number)


def test_who_was_let_in_behind_the_end_proves_it() -> None:
    """The log is renewed before it answers, and so the one who comes when nothing can be seen any more is told, too."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        ann, bob, live = [await kit.client() for _ in range(3)]
        got = {ann: hear(ann), bob: hear(bob), live: hear(live, "s")}
        await bob.join("r")
        await live.join("s")
        await emitted(namespace, "r", range(1, 6))
        await ann.join("r")
        await emitted(namespace, "r", range(6, 9))
        await kit.advance(1)
        kit.partition(ann)
        kit.partition(bob)
        await kit.advance(60)
        go_back(kit, "r", 3)
        epoch = (await kit.app.log.head(Name("/", "r"))).epoch
        kit.heal(ann)
        await kit.advance(5)
        assert (await kit.app.log.head(Name("/", "r"))).epoch != epoch
        await emitted(namespace, "r", range(101, 111))
        kit.heal(bob)
        await kit.advance(5)
        await emitted(namespace, "r", [200])
        await emitted(namespace, "s", [300])
        await kit.advance(5)
        assert got[ann] == [6, 7, 8, "epoch", *range(101, 111), 200]
        assert got[bob] == [*range(1, 9), "epoch", 200]
        assert got[live] == ["epoch", 300]
        assert kit.app.statistics()["logs_renewed"] == 1
        assert "cursors_beyond" not in kit.app.statistics()

    run(scenario)


def test_two_that_prove_it_at_once() -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        clients = [await kit.client() for _ in range(5)]
        got = [hear(client) for client in clients]
        await emitted(namespace, "r", range(1, 6))
        for client in clients:
            await client.join("r")
            kit.partition(client)
        await kit.advance(60)
        go_back(kit, "r", 3)
        renew = kit.app.log.renew

        async def slow() -> None:
            await asyncio.sleep(3)
            await renew()

        kit.app.log.renew = slow
        for client in clients:
            kit.heal(client)
        await kit.advance(20)
        del kit.app.log.renew
        await emitted(namespace, "r", [7])
        await kit.advance(1)
        assert got == [["epoch", 7]] * 5
        assert kit.app.statistics()["logs_renewed"] == 1

    run(scenario)


def test_who_only_says_so_is_told_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A client could say what it likes: nobody else's cursor is thrown away for it. It is logged, once."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        good = await kit.client()
        got = hear(good)
        await good.join("r")
        await emitted(namespace, "r", [1, 2])
        epoch = (await kit.app.log.head(Name("/", "r"))).epoch
        with caplog.at_level(logging.WARNING, "transport.events"):
            for _ in range(2):
                liar = await kit.client()
                await liar.join("r")
                heard = hear(liar)
                liar.machine.streams["r"].tracker.rebase(1_000_000)
                kit.drop(liar)
                await kit.advance(5)
                assert heard == ["epoch"]
        assert (await kit.app.log.head(Name("/", "r"))).epoch == epoch
        await emitted(namespace, "r", [3])
        await kit.advance(1)
        assert got == [1, 2, 3]
        assert kit.app.statistics()["cursors_beyond"] == 2
        assert [record.message for record in caplog.records if "transport events renew" in record.message] == [
            "a client says that it had events of / #r behind its end, which is 2: if the log was put back from a"
            " backup, end the server and call `transport events renew`"
        ]

    run(scenario)


def test_messages_that_the_log_has_forgotten() -> None:
    """The client's numbers are above what the log knows of: it begins again, and is not cut off for that."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        handled: list[int] = []
        namespace.on("x", lambda ctx, data: handled.append(data))
        client = await kit.client()
        for number in range(20):
            await client.call("x", number)
        await kit.crash()
        stored = kit.app.log._clients[client.machine.session]
        stored.numbers = Numbers.of(5, "7,9")
        stored.replies.clear()
        stored.reply_bytes = 0
        await kit.start()
        await kit.advance(5)
        for number in range(20, 40):
            await client.call("x", number)
        assert handled == list(range(40))
        assert stored.numbers.contiguous == 29, "nothing is left open below"
        assert client.reconnects == 1
        assert not client.closed

    run(scenario)


@pytest.mark.parametrize("how", ["sqlite", "sqlite, restarted", "file", "file, restarted"])
def test_effects_that_were_noted_before(how: str, tmp_path: Path) -> None:
    """Offsets that come a second time are other events: what `once` noted of the first says nothing about them."""
    db = sqlite3.connect(":memory:")
    cursor: Any = tmp_path / "me.cur" if "file" in how else SQLiteCursor(db)

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[Any] = []

        async def effect(m: Any) -> None:
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        async def begun() -> Any:
            client = await kit.client(cursor=cursor)
            client.on("x", effect)
            client.on_gap(lambda m: done.append(m.gap.reason) if m.room else None)
            await client.join("r")
            return client

        client = await begun()
        await emitted(namespace, "r", range(1, 6))
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(60)
        go_back(kit, "r", 2)
        kit.heal(client)
        await kit.advance(5)
        if "restarted" in how:  # before it has done anything since
            await client.close()
            client = await begun()
        await emitted(namespace, "r", range(11, 16))
        await kit.advance(5)
        assert done == [1, 2, 3, 4, 5, "epoch", 11, 12, 13, 14, 15]
        assert client.cursors["r"].offset == 7

    run(scenario)
    db.close()


def test_a_crash_before_the_first_event_of_a_log_that_has_gone_back() -> None:
    """What is kept says so before the program sees anything: another life is told of the gap, whatever came since."""
    db = sqlite3.connect(":memory:")

    class Cursor(SQLiteCursor):
        broken = False

        def save(self, state: bytes) -> None:
            if not self.broken:
                super().save(state)

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[Any] = []
        cursor = Cursor(db)

        async def effect(m: Any) -> None:
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        async def begun(gap: Any) -> Any:
            client = await kit.client(cursor=cursor)
            client.on("x", effect)
            client.on_gap(gap)
            await client.join("r")
            return client

        def dies(m: Any) -> None:
            cursor.broken = bool(m.room)  # nothing that is saved from here on has been saved

        client = await begun(dies)
        await emitted(namespace, "r", range(1, 6))
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(60)
        go_back(kit, "r", 2)
        kit.heal(client)
        await kit.advance(5)
        assert cursor.broken
        await client.close()
        await emitted(namespace, "r", range(11, 20))
        cursor.broken = False
        client = await begun(lambda m: done.append(m.gap.reason) if m.room else None)
        await kit.advance(5)
        await emitted(namespace, "r", [20])
        await kit.advance(5)
        assert done == [1, 2, 3, 4, 5, "epoch", 20]

    run(scenario)
    db.close()


def test_what_is_remembered_of_logs_that_went_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_CLIENT_STREAMS_MAX", 3)
    client = Client("/")
    for room in "abacd":
        client._rewind(room)
    assert client.rewinds == {"a": 2, "c": 1, "d": 1}


def test_effects_in_two_databases() -> None:
    """Consumers of one name: each database forgets what was noted in it."""
    dbs = [sqlite3.connect(":memory:") for _ in range(2)]

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[Any] = []

        async def effect(m: Any) -> None:
            async with m.once(dbs[m.event % 2]) as fresh:
                if fresh:
                    done.append(m.event)

        client = await kit.client()
        client.on("x", effect)
        await client.join("r")
        await emitted(namespace, "r", range(1, 6))
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(60)
        go_back(kit, "r", 2)
        kit.heal(client)
        await kit.advance(5)
        await emitted(namespace, "r", [11, 12])
        await kit.advance(5)
        assert done == [1, 2, 3, 4, 5, 11, 12]

    run(scenario)
    for db in dbs:
        db.close()


def test_an_event_of_before_that_is_done_late() -> None:
    """It says nothing about the other one that has its offset now, neither here nor in a database."""
    db = sqlite3.connect(":memory:")

    async def scenario(kit: Kit, namespace: Any) -> None:
        done: list[Any] = []
        gate = asyncio.Event()

        async def effect(m: Any) -> None:
            if m.event > 100:
                await gate.wait()
            elif m.event > 3:
                await asyncio.sleep(70)
            async with m.once(db) as fresh:
                if fresh:
                    done.append(m.event)

        client = await kit.client(concurrency=8)
        client.on("x", effect)
        await client.join("r")
        await emitted(namespace, "r", range(1, 6))
        await kit.advance(1)
        kit.partition(client)
        await kit.advance(60)
        go_back(kit, "r", 3)
        kit.heal(client)
        await kit.advance(5)
        await emitted(namespace, "r", [101, 102])
        await kit.advance(30)
        assert done == [1, 2, 3, 4, 5]
        assert client.cursors["r"].offset == 3
        gate.set()
        await kit.advance(1)
        assert done == [1, 2, 3, 4, 5, 101, 102]
        assert client.cursors["r"].offset == 5

    run(scenario)
    db.close()


@pytest.mark.parametrize("fails", [False, True])
def test_a_log_that_has_grown_past_the_place_before_the_gap_is_done(fails: bool, tmp_path: Path) -> None:
    """The gap is told by the next life, too: the events in between are others than those that the last one had."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        got: list[Any] = []
        for life in range(2):
            client = await kit.client(cursor=tmp_path / "me.cur")
            client.on("x", lambda m: got.append(m.event))

            async def gap(m: Any, life: int = life) -> None:
                if m.room and not life:
                    if fails:
                        raise RuntimeError("not now")
                    await asyncio.sleep(100)
                if m.room:
                    got.append(m.gap.reason)

            client.on_gap(gap)
            await client.join("r")
            if life:
                await kit.advance(5)
                continue
            await emitted(namespace, "r", range(1, 11))
            await kit.advance(1)
            kit.partition(client)
            await kit.advance(60)
            go_back(kit, "r", 3)
            kit.heal(client)
            await kit.advance(5)
            await client.close()
            await emitted(namespace, "r", range(101, 121))
        await emitted(namespace, "r", [200])
        await kit.advance(5)
        assert got == [*range(1, 11), "epoch", 200]

    run(scenario)


def test_a_claim_on_joining() -> None:
    """The other way in, by JOIN with a claim."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        raw = await Raw.connect()
        await raw.enter()
        await emitted(namespace, "r", range(1, 6))
        await raw.conn.send(envelope.join(1, "r", "now"))
        joined = await frame(raw, envelope.Joined)
        await raw.conn.send(envelope.leave(2, "r"))
        await frame(raw, envelope.Left)
        go_back(kit, "r", 3)
        claim = envelope.Claim("r", joined.epoch, 5, joined.since, True, joined.ticket)
        await raw.conn.send(envelope.join(3, "r", "cursor", claim))
        again = await frame(raw, envelope.Joined)
        assert again.epoch != joined.epoch
        assert again.catching_up
        assert (await frame(raw, envelope.Gap)).why is envelope.Why.EPOCH
        assert kit.app.statistics()["logs_renewed"] == 1

    run(scenario)


@pytest.mark.asyncio
async def test_a_server_that_was_started_on_a_backup(tmp_path: Path) -> None:
    """A real file: the log itself sees it, and the client is told, whoever lets it in where."""
    path, copy = tmp_path / "events.db", tmp_path / "backup"
    got: list[Any] = []
    url: Any = "tcp://127.0.0.1:0"
    for life in ("before", "lost", "after"):
        app = Events(SQLiteLog(path))
        chat = app.namespace("/")
        async with app.serve(url) as serving:
            if life == "after":  # so many that its cursor lies among them
                await emitted(chat, "r", ["other"] * 9)
            client = await connect_events(serving.url, cursor=tmp_path / "me.cur")
            got = hear(client)
            await client.join("r")
            await emitted(chat, "r", [life] * (1 if life == "before" else 5))
            await until(lambda got=got, life=life: got and got[-1] == life)
            await client.close()
        if life == "before":
            backup(path, copy)
        elif life == "lost":
            put_back(path, copy)
    assert got[0] == "epoch"
