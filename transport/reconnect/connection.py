"""Connections that come back by themselves, and say so.

What is promised: messages received before a loss are still given out, in order, before those of the next connection;
what `send` raised for was not sent. What is not: a message that `send` had accepted and that had not reached the peer
when the connection was lost is lost with it, and never sent again behind the program's back, because it may have
arrived. `flush` tells: it raises for a loss that anything since the last `flush` may have been part of.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from transport import limits
from transport.delivery import Delivery
from transport.drive.connection import Connection
from transport.drive.records import Received, Statistics
from transport.errors import (
    APPLICATION_CODE_MAX,
    CloseCode,
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    WouldBlock,
)
from transport.reconnect.backoff import Backoff, Change, State, States
from transport.reconnect.row import Link, Reader, ReconnectingChannel, next_message

log = logging.getLogger("transport")
_GAUGES = frozenset({"queued_bytes", "blocked_bytes"})  # counters that say how things stand, not how often


class _HookFailed(Exception):
    """`on_reconnect` raised: a mistake that another try would only repeat."""


class Reconnecting:
    """A connection that comes back: the coroutine interface of `Connection`, over as many as it takes.

    `async for` and `recv` go on across reconnects. `send`, `ping`, `flush` and streams are for the connection that is
    there: while there is none they wait, up to `Backoff.wait`, then raise `ConnectionLost`. A stream ends with the
    connection it was opened on.

    Attributes:
        reconnects: how often it has come back.
        unread_dropped: lost connections whose unread messages were given up, because nobody had read them for eight
            connections on end.
    """

    def __init__(self, again: Callable[[], Awaitable[Connection]], backoff: Backoff) -> None:
        self.reconnects = 0
        self.unread_dropped = 0
        self.state = State.WAITING
        self.loop = asyncio.get_running_loop()
        self._again = again
        self._backoff = backoff
        self._attempt = 0
        self._newest: Link | None = None
        self._up = False
        self._readers: list[Reader] = []
        self._channels: dict[int, ReconnectingChannel] = {}
        self._unflushed: list[Connection] = []
        self._watchers: weakref.WeakSet[States] = weakref.WeakSet()
        self._past: Counter[str] = Counter()
        self._last_error: BaseException | None = None
        self._closing: tuple[int, str] | None = None
        self._final: tuple[type[ConnectionClosed], int, str, bool, BaseException | None] | None = None
        self._changed: asyncio.Future[None] = self.loop.create_future()
        self._gone: asyncio.Future[None] = self.loop.create_future()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, again: Callable[[], Awaitable[Connection]], backoff: Any) -> Reconnecting:
        """Makes the first connection. Raises what `again` does, unless `retry_first` has it tried again."""
        if not isinstance(backoff, Backoff):
            raise LocalProtocolError(f"reconnect expects a Backoff, not {backoff!r}")
        made = cls(again, backoff)
        conn = await (made._return(None) if backoff.retry_first else again())
        made._publish(conn)
        made._task = made.loop.create_task(made._keep())
        return made

    # Coming back

    async def _keep(self) -> None:
        """Waits for the end of each connection and makes the next, until there is a reason not to."""
        try:
            while True:
                assert self._newest is not None
                conn = self._newest.conn
                began = self.loop.time()
                await conn.wait_closed()
                self._book(conn)
                error = conn.exception or ConnectionLost(CloseCode.LOST, "the connection has ended", False)
                if self._closing is not None or error.code not in self._backoff.codes:
                    self._finish(error)
                    return
                if self.loop.time() - began >= limits.RECONNECT_RESET_S:
                    self._attempt = 0
                self._up = False
                self._last_error = error
                self._tell(State.LOST, error=error)
                self._publish(await self._return(error))
        except asyncio.CancelledError:
            self._finish(None)
            if self._closing is None:  # by somebody else: the loop is being shut down
                raise
        except _HookFailed as error:
            failed = ConnectionLost(CloseCode.INTERNAL_ERROR, f"on_reconnect failed: {error.__cause__!r}", False)
            failed.__cause__ = error.__cause__
            self._finish(failed)
        except Exception as error:
            self._finish(error)

    async def _return(self, error: BaseException | None) -> Connection:
        """Tries until there is a connection; raises what makes further tries useless."""
        backoff = self._backoff
        while True:
            if error is not None or self._attempt:
                self._attempt += 1
                if backoff.attempts is not None and self._attempt > backoff.attempts:
                    raise ConnectFailed(f"gave up after {backoff.attempts} tries: {error}") from error
                delay = backoff.delay(self._attempt)
                self._tell(State.WAITING, delay=delay, error=error)
                await backoff.sleep(delay)
            try:
                return await self._open()
            except ConnectionClosed as lost:  # in on_reconnect
                if lost.code not in backoff.codes:
                    raise
                error = lost
            except OSError as failed:  # ConnectFailed is one
                refused = failed.__cause__
                if isinstance(refused, ConnectionClosed) and refused.code not in backoff.codes:
                    raise
                error = failed
            self._last_error = error

    async def _open(self) -> Connection:
        conn = await self._again()
        try:
            for channel in self._channels.values():
                conn.channel(channel.number, delivery=channel.delivery, priority=channel.priority)
            if self._backoff.on_reconnect is not None and self._newest is not None:
                await self._backoff.on_reconnect(conn)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, ConnectionClosed):
                conn.close_soon(CloseCode.INTERNAL_ERROR, "internal error")
                log.exception("on_reconnect failed, the connection is closed")
                raise _HookFailed(error) from error
            conn.abort()
            raise
        return conn

    def _publish(self, conn: Connection) -> None:
        """A new connection is there for everybody."""
        previous = self._newest
        link = self._newest = Link(conn, 0 if previous is None else previous.number + 1)
        if previous is None:
            self._readers.append(Reader(self, link, None))
        else:
            self.reconnects += 1
            previous.followed.set_result(link)
            dropped = sum([reader.catch_up(link) for reader in self._readers])
            if dropped:
                self.unread_dropped += dropped
                log.warning("%s: unread messages of %d lost connections are given up", conn.url, dropped)
        self._up = True
        self._tell(State.CONNECTED)
        self._notify()

    def _finish(self, error: BaseException | None) -> None:
        """It will not come back."""
        if self._final is not None:
            return
        self._up = False
        if self._closing is not None:
            self._final = (ConnectionClosed, *self._closing, False, None)
        elif isinstance(error, ConnectionClosed):
            self._final = (type(error), error.code, error.reason, error.by_peer, error.__cause__)
        elif error is None:
            self._final = (ConnectionLost, CloseCode.LOST, "cancelled", False, None)
        else:
            self._final = (ConnectionLost, CloseCode.LOST, str(error) or type(error).__name__, False, error)
        if self._newest is not None:
            self._newest.conn.abort()  # of no effect on one that has ended
            if not self._newest.followed.done():
                self._newest.followed.set_result(None)
        self._tell(State.CLOSED, error=None if self._closing is not None else self.final_error())
        self._gone.set_result(None)
        self._notify()

    def _tell(self, state: State, *, delay: float = 0.0, error: BaseException | None = None) -> None:
        self.state = state
        attempt = self._attempt if state is State.WAITING else 0
        change = Change(state, self.reconnects, attempt, delay, error)
        for watcher in list(self._watchers):
            watcher.add(change)

    def _notify(self) -> None:
        changed, self._changed = self._changed, self.loop.create_future()
        changed.set_result(None)

    def final_error(self) -> ConnectionClosed:
        """The exception for how it ended, a new one for each who is told."""
        assert self._final is not None
        kind, code, reason, by_peer, cause = self._final
        error = kind(code, reason, by_peer)
        error.__cause__ = cause
        return error

    def states(self) -> States:
        """Changes from now on, for one reader; at most 64 wait for it."""
        made = States(self.loop, self._final is not None)
        self._watchers.add(made)
        return made

    # Sending

    @property
    def connection(self) -> Connection | None:
        """The connection that is there now, or None."""
        if self._up and self._newest is not None and not self._newest.conn.is_closed:
            return self._newest.conn
        return None

    def _deadline(self) -> float | None:
        return None if self._backoff.wait is None else self.loop.time() + self._backoff.wait

    async def _ready(self, deadline: float | None) -> Connection:
        """The connection that is there, or the next one if it comes before the deadline."""
        conn = self.connection
        if conn is not None:
            return conn
        try:
            async with asyncio.timeout_at(deadline):
                while True:
                    if self._final is not None or self._closing is not None:
                        raise self._error()
                    await asyncio.shield(self._changed)
                    conn = self.connection
                    if conn is not None:
                        return conn
        except TimeoutError:
            raise ConnectionLost(
                CloseCode.LOST, f"not connected, and not back within {self._backoff.wait} s: {self._last_error}", False
            ) from self._last_error

    def _error(self) -> ConnectionClosed:
        if self._final is not None:
            return self.final_error()
        return ConnectionClosed(CloseCode.NORMAL, "the connection is closing", False)

    async def send(self, message: Any, **options: Any) -> None:
        """`Connection.send`; while there is no connection it waits up to `Backoff.wait`.

        Raises:
            ConnectionLost: it did not come back in time. The message was not queued.
        """
        deadline = self._deadline()
        while True:
            conn = await self._ready(deadline)
            try:
                await conn.send(message, **options)
            except ConnectionClosed:  # while it waited for room: nothing was queued
                continue
            self._sent_on(conn)
            return

    def send_nowait(self, message: Any, **options: Any) -> None:
        """`Connection.send_nowait`; raises WouldBlock also while there is no connection."""
        conn = self.connection
        if conn is None:
            if self._final is not None or self._closing is not None:
                raise self._error()
            raise WouldBlock(f"not connected, and coming back: {self._last_error}")
        conn.send_nowait(message, **options)
        self._sent_on(conn)

    def send_threadsafe(self, message: Any, **options: Any) -> Any:
        """`send` from another thread; returns a `concurrent.futures.Future`."""
        return asyncio.run_coroutine_threadsafe(self.send(message, **options), self.loop)

    def _sent_on(self, conn: Connection) -> None:
        unflushed = self._unflushed
        if not unflushed or unflushed[-1] is not conn:
            del unflushed[1:]  # the first that was lost is the one to tell of
            unflushed.append(conn)

    async def flush(self) -> None:
        """`Connection.flush`.

        Raises:
            ConnectionLost: a connection that something was sent on since the last `flush` has ended; it may be lost.
                Told once.
        """
        while self._unflushed:
            conn = self._unflushed.pop(0)
            try:
                await conn.flush()
            except asyncio.CancelledError:
                self._unflushed.insert(0, conn)
                raise
            except ConnectionClosed:
                pass
            if conn.is_closed and self._closing is None:
                error = conn.exception
                reason = "" if error is None else f": {error.reason}"
                code = CloseCode.LOST if error is None else error.code
                raise ConnectionLost(code, f"what was sent may be lost with its connection{reason}", True)

    # Receiving

    async def recv(self) -> Any:
        """The next message, of this connection or of those to come; errors as for `Connection.recv` at the very end."""
        return (await self._readers[0].receive()).message

    async def receive(self) -> Received:
        """Like `recv`, with the channel and delivery it came by."""
        return await self._readers[0].receive()

    def recv_nowait(self) -> Any:
        """The next message that is already here; raises WouldBlock when there is none."""
        return self._readers[0].receive_nowait()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return await next_message(self._readers[0])

    def channel(
        self, number: int, *, delivery: Delivery | None = None, priority: int | None = None
    ) -> ReconnectingChannel:
        """`Connection.channel`: an object that outlives the connections, with an inbox on each."""
        assert self._newest is not None
        self._newest.conn.channel(number, delivery=delivery, priority=priority)
        channel = self._channels.get(number)
        if channel is None:
            reader = Reader(self, self._newest, number)
            self._readers.append(reader)
            channel = self._channels[number] = ReconnectingChannel(self, reader, number, delivery, priority)
        else:
            channel.delivery = channel.delivery if delivery is None else delivery
            channel.priority = channel.priority if priority is None else priority
        return channel

    # The rest is the present connection's

    async def open_stream(self, channel: int = 0, *, total: int | None = None) -> Any:
        """`Connection.open_stream`, on the connection that is there. The stream does not outlive it."""
        return await (await self._ready(self._deadline())).open_stream(channel, total=total)

    async def accept_stream(self) -> Any:
        """The next stream that the peer opens, on this connection or on those to come."""
        while True:
            conn = await self._ready(None)
            try:
                return await conn.accept_stream()
            except ConnectionClosed:
                continue

    async def ping(self) -> float:
        """`Connection.ping`, on the connection that is there."""
        return await (await self._ready(self._deadline())).ping()

    def _present(self) -> Connection:
        assert self._newest is not None
        return self._newest.conn

    @property
    def url(self) -> Any:
        """Where it connects to."""
        return self._present().url

    @property
    def traits(self) -> Any:
        """What each connection promises."""
        return self._present().traits

    @property
    def local_address(self) -> Any:
        """Of the connection that is there, or of the last."""
        return self._present().local_address

    @property
    def remote_address(self) -> Any:
        """Of the connection that is there, or of the last."""
        return self._present().remote_address

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`Connection.get_extra_info` of the connection that is there; `default` while there is none."""
        conn = self.connection
        return default if conn is None else conn.get_extra_info(name, default)

    def statistics(self) -> Statistics:
        """A snapshot: counts over all connections, amounts of the present one."""
        now = self._present().statistics()
        if not self._up:
            return replace(
                now, messages_sent=self._past["sent"], messages_received=self._past["received"], queued_bytes=0,
                unsent_bytes=0, blocked_bytes=0, inbox_dropped=self._past["inbox_dropped"],
                counters={name: 0 if name in _GAUGES else self._past[f"own {name}"] for name in now.counters},
            )  # fmt: skip
        return replace(
            now,
            messages_sent=now.messages_sent + self._past["sent"],
            messages_received=now.messages_received + self._past["received"],
            inbox_dropped=now.inbox_dropped + self._past["inbox_dropped"],
            counters={
                name: count if name in _GAUGES else count + self._past[f"own {name}"]
                for name, count in now.counters.items()
            },
        )

    def _book(self, conn: Connection) -> None:
        """Adds an ended connection to the past."""
        self._up = False
        ended = conn.statistics()
        self._past["sent"] += ended.messages_sent
        self._past["received"] += ended.messages_received
        self._past["inbox_dropped"] += ended.inbox_dropped
        for name, count in ended.counters.items():
            self._past[f"own {name}"] += count

    # The end

    def close_soon(self, code: int = 0, reason: str = "") -> None:
        """The first half of `close`: says goodbye, or ends the coming back, without waiting."""
        if self._final is not None or self._closing is not None:
            return
        if not 0 <= code <= APPLICATION_CODE_MAX and code not in CloseCode.__members__.values():
            raise LocalProtocolError(f"close code {code} is neither 0, nor 1-999, nor a CloseCode")
        self._closing = (code, reason)
        conn = self.connection
        if conn is not None:
            conn.close_soon(code, reason)
        else:
            self._stop()
        self._notify()

    def _stop(self) -> None:
        """Ends the coming back; a connection that is still ending is cut."""
        if self._task is not None:
            self._task.cancel()

    async def close(self, code: int = 0, reason: str = "", grace: float = limits.CLOSE_GRACE_S) -> None:
        """`Connection.close`; while it waits or tries to come back, that ends at once. Idempotent."""
        self.close_soon(code, reason)
        try:
            async with asyncio.timeout(grace):
                await self.wait_closed()
        except TimeoutError:
            self.abort()
            await self.wait_closed()

    def abort(self) -> None:
        """Ends everything at once; queued data is dropped."""
        if self._final is None:
            if self._closing is None:
                self._closing = (CloseCode.LOST, "aborted")
            if self._newest is not None:
                self._newest.conn.abort()
            self._stop()

    async def wait_closed(self) -> None:
        """Returns when it is over for good."""
        await asyncio.shield(self._gone)

    @property
    def is_closed(self) -> bool:
        """Whether it is over, or ending by this side's wish; a connection that is coming back is not closed."""
        return self._final is not None or self._closing is not None

    @property
    def exception(self) -> ConnectionClosed | None:
        """How it ended, None before that."""
        return None if self._final is None else self.final_error()

    @property
    def close_code(self) -> int | None:
        """How it ended; None before that."""
        return None if self._final is None else self._final[1]

    @property
    def close_reason(self) -> str:
        """In the words of who ended it."""
        return "" if self._final is None else self._final[2]

    async def __aenter__(self) -> Reconnecting:
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            await self.close()
        else:
            await self.close(CloseCode.INTERNAL_ERROR, type(error).__name__, grace=1.0)

    def __repr__(self) -> str:
        return f"<Reconnecting {self.url} {self.state.value} reconnects={self.reconnects}>"
