"""A model checker for missed events: random schedules in virtual time, judged by what the log held.

    python -m tests.events.checker 1-1000                 # so many seeds; a failure names its own
    python -m tests.events.checker 1-1000 --log sqlite    # with a log in a file, killed and opened again

Clients join rooms, leave them and come back, are put into them once more by the program, have their readers overtaken,
send, read slowly, and lose their connections in every way; the server is killed, the log is trimmed, loses a room, or
gives every stream a new epoch. A log in a file is killed with its server, as by kill -9: before a commit, or behind one
of which nobody has heard. A witness that sits at the log writes down every event that ever was. In the end each
client's account must be the witness's, but for what it was told is missing, and for what it was not meant to see:

- no silent loss: an offset that a client did not get is one that it must not see, or lies in a gap that it was told of;
- no duplicate, nothing out of order, nothing that the log does not have;
- no duplicate effect: every message of a client led to one event, however often it was sent;
- one connection for each session: who came back has fenced what was there before;
- no stream that stands still though its program is done, and no join, leave or reader that waits for ever;
- no room that begins anew because a process was killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.events.stepped import SteppedLog
from transport import limits
from transport.errors import TransportError
from transport.events import Events, History
from transport.events.testing import Kit
from transport.log.errors import UnknownStream
from transport.log.records import Stream as Name

ROOMS = ("r0", "r1", "r2")


@dataclass
class Seen:
    """One client's account of one room, since it joined."""

    epoch: int
    start: int
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    left: bool = False


@dataclass
class Outcome:
    """What a run led to."""

    seed: int
    wrong: list[str]
    events: int = 0
    delivered: int = 0
    replayed: int = 0
    gaps: int = 0
    sent: int = 0


class Witness:
    """Every event of every room, from the log's own mouth; what is trimmed later is still here."""

    def __init__(self) -> None:
        self.events: dict[str, dict[int, dict[int, tuple[Any, frozenset[str]]]]] = {}
        self.effects: dict[str, int] = {}
        self.names: list[Name] = []

    async def watch(self, log: Any, name: Name) -> None:
        """Sees every event of a stream from now on."""
        self.names.append(name)
        await log.watch(name, self.saw)

    async def again(self, log: SteppedLog) -> None:
        """The log was killed and is open again: what was committed last was told to nobody."""
        for name in self.names:
            await log.watch(name, self.saw)
            with contextlib.suppress(UnknownStream):
                epoch = (await log.head_of(name)).epoch
                known = self.events.get(_key(name), {}).get(epoch, ())
                page = await log.all_after(name, max(known, default=0))
                assert not page.trimmed, "what nobody has seen can't be too old"
                if page.events:
                    self.saw(name, epoch, page.events)

    async def renewed(self, log: Any) -> None:
        """Every stream gets a new epoch, in which the log still has what it had."""
        before: dict[Name, int] = {}
        for name in self.names:
            with contextlib.suppress(UnknownStream):
                before[name] = (await log.head(name, create=False)).epoch
        await log.renew()
        for name, epoch in before.items():
            with contextlib.suppress(UnknownStream):
                of = self.events.setdefault(_key(name), {})
                now = (await log.head(name, create=False)).epoch
                of[now] = {**of.get(epoch, {}), **of.get(now, {})}

    def saw(self, name: Name, epoch: int, events: Any) -> None:
        from transport.events.envelope import _codec

        of = self.events.setdefault(_key(name), {}).setdefault(epoch, {})
        for event in events:
            _, data = _codec.decode(event.payload)
            of[event.offset] = (data, frozenset(event.skip))
            if data[0] is not None:
                self.effects[data[0]] = self.effects.get(data[0], 0) + 1


def _key(name: Name) -> str:
    return "@" + name.room if name.private else name.room


