"""What one connection does, as events that viewers of QUIC traces open: qlog, as a sequence of JSON records (RFC 7464).

A session calls one of these objects where something happens; without one it pays a comparison with None. Names are
those of draft-ietf-quic-qlog-quic-events as far as they fit (in the form of qlog 0.3, which qvis reads), and `rudp:...`
where QUIC has no such thing. It must never write a payload, only sizes, nor keep more than its limits allow; and what
goes wrong in it must never reach the session.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from transport import limits
from transport._build import VERSION
from transport.errors import APPLICATION_CODE_MAX, CloseCode
from transport.machine import Path
from transport.rudp import dissect, packet
from transport.rudp.dissect import DELIVERIES, Frame, Numbers
from transport.rudp.handshake import announce
from transport.rudp.states import CLOSED, COMPLETE, GONE, OFF, Ecn, Life, Probe

EVENTS_MAX = limits.QLOG_EVENTS_MAX
BYTES_MAX = limits.QLOG_BYTES_MAX
FILE_MAX = limits.QLOG_FILE_BYTES_MAX
FLUSH_NS = limits.QLOG_FLUSH_NS
MS = 1e6
RECORD_SEPARATOR = b"\x1e"
SCHEMA = "0.3"
ONE_RTT = "1RTT"
LONG_TYPES = {"HELLO": "initial", "RETRY": "retry", "ACCEPT": "handshake", "REFUSE": "handshake"}
STATES = {
    Life.NEW: "attempted", Life.OPENING: "attempted", Life.HALF_OPEN: "handshake_started",
    Life.OPEN: "handshake_confirmed", Life.FLUSHING: "closing", Life.CLOSING: "closing", Life.CLOSED: "draining",
    Life.LINGERING: "draining", Life.GONE: "closed",
}  # fmt: skip
BBR_STATES = {
    Probe.STARTUP: "startup", Probe.DRAIN: "drain", Probe.DOWN: "probe_bw_down", Probe.CRUISE: "probe_bw_cruise",
    Probe.REFILL: "probe_bw_refill", Probe.UP: "probe_bw_up", Probe.PROBE_RTT: "probe_rtt",
}  # fmt: skip
ECN_STATES = {Ecn.TESTING: "testing", Ecn.UNKNOWN: "unknown", Ecn.CAPABLE: "capable", Ecn.FAILED: "failed"}
ENDS = {
    CloseCode.NORMAL: "clean", CloseCode.GOING_AWAY: "clean", CloseCode.HANDSHAKE_TIMEOUT: "handshake_timeout",
    CloseCode.IDLE_TIMEOUT: "idle_timeout",
}  # fmt: skip
DROPS = {"checksum": "invalid", "header": "invalid", "duplicate": "duplicate", "no_room": "rejected"}
_SENT, _CAME = "transport:packet_sent", "transport:packet_received"

Sink = Callable[[str, bytes], bool]
"""Takes a name for the trace and the next bytes of it; returns whether it will take more."""


class Trace:
    """The trace of one session.

    Args:
        session: whose. Its `trace` is set to None when this one ends by itself.
        sink: where the bytes go.
        now: the present (ns), from which times count.
        wall_ns: the same instant in nanoseconds since 1970.
    """

    def __init__(self, session: Any, sink: Sink, now: int, wall_ns: int) -> None:
        self.now = now
        self._session = session
        self._sink = sink
        self._began = now
        self._wall_ns = wall_ns
        self._events: list[tuple[int, str, Any]] = []
        self._held = 0  # bytes of packets among them
        self._flushed_at = now
        self._written = 0
        self._named = ""
        self._state = Life.NEW
        self._out = Numbers(is_sure=True, by_server=not session.is_client)
        self._in = Numbers(is_sure=True, by_server=session.is_client)
        self._acked: list[int] = []
        self._spurious: list[int] = []
        self._metrics: dict[str, float] = {}
        self._controller: Any = None
        self._congestion = ""
        self._cuts = self._collapses = 0
        self._marked = 0  # of our packets, by queues, when congestion control was last looked at
        self._mtu = session.mtu
        self._is_searched = False
        self._ecn: int = OFF
        self._tries: set[int] = set()  # packets that only try whether the path carries their size
        self._peer_cid = ""
        self._copies = (0, 0)
        path = session.path
        ends = {"src_ip": "unknown", "dst_ip": "unknown", **_end("src", path.local), **_end("dst", path.remote)}
        self._add(now, "connectivity:connection_started", {**ends, "src_cid": _cid(session.own_cid)})
        self._add(now, "transport:parameters_set", {"owner": "local", **_parameters(announce(session.config))})
        self._tell_congestion(now)

    # What a session tells

    def opened(self, peer: packet.Parameters, now: int) -> None:
        """The handshake is done; `peer` is what the other side announced."""
        session = self._session
        agreed = dissect.SUMS.get(session.checksum_kind, "")
        self._add(now, "transport:parameters_set", {"owner": "remote", **_parameters(peer), "agreed_checksum": agreed})
        self.now = now
        self.renamed(session.peer_cid)

    def moved(self, path: Path, now: int) -> None:
        """The connection goes on over another path."""
        self._add(now, "rudp:path_updated", {**_end("src", path.local), **_end("dst", path.remote)})

    def renamed(self, peer_cid: int) -> None:
        """The peer is spoken to by another connection id."""
        ids = {"old": self._peer_cid, "new": _cid(peer_cid)}
        self._peer_cid = ids["new"]
        if not ids["old"]:
            del ids["old"]
        self._add(self.now, "connectivity:connection_id_updated", {"owner": "remote", **ids})

    def stepped(self, life: int) -> None:
        """The connection's life goes on."""
        old, self._state = self._state, Life(life)
        if old == self._state:
            return
        names = {"old": STATES[old], "new": STATES[self._state], "detail": self._state.name.lower()}
        self._add(self.now, "connectivity:connection_state_updated", names)
        if self._state >= CLOSED:
            self.flush()
        if self._state == GONE:
            self._end()

    def closed(self, code: int, reason: str, by_peer: bool) -> None:
        """Why it is over."""
        owner = "remote" if by_peer else "local"
        end = {"owner": owner, "connection_code": code, "reason": reason, "trigger": _trigger(code)}
        self._add(self.now, "connectivity:connection_closed", end)

    def long_sent(self, data: bytes, now: int) -> None:
        """A packet of the handshake leaves."""
        self._add_packet(now, _SENT, data)

    def long_received(self, data: bytes, now: int) -> None:
        """A packet of the handshake has come."""
        self._add_packet(now, _CAME, data)

    def packet_sent(self, data: bytes, number: int, now: int) -> None:
        """An ordinary packet leaves."""
        session = self._session
        self._tell_path(now)
        if session.search.number == number:
            self._tries.add(number)
        self._add_packet(now, _SENT, data)
        copies = (session.copies_sent, session.copy_bytes)
        if copies != self._copies:
            count, size = copies[0] - self._copies[0], copies[1] - self._copies[1]
            self._copies = copies
            self._add(now, "rudp:copies_sent", {"packet_number": number, "count": count, "length": size})

    def packet_received(self, data: bytes, now: int) -> None:
        """An ordinary packet has come that is whole and new, and is about to be acted on."""
        self._add_packet(now, _CAME, data)

    def packet_dropped(self, data: bytes, why: str, now: int) -> None:
        """A packet is not acted on."""
        data_of = {"trigger": DROPS[why], "details": why, "raw": {"length": len(data)}}
        self._add(now, "transport:packet_dropped", data_of)

    def packet_acked(self, number: int, was_lost: bool) -> None:
        """A packet of ours was acknowledged for the first time."""
        self._acked.append(number)
        self._tries.discard(number)
        if was_lost:
            self._spurious.append(number)

    def packet_lost(self, number: int, size: int, now: int) -> None:
        """A packet of ours is believed lost."""
        self._tell_acked(now)
        header = {"packet_type": ONE_RTT, "packet_number": number}
        data: dict[str, Any] = {"header": header, "raw": {"length": size}}
        if number in self._tries:
            self._tries.discard(number)
            data["is_mtu_probe_packet"] = True
        self._add(now, "recovery:packet_lost", data)

    def probed(self, count: int, now: int) -> None:
        """Nothing was heard for so long that a probe leaves; `count` in a row."""
        self._add(
            now, "recovery:loss_timer_updated", {"event_type": "expired", "timer_type": "pto", "pto_count": count}
        )
        self.updated(now)

    def updated(self, now: int) -> None:
        """Acks, or their absence, have changed what is known of the path."""
        self._tell_acked(now)
        self._tell_path(now)
        self._tell_congestion(now)
        session = self._session
        if session is None:
            return
        changed = {name: value for name, value in _measure(session).items() if self._metrics.get(name) != value}
        if changed:
            self._metrics |= changed
            self._add(now, "recovery:metrics_updated", changed)

    def _tell_congestion(self, now: int) -> None:
        """What congestion control is about, where it says so; it is another one on another path."""
        session = self._session
        if session is None:  # what was just written found no room
            return
        controller = session.controller
        told = controller.statistics()
        if controller is not self._controller:
            self._controller = controller
            self._congestion, self._cuts, self._collapses = "", 0, 0
            self._add(now, "recovery:parameters_set", _recovery_parameters(session))
        state = _congestion_state(told)
        marked, trigger = session.ecn.ce, ""
        if told.get("cuts", 0) > self._cuts:
            self._cuts = told["cuts"]
            state, trigger = "recovery", "ECN" if marked > self._marked else ""
        if told.get("collapses", 0) > self._collapses:
            self._collapses = told["collapses"]
            trigger = "persistent_congestion"
        self._marked = marked
        if state and (state != self._congestion or trigger):
            parts = {"old": self._congestion, "new": state, "trigger": trigger}
            self._congestion = state
            self._add(now, "recovery:congestion_state_updated", {name: text for name, text in parts.items() if text})

    def _tell_path(self, now: int) -> None:
        """What was found out about the path: how large packets may be, and whether it keeps marks."""
        session = self._session
        if session is None:
            return
        mtu, is_searched, ecn = session.mtu, session.search.phase == COMPLETE, session.ecn.state
        if mtu != self._mtu or (is_searched and not self._is_searched):
            self._add(now, "connectivity:mtu_updated", {"old": self._mtu, "new": mtu, "done": is_searched})
            self._mtu = mtu
        self._is_searched = is_searched
        if ecn != self._ecn:
            old = {"old": ECN_STATES[Ecn(self._ecn)]} if self._ecn else {}
            self._add(now, "recovery:ecn_state_updated", {**old, "new": ECN_STATES[Ecn(ecn)]})
            self._ecn = ecn

    def _tell_acked(self, now: int) -> None:
        if self._acked:
            self._add(now, "transport:packets_acked", {"packet_numbers": self._acked})
            self._acked = []
        if self._spurious:
            self._add(now, "rudp:spurious_loss", {"packet_numbers": self._spurious})
            self._spurious = []

    def message_queued(self, channel: int, delivery: int, size: int, now: int) -> None:
        """The application has given a message. Without a clock of its own (`now` is 0) it was after what came last."""
        self._add(now or self.now, "rudp:message_sent", _message(channel, delivery, size))

    def message_delivered(self, channel: int, delivery: int, size: int) -> None:
        """A message is handed to the application."""
        self._add(self.now, "rudp:message_received", _message(channel, delivery, size))

    # The buffer

    def _add_packet(self, now: int, name: str, data: bytes) -> None:
        self._held += len(data)
        self._add(now, name, data)

    def _add(self, now: int, name: str, data: Any) -> None:
        """Notes an event; of a packet the bytes, which are read when it is written."""
        self.now = now
        events = self._events
        events.append((now, name, data))
        if (
            len(events) >= EVENTS_MAX
            or self._held >= BYTES_MAX
            or now - self._flushed_at >= FLUSH_NS
            or self._state >= CLOSED
        ):
            self.flush()

    def flush(self) -> None:
        """Writes what is noted. A server's trace has no name before the session knows its peer's id."""
        if self._session is None or not (self._session.is_client or self._session.peer_cid):
            return
        self._flushed_at = self.now
        events, self._events, self._held = self._events, [], 0
        if not events:
            return
        records = [] if self._written else [self._header()]
        for at, name, data in events:
            record = {"time": round((at - self._began) / MS, 6), "name": name}
            record["data"] = self._packet(name, data) if isinstance(data, bytes) else data
            records.append(record)
        made = b"".join([_record(record) for record in records])
        if self._written + len(made) > FILE_MAX:
            end = {"time": records[-1].get("time", 0), "name": "rudp:trace_ended", "data": {"trigger": "file_size"}}
            self._sink(self._name(), _record(end))
            self._end()
            return
        self._written += len(made)
        if not self._sink(self._name(), made):
            self._end()

    def _end(self) -> None:
        """No more of it."""
        session, self._session = self._session, None
        if session is not None:
            session.trace = None

    # Records

    def _name(self) -> str:
        """By the client's first connection id, which both sides have."""
        if not self._named:
            session = self._session
            cid = session.own_cid if session.is_client else session.peer_cid
            self._named = f"{_cid(cid)}_{self._role()}"
        return self._named

    def _role(self) -> str:
        return "client" if self._session.is_client else "server"

    def _header(self) -> dict[str, Any]:
        name = self._name()
        return {
            "qlog_version": SCHEMA,
            "qlog_format": "JSON-SEQ",
            "title": f"reliable UDP, {name}",
            "trace": {
                "vantage_point": {"name": f"transport {VERSION}", "type": self._role()},
                "title": name,
                "common_fields": {
                    "time_format": "relative",
                    "reference_time": self._wall_ns / MS,
                    "group_id": name.split("_")[0],
                    "protocol_type": ["RUDP"],
                },
            },
        }

    def _packet(self, name: str, data: bytes) -> dict[str, Any]:
        raw = {"length": len(data)}
        if data[0] & 0xC0 == 0xC0:
            made = dissect.long(data)
            header = {"packet_type": LONG_TYPES[made.kind], "kind": made.kind, **_strings(made.fields)}
            return {"header": header, "raw": raw, "frames": []}
        numbers = self._out if name == _SENT else self._in
        made = dissect.frames_of(data, numbers, has_sum=bool(self._session.checksum_kind))
        header = {"packet_type": ONE_RTT, "packet_number": made.fields["number"]}
        if made.fields["copies"]:
            header["copies"] = True
        found: dict[str, Any] = {"header": header, "raw": raw, "frames": [_frame(frame) for frame in made.frames]}
        if dissect.tries_size(made, len(data)):
            found["is_mtu_probe_packet"] = True
        return found


