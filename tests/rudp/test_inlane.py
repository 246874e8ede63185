"""Order, duplicates and fragments of one lane, against a plain model."""

from __future__ import annotations

import random

import pytest

from transport import limits
from transport.errors import RemoteProtocolError
from transport.rudp.inlane import Assembly, InLane

ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = range(4)


def arrive(lane: InLane, number: int) -> list[int]:
    """What is delivered when `number` comes, as a session does it."""
    if not lane.is_new(number) or not lane.has_room(number):
        return []
    if lane.delivery != ORDERED:
        lane.take(number)
        return [number]
    if number != lane.expected:
        lane.keep(number, b"x")
        return []
    lane.take(number)
    return [number, *early(lane)]


def early(lane: InLane) -> list[int]:
    found = []
    while lane.has_early():
        number = lane.expected
        if lane.take_early() is not None:
            found.append(number)
    return found


@pytest.mark.parametrize("delivery", [ORDERED, UNORDERED, SEQUENCED, UNRELIABLE])
def test_against_a_model(delivery: int, rng: random.Random) -> None:
    lane = InLane(1, delivery)
    numbers = [number for number in range(500) for _ in range(rng.choice([1, 1, 2]))]
    for index in range(len(numbers)):  # a little out of order
        other = min(len(numbers) - 1, index + rng.randrange(8))
        numbers[index], numbers[other] = numbers[other], numbers[index]
    got: list[int] = []
    for number in numbers:
        got += arrive(lane, number)
    assert len(got) == len(set(got))
    if delivery == SEQUENCED:
        assert got == sorted(got)
    else:
        assert sorted(got) == list(range(500))
        assert (got == sorted(got)) or delivery != ORDERED
    assert lane.highest == 500
    assert lane.held == 0
    assert lane.duplicates == len(numbers) - len(got)


def test_what_is_passed_makes_way() -> None:
    lane = InLane(0, ORDERED)
    assert arrive(lane, 1) == []
    assert arrive(lane, 3) == []
    assert lane.pass_over(2)
    assert not lane.pass_over(2)
    assert not lane.pass_over(3)
    assert lane.pass_over(0)
    assert early(lane) == [1, 3]
    assert lane.expected == 4
    assert arrive(lane, 2) == []
    assert lane.held == 0


def test_what_is_passed_without_an_order() -> None:
    lane = InLane(0, UNORDERED)
    lane.assembly(1, 50).add(b"12345", 0, 5, 0)
    assert lane.held == 50
    assert lane.pass_over(1)
    assert (lane.held, lane.partial) == (0, {})
    assert arrive(lane, 1) == []
    assert arrive(lane, 0) == [0]
    assert lane.expected == 2


def test_a_sequenced_message_drops_older_fragments() -> None:
    lane = InLane(0, SEQUENCED)
    lane.assembly(3, 100)
    lane.assembly(5, 100)
    assert arrive(lane, 4) == [4]
    assert list(lane.partial) == [5]
    assert lane.held == 100
    assert not lane.is_new(3)


def test_unreliable_messages_are_known_so_far_back() -> None:
    lane = InLane(0, UNRELIABLE)
    for number in range(0, 10_000, 2):
        assert arrive(lane, number) == [number]
        assert lane.done.count <= 2 * limits.RUDP_LOOSE_WINDOW
    assert arrive(lane, 9_001) == [9_001]
    assert arrive(lane, 9_001) == []
    assert arrive(lane, 9_998 - limits.RUDP_LOOSE_WINDOW - 2) == []


def test_unfinished_unreliable_messages_are_bounded() -> None:
    lane = InLane(0, UNRELIABLE)
    for number in range(100):
        lane.assembly(number, 60_000)
        assert lane.held <= limits.UNRELIABLE_QUEUE_BYTES + 60_000
    assert 99 in lane.partial
    assert 0 not in lane.partial


def test_a_message_in_random_pieces(rng: random.Random) -> None:
    body = rng.randbytes(3000)
    whole = Assembly(len(body))
    spans = [(start, min(len(body), start + rng.randrange(1, 200))) for start in range(len(body))]
    rng.shuffle(spans)
    done = False
    for start, end in spans:
        done = whole.add(b"ab" + body[start:end], 2, 2 + end - start, start)
        if done:
            break
    assert done
    assert whole.whole() == body


def test_pieces_that_contradict() -> None:
    lane = InLane(0, UNORDERED)
    lane.assembly(0, 10).add(b"aaaa", 0, 4, 2)
    with pytest.raises(RemoteProtocolError, match="differ"):
        lane.assembly(0, 10).add(b"ab", 0, 2, 5 - 2)
    with pytest.raises(RemoteProtocolError, match="10 bytes became one of 11"):
        lane.assembly(0, 11)


def test_gaps_without_an_order_are_bounded() -> None:
    lane = InLane(0, UNORDERED)
    for number in range(2, 2 * limits.RUDP_GAPS_MAX + 2, 2):
        assert arrive(lane, number) == [number]
    assert arrive(lane, 3 * limits.RUDP_GAPS_MAX) == []
    assert arrive(lane, 3) == [3]  # behind one that is there
    assert arrive(lane, 0) == [0]
