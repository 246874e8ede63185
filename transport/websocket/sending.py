"""The sending half of a WebSocket session: messages and control frames into bytes that wait to be written.

It must never let another message come between the fragments of one, nor compress what may yet be dropped.
"""

from __future__ import annotations

from collections.abc import Callable

from transport import limits
from transport.errors import CloseCode, CodecError, ConnectionClosed, WouldBlock, to_websocket
from transport.session import ByteSession
from transport.stream.outbox import BY_REFERENCE_BYTES, RUN_BYTES, Entry, Outbox
from transport.websocket import frames
from transport.websocket.config import WebSocketConfig
from transport.websocket.deflate import Compressor

CLOSING = 2  # states.Phase.CLOSING as a plain number
FIN, RSV1 = 0x80, 0x40
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
TOKEN_BYTES = 8  # of our own pings; the keep-alive's token is 0
STATUS_BYTES = 2
KEYS_BYTES = limits.WS_KEYS_BYTES
REFERENCE_BYTES, SEAL_BYTES = BY_REFERENCE_BYTES, RUN_BYTES


class SendingHalf(ByteSession):
    """Commands of a WebSocket session that send."""

    def __init__(self, config: WebSocketConfig, masks: bool, entropy: Callable[[int], bytes]) -> None:
        ByteSession.__init__(self)
        self.send_max = config.max_message
        self.config = config
        self._entropy = entropy
        self._masks = masks
        self._outbox = Outbox()
        self._control = bytearray()
        self._head = FIN | (TEXT if config.text else BINARY)
        self._is_text = config.text
        self._kinds = False  # each message has its kind in front
        self._fragment = config.fragment
        self._compressor: Compressor | None = None
        self._keys = b""
        self._keys_at = 0
        self._goodbye: tuple[int, str] | None = None
        self._goodbye_sent = False
        self.messages_sent = 0

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one message; see `MessageSession.send`.

        Raises:
            CodecError: it is to be sent as text, and is no UTF-8.
        """
        if self.state >= CLOSING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")
        if self._kinds:
            self._head = FIN | payload[0]
            self._is_text = False  # the codec has encoded it
            payload = payload[1:]
        if self._is_text and not frames.is_utf8(payload):
            raise CodecError("a message that is sent as text (option text) is not UTF-8")
        box = self._outbox
        size = len(payload)
        if (
            delivery >= 2
            or priority
            or expires_at
            or box.floor >= 0
            or self._compressor is not None
            or (self._fragment and size > self._fragment)
        ):
            self._send_special(payload, delivery, priority, expires_at)
        else:
            self.sent_total += self._append(box, payload, size, self._head)
            self.queued_bytes = box.size
        self.messages_sent += 1

    def _append(self, box: Outbox, payload: bytes, size: int, head: int) -> int:
        """Writes one frame into the open run and returns its size."""
        key = self._next_key() if self._masks else -1
        if size >= REFERENCE_BYTES:
            start = frames.header(head, size, key)
            box.add_large(start, payload if key < 0 else frames.cut(payload, 0, size, key, 0))
            return len(start) + size
        total = frames.append(box.run, head, payload, key)
        box.size += total
        if len(box.run) >= SEAL_BYTES:
            box.seal()
        return total

    def _next_key(self) -> int:
        """A masking key for one frame (section 5.3)."""
        at = self._keys_at
        if at >= len(self._keys):
            self._keys = self._entropy(KEYS_BYTES)
            at = 0
        keys = self._keys
        self._keys_at = at + 4
        key = keys[at]  # byte by byte: a C int has no room for the highest bit
        key = key << 8 | keys[at + 1]
        key = key << 8 | keys[at + 2]
        return key << 8 | keys[at + 3]

    def _send_special(self, payload: bytes, delivery: int, priority: int, expires_at: int) -> None:
        """A message that may expire, overtake or be dropped, that is compressed, or that goes in fragments.

        Raises:
            WouldBlock: there are too many of the former already.
        """
        box = self._outbox
        if delivery < 2 and not priority and box.ordering() and delivery == 0:
            priority = box.pinned(0)
        if delivery < 2 and not priority and not expires_at:
            if box.ordering() and delivery == 0:
                box.note(0)
            self.sent_total += self._append_whole(box, payload)
        else:
            if box.held >= limits.QUEUED_MESSAGES_MAX:
                raise WouldBlock(f"{box.held} messages with expiry, priority or unreliable delivery are queued")
            # Never compressed: one that is dropped or overtakes would leave the peer's window another than ours.
            wire = self._wire(payload, self._head)
            entry = Entry(wire[0], wire[1], 0, delivery, priority, expires_at)
            self.overtaking = True
            self.sent_total += entry.size
            box.add(entry)
        self.queued_bytes = box.size

    def _append_whole(self, box: Outbox, payload: bytes) -> int:
        head = self._head
        if self._compressor is not None and len(payload) >= self.config.compress_above:
            payload = self._compressor.compress(payload)
            head |= RSV1
        if not self._fragment or len(payload) <= self._fragment:
            return self._append(box, payload, len(payload), head)
        start, rest = self._wire(payload, head)
        box.add_large(start, rest)
        return len(start) + len(rest)

    def _wire(self, payload: bytes, head: int) -> tuple[bytes, bytes]:
        """A message as it is written: the first header, and everything behind it.

        Fragments (section 5.4) stay one piece, so that no other message comes between them.
        """
        size = len(payload)
        step = self._fragment
        if not step or size <= step:
            key = self._next_key() if self._masks else -1
            return frames.header(head, size, key), frames.cut(payload, 0, size, key, 0)
        first = b""
        rest: list[bytes] = []
        at = 0
        while at < size:
            end = min(size, at + step)
            key = self._next_key() if self._masks else -1
            start = frames.header(((head & ~FIN) if not at else 0) | (FIN if end == size else 0), end - at, key)
            if at:
                rest.append(start)
            else:
                first = start
            rest.append(frames.cut(payload, at, end, key, 0))
            at = end
        return first, b"".join(rest)

    def _say(self, opcode: int, body: bytes) -> None:
        """Queues a control frame, which goes before messages that wait (section 5.5)."""
        frames.append(self._control, FIN | opcode, body, self._next_key() if self._masks else -1)

    def ping(self, token: int, now: int) -> None:
        """Sends a ping; `Pong(token)` follows. Token 0 is the keep-alive's own.

        Raises:
            WouldBlock: the peer has read no control frame for long.
        """
        if self.state >= CLOSING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")
        if len(self._control) > limits.WS_CONTROL_QUEUE_BYTES:
            raise WouldBlock(f"{len(self._control)} bytes of pings and answers wait for the peer")
        self._say(PING, token.to_bytes(TOKEN_BYTES, "big"))

    def _say_goodbye(self, code: int, reason: str) -> None:
        self._goodbye_sent = True
        text = reason.encode("utf-8", "replace")[: limits.WS_REASON_BYTES_MAX].decode("utf-8", "ignore").encode()
        self._say(CLOSE, to_websocket(code).to_bytes(STATUS_BYTES, "big") + text)
