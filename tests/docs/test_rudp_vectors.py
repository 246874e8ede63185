"""Every vector of reliable UDP in docs/protocol.md: read by a decoder that knows only the page, and by the package."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.docs import rudp_by_hand as by_hand
from tests.docs.test_protocol_vectors import PAGE, tables
from transport import limits
from transport.machine import Closed, Path, Transmit
from transport.rudp import packet, pen, sums
from transport.rudp.acks import AckState
from transport.rudp.config import RudpConfig
from transport.rudp.endpoint import RudpEndpoint
from transport.rudp.packet import Parameters

CHECKSUMS = {"none": sums.NONE, "crc32": sums.CRC32, "crc32c": sums.CRC32C}
KEY = bytes(range(32))


def rows(*head: str) -> list[Any]:
    """The rows of all tables with that head: bytes as bytes, JSON as what it means."""
    found = []
    for cells in tables(*head):
        row: list[Any] = [json.loads(cell) if cell.startswith(("{", "[")) else cell for cell in cells]
        for i in (0, 1):
            if head[i] in ("datagram", "frames", "parameters", "truncated", "key", "cid", "token", "of"):
                row[i] = by_hand.spelled(row[i])
        found.append(row)
    return found


LONGS = rows("datagram", "meaning")
SHORTS = rows("datagram", "checksum", "meaning")
FRAMES = rows("frames", "meaning")
PARAMETERS = rows("parameters", "meaning")


def parameters_of(meaning: dict[str, Any]) -> Parameters:
    values = dict(meaning)
    values["reset_token"] = bytes.fromhex(values.get("reset_token", ""))
    return Parameters(**values)


def written_long(meaning: dict[str, Any]) -> bytes:
    """A packet of the handshake as the package writes it."""
    dcid, scid = int(meaning["dcid"], 16), int(meaning["scid"], 16)
    cookie = bytes.fromhex(meaning.get("cookie", ""))
    if meaning["packet"] == "HELLO":
        return packet.encode_hello(scid, cookie, parameters_of(meaning["parameters"]))
    if meaning["packet"] == "RETRY":
        return packet.encode_retry(dcid, cookie)
    if meaning["packet"] == "ACCEPT":
        return packet.encode_accept(dcid, scid, parameters_of(meaning["parameters"]))
    versions = tuple(int(version, 16) for version in meaning["versions"])
    return packet.encode_refuse(dcid, meaning["code"], meaning["reason"], versions)


class Writer:
    """Frames one after the other, by the pen that the sessions write with."""

    def __init__(self) -> None:
        self.room = memoryview(bytearray(1500))
        self.pos = 0
        self.last: tuple[int, int, int] | None = None

    def byte(self, value: int) -> None:
        self.pos = pen.put8(self.room, self.pos, value)

    def numbers(self, *values: int) -> None:
        for value in values:
            self.pos = pen.put_varint(self.room, self.pos, value)

    def raw(self, data: bytes) -> None:
        self.pos = pen.put_bytes(self.room, self.pos, data, 0, len(data))

    def frame(self, meaning: dict[str, Any], is_last: bool) -> None:
        name = meaning["frame"]
        if name == "MSG":
            self._message(meaning, is_last)
            return
        self.last = None
        if name in ("ACK", "ACK_ECN"):
            self._ack(meaning)
            return
        self.byte(getattr(packet, name))
        if name == "SKIP":
            messages = meaning["messages"]
            self.numbers(meaning["channel"] * 4 + meaning["delivery"], len(messages))
            self.numbers(*(number for entry in messages for number in entry))
        elif name == "BLOCKED":
            self.numbers(meaning["channel"] + 1, meaning["limit"])
        elif "token" in meaning:
            self.raw(bytes.fromhex(meaning["token"]))
        elif name == "NEW_CID":
            self.numbers(meaning["number"], meaning["floor"])
            self.raw(bytes.fromhex(meaning["cid"] + meaning["reset_token"]))
        elif name == "CLOSE":
            reason = meaning["reason"].encode()
            self.numbers(meaning["code"], len(reason))
            self.raw(reason)
        else:
            names = ("channel", "limit", "number", "threshold", "delay_us", "reordering")
            self.numbers(*(meaning[key] for key in names if key in meaning))

    def _ack(self, meaning: dict[str, Any]) -> None:
        """By the owner of the acks, who has got just these packets."""
        acks = AckState()
        now = 1000
        for low, high in reversed(meaning["ranges"]):
            for number in range(low, high + 1):
                acks.ranges.add(number)
                acks.came(number, True, True, now, 0)
        for mark, name in ((2, "ect0"), (1, "ect1"), (3, "ce")):
            for _ in range(meaning.get(name, 0)):
                acks.marked(mark, True)
        self.pos = acks.write(self.room, self.pos, 1500, now + meaning["delay_us"] * 1000)

    def _message(self, meaning: dict[str, Any], is_last: bool) -> None:
        body = bytes.fromhex(meaning["body"])
        channel, delivery, number = meaning["channel"], meaning["delivery"], meaning["number"]
        kind = packet.MSG | delivery << 5 | (packet.FRAGMENT if "total" in meaning else 0)
        kind |= 0 if is_last else packet.LENGTH
        if self.last == (channel, delivery, number - 1):
            self.byte(kind | packet.SUCCESSOR)
        else:
            size = pen.low_size(number)
            self.byte(kind | size - 1)
            self.numbers(channel)
            self.pos = pen.put_low(self.room, self.pos, number, size)
        if "total" in meaning:
            self.numbers(meaning["offset"], meaning["total"])
        if not is_last:
            self.numbers(len(body))
        self.raw(body)
        self.last = (channel, delivery, number)

    def bytes(self) -> bytes:
        return bytes(self.room[: self.pos])


def written_frames(meaning: list[dict[str, Any]]) -> bytes:
    """The frames of a packet as the package writes them."""
    writer = Writer()
    for i, frame in enumerate(meaning):
        writer.frame(frame, i + 1 == len(meaning))
    return writer.bytes()


def written_short(meaning: dict[str, Any], kind: str) -> bytes:
    """A packet as the package writes it, to a peer that has acknowledged nothing."""
    cid, number = int(meaning["cid"], 16), meaning["number"]
    size = pen.low_size(number + 1)
    flags = packet.FIXED_BIT | (packet.COPIES_BIT if meaning["copies"] else 0) | size - 1
    data = (
        bytes([flags]) + cid.to_bytes(8, "big") + number.to_bytes(8, "big")[-size:] + written_frames(meaning["frames"])
    )
    if kind == "none":
        return data
    return data + sums.checksum_of(data, CHECKSUMS[kind], cid & 0xFFFFFFFF).to_bytes(4, "big")


def test_there_are_vectors_of_everything() -> None:
    assert {meaning["packet"] for _, meaning in LONGS} == set(by_hand.KINDS)
    assert {kind for _, kind, _ in SHORTS} == set(CHECKSUMS)
    kinds = {frame["frame"] for _, meaning in FRAMES for frame in meaning}
    assert kinds == {
        "PAD", "PING", "ACK", "ACK_ECN", "ACK_POLICY", "SKIP", "CONNECTION_CREDIT", "CHANNEL_CREDIT", "BLOCKED",
        "PATH_CHALLENGE", "PATH_RESPONSE", "NEW_CID", "RETIRE_CID", "CLOSE", "MSG",
    }  # fmt: skip
    messages = [frame for _, meaning in FRAMES for frame in meaning if frame["frame"] == "MSG"]
    assert {message["delivery"] for message in messages} == {0, 1, 2, 3}


@pytest.mark.parametrize(("data", "meaning"), LONGS)
def test_long_packets(data: bytes, meaning: dict[str, Any]) -> None:
    assert by_hand.long(data) == meaning
    read = packet.decode_long(data)
    assert read is not None
    assert (by_hand.KINDS[read.kind], f"{read.version:08x}") == (meaning["packet"], meaning["version"])
    assert (f"{read.dcid:016x}", f"{read.scid:016x}") == (meaning["dcid"], meaning["scid"])
    if read.version == packet.VERSION:
        assert written_long(meaning) == data
    elif read.kind == packet.HELLO:
        return
    assert read.cookie.hex() == meaning.get("cookie", "")
    assert (read.code, read.reason) == (meaning.get("code", 0), meaning.get("reason", ""))
    assert [f"{version:08x}" for version in read.versions] == meaning.get("versions", [])
    if "parameters" in meaning:
        assert read.parameters == parameters_of(meaning["parameters"])


@pytest.mark.parametrize(("data", "meaning"), PARAMETERS)
def test_parameters(data: bytes, meaning: dict[str, Any]) -> None:
    assert by_hand.parameters(data) == meaning
    assert packet.decode_parameters(data) == parameters_of(meaning)
    if data[0] != 0x3F:  # the one of a later version
        assert parameters_of(meaning).encode() == data


def test_defaults_of_parameters() -> None:
    assert parameters_of(by_hand.DEFAULTS) == Parameters()
    page = {cells[1]: cells[3].replace(",", "") for cells in tables("id", "parameter", "value", "when absent")}
    assert (
        page.items() >= {name: str(value) for name, value in by_hand.DEFAULTS.items() if isinstance(value, int)}.items()
    )


@pytest.mark.parametrize(("data", "kind", "meaning"), SHORTS)
def test_short_packets(data: bytes, kind: str, meaning: dict[str, Any]) -> None:
    assert by_hand.short(data, kind) == meaning
    assert written_short(meaning, kind) == data


@pytest.mark.parametrize(("data", "meaning"), FRAMES)
def test_frames(data: bytes, meaning: list[dict[str, Any]]) -> None:
    assert by_hand.frames(data, by_hand.Limits()) == meaning
    assert written_frames(meaning) == data


@pytest.mark.parametrize(("truncated", "expected", "number"), rows("truncated", "expected", "number"))
def test_truncated_numbers(truncated: bytes, expected: str, number: str) -> None:
    assert by_hand.nearest(truncated, int(expected)) == int(number)
    assert pen.expand(int.from_bytes(truncated, "big"), len(truncated), int(expected)) == int(number)


@pytest.mark.parametrize(("kind", "data", "before", "value"), rows("kind", "of", "goes on from", "checksum"))
def test_checksums(kind: str, data: bytes, before: str, value: str) -> None:
    start = int.from_bytes(bytes.fromhex(before), "big")
    assert by_hand.checksum(kind, data, start).to_bytes(4, "big") == bytes.fromhex(value)
    assert sums.checksum_of(data, CHECKSUMS[kind], start).to_bytes(4, "big") == bytes.fromhex(value)


def drawn(data: bytes) -> Callable[[int], bytes]:
    """Entropy that is known."""
    return lambda size: data[:size]


def test_tokens() -> None:
    found = rows("key", "cid", "token")
    assert found
    for key, cid, token in found:
        assert packet.reset_token(key, int.from_bytes(cid, "big")) == bytes.fromhex(token)
    for data, token in rows("datagram", "token"):
        assert packet.is_reset(data, token)
        assert packet.encode_reset(token, drawn(data), len(data) + 1) == data


# What the page forbids, and what it lets pass

MALFORMED = {
    "ack policy cut off": "04 00 10 44 e2",
    "ack policy of no packet": "04 00 00 44 e2 01",
    "challenge cut off": "09 00 00 00 00 00 00 00",
    "response cut off": "0a 00 00 00 00 00 00 00",
    "cid cut off": "0b 01 00 01 01 01 01 01 01 01",
    "cid of 0": "0b 01 00 00 00 00 00 00 00 00 00",
    "cid below its own floor": "0b 01 02 01 01 01 01 01 01 01 01",
    "retire cid cut off": "0c",
    "cid given up that was never given": "0c 01",
    "cid again as another": "0b 01 00 01 01 01 01 01 01 01 01 0b 01 00 01 01 01 01 01 01 01 02",
    "too many cids": "".join(f"0b {number:02} 00 01 01 01 01 01 01 01 {number:02}" for number in range(1, 5)),
    "unknown": "0d",
    "unknown too": "7f",
    "ack of what was not sent": "02 05 00 00 00",
    "run below 0": "02 01 00 00 02",
    "range below 0": "02 02 00 01 00 01 00",
    "too many ranges": "02 01 00 20 00",
    "ack cut off": "02 01 00 01 00 00",
    "marks cut off": "03 00 00 00 00 01 01",
    "credit cut off": "06 40",
    "credit of a channel that may not be used": "07 04 40 ff",
    "blocked on one": "08 05 40 ff",
    "skip of an unreliable message": "05 02 01 00 20",
    "skip of nothing": "05 00 00",
    "skip of too many": "05 00 21" + " 00 20" * 33,
    "skip for less than a message costs": "05 00 01 00 1f",
    "skip for more than a message costs": "05 00 01 00 80 01 00 21",
    "skip on a channel that may not be used": "05 10 01 00 20",
    "skip on the channel of streams": "05 44 00 01 00 20",
    "code of a close": "0e 80 01 00 00 00",
    "reason of a close": "0e 00 41 01" + " 78" * 257,
    "close cut off": "0e 00 05 78",
    "successor of nothing": "84 78",
    "successor with another delivery": "88 00 00 01 78 a4 78",
    "successor with a number": "88 00 00 01 78 85 78",
    "number cut off": "83 00 00 00 00",
    "length cut off": "88 00 00 05 78",
    "channel over the limit": "80 04 00 78",
    "unordered on the channel of streams": "a0 41 00 00 78",
    "fragment of nothing": "90 00 00 00 00",
    "fragment without a byte": "90 00 00 00 05",
    "fragment beyond its message": "90 00 00 04 05 78 78",
    "message too large": "90 00 00 00 80 01 00 01 78",
    "unreliable message too large": "d0 00 00 00 80 01 00 01 78",
    "sizes that disagree": "98 00 00 00 05 01 78 98 00 00 01 06 01 78",
    "bytes that disagree": "98 00 00 00 05 01 78 98 00 00 00 05 01 79",
    "size that disagrees with the whole": "98 00 01 00 05 01 78 88 00 01 01 78",
}
ONLY_A_SESSION_SEES = {
    "sizes that disagree", "bytes that disagree", "size that disagrees with the whole",
    "cid given up that was never given", "cid again as another", "too many cids",
}  # fmt: skip
TOLERATED = {
    "padding": "00 00 00 01 00",
    "longer forms of numbers": "06 c0 00 00 00 00 00 00 05 88 40 00 00 40 01 78",
    "lower limits": "06 00 07 03 00",
    "a message twice": "88 00 00 01 78 88 00 00 01 78",
    "fragments that overlap": "98 00 00 00 03 02 78 79 98 00 00 01 03 02 79 7a",
    "skip of what has come": "88 00 00 01 78 05 00 01 00 21",
    "skip twice": "05 00 01 05 21 05 00 01 05 21",
    "ack policy": "04 00 10 44 e2 01",
    "ack policies that are old": "04 05 10 44 e2 01 04 05 02 53 88 01 04 02 02 53 88 00",
    "ack policy beyond all bounds": "04" + " ff ff ff ff ff ff ff ff" * 4,
    "challenge": "09 00 00 00 00 00 00 00 00",
    "response to nothing": "0a 00 00 00 00 00 00 00 00",
    "a cid twice": "0b 01 00 01 01 01 01 01 01 01 01 0b 01 00 01 01 01 01 01 01 01 01",
    "four cids, as many as may be": "".join(f"0b {number:02} 00 {'01' * 7} {number:02}" for number in (1, 2, 3)),
    "cid given up twice": "0c 00 0c 00",
}
CLIENT, SERVER = Path(("192.0.2.1", 1), ("192.0.2.2", 2)), Path(("192.0.2.2", 2), ("192.0.2.1", 1))
CONFIG = RudpConfig(
    max_message=65_536, channels=4, codec="raw", checksums=2, skips=False, redundancy=False, max_datagram=1200,
)  # fmt: skip


def filled(byte: int) -> Callable[[int], bytes]:
    """Entropy of which nothing is left."""
    return lambda size: bytes([byte]) * size


class Pair:
    """Two endpoints of the package, whose every datagram is written down."""

    def __init__(self) -> None:
        self.client = RudpEndpoint(CONFIG, filled(0x11))
        self.server = RudpEndpoint(CONFIG, filled(0x22), True, KEY)
        self.now = 10**9
        self.spoken: list[tuple[str, bytes]] = []
        self.session = self.client.connect(CLIENT, self.now)

    def say(self, who: str) -> None:
        """All that one side has to say now goes to the other, 80 us before that answers."""
        speaker, hearer, path = (
            (self.client, self.server, SERVER) if who == "client" else (self.server, self.client, CLIENT)
        )
        room = memoryview(bytearray(65_536))
        item = Transmit(0, 0, path)
        if speaker.deadline() is not None:
            speaker.expire(self.now)
        said = []
        while speaker.fill(item, room, self.now):
            said += [bytes(room[at : at + item.segment_bytes]) for at in range(0, item.size, item.segment_bytes)]
        for data in said:
            self.spoken.append((who, data))
            hearer.receive(data, path, 0, self.now)
        self.now += 80_000

    def open(self) -> Any:
        """Shakes hands; returns the server's session."""
        for who in ("client", "server", "client", "server"):
            self.say(who)
        (cid,) = self.server.sessions
        return self.server.sessions[cid]


