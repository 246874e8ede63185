"""Files of logs as other programs leave them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.meta import tree
from transport.log import Append, History, SQLiteLog, Stream

ROOM = Stream("/chat", "room:7")
FOREVER = History(None, None, None)


def edit(path: Path, statement: str) -> None:
    """Another program's write, while no log has the file open."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def program(
    code: str, *arguments: object, prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=tree.ROOT, capture_output=True, text=True, check=False,
        timeout=15, preexec_fn=prepare, env={**os.environ, "PYTHONPATH": str(tree.ROOT)},
    )  # fmt: skip


async def crash(path: Path, count: int = 5, **options: Any) -> int:
    """Leaves the file as a process does that ends without closing: a copy made while it was open."""
    async with SQLiteLog(path, **options) as log:
        epoch = (await log.commit([Append(ROOM, b"%d" % number) for number in range(count)])).appended[0].epoch
        for name in (path.name, path.name + "-wal", path.name + ".lock"):
            shutil.copy(path.with_name(name), path.with_name(name + ".copy"))
    for name in (path.name, path.name + "-wal", path.name + ".lock"):
        # into the same file, or it would be known as a copy
        path.with_name(name).write_bytes(path.with_name(name + ".copy").read_bytes())
    return epoch
