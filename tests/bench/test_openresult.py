"""What becomes of an open loop's arrivals: counts, order, the verdict on a round."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from bench.cases import open_loop
from bench.openresult import PROVED_RATE, STARVED_HARDLY, account, charged_lateness, judge, missed_rate
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


def test_a_reliable_peer_loses_nothing_before_and_behind_what_counts() -> None:
    schedule = plan()
    for gone in (0, len(schedule) - 1):
        found = account(schedule, *arrivals([number for number in range(len(schedule)) if number != gone]))
        assert (found.lost, found.missing) == (0, 1)
        assert judge(Peer(), found, [0], 40) == (
            "FAIL", "1 messages before or behind those that count have not arrived"
        )  # fmt: skip
        assert judge(Loose(), found, [0], 40) == ("OK", None)


def window(waited_ms: float = 0.0, steal_ms: float = 0.0) -> dict[str, Any]:
    """A stretch of two seconds."""
    return {"begin_ns": 0, "end_ns": 2000 * MS, "steal_ms": steal_ms,
            "processes": {"client": {"waited_ns": waited_ms * MS}, "server": {"waited_ns": 0}}}  # fmt: skip


def test_who_does_not_take_the_load_has_failed() -> None:
    """The sender keeps falling behind, though it has its core."""
    schedule = plan()
    growing = array("q", range(0, len(schedule) * MS, MS))
    missed = missed_rate(schedule, growing, window())
    assert missed is not None
    status, why = missed
    assert (status, why.partition(":")[2]) == ("FAIL", " the peer does not take so many messages a second")
    found = account(schedule, *arrivals(list(range(len(schedule)))))
    assert judge(Peer(), found, [0] * 40, 40, missed) == missed


def test_a_sender_that_was_held_up_by_others_is_no_failure_of_the_peer() -> None:
    schedule = plan()
    growing = array("q", range(0, len(schedule) * MS, MS))
    for seen in (window(waited_ms=110), window(steal_ms=110)):
        missed = missed_rate(schedule, growing, seen)
        assert missed is not None
        assert missed[0] == "INVALID"
        assert missed[1].endswith("without a core for 6% of the time")


def test_a_sender_that_caught_up_has_kept_its_rate() -> None:
    schedule = plan()
    once = array("q", [100 * MS] * len(schedule))
    once[schedule.last - 2] = 0
    assert missed_rate(schedule, once, window()) is None


def test_the_generator_does_not_answer_for_what_the_peer_was_busy_with() -> None:
    """Unless it had no core for some of the time: then nobody can tell whose the time was."""
    schedule = plan()
    late = array("q", [99, *range(len(schedule) - 1)])
    busy = array("q", [1000 * MS] * len(schedule))
    assert list(charged_lateness(schedule, late, busy, window())) != list(late)
    some_ms = 2000 * STARVED_HARDLY
    assert list(charged_lateness(schedule, late, busy, window(waited_ms=some_ms))) != list(late)
    for seen in (window(waited_ms=some_ms + 1), window(steal_ms=some_ms + 1)):
        assert list(charged_lateness(schedule, late, busy, seen)) == list(late)


def test_more_than_the_harness_is_proved_for_is_no_failure_of_the_peer() -> None:
    schedule = make_schedule(open_loop(64, 2 * PROVED_RATE, 1), 0.1, 0.01, 1)
    missed = missed_rate(schedule, array("q", [10 * MS] * len(schedule)), window())
    assert missed is not None
    assert missed[0] == "INVALID"
    assert "too many for the harness" in missed[1]


def test_nothing_at_all() -> None:
    assert judge(Loose(), account(plan(), *arrivals([])), [], 40)[0] == "FAIL"
