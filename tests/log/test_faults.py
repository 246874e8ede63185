"""Every statement of the writer fails once, in runs of their own: what was acknowledged is there, and others go on."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from transport import limits
from transport.log import (
    Append,
    Cause,
    History,
    LogCorrupt,
    LogError,
    LogFailed,
    LogFull,
    Receipt,
    Session,
    SQLiteLog,
    Stream,
)

ROOM, OTHER, OWN = Stream("/a", "r"), Stream("/a", "s"), Stream("/a", "c", True)
FULL, DAMAGED = sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC


class Faults:
    """Which statement of those that write fails, and what was said until then."""

    def __init__(self, at: int, code: int) -> None:
        self.at = at
        self.code = code
        self.said: list[str] = []
        self.failed = ""
        self.always = ""

    def say(self, statement: str) -> None:
        self.said.append(statement)
        if len(self.said) == self.at or statement == self.always:
            self.failed = statement
            error = sqlite3.OperationalError("as the test says")
            error.sqlite_errorcode = self.code
            error.sqlite_errorname = "SQLITE_TEST"
            raise error

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        faults = self

        class Connection(sqlite3.Connection):
            def execute(self, statement: str, *more: Any) -> sqlite3.Cursor:
                faults.say(statement)
                return super().execute(statement, *more)

            def executemany(self, statement: str, *more: Any) -> sqlite3.Cursor:
                faults.say(statement)
                return super().executemany(statement, *more)

        is_reader = "mode=ro" in arguments[0]
        return sqlite3.Connection(*arguments, **options) if is_reader else Connection(*arguments, **options)


class Work:
    """Something of everything that a log does; what was acknowledged of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.acknowledged: dict[Stream, int] = {}
        self.tried: dict[Stream, int] = {}
        self.numbers: set[int] = set()
        self.failed = 0

    async def append(self, log: SQLiteLog, stream: Stream, **more: Any) -> None:
        self.tried[stream] = self.tried.get(stream, 0) + 1
        done = await log.append(stream, b"x" * 3000, **more)
        if not done.repeated:
            self.acknowledged[stream] = done.offset

    async def begin(self, log: SQLiteLog) -> None:
        """What needs the session would fail, too: a second time, if need be."""
        session = Session("c", b"p", 1, b"", 1 << 60)
        try:
            await log.put_session(session, None)
        except LogError:
            self.failed += 1
            await log.put_session(session, None)

    async def commit(self, log: SQLiteLog, number: int) -> None:
        cause = Cause("c", 1, number, 0)
        await self.append(log, ROOM, cause=cause)
        self.tried[OWN] = self.tried.get(OWN, 0) + 1
        done = await log.commit([Append(OWN, b"y")], Receipt("c", 1, number, b"reply"))
        self.numbers.add(number)
        self.acknowledged[OWN] = done.appended[0].offset

    async def __call__(self) -> None:
        log = SQLiteLog(self.path, durability="os", history=History(4, None, None))
        try:
            await log.open()
        except LogError:
            self.failed += 1
            return
        steps: list[Callable[[], Any]] = [
            lambda: self.append(log, ROOM, key="k"),
            lambda: self.begin(log),
            lambda: log.update_session("c", 1, join=[(OTHER, 0)]),
            lambda: self.commit(log, 1),
            lambda: self.append(log, OTHER, skip=["c"]),
            lambda: log.set_history("/a", History(2, None, None)),
            lambda: self.append(log, ROOM),
            lambda: self.append(log, ROOM),
            log.retain,
            lambda: log.trim(ROOM, 2),
            lambda: self.commit(log, 2),
            lambda: log.update_session("c", 1, leave=[OTHER]),
            log.retain,
            log.secret,
            lambda: self.append(log, ROOM),
        ]
        for step in steps:
            try:
                await step()
            except LogError:
                self.failed += 1
        await log.close()

    async def check(self) -> None:
        """The next process finds all of it."""
        async with SQLiteLog(self.path, check=True) as log:
            for stream, offset in self.acknowledged.items():
                head = await log.head(stream, create=False)
                assert offset <= head.top <= self.tried[stream]
                page = await log.read(stream, head.first - 1)
                assert [event.offset for event in page.events] == list(range(head.first, head.top + 1))
            received = await log.received("c")
            assert all(received.has(number) for number in self.numbers)
            assert (await log.append(ROOM, b"z")).offset == (await log.head(ROOM)).top


