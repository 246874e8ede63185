"""Values on the command line, with the spelling of `transport.options`: 50ms, 64k, 5%.

It must never read a value in another way than a URL does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from transport import limits, options


class Spelled(NamedTuple):
    """A value as it was written, and what it means."""

    text: str
    value: Any


def typed(parse: options.Parser) -> Callable[[str], Any]:
    """A parser of `transport.options` as argparse wants it: with its text in the error."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def spelled(parse: options.Parser) -> Callable[[str], Spelled]:
    """The same, keeping the text."""
    read = typed(parse)
    return lambda text: Spelled(text, read(text))


def time_or_size(value: object) -> float | int:
    """Seconds as a float where there is a unit of time (`5s`), bytes as an int otherwise (`64k`). Raises ValueError."""
    if isinstance(value, str) and value.endswith(("s", "min", "h")):
        seconds: float = options.duration(0.001, limits.TIME_S_MAX)(value)
        return seconds
    size: int = options.size(1, limits.MIB * limits.MIB)(value)
    return size


seconds = typed(options.duration(0.001, limits.TIME_S_MAX))
