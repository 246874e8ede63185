"""What a codec is, and how one is found by name.

A codec turns one message into bytes and back; any object with `encode` and `decode` will do. It must never keep a
reference to what it was given, and must refuse hostile bytes with `CodecError` before it builds anything large.
"""

from __future__ import annotations

from typing import Any, Protocol, cast, runtime_checkable

from transport.errors import LocalProtocolError

NAMES = ("msgpack", "raw", "json")


@runtime_checkable
class Codec(Protocol):
    """Messages to bytes and back. `name` is announced to the peer where the wire can, and must be the peer's.

    An object without a name will do too; then nothing is announced or compared.
    """

    name: str

    def encode(self, message: Any) -> bytes:
        """The body for one message. Raises CodecError when the message has none."""

    def decode(self, payload: bytes) -> Any:
        """The message in one body. Raises CodecError for whatever a peer may have sent that is none."""


_ready: dict[str, Codec] = {}


def resolve(codec: str | object) -> Codec:
    """A codec by name ("msgpack", "raw", "json": one shared object each), or the user's own object as it is.

    Raises:
        LocalProtocolError: no such name, or an object without `encode` and `decode`.
    """
    if isinstance(codec, str):
        found = _ready.get(codec)
        if found is None:
            found = _ready[codec] = _make(codec)
        return found
    if isinstance(codec, type):
        raise LocalProtocolError(f"codec: {codec.__name__} is a class; give an object: {codec.__name__}(...)")
    for method in ("encode", "decode"):
        if not callable(getattr(codec, method, None)):
            raise LocalProtocolError(
                f"codec: {type(codec).__name__} has no {method}(); a codec is one of {', '.join(NAMES)} or an object "
                "with encode(message) -> bytes and decode(payload) -> object"
            )
    return cast("Codec", codec)


def _make(name: str) -> Codec:
    # Imported here: msgpack and json cost 2-5 ms each, and most programs need one of them.
    if name == "msgpack":
        from transport.codec.msgpack import MsgpackCodec

        return MsgpackCodec()
    if name == "raw":
        from transport.codec.raw import RawCodec

        return RawCodec()
    if name == "json":
        from transport.codec.json import JsonCodec

        return JsonCodec()
    hint = " (for typed messages give MsgspecCodec(Type))" if name == "msgspec" else ""
    raise LocalProtocolError(f"codec: {name[:40]!r} is none of {', '.join(NAMES)}{hint}")
