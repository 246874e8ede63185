"""The checker of effects finds nothing wrong, and finds what was made wrong on purpose."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import pytest

from tests.events import effects
from tests.events.test_bounds import run
from transport.events import cursors
from transport.events.following import Stream
from transport.events.messages import Message
from transport.events.testing import Kit


@pytest.mark.parametrize("number", range(6))
def test_nothing_is_wrong(number: int) -> None:
    outcome = effects.check(number, steps=100)
    assert not outcome.wrong
    assert outcome.effects > 100


def test_the_schedules_are_hard_enough() -> None:
    total = [effects.check(seed, steps=100) for seed in range(100, 106)]
    assert sum([one.failures for one in total]) > 100
    assert sum([one.lives for one in total]) > 60
    assert sum([one.rewinds for one in total]) > 0
    assert sum([one.excused for one in total]) < sum([one.effects for one in total])


def test_a_seed_repeats_its_run() -> None:
    one, two, other = (effects.check(seed, steps=40) for seed in (7, 7, 8))
    assert one == two
    assert one.effects != other.effects


def found(seeds: int = 12) -> bool:
    """Whether one of some schedules shows that something is wrong."""
    return any(effects.check(seed, steps=100).wrong for seed in range(seeds))


def test_an_event_that_is_done_with_its_first_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    def committed(self: Any, effect: Any) -> None:
        self.failed = False
        self.done()

    monkeypatch.setattr(Message, "committed", committed)
    monkeypatch.setattr(Message, "once", lambda self, db, consumer="": cursors.Once(self, db, consumer))
    assert found()


def test_a_cursor_that_passes_over_what_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Message, "is_next", True)
    assert found()


def test_a_cursor_that_moves_when_an_event_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stream, "kept", Stream.claim)
    assert found()


def test_offsets_that_are_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "_noted", lambda epoch, rewinds: str(epoch))
    assert found(60)


def test_notes_that_are_forgotten_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those about an epoch that is over, while the program is at work on what came of it."""
    monkeypatch.setattr(Message, "has_older", False)
    db = sqlite3.connect(":memory:")
    done: list[int] = []

    async def scenario(kit: Kit, namespace: Any) -> None:
        for life in range(2):
            client = await kit.client(cursor=Kept(), concurrency=4)
            gate = asyncio.Event()

            async def effect(m: Any, life: int = life, gate: asyncio.Event = gate) -> None:
                if life and m.event == 1:
                    await gate.wait()
                async with m.once(db) as fresh:
                    if fresh:
                        done.append(m.event)

            client.on("x", effect)
            await client.join("r")
            if life:
                await kit.lose("r")
                kit.drop(client)
                await kit.advance(5)
                await namespace.to("r").emit("x", 2)
                await kit.advance(5)
                gate.set()
            else:
                await namespace.to("r").emit("x", 1)
            await kit.advance(1)

    state: list[bytes] = []

    class Kept:
        """A cursor that was saved as its client joined, and then no more."""

        def load(self) -> bytes | None:
            return state[-1] if state else None

        def save(self, new: bytes) -> None:
            if len(state) < 2:
                state.append(new)

    run(scenario)
    db.close()
    assert done == [1, 2, 1]
    monkeypatch.undo()
    done.clear()
    state.clear()
    db = sqlite3.connect(":memory:")
    run(scenario)
    db.close()
    assert done == [1, 2]
