"""A log of each kind, with a wall clock that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.log.plain import PlainLog
from transport.log import Log, MemoryLog, SQLiteLog


class Clock:
    """Milliseconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


KINDS = ("memory", "os", "disk", "plain")


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Callable[..., Log]:
    """Makes a log, and again one of the same content."""
    kept: list[Log] = []

    def build(**options: Any) -> Log:
        if request.param in ("os", "disk"):
            return SQLiteLog(tmp_path / "events.db", durability=request.param, clock=clock, **options)
        if not kept:
            kind = MemoryLog if request.param == "memory" else PlainLog
            kept.append(kind(clock=clock, **options))
        return kept[0]

    return build