async def faulty(path: Path, at: int, code: int, patch: pytest.MonkeyPatch) -> tuple[Work, Faults]:
    faults, work = Faults(at, code), Work(path)
    with patch.context() as patched:
        patched.setattr("transport.log.schema.sqlite3.connect", faults.connect)
        await work()
    return work, faults


@pytest.mark.asyncio
@pytest.mark.parametrize("code", [FULL, DAMAGED])
async def test_any_statement_fails(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    monkeypatch.setattr(limits, "LOG_WAL_PAGES", 4)
    monkeypatch.setattr(limits, "LOG_WAL_BYTES", 4096)
    monkeypatch.setattr(limits, "LOG_RETAIN_S", 0.0)
    work, faults = await faulty(tmp_path / "whole", 0, code, monkeypatch)
    assert not work.failed
    await work.check()
    count = len(faults.said)
    for at in rng.sample(range(1, count + 1), 10):
        work, faults = await faulty(tmp_path / str(at), at, code, monkeypatch)
        await work.check()
        assert code == DAMAGED or work.failed <= 1, f"not written once there was room again: {faults.failed!r}"


@pytest.mark.asyncio
async def test_what_fails_while_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever that is, it is an error of the log, and the next try finds it as it was."""
    async with SQLiteLog(tmp_path / "log") as log:
        await log.append(ROOM, b"x")
    at = 0
    while True:
        at += 1
        faults = Faults(at, FULL)
        log = SQLiteLog(tmp_path / "log")
        with monkeypatch.context() as patched:
            patched.setattr("transport.log.schema.sqlite3.connect", faults.connect)
            try:
                await log.open()
            except LogFull:
                continue
        faults.at = 0
        assert (await log.append(ROOM, b"y")).offset == 2
        await log.close()
        break
    assert at > 10


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["removed", "replaced"])
async def test_a_file_that_is_taken_away(way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon nothing is acknowledged any more that would be gone with the process."""
    monkeypatch.setattr(limits, "LOG_RETAIN_S", 0.0)
    path = tmp_path / "log"
    log = SQLiteLog(path)
    await log.open()
    epoch = (await log.append(ROOM, b"x")).epoch
    path.rename(tmp_path / "elsewhere")
    if way == "replaced":
        path.write_bytes((tmp_path / "elsewhere").read_bytes())
    with pytest.raises(LogFailed, match="removed or replaced"):  # noqa: PT012
        await log.flush()  # the writer looks after each commit
        for _ in range(100):
            await log.append(ROOM, b"x")
    await log.close()
    async with SQLiteLog(path) as log:
        assert (await log.append(ROOM, b"x")).epoch != epoch


@pytest.mark.asyncio
async def test_damage_in_one_stream(tmp_path: Path) -> None:
    """Who reads the others reads on."""
    path = tmp_path / "log"
    async with SQLiteLog(path) as log:
        for number in range(100):
            text = b" %03d" % number * 200
            await log.commit([Append(ROOM, b"r" + text), Append(OTHER, b"s" + text)])
    data = path.read_bytes()
    page = data.index(b"s 050") // 4096 * 4096
    with path.open("r+b") as file:
        file.seek(page)
        file.write(bytes(4096))
    async with SQLiteLog(path) as log:
        assert len((await log.read(ROOM, 0)).events) == 100
        with pytest.raises(LogCorrupt):
            await log.read(OTHER, 0)
        assert (await log.append(ROOM, b"x")).offset == 101


@pytest.mark.asyncio
async def test_a_write_ahead_log_that_stays_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full would fill with it; and once more when it has worked meanwhile."""
    monkeypatch.setattr(limits, "LOG_WAL_PAGES", 1)
    faults = Faults(0, FULL)
    with monkeypatch.context() as patched:
        patched.setattr("transport.log.schema.sqlite3.connect", faults.connect)
        log = SQLiteLog(tmp_path / "log", durability="os")
        await log.open()
    for number in range(2):
        faults.always = "PRAGMA wal_checkpoint(PASSIVE)"
        for _ in range(5):
            await log.append(ROOM, b"x")
        await log.retain()
        warned = [record for record in caplog.records if "write-ahead log stays" in record.message]
        assert len(warned) == number + 1
        faults.always = ""
        await log.append(ROOM, b"x")
        await log.retain()
    await log.close()
