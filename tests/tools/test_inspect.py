"""`transport inspect`: what it prints of files and interfaces, what it leaves out, and what it says of mistakes."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tests.rudp.test_trace import Kept
from tests.sight import captures as made
from tests.sight.talk import UNSEEN, rich
from tests.tools.running import Running, finished
from transport import cli, limits
from transport.rudp import dissect
from transport.sight import raw
from transport.tools import inspect as command


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("captures") / "talk.pcap"
    path.write_bytes(rich().pcap())
    return path


def shown(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert cli.main(["inspect", *arguments]) == status
    said = capsys.readouterr()
    assert not said.err
    return said.out


def objects(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown(capsys, *arguments, "--json", status=status).splitlines()]


def test_layer_by_layer(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(capture))
    assert text.startswith(
        """\
#1  0.000000 s  10.0.0.1:40000 > 10.0.0.2:5000  1242 bytes
  Ethernet  00:00:00:00:00:00 > 00:00:00:00:00:00, IPv4
  IPv4      10.0.0.1 > 10.0.0.2, ttl 64, not ECT, may be fragmented
  UDP       40000 > 5000, 1200 bytes
  HELLO     version 1, """
    )
    assert "  ACCEPT    version 1, dcid " in text
    assert "codec 'msgpack'" in text
    assert re.search(r"\n  SHORT     number 7 \(2 bytes\), cid [0-9a-f]{16}, has copies, crc32c good, con", text)
    for line in (
        "    ACK       8 2-6, delay 0 us\n",
        "    MSG       channel 1, reliable-unordered, number 0, 6 bytes\n      msgpack   'hello'",
        "    MSG       channel 1, reliable-ordered, number 2, bytes 1177 to 2353 of 6000\n      bytes     b'\\x00",
        "    MSG       streams, reliable-ordered, number 0, 6 bytes\n",
        "      STREAM_OPEN channel 3, stream 0, total 4000\n",
        "    SKIP      channel 0, reliable-ordered, messages (cost) 2 (33)\n", "    PING\n", "    PAD       22 times\n",
        "    BLOCKED   channel 1, needs 12216\n", "    CLOSE     code 7 'enough'\n", "has copies, crc32c good",
        "STREAM_END stream 0",
    ):  # fmt: skip
        assert line in text, line
    assert "connection 1: 10.0.0.1:40000 > 10.0.0.2:5000\n" in text
    assert "\n  !" not in text


def test_json_has_every_field(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *packets, summary = objects(capsys, str(capture), "--bodies", "0")
    assert [one["number"] for one in packets] == list(range(1, len(packets) + 1))
    assert all(one["ip"]["source"] in {"10.0.0.1", "10.0.0.2"} and one["udp"]["bytes"] for one in packets)
    hello = packets[0]["packets"][0]
    assert (hello["packet"], hello["checksum"], hello["parameters"]["codec"]) == ("HELLO", "good", "msgpack")
    frames = [frame for one in packets for part in one["packets"] for frame in part.get("frames", [])]
    assert {frame["frame"] for frame in frames} == set(dissect.FRAMES) - UNSEEN
    assert all(frame["body"] == "" for frame in frames if frame["frame"] == "MSG")
    opened = [inner for frame in frames for inner in frame.get("streams", [])]
    assert [inner["frame"] for inner in opened if inner["frame"] != "STREAM_CREDIT"] == ["STREAM_OPEN", "STREAM_END"]
    assert summary["event"] == "summary" and summary["ours"] == len(packets) == summary["shown"]
    assert summary["kinds"]["SHORT"] == len(packets) - 2
    assert summary["connections"][0]["to_server"]["packets"] + summary["connections"][0]["to_client"]["packets"] == (
        len(packets)
    )


def test_a_line_for_each_packet(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, str(capture), "--brief").splitlines()
    assert lines[0] == "#1  0.000000 s  10.0.0.1:40000 > 10.0.0.2:5000  HELLO 1200B"
    assert lines[2] == "#3  0.020000 s  10.0.0.1:40000 > 10.0.0.2:5000  SHORT 0 38B  PING"
    assert any("MSG 1O2+1177/6000 1176B" in line for line in lines)
    assert any("SKIP 0O 2" in line for line in lines)


@pytest.mark.parametrize(("filters", "wanted"), [
    (["--frame", "skip"], {"SKIP"}), (["--frame", "ACK", "--frame", "CLOSE"], {"ACK", "CLOSE"}),
    (["--packet", "hello"], set()),
])  # fmt: skip
def test_only_some_frames(filters: list[str], wanted: set[str], capture: Path, capsys: Any) -> None:
    *packets, summary = objects(capsys, str(capture), *filters)
    frames = {frame["frame"] for one in packets for part in one["packets"] for frame in part.get("frames", [])}
    assert frames == wanted and packets
    assert summary["shown"] == len(packets) < summary["ours"]


def two(tmp_path: Path) -> Path:
    """Two connections from ports of their own, in one file, each packet of the second 1 us later."""
    first, second = rich(1), rich(2)
    packets = [(at, one, other, data) for at, one, other, data in first.packets]
    swap = {("10.0.0.1", 40000): ("10.0.0.1", 40001), ("10.0.0.2", 5000): ("10.0.0.2", 6000)}
    packets += [(at + 1000, swap[one], swap[other], data) for at, one, other, data in second.packets]
    first.packets = sorted(packets)
    path = tmp_path / "two.pcap"
    path.write_bytes(first.pcap(made.SLL2))
    return path


def test_only_some_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(two(tmp_path))
    *all_of_them, summary = objects(capsys, path)
    cids = [one["to_server"]["cid"] for one in summary["connections"]]
    for filters, number in (
        (["--connection", "2"], 2), (["--cid", cids[0]], 1), (["--cid", "0x" + cids[1][:7].upper()], 2),
        (["--port", "6000"], 2), (["--port", "40000,7"], 1),
    ):  # fmt: skip
        *packets, said = objects(capsys, path, *filters)
        numbers = {part["connection"] for one in packets for part in one["packets"]}
        ports = {one["udp"]["target"] for one in packets}
        assert ports == ({6000, 40001} if number == 2 else {5000, 40000}), filters
        assert len(numbers) == 1 and len(said["connections"]) == 1
        assert 0 < len(packets) < len(all_of_them)
    assert len(objects(capsys, path, "-c", "5")) == 6


def test_what_is_not_ours_is_counted_and_shown_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packets = [
        (1, made.on_link(made.ETHERNET, made.ipv4(made.udp_with(b"hello")))),
        (2, made.on_link(made.ETHERNET, made.ipv4(made.tcp(10, 1), 6))),
        (3, made.MAC + b"\x08\x06" + bytes(28)),
        (4, made.on_link(made.ETHERNET, made.ipv4(made.udp(10), piece=0x2000))),
        (5, made.on_link(made.ETHERNET, made.ipv4(bytes(10), piece=100))),
        (6, made.on_link(made.ETHERNET, made.ipv4(made.udp(10)))[:30]),
    ]
    path = tmp_path / "others.pcap"
    path.write_bytes(made.pcap(packets))
    text = shown(capsys, str(path))
    assert text.count("#") == 2  # fragments, which may be ours
    assert "IPv4      10.0.0.1 > 10.0.0.2, ttl 64, not ECT, fragment of 0x1 from byte 0, more follow\n  !" in text
    assert "fragment of 0x1 from byte 800, the last" in text
    for line in (
        "1 left out: not reliable UDP",
        "2 left out: fragments",
        "1 left out: not IP",
        "1 left out: malformed",
    ):
        assert line in text
    everything = shown(capsys, str(path), "--all")
    assert everything.count("#") == 6
    for line in ("  TCP       40000 > 5000, 10 bytes", "  Ethernet  00:00:00:00:00:00 > 00:00:00:00:00:00, ARP"):
        assert line in everything
    assert "note      not reliable UDP" in everything
    assert "#6  0.000000 s  30 bytes" in everything
    assert len(shown(capsys, str(path), "--all", "--brief").split("\n#")) == 6
    assert [one.get("problem") for one in objects(capsys, str(path), "--all")[:-1]] == [
        "not reliable UDP", "neither UDP nor TCP", "not IP", "fragments", "fragments", "malformed",
    ]  # fmt: skip


def test_damage_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = rich()
    at, source, target, data = talk.packets[10]
    talk.packets[10] = (at, source, target, data[:20] + bytes([data[20] ^ 0x80]) + data[21:])
    path = tmp_path / "damaged.pcap"
    path.write_bytes(talk.pcap()[:-3])
    text = shown(capsys, str(path), status=1)
    assert "crc32c wrong" in text and f"  !         {dissect.DAMAGED}\n" in text
    assert "the rest can't be read: it ends in the middle of a packet" in text
    assert "1 damaged" in text
    damaged = [
        part for one in objects(capsys, str(path), status=1)[:-1] for part in one["packets"] if "problem" in part
    ]
    assert [part["checksum"] for part in damaged] == ["wrong"]


START = made.section()
NG = START + made.interface(made.ETHERNET)
GIB = (1 << 30).to_bytes(4, "little")
LARGE = made.on_link(made.ETHERNET, made.ipv4(made.udp_with(b"\x43" + bytes(64_999))))
HOSTILE = {
    "a block of 1 GiB": (NG + (6).to_bytes(4, "little") + GIB + bytes(100), 1, "a block of 1073741824 bytes"),
    "a block of 0 bytes": (NG + (6).to_bytes(4, "little") + bytes(100), 1, "a block of 0 bytes"),
    "two lengths": (NG + made.enhanced(1, bytes(40))[:-4] + GIB, 1, "a block whose two lengths differ"),
    "the middle of a block": (NG + made.enhanced(1, bytes(40))[:-9], 1, "it ends in the middle of a packet"),
    "the middle of a head": (NG[:10], 1, "it ends in the middle of a packet"),
    "more than its block": (
        NG + made.block("<", 6, bytes(12) + GIB + GIB + bytes(40)), 1, "a packet that is larger than its block",
    ),
    "no interface": (made.section() + made.enhanced(1, bytes(40)), 1, "a packet of an interface that was not named"),
    "a link type": (made.section() + made.interface(147) + made.enhanced(1, bytes(60)), 0, "of link type 147"),
    "a link type of pcap": (made.pcap([(1, bytes(60))], link=9999), 0, "of link type 9999, which is not known here"),
    "a packet of 1 GiB": (made.pcap([]) + bytes(8) + GIB + GIB + bytes(99), 1, "a packet of 1073741824 bytes"),
    "times of 10**-127 s": (START + made.interface(1, resolution=127) + made.enhanced(1 << 63, b""), 0, "1 packet"),
    "times of 2**-127 s": (START + made.interface(1, resolution=255) + made.enhanced(1 << 63, b""), 0, "1 packet"),
    "times in whole seconds": (
        made.section() + made.interface(1, resolution=0, offset=(1 << 63) - 1) + made.enhanced((1 << 64) - 1, b""), 0,
        "1 packet",
    ),
    "65,000 bytes of nothing": (made.pcap([(1, LARGE)]), 0, "1 left out: not reliable UDP"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_whatever_is_in_a_file_it_is_told_in_a_line(name: str, tmp_path: Path, capsys: Any) -> None:
    """Nothing is set aside for a length that is only claimed, and no exception is seen."""
    data, status, said = HOSTILE[name]
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    tracemalloc.start()
    try:
        text = shown(capsys, str(path), status=status)
        assert tracemalloc.get_traced_memory()[1] < 8 * limits.MIB
    finally:
        tracemalloc.stop()
    assert said in text
    assert cli.main(["inspect", str(path), "--timeline", str(tmp_path / "x.svg")]) == 2
    assert "there is no connection to draw" in capsys.readouterr().err


def test_bodies_are_read_by_the_codec_that_was_asked_for(capture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(capture), "--codec", "raw", "--bodies", "3", "--frame", "MSG")
    assert r"      bytes     b'\xa5he'..." in text
    wrong = shown(capsys, str(capture), "--codec", "json", "--frame", "MSG")
    assert "      !         json: " in wrong
    assert "hello" not in shown(capsys, str(capture), "--bodies", "0")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = Kept()
    rich(trace=kept)
    path = tmp_path_factory.mktemp("traces") / "client.sqlog"
    (data,) = [data for name, data in kept.data.items() if name.endswith("client")]
    path.write_bytes(data)
    return path


def test_a_trace(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, str(trace))
    for line in (
        "#6  0.000 ms  packet_sent  initial HELLO, 1200 bytes\n", "  packet_lost  1RTT 0, 38 bytes\n",
        "connection_closed  owner local, connection_code 7, reason enough, trigger application\n",
        "  packets_acked  packet_numbers [2]\n",
        "158 events in 1050.000 ms, 158 shown; reliable UDP, ", "\n  47  transport:packet_sent\n",
    ):  # fmt: skip
        assert line in text, line
    assert re.search(
        r"\n#\d+  100\.000 ms  packet_sent  1RTT 2, 38 bytes: padding 12; message 0 reliable-ordered 0 6\n", text
    )


def test_some_events_of_a_trace(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *events, summary = objects(capsys, str(trace), "--event", "packet_lost", "--event", "recovery:metrics_updated")
    assert {one["name"] for one in events} == {"recovery:packet_lost", "recovery:metrics_updated"}
    assert summary["shown"] == len(events) == 22 and summary["names"]["recovery:packet_lost"] == 6
    *events, summary = objects(capsys, str(trace), "--frame", "SKIP", "--frame", "CLOSE")
    kinds = [frame["frame_type"] for one in events for frame in one["data"]["frames"]]
    assert set(kinds) == {"skip", "connection_close", "padding"}
    *events, summary = objects(capsys, str(trace), "-c", "3")
    assert [one["number"] for one in events] == [1, 2, 3] and summary["vantage"] == "client"


def test_a_damaged_trace(trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.sqlog"
    path.write_bytes(trace.read_bytes()[:-30])
    assert "  1 record that could not be read" in shown(capsys, str(path), status=1)


@pytest.mark.parametrize("source", ["trace", "capture"])
def test_a_timeline(source: str, request: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = request.getfixturevalue(source), tmp_path / "out.svg"
    *_, said = objects(capsys, str(path), "--timeline", str(out))
    assert said["event"] == "timeline" and said["file"] == str(out) and "what the client sent" in said["title"]
    assert out.read_text(encoding="utf-8").startswith("<svg ")
    assert "#" not in shown(capsys, str(path), "--timeline", str(out))


def test_a_timeline_of_one_of_two_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.svg"
    titles = []
    for arguments in ([], ["--connection", "2"]):
        *_, said = objects(capsys, str(two(tmp_path)), "--timeline", str(out), *arguments)
        titles.append(said["title"])
    assert titles == [f"connection {number} of the capture, what the client sent" for number in (1, 2)]


def test_nothing_to_draw(trace: Path, capture: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.svg"
    empty = tmp_path / "empty.sqlog"
    empty.write_bytes(trace.read_bytes().split(b"\x1e")[1].join([b"\x1e", b""]))
    for arguments in ([str(empty)], [str(capture), "--connection", "7"]):
        ended = finished("inspect", *arguments, "--timeline", str(out))
        assert ended.returncode == 2 and "there is no connection to draw" in ended.stderr, arguments
    assert not out.exists()


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello, I am a text")
    named = tmp_path / "named.sqlog"
    named.write_text("hello, I am a text")
    for arguments, said in (
        ([], "needs either a file, or --live INTERFACE"), ([str(text), "--live", "lo"], "needs either a file, or"),
        ([str(text)], "text is neither a pcap nor a pcapng file"), ([str(tmp_path / "none")], "No such file"),
        ([str(text), "--seconds", "1"], "--seconds is for --live"), ([str(text), "--cid", "xyz"], "'xyz' is not a"),
        ([str(text), "--cid", "0" * 17], "is not a connection id"), ([str(text), "--port", "0"], "0 is not a"),
        ([str(text), "--frame", "NONE"], "invalid choice"), (["--live", "nothing0"], "nothing0"),
        ([str(named), "--event", "x"], "named.sqlog is no sequence of JSON records"),
        ([str(named), "--port", "1"], "--port is for captures"),
        ([str(named), "--all"], "--all is for captures"),
    ):  # fmt: skip
        ended = finished("inspect", *arguments)
        assert (ended.returncode, ended.stdout) == (2, ""), arguments
        assert said in ended.stderr or "needs the right" in ended.stderr, (arguments, ended.stderr)
        assert ended.stderr.count("\n") == 1


def test_limits(capture: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LISTED", 1)
    text = shown(capsys, str(two(tmp_path)), "-q")
    assert "connection 1: " in text and "connection 2: " not in text and "... and 1 more connections" in text
    monkeypatch.setattr(command, "TURN", 1)  # a signal is heard after each packet
    assert "62 packets" in shown(capsys, str(capture), "-q")


def no_right(interface: str) -> str:
    """Why raw packet sockets can't be tried here."""
    try:
        raw.RawSocket(interface).close()
    except OSError as error:
        return str(error)
    return ""


