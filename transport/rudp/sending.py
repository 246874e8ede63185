"""The sending half of a reliable UDP session: which lane's turn it is, and what goes into the next packets.

It fills the caller's room with packets of equal size, for that is what segmentation offload takes. It must never send
data beyond the congestion window, but for probes, nor use a packet number twice.
"""

from __future__ import annotations

import hashlib

from transport import limits, lists
from transport.machine import Path
from transport.rudp import pen
from transport.rudp.accepting import Accepting
from transport.rudp.ackpolicy import FRAME_BYTES, AckPolicy
from transport.rudp.acks import AckState
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.congestion.rates import RateSampler
from transport.rudp.ecn import EcnValidator
from transport.rudp.inlane import InChannel, InFlow
from transport.rudp.kinds import BLOCKED, COPIES_BIT, CREDIT, FIXED_BIT, PING, POLICY
from transport.rudp.mtu import MtuSearch
from transport.rudp.outlane import OutLane
from transport.rudp.pacer import Pacer
from transport.rudp.redundancy import Redundancy, is_due
from transport.rudp.rtt import RttEstimator
from transport.rudp.sent import Item, Rider, SentPacket, SentRing, SkipRecord
from transport.rudp.states import OPEN, QUIET, SENT, SKIPPED
from transport.rudp.turns import Exchange

CHECKSUM_BYTES = 4
PING_FRAME, SKIP_FRAME, CONNECTION_CREDIT_FRAME, CHANNEL_CREDIT_FRAME, BLOCKED_FRAME = 1, 5, 6, 7, 8
SEGMENTS_MAX = limits.GSO_SEGMENTS_MAX
TRAIN_BYTES = limits.GSO_BYTES_MAX
CONTROL_BYTES = 64  # left for the first message when control frames fill a packet
PAD_MAX = 40  # what stays free of a packet because the next frame is not worth its head
RIDER_BYTES = limits.RUDP_RIDER_BYTES
RIDERS_MAX = limits.RUDP_RIDERS_MAX
RIDES_MAX = limits.RUDP_RIDES
TINY_BYTES, TINY_RIDES = limits.RUDP_TINY_BYTES, limits.RUDP_TINY_RIDES
BASE = limits.RUDP_DATAGRAM_BYTES_MIN
THIN_ROOM = BASE  # of a packet that counts as nearly empty, however large packets may be
ACK_ONLY_MAX = limits.RUDP_ACK_ONLY_MAX
SKIP_EVERY = limits.RUDP_SKIP_EVERY
SKIPS_PER_FRAME = limits.RUDP_SKIPS_PER_FRAME
LATE_FLIGHTS = limits.RUDP_LATE_FLIGHTS
BURST_PACKETS = 10  # RFC 9002 section 7.7
QUANTA_PER_S = 1000  # wake-ups of the pacer
ACK_THRESHOLD = 2  # packets after which a peer acknowledges that was not asked otherwise


