"""A running server: its connections, its handlers, its end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from transport import limits
from transport.drive.base import Driver, Owner
from transport.drive.connection import Connection
from transport.drive.records import Settings
from transport.errors import CloseCode, CodecError, ConnectionClosed, LocalProtocolError
from transport.transports.base import Listener, PipeInfo
from transport.url import Url

log = logging.getLogger("transport")


@dataclass(frozen=True, slots=True)
class ServerStatistics:
    """A snapshot of one server; counts since its start."""

    connections: int
    accepted: int
    refused: int
    failed_handlers: int
    accept_backoffs: int
    counters: dict[str, int]


class Server:
    """What `serve` gives. Made by it, never by hand.

    Attributes:
        url: what to connect to: with the real port, and without the options that were meant for this side.
    """

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[None]] | None,
        protocol: Callable[[], Any] | None,
        codec: Any,
        settings: Settings,
        connections_max: int,
        machine: bool,
    ) -> None:
        self._handler = handler
        self._protocol = protocol
        self._codec = codec
        self._settings = settings
        self._connections_max = connections_max
        self._machine = machine
        self._listener: Any = None
        self._loop = asyncio.get_running_loop()
        self._conns: dict[Any, None] = {}  # a set in the order of arrival: closing them is the same in every run
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived: deque[Any] = deque()
        self._acceptors: deque[asyncio.Future[None]] = deque()
        self._closing = False
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._empty: asyncio.Future[None] | None = None
        self._accepted = 0
        self._refused = 0
        self._failed = 0
        self._status: Any = None

    def attach(self, listener: Listener, url: Url) -> None:
        """Called once, with the bound listener and the address to publish."""
        self._listener = listener
        self.url = url

    def tells(self, status: Any) -> None:
        """Called once, with what answers those who ask how it is doing (`transport.status`)."""
        self._status = status

    def own(self, session: Any, driver: Driver, info: PipeInfo) -> Owner:
        """A new pipe for this server, or ConnectionRefusedError."""
        if self._closing or len(self._conns) >= self._connections_max:
            self._refused += 1
            raise ConnectionRefusedError("the server is closing or full")
        if self._machine:
            from transport.drive.runner import MachineConnection

            machine = MachineConnection(session, driver, info)
            machine.on_lost = self._on_lost
            self._conns[machine] = None
            self._on_open(machine)
            return machine
        protocol = info.protocol or self._protocol
        callbacks = None if protocol is None else protocol()
        addresses, codec = (info.local, info.remote), info.codec or self._codec
        conn = Connection(session, driver, codec, info.traits, info.url, addresses, self._settings, callbacks)
        conn.on_lost = self._on_lost
        conn.on_open = self._on_open if info.protocol is None else self._count
        self._conns[conn] = None
        return conn

    def _count(self, conn: Any) -> None:
        self._accepted += 1

    def _on_open(self, conn: Any) -> None:
        self._accepted += 1
        if self._handler is not None:
            task = self._loop.create_task(self._handle(conn))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif self._protocol is None:
            self._queue(conn)

    def _queue(self, conn: Any) -> None:
        if len(self._arrived) >= limits.ACCEPT_QUEUE_MAX:  # those that have left must not keep others out
            self._arrived = deque([waiting for waiting in self._arrived if waiting in self._conns])
        if len(self._arrived) >= limits.ACCEPT_QUEUE_MAX:
            self._refused += 1
            conn.close_soon(CloseCode.OVERLOADED, "too many connections wait to be accepted")
            return
        self._arrived.append(conn)
        while self._acceptors:
            future = self._acceptors.popleft()
            if not future.done():
                future.set_result(None)
                break

    async def _handle(self, conn: Any) -> None:
        assert self._handler is not None
        try:
            await self._handler(conn)
        except asyncio.CancelledError:
            conn.close_soon(CloseCode.GOING_AWAY, "the server is closing")
            raise
        except ConnectionClosed:
            pass  # the peer's doing, and an ordinary way for a handler to end
        except Exception as error:
            # A body that could not be decoded is the peer's doing too, and its connection has ended for it already.
            if not (isinstance(error, CodecError) and getattr(conn, "close_code", None) == CloseCode.INVALID_BODY):
                self._failed += 1
                log.exception("the handler of %s failed, its connection is closed", conn.remote_address)
                conn.close_soon(CloseCode.INTERNAL_ERROR, "internal error")
                return
        await conn.close()

    def _on_lost(self, conn: Any) -> None:
        self._conns.pop(conn, None)
        if not self._conns and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    @property
    def connections(self) -> frozenset[Any]:
        """The connections that exist now, those still opening included."""
        return frozenset(self._conns)

    def connections_in_order(self) -> list[Any]:
        """The same, the oldest first."""
        return list(self._conns)

    async def accept(self) -> Any:
        """The next connection, on a server without handler and protocol.

        Raises:
            ConnectionClosed: the server is closed. LocalProtocolError: it has a handler or a protocol.
        """
        if self._handler is not None or self._protocol is not None:
            raise LocalProtocolError("connections of this server go to its handler or protocol")
        while not self._arrived:
            if self._closing:
                raise ConnectionClosed(CloseCode.GOING_AWAY, "the server is closed")
            future: asyncio.Future[None] = self._loop.create_future()
            self._acceptors.append(future)
            try:
                await future
            except asyncio.CancelledError:
                if future.done() and not future.cancelled():
                    self._wake_acceptor()  # pass on what this one was woken for
                raise
        return self._arrived.popleft()

    def _wake_acceptor(self) -> None:
        while self._acceptors:
            future = self._acceptors.popleft()
            if not future.done():
                future.set_result(None)
                return

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.accept()
        except ConnectionClosed:
            raise StopAsyncIteration from None

    async def serve_forever(self) -> None:
        """Returns when the server is closed; cancelled, it closes it."""
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self, grace: float = limits.CLOSE_GRACE_S) -> None:
        """Stops accepting, says goodbye to every peer, flushes, and cuts what is left after `grace` seconds.

        A handler that does not end when it is cancelled is left to itself after 5 more seconds, and logged.
        Idempotent; a second call waits for the first.
        """
        if self._closing:
            await asyncio.shield(self._closed)
            return
        self._closing = True
        if self._status is not None:
            self._status.close()
        self._listener.stop()
        for future in self._acceptors:
            if not future.done():
                future.set_result(None)
        for conn in list(self._conns):
            if getattr(conn, "made", True):
                conn.close_soon(CloseCode.GOING_AWAY, "the server is closing")
            else:
                conn.abort(CloseCode.GOING_AWAY, "the server is closing")  # it has said nothing yet: nothing is lost
        try:
            async with asyncio.timeout(grace):
                await self._settled()
        except TimeoutError:
            pass
        finally:
            own = asyncio.current_task()  # a handler may close its server, and goes on when that is done
            for task in list(self._tasks):
                if task is not own:
                    task.cancel()
            for conn in list(self._conns):
                conn.abort()
            try:
                async with asyncio.timeout(limits.CANCELLED_HANDLER_S):
                    await self._settled()
            except TimeoutError:
                log.warning("%s: %d handlers go on though they were cancelled", self.url, len(self._tasks))
            await self._listener.close()
            if not self._closed.done():
                self._closed.set_result(None)

    async def _settled(self) -> None:
        """Returns when no connection and no handler is left."""
        while self._conns or self._tasks:
            if self._conns:
                self._empty = self._loop.create_future()
                await self._empty
            own = asyncio.current_task()
            tasks = [task for task in self._tasks if task is not own]
            if tasks:
                await asyncio.wait(tasks)
            elif not self._conns:
                return

    def statistics(self) -> ServerStatistics:
        """A snapshot; see `ServerStatistics`."""
        counters: dict[str, int] = getattr(self._listener, "statistics", dict)()
        backoffs = getattr(self._listener, "backoffs", 0)
        return ServerStatistics(len(self._conns), self._accepted, self._refused, self._failed, backoffs, counters)

    async def __aenter__(self) -> Server:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed.done() else "closing" if self._closing else "serving"
        return f"<Server {self.url} {state} connections={len(self._conns)}>"
