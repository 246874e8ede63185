"""The life of a stream: every row of the table is walked at both ends, everything else is refused."""

from __future__ import annotations

import pytest

from tests.stream.joined import QUIET, Joined
from tests.walks import pairs, walked
from transport.errors import CloseCode
from transport.states import IllegalTransition
from transport.stream.bodies import Incoming, Outgoing, StreamBroken, StreamTaken
from transport.stream.config import StreamConfig
from transport.stream.states import STREAM, Body, On


def opened() -> tuple[Joined, int]:
    """Two sessions and a stream from the first to the second."""
    joined = Joined(StreamConfig(**QUIET)).open()
    stream = joined.one.session.open_stream(0, 4)
    joined.one.session.stream_write(stream, b"data")
    joined.settle()
    return joined, stream


def completed() -> tuple[Joined, int]:
    joined, stream = opened()
    joined.one.session.stream_finish(stream)
    joined.settle()
    return joined, stream


def states(joined: Joined) -> list[int]:
    """Of every stream that an end still knows."""
    tables = joined.one.session.streams, joined.two.session.streams
    return [end.state for table in tables for end in (*table._out.values(), *table._in.values())]


def test_a_stream_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = walked(STREAM, monkeypatch)
    joined, stream = completed()
    assert states(joined) == [Body.COMPLETE] * 2
    joined.two.session.stream_consumed(stream, 4)
    joined.settle()
    assert states(joined) == []
    assert joined.one.of(StreamTaken) == [StreamTaken(stream)]
    assert sorted(walk) == sorted(2 * [pair for pair in pairs(STREAM) if pair[1] in (On.OPEN, On.END, On.TAKEN)])


@pytest.mark.parametrize("by_opener", [True, False])
def test_a_stream_that_is_broken_off(by_opener: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    walk = walked(STREAM, monkeypatch)
    joined, stream = opened()
    assert states(joined) == [Body.OPEN] * 2
    (joined.one if by_opener else joined.two).session.stream_reset(stream, 9, not by_opener)
    joined.settle()
    assert states(joined) == []
    assert walk[2:] == 2 * [(Body.OPEN, On.RESET, Body.OVER)]


def test_a_complete_stream_that_is_broken_off_by_its_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its opener can't tell that from a stream that was taken, and need not."""
    joined, stream = completed()
    walk = walked(STREAM, monkeypatch)
    assert joined.one.session.streams.reset(stream, 9, False) == b""  # it is over for its opener's application
    joined.two.session.stream_reset(stream, 9, True)
    joined.settle()
    assert walk == [(Body.COMPLETE, On.RESET, Body.OVER), (Body.COMPLETE, On.TAKEN, Body.OVER)]


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_connection_that_ends(is_complete: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    joined, stream = completed() if is_complete else opened()
    walk = walked(STREAM, monkeypatch)
    joined.one.session.abort(9, "", joined.now)
    joined.settle()
    assert walk == 2 * [(Body.COMPLETE if is_complete else Body.OPEN, On.LOST, Body.OVER)]
    broken = [StreamBroken(stream, CloseCode.LOST, False)]
    assert joined.one.of(StreamBroken) == ([] if is_complete else broken)
    assert states(joined) == []


def test_every_other_pair_is_refused() -> None:
    legal = {pair[:2] for pair in pairs(STREAM)}
    for end in (Outgoing(0, -1), Incoming(0, -1)):
        for state in Body:
            for event in On:
                if (state, event) in legal:
                    continue
                end.state = state
                with pytest.raises(IllegalTransition, match=f"a stream in state {state.name} can't have {event.name}"):
                    end.step(event)
                assert end.state == state
