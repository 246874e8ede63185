"""Every event of a trace against the drafts: its name, the fields that it must have, what they hold.

From draft-ietf-quic-qlog-quic-events, versions 03 to 07, whose names qlog 0.3 and today's viewers have, and from
draft-ietf-quic-qlog-main-schema of the same time. `?` in front of a field's name: it may be absent. Fields that the
drafts don't have are allowed, as the drafts say; those of ours are listed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.rudp.test_trace import Kept
from tests.sight.talk import Talk, growing, moving, rich

HEX = re.compile(r"([0-9a-f]{2})+")
Check = Callable[[Any], bool]


def number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def bits(size: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << size


def text(value: Any) -> bool:
    return isinstance(value, str)


def some(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def boolean(value: Any) -> bool:
    return isinstance(value, bool)


def hexadecimal(value: Any) -> bool:
    return isinstance(value, str) and HEX.fullmatch(value) is not None


def one_of(*names: str) -> Check:
    return lambda value: value in names


def has(fields: dict[str, Check]) -> Check:
    return lambda value: isinstance(value, dict) and not wrong(fields, value)


def wrong(fields: dict[str, Check], data: dict[str, Any]) -> list[str]:
    """Fields that are missing, or hold what they must not."""
    found = [name for name in fields if not name.startswith("?") and name not in data]
    return found + [
        name for name, value in data.items()
        for check in [fields.get(name) or fields.get(f"?{name}")]
        if check is not None and not check(value)
    ]  # fmt: skip


def ranges(value: Any) -> bool:
    """Of one number, where there is only one."""
    return bool(value) and all(
        len(one) in (1, 2) and all(bits(64)(end) for end in one) and (len(one) == 1 or one[0] < one[1]) for one in value
    )


FRAMES: dict[str, dict[str, Check]] = {
    "padding": {"payload_length": bits(32)},
    "ping": {},
    "ack": {"ack_delay": number, "acked_ranges": ranges, "?ect0": bits(64), "?ect1": bits(64), "?ce": bits(64)},
    "max_data": {"maximum": bits(64)},
    "max_stream_data": {"stream_id": bits(64), "maximum": bits(64)},
    "data_blocked": {"limit": bits(64)},
    "stream_data_blocked": {"stream_id": bits(64), "limit": bits(64)},
    "new_connection_id": {"sequence_number": bits(32), "retire_prior_to": bits(32), "connection_id": hexadecimal},
    "retire_connection_id": {"sequence_number": bits(32)},
    "path_challenge": {"data": hexadecimal},
    "path_response": {"data": hexadecimal},
    "connection_close": {"error_space": one_of("transport", "application"), "error_code": bits(32), "reason": text},
}
OUR_FRAMES = {"message", "skip"}
OWNER = one_of("local", "remote")
HEADER = has({
    "packet_type": one_of("initial", "handshake", "1RTT", "retry"), "?packet_number": bits(64), "?version": hexadecimal,
    "?scid": hexadecimal, "?dcid": hexadecimal,
})  # fmt: skip
RAW = has({"length": bits(64)})
STATE = one_of(
    "attempted", "peer_validated", "handshake_started", "early_write", "handshake_complete", "handshake_confirmed",
    "closing", "draining", "closed",
)  # fmt: skip
MARKS = one_of("testing", "unknown", "failed", "capable")


def frames(value: Any) -> bool:
    return all(
        frame["frame_type"] in OUR_FRAMES or not wrong(FRAMES[frame["frame_type"]], frame) for frame in value
    )  # fmt: skip


PACKET: dict[str, Check] = {"header": HEADER, "?frames": frames, "?raw": RAW, "?is_mtu_probe_packet": boolean}
EVENTS: dict[str, dict[str, Check]] = {
    "connectivity:connection_started": {
        "src_ip": some, "dst_ip": some, "?src_port": bits(16), "?dst_port": bits(16), "?src_cid": hexadecimal,
    },
    "connectivity:connection_closed": {
        "?owner": OWNER, "?connection_code": bits(32), "?reason": text, "?trigger": one_of(
            "clean", "handshake_timeout", "idle_timeout", "error", "stateless_reset", "version_mismatch", "application",
        ),
    },
    "connectivity:connection_id_updated": {"owner": OWNER, "?old": hexadecimal, "?new": hexadecimal},
    "connectivity:connection_state_updated": {"?old": STATE, "new": STATE},
    "connectivity:mtu_updated": {"?old": bits(16), "new": bits(16), "?done": boolean},
    "transport:parameters_set": {
        "?owner": OWNER, "?max_idle_timeout": bits(64), "?max_udp_payload_size": bits(32), "?max_ack_delay": bits(16),
        "?initial_max_data": bits(64), "?initial_max_stream_data_bidi_remote": bits(64),
    },
    "transport:packet_sent": PACKET,
    "transport:packet_received": PACKET,
    "transport:packet_dropped": {
        "?header": HEADER, "?raw": RAW, "?details": text, "?trigger": one_of(
            "internal_error", "rejected", "unsupported", "invalid", "duplicate", "connection_unknown",
            "decryption_failure", "general",
        ),
    },
    "transport:packets_acked": {"?packet_numbers": lambda value: bool(value) and all(bits(64)(one) for one in value)},
    "recovery:parameters_set": {
        "?reordering_threshold": bits(16), "?time_threshold": number, "timer_granularity": bits(16),
        "?initial_rtt": number, "?max_datagram_size": bits(32), "?initial_congestion_window": bits(64),
    },
    "recovery:metrics_updated": {
        "?min_rtt": number, "?smoothed_rtt": number, "?latest_rtt": number, "?rtt_variance": number,
        "?congestion_window": bits(64), "?bytes_in_flight": bits(64), "?ssthresh": bits(64), "?pacing_rate": bits(64),
    },
    "recovery:congestion_state_updated": {
        "?old": some, "new": some, "?trigger": one_of("persistent_congestion", "ECN"),
    },
    "recovery:loss_timer_updated": {
        "event_type": one_of("set", "expired", "cancelled"), "?timer_type": one_of("ack", "pto"),
    },
    "recovery:packet_lost": {"?header": HEADER, "?is_mtu_probe_packet": boolean},
    "recovery:ecn_state_updated": {"?old": MARKS, "new": MARKS},
}  # fmt: skip
OURS = {
    "rudp:message_sent", "rudp:message_received", "rudp:copies_sent", "rudp:spurious_loss", "rudp:path_updated",
    "rudp:trace_ended",
}  # fmt: skip


def losing(**options: Any) -> Talk:
    """A way that is gone for seconds: probe time-outs, and congestion control begins anew."""
    talk = Talk(client=options, server=options)
    talk.run(100)
    talk.session.send(bytes(30_000), 0, 0, 0, 0, talk.now)
    talk.run(5)
    talk.drops = lambda *_: True
    talk.run(4000)
    talk.drops = None
    talk.run(3000)
    return talk


SCENES: dict[str, Callable[..., Talk]] = {"rich": rich, "moving": moving, "growing": growing, "losing": losing}


@pytest.fixture(scope="module", params=SCENES)
def records(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Of both sides of a scene, the headers left out, which must be right."""
    kept = Kept()
    SCENES[request.param](trace=kept)
    found = []
    for session in kept.sessions:
        if session.trace is not None:
            session.trace.flush()
    for name, data in kept.data.items():
        header, *events = [json.loads(record) for record in data[1:].split(b"\x1e")]
        assert header["qlog_version"] == "0.3" and header["qlog_format"] == "JSON-SEQ"
        assert not wrong({"vantage_point": has({"type": one_of(name.split("_")[1])}), "title": some}, header["trace"])
        common = header["trace"]["common_fields"]
        assert not wrong({"time_format": one_of("relative"), "reference_time": number, "group_id": some}, common)
        found += events
    return found


def test_every_event_and_frame_is_as_the_drafts_have_it(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert number(record["time"]) and set(record) == {"time", "name", "data"}
        if record["name"] not in OURS:
            assert not wrong(EVENTS[record["name"]], record["data"]), record


def test_the_scenes_have_every_event_and_frame() -> None:
    """Else nothing would have been compared."""
    kept = Kept()
    for scene in SCENES.values():
        scene(trace=kept)
    for session in kept.sessions:
        if session.trace is not None:
            session.trace.flush()
    everything = b"".join(kept.data.values()).decode()
    for name in (*EVENTS, *OURS - {"rudp:trace_ended", "rudp:spurious_loss"}):
        if name != "transport:packet_dropped":  # see test_trace
            assert f'"name":"{name}"' in everything, name
    for kind in (*FRAMES, *OUR_FRAMES):
        assert f'"frame_type":"{kind}"' in everything, kind


def test_what_is_wrong_is_found() -> None:
    assert wrong({"a": number, "?b": text}, {"b": 1}) == ["a", "b"]
    assert not wrong({"a": number, "?b": text}, {"a": 1, "c": []})
    assert not frames([{"frame_type": "ack", "ack_delay": 1, "acked_ranges": [[3, 3]]}])
