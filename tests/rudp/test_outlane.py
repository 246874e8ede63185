"""One outgoing lane: a random sender, a lossy path and a reader that checks every byte."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.rudp import pen
from transport.rudp.outflow import Fence, OutChannel, Outflow
from transport.rudp.outlane import OutLane

COST = limits.MESSAGE_COST_BYTES
ROOM = memoryview(bytearray(2000))


def lane_of(delivery: int = 0, limit: int = 1 << 40, channel: int = 0) -> OutLane:
    flow = Outflow()
    flow.limit = limit
    return OutLane(flow, OutChannel(channel, limit, False), delivery)


def frames(data: bytes, lane: OutLane, expected: int) -> list[tuple[int, int, int, bytes]]:
    """(number, offset, total, body) of the message frames in `data`."""
    found = []
    pos, number = 0, -1
    while pos < len(data):
        flags = data[pos]
        pos += 1
        if not flags:
            continue
        assert flags >> 5 & 3 == lane.delivery
        if flags & 4:
            number += 1
        else:
            assert pen.varint(data, pos) == lane.channel
            pos += pen.varint_length(data, pos)
            size = (flags & 3) + 1
            number = pen.expand(pen.low(data, pos, size), size, expected)
            pos += size
        offset, total = 0, -1
        if flags & 16:
            offset = pen.varint(data, pos)
            pos += pen.varint_length(data, pos)
            total = pen.varint(data, pos)
            pos += pen.varint_length(data, pos)
        length = len(data) - pos
        if flags & 8:
            length = pen.varint(data, pos)
            pos += pen.varint_length(data, pos)
        body = data[pos : pos + length]
        assert len(body) == length
        found.append((number, offset, length if total < 0 else total, body))
        pos += length
    return found


def cut(lane: OutLane, size: int, now: int = 0, is_sole: bool = False, most: int = 0) -> tuple[bytes, int, int]:
    """A packet's bytes, and the positions that it carries."""
    lane.flow.last_lane = None
    start = lane.mark()
    end = lane.cut(ROOM, 0, size, now, is_sole, most)
    return bytes(ROOM[:end]), start, lane.mark()


@pytest.mark.parametrize("delivery", [0, 1])
def test_everything_arrives_over_a_lossy_path(delivery: int, rng: random.Random) -> None:
    lane = lane_of(delivery)
    sent = [rng.randbytes(rng.choice([0, 1, 20, 60, 500, 5000])) for _ in range(300)]
    for body in sent:
        lane.append(body, 0, 0, -1)
    got: dict[int, dict[int, int]] = {}
    sizes: dict[int, int] = {}
    flying: list[tuple[bytes, int, int]] = []
    highest = 0

    def arrive(data: bytes) -> None:
        nonlocal highest
        for number, offset, total, body in frames(data, lane, highest):
            highest = max(highest, number + 1)
            assert sizes.setdefault(number, total) == total
            got.setdefault(number, {}).update(enumerate(body, offset))

    for _ in range(100_000):
        assert lane.flow.flight == lane.flow.queued - lane.waiting
        if lane.is_idle():
            break
        size = rng.choice([60, 300, 1200])
        if lane.lost.count:
            lane.flow.last_lane = None
            end = lane.cut_lost(ROOM, 0, size, 0)
            if lane.cut_index >= 0:
                flying.append((bytes(ROOM[:end]), lane.cut_start, lane.cut_end))
        if lane.has_new():
            packet = cut(lane, size, is_sole=rng.random() < 0.5)
            if packet[2] > packet[1]:
                flying.append(packet)
        while flying and (len(flying) > 20 or not lane.has_output()):
            data, start, stop = flying.pop(rng.randrange(len(flying)))
            if rng.random() < 0.3:
                lane.lose(start, stop)
            else:
                arrive(data)
                lane.settle(start, stop)
    assert lane.is_idle()
    assert (lane.waiting, lane.flow.queued, lane.flow.blocked) == (0, 0, 0)
    for number, body in enumerate(sent):
        assert bytes([got[number][at] for at in range(len(body))] if body else []) == body
        assert sizes[number] == len(body)


