"""A work queue made of nothing but the interface of a log: the prototype that shows that it has all a queue needs.

A queue is a stream. Its consumer is a *session*, whose generation fences a consumer that was replaced. That a job is
settled is a *receipt*, numbered by the job's offset: so a job's own events, its dead letter and its end are one commit,
and whoever settles it a second time writes nothing. Deliveries are counted in a stream beside it, each written before
the job is handed out and with the job as its *cause*. Time-outs alone are in memory: they end with the process whose
workers they are about.
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from transport import limits
from transport.log import Append, Cause, Event, History, Log, Receipt, Session, Stream

NEVER_MS = 1 << 62
UNBOUNDED = History(None, None, None)  # what is settled is trimmed by the queue itself
Worker = Callable[["Job"], Awaitable[Sequence[Append] | None]]


class Retry(Exception):
    """Raised by a worker: again, so many seconds later; None for the queue's own delays."""

    def __init__(self, delay: float | None = None) -> None:
        super().__init__(delay)
        self.delay = delay


class Reject(Exception):
    """Raised by a worker: never again."""


@dataclass(slots=True)
class Job:
    """One entry, while it is handed out.

    Attributes:
        offset: its place in the queue.
        payload: as it was put.
        delivery: counts from 1.
    """

    offset: int
    payload: bytes
    delivery: int


class Queue:
    """Opened by `await open()`. `clock` gives seconds."""

    def __init__(
        self, log: Log, name: str, clock: Callable[[], float], *, visibility: float = 30.0, max_deliver: int = 5,
        backoff: Sequence[float] = (1, 5, 30),
    ) -> None:  # fmt: skip
        self._log = log
        self._clock = clock
        self._visibility = visibility
        self._max_deliver = max_deliver
        self._backoff = backoff
        self.stream = Stream("@queues", name)
        self.tries = Stream("@queues", name + "/tries")
        self.dead = Stream("@queues", name + ".dead")
        self.consumer = ""
        self._generation = 0
        self._contiguous = 0
        self._beyond: set[int] = set()
        self._next = 0
        self._jobs: dict[int, bytes] = {}  # that are not settled
        self._delivered: dict[int, list[int]] = {}  # where each of their deliveries is written
        self._due: list[tuple[float, int]] = []

    async def open(self) -> None:
        """Takes the queue over from whoever had it, and finds out where it stands."""
        log = self._log
        for stream in (self.stream, self.tries):
            await log.set_history(stream, UNBOUNDED)
        self._watch = await log.watch(self.stream, lambda stream, epoch, events: self._came(events))
        head = await log.head(self.stream)
        self.consumer = f"queue {self.stream.room} {head.epoch:x}"  # offsets of another epoch say nothing
        known = await log.get_session(self.consumer)
        held = None if known is None else known.generation
        self._generation = (held or 0) + 1
        await log.put_session(Session(self.consumer, b"", self._generation, b"", NEVER_MS), held)
        received = await log.received(self.consumer)
        self._contiguous, self._beyond = received.contiguous, set(received.beyond)
        await self._read(self.tries, 0, self._tried)
        await self._read(self.stream, self._contiguous, self._came)

    async def _read(self, stream: Stream, after: int, take: Callable[[Sequence[Event]], None]) -> None:
        await self._log.head(stream)
        more = True
        while more:
            page = await self._log.read(stream, after)
            take(page.events)
            after, more = (page.events[-1].offset if page.events else after), page.more

    def _tried(self, events: Sequence[Event]) -> None:
        for event in events:
            self._delivered.setdefault(int(event.payload), []).append(event.offset)

    def _came(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.offset > self._contiguous and event.offset not in self._beyond and event.offset not in self._jobs:
                self._jobs[event.offset] = event.payload
                heapq.heappush(self._due, (0.0, event.offset))

    async def put(self, payload: bytes, key: str | None = None) -> int:
        """One more; returns its offset once it is durable."""
        return (await self._log.append(self.stream, payload, key=key)).offset

    async def lease(self) -> Job | None:
        """The next job that is due, invisible to others from now on; None where there is none.

        The delivery is durable before the job is handed out: one that kills its process is counted all the same.
        """
        while self._due and self._due[0][0] <= self._clock():
            _, offset = heapq.heappop(self._due)
            payload = self._jobs.get(offset)
            if payload is None:
                continue
            count = len(self._delivered.get(offset, ()))
            if count >= self._max_deliver:
                await self._settle(offset, [Append(self.dead, payload)])
                continue
            if offset > self._contiguous + limits.LOG_BEYOND_MAX:
                await self._move_on()
            heapq.heappush(self._due, (self._clock() + self._visibility, offset))
            cause = Cause(self.consumer, self._generation, offset, count)
            done = await self._log.append(self.tries, b"%d" % offset, cause=cause)
            self._delivered.setdefault(offset, []).append(done.offset)
            return Job(offset, payload, count + 1)
        return None

    async def _move_on(self) -> None:
        """The oldest job has waited while many others were settled: it goes to the end of the queue, counted anew."""
        oldest = self._contiguous + 1
        await self._settle(oldest, [Append(self.stream, self._jobs[oldest])])

    async def settle(self, job: Job, effects: Sequence[Append] = ()) -> bool:
        """It is done, together with the events that it led to; False if it had been before: then nothing is written."""
        return await self._settle(job.offset, effects)

    async def _settle(self, offset: int, effects: Sequence[Append]) -> bool:
        done = await self._log.commit(effects, Receipt(self.consumer, self._generation, offset))
        self._jobs.pop(offset, None)
        self._delivered.pop(offset, None)
        if offset > self._contiguous:
            self._beyond.add(offset)
        before = self._contiguous
        while self._contiguous + 1 in self._beyond:
            self._contiguous += 1
            self._beyond.discard(self._contiguous)
        if self._contiguous > before:
            await self._log.trim(self.stream, self._contiguous + 1)
            oldest = min([tries[0] for tries in self._delivered.values()], default=NEVER_MS)
            await self._log.trim(self.tries, oldest)
        return not done.repeated

    async def give_back(self, job: Job, delay: float | None) -> None:
        """Not done: due again after a delay, unless it was delivered too often."""
        if job.delivery >= self._max_deliver:
            await self.reject(job)
            return
        if delay is None:
            delay = self._backoff[min(job.delivery, len(self._backoff)) - 1]
        self._again(job, delay)

    def extend(self, job: Job, seconds: float) -> None:
        """It takes longer."""
        self._again(job, seconds)

    def _again(self, job: Job, seconds: float) -> None:
        self._due = [entry for entry in self._due if entry[1] != job.offset]
        heapq.heapify(self._due)
        heapq.heappush(self._due, (self._clock() + seconds, job.offset))

    async def reject(self, job: Job) -> None:
        """It becomes a dead letter."""
        await self._settle(job.offset, [Append(self.dead, job.payload)])

    async def step(self, worker: Worker) -> bool:
        """One job through a worker, acknowledged on return with the events that it gives; False where none is due."""
        job = await self.lease()
        if job is None:
            return False
        try:
            effects = await worker(job)
        except Retry as error:
            await self.give_back(job, error.delay)
        except Reject:
            await self.reject(job)
        except Exception:
            await self.give_back(job, None)
        else:
            await self.settle(job, effects or ())
        return True
