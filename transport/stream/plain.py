"""Somebody else's framing over a byte pipe, as a message session.

Gives `lines`, `length32` and the like (and a user's own framing) the commands of every session. Such a wire has one
ordered channel, no ping, no credit, and no goodbye but the end of the stream, so close codes stay on this side.
It must never raise for what a peer sent, nor for a mistake in a user's decoder: both end in a `Closed` event.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from transport import limits
from transport.codec.framing.base import Framing, new_decoder
from transport.delivery import Delivery
from transport.errors import CloseCode, ConnectionClosed, LocalProtocolError, RemoteProtocolError
from transport.machine import EOF, Buffer, Closed, Established, InputEnded
from transport.session import Batch, MessageSession, SessionState

OPEN, CLOSING, CLOSED = SessionState.OPEN, SessionState.CLOSING, SessionState.CLOSED
BY_REFERENCE_BYTES = 16 * limits.KIB  # from here on a buffer is not copied into a run
TAKE_BYTES = 64 * limits.KIB  # handed out at once while a message may still expire

# C integers when compiled, hence invisible from outside
_RELIABLE_ORDERED = int(Delivery.RELIABLE_ORDERED)
_OPEN, _CLOSING, _CLOSED = int(OPEN), int(CLOSING), int(CLOSED)
_BY_REFERENCE = BY_REFERENCE_BYTES
_TAKE = TAKE_BYTES


class Expiring:
    """A message that is dropped if it has not left in time."""

    def __init__(self, buffers: list[Any], size: int, expires_at: int) -> None:
        self.buffers = buffers
        self.size = size
        self.expires_at = expires_at


class PlainSession(MessageSession):
    """One peer behind a plain framing. See `transport.session.MessageSession` for the commands.

    All messages are channel 0, reliable and ordered, so a priority can't let one overtake another: it is accepted and
    has no effect. A message whose time has passed before it is handed out is dropped and counted.

    Args:
        framing: cuts messages from the bytes, both ways.
        max_message: largest payload in bytes taken or given; the framing's own limit holds too, if it has one.
        idle_ns: silence in both directions after which the session ends, or 0.
        now: the time.
        half_open: when the peer ends its stream between messages, stay open for sending until `close` (an
            `InputEnded` event says so); otherwise that is a clean close by the peer, and what is queued still leaves.
    """

    def __init__(self, framing: Framing, max_message: int, idle_ns: int, now: int, half_open: bool = False) -> None:
        MessageSession.__init__(self)
        self.state = _OPEN
        limit = getattr(framing, "max_message", max_message)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise LocalProtocolError(f"framing: max_message of {limit!r} is not a number of bytes")
        self.send_max = min(limit, max_message)
        self.messages_sent = 0
        self.messages_received = 0
        self.bytes_received = 0
        self.expired = 0
        self._framing_name = type(framing).__name__
        self._encode = framing.encode
        self._decoder: Any = new_decoder(framing)
        self._feed = self._decoder.feed
        self._max = max_message
        self._idle = idle_ns
        self._active = now
        self._half_open = half_open
        self._input_ended = False
        self._goodbye: tuple[int, str] = (0, "")
        self._eof_sent = False
        self._events: list[Any] = [Established()]
        self._run = bytearray()
        self._queue: deque[Any] = deque()  # sealed runs, large buffers and expiring messages, in order
        self._expiring = 0

    # Commands

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one message.

        Raises:
            ConnectionClosed: the session is closing or closed.
            LocalProtocolError, MessageTooLarge: the framing can't carry this payload.
        """
        if self.state != _OPEN:
            raise ConnectionClosed(self._goodbye[0], self._goodbye[1] or "this session is closing")
        encoded = self._encode(payload)
        if type(encoded) is bytes and not expires_at and 0 < len(encoded) < _BY_REFERENCE:
            size = len(encoded)
            self._run += encoded
        else:
            size = self._queue_parts(encoded, expires_at)
        self.messages_sent += 1
        self.queued_bytes += size
        self.sent_total += size

    def _queue_parts(self, encoded: object, expires_at: int) -> int:
        """Queues a message that is large, comes in several buffers, or may expire; gives its size."""
        buffers = self._checked(encoded)
        size = 0
        for buffer in buffers:
            size += len(buffer)
        if not size:
            return 0
        if expires_at:
            self._seal()
            self._queue.append(Expiring(buffers, size, expires_at))
            self._expiring += 1
            return size
        for buffer in buffers:
            if len(buffer) < _BY_REFERENCE:
                self._run += buffer
            else:
                self._seal()
                self._queue.append(buffer)
        return size

    def _checked(self, encoded: object) -> list[bytes]:
        """What a framing gave for one message, as buffers that nobody else can change, none of them empty."""
        parts: Sequence[object] = encoded if isinstance(encoded, list | tuple) else (encoded,)
        buffers = []
        for part in parts:
            if not isinstance(part, bytes | bytearray | memoryview):
                raise LocalProtocolError(
                    f"framing: {self._framing_name}.encode() gave {type(part).__name__}, not bytes or a list of buffers"
                )
            data = part if type(part) is bytes else bytes(part)
            if data:
                buffers.append(data)
        return buffers

    def _seal(self) -> None:
        if self._run:
            self._queue.append(self._run)
            self._run = bytearray()

    def close(self, code: int, reason: str, now: int) -> None:
        """Ends the stream behind everything queued; `Closed` follows when the peer has ended its own."""
        if self.state != _OPEN:
            return
        self.state = _CLOSING
        self._goodbye = (code, reason)
        self.drop_received()
        if self._input_ended:
            self._finish(code, reason, False)

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends at once; what is queued is dropped."""
        if self.state != _CLOSED:
            self._drop()
            self._end(code, reason, False, False)

    # The verbs

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" is the end of the peer's stream."""
        if self.state == _CLOSED or self._input_ended:
            return
        if not data:
            self._on_eof()
            return
        self._active = now
        self.bytes_received += len(data)
        if self.state == _CLOSING:
            return
        try:
            payloads = self._feed(data if type(data) is bytes else bytes(data))
            if type(payloads) is not list:
                payloads = list(payloads or ())
        except RemoteProtocolError as error:
            self._deliver(list(getattr(error, "payloads", ())))
            self._fail(error.code, error.reason)
        except Exception as error:
            self._fail(CloseCode.INTERNAL_ERROR, f"{self._framing_name} failed: {type(error).__name__}: {error}")
        else:
            if payloads:
                self._deliver(payloads)

    def _deliver(self, payloads: list[Any]) -> None:
        """Makes a batch of payloads, up to the first that is none or over the limit."""
        size = 0
        count = 0
        for payload in payloads:
            if type(payload) is not bytes:
                kind = type(payload).__name__
                self._fail(CloseCode.INTERNAL_ERROR, f"{self._framing_name} failed: it gave {kind}, not bytes")
                break
            length = len(payload)
            if length > self._max:
                self._fail(CloseCode.TOO_LARGE, f"a message of {length} bytes is over the limit of {self._max} bytes")
                break
            size += length
            count += 1
        if count:
            self.messages_received += count
            del payloads[count:]
            self.batches.append(Batch(0, _RELIABLE_ORDERED, payloads, size))

    def _on_eof(self) -> None:
        try:
            if self.state == _OPEN:
                self._decoder.eof()
        except RemoteProtocolError as error:
            self._drop()
            self._end(error.code, error.reason, True, False)
            return
        except Exception as error:
            self._fail(CloseCode.INTERNAL_ERROR, f"{self._framing_name} failed: {type(error).__name__}: {error}")
            return
        if self.state == _CLOSING:
            code, reason = self._goodbye
            self._finish(code, reason, False)
        elif self._half_open:
            self._input_ended = True
            self._events.append(InputEnded())
        else:
            self._finish(CloseCode.NORMAL, "", True)

    def _finish(self, code: int, reason: str, by_peer: bool) -> None:
        """An orderly end; what is queued still leaves."""
        self._end(code, reason, by_peer, code in (CloseCode.NORMAL, CloseCode.GOING_AWAY))

    def _fail(self, code: int, reason: str) -> None:
        """The peer's bytes, or the framing, went wrong."""
        if self.state != _CLOSED:
            self._drop()
            self._end(code, reason, False, False)

    def _end(self, code: int, reason: str, by_peer: bool, clean: bool) -> None:
        self.state = _CLOSED
        reason = reason.encode("utf-8", "replace")[: limits.REASON_BYTES_MAX].decode("utf-8", "ignore")
        self._goodbye = (int(code), reason)
        self._events.append(Closed(int(code), reason, by_peer, clean))

    def _drop(self) -> None:
        self._queue.clear()
        self._run = bytearray()
        self._expiring = 0
        self.queued_bytes = 0

    def transmit(self, now: int) -> list[Buffer]:
        """Buffers for one write, in order; `EOF` last when nothing will follow."""
        out: list[Buffer] = []
        if self._eof_sent:
            return out
        if self._expiring:
            self._take_some(now, out)
        else:
            out.extend(self._queue)
            self._queue.clear()
            if self._run:
                out.append(self._run)
                self._run = bytearray()
            self.queued_bytes = 0
        if out:
            self._active = now
        if self.state != _OPEN and not self._queue and not self._run:
            self._eof_sent = True
            out.append(EOF)
        return out

    def _take_some(self, now: int, out: list[Buffer]) -> None:
        """Takes no more than is soon written, so that whether a message has expired is decided late."""
        self._seal()
        taken = 0
        while self._queue and taken < _TAKE:
            item = self._queue.popleft()
            if type(item) is Expiring:
                late = item
                self._expiring -= 1
                if late.expires_at <= now:
                    self.expired += 1
                    self.queued_bytes -= late.size
                    continue
                out.extend(late.buffers)
                taken += late.size
            else:
                out.append(item)
                taken += len(item)
        self.queued_bytes -= taken

    def events(self) -> list[Any]:
        """What happened since the last call, drained."""
        events = self._events
        if events:
            self._events = []
        return events

    def deadline(self) -> int | None:
        """When the session has been idle for too long, if nothing moves until then."""
        if not self._idle or self.state == _CLOSED:
            return None
        return self._active + self._idle

    def expire(self, now: int) -> None:
        """Ends the session if it has been idle for too long."""
        if self._idle and self.state != _CLOSED and now >= self._active + self._idle:
            self._drop()
            self._end(
                CloseCode.IDLE_TIMEOUT, f"nothing moved for {self._idle / limits.SECOND_NS:g} seconds", False, False
            )

    def statistics(self) -> dict[str, int]:
        """Counters of this session by name."""
        return {
            "messages_sent": self.messages_sent,
            "messages_received": self.messages_received,
            "bytes_received": self.bytes_received,
            "queued_bytes": self.queued_bytes,
            "expired": self.expired,
        }
