"""What an application may ask of a reliable UDP session: messages onto lanes, and who has to wait for credit.

It must never know what a packet is.
"""

from __future__ import annotations

from typing import Any

from transport import limits
from transport.errors import CloseCode, ConnectionClosed, MessageTooLarge
from transport.machine import Path
from transport.rudp.config import RudpConfig
from transport.rudp.kinds import STREAM_CHANNEL
from transport.rudp.outflow import Fence, OutChannel, Outflow
from transport.rudp.outlane import OutLane
from transport.rudp.schedule import Schedule
from transport.rudp.states import FLUSHING, NEW
from transport.rudp.turns import Exchange, TurnSession

COST = limits.MESSAGE_COST_BYTES
FLIGHT_MAX = limits.RUDP_FLIGHT_BYTES_MAX
FLIGHT_ALL_MAX = limits.RUDP_FLIGHT_ALL_BYTES_MAX
LOOSE_MAX = limits.RUDP_UNRELIABLE_BYTES_MAX
PRESSING_BYTES = limits.UDP_FLUSH_BYTES


class Accepting(TurnSession):
    """Commands that send.

    Attributes:
        config: as given.
        life: a state of `states.Life`; `state` is what it is for those above.
        flow, schedule: what its lanes share, and whose turn it is.
        is_starved: something waits for the window or the pacer.
        messages_sent: accepted so far.
        trace: told of what happens, see `trace.Trace`; None for nobody.
    """

    def __init__(self, exchange: Exchange, config: RudpConfig, path: Path) -> None:
        TurnSession.__init__(self, exchange, path)
        self.config = config
        self.life: int = NEW
        self.send_max = config.max_message
        self.uses_credit = True
        self.flow = Outflow()
        self.schedule = Schedule()
        self.is_starved = False
        self.messages_sent = 0
        self.trace: Any = None
        self._channels: list[OutChannel | None] = []
        self._channel_limit = 0
        self._channels_max = config.channels
        self._lanes: dict[int, OutLane] = {}
        self._last_lane: OutLane | None = None

    def send(self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, now: int) -> None:
        """Queues one message; see `MessageSession.send`."""
        self.send_copies(payload, channel, delivery, priority, expires_at, -1, now)

    def send_copies(
        self, payload: bytes, channel: int, delivery: int, priority: int, expires_at: int, copies: int, now: int
    ) -> None:
        """`send` with the sender's own wish for redundant copies, -1 for none.

        Raises:
            ConnectionClosed: the session is closing.
            MessageTooLarge: an unreliable message of more than 64 KiB.
        """
        if self.life >= FLUSHING:
            raise ConnectionClosed(CloseCode.NORMAL, "this session is closing")
        size = len(payload)
        if delivery >= 2 and size > LOOSE_MAX:
            raise MessageTooLarge(size, LOOSE_MAX, "unreliable message")
        lane = self._last_lane
        if lane is None or lane.channel != channel or lane.delivery != delivery:
            lane = self._lane(channel, delivery)
            self._last_lane = lane
        self._queue(lane, payload, priority, expires_at, copies)
        self.messages_sent += 1
        if self.trace is not None:
            self.trace.message_queued(channel, delivery, size, now)

    def _queue(self, lane: OutLane, payload: bytes, priority: int, expires_at: int, copies: int) -> None:
        lane.append(payload, priority, expires_at, copies)
        self.sent_total += len(payload) + COST
        if not lane.is_active:
            self._activate(lane)
        elif priority:
            self.schedule.refresh(lane)
        self._show_queue()
        if not self.is_turn:
            self.exchange.take_turn(self)
        if lane.waiting > PRESSING_BYTES and not self.is_starved and not lane.is_blocked:
            self.exchange.pressing = True

    def fence(self) -> Fence:
        """See `MessageSession.fence`."""
        fence = Fence()
        for lane in self._lanes.values():
            lane.set_fence(fence)
        return fence

    def _lane(self, channel: int, delivery: int) -> OutLane:
        key = channel * 4 + delivery
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = OutLane(self.flow, self._channel(channel), delivery)
        return lane

    def _channel(self, channel: int) -> OutChannel:
        channels = self._channels
        while len(channels) <= channel:
            channels.append(None)
        state = channels[channel]
        if state is None:
            state = channels[channel] = OutChannel(channel, self._channel_limit, channel == STREAM_CHANNEL)
        return state

    def _activate(self, lane: OutLane) -> None:
        """Gives a lane its place among those that have something to send."""
        if not lane.is_active and lane.has_output():
            self.schedule.add(lane)
            self.is_starved = False

    def _wake_lanes(self) -> None:
        """Credit came: looks whose messages may go now."""
        for lane in self._lanes.values():
            if lane.is_reliable and not lane.is_active:
                lane.credited()
                self._activate(lane)
        self._show_queue()

    def _show_queue(self) -> None:
        """What the lanes have booked becomes what drivers and owners see."""
        flow, exchange = self.flow, self.exchange
        flight = min(flow.flight, FLIGHT_MAX)
        if flight != self.flight_bytes:
            room = FLIGHT_ALL_MAX - exchange.flight_bytes + self.flight_bytes
            flight = max(min(flight, room), 0)
            exchange.flight_bytes += flight - self.flight_bytes
            self.flight_bytes = flight
        self.queued_bytes = flow.queued
        self.blocked_bytes = flow.blocked

    def channel_queued(self, channel: int) -> int:
        """Bytes of `channel` that wait for the peer's credit."""
        if channel >= len(self._channels):
            return 0
        state = self._channels[channel]
        return 0 if state is None else state.blocked

    def channels_max(self) -> int:
        """How many channels both sides agreed on."""
        return self._channels_max