def _record(record: dict[str, Any]) -> bytes:
    return RECORD_SEPARATOR + json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _frame(frame: Frame) -> dict[str, Any]:
    """A frame under the name that QUIC has for it."""
    name, fields = frame.name, frame.fields
    if name == "PAD":
        return {"frame_type": "padding", "payload_length": fields["count"]}
    if "ranges" in fields:
        marks: dict[str, Any] = {mark: fields[mark] for mark in ("ect0", "ect1", "ce") if mark in fields}
        delay_ms = fields["delay_us"] / 1000
        ranges = [[low] if low == high else [low, high] for low, high in fields["ranges"][::-1]]
        return {"frame_type": "ack", "ack_delay": delay_ms, "acked_ranges": ranges, **marks}
    if name == "CONNECTION_CREDIT":
        return {"frame_type": "max_data", "maximum": fields["limit"]}
    if name == "CHANNEL_CREDIT":
        return {"frame_type": "max_stream_data", "stream_id": fields["channel"], "maximum": fields["limit"]}
    if name == "BLOCKED":
        if fields["channel"] < 0:
            return {"frame_type": "data_blocked", "limit": fields["limit"]}
        return {"frame_type": "stream_data_blocked", "stream_id": fields["channel"], "limit": fields["limit"]}
    if name == "NEW_CID":  # without its token, by which anybody could end the connection
        ids = {"sequence_number": fields["number"], "retire_prior_to": fields["floor"], "connection_id": fields["cid"]}
        return {"frame_type": "new_connection_id", **ids}
    if name == "RETIRE_CID":
        return {"frame_type": "retire_connection_id", "sequence_number": fields["number"]}
    if name in ("PATH_CHALLENGE", "PATH_RESPONSE"):
        return {"frame_type": name.lower(), "data": fields["token"]}
    if name == "ACK_POLICY":  # QUIC counts the packets that may come before the one that has to be acknowledged
        return {
            "frame_type": "ack_frequency", "sequence_number": fields["number"],
            "ack_eliciting_threshold": fields["threshold"] - 1, "request_max_ack_delay": fields["delay_us"],
            "reordering_threshold": fields["reordering"],
        }  # fmt: skip
    if name == "CLOSE":
        return {
            "frame_type": "connection_close", "error_space": "application", "error_code": fields["code"],
            "reason": fields["reason"],
        }  # fmt: skip
    if name == "MSG":
        assert frame.body is not None
        found = {"frame_type": "message", **fields, "length": frame.body[1] - frame.body[0]}
        found["delivery"] = DELIVERIES[fields["delivery"]]
        return found
    return {"frame_type": name.lower(), **fields}


