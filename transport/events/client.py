"""The client's side of the events protocol: frames in, frames out and what happened. No clock, no socket, no waiting.

It keeps what a client must not forget while a connection is lost: where it is in each stream, and the messages that the
server has not settled. It must never take an event twice, pass over one in silence, or send a message whose fate is
unknown to a server that can't tell.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, NamedTuple

from transport import CloseCode, limits
from transport.events import envelope, parse
from transport.events.envelope import Why
from transport.events.errors import Malformed
from transport.events.following import Stream, Untold


class Outgoing:
    """A message on its way to the server."""

    __slots__ = ("body", "number", "sent", "token", "wants_reply")

    def __init__(self, body: bytes, wants_reply: bool, token: Any) -> None:
        self.body = body
        self.wants_reply = wants_reply
        self.token = token
        self.number = 0
        self.sent = False


class Opened(NamedTuple):
    """The server let the client in. `uncertain`: messages of which nobody knows whether they were handled."""

    resumed: bool
    uncertain: list[Outgoing]


class Closed(NamedTuple):
    """The server does not want this client, or no longer."""

    refused: envelope.Refused


class Delivered(NamedTuple):
    """An event of a stream."""

    stream: Stream
    epoch: int
    event: envelope.Event


class Loose(NamedTuple):
    """A volatile event; `room` is empty for one to this client alone."""

    room: str
    event: envelope.Volatile


class GapFound(NamedTuple):
    """Events of a stream are missing. `stream` is None where it is not the client's any more."""

    room: str
    stream: Stream | None
    epoch: int
    gap: envelope.Gap


class Rewound(NamedTuple):
    """The log of a stream has gone back within its epoch: offsets that the client had are given a second time."""

    stream: Stream


class Stalled(NamedTuple):
    """Nothing more of a stream will come until the program is done with some of the events whose effects failed."""

    stream: Stream
    failed: int


class CaughtUp(NamedTuple):
    """All that was missed of a stream has come."""

    stream: Stream
    events: int


class Entered(NamedTuple):
    """The client is in a room. `token` is that of its own wish, None for the server's."""

    token: Any
    stream: Stream
    top: int


class Outside(NamedTuple):
    """The client is not in a room. `stream` is what it knew of it, if it did."""

    token: Any
    room: str
    reason: str
    stream: Stream | None


class Settled(NamedTuple):
    """A message was handled; `reply` is None for one that wanted none."""

    outgoing: Outgoing
    reply: envelope.Reply | None


class Asked(NamedTuple):
    """The server wants an answer."""

    room: str
    call: envelope.Call


class GoingAway(NamedTuple):
    """The server is about to end."""

    retry_ms: int
    jitter_ms: int


class TooLarge(NamedTuple):
    """A message is over what this server takes; it was not sent."""

    outgoing: Outgoing
    size: int
    limit: int


class _Wish:
    __slots__ = ("asked", "joins", "room", "since", "token")

    def __init__(self, room: str, joins: bool, since: str, token: Any) -> None:
        self.room = room
        self.joins = joins
        self.since = since
        self.token = token
        self.asked = False  # on this connection; else the answer to a claim is its answer


