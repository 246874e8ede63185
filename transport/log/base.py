"""The interface of a durable log: what the events layer needs so that no missed event is ever silent.

A log keeps *streams* of events, the *sessions* of clients, and what each session's numbered messages led to. This file
says what a log promises; `records` has the data, `errors` what may be raised. It must never say how anything is stored:
a ring in memory, an SQLite file, NATS JetStream and Redis Streams are all to fit behind it.

Order and durability
    Appends to one stream get their offsets in the order in which the calls began (`append` and `commit` take their
    place when they are first awaited; a task's first step is such a moment). A call returns when the event is as
    durable as `durability` names, and never before. Watchers of the stream are called in offset order, before the call
    returns. A call that is cancelled may or may not have been written.

Epochs
    A stream has a random 64-bit epoch, and within it offsets from 1. The epoch is a new one whenever the log could have
    forgotten events that it had acknowledged: after power was lost under durability "os", after a file was put back
    from a backup, after the stream was dropped. So a receiver knows a hole by one rule: the epoch differs, or
    `previous` is not the last offset it had. Logs with `contiguous` set have `previous == offset - 1`; in others they
    only grow (a JetStream sequence counts all rooms of a stream, and each republished message names the one before it).

Writing another engine
    `checks` has what every log refuses, with the bounds of `limits`, so that a program that runs on one log runs on
    the others; `watching.Watching` calls watchers. `LogLimit.what` is "reply" for a reply that is too large: the layer
    above tells that from what it can't mend. `tests/log/test_contract.py` and `test_sessions.py` ask what is promised
    here; `tests/log/plain.py` is the smallest log that keeps it.

Engines to come
    JetStream: `commit` is an atomic batch, `key` and `cause` are message ids, `read` is a batched direct get whose
    overlap proves continuity, `watch` a plain subscription to republished messages, sessions are a key-value bucket
    with its revision compared. Redis: one Lua script per call with a counter per stream. There other processes append
    too, and `watch` brings what they appended; hence nobody may conclude from its own appends what a stream holds.

Work queues on a log
    Not here, and they need nothing more. A queue is a stream; its consumer is a session, whose generation fences one
    that was replaced; that a job is settled is a receipt, numbered by the job's offset, so that a job's own events, its
    dead letter and its end are one `commit`, and whoever settles it again writes nothing. Deliveries are counted by
    appends to a stream beside it, with the job as their cause, each before the job is handed out: a job that kills its
    process is counted. Time-outs are in memory; they end with the process. The queue's own `History` is unbounded, and
    it trims what is settled. At most `limits.LOG_BEYOND_MAX` jobs may be settled behind one that is not: that one is
    then appended again and settled, in one commit. The consumer's id holds the stream's epoch, for offsets of another
    one say nothing. `tests/log/queueing.py` is such a queue. Where offsets have holes receipts can't be numbered by
    them: there it is the engine's own, in JetStream a pull consumer, in Redis a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from transport.log.records import (
    Append,
    Appended,
    Cause,
    Committed,
    Event,
    Head,
    History,
    LogStatistics,
    Page,
    Receipt,
    Received,
    Session,
    Stream,
    StreamInfo,
)

Watcher = Callable[[Stream, int, Sequence[Event]], None]


class Watch(ABC):
    """One watcher of one stream, from `Log.watch`."""

    @abstractmethod
    def close(self) -> None:
        """Ends it; the watcher is not called again. More often does no harm."""


class Log(ABC):
    """A store of streams, sessions and receipts; bound to the event loop that opened it.

    Used as `async with`, or by `open` and `close`. All calls raise LogClosed when it is not open, and LogFailed (or
    LogFull, LogCorrupt) when the store can't be read or written. Reads never wait for writes.

    Arguments that `MemoryLog` and `SQLiteLog` both take:
        history: bounds of streams that have none of their own, nor of their namespace.
        forget_ms: a stream without events that nobody watched or wrote for so long is forgotten.
        key_window_ms: for which the key of an append is known.
        clock: the wall clock in milliseconds.
        entropy: secret random bytes.

    Attributes:
        durability: what an acknowledged write survives. "memory": nothing. "os": the end of this process, in whatever
            way. "disk": loss of power too.
        contiguous: whether offsets have no holes.
        shared: whether other processes write to it as well.
    """

    durability: str = "memory"
    contiguous: bool = True
    shared: bool = False

    # Life

    @abstractmethod
    async def open(self) -> None:
        """Opens or makes the store.

        Raises:
            RuntimeError: it is open already.
            LogLocked: another writer has it.
            LogCorrupt, LogVersion: there is something else, or something damaged, in its place.
        """

    @abstractmethod
    async def close(self) -> None:
        """Writes what was begun, then closes; calls that come later raise LogClosed. More often does no harm."""

    @abstractmethod
    async def flush(self) -> None:
        """Waits until all appends that were begun before are acknowledged or have failed. Raises nothing for them."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Streams

    async def append(
        self,
        stream: Stream,
        payload: bytes,
        *,
        skip: Sequence[str] = (),
        key: str | None = None,
        cause: Cause | None = None,
    ) -> Appended:
        """Adds one event to a stream, which begins to exist by it; returns once it is durable.

        Appends of all tasks that wait at the same time share one commit (group commit). Where too many wait, the call
        waits for room.

        Args:
            stream: its name.
            payload: the event, opaque here.
            skip: ids of the sessions that must not see it, kept with it.
            key: an append with a key that this stream has had within the log's key window writes nothing and returns
                the position of the first, marked `repeated`.
            cause: the client's message that it is an effect of; a second append with the same cause writes nothing and
                returns the position of the first, marked `repeated`.

        Raises:
            Fenced: the session of `cause` has another generation, or is gone.
            LogLimit: a payload, name, key or skip list is too large, or there are too many streams.
            LogFull: there is no room; retention may make some.
        """
        done = await self.commit((Append(stream, payload, tuple(skip), key, cause),))
        return done.appended[0]

    @abstractmethod
    async def commit(self, appends: Sequence[Append] = (), receipt: Receipt | None = None) -> Committed:
        """Writes all of it or nothing: events of any streams, in order, and that a client's message was handled.

        With a receipt whose number was recorded before, nothing is written and the stored reply comes back. So a
        handler's events and its reply are one, and a client that sends its message again, also after kill -9, gets the
        first answer and causes nothing twice. A handler that has to know its offsets on the way appends with `cause`
        first, and commits the receipt at its end.

        Raises:
            Fenced: the receipt's or a cause's session has another generation, or is gone.
            LogLimit: as `append`; more than `limits.LOG_BATCH_EVENTS_MAX` events or `LOG_BATCH_BYTES_MAX` bytes; a
                reply over `LOG_REPLY_BYTES_MAX`; a number more than `LOG_BEYOND_MAX` above the contiguous ones.
            LogFull: as `append`.
        """

    @abstractmethod
    async def head(self, stream: Stream, *, create: bool = True) -> Head:
        """The ends of a stream: what a client that joins is told, so that it can resume without having had an event.

        Args:
            stream: its name.
            create: a stream that does not exist yet begins to, durably, so that its epoch is one that lasts.

        Raises:
            UnknownStream: it does not exist, and `create` is False.
            LogLimit: there are too many streams.
        """

    @abstractmethod
    async def read(
        self,
        stream: Stream,
        after: int,
        *,
        count: int | None = None,
        bytes: int | None = None,  # noqa: A002
    ) -> Page:
        """Events of a stream that come after an offset, oldest first, bounded; with the ends of the same moment.

        Everything that was acknowledged before the call is seen. Whoever holds an offset of another epoch must compare
        `page.head.epoch` before it believes the page. An offset above the top was lost: that page is `trimmed`, too.

        Args:
            stream: its name.
            after: the last offset that is known; 0 for all.
            count: at most so many events, `limits.LOG_PAGE_EVENTS_MAX` if not given or larger.
            bytes: stop before the payloads are more than this, but not before the first event;
                `limits.LOG_PAGE_BYTES_MAX` if not given or larger.

        Raises:
            UnknownStream: it does not exist.
        """

    @abstractmethod
    async def watch(self, stream: Stream, watcher: Watcher) -> Watch:
        """Calls `watcher(stream, epoch, events)` on the event loop for every event from now on, once it is durable.

        In offset order, each once, in batches, before the append's own call returns; not for what is `repeated`. What
        is appended after this call returned is certain to come, so: watch, then `head`, then `read` up to it, leaves no
        seam. A watcher must not wait; what it raises is logged and stops nothing. The stream need not exist.

        Raises:
            LogLimit: `limits.LOG_WATCHES_MAX` are open.
        """

    @abstractmethod
    async def set_history(self, scope: Stream | str, history: History) -> None:
        """Sets how much is kept, durably: of one stream, or of all streams of a namespace that have no bounds set.

        Streams of a namespace without any have the log's own (`history` of its class). An explicit bound on one stream
        goes with that stream, which begins to exist by it. Raises LogLimit, and ValueError for a bound that is none.
        """

    @abstractmethod
    async def trim(self, stream: Stream, before: int) -> int:
        """Forgets the events below offset `before`, in bounded steps; returns how many. Offsets are not used again.

        Raises:
            UnknownStream: it does not exist.
        """

    @abstractmethod
    async def drop(self, stream: Stream) -> bool:
        """Forgets a stream with its events, keys and causes; should it come to be again, it has a new epoch.

        False: there was none. Its watchers stay.
        """

    @abstractmethod
    async def retain(self) -> int:
        """Takes one step of retention now; returns how many events it took away, 0 when nothing is due.

        It runs by itself as well: at most `limits.LOG_RETAIN_EVENTS` events a step, beside the writes. A step also
        forgets keys that are too old, sessions whose time is over, and streams that have been empty and unused for
        longer than the log's `forget_ms`.
        """

    @abstractmethod
    async def renew(self) -> None:
        """Gives every stream a new epoch: what somebody calls who knows that events were lost, as by a backup.

        Every cursor that is out there is then answered by a gap, which is true, in place of a resume, which is not.
        Events and offsets stay; keys and causes are forgotten, for the positions that they stand for are of old epochs.
        """

    # Sessions

    @abstractmethod
    async def put_session(self, session: Session, expected: int | None) -> None:
        """Writes a session whole, if its stored generation is `expected` (None: if there is none): a compare-and-set.

        With `generation` = `expected` + 1 it takes the session over: every later write that holds the old generation
        raises Fenced, whoever makes it. Receipts and private streams stay.

        Raises:
            Fenced: the stored generation is another one; `Fenced.generation` is that.
            LogLimit: too many sessions, or too much in one.
        """

    @abstractmethod
    async def update_session(
        self,
        id: str,  # noqa: A002
        generation: int,
        *,
        join: Sequence[tuple[Stream, int]] = (),
        leave: Sequence[Stream] = (),
        identity: bytes | None = None,
        expires_ms: int | None = None,
    ) -> None:
        """Changes parts of a session that is still at `generation`; all of it or nothing.

        Args:
            id: of the session.
            generation: that the caller holds.
            join: streams it joined, or whose position it now holds, each with an offset of the present epoch. A stream
                that does not exist yet begins to.
            leave: streams it left.
            identity, expires_ms: new values; None leaves them.

        Raises:
            Fenced, LogLimit: as `put_session`.
        """

    @abstractmethod
    async def get_session(self, id: str) -> Session | None:  # noqa: A002
        """A session as it is stored; None where there is none or its time is over."""

    @abstractmethod
    async def drop_session(self, id: str, generation: int) -> None:  # noqa: A002
        """Forgets a session with its receipts, causes and private streams. One that is gone does no harm.

        Raises:
            Fenced: the stored generation is another one.
        """

    @abstractmethod
    async def received(self, session: str) -> Received:
        """Which numbered messages of a session were handled; none for a session that is not there."""

    @abstractmethod
    async def reply(self, session: str, number: int) -> bytes | None:
        """The stored reply to a message that was handled; None where it had none, or it is forgotten."""

    # Keys, figures, inspection

    @abstractmethod
    async def secret(self, name: str = "cursor") -> bytes:
        """32 random bytes under a name, made at the first call and kept: the key that signs cursors, for one."""

    @abstractmethod
    async def streams(self, *, after: Stream | None = None, count: int = 100, namespace: str | None = None,
                      private: bool | None = None) -> list[StreamInfo]:  # fmt: skip
        """Streams in the order of their names, from the one behind `after` on: a list for people and tools.

        Args:
            after: the last one of the page before.
            count: at most so many, and at most `limits.LOG_LIST_MAX`.
            namespace: only of this one.
            private: only private streams, or only the others.
        """

    @abstractmethod
    async def sessions(self, *, after: str | None = None, count: int = 100) -> list[Session]:
        """Sessions in the order of their ids, from the one behind `after` on; as `streams`."""

    @abstractmethod
    async def statistics(self) -> LogStatistics:
        """Counters and gauges of this log."""
