"""One connection as a picture: what it is made of, of a trace and of a capture, and that the picture is one."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.rudp.test_trace import NAMES, Kept
from tests.sight.talk import CLIENT, Talk, growing, moving, rich
from tests.sight.test_follow import segment
from transport import limits
from transport.sight import svg, timeline
from transport.sight.follow import TO_CLIENT, TO_SERVER, Follower
from transport.sight.sqlog import TraceFile, summary
from transport.sight.timeline import Captured, Timeline, of_capture, of_trace


def traced(tmp_path: Path, side: str = "client") -> tuple[Timeline, Talk, Kept]:
    kept = Kept()
    talk = rich(trace=kept)
    path = tmp_path / "x.sqlog"
    (data,) = [data for name, data in kept.data.items() if name.endswith(side)]
    path.write_bytes(data)
    return of_trace(TraceFile(path)), talk, kept


def captured(talk: Talk) -> Timeline:
    follower = Follower()
    both = Captured(TO_SERVER), Captured(TO_CLIENT)
    first = talk.packets[0][0]
    for at, source, target, data in talk.packets:
        for found in follower.take(segment(at, source, target, data), data):
            for way in both:
                way.take(found, (at - first) / 1e9)
    (connection,) = follower.connections.values()
    return of_capture(connection, both)


def texts(picture: str) -> set[str]:
    """All that is written in it."""
    root = ElementTree.fromstring(picture)
    return {str(one.text) for one in root.iter() if one.text and one.tag.endswith("text")}


def test_a_trace(tmp_path: Path) -> None:
    made, _, kept = traced(tmp_path)
    counted = next(one for one in kept.sessions if one.is_client).statistics()
    assert len(made.sent) == counted["packets_sent"]
    assert made.sent[-1][1] == counted["bytes_sent"]
    assert len(made.acked) == counted["packets_acked"] + counted["packets_spurious"]
    assert len(made.lost) == counted["packets_lost"]
    assert len(made.copies) == 19
    assert made.window[-1][1] == counted["congestion_window"]
    assert made.in_flight[-1][1] == counted["in_flight"] == 0
    assert made.smoothed[-1][1] == counted["rtt_ns"] / 1e6 and made.least[-1][1] == counted["rtt_min_ns"] / 1e6
    for points in (made.sent, made.acked, made.lost, made.window, made.in_flight, made.latest):
        assert [at for at, _ in points] == sorted([at for at, _ in points])
    assert made.seconds == pytest.approx(1.03)
    assert "what the client sent" in made.title and f"{counted['packets_lost']} believed lost" in made.lines[0]


def test_a_capture_says_nearly_the_same(tmp_path: Path) -> None:
    trace, talk, _ = traced(tmp_path)
    capture = captured(talk)
    assert [round(at, 6) for at, _ in capture.sent] == [round(at, 6) for at, _ in trace.sent]
    assert [value for _, value in capture.sent] == [value for _, value in trace.sent]
    assert len(capture.acked) == len(trace.acked)
    assert capture.copies and capture.latest and not capture.window and not capture.smoothed
    assert {value for _, value in trace.lost} >= {value for _, value in capture.lost} != set()
    assert capture.least[-1][1] == pytest.approx(20)
    assert "what the client sent" in capture.title and "likely lost" in capture.lines[0]
    assert CLIENT[0] not in capture.title


def drawn(talk: Talk, kept: Kept, tmp_path: Path, side: str = "client") -> Timeline:
    """The timeline of one side's trace."""
    for session in kept.sessions:
        if session.trace is not None:
            session.trace.flush()
    path = tmp_path / "x.sqlog"
    (data,) = [data for name, data in kept.data.items() if name.endswith(side)]
    path.write_bytes(data)
    return of_trace(TraceFile(path))


