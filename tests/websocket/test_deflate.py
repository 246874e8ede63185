"""permessage-deflate, section by section of RFC 7692."""

from __future__ import annotations

import functools
import random
import zlib
from typing import Any

import pytest

from tests.websocket.by_hand import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
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
from transport.websocket import deflate, upgrade
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
        ({"server_max_window_bits": "15"}, Agreement(15, True, 15, True), "; server_max_window_bits=15"),
        ({"server_no_context_takeover": None}, Agreement(15, False, 15, True), "; server_no_context_takeover"),
        ({"client_no_context_takeover": None}, Agreement(15, True, 15, False), "; client_no_context_takeover"),
        (
            {"client_max_window_bits": "11", "server_max_window_bits": "9", "client_no_context_takeover": None,
             "server_no_context_takeover": None},
            Agreement(9, False, 11, False),
            "; server_no_context_takeover; client_no_context_takeover"
            "; server_max_window_bits=9; client_max_window_bits=11",
        ),
    ],
)  # fmt: skip
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


def test_7_1_the_first_offer_that_can_be_kept_is_taken() -> None:
    offers: list[dict[str, str | None]] = [{"server_max_window_bits": bits} for bits in ("7", "10", "12")]
    assert chosen(*offers) == (Agreement(10, True, 15, True), f"{NAME}; server_max_window_bits=10")
    assert chosen(offers[0], {"client_max_window_bits": "16"}) is None


@pytest.mark.parametrize(
    ("header", "answer"),
    [
        (NAME, NAME),
        (f"{NAME}; client_max_window_bits; server_max_window_bits=10", f"{NAME}; server_max_window_bits=10"),
        (
            f"{NAME}; client_max_window_bits; server_max_window_bits=10, {NAME}; client_max_window_bits",
            f"{NAME}; server_max_window_bits=10",
        ),
        (f'{NAME}; server_max_window_bits="10"', f"{NAME}; server_max_window_bits=10"),
        (f"{NAME}; server_max_window_bits=6, {NAME}; client_max_window_bits=12", f"{NAME}; client_max_window_bits=12"),
        (f"other; x=1, {NAME}; other, {NAME}; client_no_context_takeover", f"{NAME}; client_no_context_takeover"),
        (f"other, {NAME}; server_max_window_bits", None),
    ],
)
def test_7_1_3_offers_as_a_header_has_them(header: str, answer: str | None) -> None:
    headers = [(b"sec-websocket-extensions", header.encode())]
    found = upgrade.choose_extension(headers, config(compression=True, window_bits=15))
    assert (None if found is None else found[1]) == answer
    assert upgrade.choose_extension(headers, config()) is None


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
        [(NAME, [("client_max_window_bits", "7")])],
        [(NAME, [("client_max_window_bits", "010")])],
        [(NAME, [("server_max_window_bits", None)])],
        [(NAME, [("server_max_window_bits", "16")])],
        [(NAME, [("server_max_window_bits", "10"), ("server_max_window_bits", "10")])],
        [(NAME, [("client_no_context_takeover", None), ("client_no_context_takeover", None)])],
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


@pytest.mark.parametrize(("side", "key"), [(server, KEY), (client, None)], ids=["server", "client"])
def test_6_only_the_first_frame_of_a_data_message_may_be_marked(side: Any, key: Any) -> None:
    made = functools.partial(frame, key=key)
    data = Compressor(15, True).compress(b"abc" * 100)
    cases = [
        made(PING, b"", rsv=RSV1),
        made(PONG, b"", rsv=RSV1),
        made(CLOSE, b"", rsv=RSV1),
        made(CONTINUATION, data, rsv=RSV1),
        made(TEXT, b"plain", fin=False) + made(CONTINUATION, b"", rsv=RSV1),
        made(TEXT, data[:3], rsv=RSV1, fin=False) + made(PING, b"", rsv=RSV1),
        made(TEXT, data[:3], rsv=RSV1, fin=False) + made(CONTINUATION, data[3:], rsv=RSV1),
        made(TEXT, data, rsv=RSV1 | 2),
        made(TEXT, data, rsv=1),
    ]
    for case in cases:
        one = side(FULL)
        feed(one, case)
        assert ended(one).code == CloseCode.PROTOCOL_ERROR
    without = side()
    feed(without, made(TEXT, data, rsv=RSV1))
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


@pytest.mark.parametrize("takeover", [True, False])
def test_7_2_1_another_zlib_reads_what_is_sent(takeover: bool) -> None:
    """And the four bytes of the last empty block are left out."""
    one = server(Agreement(15, takeover, 15, True), compress_above=0)
    inflate = zlib.decompressobj(-15)
    for payload in (b"Hello", b"Hello", b"", bytes(1000), random.Random(1).randbytes(3000), b"Hello"):
        one.send(payload, 0, 0, 0, 0, 0)
        (found,) = said(one)
        assert found.rsv == RSV1
        assert not found.payload.endswith(deflate.TAIL)
        if not takeover:
            inflate = zlib.decompressobj(-15)
        assert inflate.decompress(found.payload + deflate.TAIL) == payload


def test_7_2_3_the_examples_are_what_is_sent() -> None:
    for agreement, second in ((FULL, "c105f200110000"), (FRESH, "c107f248cdc9c90700")):
        one = server(agreement, text=True, compress_above=0)
        for payload, wire in ((b"Hello", "c107f248cdc9c90700"), (b"Hello", second), (b"", "c10100")):
            one.send(payload, 0, 0, 0, 0, 0)
            assert written(one).hex() == wire


