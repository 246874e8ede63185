"""Random calls on a log in memory and on one in a file: the same answers, the same errors, the same content."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.log.conftest import Clock
from transport.log import (
    Append,
    Cause,
    History,
    Log,
    LogError,
    MemoryLog,
    Receipt,
    Session,
    SQLiteLog,
    Stream,
)

STREAMS = [Stream("/a", "x"), Stream("/a", "y"), Stream("/b"), Stream("/a", "s0", True), Stream("/b", "s1", True)]


def without_epochs(found: Any) -> Any:
    """An answer as two logs can be compared by it: their epochs are random."""
    if isinstance(found, LogError):
        return type(found).__name__, getattr(found, "generation", None)
    if isinstance(found, tuple):
        named = getattr(found, "_asdict", None)
        if named is not None:
            return [without_epochs(value) for name, value in named().items() if name != "epoch"]
        return [without_epochs(value) for value in found]
    if isinstance(found, Session):
        return found.id, found.generation, found.identity, {name: at.offset for name, at in found.streams.items()}
    return found


def draw(rng: random.Random, clock: Clock) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
    """One call: its name and its arguments."""
    stream, who = rng.choice(STREAMS), f"s{rng.randrange(2)}"
    generation, number = rng.randrange(1, 4), rng.randrange(1, 12)

    def append() -> Append:
        cause = Cause(who, generation, number, rng.randrange(3)) if rng.random() < 0.2 else None
        key = f"k{rng.randrange(4)}" if rng.random() < 0.2 else None
        return Append(rng.choice(STREAMS), bytes(rng.randrange(50)), ("s1",) * rng.randrange(2), key, cause)

    receipt = Receipt(who, generation, number, rng.choice((None, b"r%d" % number)), rng.randrange(4))
    session = Session(who, b"", generation, b"i", clock.now_ms + rng.randrange(5000))
    name = rng.choice((
        "commit", "commit", "commit", "receipt", "receipt", "head", "put_session", "put_session", "update_session",
        "drop_session", "received", "reply", "get_session", "trim", "drop", "set_history",
    ))  # fmt: skip
    calls: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
        "commit": ("commit", ([append() for _ in range(rng.randrange(1, 6))],), {}),
        "receipt": ("commit", ([append() for _ in range(rng.randrange(3))], receipt), {}),
        "head": ("head", (stream,), {"create": rng.random() < 0.5}),
        "put_session": ("put_session", (session, rng.choice((None, generation - 1))), {}),
        "update_session": ("update_session", (who, generation), {
            "join": [(stream, rng.randrange(9))], "leave": [rng.choice(STREAMS)],
            "expires_ms": rng.choice((None, clock.now_ms + rng.randrange(5000)))}),
        "drop_session": ("drop_session", (who, generation), {}),
        "received": ("received", (who,), {}),
        "reply": ("reply", (who, number), {}),
        "get_session": ("get_session", (who,), {}),
        "trim": ("trim", (stream, rng.randrange(30)), {}),
        "drop": ("drop", (stream,), {}),
        "set_history": ("set_history", (rng.choice((stream, stream.namespace)), History(rng.randrange(20), 4000)), {}),
    }  # fmt: skip
    return calls[name]


async def ask(log: Log, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    try:
        return without_epochs(await getattr(log, name)(*arguments, **options))
    except LogError as error:
        return without_epochs(error)


async def settle(*logs: Log) -> None:
    """Retention until nothing is due: one log may be quicker about it than the other, under bounds that then change."""
    for log in logs:
        for _ in range(2):
            while await log.retain():
                pass


async def content(log: Log) -> list[Any]:
    """Everything that can be read."""
    found: list[Any] = []
    for info in await log.streams():
        page = await log.read(info.stream, 0)
        found.append((info.stream, info.head[1:], info.events, info.bytes, info.history, page.events, page.trimmed))
    return found + [without_epochs(session) for session in await log.sessions()]


@pytest.mark.asyncio
async def test_the_same_answers(tmp_path: Path, clock: Clock, rng: random.Random) -> None:
    options: dict[str, Any] = {"forget_ms": 20_000, "key_window_ms": 1000, "clock": clock, "history": History(25, 3000)}
    async with MemoryLog(**options) as memory, SQLiteLog(tmp_path / "log", durability="os", **options) as file:
        for _ in range(250):
            clock.now_ms += rng.choice((0, 1, 10, 300))
            await settle(memory, file)
            call = draw(rng, clock)
            assert await ask(memory, *call) == await ask(file, *call), call
            await settle(memory, file)
            one, two = await content(memory), await content(file)
            assert one == two, call
