"""permessage-deflate, section by section of RFC 7692."""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    client,
    config,
    ended,
    feed,
    frame,
    frames_of,
    messages,
    said,
    server,
    written,
)
from transport import limits
from transport.errors import CloseCode, RemoteProtocolError
from transport.websocket import deflate
from transport.websocket.config import Agreement
from transport.websocket.deflate import Compressor, Decompressor
from transport.websocket.states import Phase

NAME = "permessage-deflate"
FULL = Agreement(15, True, 15, True)
FRESH = Agreement(15, False, 15, False)
RSV1 = 4  # as `frame` takes it


def chosen(*offers: dict[str, str | None], name: str = NAME, **options: Any) -> tuple[Agreement, str] | None:
    listed = [(name, list(parameters.items())) for parameters in offers]
    return deflate.choose(listed, config(**{"compression": True, "window_bits": 15, **options}))


# 5, 7.1: negotiation, a server


@pytest.mark.parametrize(
    ("offer", "agreed", "answer"),
    [
        ({}, Agreement(15, True, 15, True), ""),
        ({"client_max_window_bits": None}, Agreement(15, True, 15, True), ""),
        ({"client_max_window_bits": "10"}, Agreement(15, True, 10, True), "; client_max_window_bits=10"),
        ({"client_max_window_bits": "8"}, Agreement(15, True, 8, True), "; client_max_window_bits=8"),
        ({"server_max_window_bits": "10"}, Agreement(10, True, 15, True), "; server_max_window_bits=10"),
        ({"server_max_window_bits": "8"}, Agreement(8, True, 15, True), "; server_max_window_bits=8"),
        ({"server_max_window_bits": "15"}, Agreement(15, True, 15, True), ""),
        ({"server_no_context_takeover": None}, Agreement(15, False, 15, True), "; server_no_context_takeover"),
        ({"client_no_context_takeover": None}, Agreement(15, True, 15, False), "; client_no_context_takeover"),
    ],
)
def test_7_1_what_a_server_answers(offer: Any, agreed: Agreement, answer: str) -> None:
    assert chosen(offer) == (agreed, NAME + answer)


@pytest.mark.parametrize(
    "offer",
    [
        {"unknown": None},
        {"server_no_context_takeover": "1"},
        {"client_no_context_takeover": "true"},
        {"server_max_window_bits": None},
        {"server_max_window_bits": "7"},
        {"server_max_window_bits": "16"},
        {"server_max_window_bits": "08"},
        {"server_max_window_bits": "1e1"},
        {"server_max_window_bits": "\u0661\u0660"},
        {"client_max_window_bits": "0"},
        {"client_max_window_bits": "99999999999999999999"},
    ],
)
def test_7_1_offers_that_are_declined(offer: Any) -> None:
    assert chosen(offer) is None
    assert chosen(offer, {}) == (FULL, NAME)  # the next one is taken


def test_7_1_a_parameter_twice() -> None:
    twice = [(NAME, [("client_max_window_bits", None), ("client_max_window_bits", "10")])]
    assert deflate.choose(twice, config(compression=True)) is None


def test_5_1_other_extensions_are_passed_over() -> None:
    assert chosen({}, name="x-webkit-deflate-frame") is None
    many = [("other", [])] * limits.WS_EXTENSIONS_MAX + [(NAME, [])]
    assert deflate.choose(many, config(compression=True)) is None
    assert deflate.choose(many[1:], config(compression=True)) is not None


def test_7_1_a_server_s_own_wishes() -> None:
    assert chosen({}, window_bits=10) == (Agreement(10, True, 15, True), f"{NAME}; server_max_window_bits=10")
    assert chosen({}, context_takeover=False) == (
        Agreement(15, False, 15, False), f"{NAME}; server_no_context_takeover; client_no_context_takeover",
    )  # fmt: skip


# 7.1: a client


def test_7_1_what_a_client_offers() -> None:
    assert deflate.offer(config()) == f"{NAME}; client_max_window_bits"
    assert deflate.offer(config(context_takeover=False)).count("no_context_takeover") == 2


@pytest.mark.parametrize(
    ("answer", "agreed"),
    [
        ({}, Agreement(15, True, 15, True)),
        ({"client_max_window_bits": "9"}, Agreement(9, True, 15, True)),
        ({"client_max_window_bits": "8"}, Agreement(8, True, 15, True)),
        ({"server_max_window_bits": "8"}, Agreement(15, True, 8, True)),
        ({"server_no_context_takeover": None}, Agreement(15, True, 15, False)),
        ({"client_no_context_takeover": None}, Agreement(15, False, 15, True)),
    ],
)
def test_7_1_what_a_client_takes(answer: Any, agreed: Agreement) -> None:
    settings = config(compression=True, window_bits=15)
    assert deflate.agree([(NAME, list(answer.items()))], settings) == agreed
    assert deflate.agree([], settings) is None


