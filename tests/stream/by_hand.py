"""One stream session talked to by hand: frames in, frames out."""

from __future__ import annotations

from tests.stream.joined import QUIET, Frame, frames_of
from transport.machine import Closed, Established
from transport.stream import frames
from transport.stream.config import StreamConfig
from transport.stream.preface import Preface
from transport.stream.session import StreamSession

HELLO = Preface().encode()
ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = range(4)


def opened(**config: int | str) -> StreamSession:
    """A session that has heard a preface with the default limits and said its own."""
    session = StreamSession(StreamConfig(**{**QUIET, **config}), 0)
    session.receive(HELLO, 0)
    session.transmit(0)
    assert session.events() == [Established()]
    return session


def said(session: StreamSession, now: int = 0) -> list[Frame]:
    """Whole frames that the session gives now."""
    data = b"".join(map(bytes, session.transmit(now)))
    found, left = frames_of(data)
    assert not left
    return found


def send(session: StreamSession, payload: bytes, channel: int = 0, delivery: int = 0, priority: int = 0) -> None:
    session.send(payload, channel, delivery, priority, 0, 0)


def message(payload: bytes, channel: int = 0, delivery: int = 0) -> bytes:
    return frames.header(frames.MESSAGE, len(payload), channel, delivery) + payload


def ended(session: StreamSession) -> Closed:
    events = session.events()
    assert isinstance(events[-1], Closed)
    assert session.state == 3
    return events[-1]
