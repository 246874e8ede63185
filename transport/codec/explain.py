"""Finds what in a message can't be encoded, and says where it is.

Runs only after an encoder has failed, so that the error names the place: an encoder itself says "can't serialize
'set'" of a message with ten thousand parts. It must never run for a message that encodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transport import limits

Judge = Callable[[Any], str]
"""Gives the reason why a value can't travel, or "" if it can."""


def explain(message: Any, leaf: Judge, key: Judge, depth_max: int) -> str:
    """The first part of `message` that `leaf` or `key` object to, as "message['a'][3]: why"; "" if there is none.

    Looks at no more parts than a message may have, and no deeper than `depth_max` containers.
    """
    search = _Search(leaf, key, depth_max)
    reason = search.find(message)
    if not reason:
        return ""
    return "message" + "".join([f"[{_short(repr(name), 40)}]" for name in search.path[:8]]) + ": " + reason


class _Search:
    """One search; `path` leads to what it found."""

    def __init__(self, leaf: Judge, key: Judge, depth_max: int) -> None:
        self.path: list[Any] = []
        self._leaf = leaf
        self._key = key
        self._depth_max = depth_max
        self._parts_left = limits.EXPLAIN_PARTS_MAX

    def find(self, value: Any) -> str:
        if not isinstance(value, dict | list | tuple):
            return self._leaf(value)
        if len(self.path) >= self._depth_max:
            return f"nested deeper than {self._depth_max} levels (does it contain itself?)"
        self._parts_left -= len(value)
        if self._parts_left < 0:
            return f"more than {limits.EXPLAIN_PARTS_MAX} elements"
        parts: Iterable[tuple[Any, Any]] = enumerate(value)
        if isinstance(value, dict):
            for name in value:
                reason = self._key(name)
                if reason:
                    return f"the key {_short(repr(name), 40)} {reason}"
            if len(value) > limits.MSGPACK_MAP_ENTRIES_MAX:
                return f"a dict of {len(value)} entries, over the limit of {limits.MSGPACK_MAP_ENTRIES_MAX}"
            parts = value.items()
        for name, part in parts:
            self.path.append(name)
            reason = self.find(part)
            if reason:
                return reason
            self.path.pop()
        return ""


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "..."


def told(error: BaseException) -> str:
    """An exception as text of bounded length (a decoder's may quote what the peer sent)."""
    return _short(str(error) or type(error).__name__, 200)


def is_utf8(text: str) -> bool:
    """Whether `text` has a form in UTF-8; surrogates have none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
