"""The oracle of the soak finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.soak.ledger import Lane, SoakFailure, Stream

ORDERED, UNORDERED, SEQUENCED, UNRELIABLE = 0, 1, 2, 3


def lane(delivery: int, *expires: int) -> Lane:
    made = Lane(0, delivery)
    for number, at in enumerate(expires):
        made.send(b"%d" % number, at)
    return made


@pytest.mark.parametrize(("delivery", "order"), [
    (ORDERED, "02"), (ORDERED, "00"), (ORDERED, "1"), (UNORDERED, "200"), (SEQUENCED, "10"), (SEQUENCED, "11"),
    (UNRELIABLE, "121"), (ORDERED, "01x"), (UNORDERED, "x"), (SEQUENCED, "x"), (UNRELIABLE, "x"),
])  # fmt: skip
def test_what_a_delivery_forbids(delivery: int, order: str) -> None:
    made = lane(delivery, 0, 0, 0)
    allowed, forbidden = order[:-1], order[-1]
    for payload in allowed:
        made.deliver(payload.encode(), 1)
    with pytest.raises(SoakFailure):
        made.deliver(forbidden.encode(), 1)


@pytest.mark.parametrize(("delivery", "order", "complete"), [
    (ORDERED, "012", True), (ORDERED, "01", False), (UNORDERED, "201", True), (UNORDERED, "20", False),
    (SEQUENCED, "02", True), (SEQUENCED, "", True), (UNRELIABLE, "20", True),
])  # fmt: skip
def test_what_a_delivery_allows(delivery: int, order: str, complete: bool) -> None:
    made = lane(delivery, 0, 0, 0)
    for payload in order:
        made.deliver(payload.encode(), 1)
    assert made.is_complete() is complete


def test_only_what_has_expired_is_passed() -> None:
    made = lane(ORDERED, 0, 50, 0)
    made.deliver(b"0", 10)
    with pytest.raises(SoakFailure, match="came before message 1"):
        made.deliver(b"2", 49)
    made.deliver(b"2", 50)
    assert made.is_complete()


def test_a_stream_is_whole_and_in_order() -> None:
    made = Stream(b"abcdef")
    made.deliver(b"abc")
    with pytest.raises(SoakFailure):
        made.deliver(b"def!")
    with pytest.raises(SoakFailure):
        made.end()
