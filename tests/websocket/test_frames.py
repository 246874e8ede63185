"""The bytes of frames: headers, masks, UTF-8 (RFC 6455 sections 5.2, 5.3, 5.7, 8.1)."""

from __future__ import annotations

import random

import pytest

from tests.websocket.by_hand import BINARY, KEY, TEXT, client, frame, frames_of, messages, said, server, written, xor
from transport.websocket import frames

SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, 70_000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", [-1, 0, 0x37FA213D, 0xFFFFFFFF])
def test_a_header_has_the_length_in_the_fewest_bytes(size: int, key: int) -> None:
    own = None if key < 0 else key.to_bytes(4, "big")
    start = frames.header(0x82, size, key)
    assert start == frame(BINARY, b"", key=own, size=size)
    if size < 65_536:
        payload = random.Random(size).randbytes(size)
        run = bytearray(b"before")
        assert frames.append(run, 0x82, payload, key) == len(run) - 6
        assert bytes(run) == b"before" + frame(BINARY, payload, key=own)


@pytest.mark.parametrize("phase", range(5))
def test_masking_is_xor_by_the_key_in_turn(rng: random.Random, phase: int) -> None:
    for size in (0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 1000):
        data = rng.randbytes(size + 10)
        key = rng.getrandbits(32)
        whole = xor(b"\0" * phase + data[5 : 5 + size], key.to_bytes(4, "big"))
        assert frames.cut(data, 5, 5 + size, key, phase) == whole[phase:]
    assert frames.cut(b"abcdef", 1, 3, -1, phase) == b"bc"


def test_the_examples_of_the_rfc() -> None:
    """Section 5.7."""
    one = server()
    one.receive(bytes.fromhex("818537fa213d7f9f4d5158"), 0)
    assert messages(one) == [b"Hello"]
    two = client()
    two.receive(bytes.fromhex("810548656c6c6f"), 0)
    two.receive(bytes.fromhex("010348656c80026c6f"), 0)
    assert messages(two) == [b"Hello", b"Hello"]
    one.receive(bytes.fromhex("898537fa213d7f9f4d5158"), 0)
    assert written(one) == bytes.fromhex("8a0548656c6c6f")
    two.receive(bytes.fromhex("827e0100") + bytes(256) + bytes.fromhex("827f0000000000010000") + bytes(65_536), 0)
    assert [len(message) for message in messages(two)] == [256, 65_536]
    text = server(text=True)
    text.send(b"Hello", 0, 0, 0, 0, 0)
    assert written(text) == bytes.fromhex("810548656c6c6f")


@pytest.mark.parametrize("size", [*SIZES, 16_383, 16_384, 1 << 20])
def test_what_one_side_writes_the_other_reads(size: int, rng: random.Random) -> None:
    for sender, reader in ((client(), server()), (server(), client())):
        payloads = [rng.randbytes(size), b"", rng.randbytes(3)]
        for payload in payloads:
            sender.send(payload, 0, 0, 0, 0, 0)
        data = written(sender)
        found, left = frames_of(data)
        assert not left
        assert [one.payload for one in found] == payloads
        assert {one.masked for one in found} == {sender.http is None and found[0].masked}
        reader.receive(data, 0)
        assert messages(reader) == payloads


def test_a_client_masks_every_frame_with_another_key_and_a_server_none() -> None:
    one = client()
    for _ in range(300):
        one.send(bytes(8), 0, 0, 0, 0, 0)
    one.ping(5, 0)
    data = written(one)
    found, _ = frames_of(data)
    assert all(each.masked for each in found)
    keys = {data[at + 2 : at + 6] for at in range(14, 300 * 14, 14)}
    assert len(keys) > 290
    two = server()
    two.send(b"x", 0, 0, 0, 0, 0)
    two.ping(5, 0)
    assert not any(each.masked for each in said(two))


@pytest.mark.parametrize(
    ("text", "good"),
    [
        (b"", True),
        (b"plain and longer than eight", True),
        ("κόσμε".encode(), True),
        (b"\xc2\x80\xdf\xbf", True),
        (b"\xe0\xa0\x80\xef\xbf\xbf", True),
        (b"\xed\x9f\xbf\xee\x80\x80", True),
        (b"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", True),
        (b"\xef\xbf\xbe", True),  # a noncharacter is a character all the same
        (b"\x80", False),
        (b"eight by" + b"\xbf", False),
        (b"\xc0\xaf", False),  # too long
        (b"\xe0\x80\xaf", False),
        (b"\xf0\x80\x80\xaf", False),
        (b"\xed\xa0\x80", False),  # surrogates
        (b"\xed\xbf\xbf", False),
        (b"\xf4\x90\x80\x80", False),  # above U+10FFFF
        (b"\xf8\x88\x80\x80\x80", False),
        (b"\xfe", False),
        (b"whole but for the end \xe2\x82", False),
    ],
)
def test_utf8(text: bytes, good: bool) -> None:
    assert frames.is_utf8(text) is good


def test_a_key_is_a_number_whose_first_byte_is_the_highest() -> None:
    assert frames.header(0x81, 5, int.from_bytes(KEY, "big")) == frame(TEXT, b"Hello")[:6]