def sent_to_server(pair: Pair, frames: bytes, number: int) -> None:
    """A packet of the client with these frames."""
    data = b"\x43" + b"\x22" * 8 + number.to_bytes(4, "big") + frames
    data += sums.checksum_of(data, sums.CRC32, 0x22222222).to_bytes(4, "big")
    pair.server.receive(data, SERVER, 0, pair.now)


def code_of(session: Any) -> int | None:
    """The code that a session has closed with."""
    codes = [event.code for event in session.events() if isinstance(event, Closed)]
    return codes[0] if codes else None


@pytest.mark.parametrize("name", MALFORMED)
def test_both_refuse_alike(name: str) -> None:
    frames = bytes.fromhex(MALFORMED[name])
    expected = 1002
    if name not in ONLY_A_SESSION_SEES:
        with pytest.raises(by_hand.Malformed) as refused:
            by_hand.frames(frames, by_hand.Limits(channels=4, max_message=65_536, sent=5, is_client=False))
        expected = refused.value.code
    pair = Pair()
    session = pair.open()
    assert code_of(session) is None
    sent_to_server(pair, frames, 40)
    assert code_of(session) == expected


@pytest.mark.parametrize("name", TOLERATED)
def test_both_tolerate_alike(name: str) -> None:
    frames = bytes.fromhex(TOLERATED[name])
    by_hand.frames(frames, by_hand.Limits(channels=4, max_message=65_536, is_client=False))
    pair = Pair()
    session = pair.open()
    sent_to_server(pair, frames, 40)
    sent_to_server(pair, b"\xc0\x00\x00z", 41)
    assert code_of(session) is None
    assert session.take()[-1].payloads[-1] == b"z"


