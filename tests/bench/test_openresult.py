"""What becomes of an open loop's arrivals: counts, order, the verdict on a round."""

from __future__ import annotations

from array import array

import pytest

from bench.cases import open_loop
from bench.openresult import account, judge
from bench.peers import all_peers
from bench.peers.base import Peer
from bench.schedule import Schedule, make_schedule

MS = 1_000_000


def plan() -> Schedule:
    """Two connections; warm-up and tail beside 40 messages that count."""
    return make_schedule(open_loop(64, 10, 2), 2, 1, 1)


def arrivals(numbers: list[int]) -> tuple[array[int], array[int]]:
    return array("I", numbers), array("q", [MS] * len(numbers))


class Loose(Peer):
    """May lose, need not keep order."""

    reliable = ordered = False


class Sequenced(Peer):
    """May lose, keeps order."""

    reliable = False


def test_all_there() -> None:
    schedule = plan()
    found = account(schedule, *arrivals(list(range(len(schedule)))))
    assert (len(found.latencies), found.lost, found.doubled, found.swapped) == (40, 0, 0, 0)
    assert judge(all_peers()["tcp"], found, [0] * 40, 40) == ("OK", None)


def test_losses_count_where_they_count() -> None:
    schedule = plan()
    numbers = [number for number in range(len(schedule)) if number not in (0, schedule.first + 3, len(schedule) - 1)]
    found = account(schedule, *arrivals(numbers))
    assert found.lost == 1
    assert judge(Peer(), found, [0] * 39, 40) == ("FAIL", "1 of 40 messages have not arrived")
    assert judge(Loose(), found, [0] * 39, 40) == ("OK", None)


def test_order_is_asked_of_each_connection() -> None:
    schedule = plan()
    across = list(range(len(schedule)))
    at = next(at for at in across if schedule.connection[at] != schedule.connection[at + 1])
    across[at], across[at + 1] = across[at + 1], across[at]
    assert account(schedule, *arrivals(across)).swapped == 0
    within = [number for number in range(len(schedule)) if schedule.connection[number] == 0]
    within[3], within[4] = within[4], within[3]
    found = account(schedule, *arrivals(within + [n for n in range(len(schedule)) if schedule.connection[n]]))
    assert found.swapped == 1
    assert judge(Peer(), found, [0], 40)[0] == "FAIL"
    assert judge(Sequenced(), found, [0], 40)[0] == "FAIL"
    assert judge(Loose(), found, [0], 40)[0] == "OK"


def test_what_comes_twice_counts_once() -> None:
    schedule = plan()
    found = account(schedule, *arrivals([*range(len(schedule)), schedule.first]))
    assert (len(found.latencies), found.doubled) == (40, 1)
    assert judge(Peer(), found, [0], 40) == ("FAIL", "1 messages came twice")
    assert judge(Loose(), found, [0], 40)[0] == "OK"


def test_a_number_that_was_never_planned() -> None:
    with pytest.raises(ValueError, match="has come"):
        account(plan(), *arrivals([100_000]))


def test_a_late_sender_makes_a_round_invalid() -> None:
    found = account(plan(), *arrivals(list(range(len(plan())))))  # every latency is 1 ms, so 100 us may be
    assert judge(Peer(), found, [99_000] * 40, 40)[0] == "OK"
    status, why = judge(Peer(), found, [0] * 38 + [101_000] * 2, 40)
    assert (status, why) == ("INVALID", "the sender was 101 us late at p99, 100 us may be")


def test_nothing_at_all() -> None:
    assert judge(Loose(), account(plan(), *arrivals([])), [], 40)[0] == "FAIL"
