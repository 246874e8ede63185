"""The receiving half of a connection: messages from a session to a protocol's callback, or to whoever awaits them.

It must never hold more than its marks allow, and deliver nothing while delivery is paused.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast

from transport import limits
from transport.delivery import Delivery, Traits
from transport.drive.base import Driver
from transport.drive.inbox import Inbox
from transport.drive.outbound import Outbound
from transport.drive.records import Received, Settings
from transport.errors import (
    CloseCode,
    CodecError,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    UnsupportedOperation,
    WouldBlock,
)
from transport.machine import Established
from transport.session import Batch, MessageSession

if TYPE_CHECKING:
    from transport.drive.connection import Connection
    from transport.drive.lanes import Channel

CLOSING = 2  # SessionState.CLOSING as a plain number
DELIVERIES = tuple(Delivery)
FAILURES = (Exception, asyncio.CancelledError)  # of a callback; the second from a cancelled future that it asked


class Inbound(Outbound):
    """What comes in, and the marks it keeps to."""

    def __init__(
        self, session: MessageSession, driver: Driver, codec: Any, traits: Traits, url: Any, settings: Settings,
        protocol: Any,
    ) -> None:  # fmt: skip
        Outbound.__init__(self, session, driver, codec, traits, url, settings)
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
        self._may_hold = False  # false only while that is empty
        self._held_loose = 0  # what unreliable messages in it cost
        self._held_bytes = 0  # what all of them do
        self._reads_on = traits.ping and not session.uses_credit  # while delivery is held: pings come by the same pipe
        self._inbox = Inbox(limits.UDP_INBOX_BYTES)
        self._lanes: dict[int, Channel] = {}

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
        if session.lone is not None and self._protocol is not None and not self._hold and not self._may_hold:
            self._deliver_lone(session)
        elif (session.lone is not None or session.batches) and (
            session.uses_credit or self._reads_on or not self._hold
        ):
            self._take(session)
        if events:
            self._on_events(events)
        if self._protocol is None:
            self._inbox.wake_if_ready()
            if self._lanes:
                for lane in list(self._lanes.values()):
                    lane.inbox.wake_if_ready()

    def _take(self, session: MessageSession) -> None:
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
        if session.uses_credit:
            return
        if self._protocol is not None:
            if self._held_bytes > self._inbox_high:
                self._pause_pipe()
        elif self._unread() > self._inbox_high:
            self._pause_pipe()
            self._hold = True

    def _unread(self) -> int:
        return self._inbox.size + sum([lane.inbox.size for lane in self._lanes.values()])

    def _hold_back(self, batch: Batch) -> None:
        """Keeps a batch until delivery goes on; above their bound the oldest unreliable ones go, as in an inbox."""
        self._held.append((batch, 0))
        self._held_bytes += batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
        self._may_hold = True
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
                self._held_bytes -= old.size + limits.MESSAGE_COST_BYTES * len(old.payloads)
                self._inbox.dropped += len(old.payloads) - index
            else:
                kept.append((old, index))
        kept.append(last)
        self._held = kept

    def _deliver_next(self) -> None:
        """Gives the batch that was held back longest to the protocol."""
        batch, index = self._held.popleft()
        self._held_bytes -= batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
        if batch.delivery >= 2:
            self._held_loose -= batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
        self._deliver_batch(batch, index)

    def _deliver_lone(self, session: MessageSession) -> None:
        """Gives the only message that has come to the protocol: what `_deliver_batch` does, in fewer steps."""
        payload = session.lone
        assert payload is not None
        session.lone = None
        channel = session.lone_channel
        delivery = session.lone_delivery
        message: Any = payload
        on_message: Any = self._on_message
        decoding = not self._raw
        self._delivering = True
        try:
            if decoding:
                message = self._decode(payload)
                decoding = False
            on_message(message, channel)
        except FAILURES as error:
            if not self._survives(error, decoding):
                return
        self._delivering = False
        if delivery < 2:
            session.consumed(channel, len(payload), 1)

    def _survives(self, error: BaseException, decoding: bool) -> bool:
        """Delivery of a message has failed: ends the connection, unless that is why."""
        if decoding and isinstance(error, CodecError):
            self._end(CloseCode.INVALID_BODY, f"undecodable body: {error}")
            return False
        if not self._harmless(error):
            self._application_failed(error)
            return False
        return True

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
            except FAILURES as error:
                if not self._survives(error, decoding):
                    return
                if self._hold:
                    break
        self._delivering = False
        if index < count and self._closed is None and not self._leaving:
            self._held.appendleft((batch, index))
            self._held_bytes += batch.size + limits.MESSAGE_COST_BYTES * count
            self._may_hold = True
            if batch.delivery >= 2:
                self._held_loose += batch.size + limits.MESSAGE_COST_BYTES * count
        if batch.delivery < 2:
            self._session.consumed(channel, size, index - start)

    def _hold_delivery(self) -> None:
        self._hold = True
        if not self._session.uses_credit and not self._reads_on:
            self._pause_pipe()

    def _pause_pipe(self) -> None:
        if not self._pipe_paused:
            self._pipe_paused = True
            self._driver.pause_reading(self)

    def _release_delivery(self) -> None:
        """Delivery may go on: in a callback of its own, so that it never nests."""
        if self._hold and self._closed is None and not self._leaving:
            self._hold = False
            self.loop.call_soon(self._deliver_held)

    def _deliver_held(self) -> None:
        while self._held and not self._hold and not self._lost:
            self._deliver_next()
        if not self._hold and not self._lost:
            self._may_hold = False
            if self._session.has_received():
                self.deliver()  # which wakes the reader, too: nothing else may come that would
        if not self._hold and not self._lost:
            if self._input_ended and self._protocol is not None:
                self.close_soon()
            elif self._pipe_paused:
                self._pipe_paused = False
                self._driver.resume_reading(self)
        if self._session.wants_output():  # credit of what was delivered, if only for one message
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

        number = self._number(number)
        if delivery is not None:
            self._promise(delivery)
            self.traits.check(Delivery(delivery), self.url.scheme)
        if priority is not None:
            self._rank(priority)
        lane = self._lanes.get(number)
        if lane is None:
            lane = self._lanes[number] = Channel(cast("Connection", self), number, delivery, priority)
            for batch in self._inbox.split(number):
                lane.inbox.push(batch)
        elif delivery is not None or priority is not None:
            lane.delivery = lane.delivery if delivery is None else delivery
            lane.priority = lane.priority if priority is None else priority
        return lane

    # The application

    def _call(self, callback: Any, *arguments: Any) -> None:
        try:
            callback(*arguments)
        except FAILURES as error:
            if not self._harmless(error):
                self._application_failed(error)

    def _application_failed(self, error: BaseException) -> None:
        self.loop.call_exception_handler(
            {"message": "a callback of a protocol failed, its connection is closed", "exception": error}
        )
        self._end(CloseCode.INTERNAL_ERROR, "internal error")

    # From the other half

    def _established(self) -> None:
        """The peer has answered."""
        raise NotImplementedError

    def _on_events(self, events: list[Any]) -> None:
        """What happened to the session."""
        raise NotImplementedError

    def close_soon(self, code: int = 0, reason: str = "") -> None:
        """Says goodbye without waiting."""
        raise NotImplementedError

    def _end(self, code: int, reason: str) -> None:
        """Closes at once, telling the peer why."""
        raise NotImplementedError
