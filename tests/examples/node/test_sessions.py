"""A connection in Node and a session of the package do the same with any frames: what they deliver, how they end."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.docs.test_rudp_vectors import FRAMES, MALFORMED, TOLERATED, Pair, code_of, sent_to_server
from tests.examples.node.running import needs_node, through
from tests.rudp.by_hand import ack, close_frame, message, varint, varints

pytestmark = needs_node

FIRST = 40  # the number of the first packet
WHOLE = [data for data, _ in FRAMES] + [bytes.fromhex(text) for text in [*MALFORMED.values(), *TOLERATED.values()]]


def some_message(rng: random.Random, channel: int, delivery: int) -> bytes:
    """A few numbers, bodies and cuts, so that they meet often."""
    total = rng.choice([6, 6, 6, 12])
    part, body = None, bytes(range(rng.choice([0, 1, 3, 6, 6])))
    if rng.random() < 0.4:
        offset = rng.randrange(6)
        part, body = (offset, total), bytes(range(offset, min(total, offset + rng.randrange(1, 7))))
    return message(
        body, rng.randrange(4), channel, delivery, part=part, length=rng.random() < 0.95,
        successor=rng.random() < 0.08, number_bytes=rng.randrange(1, 5),
    )  # fmt: skip


def some_frames(rng: random.Random) -> bytes:
    """The frames of a packet, some of them damaged."""
    out = b""
    lanes = [(rng.randrange(4), rng.randrange(4)) for _ in range(2)]
    for _ in range(rng.randrange(1, 6)):
        channel, delivery = rng.choice(lanes)
        kind = rng.random()
        if kind < 0.65:
            out += some_message(rng, channel, delivery)
        elif kind < 0.68:
            out += rng.choice(WHOLE)
        elif kind < 0.85:
            lane = channel * 4 + rng.choice([0, 1])
            out += b"\x05" + varints(lane, 1, rng.randrange(5), rng.randrange(31, 50))
        elif kind < 0.9:
            out += bytes(rng.randrange(3))
        else:
            bye = close_frame(rng.choice([0, 7, 1009, 70_000]), rng.randbytes(3))
            blocked, credit = b"\x08" + varints(rng.randrange(6), 5), b"\x07" + varints(rng.randrange(5), 5)
            out += rng.choice([b"\x01", bye, ack((0, 0)), blocked, credit, b"\x06" + varint(7)])
    damaged = bytearray(out or b"\x01")
    if rng.random() < 0.12:
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.05:
        del damaged[rng.randrange(len(damaged)) :]
    return bytes(damaged) or b"\x01"


def ours(packets: list[bytes]) -> tuple[int | None, list[list[Any]]]:
    """The code that a session of the package closed with, if it did, and what it delivered."""
    pair = Pair()
    session = pair.open()
    delivered = []
    codes = []
    for index, frames in enumerate(packets):
        sent_to_server(pair, frames, FIRST + index)
        for batch in session.take():
            delivered += [[batch.channel, batch.delivery, bytes(body).hex()] for body in batch.payloads]
            if batch.delivery < 2:
                session.consumed(batch.channel, batch.size, len(batch.payloads))
        codes.append(code_of(session))
    return next((code for code in codes if code is not None), None), delivered


def by_lane(delivered: list[list[Any]]) -> dict[tuple[int, int], list[str]]:
    """Order means something within a lane."""
    found: dict[tuple[int, int], list[str]] = {}
    for channel, delivery, body in delivered:
        found.setdefault((channel, delivery), []).append(body)
    return found


@pytest.mark.slow
def test_the_same_of_any_frames(rng: random.Random) -> None:
    cases = [[some_frames(rng) for _ in range(rng.randrange(1, 4))] for _ in range(1000)]
    answers = through("act.js", [[frames.hex() for frames in case] for case in cases])
    ended = 0
    for case, answer in zip(cases, answers, strict=True):
        shown = [frames.hex() for frames in case]
        code, delivered = ours(case)
        assert answer["code"] == code, shown
        if code is None:  # of a packet that ends it, either may have acted on what stood before
            assert by_lane(answer["delivered"]) == by_lane(delivered), shown
        ended += code is not None
    assert 200 < ended < 900
