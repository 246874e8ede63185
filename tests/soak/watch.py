"""What holds of a session at every step, whatever the network does: bounds, windows, books.

Looks into the sessions, because a bound that is only just kept shows nowhere else. It changes nothing.
"""

from __future__ import annotations

from typing import Any

from tests.soak.ledger import SoakFailure
from transport import limits
from transport.rudp.mtu import FIRST

CONTROL_BYTES = 400  # of packets with nothing but credit, pings and acks, which no window holds up
COST = limits.MESSAGE_COST_BYTES
ORDERED, UNORDERED, SEQUENCED = 0, 1, 2


class Watch:
    """Checks one session; call `look` after every step that it took part in.

    Attributes:
        peak_flight, peak_ranges, peak_gaps, peak_early: the most that was seen, for the summary.
    """

    def __init__(self, session: Any) -> None:
        self.session = session
        self._flight = 0
        self._window = session.controller.window
        self._mtu = session.mtu
        self._probes = 0
        self._searched = 0
        self._done = -1  # packets sent and received at the last look
        self.peak_flight = 0
        self.peak_ranges = 0
        self.peak_early = 0

    def look(self, now: int) -> None:
        """Raises SoakFailure when something does not hold."""
        session = self.session
        done = session.packets_sent + session.packets_received
        if done == self._done:
            return
        self._done = done
        self._flight_bound(session)
        ring = session.ring
        count = session.acks.ranges.range_count()
        if count > self.peak_ranges:
            self.peak_ranges = count
            if count > limits.RUDP_ACK_RANGES_KEPT:
                raise SoakFailure(f"{count} ack ranges")
        if ring.next - ring.oldest > limits.RUDP_RING_MAX:
            raise SoakFailure(f"{ring.next - ring.oldest} packets in the ring")
        if not (
            1 <= session.acks.threshold <= limits.RUDP_ACK_THRESHOLD_MAX
            and session.policy.threshold <= limits.RUDP_ACK_THRESHOLD_MAX
        ):
            raise SoakFailure(f"acks after {session.acks.threshold}, {session.policy.threshold} asked for")
        if len(session._riders) > limits.RUDP_RIDERS_MAX:
            raise SoakFailure(f"{len(session._riders)} riders")
        if session.exchange.flight_bytes < session.flight_bytes:
            raise SoakFailure(f"{session.flight_bytes} of all {session.exchange.flight_bytes} bytes sent")
        if session.queued_bytes < session.flight_bytes or session.flight_bytes < 0 or session.blocked_bytes < 0:
            raise SoakFailure(
                f"{session.queued_bytes} bytes queued, {session.flight_bytes} sent, {session.blocked_bytes} blocked"
            )
        paths, ids = session.paths, session.ids
        if paths is not None and (
            len(paths.trials) > limits.RUDP_PATHS_MAX or len(paths.answers) > limits.RUDP_CHALLENGES_MAX
        ):
            raise SoakFailure(f"{len(paths.trials)} paths under validation, {len(paths.answers)} answers wait")
        if ids is not None and max(len(ids.own), len(ids.pool) + 1) > limits.RUDP_CIDS_MAX:
            raise SoakFailure(f"{len(ids.own)} ids given, {len(ids.pool)} spare ones kept")
        flow = session._in_flow
        if not flow.consumed <= flow.received <= flow.limit:
            raise SoakFailure(f"connection: consumed {flow.consumed}, received {flow.received}, limit {flow.limit}")
        if session.flow.total > session.flow.limit:
            raise SoakFailure(f"sent {session.flow.total} with credit for {session.flow.limit}")
        if not limits.RUDP_DATAGRAM_BYTES_MIN <= session.mtu <= session.search.most:
            raise SoakFailure(f"packets of {session.mtu} bytes, at most {session.search.most} are allowed")
        self._lanes(session, flow)

    def _flight_bound(self, session: Any) -> None:
        """What is in flight grows up to the window, and beyond by probes (RFC 9002 section 7.5) and control alone."""
        flight = session.in_flight
        window = session.controller.window
        mtu = max(session.mtu, self._mtu)
        if flight > self._flight:
            probes = session.probes_sent - self._probes
            searched = session.search.sent - self._searched
            largest = max(window // 2, self._window // 2, mtu, FIRST)
            most = max(window, self._window, mtu, self._flight) + probes * mtu + searched * largest + CONTROL_BYTES
            if flight > most:
                raise SoakFailure(f"{flight} bytes in flight after {self._flight}, {probes} probes, {searched} of the "
                                  f"search, window {window} (before {self._window}), packets of {mtu}")  # fmt: skip
            self.peak_flight = max(self.peak_flight, flight)
        elif flight < 0:
            raise SoakFailure(f"{flight} bytes in flight")
        self._flight = flight
        self._window = window
        self._mtu = session.mtu
        self._probes = session.probes_sent
        self._searched = session.search.sent

    def _lanes(self, session: Any, flow: Any) -> None:
        held = 0
        for lane in session._in_lanes.values():
            if not lane.held and not lane.done.count:
                continue
            if lane.delivery >= SEQUENCED:
                if lane.held > limits.UNRELIABLE_QUEUE_BYTES + limits.RUDP_UNRELIABLE_BYTES_MAX:
                    raise SoakFailure(f"unreliable channel {lane.channel} holds {lane.held} bytes in fragments")
                if lane.done.count > limits.RUDP_LOOSE_WINDOW * 2:
                    raise SoakFailure(f"{lane.done.count} ranges of unreliable messages")
            else:
                if lane.done.count > limits.RUDP_GAPS_MAX:
                    raise SoakFailure(f"{lane.done.count} gaps in channel {lane.channel}")
                if lane.channel != limits.RUDP_STREAM_CHANNEL:
                    held += lane.held
        if held > flow.received - flow.consumed:
            raise SoakFailure(f"{held} bytes wait for others, {flow.received - flow.consumed} were paid for")
        self.peak_early = max(self.peak_early, held)


def settled(sender: Any, receiver: Any) -> str:
    """What of the books of one way does not agree after all has come and gone; empty when all does."""
    wrong = []
    out, into = sender.flow, receiver._in_flow
    if out.total != into.received:
        wrong.append(f"sent {out.total} against credit, received {into.received}")
    if into.consumed != into.received:
        wrong.append(f"consumed {into.consumed} of {into.received}")
    if receiver.acks.threshold != sender.policy.threshold:
        wrong.append(f"acks after {receiver.acks.threshold}, {sender.policy.threshold} asked for")
    if out.queued or out.blocked or out.flight or sender.queued_bytes or sender.blocked_bytes or sender.flight_bytes:
        wrong.append(f"queued {out.queued} ({sender.queued_bytes}), blocked {out.blocked} ({sender.blocked_bytes}), "
                     f"in flight {out.flight} ({sender.flight_bytes})")  # fmt: skip
    for state in sender._channels:
        if state is None or state.is_free:
            continue
        twin = receiver._in_channels.get(state.number)
        received, consumed = (twin.received, twin.consumed) if twin is not None else (0, 0)
        if state.total != received or consumed != received or state.blocked:
            wrong.append(f"channel {state.number}: sent {state.total}, received {received}, consumed {consumed}, "
                         f"blocked {state.blocked}")  # fmt: skip
    for lane in receiver._in_lanes.values():
        reliable = lane.delivery < SEQUENCED
        if reliable and (lane.held or lane.early or lane.partial or lane.done.count):
            wrong.append(f"channel {lane.channel} delivery {lane.delivery} still holds {lane.held} bytes, "
                         f"{len(lane.early)} early, {len(lane.partial)} partial, {lane.done.count} ranges")  # fmt: skip
    return "; ".join(wrong)