def test_credit_is_taken_in_full_when_a_message_begins() -> None:
    lane = lane_of(limit=1000)
    for _ in range(3):
        lane.append(bytes(400), 0, 0, -1)
    cut(lane, 100)
    assert (lane.state.total, lane.flow.total) == (432, 432)
    for _ in range(20):
        cut(lane, 100)
    assert lane.state.total == 864
    assert lane.is_blocked
    assert lane.state.needs_credit == 1296
    assert (lane.flow.queued, lane.flow.blocked, lane.flow.flight) == (864, 432, 864)
    lane.state.limit = lane.flow.limit = 1296
    lane.credited()
    assert not lane.is_blocked
    assert lane.has_new()


def test_credit_of_the_connection() -> None:
    lane = lane_of(limit=1000)
    lane.flow.limit = 100
    lane.append(bytes(400), 0, 0, -1)
    assert not lane.has_new()
    assert lane.flow.needs_credit == 432
    assert not lane.is_blocked


def test_what_is_blocked_is_what_waits_for_credit() -> None:
    """Neither what another lane of the channel may send, nor what was accepted before the handshake."""
    flow = Outflow()
    flow.limit = 1 << 40
    state = OutChannel(0, 0, False)
    ordered, unordered = OutLane(flow, state, 0), OutLane(flow, state, 1)
    ordered.append(bytes(900), 0, 0, -1)
    assert not ordered.has_new()
    assert (flow.queued, flow.blocked, state.blocked) == (900 + COST, 0, 0)  # no limit is known yet
    state.limit = 1000
    unordered.append(bytes(100), 0, 0, -1)
    assert unordered.has_new()
    assert ordered.has_new()
    unordered.append(bytes(100), 0, 0, -1)
    cut(unordered, 120)  # has not all begun: the second waits for room
    assert (flow.queued, flow.blocked) == (900 + 200 + 3 * COST, 0)
    assert not ordered.has_new()
    assert unordered.has_new()
    assert not ordered.has_new()
    assert (flow.queued, flow.blocked, state.blocked) == (200 + 2 * COST, 900 + COST, 900 + COST)
    ordered.append(b"behind", 0, 0, -1)
    assert (flow.blocked, state.blocked) == (906 + 2 * COST, 906 + 2 * COST)
    ordered.clear()
    assert (flow.blocked, state.blocked) == (0, 0)
    unordered.append(bytes(900), 0, 1, -1)
    cut(unordered, 200)
    assert not unordered.has_new()
    assert state.blocked == flow.blocked == 900 + COST
    cut(unordered, 200, now=2)
    assert (state.blocked, flow.blocked, unordered.waiting) == (0, 0, 0)


def test_lanes_of_one_channel_share_its_credit() -> None:
    flow = Outflow()
    flow.limit = 1 << 40
    state = OutChannel(3, 500, False)
    one, other = OutLane(flow, state, 0), OutLane(flow, state, 1)
    one.append(bytes(300), 0, 0, -1)
    other.append(bytes(300), 0, 0, -1)
    cut(one, 1000)
    assert not other.has_new()
    assert state.total == 332


def test_urgent_messages_overtake_only_without_an_order() -> None:
    for delivery, first in ((0, b"later"), (1, b"urgent")):
        lane = lane_of(delivery)
        lane.append(b"later", 0, 0, -1)
        lane.append(b"urgent", 5, 0, -1)
        assert lane.rank == 5
        data, _, _ = cut(lane, 100)
        assert next(body for _, _, _, body in frames(data, lane, 0)) == first
        assert lane.rank == 0


def test_what_has_lapsed_is_not_sent() -> None:
    lane = lane_of()
    lane.append(b"lapses", 0, 10, -1)
    lane.append(b"stays", 0, 0, -1)
    data, _, _ = cut(lane, 100, now=10)
    assert [body for _, _, _, body in frames(data, lane, 0)] == [b"stays"]
    assert lane.flow.expired == 1
    assert lane.skips == []  # it never had a number


def test_what_has_lapsed_on_its_way_is_given_up() -> None:
    lane = lane_of()
    lane.append(b"lapses", 0, 10, -1)
    lane.append(bytes(3000), 0, 10, -1)
    lane.append(b"stays", 0, 0, -1)
    _, start, end = cut(lane, 100)
    lane.lose(start, end)
    assert lane.cut_lost(ROOM, 0, 100, 10) == 0
    assert lane.skips == [0, 1]
    assert lane.skip_costs == [6 + COST, 3000 + COST]
    data, start, end = cut(lane, 100, now=10)
    assert [(number, body) for number, _, _, body in frames(data, lane, 0)] == [(2, b"stays")]
    lane.settle(start, end)
    assert lane.flow.queued == lane.flow.flight == lane.waiting == 0
    assert (lane.flow.expired, lane.flow.skipped) == (2, 2)


