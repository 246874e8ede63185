"""What a user holds: messages in and out of one session, as coroutines or callbacks.

It joins a session (bytes, no codec), a codec and a driver; it owns inboxes and waiters and no protocol logic.
It must never hold more than its marks allow, and never call the user back after `connection_lost`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from transport import limits, lists
from transport.delivery import Delivery, Traits
from transport.drive.base import Driver
from transport.drive.inbox import Inbox
from transport.drive.outbound import Outbound
from transport.drive.records import Received, Settings, Statistics
from transport.errors import (
    CloseCode,
    CodecError,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    UnsupportedOperation,
    WouldBlock,
)
from transport.machine import Closed, Established, InputEnded
from transport.session import Batch, MessageSession

if TYPE_CHECKING:
    from transport.drive.lanes import Channel

CLOSING = 2  # SessionState.CLOSING as a plain number
DELIVERIES = tuple(Delivery)


class Connection(Outbound):
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
        settings = settings or Settings()
        Outbound.__init__(self, session, driver, codec, traits, url, settings)
        self.local_address, self.remote_address = addresses
        self.close_code: int | None = None
        self.close_reason = ""
        self._decode = codec.decode
        self._inbox_high = settings.inbox
        self._auto_pause = settings.auto_pause
        self._protocol = protocol
        self._on_message = None if protocol is None else protocol.message_received
        self.made = False
        self._input_ended = False
        self._reading_paused = False  # by hand
        self._auto_held = False
        self._hold = False  # no delivery: paused by hand, by auto_pause, or over
        self._leaving = False  # this side has ended it, and wants to hear no more
        self._pipe_paused = False
        self._held: deque[tuple[Batch, int]] = deque()
        self._held_loose = 0  # what unreliable messages in it cost
        self._inbox = Inbox(limits.UDP_INBOX_BYTES)
        self._lanes: dict[int, Channel] = {}
        self._opened: asyncio.Future[None] | None = None
        self._gone: asyncio.Future[None] | None = None
        self.on_open: Any = None  # set by the server: called once, when the peer has answered
        self.on_lost: Any = None  # likewise: called once, at the very end

    def writing_paused(self) -> None:
        """From the sending half: it is above high water."""
        if self._protocol is not None:
            self.hold_answers()
            self._call(self._protocol.pause_writing)

    def hold_answers(self) -> None:
        """From the sending half: delivery waits for room if its answers are what fills the buffer."""
        if self._auto_pause and not self._auto_held and self.answers_pile_up():
            self._auto_held = True
            self._hold_delivery()

    def writing_resumed(self) -> None:
        """From the sending half: it is below low water again."""
        if self._protocol is not None:
            self._auto_held = False
            self._call(self._protocol.resume_writing)
            if not self._writing_paused and not self._reading_paused:
                self._release_delivery()

    # Receiving

    def deliver(self) -> None:
        """From the driver: the session has taken input."""
        session = self._session
        events = session.events()
        if events and not self.made:
            for event in events:
                if isinstance(event, Established):
                    self._established()
        if session.batches and (session.uses_credit or not self._hold):
            self._take(session)
        if events:
            self._on_events(events)
        self._inbox.wake_if_ready()
        if self._lanes:
            for lane in list(self._lanes.values()):
                lane.inbox.wake_if_ready()

    def _take(self, session: MessageSession) -> None:
        if len(session.batches) == 1 and self._protocol is not None and not self._hold and not self._held:
            self._deliver_batch(lists.pop_last(session.batches), 0)
            return
        for batch in session.take():
            if self._protocol is not None:
                if self._hold or self._held:
                    self._hold_back(batch)
                else:
                    self._deliver_batch(batch, 0)
            elif self._lanes and batch.channel in self._lanes:
                self._lanes[batch.channel].inbox.push(batch)
            else:
                self._inbox.push(batch)
        if not session.uses_credit and self._protocol is None and self._unread() > self._inbox_high:
            self._pause_pipe()
            self._hold = True

    def _unread(self) -> int:
        return self._inbox.size + sum([lane.inbox.size for lane in self._lanes.values()])

    def _hold_back(self, batch: Batch) -> None:
        """Keeps a batch until delivery goes on; above their bound the oldest unreliable ones go, as in an inbox."""
        self._held.append((batch, 0))
        if batch.delivery < 2:
            return
        self._held_loose += batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
        if self._held_loose <= limits.UDP_INBOX_BYTES:
            return
        kept: deque[tuple[Batch, int]] = deque()
        last = self._held.pop()
        for old, index in self._held:
            if old.delivery >= 2 and self._held_loose > limits.UDP_INBOX_BYTES * 7 // 8:
                self._held_loose -= old.size + limits.MESSAGE_COST_BYTES * len(old.payloads)
                self._inbox.dropped += len(old.payloads) - index
            else:
                kept.append((old, index))
        kept.append(last)
        self._held = kept

    def _deliver_next(self) -> None:
        """Gives the batch that was held back longest to the protocol."""
        batch, index = self._held.popleft()
        if batch.delivery >= 2:
            self._held_loose -= batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
        self._deliver_batch(batch, index)

    def _deliver_batch(self, batch: Batch, start: int) -> None:
        """Gives payloads from `start` on to the protocol, until it pauses; what is left is held."""
        payloads = batch.payloads
        channel = batch.channel
        on_message: Any = self._on_message
        count = len(payloads)
        index = start
        size = 0
        message: Any = None
        decoding = False
        self._delivering = True
        while index < count:
            try:
                while index < count:
                    payload = payloads[index]
                    index += 1
                    size += len(payload)
                    if self._raw:
                        on_message(payload, channel)
                    else:
                        decoding = True
                        message = self._decode(payload)
                        decoding = False
                        on_message(message, channel)
                    if self._hold:
                        break
                break
            except Exception as error:
                if decoding and isinstance(error, CodecError):
                    self._end(CloseCode.INVALID_BODY, f"undecodable body: {error}")
                    return
                if not self._harmless(error):
                    self._application_failed(error)
                    return
                if self._hold:
                    break
        self._delivering = False
        if index < count and self._closed is None and not self._leaving:
            self._held.appendleft((batch, index))
            if batch.delivery >= 2:
                self._held_loose += batch.size + limits.MESSAGE_COST_BYTES * count
        if batch.delivery < 2:
            self._session.consumed(channel, size, index - start)
        if index == count == 1:
            self._session.reuse(batch)

    def _hold_delivery(self) -> None:
        self._hold = True
        if not self._session.uses_credit:
            self._pause_pipe()

    def _pause_pipe(self) -> None:
        if not self._pipe_paused:
            self._pipe_paused = True
            self._driver.pause_reading(self)

    def _release_delivery(self) -> None:
        """Delivery may go on: in a callback of its own, so that it never nests."""
        if self._hold and self._closed is None:
            self._hold = False
            self.loop.call_soon(self._deliver_held)

    def _deliver_held(self) -> None:
        while self._held and not self._hold and not self._lost:
            self._deliver_next()
        if self._hold or self._lost:
            return
        if self._session.batches:
            self.deliver()  # which wakes the reader, too: nothing else may come that would
        if self._hold:
            return
        if self._input_ended and self._protocol is not None:
            self.close_soon()
        elif self._pipe_paused:
            self._pipe_paused = False
            self._driver.resume_reading(self)
        if self._session.wants_output():
            self._driver.wake()

    def pause_reading(self) -> None:
        """Stops `message_received` until `resume_reading`. The peer is slowed down by flow control."""
        self._need_protocol("pause_reading")
        self._reading_paused = True
        self._hold_delivery()

    def resume_reading(self) -> None:
        """Lets messages come again."""
        self._need_protocol("resume_reading")
        self._reading_paused = False
        if not self._auto_held:
            self._release_delivery()

    def _need_protocol(self, what: str) -> None:
        if self._protocol is None:
            raise UnsupportedOperation(f"{what} belongs to the callback style; with coroutines, don't call recv")

    async def recv(self) -> Any:
        """The next message, of any channel that has no `channel()` object.

        Raises:
            ConnectionClosed: after a clean close, when no message is left; ConnectionLost after any other end.
            CodecError: the body could not be decoded; the connection is closed with `INVALID_BODY`.
            LocalProtocolError: another task is waiting in `recv` already.
        """
        inbox = self._inbox
        payload = inbox.pop()
        while payload is None:
            await self.wait_for(inbox)
            payload = inbox.pop()
        return self.taken(payload, inbox.channel, inbox.delivery)

    async def receive(self) -> Received:
        """Like `recv`, with the channel and delivery it came by."""
        return await self.receive_from(self._inbox)

    async def receive_from(self, inbox: Inbox) -> Received:
        """The next message of `inbox`."""
        payload = inbox.pop()
        while payload is None:
            await self.wait_for(inbox)
            payload = inbox.pop()
        channel, delivery = inbox.channel, inbox.delivery
        return Received(self.taken(payload, channel, delivery), channel, DELIVERIES[delivery])

    def wait_for(self, inbox: Inbox) -> Any:
        """Something to await for the next message of an empty inbox; raises when none can come."""
        if self._protocol is not None:
            raise UnsupportedOperation("messages of this connection go to its protocol")
        if inbox.waiter is not None and not inbox.waiter.done():
            raise LocalProtocolError("another task is waiting for a message here already")
        error = self.ended()
        if error is not None:
            raise error
        return inbox.arm(self.loop)

    def ended(self) -> ConnectionClosed | None:
        """Why nothing more will come, or None."""
        if self._closed is None and not self._lost and self._session.state < CLOSING:
            if self._input_ended:
                return ConnectionClosed(CloseCode.NORMAL, "the peer has ended its stream", True)
            return None
        return self.end_error()

    def recv_nowait(self) -> Any:
        """The next message that is already here; raises WouldBlock when there is none."""
        return self._pop_nowait(self._inbox)

    def _pop_nowait(self, inbox: Inbox) -> Any:
        if self._protocol is not None:
            raise UnsupportedOperation("messages of this connection go to its protocol")
        if inbox.waiter is not None and not inbox.waiter.done():
            raise LocalProtocolError("another task is waiting for a message here already")
        payload = inbox.pop()
        if payload is None:
            error = self.ended()
            if error is not None:
                raise error
            raise WouldBlock("no message is waiting")
        return self.taken(payload, inbox.channel, inbox.delivery)

    def taken(self, payload: bytes, channel: int, delivery: int) -> Any:
        """A payload leaves an inbox: return credit, let reading go on, decode."""
        session = self._session
        if session.uses_credit:
            if delivery < 2:
                session.consumed(channel, len(payload), 1)
                if session.credit_waiting() and not self._driver.busy:
                    self._driver.wake()
        elif self._hold and self._unread() <= self._inbox_high // 4 and self._closed is None:
            self._hold = False
            self.loop.call_soon(self._deliver_held)
        if self._raw:
            return payload
        try:
            return self._decode(payload)
        except CodecError as error:
            self._end(CloseCode.INVALID_BODY, f"undecodable body: {error}")
            raise

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        inbox = self._inbox
        payload = inbox.pop()
        try:
            while payload is None:
                await self.wait_for(inbox)
                payload = inbox.pop()
        except ConnectionLost:
            raise
        except ConnectionClosed:
            raise StopAsyncIteration from None
        return self.taken(payload, inbox.channel, inbox.delivery)

    def channel(self, number: int, *, delivery: Delivery | None = None, priority: int | None = None) -> Channel:
        """The channel `number` as an object with an inbox of its own; messages waiting for it move there."""
        from transport.drive.lanes import Channel

        if not 0 <= number < self._session.channels_max():
            raise UnsupportedOperation(
                f"channel {number}: this connection has channels 0 to {self._session.channels_max() - 1}"
            )
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Channel(self, number, delivery, priority)
            for batch in self._inbox.split(number):
                lane.inbox.push(batch)
        elif delivery is not None or priority is not None:
            lane.delivery = lane.delivery if delivery is None else delivery
            lane.priority = lane.priority if priority is None else priority
        return lane

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
        if self._protocol is not None and not self._held and not self._session.batches:
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
        if self._closed is None and not self._lost:
            self._session.close(code, reason, self._driver.now())
            self._leaving = True
            self._on_events(self._session.events())  # a session whose peer has ended already is over at once
            self._hold = True
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
        self._leaving = True
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

    def _application_failed(self, error: Exception) -> None:
        self.loop.call_exception_handler(
            {"message": "a callback of a protocol failed, its connection is closed", "exception": error}
        )
        self._end(CloseCode.INTERNAL_ERROR, "internal error")

    def _end(self, code: int, reason: str) -> None:
        """Closes at once, telling the peer why."""
        self._leaving = True
        if self._closed is None:
            self._session.abort(code, reason, self._driver.now())
            self._on_events(self._session.events())
            self._driver.wake()

    def _call(self, callback: Any, *arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception as error:
            if not self._harmless(error):
                self._application_failed(error)

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
