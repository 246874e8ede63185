"""What is special about a log in a file: who may write, epochs after a loss, damage, a full disk, group commits."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.log.conftest import Clock
from tests.meta import tree
from transport import limits
from transport.log import (
    Append,
    History,
    LogClosed,
    LogCorrupt,
    LogFailed,
    LogFull,
    LogLocked,
    LogReadOnly,
    LogVersion,
    Session,
    SQLiteLog,
    Stream,
)
from transport.log import schema

ROOM = Stream("/chat", "room:7")
FOREVER = History(None, None, None)


def edit(path: Path, statement: str) -> None:
    """Another program's write, while no log has the file open."""
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def program(code: str, *arguments: object, prepare: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=tree.ROOT, capture_output=True, text=True, check=False,
        timeout=15, preexec_fn=prepare, env={**os.environ, "PYTHONPATH": str(tree.ROOT)},
    )  # fmt: skip


async def crash(path: Path, count: int = 5, **options: Any) -> int:
    """Leaves the file as a process does that ends without closing: a copy made while it was open."""
    async with SQLiteLog(path, **options) as log:
        epoch = (await log.commit([Append(ROOM, b"%d" % number) for number in range(count)])).appended[0].epoch
        for name in (path.name, path.name + "-wal"):
            shutil.copy(path.with_name(name), path.with_name(name + ".copy"))
    for name in (path.name, path.name + "-wal"):
        # into the same file, or it would be known as a copy
        path.with_name(name).write_bytes(path.with_name(name + ".copy").read_bytes())
    return epoch


# Epochs


@pytest.mark.asyncio
@pytest.mark.parametrize("durability", ["os", "disk"])
async def test_a_crash_of_the_process_keeps_the_epoch(durability: str, tmp_path: Path) -> None:
    epoch = await crash(tmp_path / "log", durability=durability)
    async with SQLiteLog(tmp_path / "log", durability=durability) as log:
        assert await log.head(ROOM) == (epoch, 1, 5)


@pytest.mark.asyncio
@pytest.mark.parametrize("durability", ["os", "disk"])
async def test_a_crash_of_the_machine(durability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only "disk" can believe its counters afterwards; the next writer's own durability does not matter."""
    epoch = await crash(tmp_path / "log", durability=durability)
    monkeypatch.setattr(schema, "boot", lambda: "another")
    async with SQLiteLog(tmp_path / "log", durability="disk") as log:
        head = await log.head(ROOM)
        assert (head.epoch == epoch) == (durability == "disk")
        assert head[1:] == (1, 5)
        assert [event.payload for event in (await log.read(ROOM, 0)).events] == [b"0", b"1", b"2", b"3", b"4"]
        again = await log.append(ROOM, b"5")
        assert again.position == (head.epoch, 6)


@pytest.mark.asyncio
async def test_a_machine_that_does_not_say_when_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "boot", lambda: "")
    epoch = await crash(tmp_path / "log", durability="os")
    async with SQLiteLog(tmp_path / "log") as log:
        assert (await log.head(ROOM)).epoch != epoch


@pytest.mark.asyncio
async def test_a_restart_after_a_clean_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with SQLiteLog(tmp_path / "log", durability="os") as log:
        epoch = (await log.append(ROOM, b"x")).epoch
    monkeypatch.setattr(schema, "boot", lambda: "another")
    async with SQLiteLog(tmp_path / "log", durability="os") as log:
        assert (await log.head(ROOM)).epoch == epoch


@pytest.mark.asyncio
async def test_a_write_ahead_log_that_was_taken_away(tmp_path: Path) -> None:
    """What it held was acknowledged: the offsets are given again, and so under another epoch."""
    async with SQLiteLog(tmp_path / "log") as log:
        first = await log.append(ROOM, b"kept")
    epoch = await crash(tmp_path / "log")
    assert epoch == first.epoch
    (tmp_path / "log-wal").unlink()
    (tmp_path / "log-shm").unlink(missing_ok=True)
    async with SQLiteLog(tmp_path / "log") as log:
        assert (await log.head(ROOM)).epoch != epoch
        assert (await log.head(ROOM))[1:] == (1, 1)