@pytest.mark.linux
@pytest.mark.asyncio
@pytest.mark.parametrize("interface", ["lo", raw.ANY])
async def test_live(interface: str) -> None:
    if why := no_right(interface):
        pytest.skip(why)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server, socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM
    ) as client:  # fmt: skip
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        running = Running("inspect", "--live", interface, "--port", str(port), "--count", "3", "--seconds", "15")
        await running.event("listening")
        for *_, data in rich().packets[:3]:
            client.sendto(data, server.getsockname())
        status, summary = await running.done()
    assert status == 0
    kinds = [part["packet"] for one in running.seen if one["event"] == "packet" for part in one["packets"]]
    assert kinds == ["HELLO", "ACCEPT", "SHORT"]
    assert summary["shown"] == 3 and summary["dropped"] == 0
    assert all(one["ip"]["source"] == "127.0.0.1" for one in running.seen if one["event"] == "packet")


@pytest.mark.linux
@pytest.mark.asyncio
async def test_live_ends_by_time_and_by_a_wish() -> None:
    if why := no_right("lo"):
        pytest.skip(why)
    running = Running("inspect", "--live", "lo", "--port", "1", "--seconds", "0.01")
    status, summary = await running.done()
    assert (status, summary["shown"]) == (0, 0)
    running = Running("inspect", "--live", "lo", "--port", "1")
    await running.event("listening")
    status, summary = await asyncio.wait_for(running.end(), 15)
    assert (status, summary["shown"]) == (0, 0)


def test_without_the_right_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(raw.socket, "socket", refused)
    with pytest.raises(raw.Refused, match="run it as root"):
        raw.RawSocket("lo")
    monkeypatch.delattr(raw.socket, "AF_PACKET", raising=False)
    with pytest.raises(raw.Refused, match="does not have"):
        raw.RawSocket("lo")