def strictly(inflate: zlib._Decompress, data: bytes) -> bytes:
    """A message of a zlib that holds no more than its window: a byte at a time, so that none of it is in the output."""
    out = bytearray()
    data += deflate.TAIL
    for at in range(0, len(data), 64):
        rest = data[at : at + 64]
        while piece := inflate.decompress(rest, 1):
            out += piece
            rest = inflate.unconsumed_tail
    return bytes(out)


@pytest.mark.parametrize("bits", [9, 10, 12, 15])
def test_7_1_2_1_what_is_sent_refers_no_further_back_than_agreed(bits: int, rng: random.Random) -> None:
    one = server(Agreement(bits, True, 15, True))
    inflate = zlib.decompressobj(-bits)
    block = rng.randbytes((1 << bits) + 50)
    for payload in (block[:1000] * 2, block, block, block[-1000:] * 2):
        one.send(payload, 0, 0, 0, 0, 0)
        (found,) = said(one)
        assert strictly(inflate, found.payload) == payload
    if bits < 15:  # and it would show
        with pytest.raises(zlib.error, match="too far back"):
            strictly(zlib.decompressobj(-bits), Compressor(15, True).compress(block * 2))


def test_7_1_1_1_without_takeover_nothing_may_refer_to_the_message_before() -> None:
    one = client(FRESH)
    feed(one, bytes.fromhex("c107f248cdc9c90700") + bytes.fromhex("c105f200110000"))
    assert messages(one) == [b"Hello"]
    assert ended(one).code == CloseCode.INVALID_BODY


def test_7_1_1_takeover_is_of_each_direction() -> None:
    text = random.Random(5).randbytes(500)
    one, two = client(Agreement(15, True, 15, False)), server(Agreement(15, False, 15, True))
    sizes = []
    for sender, reader in ((one, two), (one, two), (two, one), (two, one)):
        sender.send(text, 0, 0, 0, 0, 0)
        data = written(sender)
        sizes.append(len(data))
        feed(reader, data)
        assert messages(reader) == [text]
    assert [size < 50 for size in sizes] == [False, True, False, False]


def stored(data: bytes) -> bytes:
    """A block without compression."""
    return b"\x00" + len(data).to_bytes(2, "little") + (len(data) ^ 0xFFFF).to_bytes(2, "little") + data


def test_7_2_3_5_blocks_of_every_kind_in_one_message() -> None:
    squeeze = zlib.compressobj(wbits=-15)
    dynamic = squeeze.compress(b"".join(b"%d," % n for n in range(500))) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    fixed = bytes.fromhex("f24805000000ffffcac9c90700")  # of the RFC's own example
    data = stored(b"one ") + stored(b"") + dynamic + stored(b" two ") + fixed
    expected = b"one " + b"".join(b"%d," % n for n in range(500)) + b" two Hello"
    for at in range(0, len(data) + 1, 7):
        one = server(FULL)
        feed(one, frame(BINARY, data[:at], rsv=RSV1, fin=False) + frame(CONTINUATION, data[at:]))
        assert messages(one) == [expected]


@pytest.mark.parametrize("agreement", [FULL, FRESH])
def test_7_2_3_4_a_final_block_at_every_cut_and_what_follows_it(agreement: Agreement) -> None:
    last = zlib.compressobj(wbits=-15)
    block = last.compress(b"the last of its stream") + last.flush()
    more = Compressor(15, False).compress(b", and more")
    for at in range(len(block) + 1):
        one = server(agreement)
        for data, payload in ((block + b"\x00", b""), (block + more, b", and more"), (block + block + b"\x00", None)):
            feed(one, frame(TEXT, data[:at], rsv=RSV1, fin=False) + frame(CONTINUATION, data[at:]))
            feed(one, frame(TEXT, b"plain"))
            whole = b"the last of its stream"
            assert messages(one) == [whole + (whole if payload is None else payload), b"plain"]
        assert one.state == Phase.OPEN


@pytest.mark.parametrize("pieces", [[b"", b"\x00"], [b"\x00", b""], [b"", b""], [b"", b"\x00", b""]])
def test_7_2_3_6_an_empty_message_in_fragments(pieces: list[bytes]) -> None:
    one = server(FULL)
    data = frame(TEXT, pieces[0], rsv=RSV1, fin=False)
    data += b"".join(frame(CONTINUATION, piece, fin=False) for piece in pieces[1:-1])
    feed(one, (data + frame(CONTINUATION, pieces[-1])) * 3)
    assert messages(one) == [b""] * 3


def test_6_2_every_byte_in_a_fragment_of_its_own() -> None:
    text = "κόσμε ".encode() * 50
    squeeze = Compressor(15, True)
    one = server(FULL)
    for _ in range(2):
        data = squeeze.compress(text)
        feed(one, frame(TEXT, data[:1], rsv=RSV1, fin=False))
        for at in range(1, len(data)):
            feed(one, frame(CONTINUATION, data[at : at + 1], fin=at == len(data) - 1) + frame(PING))
        assert messages(one) == [text]


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


def test_a_bomb_in_fragments() -> None:
    bomb = Compressor(15, True).compress(bytes(8 * limits.MIB))
    one = server(FULL, max_message=100_000)
    feed(one, frame(TEXT, b"", rsv=RSV1, fin=False))
    for at in range(0, len(bomb), 500):
        feed(one, frame(CONTINUATION, bomb[at : at + 500], fin=at + 500 >= len(bomb)))
    assert ended(one).code == CloseCode.TOO_LARGE
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
