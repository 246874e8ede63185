"""Bare msgpack values, one behind the other: each says itself where it ends.

For peers that write `packb` results into a socket. Ends are found by the walk of `transport.codec.scan`, which goes on
from chunk to chunk and holds the same limits as the codec. It must never build a value: that is the codec's.
"""

from __future__ import annotations

from transport.codec import memory
from transport.codec.framing.base import MalformedFrame
from transport.codec.scan import DONE, RESERVED, ROOM, WANTS_MORE, Scanner
from transport.errors import CloseCode, LocalProtocolError

_DONE, _WANTS_MORE = DONE, WANTS_MORE  # C integers when compiled


class MsgpackStream:
    """The framing "msgpack". Extension types and keys of any type pass: allowing them is the codec's.

    Args:
        max_message: largest value in bytes, both ways.
    """

    def __init__(self, max_message: int) -> None:
        if max_message < 1:
            raise LocalProtocolError(f"msgpack: max_message of {max_message} is not positive")
        self.max_message = max_message

    def encode(self, payload: bytes) -> bytes:
        """The payload itself. Raises LocalProtocolError unless it is exactly one msgpack value."""
        scanner = Scanner(frozenset(), True, False)
        if scanner.check(payload) != DONE:
            raise LocalProtocolError(f"the msgpack framing carries msgpack values: {scanner.explain()}")
        if scanner.consumed != len(payload):
            raise LocalProtocolError("the msgpack framing carries one value a message, here is more behind it")
        return payload

    def decoder(self) -> MsgpackStreamDecoder:
        """A decoder for a new connection."""
        return MsgpackStreamDecoder(self.max_message)


class MsgpackStreamDecoder:
    """Cuts one connection's input."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._scanner = Scanner(frozenset(), True, False)
        self._scanner.begin(max_message)
        self._value = bytearray()  # what has come of a value, as far as it is walked
        self._tail = b""  # what has come of a header behind that, at most five bytes

    def feed(self, data: bytes) -> list[bytes]:
        """See `FrameDecoder.feed`."""
        payloads: list[bytes] = []
        scanner = self._scanner
        if self._tail:
            data = self._tail + data
            self._tail = b""
        end = len(data)
        start = 0
        while start < end:
            pos = scanner.advance(data, start)
            if scanner.state == _DONE:
                if self._value:
                    self._value += memory.cut(data, start, pos)
                    payloads.append(bytes(self._value))
                    self._value = bytearray()
                else:
                    payloads.append(memory.cut(data, start, pos))
                scanner.begin(self._max)
                start = pos
            elif scanner.state == _WANTS_MORE:
                self._value += memory.cut(data, start, pos)
                self._tail = memory.cut(data, pos, end)
                break
            else:
                raise self._refusal(payloads)
        return payloads

    def eof(self) -> None:
        """See `FrameDecoder.eof`."""
        if self._value or self._tail:
            raise MalformedFrame("truncated frame: the stream ended within a msgpack value", CloseCode.LOST)

    def _refusal(self, payloads: list[bytes]) -> MalformedFrame:
        state = self._scanner.state
        if state == ROOM:
            return MalformedFrame(
                f"a msgpack value is over the limit of {self._max} bytes", CloseCode.TOO_LARGE, payloads
            )
        code = CloseCode.PROTOCOL_ERROR if state == RESERVED else CloseCode.INVALID_BODY
        return MalformedFrame(f"msgpack: {self._scanner.explain()}", code, payloads)
