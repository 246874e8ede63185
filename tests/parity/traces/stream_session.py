"""Two sessions of the `message` framing over a byte pipe that cuts anywhere, at last with a flipped bit."""

from __future__ import annotations

import random
from typing import Any

from transport.machine import EOF
from transport.session import Batch
from transport.stream.config import StreamConfig
from transport.stream.session import StreamSession

MS_NS = 1_000_000
STEPS = 400


class Side:
    """A session, the bytes on their way to it, and what it said."""

    def __init__(self, name: str, rng: random.Random, log: bytearray) -> None:
        self.name = name
        self.rng = rng
        self.log = log
        windows = {"channel_window": 8_192, "connection_window": 16_384}  # small, so that credit matters
        self.session = StreamSession(StreamConfig(max_message=40_000, channels=8, **windows), 0)
        self.inbound = bytearray()
        self.untaken: list[Batch] = []

    def note(self, *words: object) -> None:
        self.log += f"{self.name} {' '.join(map(repr, words))}\n".encode()

    def command(self, now: int) -> None:
        """Something an application might do."""
        rng, session = self.rng, self.session
        try:
            if rng.random() < 0.1:
                session.ping(rng.getrandbits(31), now)
            expires = now + rng.randrange(20) * MS_NS if rng.random() < 0.2 else 0
            size = int(10 ** rng.uniform(0, 4.5))
            priority = rng.choice((0, 0, 0, 3, -2))
            session.send(rng.randbytes(size), rng.randrange(8), rng.randrange(4), priority, expires, now)
        except Exception as error:
            self.note(type(error).__name__, str(error))

    def collect(self) -> None:
        """Drains messages and events, and takes some messages as an application would, later than they came."""
        self.untaken += self.session.take()
        while self.untaken and self.rng.random() < 0.6:
            batch = self.untaken.pop(0)
            self.note(batch.channel, batch.delivery, batch.size, [bytes(part) for part in batch.payloads])
            if batch.delivery < 2:
                self.session.consumed(batch.channel, batch.size, len(batch.payloads))
        for event in self.session.events():
            self.note(event)


def move(source: Side, target: Side, now: int) -> None:
    """Everything that `source` has to say, onto the pipe; then part of the pipe into `target`."""
    for _ in range(1000):
        buffers: Any = source.session.transmit(now)
        if not buffers:
            break
        for buffer in buffers:
            target.inbound += buffer
            source.note("eof" if buffer is EOF else bytes(buffer))
    if target.inbound:
        size = target.rng.randrange(1, len(target.inbound) + 1)
        data = bytes(target.inbound[:size])
        del target.inbound[:size]
        target.session.receive(data, now)


def trace(seed: int) -> bytes:
    """Every byte on the wire, every message and every event, in order."""
    rng, log, now = random.Random(seed), bytearray(), 0
    one, two = Side("one", rng, log), Side("two", rng, log)
    for step in range(STEPS):
        now += rng.randrange(30) * MS_NS
        side, peer = (one, two) if rng.random() < 0.5 else (two, one)
        if step > 2:
            side.command(now)
        if step == STEPS - 40 and peer.inbound:
            peer.inbound[rng.randrange(len(peer.inbound))] ^= 1 << rng.randrange(8)
        move(side, peer, now)
        for each in (one, two):
            deadline = each.session.deadline()
            if deadline is not None and deadline <= now:
                each.session.expire(now)
            each.collect()
    one.session.close(7, "enough", now)
    for _ in range(50):
        move(one, two, now)
        move(two, one, now)
        one.collect()
        two.collect()
    one.note(sorted(one.session.statistics().items()))
    two.note(sorted(two.session.statistics().items()))
    return bytes(log)
