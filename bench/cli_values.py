"""What options of the command line may be: the values that more than one command takes."""

from __future__ import annotations

import argparse
import math

from bench.cases import PAYLOAD_MAX, PAYLOAD_MIN


def positive(text: str) -> float:
    """A finite number above zero."""
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be finite and above 0")
    return value


def positive_int(text: str) -> int:
    """A whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def payload_list(text: str) -> list[int]:
    """Sizes separated by commas: 64,1024 -> [64, 1024]."""
    sizes = [int(part) for part in text.split(",")]
    for size in sizes:
        if not PAYLOAD_MIN <= size <= PAYLOAD_MAX:
            raise argparse.ArgumentTypeError(f"{size} is not from {PAYLOAD_MIN} to {PAYLOAD_MAX}")
    return list(dict.fromkeys(sizes))
