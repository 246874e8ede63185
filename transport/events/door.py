"""The door of a server: how many clients are let in, from one address and from all of them together, and how many rooms
they may bring into being.

No clock, no socket, no waiting. One peer that comes again and again must never use up what is there for the others; and
what is remembered of addresses is bounded.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Any

from transport import limits


def address_of(remote: Any) -> str:
    """What counts as one peer: an IPv4 address, or the 64 bits of an IPv6 address that one customer has.

    Without either it is the name of a simulated link, and nothing for a Unix socket: all of those count as one.
    """
    host = remote[0] if isinstance(remote, tuple) and remote else ""
    try:
        found = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or found.exploded[:19])


def retry_ms(share: float) -> int:
    """When to come back: between half and one and a half of EVENTS_RETRY_S, by a random share from 0 to 1."""
    return int((0.5 + share) * limits.EVENTS_RETRY_S * 1000)


class Limiter:
    """A bucket of tokens: how much of something there may be in a second.

    Args:
        rate: tokens per second.
        burst: tokens that it holds.
        before: another one of the same kind, whose tokens it takes over.
    """

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, before: Limiter | None = None) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens: float = float(burst) if before is None else before._tokens
        self._at: float = 0.0 if before is None else before._at

    def allow(self, now: float) -> bool:
        """Takes a token if there is one. `now` in seconds."""
        self._tokens = min(self._burst, self._tokens + max(now - self._at, 0.0) * self._rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Door:
    """Who may enter now, and what comes with them.

    Args:
        rate: clients from one address that are let in per second, once a burst of them was.

    Attributes:
        waiting: clients that are being let in.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._all = Limiter(max(rate, limits.EVENTS_RESUMES_ALL_PER_S), limits.EVENTS_RESUMES_ALL_BURST)
        self._clients = Table()
        self._rooms = Table()
        self._all_rooms = Limiter(limits.EVENTS_NEW_ROOMS_ALL_PER_S, limits.EVENTS_NEW_ROOMS_ALL_BURST)
        self._waiting: Counter[str] = Counter()
        self.waiting = 0

    def enter(self, address: str, now: float) -> bool:
        """Whether a client may be let in; it counts as waiting until `entered`. `now` in seconds."""
        if (
            self.waiting >= limits.EVENTS_WAITING_HELLOS_MAX
            or self._waiting[address] >= limits.EVENTS_WAITING_HELLOS_ADDRESS_MAX
            or not self._clients.allow(address, now, self._rate, limits.EVENTS_RESUMES_BURST)
            or not self._all.allow(now)
        ):
            return False
        self.waiting += 1
        self._waiting[address] += 1
        return True

    def entered(self, address: str) -> None:
        """A client was let in, or not."""
        self.waiting -= 1
        self._waiting[address] -= 1
        if not self._waiting[address]:
            del self._waiting[address]

    def begin_room(self, address: str, now: float) -> bool:
        """Whether a client may name a room that there has not been yet. `now` in seconds."""
        return self._rooms.allow(
            address, now, limits.EVENTS_NEW_ROOMS_PER_S, limits.EVENTS_NEW_ROOMS_BURST
        ) and self._all_rooms.allow(now)


class Table:
    """Limiters by address, bounded. The one that was not seen for longest makes room, and a newcomer has what is left
    there: somebody with more addresses than the table has places gains no full bucket by being forgotten.
    """  # fmt: skip

    def __init__(self) -> None:
        self._limiters: dict[str, Limiter] = {}  # the one that was used last is the last

    def allow(self, address: str, now: float, rate: float, burst: int) -> bool:
        """As of `Limiter`."""
        found = self._limiters.pop(address, None)
        if found is None:
            oldest = None
            if len(self._limiters) >= limits.EVENTS_ADDRESSES_MAX:
                oldest = self._limiters.pop(next(iter(self._limiters)))
            found = Limiter(rate, burst, oldest)
        self._limiters[address] = found
        return found.allow(now)

    def __len__(self) -> int:
        """Addresses that are remembered."""
        return len(self._limiters)
