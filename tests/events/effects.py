"""A checker for effects that happen exactly once: random schedules in virtual time, judged by what the databases hold.

    python -m tests.events.effects 1-1000      # so many seeds; a failure names its own

Workers carry out each event twice with `m.once`, in two databases of their own or in one under two names, in turn or at
once. They fail at random, and go on or try again; they lose their connections in every way, leave rooms and come back
while they are at work, have their readers overtaken by others, and are killed in the midst of it, cursor and all; the
server is killed, or forgets a session, the log is trimmed, loses a room, or goes back within an epoch as a disk does
that is put back. In the end each event has had each of its effects exactly once, or lies in a gap that the worker was
told of.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sqlite3
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.events.checker import TIGHT
from transport import limits
from transport.errors import LocalProtocolError, TransportError
from transport.events import Events, FileCursor, History, SQLiteCursor
from transport.events.testing import Kit
from transport.log.records import Stream as Name

ROOMS = ("r0", "r1")


@dataclass
class Outcome:
    """What a run led to."""

    seed: int
    wrong: list[str]
    events: int = 0
    effects: int = 0
    failures: int = 0
    lives: int = 0
    rewinds: int = 0
    excused: int = 0


class Emitted(NamedTuple):
    """An event as the log took it."""

    value: int
    epoch: int
    offset: int


@dataclass
class Worker:
    """A program that is started again and again with what it has kept."""

    run: Run
    places: list[tuple[Any, str]]
    store: Any
    concurrency: int
    reads: bool
    catches: bool
    at_once: bool
    told: set[int] = field(default_factory=set)
    start: dict[str, tuple[int, int]] = field(default_factory=dict)
    client: Any = None
    alive: list[bool] = field(default_factory=list)
    readers: list[Any] = field(default_factory=list)
    insists: int = 0

    async def begin(self) -> None:
        """A new life."""
        self.run.outcome.lives += 1
        alive = self.alive = [True]
        save = self.store.save
        kept = type(
            "Kept", (), {"load": lambda _: self.store.load(), "save": lambda _, state: alive[0] and save(state)}
        )
        self.client = await self.run.kit.client(cursor=kept(), concurrency=self.concurrency)
        self.client.on_gap(self.gap)
        if not self.reads:
            self.client.on("x", self.effects)
        for room in ROOMS:
            where = await self.enter(room)
            self.start.setdefault(room, where)

    async def enter(self, room: str, since: str = "cursor") -> Any:
        """Is in a room from now on, by its readers or its handlers; another reader takes over from the one before."""
        if not self.reads:
            return await self.client.join(room, since=since)
        events = self.client.subscribe(room, since=since)
        await events.begin()
        self.readers.append(self.client.loop.create_task(self.read(events)))
        return self.client.cursors[room]

    async def come_back(self, room: str) -> None:
        """Leaves a room, and enters it further on, while it is at work on what it had; that goes on, and succeeds."""
        stream = self.client.machine.streams.get(room)
        if stream is None or self.received(room) < 0:
            return
        self.run.kit.heal(self.client)
        self.insists += 1
        had = stream.tracker.received
        await self.client.leave(room)
        epoch, top = await self.enter(room, "now")
        between = [event.offset for event in self.run.emitted[room] if event.epoch != epoch or event.offset <= top]
        self.run.excuse(self, room, stream.epoch, [offset for offset in between if offset > had])
        if epoch != stream.epoch:
            self.run.excuse(self, room, epoch, between)
        while stream.waiting:
            await self.run.kit.advance(0.05)
        self.run.excuse(self, room, stream.epoch, sorted(stream.tracker.failed))  # given up before, and now for ever
        self.insists -= 1

    async def kill(self) -> None:
        """The process ends: what it has not committed or saved is gone."""
        self.alive[0] = False
        for reader in self.readers:
            reader.cancel()
        self.readers.clear()
        await self.client.close(grace=0)
        for db, _ in self.places:
            db.rollback()

    def received(self, room: str) -> int:
        """What it has had of a room; -1 while it is not in there."""
        machine = self.client.machine
        stream = machine.streams[room]
        return int(stream.tracker.received) if machine.up and stream.alias else -1

    def gap(self, m: Any) -> None:
        """What is missing, by the numbers of the events."""
        if not m.room or not self.alive[0]:
            return
        is_new = m.gap.reason == "epoch"
        first = 0 if is_new or m.gap.lost is None else m.offset - m.gap.lost
        for event in self.run.emitted[m.room]:
            if first < event.offset <= m.offset if event.epoch == m.epoch else is_new:
                self.told.add(event.value)

    async def read(self, events: Any) -> None:
        """One room, event by event."""
        try:
            async for m in events:
                if m.gap is not None:
                    self.gap(m)
                    continue
                try:
                    await self.effects(m)
                except ValueError:
                    pass
                except LocalProtocolError:  # another reader has taken over, and it counts as done
                    self.told.add(m.event)
        except TransportError as error:
            if self.alive[0]:
                self.run.outcome.wrong.append(f"a reader ended with {error!r}")

    async def effects(self, m: Any) -> None:
        """Two of them."""
        run, random = self.run, self.run.kit.random
        if random.random() < 0.3:
            await run.kit.advance(random.random() * 0.1)
        if self.at_once:
            for error in await asyncio.gather(*[self.tried(m, one) for one in range(2)], return_exceptions=True):
                if isinstance(error, LocalProtocolError) or (isinstance(error, BaseException) and not self.catches):
                    raise error
            return
        for which in range(len(self.places)):
            try:
                await self.tried(m, which)
            except ValueError:
                if not self.catches:
                    raise
            if random.random() < 0.2:
                await run.kit.advance(random.random() * 0.05)

    async def tried(self, m: Any, which: int) -> None:
        """One of them, once more if it must be, or sometimes."""
        while True:
            try:
                await self.effect(m, which)
                return
            except ValueError:
                if not self.insists and self.run.kit.random.random() < 0.7:
                    raise

    async def effect(self, m: Any, which: int) -> None:
        """One of them, which may fail."""
        run, random, alive = self.run, self.run.kit.random, self.alive
        db, consumer = self.places[which]
        while db.in_transaction:  # another handler's, or a reader's of the other room
            await run.kit.advance(0.01)
        async with m.once(db, consumer) as fresh:
            if fresh:
                db.execute("INSERT INTO effects VALUES (?, ?, ?)", (which, m.room, m.event))
            if random.random() < 0.1:
                await run.kit.advance(random.random() * 0.2)
            if random.random() < run.fails:
                run.outcome.failures += 1
                raise ValueError("not now")
            assert alive[0], "nobody works for a process that was killed"


class Run:
    """One schedule."""

    def __init__(self, seed: int, steps: int, folder: Path) -> None:
        self.outcome = Outcome(seed, [])
        self.steps = steps
        self.folder = folder
        self.fails = 0.05
        self.app = Events()
        self.policy = ("now", "oldest")[seed // 2 % 2]
        self.namespace = self.app.namespace("/", history=History(count=300), on_gap=self.policy)
        self.emitted: dict[str, list[Emitted]] = {room: [] for room in ROOMS}
        self.values = 0
        self.workers: list[Worker] = []

    async def __call__(self, kit: Kit) -> Outcome:
        self.kit = kit
        for number in range(2):
            flip = [kit.random.random() < share for share in (0.5, 0.3, 0.5, 0.5, 0.3)]
            dbs = [sqlite3.connect(":memory:") for _ in range(1 if flip[2] else 2)]
            for db in dbs:
                db.execute("CREATE TABLE effects (which INTEGER, room TEXT, value INTEGER)")
            store: Any = FileCursor(self.folder / f"{number}.cur") if flip[0] else SQLiteCursor(dbs[0])
            places = [(dbs[0], ""), (dbs[0], "other") if flip[2] else (dbs[1], "")]
            self.workers.append(Worker(self, places, store, kit.random.choice((1, 4)), flip[1], flip[3], flip[4]))
        await self.emit(ROOMS[0], kit.random.choice((0, 3)))
        for worker in self.workers:
            await worker.begin()
        for _ in range(self.steps):
            await self.step()
        await self.settle()
        self.judge()
        for worker in self.workers:
            await worker.kill()
            for db, _ in worker.places:
                db.close()
        return self.outcome

    def excuse(self, worker: Worker, room: str, epoch: int, offsets: list[int]) -> None:
        """What a worker need not have done, for it chose so itself."""
        chosen = set(offsets)
        worker.told |= {event.value for event in self.emitted[room] if event.epoch == epoch and event.offset in chosen}

    def forget(self, worker: Worker) -> None:
        """The server does not take a worker's session any more."""
        worker.client.machine.secret = bytes(len(worker.client.machine.secret))
        self.kit.drop(worker.client)

    async def emit(self, room: str, count: int) -> None:
        """Events, each with a number that no other has."""
        for _ in range(count):
            self.values += 1
            epoch, offset = await self.namespace.to(room).emit("x", self.values)
            self.emitted[room].append(Emitted(self.values, epoch, offset))

    async def step(self) -> None:
        """One thing that happens, then a little time."""
        kit, random = self.kit, self.kit.random
        worker, room, what = random.choice(self.workers), random.choice(ROOMS), random.random()
        if what < 0.50:
            await self.emit(room, random.choice([1, 1, 3, 20]))
        elif what < 0.52:
            await worker.come_back(room)
        elif what < 0.54:
            if worker.reads and worker.received(room) >= 0:
                kit.heal(worker.client)
                await worker.enter(room)
        elif what < 0.55:
            self.forget(worker)
        elif what < 0.65:
            kit.drop(worker.client)
        elif what < 0.70:
            kit.half_open(worker.client)
        elif what < 0.73:
            kit.partition(worker.client)
        elif what < 0.78:
            kit.heal(worker.client)
        elif what < 0.90:
            await worker.kill()
            await kit.advance(random.random())
            await worker.begin()
        elif what < 0.93:
            await kit.restart(random.random())
        elif what < 0.95:
            head = await self.app.log.head(Name("/", room))
            await kit.trim(room, random.randint(head.first, head.top + 1))
        elif what < 0.96:
            await kit.lose(room)
        elif what < 0.98 and self.policy == "now":  # "oldest" brings again what is left, and nobody can tell that it is
            await self.go_back(room)
        await kit.advance(random.choice([0.0, 0.001, 0.01, 0.1, 1.0]) * random.random())

    async def go_back(self, room: str) -> None:
        """The log loses its end while the server is down. All have come to that end, come back before it has grown,
        and save that: else nobody could tell the others that their notes are about events that never were.
        """  # fmt: skip
        kit = self.kit
        ring = self.app.log._streams.get(Name("/", room))
        if ring is None or not len(ring) or any(worker.received(room) != ring.top for worker in self.workers):
            return
        before = [worker.client.wire for worker in self.workers]
        await kit.crash()
        by = kit.random.randint(1, min(5, len(ring)))
        del ring._events[-by:]
        ring.top -= by
        epoch, top = ring.epoch, ring.top  # what is gone may have had its effects, or not
        self.emitted[room] = [event for event in self.emitted[room] if event.epoch != epoch or event.offset <= top]
        self.outcome.rewinds += 1
        await kit.start()
        for worker, wire in zip(self.workers, before, strict=True):
            kit.heal(worker.client)
            while worker.client.wire is wire or worker.received(room) < 0:
                await kit.advance(0.05)
            while worker.places[0][0].in_transaction:  # a cursor that is saved in there may be rolled back
                await kit.advance(0.01)
            worker.client.save()

    async def settle(self) -> None:
        """Nothing fails any more; what was given up comes again with each new life."""
        kit = self.kit
        self.fails = 0.0
        for room in ROOMS:
            await self.emit(room, 1)
        for _ in range(2):
            for worker in self.workers:
                kit.heal(worker.client)
            await kit.advance(60)
            for worker in self.workers:
                await worker.kill()
                await worker.begin()
        await kit.advance(60)

    def judge(self) -> None:
        """Each effect of each event, once."""
        outcome = self.outcome
        outcome.events = self.values
        every = "SELECT value FROM effects WHERE which = ? AND room = ?"
        for number, worker in enumerate(self.workers):
            for room in ROOMS:
                stream = worker.client.machine.streams[room]
                if stream.waiting or stream.lingering or stream.paused:
                    left = f"{stream.waiting} and {stream.lingering} at work, paused: {stream.paused}"
                    outcome.wrong.append(f"worker {number}, {room}: {left}")
            for which, (db, _) in enumerate(worker.places):
                for room in ROOMS:
                    where = f"worker {number}, effect {which}, {room}"
                    done = [value for (value,) in db.execute(every, (which, room))]
                    outcome.effects += len(done)
                    outcome.wrong += [f"{where}: event {value} has had its effect {done.count(value)} times"
                                      for value in sorted(set(done)) if done.count(value) > 1]  # fmt: skip
                    self.judge_missing(worker, room, set(done), where)

    def judge_missing(self, worker: Worker, room: str, done: set[int], where: str) -> None:
        """What had no effect lies in a gap."""
        epoch, start = worker.start[room]
        for event in self.emitted[room]:
            was_before = event.epoch == epoch and event.offset <= start and event.value <= 3
            if event.value in done or was_before:
                continue
            if event.value in worker.told:
                self.outcome.excused += 1
            else:
                self.outcome.wrong.append(f"{where}: event {event.value} ({event.offset}) has had no effect")