class Actor:
    """One client with what it does and sees."""

    def __init__(self, name: str, kit: Kit) -> None:
        self.name = name
        self.kit = kit
        self.client: Any = None
        self.rooms: dict[str, Seen] = {}
        self.sent = 0
        self.settled: set[str] = set()
        self.slow = 0.0
        self.readers: dict[str, asyncio.Task[None]] = {}
        self.replayed = 0
        self.is_moving = False

    async def begin(self, witness: Witness) -> None:
        self.client = await self.kit.client()
        session = self.client.machine.session
        await witness.watch(self.kit.app.log, Name("/", session, True))
        private = self.rooms["@" + session] = Seen(self.client.machine.streams[""].epoch, 0)
        self.client.on("note", lambda m: private.entries.append(("event", m.epoch, m.offset, m.event)))
        self.client.on_gap(  # one of a room is told here where the client has just left it
            lambda m: m.room or private.entries.append(("gap", m.epoch, m.offset, m.gap.reason))
        )
        for room in self.kit.random.sample(ROOMS, self.kit.random.randint(1, len(ROOMS))):
            self.readers[room] = asyncio.create_task(self.read(room))

    async def read(self, room: str) -> None:
        """Keeps the account of one room; it goes on where the client comes back after it has left."""
        try:
            room_events = self.client.subscribe(room)
            await room_events.begin()
            stream = self.client.machine.streams[room]
            account = self.rooms.setdefault(room, Seen(stream.epoch, stream.since))
            if account.left:
                account.left = False
                account.entries.append(("gap", stream.epoch, stream.tracker.start, "left"))
            async for m in room_events:
                if m.gap is not None:
                    account.entries.append(("gap", m.epoch, m.offset, m.gap.reason))
                else:
                    account.entries.append(("event", m.epoch, m.offset, m.event))
                    self.replayed += m.replay
                if self.slow:
                    await asyncio.sleep(self.slow)
        except TransportError as error:
            self.rooms.setdefault(room, Seen(0, 0)).entries.append(("failed", 0, 0, repr(error)))

    async def again(self, room: str) -> None:
        """Reads a room anew: in place of the reader of before, or after it was left. Or else joins it, which it is."""
        reader = self.readers.get(room)
        if self.is_moving or reader is None or room not in self.rooms:
            return
        self.is_moving = True
        if self.kit.random.random() < 0.3:
            await asyncio.gather(*[self.client.join(room) for _ in range(3)])
        else:
            if self.kit.random.random() < 0.5:
                await self.client.leave(room)
                self.rooms[room].left = True
                await reader
            self.readers[room] = asyncio.create_task(self.read(room))
            await reader  # which ends, or goes on for ever
        self.is_moving = False

    async def send(self, room: str) -> None:
        """One message, whose effect is one event."""
        self.sent += 1
        number = f"{self.name}-{self.sent}"
        try:
            if self.kit.random.random() < 0.5:
                await self.client.call("say", [room, number], timeout=3600)
                self.settled.add(number)
            else:
                await self.client.emit("say", [room, number])
        except TransportError:
            pass


