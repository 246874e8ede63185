"""Packets taken apart for people: every vector of the page, what is cut off or changed, trains."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.docs.test_rudp_vectors import FRAMES, LONGS, PARAMETERS, SHORTS
from tests.sight.talk import rich
from transport.rudp import dissect, packet
from transport.rudp.dissect import Cursor, Dissection, Numbers

KINDS = {"none": 0, "crc32": packet.CHECKSUM_CRC32, "crc32c": packet.CHECKSUM_CRC32C}


def spread(frames: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Frames as the vectors have them: each PAD by itself."""
    return [
        one for frame in frames
        for one in ([{"frame": "PAD"}] * frame["count"] if frame["frame"] == "PAD" else [frame])
    ]  # fmt: skip


def short(data: bytes, kind: int | None, **options: Any) -> Dissection:
    return dissect.short(data, kind, Numbers(is_sure=True), **options)


@pytest.mark.parametrize(("data", "kind", "meaning"), SHORTS)
def test_short_packets(data: bytes, kind: str, meaning: dict[str, Any]) -> None:
    for known in (KINDS[kind], None) if kind != "none" else (0,):
        found = short(data, known)
        assert not found.problem and found.rest == (0, 0)
        assert found.checksum == (dissect.GOOD if kind != "none" else dissect.ABSENT)
        frames = [frame.meaning(data) for frame in found.frames]
        assert spread(frames) == meaning["frames"]
        assert {name: found.fields[name] for name in ("cid", "number", "copies")} == {
            name: meaning[name] for name in ("cid", "number", "copies")
        }
        assert found.kind == meaning["packet"]


@pytest.mark.parametrize(("frames", "meaning"), FRAMES)
def test_frames(frames: bytes, meaning: list[dict[str, Any]]) -> None:
    data = bytes([packet.FIXED_BIT]) + bytes(9) + frames
    numbers = Numbers(is_sure=True, by_server="reset_token" in str(meaning))
    numbers.lanes[4 * 200 + 2] = 200
    found = dissect.short(data, 0, numbers)
    assert not found.problem
    assert spread([frame.meaning(data) for frame in found.frames]) == meaning
    assert [frame.start for frame in found.frames] == [10, *[frame.end for frame in found.frames[:-1]]]
    assert found.frames[-1].end == len(data)
    assert {frame.name for frame in found.frames} <= set(dissect.FRAMES)


@pytest.mark.parametrize(("data", "meaning"), LONGS)
def test_long_packets(data: bytes, meaning: dict[str, Any]) -> None:
    found = dissect.long(data)
    assert (found.kind, found.checksum, found.problem) == (meaning["packet"], dissect.GOOD, "")
    fields = {name: value for name, value in found.fields.items() if name not in ("padding", "checksum")}
    assert fields == {name: value for name, value in meaning.items() if name != "packet"}


@pytest.mark.parametrize(("data", "meaning"), PARAMETERS)
def test_parameters(data: bytes, meaning: dict[str, Any]) -> None:
    found = dissect.parameters(Cursor(data, 0, len(data)))
    assert {name: value for name, value in found.items() if not name.startswith("parameter_")} == meaning


def test_what_is_damaged_says_so() -> None:
    data = SHORTS[0][0]
    changed = data[:10] + b"\x02" + data[11:]
    assert short(changed, packet.CHECKSUM_CRC32).checksum == dissect.WRONG
    assert short(changed, packet.CHECKSUM_CRC32).problem == dissect.DAMAGED
    unknown = short(changed, None)
    assert (unknown.checksum, unknown.fields.get("checksum")) == (dissect.UNVERIFIED, None)
    assert short(bytes([0x60]) + data[1:], 0).problem == "a reserved bit is set"
    assert short(data[:10], 0).problem == "no frame"
    assert short(data[:5], 0).problem == "the head is cut off"
    assert short(b"", 0).problem == "the head is cut off"
    assert short(data, packet.CHECKSUM_CRC32, is_cut=True).checksum == dissect.UNVERIFIED
    hello = LONGS[0][0]
    assert dissect.long(hello[:-1] + b"\x00").problem == dissect.DAMAGED
    assert dissect.long(hello[:30], is_cut=True).checksum == dissect.UNVERIFIED
    assert dissect.long(hello[:15]).problem == "byte 5: cut off"