class Client:
    """The machine.

    Args:
        namespace: to enter.
        auth: what the server's `authorize` is given.

    Attributes:
        session, secret, generation: of its session; empty before the first connection.
        streams: by room.
        rewinds: how often the log of a room has gone back within its epoch, for rooms where it has.
        untold: rooms that have begun anew with the session, and whose program does not know.
        up: the server let it in, and the connection is there.
        largest: bytes of a frame that the connection, and the server, take.
        out: frames to be written, taken by `transmit`.
        happened: what happened, taken by `events`.
        counters: since it was made.
    """

    def __init__(self, namespace: str, auth: Any = None) -> None:
        self.namespace = namespace
        self.auth = auth
        self.session = ""
        self.secret = b""
        self.generation = 0
        self.streams: dict[str, Stream] = {"": Stream("")}
        self.rewinds: dict[str, int] = {}
        self.untold = Untold()
        self.up = False
        self.largest = limits.MESSAGE_BYTES_DEFAULT
        self.out: list[bytes] = []
        self.happened: list[Any] = []
        self.counters: Counter[str] = Counter()
        self._aliases: dict[int, Stream] = {}
        self._fresh: deque[Outgoing] = deque()
        self._sent: dict[int, Outgoing] = {}
        self._sent_bytes = 0
        self._fresh_bytes = 0
        self._next = 1
        self._forgot = True  # what was sent before, by a process that is no more
        self._window = limits.EVENTS_WINDOW
        self._wishes: dict[int, _Wish] = {}
        self._last_wish = 0

    # The connection

    def connected(self) -> None:
        """A new connection: the first frame says who this is."""
        if self.session:
            self.generation += 1
        claims = [stream.claim() for stream in self.streams.values() if stream.ticket]
        floor = 0 if self._forgot else self._floor()
        hello = envelope.Hello(
            self.namespace, self.auth, self.session, self.secret, self.generation, floor, claims, self.largest
        )  # fmt: skip
        self.out.append(envelope.hello(hello))

    def disconnected(self) -> None:
        """The connection is gone."""
        self.up = False
        self.out.clear()
        self._aliases.clear()
        for stream in self.streams.values():
            stream.alias = 0
            stream.paused = stream.seeking = False
        for wish in self._wishes.values():
            wish.asked = False

    def start_over(self) -> None:
        """The server does not take the session: a new one begins, and everybody is told what that means for them."""
        uncertain = list(self._sent.values())
        self._sent.clear()
        self._sent_bytes = 0
        self.session, self.secret, self.generation = "", b"", 0
        self._next, self._forgot = 1, False
        self.happened.append(Opened(False, uncertain))
        for room, stream in list(self.streams.items()):
            stream.ticket = b""
            stream.rebase(0, 0, False)
            self.untold.begin(room)
            if room and stream.by_client:
                self._wish(_Wish(room, True, "now", None))
            elif room:  # the server's program has put it there, and may again
                self._say_anew(stream)
                self._forget(room)
                self.happened.append(Outside(None, room, "denied: the session has begun anew", stream))

    def _say_anew(self, stream: Stream) -> None:
        if not self.untold.is_due(stream.room):
            return
        gap = envelope.Gap(0, Why.EPOCH, envelope.Policy.NOW, 0, stream.room, 0, 0, -1, None)
        self.happened.append(GapFound(stream.room, stream, 0, gap))

    def receive(self, data: bytes) -> None:
        """A frame. Raises Malformed, after which the connection has to be closed."""
        frame = parse.parse(data, parse.FROM_SERVER)
        if not self.up and type(frame) not in (envelope.Welcome, envelope.Refused):
            if type(frame) is envelope.Volatile:  # it may overtake
                return
            raise Malformed("a server begins with WELCOME or REFUSED")
        _TAKE[type(frame)](self, frame)

    def transmit(self) -> list[bytes]:
        """Frames to be written now, in order."""
        out, self.out = self.out, []
        return out

    def events(self) -> list[Any]:
        """What happened since the last call."""
        happened, self.happened = self.happened, []
        return happened

    # Messages to the server

    def send(self, body: bytes, wants_reply: bool, token: Any) -> Outgoing:
        """A message, which is sent now or when it can be, and settled once."""
        outgoing = Outgoing(body, wants_reply, token)
        self._fresh.append(outgoing)
        self._fresh_bytes += len(body)
        self._number()
        return outgoing

    @property
    def unsettled(self) -> int:
        """Messages that are not settled."""
        return len(self._fresh) + len(self._sent)

    @property
    def is_full(self) -> bool:
        """No more should be sent until some are settled."""
        waiting = self._fresh_bytes + self._sent_bytes
        return self.unsettled >= limits.EVENTS_WINDOW or waiting >= limits.EVENTS_WINDOW_BYTES

    def _floor(self) -> int:
        return next(iter(self._sent), self._next)

    def _number(self) -> None:
        """Sends what fits into the window."""
        while self.up and self._fresh and self._next - self._floor() < self._window:
            size = len(self._fresh[0].body)
            if self._sent and self._sent_bytes + size > limits.EVENTS_WINDOW_BYTES:
                return
            outgoing = self._fresh.popleft()
            self._fresh_bytes -= size
            if size > self.largest - limits.EVENTS_FRAME_COST_BYTES:  # before it has a number: none is left out
                limit = self.largest - limits.EVENTS_FRAME_COST_BYTES
                self.happened.append(TooLarge(outgoing, size, limit))
                continue
            self._sent_bytes += size
            outgoing.number = self._next
            self._next += 1
            self._sent[outgoing.number] = outgoing
            self._say(outgoing)

    def _say(self, outgoing: Outgoing) -> None:
        outgoing.sent = True
        self.out.append(envelope.message(outgoing.number, self._floor(), outgoing.wants_reply, outgoing.body))

    def answer(self, call: int, ok: bool, data: Any) -> None:
        """The answer to a call of the server; lost with the connection. Raises CodecError."""
        if self.up:
            self.out.append(envelope.answer(call, ok, data))

    def give_up(self) -> list[Any]:
        """The client ends: the tokens of everybody who waits for something."""
        tokens = [outgoing.token for outgoing in [*self._fresh, *self._sent.values()]]
        tokens += [wish.token for wish in self._wishes.values()]
        self._fresh.clear()
        self._fresh_bytes = 0
        self._sent.clear()
        self._sent_bytes = 0
        self._wishes.clear()
        return tokens

    # Rooms

    def join(self, room: str, since: str, token: Any) -> None:
        """Wishes to be in a room; `Entered` or `Outside` answers, also after a reconnect."""
        self._wish(_Wish(room, True, since, token))

    def leave(self, room: str, token: Any) -> None:
        """Wishes to leave a room; `Outside` answers."""
        self._forget(room)
        self._wish(_Wish(room, False, "", token))

    def _forget(self, room: str) -> Stream | None:
        """Knows nothing more of a stream, whose number may soon be that of another one for the same room."""
        stream = self.streams.pop(room, None)
        self.untold.forget(room)
        if stream is not None:
            self._aliases.pop(stream.alias, None)
            stream.alias, stream.paused = 0, False
        return stream

    @property
    def wishes(self) -> int:
        """Joins and leaves that wait for their answers."""
        return len(self._wishes)

    def _wish(self, wish: _Wish) -> None:
        self._last_wish += 1
        self._wishes[self._last_wish] = wish
        if self.up and not (self._is_claimed(wish) and not self.streams[wish.room].alias):
            self._ask(self._last_wish, wish)  # else the answer to the claim, which is on its way, is its answer

    def _ask(self, request: int, wish: _Wish) -> None:
        wish.asked = True
        if not wish.joins:
            self.out.append(envelope.leave(request, wish.room))
            return
        stream = self.streams.get(wish.room)
        claim = stream.claim() if stream is not None and stream.ticket and wish.since == "cursor" else None
        self.out.append(envelope.join(request, wish.room, wish.since, claim))

    def _is_claimed(self, wish: _Wish) -> bool:
        stream = self.streams.get(wish.room)
        return wish.joins and wish.since == "cursor" and stream is not None and bool(stream.ticket)

    def _take_wishes(self, request: int, room: str) -> list[_Wish]:
        """Those that an answer is for: the one of its number, or, for a claim's, all for the room that rely on it."""
        if request:
            wish = self._wishes.pop(request, None)
            return [] if wish is None else [wish]
        found = {
            number: wish for number, wish in self._wishes.items()
            if wish.joins and wish.room == room and wish.since == "cursor" and not wish.asked
        }  # fmt: skip
        for number in found:
            del self._wishes[number]
        return list(found.values())

    def finish(self, stream: Stream, epoch: int, offset: int) -> bool:
        """The program is done with an event. Whether the cursor moved."""
        if epoch != stream.epoch:
            return False
        moved = stream.tracker.finish(offset)
        if stream.stalled:
            self._check_stalled(stream)
        if stream.before is not None and offset == stream.gap_at:
            stream.before = None
            moved = True
        if stream.paused and not self._is_full(stream, 2):
            stream.paused = False
            if stream.alias:
                self.out.append(envelope.go_on(stream.alias, stream.tracker.received))
        return moved

    def set_aside(self, stream: Stream, epoch: int, offset: int) -> None:
        """The effect of an event has failed: it stays unfinished, and `finish` may still come."""
        if epoch == stream.epoch:
            stream.tracker.set_aside(offset)
            self._check_stalled(stream)

    def _check_stalled(self, stream: Stream) -> None:
        """Says so, once, when a stream that is paused will not go on by itself."""
        tracker = stream.tracker
        if not (
            len(tracker.failed) >= limits.EVENTS_QUEUE_EVENTS // 2
            or tracker.failed_bytes >= limits.EVENTS_QUEUE_BYTES // 2
        ):
            stream.stalled = False
        elif stream.paused and not stream.stalled:
            stream.stalled = True
            self.happened.append(Stalled(stream, len(tracker.failed)))

    def _is_full(self, stream: Stream, share: int = 1) -> bool:
        tracker = stream.tracker
        return (
            len(tracker) >= limits.EVENTS_QUEUE_EVENTS // share
            or tracker.waiting_bytes >= limits.EVENTS_QUEUE_BYTES // share
        )

    # Frames

    def _welcome(self, frame: envelope.Welcome) -> None:
        if self.up:
            raise Malformed("a second WELCOME")
        had = self.session
        self.session, self.secret, self.generation = frame.session, frame.secret, frame.generation
        self._window = max(1, min(frame.window, limits.EVENTS_WINDOW))
        self.largest = min(self.largest, frame.largest or self.largest)
        self.up = True
        uncertain: list[Outgoing] = []
        if self._forgot or not had:
            self._next = max(self._next, frame.seen + 1)
        elif not frame.resumed:
            uncertain = list(self._sent.values())
            self._sent.clear()
            self._sent_bytes = 0
            self._next = frame.seen + 1
        self._forgot = False
        self.happened.append(Opened(frame.resumed, uncertain))
        beyond = set(frame.beyond)
        for number, outgoing in list(self._sent.items()):
            if not outgoing.wants_reply and (number <= frame.contiguous or number in beyond):
                self._settle(number, None)
        for outgoing in self._sent.values():
            self._say(outgoing)
        self._number()
        for request, wish in self._wishes.items():
            if not self._is_claimed(wish):  # else the answer to the claim is its answer
                self._ask(request, wish)

    def _refused(self, frame: envelope.Refused) -> None:
        self.happened.append(Closed(frame))

    def _joined(self, frame: envelope.Joined) -> None:
        wishes = self._take_wishes(frame.request, frame.room)
        stream = self.streams.get(frame.room)
        if stream is None:
            if len(self.streams) >= limits.EVENTS_CLIENT_STREAMS_MAX:
                raise Malformed("the server puts this client into too many rooms", CloseCode.POLICY)
            stream = self.streams[frame.room] = Stream(frame.room, frame.epoch, frame.offset)
        elif stream.epoch != frame.epoch:
            stream.rebase(frame.epoch, frame.offset, frame.catching_up and stream.epoch != 0)
        elif not stream.alias and wishes and frame.offset > stream.tracker.received:
            stream.rebase(frame.epoch, frame.offset, False)  # it was asked to begin anew
        elif not stream.alias and frame.catching_up and frame.offset < stream.tracker.received:
            stream.rebase(frame.epoch, frame.offset, True)  # the log has gone back; a gap follows
            self._rewind(frame.room)
            self.happened.append(Rewound(stream))
        is_new = stream.alias != frame.alias
        if is_new:
            self._aliases.pop(stream.alias, None)
            stream.paused = stream.seeking = False
        if not frame.catching_up and stream.gap_at < 0:
            stream.before = None  # nothing more is said about it
        stream.alias = frame.alias
        stream.since, stream.by_client, stream.ticket = frame.since, frame.by_client, frame.ticket
        self._aliases[frame.alias] = stream
        tokens = [wish.token for wish in wishes] or [None]
        self.happened += [Entered(token, stream, frame.top) for token in tokens]
        self._say_anew(stream)
        if is_new and self._is_full(stream):  # since before: else each connection would bring some more
            self._pause(stream)

    def _rewind(self, room: str) -> None:
        """Offsets are given a second time: what was noted of the first is to be told from what will be."""
        self.rewinds[room] = self.rewinds.pop(room, 0) + 1
        if len(self.rewinds) > limits.EVENTS_CLIENT_STREAMS_MAX:
            del self.rewinds[next(iter(self.rewinds))]

    def _left(self, frame: envelope.Left) -> None:
        wishes = self._take_wishes(frame.request, frame.room)
        stream = None
        is_own = bool(frame.request and wishes and wishes[0].joins and wishes[0].token is not None)  # the program's
        if frame.room and (not is_own or frame.reason.startswith("denied")):
            if frame.room in self.streams:
                self._say_anew(self.streams[frame.room])
            stream = self._forget(frame.room)
        tokens = [wish.token for wish in wishes] or [None]
        self.happened += [Outside(token, frame.room, frame.reason, stream) for token in tokens]

    def _event(self, frame: envelope.Event) -> None:
        stream = self._aliases.get(frame.alias)
        if stream is not None and self._follows(stream, frame.offset, frame.step, frame.replay):
            stream.tracker.begin(frame.offset, frame.size)
            self.happened.append(Delivered(stream, stream.epoch, frame))
            if self._is_full(stream):
                self._pause(stream)

    def _pause(self, stream: Stream) -> None:
        self.counters["pauses"] += 1
        stream.paused = True
        self.out.append(envelope.pause(stream.alias))
        self._check_stalled(stream)

    def _follows(self, stream: Stream, offset: int, step: int, replay: bool) -> bool:
        """Whether an event is the next one. One that was had is dropped; a hole has the server read again."""
        received = stream.tracker.received
        if offset <= received:
            self.counters["duplicates"] += 1
            return False
        if stream.paused:  # it comes again, when the program has room
            self.counters["passed_over"] += 1
            return False
        if offset - step <= received:  # below it behind a gap, in a log whose offsets have holes
            stream.seeking = False
            return True
        self.counters["holes"] += not stream.seeking
        if not stream.seeking or (replay and offset <= stream.seek_top):
            stream.seeking = True
            stream.seek_top = 0
            self.out.append(envelope.go_on(stream.alias, received))
        stream.seek_top = max(stream.seek_top, offset)
        return False

    def _advance(self, frame: envelope.Advance) -> None:
        stream = self._aliases.get(frame.alias)
        if stream is not None and self._follows(stream, frame.offset, frame.step, True):
            stream.tracker.skip(frame.offset)

    def _volatile(self, frame: envelope.Volatile) -> None:
        stream = self._aliases.get(frame.alias)
        if stream is not None or not frame.alias:
            self.happened.append(Loose("" if stream is None else stream.room, frame))

    def _caught_up(self, frame: envelope.CaughtUp) -> None:
        stream = self._aliases.get(frame.alias)
        if stream is not None:
            if stream.gap_at < 0:
                stream.before = None
            self.happened.append(CaughtUp(stream, frame.events))

    def _gap(self, frame: envelope.Gap) -> None:
        if frame.why is Why.DENIED:
            stream = self._forget(frame.room)
            if not frame.room:
                self.streams[""] = Stream("")
            for wish in self._take_wishes(0, frame.room):
                self.happened.append(Outside(wish.token, frame.room, "denied: not any more", None))
            self.happened.append(GapFound(frame.room, stream, 0, frame))
            return
        stream = self._aliases.get(frame.alias)
        if stream is None or stream.paused:  # the server finds it again, when the program has room
            return
        stream.seeking = False
        if stream.before is None or stream.gap_at < 0:
            stream.gap_at = frame.offset
        if frame.offset > stream.tracker.received:
            stream.tracker.begin(frame.offset)
        self.happened.append(GapFound(stream.room, stream, stream.epoch, frame))

    def _reply(self, frame: envelope.Reply) -> None:
        if frame.number in self._sent:
            self._settle(frame.number, frame)
            self._number()

    def _ack(self, frame: envelope.Ack) -> None:
        for number in [number for number in self._sent if number <= frame.contiguous]:
            if not self._sent[number].wants_reply:
                self._settle(number, None)
        self._number()

    def _settle(self, number: int, reply: envelope.Reply | None) -> None:
        outgoing = self._sent.pop(number)
        self._sent_bytes -= len(outgoing.body)
        self.happened.append(Settled(outgoing, reply))

    def _call(self, frame: envelope.Call) -> None:
        stream = self._aliases.get(frame.alias)
        self.happened.append(Asked("" if stream is None else stream.room, frame))

    def _goaway(self, frame: envelope.Goaway) -> None:
        self.happened.append(GoingAway(frame.retry_ms, frame.jitter_ms))


_TAKE: dict[type, Any] = {
    envelope.Welcome: Client._welcome, envelope.Refused: Client._refused, envelope.Joined: Client._joined,
    envelope.Left: Client._left, envelope.Event: Client._event, envelope.Volatile: Client._volatile,
    envelope.Advance: Client._advance, envelope.CaughtUp: Client._caught_up, envelope.Gap: Client._gap,
    envelope.Reply: Client._reply, envelope.Ack: Client._ack, envelope.Call: Client._call,
    envelope.Goaway: Client._goaway,
}  # fmt: skip