@pytest.mark.asyncio
async def test_a_copy_of_the_file(tmp_path: Path) -> None:
    """As when a backup is put back: what was appended since is gone, and nothing in the file says so."""
    async with SQLiteLog(tmp_path / "log") as log:
        epoch = (await log.append(ROOM, b"x")).epoch
    shutil.copy(tmp_path / "log", tmp_path / "backup")
    async with SQLiteLog(tmp_path / "log") as log:
        assert (await log.append(ROOM, b"y")).position == (epoch, 2)
    os.replace(tmp_path / "backup", tmp_path / "log")
    async with SQLiteLog(tmp_path / "log") as log:
        assert (await log.head(ROOM)).epoch != epoch


# Who may write


@pytest.mark.asyncio
async def test_one_writer(tmp_path: Path) -> None:
    async with SQLiteLog(tmp_path / "log") as log:
        with pytest.raises(LogLocked, match="another writer"):
            await SQLiteLog(tmp_path / "log").open()
        code = (
            "import asyncio, sys\nfrom transport.log import SQLiteLog, LogLocked\n"
            "try:\n    asyncio.run(SQLiteLog(sys.argv[1]).open())\nexcept LogLocked as error:\n    print(error)"
        )
        ran = program(code, log.path)
        assert "another writer has the log open" in ran.stdout, ran.stderr
        await log.append(ROOM, b"x")
    async with SQLiteLog(tmp_path / "log"):
        pass


@pytest.mark.asyncio
async def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(schema.fcntl, "flock", flock)
    monkeypatch.setattr(schema, "affected", lambda: True)
    log = SQLiteLog(tmp_path / "log")
    with pytest.warns(RuntimeWarning, match=r"no lock to be had.*may damage"):
        await log.open()
    await log.close()


def test_versions_with_the_fault() -> None:
    found = [(3, 40, 1), (3, 44, 5), (3, 44, 6), (3, 45, 0), (3, 50, 6), (3, 50, 7), (3, 51, 2), (3, 51, 3), (3, 60, 0)]
    assert [schema.affected(version) for version in found] == [
        True, True, False, True, True, False, True, False, False
    ]  # fmt: skip


@pytest.mark.asyncio
async def test_reading_beside_a_writer(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "log"
    async with SQLiteLog(path, clock=clock) as log, SQLiteLog(path, read_only=True, clock=clock) as other:
        done = await log.append(ROOM, b"x")
        await log.put_session(Session("s", b"", 1, b"", clock.now_ms + 1000), None)
        assert await other.head(ROOM) == done.position[:1] + (1, 1)
        assert [event.payload for event in (await other.read(ROOM, 0)).events] == [b"x"]
        assert [info.stream for info in await other.streams()] == [ROOM]
        assert [session.id for session in await other.sessions()] == ["s"]
        assert (await other.statistics()).events == 1
        await other.flush()
        for call in (
            other.append(ROOM, b"x"), other.head(Stream("/", "new")), other.trim(ROOM, 1), other.secret(),
            other.watch(ROOM, lambda *_: None), other.renew(),
        ):  # fmt: skip
            with pytest.raises(LogReadOnly):
                await call
        await log.append(ROOM, b"y")
        assert (await other.read(ROOM, 1)).events[0].payload == b"y"


@pytest.mark.asyncio
async def test_reading_without_a_writer(tmp_path: Path) -> None:
    async with SQLiteLog(tmp_path / "log") as log:
        await log.append(ROOM, b"x")
    async with SQLiteLog(tmp_path / "log", read_only=True) as log:
        assert (await log.read(ROOM, 0)).head.top == 1
    await crash(tmp_path / "log")
    async with SQLiteLog(tmp_path / "log", read_only=True) as log:
        assert (await log.read(ROOM, 0)).head.top == 6
    with pytest.raises(LogFailed, match="no such file"):
        await SQLiteLog(tmp_path / "nothing", read_only=True).open()


# What is no log, or damaged


@pytest.mark.asyncio
async def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"something else entirely, and longer than a page" * 200)
    before = path.read_bytes()
    for options in ({}, {"read_only": True}):
        with pytest.raises(LogCorrupt, match="not a database"):
            await SQLiteLog(path, **options).open()
    assert path.read_bytes() == before
    path.unlink()
    edit(path, "CREATE TABLE mine (x)")
    for options in ({}, {"read_only": True}):
        with pytest.raises(LogCorrupt, match="no log of this package"):
            await SQLiteLog(path, **options).open()
    with pytest.raises(LogFailed, match="unable to open"):
        await SQLiteLog(tmp_path).open()
    with pytest.raises(LogFailed, match="No such file"):
        await SQLiteLog(tmp_path / "no" / "folder").open()


