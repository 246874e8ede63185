"""Typed options: what a value may look like in a URL or as a keyword, and the options that every scheme shares.

Exists so that "64k", "20ms" and True are read in one place with one set of limits. A parser takes text or an already
typed value and raises ValueError with a text that says what to write. It must never act on an option.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transport import limits
from transport.errors import InvalidURL

Parser = Callable[[object], Any]

_SIZE = re.compile(r"([0-9]{1,15})(?:([kmg])(?:ib)?|b)?", re.IGNORECASE)
_SIZE_UNITS = {None: 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(ns|us|ms|s|min|h)?")
_DURATION_UNITS = {None: 1.0, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{0,12}\.?[0-9]{0,18}(?:[eE]-?[0-9]{1,2})?")
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Option:
    """One option by name.

    Args:
        name: as written in a URL and as a keyword.
        parse: takes text (from a URL) or any value (from a keyword) and gives the typed value, or raises ValueError.
        doc: one line for the user, with the unit.
        secret: refused in URLs, and no error shows its value.
        default: what holds when it is not given; for documentation and for whoever asks `default`.
        keyword_only: refused in URLs because it is no part of an address.
    """

    name: str
    parse: Parser
    doc: str
    secret: bool = False
    default: Any = None
    keyword_only: bool = False


def table(*options: Option) -> dict[str, Option]:
    """Options as the mapping by name that `parse_options` takes."""
    return {option.name: option for option in options}


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def integer(low: int, high: int) -> Parser:
    """A whole number from `low` to `high`."""

    def parse(value: object) -> int:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{_quoted(value)} is not a whole number from {low} to {high}")
        return value

    return parse


def size(low: int, high: int) -> Parser:
    """Bytes: `65536`, `64k`, `64KiB`, `1MiB`, all units of 1024."""

    def parse(value: object) -> int:
        if isinstance(value, str) and (found := _SIZE.fullmatch(value)):
            unit = found[2].lower() if found[2] else None
            value = int(found[1]) * _SIZE_UNITS[unit]
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{_quoted(value)} is not a size in bytes such as 65536, 64k or 1MiB")  # noqa: TRY004
        if not low <= value <= high:
            raise ValueError(f"{value} bytes is not within {low} to {high} bytes")
        return value

    return parse


def duration(low: float, high: float, *, none: bool = False) -> Parser:
    """Seconds as a float: `20ms`, `1.5s`, `250us`, `2min`, a bare number of seconds; `none` (None) where allowed."""

    def parse(value: object) -> float | None:
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            if none:
                return None
            raise ValueError("can't be none")
        if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
            seconds = float(found[1]) * _DURATION_UNITS[found[2]]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value) if abs(value) < 1e18 else math.inf
        else:
            extra = ", or none" if none else ""
            raise ValueError(f"{_quoted(value)} is not a time such as 20ms, 1.5s or 2min{extra}")
        if not low <= seconds <= high:  # also false for NaN
            raise ValueError(f"{seconds:g} seconds is not within {low:g} to {high:g} seconds")
        return seconds

    return parse


def fraction(low: float = 0.0, high: float = 1.0) -> Parser:
    """A probability or share such as `0.02` (or `2%`, in a URL `2%25`)."""

    def parse(value: object) -> float:
        number = math.nan
        if isinstance(value, str):
            text, scale = (value[:-1], 100.0) if value.endswith("%") else (value, 1.0)
            if _DECIMAL.fullmatch(text) and any(char.isdigit() for char in text):
                try:
                    number = float(text) / scale
                except ValueError:
                    number = math.nan
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18:
            number = float(value)
        if not low <= number <= high:
            raise ValueError(f"{_quoted(value)} is not a number from {low:g} to {high:g}")
        return number

    return parse


def boolean(value: object) -> bool:
    """True or false; a bare name in a URL (`?nodelay`) is true."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        lowered = value.lower()
        if lowered in _TRUE or not lowered:
            return True
        if lowered in _FALSE:
            return False
    raise ValueError(f"{_quoted(value)} is neither true nor false")


def choice(*names: str) -> Parser:
    """One of a few words."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in names:
            return value
        raise ValueError(f"{_quoted(value)} is none of {', '.join(names)}")

    return parse


def text(value: object) -> str:
    """Text of bounded length without control characters."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{_quoted(value)} is not a text")
    if len(value) > limits.OPTION_CHARS_MAX:
        raise ValueError(f"the text is longer than {limits.OPTION_CHARS_MAX} characters")
    if any(char < " " or char == "\x7f" for char in value):
        raise ValueError("the text holds control characters")
    return value


def secret_bytes(least: int) -> Parser:
    """A secret of at least `least` bytes; text counts by its UTF-8."""

    def parse(value: object) -> bytes:
        raw = value.encode() if isinstance(value, str) else value
        if not isinstance(raw, bytes) or len(raw) < least:
            raise ValueError(f"is not a secret of at least {least} bytes")
        return raw

    return parse


