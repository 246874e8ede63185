"""Calls of many tasks share commits, in their order and within bounds, of a log in a file."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from tests.log.files import ROOM
from transport import limits
from transport.log import Append, History, LogClosed, Session, SQLiteLog, Stream


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


@pytest.mark.asyncio
async def test_a_stream_that_begins_anew_within_a_commit(tmp_path: Path) -> None:
    """Watchers hear of each event under the epoch that it belongs to."""
    async with SQLiteLog(tmp_path / "log") as log:
        heard: list[tuple[int, list[int]]] = []
        await log.watch(ROOM, lambda stream, epoch, events: heard.append((epoch, [one.offset for one in events])))
        gate, task = await shut(log)
        calls = [log.append(ROOM, b"1"), log.append(ROOM, b"2"), log.drop(ROOM), log.append(ROOM, b"1")]
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        gate.leave.set()
        first, _, _, last = await asyncio.gather(*tasks)
        await task
        assert first.epoch != last.epoch
        assert heard == [(first.epoch, [1, 2]), (last.epoch, [1])]
