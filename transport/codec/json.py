"""The JSON codec, on the standard library.

For peers that speak nothing else. Bodies are walked for depth and number of elements before they are parsed. It must
never write what is no JSON: NaN and infinities are refused both ways, bytes are refused and not guessed at.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from transport import limits
from transport.codec.explain import explain, is_utf8, told
from transport.codec.scan import DEPTH, DONE, scan_json
from transport.errors import CodecError


class JsonCodec:
    """Messages of None, bool, int, float, str, list and dict, as UTF-8 without spaces (RFC 8259).

    Tuples arrive as lists, and keys that are numbers, booleans or None as their text, which is the standard library's
    way. Limits: depth 32, 1,000,000 elements; integers as long as Python converts (4,300 digits).
    """

    name = "json"

    def __init__(self) -> None:
        self._encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def encode(self, message: Any) -> bytes:
        """The message as JSON.

        Raises:
            CodecError: a type, a number, a depth or a count that can't travel; the text says where in the message.
        """
        try:
            payload = self._encoder.encode(message).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise _unencodable(message, told(error)) from error
        state = scan_json(payload)
        if state != DONE:
            raise _unencodable(message, _over(state))
        return payload

    def decode(self, payload: bytes) -> Any:
        """The message in a body.

        Raises:
            CodecError: it is no UTF-8, no JSON, or over a limit.
        """
        state = scan_json(payload)
        if state != DONE:
            raise CodecError(f"undecodable JSON: {_over(state)}")
        try:
            return self._decoder.decode(payload.decode())
        except (ValueError, RecursionError) as error:
            raise CodecError(f"undecodable JSON: {told(error)}") from error


def _over(state: int) -> str:
    if state == DEPTH:
        return f"nested deeper than {limits.JSON_DEPTH_MAX} levels"
    return f"over the limit of {limits.JSON_ELEMENTS_MAX} elements"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _unencodable(message: Any, reason: str) -> CodecError:
    found = explain(message, _judge, _judge_key, limits.JSON_DEPTH_MAX)
    return CodecError(f"can't encode {found or 'message: ' + reason}")


def _judge(value: Any) -> str:
    if value is None or isinstance(value, int):
        return ""
    if isinstance(value, float):
        return "" if value - value == 0 else f"{value} has no form in JSON"
    if isinstance(value, str):
        return "" if value.isascii() or is_utf8(value) else "a str with surrogates"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{type(value).__name__} has no form in JSON (use codec='msgpack', or base64)"
    return f"{type(value).__name__} has no form in JSON"


def _judge_key(key: Any) -> str:
    if key is None or isinstance(key, int | float):
        return ""
    return _judge(key) if isinstance(key, str) else f"is {type(key).__name__}; JSON's keys are str"
