"""The receiving half of a reliable UDP session: packets in, batches of messages out, credit back.

It must never raise for what a peer did (a packet is dropped, or the session closes and says why), deliver anything
twice, nor set memory aside for a size that credit does not cover.
"""

from __future__ import annotations

from transport import limits
from transport.errors import CloseCode, RemoteProtocolError
from transport.machine import Path
from transport.rudp import pen
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.inlane import InChannel, InFlow, InLane, Unfinished
from transport.rudp.kinds import NEW_CID, PATH_CHALLENGE, PATH_RESPONSE, RETIRE_CID, STREAM_CHANNEL
from transport.rudp.recovery import Recovery
from transport.rudp.states import CLOSED, OPEN
from transport.rudp.turns import Exchange
from transport.session import Batch

COST = limits.MESSAGE_COST_BYTES
LOOSE_MAX = limits.RUDP_UNRELIABLE_BYTES_MAX
GAPS_MAX = limits.RUDP_GAPS_MAX
SKIPS_MAX = limits.RUDP_SKIPS_PER_FRAME
REASON_MAX = limits.REASON_BYTES_MAX
HIDDEN_BYTES = limits.RUDP_HIDDEN_BYTES
LOOSE_UNFINISHED_BYTES = limits.RUDP_LOOSE_UNFINISHED_BYTES
FRAME_MAX = limits.RUDP_STREAM_FRAME_BYTES_MAX
CHECKSUM_BYTES = 4
PAD, PING, ACK, ACK_ECN, ACK_POLICY, SKIP, CONNECTION_CREDIT, CHANNEL_CREDIT, BLOCKED = 0, 1, 2, 3, 4, 5, 6, 7, 8
CLOSE = 0x0E
MSG, FRAGMENT, LENGTH, SUCCESSOR = 0x80, 0x10, 0x08, 0x04


