"""Streamed bodies: what is larger than a message crosses a session in chunks, with credit of its own.

A stream runs one way, from who opened it. Each side numbers its own from 0. A complete stream counts as open until its
receiver has taken all of it and says so, or many small ones would pile up unread. It must never hold more of an
incoming stream than the window it granted, and a broken stream never ends its connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, LocalProtocolError, RemoteProtocolError, UnsupportedOperation
from transport.machine import Event
from transport.stream import frames
from transport.stream.states import STREAM, Body, On

BY_OPENER, BY_RECEIVER = 0, 1


@dataclass(frozen=True, slots=True)
class StreamOpened(Event):
    """The peer starts a stream; `total` is its announced size in bytes, -1 where unknown."""

    stream: int
    channel: int
    total: int


@dataclass(frozen=True, slots=True)
class StreamData(Event):
    """The next bytes of an incoming stream."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StreamEnded(Event):
    """An incoming stream is complete."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamBroken(Event):
    """A stream was broken off; `incoming` tells which table `stream` counts in."""

    stream: int
    code: int
    incoming: bool


@dataclass(frozen=True, slots=True)
class StreamWritable(Event):
    """Credit came for an outgoing stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class StreamTaken(Event):
    """The peer has taken all of a complete outgoing stream: another may be opened in its place."""

    stream: int


class Stream:
    """One end of a stream. `state` is one of `states.Body`; `total` its announced size, -1 where unknown."""

    __slots__ = ("limit", "state", "total")

    def __init__(self, limit: int, total: int) -> None:
        self.limit = limit
        self.total = total
        self.state = STREAM.after(Body.NEW, On.OPEN)

    def step(self, event: int) -> None:
        """Its life goes on by `event`, one of `states.On`."""
        self.state = STREAM.after(self.state, event)


class Outgoing(Stream):
    """A stream this side sends."""

    __slots__ = ("sent",)

    def __init__(self, limit: int, total: int) -> None:
        super().__init__(limit, total)
        self.sent = 0


class Incoming(Stream):
    """A stream the peer sends."""

    __slots__ = ("consumed", "due", "received")

    def __init__(self, limit: int, total: int) -> None:
        super().__init__(limit, total)
        self.received = 0
        self.consumed = 0
        self.due = False


