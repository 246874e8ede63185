"""Our own message protocol over any ordered byte pipe: messages on channels, credit, ping, goodbye, streams.

Sans-IO: bytes and time in, bytes, batches of messages and rare events out. docs/protocol.md is the normative text.
It must never allocate for a length it has not checked, never raise for what a peer did, and never stop reading
control frames because some channel is full: every channel has its own credit, and the connection has one.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.codec import memory, varint
from transport.errors import CloseCode, ConnectionClosed, LocalProtocolError, RemoteProtocolError, WouldBlock
from transport.machine import EOF, Closed, Established, Pong
from transport.session import Batch
from transport.stream import frames, preface
from transport.stream.channel import ChannelState
from transport.stream.config import StreamConfig
from transport.stream.outbox import TAKE_BYTES
from transport.stream.sending import SendingHalf

OPENING, OPEN, CLOSING, CLOSED = 0, 1, 2, 3  # transport.session.SessionState as plain numbers
CLEAN = (CloseCode.NORMAL, CloseCode.GOING_AWAY)
CHUNK_MERGE_BYTES = 4 * limits.KIB  # smaller pieces of a large message are merged, or tiny reads would amplify memory
CONTROL_QUEUE_BYTES = 64 * limits.KIB  # pings and answers that wait for a peer that does not read
UNBOUNDED = 1 << 62
HAS_CHANNEL, DELIVERY_MASK = frames.HAS_CHANNEL, frames.DELIVERY_MASK  # as plain numbers, asked for every frame
COST = limits.MESSAGE_COST_BYTES  # of credit, for every message beside its payload


class StreamSession(SendingHalf):
    """One peer of the `message` framing. See `transport.session.MessageSession` for the commands."""

    def __init__(self, config: StreamConfig, now: int) -> None:
        SendingHalf.__init__(self, config)
        self._receive_max = config.max_message
        self._overdraft = config.max_message + COST
        self._events: list[Any] = []
        self._control = bytearray()
        self._credit_due: list[int] = []
        self._connection_credit_due = False
        self._in_received = 0
        self._in_consumed = 0
        self._in_limit = config.connection_window
        self._channel_half = config.channel_window // 2  # credit is returned when this little is left
        self._connection_half = config.connection_window // 2
        self._batch: Batch | None = None  # the one being filled, and the state of its channel
        self._batch_state: ChannelState | None = None
        # Parsing: what came of an incomplete header, or of an incomplete body.
        self._tail = b""
        self._need = 0
        self._parts: list[bytes | bytearray] = []
        self._head = 0
        self._head_channel = 0
        self._varint_end = 0
        # Times
        self._opened = now
        self._heard = now
        self._pinged = now
        self._keepalive_ns = config.keepalive_ns
        self._idle_ns = config.idle_ns
        self._handshake_ns = config.handshake_ns
        # Goodbye
        self._preface_sent = False
        self._goodbye: tuple[int, str] | None = None
        self._goodbye_sent = False
        self._eof_sent = False
        # Counters
        self.messages_received = 0
        self.bytes_received = 0
        self.pings_ignored = 0

    # Commands

    def consumed(self, channel: int, size: int, messages: int) -> None:
        """The application took so many reliable messages of `channel`, `size` payload bytes in all: return credit."""
        size += messages * COST
        state = self._channel(channel)
        state.in_consumed += size
        if not state.credit_due and state.in_limit - state.in_consumed <= self._channel_half:
            state.credit_due = True
            self._credit_due.append(channel)
        self._consumed_connection(size)

    def _consumed_connection(self, size: int) -> None:
        self._in_consumed += size
        if self._in_limit - self._in_consumed <= self._connection_half:
            self._connection_credit_due = True

    def credit_waiting(self) -> bool:
        """Whether `transmit` would send credit, so that the driver must be woken."""
        return self._connection_credit_due or len(self._credit_due) > 0 or len(self._streams_due) > 0

    def ping(self, token: int, now: int) -> None:
        """Sends a ping; `Pong(token)` follows. Token 0 is the keep-alive's own.

        Raises:
            WouldBlock: the peer has read no control frame for long.
        """
        if self.state >= CLOSING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")
        if len(self._control) > CONTROL_QUEUE_BYTES:
            raise WouldBlock(f"{len(self._control)} bytes of pings and answers wait for the peer")
        self._control += frames.header(frames.PING, frames.TOKEN_BYTES) + token.to_bytes(frames.TOKEN_BYTES, "big")

    def close(self, code: int, reason: str, now: int) -> None:
        """Says goodbye after everything queued. What still comes in is dropped."""
        if self.state >= CLOSING:
            return
        if not 0 <= code < 1 << 16:
            raise LocalProtocolError(f"close code {code} is out of range")
        self.state = CLOSING
        self._goodbye = (code, reason)
        self.drop_received()
        self._batch = None

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends at once; the peer is still told, if the pipe takes it."""
        if self.state != CLOSED:
            self._finish(code, reason, by_peer=False)

    # The verbs

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" is the end of the peer's stream."""
        if self.state == CLOSED:
            return
        if not data:
            self._on_eof()
            return
        self._heard = now
        self.bytes_received += len(data)
        try:
            if self.peer is None:
                data = self._on_preface(data)
            if data:
                self._parse(data, now)
        except RemoteProtocolError as error:
            self._finish(error.code, error.reason, by_peer=False)
        self._batch = None

    def _on_preface(self, data: bytes) -> bytes:
        data = self._tail + data
        parsed = preface.parse(data)
        if parsed is None:
            self._tail = data
            return b""
        self._tail = b""
        self.peer, size = parsed
        peer = self.peer
        if self.config.codec and peer.codec and self.config.codec != peer.codec:
            raise RemoteProtocolError(
                f"the peer's codec is {peer.codec!r}, this side's {self.config.codec!r}", CloseCode.CODEC_MISMATCH
            )
        self.send_max = min(self.send_max, peer.max_message)
        self._peer_channels = min(self._peer_channels, peer.channels)
        self._out_limit = peer.connection_window
        for state in self._channels:
            if state is not None:
                state.out_limit = peer.channel_window
        if self.state == OPENING:
            self.state = OPEN
        self._events.append(Established())
        self.streams.peer_spoke(peer.stream_window, self._events)
        self._unblock(self._heard)
        return data[size:]

    def _parse(self, data: bytes, now: int) -> None:
        """Cuts frames from `data`; what is incomplete is kept."""
        end = len(data)
        position = 0
        if self._need:
            position = self._continue_body(data, end)
            if self._need:
                return
        elif self._tail:
            data = self._tail + data
            end = len(data)
            self._tail = b""
        while position < end and self.state != CLOSED:
            start = position
            head = data[position]
            position += 1
            channel = 0
            if head & HAS_CHANNEL:
                channel = self._varint(data, position, end)
                position = self._varint_end
                if channel < 0:
                    self._tail = memory.cut(data, start, end)
                    return
            if position < end and data[position] < 64:
                size = data[position]
                position += 1
            elif end - position > 1 and data[position] < 128:
                size = (data[position] & 0x3F) << 8 | data[position + 1]
                position += 2
            else:
                size = self._varint(data, position, end)
                position = self._varint_end
                if size < 0:
                    self._tail = memory.cut(data, start, end)
                    return
            if head > DELIVERY_MASK or size > self._receive_max:
                self._check_header(head, channel, size)
            if end - position < size:
                self._head = head
                self._head_channel = channel
                self._need = size - (end - position)
                self._parts = [memory.cut(data, position, end)]
                return
            if head < 16:  # MESSAGE
                self._on_message(memory.cut(data, position, position + size), size, channel, head & 3)
                position += size
                if position < end and self._batch is not None and not channel:
                    position = self._take_run(data, position, end, head)
            else:
                self._on_control(head >> 4, memory.cut(data, position, position + size), channel, now)
                position += size

    def _take_run(self, data: bytes, position: int, end: int, head: int) -> int:
        """Takes the whole messages behind one on channel 0 that are like it, and returns where they end.

        The same as `_on_message` for each, in half the time; what is incomplete, longer than 16,383 bytes, or at the
        end of its credit is left to the careful path.
        """
        batch = self._batch
        state = self._batch_state
        assert batch is not None and state is not None
        payloads = batch.payloads
        before = len(payloads)
        room = min(state.in_limit - state.in_received, self._in_limit - self._in_received) + self._overdraft
        if head & 2:
            room = UNBOUNDED  # unreliable messages need no credit
        taken = 0
        cost = 0
        while end - position > 2 and data[position] == head:
            size = data[position + 1]
            start = position + 2
            if size >= 64:
                if size >= 128:
                    break
                size = (size & 0x3F) << 8 | data[start]
                start += 1
            cost += size + COST
            if end - start < size or size > self._receive_max or cost >= room:
                cost -= size + COST
                break
            payloads.append(memory.cut(data, start, start + size))
            taken += size
            position = start + size
        batch.size += taken
        self.messages_received += len(payloads) - before
        if not head & 2:
            state.in_received += cost
            self._in_received += cost
        return position

    def _varint(self, data: bytes, position: int, end: int) -> int:
        """The varint at `position`, or -1 while it is incomplete; `_varint_end` is where it ends."""
        if position >= end:
            return -1
        size = varint.length(data[position])
        if position + size > end:
            return -1
        self._varint_end = position + size
        return varint.value(data, position)

    def _check_header(self, head: int, channel: int, size: int) -> None:
        kind = head >> 4
        if head & frames.RESERVED_BIT:
            raise RemoteProtocolError("reserved bit set in a frame head")
        if channel >= len(self._channels):
            raise RemoteProtocolError(f"channel {channel} is over the limit of {len(self._channels)}")
        if kind == frames.MESSAGE:
            if size > self._receive_max:
                raise RemoteProtocolError(
                    f"message of {size} bytes is over the limit of {self._receive_max}", CloseCode.TOO_LARGE
                )
        elif kind == frames.STREAM_DATA:
            if size > limits.STREAM_CHUNK_BYTES + 8:
                raise RemoteProtocolError(f"stream chunk of {size} bytes is too large", CloseCode.TOO_LARGE)
        elif size > frames.CONTROL_BYTES_MAX:
            raise RemoteProtocolError(f"control frame of {size} bytes is too large", CloseCode.TOO_LARGE)
        elif frames.STREAM_CREDIT < kind < frames.IGNORABLE:
            raise RemoteProtocolError(f"unknown frame kind {kind}")

    def _continue_body(self, data: bytes, end: int) -> int:
        """Adds to an incomplete body; returns where the next frame starts in `data`."""
        parts = self._parts
        if end < self._need:
            if end < CHUNK_MERGE_BYTES:
                last = parts[-1]
                if not isinstance(last, bytearray):
                    last = bytearray()
                    parts.append(last)
                last += data
            else:
                parts.append(data)
            self._need -= end
            return end
        position = self._need
        parts.append(memory.cut(data, 0, position))
        self._need = 0
        self._parts = []
        body = b"".join(parts)
        head = self._head
        if head >> 4 == frames.MESSAGE:
            self._on_message(body, len(body), self._head_channel, head & 3)
        else:
            self._on_control(head >> 4, body, self._head_channel, self._heard)
        return position

    def _on_message(self, payload: bytes, size: int, channel: int, delivery: int) -> None:
        self.messages_received += 1
        batch = self._batch
        state = self._batch_state
        if batch is None or batch.channel != channel or state is None:
            state = self._channels[channel]
            if state is None:
                state = self._channel(channel)
        if delivery < 2:
            # A message may start while any credit is left, and priorities change the order after that was decided: so
            # one message of the largest size is allowed beyond the limit, whichever it was.
            state.in_received += size + COST
            self._in_received += size + COST
            if state.in_received >= state.in_limit + self._overdraft:
                raise RemoteProtocolError(f"channel {channel} is out of credit", CloseCode.FLOW_CONTROL)
            if self._in_received >= self._in_limit + self._overdraft:
                raise RemoteProtocolError("the connection is out of credit", CloseCode.FLOW_CONTROL)
        if self.state != OPEN:
            if delivery < 2:
                self.consumed(channel, size, 1)  # dropped: this side has said goodbye
            return
        if self.lone is not None:
            batch = self._batch = self.join_lone()
            self._batch_state = state  # if it is of another channel, neither stays for long
        elif not self.batches:
            self.lone = payload
            self.lone_channel = channel
            self.lone_delivery = delivery
            return
        if batch is None or batch.channel != channel or batch.delivery != delivery:
            batch = Batch.__new__(Batch)  # calling the class costs as much as all the rest
            batch.payloads = [payload]
            batch.channel = channel
            batch.delivery = delivery
            batch.size = size
            self._batch = batch
            self._batch_state = state
            self.batches.append(batch)
            return
        batch.payloads.append(payload)
        batch.size += size

    def _on_control(self, kind: int, body: bytes, channel: int, now: int) -> None:
        try:
            if kind == frames.CHANNEL_CREDIT:
                limit, _ = varint.decode(body, 0)
                state = self._channel(channel)
                state.out_limit = max(state.out_limit, limit)
                self._unblock(now)
            elif kind == frames.CONNECTION_CREDIT:
                limit, _ = varint.decode(body, 0)
                self._out_limit = max(self._out_limit, limit)
                self._unblock(now)
            elif kind == frames.PING:
                self._on_ping(body)
            elif kind == frames.PONG:
                if len(body) != frames.TOKEN_BYTES:
                    raise RemoteProtocolError("malformed pong")
                token = int.from_bytes(body, "big")
                if token:
                    self._events.append(Pong(token))
            elif kind == frames.CLOSE:
                code, position = varint.decode(body, 0)
                if code >= 1 << 16:
                    raise RemoteProtocolError("close code out of range")
                reason = body[position : position + limits.REASON_BYTES_MAX].decode("utf-8", "replace")
                self._on_close(code, reason)
            elif kind < frames.IGNORABLE:
                answer = self.streams.received(kind, body, channel, self._events)
                if len(self._control) > CONTROL_QUEUE_BYTES and answer:
                    raise RemoteProtocolError("the peer opens streams and reads no answers", CloseCode.POLICY)
                self._control += answer
        except ValueError as error:
            raise RemoteProtocolError(f"malformed control frame {kind}: {error}") from None

    def _on_ping(self, body: bytes) -> None:
        if len(body) != frames.TOKEN_BYTES:
            raise RemoteProtocolError("malformed ping")
        if len(self._control) > CONTROL_QUEUE_BYTES:
            self.pings_ignored += 1
            return
        self._control += frames.header(frames.PONG, frames.TOKEN_BYTES) + body

    def _on_close(self, code: int, reason: str) -> None:
        if self._goodbye is not None:
            own_code, own_reason = self._goodbye
            self._finish(own_code, own_reason, by_peer=False, agreed=True)
        else:
            self._finish(code, reason, by_peer=True, agreed=True)

    def _on_eof(self) -> None:
        if self.peer is None and self.state == OPENING:
            self._finish(CloseCode.LOST, "the peer closed before its preface", by_peer=True)
        else:
            where = "in the middle of a frame" if self._need or self._tail else "without a goodbye"
            self._finish(CloseCode.LOST, f"the peer's stream ended {where}", by_peer=True)

    def _finish(self, code: int, reason: str, by_peer: bool, agreed: bool = False) -> None:
        """The session is over: one last frame, one last event."""
        self.state = CLOSED
        self.cut_bytes = self._outbox.size + self.blocked_bytes
        self._outbox.clear()
        self.queued_bytes = 0
        self.blocked_bytes = 0
        self._blocked = []
        self._parts = []
        self._tail = b""
        self._need = 0
        del self._control[:]
        self._credit_due = []
        self._connection_credit_due = False
        if not self._goodbye_sent and code != CloseCode.LOST:
            self._say_goodbye(code, reason)
        self.streams.close(self._events)
        self._events.append(Closed(int(code), reason, by_peer, agreed and code in CLEAN))

    def _say_goodbye(self, code: int, reason: str) -> None:
        self._goodbye_sent = True
        tail = reason.encode("utf-8", "replace")[: limits.REASON_BYTES_MAX].decode("utf-8", "ignore").encode()
        self._control += frames.numbers(frames.CLOSE, code, tail=tail)

    def pending(self) -> bool:
        """Whether `transmit` would give anything."""
        if self._eof_sent:
            return False
        if not self._preface_sent or self._control or self._credit_due or self._connection_credit_due:
            return True
        if self.state == CLOSED or self._streams_due:
            return True
        if self.peer is None:
            return False
        if self._outbox.size > 0:
            return True
        return self._goodbye is not None and not self._goodbye_sent and not self.blocked_bytes

    def transmit_run(self) -> bytearray | None:
        """See `ByteSession`: messages that were sent in order, and nothing else to say."""
        box = self._outbox
        if (
            self.state != OPEN
            or not box.size
            or not self._preface_sent
            or self._connection_credit_due
            or self._credit_due
            or self._control
            or self._streams_due
        ):
            return None
        run = box.take_run()
        if run is None:
            return None
        self.queued_bytes = 0
        if self.overtaking and not self.blocked_bytes:
            self.overtaking = False
        return run

    def recycle(self, run: bytearray) -> None:
        """See `ByteSession`."""
        self._outbox.recycle(run)

    def transmit(self, now: int) -> list[bytes | bytearray]:
        """Buffers for one write, in order; `EOF` last when nothing will follow."""
        out: list[bytes | bytearray] = []
        if self._eof_sent:
            return out
        if not self._preface_sent:
            self._preface_sent = True
            out.append(self._own_preface())
        if self._credit_due or self._connection_credit_due or self._streams_due:
            self._write_credit()
        if self._control:
            out.append(self._control)
            self._control = bytearray()
        if self.state == CLOSED:
            out.append(EOF)
            self._eof_sent = True
            return out
        box = self._outbox
        if box.size and self.peer is not None:
            taken = box.take(now, TAKE_BYTES)
            if box.lapsed:
                taken = self._refund(taken, now)
            self.queued_bytes = box.size
            if self.overtaking and not box.size and not self.blocked_bytes:
                self.overtaking = False
            if not out and self._goodbye is None:
                return taken
            out.extend(taken)
        if self._goodbye is not None and not self._goodbye_sent and not box.size and not self.blocked_bytes:
            if self.peer is not None or self.state == CLOSED:
                self._say_goodbye(*self._goodbye)
                out.append(self._control)
                self._control = bytearray()
        return out

    def _own_preface(self) -> bytes:
        config = self.config
        return preface.Preface(
            config.max_message,
            config.channels,
            config.channel_window,
            config.connection_window,
            config.stream_window,
            config.codec,
        ).encode()

    def _write_credit(self) -> None:
        for channel in self._credit_due:
            state = self._channel(channel)
            state.credit_due = False
            state.in_limit = state.in_consumed + self.config.channel_window
            body = varint.encode(state.in_limit)
            self._control += frames.header(frames.CHANNEL_CREDIT, len(body), channel) + body
        self._credit_due = []
        if self._connection_credit_due:
            self._connection_credit_due = False
            self._in_limit = self._in_consumed + self.config.connection_window
            self._control += frames.numbers(frames.CONNECTION_CREDIT, self._in_limit)
        self._control += self.streams.credit_frames()

    def events(self) -> list[Any]:
        """Established, Pong, Closed and the stream events since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    def due(self) -> int:
        """The next of handshake, keep-alive and idle time-out, -1 for none."""
        if self.state == CLOSED:
            return -1
        if self.peer is None:
            return self._opened + self._handshake_ns if self._handshake_ns else -1
        due = -1
        if self._idle_ns:
            due = self._heard + self._idle_ns
        if self._keepalive_ns:
            ping_at = max(self._heard, self._pinged) + self._keepalive_ns
            if due < 0 or ping_at < due:
                due = ping_at
        return due

    def expire(self, now: int) -> None:
        """Pings a silent peer, gives up on a dead one."""
        if self.state == CLOSED:
            return
        if self.peer is None:
            if self._handshake_ns and now >= self._opened + self._handshake_ns:
                self._finish(CloseCode.HANDSHAKE_TIMEOUT, "the peer sent no preface in time", by_peer=False)
            return
        if self._idle_ns and now >= self._heard + self._idle_ns:
            self._finish(CloseCode.IDLE_TIMEOUT, "nothing heard from the peer", by_peer=False)
            return
        if self._keepalive_ns and now >= max(self._heard, self._pinged) + self._keepalive_ns:
            self._pinged = now
            self._control += frames.header(frames.PING, frames.TOKEN_BYTES) + bytes(frames.TOKEN_BYTES)

    def statistics(self) -> dict[str, int]:
        """Counters by name."""
        return {
            "messages_sent": self.messages_sent,
            "messages_received": self.messages_received,
            "bytes_received": self.bytes_received,
            "queued_bytes": self.queued_bytes,
            "blocked_bytes": self.blocked_bytes,
            "blocked_count": self.blocked_count,
            "dropped": self._outbox.dropped,
            "expired": self._outbox.expired,
            "pings_ignored": self.pings_ignored,
        }
