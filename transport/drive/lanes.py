"""Channels and streams of a connection as objects of their own.

A `Channel` has its own inbox, so that one slow consumer holds nobody else up. A stream carries what is larger than a
message, in chunks, with credit of its own and progress to look at.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from transport import limits
from transport.codec.varint import VALUE_MAX
from transport.delivery import Delivery
from transport.drive.connection import Connection
from transport.drive.inbox import Inbox
from transport.drive.records import Received
from transport.errors import CloseCode, ConnectionClosed, ConnectionLost, LocalProtocolError, TransportError
from transport.stream.bodies import StreamBroken, StreamData, StreamEnded, StreamOpened, StreamTaken, StreamWritable


class Channel:
    """One lane of a connection. Made by `Connection.channel`.

    Attributes:
        number: 0 to 255.
        delivery, priority: what `send` uses unless told otherwise.
    """

    def __init__(self, conn: Connection, number: int, delivery: Delivery | None, priority: int | None) -> None:
        self.number = number
        self.delivery = delivery
        self.priority = priority
        self.inbox = Inbox(limits.UDP_INBOX_BYTES)
        self._conn = conn

    async def send(
        self,
        message: Any,
        *,
        delivery: Delivery | None = None,
        expires: float | None = None,
        priority: int | None = None,
        redundancy: int | None = None,
    ) -> None:
        """`Connection.send` on this channel."""
        await self._conn.send(
            message,
            delivery=self.delivery if delivery is None else delivery,
            channel=self.number,
            expires=expires,
            priority=self.priority if priority is None else priority,
            redundancy=redundancy,
        )

    def send_nowait(
        self,
        message: Any,
        *,
        delivery: Delivery | None = None,
        expires: float | None = None,
        priority: int | None = None,
        redundancy: int | None = None,
    ) -> None:
        """`Connection.send_nowait` on this channel."""
        self._conn.send_nowait(
            message,
            delivery=self.delivery if delivery is None else delivery,
            channel=self.number,
            expires=expires,
            priority=self.priority if priority is None else priority,
            redundancy=redundancy,
        )

    async def receive(self) -> Received:
        """The next message of this channel with its delivery; errors as for `Connection.recv`."""
        return await self._conn.receive_from(self.inbox)

    async def recv(self) -> Any:
        """The next message of this channel; errors as for `Connection.recv`."""
        return (await self._conn.receive_from(self.inbox)).message

    def recv_nowait(self) -> Any:
        """The next message that is already here; raises WouldBlock when there is none."""
        return self._conn._pop_nowait(self.inbox)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.recv()
        except ConnectionLost:
            raise
        except ConnectionClosed:
            raise StopAsyncIteration from None


class StreamError(TransportError):
    """A stream was broken off by the peer or with its connection; `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stream broken off with code {code}")
        self.code = code


def check_code(code: Any) -> None:
    """The argument of a stream's `abort`, before anything happens."""
    if not isinstance(code, int) or not 0 <= code <= VALUE_MAX:
        raise LocalProtocolError(f"the code of a stream is a number from 0 to 2**62 - 1, not {code!r}")


class OutgoingStream:
    """Something larger than a message on its way out. Use as an async context manager: it finishes the stream.

    Attributes:
        sent: bytes accepted so far.
        total: announced size, or None.
    """

    def __init__(self, streams: Streams, number: int, total: int | None) -> None:
        self.sent = 0
        self.total = total
        self._streams = streams
        self._number = number
        self._waiter: asyncio.Future[None] | None = None
        self._writing = False
        self._failed: int | None = None
        self._done = False

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Sends `data`; waits for the peer's credit and for the outbound buffer.

        Raises:
            StreamError: the peer broke the stream off. ConnectionClosed: the connection ended.
            LocalProtocolError: more than was announced, the stream is finished, another task is writing it, or `data`
                is no bytes.
        """
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise LocalProtocolError(f"a stream carries bytes, not {type(data).__name__}")
        if self._done:
            raise LocalProtocolError("this stream is finished")
        if self._writing:
            raise LocalProtocolError("another task is writing this stream already")
        self._writing = True
        try:
            await self._write(memoryview(bytes(data)))
        finally:
            self._writing = False

    async def _write(self, view: memoryview) -> None:
        while view:
            await self._streams.writable()
            self._check()
            size = self._streams.session.stream_write(self._number, bytes(view[: limits.STREAM_CHUNK_BYTES]))
            self.sent += size
            view = view[size:]
            self._streams.driver.wake()
            if view and not size:
                self._waiter = self._streams.conn.loop.create_future()
                await self._waiter

    async def finish(self) -> None:
        """Completes the stream; the peer sees its end."""
        if not self._done:
            self._check()
            self._streams.session.stream_finish(self._number)
            self._streams.outgoing.pop(self._number, None)
            self._done = True
            self._streams.driver.wake()

    def abort(self, code: int = 1) -> None:
        """Breaks the stream off; the peer's reader gets a StreamError with `code`."""
        check_code(code)
        if not self._done and self._failed is None:
            self._done = True
            self._streams.outgoing.pop(self._number, None)
            self._streams.session.stream_reset(self._number, code, False)
            self._streams.driver.wake()
            self._streams.place_free()

    def _check(self) -> None:
        if self._failed is not None:
            self._streams.raise_closed()
            raise StreamError(self._failed)

    def wake(self, failed: int | None = None) -> None:
        """Credit came, or the stream is broken."""
        if failed is not None:
            self._failed = failed
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __aenter__(self) -> OutgoingStream:
        return self

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                await self.finish()
        finally:
            self.abort(CloseCode.INTERNAL_ERROR)  # has no effect on one that is finished


class IncomingStream:
    """Something larger than a message on its way in. `async for chunk in stream` gives bytes in order.

    Attributes:
        number: counts the peer's streams from 0.
        channel: as the sender said.
        total: announced size in bytes, or None.
        received: bytes handed to the application so far.
    """

    def __init__(self, streams: Streams, event: StreamOpened) -> None:
        self.channel = event.channel
        self.total = None if event.total < 0 else event.total
        self.received = 0
        self._streams = streams
        self.number = event.stream
        self._chunks: deque[bytes | bytearray] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._failed: int | None = None
        self._ended = False
        self._end_seen = False

    async def read(self) -> bytes:
        """The next chunk, b"" at the end.

        Raises:
            StreamError: the sender broke it off. ConnectionClosed: the connection ended in the middle.
        """
        while not self._chunks:
            if self._ended:
                if not self._end_seen:
                    self._end_seen = True
                    self._consumed(0)  # of an empty stream no chunk has told the session so
                return b""
            if self._failed is not None:
                self._streams.raise_closed()
                raise StreamError(self._failed)
            if self._waiter is not None:
                raise LocalProtocolError("another task is reading this stream already")
            self._waiter = self._streams.conn.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = bytes(self._chunks.popleft())
        self.received += len(chunk)
        self._consumed(len(chunk))
        return chunk

    def _consumed(self, size: int) -> None:
        self._streams.session.stream_consumed(self.number, size)
        if self._streams.session.credit_waiting():
            self._streams.driver.wake()

    def abort(self, code: int = 1) -> None:
        """Tells the sender to stop; its writes raise a StreamError with `code`. What has come is dropped."""
        check_code(code)
        self._chunks.clear()
        if self._failed is None and not self._end_seen:
            self._failed = code
            self._ended = False
            self._streams.incoming.pop(self.number, None)
            self._streams.session.stream_reset(self.number, code, True)
            self._streams.driver.wake()
            self._wake()

    def add(self, data: bytes) -> None:
        """More has come."""
        chunks = self._chunks
        if len(data) >= limits.STREAM_MERGE_BYTES:
            chunks.append(data)
        elif chunks and isinstance(chunks[-1], bytearray) and len(chunks[-1]) < limits.STREAM_CHUNK_BYTES:
            chunks[-1] += data
        else:  # pieces of a few bytes would cost many times what they hold
            chunks.append(bytearray(data))
        self._wake()

    def stop(self, failed: int | None = None) -> None:
        """It is complete, or broken."""
        if failed is None:
            self._ended = True
        else:
            self._failed = failed
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk


class Streams:
    """Every open stream of one connection."""

    def __init__(self, conn: Connection, session: Any, driver: Any) -> None:
        self.conn = conn
        self.session = session
        self.driver = driver
        self.outgoing: dict[int, OutgoingStream] = {}
        self.incoming: dict[int, IncomingStream] = {}
        self._arrived: deque[IncomingStream] = deque()
        self._acceptors: deque[asyncio.Future[None]] = deque()
        self._openers: deque[asyncio.Future[None]] = deque()

    async def open(self, channel: Any, total: Any) -> OutgoingStream:
        """A new outgoing stream; waits while the peer has not read those that are finished."""
        if total is not None and (not isinstance(total, int) or not 0 <= total < VALUE_MAX):
            raise LocalProtocolError(f"a stream of {total} bytes")
        if not isinstance(channel, int) or not 0 <= channel < self.session.channels_max():
            raise LocalProtocolError(f"channel {channel} is out of range")
        self.raise_closed()
        table = self.session.streams
        while table.full() and table.has_untaken() and not self.conn.is_closed:
            await self._wait_in(self._openers, table.full)
        number = self.session.open_stream(channel, -1 if total is None else total)
        stream = self.outgoing[number] = OutgoingStream(self, number, total)
        self.driver.wake()
        return stream

    async def accept(self) -> IncomingStream:
        """The next one from the peer."""
        while not self._arrived:
            self.raise_closed()
            await self._wait_in(self._acceptors, lambda: not self._arrived)
        return self._arrived.popleft()

    async def _wait_in(self, queue: deque[asyncio.Future[None]], in_vain: Callable[[], bool]) -> None:
        future: asyncio.Future[None] = self.conn.loop.create_future()
        queue.append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future in queue:
                queue.remove(future)
            elif not in_vain():  # woken and cancelled at once: the next in line takes its place
                self._wake_one(queue)
            raise

    def _wake_one(self, queue: deque[asyncio.Future[None]]) -> None:
        while queue:
            future = queue.popleft()
            if not future.done():
                future.set_result(None)
                return

    async def writable(self) -> None:
        """Waits while the connection's outbound buffer is above high water."""
        while self.conn.must_wait(-1):
            await self.conn.wait_writable(-1)
        self.raise_closed()

    def raise_closed(self) -> None:
        """Raises what ended the connection, if it has ended."""
        if self.conn.is_closed:
            raise self.conn.end_error()

    def on_event(self, event: Any) -> None:
        """A stream event of the session."""
        if isinstance(event, StreamOpened):
            stream = self.incoming[event.stream] = IncomingStream(self, event)
            self.conn._stream_arrived(stream)
        elif isinstance(event, StreamData):
            if event.stream in self.incoming:
                self.incoming[event.stream].add(event.data)
        elif isinstance(event, StreamEnded):
            if event.stream in self.incoming:
                self.incoming.pop(event.stream).stop()
        elif isinstance(event, StreamTaken):
            self.place_free()
        elif isinstance(event, StreamWritable):
            if event.stream in self.outgoing:
                self.outgoing[event.stream].wake()
        elif isinstance(event, StreamBroken):
            if event.incoming:
                incoming = self.incoming.pop(event.stream, None)
                if incoming is not None:
                    incoming.stop(event.code)
                self._forget(event.stream)
            else:
                outgoing = self.outgoing.pop(event.stream, None)
                if outgoing is not None:
                    outgoing.wake(event.code)
                self.place_free()

    def place_free(self) -> None:
        """Another stream may be opened."""
        self._wake_one(self._openers)

    def queue(self, stream: IncomingStream) -> None:
        """Keeps an arrived stream for `accept`; the session bounds how many are open."""
        self._arrived.append(stream)
        self._wake_one(self._acceptors)

    def _forget(self, number: int) -> None:
        """A stream broken off before anybody took it: a peer may open and break off as many as it likes."""
        for stream in self._arrived:
            if stream.number == number:
                self._arrived.remove(stream)
                return

    def fail(self) -> None:
        """The connection is over."""
        for incoming in self.incoming.values():
            incoming.stop(CloseCode.LOST)
        for outgoing in self.outgoing.values():
            outgoing.wake(CloseCode.LOST)
        self.incoming.clear()
        self.outgoing.clear()
        for queue in (self._acceptors, self._openers):
            while queue:
                self._wake_one(queue)