class Incoming(Recovery):
    """Packets and frames of a peer.

    Attributes:
        heard: when the last valid new packet came (ns).
        last_bytes: its size.
    """

    def __init__(
        self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller
    ) -> None:
        Recovery.__init__(self, exchange, config, path, own_cid, controller)
        self._in_lanes: dict[int, InLane] = {}
        self._in_channels: dict[int, InChannel] = {}
        self._unfinished = Unfinished()
        self._in_last: InLane | None = None  # lane and number of the message frame before, in this packet
        self._in_before: InLane | None = None  # the lane of the message before, in whichever packet
        self._in_number = 0
        self._in_state: InChannel | None = None
        self._batch: Batch | None = None
        self._receive_max = config.max_message
        self._has_no_room = False
        self._has_words = False  # the packet that is being read says something about paths
        self._own_channels = config.channels
        self._start_window = config.start_window
        self._lent = 0  # to all channels, see `_loan`
        self.heard = 0
        self.last_bytes = 0
        self._spacing = limits.SECOND_NS  # between packets that came, on average: at first as if they were rare
        self.messages_received = 0
        self.packets_received = 0
        self.bytes_received = 0
        self.packets_duplicate = 0
        self.packets_corrupt = 0
        self.packets_refused = 0

    def batch_over(self) -> None:
        """What came is about to be handed over: what comes next goes into another batch."""
        self._batch = None

    # Packets

    def receive_packet(self, data: bytes, path: Path, ecn: int, now: int) -> bool:
        """Takes one packet whose connection id has been found to be ours; returns whether it was a valid new one."""
        size = len(data)
        flags = data[0]
        number_bytes = (flags & 3) + 1
        pos = 9 + number_bytes
        end = size
        if self.checksum_kind:
            end = size - CHECKSUM_BYTES
            if end < pos or pen.low(data, end, 4) != pen.checksum_of(data, end, self.checksum_kind, self.addressed):
                return self._drop_packet(data, "checksum", now)
        if end <= pos or flags & 0x2C:
            return self._drop_packet(data, "header", now)
        acks = self.acks
        ranges = acks.ranges
        number = pen.expand(pen.low(data, 9, number_bytes), number_bytes, ranges.largest + 1)
        self.packets_received += 1
        self.bytes_received += size
        if number < ranges.floor or (number <= ranges.largest and ranges.contains(number)):
            self.packets_duplicate += 1
            acks.came_again()
            if self.trace is not None:
                self.trace.packet_dropped(data, "duplicate", now)
            return False
        if self.life < OPEN:
            return False  # the answer that it waits for comes in another form
        self._has_words = False
        if self.life >= CLOSED:
            ranges.add(number)  # if it comes twice, it is answered once
            if path is not self.path:
                self.came_by(path, number, size, now)
            self.repeat_close()
            return False
        self._has_no_room = False
        if self.trace is not None:
            self.trace.packet_received(data, now)
        try:
            is_eliciting = self._parse(data, pos, end, now)
        except RemoteProtocolError as error:
            self.fail(error.code, error.reason, now)
            return True
        if self._has_no_room:
            self.packets_refused += 1  # not acknowledged: it comes again
            if self.trace is not None:
                self.trace.packet_dropped(data, "no_room", now)
            return False
        is_in_order = number == ranges.largest + 1
        ranges.add(number)
        self._spacing += (now - self.heard - self._spacing) >> 3
        self.heard = now
        self.last_bytes = size
        if ecn:
            acks.marked(ecn, is_eliciting)
        acks.came(number, is_eliciting, is_in_order, now, self.rtt.smoothed)
        if path is not self.path or self._has_words:
            self.came_by(path, number, size, now)
        return True

    def _drop_packet(self, data: bytes, why: str, now: int) -> bool:
        """A packet that is not what was sent, or none of ours."""
        self.packets_corrupt += 1
        if self.trace is not None:
            self.trace.packet_dropped(data, why, now)
        return False

    def came_by(self, path: Path, number: int, size: int, now: int) -> None:
        """A valid new packet of `size` bytes came by another path than the one in use, or had a word about paths."""
        raise NotImplementedError

    def repeat_close(self) -> None:
        """The peer goes on after the end."""
        raise NotImplementedError

    def fail(self, code: int, reason: str, now: int) -> None:
        """The peer broke a rule: the session ends, and says so."""
        raise NotImplementedError

    def _parse(self, data: bytes, pos: int, end: int, now: int) -> bool:
        """Acts on every frame; returns whether the packet asks for an ack."""
        is_eliciting = False
        has_credit = False
        self._in_last = None
        while pos < end:
            kind = data[pos]
            if kind & MSG:
                is_eliciting = True
                pos = self._on_message(data, pos, end, kind)
                continue
            pos += 1
            if kind == PAD:
                pos = pen.skip_zeros(data, pos, end)
                continue
            if kind == ACK or kind == ACK_ECN:
                pos = self.on_ack(data, pos, end, kind == ACK_ECN, now)
                continue
            if kind == CLOSE:
                self._read_close(data, pos, end, now)
                return is_eliciting  # what stands behind it is of no interest
            if kind == PATH_CHALLENGE or kind == PATH_RESPONSE:
                pos = self.on_path_frame(kind, data, pos, end, now)
                continue
            is_eliciting = True
            if kind == PING:
                self.acks.ask()
            elif kind == CONNECTION_CREDIT:
                limit = self._number(data, pos, end)
                pos = self._number_end
                if limit > self.flow.limit:
                    self.flow.limit = limit
                    self.flow.needs_credit = 0
                    has_credit = True
            elif kind == CHANNEL_CREDIT:
                pos = self._on_channel_credit(data, pos, end)
                has_credit = True
            elif kind == SKIP:
                pos = self._on_skip(data, pos, end)
            elif kind == BLOCKED:
                pos = self._on_blocked(data, pos, end)
            elif kind == NEW_CID or kind == RETIRE_CID:
                pos = self.on_path_frame(kind, data, pos, end, now)
            elif kind == ACK_POLICY:
                pos = self._on_policy(data, pos, end)
            else:
                raise RemoteProtocolError(f"unknown frame {kind:#x}")
        if has_credit:
            self._wake_lanes()  # once for a packet, for it asks all lanes
        return is_eliciting

    def _on_channel_credit(self, data: bytes, pos: int, end: int) -> int:
        channel = self._number(data, pos, end)
        limit = self._number(data, self._number_end, end)
        if channel >= self._channels_max:
            raise RemoteProtocolError(f"credit for channel {channel}")
        state = self._channel(channel)
        if limit > state.limit:
            state.limit = limit
        return self._number_end

    def _on_policy(self, data: bytes, pos: int, end: int) -> int:
        """How often the peer wants acks."""
        number = self._number(data, pos, end)
        threshold = self._number(data, self._number_end, end)
        delay_us = self._number(data, self._number_end, end)
        reordering = self._number(data, self._number_end, end)
        if not threshold:
            raise RemoteProtocolError("malformed ack policy")
        self.acks.obey(number, threshold, delay_us, reordering)
        return self._number_end

    def on_path_frame(self, kind: int, data: bytes, pos: int, end: int, now: int) -> int:
        """A frame about paths or connection ids; returns the place behind it."""
        raise NotImplementedError

    def _read_close(self, data: bytes, pos: int, end: int, now: int) -> int:
        code = self._number(data, pos, end)
        size = self._number(data, self._number_end, end)
        pos = self._number_end
        if code >= 1 << 16 or size > REASON_MAX or size > end - pos:
            raise RemoteProtocolError("malformed close")
        self.on_close(code, data[pos : pos + size].decode("utf-8", "replace"), now)
        return pos + size

    def on_close(self, code: int, reason: str, now: int) -> None:
        """The peer says goodbye."""
        raise NotImplementedError

    # Messages

    def _on_message(self, data: bytes, pos: int, end: int, kind: int) -> int:
        """Takes one message frame, or a run of them; returns the place behind it."""
        pos += 1
        if kind & SUCCESSOR:
            lane = self._in_last
            if lane is None or kind & 3 or lane.delivery != kind >> 5 & 3:
                raise RemoteProtocolError("a successor of no message")
            number = self._in_number + 1
        else:
            channel = self._number(data, pos, end)
            pos = self._number_end
            size = (kind & 3) + 1
            if size > end - pos:
                raise RemoteProtocolError("a frame is cut off")
            lane = self._in_lane(channel, kind >> 5 & 3)
            number = pen.expand(pen.low(data, pos, size), size, lane.highest)
            pos += size
        self._in_number = number
        offset = -1
        total = 0
        if kind & FRAGMENT:
            offset = self._number(data, pos, end)
            total = self._number(data, self._number_end, end)
            pos = self._number_end
        size = end - pos
        if kind & LENGTH:
            size = self._number(data, pos, end)
            pos = self._number_end
            if size > end - pos:
                raise RemoteProtocolError("a frame is cut off")
        stop = pos + size
        if offset >= 0:
            self._on_fragment(lane, number, data, pos, stop, offset, total)
        else:
            if size > self._size_max(lane):
                raise RemoteProtocolError(f"message of {size} bytes is over the limit", CloseCode.TOO_LARGE)
            self._on_whole(lane, number, data, pos, stop)
        return stop

    def _size_max(self, lane: InLane) -> int:
        """Bytes of a message that may come on a lane."""
        if lane.channel == STREAM_CHANNEL:
            return FRAME_MAX
        return self._receive_max if lane.is_reliable else min(LOOSE_MAX, self._receive_max)

    def _in_lane(self, channel: int, delivery: int) -> InLane:
        """The lane of a message frame, made when it is first heard of."""
        last = self._in_last
        if last is not None and last.channel == channel and last.delivery == delivery:
            return last
        lane = self._in_before
        if lane is not None and lane.channel == channel and lane.delivery == delivery:
            self._in_last = lane
            self._in_state = lane.state
            return lane
        if channel >= self._own_channels and (channel != STREAM_CHANNEL or delivery):
            raise RemoteProtocolError(f"channel {channel} is over the limit of {self._own_channels}")
        lane = self._in_lanes.get(channel * 4 + delivery)
        if lane is None:
            lane = self._in_lanes[channel * 4 + delivery] = InLane(channel, delivery, self._unfinished)
            lane.state = None if delivery >= 2 or channel == STREAM_CHANNEL else self._in_channel(channel)
        self._in_last = self._in_before = lane
        self._in_state = lane.state
        return lane

    def _in_channel(self, channel: int) -> InChannel:
        state = self._in_channels.get(channel)
        if state is None:
            state = self._in_channels[channel] = InChannel(channel, self._start_window, self.config.channel_window)
        return state

    def _on_whole(self, lane: InLane, number: int, data: bytes, pos: int, stop: int) -> None:
        delivery = lane.delivery
        if number != lane.expected or delivery or lane.early or lane.partial or lane.done.count:
            self._on_unusual(lane, number, data, pos, stop)
            return
        self._charge(stop - pos)
        lane.expected = number + 1
        if number >= lane.highest:
            lane.highest = number + 1
        self._deliver(lane, pen.take(data, pos, stop), stop - pos)

    def _on_unusual(self, lane: InLane, number: int, data: bytes, pos: int, stop: int) -> None:
        """A message that is not the next one of an ordered lane on which nothing is missing."""
        if not lane.is_new(number):
            return
        size = stop - pos
        if not self._has_room(lane, number, size):
            return
        partial = lane.partial.get(number)
        if partial is not None:
            if partial.total != size:
                raise RemoteProtocolError("a message in fragments came whole with another size")
            lane.finished(number)
        elif lane.is_reliable:
            self._charge(size)
        self._arrived(lane, number, pen.take(data, pos, stop), size)

    def _has_room(self, lane: InLane, number: int, size: int) -> bool:
        """Whether a message that can't be delivered at once may be kept; else the packet is not acknowledged.

        Credit bounds what is kept, but for the hidden channel, which has a bound of its own.
        """
        if lane.has_room(number):
            if lane.channel != STREAM_CHANNEL or number == lane.expected or lane.held + size + COST <= HIDDEN_BYTES:
                return True
        self._has_no_room = True
        return False

    def _arrived(self, lane: InLane, number: int, payload: bytes, size: int) -> None:
        """A message is complete: it is delivered, or waits for those before it."""
        if lane.delivery == 0:
            if number != lane.expected:
                lane.keep(number, payload)
                return
            lane.take(number)
            self._deliver(lane, payload, size)
            self._deliver_early(lane)
            return
        lane.take(number)
        self._deliver(lane, payload, size)

    def _deliver_early(self, lane: InLane) -> None:
        while lane.has_early():
            waiting = lane.take_early()
            self._deliver(lane, waiting, len(waiting))

    def _charge(self, size: int) -> None:
        """A reliable message begins to come: its credit is taken, or the session fails."""
        state = self._in_state
        if state is None:
            return
        size += COST
        flow = self._in_flow
        state.received += size
        flow.received += size
        if state.received > state.limit:
            raise RemoteProtocolError(f"channel {state.number} is out of credit", CloseCode.FLOW_CONTROL)
        if flow.received > flow.limit:
            raise RemoteProtocolError("the connection is out of credit", CloseCode.FLOW_CONTROL)
        if flow.limit - flow.received <= flow.window >> 1:
            self._extend_connection()

    def _deliver(self, lane: InLane, payload: bytes, size: int) -> None:
        if lane.channel == STREAM_CHANNEL:
            self.on_stream_frame(payload)
            return
        self.messages_received += 1
        lane.delivered += 1
        if self.trace is not None:
            self.trace.message_delivered(lane.channel, lane.delivery, size)
        if self.life > OPEN:  # this side has said goodbye
            if lane.is_reliable:
                self.consumed(lane.channel, size, 1)
            return
        if self.lone is not None:
            self._batch = self.join_lone()
        elif not self.batches:
            self.lone = payload
            self.lone_channel = lane.channel
            self.lone_delivery = lane.delivery
            return
        batch = self._batch
        if batch is None or batch.channel != lane.channel or batch.delivery != lane.delivery:
            batch = Batch.__new__(Batch)  # calling the class costs as much as all the rest
            batch.payloads = []
            batch.channel = lane.channel
            batch.delivery = lane.delivery
            batch.size = 0
            self._batch = batch
            self.batches.append(batch)
        batch.payloads.append(payload)
        batch.size += size

    def on_stream_frame(self, frame: bytes) -> None:
        """A frame of the hidden channel."""
        raise NotImplementedError

    def _on_fragment(
        self, lane: InLane, number: int, data: bytes, pos: int, stop: int, offset: int, total: int
    ) -> None:
        size = stop - pos
        if not total or not size or offset > total - size:
            raise RemoteProtocolError("malformed fragment")
        if total > self._size_max(lane):
            raise RemoteProtocolError(f"message of {total} bytes is over the limit", CloseCode.TOO_LARGE)
        if not lane.is_new(number):
            return
        if number not in lane.partial:
            if not lane.has_place(number):
                self._has_no_room = True
                return
            if not self._has_room(lane, number, total):
                return
            if lane.is_reliable:
                self._charge(total)
            elif self._unfinished.loose + total > LOOSE_UNFINISHED_BYTES:
                self._give_up_fragments()
        assembly = lane.assembly(number, total)
        if assembly.have.count >= GAPS_MAX and not assembly.have.covered_to(offset) > offset:
            self._has_no_room = True
            return
        if assembly.add(data, pos, stop, offset):
            lane.finished(number)
            self._arrived(lane, number, assembly.whole(), total)

    def _give_up_fragments(self) -> None:
        """Unreliable messages that have come in part go, of the lanes that hold most: at least half of the bytes."""
        count = 0
        for lane in self._in_lanes.values():
            if lane.partial and not lane.is_reliable:
                count += 1
        half = self._unfinished.loose // (2 * count) if count else 0  # of what a lane holds on average
        for lane in self._in_lanes.values():
            if lane.held >= half and not lane.is_reliable:
                lane.give_up()

    def _on_skip(self, data: bytes, pos: int, end: int) -> int:
        """Messages that the peer has given up (RFC 3758 calls it FORWARD TSN)."""
        key = self._number(data, pos, end)
        count = self._number(data, self._number_end, end)
        pos = self._number_end
        if key & 2 or not 0 < count <= SKIPS_MAX or key >> 2 >= self._own_channels:
            raise RemoteProtocolError("malformed skip")
        self._in_last = None
        lane = self._in_lane(key >> 2, key & 3)
        state = self._in_channel(key >> 2)
        for _ in range(count):
            number = self._number(data, pos, end)
            cost = self._number(data, self._number_end, end)
            pos = self._number_end
            if cost < COST or cost > self._receive_max + COST:
                raise RemoteProtocolError("malformed skip")
            if not lane.has_room(number):
                self._has_no_room = True
                continue
            partial = lane.partial.get(number)
            has_begun = partial is not None
            if partial is not None:
                cost = partial.total + COST
            if lane.pass_over(number):
                if not has_begun:
                    self._charge(cost - COST)
                self._consume(state, cost)
                self._deliver_early(lane)
        self._in_last = None
        return pos

    # Credit

    def consumed(self, channel: int, size: int, messages: int) -> None:
        """The application took so many reliable messages of `channel`, `size` payload bytes in all: return credit."""
        if channel != STREAM_CHANNEL:
            state = self._in_state
            if state is None or state.number != channel:
                state = self._in_channel(channel)
            self._consume(state, size + messages * COST)
            if self._in_flow.is_due or self._credit_due:
                self.want()

    def _consume(self, state: InChannel, cost: int) -> None:
        self._lent -= min(cost, self._loan(state))
        state.consumed += cost
        if state.limit - state.received <= state.given >> 1 or state.wanted > state.limit:
            self._extend_channel(state)
        flow = self._in_flow
        flow.consumed += cost
        if flow.limit - flow.received <= flow.window >> 1 or flow.wanted > flow.limit:
            self._extend_connection()

    def _loan(self, state: InChannel) -> int:
        """Bytes that may lie on a channel beside those that each may hold from the start."""
        loan = state.limit - state.consumed - self._start_window
        return loan if loan > 0 else 0

    def _extend_channel(self, state: InChannel) -> None:
        """A new limit for a channel, if it would be higher.

        It gets its window, but no more than half of what the others have left of the connection's; so channels that
        nobody reads can't take what those that are read live on. (Choudhury and Hahne, Dynamic queue length
        thresholds for shared-memory packet switches, 1998.) One message always fits where nothing lies unread.
        """
        loan = self._loan(state)
        limit = state.consumed + state.window
        if limit > state.limit:
            self._tune(state)
            share = max(0, self._in_flow.window_max - self._lent + loan) >> 1
            limit = state.consumed + min(state.window, self._start_window + share)
        if limit < state.wanted and state.consumed == state.received:
            limit = state.consumed + min(state.wanted - state.consumed, self._receive_max + COST)
        if limit > state.limit:
            state.limit = limit
            state.given = limit - state.consumed
            self._lent += self._loan(state) - loan
            if not state.is_due:
                state.is_due = True
                self._credit_due.append(state)

    def _extend_connection(self) -> None:
        """The same for the connection.

        Its window is half of `connection_window`, and what lies unread leaves room for the rest up to the other half.
        """
        flow = self._in_flow
        parked = min(flow.received - flow.consumed, flow.window_max)
        limit = flow.consumed + flow.window + parked
        if limit > flow.limit:
            self._tune(flow)
            flow.limit = max(flow.limit, flow.consumed + flow.window + parked)
            flow.is_due = True

    def _tune(self, flow: InFlow) -> None:
        """A window that was used up within two round trips is too small: it doubles, up to its maximum."""
        if flow.window < flow.window_max and self.heard - flow.told_at < 2 * self.rtt.smoothed:
            flow.window = min(2 * flow.window, flow.window_max)
        flow.told_at = self.heard

    def _on_blocked(self, data: bytes, pos: int, end: int) -> int:
        """The peer has a message that its credit does not cover: the window grows as far as it may."""
        which = self._number(data, pos, end)
        needed = self._number(data, self._number_end, end)
        if which > self._own_channels:
            raise RemoteProtocolError(f"channel {which - 1} is over the limit of {self._own_channels}")
        flow = self._in_flow if which == 0 else self._in_channel(which - 1)
        window = needed - flow.consumed
        if window > flow.window:
            one = min(needed - flow.received, self._receive_max + COST)  # one message always fits
            most = max(flow.window_max, one)
            flow.window = max(flow.window, min(window, most))
        flow.wanted = max(flow.wanted, min(needed, flow.limit + self._receive_max + COST))
        if which == 0:
            self._extend_connection()
        else:
            self._extend_channel(self._in_channel(which - 1))
        return self._number_end

    def _credit_lost(self, channel: int, limit: int) -> None:
        """A credit frame was lost: the limit is told again unless a newer one is under way."""
        if channel < 0:
            if limit == self._in_flow.limit:
                self._in_flow.is_due = True
            return
        state = self._in_channel(channel)
        if limit == state.limit and not state.is_due:
            state.is_due = True
            self._credit_due.append(state)

    def credit_waiting(self) -> bool:
        """Whether `transmit` would send credit, so that the driver must be woken."""
        return self._in_flow.is_due or len(self._credit_due) > 0