def _message(channel: int, delivery: int, size: int) -> dict[str, Any]:
    return {"channel": channel, "delivery": DELIVERIES[delivery], "length": size}


def _parameters(one: packet.Parameters) -> dict[str, Any]:
    return {
        "max_ack_delay": round(one.max_ack_delay_us / 1000),
        "max_idle_timeout": one.idle_ms,
        "max_udp_payload_size": one.max_datagram,
        "initial_max_data": one.connection_window,
        "initial_max_stream_data_bidi_remote": one.channel_window,
        "max_message": one.max_message,
        "channels": one.channels,
        "checksums": one.checksums,
        "codec": one.codec,
    }


def _trigger(code: int) -> str:
    """Why a connection ended, in qlog's words, by its close code."""
    if 0 < code <= APPLICATION_CODE_MAX:
        return "application"
    return ENDS.get(CloseCode(code), "error") if code in list(CloseCode) else "error"


def _congestion_state(told: dict[str, int]) -> str:
    """What a controller is about by its figures; "" for one that has no states."""
    if "state" in told:
        return BBR_STATES[Probe(told["state"])]
    threshold = told.get("slow_start_threshold")
    if threshold is None:
        return ""
    return "slow_start" if not threshold or told["window"] < threshold else "congestion_avoidance"


