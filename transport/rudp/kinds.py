"""Small numbers that several modules of this folder share: kinds of what a packet carried, bits of a head.

Not compiled, so that compiled modules can take them as C integers of their own.
"""

from __future__ import annotations

from transport import limits

SPAN, RIDER, CREDIT, SKIP, PING, BLOCKED, PROBE = 0, 1, 2, 3, 4, 5, 6
"""Kinds of what a packet carried, see `sent.Item`."""

FIXED_BIT, COPIES_BIT = 0x40, 0x10
STREAM_CHANNEL = limits.RUDP_STREAM_CHANNEL
