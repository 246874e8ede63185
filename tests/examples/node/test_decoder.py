"""The decoder in Node and the one in Python, both written from docs/protocol.md alone, say the same of any bytes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.docs import by_hand as pipe_by_hand
from tests.docs import rudp_by_hand as by_hand
from tests.docs.test_protocol_vectors import FRAMES as PIPE_FRAMES
from tests.docs.test_protocol_vectors import PREFACES
from tests.docs.test_rudp_vectors import CHECKSUMS, FRAMES, LONGS, PARAMETERS, SHORTS, rows
from tests.examples.node.running import needs_node, through
from tests.rudp.by_hand import MS, Rig
from transport.rudp import packet, sums

pytestmark = needs_node

Line = dict[str, Any]


def told(read: Callable[..., Any], *what: Any) -> Any:
    """What a decoder here says, in the words of the other: an error is its code, 0 for what is dropped."""
    try:
        return read(*what)
    except pipe_by_hand.Malformed as error:
        return {"code": error.code}
    except UnicodeDecodeError:
        return {"code": 1002}
    except by_hand.Dropped:
        return {"code": 0}


def says(lines: list[Line]) -> list[Any]:
    """What the other decoder says. Why something is wrong is for people."""
    answers = through("decode.js", lines)
    assert len(answers) == len(lines)
    for answer in answers:
        if isinstance(answer, dict) and "error" in answer:
            assert isinstance(answer.pop("error"), str)
    return answers


# Vectors


def test_every_vector() -> None:
    page: list[tuple[Line, Any]] = [({"datagram": data.hex()}, meaning) for data, meaning in LONGS]
    page += [({"datagram": data.hex(), "checksum": kind}, meaning) for data, kind, meaning in SHORTS]
    page += [({"frames": data.hex()}, meaning) for data, meaning in FRAMES]
    page += [({"parameters": data.hex()}, meaning) for data, meaning in PARAMETERS]
    page += [({"preface": data.hex()}, meaning) for data, meaning in PREFACES]
    page += [({"pipe": data.hex()}, [meaning]) for data, meaning in PIPE_FRAMES]
    page += [
        ({"datagram": data.hex(), "from": who}, meaning) for who, data, meaning in rows("who", "datagram", "meaning")
    ]
    assert len(page) > 60
    assert says([line for line, _ in page]) == [meaning for _, meaning in page]


def test_truncated_numbers() -> None:
    lines: list[Line] = []
    for number, expected, _ in rows("truncated", "expected", "number"):
        head = bytes([0x40 + len(number) - 1]) + bytes(8) + number
        lines.append({"datagram": (head + b"\x01").hex(), "checksum": "none", "expected": expected})
    answers = says(lines)
    assert [str(answer["number"]) for answer in answers] == [row[2] for row in rows("truncated", "expected", "number")]


# What the machines say


def conversation(seed: int, checksums: int) -> list[tuple[str, bytes]]:
    """Who sent which datagram, in two sessions' talk over a bad network in virtual time."""
    rng = random.Random(seed)
    config = {"checksums": checksums, "channels": 8, "start_window": 8000}  # little, so that credit is talked about
    rig = Rig(seed, client=config, **config)
    spoken: list[tuple[str, bytes]] = []

    def drops(data: bytes, from_client: bool) -> bool:
        spoken.append(("client" if from_client else "server", data))
        return rng.random() < loss

    rig.drops = drops
    loss = 1.0
    rig.honest.send(b"in vain", 3, 0, 0, rig.now + 20 * MS, rig.now)  # it will be given up, by SKIP
    rig.honest.want()
    rig.wait(100)
    loss = 0.05
    for _ in range(400):
        speaker = rng.choice([rig.honest, rig.of_honest()])
        for _ in range(rng.randrange(4)):
            size = rng.choice([0, 1, 30, 70, 300, 1500, 5000])
            expires_at = rng.choice([0, 0, 0, rig.now + 20 * MS])
            speaker.send_copies(
                rng.randbytes(size), rng.randrange(8), rng.randrange(4), 0, expires_at, rng.choice([-1, 2]), rig.now
            )
        if rng.random() < 0.1:
            speaker.open_stream(rng.randrange(8), 3)
        speaker.want()
        rig.wait(rng.choice([0, 1, 5, 40]))
    rig.wait(2000)
    rig.honest.close(7, "größe", rig.now)
    rig.honest.want()
    rig.wait(2000)
    return spoken


@pytest.mark.parametrize("kind", CHECKSUMS)
@pytest.mark.slow
def test_what_two_sessions_say(kind: str, seed: int) -> None:
    spoken = conversation(seed, {"none": 7, "crc32": 2, "crc32c": 6}[kind])
    assert len(spoken) > 700
    known = {"checksum": kind, "channels": 8}
    answers = says(
        [{"datagram": data.hex(), "from": who, "by_client": who == "client", **known} for who, data in spoken]
    )
    expected = {"client": 0, "server": 0}
    limits = {who: by_hand.Limits(channels=8, is_client=who == "server") for who in expected}
    for (who, data), answer in zip(spoken, answers, strict=True):
        meaning = told(by_hand.short, data, kind, expected[who], limits[who])
        expected[who] = max(expected[who], meaning["number"] + 1)
        assert answer == meaning
    seen = {frame["frame"] for answer in answers for frame in answer["frames"]}
    assert seen >= {"PAD", "ACK", "SKIP", "CONNECTION_CREDIT", "NEW_CID", "CLOSE", "MSG"}
    assert any(answer["copies"] for answer in answers)


