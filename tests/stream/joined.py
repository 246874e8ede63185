"""Two stream sessions joined by a pipe that cuts anywhere, a reader of the wire, and a book of what was sent.

The reader is written from the layout, not from the session, so that a mistake has to be made twice to go unseen.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from transport.machine import Closed
from transport.session import Batch
from transport.stream import frames
from transport.stream.config import StreamConfig
from transport.stream.preface import HEAD_BYTES
from transport.stream.session import StreamSession

MS = 1_000_000
SECOND = 1_000_000_000
QUIET: dict[str, Any] = {"keepalive_ns": 0, "idle_ns": 0, "handshake_ns": 0}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame on the wire."""

    kind: int
    channel: int
    delivery: int
    body: bytes


def varint_at(data: bytes, at: int) -> tuple[int, int]:
    """Value and end of a variable-length integer; IndexError when it is not all there."""
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        raise IndexError
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def frames_of(data: bytes) -> tuple[list[Frame], bytes]:
    """The whole frames at the start of `data` (no preface), and what is left."""
    found = []
    at = 0
    while at < len(data):
        channel = 0
        try:
            head, end = data[at], at + 1
            if head & 8:
                channel, end = varint_at(data, end)
            size, end = varint_at(data, end)
        except IndexError:
            break
        if end + size > len(data):
            break
        found.append(Frame(head >> 4, channel, head & 3, data[end : end + size]))
        at = end + size
    return found, data[at:]


def preface_size(data: bytes | bytearray) -> int:
    return HEAD_BYTES + int.from_bytes(data[HEAD_BYTES - 2 : HEAD_BYTES], "big")


class End:
    """One session with everything it was told and everything it said."""

    def __init__(self, config: StreamConfig, now: int = 0) -> None:
        self.session = StreamSession(config, now)
        self.wire = bytearray()  # on its way to the peer
        self.wrote = bytearray()  # all of it, ever
        self.eof = 0  # how often it half-closed
        self.eof_delivered = False
        self.fresh: list[Frame] = []  # frames since somebody looked
        self.batches: list[Batch] = []  # received, not consumed
        self.messages: list[tuple[int, int, bytes]] = []
        self.events: list[Any] = []
        self._unparsed = b""
        self._prefaced = False
        self._by_run = False

    def transmit(self, now: int, calls: int = 1_000_000) -> bool:
        """Puts what the session gives onto the wire; True if it gave anything."""
        gave = False
        for _ in range(calls):
            self._by_run = not self._by_run
            run = self.session.transmit_run() if self._by_run else None  # as a driver asks; both have to give the same
            buffers = self.session.transmit(now) if run is None else [bytes(run)]
            if run is not None:
                self.session.recycle(run)
            if not buffers:
                break
            gave = True
            assert not self.eof, "it wrote behind its own end"
            for place, buffer in enumerate(buffers):
                if not len(buffer):
                    assert place == len(buffers) - 1, "the end is not the last buffer"
                    self.eof += 1
                self.wrote += buffer
                self.wire += buffer
                self._unparsed += bytes(buffer)
            self._parse()
        return gave

    def _parse(self) -> None:
        """Every transmit gives whole frames, so that a close never lands inside one."""
        if not self._prefaced:
            size = preface_size(self._unparsed)
            assert len(self._unparsed) >= size
            self._unparsed = self._unparsed[size:]
            self._prefaced = True
        found, self._unparsed = frames_of(self._unparsed)
        assert not self._unparsed
        self.fresh += found

    def look(self) -> list[Frame]:
        """Frames written since the last look."""
        found, self.fresh = self.fresh, []
        return found

    def collect(self) -> None:
        for batch in self.session.take():
            assert batch.payloads
            assert batch.size == sum(map(len, batch.payloads))
            self.batches.append(batch)
            for payload in batch.payloads:
                assert type(payload) is bytes
                self.messages.append((batch.channel, batch.delivery, payload))
        self.events += self.session.events()

    def consume(self, count: int = 1_000_000) -> None:
        """Takes messages as an application would."""
        taken, self.batches = self.batches[:count], self.batches[count:]
        for batch in taken:
            if batch.delivery < 2:
                self.session.consumed(batch.channel, batch.size, len(batch.payloads))

    @property
    def closed(self) -> Closed | None:
        """How it ended. An end comes once, and last."""
        ends = [event for event in self.events if isinstance(event, Closed)]
        assert len(ends) <= 1
        if ends:
            assert self.events[-1] is ends[0]
        return ends[0] if ends else None

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Joined:
    """Two ends, and a clock."""

    def __init__(self, one: StreamConfig | None = None, two: StreamConfig | None = None) -> None:
        default = StreamConfig(**QUIET)
        self.now = 1
        self.one = End(one or default, self.now)
        self.two = End(two or one or default, self.now)

    @property
    def ends(self) -> tuple[tuple[End, End], tuple[End, End]]:
        return (self.one, self.two), (self.two, self.one)

    def carry(self, source: End, target: End, size: int = 1 << 60) -> bool:
        """Brings at most `size` bytes across; the end of a stream follows its last byte."""
        data = bytes(source.wire[:size])
        del source.wire[:size]
        if data:
            target.session.receive(data, self.now)
        if source.eof and not source.wire and not source.eof_delivered:
            source.eof_delivered = True
            target.session.receive(b"", self.now)
            data += b"."
        target.collect()
        return bool(data)

    def settle(self, *, consume: bool = True, chunk: int = 1 << 60) -> None:
        """Goes on until nobody has anything to say."""
        for _ in range(1_000_000):
            moved = False
            for source, target in self.ends:
                moved |= source.transmit(self.now)
                while self.carry(source, target, chunk):
                    moved = True
                source.collect()
                if consume:
                    target.consume()
            if not moved:
                return
        raise AssertionError("they never came to rest")

    def expire(self) -> None:
        for end, _ in self.ends:
            due = end.session.deadline()
            if due is not None and due <= self.now:
                end.session.expire(self.now)
            end.collect()

    def open(self) -> Joined:
        """Both prefaces across."""
        self.settle()
        assert self.one.session.state == self.two.session.state == 1
        return self