def _recovery_parameters(session: Any) -> dict[str, Any]:
    return {
        "congestion_control": session.controller.name,
        "reordering_threshold": session.thresholds.packets,
        "time_threshold": session.thresholds.eighths / 8,
        "timer_granularity": round(limits.RUDP_GRANULARITY_NS / MS),
        "initial_rtt": limits.RUDP_INITIAL_RTT_NS / MS,
        "max_datagram_size": session.mtu,
        "initial_congestion_window": session.controller.window,
    }


def _measure(session: Any) -> dict[str, float]:
    rtt, controller = session.rtt, session.controller
    found: dict[str, float] = {
        "congestion_window": controller.window,
        "bytes_in_flight": session.in_flight,
        "smoothed_rtt": rtt.smoothed / MS,
    }
    if rtt.latest:
        found |= {"latest_rtt": rtt.latest / MS, "min_rtt": rtt.minimum / MS, "rtt_variance": rtt.variance / MS}
    threshold = controller.statistics().get("slow_start_threshold")
    if threshold:
        found["ssthresh"] = threshold
    rate = controller.rate(rtt.smoothed)
    if rate:
        found["pacing_rate"] = rate * 8
    if session.ecn.ce:
        found["ecn_ce"] = session.ecn.ce
    return found


def _strings(fields: dict[str, Any]) -> dict[str, Any]:
    """The head of a LONG packet; cookie and token are nobody's business."""
    kept = ("version", "dcid", "scid", "code", "reason", "versions")
    return {name: fields[name] for name in kept if name in fields}


def _cid(cid: int) -> str:
    return f"{cid:016x}"


def _end(which: str, address: Any) -> dict[str, Any]:
    if not isinstance(address, tuple):
        return {} if address is None else {f"{which}_ip": str(address)}
    return {f"{which}_ip": str(address[0]), f"{which}_port": address[1]}
