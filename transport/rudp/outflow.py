"""What the outgoing lanes of a session share: credit, counters, and what waits for either.

Small records without a will of their own. They must never know a lane.
"""

from __future__ import annotations


class Outflow:
    """What the lanes of a session keep together.

    Attributes:
        total, limit: credit of the connection taken and given.
        queued: bytes accepted and not settled, `MESSAGE_COST_BYTES` for each message included, those left out that
            `blocked` counts: on lanes whose next message lacks credit of its channel.
        flight: those of `queued` that have left for the first time, costs included.
        overtook: a message was settled before one that was sent earlier.
        last_lane, last_number: of the message frame that was written last into the packet being built.
        expired, dropped, skipped, retransmitted_bytes, messages: counters.
        needs_credit: the connection's limit that somebody waits for, 0 for nobody.
        has_wishes: a channel may lack credit that the peer has not been told of; False is certain.
    """

    def __init__(self) -> None:
        self.total = 0
        self.limit = 0
        self.queued = 0
        self.blocked = 0
        self.flight = 0
        self.overtook = False
        self.last_lane: object = None
        self.last_number = 0
        self.expired = 0
        self.dropped = 0
        self.skipped = 0
        self.messages = 0
        self.retransmitted_bytes = 0
        self.needs_credit = 0
        self.has_wishes = False


class Fence:
    """What a flush waits for.

    Attributes:
        pending: lanes on which something that was there when it was set has not been settled.
    """

    def __init__(self) -> None:
        self.pending = 0


class OutChannel:
    """Credit of one channel, and what waits for it.

    Attributes:
        number: of the channel.
        total, limit: credit taken and given.
        is_free: needs no credit (the hidden channel of streams).
        needs_credit: the limit that it waits for, 0 for none.
        told: the one that the peer was told of last.
        blocked: bytes of its lanes that wait for credit, costs included.
    """

    def __init__(self, number: int, limit: int, is_free: bool) -> None:
        self.number = number
        self.total = 0
        self.limit = limit
        self.is_free = is_free
        self.needs_credit = 0
        self.told = 0
        self.blocked = 0
