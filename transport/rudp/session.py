"""One peer of reliable UDP: opening, pings, streams, goodbye, and the timers of all of it.

The floors below it are `Sending`, `Recovery`, `Incoming` and `Located`; docs/protocol.md is the normative text. It must
never raise for what a peer did, and never be silent about an end: `Closed` is its last event.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.codec import varint
from transport.errors import CloseCode, ConnectionClosed, LocalProtocolError, RemoteProtocolError, WouldBlock
from transport.machine import Closed, Established, Path, Pong
from transport.rudp import paths, pen
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.handshake import ClientHandshake
from transport.rudp.kinds import FIXED_BIT, STREAM_CHANNEL
from transport.rudp.located import Located
from transport.rudp.packet import CHECKSUM_BYTES, RESETTABLE_BYTES
from transport.rudp.states import CLOSED, CLOSING, FLUSHING, LIFE, LINGERING, OPEN, OPENING, PUBLIC, TESTING, On
from transport.rudp.turns import Exchange
from transport.stream import frames
from transport.stream.bodies import StreamTable

CLOSE = 0x0E
CLOSE_BYTES = 9 + 4 + 1 + 4 + 2 + CHECKSUM_BYTES  # a packet with it, without the reason
CLEAN = (CloseCode.NORMAL, CloseCode.GOING_AWAY)
PTO_COUNT = 3  # probe time-outs that a closed session lingers, and that an idle one lasts at least
TROUBLE_COUNT = 2  # probe time-outs in a row from which on a client looks whether its own address has changed
FULL_BYTES = limits.RUDP_DATAGRAM_BYTES_MIN
ASK_NS = limits.RUDP_ASK_NS
ASK_STEADY_NS = limits.RUDP_ASK_STEADY_NS
HUSH_NS = limits.RUDP_HUSH_NS
MUCH_BYTES = 8 * FULL_BYTES  # in flight, so that acks come one after the other
ASK_TRIES = limits.RUDP_ASK_TRIES
ANSWER = 3  # packets that come or arrive for a question alone, at most
RARE = 8  # times the usual distance of packets is a pause
PINGS_MAX = limits.PINGS_OUTSTANDING_MAX
UNHEARD_MAX = limits.RUDP_PTO_TRIES
LINGER_MAX_NS = limits.RUDP_LINGER_MAX_NS


class RudpSession(Located):
    """One peer. Made by its endpoint.

    Attributes:
        handshake: while a client opens.
        opened_at: when (ns).
        path_errors: how often the system said that nobody is at the peer's port.
        linger_until: when a closed session is forgotten (ns).
    """

    def __init__(self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller,
                 is_client: bool, dice: bytes, now: int) -> None:  # fmt: skip
        Located.__init__(self, exchange, config, path, own_cid, controller, is_client)
        self.handshake: ClientHandshake | None = None
        self.opened_at = now
        self.path_errors = 0
        self.linger_until = 0
        self.streams = StreamTable(config.stream_window)
        self._streams_due = self.streams.due  # the same list
        self._events: list[Any] = []
        self._dice = dice
        self._skip_at = 0
        self.heard = now
        self._pinged = now
        self._asked = 0
        self._questions = 0  # since more than an answer came
        self._answered = 0  # packets that had come or arrived at the last one
        self._idle_ns = config.idle_ns
        self._keepalive_ns = config.keepalive_ns
        self._goodbye: tuple[int, str] | None = None
        self._says_close = False  # a CLOSE has to leave
        self._close_at = 0
        self.closes_sent = 0

    def step(self, event: int) -> None:
        """Its life goes on by `event`, one of `states.On`."""
        self.life = LIFE.after(self.life, event)
        self.state = PUBLIC[self.life]
        if self.trace is not None:
            self.trace.stepped(self.life)

    # Opening

    def open(self, peer: Any, peer_cid: int, now: int) -> None:
        """The handshake is done; `peer` is what the other side announced (`packet.Parameters`)."""
        self.step(On.ACCEPT if self.is_client else On.PROOF)
        config = self.config
        self.peer_cid = peer_cid
        if self.trace is not None:
            self.trace.opened(peer, now)
        self.send_max = min(config.max_message, peer.max_message)
        self._channels_max = min(config.channels, peer.channels)
        self._channel_limit = peer.channel_window
        self.flow.limit = peer.connection_window
        for state in self._channels:
            if state is not None:
                state.limit = peer.channel_window
        self.peer_ack_delay_ns = peer.max_ack_delay_us * 1000
        peer_idle = peer.idle_ms * limits.MS_NS
        if peer_idle and (not self._idle_ns or peer_idle < self._idle_ns):
            self._idle_ns = peer_idle
        self.set_path_limits(peer.max_datagram)
        self.test_marks(now)
        self.token = peer.reset_token
        if self.token:
            self.answerable = RESETTABLE_BYTES - (CHECKSUM_BYTES if self.checksum_kind else 0)
        if not self.is_client:
            self.ids_at = now + limits.RUDP_CID_NS
        self.heard = now
        self._pinged = now
        self.streams.peer_spoke(peer.stream_window, self._events)
        self._events.append(Established())
        if self.is_client:
            self._is_ping_due = True  # the server learns by it that we are where we say
        self._wake_lanes()

    # Commands

    def ping(self, token: int, now: int) -> None:
        """Asks for an ack at once; `Pong(token)` follows when it has come.

        Raises:
            WouldBlock: very many are unanswered. ConnectionClosed: the session is closing.
        """
        self._check_open()
        if len(self._pings) >= PINGS_MAX:
            raise WouldBlock(f"{PINGS_MAX} pings wait")
        self._pings.append(token)
        self.want()

    def close(self, code: int, reason: str, now: int) -> None:
        """Says goodbye when everything reliable has arrived. What still comes in is dropped.

        Raises:
            LocalProtocolError: `code` is not within 0 to 65,535.
        """
        if self.life >= FLUSHING:
            return
        if not 0 <= code < 1 << 16:
            raise LocalProtocolError(f"close code {code} is out of range")
        if self.trace is not None:
            self.trace.now = now
        if self.life < OPEN:
            self._finish(On.SHUT, code, reason, by_peer=False)
            return
        self.step(On.SHUT)
        self._goodbye = (code, reason)
        self.drop_received()
        self._batch = None
        self.want()

    def abort(self, code: int, reason: str, now: int) -> None:
        """Ends at once; the peer is told if the network takes it."""
        if self.life >= CLOSED:
            return
        if self.trace is not None:
            self.trace.now = now
        if self._goodbye is not None and self.life == CLOSING:
            code, reason = self._goodbye  # has been said already; all that waits is the peer's
        if self.life < OPEN:
            self._finish(On.ABORT, code, reason, by_peer=False)
        else:
            self._break_off(On.ABORT, code, reason)

    def fail(self, code: int, reason: str, now: int) -> None:
        """The peer broke a rule: the session ends, and says so."""
        if self.life < CLOSED:
            self._break_off(On.RULE, code, reason)

    def _break_off(self, event: int, code: int, reason: str) -> None:
        """Ends at once, and says so."""
        self._say(code, reason)
        self._finish(event, code, reason, by_peer=False)

    def gone(self, reason: str) -> None:
        """The peer knows this connection no more, or can't be reached: after our goodbye as good as its own."""
        if self.life >= CLOSED:
            return
        if self._goodbye is not None and self.life == CLOSING:  # everything reliable was acknowledged before it left
            code, own_reason = self._goodbye
            self._finish(On.RESET, code, own_reason, by_peer=False, is_agreed=True)
        else:
            self._finish(On.RESET, CloseCode.LOST, reason, by_peer=True)
        self._says_close = False
        self._goodbye = None  # there is nobody to repeat it to

    def refuse(self, code: int, reason: str) -> None:
        """The peer did not take the connection."""
        if self.life < CLOSED:
            self._finish(On.REFUSE, code, reason, by_peer=True)

    def on_close(self, code: int, reason: str, now: int) -> None:
        """The peer says goodbye: it is answered by the same, or by what this side has said already."""
        if self.life >= CLOSED:
            return
        if self._goodbye is not None:
            own_code, own_reason = self._goodbye
            if self.life == FLUSHING:
                self._say(own_code, own_reason)
            self._finish(On.CLOSE, own_code, own_reason, by_peer=False, is_agreed=True)
            return
        self._say(code if code != CloseCode.LOST else CloseCode.NORMAL, reason)
        self._finish(On.CLOSE, code, reason, by_peer=True, is_agreed=True)

    def _say(self, code: int, reason: str) -> None:
        """Has a CLOSE leave."""
        self._goodbye = (code, reason)
        self._says_close = True
        self.want()

    def _finish(self, event: int, code: int, reason: str, by_peer: bool, is_agreed: bool = False) -> None:
        """The session is over: one last event."""
        if self.trace is not None:
            self.trace.closed(code, reason, by_peer)
        self.step(event)
        self.drop_all()
        self._tell_pongs()  # of the packet that ends it: the end is the last that is told
        self.streams.close(self._events)
        self._events.append(Closed(int(code), reason, by_peer, is_agreed and code in CLEAN))
        self._loss_at = self._pace_at = 0
        self.has_probes = False
        self.path_at = 0

    def has_goodbye(self) -> bool:
        """Whether there is a goodbye that a peer may ask for again."""
        return self._goodbye is not None

    def goodbye_bytes(self) -> int:
        """See `Located`."""
        return 0 if self._goodbye is None else CLOSE_BYTES + len(self._goodbye[1].encode("utf-8", "replace"))

    def repeat_close(self) -> None:
        """The peer goes on after our goodbye: it is told again."""
        if self._goodbye is not None and self.closes_sent < limits.RUDP_CLOSE_TRIES:
            self.step(On.PACKET)
            self._says_close = True

    # Streams: frames of the `message` framing on a hidden channel

    def open_stream(self, channel: int, total: int) -> int:
        """Starts a stream of `total` bytes (-1: unknown) and returns its id."""
        self._check_open()
        stream, frame = self.streams.open(channel, total)
        self._queue_frame(frame)
        return stream

    def _check_open(self) -> None:
        if self.life >= FLUSHING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")

    def stream_write(self, stream: int, data: bytes) -> int:
        """Queues what credit allows of `data`, at most one chunk, and returns how many bytes; 0 means wait."""
        self._check_open()
        size = self.streams.room(stream, len(data))
        if size:
            self._queue_frame(self.streams.data(stream, data[:size]))
        return size

    def stream_finish(self, stream: int) -> None:
        """Ends an outgoing stream cleanly."""
        self._check_open()
        self._queue_frame(self.streams.finish(stream))

    def stream_reset(self, stream: int, code: int, incoming: bool) -> None:
        """Breaks a stream off, from either end."""
        if self.life < CLOSED:
            self._queue_frame(self.streams.reset(stream, code, incoming))

    def stream_consumed(self, stream: int, size: int) -> None:
        """The application took `size` bytes of an incoming stream."""
        self.streams.consumed(stream, size)
        if self._streams_due:
            self.want()

    def _queue_frame(self, frame: bytes) -> None:
        if frame:
            self._queue(self._lane(STREAM_CHANNEL, 0), frame, 0, 0, -1)

    def on_stream_frame(self, frame: bytes) -> None:
        """One or more frames of streams, which come in the order in which they were sent."""
        pos = 0
        while pos < len(frame):
            head = frame[pos]
            channel = 0
            try:
                pos += 1
                if head & frames.HAS_CHANNEL:
                    channel, pos = varint.decode(frame, pos)
                size, pos = varint.decode(frame, pos)
                kind = head >> 4
                is_known = frames.STREAM_OPEN <= kind <= frames.STREAM_CREDIT and not head & frames.RESERVED_BIT
                if size > len(frame) - pos or not is_known or channel >= self._own_channels:
                    raise RemoteProtocolError("malformed stream frame")
                answer = self.streams.received(kind, frame[pos : pos + size], channel, self._events)
            except ValueError as error:
                raise RemoteProtocolError(f"malformed stream frame: {error}") from None
            pos += size
            if answer and self.life < CLOSED:
                if self._lane(STREAM_CHANNEL, 0).waiting > limits.RUDP_HIDDEN_BYTES:
                    raise RemoteProtocolError("the peer opens streams and reads no answers", CloseCode.POLICY)
                self._queue_frame(answer)

    def credit_waiting(self) -> bool:
        """Whether `transmit` would send credit, so that the driver must be woken."""
        return self._in_flow.is_due or len(self._credit_due) > 0 or len(self._streams_due) > 0

    # Out

    def fill(self, room: memoryview, now: int) -> int:
        """The next train of packets; their size is in `segment`, their ECN mark in `mark`. Returns its bytes, or -1
        when there is nothing.
        """
        ecn = self.ecn
        self.mark = ecn.mark
        made = self._fill(room, now)
        if ecn.state == TESTING and made > 0:
            ecn.on_sent(self.ring.next, now)
        return made

    def _fill(self, room: memoryview, now: int) -> int:
        self.exchange.pressing = False
        if self.life == OPENING:
            handshake = self.handshake
            if handshake is None or now < handshake.due:
                return -1
            if handshake.tries:
                self.step(On.LATE)
            made = handshake.write(room, now)
            if self.trace is not None:
                self.trace.long_sent(bytes(room[: limits.RUDP_DATAGRAM_BYTES_MIN]), now)
            self.segment = limits.RUDP_DATAGRAM_BYTES_MIN
            return made
        if self.life < CLOSED:
            if self._streams_due:
                self._queue_frame(self.streams.credit_frames())
            if self.has_probes:
                made = paths.fill(self, room, now)
                if made > 0:
                    return made
            if self.wants_probe:
                made = self.fill_probe(room, now)
                if made > 0:
                    return made
            made = self.fill_packets(room, now)
            if made > 0:
                return made
            if self.life == FLUSHING and not self.has_waiting():
                self.step(On.FLUSHED)
                self._says_close = True
        if self._says_close:
            return self._fill_close(room, now)
        return -1

    def _fill_close(self, room: memoryview, now: int) -> int:
        """A packet with CLOSE and nothing else; no ack is asked for, the peer's CLOSE is the answer."""
        if pen.check(room) < limits.RUDP_DATAGRAM_BYTES_MIN:
            return -1
        assert self._goodbye is not None
        self._says_close = False
        self.closes_sent += 1
        if self.life == CLOSING:
            backed = self.rtt.probe_timeout(self.peer_ack_delay_ns)
            for _ in range(1, self.closes_sent):
                backed = backed * 3 // 2
            self._close_at = now + min(backed, limits.RUDP_PTO_MAX_NS)
        code, reason = self._goodbye
        text = reason.encode("utf-8", "replace")[: limits.REASON_BYTES_MAX].decode("utf-8", "ignore").encode()
        number = self.ring.next
        packet = self.ring.push()
        number_bytes = pen.low_size(limits.RUDP_LATE_FLIGHTS * (number - self._largest_acked))
        start = 9 + number_bytes
        pos = pen.put8(room, start, CLOSE)
        pos = pen.put_varint(room, pos, code)
        pos = pen.put_varint(room, pos, len(text))
        pos = pen.put_bytes(room, pos, text, 0, len(text))
        if pos < self.answerable:
            pos = pen.push_back(room, start, pos, self.answerable - pos)
        flags = FIXED_BIT | (number_bytes - 1)
        self.segment = self._finish_packet(room, 0, pos, number, number_bytes, flags, packet, False, now)
        if self.is_client and self.life >= CLOSED and self.closes_sent == 1:
            self._says_close = True  # a client's socket is gone soon, and with it who could repeat its last word
        return self.segment

    # Time

    def events(self) -> list[Any]:
        """Established, Pong, Closed and the stream events since the last call."""
        if self._pongs:
            self._tell_pongs()
        events = self._events
        if events:
            self._events = []
        return events

    def _tell_pongs(self) -> None:
        self._events += [Pong(token) for token in self._pongs]
        self._pongs.clear()

    def has_news(self) -> bool:
        """Whether there are messages or events for the owner."""
        return self.lone is not None or len(self.batches) > 0 or len(self._events) > 0 or len(self._pongs) > 0

    def due(self) -> int:
        """When `expire` or `fill` has something to do by itself; 0 for never."""
        if self.life >= CLOSED:
            return self.linger_until if self.life == LINGERING else 0
        if self.life == OPENING:
            end = self.opened_at + self.config.handshake_ns if self.config.handshake_ns else 0
            return end if self.handshake is None else _earlier(end, self.handshake.due)
        first = self.acks.due_at
        if self._loss_at:
            first = _earlier(first, self._loss_at)
        else:
            first = _earlier(first, self._probe_at())
        first = _earlier(first, self._pace_at)
        first = _earlier(first, self.path_at)
        if self.is_client:
            first = _earlier(first, self._ask_at())
        if self.life == CLOSING:
            first = _earlier(first, self._close_at)
        if self._idle_ns:
            first = _earlier(first, self._idle_at())
        if self._keepalive_ns:
            first = _earlier(first, max(self.heard, self._pinged) + self._keepalive_ns)
        return first

    def _idle_at(self) -> int:
        """When silence ends the session: never under three probe time-outs."""
        return self.heard + max(self._idle_ns, PTO_COUNT * self.rtt.probe_timeout(self.peer_ack_delay_ns))

    def _ask_at(self) -> int:
        """When a client in the midst of a transfer asks why nothing is heard: it may have another address, of which the
        server can't know. 0 for never.

        Where packets or acks came one after the other, or a message in part, a pause that is unusual is enough: for a
        few questions. What is left of a transfer is asked about once a second, if nothing is in flight.
        """
        if self.life < OPEN or self.life > FLUSHING:
            return 0
        is_much = self.in_flight >= MUCH_BYTES
        is_part = self._unfinished.reliable > 0
        is_amid = (is_part or self.last_bytes >= FULL_BYTES) and self.life == OPEN
        if not is_much and not is_amid and not self.flow.blocked:
            return 0
        rtt = self.rtt
        timeout = rtt.probe_timeout(self.peer_ack_delay_ns)
        if self._questions < ASK_TRIES or self._count() > self._answered + ANSWER:
            pause = RARE * self._spacing
            if is_much or is_part:
                pause = min(pause, rtt.smoothed >> 1)
            pause = max(pause, rtt.smoothed >> 3, HUSH_NS)
            if pause < timeout:
                at = max(self.heard + pause, self._asked + max(rtt.smoothed >> 1, ASK_STEADY_NS))
                overdue = self.thresholds.loss_delay(rtt.latest, rtt.smoothed) + self.peer_ack_delay_ns
                sent_at = self._eliciting_at
                if is_much:
                    oldest = self.ring.get(self._first_sent())
                    at = max(at, oldest.time + overdue, sent_at + pause)
                elif sent_at > self.heard and sent_at > self._asked:  # this may be answered yet
                    at = max(at, sent_at + overdue)
                return at
        return max(self.heard + timeout, self._asked + ASK_NS) if is_amid and not self.in_flight else 0

    def _count(self) -> int:
        """Packets that came or arrived."""
        return self.packets_received + self.packets_acked

    def _ask(self, now: int) -> None:
        """Asks, and counts how often it has since more came than an answer."""
        count = self._count()
        if count > self._answered + ANSWER:
            self._questions = 0
        self._questions = min(self._questions + 1, ASK_TRIES)
        self._answered = count
        self._asked = now
        self._is_ping_due = True
        if self.in_flight >= MUCH_BYTES:
            self._is_question = True
            self.probes_sent += 1
        if self.acks.ranges.largest >= 0:
            self.acks.ask()  # if the last were lost, the answer would be much that has come

    def deadline(self) -> int | None:
        """As in every session."""
        return self.due() or None

    def expire(self, now: int) -> None:
        """Whatever is due by `now`."""
        if self.trace is not None:
            self.trace.now = now
        if self.life >= CLOSED:
            return
        if self.life == OPENING:
            if self.config.handshake_ns and now >= self.opened_at + self.config.handshake_ns:
                self._finish(On.TIMEOUT, CloseCode.HANDSHAKE_TIMEOUT, "the peer did not answer in time", by_peer=False)
            return
        if self._idle_ns and now >= self._idle_at():
            self._break_off(On.SILENCE, CloseCode.IDLE_TIMEOUT, "nothing heard from the peer")
            return
        if 0 < self._pace_at <= now:
            self._pace_at = 0
            self.is_starved = False
        if self._loss_at:
            if self._loss_at <= now:
                self._ack_bytes = 0
                self._ack_packets = 0
                self._detect(self.in_flight - self.copied, now)
        if not self._loss_at and self.in_flight and self._probe_at() <= now:
            self._on_probe_timeout(now)
            if self._pto_count >= TROUBLE_COUNT and self.is_client:
                self.exchange.is_troubled = True
            if self._pto_count > UNHEARD_MAX:
                self._break_off(On.SILENCE, CloseCode.IDLE_TIMEOUT, "the peer acknowledges nothing")
                return
        if 0 < self.path_at <= now:
            paths.expire(self, now)
        if self.is_client and 0 < self._ask_at() <= now:
            self._ask(now)
        if self.life == CLOSING and 0 < self._close_at <= now:
            self._close_at = 0
            if self.closes_sent >= limits.RUDP_CLOSE_TRIES:
                assert self._goodbye is not None
                self._finish(On.UNANSWERED, self._goodbye[0], "the peer did not answer the goodbye", by_peer=False)
                return
            self.step(On.CLOSE_LATE)
            self._says_close = True
        if self._keepalive_ns and now >= max(self.heard, self._pinged) + self._keepalive_ns:
            self._pinged = now
            self._is_ping_due = True
            if not self.in_flight:
                self._advance(now)
                self.ring.shrink()

    def linger(self, now: int) -> None:
        """The owner is gone: so long the goodbye is repeated to a peer that did not hear it."""
        self.step(On.LEFT)
        self.linger_until = now + min(PTO_COUNT * self.rtt.probe_timeout(self.peer_ack_delay_ns), LINGER_MAX_NS)

    def messages_duplicate(self) -> int:
        """Messages that came again, or too late for their delivery; each fragment counts for itself."""
        return sum([lane.duplicates for lane in self._in_lanes.values()])

    def receive_window(self) -> int:
        """Bytes by which the connection's credit runs ahead, which tunes itself."""
        return self._in_flow.window

    def channel_counts(self) -> dict[int, dict[str, int]]:
        """Messages of each channel, both ways, and bytes that wait."""
        found: dict[int, dict[str, int]] = {}
        for lane in self._lanes.values():
            if lane.channel != STREAM_CHANNEL:
                counts = found.setdefault(lane.channel, {"sent": 0, "waiting_bytes": 0, "received": 0})
                counts["sent"] += lane.next_number()
                counts["waiting_bytes"] += lane.waiting
        for incoming in self._in_lanes.values():
            if incoming.channel != STREAM_CHANNEL:
                counts = found.setdefault(incoming.channel, {"sent": 0, "waiting_bytes": 0, "received": 0})
                counts["received"] += incoming.delivered
        return found

    def statistics(self) -> dict[str, int]:
        """Counters by name, and what holds now; docs/guides/statistics.md says what each means."""
        from transport.rudp.report import report

        return report(self)


def _earlier(one: int, other: int) -> int:
    """The earlier of two times, of which 0 is never."""
    if not one or (0 < other < one):
        return other
    return one
