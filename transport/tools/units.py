"""Values on the command line, with the spelling of `transport.options`: 50ms, 64k, 5%, 10mbit.

It must never read a value in another way than a URL does.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any

from transport import limits, options

_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([kmg]?)(?:bit|bit/s|bps)", re.IGNORECASE)
_RATE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
RATE_MAX = 10**12


def typed(parse: options.Parser) -> Callable[[str], Any]:
    """A parser of `transport.options` as argparse wants it: with its text in the error."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def rate(value: object) -> int:
    """Bits per second: `10mbit`, `1.5Gbit`, `64kbit`, with units of 1000. Raises ValueError."""
    found = _RATE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{str(value)[:40]!r} is not a rate such as 10mbit or 64kbit")
    bits = round(float(found[1]) * _RATE_UNITS[found[2].lower()])
    if not 1 <= bits <= RATE_MAX:
        raise ValueError(f"{str(value)[:40]!r} is not within 1bit and 1000gbit")
    return bits


def window(value: object) -> tuple[float, float]:
    """A stretch of time as (start, length) in seconds: `5s+2s`. Raises ValueError."""
    start, plus, length = value.partition("+") if isinstance(value, str) else ("", "", "")
    if not plus:
        raise ValueError(f"{str(value)[:40]!r} is not a start and a length such as 5s+2s")
    return (
        options.duration(0.0, limits.TIME_S_MAX)(start),
        options.duration(0.001, limits.TIME_S_MAX)(length),
    )


seconds = typed(options.duration(0.001, limits.TIME_S_MAX))
any_seconds = typed(options.duration(0.0, limits.TIME_S_MAX))