def converse(pair: Pair) -> None:
    """What the page tells of a whole connection."""
    session = pair.open()
    pair.session.send(b"hello", 0, 0, 0, 0, pair.now)
    pair.say("client")
    assert [batch.payloads for batch in session.take()] == [[b"hello"]]
    session.send(b"world", 3, 1, 0, 0, pair.now)
    pair.say("server")
    assert [batch.payloads for batch in pair.session.take()] == [[b"world"]]
    pair.now += limits.RUDP_ACK_DELAY_MAX_NS - 80_000
    pair.say("client")
    pair.session.close(0, "bye", pair.now)
    pair.session.want()
    for who in ("client", "server", "client", "server"):
        pair.say(who)
    assert [event for event in pair.session.events() if isinstance(event, Closed)] == [Closed(0, "bye", False, True)]
    assert [event for event in session.events() if isinstance(event, Closed)] == [Closed(0, "bye", True, True)]


def test_conversation() -> None:
    """Two endpoints say, byte for byte, what the page has."""
    pair = Pair()
    converse(pair)
    page = rows("who", "datagram", "meaning")
    assert [(who, data.hex()) for who, data in pair.spoken] == [(who, data.hex()) for who, data, _ in page]
    expected = {"client": 0, "server": 0}
    for (who, data), (_, _, meaning) in zip(pair.spoken, page, strict=True):
        if data[0] >= 0x80:
            assert by_hand.long(data) == meaning
        else:
            assert by_hand.short(data, "crc32", expected[who]) == meaning
            expected[who] = meaning["number"] + 1