def some_parameters(rng: random.Random) -> packet.Parameters:
    size = rng.choice([6, 14, 30, 62])
    return packet.Parameters(
        max_ack_delay_us=rng.randrange(1_000_001),
        idle_ms=rng.getrandbits(size),
        max_datagram=rng.choice([1200, 65_000]),
        connection_window=1 + rng.getrandbits(size) // 2,
        channel_window=1 + rng.getrandbits(size) // 2,
        max_message=1 + rng.getrandbits(size) // 2,
        channels=rng.choice([1, 4, 256]),
        checksums=rng.randrange(8),
        codec=rng.choice(["", "raw", "größe"]),
        reset_token=rng.choice([b"", rng.randbytes(16)]),
        stream_window=rng.getrandbits(size),
    )


def some_long(rng: random.Random) -> bytes:
    """A packet of the handshake that the package writes."""
    dcid, scid = rng.getrandbits(64) | 1, rng.getrandbits(64) | 1
    return rng.choice(
        [
            lambda: packet.encode_hello(scid, rng.randbytes(rng.choice([0, 24, 255])), some_parameters(rng)),
            lambda: packet.encode_retry(dcid, rng.randbytes(rng.randrange(1, 256))),
            lambda: packet.encode_accept(dcid, scid, some_parameters(rng)),
            lambda: packet.encode_refuse(dcid, rng.getrandbits(16), "größe" * rng.randrange(60), (1, packet.VERSION)),
        ]
    )()


def test_handshakes(rng: random.Random) -> None:
    packets = [some_long(rng) for _ in range(300)]
    answers = says([{"datagram": data.hex()} for data in packets])
    assert answers == [by_hand.long(data) for data in packets]
    assert {answer["packet"] for answer in answers} == set(by_hand.KINDS)


# What nobody says


def bent(data: bytes, rng: random.Random) -> bytes:
    """The same with some damage."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(out) + 1)
        if rng.random() < 0.3:
            del out[at : at + rng.choice([1, 1, 4])]
        elif rng.random() < 0.5:
            out[at:at] = rng.randbytes(rng.choice([1, 2]))
        elif at < len(out):
            out[at] ^= 1 << rng.randrange(8)
    return bytes(out)


def resealed(data: bytes, rng: random.Random) -> bytes:
    """A damaged packet of the handshake whose checksum is right all the same."""
    body = bent(data[:-4].rstrip(b"\0") + bytes(rng.choice([0, 1, 1200])), rng)
    return body + sums.checksum_of(body, sums.CRC32, 0).to_bytes(4, "big")


def test_damaged_frames(rng: random.Random) -> None:
    whole = [data for data, _ in FRAMES]
    cases = [bent(b"".join(rng.choices(whole, k=rng.choice([1, 1, 2, 4]))), rng) for _ in range(3000)]
    cases = [case for case in cases if case]
    answers = says([{"frames": case.hex(), "channels": 250, "max_message": 65_536} for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        limits = by_hand.Limits(channels=250, max_message=65_536)
        assert answer == told(by_hand.frames, case, limits), case.hex()
    assert {answer["code"] for answer in answers if isinstance(answer, dict)} == {1002, 1009}


def test_damaged_handshakes(rng: random.Random) -> None:
    cases = [resealed(some_long(rng), rng) for _ in range(300)]
    cases += [bent(some_long(rng), rng) for _ in range(20)]
    answers = says([{"datagram": case.hex()} for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        if case[0] >= 0xC0:
            assert answer == told(by_hand.long, case), case.hex()
    assert sum("packet" in answer for answer in answers) > 30


def test_damaged_pipes(rng: random.Random) -> None:
    whole = [data for data, _ in PIPE_FRAMES]
    cases = [bent(rng.choice(whole), rng) for _ in range(1500)]
    answers = says([{"pipe": case.hex()} for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert answer == told(pipe_frames, case), case.hex()
    cases = [bent(rng.choice(PREFACES)[0], rng) for _ in range(500)]
    answers = says([{"preface": case.hex()} for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        want = told(pipe_by_hand.preface, pipe_by_hand.Reader(case))
        assert answer == want or {**pipe_by_hand.DEFAULTS, **answer} == want, case.hex()


def pipe_frames(data: bytes) -> list[Any]:
    """Whole frames, to the end."""
    reader = pipe_by_hand.Reader(data)
    found = []
    while reader.at < len(data):
        found.append(pipe_by_hand.frame(reader))
    return found


def test_noise(rng: random.Random) -> None:
    """Random bytes, also behind a good head: an answer to each, and an error with a code to nearly all."""
    lines: list[Line] = []
    for _ in range(4000):
        noise = rng.randbytes(rng.choice([0, 1, 10, 11, 12, 30, 100, 1200])).hex()
        lines.append({rng.choice(["datagram", "frames", "parameters", "pipe", "preface"]): noise})
        lines.append({"datagram": "40" + bytes(8).hex() + noise, "checksum": "none"})
        lines.append({"datagram": "c0" + noise})
    answers = says(lines)
    wrong = [answer["code"] for answer in answers if isinstance(answer, dict) and "code" in answer]
    assert set(wrong) == {0, 1002, 1009}
    assert len(wrong) > 6000


def test_strange_lines() -> None:
    """Numbers that are too large for a float keep all their digits."""
    (answer,) = through("decode.js", [{"frames": "06" + "ff" * 8}])
    assert json.dumps(answer) == json.dumps([{"frame": "CONNECTION_CREDIT", "limit": 2**62 - 1}])