def test_a_lapsed_rest_of_an_unreliable_message() -> None:
    lane = lane_of(3)
    lane.append(bytes(3000), 0, 10, -1)
    lane.append(b"stays", 0, 0, -1)
    cut(lane, 100)
    data, _, _ = cut(lane, 100, now=10)
    assert [body for _, _, _, body in frames(data, lane, 1)] == [b"stays"]
    assert (lane.waiting, lane.flow.queued, lane.flow.flight) == (0, 0, 0)
    assert lane.is_idle()


def test_the_oldest_unreliable_messages_go_above_the_bound() -> None:
    for priority in (0, 1):
        lane = lane_of(3)
        for index in range(100):
            lane.append(index.to_bytes(2, "big") + bytes(9998), priority, 0, -1)
        assert lane.waiting <= limits.UNRELIABLE_QUEUE_BYTES
        assert lane.flow.queued == lane.waiting
        assert lane.flow.dropped > 70
        data, _, _ = cut(lane, 100)
        assert int.from_bytes(frames(data, lane, 0)[0][3][:2], "big") == lane.flow.dropped


def test_the_bound_holds_with_one_message_that_is_less_urgent() -> None:
    """It is the first to go, and what is urgent is bounded all the same."""
    lane = lane_of(3)
    for _ in range(20):
        lane.append(bytes(10_000), 5, 0, -1)
    lane.append(b"least", 0, 0, -1)
    for _ in range(100):
        lane.append(bytes(10_000), 5, 0, -1)
        assert lane.waiting <= limits.UNRELIABLE_QUEUE_BYTES
    bodies = []
    while lane.has_output():
        bodies += [body for _, _, _, body in frames(cut(lane, 1500)[0], lane, lane.next_number())]
    assert b"least" not in bodies


def test_nothing_unreliable_is_sent_again() -> None:
    lane = lane_of(2)
    lane.append(b"x", 0, 0, -1)
    _, start, end = cut(lane, 100)
    assert lane.lose(start, end) == 0
    assert not lane.has_output()


def test_only_what_is_missing_is_sent_again() -> None:
    lane = lane_of()
    lane.append(bytes(100), 0, 0, -1)
    spans = [cut(lane, 50)[1:] for _ in range(3)]
    lane.settle(*spans[1])
    assert lane.lose(spans[0][0], spans[2][1]) == 101 - (spans[1][1] - spans[1][0])
    assert lane.is_settled(*spans[1])
    assert not lane.is_settled(*spans[0])


def test_fences() -> None:
    lane = lane_of()
    empty = Fence()
    lane.set_fence(empty)
    assert empty.pending == 0
    lane.append(b"a", 0, 0, -1)
    first = Fence()
    lane.set_fence(first)
    lane.append(b"b", 0, 0, -1)
    second = Fence()
    lane.set_fence(second)
    one = cut(lane, 100, most=1)
    two = cut(lane, 100, most=1)
    lane.settle(*two[1:])
    assert (first.pending, second.pending) == (1, 1)
    lane.settle(*one[1:])
    assert (first.pending, second.pending) == (0, 0)


def test_many_small_messages_leave_no_memory_behind() -> None:
    lane = lane_of()
    for _ in range(20_000):
        lane.append(b"x", 0, 0, -1)
        lane.settle(*cut(lane, 100)[1:])
    assert lane.next_number() == 20_000
    assert lane.is_idle()
    lane.append(b"x", 0, 0, -1)
    lane.clear()
    assert not lane.has_output()


def test_losses_among_very_many_holes() -> None:
    """A loss costs the same however many packets behind it have arrived."""
    lane = lane_of()
    spans = []
    for _ in range(20_000):
        lane.append(b"x", 0, 0, -1)
        spans.append(cut(lane, 20)[1:])
    for start, end in spans[1::2]:
        lane.settle(start, end)
    for start, end in spans[::2]:
        assert lane.lose(start, end) == 2
        assert lane.lose(start, end) == 0
    assert lane.lose(0, spans[-1][1]) == 0
    assert lane.lost.total == 20_000