@dataclass
class Sent:
    """One message as it was handed in."""

    number: int
    channel: int
    delivery: int
    priority: int
    expires_at: int
    payload: bytes


@dataclass
class Book:
    """What one end sent, checked against what left it and what came to the other."""

    sent: list[Sent] = field(default_factory=list)
    left: set[int] = field(default_factory=set)

    def send(
        self, end: End, rng: random.Random, channel: int, delivery: int, priority: int, expires_at: int, size: int,
        now: int,
    ) -> None:  # fmt: skip
        number = len(self.sent)
        payload = number.to_bytes(4, "big") + rng.randbytes(size)
        end.session.send(payload, channel, delivery, priority, expires_at, now)
        self.sent.append(Sent(number, channel, delivery, priority, expires_at, payload))

    def leaving(self, fresh: list[Frame], now: int) -> None:
        """Frames that an end has just written: byte-exact, once, and none after its time."""
        for frame in fresh:
            if frame.kind != frames.MESSAGE:
                continue
            number = int.from_bytes(frame.body[:4], "big")
            sent = self.sent[number]
            assert frame.body == sent.payload
            assert (frame.channel, frame.delivery) == (sent.channel, sent.delivery)
            assert not sent.expires_at or sent.expires_at > now, f"message {number} left after its time"
            assert number not in self.left, f"message {number} left twice"
            self.left.add(number)

    def check(self, messages: list[tuple[int, int, bytes]], *, complete: bool) -> None:
        """What arrived is what left, in the order each promise asks for."""
        got = [int.from_bytes(payload[:4], "big") for _, _, payload in messages]
        assert len(set(got)) == len(got), "a message came twice"
        latest: dict[tuple[int, int], int] = {}
        for channel, delivery, payload in messages:
            number = int.from_bytes(payload[:4], "big")
            sent = self.sent[number]
            assert (channel, delivery, payload) == (sent.channel, sent.delivery, sent.payload)
            if delivery in (0, 2):
                assert latest.get((channel, delivery), -1) < number, f"message {number} was overtaken on its channel"
                latest[channel, delivery] = number
        if complete:
            assert set(got) == self.left
            owed = {sent.number for sent in self.sent if sent.delivery < 2 and not sent.expires_at}
            assert owed <= set(got), f"lost: {sorted(owed - set(got))[:10]}"


def steps(rng: random.Random, count: int) -> Iterator[int]:
    """Moments, some of them close together."""
    now = 1
    for _ in range(count):
        now += rng.choice((0, 1, MS, 7 * MS))
        yield now