@pytest.mark.asyncio
async def test_another_format(tmp_path: Path) -> None:
    async with SQLiteLog(tmp_path / "log"):
        pass
    edit(tmp_path / "log", "PRAGMA user_version = 9")
    for options in ({}, {"read_only": True}):
        with pytest.raises(LogVersion, match="format 9; this version reads and writes 1") as caught:
            await SQLiteLog(tmp_path / "log", **options).open()
        assert (caught.value.found, caught.value.supported) == (9, 1)


@pytest.mark.asyncio
async def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with SQLiteLog(path) as log:
        await log.commit([Append(ROOM, bytes([number % 256]) * 1000) for number in range(500)])
    data = bytearray(path.read_bytes())
    for at in range(len(data) // 2, len(data), 4096):  # every page of the second half
        data[at : at + 100] = b"\xff" * 100
    path.write_bytes(data)
    with pytest.raises(LogCorrupt):
        await SQLiteLog(path, check=True).open()
    async with SQLiteLog(path, read_only=True) as log:
        with pytest.raises(LogCorrupt):
            after = 0
            while events := (await log.read(ROOM, after)).events:
                after = events[-1].offset


@pytest.mark.asyncio
async def test_a_hole_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with SQLiteLog(path) as log:
        await log.commit([Append(ROOM, b"x") for _ in range(9)])
    edit(path, "DELETE FROM events WHERE offset IN (5, 9)")
    with pytest.raises(LogCorrupt, match="should have events 1 to 9, and has 7"):
        await SQLiteLog(path, check=True).open()
    async with SQLiteLog(path) as log:
        assert len((await log.read(ROOM, 0, count=4)).events) == 4
        with pytest.raises(LogCorrupt, match="event 5 is missing"):
            await log.read(ROOM, 0)
        with pytest.raises(LogCorrupt, match="event 9 is missing"):
            await log.read(ROOM, 5)


@pytest.mark.asyncio
async def test_a_torn_write(tmp_path: Path) -> None:
    """The end of the write-ahead log is cut: that commit was never acknowledged, those before it are whole."""
    path = tmp_path / "log"
    await crash(path, durability="disk")
    wal = tmp_path / "log-wal"

    async with SQLiteLog(path, durability="disk") as log:
        await log.append(ROOM, bytes(9000))
        longer = wal.read_bytes()
        data = path.read_bytes()

    for cut in range(len(longer) - 1, len(longer) - 9000, -777):
        path.write_bytes(data)
        wal.write_bytes(longer[:cut])
        async with SQLiteLog(path, durability="disk", check=True) as log:
            assert (await log.head(ROOM)).top in (5, 6)


# No room


@pytest.mark.asyncio
async def test_the_bound_on_the_file(tmp_path: Path, clock: Clock) -> None:
    """Refused, nothing lost, and there is room again once retention was through."""
    path = tmp_path / "log"
    async with SQLiteLog(path, max_bytes=limits.LOG_FILE_BYTES_MIN, history=FOREVER, clock=clock) as log:
        count = 0
        with pytest.raises(LogFull):
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
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mounted)], capture_output=True, check=False
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


