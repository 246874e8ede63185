"""The sending half of a stream session: credit, what waits for it, and what goes into the outbox.

It must never send a message that had no credit to start, nor let ordered messages of one channel overtake each other.
"""

from __future__ import annotations

from transport import limits
from transport.codec import memory
from transport.errors import CloseCode, ConnectionClosed, WouldBlock
from transport.session import ByteSession
from transport.stream import frames, preface
from transport.stream.bodies import StreamTable
from transport.stream.channel import ChannelState
from transport.stream.config import StreamConfig
from transport.stream.outbox import BY_REFERENCE_BYTES, RUN_BYTES, TAKE_BYTES, Entry, Outbox

CLOSING = 2  # SessionState.CLOSING as a plain number
COST = limits.MESSAGE_COST_BYTES  # of credit, for every message beside its payload


class SendingHalf(ByteSession):
    """Commands of a stream session that send. The other half fills `peer`, the limits and the channels' credit."""

    def __init__(self, config: StreamConfig) -> None:
        ByteSession.__init__(self)
        self.peer: preface.Preface | None = None
        self.send_max = config.max_message
        self.blocked_bytes = 0
        self.streams = StreamTable(config.stream_window)
        self._streams_due = self.streams.due  # the same list
        self._outbox = Outbox()
        self._channels: list[ChannelState | None] = [None] * config.channels
        self._peer_channels = config.channels
        self._blocked: list[int] = []
        self._blocked_entries = 0
        self._out_sent = 0
        self._out_limit = 0
        self.messages_sent = 0
        self.blocked_count = 0
        self.config = config
        self.uses_credit = True

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one message; see `MessageSession.send`."""
        size = len(payload)
        if self.state >= CLOSING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")
        state = self._channels[channel]
        if state is None:
            state = self._channel(channel)
        box = self._outbox
        if (
            delivery >= 2
            or priority
            or expires_at
            or self._out_sent >= self._out_limit
            or state.out_sent >= state.out_limit
            or state.blocked_bytes
            or box.floor >= 0
        ):
            self._send_special(state, payload, channel, delivery, priority, expires_at)
        else:
            self._out_sent += size + COST
            state.out_sent += size + COST
            self.sent_total += self._append(box, payload, size, channel, delivery)
            self.queued_bytes = box.size
        self.messages_sent += 1

    def _append(self, box: Outbox, payload: bytes, size: int, channel: int, delivery: int) -> int:
        """Writes one frame into the open run and returns its size."""
        if size >= BY_REFERENCE_BYTES:
            head = frames.header(frames.MESSAGE, size, channel, delivery)
            box.add_large(head, payload)
            return len(head) + size
        run = box.run
        if channel:
            head = frames.header(frames.MESSAGE, size, channel, delivery)
            run += head
            run += payload
            total = len(head) + size
        else:
            total = memory.append_frame(run, delivery, payload)
        box.size += total
        if len(run) >= RUN_BYTES:
            box.seal()
        return total

    def _send_special(
        self, state: ChannelState, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int
    ) -> None:
        """A message that may wait for credit, expire, overtake or be dropped.

        Raises:
            WouldBlock: there are too many such already.
        """
        size = len(payload)
        if self._outbox.held + self._blocked_entries >= limits.QUEUED_MESSAGES_MAX:
            raise WouldBlock(
                f"{limits.QUEUED_MESSAGES_MAX} messages with expiry, priority or unreliable delivery, or without "
                "credit, are queued"
            )
        head = frames.header(frames.MESSAGE, size, channel, delivery)
        entry = Entry(head, payload, channel, delivery, priority, expires_at)
        self.overtaking = True
        if delivery < 2 and (state.blocked or self._out_sent >= self._out_limit or state.out_sent >= state.out_limit):
            if self.peer is not None:
                self.blocked_count += 1
            state.block(entry)
            self._blocked_entries += 1
            if channel not in self._blocked:
                self._blocked.append(channel)
            self.blocked_bytes += entry.size
            self.sent_total += entry.size
            return
        self._admit(entry, state)
        self.sent_total += len(head) + size
        self.queued_bytes = self._outbox.size

    def _admit(self, entry: Entry, state: ChannelState) -> None:
        """Moves a message that has credit (or needs none) into the outbox."""
        box = self._outbox
        if entry.delivery < 2:
            size = len(entry.payload)
            state.out_sent += size + COST
            self._out_sent += size + COST
            if not entry.priority and box.ordering() and entry.delivery == 0:
                entry.priority = box.pinned(entry.channel)
            if not entry.priority and not entry.expires_at:
                if entry.delivery == 0 and box.ordering():
                    box.note(entry.channel)
                self._append(box, entry.payload, size, entry.channel, entry.delivery)
                return
        box.add(entry)

    def _unblock(self, now: int) -> None:
        """Credit came: lets waiting messages go, one a channel in turn, so that no channel takes it all."""
        waiting = self._blocked
        while waiting and self._out_sent < self._out_limit:
            left = []
            for channel in waiting:
                state = self._channel(channel)
                if state.out_sent >= state.out_limit or self._out_sent >= self._out_limit:
                    left.append(channel)
                    continue
                entry = state.unblock()
                self.blocked_bytes -= entry.size
                self._blocked_entries -= 1
                if entry.expires_at and entry.expires_at <= now:
                    self._outbox.expired += 1
                else:
                    self._admit(entry, state)
                if state.blocked:
                    left.append(channel)
            if left == waiting and not self._progress(left):
                break
            waiting = left
        self._blocked = waiting
        self.queued_bytes = self._outbox.size

    def _progress(self, waiting: list[int]) -> bool:
        """Whether any waiting channel has credit."""
        return any([self._channel(channel).has_credit() for channel in waiting])  # noqa: C419  # no closures in C

    def channel_queued(self, channel: int) -> int:
        """Bytes of `channel` that wait for the peer's credit."""
        state = self._channels[channel]
        return 0 if state is None else state.blocked_bytes

    def open_stream(self, channel: int, total: int) -> int:
        """Starts a stream of `total` bytes (-1: unknown) and returns its id."""
        self._check_open()
        return self._queue_stream(self.streams.open(channel, total))

    def _check_open(self) -> None:
        if self.state >= CLOSING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")

    def stream_write(self, stream: int, data: bytes) -> int:
        """Queues what credit allows of `data`, at most one chunk, and returns how many bytes; 0 means wait."""
        self._check_open()
        size = self.streams.room(stream, len(data))
        if size:
            self._queue(self.streams.data(stream, data[:size]))
        return size

    def stream_finish(self, stream: int) -> None:
        """Ends an outgoing stream cleanly."""
        self._check_open()
        self._queue(self.streams.finish(stream))

    def stream_reset(self, stream: int, code: int, incoming: bool) -> None:
        """Breaks a stream off, from either end."""
        self._queue(self.streams.reset(stream, code, incoming))

    def stream_consumed(self, stream: int, size: int) -> None:
        """The application took `size` bytes of an incoming stream."""
        self.streams.consumed(stream, size)

    def _queue_stream(self, opened: tuple[int, bytes]) -> int:
        self._queue(opened[1])
        return opened[0]

    def _queue(self, frame: bytes) -> None:
        box = self._outbox
        box.run += frame
        box.size += len(frame)
        if len(box.run) >= RUN_BYTES:
            box.seal()
        self.sent_total += len(frame)
        self.queued_bytes = box.size

    def _channel(self, channel: int) -> ChannelState:
        state = self._channels[channel]
        if state is None:
            out_limit = 0 if self.peer is None else self.peer.channel_window
            state = self._channels[channel] = ChannelState(out_limit, self.config.channel_window)
        return state

    def channels_max(self) -> int:
        """How many channels both sides agreed on."""
        return self._peer_channels

    def _refund(self, taken: list[bytes | bytearray], now: int) -> list[bytes | bytearray]:
        """What expired in the outbox was charged and never leaves: its credit may let others go, at once."""
        box = self._outbox
        while box.lapsed:
            for entry in box.lapsed:
                state = self._channel(entry.channel)
                state.out_sent -= len(entry.payload) + COST
                self._out_sent -= len(entry.payload) + COST
            box.lapsed = []
            self._unblock(now)
            if not taken:
                taken = box.take(now, TAKE_BYTES)
        return taken
