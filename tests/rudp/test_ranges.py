"""Ranges of integers, compared with plain sets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import limits
from transport.rudp.ranges import AckRanges, Ranges

KEPT = limits.RUDP_ACK_RANGES_KEPT
TOP = 2**62 - 1  # the largest packet number


def pairs(numbers: set[int]) -> list[tuple[int, int]]:
    """What a `Ranges` with these numbers in it lists."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number:
            found[-1] = (found[-1][0], number + 1)
        else:
            found.append((number, number + 1))
    return found


def check(ranges: Ranges, numbers: set[int], upto: int) -> None:
    wanted = pairs(numbers)
    assert list(ranges) == ranges.pairs() == wanted
    assert ranges.count == len(ranges) == len(wanted)
    assert bool(ranges) == bool(wanted)
    assert ranges.total == len(numbers)
    assert ranges.first_start() == (wanted[0][0] if wanted else -1)
    for number in range(upto):
        assert ranges.contains(number) == (number in numbers)
        end = number
        while end in numbers:
            end += 1
        assert ranges.covered_to(number) == end


def apply(ranges: Ranges, numbers: set[int], what: str, start: int, size: int) -> None:
    """The same to both."""
    span = set(range(start, start + size))
    if what == "add":
        assert ranges.add(start, start + size) == len(span - numbers)
        numbers |= span
    else:
        assert ranges.remove(start, start + size) == len(span & numbers)
        numbers -= span


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove"]), st.integers(0, 30), st.integers(-1, 8)), max_size=40
)


@given(STEPS)
def test_small_sets_are_right_after_every_step(steps: list[tuple[str, int, int]]) -> None:
    ranges, numbers = Ranges(), set[int]()
    for what, start, size in steps:
        apply(ranges, numbers, what, start, size)
        check(ranges, numbers, 40)


def test_large_sets_are_right(rng: random.Random) -> None:
    ranges, numbers = Ranges(), set[int]()
    for step in range(3000):
        what = rng.choice(("add", "add", "add", "remove"))
        apply(ranges, numbers, what, rng.randrange(2000), rng.randrange(12))
        if step % 300 == 0:
            check(ranges, numbers, 2020)
    check(ranges, numbers, 2020)
    assert ranges.count > 20
    ranges.clear()
    check(ranges, set(), 5)
    assert ranges.add(7, 9) == 2


def test_what_touches_becomes_one() -> None:
    ranges = Ranges()
    ranges.add(0, 2)
    ranges.add(4, 6)
    assert repr(ranges) == "Ranges([(0, 2), (4, 6)])"
    assert ranges.add(2, 4) == 2
    assert ranges.pairs() == [(0, 6)]
    assert ranges.remove(2, 3) == 1
    assert ranges.remove(0, 2) == 2
    assert ranges.pairs() == [(3, 6)]


def test_several_taken_out_at_once_leave_nothing_behind() -> None:
    ranges = Ranges()
    ranges.add(0, 1)
    ranges.add(2, 3)
    assert ranges.remove(0, 3) == 2
    check(ranges, set(), 5)


def test_the_ends_may_be_as_far_as_a_packet_number_reaches() -> None:
    ranges = Ranges()
    assert ranges.add(0, TOP) == TOP
    assert ranges.remove(5, TOP - 5) == TOP - 10
    assert ranges.pairs() == [(0, 5), (TOP - 5, TOP)]
    assert ranges.total == 10


def ack_pairs(acks: AckRanges) -> list[tuple[int, int]]:
    return [(acks.range_start(i), acks.range_end(i)) for i in reversed(range(acks.range_count()))]


@given(
    st.lists(
        st.one_of(
            st.integers(0, 40).map(lambda n: ("add", n)),
            st.just(("next", 1)),
            st.just(("next", 2)),
            st.integers(0, 50).map(lambda n: ("forget", n)),
        ),
        max_size=60,
    )
)
def test_received_numbers_are_right_after_every_step(steps: list[tuple[str, int]]) -> None:
    acks, came, floor = AckRanges(), set[int](), 0
    largest = -1
    for what, number in steps:
        if what == "forget":
            acks.forget_to(number)
            floor = max(floor, min(number, largest + 1))
        else:
            number = largest + number if what == "next" else number
            assert acks.add(number) == (number >= floor and number not in came)
            if number >= floor:
                came.add(number)
                largest = max(largest, number)
        assert (acks.largest, acks.floor) == (largest, floor)
        kept = {number for number in came if number >= floor}
        assert ack_pairs(acks) == pairs(kept)
        assert all(acks.contains(number) == (number in kept) for number in range(max(largest, 0) + 3))


