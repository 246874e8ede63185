"""A log that was put back from a backup: its offsets will be given a second time, so each stream has a new epoch."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.log.files import FOREVER, ROOM, crash
from transport import limits
from transport.log import Append, History, LogFailed, LogFull, LogLocked, SQLiteLog, schema


def backup(path: Path, copy: Path) -> None:
    """As `.backup` of the shell makes one, beside a server or without one."""
    source, target = sqlite3.connect(path), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()


def put_back(path: Path, copy: Path) -> None:
    """As `cp` does it: into the same file."""
    for name in (path.name + "-wal", path.name + "-shm"):
        path.with_name(name).unlink(missing_ok=True)
    path.write_bytes(copy.read_bytes())


async def grown(path: Path, count: int = 5) -> int:
    """Events that are not in the backup; the epoch that they are under."""
    async with SQLiteLog(path) as log:
        return (await log.commit([Append(ROOM, b"lost") for _ in range(count)])).appended[0].epoch


async def check_new(path: Path, epoch: int) -> None:
    """The events of the backup are there, and what follows is under another epoch."""
    async with SQLiteLog(path, check=True) as log:
        head = await log.head(ROOM)
        assert head.epoch != epoch
        assert head[1:] == (1, 1)
        assert (await log.append(ROOM, b"other")).position == (head.epoch, 2)
    async with SQLiteLog(path) as log:
        assert await log.head(ROOM) == (head.epoch, 1, 2), "once"


@pytest.mark.asyncio
async def test_a_backup_of_a_log_that_was_closed(tmp_path: Path) -> None:
    path, copy = tmp_path / "log", tmp_path / "backup"
    await grown(path, 1)
    backup(path, copy)
    epoch = await grown(path)
    put_back(path, copy)
    await check_new(path, epoch)


@pytest.mark.asyncio
async def test_a_backup_that_the_same_server_outlived(tmp_path: Path) -> None:
    """Made and put back with nobody having opened the log in between."""
    path, copy = tmp_path / "log", tmp_path / "backup"
    async with SQLiteLog(path) as log:
        epoch = (await log.append(ROOM, b"kept")).epoch
        backup(path, copy)
        await log.append(ROOM, b"lost")
    put_back(path, copy)
    await check_new(path, epoch)


@pytest.mark.asyncio
async def test_a_backup_after_a_crash(tmp_path: Path) -> None:
    path, copy = tmp_path / "log", tmp_path / "backup"
    await grown(path, 1)
    backup(path, copy)
    epoch = await crash(path)
    put_back(path, copy)
    await check_new(path, epoch)


@pytest.mark.asyncio
async def test_a_lock_that_was_taken_away(tmp_path: Path) -> None:
    """Nothing says any more whether this is the log that was written last."""
    path = tmp_path / "log"
    epoch = await grown(path, 1)
    path.with_name("log.lock").unlink()
    await check_new(path, epoch)


@pytest.mark.asyncio
async def test_a_log_of_before_there_were_marks(tmp_path: Path) -> None:
    path = tmp_path / "log"
    epoch = await grown(path, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM meta WHERE name = 'mark'")
    connection.close()
    path.with_name("log.lock").write_bytes(b"")
    assert await grown(path) == epoch
    assert await grown(path) == epoch


@pytest.mark.asyncio
@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
async def test_an_end_while_the_marks_change(
    number: int, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two when the log is opened and two when it is closed: wherever the process ends, the epoch stays."""
    path = tmp_path / "log"
    files = [path.with_name(path.name + suffix) for suffix in ("", "-wal", ".lock")]
    epoch = await grown(path, 1)
    note, calls = schema.Lock.note, 0
    left: dict[Path, bytes] = {}  # as a process leaves them that is killed then

    def ends(lock: schema.Lock, *marks: str) -> None:
        nonlocal calls
        calls += 1
        if written or calls != number:
            note(lock, *marks)
        if calls == number:
            left.update({file: file.read_bytes() for file in files if file.exists()})
            raise LogFailed("as the test says")

    with monkeypatch.context() as patch:
        patch.setattr(schema.Lock, "note", ends)
        log = SQLiteLog(path)
        if number <= 2:
            with pytest.raises(LogFailed, match="as the test says"):
                await log.open()
        else:
            await log.open()
            await log.append(ROOM, b"x")
            await log.close()
    assert calls == number
    for file in files:
        if file in left:
            file.write_bytes(left[file])
        else:
            file.unlink(missing_ok=True)
    for _ in range(2):
        assert await grown(path) == epoch


@pytest.mark.asyncio
async def test_no_room_for_a_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    epoch = await grown(path, 1)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(schema.os, "fsync", full)
        with pytest.raises(LogFull, match=r"log\.lock: No space"):
            await SQLiteLog(path).open()
    assert await grown(path) == epoch


# New epochs by hand


@pytest.mark.asyncio
async def test_new_epochs_for_a_file(tmp_path: Path) -> None:
    """Every stream has one; events, bounds and whatever else stay as they are."""
    path = tmp_path / "log"
    other = ROOM._replace(room="other")
    async with SQLiteLog(path, history=FOREVER) as log:
        await log.set_history("/chat", History(count=7))
        await log.commit([Append(ROOM, b"x"), Append(other, b"y")])
        before = [await log.head(stream) for stream in (ROOM, other)]
        secret = await log.secret()
        with pytest.raises(LogLocked):
            schema.renew_file(path)
    assert schema.renew_file(path) == 2
    async with SQLiteLog(path, history=FOREVER, check=True) as log:
        after = [await log.head(stream) for stream in (ROOM, other)]
        assert [head[1:] for head in after] == [head[1:] for head in before]
        assert not {head.epoch for head in after} & {head.epoch for head in before}
        assert await log.secret() == secret
        assert [info.history.count for info in await log.streams()] == [7, 7]


def test_new_epochs_for_what_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogFailed, match="no such file"):
        schema.renew_file(tmp_path / "log")
    assert list(tmp_path.iterdir()) == []


def test_marks_that_are_none(tmp_path: Path) -> None:
    """Whatever stands in a lock is read within bounds."""
    lock: Any = schema.Lock(tmp_path / "log")
    (tmp_path / "log.lock").write_bytes(b"\xff" * 100_000)
    lock.take()
    assert sum(map(len, lock.marks())) <= limits.LOG_MARKS_BYTES_MAX
    lock.note("a", "b")
    assert lock.marks() == ["a", "b"]
    lock.note("c")
    assert lock.marks() == ["c"]
    lock.give_back()
    assert (tmp_path / "log.lock").read_bytes() == b"c\n"
