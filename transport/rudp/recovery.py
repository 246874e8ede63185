"""What acks, their absence and time say about what was sent (RFC 9002).

Packets are acknowledged or declared lost; what they carried is settled or given back to its lane. It must never
declare a packet lost before what has arrived was read, nor forget one before it is settled.
"""

from __future__ import annotations

from transport import limits
from transport.errors import RemoteProtocolError
from transport.machine import Path
from transport.rudp import pen
from transport.rudp.config import RudpConfig
from transport.rudp.congestion.base import Controller
from transport.rudp.kinds import BLOCKED, CREDIT, NEW_CID, PING, POLICY, PROBE, RETIRE_CID, RIDER, SKIP, SPAN
from transport.rudp.loss import LossThresholds
from transport.rudp.outlane import OutLane
from transport.rudp.probing import Probing
from transport.rudp.ranges import Ranges
from transport.rudp.sent import Item, Rider, SentPacket, SkipRecord
from transport.rudp.states import ACKED, FREE, LOST, OPEN, QUIET, SENT, SKIPPED
from transport.rudp.turns import Exchange

PTO_MAX_NS = limits.RUDP_PTO_MAX_NS
RANGES_MAX = limits.RUDP_ACK_RANGES_SENT
SPURIOUS_NS = limits.RUDP_SPURIOUS_NS
CROWDED = limits.RUDP_RING_MAX // 2  # records from which on none is kept for a packet that is lost
BASE = limits.RUDP_DATAGRAM_BYTES_MIN
PERSISTENT = 3  # probe time-outs that a run of losses has to span (RFC 9002 section 7.6.1)
ACK_DELAY_UNIT_NS = 8000
NEVER = 1 << 62


