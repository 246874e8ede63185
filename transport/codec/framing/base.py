"""What a framing is, how one is found by name, and how to write your own.

A framing cuts messages from an ordered pipe of bytes, without sockets and without time. It must never set memory aside
for a length that it has not compared with its limit, and never look twice at bytes it has seen: input comes in pieces
of any size, down to single bytes.

Ready by name: "length32", "msgpack", "lines", "netstring", "bytes" ("message" is our own, with channels and a goodbye,
and lives in `transport.stream.session`). To speak somebody else's protocol give an object with two methods:

    class Semicolons:
        def encode(self, payload):                 # one message as it goes out
            return payload + b";"

        def decoder(self):                         # one for each connection
            return SemicolonDecoder()

    class SemicolonDecoder:
        def __init__(self):
            self.rest = b""

        def feed(self, data):                      # what came: gives the payloads that are complete now
            *payloads, self.rest = (self.rest + data).split(b";")
            if len(self.rest) > 1000:
                raise MalformedFrame("no semicolon within 1000 bytes", CloseCode.TOO_LARGE, payloads)
            return payloads

        def eof(self):                             # the peer has ended: is that allowed here?
            if self.rest:
                raise MalformedFrame("the last part has no semicolon")

    await transport.connect("tcp://host:port", framing=Semicolons(), codec="raw")

`encode` may also give a list of buffers, which saves the copy of a large payload. An optional attribute `max_message`
on the framing is the largest payload it takes. Anything but a `RemoteProtocolError` that a decoder raises is taken for
a mistake in it: the connection ends with INTERNAL_ERROR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, cast, runtime_checkable

from transport import limits
from transport.errors import CloseCode, LocalProtocolError, RemoteProtocolError
from transport.machine import Buffer


class MalformedFrame(RemoteProtocolError):
    """The peer's bytes are no frame, or one over a limit.

    Args:
        reason: goes into the close reason.
        code: a close code.
        payloads: what was complete before it in the same input; they are delivered, then the connection ends.
    """

    def __init__(self, reason: str, code: int = CloseCode.PROTOCOL_ERROR, payloads: Iterable[bytes] = ()) -> None:
        super().__init__(reason, code)
        self.payloads = list(payloads)


@runtime_checkable
class FrameDecoder(Protocol):
    """Cuts the input of one connection."""

    def feed(self, data: bytes) -> list[bytes]:
        """Takes what came, never empty; gives the payloads that it completes, in order.

        Raises:
            RemoteProtocolError: the input is malformed or over a limit; best as `MalformedFrame`, which can carry the
                payloads that came before. The decoder is not used again.
        """

    def eof(self) -> None:
        """The peer's stream has ended. Raises RemoteProtocolError if that cuts a frame short."""


@runtime_checkable
class Framing(Protocol):
    """Cuts messages from a pipe of bytes. One object may serve many connections: state belongs to the decoders."""

    def encode(self, payload: bytes) -> bytes | Sequence[Buffer]:
        """One message as it goes out, in one or several buffers. Raises LocalProtocolError if it can't go."""

    def decoder(self) -> FrameDecoder:
        """A decoder for a new connection."""


def _length32(max_message: int) -> Framing:
    from transport.codec.framing.length32 import Length32

    return Length32(max_message)


def _msgpack(max_message: int) -> Framing:
    from transport.codec.framing.msgpack_stream import MsgpackStream

    return MsgpackStream(max_message)


def _lines(max_message: int) -> Framing:
    from transport.codec.framing.lines import Lines

    return Lines(min(max_message, limits.LINE_BYTES_MAX))


def _netstring(max_message: int) -> Framing:
    from transport.codec.framing.netstring import Netstring

    return Netstring(max_message)


def _bytes(max_message: int) -> Framing:
    from transport.codec.framing.chunks import Chunks

    return Chunks(max_message)


_MAKERS: dict[str, Callable[[int], Framing]] = {
    "length32": _length32,
    "msgpack": _msgpack,
    "lines": _lines,
    "netstring": _netstring,
    "bytes": _bytes,
}
NAMES = tuple(_MAKERS)


def resolve_framing(framing: str | object, max_message: int) -> Framing:
    """A framing by name with that limit, or the user's own object as it is.

    Lines by name have at most `LINE_BYTES_MAX`; for longer ones give `Lines(bytes)`.

    Raises:
        LocalProtocolError: no such name, or an object that lacks `encode` or `decoder`.
    """
    if isinstance(framing, str):
        make = _MAKERS.get(framing)
        if make is None:
            if framing == "message":
                raise LocalProtocolError("framing: 'message' is the session's own and no framing of a plain pipe")
            raise LocalProtocolError(f"framing: {framing[:40]!r} is none of message, {', '.join(NAMES)}")
        return make(max_message)
    if isinstance(framing, type):
        raise LocalProtocolError(f"framing: {framing.__name__} is a class; give an object: {framing.__name__}(...)")
    for method in ("encode", "decoder"):
        if not callable(getattr(framing, method, None)):
            raise LocalProtocolError(
                f"framing: {type(framing).__name__} has no {method}(); a framing is one of message, "
                f"{', '.join(NAMES)}, or an object with encode(payload) and decoder()"
            )
    return cast("Framing", framing)


def new_decoder(framing: Framing) -> FrameDecoder:
    """A decoder of `framing`, checked.

    Raises:
        LocalProtocolError: what it gave lacks `feed` or `eof`.
    """
    decoder = framing.decoder()
    for method in ("feed", "eof"):
        if not callable(getattr(decoder, method, None)):
            raise LocalProtocolError(
                f"framing: {type(framing).__name__}.decoder() gave {type(decoder).__name__}, which has no {method}()"
            )
    return decoder