class Sending(Accepting):
    """Packets that carry what the commands gave.

    Attributes:
        peer_cid, own_cid: connection ids: what the peer receives is addressed to `peer_cid`.
        addressed: which of our ids the packet at hand was for; nearly always `own_cid`.
        ids_due: frames about connection ids wait.
        policy: how often the peer shall acknowledge; policy_due: it has to hear of it.
        rtt, controller, pacer, redundancy, acks, ring: the parts.
        in_flight: bytes sent and neither acknowledged nor lost.
        copied: those of them that are copies of small messages.
        mtu: size that packets are filled to.
        search: for a larger one.
        wants_probe: packets were filled, and a probe for a larger size is due.
        ecn: whether packets are marked, and what became of that.
        mark: of the train that was built last, ECT(0) or nothing.
        segment: packet size of the train that `fill` has just built.
        answerable: bytes before the checksum below which the peer, had it lost the connection, would not say so by
            RESET; what wants an answer is filled up to it, in front, for the last frame may have no length. 0 if it has
            no RESET.
        is_app_limited: the last train ended because there was nothing more to send, not for want of window.
        has_probes: packets about other paths may have to leave, see `paths`.
    """

    def __init__(
        self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller
    ) -> None:
        Accepting.__init__(self, exchange, config, path)
        self.own_cid = own_cid
        self.addressed = own_cid
        self.ids_due = False
        self.policy = AckPolicy()
        self.policy_due = False
        self.peer_cid = 0
        self.mtu = config.mtu
        self.search = MtuSearch(config.mtu, config.mtu_max)
        self.wants_probe = False
        self.ecn = EcnValidator()
        self.mark = 0
        self.segment = 0
        self.answerable = 0
        self.in_flight = 0
        self.copied = 0
        self.is_app_limited = True
        self.has_probes = False
        self.checksum_kind = 0
        self.rtt = RttEstimator(limits.RUDP_INITIAL_RTT_NS)
        self.controller = controller
        self.pacer = Pacer()
        self.redundancy = Redundancy(config.redundancy)
        self.acks = AckState()
        self.ring = SentRing()
        self._riders: list[Rider] = []
        self._credit_due: list[InChannel] = []
        half = config.connection_window >> 1  # the other half is for what lies unread, see `_extend_connection`
        self._in_flow = InFlow(min(config.start_window, half), half)
        self._in_flow.limit = config.start_window
        self._blocked_told = 0
        self._pings: list[int] = []
        self._probes = 0
        self._largest_acked = -1
        self._eliciting_at = 0  # when a packet that asks for an ack left last
        self._data_packets = 0
        self._ack_only = 0
        self._skip_at = 0
        self._dice = b""
        self._pace_at = 0
        self._is_ping_due = False  # by the keep-alive, or as a client's first packet
        self._is_question = False  # and as large as what has not been acknowledged
        self._has_skips = config.skips
        self.packets_sent = 0
        self.bytes_sent = 0
        self.copies_sent = 0
        self.copy_bytes = 0
        self.copies_saved = 0
        self.probes_sent = 0

    # Packets

    def fill_packets(self, room: memoryview, now: int) -> int:
        """Writes the next train of packets into `room`, and their size to `segment`; returns its bytes, -1 for none."""
        size = pen.check(room)
        mtu = self.mtu
        if self._probes and mtu > BASE:
            mtu = BASE  # perhaps it is their size for which no ack comes (RFC 8899 section 4.3)
        window = self._window_room(mtu)
        rate = self.controller.rate(self.rtt.smoothed)
        window = min(window, self.pacer.room(now, rate, self._burst(rate)))  # also without one
        total = 0
        count = 0
        self.is_starved = False
        self.is_app_limited = True
        while count < SEGMENTS_MAX and total + mtu <= size and (count == 0 or total + mtu <= TRAIN_BYTES):
            made = self._build(room, total, mtu, window, now)
            if not made:
                break
            if not count:
                self.segment = made
            total += made
            count += 1
            window -= made
            if made < mtu:
                break
        if count and self.segment == mtu and now >= self.search.due:
            self.wants_probe = True
        if self.is_starved and rate and self._window_room(mtu) >= mtu:  # it is the pacer that holds it up
            at = self.pacer.when(now, rate, self._quantum(rate, mtu))
            self._pace_at = at if at > now else 0
        samples = self.controller.samples
        if samples is not None and not self.schedule.count:
            self._look_dry(samples)
        return total if count else -1

    def _burst(self, rate: int) -> int:
        """Bytes that the pacer lets go at once after a pause: a first window, as RFC 9002 section 7.7 has it, or more
        at a rate at which that would be less than a millisecond.
        """
        return max(BURST_PACKETS * self.mtu, min(rate // QUANTA_PER_S, TRAIN_BYTES))

    def _quantum(self, rate: int, mtu: int) -> int:
        """Bytes worth a wake-up: what a millisecond carries, or all that waits; a packet at least, a train at most.

        A quarter of it where the peer was asked for few acks, each of which would have been a wake-up: a small message
        would wait longer for its turn.
        """
        quantum = rate // QUANTA_PER_S
        if self.policy.threshold > ACK_THRESHOLD:
            quantum >>= 2
        return max(mtu, min(quantum, TRAIN_BYTES, self.schedule.waiting()))

    def _look_dry(self, samples: RateSampler) -> None:
        """Nothing waits. Unless it is the window, or the peer, that holds more back, rates say nothing of the path."""
        flow = self.flow
        if self.in_flight < self.controller.window and not flow.needs_credit and not flow.blocked:
            samples.on_dry(self.in_flight)

    def _window_room(self, mtu: int) -> int:
        """Bytes that the window has room for."""
        window = self.controller.window - self.in_flight
        if window < mtu and self.in_flight == 0:
            return mtu
        return window

    def _build(self, room: memoryview, base: int, mtu: int, window: int, now: int) -> int:
        """Writes one packet at `base`; returns its size, 0 when there is nothing to write."""
        has_data = self.schedule.count > 0 and not self.ring.is_full()
        is_probe = self._probes > 0
        if has_data and not is_probe and window < mtu and self.schedule.waiting() + 64 > window:
            self.is_starved = True
            self.is_app_limited = False
            has_data = False
        acks = self.acks
        has_control = (
            len(self._pings) > 0 or len(self._credit_due) > 0 or self._in_flow.is_due or self.ids_due
            or self.policy_due or self._tells_blocked()
        )  # fmt: skip
        if not has_data and not is_probe and not has_control and not self._is_ping_due and not acks.must_send(now):
            return 0
        while self.ring.is_over():
            self._make_room(now)
        self._leave_out(now)
        number = self.ring.next
        number_bytes = pen.low_size(LATE_FLIGHTS * (number - self._largest_acked))
        start = base + 9 + number_bytes
        end = base + mtu - (CHECKSUM_BYTES if self.checksum_kind else 0)
        pos = start
        packet = self.ring.push()
        flags = FIXED_BIT | (number_bytes - 1)
        if acks.wants():
            pos = acks.write(room, pos, end - CONTROL_BYTES, now)
            if pos > start:
                packet.ack_largest = acks.ranges.largest
        unasked = pos
        if has_control:
            pos = self._put_control(room, pos, end - CONTROL_BYTES, packet, now)
        if has_data:
            self.flow.last_lane = None
            before = self.copies_sent
            pos = self._put_data(room, pos, end, packet, now)
            if self.copies_sent > before:
                flags |= COPIES_BIT
        if pos == unasked:
            if is_probe or self._is_ping_due:
                pos = pen.put8(room, pos, PING_FRAME)
                if self._is_question and mtu > BASE:
                    pos = pen.put_zeros(room, pos, end - pos)
            elif self._asks_for_ack(has_data):  # not by a PING, whose ack could not ride on the peer's data
                pos = pen.put8(room, pos, CONNECTION_CREDIT_FRAME)
                pos = pen.put_varint(room, pos, self._in_flow.limit)
        self._is_ping_due = self._is_question = False
        is_eliciting = pos > unasked
        if is_eliciting and pos < end and self.schedule.count and end - pos < PAD_MAX:
            pos = pen.put_zeros(room, pos, end - pos)  # a train goes on only behind a full packet
        if is_eliciting and pos - base < self.answerable:
            pos = pen.push_back(room, start, pos, base + self.answerable - pos)
        return self._finish_packet(room, base, pos, number, number_bytes, flags, packet, is_eliciting, now)

    def _make_room(self, now: int) -> None:
        """The ring lets go of its oldest record, whatever became of that packet."""
        raise NotImplementedError

    def _asks_for_ack(self, has_data: bool) -> bool:
        """Whether a packet that only acknowledges has to ask for an ack: else our ack state grows for ever."""
        if has_data:
            return False
        self._ack_only += 1
        if self._ack_only < ACK_ONLY_MAX:
            return False
        self._ack_only = 0
        return True

    def _finish_packet(
        self, room: memoryview, base: int, pos: int, number: int, number_bytes: int, flags: int, packet: SentPacket,
        is_eliciting: bool, now: int,
    ) -> int:  # fmt: skip
        """Head, checksum and books of a packet whose frames are written."""
        pen.put8(room, base, flags)
        pen.put64(room, base + 1, self.peer_cid)
        pen.put_low(room, base + 9, number, number_bytes)
        if self.checksum_kind:
            total = pen.checksum(room, base, pos, self.checksum_kind, self.peer_cid)
            pos = pen.put32(room, pos, total)
        size = pos - base
        packet.time = now
        self.packets_sent += 1
        self.bytes_sent += size
        if self.trace is not None:
            self.trace.packet_sent(bytes(room[base:pos]), number, now)
        if not is_eliciting:
            packet.state = QUIET
            return size
        packet.state = SENT
        packet.size = size
        self._ack_only = 0
        self.in_flight += size
        self.copied += packet.copied
        self._eliciting_at = now
        controller = self.controller
        samples = controller.samples
        if samples is not None:
            packet.mark = samples.on_sent(packet.mark, size, self.in_flight, now)
        controller.on_sent(number, size, self.in_flight, now)
        self.pacer.spend(size)
        if self._probes:
            self._probes -= 1
            self.probes_sent += 1
        return size

    def _leave_out(self, now: int) -> None:
        """Leaves a packet number out now and then: who acknowledges it acknowledges what was never sent."""
        if not self._has_skips or self.ring.next < self._skip_at:
            return
        self._dice = hashlib.blake2s(self._dice).digest()  # a peer sees a few bits of each, and can't foresee the next
        dice = int.from_bytes(self._dice[:4], "big")
        if self._skip_at:
            packet = self.ring.push()
            packet.state = SKIPPED
            packet.time = now
        self._skip_at = self.ring.next + SKIP_EVERY // 4 + dice % (SKIP_EVERY * 3 // 4)

    # Control frames

    def _tells_blocked(self) -> bool:
        """Whether the peer should hear that we lack credit."""
        flow = self.flow
        if flow.needs_credit > self._blocked_told:
            return True
        if not flow.has_wishes:  # as nearly always: a walk through all channels is too much for every packet
            return False
        for state in self._channels:
            if state is not None and state.needs_credit > state.told:
                return True
        flow.has_wishes = False
        return False

    def _put_control(self, room: memoryview, pos: int, end: int, packet: SentPacket, now: int) -> int:
        if self._pings:
            pos = pen.put8(room, pos, PING_FRAME)
            for token in self._pings:
                packet.add(Item(PING, None, token, now))
            self._pings.clear()
        if self.policy_due and pos + FRAME_BYTES <= end:
            self.policy_due = False
            pos = self.policy.write(room, pos)
            packet.add(Item(POLICY, None, self.policy.number, 0))
        in_flow = self._in_flow
        if in_flow.is_due and pos + 9 <= end:
            in_flow.is_due = False
            pos = pen.put8(room, pos, CONNECTION_CREDIT_FRAME)
            pos = pen.put_varint(room, pos, in_flow.limit)
            packet.add(Item(CREDIT, None, -1, in_flow.limit))
        while self._credit_due and pos + 12 <= end:
            channel = self._credit_due.pop()
            channel.is_due = False
            pos = pen.put8(room, pos, CHANNEL_CREDIT_FRAME)
            pos = pen.put_varint(room, pos, channel.number)
            pos = pen.put_varint(room, pos, channel.limit)
            packet.add(Item(CREDIT, None, channel.number, channel.limit))
        if self._tells_blocked():
            pos = self._put_blocked(room, pos, end, packet)
        if self.ids_due:
            pos = self.put_ids(room, pos, end, packet)
        return pos

    def put_ids(self, room: memoryview, pos: int, end: int, packet: SentPacket) -> int:
        """Writes frames about connection ids."""
        raise NotImplementedError

    def _put_blocked(self, room: memoryview, pos: int, end: int, packet: SentPacket) -> int:
        flow = self.flow
        if flow.needs_credit > self._blocked_told and pos + 10 <= end:
            self._blocked_told = flow.needs_credit
            pos = pen.put8(room, pos, BLOCKED_FRAME)
            pos = pen.put_varint(room, pos, 0)
            pos = pen.put_varint(room, pos, flow.needs_credit)
            packet.add(Item(BLOCKED, None, -1, 0))
        for state in self._channels:
            if state is not None and state.needs_credit > state.told and pos + 13 <= end:
                state.told = state.needs_credit
                pos = pen.put8(room, pos, BLOCKED_FRAME)
                pos = pen.put_varint(room, pos, state.number + 1)
                pos = pen.put_varint(room, pos, state.needs_credit)
                packet.add(Item(BLOCKED, None, state.number, 0))
        return pos

    def _put_skips(self, room: memoryview, pos: int, end: int, lane: OutLane, packet: SentPacket) -> int:
        """A SKIP frame for messages of `lane` that were given up."""
        room_left = end - pos - 6
        count = min(len(lane.skips), SKIPS_PER_FRAME, room_left // 12)
        if count <= 0:
            return pos
        record = SkipRecord(lane, lane.skips[:count], lane.skip_costs[:count])
        del lane.skips[:count]
        del lane.skip_costs[:count]
        lane.untold += 1
        self.flow.last_lane = None  # no message frame behind it counts on the one before it
        pos = pen.put8(room, pos, SKIP_FRAME)
        pos = pen.put_varint(room, pos, lane.channel * 4 + lane.delivery)
        pos = pen.put_varint(room, pos, count)
        for i in range(count):
            pos = pen.put_varint(room, pos, record.numbers[i])
            pos = pen.put_varint(room, pos, record.costs[i])
        packet.add(record)
        return pos

    # Messages

    def _put_data(self, room: memoryview, pos: int, end: int, packet: SentPacket, now: int) -> int:
        """Frames of the lanes: the most urgent class first, in turns within one."""
        begin = pos
        is_thin = self._is_thin(end - pos)
        rides = 0
        if is_thin:
            rides = self.redundancy.rides(now)
            if self._riders:
                pos = self._put_copies(room, pos, end, packet, now, rides)
        has_new = False
        schedule = self.schedule
        lane = schedule.first()
        while lane is not None and pos < end:
            before = pos
            if lane.lost.count or lane.skips:
                pos = self._put_again(room, pos, end, lane, packet, now)
            if pos < end and lane.has_new():
                after = self._put_new(room, pos, end, lane, packet, is_thin, rides, now)
                has_new = has_new or after > pos
                pos = after
            if not lane.has_output():
                schedule.remove(lane)
            elif not schedule.refresh(lane) and (pos == before or lane.following is None or end - pos < PAD_MAX):
                schedule.turn_over(lane)  # the next packet is another's
                break
            lane = schedule.first()
        self._show_queue()
        if has_new or pos > begin:
            self._data_packets += 1
            self.acks.own_data(now)
        return pos

    def _is_thin(self, room: int) -> bool:
        """Whether so little waits that messages are to be watched one by one."""
        if self.schedule.count > 8:
            return False
        return self.schedule.waiting() <= min(room, THIN_ROOM) * 6 // 10

    def _put_new(
        self, room: memoryview, pos: int, end: int, lane: OutLane, packet: SentPacket, is_thin: bool, rides: int,
        now: int,
    ) -> int:  # fmt: skip
        is_sole = self.schedule.count == 1 and not lane.lost.count and not lane.skips
        if not is_thin:
            start = lane.mark()
            pos = lane.cut(room, pos, end, now, is_sole, 0)
            after = lane.mark()
            if after > start:
                packet.add_span(lane, start, after)
            return pos
        before = -1
        while before < 0 or (pos < end and lane.has_new()):  # the first time the caller has asked
            start = lane.mark()
            before = pos
            pos = lane.cut(room, pos, end, now, is_sole, 1)
            after = lane.mark()
            if pos == before:
                break
            payload = lane.cut_payload
            if payload is not None and len(payload) <= RIDER_BYTES and len(self._riders) < RIDERS_MAX:
                copies = lane.cut_copies
                if copies > 0 or (copies < 0 and rides > 0 and lane.is_reliable):
                    is_forced = copies > 0
                    if not is_forced:
                        copies = TINY_RIDES if rides >= RIDES_MAX and len(payload) <= TINY_BYTES else rides
                    start = after - len(payload) - 1 if lane.is_reliable else after - 1
                    rider = Rider.__new__(Rider)
                    rider.fill(lane, start, after, payload, lane.next_number() - 1, self._data_packets + 1, copies)
                    rider.is_forced = is_forced
                    rider.first_number = self.ring.next - 1
                    self._riders.append(rider)
                    packet.add(rider)
                    continue
            if after > start:
                packet.add_span(lane, start, after)
        return pos

    def _put_again(self, room: memoryview, pos: int, end: int, lane: OutLane, packet: SentPacket, now: int) -> int:
        """What was lost of a lane; a small message that is sent again rides in the next packet, too."""
        while lane.lost.count and pos < end:
            before = pos
            pos = lane.cut_lost(room, pos, end, now)
            if pos == before:
                break
            payload = lane.payload_at(lane.cut_index)
            if len(payload) <= RIDER_BYTES and len(self._riders) < RIDERS_MAX and (
                lane.cut_end - lane.cut_start == len(payload) + 1
            ):  # fmt: skip
                number = lane.number_at(lane.cut_index)
                rider = Rider.__new__(Rider)
                rider.fill(lane, lane.cut_start, lane.cut_end, payload, number, self._data_packets + 1, 1)
                rider.is_repair = True
                rider.first_number = self.ring.next - 1
                self._riders.append(rider)
                packet.add(rider)
            else:
                packet.add_span(lane, lane.cut_start, lane.cut_end)
        if lane.skips:
            pos = self._put_skips(room, pos, end, lane, packet)
        return pos

    def _put_copies(self, room: memoryview, pos: int, end: int, packet: SentPacket, now: int, rides: int) -> int:
        """Messages that are not acknowledged ride again, the newest as far as bytes allow.

        They are written oldest first: one that follows its predecessor, as the next new message often does, needs
        neither channel nor number.
        """
        riders = self._riders
        while riders and riders[-1].is_settled:
            lists.pop_last(riders)
        if not riders:
            return pos
        here = self._data_packets + 1
        waiting = self.schedule.waiting()
        budget = min(RIDER_BYTES, min(end - pos, THIN_ROOM) * 6 // 10 - waiting)
        budget = min(budget, self.controller.window - self.in_flight - waiting - THIN_ROOM)  # new data is never held up
        chosen: list[Rider] = []
        index = len(riders) - 1
        while index >= 0:
            rider = riders[index]
            age = here - rider.first
            if rider.is_settled or age > 8 or (age > 5 and not rider.is_forced):
                del riders[index]
                index -= 1
                continue
            index -= 1
            lane = rider.lane
            assert lane is not None
            size = lane.copy_size(len(rider.payload))
            if size > budget or not self._rides_now(rider, age, rides):
                continue
            if not rider.is_forced and not rider.is_repair and not self.redundancy.spend(size, now):
                continue
            budget -= size
            chosen.append(rider)
        index = len(chosen)
        begin = pos
        while index:
            index -= 1
            rider = chosen[index]
            lane = rider.lane
            assert lane is not None
            pos = lane.put_copy(room, pos, rider.number, rider.payload)
            rider.ridden += 1
            rider.copies += 1
            packet.add(rider)
        packet.copied = pos - begin
        self.copies_sent += len(chosen)
        self.copy_bytes += pos - begin
        return pos

    def _rides_now(self, rider: Rider, age: int, rides: int) -> bool:
        """Whether it is a message's turn to ride: in the 1st, 2nd and 5th packet after its own."""
        if age <= 0 or rider.ridden >= rider.rides:
            return False
        if rider.is_repair or rider.is_forced:
            return True
        return (rider.ridden < rides or rides >= RIDES_MAX) and is_due(age, rider.rides)

    def may_have_more(self) -> bool:
        """Whether another train might follow the one that was just built."""
        return (
            self.schedule.count > 0
            or self._probes > 0
            or len(self._pings) > 0
            or len(self._credit_due) > 0
            or self._in_flow.is_due
            or self.wants_probe
            or self.life != OPEN
            or self.has_probes
            or self.ids_due
            or self.policy_due
        )

    def wants_output(self) -> bool:
        """See `MessageSession`: who stands in the row of its exchange will be asked."""
        return self.is_turn

    def has_waiting(self) -> bool:
        """Whether anything reliable is not settled yet, or anything at all not sent."""
        if self.schedule.count or self.flow.queued or self.flow.blocked:
            return True
        return any([not lane.is_idle() for lane in self._lanes.values()])  # noqa: C419  # no closures in C

    def drop_all(self) -> None:
        """The session is over: nothing will be sent again."""
        self.cut_bytes = self.flow.queued + self.flow.blocked
        for lane in self._lanes.values():
            lane.clear()
        self.schedule.clear()
        self.flow.queued = self.flow.flight = self.flow.blocked = 0
        self._show_queue()
        self._riders.clear()
        self._pings.clear()
        self._credit_due.clear()
        self._last_lane = None