def path(value: object) -> str:
    """A file's name, as text or as a path object."""
    named = value.__fspath__() if hasattr(value, "__fspath__") else value
    if isinstance(named, bytes):
        named = named.decode("utf-8", "surrogateescape")
    return text(named)


def path_or_none(value: object) -> str:
    """The same, or "none" for nowhere."""
    return "none" if value is None else path(value)


def instance(*types: type) -> Parser:
    """An object of one of `types`; use it with `keyword_only`."""

    def parse(value: object) -> Any:
        if not isinstance(value, types):
            names = " or ".join(kind.__name__ for kind in types)
            raise ValueError(f"expects {names}, not {type(value).__name__}")  # noqa: TRY004
        return value

    return parse


_TIME = duration(0.001, limits.TIME_S_MAX)
_TIME_OR_NONE = duration(0.001, limits.TIME_S_MAX, none=True)
_WINDOW = size(limits.WINDOW_BYTES_MIN, limits.WINDOW_BYTES_MAX)

COMMON: Mapping[str, Option] = table(
    Option("max_message", size(1, limits.MESSAGE_BYTES_MAX), "largest message taken or sent, bytes",
           default=limits.MESSAGE_BYTES_DEFAULT),
    Option("high_water", size(1, limits.WATER_BYTES_MAX), "send() waits while more bytes than this are queued",
           default=limits.HIGH_WATER_BYTES),
    Option("low_water", size(0, limits.WATER_BYTES_MAX), "send() goes on when no more bytes than this are queued",
           default=limits.LOW_WATER_BYTES),
    Option("inbox", size(1, limits.WATER_BYTES_MAX), "received bytes not yet taken, above which reading pauses",
           default=limits.INBOX_HIGH_BYTES),
    Option("keepalive", _TIME_OR_NONE, "silence after which the peer is asked for a sign of life, or none",
           default=limits.KEEPALIVE_NS / limits.SECOND_NS),
    Option("idle_timeout", _TIME_OR_NONE, "silence after which the connection ends, or none",
           default=limits.IDLE_NS / limits.SECOND_NS),
    Option("handshake_timeout", _TIME, "time for the peer's first answer",
           default=limits.HANDSHAKE_NS / limits.SECOND_NS),
    Option("connect_timeout", _TIME_OR_NONE, "time for connect() as a whole, or none", keyword_only=True,
           default=limits.CONNECT_TIMEOUT_S),
    Option("auto_pause", boolean, "whether message_received waits while its answers fill the outbound buffer",
           default=True),
    Option("channels", integer(1, limits.CHANNELS_MAX), "channels that the peer may use", default=limits.CHANNELS_MAX),
    Option("channel_window", _WINDOW, "bytes of one channel received and not yet taken",
           default=limits.CHANNEL_WINDOW_BYTES),
    Option("connection_window", _WINDOW, "bytes of all channels received and not yet taken",
           default=limits.CONNECTION_WINDOW_BYTES),
    Option("max_connections", integer(1, limits.CONNECTIONS_MAX), "connections of a server at once",
           default=limits.CONNECTIONS_MAX),
    Option("status", path_or_none, "folder in which a server answers `transport top`, or none; else the environment's "
           "TRANSPORT_STATUS", keyword_only=True),
)  # fmt: skip
"""Options of every scheme."""

SOCKET: Mapping[str, Option] = table(
    Option("nodelay", boolean, "TCP sends small segments at once", default=True),
    Option("rcvbuf", size(1, limits.SOCKET_BUFFER_BYTES_MAX), "kernel receive buffer asked for, bytes"),
    Option("sndbuf", size(1, limits.SOCKET_BUFFER_BYTES_MAX), "kernel send buffer asked for, bytes"),
    Option("dscp", integer(0, limits.DSCP_MAX), "differentiated services code point of what is sent (RFC 2474)"),
    Option("busy_poll_us", integer(0, limits.BUSY_POLL_US_MAX), "microseconds that the kernel polls the device"),
    Option("timestamps", boolean, "kernel receive timestamps", default=False),
    Option("reuse_port", boolean, "several sockets may bind one port", default=False),
    Option("ipv6_only", boolean, "a socket bound to [::] takes no IPv4"),
    Option("backlog", integer(1, limits.BACKLOG_MAX), "connections that wait in the kernel for accept",
           default=limits.ACCEPT_BACKLOG),
)  # fmt: skip
"""Options of schemes that stand on an operating system's socket; each scheme takes those that it can honour."""


def water_marks(options: Mapping[str, Any]) -> tuple[int, int]:
    """(high, low) water in bytes from parsed options. A high mark given alone brings its low mark with it.

    Raises:
        InvalidURL: the low mark is above the high one.
    """
    high = options.get("high_water", limits.HIGH_WATER_BYTES)
    low = options.get("low_water", min(limits.LOW_WATER_BYTES, high // 4))
    if low > high:
        raise InvalidURL(f"option 'low_water' of {low} bytes is above 'high_water' of {high} bytes")
    return high, low
