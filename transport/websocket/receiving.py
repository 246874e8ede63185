"""The receiving half of a WebSocket session: bytes into frames, frames into messages (RFC 6455 sections 5 and 8.1).

Section numbers are those of RFC 6455. It must never allocate for a length it has not checked, nor build more at once
than its budget because of a few compressed bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

from transport import limits
from transport.errors import CloseCode, RemoteProtocolError
from transport.session import Batch
from transport.websocket import frames
from transport.websocket.config import WebSocketConfig
from transport.websocket.deflate import Decompressor
from transport.websocket.kinds import KIND_BINARY, KIND_TEXT
from transport.websocket.sending import SendingHalf

OPEN, CLOSED = 1, 3  # states.Phase as plain numbers
FIN, RSV1, RSV, OPCODE = 0x80, 0x40, 0x70, 0x0F
TEXT, BINARY, CLOSE, PONG = 1, 2, 8, 10
WHOLE_TEXT, WHOLE_BINARY = 0x81, 0x82  # with FIN, and no reserved bit
INFLATE_TURN, INFLATE_COST = limits.WS_INFLATE_TURN_BYTES, limits.WS_INFLATE_COST_BYTES
MERGE_BYTES = 4 * limits.KIB  # smaller pieces of a message are merged, or tiny reads would amplify memory


class ReceivingHalf(SendingHalf):
    """What a WebSocket session makes of the bytes that come."""

    def __init__(self, config: WebSocketConfig, is_client: bool, entropy: Callable[[int], bytes]) -> None:
        SendingHalf.__init__(self, config, is_client, entropy)
        self._mask_bit = 0 if is_client else 0x80  # of what comes
        self._batch: Batch | None = None
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
        self._inflated = 0  # built from compressed messages in this turn
        self._receive_max = config.max_message
        self.messages_received = 0

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
            if self._inflated >= INFLATE_TURN:  # section 10.4: a few bytes must not cost others their time, nor memory
                self.is_full = True
                break
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
            self._inflated += len(payload) + INFLATE_COST
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
        """A whole control frame has come."""
        raise NotImplementedError
