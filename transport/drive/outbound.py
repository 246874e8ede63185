"""The sending half of a connection: what may be queued, who has to wait, when it has left.

It must never hold more than the hard limit, and never queue a part of a message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

from transport import limits
from transport.delivery import Delivery, Traits
from transport.drive.base import Driver
from transport.drive.inbox import make_waiter
from transport.drive.records import Settings
from transport.drive.waiting import Send, Source
from transport.errors import (
    CloseCode,
    CodecError,
    ConnectionClosed,
    LocalProtocolError,
    MessageTooLarge,
    UnsupportedOperation,
    WouldBlock,
)
from transport.machine import Closed
from transport.session import MessageSession

if TYPE_CHECKING:
    from transport.drive.connection import Connection

CLOSING = 2  # SessionState.CLOSING as a plain number
SENT_CODES = frozenset(CloseCode) - {CloseCode.LOST}  # that one says that nobody said goodbye


class Outbound(Source):
    """Commands that send, and the marks they keep to."""

    def __init__(
        self, session: MessageSession, driver: Driver, codec: Any, traits: Traits, url: Any, settings: Settings
    ) -> None:
        self.url = url
        self.traits = traits
        self.codec = codec
        self.loop = driver.loop
        self._debug = driver.loop.get_debug()  # then by ordinary futures
        self._session = session
        self._driver = driver
        self._encode = codec.encode
        self._raw = getattr(codec, "name", "") == "raw"
        self._default = int(traits.default_delivery)
        self._supported = sum([1 << int(delivery) for delivery in Delivery if traits.supports(delivery)])
        self._high = settings.high_water
        self._low = min(settings.low_water, settings.high_water)
        self._blocked_high = min(settings.high_water, limits.BLOCKED_HIGH_BYTES)
        self._hard = settings.high_water * limits.HARD_LIMIT_FACTOR
        self._closed: Closed | None = None
        self._lost = False
        self._writing_paused = False
        self._delivering = False  # a callback of the application runs
        self._sent_since = 0  # bytes since the buffer last had room, and those of them sent by such a callback
        self._answered_since = 0
        self._writers: dict[Any, int] = {}  # those that wait, in the order they came, with their channels
        self._flushers: deque[tuple[int, Any]] = deque()
        self._mixed = False  # what has left need not be what came first
        self._fences: list[tuple[Any, Any]] = []  # flushes of a session that knows by itself, with their waiters
        self._pings: dict[int, tuple[asyncio.Future[float], int]] = {}
        self._ping_token = 0
        self._rtt: float | None = None
        self._streams: Any = None
        session.is_awaited = False

    def send_nowait(
        self,
        message: Any,
        *,
        delivery: Delivery | None = None,
        channel: int = 0,
        expires: float | None = None,
        priority: int | None = None,
        redundancy: int | None = None,
    ) -> None:
        """Queues one message or raises.

        Args:
            message: whatever the codec encodes.
            delivery: the promise; None for the strongest that this transport keeps.
            channel: 0 to `channels - 1`.
            expires: seconds after which it is dropped if it has not left.
            priority: -8 to 7, larger first; ordered messages of one channel keep their order.
            redundancy: extra copies, where the transport sends any; no effect elsewhere.

        Raises:
            WouldBlock: the outbound buffer is at its hard limit (twice high water).
            MessageTooLarge, CodecError, UnsupportedDelivery, UnsupportedOperation: as they say.
            ConnectionClosed: it is closing or closed.
        """
        self.queue(message, delivery, channel, expires, priority, redundancy)

    def send(
        self,
        message: Any,
        *,
        delivery: Delivery | None = None,
        channel: int = 0,
        expires: float | None = None,
        priority: int | None = None,
        redundancy: int | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Queues one message; waits only while the outbound buffer is above its high-water mark. Await it.

        Arguments and errors as for `send_nowait`, except that it waits where that raises WouldBlock. Cancelled, it has
        queued the message or not, never a part.
        """
        if type(channel) is not int:
            channel = self._number(channel)
        if self._debug:
            return self._send_slowly(message, delivery, channel, expires, priority, redundancy)
        try:
            return self._sending(message, delivery, channel, expires, priority, redundancy)
        except OverflowError:
            raise self._no_channel(channel) from None

    def _no_channel(self, channel: int) -> UnsupportedOperation:
        return UnsupportedOperation(
            f"channel {channel}: this connection has channels 0 to {self._session.channels_max() - 1}"
        )

    def _number(self, channel: Any) -> int:
        """A channel as a plain number; looked at as an object, for it may be of any kind and too large for C."""
        if not isinstance(channel, int):
            raise LocalProtocolError(f"a channel is a number, not {channel!r}")
        if not 0 <= channel < self._session.channels_max():
            raise self._no_channel(channel)
        return int(channel)

    def _sending(self, message: Any, delivery: Any, channel: int, expires: Any, priority: Any, redundancy: Any) -> Send:
        sending = Send.__new__(Send)
        sending.fill(self, self.loop, message, delivery, channel, expires, priority, redundancy)
        return sending

    async def _send_slowly(
        self, message: Any, delivery: Any, channel: int, expires: Any, priority: Any, redundancy: Any
    ) -> None:
        channel = self._number(channel)
        while self.must_wait(channel):
            await self.wait_writable(channel)
        self.queue(message, delivery, channel, expires, priority, redundancy)

    def send_threadsafe(self, message: Any, **options: Any) -> Any:
        """`send` from another thread; returns a `concurrent.futures.Future`."""
        return asyncio.run_coroutine_threadsafe(self.send(message, **options), self.loop)

    def queue(
        self,
        message: Any,
        delivery: Any,
        channel: Any,
        expires: Any,
        priority: Any,
        redundancy: Any,
    ) -> None:
        session = self._session
        if session.state >= CLOSING:
            raise self.end_error()
        encoded = message if self._raw and type(message) is bytes else self._encode(message)
        if type(encoded) is not bytes:
            encoded = self._as_bytes(encoded)
        payload: bytes = encoded
        size = len(payload)
        if size > session.send_max:
            raise MessageTooLarge(size, session.send_max)
        promise = self._default
        if delivery is not None:
            promise = self._promise(delivery)
            if not self._supported >> promise & 1:
                self.traits.check(Delivery(delivery), self.url.scheme)
        number = 0
        if channel or type(channel) is not int:
            number = self._number(channel)
        waiting = self._waiting()
        if promise < 2:  # an unreliable message never waits, its own bound drops the oldest
            if waiting >= self._hard:
                raise WouldBlock(f"{waiting} bytes are queued")
            if session.blocked_bytes and session.channel_queued(number) >= self._hard:
                raise WouldBlock(f"channel {number} has {session.channel_queued(number)} bytes queued")
        expires_at = 0
        rank = 0
        if expires is not None:
            expires_at = self._expiry(expires)
        if priority is not None:
            rank = self._rank(priority)
        is_empty = not waiting and not session.blocked_bytes
        if redundancy is None:
            session.send(payload, number, promise, rank, expires_at, 0)
        else:
            session.send_copies(payload, number, promise, rank, expires_at, self._copies(redundancy), 0)
        if is_empty:
            self._sent_since = 0
            self._answered_since = 0
        self._sent_since += size
        if self._delivering:
            self._answered_since += size
            if self._writing_paused:
                self.hold_answers()
        if not self._writing_paused and self._above_high():
            self._pause_writing()
        if not self._driver.busy:
            self._driver.wake()

    def _as_bytes(self, encoded: Any) -> bytes:
        """What a codec gave, if it is some other kind of bytes."""
        if isinstance(encoded, (bytes, bytearray, memoryview)):
            return bytes(encoded)
        name = getattr(self.codec, "name", type(self.codec).__name__)
        raise CodecError(f"codec {name!r} encodes to {type(encoded).__name__}, not to bytes")

    def _promise(self, delivery: Any) -> int:
        if not isinstance(delivery, int):
            raise LocalProtocolError(f"delivery is a transport.Delivery, not {delivery!r}")
        return int(delivery if 0 <= delivery <= 3 else Delivery(delivery))  # which says that there is none

    def _expiry(self, expires: Any) -> int:
        if not isinstance(expires, (int, float)) or not expires > 0:
            raise LocalProtocolError(f"expires must be more than 0 seconds, not {expires!r}")
        return self._driver.now() + int(min(expires, limits.TIME_S_MAX) * limits.SECOND_NS)

    def _copies(self, redundancy: Any) -> int:
        if not isinstance(redundancy, int) or not 0 <= redundancy <= limits.REDUNDANCY_MAX:
            raise LocalProtocolError(f"redundancy {redundancy!r} is not a number from 0 to {limits.REDUNDANCY_MAX}")
        return redundancy

    def _rank(self, priority: Any) -> int:
        if not isinstance(priority, int) or not limits.PRIORITY_MIN <= priority <= limits.PRIORITY_MAX:
            raise LocalProtocolError(
                f"priority {priority!r} is not within {limits.PRIORITY_MIN} to {limits.PRIORITY_MAX}"
            )
        return int(priority)

    def _above_high(self) -> bool:
        return self._waiting() > self._high or self._session.blocked_bytes > self._blocked_high

    def _waiting(self) -> int:
        """Bytes in the outbound buffer: not what is on its way to the peer, or the marks would bound how much that can
        be, and with it the rate over long paths.
        """
        session = self._session
        return session.queued_bytes - session.flight_bytes + self._driver.unsent_bytes

    def must_wait(self, channel: int) -> bool:
        """Whether `send` on this channel has to wait: its own backlog counts, not that of other stuck channels."""
        session = self._session
        if session.state >= CLOSING:
            return False
        if self._waiting() > self._high:
            return True
        if not session.blocked_bytes or not 0 <= channel < session.channels_max():
            return False
        return session.channel_queued(channel) > self._blocked_high

    def add_writer(self, waiter: Any, channel: int) -> None:
        """Has `waiter` woken when the outbound buffer is below its low-water mark and `channel` has room."""
        self._session.is_awaited = True
        self._writers[waiter] = channel

    def drop_writer(self, waiter: Any) -> None:
        """Forgets a waiter whose task has given up."""
        self._writers.pop(waiter, None)

    async def wait_writable(self, channel: int) -> None:
        """Waits for room, once; -1 for what belongs to no channel."""
        waiter = make_waiter(self.loop)
        self.add_writer(waiter, channel)
        try:
            await waiter
        except BaseException:
            self.drop_writer(waiter)
            raise

    def _pause_writing(self) -> None:
        self._writing_paused = True
        self._session.is_awaited = True
        self.writing_paused()

    def _resume_writing(self) -> None:
        self._writing_paused = False
        self._sent_since = 0
        self._answered_since = 0
        self.writing_resumed()

    def answers_pile_up(self) -> bool:
        """Whether what this side answers to what comes in is why its outbound buffer is full.

        Only then may delivery wait for room: an end that sends of its own accord must go on taking what comes, or two
        such ends wait for each other for ever.
        """
        return self._answered_since >= min(self._sent_since // 2, self._high // 4)

    def hold_answers(self) -> None:
        """Delivery waits if answers pile up."""

    def check_end(self, code: Any, reason: Any, grace: Any = 0.0) -> None:
        """Arguments of `close` and `abort`, before anything happens."""
        if not isinstance(code, int) or (not 0 <= code <= 999 and code not in SENT_CODES):
            raise LocalProtocolError(f"close code {code!r} is neither 0, nor 1-999, nor a CloseCode that can be sent")
        if not isinstance(reason, str):
            raise LocalProtocolError(f"the reason of a close is text, not {reason!r}")
        if not isinstance(grace, (int, float)) or not grace >= 0:
            raise LocalProtocolError(f"grace is a number of seconds, not {grace!r}")

    def writing_paused(self) -> None:
        """The outbound buffer is above its high-water mark."""

    def writing_resumed(self) -> None:
        """It is below its low-water mark again."""

    def end_error(self) -> ConnectionClosed:
        """The exception that says how the connection ended or is ending."""
        raise NotImplementedError

    def flushed(self) -> None:
        """From the driver: the outbound buffer may have become smaller."""
        session = self._session
        outbound = self._waiting()
        if self._writing_paused and outbound <= self._low and session.blocked_bytes <= self._blocked_high // 4:
            self._resume_writing()
        if self._writers and outbound <= self._low:
            self._wake_writers()
        while self._flushers and self._has_left(self._flushers[0][0]):
            self._flushers.popleft()[1].wake()
        if self._fences:
            self._wake_fences()
        if not (self._writing_paused or self._writers or self._flushers or self._fences):
            session.is_awaited = False
        if self._driver.busy or self._driver.unsent_bytes:  # the second: a blocked pipe wakes us by itself
            return
        if session.wants_output():
            self._driver.wake()

    def _wake_writers(self) -> None:
        for waiter, channel in list(self._writers.items()):
            # Asked each time: one that was woken straight may have used the room up, or made another give up.
            if waiter in self._writers and not self.must_wait(channel):
                del self._writers[waiter]
                waiter.wake()

    def _has_left(self, mark: int) -> bool:
        """Whether the first `mark` bytes have left, or were dropped as they may be.

        Bytes are counted, not messages: where one may overtake another, only an empty queue tells.
        """
        session = self._session
        waiting = session.blocked_bytes + session.queued_bytes + self._driver.unsent_bytes
        if not waiting:
            self._mixed = False
        elif session.overtaking:
            self._mixed = True
        return not self._mixed and session.sent_total - waiting >= mark

    async def flush(self) -> None:
        """Returns when everything sent so far has left: to the kernel on a byte pipe, acknowledged on `rudp`.

        With priorities, or channels that wait for the peer, it returns when all that was sent meanwhile has left, too.

        Raises:
            ConnectionClosed: the connection ended before.
        """
        session = self._session
        fence = session.fence()
        mark = session.sent_total
        while fence.pending if fence is not None else not self._has_left(mark):
            if self._lost or self._closed is not None:
                raise self.end_error()
            waiter = make_waiter(self.loop)
            entry = (mark, waiter) if fence is None else (fence, waiter)
            line: Any = self._flushers if fence is None else self._fences
            line.append(entry)
            session.is_awaited = True
            self._driver.wake()
            try:
                await waiter
            except BaseException:
                if entry in line:
                    line.remove(entry)
                raise
        if self._closed is not None and (session.cut_bytes or not self._closed.clean):
            raise self.end_error()

    def _wake_fences(self) -> None:
        """Wakes flushes for which all is settled."""
        kept: list[tuple[Any, Any]] = []
        for fence, waiter in self._fences:
            if fence.pending:
                kept.append((fence, waiter))
            else:
                waiter.wake()
        self._fences[:] = kept

    async def ping(self) -> float:
        """Round-trip time to the peer's session in seconds.

        Raises:
            UnsupportedOperation: this transport or framing has no ping.
            ConnectionClosed: the connection ended before the answer came.
        """
        if not self.traits.ping:
            raise UnsupportedOperation(f"{self.url.scheme}:// with this framing has no ping")
        if len(self._pings) >= limits.PINGS_OUTSTANDING_MAX:
            raise WouldBlock(f"{limits.PINGS_OUTSTANDING_MAX} pings are unanswered")
        if self._session.state >= CLOSING:
            raise self.end_error()
        self._ping_token += 1
        token = self._ping_token
        future: asyncio.Future[float] = self.loop.create_future()
        now = self._driver.now()
        self._session.ping(token, now)
        self._pings[token] = (future, now)
        self._driver.wake()
        try:
            return await future
        finally:
            self._pings.pop(token, None)

    def _answered(self, token: int) -> None:
        """The peer has answered a ping."""
        future, sent_at = self._pings.pop(token, (None, 0))
        if future is not None and not future.done():
            self._rtt = (self._driver.now() - sent_at) / limits.SECOND_NS
            future.set_result(self._rtt)

    def _stream_table(self) -> Any:
        if not self.traits.streams:
            raise UnsupportedOperation(f"{self.url.scheme}:// with this framing has no streams")
        if self._streams is None:
            from transport.drive.lanes import Streams

            self._streams = Streams(cast("Connection", self), self._session, self._driver)
        return self._streams

    async def open_stream(self, channel: int = 0, *, total: int | None = None) -> Any:
        """Starts sending something larger than a message; returns an `OutgoingStream`.

        Args:
            channel: told to the peer.
            total: announced size in bytes, so that the peer can show progress.
        """
        return await self._stream_table().open(channel, total)

    @property
    def is_closed(self) -> bool:
        """Whether it has ended or is ending; sending raises from then on."""
        return self._closed is not None or self._lost or self._session.state >= CLOSING

    @property
    def exception(self) -> ConnectionClosed | None:
        """How it ended, None while it is open."""
        return self.end_error() if self._closed is not None else None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio calls "socket", "sockname", "peername", and on tls "ssl_object", "peercert", "cipher".

        On ws also "path", "query", "request", "subprotocol", "compression". Everywhere "max_message": bytes of the
        largest message that may be sent, as far as is known; a peer on ws does not say what it takes.
        """
        if name == "max_message":
            return self._session.send_max
        value = self._driver.info(self, name)
        if value is None:
            value = self._session.info(name)
        return default if value is None else value

    def _harmless(self, error: BaseException) -> bool:
        """Whether a callback failed only because its connection is over: an ordinary way for one to end."""
        return isinstance(error, ConnectionClosed) and self._session.state >= CLOSING
