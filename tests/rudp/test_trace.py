"""What a trace says of a connection is what its counters say, whoever reads it; and it costs nobody else anything."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.rudp.by_hand import Hand, Rig
from tests.sight.talk import NARROW, Talk, growing, moving, rich
from tests.soak.duo import CONFIG, MIB, MS, Duo
from transport import limits
from transport.rudp import trace as module
from transport.rudp.states import Life, Probe
from transport.rudp.trace import Trace
from transport.sim.config import LinkConfig

WALL = 1_700_000_000_000_000_000
NAMES = {
    "connectivity:connection_started", "connectivity:connection_state_updated", "connectivity:connection_id_updated",
    "connectivity:connection_closed", "transport:parameters_set", "transport:packet_sent", "transport:packet_received",
    "transport:packet_dropped", "transport:packets_acked", "recovery:packet_lost", "recovery:metrics_updated",
    "recovery:loss_timer_updated", "recovery:congestion_state_updated", "recovery:parameters_set",
    "connectivity:mtu_updated", "recovery:ecn_state_updated",
    "rudp:copies_sent", "rudp:message_sent", "rudp:message_received",
    "rudp:spurious_loss", "rudp:trace_ended", "rudp:path_updated",
}  # fmt: skip


class Kept:
    """Traces in memory, by name, and the sessions they are of."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.sessions: list[Any] = []
        self.takes = True

    def __call__(self, session: Any, now: int) -> Trace:
        self.sessions.append(session)
        return Trace(session, self.write, now, WALL)

    def write(self, name: str, data: bytes) -> bool:
        self.data[name] = self.data.get(name, b"") + data
        return self.takes

    def records(self, side: str = "client") -> list[dict[str, Any]]:
        (name,) = [name for name in self.data if name.endswith(side)]
        return parsed(self.data[name])

    def events(self, side: str = "client") -> list[dict[str, Any]]:
        return self.records(side)[1:]


def parsed(data: bytes) -> list[dict[str, Any]]:
    assert data.startswith(b"\x1e") and data.endswith(b"\n")
    return [json.loads(record) for record in data[1:].split(b"\x1e")]


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["name"].endswith(":" + name)]