@pytest.mark.parametrize(
    "answers",
    [
        [("other", [])],
        [(NAME, []), (NAME, [])],
        [(NAME, [("unknown", None)])],
        [(NAME, [("client_max_window_bits", None)])],
        [(NAME, [("server_max_window_bits", "16")])],
        [(NAME, [("server_no_context_takeover", "x")])],
    ],
)
def test_7_1_what_a_client_does_not_take(answers: Any) -> None:
    with pytest.raises(ValueError, match=".+"):
        deflate.agree(answers, config(compression=True))


# 7.2.3: the examples


@pytest.mark.parametrize(
    ("wire", "payloads"),
    [
        ("c107f248cdc9c90700", [b"Hello"]),  # 7.2.3.1, one block
        ("4103f248cd8004c9c90700", [b"Hello"]),  # two fragments
        ("c107f248cdc9c90700c107f248cdc9c90700", [b"Hello", b"Hello"]),  # 7.2.3.2, not sharing the window
        ("c107f248cdc9c90700c105f200110000", [b"Hello", b"Hello"]),  # sharing it
        ("c10b000500faff48656c6c6f00", [b"Hello"]),  # 7.2.3.3, no compression
        ("c108f348cdc9c9070000", [b"Hello"]),  # 7.2.3.4, BFINAL
        ("c10df248050000 00ffffcac9c90700", [b"Hello"]),  # 7.2.3.5, two blocks
        ("c10100", [b""]),  # 7.2.3.6, empty
        ("c100", [b""]),
    ],
)
@pytest.mark.parametrize("step", [1, 1 << 60])
def test_7_2_3_the_examples_of_the_rfc(wire: str, payloads: list[bytes], step: int) -> None:
    one = client(FULL)
    feed(one, bytes.fromhex(wire), step)
    assert messages(one) == payloads
    assert one.state == Phase.OPEN


# 6: which frames are marked


def test_6_only_the_first_frame_of_a_data_message_may_be_marked() -> None:
    data = Compressor(15, True).compress(b"abc" * 100)
    cases = [
        frame(PING, b"", rsv=RSV1),
        frame(CLOSE, b"", rsv=RSV1),
        frame(TEXT, data[:3], rsv=RSV1, fin=False) + frame(CONTINUATION, data[3:], rsv=RSV1),
        frame(TEXT, data, rsv=RSV1 | 2),
        frame(TEXT, data, rsv=1),
    ]
    for case in cases:
        one = server(FULL)
        feed(one, case)
        assert ended(one).code == CloseCode.PROTOCOL_ERROR
    without = server()
    feed(without, frame(TEXT, data, rsv=RSV1))
    assert ended(without).code == CloseCode.PROTOCOL_ERROR


def test_6_compressed_and_plain_messages_in_turn() -> None:
    one = server(FULL)
    squeeze = Compressor(15, True)
    for text in (b"one" * 50, b"two" * 50, b"one" * 50):
        data = squeeze.compress(text)
        feed(one, frame(TEXT, data[:5], rsv=RSV1, fin=False) + frame(PING) + frame(CONTINUATION, data[5:]))
        feed(one, frame(BINARY, text))
        assert messages(one) == [text, text]


@pytest.mark.parametrize("agreement", [FULL, FRESH, Agreement(9, True, 9, True), Agreement(9, False, 15, True)])
@pytest.mark.parametrize("fragment", [0, 100])
def test_7_2_round_trips(agreement: Agreement, fragment: int, rng: random.Random) -> None:
    mirrored = Agreement(agreement.peer_bits, agreement.peer_takeover, agreement.own_bits, agreement.own_takeover)
    one, two = client(agreement, fragment=fragment), server(mirrored, fragment=fragment)
    words = [rng.randbytes(rng.randrange(1, 300)) for _ in range(20)]
    for _ in range(60):
        payload = b"".join(rng.choice(words) for _ in range(rng.randrange(0, 40)))
        for sender, reader in ((one, two), (two, one)):
            sender.send(payload, 0, 0, 0, 0, 0)
            feed(reader, written(sender), rng.choice((1 << 60, 50)))
            assert messages(reader) == [payload]


