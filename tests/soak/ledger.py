"""What was sent each way of one connection, and whether what arrives is allowed by the promise of its delivery.

The oracle of the soak: it knows the promises and nothing of how they are kept. Payloads are random, so that a small
one may stand for several; each is read as the earliest that it can be, which never blames a correct run.
"""

from __future__ import annotations

from dataclasses import dataclass, field

ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = 0, 1, 2, 3


class SoakFailure(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True)
class Message:
    """One message; `expires_at` by the sender's clock, 0 for never. `missing` counts down to 0 when it arrives."""

    payload: bytes
    expires_at: int
    is_here: bool = False

    def __repr__(self) -> str:
        return f"{len(self.payload)} bytes {self.payload[:8].hex()}, expires {self.expires_at}"


@dataclass(slots=True)
class Lane:
    """One channel and delivery, one way.

    Attributes:
        sent: all messages, in order of the calls.
        next: ordered and sequenced: index of the first that may come now.
        waiting: the others: messages by payload.
        here: how many have come.
    """

    channel: int
    delivery: int
    sent: list[Message] = field(default_factory=list)
    next: int = 0
    waiting: dict[bytes, list[Message]] = field(default_factory=dict)
    here: int = 0

    def send(self, payload: bytes, expires_at: int) -> None:
        message = Message(payload, expires_at)
        self.sent.append(message)
        if self.delivery & 1:
            self.waiting.setdefault(payload, []).append(message)

    def deliver(self, payload: bytes, sender_now: int) -> None:
        """Checks one delivery; raises SoakFailure."""
        if self.delivery & 1:
            self._take(payload)
        else:
            self._pass(payload, sender_now)
        self.here += 1

    def _take(self, payload: bytes) -> None:
        found = self.waiting.get(payload)
        if not found:
            raise self._wrong(payload, "was not sent, or was delivered before")
        place = 0  # those that never expire first: the others may be missing
        while place < len(found) - 1 and found[place].expires_at:
            place += 1
        found.pop(place).is_here = True

    def _pass(self, payload: bytes, sender_now: int) -> None:
        """Ordered and sequenced: passes over what may be missing before it."""
        sent = self.sent
        place = self.next
        while place < len(sent) and sent[place].payload != payload:
            if self.delivery == ORDERED and not 0 < sent[place].expires_at <= sender_now:
                raise self._wrong(payload, f"came before message {place}, {sent[place]!r}")
            place += 1
        if place == len(sent):
            raise self._wrong(payload, f"was not sent after message {self.next}, or came out of order")
        sent[place].is_here = True
        self.next = place + 1

    def _wrong(self, payload: bytes, why: str) -> SoakFailure:
        places = [i for i, message in enumerate(self.sent) if message.payload == payload][:5]
        what = f"{len(payload)} bytes {payload[:8].hex()} (sent as {places})"
        return SoakFailure(f"channel {self.channel} delivery {self.delivery}: delivery {self.here}, {what}, {why}")

    def is_complete(self) -> bool:
        """Whether everything has come that has to."""
        if self.delivery >= SEQUENCED or self.here == len(self.sent):
            return True
        return all(message.is_here or message.expires_at for message in self.sent)

    def missing(self) -> list[int]:
        """Which messages have to come still."""
        if self.delivery >= SEQUENCED:
            return []
        return [i for i, message in enumerate(self.sent) if not message.is_here and not message.expires_at]


@dataclass(slots=True)
class Stream:
    """One stream, one way."""

    body: bytes
    here: int = 0
    is_ended: bool = False

    def deliver(self, data: bytes) -> None:
        if self.body[self.here : self.here + len(data)] != data:
            raise SoakFailure(f"a stream of {len(self.body)} bytes differs at or behind byte {self.here}")
        self.here += len(data)

    def end(self) -> None:
        if self.is_ended or self.here != len(self.body):
            raise SoakFailure(f"a stream of {len(self.body)} bytes ends after {self.here}")
        self.is_ended = True


@dataclass(slots=True)
class Way:
    """Everything from one end of a connection to the other."""

    lanes: dict[tuple[int, int], Lane] = field(default_factory=dict)
    streams: list[Stream] = field(default_factory=list)

    def lane(self, channel: int, delivery: int) -> Lane:
        found = self.lanes.get((channel, delivery))
        if found is None:
            found = self.lanes[channel, delivery] = Lane(channel, delivery)
        return found

    def is_complete(self) -> bool:
        return all(lane.is_complete() for lane in self.lanes.values()) and all(s.is_ended for s in self.streams)

    def missing(self) -> str:
        """What has to come still, in words."""
        lanes = {key: lane.missing()[:5] for key, lane in self.lanes.items() if lane.missing()}
        streams = [(i, s.here, len(s.body)) for i, s in enumerate(self.streams) if not s.is_ended]
        return f"(channel, delivery): messages {lanes}; streams (here, of) {streams}"