def check(seed: int, steps: int = 150) -> Outcome:
    """One seed's schedule, run and judged."""
    usual = {name: getattr(limits, name) for name in TIGHT}
    try:
        if seed % 2:
            for name, value in TIGHT.items():
                setattr(limits, name, value)
        with tempfile.TemporaryDirectory() as folder:
            run = Run(seed, steps, Path(folder))
            outcome: Outcome = run.app.test(seed).run(run)
    finally:
        for name, value in usual.items():
            setattr(limits, name, value)
    return outcome


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", default="1-20", help="a seed or a range such as 1-1000")
    parser.add_argument("--steps", type=int, default=150)
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first, _, last = given.seeds.partition("-")
    total = Outcome(0, [])
    bad = 0
    for seed in range(int(first), int(last or first) + 1):
        outcome = check(seed, given.steps)
        for name in ("events", "effects", "failures", "lives", "rewinds", "excused"):
            setattr(total, name, getattr(total, name) + getattr(outcome, name))
        if outcome.wrong:
            bad += 1
            print(f"seed {seed}:", *outcome.wrong[:10], sep="\n  ")
    print(f"{total.events:,} events, {total.effects:,} effects, {total.failures:,} that failed, {total.lives:,} lives "
          f"of workers, {total.rewinds:,} logs gone back, {total.excused:,} effects in gaps that were told; "
          f"{bad} seeds failed")  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