def numbered(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [data for data in of(events, "packet_sent") if "packet_number" in data["header"]]


@pytest.fixture(scope="module")
def kept() -> Kept:
    made = Kept()
    rich(trace=made)
    return made


@pytest.mark.parametrize("side", ["client", "server"])
def test_it_has_the_form_that_viewers_read(kept: Kept, side: str) -> None:
    header, *events = kept.records(side)
    assert (header["qlog_version"], header["qlog_format"]) == ("0.3", "JSON-SEQ")
    assert header["trace"]["vantage_point"]["type"] == side
    assert header["trace"]["common_fields"]["reference_time"] == WALL / 1e6
    assert header["trace"]["common_fields"]["time_format"] == "relative"
    assert {event["name"] for event in events} <= NAMES
    times = [event["time"] for event in events]
    assert times == sorted(times) and times[0] == 0
    for data in of(events, "packet_sent") + of(events, "packet_received"):
        assert data["header"]["packet_type"] in {"1RTT", "initial", "handshake"} and data["raw"]["length"] > 0
    kinds = {frame["frame_type"] for data in numbered(events) for frame in data["frames"]}
    wanted = {"client": {"message", "ping", "padding", "skip", "ack", "stream_data_blocked", "connection_close"},
              "server": {"ack", "max_data", "max_stream_data", "connection_close"}}  # fmt: skip
    assert kinds == wanted[side]


@pytest.mark.parametrize("side", ["client", "server"])
def test_it_says_what_the_counters_say(kept: Kept, side: str) -> None:
    events = kept.events(side)
    session = next(one for one in kept.sessions if one.is_client == (side == "client"))
    counted = session.statistics()
    sent = numbered(events)
    assert len(sent) == counted["packets_sent"]
    assert sum(data["raw"]["length"] for data in sent) == counted["bytes_sent"]
    came = [data for data in of(events, "packet_received") if "packet_number" in data["header"]]
    dropped = Counter(data["details"] for data in of(events, "packet_dropped"))
    assert len(came) + dropped["duplicate"] == counted["packets_received"]
    assert dropped["checksum"] + dropped["header"] == counted["packets_corrupt"]
    assert len(of(events, "packet_lost")) == counted["packets_lost"]
    acked = [number for data in of(events, "packets_acked") for number in data["packet_numbers"]]
    spurious = [number for data in of(events, "spurious_loss") for number in data["packet_numbers"]]
    assert len(acked) == len(set(acked)) == counted["packets_acked"] + counted["packets_spurious"]
    assert len(spurious) == counted["packets_spurious"]
    copies = of(events, "copies_sent")
    assert sum(data["count"] for data in copies) == counted["copies_sent"]
    assert sum(data["length"] for data in copies) == counted["copy_bytes"]
    assert {data["packet_number"] for data in copies} == {
        data["header"]["packet_number"] for data in sent if data["header"].get("copies")
    }
    assert len(of(events, "message_sent")) == counted["messages_sent"]
    assert len(of(events, "message_received")) == counted["messages_received"]


def test_metrics_are_those_of_the_session(kept: Kept) -> None:
    session = next(one for one in kept.sessions if one.is_client)
    last: dict[str, float] = {}
    for data in of(kept.events(), "metrics_updated"):
        assert data, "an update of nothing"
        assert all(last.get(name) != value for name, value in data.items())
        last |= data
    assert last["smoothed_rtt"] == session.rtt.smoothed / 1e6 and last["min_rtt"] == session.rtt.minimum / 1e6
    assert last["congestion_window"] == session.controller.window


def test_congestion_control_tells_its_state() -> None:
    kept = Kept()
    windows = {"start_window": 1 << 20, "connection_window": 1 << 22}
    talk = Talk(client={"trace": kept, **windows}, server=windows)
    talk.run(100)
    lost: list[bytes] = []

    def drops(data: bytes, by_client: bool) -> bool:
        if by_client and len(data) > 1000 and not lost and talk.session.in_flight > 20_000:
            lost.append(data)
            return True
        return False

    talk.drops = drops
    talk.session.send(bytes(200_000), 0, 0, 0, 0, talk.now)
    talk.run(1000)
    kept.sessions[0].trace.flush()
    states = [data["new"] for data in of(kept.events(), "congestion_state_updated")]
    assert states == ["slow_start", "recovery", "congestion_avoidance"]
    thresholds = [data["ssthresh"] for data in of(kept.events(), "metrics_updated") if "ssthresh" in data]
    assert thresholds == [kept.sessions[0].controller.statistics()["slow_start_threshold"]]


def test_another_path_is_another_congestion_control() -> None:
    """Its cuts count from the beginning: the first of the new one is told, too."""
    kept = Kept()
    windows = {"start_window": 1 << 20, "connection_window": 1 << 22}
    talk = Talk(client={**windows}, server={"trace": kept, **windows})
    talk.run(100)
    for address in (("10.0.0.1", 40000), ("10.9.9.9", 7)):
        talk.address = address
        talk.session.send(b"here", 0, 0, 0, 0, talk.now)
        talk.run(3000)
        lost: list[bytes] = []

        def drops(data: bytes, by_client: bool, lost: list[bytes] = lost) -> bool:
            if not by_client and len(data) > 1000 and not lost and talk.peer.in_flight > 15_000:
                lost.append(data)
                return True
            return False

        talk.drops = drops
        talk.peer.send(bytes(300_000), 0, 0, 0, 0, talk.now)
        talk.run(3000)
        assert lost
    kept.sessions[0].trace.flush()
    events = kept.events("server")
    states = [data["new"] for data in of(events, "congestion_state_updated")]
    assert states == ["slow_start", "recovery", "congestion_avoidance"] * 2
    controls = [data["congestion_control"] for data in of(events, "parameters_set") if "owner" not in data]
    assert controls == ["cubic", "cubic"]


def test_bbr_tells_its_states_by_their_names() -> None:
    kept = Kept()
    link = LinkConfig(delay_ns=10 * MS, rate_bits_per_s=20_000_000, queue_bytes=200_000)
    duo = Duo(replace(CONFIG, congestion="bbr", trace=kept), link).opened()
    for _ in range(3):
        duo.near.send(bytes(MIB), 0, 0, 0, 0, duo.now)
    duo.world.run_until(lambda: duo.bytes["far"] == 3 * MIB, 30)
    for session in kept.sessions:
        session.trace.flush()
    told = of(kept.events(), "congestion_state_updated")
    states = [data["new"] for data in told]
    assert states[:2] == ["startup", "drain"] and "old" not in told[0] and "probe_bw_cruise" in states
    assert all(data["old"] == before for data, before in zip(told[1:], states, strict=False))
    assert set(module.BBR_STATES) == set(Probe)
    assert any("pacing_rate" in data for data in of(kept.events(), "metrics_updated"))


def test_what_is_found_out_about_the_path() -> None:
    """The size that packets grow and shrink to, the packets that only try one, and what becomes of marks."""
    kept = Kept()
    talk = growing(trace=kept)
    for session in kept.sessions:
        session.trace.flush()
    events = kept.events()
    sizes = [(data["old"], data["new"]) for data in of(events, "mtu_updated")]
    assert sizes[0][0] == limits.RUDP_DATAGRAM_BYTES_MIN
    assert all(before[1] == after[0] for before, after in pairwise(sizes))
    assert max(new for _, new in sizes) == limits.RUDP_DATAGRAM_BYTES_MAX
    assert sizes[-1][1] == talk.session.mtu <= NARROW
    tries = [data for data in numbered(events) if data.get("is_mtu_probe_packet")]
    assert len(tries) == talk.session.search.sent
    assert all(data["raw"]["length"] > limits.RUDP_DATAGRAM_BYTES_MIN for data in tries)
    lost = of(events, "packet_lost")
    assert len([1 for data in lost if data.get("is_mtu_probe_packet")]) == talk.session.search.lost > 0
    assert len([1 for data in lost if not data.get("is_mtu_probe_packet")]) == talk.session.packets_lost
    assert [data["new"] for data in of(events, "ecn_state_updated")] == ["testing", "capable"]
    marks = [data["ecn_ce"] for data in of(events, "metrics_updated") if "ecn_ce" in data]
    assert marks == sorted(marks) and marks[-1] == talk.session.ecn.ce > 0
    assert any(data.get("trigger") == "ECN" for data in of(events, "congestion_state_updated"))
    ecn = [frame for data in numbered(kept.events("server")) for frame in data["frames"] if "ce" in frame]
    assert ecn and {"ect0", "ect1", "ce"} <= set(ecn[0])


def test_the_life_of_a_connection(kept: Kept) -> None:
    states = {side: [data["detail"] for data in of(kept.events(side), "connection_state_updated")] for side in
              ("client", "server")}  # fmt: skip
    assert states["client"] == ["opening", "open", "flushing", "closing", "closed", "lingering", "gone"]
    assert states["server"] == ["open", "closed", "lingering", "gone"]
    assert of(kept.events(), "connection_closed") == [
        {"owner": "local", "connection_code": 7, "reason": "enough", "trigger": "application"}
    ]
    assert of(kept.events("server"), "connection_closed")[0]["owner"] == "remote"
    assert set(module.STATES) == set(Life)
    parameters = {data["owner"]: data for data in of(kept.events(), "parameters_set") if "owner" in data}
    assert parameters["local"]["codec"] == "msgpack" and parameters["remote"]["initial_max_data"] == 8000
    assert parameters["remote"]["agreed_checksum"] == "crc32c"
    assert all(session.trace is None for session in kept.sessions), "what is over is not traced"


def test_no_payload_is_in_it(kept: Kept) -> None:
    everything = b"".join(kept.data.values())
    assert b"hello" not in everything and b"\\u0" not in everything


def test_the_handshake_of_a_client_is_in_it() -> None:
    kept = Kept()
    talk = Talk(client={"trace": kept}, server={"cookie": "always"})
    talk.run(100)
    kept.sessions[0].trace.flush()
    kinds = [
        data["header"]["kind"]
        for name in ("packet_sent", "packet_received")
        for data in of(kept.events(), name)
        if "kind" in data["header"]
    ]
    assert kinds == ["HELLO", "HELLO", "RETRY", "ACCEPT"]
    assert "cookie" not in json.dumps(kept.events())


def test_a_client_that_moves() -> None:
    kept = Kept()
    talk = moving(trace=kept)
    for session in kept.sessions:
        session.trace.flush()
    moves = [(data["dst_ip"], data["dst_port"]) for data in of(kept.events("server"), "path_updated")]
    assert moves == [("10.0.0.1", 40001), ("10.9.9.9", 7)]
    frames = {frame["frame_type"] for data in numbered(kept.events("server")) for frame in data["frames"]}
    assert {"path_challenge", "new_connection_id"} <= frames
    ids = [data["new"] for data in of(kept.events(), "connection_id_updated") if data["owner"] == "remote"]
    assert ids == [f"{talk.peer.own_cid:016x}", f"{talk.session.peer_cid:016x}"] and ids[0] != ids[1]
    everything = b"".join(kept.data.values())
    assert talk.session.token.hex().encode() not in everything, "by which anybody could end the connection"


def test_what_is_dropped_says_why() -> None:
    kept = Kept()
    rig = Rig(trace=kept)
    hand = Hand(rig)
    good = hand.packet(b"\x01")
    for data in (good, good, good[:-1] + bytes([good[-1] ^ 1]), b"\x60" + good[1:]):
        rig.receive(data, hand.address)
    reserved = hand.packet(b"")
    rig.receive(reserved, hand.address)
    (mine,) = [one for one in kept.sessions if one.own_cid == hand.peer_cid]
    mine.trace.flush()
    events = parsed(kept.data[f"{hand.cid:016x}_server"])[1:]
    drops = [(data["trigger"], data["details"]) for data in of(events, "packet_dropped")]
    assert drops == [("duplicate", "duplicate"), *[("invalid", "checksum")] * 2, ("invalid", "header")]


def test_nobody_is_traced_unasked() -> None:
    talk = rich()
    assert talk.session.trace is None


@pytest.mark.parametrize(("name", "value"), [("EVENTS_MAX", 1), ("BYTES_MAX", 1), ("FLUSH_NS", 1), ("EVENTS_MAX", 7)])
def test_the_buffer_is_bounded(name: str, value: int, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, name, value)
    written = []

    class Watched(Kept):
        def write(self, name: str, data: bytes) -> bool:
            written.append(data.count(b"\x1e"))
            return super().write(name, data)

    watched = Watched()
    rich(trace=watched)
    assert watched.data == kept.data
    most = {"EVENTS_MAX": value + 7, "BYTES_MAX": 30, "FLUSH_NS": 30}[name]  # seven come before a server knows the id
    assert max(written) <= most


def test_a_trace_ends_before_its_file_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FILE_MAX", 8000)
    monkeypatch.setattr(module, "EVENTS_MAX", 10)
    kept = Kept()
    talk = rich(trace=kept)
    for side in ("client", "server"):
        (data,) = [data for name, data in kept.data.items() if name.endswith(side)]
        assert 4000 < len(data) < 8000 + 200
        assert kept.records(side)[-1]["name"] == "rudp:trace_ended"
    assert [event.code for event in talk.events[talk.server] if hasattr(event, "code")] == [7]


def test_a_place_that_takes_no_more_ends_it_and_nothing_else() -> None:
    kept = Kept()
    kept.takes = False
    talk = rich(trace=kept)
    assert len(talk.got[talk.server]) == 23
    assert all(session.trace is None for session in kept.sessions)


@pytest.mark.parametrize("events", range(8, 40))
def test_whichever_event_finds_no_room_nothing_else_is_hurt(events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be full in the midst of what an ack says."""
    monkeypatch.setattr(module, "EVENTS_MAX", events)
    kept = Kept()
    kept.takes = False
    talk = rich(trace=kept)
    assert len(talk.got[talk.server]) == 23