def test_7_2_1_context_takeover_makes_the_second_message_short() -> None:
    text = random.Random(5).randbytes(500)
    for agreement, saved in ((FULL, True), (FRESH, False)):
        one = server(agreement)
        sizes = []
        for _ in range(2):
            one.send(text, 0, 0, 0, 0, 0)
            sizes.append(len(written(one)))
        assert (sizes[1] < 50) is saved


def test_short_messages_and_those_that_may_be_dropped_travel_plain() -> None:
    one = server(FULL, compress_above=100)
    one.send(b"x" * 99, 0, 0, 0, 0, 0)
    one.send(b"x" * 100, 0, 0, 0, 0, 0)
    one.send(b"x" * 100, 0, 0, 0, 5, 0)
    one.send(b"x" * 100, 0, 3, 0, 0, 0)
    assert sorted((found.rsv, len(found.payload) == 100) for found in said(one)) == [
        (0, False), (0, True), (0, True), (RSV1, False),
    ]  # fmt: skip


def test_7_1_2_a_window_of_256_bytes_is_kept_by_not_compressing() -> None:
    one = server(Agreement(8, True, 8, True))
    one.send(b"x" * 1000, 0, 0, 0, 0, 0)
    assert said(one)[0].rsv == 0
    squeeze = zlib.compressobj(wbits=-9)
    data = (squeeze.compress(b"y" * 200) + squeeze.flush(zlib.Z_SYNC_FLUSH))[:-4]
    feed(one, frame(BINARY, data, rsv=RSV1))
    assert messages(one) == [b"y" * 200]


# Bad input


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x07", b"garbage that is none"])
def test_7_2_2_what_is_no_compressed_data(data: bytes) -> None:
    one = server(FULL)
    feed(one, frame(BINARY, data, rsv=RSV1))
    assert ended(one).code == CloseCode.INVALID_BODY
    (found, *_), _ = frames_of(written(one))
    assert found.payload[:2] == (1007).to_bytes(2, "big")


def test_text_is_checked_behind_the_decompressor() -> None:
    one = server(FULL)
    feed(one, frame(TEXT, Compressor(15, True).compress(b"\xff" * 100), rsv=RSV1))
    assert ended(one).code == CloseCode.INVALID_BODY


def test_a_bomb_is_refused_before_it_goes_off() -> None:
    bomb = Compressor(15, True).compress(bytes(64 * limits.MIB))
    assert len(bomb) < 100_000
    one = server(FULL, max_message=100_000)
    feed(one, frame(BINARY, bomb, rsv=RSV1))
    closed = ended(one)
    assert closed.code == CloseCode.TOO_LARGE
    assert "decompressed message is over the limit of 100000" in closed.reason
    assert messages(one) == []


@pytest.mark.parametrize("size", [99_999, 100_000, 100_001])
def test_the_limit_is_of_the_message_not_of_its_bytes_on_the_wire(size: int) -> None:
    payload = random.Random(1).randbytes(size)  # grows by compression
    one = server(FULL, max_message=100_000)
    feed(one, frame(BINARY, Compressor(15, True).compress(payload), rsv=RSV1))
    if size <= 100_000:
        assert messages(one) == [payload]
    else:
        assert ended(one).code == CloseCode.TOO_LARGE


def test_compressed_bytes_have_a_limit_of_their_own() -> None:
    one = server(FULL, max_message=1000)
    feed(one, frame(BINARY, b"", rsv=RSV1, size=3000))
    assert ended(one).code == CloseCode.TOO_LARGE


def test_final_blocks_are_bounded() -> None:
    final = zlib.compressobj(wbits=-15)
    block = final.compress(b"x") + final.flush()
    one = Decompressor(15, True)
    most = limits.WS_FINAL_BLOCKS_MAX
    assert one.decompress(block * (most - 1) + b"\x00", 1000) == b"x" * (most - 1)
    with pytest.raises(RemoteProtocolError) as caught:
        one.decompress(block * most + b"\x00", 1000)
    assert caught.value.code == CloseCode.POLICY


def test_without_takeover_nothing_is_kept() -> None:
    squeeze, stretch = Compressor(15, False), Decompressor(15, False)
    first = squeeze.compress(b"abc" * 100)
    assert squeeze.compress(b"abc" * 100) == first
    assert stretch.decompress(first, 1000) == stretch.decompress(first, 1000) == b"abc" * 100
    assert squeeze._deflate is None
    assert stretch._inflate is None
