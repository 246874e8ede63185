"""Streamed bodies: order, credit, progress, breaking off, and how many may be open."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.stream.joined import QUIET, End, Joined
from transport import limits
from transport.codec import varint
from transport.errors import (
    CloseCode,
    CodecError,
    ConnectionClosed,
    LocalProtocolError,
    RemoteProtocolError,
    UnsupportedOperation,
)
from transport.stream import frames
from transport.stream.bodies import (
    BY_OPENER,
    BY_RECEIVER,
    StreamBroken,
    StreamData,
    StreamEnded,
    StreamOpened,
    StreamTable,
    StreamTaken,
    StreamWritable,
)
from transport.stream.config import StreamConfig
from transport.stream.preface import Preface
from transport.stream.session import CONTROL_QUEUE_BYTES, StreamSession


def pair(window: int = limits.STREAM_WINDOW_BYTES) -> Joined:
    return Joined(StreamConfig(stream_window=window, **QUIET)).open()


def got(end: End, stream: int) -> bytes:
    return b"".join(event.data for event in end.of(StreamData) if event.stream == stream)


def since(end: End, mark: int) -> list[Any]:
    return end.events[mark:]


def write_all(joined: Joined, stream: int, data: bytes) -> None:
    """Writes with a reader that keeps up."""
    session = joined.one.session
    seen = len(joined.two.of(StreamData))
    while data:
        data = data[session.stream_write(stream, data) :]
        joined.settle()
        for event in joined.two.of(StreamData)[seen:]:
            joined.two.session.stream_consumed(event.stream, len(event.data))
        seen = len(joined.two.of(StreamData))


# A whole life


@pytest.mark.parametrize("announced", [True, False])
def test_more_than_a_message_arrives_byte_for_byte(announced: bool, rng: random.Random) -> None:
    joined = pair(window=100_000)
    data = rng.randbytes(1_500_000)
    stream = joined.one.session.open_stream(7, len(data) if announced else -1)
    write_all(joined, stream, data)
    joined.one.session.stream_finish(stream)
    joined.settle()
    assert joined.two.of(StreamOpened) == [StreamOpened(stream, 7, len(data) if announced else -1)]
    assert got(joined.two, stream) == data
    assert joined.two.of(StreamEnded) == [StreamEnded(stream)]
    assert joined.one.of(StreamTaken) == [StreamTaken(stream)]


def test_an_empty_stream() -> None:
    joined = pair()
    stream = joined.one.session.open_stream(0, 0)
    joined.one.session.stream_finish(stream)
    joined.settle()
    assert [type(event) for event in joined.two.events] == [type(joined.two.events[0]), StreamOpened, StreamEnded]
    assert not joined.one.session.streams.full()
    assert joined.one.of(StreamTaken) == []
    joined.two.session.stream_consumed(stream, 0)
    joined.settle()
    assert joined.one.of(StreamTaken) == [StreamTaken(stream)]


def test_both_ways_at_once_with_the_same_numbers() -> None:
    joined = pair()
    for end, data in ((joined.one, b"there"), (joined.two, b"back")):
        assert end.session.open_stream(0, -1) == 0
        assert end.session.stream_write(0, data) == len(data)
        end.session.stream_finish(0)
    joined.settle()
    assert (got(joined.two, 0), got(joined.one, 0)) == (b"there", b"back")


def test_messages_and_pings_pass_a_stream_that_waits() -> None:
    joined = pair(window=1000)
    session = joined.one.session
    stream = session.open_stream(0, -1)
    assert session.stream_write(stream, bytes(5000)) == 1000
    assert session.stream_write(stream, bytes(4000)) == 0
    session.send(b"past", 0, 0, 0, 0, 0)
    session.ping(5, 0)
    joined.settle()
    assert joined.two.messages == [(0, 0, b"past")]
    assert len(joined.one.events) == 2


# Credit


def test_a_writer_gets_one_chunk_at_a_time_and_never_more_than_its_credit() -> None:
    joined = pair(window=150_000)
    session = joined.one.session
    stream = session.open_stream(0, -1)
    assert [session.stream_write(stream, bytes(400_000)) for _ in range(4)] == [65_536, 65_536, 150_000 - 131_072, 0]


def test_credit_comes_when_half_the_window_is_taken() -> None:
    joined = pair(window=1000)
    stream = joined.one.session.open_stream(0, -1)
    joined.one.session.stream_write(stream, bytes(1000))
    joined.settle()
    joined.two.session.stream_consumed(stream, 499)
    assert not joined.two.session.credit_waiting()
    joined.two.session.stream_consumed(stream, 1)
    assert joined.two.session.credit_waiting()
    assert joined.two.session.pending()
    joined.settle()
    assert joined.one.of(StreamWritable) == [StreamWritable(stream)]
    assert joined.one.session.stream_write(stream, bytes(1000)) == 500


def test_a_stream_opened_before_the_peer_has_spoken_gets_its_credit() -> None:
    joined = Joined()
    stream = joined.one.session.open_stream(0, 5)
    assert joined.one.session.stream_write(stream, b"early") == 0
    joined.settle()
    assert joined.one.of(StreamWritable) == [StreamWritable(stream)]
    assert joined.one.session.stream_write(stream, b"early") == 5
    joined.one.session.stream_finish(stream)
    joined.settle()
    assert got(joined.two, stream) == b"early"


def frame(kind: int, *numbers: int, tail: bytes = b"") -> bytes:
    return frames.numbers(kind, *numbers, tail=tail)


def opened(**config: int) -> StreamSession:
    session = StreamSession(StreamConfig(**{**QUIET, **config}), 0)
    session.receive(Preface().encode(), 0)
    session.transmit(0)
    session.events()
    return session


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frame(frames.STREAM_OPEN, 1, 0), CloseCode.PROTOCOL_ERROR),  # out of turn
        (frame(frames.STREAM_OPEN, 0, 0) * 2, CloseCode.PROTOCOL_ERROR),
        (frame(frames.STREAM_DATA, 0, tail=b"x"), CloseCode.PROTOCOL_ERROR),  # never opened
        (frame(frames.STREAM_END, 0), CloseCode.PROTOCOL_ERROR),
        (frame(frames.STREAM_OPEN, 0, 0) + frame(frames.STREAM_DATA, 0, tail=bytes(1001)), CloseCode.FLOW_CONTROL),
        (frame(frames.STREAM_OPEN, 0, 4) + frame(frames.STREAM_DATA, 0, tail=b"four"), CloseCode.PROTOCOL_ERROR),
        (frame(frames.STREAM_OPEN, 0, 4) + frame(frames.STREAM_END, 0), CloseCode.PROTOCOL_ERROR),
        (frame(frames.STREAM_OPEN, 0, 1) + frame(frames.STREAM_END, 0) * 2, CloseCode.PROTOCOL_ERROR),
        (
            frame(frames.STREAM_OPEN, 0, 0) + frame(frames.STREAM_END, 0) + frame(frames.STREAM_DATA, 0, tail=b"x"),
            CloseCode.PROTOCOL_ERROR,
        ),
        (frame(frames.STREAM_RESET, 0), CloseCode.PROTOCOL_ERROR),  # truncated
        (frame(frames.STREAM_CREDIT, 0), CloseCode.PROTOCOL_ERROR),
        (frames.header(frames.STREAM_DATA, 0), CloseCode.PROTOCOL_ERROR),
    ],
)
def test_a_peer_that_breaks_the_rules_is_cut(wire: bytes, code: int) -> None:
    session = opened(stream_window=1000)
    session.receive(wire, 0)
    (*_, closed) = session.events()
    assert closed.code == code
    assert not closed.by_peer


def test_frames_about_streams_that_are_over_or_unknown_to_this_side_are_passed_over() -> None:
    session = opened()
    session.receive(
        frame(frames.STREAM_RESET, 5, 0, BY_RECEIVER) + frame(frames.STREAM_RESET, 5, 0, BY_OPENER)
        + frame(frames.STREAM_CREDIT, 9, 1 << 40),
        0,
    )  # fmt: skip
    assert session.state == 1
    assert session.events() == []


def test_a_chunk_of_no_bytes_is_no_end_and_takes_no_memory() -> None:
    """A reader takes b"" for the end of its stream, so it must never come from the wire."""
    session = opened()
    session.receive(frame(frames.STREAM_OPEN, 0, 0) + frame(frames.STREAM_DATA, 0) * 1000, 0)
    assert [type(event) for event in session.events()] == [StreamOpened]
    assert session.state == 1


# Own mistakes


def test_more_or_less_than_announced_is_this_sides_mistake() -> None:
    session = pair().one.session
    stream = session.open_stream(0, 10)
    with pytest.raises(LocalProtocolError, match="of 10 bytes was announced, 11"):
        session.stream_write(stream, bytes(11))
    session.stream_write(stream, bytes(9))
    with pytest.raises(LocalProtocolError, match="of 10 bytes was announced, 9"):
        session.stream_finish(stream)
    session.stream_write(stream, bytes(1))
    session.stream_finish(stream)
    for use in (lambda: session.stream_write(stream, b""), lambda: session.stream_finish(stream)):
        with pytest.raises(LocalProtocolError, match="not open for writing"):
            use()


def test_a_total_or_code_that_the_wire_does_not_hold_changes_nothing() -> None:
    joined = pair()
    session = joined.one.session
    with pytest.raises(CodecError):
        session.open_stream(0, 1 << 62)
    stream = session.open_stream(0, -1)
    with pytest.raises(CodecError):
        session.stream_reset(stream, -1, False)
    session.stream_write(stream, b"still open")
    joined.settle()
    assert got(joined.two, 0) == b"still open"


# Breaking off


def test_the_opener_breaks_off() -> None:
    joined = pair()
    stream = joined.one.session.open_stream(0, -1)
    joined.one.session.stream_write(stream, b"half")
    joined.one.session.stream_reset(stream, 77, False)
    joined.settle()
    assert joined.two.of(StreamBroken) == [StreamBroken(stream, 77, True)]
    assert joined.one.of(StreamBroken) == []
    joined.two.session.stream_consumed(stream, 4)
    joined.settle()
    assert joined.one.session.state == joined.two.session.state == 1
    with pytest.raises(LocalProtocolError):
        joined.one.session.stream_write(stream, b"x")


def test_the_receiver_breaks_off_while_chunks_are_under_way() -> None:
    joined = pair()
    stream = joined.one.session.open_stream(0, -1)
    joined.one.session.stream_write(stream, b"one")
    joined.settle()
    joined.two.session.stream_reset(stream, 78, True)
    joined.one.session.stream_write(stream, b"two")
    joined.settle()
    assert joined.one.of(StreamBroken) == [StreamBroken(stream, 78, False)]
    assert got(joined.two, stream) == b"one"
    assert joined.two.session.state == 1


def test_breaking_off_twice_or_from_both_ends_is_harmless() -> None:
    joined = pair()
    stream = joined.one.session.open_stream(0, -1)
    joined.settle()
    joined.one.session.stream_reset(stream, 1, False)
    joined.one.session.stream_reset(stream, 1, False)
    joined.two.session.stream_reset(stream, 2, True)
    joined.settle()
    assert joined.one.session.state == joined.two.session.state == 1
    assert joined.one.session.open_stream(0, -1) == 1


@pytest.mark.parametrize("code", [0, 5])
def test_the_end_of_the_session_breaks_off_what_is_open(code: int) -> None:
    joined = pair()
    one = joined.one.session
    finished, unfinished = one.open_stream(0, -1), one.open_stream(0, -1)
    one.stream_write(finished, b"all")
    one.stream_finish(finished)
    joined.two.session.open_stream(0, -1)
    joined.settle()
    one.close(code, "", 0)
    joined.settle()
    lost = CloseCode.LOST
    assert joined.two.of(StreamBroken) == [StreamBroken(unfinished, lost, True), StreamBroken(0, lost, False)]
    assert joined.one.of(StreamBroken) == [StreamBroken(0, lost, True), StreamBroken(unfinished, lost, False)]
    joined.two.session.stream_consumed(finished, 3)
    assert joined.two.session.transmit(0) == []
    with pytest.raises(ConnectionClosed):
        one.open_stream(0, -1)


# How many


def test_no_more_than_the_limit_are_open_each_way() -> None:
    joined = pair()
    one = joined.one.session
    for number in range(limits.STREAMS_MAX):
        assert one.open_stream(0, -1) == number
    with pytest.raises(UnsupportedOperation, match="64 streams"):
        one.open_stream(0, -1)
    joined.two.session.open_stream(0, -1)
    joined.settle()
    one.stream_reset(3, 1, False)
    assert one.open_stream(0, -1) == limits.STREAMS_MAX
    joined.settle()
    assert joined.two.session.streams.refused == 0


def test_complete_streams_count_until_they_are_taken() -> None:
    """Or a peer fills a memory with small complete streams that nobody has read yet."""
    joined = pair()
    one, two = joined.one.session, joined.two.session
    for number in range(limits.STREAMS_MAX):
        stream = one.open_stream(0, -1)
        if number % 2:
            one.stream_write(stream, b"abc")
        one.stream_finish(stream)
    joined.settle()
    with pytest.raises(UnsupportedOperation):
        one.open_stream(0, -1)
    for stream in (1, 2, 3):
        two.stream_consumed(stream, 3 if stream % 2 else 0)
    two.stream_reset(5, 9, True)  # not wanted is taken, too
    joined.settle()
    assert [event.stream for event in joined.one.of(StreamTaken)] == [1, 2, 3, 5]
    for _ in range(4):
        one.open_stream(0, -1)
    with pytest.raises(UnsupportedOperation):
        one.open_stream(0, -1)
    assert joined.one.of(StreamBroken) == []


def test_a_stream_read_before_it_ended_is_taken_at_its_end() -> None:
    joined = pair()
    stream = joined.one.session.open_stream(0, -1)
    joined.one.session.stream_write(stream, b"abc")
    joined.settle()
    joined.two.session.stream_consumed(stream, 3)
    joined.one.session.stream_finish(stream)
    joined.settle()
    assert joined.one.of(StreamTaken) == [StreamTaken(stream)]


def test_a_peer_that_opens_too_many_is_refused_each_and_keeps_its_connection() -> None:
    session = opened()
    for stream in range(limits.STREAMS_MAX + 3):
        session.receive(frame(frames.STREAM_OPEN, stream, 0) + frame(frames.STREAM_END, stream), 0)
    assert session.state == 1
    assert len([event for event in session.events() if isinstance(event, StreamOpened)]) == limits.STREAMS_MAX
    assert session.streams.refused == 3
    answers = b"".join(map(bytes, session.transmit(0)))
    assert answers == b"".join(
        frame(frames.STREAM_RESET, limits.STREAMS_MAX + number, CloseCode.OVERLOADED, BY_RECEIVER)
        for number in range(3)
    )


def test_a_peer_that_opens_too_many_and_reads_no_answers_is_cut() -> None:
    session = opened()
    stream = 0
    while session.state == 1 and stream < 100_000:
        session.receive(frame(frames.STREAM_OPEN, stream, 0), 0)
        stream += 1
    (*_, closed) = session.events()
    assert closed.code == CloseCode.POLICY
    assert stream * 8 < 2 * CONTROL_QUEUE_BYTES


def test_an_incoming_stream_holds_no_more_than_its_window() -> None:
    session = opened(stream_window=5000)
    session.receive(frame(frames.STREAM_OPEN, 0, 0) + frame(frames.STREAM_DATA, 0, tail=bytes(5000)), 0)
    assert session.state == 1
    session.receive(frame(frames.STREAM_DATA, 0, tail=b"x"), 0)
    assert session.events()[-1].code == CloseCode.FLOW_CONTROL


def test_refused_or_broken_streams_may_still_get_what_was_under_way() -> None:
    table = StreamTable(1000)
    events: list[Any] = []
    for stream in range(limits.STREAMS_MAX + 1):
        table.received(frames.STREAM_OPEN, varint.encode(stream) + b"\x00", 0, events)
    late = varint.encode(limits.STREAMS_MAX)
    assert table.received(frames.STREAM_DATA, late + b"data", 0, events) == b""
    assert table.received(frames.STREAM_END, late, 0, events) == b""
    assert len(events) == limits.STREAMS_MAX
    with pytest.raises(RemoteProtocolError):
        table.received(frames.STREAM_DATA, varint.encode(limits.STREAMS_MAX + 1), 0, events)


def test_a_seeded_crowd_of_streams(rng: random.Random) -> None:
    """Many at once, some broken off by either end, over a pipe that cuts anywhere: what ends is complete."""
    joined = pair(window=3000)
    one, two = joined.one.session, joined.two.session
    sent: dict[int, bytearray] = {}
    left: dict[int, int] = {}
    reading: dict[int, int] = {}
    done: set[int] = set()
    seen = 0
    for step in range(4000):
        if step < 2500 and rng.random() < 0.2 and not one.streams.full():
            stream = one.open_stream(rng.randrange(256), -1)
            sent[stream], left[stream] = bytearray(), rng.choice((0, 1, 500, 9000))
        for stream in list(left):
            if rng.random() < 0.5:
                continue
            if left[stream]:
                chunk = rng.randbytes(rng.randint(1, left[stream]))
                size = one.stream_write(stream, chunk)
                sent[stream] += chunk[:size]
                left[stream] -= size
            if not left[stream]:
                one.stream_finish(stream)
                done.add(stream)
                del left[stream]
            elif rng.random() < 0.02:
                one.stream_reset(stream, 5, False)
                del left[stream]
        joined.one.transmit(joined.now)
        joined.two.transmit(joined.now)
        joined.carry(joined.one, joined.two, rng.randrange(1, 4000))
        joined.carry(joined.two, joined.one, rng.randrange(1, 200))
        for event in since(joined.two, seen):
            if isinstance(event, StreamData):
                reading[event.stream] = reading.get(event.stream, 0) + len(event.data)
                assert reading[event.stream] <= 3000
            elif isinstance(event, StreamEnded) and event.stream not in reading:
                two.stream_consumed(event.stream, 0)
        seen = len(joined.two.events)
        for stream, size in list(reading.items()):
            if rng.random() < 0.3:
                two.stream_consumed(stream, size)
                reading[stream] = 0
            elif rng.random() < 0.003:
                two.stream_reset(stream, 6, True)
        for event in joined.one.events:
            if isinstance(event, StreamBroken):
                left.pop(event.stream, None)
        if step > 2500 and not left and not joined.one.wire and not joined.two.wire:
            break
    joined.settle()
    ended = {event.stream for event in joined.two.of(StreamEnded)}
    assert len(ended) > 20
    assert ended <= done
    for stream in ended:
        assert got(joined.two, stream) == sent[stream]
    assert one.state == two.state == 1
