"""Two stream sessions over a pipe that cuts anywhere, with everything at once, and bytes that nobody meant."""

from __future__ import annotations

import gc
import random
import tracemalloc

import pytest

from tests.stream.by_hand import message, opened
from tests.stream.joined import MS, QUIET, Book, End, Joined, frames_of, preface_size, steps
from transport import limits
from transport.errors import CloseCode, ConnectionClosed
from transport.machine import Closed
from transport.stream import frames
from transport.stream.config import StreamConfig
from transport.stream.session import StreamSession

RUNS = 40


class Traffic(Joined):
    """Both ends send at random, and every promise is checked on the way."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.windows = {
            "channel_window": rng.choice((500, 5000, 1 << 20)),
            "connection_window": rng.choice((700, 20_000, 1 << 20)),
        }
        self.max_message = rng.choice((100, 3000, 200_000))
        config = StreamConfig(max_message=self.max_message, channels=6, **self.windows, **QUIET)
        super().__init__(config)
        self.books = {id(self.one): Book(), id(self.two): Book()}
        self.priorities = rng.random() < 0.5
        self.expiry = rng.random() < 0.5
        self.accepted: dict[int, int] = {}  # how many messages an end had sent when it closed

    def send(self, end: End) -> None:
        rng = self.rng
        size = rng.choice((0, 1, 50, 700, 20_000, 70_000))
        self.books[id(end)].send(
            end, rng, rng.randrange(6), rng.randrange(4),
            rng.randrange(-3, 4) if self.priorities and rng.random() < 0.5 else 0,
            self.now + rng.randrange(1, 20) * MS if self.expiry and rng.random() < 0.3 else 0,
            min(size, self.max_message - 4), self.now,
        )  # fmt: skip

    def move(self) -> None:
        """Part of what there is to do, at either end."""
        rng = self.rng
        for source, target in self.ends:
            source.transmit(self.now, rng.randrange(3))
            self.books[id(source)].leaving(source.look(), self.now)
            for _ in range(rng.randrange(3)):
                self.carry(source, target, rng.choice((1, 3, 17, 1000, 60_000, 1 << 30)))
            self.check_credit(target)
            target.consume(rng.randrange(4))

    def check_credit(self, end: End) -> None:
        """What waits for the application is within what it granted, but for the end of one message each."""
        per: dict[int, int] = {}
        for batch in end.batches:
            if batch.delivery < 2:
                cost = batch.size + limits.MESSAGE_COST_BYTES * len(batch.payloads)
                per[batch.channel] = per.get(batch.channel, 0) + cost
        over = self.max_message + limits.MESSAGE_COST_BYTES
        assert all(size < self.windows["channel_window"] + over for size in per.values())
        assert sum(per.values()) < self.windows["connection_window"] + over

    def close(self, end: End, code: int) -> None:
        self.accepted[id(end)] = len(self.books[id(end)].sent)
        end.session.close(code, "enough", self.now)

    def finish(self) -> None:
        """Comes to rest, checking on the way, then judges the whole."""
        self.move()
        for end, _ in self.ends:
            end.consume()
        while True:
            moved = False
            for source, target in self.ends:
                moved |= source.transmit(self.now)
                self.books[id(source)].leaving(source.look(), self.now)
                moved |= self.carry(source, target, self.rng.choice((700, 1 << 30)))
                self.check_credit(target)
                target.consume()
            if not moved:
                break
        for source, target in self.ends:
            book = self.books[id(source)]
            other_closed = id(target) in self.accepted
            book.check(target.messages, complete=not self.accepted)
            if id(source) in self.accepted and not other_closed:
                came = {int.from_bytes(payload[:4], "big") for _, _, payload in target.messages}
                owed = {sent.number for sent in book.sent if sent.delivery < 2 and not sent.expires_at}
                assert owed <= came, "a close lost what was accepted before it"


def test_every_promise_is_kept_over_a_pipe_that_cuts_anywhere(rng: random.Random) -> None:
    for _ in range(RUNS):
        traffic = Traffic(rng)
        for now in steps(rng, 120):
            traffic.now = now
            for end, _ in traffic.ends:
                if rng.random() < 0.5:
                    traffic.send(end)
            traffic.move()
        traffic.finish()
        for end, _ in traffic.ends:
            assert end.closed is None
            assert end.session.blocked_bytes == end.session.queued_bytes == 0
            statistics = end.session.statistics()
            book = traffic.books[id(end)]
            assert len(book.sent) == len(book.left) + statistics["expired"] + statistics["dropped"]


@pytest.mark.parametrize("who", ["one", "two", "both"])
def test_a_close_at_any_moment_loses_nothing_that_was_accepted(who: str, rng: random.Random) -> None:
    for _ in range(RUNS):
        traffic = Traffic(rng)
        code = rng.choice((0, 0, 9))
        moment = rng.randrange(60)
        for step, now in enumerate(steps(rng, 60)):
            traffic.now = now
            for end, _ in traffic.ends:
                if rng.random() < 0.5 and end.session.state < 2:
                    traffic.send(end)
            for name, end in (("one", traffic.one), ("two", traffic.two)):
                if step >= moment and who in (name, "both") and end.session.state < 2 and rng.random() < 0.5:
                    traffic.close(end, code)
            traffic.move()
        for name, end in (("one", traffic.one), ("two", traffic.two)):
            if who in (name, "both") and end.session.state < 2:
                traffic.close(end, code)
        traffic.finish()
        for end, _ in traffic.ends:
            closed = end.closed
            assert closed is not None
            assert (closed.code, closed.reason, closed.clean) == (code, "enough", code == 0)
            assert end.eof == 1
            assert end.session.deadline() is None
        assert not (
            traffic.one.closed and traffic.two.closed and traffic.one.closed.by_peer and traffic.two.closed.by_peer
        )


def test_an_abort_or_a_cut_at_any_moment_ends_both_sides(rng: random.Random) -> None:
    for _ in range(RUNS):
        traffic = Traffic(rng)
        for now in steps(rng, rng.randrange(50)):
            traffic.now = now
            for end, _ in traffic.ends:
                traffic.send(end)
            traffic.move()
        if rng.random() < 0.5:
            traffic.one.session.abort(CloseCode.POLICY, "no", traffic.now)
        else:  # the pipe breaks: whatever was on its way is gone
            traffic.one.wire.clear()
            traffic.two.wire.clear()
            traffic.one.session.receive(b"", traffic.now)
            traffic.two.session.receive(b"", traffic.now)
        traffic.settle()
        for end, _ in traffic.ends:
            assert end.closed is not None
            assert not end.closed.clean
            assert end.session.queued_bytes == end.session.blocked_bytes == 0
        for source, target in traffic.ends:
            traffic.books[id(source)].check(target.messages, complete=False)


# Bytes that nobody meant


def whole(session: StreamSession, now: int) -> None:
    """What holds for a session in any state, whatever it was fed."""
    events = session.events()
    ends = [event for event in events if isinstance(event, Closed)]
    for batch in session.take():
        assert batch.size == sum(map(len, batch.payloads))
        assert 0 <= batch.channel < limits.CHANNELS_MAX
        session.consumed(batch.channel, batch.size, len(batch.payloads))
    buffers = session.transmit(now)
    if session.state == 3:
        assert len(ends) <= 1
        assert session.deadline() is None
        assert not buffers or not len(buffers[-1])
        with pytest.raises(ConnectionClosed):
            session.send(b"x", 0, 0, 0, 0, now)
        assert session.transmit(now) == []
    else:
        assert not ends
        session.send(b"still works", 0, 0, 0, 0, now)


def test_random_bytes_never_raise(rng: random.Random) -> None:
    for _ in range(1500):
        session = opened() if rng.random() < 0.8 else StreamSession(StreamConfig(**QUIET), 0)
        for _ in range(rng.randrange(1, 6)):
            session.receive(rng.randbytes(rng.randrange(1, 40)), 0)
        whole(session, 0)
        if rng.random() < 0.3:
            session.receive(b"", 0)
            assert session.state == 3
            whole(session, 0)


def conversation(rng: random.Random) -> bytes:
    """Bytes that one end really says, with every kind of frame."""
    joined = Joined(StreamConfig(channel_window=3000, connection_window=8000, stream_window=2000, **QUIET)).open()
    one, two = joined.one.session, joined.two.session
    for number in range(10):
        one.send(rng.randbytes(rng.choice((0, 5, 100, 2000))), number, number % 4, number % 2, 0, 0)
        two.send(rng.randbytes(700), number, 0, 0, 0, 0)
        stream = one.open_stream(number, -1)
        one.stream_write(stream, rng.randbytes(1500))
        if number % 2:
            one.stream_finish(stream)
        else:
            one.stream_reset(stream, number, False)
        one.ping(number + 1, 0)
        two.ping(number + 1, 0)
        joined.settle()
    one.close(3, "why", 0)
    joined.settle()
    kinds = {frame.kind for frame in frames_of(bytes(joined.one.wrote[preface_size(joined.one.wrote) :]))[0]}
    assert len(kinds) >= 9
    return bytes(joined.one.wrote)


def test_a_real_conversation_with_some_bytes_changed_never_raises(rng: random.Random) -> None:
    good = conversation(rng)
    ended = set()
    for _ in range(600):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 5)):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at] = rng.randrange(256)
                case 2:
                    del data[at : at + rng.randrange(1, 20)]
                case _:
                    data[at:at] = rng.randbytes(rng.randrange(1, 20))
        session = StreamSession(StreamConfig(stream_window=2000, **QUIET), 0)
        at = 0
        while at < len(data):
            size = rng.choice((1, 10, 500, 1 << 20))
            session.receive(bytes(data[at : at + size]), 0)
            for batch in session.take():
                session.consumed(batch.channel, batch.size, len(batch.payloads))
            session.transmit(0)
            at += size
        events = session.events()
        closed = [event for event in events if isinstance(event, Closed)]
        assert len(closed) <= 1
        if closed:
            assert events[-1] is closed[0]
            assert closed[0].reason or closed[0].by_peer
            ended.add(closed[0].code)
        whole(session, 0)
    assert CloseCode.PROTOCOL_ERROR in ended
    assert len(ended) >= 3


@pytest.mark.parametrize("kind", range(16))
def test_every_kind_with_every_short_body_never_raises(kind: int, rng: random.Random) -> None:
    for size in (*range(12), 40, 1024):
        for _ in range(8):
            session = opened()
            body = bytes(rng.choice((0, 1, 63, 64, 0x80, 0xC0, 0xFF)) for _ in range(size))
            channel = rng.choice((0, 3, 255))
            session.receive(frames.header(kind, size, channel, rng.randrange(4)) + body, 0)
            session.receive(message(b"behind it"), 0)
            whole(session, 0)


# Memory


def peak_of(session: StreamSession, pieces: list[bytes]) -> int:
    """Most bytes allocated at once while `session` takes `pieces`."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for piece in pieces:
            session.receive(piece, 0)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [16 << 20, 1 << 31, (1 << 62) - 1])