class StreamTable:
    """Every open stream of one session, both ways.

    Attributes:
        peer_window: credit that the peer gives a new stream.
        due: incoming streams that `credit_frames` has something to say about.
        refused: streams of the peer refused because too many were open.
    """

    def __init__(self, window: int) -> None:
        self.peer_window = 0
        self._window = window
        self._out: dict[int, Outgoing] = {}
        self._in: dict[int, Incoming] = {}
        self._next_out = 0
        self._next_in = 0
        self.due: list[int] = []
        self.refused = 0

    def peer_spoke(self, window: int, events: list[Any]) -> None:
        """The peer's window is known: streams opened before have it too."""
        self.peer_window = window
        for stream, out in self._out.items():
            out.limit = window
            if out.state == Body.OPEN:
                events.append(StreamWritable(stream))

    def full(self) -> bool:
        """Whether as many streams are open as may be, those counted that the peer has not taken yet."""
        return len(self._out) >= limits.STREAMS_MAX

    def has_untaken(self) -> bool:
        """Whether a complete outgoing stream waits for the peer to take it."""
        return any(out.state == Body.COMPLETE for out in self._out.values())

    def open(self, channel: int, total: int) -> tuple[int, bytes]:
        """The id and first frame of a new outgoing stream.

        Raises:
            UnsupportedOperation: too many are open already.
        """
        if self.full():
            raise UnsupportedOperation(f"{limits.STREAMS_MAX} streams are open already, or not read by the peer yet")
        stream = self._next_out
        body = varint.encode(stream) + varint.encode(total + 1)
        frame = frames.header(frames.STREAM_OPEN, len(body), channel) + body
        self._next_out += 1
        self._out[stream] = Outgoing(self.peer_window, total)
        return stream, frame

    def room(self, stream: int, wanted: int) -> int:
        """How many of `wanted` bytes may be sent now, at most one chunk."""
        out = self._outgoing(stream)
        if out.total >= 0 and out.sent + wanted > out.total:
            raise LocalProtocolError(f"stream of {out.total} bytes was announced, {out.sent + wanted} were written")
        return min(wanted, limits.STREAM_CHUNK_BYTES, max(0, out.limit - out.sent))

    def data(self, stream: int, chunk: bytes) -> bytes:
        """The frame that carries `chunk`, for which there must be room."""
        self._outgoing(stream).sent += len(chunk)
        head = varint.encode(stream)
        return frames.header(frames.STREAM_DATA, len(head) + len(chunk)) + head + chunk

    def finish(self, stream: int) -> bytes:
        """The frame that completes an outgoing stream."""
        out = self._outgoing(stream)
        if out.total >= 0 and out.sent != out.total:
            raise LocalProtocolError(f"stream of {out.total} bytes was announced, {out.sent} were written")
        out.step(On.END)
        return frames.numbers(frames.STREAM_END, stream)

    def reset(self, stream: int, code: int, incoming: bool) -> bytes:
        """The frame that breaks a stream off; empty when it is over already."""
        table: dict[int, Any] = self._in if incoming else self._out
        state = table.get(stream)
        if state is None or (not incoming and state.state != Body.OPEN):
            return b""
        frame = frames.numbers(frames.STREAM_RESET, stream, code, BY_RECEIVER if incoming else BY_OPENER)
        state.step(On.RESET)
        del table[stream]
        return frame

    def consumed(self, stream: int, size: int) -> None:
        """The application took `size` bytes of an incoming stream; 0 when it has seen the end of an empty one."""
        state = self._in.get(stream)
        if state is None:
            return
        state.consumed += size
        taken = state.state == Body.COMPLETE and state.consumed >= state.received
        if not state.due and (taken or state.limit - state.consumed <= self._window // 2):
            state.due = True
            self.due.append(stream)

    def credit_frames(self) -> bytes:
        """Credit for every stream that is due some."""
        out = b""
        for stream in self.due:
            state = self._in.get(stream)
            if state is None:
                continue
            state.due = False
            if state.state == Body.OPEN:
                state.limit = state.consumed + self._window
                out += frames.numbers(frames.STREAM_CREDIT, stream, state.limit)
            elif state.consumed >= state.received:
                state.step(On.TAKEN)
                del self._in[stream]
                out += frames.numbers(frames.STREAM_RESET, stream, CloseCode.NORMAL, BY_RECEIVER)
        self.due.clear()
        return out

    def received(self, kind: int, body: bytes, channel: int, events: list[Any]) -> bytes:
        """Takes a stream frame; returns a frame to answer with, or b"". Raises RemoteProtocolError."""
        stream, position = varint.decode(body, 0)
        if kind == frames.STREAM_OPEN:
            total, _ = varint.decode(body, position)
            return self._on_open(stream, total - 1, channel, events)
        if kind == frames.STREAM_DATA:
            self._on_data(stream, body[position:], events)
        elif kind == frames.STREAM_END:
            self._on_end(stream, events)
        elif kind == frames.STREAM_RESET:
            code, position = varint.decode(body, position)
            side, _ = varint.decode(body, position)
            self._on_reset(stream, code, side == BY_OPENER, events)
        else:
            limit, _ = varint.decode(body, position)
            out = self._out.get(stream)
            if out is not None and out.state == Body.OPEN and limit > out.limit:
                out.limit = limit
                events.append(StreamWritable(stream))
        return b""

    def _on_open(self, stream: int, total: int, channel: int, events: list[Any]) -> bytes:
        if stream != self._next_in:
            raise RemoteProtocolError(f"stream {stream} opened out of turn")
        self._next_in += 1
        if len(self._in) >= limits.STREAMS_MAX:
            self.refused += 1
            return frames.numbers(frames.STREAM_RESET, stream, CloseCode.OVERLOADED, BY_RECEIVER)
        self._in[stream] = Incoming(self._window, total)
        events.append(StreamOpened(stream, channel, total))
        return b""

    def _on_reset(self, stream: int, code: int, incoming: bool, events: list[Any]) -> None:
        table: dict[int, Any] = self._in if incoming else self._out
        state = table.pop(stream, None)
        if state is None:
            return
        if not incoming and state.state == Body.COMPLETE:
            state.step(On.TAKEN)
            events.append(StreamTaken(stream))
        else:
            state.step(On.RESET)
            events.append(StreamBroken(stream, code, incoming))

    def _incoming(self, stream: int) -> Incoming | None:
        """The state of an incoming stream; None when it is over."""
        if stream >= self._next_in:
            raise RemoteProtocolError(f"stream {stream} was never opened")
        return self._in.get(stream)

    def _on_data(self, stream: int, data: bytes, events: list[Any]) -> None:
        state = self._incoming(stream)
        if state is None:
            return  # refused or broken off; what was under way still comes
        if state.state != Body.OPEN:
            raise RemoteProtocolError(f"stream {stream} goes on after its end")
        state.received += len(data)
        if state.received > state.limit:
            raise RemoteProtocolError(f"stream {stream} is out of credit", CloseCode.FLOW_CONTROL)
        if state.total >= 0 and state.received > state.total:
            raise RemoteProtocolError(f"stream {stream} is longer than announced")
        if data:
            events.append(StreamData(stream, data))

    def _on_end(self, stream: int, events: list[Any]) -> None:
        state = self._incoming(stream)
        if state is None:
            return
        if state.state != Body.OPEN:
            raise RemoteProtocolError(f"stream {stream} ends twice")
        if state.total >= 0 and state.received != state.total:
            raise RemoteProtocolError(f"stream {stream} is shorter than announced")
        state.step(On.END)
        events.append(StreamEnded(stream))
        if state.received and state.consumed >= state.received and not state.due:
            state.due = True
            self.due.append(stream)

    def close(self, events: list[Any]) -> None:
        """The session is over: every open stream is broken off."""
        tables: list[tuple[bool, dict[int, Any]]] = [(True, self._in), (False, self._out)]
        for incoming, table in tables:
            for stream, state in table.items():
                if state.state == Body.OPEN:
                    events.append(StreamBroken(stream, CloseCode.LOST, incoming))
                state.step(On.LOST)
            table.clear()
        self.due.clear()

    def _outgoing(self, stream: int) -> Outgoing:
        out = self._out.get(stream)
        if out is None or out.state != Body.OPEN:
            raise LocalProtocolError(f"stream {stream} is not open for writing")
        return out