# Many at once


class Gate:
    """Keeps the writer inside a job until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()

    def __call__(self, store: object) -> None:
        self.entered.set()
        self.leave.wait(10)


async def shut(log: SQLiteLog) -> tuple[Gate, asyncio.Future[None]]:
    """A gate that the writer stands in."""
    gate = Gate()
    task = asyncio.ensure_future(log._write(gate))
    while not gate.entered.is_set():
        await asyncio.sleep(0.001)
    return gate, task


@pytest.mark.asyncio
async def test_calls_that_wait_share_a_commit(tmp_path: Path) -> None:
    async with SQLiteLog(tmp_path / "log") as log:
        gate, task = await shut(log)
        tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(64)]
        await asyncio.sleep(0)
        before = (await log.statistics()).commits
        assert (await log.statistics()).waiting == 65
        gate.leave.set()
        await asyncio.gather(task, *tasks)
        stats = await log.statistics()
        assert stats.commits == before + 2
        assert stats.commit_events_max == 64
        assert stats.waiting == stats.waiting_bytes == 0
        assert stats.waiting_max == 65


@pytest.mark.asyncio
async def test_a_group_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_GROUP_EVENTS", 10)
    async with SQLiteLog(tmp_path / "log") as log:
        gate, task = await shut(log)
        tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(64)]
        await asyncio.sleep(0)
        gate.leave.set()
        await asyncio.gather(task, *tasks)
        assert (await log.statistics()).commit_events_max == 10
        monkeypatch.setattr(limits, "LOG_GROUP_BYTES", 3 * 1064)
        monkeypatch.setattr(limits, "LOG_GROUP_EVENTS", 1000)
        before = (await log.statistics()).commits
        gate, task = await shut(log)
        tasks = [asyncio.ensure_future(log.append(ROOM, bytes(1000))) for _ in range(9)]
        await asyncio.sleep(0)
        gate.leave.set()
        await asyncio.gather(task, *tasks)
        assert (await log.statistics()).commits == before + 4


@pytest.mark.asyncio
async def test_the_queue_is_bounded_and_keeps_its_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_EVENTS", 10)
    async with SQLiteLog(tmp_path / "log") as log:
        gate, task = await shut(log)
        tasks = [asyncio.ensure_future(log.append(ROOM, b"%d" % number)) for number in range(100)]
        await asyncio.sleep(0)
        tasks[50].cancel()
        stats = await log.statistics()
        assert (stats.waiting, stats.blocked) == (10, 91)
        gate.leave.set()
        await task
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done[50], asyncio.CancelledError)
        assert [each.offset for each in done[:50] + done[51:]] == list(range(1, 100))
        assert (await log.statistics()).waiting_max == 10
        monkeypatch.setattr(limits, "LOG_QUEUE_BYTES", 3000)
        gate, task = await shut(log)
        tasks = [asyncio.ensure_future(log.append(ROOM, bytes(size))) for size in (1000, 1000, 1000, 9000)]
        await asyncio.sleep(0)
        assert (await log.statistics()).waiting == 3
        gate.leave.set()
        await asyncio.gather(task, *tasks)
        await log.append(ROOM, bytes(9000))  # alone it may be larger than the queue


@pytest.mark.asyncio
async def test_closing_while_calls_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_QUEUE_EVENTS", 10)
    log = SQLiteLog(tmp_path / "log")
    await log.open()
    gate, task = await shut(log)
    tasks = [asyncio.ensure_future(log.append(ROOM, b"x")) for _ in range(20)]
    await asyncio.sleep(0)
    gate.leave.set()
    await log.close()
    await task
    done = await asyncio.gather(*tasks, return_exceptions=True)
    closed = sum(isinstance(each, LogClosed) for each in done)
    offsets = [each.offset for each in done if not isinstance(each, LogClosed)]
    assert offsets == list(range(1, 21 - closed))
    async with SQLiteLog(tmp_path / "log") as again:
        assert (await again.head(ROOM)).top == len(offsets)


@pytest.mark.asyncio
async def test_reads_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_READS_WAITING", 3)
    async with SQLiteLog(tmp_path / "log") as log:
        await log.append(ROOM, b"x")
        inside = threading.Semaphore(0)
        leave = threading.Event()

        def read(connection: sqlite3.Connection) -> None:
            inside.release()
            leave.wait(10)

        tasks = [asyncio.ensure_future(log._readers.run(read)) for _ in range(8)]
        await asyncio.sleep(0.02)
        assert log._readers._pool._work_queue.qsize() <= 3
        leave.set()
        await asyncio.gather(*tasks)


@pytest.mark.asyncio
async def test_rows_known_to_the_writer_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_CACHED", 8)
    async with SQLiteLog(tmp_path / "log") as log:
        for turn in range(3):
            for number in range(30):
                done = await log.append(Stream("/", str(number)), b"x")
                assert done.offset == turn + 1
                assert len(log._writer.store._streams) <= 9
        for number in range(30):
            await log.put_session(Session(str(number), b"", 1, b"", 2**62), None)
            await log.update_session(str(number), 1, identity=b"x")
            assert len(log._writer.store._sessions) <= 9


@pytest.mark.asyncio
async def test_the_write_ahead_log_is_carried_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_WAL_PAGES", 20)
    async with SQLiteLog(tmp_path / "log", durability="os") as log:
        for _ in range(200):
            await log.append(ROOM, bytes(4000))
        assert (tmp_path / "log-wal").stat().st_size < 400_000
        monkeypatch.setattr(limits, "LOG_WAL_BYTES", 200_000)
        monkeypatch.setattr(limits, "LOG_WAL_WAIT_MS", 1)
        reader = sqlite3.connect(f"file:{log.path}?mode=ro", uri=True, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        for _ in range(200):
            await log.append(ROOM, bytes(4000))
        assert (tmp_path / "log-wal").stat().st_size > 800_000  # that reader still needs it
        reader.execute("COMMIT")
        reader.close()
        for _ in range(20):
            await log.append(ROOM, bytes(4000))
        assert (tmp_path / "log-wal").stat().st_size < 400_000


@pytest.mark.asyncio
async def test_retention_keeps_up_with_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a pause in which it might look: a step for every so many events."""
    monkeypatch.setattr(limits, "LOG_RETAIN_S", 3600.0)
    monkeypatch.setattr(limits, "LOG_RETAIN_EVENTS", 50)
    async with SQLiteLog(tmp_path / "log", durability="os", history=History(count=20)) as log:
        for _ in range(100):
            await log.commit([Append(Stream("/", str(number)), b"x") for number in range(10)])
        await log.flush()
        stats = await log.statistics()
        assert stats.trimmed > 600
        assert stats.events < 10 * 20 + 10 + 2 * 50


def test_what_it_may_be_told() -> None:
    with pytest.raises(ValueError, match="there are 'os' and 'disk'"):
        SQLiteLog("x", durability="memory")
    with pytest.raises(ValueError, match="max_bytes"):
        SQLiteLog("x", max_bytes=1)


def test_a_loop_that_ends_without_closing(tmp_path: Path) -> None:
    """The process may end; what was acknowledged is there."""
    code = (
        "import asyncio, sys\nfrom transport.log import *\nasync def main():\n    log = SQLiteLog(sys.argv[1])\n"
        "    await log.open()\n    print((await log.append(Stream('/', 'a'), b'x')).offset)\nasyncio.run(main())"
    )
    assert program(code, tmp_path / "log").stdout == "1\n"
    ran = program(code, tmp_path / "log")
    assert ran.stdout == "2\n", ran.stderr


def test_memory_alone_does_not_bring_sqlite() -> None:
    ran = program("import sys, json\nfrom transport.log import MemoryLog\nprint(json.dumps('sqlite3' in sys.modules))")
    assert json.loads(ran.stdout) is False