def test_what_is_found_out_about_the_path(tmp_path: Path) -> None:
    """The growth of packets, what only tries it, marks, and that congestion control reacts; in a capture without it."""
    kept = Kept()
    talk = growing(trace=kept)
    made = drawn(talk, kept, tmp_path)
    search = talk.session.search
    assert made.mtu[0][1] == limits.RUDP_DATAGRAM_BYTES_MIN and made.mtu[-1][1] == talk.session.mtu
    assert max(size for _, size in made.mtu) == limits.RUDP_DATAGRAM_BYTES_MAX
    assert (len(made.tries), len(made.failed)) == (search.sent, search.lost)
    assert len(made.lost) == talk.session.packets_lost, "what only tries is not among them"
    assert made.marked and made.states[0] == (0.0, "slow_start")
    assert "recovery" in {name for _, name in made.states}
    assert made.lines[-1].startswith(
        f"cubic, packets of up to 65,000 bytes, {search.sent} tries of larger sizes ({search.lost} lost)"
    )
    assert f"{talk.session.ecn.ce} marked by queues" in made.lines[-1]
    words = texts(svg.draw(made))
    assert {"slow start", "recovery", "marked by a queue (ECN)"} <= words
    assert {"a larger one is tried", "that was believed lost"} <= words
    capture = captured(talk)
    assert [size for _, size in capture.tries] == [size for _, size in made.tries]
    assert not capture.states and max(size for _, size in capture.mtu) == limits.RUDP_DATAGRAM_BYTES_MAX


def test_a_client_that_moves(tmp_path: Path) -> None:
    kept = Kept()
    talk = moving(trace=kept)
    made = drawn(talk, kept, tmp_path, "server")
    assert len(made.moves) == 2 and "2 changes of path" in made.lines[-1]
    assert "another path" in texts(svg.draw(made))
    assert len(captured(talk).moves) == 2


def test_whatever_a_trace_says_there_is_a_picture(tmp_path: Path, seed: int) -> None:
    """Values of other kinds, far too large ones, numbers that JSON does not have: no exception, and a whole picture."""
    rng = random.Random(seed)
    odd = [
        '{"length":100}', "1", "-1", "1e308", "1e999", "NaN", "-Infinity", "null", "[]", "{}", "[[1,2]]", "[3]", "[{}]",
        "true", '"x"', "9" * 400, "0.5", "[[1,9e99],[2]]", '"expired"', "7",
    ]  # fmt: skip
    names = [name.rpartition(":")[2] for name in NAMES]
    fields = [
        "raw", "frames", "packet_numbers", "new", "old", "congestion_window", "latest_rtt", "ecn_ce", "event_type",
        "timer_type", "max_datagram_size", "is_mtu_probe_packet",
    ]  # fmt: skip
    lines = ['\x1e{"qlog_version":"0.3"}']
    for number in range(300):
        data = ['"header":' + rng.choice([f'{{"packet_number":{number},"copies":true}}', *odd])]
        data += [f'"{field}":{rng.choice(odd)}' for field in rng.sample(fields, 6)]
        data += [f'"frames":[{{"frame_type":{rng.choice(odd)},"acked_ranges":{rng.choice(odd)}}}]']
        when = rng.choice([*odd, str(number)])
        lines.append(f'\x1e{{"time":{when},"name":"x:{rng.choice(names)}","data":{{{",".join(data)}}}}}')
    path = tmp_path / "x.sqlog"
    path.write_text("\n".join(lines))
    file = TraceFile(path)
    text = svg.draw(of_trace(file))
    ElementTree.fromstring(text)
    assert "nan" not in text and "inf" not in text.replace("in flight", "")
    assert all(summary(event) is not None for event in file.events())


def test_states_of_any_length_and_name() -> None:
    """Short ones are a little wider, and none is drawn beyond the edge."""
    states = [(0.0, "slow_start"), (0.5, "recovery"), (0.5001, "congestion_avoidance"), (1.0, "of another program")]
    made = Timeline("x", [], sent=[(0.0, 1.0), (1.0, 2.0)], states=states)
    root = ElementTree.fromstring(svg.draw(made))
    boxes = [one for one in root.iter() if one.tag.endswith("rect") and one.get("height") == str(svg.STRIP)]
    spans = [(float(one.get("x", "")), float(one.get("width", ""))) for one in boxes if one.get("fill") != "none"]
    assert len(spans) == 4
    assert all(width >= svg.NARROW and x >= svg.LEFT and x + width <= svg.WIDTH - svg.RIGHT + 0.1 for x, width in spans)
    many = Timeline("x", [], sent=made.sent, states=[(index / 1e5, "ab"[index % 2]) for index in range(100_000)])
    assert len(svg.draw(many)) < 400_000