def test_any_order_of_arrival(rng: random.Random) -> None:
    """Numbers that come late, early, twice or never; the model forgets the lowest range as the limit says."""
    acks, kept, floor = AckRanges(), set[int](), 0
    for step in range(20_000):
        number = max(0, int(step * 0.8) + rng.randrange(-200, 60) * rng.choice((0, 0, 1)))
        fresh = number >= floor and number not in kept
        assert acks.add(number) == fresh
        if fresh:
            kept.add(number)
        if step % 50 == 0 or acks.range_count() == KEPT:
            listed = pairs(kept)
            if len(listed) > KEPT:
                floor = listed[-KEPT - 1][1]
            kept = {number for number in kept if number >= floor}
            assert ack_pairs(acks) == pairs(kept)
        if rng.random() < 0.002:
            floor = max(floor, acks.largest - rng.randrange(100))
            acks.forget_to(floor)
            kept = {number for number in kept if number >= floor}
    assert acks.range_count() > 1


def test_the_lowest_range_is_forgotten_at_the_limit() -> None:
    acks = AckRanges()
    for i in range(KEPT):
        assert acks.add(10 + 2 * i)
    assert (acks.range_count(), acks.floor) == (KEPT, 0)
    assert acks.add(10 + 2 * KEPT)
    assert (acks.range_count(), acks.floor) == (KEPT, 11)
    assert not acks.add(10), "forgotten, so it counts as a duplicate"
    assert acks.add(11), "had not come, and joins the range above it"
    assert (acks.range_count(), acks.floor) == (KEPT, 11)
    for i in range(2000):  # and so it stays
        acks.add(1000 + 2 * i)
        assert acks.range_count() <= KEPT
    assert len(ack_pairs(acks)) == KEPT


def test_a_number_below_all_others_takes_no_room_from_them() -> None:
    acks = AckRanges()
    for i in range(KEPT):
        acks.add(10 + 2 * i)
    before = ack_pairs(acks)
    assert acks.add(3), "it came for the first time"
    assert ack_pairs(acks) == before
    assert not acks.add(3)
    assert acks.floor == 4


def test_forgetting_does_not_refuse_what_has_not_come() -> None:
    acks = AckRanges()
    for number in range(5):
        acks.add(number)
    acks.forget_to(1000)
    assert (acks.largest, acks.floor, acks.range_count()) == (4, 5, 0)
    assert not acks.add(4)
    assert acks.add(5)
    assert acks.add(8)
    assert repr(acks) == "AckRanges([(8, 9), (5, 6)], floor=5)"
    acks.forget_to(3)
    assert acks.floor == 5


@pytest.mark.parametrize("index", [-1, 2, 3, 1000])
def test_a_range_that_is_not_there(index: int) -> None:
    acks = AckRanges()
    with pytest.raises(IndexError):
        acks.range_start(0)
    acks.add(1)
    acks.add(3)
    with pytest.raises(IndexError):
        acks.range_start(index)
    with pytest.raises(IndexError):
        acks.range_end(index)


def test_the_largest_packet_number() -> None:
    acks = AckRanges()
    assert acks.add(TOP - 1)
    assert acks.add(TOP)
    assert not acks.add(TOP)
    assert ack_pairs(acks) == [(TOP - 1, TOP + 1)]


def test_where_the_next_range_begins() -> None:
    ranges = Ranges()
    assert ranges.next_start(3, 10) == 10
    ranges.add(5, 7)
    assert [ranges.next_start(number, 10) for number in (3, 4, 5, 8)] == [5, 5, 10, 10]
    assert ranges.next_start(3, 4) == 4
    ranges.add(20, 30)
    ranges.add(40, 41)
    assert [ranges.next_start(number, 99) for number in (0, 5, 19, 20, 39, 40)] == [5, 20, 20, 40, 40, 99]
    assert ranges.next_start(0, 4) == 4
