"""Typed messages through the msgspec package (extra `msgspec`).

A body that is not of the declared type is refused as it is parsed, so that a handler sees only what it was written for.
Bodies are walked for depth and counts first, as in the other codecs. Importing this file must not need msgspec; making
a codec does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from transport.codec.explain import told
from transport.codec.scan import DEPTH, DONE, Scanner, scan_json
from transport.errors import CodecError, LocalProtocolError

TIMESTAMP = -1


class MsgspecCodec:
    """Messages of one type: a `msgspec.Struct`, a dataclass, a TypedDict, a union of tagged structs, and so on.

    Speaks plain msgpack or JSON, so that the peer may use any codec of that format, and announces itself so.

    Args:
        type: of the messages received. Sent ones are not checked, only encoded.
        format: "msgpack" or "json".
        strict: False lets msgspec convert, as "1" to 1.
        enc_hook: gives something encodable for an object that msgspec does not know.
        dec_hook: called with (type, value) to make an object that msgspec does not know.
        ext_hook: called with (code, data) for msgpack extension types, all of which it enables.

    Raises:
        LocalProtocolError: msgspec is not installed, or can't handle the type.
    """

    def __init__(
        self,
        type: Any = Any,  # noqa: A002  the word that msgspec uses
        format: Literal["msgpack", "json"] = "msgpack",  # noqa: A002
        *,
        strict: bool = True,
        enc_hook: Callable[[Any], Any] | None = None,
        dec_hook: Callable[[Any, Any], Any] | None = None,
        ext_hook: Callable[[int, memoryview], Any] | None = None,
    ) -> None:
        try:
            import msgspec
        except ImportError as error:
            raise LocalProtocolError("MsgspecCodec needs msgspec: pip install msgspec") from error
        if format not in ("msgpack", "json"):
            raise LocalProtocolError(f"format: {format!r} is neither 'msgpack' nor 'json'")
        if ext_hook is not None and format == "json":
            raise LocalProtocolError("ext_hook: JSON has no extension types")
        self.name: str = format
        # The timestamp is let through: whether a datetime may stand there is the type's to say.
        self._codes = frozenset(range(-128, 128)) if ext_hook is not None else frozenset({TIMESTAMP})
        try:
            if format == "msgpack":
                self._encode = msgspec.msgpack.Encoder(enc_hook=enc_hook).encode
                self._decode = msgspec.msgpack.Decoder(type, strict=strict, dec_hook=dec_hook, ext_hook=ext_hook).decode
            else:
                self._encode = msgspec.json.Encoder(enc_hook=enc_hook).encode
                self._decode = msgspec.json.Decoder(type, strict=strict, dec_hook=dec_hook).decode
        except (TypeError, NotImplementedError) as error:
            raise LocalProtocolError(f"type: {told(error)}") from error

    def encode(self, message: Any) -> bytes:
        """The message in the codec's format.

        Raises:
            CodecError: msgspec can't encode it, or its depth or counts are over a limit.
        """
        try:
            payload = self._encode(message)
        except Exception as error:  # whatever a user's hook raises
            raise CodecError(f"can't encode message: {told(error)}") from error
        refused = self._over(payload)
        if refused:
            raise CodecError(f"can't encode message: {refused}")
        return payload

    def decode(self, payload: bytes | bytearray | memoryview) -> Any:
        """The message in a body, as an object of the codec's type.

        Raises:
            CodecError: it is malformed, over a limit, or of another type; the text names the place.
        """
        body = bytes(payload)
        refused = self._over(body)
        if refused:
            raise CodecError(f"undecodable {self.name}: {refused}")
        try:
            return self._decode(body)
        except Exception as error:  # a bad body makes a user's hook raise anything
            raise CodecError(f"undecodable {self.name}: {told(error)}") from error

    def _over(self, payload: bytes) -> str:
        """Why the walk refuses `payload`, or ""."""
        if self.name == "json":
            state = scan_json(payload)
            return "" if state == DONE else "nested too deep" if state == DEPTH else "too many elements"
        # Keys of other types than text are the declared type's to allow.
        scanner = Scanner(self._codes, False, False)
        if scanner.check(payload) != DONE:
            return scanner.explain()
        left = len(payload) - scanner.consumed
        return f"{left} bytes behind the message" if left else ""