def test_acks_of_programs_that_tell_only_frames(tmp_path: Path) -> None:
    data = (
        b'\x1e{"qlog_version":"0.3"}\n'
        b'\x1e{"time":0,"name":"quic:packet_sent","data":{"header":{"packet_number":0},"raw":{"length":100}}}\n'
        b'\x1e{"time":1,"name":"quic:packet_sent","data":{"header":{"packet_number":1},"raw":{"length":50}}}\n'
        b'\x1e{"time":9,"name":"quic:packet_received","data":{"header":{"packet_number":0},'
        b'"frames":[{"frame_type":"ack","acked_ranges":[[0,1],["x"],[5]]},{"frame_type":"ack"}]}}\n'
        b'\x1e{"time":10,"name":"quic:metrics_updated","data":{"min_rtt":"8","latest_rtt":8.5}}\n'
    )
    path = tmp_path / "x.sqlog"
    path.write_bytes(data)
    made = of_trace(TraceFile(path))
    assert made.acked == [(0.009, 100), (0.009, 150)]
    assert made.latest == [(0.01, 8.5)] and not made.least


def test_points_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeline, "POINTS_MAX", 50)
    made, _, _ = traced(tmp_path)
    series = (made.sent, made.acked, made.lost, made.copies, made.window, made.in_flight, made.latest, made.smoothed)
    assert sum(len(points) for points in series) <= 50
    assert made.is_cut and made.lines[-1] == "the first 50 points of more"


@pytest.mark.parametrize("source", ["client", "server", "capture"])
def test_the_picture(source: str, tmp_path: Path) -> None:
    made = captured(rich()) if source == "capture" else traced(tmp_path, source)[0]
    text = svg.draw(made)
    assert text == svg.draw(made)
    root = ElementTree.fromstring(text)
    assert (root.get("width"), root.tag.rpartition("}")[2]) == ("1400", "svg")
    words = texts(text)
    assert made.title in words and "packet sent" in words
    assert any(word.startswith("time since the beginning (") for word in words)
    for axis in ("sent (", "in flight (", "round trip ("):
        assert any(word.startswith(axis) for word in words)
    assert ("congestion window" in words) == (source != "capture")
    assert ("not known from this source" in words) == (source == "server" and not made.latest)


def test_points_on_one_pixel_are_drawn_once() -> None:
    many = [(index / 1e5, float(index % 100)) for index in range(100_000)]
    made = Timeline("many", ["of them"], sent=many, lost=many, window=many)
    assert len(svg.draw(made)) < 13_000_000
    few = Timeline("few", [], sent=[(0.0, 1.0)] * 10_000, lost=[(0.5, 1.0)] * 10_000)
    assert len(svg.draw(few)) < 20_000
    assert "not known from this source" in svg.draw(Timeline("<none & nothing>", []))
    ElementTree.fromstring(svg.draw(Timeline("<none & nothing>", [])))


def test_a_line_keeps_the_least_the_most_and_the_last_of_a_pixel() -> None:
    points = [(0.0, 5.0), (0.5, 1.0), (0.50001, 9.0), (0.50002, 2.0), (0.50003, 9.0), (1.0, 3.0)]
    panel = svg.Panel(0, 100, 1.0, "x", "bytes", [svg.Series("one", points, "red", "steps")])
    (path,) = [part for part in panel.parts() if "stroke-width='1.8'" in part]
    heights = {value: f"{round(panel._y(value), 1)}" for value in (1.0, 2.0, 3.0, 5.0, 9.0)}
    middle = round(panel._x(0.5))
    assert f"H{middle}V{heights[1.0]}V{heights[9.0]}V{heights[1.0]}V{heights[9.0]}H" in path
    assert path.index(f"V{heights[3.0]}H") > path.index(f"H{middle}")


def test_units_and_ticks() -> None:
    assert svg.ticks(10, 5) == [0, 2, 4, 6, 8, 10]
    assert [svg.number(value) for value in svg.ticks(0.7, 7)][-1] == "0.7"
    assert svg.ticks(0, 5) == [0.0]
    assert svg.scale(1500, "bytes") == (1.0, "bytes") and svg.scale(3e6, "bytes") == (1e6, "MB")
    assert svg.scale(0.2, "time") == (1e-3, "us") and svg.scale(5000, "time") == (1e3, "s")
    assert svg.scale(0.1, "ms") == (1e-3, "us")
