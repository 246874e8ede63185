"""Events that the program is not done with: effects that failed, handlers that raised. What was left undone is told."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from tests.events.test_bounds import run
from transport import limits
from transport.events.testing import Kit


def stalls(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "no more events" in record.getMessage()]


@pytest.mark.parametrize("bound", ["events", "bytes"])
@pytest.mark.parametrize("reads", [False, True], ids=["handler", "subscription"])
def test_a_stream_that_stands_still_is_told(
    bound: str, reads: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Too many effects have failed: once in the log, in the statistics, and what is done later makes it go on."""
    if bound == "events":
        monkeypatch.setattr(limits, "EVENTS_QUEUE_EVENTS", 8)
    else:
        monkeypatch.setattr(limits, "EVENTS_QUEUE_BYTES", 8 * 1000)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        kept: list[Any] = []

        def fails(m: Any) -> None:
            m.failed = len(kept) < 8
            kept.append(m)

        async def read() -> None:
            async for m in client.subscribe("r"):
                fails(m)

        if reads:
            kit.app.task(read())
        else:
            client.on("x", fails)
            await client.join("r")
        await kit.advance(1)
        assert (client.statistics()["undone"], client.statistics()["stalled"]) == (0, 0)
        for _ in range(20):
            await namespace.to("r").emit("x", b"x" * 1000)
        await kit.advance(5)
        assert [m.offset for m in kept] == list(range(1, 9))
        assert (client.statistics()["undone"], client.statistics()["stalled"]) == (8, 1)
        assert len(stalls(caplog)) == 1
        assert stalls(caplog)[0].startswith("no more events of 'r' come: the effects of ")
        for m in kept[:6]:
            m.done()
        await kit.advance(5)
        assert [m.offset for m in kept] == list(range(1, 21))
        assert client.cursors["r"].offset == 6
        assert client.statistics()["stalled"] == 0
        for m in kept[6:8]:
            m.done()
        assert client.cursors["r"].offset == 20
        assert client.statistics()["undone"] == 0
        assert len(stalls(caplog)) == 1

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_it_is_told_once_whatever_comes_between(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reconnects bring no more of it; a stream of another epoch owes nothing to the one before."""
    monkeypatch.setattr(limits, "EVENTS_QUEUE_EVENTS", 8)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()

        def fails(m: Any) -> None:
            m.failed = True

        client.on("x", fails)
        await client.join("r")
        for _ in range(30):
            await namespace.to("r").emit("x")
        for _ in range(4):
            await kit.advance(5)
            kit.drop(client)
        await kit.advance(5)
        assert client.statistics()["undone"] == 8
        assert client.statistics()["stalled"] == 1
        assert len(stalls(caplog)) == 1
        await kit.lose("r")
        await namespace.to("r").emit("x")
        kit.drop(client)
        await kit.advance(5)
        assert client.statistics()["undone"] == 0
        await namespace.to("r").emit("x")
        await kit.advance(5)
        assert client.statistics()["undone"] == 1
        assert client.statistics()["stalled"] == 0

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


def test_handlers_that_are_slow_are_no_failures(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A pause that ends by itself is nothing to be told of, failed effects among it or not."""
    monkeypatch.setattr(limits, "EVENTS_QUEUE_EVENTS", 8)

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()
        got: list[int] = []

        async def slow(m: Any) -> None:
            await kit.advance(0.1)
            got.append(m.offset)
            m.failed = m.offset <= 3

        client.on("x", slow)
        await client.join("r")
        for _ in range(40):
            await namespace.to("r").emit("x")
        await kit.advance(20)
        assert got == list(range(1, 41))
        assert client.statistics()["pauses"] > 1
        assert (client.statistics()["undone"], client.statistics()["stalled"]) == (3, 0)
        assert stalls(caplog) == []

    with caplog.at_level(logging.WARNING, "transport.events"):
        run(scenario)


# Handlers that raise


def test_an_event_whose_handler_raises_comes_again_after_a_restart(tmp_path: Path) -> None:
    """The cursor moves when the handler has returned: one that raised has not. What came after it comes again, too."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        lives: list[list[int]] = []
        for is_broken in (True, False):
            got: list[int] = []
            lives.append(got)

            def take(m: Any, got: list[int] = got, is_broken: bool = is_broken) -> None:
                got.append(m.event)
                if is_broken and m.event == 2:
                    raise ValueError("a mistake")

            client = await kit.client(cursor=tmp_path / "me.cur")
            client.on("x", take)
            await client.join("r")
            if is_broken:
                for number in range(1, 5):
                    await namespace.to("r").emit("x", number)
            await kit.advance(1)
            statistics = client.statistics()
            assert statistics.get("failed", 0) == statistics["undone"] == is_broken
            assert client.cursors["r"].offset == (1 if is_broken else 4)
            await client.close()
        assert lives == [[1, 2, 3, 4], [2, 3, 4]]

    run(scenario)


def test_a_client_without_a_cursor_has_had_its_event() -> None:
    """Nothing could bring it back: it would only stand in the way."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        client = await kit.client()

        def fails(m: Any) -> None:
            raise ValueError("a mistake")

        client.on("x", fails)
        await client.join("r")
        for number in range(5):
            await namespace.to("r").emit("x", number)
        await kit.advance(1)
        assert client.cursors["r"].offset == 5
        assert (client.statistics()["failed"], client.statistics()["undone"]) == (5, 0)

    run(scenario)


def test_a_gap_whose_handler_raises_is_told_again(tmp_path: Path) -> None:
    async def scenario(kit: Kit, namespace: Any) -> None:
        told: list[Any] = []
        for life in range(2):
            client = await kit.client(cursor=tmp_path / "me.cur")

            def gap(m: Any, life: int = life) -> None:
                told.append((life, m.gap.reason, m.gap.lost))
                if not life:
                    raise ValueError("a mistake")

            client.on_gap(gap)
            await client.join("r")
            if not life:
                kit.partition(client)
                for number in range(5):
                    await namespace.to("r").emit("x", number)
                await kit.trim("r", 4)
                kit.heal(client)
            await kit.advance(10)
            assert client.cursors["r"].offset == (5 if life else 0)
            await client.close()
        assert told == [(0, "trimmed", 5), (1, "trimmed", 5)]

    run(scenario)


def test_a_gap_whose_handler_raises_is_told_again_though_another_one_followed(tmp_path: Path) -> None:
    """That the program is done with the second says nothing of the first."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        told: list[Any] = []
        for life in range(2):
            client = await kit.client(cursor=tmp_path / "me.cur")

            def gap(m: Any, life: int = life) -> None:
                if m.room:
                    told.append((life, m.gap.reason))
                    if not life and m.gap.reason == "epoch":
                        raise ValueError("a mistake")

            client.on_gap(gap)
            await client.join("r")
            if not life:
                await namespace.to("r").emit("x", 1)
                kit.partition(client)
                await kit.app.log.renew()
                kit.heal(client)
                await kit.advance(10)
                kit.partition(client)
                for number in range(5):
                    await namespace.to("r").emit("x", number)
                await kit.trim("r", 4)
                kit.heal(client)
            await kit.advance(10)
            await client.close()
        assert told == [(0, "epoch"), (0, "trimmed"), (1, "epoch")]

    run(scenario)


def test_a_server_that_goes_away_is_still_told() -> None:
    """GOAWAY says when to come back. Until the connection ends, what a client sends is handled."""

    async def scenario(kit: Kit, namespace: Any) -> None:
        handled: list[int] = []
        gate = asyncio.Event()

        async def take(ctx: Any, data: int) -> None:
            if data == 1:
                await gate.wait()
            handled.append(data)

        namespace.on("x", take)
        client = await kit.client()
        await client.emit("x", 1)
        await kit.advance(0.1)
        serving, kit.serving = kit.serving, None
        assert serving is not None
        draining = asyncio.create_task(serving.drain())
        await kit.advance(0.1)
        await client.emit("x", 2)
        await kit.advance(0.1)
        gate.set()
        await draining
        assert handled == [1, 2]

    run(scenario)
