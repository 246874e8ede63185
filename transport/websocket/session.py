"""One peer of a WebSocket connection (RFC 6455), as a message session: frames both ways once HTTP has led to them.

Sans-IO. Every message is channel 0, reliable and ordered; WebSocket has no credit, so a reader that falls behind stops
reading and TCP slows the peer down. Section numbers are those of RFC 6455.
It must never allocate for a length it has not checked, never answer what a peer did by raising, and never send a status
that may not stand in a frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transport import limits
from transport.errors import CloseCode, LocalProtocolError, RemoteProtocolError, from_websocket, to_websocket
from transport.machine import EOF, Closed, Established, Pong
from transport.stream.outbox import TAKE_BYTES
from transport.websocket.config import WebSocketConfig
from transport.websocket.deflate import ZLIB_BITS_MIN, Compressor, Decompressor
from transport.websocket.receiving import ReceivingHalf
from transport.websocket.sending import STATUS_BYTES, TOKEN_BYTES
from transport.websocket.states import LIFE, On

HTTP, OPEN, CLOSING, CLOSED = 0, 1, 2, 3  # states.Phase as plain numbers
CLOSE, PING, PONG = 8, 9, 10
CLEAN = (CloseCode.NORMAL, CloseCode.GOING_AWAY)
NO_STATUS = 1005


def may_be_received(status: int) -> bool:
    """Whether a status may stand in a CLOSE frame (section 7.4, and the registry of IANA: 1012 to 1014)."""
    return 1000 <= status <= 1003 or 1007 <= status <= 1014 or 3000 <= status <= 4999


class WebSocketSession(ReceivingHalf):
    """See `transport.session.MessageSession` for the commands.

    Args:
        config: limits and options.
        http: `handshake.ServerSide` or `handshake.ClientSide`.
        entropy: gives so many unpredictable bytes: masking keys (section 5.3).
        now: the time.
    """

    def __init__(self, config: WebSocketConfig, http: Any, entropy: Callable[[int], bytes], now: int) -> None:
        ReceivingHalf.__init__(self, config, http.is_client, entropy)
        self.http = http
        self.request: Any = None  # what the client asked for, on a server
        self.subprotocol = ""
        self._events: list[Any] = []
        self._eof_sent = False
        self._end_waits = False  # the peer's stream has ended behind what `is_full` is about
        self._broken: RemoteProtocolError | None = None  # what is behind what `is_full` is about
        # Times
        self._opened = self._heard = self._pinged = now
        self._is_reading = True
        # Counters
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
            elif code == CloseCode.LOST and self.state != HTTP:
                self.config.count("close_1006")
            self._finish(On.ABORTED, code, reason, by_peer=False)

    def accept(self, now: int, kinds: bool = False) -> None:
        """Switches to frames, on a server whose owner wants the connection; `kinds` as of `kinds.KindsCodec`."""
        if kinds:
            self._kinds = True
            self.send_max += 1
        http = self.http
        behind = http.accept(now)
        self._open(behind, now)
        if http.ended:
            self.receive(b"", now)

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

    @property
    def unwritten(self) -> int:
        """Bytes of answers and control frames that the driver has not asked for."""
        return len(self._control)

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
        if self.is_full:  # the driver does not read, but a loop's transport may give what it had
            if data:
                self._tail += data
            else:
                self._end_waits = True
            return
        if not data:
            where = "in the middle of a message" if self._need or self._tail or self._opcode else "without a CLOSE"
            self.config.count("close_1006")
            self._finish(On.LOST, CloseCode.LOST, f"the peer's stream ended {where}", by_peer=True)
            return
        if not self._goodbye_sent:  # else only its CLOSE is waited for, and not for ever
            self._heard = now
        self.bytes_received += len(data)
        self._receive_frames(data)

    def _receive_frames(self, data: bytes) -> None:
        before = self.messages_received
        self._inflated = 0
        try:
            self._parse(data)
        except RemoteProtocolError as error:
            if self.state == OPEN and self.messages_received != before:
                self._broken = error  # what came before is answered first, if the program answers at once
                self.is_full = True
            else:
                self._fail(error)
        self._batch = None

    def _fail(self, error: RemoteProtocolError) -> None:
        """Section 7.1.7."""
        self.config.count(f"close_{to_websocket(error.code)}")
        self._finish(On.RULE_BROKEN, error.code, error.reason, by_peer=False)

    def _goes_on(self) -> bool:
        """Whether to look at what `is_full` is about: not while the owner, who then stops reading, has enough."""
        return self._is_reading or self._end_waits or self.http is not None

    def _go_on(self, now: int) -> None:
        """Others have had their turn: looks at what came meanwhile."""
        self.is_full = False
        if self.http is not None:
            self.http.go_on(now)
            self._take_http()
            return
        if self._broken is not None:
            self._fail(self._broken)
            return
        data, self._tail = self._tail, b""
        self._receive_frames(data)
        if self._end_waits and not self.is_full and self.state != CLOSED:
            self.receive(b"", now)

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
        self.is_full = http.more
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

    # Control frames

    def _on_control(self, opcode: int, body: bytes) -> None:
        if opcode == PING:
            if self._goodbye_sent:
                return
            if len(self._control) > limits.WS_CONTROL_QUEUE_BYTES:  # section 5.5.3: the latest would do
                self.pings_ignored += 1
                self.config.count("pings_ignored")
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
        self.is_full = False
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
        if len(self._control) > TAKE_BYTES:  # a long answer: what the pipe has no room for stays here
            out.append(self._control[:TAKE_BYTES])
            del self._control[:TAKE_BYTES]
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
            self._heard = now
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
        if self.is_full and self._goes_on():
            return 0
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
        if self.is_full and self._goes_on():
            self._go_on(now)
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
            reason = "the peer has not answered CLOSE" if self._goodbye_sent else "nothing heard from the peer"
            self.config.count("close_1001")
            self._finish(On.TIMED_OUT, CloseCode.IDLE_TIMEOUT, reason, by_peer=False)
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
