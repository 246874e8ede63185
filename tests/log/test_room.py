"""No room for a log in a file, or a disk that fails: nothing acknowledged is lost, and whoever asks is told."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.log.conftest import Clock
from tests.log.files import FOREVER, ROOM, program
from transport import limits
from transport.log import Append, History, LogFailed, LogFull, SQLiteLog, Stream


@pytest.mark.asyncio
async def test_the_bound_on_the_file(tmp_path: Path, clock: Clock) -> None:
    """Refused, nothing lost, and there is room again once retention was through."""
    path = tmp_path / "log"
    async with SQLiteLog(path, max_bytes=limits.LOG_FILE_BYTES_MIN, history=FOREVER, clock=clock) as log:
        count = 0
        with pytest.raises(LogFull):  # noqa: PT012
            while True:
                count = (await log.append(ROOM, bytes(2000))).offset
        assert (await log.head(ROOM)).top == count
        with pytest.raises(LogFull):
            await log.commit([Append(ROOM, bytes(2000)) for _ in range(20)])
        assert (await log.head(ROOM)).top == count
        await log.set_history("/chat", History(count=5, age_ms=None, bytes=None))
        while await log.retain():
            pass
        assert (await log.append(ROOM, bytes(2000))).offset == count + 1
        assert (await log.statistics()).failed >= 2
        assert path.stat().st_size <= limits.LOG_FILE_BYTES_MIN + 4096
    async with SQLiteLog(path, check=True) as log:
        assert (await log.head(ROOM)).top == count + 1


FULL = """
import asyncio, sys
from transport.log import *
async def main():
    async with SQLiteLog(sys.argv[1], history=History(None, None, None)) as log:
        top = failed = 0
        for number in range(2000):
            try:
                top = (await log.append(Stream("/", "a"), bytes(3000))).offset
            except LogFailed as error:
                failed += 1
                if failed == 1:
                    print(type(error).__name__, error, file=sys.stderr)
                if failed == 20:
                    break
        print(top, failed)
asyncio.run(main())
"""


@pytest.mark.linux
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """A full disk, as the process sees it: writes beyond a size fail."""
    path = tmp_path / "log"

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    ran = program(FULL, path, prepare=prepare)
    top, failed = map(int, ran.stdout.split())
    assert failed == 20, ran.stderr
    assert top > 100
    assert "LogF" in ran.stderr

    async def look() -> None:
        async with SQLiteLog(path, check=True) as log:
            head = await log.head(Stream("/", "a"))
            assert head.top >= top
            assert (await log.append(Stream("/", "a"), b"x")).offset == head.top + 1

    asyncio.run(look())


@pytest.mark.linux
def test_a_full_disk(tmp_path: Path) -> None:
    """A real one, where this process may make it: a small file system in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(mounted)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("may not mount a file system")
    try:
        (mounted / "ballast").write_bytes(bytes(300_000))  # room for whoever looks afterwards
        ran = program(FULL, mounted / "log")
        top, failed = map(int, ran.stdout.split())
        assert failed == 20, ran.stderr
        assert top > 100
        assert "LogFull" in ran.stderr
        (mounted / "ballast").unlink()

        async def look() -> None:
            async with SQLiteLog(mounted / "log", read_only=True) as log:
                after = 0
                while events := (await log.read(Stream("/", "a"), after)).events:
                    after = events[-1].offset
                assert after >= top

        asyncio.run(look())
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


class Failing:
    """A connection whose COMMIT fails as told."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self.connection = connection
        self.code = code
        self.failures = 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def __call__(self, statement: str, *arguments: Any) -> Any:
        if statement == "COMMIT" and self.failures:
            self.failures -= 1
            error = sqlite3.OperationalError("as the test says")
            error.sqlite_errorcode = self.code
            error.sqlite_errorname = "SQLITE_TEST"
            raise error
        return self.connection.execute(statement, *arguments)


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_CORRUPT])
async def test_a_commit_that_fails(code: int, tmp_path: Path) -> None:
    """All of its calls hear of it; where the disk may have lost something, nobody writes again until the next open."""
    path = tmp_path / "log"
    log = SQLiteLog(path)
    await log.open()
    await log.append(ROOM, b"x")
    store = log._writer.store
    store._run = Failing(store.connection, code)
    tasks = [asyncio.ensure_future(log.append(ROOM, b"y")) for _ in range(5)]
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, LogFailed) for each in done)
    assert (await log.read(ROOM, 0)).head.top == 1
    if code == sqlite3.SQLITE_FULL:
        assert (await log.append(ROOM, b"z")).offset == 2
    else:
        with pytest.raises(LogFailed):
            await log.append(ROOM, b"z")
    await log.close()
    async with SQLiteLog(path) as log:
        top = 2 if code == sqlite3.SQLITE_FULL else 1
        assert (await log.append(ROOM, b"z")).offset == top + 1


@pytest.mark.asyncio
async def test_a_mistake_in_the_writer_is_heard_of(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log")
    await log.open()
    with pytest.raises(LogFailed, match="ZeroDivisionError"):
        await log._write(lambda store: 1 // 0)
    assert (await log.append(ROOM, b"x")).offset == 1
    log._writer._group = None  # the thread itself trips
    with pytest.raises(LogFailed, match="the writer ended"):
        await log.append(ROOM, b"y")
    with pytest.raises(LogFailed, match="the writer ended"):
        await log.append(ROOM, b"y")
    await log.close()
    async with SQLiteLog(tmp_path / "log") as log:
        assert (await log.head(ROOM)).top == 1
