"""One peer of a WebSocket connection (RFC 6455), as a message session: frames both ways once HTTP has led to them.

Sans-IO. Every message is channel 0, reliable and ordered; WebSocket has no credit, so a reader that falls behind stops
reading and TCP slows the peer down. Section numbers are those of RFC 6455.
It must never allocate for a length it has not checked, never answer what a peer did by raising, and never send a status
that may not stand in a frame.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.errors import CloseCode, LocalProtocolError, RemoteProtocolError, from_websocket, to_websocket
from transport.machine import EOF, Closed, Established, Pong
from transport.session import Batch
from transport.stream.outbox import TAKE_BYTES
from transport.websocket import frames
from transport.websocket.config import WebSocketConfig
from transport.websocket.deflate import ZLIB_BITS_MIN, Compressor, Decompressor
from transport.websocket.kinds import KIND_BINARY, KIND_TEXT
from transport.websocket.sending import STATUS_BYTES, TOKEN_BYTES, SendingHalf
from transport.websocket.states import LIFE, On

HTTP, OPEN, CLOSING, CLOSED = 0, 1, 2, 3  # states.Phase as plain numbers
FIN, RSV1, RSV, OPCODE = 0x80, 0x40, 0x70, 0x0F
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
WHOLE_TEXT, WHOLE_BINARY = 0x81, 0x82  # with FIN, and no reserved bit
CLEAN = (CloseCode.NORMAL, CloseCode.GOING_AWAY)
MERGE_BYTES = 4 * limits.KIB  # smaller pieces of a message are merged, or tiny reads would amplify memory
NO_STATUS = 1005


def may_be_received(status: int) -> bool:
    """Whether a status may stand in a CLOSE frame (section 7.4, and the registry of IANA: 1012 to 1014)."""
    return 1000 <= status <= 1003 or 1007 <= status <= 1014 or 3000 <= status <= 4999


class WebSocketSession(SendingHalf):
    """See `transport.session.MessageSession` for the commands.

    Args:
        config: limits and options.
        http: `handshake.ServerSide` or `handshake.ClientSide`.
        entropy: gives so many unpredictable bytes: masking keys (section 5.3).
        now: the time.
    """

    def __init__(self, config: WebSocketConfig, http: Any, entropy: Callable[[int], bytes], now: int) -> None:
        SendingHalf.__init__(self, config, http.is_client, entropy)
        self.http = http
        self.request: Any = None  # what the client asked for, on a server
        self.subprotocol = ""
        self._mask_bit = 0 if http.is_client else 0x80  # of what comes
        self._events: list[Any] = []
        self._batch: Batch | None = None
        self._eof_sent = False
        # The frame under way, if `_need` bytes of it are still to come, and the message that it is part of
        self._tail = b""
        self._need = 0
        self._frame_head = 0
        self._frame_size = 0
        self._key = -1
        self._phase = 0
        self._opcode = 0  # of the message, 0 between two
        self._compressed = False
        self._parts: list[bytes | bytearray] = []
        self._size = 0  # of the parts
        self._control_body = b""
        self._utf8: Any = None
        self._decompressor: Decompressor | None = None
        self._receive_max = config.max_message
        # Times
        self._opened = self._heard = self._pinged = now
        self._is_reading = True
        # Counters
        self.messages_received = 0
        self.bytes_received = 0
        self.pings_ignored = 0
        self._take_http()

    # Commands

    def close(self, code: int, reason: str, now: int) -> None:
        """Says goodbye after everything queued. What still comes in is dropped."""
        if self.state >= CLOSING:
            return
        if not 0 <= code < 1 << 16:
            raise LocalProtocolError(f"close code {code} is out of range")
        self.drop_received()
        self._batch = None
        if self.state == HTTP:
            self._finish(On.CLOSE_CALLED, code, reason, by_peer=False)
            return
        self._step(On.CLOSE_CALLED)
        self._goodbye = (code, reason)

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends at once; the peer is still told, if the pipe takes it."""
        if self.state != CLOSED:
            if code == CloseCode.INVALID_BODY:  # found by the codec
                self.config.count(f"close_{to_websocket(code)}")
            self._finish(On.ABORTED, code, reason, by_peer=False)

    def accept(self, now: int, kinds: bool = False) -> None:
        """Switches to frames, on a server whose owner wants the connection; `kinds` as of `kinds.KindsCodec`."""
        if kinds:
            self._kinds = True
            self.send_max += 1
        behind = self.http.accept(now)
        self._open(behind, now)

    def respond(self, response: Any, now: int) -> None:
        """Answers the plain request that waits."""
        if self.http is not None:
            self.http.respond(response, now)
            self._take_http()

    def refuse(self, status: int, text: str, now: int) -> None:
        """Answers a request for a WebSocket with no."""
        if self.http is not None:
            self.http.refuse(status, text, now)
            self._take_http()

    def drain(self) -> None:
        """The server is closing: no further request is heard."""
        if self.http is not None:
            self.http.drain()
            self._take_http()

    def moved(self, now: int) -> None:
        """Bytes of an answer have left."""
        if self.http is not None:
            self.http.moved(now)

    def info(self, name: str) -> Any:
        """request, path, query, subprotocol and compression of the handshake; None for what there is not."""
        if name == "subprotocol":
            return self.subprotocol or None
        if name == "compression":
            return "deflate" if self._decompressor is not None else None
        if self.request is None:
            return None
        if name == "request":
            return self.request
        return getattr(self.request, name) if name in ("path", "query") else None

    def listening(self, is_reading: bool, now: int) -> None:
        """From the driver: while it does not read, silence says nothing about the peer."""
        self._is_reading = is_reading
        self._heard = now

    # The verbs

    def receive(self, data: bytes, now: int) -> None:
        """Takes what came; b"" is the end of the peer's stream."""
        if self.state == CLOSED:
            return
        if self.http is not None:
            self._receive_http(data, now)
            return
        if not data:
            where = "in the middle of a message" if self._need or self._tail or self._opcode else "without a CLOSE"
            self._finish(On.LOST, CloseCode.LOST, f"the peer's stream ended {where}", by_peer=True)
            return
        self._heard = now
        self.bytes_received += len(data)
        self._receive_frames(data)

    def _receive_frames(self, data: bytes) -> None:
        try:
            self._parse(data)
        except RemoteProtocolError as error:
            self.config.count(f"close_{to_websocket(error.code)}")
            self._finish(On.RULE_BROKEN, error.code, error.reason, by_peer=False)
        self._batch = None

    def _receive_http(self, data: bytes, now: int) -> None:
        self._heard = now
        self.bytes_received += len(data)
        http = self.http
        http.receive(data, now)
        if http.is_client:
            if http.failure is not None:
                code, reason = http.failure
                self._finish(On.RULE_BROKEN, code, reason, by_peer=True)
            elif http.done:
                self._open(http.trailing, now)
        else:
            self._take_http()

    def _take_http(self) -> None:
        """Takes over what the HTTP side has made."""
        http = self.http
        if http.out:
            self._control += http.out
            http.out = bytearray()
        if http.is_client:
            return
        if http.events:
            self._events += http.events
            http.events = []
        if http.over:
            self._finish(On.HTTP_ENDED, CloseCode.NORMAL, "", by_peer=False, agreed=True)

    def _open(self, behind: bytes, now: int) -> None:
        """HTTP is over, frames follow."""
        http = self.http
        self._control += http.out
        self.http = None
        self.request = http.request
        self.subprotocol = http.subprotocol
        agreement = http.agreement
        if agreement is not None:
            if agreement.own_bits >= ZLIB_BITS_MIN:  # else this side just does not compress
                self._compressor = Compressor(agreement.own_bits, agreement.own_takeover)
            self._decompressor = Decompressor(agreement.peer_bits, agreement.peer_takeover)
        self._step(On.SWITCHED)
        self._heard = self._pinged = now
        self._events.append(Established())
        if behind:
            self._receive_frames(behind)

    def _step(self, event: int) -> None:
        self.state = LIFE.after(self.state, event)

    # Frames

    def _parse(self, data: bytes) -> None:
        """Cuts frames from `data`; what is incomplete is kept. Raises RemoteProtocolError."""
        end = len(data)
        position = 0
        if self._need:
            position = self._continue_body(data, 0, end)
            if self._need:
                return
        elif self._tail:
            data = self._tail + data
            end = len(data)
            self._tail = b""
        while position < end and self.state != CLOSED:
            start = position
            if end - position < 2:
                break
            head = data[position]
            size = data[position + 1]
            if self._opcode or (head != WHOLE_BINARY and head != WHOLE_TEXT) or (size & 0x80) != self._mask_bit:
                self._check_head(head, size)
            size &= 0x7F
            position += 2
            if size >= 126:
                position = self._read_size(data, position, end, size)
                if position < 0:
                    self._tail = frames.cut(data, start, end, -1, 0)
                    return
                size = self._frame_size
            key = -1
            if self._mask_bit:
                if end - position < 4:
                    self._tail = frames.cut(data, start, end, -1, 0)
                    return
                key = data[position]  # byte by byte: a C int has no room for the highest bit
                key = key << 8 | data[position + 1]
                key = key << 8 | data[position + 2]
                key = key << 8 | data[position + 3]
                position += 4
            if size > self._receive_max - self._size:
                self._check_size(head, size)
            if end - position >= size and (head == WHOLE_BINARY or head == WHOLE_TEXT):
                payload = frames.cut(data, position, position + size, key, 0)
                if head == WHOLE_TEXT and not frames.is_utf8(payload):
                    raise RemoteProtocolError("a text message is not UTF-8", CloseCode.INVALID_BODY)
                if self._kinds:
                    payload = (KIND_TEXT if head == WHOLE_TEXT else KIND_BINARY) + payload
                self._on_message(payload, size)
                position += size
                continue
            self._frame_head = head
            self._key = key
            self._phase = 0
            self._need = size
            if not head & 8 and head & OPCODE:
                self._opcode = head & OPCODE
                self._compressed = (head & RSV1) != 0
            position = self._continue_body(data, position, end)
            if self._need:
                return
        if position < end and self.state != CLOSED:
            self._tail = frames.cut(data, position, end, -1, 0)

    def _read_size(self, data: bytes, position: int, end: int, kind: int) -> int:
        """Reads an extended length into `_frame_size`; where it ends, or -1 while it is incomplete."""
        width = 2 if kind == 126 else 8
        if end - position < width:
            return -1
        size = 0
        for index in range(width):
            if index == 0 and width == 8 and data[position] & 0x80:
                raise RemoteProtocolError("a frame's length has its highest bit set")
            size = size << 8 | data[position + index]
        if size < (126 if width == 2 else 65_536):  # section 5.2: the minimal number of bytes
            raise RemoteProtocolError("a frame's length is written longer than need be")
        self._frame_size = size
        return position + width

    def _check_head(self, head: int, second: int) -> None:
        """Everything about the first two bytes that is not the ordinary case."""
        opcode = head & OPCODE
        if (second & 0x80) != self._mask_bit:
            raise RemoteProtocolError(
                "a frame of a client is not masked" if self._mask_bit else "a frame of a server is masked"
            )
        rsv = head & RSV
        if rsv and (rsv != RSV1 or self._decompressor is None or opcode not in (TEXT, BINARY)):
            raise RemoteProtocolError("a reserved bit is set")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise RemoteProtocolError(f"unknown opcode {opcode}")
            if not head & FIN:
                raise RemoteProtocolError("a control frame is fragmented")
            if (second & 0x7F) > limits.WS_CONTROL_BYTES_MAX:
                raise RemoteProtocolError("a control frame is too long")
        elif opcode > BINARY:
            raise RemoteProtocolError(f"unknown opcode {opcode}")
        elif opcode and self._opcode:
            raise RemoteProtocolError("a message begins inside another one")
        elif not opcode and not self._opcode:
            raise RemoteProtocolError("a continuation without a message")

    def _check_size(self, head: int, size: int) -> None:
        """A frame that does not fit the message, as far as its bytes go: compressed ones may be a little longer."""
        if head & 8:
            return
        most = self._receive_max
        if head & RSV1 or (self._opcode and self._compressed):
            most += (most >> 8) + 1024  # stored blocks
        if size > most - self._size:  # the sum may be more than a C integer holds
            raise RemoteProtocolError(
                f"a message of {self._size} bytes and {size} more is over the limit of {self._receive_max}",
                CloseCode.TOO_LARGE,
            )

    def _continue_body(self, data: bytes, position: int, end: int) -> int:
        """Takes what is there of the frame under way; returns where it stopped in `data`."""
        stop = min(end, position + self._need)
        piece = frames.cut(data, position, stop, self._key, self._phase)
        self._phase = (self._phase + stop - position) & 3
        self._need -= stop - position
        head = self._frame_head
        if head & 8:
            self._control_body += piece
            if not self._need:
                body, self._control_body = self._control_body, b""
                self._on_control(head & OPCODE, body)
            return stop
        if self._opcode == TEXT and not self._compressed:
            self._check_text(piece, (head & FIN) != 0 and not self._need)
        if piece:
            self._add_piece(piece)
        if not self._need and head & FIN:
            self._on_whole()
        return stop

    def _check_text(self, piece: bytes, is_last: bool) -> None:
        """Text has to be UTF-8 (section 8.1), and is refused at the first byte that can't be."""
        if is_last and self._utf8 is None:
            if frames.is_utf8(piece):
                return
            raise RemoteProtocolError("a text message is not UTF-8", CloseCode.INVALID_BODY)
        if self._utf8 is None:
            self._utf8 = codecs.getincrementaldecoder("utf-8")()
        try:
            self._utf8.decode(piece, is_last)
        except UnicodeDecodeError:
            raise RemoteProtocolError("a text message is not UTF-8", CloseCode.INVALID_BODY) from None
        held = self._utf8.getstate()[0]
        if held[:1] == b"\xed" and held[1:] >= b"\xa0":  # a surrogate: the decoder would wait for its third byte
            raise RemoteProtocolError("a text message is not UTF-8", CloseCode.INVALID_BODY)

    def _add_piece(self, piece: bytes) -> None:
        parts = self._parts
        self._size += len(piece)
        if parts and len(piece) < MERGE_BYTES:
            last = parts[-1]
            if not isinstance(last, bytearray):
                last = bytearray()
                parts.append(last)
            last += piece
        else:
            parts.append(piece)

    def _on_whole(self) -> None:
        """The last fragment of a message has come."""
        parts = self._parts
        payload = b"".join(parts)
        opcode = self._opcode
        self._parts = []
        self._size = 0
        self._opcode = 0
        self._utf8 = None
        if self._compressed:
            self._compressed = False
            assert self._decompressor is not None
            payload = self._decompressor.decompress(payload, self._receive_max)
            if opcode == TEXT and not frames.is_utf8(payload):
                raise RemoteProtocolError("a text message is not UTF-8", CloseCode.INVALID_BODY)
        if self._kinds:
            payload = (KIND_TEXT if opcode == TEXT else KIND_BINARY) + payload
        self._on_message(payload, len(payload))

    def _on_message(self, payload: bytes, size: int) -> None:
        if self.state != OPEN:
            return  # dropped: this side has said goodbye
        self.messages_received += 1
        batch = self._batch
        if self.lone is not None:
            batch = self._batch = self.join_lone()
        elif not self.batches:
            self.lone = payload
            self.lone_channel = 0
            self.lone_delivery = 0
            return
        if batch is None:
            batch = Batch.__new__(Batch)  # calling the class costs as much as all the rest
            batch.payloads = [payload]
            batch.channel = 0
            batch.delivery = 0
            batch.size = size
            self._batch = batch
            self.batches.append(batch)
            return
        batch.payloads.append(payload)
        batch.size += size

    def _on_control(self, opcode: int, body: bytes) -> None:
        if opcode == PING:
            if self._goodbye_sent:
                return
            if len(self._control) > limits.WS_CONTROL_QUEUE_BYTES:  # section 5.5.3: the latest would do
                self.pings_ignored += 1
                return
            self._say(PONG, body)
        elif opcode == PONG:
            if len(body) == TOKEN_BYTES and any(body):
                self._events.append(Pong(int.from_bytes(body, "big")))
        else:
            self._on_close(body)

    def _on_close(self, body: bytes) -> None:
        status = NO_STATUS
        reason = ""
        if body:
            if len(body) < STATUS_BYTES:
                raise RemoteProtocolError("a CLOSE of one byte")
            status = body[0] << 8 | body[1]
            if not may_be_received(status):
                raise RemoteProtocolError(f"status {status} may not stand in a CLOSE")
            try:
                reason = body[STATUS_BYTES:].decode()
            except UnicodeDecodeError:
                raise RemoteProtocolError("the reason of a CLOSE is not UTF-8", CloseCode.INVALID_BODY) from None
        if self._goodbye is not None:
            code, own_reason = self._goodbye
            self._finish(On.CLOSE_CAME, code, own_reason, by_peer=False, agreed=True)
            return
        self._goodbye_sent = True  # section 5.5.1: the answer echoes the status
        self._say(CLOSE, body[:STATUS_BYTES])
        self._finish(On.CLOSE_CAME, from_websocket(status), reason, by_peer=True, agreed=True)

    def _finish(self, event: int, code: int, reason: str, by_peer: bool, agreed: bool = False) -> None:
        """The connection is over: one last frame, one last event."""
        was_open = self.state != HTTP
        self._step(event)
        self.http = None
        self.cut_bytes = self._outbox.size
        self._outbox.clear()
        self.queued_bytes = 0
        self._parts = []
        self._tail = b""
        self._need = 0
        self._utf8 = self._compressor = self._decompressor = None
        if was_open and not self._goodbye_sent and code != CloseCode.LOST:
            self._say_goodbye(code, reason)
        self._events.append(Closed(int(code), reason, by_peer, agreed and code in CLEAN))

    def pending(self) -> bool:
        """Whether `transmit` would give anything."""
        if self._eof_sent:
            return False
        if self._control or self.state == CLOSED:
            return True
        if self.state == HTTP:
            return False
        return self._outbox.size > 0 or (self._goodbye is not None and not self._goodbye_sent)

    def transmit_run(self) -> bytearray | None:
        """See `ByteSession`: messages that were sent in order, and nothing else to say."""
        box = self._outbox
        if self.state != OPEN or not box.size or self._control:
            return None
        run = box.take_run()
        if run is None:
            return None
        self.queued_bytes = 0
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
        if self._control:
            out.append(self._control)
            self._control = bytearray()
        if self.state == CLOSED:
            out.append(EOF)
            self._eof_sent = True
            return out
        box = self._outbox
        if box.size and self.state != HTTP:
            out.extend(box.take(now, TAKE_BYTES))
            box.lapsed = []
            self.queued_bytes = box.size
            if not box.size:
                self.overtaking = False
        if self._goodbye is not None and not self._goodbye_sent and not box.size:
            self._say_goodbye(*self._goodbye)
            out.append(self._control)
            self._control = bytearray()
        return out

    def events(self) -> list[Any]:
        """Established, Pong, Closed and the requests of HTTP since the last call."""
        events = self._events
        if events:
            self._events = []
        return events

    def due(self) -> int:
        """The next of handshake, keep-alive and idle time-out, -1 for none."""
        config = self.config
        if self.state == CLOSED:
            return -1
        if self.state == HTTP:
            if self._masks:
                return self._opened + config.handshake_ns if config.handshake_ns else -1
            return int(self.http.due)
        due = -1
        if config.idle_ns and self._is_reading:
            due = self._heard + config.idle_ns
        if config.keepalive_ns and not self._goodbye_sent:
            ping_at = max(self._heard, self._pinged) + config.keepalive_ns
            if due < 0 or ping_at < due:
                due = ping_at
        return due

    def expire(self, now: int) -> None:
        """Pings a silent peer, gives up on a dead one."""
        config = self.config
        if self.state == CLOSED:
            return
        if self.state == HTTP:
            if not self._masks:
                self.http.expire(now)
                self._take_http()
            elif config.handshake_ns and now >= self._opened + config.handshake_ns:
                self._finish(On.TIMED_OUT, CloseCode.HANDSHAKE_TIMEOUT, "the server did not answer in time", False)
            return
        if config.idle_ns and self._is_reading and now >= self._heard + config.idle_ns:
            self._finish(On.TIMED_OUT, CloseCode.IDLE_TIMEOUT, "nothing heard from the peer", by_peer=False)
            return
        if config.keepalive_ns and not self._goodbye_sent:
            if now >= max(self._heard, self._pinged) + config.keepalive_ns:
                self._pinged = now
                self._say(PING, bytes(TOKEN_BYTES))

    def statistics(self) -> dict[str, int]:
        """Counters by name."""
        return {
            "messages_sent": self.messages_sent,
            "messages_received": self.messages_received,
            "bytes_received": self.bytes_received,
            "queued_bytes": self.queued_bytes,
            "dropped": self._outbox.dropped,
            "expired": self._outbox.expired,
            "pings_ignored": self.pings_ignored,
        }
