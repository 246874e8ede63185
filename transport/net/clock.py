"""The monotonic clock. Compiled modules get it as a C inline from the `.pxd` beside this file."""

from __future__ import annotations

import time


def monotonic_ns() -> int:
    """Nanoseconds of the system's monotonic clock."""
    return time.monotonic_ns()
