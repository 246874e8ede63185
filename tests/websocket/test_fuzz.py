"""Whatever comes, a session stays whole: it never raises, never holds more than its limits, and cuts don't matter."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.websocket import by_hand
from tests.websocket.by_hand import client, feed, frame, frames_of, listening, messages, request, server, turn, written
from transport.machine import Closed
from transport.websocket.config import Agreement
from transport.websocket.deflate import Compressor
from transport.websocket.http import Asked, UpgradeAsked, plain
from transport.websocket.states import Phase

FULL = Agreement(15, True, 15, True)
MOST = 300

PAYLOADS = st.one_of(st.binary(max_size=400), st.text(max_size=100).map(str.encode))
FRAMES = st.builds(
    lambda opcode, payload, fin, rsv, lie: frame(opcode, payload, fin=fin, rsv=rsv, size=lie),
    st.sampled_from((0, 0, 1, 2, 2, 8, 9, 10, 3, 11)),
    PAYLOADS,
    st.sampled_from((True, True, False)),
    st.sampled_from((0, 0, 0, 4, 1)),
    st.sampled_from((None, None, None, None, 0, 126, 70_000, 1 << 62)),
)
STREAMS = st.one_of(
    st.binary(max_size=300), st.lists(FRAMES, max_size=8).map(b"".join),
    st.tuples(st.lists(FRAMES, max_size=5).map(b"".join), st.binary(max_size=50)).map(b"".join),
)  # fmt: skip
SQUEEZED = st.binary(max_size=60).map(lambda data: Compressor(15, True).compress(data * 20))
SIZES = st.lists(st.integers(1, 200), max_size=20)


def cut(session: Any, data: bytes, sizes: list[int]) -> None:
    """Feeds `data` in pieces of these sizes, and the rest."""
    at = 0
    for size in sizes:
        session.receive(data[at : at + size], 0) if data[at : at + size] else None
        at += size
    if data[at:]:
        session.receive(data[at:], 0)


def check(session: Any) -> tuple[Any, ...]:
    """What became of it. At most one end, and whole frames out."""
    turn(session)
    events = session.events()
    ends = [event for event in events if isinstance(event, Closed)]
    assert len(ends) <= 1
    assert (session.state == Phase.CLOSED) == bool(ends)
    got = messages(session)
    assert all(len(message) <= MOST for message in got)
    found, left = frames_of(written(session))
    assert left == b""
    return got, [event for event in events if not isinstance(event, Closed)], ends, found


@settings(deadline=None, max_examples=300)
@given(STREAMS, SIZES, st.booleans())
def test_any_bytes_and_any_cuts(data: bytes, sizes: list[int], compressed: bool) -> None:
    whole, pieces = (server(FULL if compressed else None, max_message=MOST) for _ in range(2))
    if data:
        whole.receive(data, 0)
    cut(pieces, data, sizes)
    one, two = check(whole), check(pieces)
    assert one == two


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(PAYLOADS, st.booleans()), max_size=10), SIZES, st.booleans(), st.sampled_from((0, 16, 50)))
def test_round_trips(sent: list[tuple[bytes, bool]], sizes: list[int], compressed: bool, fragment: int) -> None:
    agreement = FULL if compressed else None
    for sender, reader in (
        (client(agreement, fragment=fragment, compress_above=0), server(agreement)),
        (server(agreement, fragment=fragment, compress_above=0), client(agreement)),
    ):
        for payload, ping in sent:
            sender.send(payload, 0, 0, 0, 0, 0)
            if ping:
                sender.ping(1, 0)
        cut(reader, written(sender), sizes)
        assert messages(reader) == [payload for payload, _ in sent]
        assert reader.state == Phase.OPEN
        feed(sender, written(reader))
        assert len(sender.events()) == sum(ping for _, ping in sent)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=60), SIZES, st.binary(min_size=1, max_size=3), st.integers(0, 200))
def test_text_is_checked_wherever_it_is_cut(text: str, sizes: list[int], extra: bytes, place: int) -> None:
    data = text.encode()
    at = place % (len(data) + 1)
    for payload in (data, data[:at] + extra + data[at:]):
        try:
            payload.decode()
            good = True
        except UnicodeDecodeError:
            good = False
        one = server()
        half = len(payload) // 2
        cut(one, frame(1, payload) + frame(1, payload[:half], fin=False) + frame(0, payload[half:]), sizes)
        assert (one.state == Phase.OPEN) is good
        assert messages(one) == ([payload] * 2 if good else [])


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), SQUEEZED), st.integers(0, 200), st.integers(0, 255))
def test_damaged_compressed_messages(data: bytes, place: int, byte: int) -> None:
    damaged = bytearray(data)
    if damaged:
        damaged[place % len(damaged)] = byte
    one = server(FULL, max_message=MOST)
    one.receive(frame(2, bytes(damaged), rsv=4), 0)
    check(one)


HEADS = st.one_of(
    st.binary(max_size=300),
    st.lists(st.sampled_from([
        b"GET ", b"POST ", b"/health", b"/", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"Host: x\r\n", b"\r\n", b"a: b\r\n",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"abc", b"Expect: 100-continue\r\n",
        b"Sec-WebSocket-Key: x\r\n", b"\n", b"\x00",
        request(), b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ]), max_size=20).map(b"".join),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(HEADS, SIZES, st.booleans())
def test_any_request_and_any_cuts(data: bytes, sizes: list[int], accepts: bool) -> None:
    one = listening(routes={"/health": object()})
    at = 0
    for size in [*sizes, 1 << 60]:
        piece = data[at : at + size]
        at += size
        if piece:
            one.receive(piece, 0)
        for event in one.events():
            if isinstance(event, Asked):
                one.respond(plain(200), 0)
            elif isinstance(event, UpgradeAsked) and accepts:
                one.accept(0)
            elif isinstance(event, UpgradeAsked):
                one.refuse(503, "", 0)
        written(one)
    assert one.state in (Phase.HTTP, Phase.OPEN, Phase.CLOSED)


ANSWERS = st.binary(max_size=100).map(lambda data: b"HTTP/1.1 101 S\r\n" + data)


@settings(deadline=None, max_examples=200)
@given(st.one_of(st.binary(max_size=200), ANSWERS), SIZES)
def test_any_answer(data: bytes, sizes: list[int]) -> None:
    from tests.websocket.test_handshake import asking

    one = asking()
    cut(one, data, sizes)
    one.receive(b"", 0)
    assert one.state == Phase.CLOSED


def test_a_long_mix_from_a_seed(rng: random.Random) -> None:
    """Two sessions, everything at once, cut anywhere: what one sends the other gets, in order."""
    one, two = client(FULL, fragment=100), server(FULL, fragment=100)
    sent: dict[int, list[bytes]] = {0: [], 1: []}
    got: dict[int, list[bytes]] = {0: [], 1: []}
    wires = [b"", b""]
    ends = (one, two)
    for _ in range(3000):
        side = rng.randrange(2)
        if rng.random() < 0.6:
            payload = len(sent[side]).to_bytes(4, "big") + rng.randbytes(rng.choice((0, 5, 60, 300)))
            ends[side].send(payload, 0, 0, 0, 0, 0)
            sent[side].append(payload)
        if rng.random() < 0.1:
            ends[side].ping(1, 0)
        if rng.random() < 0.5:
            wires[side] += written(ends[side])
        step = rng.randrange(1, 400)
        piece, wires[side] = wires[side][:step], wires[side][step:]
        if piece:
            ends[1 - side].receive(piece, 0)
            got[side] += messages(ends[1 - side])
    for side in (0, 1, 0, 1):
        wires[side] += written(ends[side])
        if wires[side]:
            ends[1 - side].receive(wires[side], 0)
            got[side] += messages(ends[1 - side])
            wires[side] = b""
    assert got == sent
    assert by_hand.said(one) == by_hand.said(two) == []
