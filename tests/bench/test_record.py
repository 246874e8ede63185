"""`record`: captures of every format and link, what TCP sends again, damaged files, and live recordings."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import cli
from bench.child import ROOT
from bench.trace import flows as flows_module
from bench.trace import proxy
from bench.trace.file import BadTrace, Message, read_trace
from bench.trace.flows import BOTH, CLIENT, SERVER, Flows, Sequence, Wanted
from tests.sight import captures as made
from transport.sight.capture import Packet, Seen, read_capture
from transport.sight.headers import Skipped, decode

MS = 1_000_000
LINKS = [made.ETHERNET, made.RAW, made.NULL, made.LOOP, made.SLL, made.SLL2]


def read(data: bytes, tmp_path: Path, **wanted: Any) -> tuple[list[Message], Seen, Flows]:
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    seen = Seen()
    flows = Flows(Wanted(**wanted), seen)
    flows.add_all(read_capture(path, seen))
    return flows.messages, seen, flows


def tcp_packets(*segments: tuple[int, bytes], back: bool = False) -> list[tuple[int, bytes]]:
    source, target = (made.B, made.A) if back else (made.A, made.B)
    return [(at, made.on_link(made.ETHERNET, made.ipv4(body, 6, source, target))) for at, body in segments]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ns", [False, True])
@pytest.mark.parametrize("link", LINKS)
def test_every_link_type_in_every_classic_file(link: int, ns: bool, order: str, tmp_path: Path) -> None:
    at = 1_700_000_000 * 10**9 + 123_456_000 + (789 if ns else 0)
    packets = [
        (at, made.on_link(link, made.ipv4(made.udp(100)))),
        (at + MS, made.on_link(link, made.ipv6(made.udp(7)))),
    ]
    messages, seen, _ = read(made.pcap(packets, link, order, ns), tmp_path)
    assert messages == [(at, 100, 0), (at + MS, 7, 1)]
    assert seen.packets == 2 and not seen.skipped and seen.broken is None


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("link", LINKS)
def test_every_link_type_in_pcapng(link: int, order: str, tmp_path: Path) -> None:
    data = made.section(order) + made.interface(link, order) + made.block(order, 0xBAD, b"of no interest")
    data += made.enhanced(5_000_000, made.on_link(link, made.ipv4(made.udp(33))), order)
    messages, seen, _ = read(data, tmp_path)
    assert messages == [(5_000_000_000, 33, 0)]
    assert seen.broken is None


@pytest.mark.parametrize(("resolution", "offset", "units", "ns"), [
    (None, None, 7, 7_000), (9, None, 7, 7), (3, None, 7, 7 * MS), (0x80 | 10, None, 1024, 10**9),
    (9, 100, 5, 100 * 10**9 + 5), (12, None, 7_000, 7),
])  # fmt: skip
def test_resolutions_of_time(resolution: int | None, offset: int | None, units: int, ns: int, tmp_path: Path) -> None:
    data = made.section() + made.interface(made.RAW, resolution=resolution, offset=offset)
    messages, _, _ = read(data + made.enhanced(units, made.ipv4(made.udp(1))), tmp_path)
    assert messages == [(ns, 1, 0)]


def test_sections_have_interfaces_and_byte_orders_of_their_own(tmp_path: Path) -> None:
    packet = made.ipv4(made.udp(9))
    data = made.section("<") + made.interface(made.ETHERNET) + made.interface(made.RAW)
    data += made.enhanced(1, packet, number=1)
    data += made.section(">") + made.interface(made.RAW, ">", 9) + made.enhanced(4000, packet, ">")
    assert [at for at, _, _ in read(data, tmp_path)[0]] == [1000, 4000]


def test_packets_without_a_time_are_counted(tmp_path: Path) -> None:
    data = made.section() + made.interface(made.RAW) + made.simple(made.ipv4(made.udp(9)))
    messages, seen, _ = read(data + made.enhanced(1, made.ipv4(made.udp(8))), tmp_path)
    assert [size for _, size, _ in messages] == [8]
    assert seen.packets == 2
    assert dict(seen.skipped) == {"without a time (simple packet blocks)": 1}


def test_tags_options_and_padding_are_no_payload(tmp_path: Path) -> None:
    packets = [
        (1, made.on_link(made.ETHERNET, made.ipv4(made.udp(10)), tags=1)),
        (2, made.on_link(made.ETHERNET, made.ipv4(made.udp(11)), tags=2)),
        (3, made.on_link(made.ETHERNET, made.ipv4(made.udp(12), options=3))),
        (4, made.on_link(made.ETHERNET, made.ipv4(made.udp(1)) + bytes(17))),  # Ethernet's least size
        (5, made.on_link(made.ETHERNET, made.ipv4(made.tcp(13, 1, options=3), 6))),
        (6, made.on_link(made.ETHERNET, made.ipv6(bytes([17, 0]) + bytes(6) + made.udp(14), 0))),  # hop-by-hop
        (7, made.on_link(made.ETHERNET, made.ipv6(bytes([17, 0]) + bytes(6) + made.udp(15), 44))),  # a lone fragment
        (8, made.on_link(made.ETHERNET, made.ipv6(bytes([17, 1]) + bytes(10) + made.udp(16), 51))),
    ]
    assert [size for _, size, _ in read(made.pcap(packets, ns=True), tmp_path)[0]] == [10, 11, 12, 1, 13, 14, 15, 16]


def test_what_gives_no_message_is_counted_by_its_reason(tmp_path: Path) -> None:
    whole = made.ipv4(made.udp(10))
    packets = [
        made.MAC + b"\x08\x06" + bytes(28),  # ARP
        made.on_link(made.ETHERNET, made.ipv4(bytes(8), 1)),  # ICMP
        made.on_link(made.ETHERNET, made.ipv4(made.udp(10), piece=0x2000)),  # more fragments
        made.on_link(made.ETHERNET, made.ipv4(bytes(10), piece=100)),
        made.on_link(made.ETHERNET, made.ipv6(bytes([17, 0, 0, 1]) + bytes(4) + made.udp(10), 44)),
        made.on_link(made.ETHERNET, made.ipv4(made.udp(10, claimed=100))),
        made.on_link(made.ETHERNET, made.ipv4(made.udp(10, claimed=7))),
        made.on_link(made.ETHERNET, b"\x4f" + whole[1:]),  # a header larger than the packet
        made.on_link(made.ETHERNET, b"\x55" + whole[1:]),
        made.on_link(made.ETHERNET, whole)[:30],
        made.on_link(made.ETHERNET, made.ipv4(made.tcp(0, 1), 6)),
        b"",
    ]
    messages, seen, _ = read(made.pcap([(at, data) for at, data in enumerate(packets)]), tmp_path)
    assert messages == []
    assert dict(seen.skipped) == {
        "not IP": 1, "neither UDP nor TCP": 1, "fragments": 3, "malformed": 6, "TCP without data": 1,
    }  # fmt: skip
    assert seen.packets == len(packets)
    _, seen, _ = read(made.pcap([(1, bytes(60))], link=147), tmp_path)
    assert dict(seen.skipped) == {"of link type 147, which is not known here": 1}


def test_the_first_bytes_of_each_packet_are_enough(tmp_path: Path) -> None:
    packets = [(1, made.on_link(made.ETHERNET, made.ipv4(made.udp(1400))))]
    packets += tcp_packets((2, made.tcp(1300, 1, options=3)))
    assert [size for _, size, _ in read(made.pcap(packets, snap=70), tmp_path)[0]] == [1400, 1300]
    messages, seen, _ = read(made.pcap(packets, snap=36), tmp_path)
    assert not messages
    assert dict(seen.skipped) == {"cut off before the end of their headers": 2}


def test_what_is_before_the_damage_is_kept(tmp_path: Path) -> None:
    packets = [(at, made.on_link(made.ETHERNET, made.ipv4(made.udp(10)))) for at in range(5)]
    whole = made.pcap(packets)
    for cut, text in ((5, "middle of a packet"), (60, "packet's head")):
        messages, seen, _ = read(whole[:-cut], tmp_path)
        assert len(messages) == 4 and text in str(seen.broken)
    messages, seen, _ = read(whole + b"\xff" * 16, tmp_path)
    assert len(messages) == 5 and seen.broken == "a packet of 4294967295 bytes"
    start = made.section() + made.interface(made.RAW) + made.enhanced(1, made.ipv4(made.udp(10)))
    one = made.enhanced(2, made.ipv4(made.udp(10)))
    for tail, text in (
        (one[:-4] + b"\0\0\0\0", "two lengths differ"), (one[:-5], "middle of a packet"),
        (one[:3], "middle of a block"),
        (made.enhanced(2, b"", number=7), "was not named"), (made.block("<", 6, b"\0" * 4), "too short"),
        (b"\x06\0\0\0\x05\0\0\0", "a block of 5 bytes"), (b"\x06\0\0\0\xf0\xff\xff\xff", "a block of 4294967280 bytes"),
        (made.block("<", 1, b""), "an interface that is none"), (made.block("<", 0x0A0D0D0A, bytes(16)), "byte order"),
    ):  # fmt: skip
        messages, seen, _ = read(start + tail, tmp_path)
        assert len(messages) == 1 and text in str(seen.broken), text


def test_what_tcp_sends_again_counts_once(tmp_path: Path) -> None:
    start = (1 << 32) - 150  # the numbers wrap
    segments = [
        (0, made.tcp(0, start - 1, flags=made.SYN)),
        (1, made.tcp(100, start)),
        (2, made.tcp(100, start + 100)),
        (3, made.tcp(100, start + 100)),  # again
        (4, made.tcp(1, start + 199)),  # keep-alive
        (5, made.tcp(150, start + 150)),  # half of it again
        (6, made.tcp(100, start + 500)),  # the 200 before it were lost before they came by here
        (7, made.tcp(300, start + 300)),  # they come, with some of what follows
        (8, made.tcp(200, start + 300)),
        (9, made.tcp(10, start + 600)),
    ]
    messages, seen, _ = read(made.pcap(tcp_packets(*segments), ns=True), tmp_path)
    assert [(at, size) for at, size, _ in messages] == [(1, 100), (2, 100), (5, 100), (6, 100), (7, 200), (9, 10)]
    assert seen.skipped["TCP sent again"] == 3
    assert seen.notes["TCP, of which a part was sent again"] == 2


def test_a_port_that_is_used_again_begins_anew(tmp_path: Path) -> None:
    segments = [(at, made.tcp(50, 1000 * begun + 1)) for begun, at in ((5, 2), (1, 4))]
    begins = [(at, made.tcp(0, 1000 * begun, flags=made.SYN)) for begun, at in ((5, 1), (1, 3))]
    messages, _, _ = read(made.pcap(sorted(tcp_packets(*segments, *begins)), ns=True), tmp_path)
    assert [(at, size) for at, size, _ in messages] == [(2, 50), (4, 50)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, (1 << 32) - 1), st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), max_size=40))
def test_each_byte_is_new_once(first: int, pieces: list[tuple[int, int]]) -> None:
    """Against a set of bytes: whatever comes in whatever order, as long as the gaps fit."""
    sequence = Sequence()
    sequence.begin(first)
    known: set[int] = set()
    for at, size in pieces:
        new = set(range(at, at + size)) - known
        known |= new
        assert sequence.take((first + at) % (1 << 32), size) == len(new)


@pytest.mark.parametrize(("sender", "sizes"), [(CLIENT, [10, 20]), (SERVER, [1000]), (BOTH, [10, 1000, 20])])
@pytest.mark.parametrize("handshake", [True, False])
def test_directions(sender: str, sizes: list[int], handshake: bool, tmp_path: Path) -> None:
    server = 60000 if handshake else 5000  # without a handshake and a choice, the lower port serves
    there = [(1, made.tcp(0, 0, target=server, flags=made.SYN))] if handshake else []
    there += [(3, made.tcp(10, 1, target=server)), (5, made.tcp(20, 11, target=server))]
    back = [(2, made.tcp(0, 0, server, 40000, made.SYN | made.ACK))] if handshake else []
    back += [(4, made.tcp(1000, 1, server, 40000))]
    data = made.pcap(sorted(tcp_packets(*there) + tcp_packets(*back, back=True)))
    messages, _, flows = read(data, tmp_path, sender=sender)
    assert [size for _, size, _ in messages] == sizes
    assert flows.connections == (2 if sender == BOTH else 1)


def test_ports_and_protocols_are_chosen(tmp_path: Path) -> None:
    packets = tcp_packets((1, made.tcp(10, 1)), (2, made.tcp(20, 1, target=6000)))
    packets += [(3, made.on_link(made.ETHERNET, made.ipv4(made.udp(30))))]
    packets += [(4, made.on_link(made.ETHERNET, made.ipv4(made.udp(40, 5000, 40000), 17, made.B, made.A)))]
    data = made.pcap(packets)
    for wanted, sizes in (
        ({"ports": frozenset({5000})}, [10, 30, 40]), ({"protocol": "udp"}, [30, 40]), ({"protocol": "tcp"}, [10, 20]),
        ({"ports": frozenset({5000}), "sender": CLIENT}, [10, 30]), ({"ports": frozenset({6000, 7000})}, [20]),
        ({"ports": frozenset({40000}), "sender": CLIENT, "protocol": "udp"}, [40]),
    ):  # fmt: skip
        assert [size for _, size, _ in read(data, tmp_path, **wanted)[0]] == sizes, wanted


def test_segments_that_are_close_are_one_message(tmp_path: Path) -> None:
    there = [
        (0, made.tcp(1448, 1)),
        (MS, made.tcp(1448, 1449)),
        (2 * MS, made.tcp(100, 2897)),
        (9 * MS, made.tcp(5, 2997)),
    ]
    back = [(MS // 2, made.tcp(7, 1, 5000, 40000))]
    datagrams = [(at, made.on_link(made.ETHERNET, made.ipv4(made.udp(3)))) for at in (10 * MS, 10 * MS + 1000)]
    data = made.pcap(sorted(tcp_packets(*there) + tcp_packets(*back, back=True)) + datagrams)
    messages, _, _ = read(data, tmp_path, merge_ns=MS)
    assert [(at, size) for at, size, _ in messages] == [
        (0, 2996), (MS // 2, 7), (9 * MS, 5), (10 * MS, 3), (10 * MS + 1000, 3),
    ]  # fmt: skip


def test_limits_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = made.pcap([(at, made.on_link(made.ETHERNET, made.ipv4(made.udp(100, 1000 + at)))) for at in range(6)])
    for name, value, text in (
        ("MESSAGES_MAX", 5, "more than 5 messages"), ("CONNECTIONS_MAX", 5, "more than 5 connections"),
        ("FLOWS_MAX", 5, "more than 5 pairs of addresses"), ("BYTES_MAX", 599, "more than 599 bytes"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(flows_module, name, value)
            with pytest.raises(BadTrace, match=text):
                read(data, tmp_path)
    assert len(read(data, tmp_path)[0]) == 6


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([*LINKS, 12, 228, 147]), st.binary(max_size=120), st.integers(0, 2000))
def test_random_packets_never_crash(link: int, data: bytes, more: int) -> None:
    try:
        size = decode(Packet(1, link, data, len(data) + more)).size
    except Skipped:
        size = 0
    assert 0 <= size <= len(data) + more


def test_random_files_never_crash(tmp_path: Path) -> None:
    """Random bytes behind every beginning, and whole files of which some bytes are changed."""
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    packets = tcp_packets(*[(at * MS, made.tcp(rng.randrange(99), rng.getrandbits(32))) for at in range(6)])
    packets += [(1, made.on_link(made.ETHERNET, made.ipv6(made.udp(9))))]
    blocks = made.section() + made.interface(made.ETHERNET) + b"".join([made.enhanced(*one) for one in packets])
    wholes = [made.pcap(packets), made.pcap(packets, order=">", ns=True), blocks]
    read_any = 0
    for _ in range(200):
        whole = rng.choice(wholes)
        if rng.random() < 0.5:
            data = whole[: rng.choice([4, 8, 24, 28])] + rng.randbytes(rng.randrange(200))
        else:
            changed = bytearray(whole)
            for _ in range(rng.randrange(1, 20)):
                changed[rng.randrange(4, len(changed))] = rng.randrange(256)
            data = bytes(changed)
        messages, seen, _ = read(data, tmp_path, merge_ns=rng.choice([0, MS]))
        assert len(messages) <= seen.packets
        read_any += len(messages)
    assert read_any > 0


def run(*arguments: str) -> int:
    return cli.main(["record", *arguments])


def test_the_command_writes_a_trace_that_replay_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture, out = tmp_path / "calls.pcapng", tmp_path / "calls.jsonl"
    day = 1_700_000_000 * 10**9
    packets = tcp_packets((day + 500 * MS, made.tcp(10, 1)), (day, made.tcp(1448, 11)), (day + MS, made.tcp(52, 1459)))
    packets += [(day + 2 * MS, made.MAC + b"\x08\x06" + bytes(28))]
    capture.write_bytes(made.pcap(packets, ns=True)[:-3])
    assert run(str(capture), "--port", "5000", "--proto", "tcp", "--from-client", "--merge", "1ms",
               "--out", str(out)) == 0  # fmt: skip
    said = capsys.readouterr().out
    assert "2 messages, 1,510 B, 1 connection, 0.5 s" in said
    assert "3 packets read" in said
    assert "can't be read: it ends in the middle of a packet" in said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert lines == [{"at": 0.0, "size": 1500, "connection": 0}, {"at": 0.5, "size": 10, "connection": 0}]
    trace = read_trace(out)
    assert list(trace.at) == [0, 500 * MS]
    assert list(trace.size) == [1500, 16] and trace.facts.raised == 1


def test_wrong_usage_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, packed, empty, old = (tmp_path / name for name in ("text", "packed", "empty", "old"))
    text.write_text("hello, I am a text")
    packed.write_bytes(b"\x1f\x8b\x08\0")
    empty.write_bytes(made.pcap([]))
    far = made.on_link(made.ETHERNET, made.ipv4(made.udp(10)))
    old.write_bytes(made.pcap([(0, far), (10**18, far)]))
    out = ["--out", str(tmp_path / "out.jsonl")]
    live = ["--listen", "tcp://127.0.0.1:0", "--to"]
    for arguments, said in (
        ([], "either a capture file, or"), ([str(text), *live, "tcp://127.0.0.1:1"], "either a capture file, or"),
        (live[:2], "either a capture file, or"), ([str(text)], "neither a pcap nor a pcapng"),
        ([str(packed)], "unpack it first"), ([str(tmp_path / "none")], "No such file"), ([str(tmp_path)], "directory"),
        ([str(empty)], "no message found"), ([str(old)], "are the times right"),
        ([*live, "udp://127.0.0.1:1"], "both must be the same"), ([*live, "ws://h:1"], "tcp://host:port or udp://"),
        ([*live, "tcp://127.0.0.1"], "port is missing"), ([*live, "tcp://127.0.0.1:0"], "port 0"),
        ([str(text), "--framing", "lines"], "--framing is for live"),
        ([*live, "tcp://h:1", "--port", "1"], "--port is for"),
        (["--listen", "udp://127.0.0.1:0", "--to", "udp://h:1", "--framing", "lines"], "a datagram is a message"),
    ):  # fmt: skip
        assert run(*arguments, *out) == 2, arguments
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, (arguments, error)
    assert not (tmp_path / "out.jsonl").exists()


async def echo_server() -> tuple[asyncio.Server, int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def through_streams(notes: proxy.Notes, payloads: list[bytes], port: int | None = None) -> list[bytes]:
    """Sends each payload through the proxy on a connection of its own to an echo; gives what came back."""
    server, real = await echo_server()
    streams = proxy.Streams(notes, ("127.0.0.1", port or real))
    _, listening = await streams.start("127.0.0.1", 0)
    came = []
    for payload in payloads:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening)
        writer.write(payload)
        writer.write_eof()
        try:
            came.append(await reader.read(-1))
        except ConnectionResetError:
            came.append(b"reset")
        writer.close()
    await streams.close()
    server.close()
    return came


@pytest.mark.asyncio
async def test_streams_pass_and_are_noted() -> None:
    notes = proxy.Notes(framing="length32")
    first = b"".join([size.to_bytes(4, "big") + bytes(size) for size in (10, 0, 3000)])
    second = (200_000).to_bytes(4, "big") + bytes(200_000)
    assert await through_streams(notes, [first, second]) == [first, second]
    sizes: dict[int, list[int]] = {}
    for _, size, number in notes.messages:
        sizes.setdefault(number, []).append(size)
    assert sizes == {0: [10, 0, 3000], 1: [10, 0, 3000], 2: [200_000], 3: [200_000]}
    times = [at for at, _, _ in notes.messages]
    assert times == sorted(times) and not notes.counts


@pytest.mark.asyncio
async def test_a_wrong_framing_and_a_missing_server_harm_nobody() -> None:
    notes = proxy.Notes(CLIENT, "netstring")
    assert await through_streams(notes, [b"3:abc,no netstring"]) == [b"3:abc,no netstring"]
    assert [size for _, size, _ in notes.messages] == [3]
    assert dict(notes.counts) == {proxy.MALFORMED: 1}
    server, port = await echo_server()
    server.close()
    await server.wait_closed()
    notes = proxy.Notes()
    assert await through_streams(notes, [b"x"], port) in ([b""], [b"reset"])
    assert dict(notes.counts) == {proxy.LOST: 1}


@pytest.mark.asyncio
async def test_datagrams_pass_and_are_noted() -> None:
    loop = asyncio.get_running_loop()

    def bound() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        return sock

    def echo() -> None:
        data, sender = server.recvfrom(2000)
        server.sendto(data * 2, sender)

    def arrived() -> None:
        got.put_nowait(client.recv(2000))

    got: asyncio.Queue[bytes] = asyncio.Queue()
    server = bound()
    loop.add_reader(server.fileno(), echo)
    notes = proxy.Notes()
    forwarding = proxy.Datagrams(notes, server.getsockname())
    address = await forwarding.start("127.0.0.1", 0)
    for number in range(2):
        client = bound()
        loop.add_reader(client.fileno(), arrived)
        for size in (5, 0, 100 + number):
            client.sendto(bytes(size), address)
            assert await asyncio.wait_for(got.get(), 5) == bytes(2 * size)
        loop.remove_reader(client.fileno())
        client.close()
    loop.remove_reader(server.fileno())
    server.close()
    await forwarding.close()
    assert [(size, lane) for _, size, lane in notes.messages] == [
        (5, 0), (10, 1), (0, 0), (0, 1), (100, 0), (200, 1), (5, 2), (10, 3), (0, 2), (0, 3), (101, 2), (202, 3),
    ]  # fmt: skip
    assert not notes.counts


@pytest.mark.asyncio
async def test_datagrams_to_nobody_are_counted() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        nobody.bind(("127.0.0.1", 0))
        target = nobody.getsockname()
        nobody.close()
        notes = proxy.Notes(CLIENT)
        forwarding = proxy.Datagrams(notes, target)
        address = await forwarding.start("127.0.0.1", 0)
        client.sendto(b"one", address)
        async with asyncio.timeout(5):
            while not notes.counts:
                await asyncio.sleep(0)
        await forwarding.close()
    assert dict(notes.counts) == {proxy.UNDELIVERED: 1}
    assert [size for _, size, _ in notes.messages] == [3]


@pytest.mark.asyncio
async def test_a_recording_ends_when_a_trace_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "MESSAGES_MAX", 2)
    notes = proxy.Notes(CLIENT, "lines")
    assert await through_streams(notes, [b"1\n2\n3\n"]) == [b"1\n2\n3\n"]
    assert len(notes.messages) == 2
    assert notes.full and notes.stop.is_set()


@pytest.mark.slow
@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_ctrl_c_ends_a_live_recording_and_writes(tmp_path: Path) -> None:
    server, port = await echo_server()
    out = tmp_path / "live.jsonl"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench", "record", "--listen", "tcp://127.0.0.1:0", "--to", f"tcp://127.0.0.1:{port}",
        "--framing", "lines", "--from-client", "--out", str(out),
        cwd=ROOT, env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await process.stdout.readline()).decode()
        assert line.startswith("recording on tcp://127.0.0.1:")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(line.split(",")[0].rsplit(":", 1)[1]))
        for text in (b"hello\n", b"you\n"):
            writer.write(text)
            assert await reader.readline() == text
        process.send_signal(signal.SIGINT)
        said, wrong = await process.communicate()
        assert process.returncode == 0, wrong.decode()
        assert b"2 messages, 8 B, 1 connection" in said and not wrong
        writer.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        server.close()
    assert list(read_trace(out).size) == [16, 16]
    assert [json.loads(line)["size"] for line in out.read_text().splitlines()] == [5, 3]
