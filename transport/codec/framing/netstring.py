"""Netstrings: `5:hello,` (D. J. Bernstein, 1997).

A length in decimal digits, a colon, the payload, a comma. Read strictly: no leading zeros, no signs, no spaces. It
must never read more digits than its limit has, and never set memory aside for a length.
"""

from __future__ import annotations

from transport.codec.framing.base import MalformedFrame
from transport.errors import CloseCode, LocalProtocolError
from transport.machine import Buffer

BY_REFERENCE_BYTES = 16 * 1024  # from here on a payload is not copied between its length and its comma


class Netstring:
    """The framing "netstring".

    Args:
        max_message: largest payload in bytes, both ways.
    """

    def __init__(self, max_message: int) -> None:
        if max_message < 1:
            raise LocalProtocolError(f"netstring: max_message of {max_message} is not positive")
        self.max_message = max_message

    def encode(self, payload: bytes) -> bytes | list[Buffer]:
        """The payload as a netstring."""
        size = len(payload)
        if size < BY_REFERENCE_BYTES:
            return b"%d:%b," % (size, payload)
        return [b"%d:" % size, payload, b","]

    def decoder(self) -> NetstringDecoder:
        """A decoder for a new connection."""
        return NetstringDecoder(self.max_message)


class NetstringDecoder:
    """Cuts one connection's input."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._digits_max = len(str(max_message))
        self._head = b""  # digits without their colon
        self._body = bytearray()  # a payload without its comma
        self._missing = 0  # bytes of that, with the comma

    def feed(self, data: bytes) -> list[bytes]:
        """See `FrameDecoder.feed`."""
        payloads: list[bytes] = []
        pos = 0
        if self._missing:
            if len(data) < self._missing:
                self._body += data
                self._missing -= len(data)
                return payloads
            pos = self._missing
            self._body += data[:pos]
            if self._body.pop() != 0x2C:
                raise self._no_comma(payloads)
            payloads.append(bytes(self._body))
            self._body = bytearray()
            self._missing = 0
        elif self._head:
            data = self._head + data
            self._head = b""
        end = len(data)
        while pos < end:
            colon = data.find(b":", pos, pos + self._digits_max + 1)
            if colon < 0:
                self._check(data[pos : pos + self._digits_max + 1], payloads)
                if end - pos > self._digits_max:
                    raise self._too_large(payloads)
                self._head = data[pos:]
                break
            digits = data[pos:colon]
            self._check(digits, payloads)
            size = int(digits) if digits else -1
            if size < 0:
                raise MalformedFrame("netstring: no digits before the colon", CloseCode.PROTOCOL_ERROR, payloads)
            if size > self._max:
                raise self._too_large(payloads)
            pos = colon + 1
            if size + 1 > end - pos:
                self._body = bytearray(data[pos:])
                self._missing = size + 1 - (end - pos)
                break
            if data[pos + size] != 0x2C:
                raise self._no_comma(payloads)
            payloads.append(data[pos : pos + size])
            pos += size + 1
        return payloads

    def eof(self) -> None:
        """See `FrameDecoder.eof`."""
        if self._head or self._missing:
            raise MalformedFrame("truncated frame: the stream ended within a netstring", CloseCode.LOST)

    def _check(self, digits: bytes, payloads: list[bytes]) -> None:
        if digits and not digits.isdigit():
            raise MalformedFrame("netstring: a length is of digits only", CloseCode.PROTOCOL_ERROR, payloads)
        if digits[:1] == b"0" and len(digits) > 1:
            raise MalformedFrame("netstring: a length has no leading zeros", CloseCode.PROTOCOL_ERROR, payloads)

    def _no_comma(self, payloads: list[bytes]) -> MalformedFrame:
        return MalformedFrame("netstring: no comma behind the payload", CloseCode.PROTOCOL_ERROR, payloads)

    def _too_large(self, payloads: list[bytes]) -> MalformedFrame:
        return MalformedFrame(f"a netstring is over the limit of {self._max} bytes", CloseCode.TOO_LARGE, payloads)
