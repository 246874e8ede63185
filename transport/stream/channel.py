"""What a stream session knows about one channel: credit both ways, and what waits for the peer's credit.

Credit is absolute totals of payload bytes, as in QUIC (RFC 9000 section 4.1); a message may start while any credit is
left, so one message of any permitted size always fits.
"""

from __future__ import annotations

from collections import deque

from transport.stream.outbox import Entry


class ChannelState:
    """Totals of one channel. `out_` is what this side sends, `in_` what it receives."""

    def __init__(self, out_limit: int, in_limit: int) -> None:
        self.out_sent = 0
        self.out_limit = out_limit
        self.in_received = 0
        self.in_limit = in_limit
        self.in_consumed = 0
        self.credit_due = False
        self.blocked: deque[Entry] | None = None
        self.blocked_bytes = 0

    def has_credit(self) -> bool:
        """Whether the channel itself may send."""
        return self.out_sent < self.out_limit

    def block(self, entry: Entry) -> None:
        """Has a message wait for credit."""
        if self.blocked is None:
            self.blocked = deque()
        self.blocked.append(entry)
        self.blocked_bytes += entry.size

    def unblock(self) -> Entry:
        """The message that has waited longest."""
        assert self.blocked
        entry = self.blocked.popleft()
        self.blocked_bytes -= entry.size
        return entry
