"""The dissector for Wireshark reads everything, and reads what our own parser reads."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.docs.test_rudp_vectors import FRAMES, KEY, LONGS, SHORTS
from tests.meta import tree
from tests.sight import captures
from tests.sight.talk import CLIENT, SERVER, START, Talk, forgotten, growing, moving, on_wire, refused, rich
from tests.sight.test_follow import by_hand, segment
from transport import limits
from transport.rudp import dissect, packet
from transport.rudp.dissect import Frame
from transport.sight.follow import Follower, Found

SCRIPT = tree.ROOT / "docs" / "wireshark" / "transport.lua"
TSHARK = shutil.which("tshark")
PORT = SERVER[1]
VECTORS_AT = START + 10**12


def why_not() -> str:
    """Why tshark can't be asked here."""
    if TSHARK is None:
        return "tshark is not installed"
    said = subprocess.run([TSHARK, "--version"], capture_output=True, text=True, check=False).stdout
    return "" if "with Lua" in said else "this tshark has no Lua"


WHY_NOT = why_not()
needs_tshark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


def tshark(data: bytes, tmp_path: Path, *arguments: str) -> str:
    """What it prints about a capture; nothing of it may be an error of the script."""
    path = tmp_path / "x.pcap"
    path.write_bytes(data)
    assert TSHARK is not None
    ran = subprocess.run(
        [TSHARK, "-X", f"lua_script:{SCRIPT}", "-r", str(path), "-n", *arguments], capture_output=True, text=True,
        check=False, timeout=60, env={**os.environ, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    noise = [line for line in ran.stderr.splitlines() if line and "superuser" not in line and "as user" not in line]
    assert noise == []
    return ran.stdout


def protos(data: bytes, tmp_path: Path, *arguments: str) -> list[list[ElementTree.Element]]:
    """For each packet the trees of our protocol in it."""
    root = ElementTree.fromstring(tshark(data, tmp_path, "-T", "pdml", *arguments))
    return [[one for one in each.findall("proto") if one.get("name") == "trudp"] for each in root.findall("packet")]


def leaves(tree_of: ElementTree.Element) -> Iterator[ElementTree.Element]:
    for one in tree_of:
        if one.get("name") == "trudp.flags" or len(one) == 0:
            yield one
        if len(one):
            yield from leaves(one)


def uncovered(payload_at: int, size: int, trees: list[ElementTree.Element]) -> set[int]:
    """Bytes of a payload that no field stands for."""
    left = set(range(payload_at, payload_at + size))
    for tree_of in trees:
        means = [one for one in tree_of.iter() if one.get("name") in ("trudp.checksum", "trudp.msg.payload")]
        for one in [*leaves(tree_of), *means]:
            at = int(one.get("pos", "0"))
            left -= set(range(at, at + int(one.get("size", "0"))))
    return left


SHOWN = {
    "packet", "cid", "dcid", "scid", "number", "flags.copies", "version", "cookie", "code", "reason", "listed_version",
    "checksum.kind", "checksum.status", "token", "frame.name", "pad.count", "ack.range", "ack.delay_us", "ack.ect0",
    "ack.ect1", "ack.ce", "policy.number", "policy.threshold", "policy.delay_us", "policy.reordering",
    "lane", "skip.number", "skip.cost", "limit", "channel", "blocked", "msg.delivery",
    "msg.channel", "msg.number", "msg.offset", "msg.total", "msg.payload", "stream.id", "stream.total", "stream.code",
    "stream.side", "stream.limit", "path.token", "cid.number", "cid.floor", "cid.new", "cid.token",
    *(f"parameter.{name}" for name in (*packet.NUMBERS.values(), "codec", "reset_token")),
}  # fmt: skip
BYTES = {"cid", "dcid", "scid", "cookie", "token", "msg.payload", "parameter.reset_token", "path.token", "cid.new",
         "cid.token"}  # fmt: skip
OF_IDS = {
    "token": "path.token",
    "number": "cid.number",
    "floor": "cid.floor",
    "cid": "cid.new",
    "reset_token": "cid.token",
}


def theirs(tree_of: ElementTree.Element) -> list[tuple[str, str]]:
    """What Wireshark shows of a packet, in the order of the tree."""
    found = []
    for one in tree_of.iter("field"):
        name = (one.get("name") or "").removeprefix("trudp.")
        if name in SHOWN:
            value = one.get("value", "") if name in BYTES else one.get("show", "")
            found.append((name, value))
    return found


def ours(found: Found) -> list[tuple[str, str]]:
    """The same of our own parser."""
    made, fields = found.dissection, found.dissection.fields
    told: list[tuple[str, Any]] = []
    if made.kind == dissect.RESET:
        return [("token", fields["token"]), ("packet", "RESET")]
    if made.kind == dissect.SHORT:
        told += [("flags.copies", bool_of(fields["copies"])), ("cid", fields["cid"])]
        told.append(("number", fields["number"] & (1 << 8 * fields["number_bytes"]) - 1))
        for frame in made.frames:
            told += frame_of(found.data, frame)
    else:
        told += [("version", f"0x{fields['version']}"), ("dcid", fields["dcid"]), ("scid", fields["scid"])]
        told += [("cookie", fields["cookie"])] if fields.get("cookie") else []
        told += [(f"parameter.{name}", value) for name, value in fields.get("parameters", {}).items()
                 if not name.startswith("parameter_") and value != ""]  # fmt: skip
        if made.kind == "REFUSE":
            told.append(("code", fields["code"]))
            told += [("reason", fields["reason"])] if fields["reason"] else []
            told += [("listed_version", f"0x{version}") for version in fields["versions"]]
    kind = {dissect.ABSENT: "none", dissect.UNVERIFIED: ""}.get(made.checksum, fields.get("checksum", ""))
    told += [("checksum.kind", kind)] if made.checksum in (dissect.GOOD, dissect.WRONG) else []
    told += [("checksum.status", made.checksum), ("packet", made.kind)]
    return [(name, str(value)) for name, value in told]


def bool_of(value: bool) -> str:
    return "1" if value else "0"


def frame_of(data: bytes, frame: Frame) -> list[tuple[str, Any]]:
    fields = frame.fields
    told: list[tuple[str, Any]] = [("frame.name", frame.name)]
    if frame.name == "PAD":
        told.append(("pad.count", fields["count"]))
    elif "ranges" in fields:
        told.append(("ack.delay_us", fields["delay_us"]))
        told += [("ack.range", f"{low}-{high}" if low < high else str(low)) for low, high in fields["ranges"]]
        told += [(f"ack.{mark}", fields[mark]) for mark in ("ect0", "ect1", "ce") if mark in fields]
    elif frame.name == "SKIP":
        told.append(("lane", fields["channel"] * 4 + fields["delivery"]))
        told += [pair for one, cost in fields["messages"] for pair in (("skip.number", one), ("skip.cost", cost))]
    elif frame.name == "BLOCKED":
        told += [("blocked", fields["channel"] + 1), ("limit", fields["limit"])]
    elif frame.name == "ACK_POLICY":
        told += [(f"policy.{name}", value) for name, value in fields.items()]
    elif frame.name == "CLOSE":
        told.append(("code", fields["code"]))
        told += [("reason", fields["reason"])] if fields["reason"] else []
    elif frame.name == "MSG":
        told += message_of(data, frame)
    elif frame.name in ("PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID"):
        told += [(OF_IDS[name], value) for name, value in fields.items()]
    else:
        told += list(fields.items())
    return told


def message_of(data: bytes, frame: Frame) -> list[tuple[str, Any]]:
    fields = frame.fields
    kind = data[frame.start]
    told: list[tuple[str, Any]] = [("msg.delivery", fields["delivery"])]
    if not kind & packet.SUCCESSOR:
        told.append(("msg.channel", fields["channel"]))
        told.append(("msg.number", fields["number"] & (1 << 8 * ((kind & 3) + 1)) - 1))
    told += [(f"msg.{name}", fields[name]) for name in ("offset", "total") if name in fields]
    assert frame.body is not None
    start, end = frame.body
    if end > start:
        told.append(("msg.payload", data[start:end].hex()))
    if fields["channel"] == packet.STREAM_CHANNEL and "offset" not in fields:
        for inner in dissect.stream_frame(data, start, end)[0]:
            told.append(("stream.id", inner.fields["stream"]))
            told += [("stream.total", inner.fields["total"] + 1)] if "total" in inner.fields else []
            told += [
                (f"stream.{name}", inner.fields[name]) for name in ("code", "side", "limit") if name in inner.fields
            ]
    return told


def vectors() -> list[tuple[int, Any, Any, bytes]]:
    """Every packet of the page, and every frame of it in a packet with a checksum."""
    packets = [(data[0] >> 4 in (0xD, 0xE, 0xF), data) for data, _ in LONGS]
    packets += [(False, data) for data, kind, _ in SHORTS if kind != "none"]
    packets += [("reset_token" in str(means), by_hand(0x0123456789ABCDEF, 7, frames)) for frames, means in FRAMES]
    token = packet.reset_token(KEY, 0x2222222222222222)
    packets.append((True, packet.encode_reset(token, random.Random(1).randbytes, 60)))
    ways = {True: (SERVER, CLIENT), False: (CLIENT, SERVER)}
    return [(1000 * index, *ways[by_server], data) for index, (by_server, data) in enumerate(packets)]


def talked(checksums: int) -> Talk:
    talk = rich(checksums=checksums)
    if checksums == 2:
        talk.packets += [(at + VECTORS_AT, source, target, data) for at, source, target, data in vectors()]
    return talk


def compared(talk: Talk, tmp_path: Path) -> tuple[set[str], set[str]]:
    """Has tshark and our own parser read a conversation; the kinds of its packets, and the names of their frames."""
    pages = protos(talk.pcap(), tmp_path, "-o", "udp.try_heuristic_first:TRUE")  # one comes from port 7, of "echo"
    assert len(pages) == len(talk.packets)
    follower = Follower(trusts=True)
    kinds, names = set(), set()
    for trees, (at, source, target, data) in zip(pages, talk.packets, strict=True):
        (found,) = follower.take(segment(at, source, target, data), data)
        if at >= VECTORS_AT and found.dissection.kind == dissect.SHORT:  # each is of a connection of its own
            (found,) = Follower(trusts=True).take(segment(at, source, target, data), data)
        (tree_of,) = trees
        assert theirs(tree_of) == ours(found), data[:100].hex()
        assert not uncovered(42, len(data), trees), data[:100].hex()
        assert not [one for one in tree_of.iter() if one.get("name") in ("trudp.undecoded", "_ws.malformed")]
        kinds.add(found.dissection.kind)
        names |= {frame.name for frame in found.dissection.frames}
    return kinds, names


@needs_tshark
@pytest.mark.slow
@pytest.mark.parametrize("checksums", [2, 6, 7])
def test_every_packet_and_every_field(checksums: int, tmp_path: Path) -> None:
    """Nothing malformed, no byte without a field, each field as our own parser has it."""
    kinds, names = compared(talked(checksums), tmp_path)
    if checksums == 2:
        assert kinds == set(dissect.KINDS) and names == set(dissect.FRAMES)


@needs_tshark
@pytest.mark.slow
@pytest.mark.timeout(60)  # tshark makes XML of packets of up to 65,000 bytes
@pytest.mark.parametrize(("scene", "kinds", "names"), [
    (moving, {"HELLO", "ACCEPT", "SHORT"}, {"PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID"}),
    (growing, {"HELLO", "ACCEPT", "SHORT"}, {"ACK_ECN", "PING", "PAD", "MSG"}),
    (refused, {"HELLO", "RETRY", "REFUSE"}, set()),
    (forgotten, {"HELLO", "ACCEPT", "SHORT", "RESET"}, {"MSG"}),
])  # fmt: skip
def test_sessions_with_all_that_can_happen(scene: Any, kinds: set[str], names: set[str], tmp_path: Path) -> None:
    """A client that moves, packets of all sizes with marks, one that is refused, one whose server has forgotten it."""
    talk = scene()
    found_kinds, found_names = compared(talk, tmp_path)
    assert found_kinds == kinds and found_names >= names
    if scene is growing:
        assert max(len(data) for *_, data in talk.packets) == limits.RUDP_DATAGRAM_BYTES_MAX


@needs_tshark
@pytest.mark.slow
def test_it_is_found_without_being_asked_and_leaves_others_alone(tmp_path: Path) -> None:
    """By the handshake, by a checksum; nobody else's datagrams, which Decode As would read all the same."""
    rng = random.Random(2)
    talk = rich()
    others = [b"hello, world", bytes([0x43]) + rng.randbytes(60), bytes([0xC3]) + b"\0\0\0\1" + rng.randbytes(60)]
    for packets in (talk.packets[:12], talk.packets[8:20]):
        at = packets[-1][0]
        talk.packets = packets + [(at + 1, CLIENT, ("10.0.0.3", 9), data) for data in others]
        pages = protos(talk.pcap(captures.SLL2), tmp_path)
        assert [len(trees) for trees in pages] == [1] * 12 + [0] * 3
    pages = protos(talk.pcap(), tmp_path, "-d", "udp.port==9,trudp")
    assert [len(trees) for trees in pages] == [1] * 15


@needs_tshark
@pytest.mark.slow
def test_trains_and_captures_of_the_first_bytes(tmp_path: Path) -> None:
    talk = rich()
    large = [one for one in talk.packets if len(one[3]) == 1200 and one[3][0] & 0x80 == 0][:4]
    at, source, target, _ = large[0]
    train = b"".join([data for *_, data in large])
    talk.packets = [*talk.packets[:3], (at, source, target, train)]
    trees = protos(talk.pcap(), tmp_path)[3]
    assert len(trees) == 4 and not uncovered(42, len(train), trees)
    for tree_of, (*_, data) in zip(trees, large, strict=True):
        numbers = [one.get("show") for one in tree_of.iter() if one.get("name") == "trudp.number"]
        assert numbers == [str(int.from_bytes(data[9:11], "big"))]
    cut = captures.pcap([(1, on_wire(captures.ETHERNET, *large[0][1:]))], ns=True, snap=100)
    (trees,) = protos(cut, tmp_path, "-d", f"udp.port=={PORT},trudp")
    assert [value for name, value in theirs(trees[0]) if name == "checksum.status"] == ["not verified"]


@needs_tshark
@pytest.mark.slow
def test_damaged_packets_are_told_and_harm_nothing(tmp_path: Path, seed: int) -> None:
    """Changed, cut and random bytes: every packet is shown, and the script has no error."""
    rng = random.Random(seed)
    talk = rich()
    real, made = talk.packets, []
    for index in range(300):
        at, source, target, data = rng.choice(real)
        changed = bytearray(data)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(len(changed))] = rng.getrandbits(8)
        whole = bytes(changed) if rng.random() < 0.7 else data[: rng.randrange(1, len(data))]
        made.append((at + index, source, target, whole if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 90))))
    talk.packets = made
    out = tshark(
        talk.pcap(), tmp_path, "-d", f"udp.port=={PORT},trudp", "-d", "udp.port==40000,trudp", "-o",
        "trudp.checksum:none", "-T", "fields", "-e", "frame.number", "-e", "trudp.packet", "-e", "_ws.lua.error",
        "-e", "_ws.malformed", "-e", "trudp.malformed",
    )  # fmt: skip
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == 300
    assert not [row for row in rows if row[2] or (row[3] and not row[4])], "Wireshark's words, not the script's own"
    assert any(row[4] for row in rows)
    assert sum(1 for row in rows if row[1]) > 200


