"""What a user holds: messages in and out of one session, as coroutines or callbacks.

It joins a session (bytes, no codec), a codec and a driver, and has no protocol logic. Its halves are `Inbound` and
`Outbound`; here is its life, from the peer's first answer to the end.
It must never call the user back after `connection_lost`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from transport import limits
from transport.delivery import Traits
from transport.drive.base import Driver
from transport.drive.inbound import Inbound
from transport.drive.records import Settings, Statistics
from transport.errors import CloseCode, ConnectionClosed, ConnectionLost
from transport.machine import Closed, InputEnded
from transport.session import MessageSession


class Connection(Inbound):
    """One connection. Made by `connect` and `serve`, never by hand.

    Attributes:
        url: where it was connected to, or the server's.
        traits: what it promises.
        local_address, remote_address: as the socket module writes them.
        made: the peer has answered, so that messages may come.
        close_code, close_reason: how it ended; None while it is open.
    """

    def __init__(
        self,
        session: MessageSession,
        driver: Driver,
        codec: Any,
        traits: Traits,
        url: Any,
        addresses: tuple[Any, Any] = (None, None), settings: Settings | None = None, protocol: Any = None,
    ) -> None:  # fmt: skip
        Inbound.__init__(self, session, driver, codec, traits, url, settings or Settings(), protocol)
        self.local_address, self.remote_address = addresses
        self.close_code: int | None = None
        self.close_reason = ""
        self._opened: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self.on_open: Any = None  # set by the server: called once, when the peer has answered
        self.on_lost: Any = None  # likewise: called once, at the very end

    # Streams

    async def accept_stream(self) -> Any:
        """The next stream that the peer opens, as an `IncomingStream`."""
        return await self._stream_table().accept()

    def _stream_arrived(self, stream: Any) -> None:
        if self._protocol is not None:
            self._call(self._protocol.stream_received, stream)
        else:
            self._streams.queue(stream)

    # Life

    def _on_events(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, Closed):
                self._on_closed(event)
            elif isinstance(event, InputEnded):
                self._on_input_ended()
            elif hasattr(event, "token"):
                self._answered(event.token)
            elif hasattr(event, "stream"):
                self._stream_table().on_event(event)

    def _on_input_ended(self) -> None:
        """The peer sends no more but may still read: readers come to their end, sending goes on until `close`."""
        self._input_ended = True
        if self._protocol is not None and not self._held and not self._session.has_received():
            self.close_soon()
        self._inbox.wake()

    def _established(self) -> None:
        self.made = True
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        if self._protocol is not None:
            self._call(self._protocol.connection_made, self)
        if self.on_open is not None:
            self.on_open(self)

    async def wait_open(self) -> None:
        """Returns when the peer has answered; raises what ended the connection before that."""
        if self._closed is not None or self._lost:
            raise self.end_error()
        if not self.made:
            if self._opened is None:
                self._opened = self.loop.create_future()
            await self._opened

    def _on_closed(self, event: Closed) -> None:
        if self._closed is not None:
            return
        self._closed = event
        self.close_code = event.code
        self.close_reason = event.reason
        if self._protocol is not None and not self._leaving:
            self._hold = False  # what came before the end is still delivered, as `recv` would give it
            while self._held and not self._hold:
                self._deliver_next()
        self._hold = True
        self._held.clear()
        self._fail_waiters()
        self._driver.finish(self)

    def _fail_waiters(self) -> None:
        """Everybody who waits for something that can't come any more."""
        error = self.end_error()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)
            self._opened.exception()  # retrieved: nobody may be waiting any more
        for future, _ in self._pings.values():
            if not future.done():
                future.set_exception(error)
                future.exception()
        self._pings.clear()
        self._wake_writers()
        while self._flushers:
            self._flushers.popleft()[1].wake()
        while self._fences:
            self._fences.pop()[1].wake()
        self._inbox.wake()
        for lane in list(self._lanes.values()):  # a woken reader may ask for another
            lane.inbox.wake()
        if self._streams is not None:
            self._streams.fail()

    def lost(self, error: BaseException | None) -> None:
        """From the driver: the pipe is gone."""
        if self._lost:
            return
        if self._closed is None:
            reason = "the pipe was closed" if error is None else str(error) or type(error).__name__
            self._session.abort(CloseCode.LOST, reason, self._driver.now())  # from here on sending raises
            self._on_closed(Closed(CloseCode.LOST, reason, error is not None, False))
        self._lost = True
        self._fail_waiters()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(None)
        if self._protocol is not None and self.made:
            clean = self._closed is not None and self._closed.clean
            self._call(self._protocol.connection_lost, None if clean else self.end_error())
        if self.on_lost is not None:
            self.on_lost(self)
        self._on_message = None
        self.on_open = self.on_lost = None  # a closed connection keeps nothing alive

    def end_error(self) -> ConnectionClosed:
        """The exception that says how the connection ended or is ending."""
        closed = self._closed
        if closed is None:
            return ConnectionClosed(CloseCode.NORMAL, "the connection is closing", False)
        if closed.clean:
            return ConnectionClosed(closed.code, closed.reason, closed.by_peer)
        return ConnectionLost(closed.code, closed.reason, closed.by_peer)

    async def close(self, code: int = 0, reason: str = "", grace: float = limits.CLOSE_GRACE_S) -> None:
        """Says goodbye after what is queued, waits for the peer's, and cuts after `grace` seconds. Idempotent.

        Raises:
            LocalProtocolError: `code` is neither 0 nor an application code (1-999) nor one of `CloseCode`.
        """
        self.check_end(code, reason, grace)
        self.close_soon(code, reason)
        try:
            async with asyncio.timeout(grace):
                await self.wait_closed()
        except TimeoutError:
            self.abort()
            await self.wait_closed()
        except asyncio.CancelledError:  # nobody would see to it any more
            self.abort()
            raise

    def close_soon(self, code: int = 0, reason: str = "") -> None:
        """The first half of `close`: says goodbye without waiting."""
        self.check_end(code, reason)
        self._leaving = self._hold = True
        if self._closed is None and not self._lost:
            self._session.close(code, reason, self._driver.now())
            self._on_events(self._session.events())  # a session whose peer has ended already is over at once
            self._inbox.clear()
            for lane in self._lanes.values():
                lane.inbox.clear()
            self._held.clear()
            if self._pipe_paused:
                self._pipe_paused = False
                self._driver.resume_reading(self)
            self._inbox.wake()
            for lane in list(self._lanes.values()):
                lane.inbox.wake()
            self._driver.wake()

    def abort(self, code: int = CloseCode.LOST, reason: str = "aborted") -> None:
        """Ends the connection at once; queued data is dropped. The code is told to this side only."""
        if self._lost:
            return
        if code != CloseCode.LOST:
            self.check_end(code, reason)
        self._leaving = self._hold = True
        if self._closed is None:
            self._session.abort(code, reason, self._driver.now())
            self._on_events(self._session.events())
        self._driver.cut(self, None)

    async def wait_closed(self) -> None:
        """Returns when the connection is gone and its socket closed."""
        if self._lost:
            return
        if self._gone is None:
            self._gone = self.loop.create_future()
        await asyncio.shield(self._gone)

    def _end(self, code: int, reason: str) -> None:
        """Closes at once, telling the peer why."""
        self._leaving = self._hold = True
        if self._closed is None:
            self._session.abort(code, reason, self._driver.now())
            self._on_events(self._session.events())
            self._driver.wake()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            await self.close()
        else:
            await self.close(CloseCode.INTERNAL_ERROR, type(error).__name__, grace=1.0)

    # Looking

    def statistics(self) -> Statistics:
        """A snapshot; see `Statistics`."""
        inboxes = [self._inbox, *(lane.inbox for lane in self._lanes.values())]
        unread = sum([batch.size for batch, _ in self._held]) + sum([inbox.size for inbox in inboxes])
        dropped = sum([inbox.dropped for inbox in inboxes])
        return Statistics.of(self._session, self._driver.unsent_bytes, unread, dropped, self._rtt)

    def __repr__(self) -> str:
        state = "closed" if self._lost else "closing" if self.is_closed else "open" if self.made else "opening"
        return f"<Connection {self.url} {state} remote={self.remote_address!r}>"
