"""What was sent and is not settled: a ring of records indexed by packet number, and what a packet carried.

Finding, acknowledging or losing a packet costs the same however many are in flight. Records are made once and used
again. It must never decide anything: recovery does.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.congestion.rates import Mark
from transport.rudp.kinds import RIDER, SKIP, SPAN
from transport.rudp.outlane import OutLane
from transport.rudp.states import FREE

RING_MAX = limits.RUDP_RING_MAX
RESERVE = limits.RUDP_RING_RESERVE
LAST_WORDS = 2 * limits.RUDP_CLOSE_TRIES


class Item:
    """One thing that a packet carried, beside its first run of message bytes.

    Attributes:
        kind: SPAN, RIDER, ... of `kinds`.
        lane: for SPAN, RIDER and SKIP.
        start, end: positions for SPAN and RIDER; for the others as their makers say.
    """

    def __init__(self, kind: int, lane: OutLane | None, start: int, end: int) -> None:
        self.kind = kind
        self.lane = lane
        self.start = start
        self.end = end


class Rider(Item):
    """A small message that may travel in several packets at once, so that no loss of one of them makes it wait.

    Attributes:
        payload, number: the message.
        first: the count of data packets when it left first; rides are counted from there.
        rides: how many copies it may have beside that.
        copies: packets with it in flight.
        is_settled: acknowledged, skipped, or given back to its lane for retransmission.
        ridden: how many it has had.
        first_number: the packet that carried it first.
        first_lost: that packet was declared lost.
        is_repair: it is a copy of a retransmission.
        is_forced: its sender asked for copies.
    """

    def fill(self, lane: OutLane, start: int, end: int, payload: bytes, number: int, first: int, rides: int) -> None:
        """Sets all of it: made by `__new__`, for calling the class costs as much as the rest of sending a message."""
        self.kind = RIDER
        self.lane = lane
        self.start = start
        self.end = end
        self.payload = payload
        self.number = number
        self.first = first
        self.rides = rides
        self.ridden = 0
        self.copies = 1
        self.is_settled = False
        self.first_lost = False
        self.first_number = -1
        self.is_repair = False
        self.is_forced = False


class SkipRecord(Item):
    """Messages given up, told to the peer by one SKIP frame."""

    def __init__(self, lane: OutLane, numbers: list[int], costs: list[int]) -> None:
        Item.__init__(self, SKIP, lane, 0, 0)
        self.numbers = numbers
        self.costs = costs


class SentPacket:
    """One packet number.

    Attributes:
        state: one of `states.Packet`.
        time: when it left (ns).
        size: bytes that count as in flight; 0 for packets that ask for no ack.
        copied: those of them that are copies of small messages.
        lane, start, end: its first run of message positions, `lane` None without.
        item, more: whatever else it carried.
        ack_largest: the largest packet number that its ack frame named, -1 without.
        lost_at: when it was declared lost (ns).
        mark: for controllers that want delivery rates; else None.
    """

    def __init__(self) -> None:
        self.state: int = FREE
        self.time = 0
        self.size = 0
        self.copied = 0
        self.lane: OutLane | None = None
        self.start = 0
        self.end = 0
        self.item: Item | None = None
        self.more: list[Item] | None = None
        self.ack_largest = -1
        self.lost_at = 0
        self.mark: Mark | None = None

    def add_span(self, lane: OutLane, start: int, end: int) -> None:
        """Books positions of a lane; what follows on is merged."""
        if self.lane is None:
            self.lane = lane
            self.start = start
            self.end = end
        elif self.lane is lane and self.end == start:
            self.end = end
        else:
            self.add(Item(SPAN, lane, start, end))

    def add(self, item: Item) -> None:
        """Books anything else."""
        if self.item is None:
            self.item = item  # nearly always the only one
        elif self.more is None:
            self.more = [item]
        else:
            self.more.append(item)


class SentRing:
    """Records from `oldest` to `next`, in a ring that grows by doubling.

    Attributes:
        oldest: the lowest number that may still matter.
        next: the next number to be given.
    """

    def __init__(self) -> None:
        self.oldest = 0
        self.next = 0
        self._slots: list[SentPacket] = [SentPacket() for _ in range(limits.RUDP_RING_MIN)]
        self._mask = limits.RUDP_RING_MIN - 1

    def get(self, number: int) -> SentPacket:
        """The record of a number from `oldest` to below `next`."""
        return self._slots[number & self._mask]

    def is_full(self) -> bool:
        """Whether no more numbers can be given to data before old ones are settled."""
        return self.next - self.oldest >= RING_MAX - RESERVE

    def is_over(self) -> bool:
        """Whether the oldest record has to go, so that acks, probes and a last word have numbers."""
        return self.next - self.oldest >= RING_MAX - LAST_WORDS

    def push(self) -> SentPacket:
        """Gives the next number; its record is clean."""
        if self.next - self.oldest > self._mask:
            self._grow()
        packet = self._slots[self.next & self._mask]
        self.next += 1
        packet.lane = None
        packet.item = None
        packet.more = None
        packet.ack_largest = -1
        packet.size = 0
        packet.copied = 0
        return packet

    def _grow(self) -> None:
        size = 2 * (self._mask + 1)
        self._slots = self._rebuilt(self._slots, size)
        self._mask = size - 1

    def _rebuilt(self, old: list[SentPacket], size: int) -> list[SentPacket]:
        """The old records in their new places, new ones in the others."""
        slots: list[SentPacket | None] = [None] * size
        for number in range(self.oldest, self.next):
            slots[number & (size - 1)] = old[number & self._mask]
        return [SentPacket() if slot is None else slot for slot in slots]

    def shrink(self) -> None:
        """Gives memory back, when nothing is in flight."""
        if self._mask >= limits.RUDP_RING_MIN and self.oldest == self.next:
            self._slots = [SentPacket() for _ in range(limits.RUDP_RING_MIN)]
            self._mask = limits.RUDP_RING_MIN - 1