@needs_tshark
@pytest.mark.slow
def test_a_number_that_is_cut_off_is_told(tmp_path: Path) -> None:
    """Twelve bytes are a packet's least with a number of one byte or two; its first byte says four."""
    talk = rich()
    at, source, target, _ = talk.packets[0]
    talk.packets = [(at, source, target, bytes.fromhex("672a091d7765092c80000102"))]
    out = tshark(
        talk.pcap(), tmp_path, "-d", f"udp.port=={PORT},trudp", "-d", "udp.port==40000,trudp", "-T", "fields",
        "-e", "_ws.lua.error", "-e", "trudp.malformed",
    )  # fmt: skip
    assert out.rstrip("\n").split("\t") == ["", "1"]


def test_the_script_knows_the_names_that_we_have() -> None:
    """Also where there is no tshark: frames, packets, parameters, codes."""
    text = SCRIPT.read_text(encoding="utf-8")
    for name in (*dissect.FRAMES, *dissect.LONGS.values(), *packet.NUMBERS.values(), "codec", "reset_token"):
        assert f'"{name}"' in text, name
    for name, kind in (("VERSION", packet.VERSION), ("STREAM_CHANNEL", packet.STREAM_CHANNEL)):
        assert f"local {name} = " in text and (f"{kind:#010x}" in text or f"= {kind}\n" in text)
