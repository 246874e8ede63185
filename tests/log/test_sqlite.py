"""What is special about a log in a file: who may write, epochs after a loss, damage, other files."""

from __future__ import annotations

import asyncio
import errno
import functools
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.log.conftest import Clock
from tests.log.files import ROOM, crash, edit, program
from transport.log import (
    Append,
    History,
    LogCorrupt,
    LogFailed,
    LogLocked,
    LogReadOnly,
    LogVersion,
    MemoryLog,
    Session,
    SQLiteLog,
    Stream,
    checks,
    schema,
)

# Epochs


@pytest.mark.asyncio
@pytest.mark.parametrize("durability", ["os", "disk"])
async def test_a_crash_of_the_process_keeps_the_epoch(durability: str, tmp_path: Path) -> None:
    epoch = await crash(tmp_path / "log", durability=durability)
    async with SQLiteLog(tmp_path / "log", durability=durability) as log:
        assert await log.head(ROOM) == (epoch, 1, 5)


@pytest.mark.asyncio
async def test_a_crash_before_the_first_write_keeps_the_epoch(tmp_path: Path) -> None:
    """The write-ahead log is there, with nothing new in it: nothing is missing."""
    epoch = await crash(tmp_path / "log")
    async with SQLiteLog(tmp_path / "log"):
        found = {name: (tmp_path / name).read_bytes() for name in ("log", "log-wal", "log.lock")}
    for name, data in found.items():
        (tmp_path / name).write_bytes(data)
    assert found["log-wal"]
    async with SQLiteLog(tmp_path / "log") as log:
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
@pytest.mark.parametrize("is_read", [False, True])
async def test_a_write_ahead_log_that_was_taken_away(is_read: bool, tmp_path: Path) -> None:
    """What it held was acknowledged: the offsets are given again, and so under another epoch.

    Also if somebody has read the log meanwhile: SQLite then makes another write-ahead log, and leaves it there.
    """
    async with SQLiteLog(tmp_path / "log") as log:
        first = await log.append(ROOM, b"kept")
    epoch = await crash(tmp_path / "log")
    assert epoch == first.epoch
    (tmp_path / "log-wal").unlink()
    (tmp_path / "log-shm").unlink(missing_ok=True)
    if is_read:
        async with SQLiteLog(tmp_path / "log", read_only=True) as log:
            assert (await log.head(ROOM)).top == 1
        assert (tmp_path / "log-wal").exists()
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
        assert await other.head(ROOM) == (done.epoch, 1, 1)
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
        with pytest.raises(LogCorrupt):  # noqa: PT012
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


def test_what_it_may_be_told() -> None:
    with pytest.raises(ValueError, match="there are 'os' and 'disk'"):
        SQLiteLog("x", durability="memory")
    with pytest.raises(ValueError, match="max_bytes"):
        SQLiteLog("x", max_bytes=1)
    for make in (MemoryLog, functools.partial(SQLiteLog, "x")):
        with pytest.raises(ValueError, match="forget_ms"):
            make(forget_ms=-1)
        with pytest.raises(ValueError, match="key_window_ms"):
            make(key_window_ms=checks.NUMBER_MAX)


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


@pytest.mark.asyncio
async def test_other_bounds_at_the_next_open(tmp_path: Path) -> None:
    news = Stream("/news", "a")
    async with SQLiteLog(tmp_path / "log") as log:
        await log.set_history("/news", History(count=50))
        for stream in (ROOM, news):
            await log.commit([Append(stream, b"x") for _ in range(40)])
    async with SQLiteLog(tmp_path / "log", history=History(count=7)) as log:
        while await log.retain():
            pass
        assert [(await log.head(stream)).first for stream in (ROOM, news)] == [34, 1]
    async with SQLiteLog(tmp_path / "log", read_only=True) as log:
        assert {info.stream: info.history.count for info in await log.streams()} == {ROOM: 7, news: 50}


# Opening and closing that are cut off


@pytest.mark.asyncio
async def test_a_close_that_is_cancelled_goes_on(tmp_path: Path) -> None:
    """Else the lock would stay, and what was begun would never be written."""
    log = SQLiteLog(tmp_path / "log")
    await log.open()
    append = asyncio.ensure_future(log.append(ROOM, b"x"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(log.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert (await asyncio.wait_for(append, 10)).offset == 1
    await log.open()
    assert (await log.head(ROOM)).top == 1
    await asyncio.gather(log.close(), log.close())
    async with SQLiteLog(tmp_path / "log"):
        pass


@pytest.mark.asyncio
async def test_a_log_that_is_opened_twice_at_once(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "log")
    first, second = await asyncio.gather(log.open(), log.open(), return_exceptions=True)
    assert first is None
    assert isinstance(second, LogLocked)
    await log.close()
    async with SQLiteLog(tmp_path / "log"):  # nothing of it is held
        pass
