"""Random streams that depend on a seed and a name, and on nothing else.

Exists so that one impairment, link or machine draws from a stream of its own: switching duplication on does not change
which datagrams are lost. It must never use `hash()`, whose values differ from process to process.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from random import Random

from transport import limits
from transport.sim.errors import SimulationLimit

SEED_BITS = 128


def derive(seed: int, *names: object) -> int:
    """A new seed from `seed` and a list of names, each a string, number, bytes, or tuple of such (by their `repr`)."""
    text = "\0".join([str(int(seed)), *(repr(name) for name in names)])
    return int.from_bytes(sha256(text.encode("utf-8", "backslashreplace")).digest()[: SEED_BITS // 8], "big")


def stream(seed: int, *names: object) -> Random:
    """A generator of its own for `names`. Only its `random()` is promised to be the same on every Python version."""
    return Random(derive(seed, *names))  # noqa: S311 - a simulation, whose randomness has to be known


def entropy(seed: int, name: str) -> Callable[[int], bytes]:
    """Bytes for the machine `name`, in the place of the system's random ones: `entropy(7, "a")(n)` gives n bytes."""
    draw = stream(seed, "entropy", name).random

    def take(size: int) -> bytes:
        if not 0 <= size <= limits.SIM_ENTROPY_BYTES_MAX:
            raise SimulationLimit("SIM_ENTROPY_BYTES_MAX", limits.SIM_ENTROPY_BYTES_MAX, f"{size:,} random bytes")
        return bytes([int(draw() * 256) for _ in range(size)])

    return take
