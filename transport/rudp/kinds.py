"""Small numbers that several modules of this folder share: kinds of what a packet carried, bits of a head.

Not compiled, so that compiled modules can take them as C integers of their own.
"""

from __future__ import annotations

from transport import limits

SPAN, RIDER, CREDIT, SKIP, PING, BLOCKED, PROBE, POLICY = 0, 1, 2, 3, 4, 5, 6, 7
"""Kinds of what a packet carried, see `sent.Item`."""

PATH_CHALLENGE, PATH_RESPONSE, NEW_CID, RETIRE_CID = 9, 10, 11, 12
"""Types of frames about paths and connection ids."""

PACKET_NAMES = ("HELLO", "RETRY", "ACCEPT", "REFUSE", "SHORT", "RESET")
FRAME_NAMES = (
    "PAD", "PING", "ACK", "ACK_ECN", "ACK_POLICY", "SKIP", "CONNECTION_CREDIT", "CHANNEL_CREDIT", "BLOCKED",
    "PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID", "CLOSE", "MSG",
)  # fmt: skip
"""As docs/protocol.md has them; here, so that a command line can name them without loading what reads them."""

FIXED_BIT, COPIES_BIT = 0x40, 0x10
STREAM_CHANNEL = limits.RUDP_STREAM_CHANNEL