class Recovery(Probing):
    """Acks, losses and probes.

    Attributes:
        thresholds: when a packet counts as lost.
        peer_ack_delay_ns: how long the peer may keep an ack.
    """

    def __init__(
        self, exchange: Exchange, config: RudpConfig, path: Path, own_cid: int, controller: Controller
    ) -> None:
        Probing.__init__(self, exchange, config, path, own_cid, controller)
        self.thresholds = LossThresholds()
        self.peer_ack_delay_ns = limits.RUDP_ACK_DELAY_MAX_NS
        self._loss_at = 0  # when the oldest packet that is in question counts as lost; 0 for never
        self._pto_count = 0
        self._round_end = 0  # a round ends when this packet number is acknowledged
        self._pongs: list[int] = []
        self._own_settled = 0  # largest ack of ours that the peer has got
        self.acks_received = 0
        self.packets_acked = 0
        self.packets_lost = 0
        self.packets_spurious = 0
        self.loose_lost = 0
        self._number_end = 0
        self._ack_bytes = 0  # of the ack that is being read
        self._ack_packets = 0
        self._ack_spurious = 0
        self._ack_largest_at = -1
        self._ack_latest = -1
        self._known = Ranges()  # packet numbers that acks have named, as far as the ring goes back
        self._unsettled = 0  # no packet below is in flight
        self._left = 0  # packets below went over a path that was left
        self._moved = self._moved_before = 0  # packets below went to a port that the peer has left, to the one before
        self._gone_to = 0  # what is below was lost with its port; 0 once half a window has been delivered since
        self._proved = 0  # bytes of that

    # Acks

    def on_ack(self, data: bytes, pos: int, end: int, has_marks: bool, now: int) -> int:
        """Takes an ACK frame whose type has been read; returns the place behind it.

        Raises:
            RemoteProtocolError: it is malformed, or acknowledges what was never sent.
        """
        largest = self._number(data, pos, end)
        pos = self._number_end
        delay = self._number(data, pos, end)
        pos = self._number_end
        count = self._number(data, pos, end)
        pos = self._number_end
        run = self._number(data, pos, end)
        pos = self._number_end
        if largest >= self.ring.next:
            raise RemoteProtocolError(f"packet {largest} was acknowledged and never sent")
        if run > largest or count >= RANGES_MAX:
            raise RemoteProtocolError("malformed ack")
        self.acks_received += 1
        before = self.in_flight
        needed = before - self.copied
        self._ack_bytes = 0
        self._ack_packets = 0
        self._ack_spurious = 0
        self._ack_largest_at = -1
        self._ack_latest = -1
        samples = self.controller.samples
        if samples is not None:
            samples.begin()
        low = largest - run
        self._acked_range(low, largest, now)
        if self._ack_latest == largest:
            self._ack_largest_at = self.ring.get(largest).time
        for _ in range(count):
            gap = self._number(data, pos, end)
            pos = self._number_end
            run = self._number(data, pos, end)
            pos = self._number_end
            high = low - gap - 2
            low = high - run
            if low < 0:
                raise RemoteProtocolError("malformed ack")
            self._acked_range(low, high, now)
        ect0 = ect1 = ce = 0
        if has_marks:
            ect0 = self._number(data, pos, end)
            ect1 = self._number(data, self._number_end, end)
            ce = self._number(data, self._number_end, end)
            pos = self._number_end
        is_news = self.ecn.on_ack(has_marks, ect0, ect1, ce, largest > self._largest_acked, self.ring.next)
        if is_news and largest >= self._left:  # else it is about a path that was left
            self.controller.on_ecn(self.ring.get(largest).time if largest >= self.ring.oldest else 0, now)
        self._after_ack(largest, min(delay, NEVER // ACK_DELAY_UNIT_NS) * ACK_DELAY_UNIT_NS, before, needed, now)
        return pos

    def _number(self, data: bytes, pos: int, end: int) -> int:
        """The varint at `pos`; `_number_end` is the place behind it. Raises RemoteProtocolError."""
        if pos >= end:
            raise RemoteProtocolError("a frame is cut off")
        size = pen.varint_length(data, pos)
        if size > end - pos:
            raise RemoteProtocolError("a frame is cut off")
        self._number_end = pos + size
        return pen.varint(data, pos)

    def _acked_range(self, low: int, high: int, now: int) -> None:
        """Packets from `low` to `high` have arrived: those are looked at that no ack has named before.

        A lost packet keeps the ring for two seconds, in which every ack names thousands once more.
        """
        known = self._known
        number = max(low, self.ring.oldest)
        while number <= high:
            start = known.covered_to(number)
            if start > high:
                return
            number = known.next_start(start, high + 1)
            self._acked_news(start, number, high, now)
            self.ecn.on_acked(start, number)
            known.add(start, number)

    def _acked_news(self, number: int, end: int, high: int, now: int) -> None:
        """Packets from `number` to below `end`, of a range up to `high`, have arrived, and this is news."""
        ring = self.ring
        samples = self.controller.samples
        while number < end:
            packet = ring.get(number)
            state = packet.state
            if samples is not None and packet.size and (state == SENT or state == LOST):  # not of a path that was left
                assert packet.mark is not None
                samples.on_acked(packet.mark, number, packet.size, packet.time, now)
            if state == SENT:
                if number < self._largest_acked:
                    self.thresholds.on_reordered(self._largest_acked - number, now - packet.time, self._rtt_now())
                self._acked_packet(packet, number)
                self.in_flight -= packet.size
                self.copied -= packet.copied
                self._ack_bytes += packet.size
                self._ack_packets += 1
                if packet.size > BASE and number > self._large_acked:
                    self._large_acked = number
            elif state == LOST:
                is_search = self.is_search(packet)
                self._acked_packet(packet, number)
                self._ack_spurious += 1
                if not is_search:
                    self.packets_spurious += 1
                if packet.size:  # not of a path that was left
                    displacement = max(self._largest_acked, high) - number
                    self.thresholds.on_spurious(displacement, now - packet.time, self._rtt_now())
                    self._large_acked = max(self._large_acked, number if packet.size > BASE else -1)
                if packet.size and not is_search:
                    self.controller.on_spurious(now, packet.time, packet.size)
            elif state == QUIET:
                packet.state = ACKED
                self._settle_own(packet)
            elif state == SKIPPED:
                raise RemoteProtocolError(f"packet {number} was acknowledged and never sent")
            number += 1

    def _rtt_now(self) -> int:
        """The round trip that lateness is measured by."""
        return max(self.rtt.latest, self.rtt.smoothed)

    def _acked_packet(self, packet: SentPacket, number: int) -> None:
        if self.trace is not None:
            self.trace.packet_acked(number, packet.state == LOST)
        packet.state = ACKED
        if number > self._ack_latest:
            self._ack_latest = number
        self._settle_own(packet)
        lane = packet.lane
        if lane is not None:
            lane.settle(packet.start, packet.end)
        only = packet.item
        if only is not None:
            self._acked_item(only)
            packet.item = None
        more = packet.more
        if more is not None:
            for item in more:
                self._acked_item(item)
            packet.more = None

    def _settle_own(self, packet: SentPacket) -> None:
        """The peer has our ack up to there: older ranges need not be told again (RFC 9000 section 13.2.4)."""
        if packet.ack_largest > self._own_settled:
            self._own_settled = packet.ack_largest

    def _acked_item(self, item: Item) -> None:
        kind = item.kind
        lane = item.lane
        if kind == SPAN:
            assert lane is not None
            lane.settle(item.start, item.end)
        elif kind == RIDER:
            assert isinstance(item, Rider)
            rider = item
            rider.copies -= 1
            if not rider.is_settled:
                rider.is_settled = True
                if rider.first_lost:
                    self.copies_saved += 1
            assert lane is not None
            lane.settle(rider.start, rider.end)
        elif kind == PING:
            self._pongs.append(item.start)
        elif kind == SKIP:
            assert lane is not None
            lane.untold -= 1
        elif kind == PROBE:
            self._probe_acked(item.end, item.start)
        elif kind == NEW_CID or kind == RETIRE_CID:
            self.id_settled(item, False)

    def id_settled(self, item: Item, is_lost: bool) -> None:
        """A frame about connection ids was acknowledged or lost."""
        raise NotImplementedError

    def on_round(self, now: int) -> None:
        """About once in a round trip, while anything is sent that asks for an ack."""
        raise NotImplementedError

    def _after_ack(self, largest: int, delay: int, before: int, needed: int, now: int) -> None:
        """What an ack as a whole means for estimates, window and timers."""
        if largest > self._largest_acked:
            self._largest_acked = largest
        rtt = self.rtt
        if self._ack_largest_at >= 0 and self._ack_packets > self._ack_spurious:
            sample = now - self._ack_largest_at
            rtt.update(sample, min(delay, self.peer_ack_delay_ns))
            self.redundancy.on_rtt(sample, rtt.minimum, rtt.variance, self.acks.own_every, now)
        if self._ack_packets:
            self._pto_count = 0
            self.packets_acked += self._ack_packets
            grown = self._ack_bytes if not self._gone_to else self._grown()
            self.controller.on_ack(
                grown, self.ring.get(self._ack_latest).time, before, rtt.latest, rtt.smoothed, rtt.minimum,
                now, largest, self.ring.next, self.is_app_limited,
            )  # fmt: skip
        self._detect(needed, now)
        samples = self.controller.samples
        if samples is not None and samples.has_data:
            samples.finish(rtt.minimum)
            self.controller.on_sample(self.in_flight, now)
        if self._largest_acked >= self._round_end:
            self._round_end = self.ring.next
            self.thresholds.on_round()
            if self.policy.review(self.packets_acked, rtt.smoothed, now):
                self.policy_due = True
            self.on_round(now)
        self._advance(now)
        if self._known.first_start() < self.ring.oldest:
            self._known.remove(0, self.ring.oldest)
        if self._own_settled > 0:
            self.acks.ranges.forget_to(self._own_settled)
        if self.trace is not None:
            self.trace.updated(now)
        self._show_queue()
        flow = self.flow
        if flow.overtook:
            self.overtaking = True
            if not flow.queued and not flow.blocked:
                flow.overtook = False
                self.overtaking = False

    def _grown(self) -> int:
        """Bytes that a window may grow by which says nothing of the path, for what it let leave was lost with a port:
        none before half of it has been delivered, or it would grow without anybody ever seeing what that loses.
        """
        self._proved += self._ack_bytes
        if 2 * self._proved < self.controller.window:
            return 0
        self._gone_to = 0
        return self._ack_bytes

    def _advance(self, now: int) -> None:
        """The ring lets go of what is settled at its old end."""
        ring = self.ring
        while ring.oldest < ring.next:
            packet = ring.get(ring.oldest)
            state = packet.state
            if state == SENT:
                return
            if state == LOST and now < packet.lost_at + SPURIOUS_NS and ring.next - ring.oldest < CROWDED:
                return
            if (state in (QUIET, SKIPPED)) and ring.oldest > self._largest_acked:
                return
            packet.state = FREE
            packet.lane = None
            packet.item = None
            packet.more = None
            ring.oldest += 1

    # Losses

    def _make_room(self, now: int) -> None:
        """The oldest packet counts as lost: nobody will know it any more when its ack comes."""
        ring = self.ring
        packet = ring.get(ring.oldest)
        if packet.state == SENT:
            self._lose(packet, ring.oldest, False, now)
        packet.state = FREE
        packet.lane = None
        packet.more = None
        ring.oldest += 1

    def _first_sent(self) -> int:
        """The oldest packet in flight, or the next number: what is settled before it is not looked at again."""
        ring = self.ring
        number = max(self._unsettled, ring.oldest)
        while number < ring.next and ring.get(number).state != SENT:
            number += 1
        self._unsettled = number
        return number

    def _detect(self, needed: int, now: int) -> None:
        """Declares lost what is too far behind the largest ack, or too old (RFC 9002 section 6.1).

        `needed` was in flight before, copies left out: they take room that nothing else needed, and a window that looks
        used because of them would be cut for losses that it did not cause, until new data had to wait.
        What went to a port that the peer has left is lost by its age alone: nothing later need have arrived. And if the
        oldest of it is, the NAT knows that port no more, and all of it is.
        """
        self._loss_at = 0
        ring = self.ring
        largest = self._largest_acked
        thresholds = self.thresholds
        rtt = self.rtt
        delay = thresholds.loss_delay(rtt.latest, rtt.smoothed)
        gap = thresholds.packets
        end = sure = largest
        if largest < self._moved:
            end = self._moved
            sure = max(largest, end - gap - self.policy.threshold)  # the acks of the last may have been kept back
        number = self._first_sent()
        lost_bytes = 0
        lost_packets = 0
        latest = -1
        first = -1
        while number < end:
            packet = ring.get(number)
            if packet.state == SENT:
                at = packet.time + (delay if number < sure else delay + self.peer_ack_delay_ns)
                if number > largest - gap and at > now and number >= self._gone_to:
                    self._loss_at = at
                    break
                is_astray = number < self._moved and self._is_astray(number)
                self._lose(packet, number, is_astray, now)
                if not is_astray and not (packet.size > BASE and self.is_search(packet)):
                    # else it is no sign of congestion (RFC 9000 sections 9.4 and 14.4)
                    if packet.size > BASE:
                        self._on_large_lost(number)
                    lost_bytes += packet.size
                    lost_packets += 1
                    latest = packet.time
                    if first < 0:
                        first = packet.time
            number += 1
        if self._ack_packets or lost_packets:
            self.redundancy.on_packets(self._ack_packets, lost_packets, now)
            self._ack_packets = 0
        if lost_packets:
            self.controller.on_loss(latest, lost_bytes, needed, now)
            span = PERSISTENT * rtt.probe_timeout(self.peer_ack_delay_ns)
            if rtt.samples and lost_packets >= 2 and latest - first > span and not self._ack_bytes:
                self.controller.on_persistent(now)
                rtt.forget_minimum()
            if self.trace is not None:
                self.trace.updated(now)

    def _is_astray(self, number: int) -> bool:
        """Whether a lost packet went to a port that was left, and nothing that was sent there later has arrived: then
        nothing will.
        """
        bound = self._moved_before if number < self._moved_before else self._moved
        if number >= bound or self._known.next_start(number, bound) < bound:
            return False
        self._gone_to = bound
        return True

    def _lose(self, packet: SentPacket, number: int, is_astray: bool, now: int) -> None:
        """A packet counts as lost: what it carried goes back to its lane. Of one that went astray no more is known."""
        packet.state = LOST
        packet.lost_at = now
        if self.trace is not None:
            self.trace.packet_lost(number, packet.size, now)
        if self.is_search(packet):
            tried = -1 if is_astray else packet.size
            self._probe_lost(number, tried, now, 2 * self.rtt.probe_timeout(self.peer_ack_delay_ns))
        else:
            self.packets_lost += 1
            samples = self.controller.samples
            if samples is not None and not is_astray:
                assert packet.mark is not None
                samples.lost += packet.size
                self.controller.on_packet_lost(packet.mark, number, packet.size, packet.time, now)
        self.in_flight -= packet.size
        self.copied -= packet.copied
        if is_astray:
            packet.size = 0
        lane = packet.lane
        if lane is not None:
            self._give_back(lane, packet.start, packet.end)
        only = packet.item
        if only is not None:
            self._lost_item(only, number)
            if only.kind != SPAN and only.kind != RIDER and only.kind != PROBE:
                packet.item = None
        more = packet.more
        if more is not None:
            kept: list[Item] = []
            for item in more:
                self._lost_item(item, number)
                if item.kind == SPAN or item.kind == RIDER:
                    kept.append(item)  # it may arrive after all
            packet.more = kept

    def leave_path(self, now: int) -> None:
        """The peer is elsewhere now: what is in flight counts as lost, and says nothing about the new path (RFC 9000
        section 9.4).
        """
        ring = self.ring
        for number in range(ring.oldest, ring.next):
            packet = ring.get(number)
            if packet.state == SENT:
                self._lose(packet, number, True, now)
            packet.size = 0
        self._left = ring.next
        self._loss_at = 0
        self._pto_count = 0
        self._probes = 0
        self.is_starved = False

    def _give_back(self, lane: OutLane, start: int, end: int) -> None:
        """Positions of a lane were lost."""
        if lane.lose(start, end):
            self._activate(lane)
        elif not lane.is_reliable:
            self.loose_lost += end - start

    def _lost_item(self, item: Item, number: int) -> None:
        kind = item.kind
        lane = item.lane
        if kind == SPAN:
            assert lane is not None
            self._give_back(lane, item.start, item.end)
        elif kind == RIDER:
            assert isinstance(item, Rider) and lane is not None
            rider = item
            rider.copies -= 1
            if number == rider.first_number:
                rider.first_lost = True
                if rider.is_settled or lane.is_settled(rider.start, rider.end):
                    self.copies_saved += 1
                    return
            if not rider.is_settled and rider.copies <= 0:
                rider.is_settled = True
                self._give_back(lane, rider.start, rider.end)
        elif kind == CREDIT:
            self._credit_lost(item.start, item.end)
        elif kind == SKIP:
            assert isinstance(item, SkipRecord) and lane is not None
            lane.skips += item.numbers
            lane.skip_costs += item.costs
            lane.untold -= 1
            self._activate(lane)
        elif kind == PING:
            self._pings.append(item.start)
        elif kind == BLOCKED:
            self._blocked_lost(item.start)
        elif kind == POLICY:
            self.policy_due = self.policy_due or item.start == self.policy.number
        elif kind == NEW_CID or kind == RETIRE_CID:
            self.id_settled(item, True)

    def _blocked_lost(self, channel: int) -> None:
        """The peer did not hear that we lack credit: it is told again if that still holds."""
        if channel < 0:
            self._blocked_told = 0
        else:
            state = self._channel(channel)
            state.told = 0
            self.flow.has_wishes = True

    def _credit_lost(self, channel: int, limit: int) -> None:
        """A credit frame was lost: the newest limit is told again unless a newer one is under way."""
        raise NotImplementedError

    # Time

    def _probe_at(self) -> int:
        """When to probe for what is in flight (RFC 9002 section 6.2); 0 for never."""
        if not self.in_flight:
            return 0
        timeout = self.rtt.probe_timeout(self.peer_ack_delay_ns)
        count = self._pto_count
        backed = timeout
        if count == 1:
            backed = timeout * 3 // 2
        elif count >= 2:
            backed = (timeout * 9 // 4) << min(count - 2, 16)
        return self._eliciting_at + min(backed, max(timeout, PTO_MAX_NS))

    def _on_probe_timeout(self, now: int) -> None:
        """Nothing was heard for long: the oldest that is in flight goes once more, in one packet or two."""
        self._pto_count += 1
        if self.trace is not None:
            self.trace.probed(self._pto_count, now)
        self._probes = 1 if self._pto_count == 1 else 2
        ring = self.ring
        number = self._first_sent()
        budget = self._probes * BASE * 3 // 4
        while number < ring.next and budget > 0:
            packet = ring.get(number)
            if packet.state == SENT:
                self._resend(packet)
                budget -= packet.size
            number += 1
        self.is_starved = False

    def ask_again(self, now: int) -> None:
        """The peer is heard again, from another port: what it has not answered does not wait for the next probe."""
        if self._pto_count and self.in_flight:
            self._pto_count = 0
            self._on_probe_timeout(now)

    def _resend(self, packet: SentPacket) -> None:
        """What a packet carried is sent again, though it counts as in flight."""
        lane = packet.lane
        if lane is not None and lane.lose(packet.start, packet.end):
            self._activate(lane)
        only = packet.item
        if only is not None:
            self._resend_item(only)
        more = packet.more
        if more is not None:
            for item in more:
                self._resend_item(item)

    def _resend_item(self, item: Item) -> None:
        lane = item.lane
        if item.kind == SPAN or (item.kind == RIDER and not item.is_settled):  # type: ignore[attr-defined]
            assert lane is not None
            if lane.lose(item.start, item.end):
                self._activate(lane)
        elif item.kind == CREDIT:
            self._credit_lost(item.start, item.end)

    # What the system says

    def too_large(self, now: int) -> None:
        """The system did not send a datagram because of its size: a try of the search has failed, or what was carried
        so far no longer is.
        """
        number = self.search.number
        if self.life != OPEN:
            return
        if number < 0:
            if self.mtu > BASE:
                self._doubt()
            return
        self._lose(self.ring.get(number), number, False, now)
        self._try_again(now)