def test_nothing_is_allocated_for_a_length_that_was_only_said(size: int) -> None:
    session = opened(max_message=16 << 20)
    assert peak_of(session, [frames.header(frames.MESSAGE, size) + b"some"]) < 20_000
    assert session.state == (1 if size == 16 << 20 else 3)


@pytest.mark.parametrize("chunk", [1, 2, 100, 4095, 4096, 4097])
def test_a_message_in_tiny_pieces_takes_little_more_memory_than_itself(chunk: int) -> None:
    size = 300_000 if chunk > 2 else 60_000
    session = opened()
    data = frames.header(frames.MESSAGE, size) + bytes(size)
    pieces = [data[at : at + chunk] for at in range(0, len(data), chunk)]
    peak = peak_of(session, pieces)
    assert session.take()[0].size == size
    assert peak < 2.6 * size + 30_000


@pytest.mark.parametrize("size", [0, 1, 2, 30])
def test_a_flood_of_small_messages_takes_little_more_than_the_window(size: int) -> None:
    """Whatever a peer sends to an application that takes nothing, alternating channels and in single reads."""
    session = opened(channel_window=50_000, connection_window=200_000, max_message=1000)
    pieces = [message(bytes(size), number % 5) for number in range(30_000)]
    peak = peak_of(session, pieces)
    assert session.state == 3
    assert peak < 14 * 200_000
