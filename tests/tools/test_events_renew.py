"""`transport events renew`: what an operator calls who has put a log back from a backup in a way that can't be seen."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest

from tests.log.files import ROOM
from tests.tools.running import ran
from transport import cli
from transport.log import LogFailed, LogLocked, SQLiteLog
from transport.tools import events
from transport.tools.life import Stop
from transport.tools.live import Output


def given(file: Path) -> argparse.Namespace:
    return cli.parser().parse_args(["events", "renew", str(file)])


@pytest.mark.asyncio
async def test_new_epochs(tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    async with SQLiteLog(file) as log:
        before = (await log.append(ROOM, b"x")).epoch
        with pytest.raises(LogLocked):
            await events.run(given(file), Output(stream=io.StringIO()), Stop())
    status, summary, _ = await ran("events", "renew", str(file))
    assert (status, summary["streams"]) == (0, 1)
    async with SQLiteLog(file) as log:
        head = await log.head(ROOM)
        assert head.epoch != before
        assert head[1:] == (1, 1)
    seen = io.StringIO()
    assert await events.run(given(file), Output(stream=seen), Stop()) == 0
    assert seen.getvalue() == "1 stream with a new epoch: whoever comes back to one is told of a gap\n"


@pytest.mark.asyncio
async def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LogFailed, match="no such file"):
        await events.run(given(tmp_path / "nothing.db"), Output(stream=io.StringIO()), Stop())
    assert list(tmp_path.iterdir()) == []
