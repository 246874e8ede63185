"""The msgpack codec, on the msgpack package.

Reuses its packers (a third of the time of `packb`) and walks every body with `transport.codec.scan`: a received one
before anything is built from it, a sent one so that a program learns at `send` what its peer would refuse.
It must never build an extension type that was not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from msgpack import ExtType, Packer, Timestamp, unpackb

from transport import limits
from transport.codec.explain import explain, is_utf8, told
from transport.codec.scan import DONE, Scanner
from transport.errors import CodecError, LocalProtocolError

_DONE = DONE  # a C integer when compiled
KITS_MAX = 8  # more are in use at once only while extension types nest or threads share a codec
TIMESTAMP = -1

_PACKED_AS_THEY_ARE = (int, float, str, bytes, bytearray, memoryview, list, tuple, dict, ExtType, Timestamp)

Extension = tuple[type, Callable[[Any], bytes], Callable[[bytes], Any]]


class _Kit:
    """What one call at a time may use: a packer and a scanner."""

    __slots__ = ("pack", "scanner")

    def __init__(self, pack: Callable[[Any], bytes], scanner: Scanner) -> None:
        self.pack = pack
        self.scanner = scanner


class MsgpackCodec:
    """Messages of None, bool, int (64 bits), float, str, bytes, list, dict, and opted-in extension types.

    Tuples arrive as lists. Map keys are str or bytes unless `text_keys` is false, which hands a peer the choice of
    hash values. Limits: depth 32, 1,000,000 elements, 65,536 entries in one map; see `transport.limits`.

    Args:
        ext: by code 0-127: (type, pack to bytes, unpack from bytes). Exact types, not their subclasses.
        default: gives something packable for an object of an unknown type, as in `msgpack.packb`.
        ext_hook: called with (code, data) for codes that `ext` does not list, which enables all codes 0-127.
        datetimes: aware `datetime` objects travel as msgpack timestamps, and arrive in UTC.
        tuples: arrays arrive as tuples.
        text_keys: see above.

    Raises:
        LocalProtocolError: an extension code out of range, or an entry that is no such triple.
    """

    def __init__(
        self,
        ext: Mapping[int, Extension] | None = None,
        *,
        default: Callable[[Any], Any] | None = None,
        ext_hook: Callable[[int, bytes], Any] | None = None,
        datetimes: bool = False,
        tuples: bool = False,
        text_keys: bool = True,
    ) -> None:
        self.name = "msgpack"
        self._unpackers: dict[int, Callable[[bytes], Any]] = {}
        self._packers: dict[type, tuple[int, Callable[[Any], bytes]]] = {}
        for code, entry in (ext or {}).items():
            _check_extension(code, entry)
            self._packers[entry[0]] = (code, entry[1])
            self._unpackers[code] = entry[2]
        self._default = default
        self._ext_hook = ext_hook
        self._datetimes = datetimes
        self._text_keys = text_keys
        codes = set(range(128)) if ext_hook is not None else set(self._unpackers)
        if datetimes:
            codes.add(TIMESTAMP)
        self._codes = frozenset(codes)
        self._options: dict[str, Any] = {"use_list": not tuples, "strict_map_key": text_keys}
        if codes:
            self._options["ext_hook"] = self._unpack_ext
        if datetimes:
            self._options["timestamp"] = 3
        self._plain = not codes and not tuples and text_keys  # unpackb needs no keywords, each of which costs time
        self._kits = [self._new_kit()]

    def encode(self, message: Any) -> bytes:
        """The message as msgpack.

        Raises:
            CodecError: a type, an integer, a depth or a count that can't travel; the text says where in the message.
        """
        kit = self._kits.pop() if self._kits else self._new_kit()
        try:
            payload = kit.pack(message)
        except Exception as error:  # whatever a user's pack function raises
            raise self._unencodable(message, told(error)) from error
        if kit.scanner.check(payload) != _DONE:
            raise self._unencodable(message, kit.scanner.explain())
        if len(payload) <= limits.CODEC_BUFFER_BYTES and len(self._kits) < KITS_MAX:
            self._kits.append(kit)
        return payload

    def decode(self, payload: bytes | bytearray | memoryview) -> Any:
        """The message in a body.

        Raises:
            CodecError: it is malformed, over a limit, followed by more, or holds an extension type not enabled.
        """
        body = payload if type(payload) is bytes else bytes(payload)
        kit = self._kits.pop() if self._kits else self._new_kit()
        scanner = kit.scanner
        if scanner.check(body) != _DONE:
            raise CodecError(f"undecodable msgpack at byte {scanner.consumed}: {scanner.explain()}")
        if scanner.consumed != len(body):
            raise CodecError(f"undecodable msgpack: {len(body) - scanner.consumed} bytes behind the message")
        if len(self._kits) < KITS_MAX:
            self._kits.append(kit)
        try:
            return unpackb(body) if self._plain else unpackb(body, **self._options)
        except Exception as error:  # a bad body makes a user's unpack function raise anything
            raise CodecError(f"undecodable msgpack: {told(error)}") from error

    def _new_kit(self) -> _Kit:
        default = self._pack_default if self._packers or self._default is not None else None
        packer = Packer(default=default, datetime=self._datetimes)
        return _Kit(packer.pack, Scanner(self._codes, False, self._text_keys))

    def _pack_default(self, value: Any) -> Any:
        found = self._packers.get(type(value))
        if found is not None:
            return ExtType(found[0], bytes(found[1](value)))
        if self._default is not None:
            return self._default(value)
        raise TypeError(f"can't serialize {type(value).__name__!r}")

    def _unpack_ext(self, code: int, data: bytes) -> Any:
        unpack = self._unpackers.get(code)
        if unpack is not None:
            return unpack(data)
        assert self._ext_hook is not None, "the scan lets no other code through"
        return self._ext_hook(code, data)

    def _unencodable(self, message: Any, reason: str) -> CodecError:
        found = explain(message, self._judge, self._judge_key, limits.MSGPACK_DEPTH_MAX)
        return CodecError(f"can't encode {found or 'message: ' + reason}")

    def _judge(self, value: Any) -> str:
        if value is None or isinstance(value, float | bytes | bytearray | memoryview):
            return ""
        if isinstance(value, int):
            return "" if -(2**63) <= value < 2**64 else "an int beyond 64 bits"
        if isinstance(value, str):
            return "" if value.isascii() or is_utf8(value) else "a str with surrogates"
        if self._default is not None or type(value) in self._packers:
            return ""
        if isinstance(value, datetime):
            if self._datetimes:
                return "" if value.tzinfo is not None else "a datetime without a time zone"
            return "a datetime (MsgpackCodec(datetimes=True) carries them)"
        return f"{type(value).__name__} has no form in msgpack (MsgpackCodec(ext=...) or default= gives it one)"

    def _judge_key(self, key: Any) -> str:
        if self._text_keys and not isinstance(key, str | bytes):
            return f"is {type(key).__name__}; keys are str or bytes, or else MsgpackCodec(text_keys=False) at both ends"
        return self._judge(key)


def _check_extension(code: object, entry: object) -> None:
    if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code <= 127:
        raise LocalProtocolError(f"ext: code {code!r} is not a whole number from 0 to 127")
    if not (isinstance(entry, tuple) and len(entry) == 3 and isinstance(entry[0], type)):
        raise LocalProtocolError(f"ext: code {code} needs (type, pack, unpack)")
    if not (callable(entry[1]) and callable(entry[2])):
        raise LocalProtocolError(f"ext: code {code}: pack and unpack must be callable")
    if issubclass(entry[0], _PACKED_AS_THEY_ARE):
        raise LocalProtocolError(f"ext: {entry[0].__name__} is packed as the built-in type it derives from")
