"""Lines of text or of anything else without line feeds.

What `nc`, telnet and log shippers speak. Takes `\\n` and `\\r\\n`, gives lines without them. It must never collect a
line beyond its limit while it waits for the end of it.
"""

from __future__ import annotations

from transport import limits
from transport.codec.framing.base import MalformedFrame
from transport.errors import CloseCode, LocalProtocolError, MessageTooLarge


class Lines:
    """The framing "lines".

    Args:
        max_message: longest line in bytes without its ending, both ways.
        ending: written behind each line, b"\\n" or b"\\r\\n"; both are read.
    """

    def __init__(self, max_message: int = limits.LINE_BYTES_MAX, *, ending: bytes = b"\n") -> None:
        if max_message < 1:
            raise LocalProtocolError(f"lines: max_message of {max_message} is not positive")
        if ending not in (b"\n", b"\r\n"):
            raise LocalProtocolError(f"lines: ending {ending!r} is neither b'\\n' nor b'\\r\\n'")
        self.max_message = max_message
        self._ending = ending

    def encode(self, payload: bytes) -> bytes:
        """The line and its ending. Raises LocalProtocolError if the peer would read it as another or as several."""
        if len(payload) > self.max_message:
            raise MessageTooLarge(len(payload), self.max_message, "line")
        if b"\n" in payload:
            raise LocalProtocolError("a line can't hold a line feed")
        if payload.endswith(b"\r"):
            raise LocalProtocolError("a line can't end with a carriage return, which belongs to its ending")
        return payload + self._ending

    def decoder(self) -> LineDecoder:
        """A decoder for a new connection."""
        return LineDecoder(self.max_message)


class LineDecoder:
    """Cuts one connection's input."""

    def __init__(self, max_message: int) -> None:
        self._max = max_message
        self._begun = bytearray()  # a line whose end has not come

    def feed(self, data: bytes) -> list[bytes]:
        """See `FrameDecoder.feed`."""
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._begun:
            self._begun += lines[0]
            lines[0] = bytes(self._begun)
            self._begun = bytearray()
        longest = self._max
        for index, line in enumerate(lines):
            if line[-1:] == b"\r":
                lines[index] = line[:-1]
            if len(lines[index]) > longest:
                raise self._refusal(lines[:index])
        self._begun += rest
        # One byte more may come before the line feed, if it is a carriage return.
        if len(self._begun) > longest + (self._begun[-1:] == b"\r"):
            raise self._refusal(lines)
        return lines

    def eof(self) -> None:
        """See `FrameDecoder.eof`."""
        if self._begun:
            raise MalformedFrame("truncated frame: the stream ended within a line", CloseCode.LOST)

    def _refusal(self, lines: list[bytes]) -> MalformedFrame:
        return MalformedFrame(f"a line is over the limit of {self._max} bytes", CloseCode.TOO_LARGE, lines)
