"""The traces (qlog) that both sides of a conversation write."""

from __future__ import annotations

from tests.rudp.test_trace import Kept
from tests.sight.talk import rich


def trace(seed: int) -> bytes:
    """Every record."""
    kept = Kept()
    rich(seed, trace=kept)
    return b"".join([name.encode() + data for name, data in sorted(kept.data.items())])
