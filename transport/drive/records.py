"""Plain records that a connection takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from transport import limits
from transport.delivery import Delivery
from transport.session import MessageSession


class Received(NamedTuple):
    """A message with what it came by."""

    message: Any
    channel: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Settings:
    """What a connection was configured with. Bytes and seconds."""

    high_water: int = limits.HIGH_WATER_BYTES
    low_water: int = limits.LOW_WATER_BYTES
    inbox: int = limits.INBOX_HIGH_BYTES
    auto_pause: bool = True


@dataclass(frozen=True, slots=True)
class Statistics:
    """A snapshot of one connection. Bytes unless the name says otherwise; `counters` are its session's own."""

    messages_sent: int
    messages_received: int
    queued_bytes: int
    unsent_bytes: int
    blocked_bytes: int
    inbox_bytes: int
    inbox_dropped: int
    rtt: float | None
    counters: dict[str, int]

    @classmethod
    def of(cls, session: MessageSession, unsent: int, unread: int, dropped: int, rtt: float | None) -> Statistics:
        """A snapshot of `session`, with what its connection and its driver know."""
        counters = session.statistics()
        sent, received = counters.get("messages_sent", 0), counters.get("messages_received", 0)
        return cls(
            sent, received, session.queued_bytes, unsent, session.blocked_bytes, unread, dropped, rtt, counters
        )  # fmt: skip
