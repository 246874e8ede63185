"""Work queues need nothing of a log that its interface does not have: tried by a prototype, on each kind of log."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.log.queueing import Job, Queue, Reject, Retry
from transport import limits
from transport.log import Append, Fenced, Log, SQLiteLog, Stream

pytestmark = pytest.mark.asyncio
Make = Callable[..., Log]
DONE = Stream("/", "done")


class Time:
    """Seconds, as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def payloads(log: Log, stream: Stream) -> list[bytes]:
    await log.head(stream)
    return [event.payload for event in (await log.read(stream, 0)).events]


async def works(job: Job) -> list[Append]:
    return [Append(DONE, job.payload)]


async def test_a_job_is_acknowledged_on_return_together_with_its_events(make: Make) -> None:
    async with make() as log:
        queue = Queue(log, "q", Time())
        await queue.open()
        for number in range(5):
            await queue.put(b"%d" % number, key=f"k{number}")
        await queue.put(b"again", key="k4")
        while await queue.step(works):
            pass
        assert await payloads(log, DONE) == [b"0", b"1", b"2", b"3", b"4"]
        assert await payloads(log, queue.stream) == await payloads(log, queue.tries) == []  # nothing is kept of it


async def test_what_is_not_done_in_time_is_seen_again_and_settled_once(make: Make) -> None:
    async with make() as log:
        time = Time()
        queue = Queue(log, "q", time, visibility=30)
        await queue.open()
        await queue.put(b"slow")
        first = await queue.lease()
        assert first is not None
        assert await queue.lease() is None
        time.now = 29
        queue.extend(first, 30)
        time.now = 58
        assert await queue.lease() is None
        time.now = 59
        second = await queue.lease()
        assert second == Job(1, b"slow", 2)
        assert await queue.settle(second, [Append(DONE, b"by the second")])
        assert not await queue.settle(first, [Append(DONE, b"by the first")])
        assert await payloads(log, DONE) == [b"by the second"]


async def test_retries_wait_longer_and_end_as_dead_letters(make: Make) -> None:
    async with make() as log:
        time = Time()
        queue = Queue(log, "q", time, max_deliver=4, backoff=(1, 5))
        await queue.open()
        seen = []

        async def worker(job: Job) -> None:
            seen.append((time.now, job.payload, job.delivery))
            if job.payload == b"rejected":
                raise Reject
            if job.payload == b"asks":
                raise Retry(2.5)
            raise ZeroDivisionError

        await queue.put(b"rejected")
        await queue.put(b"asks")
        await queue.put(b"fails")
        for _ in range(60):
            while await queue.step(worker):
                pass
            time.now += 0.5
        assert seen[0] == (0, b"rejected", 1)
        assert [each[0] for each in seen if each[1] == b"asks"] == [0, 2.5, 5, 7.5]
        assert [each[0] for each in seen if each[1] == b"fails"] == [0, 1, 6, 11]
        assert await payloads(log, queue.dead) == [b"rejected", b"asks", b"fails"]


async def test_a_consumer_that_was_replaced_settles_nothing(make: Make) -> None:
    async with make() as log:
        older, newer = Queue(log, "q", Time()), Queue(log, "q", Time())
        await older.open()
        await older.put(b"x")
        job = await older.lease()
        assert job is not None
        await newer.open()
        with pytest.raises(Fenced):
            await older.settle(job, [Append(DONE, b"older")])
        await older.put(b"y")
        with pytest.raises(Fenced):
            await older.lease()
        assert [await newer.lease(), await newer.lease()] == [Job(1, b"x", 2), Job(2, b"y", 1)]


async def test_one_job_that_waits_long_does_not_stop_the_others(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_BEYOND_MAX", 4)
    async with make() as log:
        time = Time()
        queue = Queue(log, "q", time)
        await queue.open()
        for number in range(14):
            await queue.put(b"%d" % number)

        async def worker(job: Job) -> list[Append]:
            if job.payload == b"0" and time.now == 0:
                raise Retry(100)
            return await works(job)

        while await queue.step(worker):
            pass
        time.now = 100
        while await queue.step(worker):
            pass
        assert sorted(await payloads(log, DONE), key=int) == [b"%d" % number for number in range(14)]


PROGRAM = """
import asyncio, os, signal, sys, time
from tests.log.queueing import Queue
from transport.log import Append, SQLiteLog, Stream

async def main():
    async with SQLiteLog(sys.argv[1], durability="os") as log:
        queue = Queue(log, "q", time.monotonic, max_deliver=2)
        await queue.open()
        if (await log.head(queue.stream)).top == 0:
            for number in range(10):
                await queue.put(b"%d" % number)
        async def worker(job):
            if job.payload == b"3":
                os.kill(os.getpid(), signal.SIGKILL)
            if job.payload == b"7" and job.delivery == 1:
                await queue.settle(job, [Append(Stream("/", "done"), job.payload)])
                os.kill(os.getpid(), signal.SIGKILL)
            return [Append(Stream("/", "done"), job.payload)]
        while await queue.step(worker):
            pass
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
async def test_nothing_is_lost_or_done_twice_by_kill_9(tmp_path: Path) -> None:
    """A job that kills its worker each time ends as a dead letter; one whose worker dies behind its end is done."""
    path = tmp_path / "events.db"
    codes = []
    while not codes or codes[-1]:
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, check=False
        )
        assert done.returncode in (0, -9), done.stderr.decode()
        codes.append(done.returncode)
    assert codes == [-9, -9, -9, 0]
    async with SQLiteLog(path, durability="os") as log:
        assert await payloads(log, DONE) == [b"%d" % number for number in (0, 1, 2, 4, 5, 6, 7, 8, 9)]
        assert await payloads(log, Queue(log, "q", Time()).dead) == [b"3"]
