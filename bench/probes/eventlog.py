"""What the log of events costs: from an append to its acknowledgement, events a second, and reading them again.

Each round makes a fresh log for each durability. Appends are offered in an open loop, at times fixed beforehand: a log
that falls behind shows it. Beside them stands the floor of the device: how often a plain
file takes 256 bytes and an fdatasync. It must never be run on a file system in memory, where all that is free.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from bench.bars import INFORMATION, simple_bar
from bench.peers.base import fastest_loop
from bench.statistics import percentile, spread

RATE = 5000  # appends offered in a second
TICK_NS = 1_000_000
TIMER_NS = 1_500_000  # by which a loop's timer may be late
PAYLOAD = bytes(256)
BATCH = 64
STREAMS = 16
KINDS = ("memory", "os", "disk")
ROUNDS = 5
SECONDS = 2.0
MEASURES = {
    "ack-p50": (f"append to acknowledgement at {RATE:,}/s, median", "us"),
    "ack-p99": (f"append to acknowledgement at {RATE:,}/s, 99 %", "us"),
    "batch": (f"events in commits of {BATCH}, one after the other", "k/s"),
    "tasks": (f"events of {BATCH} tasks that append one after the other", "k/s"),
    "replay": ("events read again, page by page", "k/s"),
}


def make(kind: str, folder: Path) -> Any:
    """A log that keeps what a round writes."""
    from transport.log import History, MemoryLog, SQLiteLog

    forever = History(None, None, None)
    if kind == "memory":
        return MemoryLog(history=forever, max_bytes=1 << 30)
    return SQLiteLog(folder / f"{kind}.db", durability=kind, history=forever)


def names() -> list[Any]:
    """Streams to write."""
    from transport.log import Stream

    return [Stream("/bench", str(number)) for number in range(STREAMS)]


async def offered(log: Any, seconds: float) -> list[int]:
    """Nanoseconds to the acknowledgement of appends that are offered every millisecond, whatever the log does.

    From the call; from the time at which it was due where the loop comes to it later than its timers may be. A loop
    that spins for finer times would keep the interpreter from the log's own thread.
    """
    streams, took = names(), []
    count = RATE // 1000
    begin = perf_counter_ns() + TICK_NS

    async def one(start: int, stream: Any) -> None:
        await log.append(stream, PAYLOAD)
        took.append(perf_counter_ns() - start)

    tasks = set()
    for number in range(round(seconds * 1000)):
        due = begin + number * TICK_NS
        if (ahead := due - perf_counter_ns()) > 0:
            await asyncio.sleep(ahead / 1e9)
        now = perf_counter_ns()
        for at in range(count):
            start = now if now < due + TIMER_NS else due
            task = asyncio.ensure_future(one(start, streams[(number * count + at) % STREAMS]))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.gather(*tasks)
    return took


async def batches(log: Any, seconds: float) -> float:
    """Events a second, in commits of `BATCH`, one after the other."""
    from transport.log import Append

    batch = [Append(stream, PAYLOAD) for stream in names() for _ in range(BATCH // STREAMS)]
    count, begin = 0, perf_counter()
    while (now := perf_counter()) < begin + seconds:
        await log.commit(batch)
        count += BATCH
    return count / (now - begin)


async def many_tasks(log: Any, seconds: float) -> float:
    """Events a second of `BATCH` tasks, each of which waits for every append."""
    streams, count, begin = names(), 0, perf_counter()

    async def one(number: int) -> None:
        nonlocal count
        while perf_counter() < begin + seconds:
            await log.append(streams[number % STREAMS], PAYLOAD)
            count += 1
            if not count % 1024:
                await asyncio.sleep(0)  # a log in memory never waits

    await asyncio.gather(*(one(number) for number in range(BATCH)))
    return count / (perf_counter() - begin)


async def replay(log: Any) -> float:
    """Events a second, all streams one after the other."""
    count, begin = 0, perf_counter()
    for stream in names():
        after, more = 0, True
        while more:
            page = await log.read(stream, after)
            after, more = page.events[-1].offset, page.more
            count += len(page.events)
    return count / (perf_counter() - begin)


async def one_round(kind: str, folder: Path, seconds: float) -> dict[str, float]:
    """All figures of one durability."""
    async with make(kind, folder) as log:
        await batches(log, 0.1)
        took = sorted(await offered(log, seconds))
        found = {"ack-p50": percentile(took, 0.5) / 1e3, "ack-p99": percentile(took, 0.99) / 1e3}
        found["batch"] = await batches(log, seconds) / 1e3
        found["tasks"] = await many_tasks(log, seconds) / 1e3
        found["replay"] = await replay(log) / 1e3
    return found


def device(folder: Path, seconds: float) -> float:
    """How often a second the device takes 256 bytes at the end of a file, for good."""
    file = os.open(folder / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        count, begin = 0, perf_counter()
        while (now := perf_counter()) < begin + seconds:
            os.write(file, PAYLOAD)
            os.fdatasync(file)
            count += 1
    finally:
        os.close(file)
    return count / (now - begin)


def run(
    tick: Callable[[str], None], rounds: int = ROUNDS, seconds: float = SECONDS, place: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """(figures, what was seen); `place` is a folder on the disk that is meant, by default that of temporary files."""
    seen: dict[str, list[float]] = {"device": []}
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="bench-log-", dir=place) as folder:
            seen["device"].append(device(Path(folder), min(seconds, 0.5)))
            for kind in KINDS[number % 3 :] + KINDS[: number % 3]:
                with asyncio.Runner(loop_factory=fastest_loop) as runner:
                    for name, value in runner.run(one_round(kind, Path(folder), seconds)).items():
                        seen.setdefault(f"{kind}-{name}", []).append(value)
                tick(f"round {number + 1}, {kind}")
    found = [information("log-device", "device: 256 bytes and fdatasync", "/s", seen["device"])]
    for kind in KINDS:
        found += [
            information(f"log-{kind}-{name}", f"{kind}: {title}", unit, seen[f"{kind}-{name}"])
            for name, (title, unit) in MEASURES.items()
        ]
    return found, seen


def information(identity: str, title: str, unit: str, values: list[float]) -> dict[str, Any]:
    """A row with the median and the extremes of the rounds; nothing to pass or fail."""
    got = spread(values)
    row = simple_bar(identity, title, unit, got["median"], 0.0, low=got["min"], high=got["max"], count=len(values))
    row["verdict"] = INFORMATION
    return row
