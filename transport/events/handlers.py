"""Who is called for an event: exact names, wildcards, typed events, middleware. The same for servers and clients.

A pattern is a name that ends in `*`; the longest one that fits is asked when nobody has the exact name. It must never
ask one that was asked for once a second time.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from transport import limits
from transport.errors import LocalProtocolError

try:
    import msgspec
except ImportError:  # an optional package
    _has_msgspec = False
else:
    _has_msgspec = True


class Handler(NamedTuple):
    """One function for one name or pattern."""

    name: str
    function: Callable[..., Any]
    once: bool
    kind: type | None


class Invalid(ValueError):
    """The data of an event does not fit its type."""


def is_typed(kind: Any) -> bool:
    """Whether this is a class of typed events."""
    if not isinstance(kind, type):
        return False
    return dataclasses.is_dataclass(kind) or (_has_msgspec and issubclass(kind, msgspec.Struct))


def name_of(kind: type) -> str:
    """The name of a class of typed events: its `__event__`, else its own in small letters."""
    return str(getattr(kind, "__event__", kind.__name__.lower()))


def named(event: Any, data: Any) -> tuple[str, Any]:
    """Name and plain data of what `emit` was given: a name and data, or one typed event.

    Raises:
        LocalProtocolError: neither.
    """
    if isinstance(event, str):
        if not event or len(event.encode("utf-8", "replace")) > limits.EVENTS_NAME_BYTES_MAX:
            raise LocalProtocolError(f"the name of an event has 1 to {limits.EVENTS_NAME_BYTES_MAX} bytes")
        return event, plain(data)
    if is_typed(type(event)):
        return name_of(type(event)), plain(event)
    raise LocalProtocolError(f"an event is a name with data, a dataclass or a msgspec.Struct, not {event!r:.60}")


def plain(data: Any) -> Any:
    """Typed data as what msgpack carries; other data as it is."""
    kind = type(data)
    if is_typed(kind):
        if _has_msgspec:
            return msgspec.to_builtins(data, builtin_types=(bytes, bytearray, memoryview))
        return dataclasses.asdict(data)
    return data


def convert(data: Any, kind: type) -> Any:
    """Data that came as an event of a class. Raises Invalid."""
    if _has_msgspec:
        try:
            return msgspec.convert(data, kind)
        except (msgspec.ValidationError, TypeError) as error:
            raise Invalid(str(error)) from None
    if not isinstance(data, dict):
        raise Invalid(f"{name_of(kind)} needs a map")
    try:
        return kind(**data)
    except TypeError as error:
        raise Invalid(str(error)) from None


def check(function: Any, what: str, *arguments: str) -> None:
    """Whether a function of a program can be called as it will be: a mistake is told here, not at the first event.

    Raises:
        LocalProtocolError: it is none, or does not take these arguments.
    """
    if not callable(function):
        raise LocalProtocolError(f"{what} can't be called: {function!r:.60}")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C that says nothing of itself
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        called, takes = ", ".join(arguments), str(signature).rpartition(" -> ")[0] or str(signature)
        raise LocalProtocolError(f"{what} is called as {name}({called}), but is {name}{takes:.80}: {error}") from None


def check_concurrency(count: Any) -> None:
    """How many handlers may run at once. Raises LocalProtocolError."""
    if not isinstance(count, int) or not 1 <= count <= limits.EVENTS_CONCURRENCY_MAX:
        raise LocalProtocolError(f"concurrency is 1 to {limits.EVENTS_CONCURRENCY_MAX}, not {count!r:.60}")


def check_event(event: Any) -> str:
    """The name that a handler is for. Raises LocalProtocolError."""
    name = name_of(event) if is_typed(event) else event
    if not isinstance(name, str) or not name:
        hint = ": write @namespace.on('name'), with the name of an event" if inspect.isfunction(event) else ""
        raise LocalProtocolError(
            f"a handler is for a name, a pattern such as 'room.*' or a class, not {event!r:.80}{hint}"
        )  # fmt: skip
    return name


class Handlers:
    """The functions of one namespace, or one client.

    Args:
        arguments: what they are called with.
        pattern: the same for those of patterns.
    """

    def __init__(
        self, arguments: tuple[str, ...] = ("ctx", "data"), pattern: tuple[str, ...] = ("ctx", "name", "data")
    ) -> None:
        self._arguments = arguments
        self._pattern = pattern
        self._exact: dict[str, list[Handler]] = {}
        self._patterns: dict[str, list[Handler]] = {}
        self._count = 0

    def on(self, event: Any, function: Callable[..., Any], once: bool = False) -> Handler:
        """Has `function` called for events of a name, pattern or class.

        Raises:
            LocalProtocolError: neither of these, it can't be called so, or EVENTS_HANDLERS_MAX are there.
        """
        kind = event if is_typed(event) else None
        name = check_event(event)
        arguments = self._pattern if name.endswith("*") else self._arguments
        check(function, f"the handler of {name!r:.80}", *arguments)
        if self._count >= limits.EVENTS_HANDLERS_MAX:
            raise LocalProtocolError(f"more than {limits.EVENTS_HANDLERS_MAX} handlers")
        handler = Handler(name, function, once, kind)
        table = self._patterns if name.endswith("*") else self._exact
        table.setdefault(name, []).append(handler)
        self._count += 1
        return handler

    def off(self, event: Any, function: Callable[..., Any] | None = None) -> int:
        """Forgets the handlers of a name, or one function of them; returns how many."""
        name = name_of(event) if is_typed(event) else event
        table = self._patterns if str(name).endswith("*") else self._exact
        found = table.pop(name, [])
        kept = [handler for handler in found if function is not None and handler.function != function]
        if kept:
            table[name] = kept
        self._count -= len(found) - len(kept)
        return len(found) - len(kept)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    def find(self, name: str) -> list[Handler]:
        """Who is called for an event; those that were asked for once are forgotten."""
        found = self._exact.get(name)
        if found is None and self._patterns:
            fitting = [pattern for pattern in self._patterns if name.startswith(pattern[:-1])]
            if fitting:
                found = self._patterns[max(fitting, key=len)]
        if not found:
            return []
        result = list(found)
        for handler in result:
            if handler.once:
                self._forget(handler)
        return result

    def _forget(self, handler: Handler) -> None:
        table = self._patterns if handler.name.endswith("*") else self._exact
        table[handler.name].remove(handler)
        self._count -= 1
        if not table[handler.name]:
            del table[handler.name]


async def call(handler: Handler, first: Any, name: str, data: Any) -> Any:
    """Calls one handler: `function(first, data)`, or `function(first, name, data)` for a pattern. Raises Invalid."""
    if handler.kind is not None:
        data = convert(data, handler.kind)
    arguments = (first, name, data) if handler.name.endswith("*") else (first, data)
    result = handler.function(*arguments)
    if hasattr(result, "__await__"):
        result = await result
    return result
