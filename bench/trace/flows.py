"""From segments to messages: which bytes are new, who is the client, what belongs together.

A UDP datagram is a message. Of TCP, each segment's new bytes are one: what was sent again is found by its sequence
numbers, and what fills a gap is new. One direction of one pair of addresses is one connection of the trace, for in each
direction messages have an order of their own. It must never hold more than its limits allow, however long a capture.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.cases import CONNECTIONS_MAX, PAYLOAD_MAX
from bench.trace.file import BYTES_MAX, MESSAGES_MAX, BadTrace, Message
from transport.sight.capture import Packet, Seen
from transport.sight.headers import ACK, SYN, TCP, UDP, End, Segment, Skipped, decode

FLOWS_MAX = 1 << 16  # pairs of addresses, with messages or without
GAPS_MAX = 64  # of one direction: bytes that the capture has not seen yet
SEQUENCES = 1 << 32
CLIENT, SERVER, BOTH = "client", "server", "both"
PROTOCOLS = {"udp": UDP, "tcp": TCP}
EMPTY, AGAIN, UNWANTED = "TCP without data", "TCP sent again", "of other ports, protocols or the other direction"
PARTLY, TOO_LARGE = "TCP, of which a part was sent again", "parts of merged messages over the largest size"


@dataclass(slots=True)
class Wanted:
    """Which messages of a capture are taken.

    Args:
        ports: where servers listen; empty for all.
        protocol: "tcp", "udp" or None for both.
        sender: `CLIENT`, `SERVER` or `BOTH`.
        merge_ns: TCP segments of one direction that come within so much after the one before are one message; 0 for
            none. A message larger than a segment is several of them, and nothing in TCP says so.
    """

    ports: frozenset[int] = frozenset()
    protocol: str | None = None
    sender: str = BOTH
    merge_ns: int = 0


class Sequence:
    """Which bytes of one direction of a TCP connection have been seen."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._next: int | None = None  # from here on it grows without wrapping
        self._gaps: list[tuple[int, int]] = []

    def begin(self, first: int) -> None:
        """A connection begins; its first byte has the number `first`. The same again is a repeated SYN."""
        if first != self._first:
            self._first = self._next = first
            self._gaps = []

    def take(self, sequence: int, size: int) -> int:
        """How many of the bytes from `sequence` on are new."""
        if self._next is None:
            self._next = sequence
        end = self._next
        start = end + (sequence - end + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2
        stop = start + size
        new = max(0, stop - max(start, end))
        if self._gaps:
            new += self._fill(start, stop)
        if start > end:
            self._gaps = [*self._gaps[-GAPS_MAX + 1 :], (end, start)]
        self._next = max(end, stop)
        return new

    def _fill(self, start: int, stop: int) -> int:
        new, left = 0, []
        for low, high in self._gaps:
            common = min(stop, high) - max(start, low)
            if common <= 0:
                left.append((low, high))
                continue
            new += common
            left += [gap for gap in ((low, start), (stop, high)) if gap[0] < gap[1]]
        self._gaps = left[-GAPS_MAX:]
        return new


@dataclass(slots=True)
class _Flow:
    """One protocol between two ends."""

    client: End
    sequences: dict[End, Sequence] = field(default_factory=dict)
    numbers: dict[End, int] = field(default_factory=dict)
    latest: dict[End, tuple[int, int]] = field(default_factory=dict)  # of each sender: place of its message, when


class Flows:
    """Collects the messages of a capture.

    Args:
        wanted: which.
        seen: where what gives no message is counted.

    Attributes:
        messages: so far, in the order of the capture.
        connections: how many of them there are.
    """

    def __init__(self, wanted: Wanted, seen: Seen) -> None:
        self.wanted = wanted
        self.seen = seen
        self.messages: list[Message] = []
        self.connections = 0
        self._bytes = 0
        self._flows: dict[tuple[int, End, End], _Flow] = {}

    def add_all(self, packets: Iterator[Packet]) -> None:
        """Takes every packet. Raises BadTrace: a limit is reached."""
        for packet in packets:
            try:
                self.add(decode(packet))
            except Skipped as reason:
                self.seen.skipped[str(reason)] += 1

    def add(self, segment: Segment) -> None:
        """Takes one segment. Raises Skipped; BadTrace: a limit is reached."""
        wanted = self.wanted
        ports = wanted.ports
        if wanted.protocol is not None and segment.protocol != PROTOCOLS[wanted.protocol]:
            raise Skipped(UNWANTED)
        if ports and segment.target[1] not in ports and segment.source[1] not in ports:
            raise Skipped(UNWANTED)
        flow = self._flow(segment)
        by_client = segment.source == flow.client
        if wanted.sender != BOTH and by_client != (wanted.sender == CLIENT):
            raise Skipped(UNWANTED)
        size = self._new_bytes(flow, segment) if segment.protocol == TCP else segment.size
        self._keep(flow, segment, size)

    def _flow(self, segment: Segment) -> _Flow:
        low, high = sorted((segment.source, segment.target))
        key = (segment.protocol, low, high)
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= FLOWS_MAX:
                raise BadTrace(f"more than {FLOWS_MAX:,} pairs of addresses: choose by --port and --proto")
            flow = self._flows[key] = _Flow(self._client(segment))
        elif segment.protocol == TCP and segment.flags & (SYN | ACK) == SYN:
            flow.client = segment.source
        return flow

    def _client(self, segment: Segment) -> End:
        """Who of the two asks: by the ports given, by the handshake, else the higher port, else whoever is first."""
        source, target = segment.source, segment.target
        to, back = target[1] in self.wanted.ports, source[1] in self.wanted.ports
        if to != back:
            return source if to else target
        if segment.protocol == TCP and segment.flags & SYN:
            return target if segment.flags & ACK else source
        return target if segment.protocol == TCP and source[1] < target[1] else source

    def _new_bytes(self, flow: _Flow, segment: Segment) -> int:
        """How many bytes of a TCP segment are new. Raises Skipped: none."""
        sequence = flow.sequences.get(segment.source)
        if sequence is None:
            sequence = flow.sequences[segment.source] = Sequence()
        number = segment.sequence
        if segment.flags & SYN:
            number = (number + 1) % SEQUENCES
            sequence.begin(number)
        if not segment.size:
            raise Skipped(EMPTY)
        size = sequence.take(number, segment.size)
        if not size:
            raise Skipped(AGAIN)
        if size < segment.size:
            self.seen.notes[PARTLY] += 1
        return size

    def _keep(self, flow: _Flow, segment: Segment, size: int) -> None:
        sender, merge_ns = segment.source, self.wanted.merge_ns
        self._bytes += size
        if self._bytes > BYTES_MAX:
            raise BadTrace(f"more than {BYTES_MAX:,} bytes of messages")
        if merge_ns and segment.protocol == TCP and sender in flow.latest:
            place, when = flow.latest[sender]
            at, before, number = self.messages[place]
            if 0 <= segment.at - when <= merge_ns:
                if before + size <= PAYLOAD_MAX:
                    self.messages[place] = (at, before + size, number)
                    flow.latest[sender] = (place, segment.at)
                    return
                self.seen.notes[TOO_LARGE] += 1
        if len(self.messages) >= MESSAGES_MAX:
            raise BadTrace(f"more than {MESSAGES_MAX:,} messages: choose by --port and --proto, or cut the capture")
        if sender not in flow.numbers:
            if self.connections >= CONNECTIONS_MAX:
                raise BadTrace(f"more than {CONNECTIONS_MAX:,} connections: choose by --port and --proto")
            flow.numbers[sender] = self.connections
            self.connections += 1
        flow.latest[sender] = (len(self.messages), segment.at)
        self.messages.append((segment.at, min(size, PAYLOAD_MAX), flow.numbers[sender]))