def test_limits() -> None:
    """The figures in the text are those of the package."""
    page = " ".join(PAGE.split())
    for text, figure in (
        ("| cookie | 255 bytes |", limits.RUDP_COOKIE_BYTES_MAX),
        ("parameters at most 1024", limits.RUDP_PARAMETERS_BYTES_MAX),
        ("at most 1,000,000 |", limits.RUDP_PEER_ACK_DELAY_US_MAX),
        ("| versions in a REFUSE | 16 |", limits.RUDP_VERSIONS_MAX),
        ("| ranges in an ACK, kept | 32, 64 |", (limits.RUDP_ACK_RANGES_SENT, limits.RUDP_ACK_RANGES_KEPT)),
        ("| entries in a SKIP | 32 |", limits.RUDP_SKIPS_PER_FRAME),
        ("300 ms after HELLO", limits.RUDP_HELLO_NS),
        ("1024 half-open", limits.RUDP_HALF_OPEN_MAX),
        ("than 64 half-open", limits.RUDP_HALF_OPEN_COOKIE),
        ("more than 500 HELLOs a second", limits.RUDP_HELLOS_PER_S),
        ("10 times a second", limits.RUDP_RESETS_PER_S),
        ("good for 10 s", limits.RUDP_COOKIE_NS),
        ("8 times in all", limits.RUDP_CLOSE_TRIES),
        ("one of 32 packets that only acknowledge", limits.RUDP_ACK_ONLY_MAX),
        ("at least every 1024", limits.RUDP_SKIP_EVERY),
        ("4,096 gaps", limits.RUDP_GAPS_MAX),
        ("4 MiB that came early", limits.RUDP_HIDDEN_BYTES),
        ("numbers 1024 or more below", limits.RUDP_LOOSE_WINDOW),
        ("of more than 65,536 bytes", limits.RUDP_UNRELIABLE_BYTES_MAX),
        ("every 25 ms or more often", limits.RUDP_ACK_RIDE_NS),
        ("at least 250 us", limits.RUDP_ACK_DELAY_MIN_NS),
        ("first assumed round trip is 100 ms", limits.RUDP_INITIAL_RTT_NS),
        ("| addresses of a peer under validation | 2 |", limits.RUDP_PATHS_MAX),
        ("| challenges that may be answered, answers that wait | 4 |", limits.RUDP_CHALLENGES_MAX),
        ("| cids of the peer that are kept | 4 |", limits.RUDP_CIDS_MAX),
        ("| cids given up without an ack | 16 |", limits.RUDP_RETIRES_MAX),
        ("for three PTO, and for 3 s", limits.RUDP_VALIDATION_NS),
        ("gives one a second after", limits.RUDP_CID_NS),
        ("more than 20,000 packets a second", limits.RUDP_ACK_POLICY_PACKETS_PER_S),
        ("counted over 10 ms or more", limits.RUDP_ACK_POLICY_NS),
        ("leaves eight acks in a round trip", limits.RUDP_ACKS_PER_ROUND),
        ("| packets after which an ack is due | 64 |", limits.RUDP_ACK_THRESHOLD_MAX),
    ):
        assert text in page, f"{figure} of the package is not in the page as {text!r}"
    assert (limits.RUDP_COOKIE_BYTES_MAX, limits.RUDP_PARAMETERS_BYTES_MAX, limits.RUDP_VERSIONS_MAX) == (255, 1024, 16)
    assert (limits.RUDP_ACK_RANGES_SENT, limits.RUDP_ACK_RANGES_KEPT, limits.RUDP_SKIPS_PER_FRAME) == (32, 64, 32)
    assert (limits.RUDP_ACK_POLICY_PACKETS_PER_S, limits.RUDP_ACK_POLICY_NS) == (20_000, 10 * limits.MS_NS)
    assert (limits.RUDP_ACKS_PER_ROUND, limits.RUDP_ACK_THRESHOLD_MAX) == (8, 64)
    assert (limits.RUDP_HELLO_NS, limits.RUDP_HELLO_MAX_NS) == (300 * limits.MS_NS, limits.SECOND_NS)
    assert (limits.RUDP_HALF_OPEN_MAX, limits.RUDP_HALF_OPEN_COOKIE, limits.RUDP_HELLOS_PER_S) == (1024, 64, 500)
    assert (limits.RUDP_PATHS_MAX, limits.RUDP_CHALLENGES_MAX, limits.RUDP_CIDS_MAX) == (2, 4, 4)
    assert (limits.RUDP_RETIRES_MAX, limits.RUDP_VALIDATION_NS, limits.RUDP_CID_NS) == (
        16, 3 * limits.SECOND_NS, limits.SECOND_NS,
    )  # fmt: skip
    assert (limits.RUDP_RESETS_PER_S, limits.RUDP_CLOSE_TRIES, limits.RUDP_ACK_ONLY_MAX) == (10, 8, 32)
    assert (limits.RUDP_SKIP_EVERY, limits.RUDP_GAPS_MAX, limits.RUDP_LOOSE_WINDOW) == (1024, 4096, 1024)
    assert (limits.RUDP_COOKIE_NS, limits.RUDP_PEER_ACK_DELAY_US_MAX) == (10 * limits.SECOND_NS, 1_000_000)
    assert (limits.RUDP_HIDDEN_BYTES, limits.RUDP_UNRELIABLE_BYTES_MAX) == (4 << 20, 65_536)
    assert (limits.RUDP_ACK_RIDE_NS, limits.RUDP_ACK_DELAY_MIN_NS) == (25 * limits.MS_NS, 250_000)
    assert (limits.RUDP_INITIAL_RTT_NS, limits.RUDP_ACK_DELAY_MAX_NS) == (100 * limits.MS_NS, 5 * limits.MS_NS)