@pytest.mark.parametrize(("frames", "problem", "good"), [
    (b"\x01\x0d", "type 0x0d at byte 11: unknown", 1), (b"\x06\x80\x10", "CONNECTION_CREDIT at byte 10: cut off", 0),
    (b"\x02\x05\x00\x00\x06", "ACK at byte 10: a range below 0", 0), (b"\x02\x05\x00\x20\x01", "too many ranges", 0),
    (b"\x05\x02\x01\x00\x20", "SKIP at byte 10: malformed", 0), (b"\x05\x00\x21", "malformed", 0),
    (b"\x0e\x00\x41\x01", "the reason is too long", 0), (b"\x84\x00", "a successor of no message", 0),
    (b"\x80\x41\x01\x00", "channel 257", 0), (b"\x98\x00\x01\x02\x02\x01a", "outside of its message", 0),
    (b"\x88\x00\x01\x05abc", "cut off", 0), (b"\x80\x00", "cut off", 0),
])  # fmt: skip
def test_it_goes_as_far_as_the_bytes_are_good(frames: bytes, problem: str, good: int) -> None:
    data = bytes([packet.FIXED_BIT]) + bytes(9) + frames
    found = short(data, 0)
    assert problem in found.problem
    assert len(found.frames) == good
    assert found.rest == (10 + good, len(data))


def test_what_is_behind_a_close_is_not_read() -> None:
    data = bytes([packet.FIXED_BIT]) + bytes(9) + b"\x0e\x00\x00\x0d\x0d"
    found = short(data, 0)
    assert (found.problem, [frame.name for frame in found.frames], found.rest) == ("", ["CLOSE"], (13, 15))


def test_what_is_wrong_moves_no_number() -> None:
    numbers = Numbers(is_sure=True)
    numbers.expected = 256
    data = bytes([packet.FIXED_BIT]) + bytes(8) + b"\x80" + b"\x80\x00\x05abc"
    assert dissect.short(data + b"1234", packet.CHECKSUM_CRC32, numbers).checksum == dissect.WRONG
    assert (numbers.expected, numbers.lanes) == (256, {})
    assert dissect.short(data, 0, numbers).fields["number"] == 384
    assert (numbers.expected, numbers.lanes) == (385, {0: 6})


def test_frames_of_streams() -> None:
    data = bytes.fromhex("6802020005 70050064617461 800100 90040343f501 a0050080200000")
    frames, problem = dissect.stream_frame(data, 0, len(data))
    assert not problem
    assert [frame.meaning(data) for frame in frames] == [
        {"frame": "STREAM_OPEN", "channel": 2, "stream": 0, "total": 4},
        {"frame": "STREAM_DATA", "stream": 0, "body": "64617461"},
        {"frame": "STREAM_END", "stream": 0},
        {"frame": "STREAM_RESET", "stream": 3, "code": 1013, "side": 1},
        {"frame": "STREAM_CREDIT", "stream": 0, "limit": 2097152},
    ]
    for damaged in (data[:3], b"\x00\x01a", data[:-1]):
        assert dissect.stream_frame(damaged, 0, len(damaged))[1].startswith("stream frame at byte")


def test_trains_are_cut_where_the_kernel_cuts_them() -> None:
    rng = random.Random(1)
    cid = rng.randbytes(8)
    for size, count, last in ((1200, 5, 1200), (1200, 3, 11), (40, 60, 40), (16_250, 4, 9000)):
        train = [bytes([0x41]) + cid + rng.randbytes(size - 9) for _ in range(count - 1)]
        train.append(bytes([0x51]) + cid + rng.randbytes(last - 9))
        joined = b"".join(train)
        assert [joined[start:end] for start, end in dissect.pieces(joined)] == train
    one = bytes([0x41]) + cid + rng.randbytes(2000) + cid + rng.randbytes(100)  # a message that has the id in it
    assert dissect.pieces(one) == [(0, len(one))]
    hello = LONGS[0][0]
    assert dissect.pieces(hello + hello) == [(0, 1200), (1200, 2400)]
    for single in (b"", b"\x41", hello, bytes(3000), one[:20]):
        assert dissect.pieces(single) == [(0, len(single))]


def test_random_bytes_never_crash(seed: int) -> None:
    """Random packets, and packets of a conversation of which some bytes are changed or missing."""
    rng = random.Random(seed)
    real = [data for *_, data in rich().packets]
    read = 0
    for _ in range(3000):
        data = bytearray(rng.choice(real))
        if rng.random() < 0.3:
            data = bytearray([0x40 | rng.getrandbits(6)]) + rng.randbytes(rng.randrange(80))
        for _ in range(rng.randrange(6)):
            data[rng.randrange(len(data))] = rng.getrandbits(8)
        whole = bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.3 else data)
        for start, end in dissect.pieces(whole):
            part = whole[start:end]
            if part and part[0] & 0xC0 == 0xC0:
                found = dissect.long(part, is_cut=rng.random() < 0.3)
            else:
                found = short(part, rng.choice([None, 0, 2, 4]), is_cut=rng.random() < 0.3)
            read += len(found.frames)
            assert 0 <= found.rest[0] <= found.rest[1] <= len(part)
            for frame in found.frames:
                assert 0 < frame.start < frame.end <= len(part)
                if frame.body is not None:
                    assert frame.start < frame.body[0] <= frame.body[1] <= frame.end
                    dissect.stream_frame(part, *frame.body)
    assert read > 1000
