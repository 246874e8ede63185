"""Every vector of docs/protocol.md: read by a decoder that knows only the page, and written by the package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.docs import by_hand
from tests.meta import tree
from transport import limits
from transport.codec import varint
from transport.codec.framing.base import resolve_framing
from transport.errors import CloseCode, RemoteProtocolError, to_websocket
from transport.machine import Closed
from transport.stream import frames
from transport.stream.bodies import StreamTable
from transport.stream.config import StreamConfig
from transport.stream.preface import Preface, parse
from transport.stream.session import StreamSession

PAGE = (tree.ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
CONFIG = StreamConfig(
    max_message=65_536, channels=4, channel_window=65_536, connection_window=262_144, stream_window=65_536, codec="raw"
)


def tables(*head: str) -> Iterator[list[str]]:
    """The rows of every table of the page with that head, as lists of cells."""
    inside = False
    for line in PAGE.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        if cells[: len(head)] == list(head):
            inside = True
        elif inside and not set(line) <= set("|-"):
            yield cells


VARINTS = [(bytes.fromhex(cells[0]), int(cells[1])) for cells in tables("bytes", "number")]
VECTORS = [(bytes.fromhex(cells[0]), json.loads(cells[1])) for cells in tables("bytes", "meaning")]
PREFACES = [vector for vector in VECTORS if "preface" in vector[1]]
FRAMES = [vector for vector in VECTORS if "preface" not in vector[1]]


def named(vectors: list[tuple[bytes, Any]]) -> list[str]:
    return [f"{meaning.get('kind', 'preface')}-{data[:8].hex()}" for data, meaning in vectors]


def written(meaning: dict[str, Any]) -> bytes:
    """The frame as the package writes it."""
    kind = getattr(frames, meaning["kind"])
    channel = meaning.get("channel", 0)
    body = bytes.fromhex(meaning.get("body", ""))
    if meaning["kind"] in ("MESSAGE", "PING", "PONG"):
        return frames.header(kind, len(body), channel, meaning.get("delivery", 0)) + body
    if kind == frames.CLOSE:
        return frames.numbers(kind, meaning["code"], tail=meaning["reason"].encode())
    if kind == frames.STREAM_DATA:
        return frames.numbers(kind, meaning["stream"], tail=body)
    numbers = [meaning[name] for name in ("stream", "code", "side", "limit") if name in meaning]
    if "total" in meaning:
        numbers.append(meaning["total"] + 1)
    tail = b"".join(varint.encode(number) for number in numbers)
    return frames.header(kind, len(tail), channel) + tail


def test_the_page_has_vectors_of_every_kind() -> None:
    assert {meaning["kind"] for _, meaning in FRAMES} == set(by_hand.KINDS)
    assert len(PREFACES) >= 2
    assert len(VARINTS) >= 8


@pytest.mark.parametrize(("data", "number"), VARINTS)
def test_varints(data: bytes, number: int) -> None:
    assert by_hand.Reader(data).varint() == number
    assert varint.encode(number) == data
    assert varint.decode(data) == (number, len(data))


@pytest.mark.parametrize(("data", "meaning"), PREFACES, ids=named(PREFACES))
def test_prefaces(data: bytes, meaning: dict[str, Any]) -> None:
    assert by_hand.preface(by_hand.Reader(data)) == meaning
    values = {name: value for name, value in meaning.items() if name != "preface"}
    assert Preface(**values).encode() == data
    assert parse(data) == (Preface(**values), len(data))


def test_defaults_of_a_preface() -> None:
    empty = bytes.fromhex("d4545270010000")
    parsed = parse(empty)
    assert parsed is not None
    assert by_hand.preface(by_hand.Reader(empty)) == {
        "preface": 1, **{name: getattr(parsed[0], name) for name in by_hand.DEFAULTS}
    }  # fmt: skip


@pytest.mark.parametrize(("data", "meaning"), FRAMES, ids=named(FRAMES))
def test_frames(data: bytes, meaning: dict[str, Any]) -> None:
    reader = by_hand.Reader(data)
    assert by_hand.frame(reader) == meaning
    assert not reader.rest()
    assert written(meaning) == data


def test_stream_frames_come_from_the_table() -> None:
    """The vectors of streams are what the owner of the streams writes, not only what a header looks like."""
    table = StreamTable(1024)
    table.peer_window = 1024
    vectors = {json.dumps(meaning, sort_keys=True): data for data, meaning in FRAMES}

    def vector(**meaning: Any) -> bytes:
        return vectors[json.dumps(meaning, sort_keys=True)]

    assert table.open(2, 4)[1] == vector(kind="STREAM_OPEN", channel=2, stream=0, total=4)
    assert table.open(0, -1)[1] == vector(kind="STREAM_OPEN", channel=0, stream=1, total=-1)
    assert table.data(0, b"data") == vector(kind="STREAM_DATA", stream=0, body="64617461")
    assert table.finish(0) == vector(kind="STREAM_END", stream=0)
    other = StreamTable(1024)
    other.open(0, -1)
    assert other.reset(0, 42, incoming=False) == vector(kind="STREAM_RESET", stream=0, code=42, side=0)


def joined(buffers: list[bytes | bytearray]) -> tuple[bytes, bool]:
    """The bytes of one transmit, and whether the direction ends behind them."""
    return b"".join(buffers), bool(buffers) and not buffers[-1]


def test_conversation() -> None:
    """Two sessions say, byte for byte, what the page has."""
    client, server = StreamSession(CONFIG, 0), StreamSession(CONFIG, 0)

    def say(session: StreamSession) -> tuple[bytes, bool]:
        data, ended = joined(session.transmit(0))
        other = server if session is client else client
        if data:
            other.receive(data, 0)
        if ended:
            other.receive(b"", 0)
        return data, ended

    spoken = [joined(client.transmit(0)), joined(server.transmit(0))]
    server.receive(spoken[0][0], 0)
    client.receive(spoken[1][0], 0)
    client.send(b"hello", 0, 0, 0, 0, 0)
    client.ping(9, 0)
    spoken.append(say(client))
    server.send(b"world", 3, 0, 0, 0, 0)
    spoken.append(say(server))
    client.close(0, "bye", 0)
    spoken.append(say(client))
    spoken.append(say(server))
    spoken.append(say(client))
    rows = list(tables("who", "bytes"))
    assert [who for who, _ in rows] == ["client", "server", "client", "server", "client", "server", "client"]
    page = [re.findall(r"([0-9a-f]{2}(?: [0-9a-f]{2})+)", said) for _, said in rows]
    ends = [said.endswith("end") for _, said in rows]
    assert spoken == [(bytes.fromhex(said[0]) if said else b"", end) for said, end in zip(page, ends, strict=True)]
    assert [event for event in client.events() if isinstance(event, Closed)] == [Closed(0, "bye", False, True)]
    assert [event for event in server.events() if isinstance(event, Closed)] == [Closed(0, "bye", True, True)]


MALFORMED = {
    "reserved bit": "04 00",
    "kind 11": "b0 00",
    "channel over the limit": "08 04 00",
    "message too large": "00 80 01 00 01",
    "control frame too large": "50 44 01",
    "chunk too large": "70 80 01 00 09",
    "short ping": "30 01 00",
    "credit within a varint": "20 01 40",
    "close code": "50 04 80 01 00 00",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_both_refuse_alike(data: str) -> None:
    """What the page forbids ends a session with the code that the page names."""
    raw = bytes.fromhex(data)
    with pytest.raises(by_hand.Malformed) as refused:
        by_hand.frame(by_hand.Reader(raw + bytes(2000)), max_message=65_536, channels=4)
    session = StreamSession(CONFIG, 0)
    session.receive(Preface(channels=4, codec="raw").encode() + raw + bytes(2000), 0)
    (closed,) = [event for event in session.events() if isinstance(event, Closed)]
    assert closed.code == refused.value.code


@pytest.mark.parametrize("kind", [12, 15])
def test_unknown_frames_are_passed_over(kind: int) -> None:
    session = StreamSession(CONFIG, 0)
    session.receive(Preface(codec="raw").encode() + bytes([kind << 4, 2, 1, 2]) + b"\x00\x01x", 0)
    assert [batch.payloads for batch in session.take()] == [[b"x"]]


def test_wrong_magic_is_refused_at_its_first_wrong_byte() -> None:
    for wrong in (b"G", b"\xd4T\x00", b"\xd4TRp\x02"):
        with pytest.raises(RemoteProtocolError):
            parse(wrong)


def test_credit_of_the_example() -> None:
    """The worked example of the page, in figures of the session."""
    config = StreamConfig(channel_window=4096, codec="raw")
    sender, receiver = StreamSession(config, 0), StreamSession(config, 0)
    hello, answer = joined(sender.transmit(0))[0], joined(receiver.transmit(0))[0]
    receiver.receive(hello, 0)
    sender.receive(answer, 0)
    for _ in range(5):
        sender.send(bytes(1000), 0, 0, 0, 0, 0)
    assert sender.blocked_bytes == 1000 + 3  # one message with its head
    receiver.receive(joined(sender.transmit(0))[0], 0)
    receiver.consumed(0, 1000, 1)
    assert not receiver.credit_waiting()
    receiver.consumed(0, 1000, 1)
    credit = joined(receiver.transmit(0))[0]
    assert by_hand.frame(by_hand.Reader(credit)) == {"kind": "CHANNEL_CREDIT", "channel": 0, "limit": 6160}
    sender.receive(credit, 0)
    assert not sender.blocked_bytes


def test_codes() -> None:
    """The table of codes has every code, by its name and with its WebSocket status."""
    rows = {cells[0]: cells for cells in tables("code", "name")}
    for code in CloseCode:
        row = rows.pop(str(int(code)))
        assert row[1] == code.name
        assert int(row[3]) == to_websocket(code)
    assert list(rows) == ["1-999"]
    assert to_websocket(1) == 4001


def test_limits() -> None:
    """The figures in the text are those of the package."""
    for text, figure in (
        ("at most 1024", limits.PREFACE_BYTES_MAX),
        ("1,024 bytes", frames.CONTROL_BYTES_MAX),
        ("65,544 (a chunk of 65,536", limits.STREAM_CHUNK_BYTES + 8),
        ("| streams open, each way | 64 |", limits.STREAMS_MAX),
        ("its body and 32.", limits.MESSAGE_COST_BYTES),
        ("A reason is at most 256 bytes", limits.REASON_BYTES_MAX),
        ("| message body | 1 MiB, at most 16 MiB |", limits.MESSAGE_BYTES_DEFAULT),
        ("nothing for 15 s", limits.KEEPALIVE_NS),
        ("nothing for 30 s", limits.IDLE_NS),
        ("time-out (10 s)", limits.HANDSHAKE_NS),
    ):
        assert text in PAGE, f"{figure} of the package is not in the page as {text!r}"
    assert limits.PREFACE_BYTES_MAX == frames.CONTROL_BYTES_MAX == 1024
    assert limits.STREAM_CHUNK_BYTES + 8 == 65_544
    assert (limits.STREAMS_MAX, limits.MESSAGE_COST_BYTES, limits.REASON_BYTES_MAX) == (64, 32, 256)
    assert (limits.MESSAGE_BYTES_DEFAULT, limits.MESSAGE_BYTES_MAX) == (1 << 20, 16 << 20)
    assert (limits.KEEPALIVE_NS, limits.IDLE_NS) == (15 * limits.SECOND_NS, 30 * limits.SECOND_NS)
    assert limits.HANDSHAKE_NS == 10 * limits.SECOND_NS


@pytest.mark.parametrize("cells", list(tables("framing", "body", "bytes")), ids=lambda cells: cells[0])
def test_other_framings(cells: list[str]) -> None:
    framing = resolve_framing(cells[0], 1024)
    body, wire = bytes.fromhex(cells[1]), bytes.fromhex(cells[2])
    encoded = framing.encode(body)
    assert (bytes(encoded) if isinstance(encoded, bytes | bytearray) else b"".join(encoded)) == wire
    assert framing.decoder().feed(wire) == [body]


TOLERATED = {
    "delivery bits of a ping": "33 08 00 00 00 00 00 00 00 07",
    "a channel of 0 that is written out": "38 00 08 00 00 00 00 00 00 00 07",
    "a length in a longer form": "30 40 08 00 00 00 00 00 00 00 07",
    "bytes behind a credit limit": "20 03 05 ff ff",
    "a limit that is lower than the one before": "20 01 00",
    "the end of a stream that was never opened": "90 03 3f 01 00",
    "credit for a stream that was never opened": "a0 02 3f 01",
}


@pytest.mark.parametrize("data", TOLERATED.values(), ids=TOLERATED)
def test_both_tolerate_alike(data: str) -> None:
    """What the page lets pass does not end a session."""
    raw = bytes.fromhex(data)
    by_hand.frame(by_hand.Reader(raw))
    session = StreamSession(CONFIG, 0)
    session.receive(Preface(codec="raw").encode() + raw + b"\x00\x01x", 0)
    assert not [event for event in session.events() if isinstance(event, Closed)]
    assert [batch.payloads for batch in session.take()] == [[b"x"]]


def test_unknown_parameters_are_ignored() -> None:
    raw = bytes.fromhex("d4545270 01 0007 3f 01 00 02 02 40 80")
    parsed = parse(raw)
    assert parsed is not None
    assert parsed[0].channels == by_hand.preface(by_hand.Reader(raw))["channels"] == 128


def test_both_close_at_once() -> None:
    """Each side takes its own code."""
    one, two = StreamSession(CONFIG, 0), StreamSession(CONFIG, 0)
    hello, answer = joined(one.transmit(0))[0], joined(two.transmit(0))[0]
    one.receive(answer, 0)
    two.receive(hello, 0)
    one.close(1, "one", 0)
    two.close(2, "two", 0)
    first, second = joined(one.transmit(0)), joined(two.transmit(0))
    assert not first[1]
    assert not second[1]
    one.receive(second[0], 0)
    two.receive(first[0], 0)
    assert joined(one.transmit(0)) == joined(two.transmit(0)) == (b"", True)
    for session, code in ((one, 1), (two, 2)):
        assert [event.code for event in session.events() if isinstance(event, Closed)] == [code]


def test_what_follows_a_goodbye_is_counted() -> None:
    """A side that has said goodbye drops messages, and still gives credit for them."""
    config = StreamConfig(channel_window=4096, codec="raw")
    session = StreamSession(config, 0)
    session.receive(Preface(codec="raw").encode(), 0)
    session.close(0, "", 0)
    session.transmit(0)
    session.receive((b"\x00\x43\xe8" + bytes(1000)) * 4, 0)
    assert not session.take()
    credit = by_hand.frame(by_hand.Reader(joined(session.transmit(0))[0]))
    assert credit == {"kind": "CHANNEL_CREDIT", "channel": 0, "limit": 4 * 1032 + 4096}