class Run:
    """One schedule."""

    def __init__(self, seed: int, steps: int, clients: int, loses: bool, log: SteppedLog | None) -> None:
        self.seed = seed
        self.steps = steps
        self.count = clients
        self.loses = loses
        self.witness = Witness()
        self.actors: list[Actor] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.said = 0
        self.doubled: set[str] = set()
        self.renewed: list[Any] = []
        self.log = log
        self.app = Events(log)
        policy = ("now", "oldest")[seed // 2 % 2]
        concurrency = (1, 4)[seed // 4 % 2]
        self.namespace = self.app.namespace("/", history=History(count=200), on_gap=policy, concurrency=concurrency)
        self.namespace.on("say", self.say)

    async def say(self, ctx: Any, data: Any) -> None:
        room, number = data
        if self.kit.random.random() < 0.3:
            await asyncio.sleep(self.kit.random.random() * 0.2)
        skip = ctx if self.kit.random.random() < 0.3 else None
        await self.namespace.to(room).emit("said", [number, "x" * self.kit.random.randrange(200)], skip=skip)

    async def __call__(self, kit: Kit) -> Outcome:
        self.kit = kit
        for room in ROOMS:
            await self.witness.watch(self.app.log, Name("/", room))
        for number in range(self.count):
            self.actors.append(Actor(f"c{number}", kit))
        await asyncio.gather(*[actor.begin(self.witness) for actor in self.actors])
        await kit.advance(1.0)
        for _ in range(self.steps):
            await self.step()
        await self.settle()
        return self.judge()

    async def step(self) -> None:
        """One thing that happens, then a little time."""
        kit, random = self.kit, self.kit.random
        actor = random.choice(self.actors)
        what = random.random()
        if what < 0.45:
            self.spawn(actor.send(random.choice(ROOMS)))
        elif what < 0.50:
            self.spawn(self.note(random.choice([1, 1, 20])))
        elif what < 0.57:
            self.spawn(self.burst(random.choice(ROOMS), random.choice([1, 3, 30])))
        elif what < 0.60:
            self.spawn(actor.again(random.choice(ROOMS)))
        elif what < 0.70:
            kit.drop(actor.client)
        elif what < 0.80:
            kit.half_open(actor.client)
        elif what < 0.84:
            kit.partition(actor.client)
        elif what < 0.90:
            kit.heal(actor.client)
        elif what < 0.93:
            actor.slow = random.choice([0.0, 0.0, 0.01, 0.1])
        elif what < 0.95:
            await self.restart(random.random() * 2)
        elif what < 0.97:
            room = random.choice(ROOMS)
            head = await self.app.log.head(Name("/", room))
            await kit.trim(room, random.randint(head.first, head.top + 1))
        elif what < 0.98 and self.loses:
            await kit.lose(random.choice(ROOMS))
        elif what < 0.99:
            self.spawn(self.put(actor, random.choice(list(actor.rooms))))
        elif what < 0.992 and self.loses:
            await self.witness.renewed(self.app.log)
        self.look()
        await kit.advance(random.choice([0.0, 0.001, 0.01, 0.1, 1.0]) * random.random())

    async def restart(self, after: float) -> None:
        """The server's process ends in the midst of what it does, and the next one begins after so many seconds."""
        await self.kit.crash()
        if self.log is not None:
            had = self.log.epochs()
            self.log.kill()
            await self.log.open()
            has = self.log.epochs()
            self.renewed += [name for name, epoch in had.items() if has.get(name) != epoch]
            await self.witness.again(self.log)
        await self.kit.advance(after)
        await self.kit.start()

    def look(self) -> None:
        """At any moment a session has one connection that was let in."""
        held = [link.id for link in self.app.links if link.id]
        self.doubled.update(session for session in held if held.count(session) > 1)

    def spawn(self, coroutine: Any) -> None:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def burst(self, room: str, count: int) -> None:
        """Events of the server's own."""
        skip = [actor.client.machine.session for actor in self.actors if self.kit.random.random() < 0.2]
        for _ in range(count):
            self.said += 1
            try:
                await self.namespace.to(room).emit("said", [None, self.said], skip=skip)
            except TransportError:
                return

    async def put(self, actor: Actor, room: str) -> None:
        """The program puts a client once more into a room that it is in: nothing comes of it, whatever else happens."""
        for ctx in self.namespace.contexts() if self.app.serves and not actor.is_moving else ():
            if ctx.id == actor.client.machine.session and not room.startswith("@"):
                with contextlib.suppress(TransportError):
                    await ctx.join(room)

    async def note(self, count: int) -> None:
        """Events for one client alone."""
        if not self.app.serves or not self.namespace.contexts():
            return
        ctx = self.kit.random.choice(self.namespace.contexts())
        for _ in range(count):
            self.said += 1
            try:
                await ctx.send("note", [None, self.said])
            except TransportError:
                return

    async def settle(self) -> None:
        """Everything is mended, and everybody has the time to get what is theirs."""
        kit = self.kit
        await kit.start()
        for actor in self.actors:
            actor.slow = 0.0
            kit.heal(actor.client)
        await kit.advance(120.0)
        for room in ROOMS:
            await self.namespace.to(room).emit("said", [None, "end"])
        for ctx in self.namespace.contexts():
            await ctx.send("note", [None, "end"])
        await kit.advance(60.0)

    def judge(self) -> Outcome:
        """Compares what everybody saw with what there was."""
        wrong: list[str] = []
        outcome = Outcome(self.seed, wrong)
        for actor in self.actors:
            outcome.sent += actor.sent
            outcome.replayed += actor.replayed
            for room, account in actor.rooms.items():
                self.judge_room(actor, room, account, outcome)
            wrong += [f"{actor.name}: {number} was settled without effect" for number in actor.settled
                      if not self.witness.effects.get(number)]  # fmt: skip
            if actor.is_moving or actor.client.machine.wishes:
                wrong.append(f"{actor.name}: {actor.client.machine.wishes} joins and leaves were never answered")
            wrong += [f"{actor.name}: {room!r} stands still" for room, stream in actor.client.machine.streams.items()
                      if stream.paused or stream.seeking or stream.waiting]  # fmt: skip
            if actor.client.machine.unsettled:
                wrong.append(f"{actor.name}: {actor.client.machine.unsettled} messages were never settled")
        wrong += [f"{number} had {count} effects" for number, count in self.witness.effects.items() if count > 1]
        wrong += [f"session {session} had two connections at once" for session in sorted(self.doubled)]
        wrong += [f"{name} began anew when the server was killed" for name in self.renewed]
        outcome.events = sum([len(of) for epochs in self.witness.events.values() for of in epochs.values()])
        return outcome

    def judge_room(self, actor: Actor, room: str, account: Seen, outcome: Outcome) -> None:
        """Walks one account along the witness's."""
        where = f"{actor.name} in {room}"
        epochs = self.witness.events.get(room, {})
        session = actor.client.machine.session
        first = account.entries[0][1] if account.entries else 0
        epoch, at = account.epoch or first, account.start  # a private stream may begin after the client was let in
        for kind, its_epoch, offset, data in account.entries:
            if kind == "failed":
                outcome.wrong.append(f"{where}: ended with {data}")
                return
            if kind == "gap":
                outcome.gaps += 1
                if its_epoch != epoch:
                    epoch, at = its_epoch, 0
                at = max(at, offset)
                continue
            outcome.delivered += 1
            if its_epoch != epoch:
                outcome.wrong.append(f"{where}: event {offset} of another epoch, and no gap before it")
                epoch, at = its_epoch, offset - 1
            if offset <= at:
                outcome.wrong.append(f"{where}: event {offset} came twice or too late, after {at}")
                continue
            there = epochs.get(epoch, {})
            for missed in range(at + 1, offset):
                if missed not in there or session not in there[missed][1]:
                    outcome.wrong.append(f"{where}: event {missed} was lost in silence")
            if offset not in there or there[offset][0] != data:
                outcome.wrong.append(f"{where}: event {offset} is not what the log has")
            elif session in there[offset][1]:
                outcome.wrong.append(f"{where}: event {offset} was not meant for it")
            at = offset
        if epochs and epoch != list(epochs)[-1]:
            outcome.wrong.append(f"{where}: the room began anew, and that was not told")
        there = epochs.get(epoch, {})
        for missed in range(at + 1, max(there, default=0) + 1):
            if session not in there.get(missed, (None, ()))[1]:
                outcome.wrong.append(f"{where}: event {missed} never came")


LOSSY = "rudp=true&delay=5ms&jitter=2ms&loss=0.03&reorder=0.02"
"""Reliable UDP over a bad link."""

TIGHT = {"EVENTS_QUEUE_EVENTS": 16, "EVENTS_HOLD_EVENTS": 4, "EVENTS_PAGE_EVENTS": 8, "EVENTS_FLUSH_BYTES": 2048}
"""Bounds that every second seed runs with, so that pauses, full holds and many pages happen."""


def check(
    seed: int, steps: int = 150, clients: int = 4, loses: bool = True, link: str = "delay=1ms", log: str = "memory"
) -> Outcome:
    """One seed's schedule, run and judged; `log` is "memory" or "sqlite"."""
    if log == "memory":
        return _check(Run(seed, steps, clients, loses, None), link)
    with tempfile.TemporaryDirectory() as folder:
        return _check(Run(seed, steps, clients, loses, SteppedLog(Path(folder) / "events.db", seed)), link)


def _check(run: Run, link: str) -> Outcome:
    seed = run.seed
    kit = run.app.test(seed, link)
    usual = {name: getattr(limits, name) for name in TIGHT}
    try:
        if seed % 2:
            kit.serve_options = {"high_water": 4096, "low_water": 1024}
            for name, value in TIGHT.items():
                setattr(limits, name, value)
        outcome: Outcome = kit.run(run)
    finally:
        for name, value in usual.items():
            setattr(limits, name, value)
    return outcome


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", default="1-20", help="a seed or a range such as 1-1000")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--link", default="delay=1ms", help=f'such as "{LOSSY}"')
    parser.add_argument("--log", choices=("memory", "sqlite"), default="memory")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what goes wrong on purpose
    first, _, last = given.seeds.partition("-")
    total = Outcome(0, [])
    bad = 0
    for seed in range(int(first), int(last or first) + 1):
        outcome = check(seed, given.steps, given.clients, link=given.link, log=given.log)
        for name in ("events", "delivered", "replayed", "gaps", "sent"):
            setattr(total, name, getattr(total, name) + getattr(outcome, name))
        if outcome.wrong:
            bad += 1
            print(f"seed {seed}:", *outcome.wrong[:10], sep="\n  ")
    print(f"{total.events:,} events, {total.delivered:,} deliveries, {total.replayed:,} of them replayed, "
          f"{total.gaps:,} gaps told, {total.sent:,} messages of clients; {bad} seeds failed")  # fmt: skip
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
