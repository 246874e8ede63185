"""Two stream sessions with everything at once: streams, pings, small credit, priorities, expiry, both closing."""

from __future__ import annotations

import random
from typing import Any

from transport.errors import TransportError
from transport.machine import EOF
from transport.session import Batch
from transport.stream.bodies import StreamBroken, StreamData, StreamEnded, StreamOpened, StreamWritable
from transport.stream.config import StreamConfig
from transport.stream.session import StreamSession

MS_NS = 1_000_000
STEPS = 600
CHANNELS = 5


class End:
    """A session, what is on its way to it, and what an application would keep."""

    def __init__(self, name: str, rng: random.Random, log: bytearray) -> None:
        self.name = name
        self.rng = rng
        self.log = log
        self.session = StreamSession(
            StreamConfig(
                max_message=rng.choice((700, 70_000)), channels=CHANNELS, channel_window=rng.choice((600, 9000)),
                connection_window=rng.choice((900, 20_000)), stream_window=rng.choice((300, 5000)),
                keepalive_ns=80 * MS_NS, idle_ns=900 * MS_NS, handshake_ns=2000 * MS_NS, codec=rng.choice(("", "raw")),
            ),
            1,
        )  # fmt: skip
        self.inbound = bytearray()
        self.untaken: list[Batch] = []
        self.writing: dict[int, int] = {}
        self.reading: dict[int, int] = {}
        self.ended: set[int] = set()

    def note(self, *words: object) -> None:
        self.log += f"{self.name} {' '.join(map(repr, words))}\n".encode()

    def attempt(self, verb: Any, *arguments: Any) -> Any:
        """A command, and whatever it raises."""
        try:
            return verb(*arguments)
        except TransportError as error:
            self.note(type(error).__name__, str(error))
            return None

    def command(self, now: int) -> None:
        """Some of what an application might do."""
        rng, session = self.rng, self.session
        what = rng.random()
        if what < 0.6:
            size = min(int(10 ** rng.uniform(0, 4.7)), session.send_max)
            expires = now + rng.randrange(1, 60) * MS_NS if rng.random() < 0.25 else 0
            priority = rng.randrange(-3, 4) if rng.random() < 0.4 else 0
            channel = rng.randrange(session.channels_max())
            self.attempt(session.send, rng.randbytes(size), channel, rng.randrange(4), priority, expires, now)
        elif what < 0.65:
            self.attempt(session.ping, rng.getrandbits(31), now)
        elif what < 0.75:
            total = rng.choice((-1, 0, 50, 7000))
            stream = self.attempt(session.open_stream, rng.randrange(CHANNELS), total)
            if stream is not None:
                self.writing[stream] = total if total >= 0 else rng.randrange(9000)
        self.write_streams()

    def write_streams(self) -> None:
        rng, session = self.rng, self.session
        for stream, left in list(self.writing.items()):
            if rng.random() < 0.01:
                self.attempt(session.stream_reset, stream, rng.randrange(900), False)
                del self.writing[stream]
            elif not left:
                self.attempt(session.stream_finish, stream)
                del self.writing[stream]
            else:
                size = self.attempt(session.stream_write, stream, rng.randbytes(rng.randint(1, left)))
                self.note("wrote", stream, size)
                if size is None:
                    del self.writing[stream]
                else:
                    self.writing[stream] = left - size

    def collect(self) -> None:
        """Takes events and messages, later than they came."""
        rng, session = self.rng, self.session
        for event in session.events():
            self.note(event)
            if isinstance(event, StreamOpened):
                self.reading[event.stream] = 0
            elif isinstance(event, StreamData):
                self.reading[event.stream] += len(event.data)
            elif isinstance(event, StreamEnded):
                self.ended.add(event.stream)
            elif isinstance(event, StreamBroken) and not event.incoming:
                self.writing.pop(event.stream, None)
            elif isinstance(event, StreamWritable):
                self.note("writable")
        for stream, size in list(self.reading.items()):
            if rng.random() < 0.4:
                session.stream_consumed(stream, size)
                self.reading[stream] = 0
                if stream in self.ended:
                    del self.reading[stream]
            elif rng.random() < 0.01:
                session.stream_reset(stream, rng.randrange(900), True)
        self.untaken += session.take()
        while self.untaken and rng.random() < 0.7:
            batch = self.untaken.pop(0)
            self.note(batch.channel, batch.delivery, batch.size, [bytes(part) for part in batch.payloads])
            if batch.delivery < 2:
                session.consumed(batch.channel, batch.size, len(batch.payloads))


def move(source: End, target: End, now: int, calls: int) -> None:
    """Some of what `source` has to say, onto the pipe; then a piece of the pipe into `target`."""
    for _ in range(calls):
        source.note("pending", source.session.pending(), source.session.due())
        run = source.session.transmit_run() if source.rng.random() < 0.5 else None
        buffers: Any = source.session.transmit(now) if run is None else [bytes(run)]
        if run is not None:
            source.session.recycle(run)
        if not buffers:
            break
        for buffer in buffers:
            target.inbound += buffer
            source.note("eof" if buffer is EOF else bytes(buffer))
    if target.inbound:
        size = target.rng.choice((1, 2, 17, 300, 5000, len(target.inbound)))
        data = bytes(target.inbound[:size])
        del target.inbound[:size]
        target.session.receive(data, now)


def trace(seed: int) -> bytes:
    """Every byte on the wire, every message, event, refusal and deadline, in order."""
    rng, log, now = random.Random(seed), bytearray(), 1
    one, two = End("one", rng, log), End("two", rng, log)
    closing = rng.randrange(STEPS // 2, STEPS)
    for step in range(STEPS):
        now += rng.randrange(12) * MS_NS
        for end, peer in ((one, two), (two, one)):
            if rng.random() < 0.7:
                end.command(now)
            move(end, peer, now, rng.randrange(4))
            deadline = end.session.deadline()
            if deadline is not None and deadline <= now:
                end.session.expire(now)
            end.collect()
        if step == closing:
            one.attempt(one.session.close, rng.choice((0, 7, 1001)), "enough of this", now)
        if step == closing + 3 and rng.random() < 0.5:
            two.attempt(two.session.close, 0, "me too", now)
    for _ in range(100):
        move(one, two, now, 100)
        move(two, one, now, 100)
        one.collect()
        two.collect()
    for end in (one, two):
        end.session.receive(b"", now)
        end.collect()
        end.note(sorted(end.session.statistics().items()), end.session.sent_total, end.session.state)
    return bytes(log)
