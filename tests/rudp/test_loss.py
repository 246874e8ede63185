"""Thresholds of loss detection: how they widen, how they come back, and how many packets they call lost wrongly."""

from __future__ import annotations

import heapq
import random

import pytest

from transport import limits
from transport.rudp.loss import LossThresholds
from transport.rudp.rtt import RttEstimator

MS = limits.MS_NS
ROUNDS = limits.RUDP_REORDER_ROUNDS


def test_where_they_begin() -> None:
    loss = LossThresholds()
    assert (loss.packets, loss.eighths) == (3, 9)
    assert loss.loss_delay(16 * MS, 8 * MS) == 18 * MS
    assert loss.loss_delay(8 * MS, 16 * MS) == 18 * MS
    assert loss.loss_delay(1000, 2000) == limits.RUDP_GRANULARITY_NS


@pytest.mark.parametrize("displacement", [3, 4, 10, 298, 299, 300, 10_000])
def test_the_packet_threshold_grows_to_the_displacement_and_one(displacement: int) -> None:
    loss = LossThresholds()
    loss.on_spurious(displacement, 0, 20 * MS)
    assert loss.packets == min(displacement + 1, limits.RUDP_REORDER_PACKETS_MAX)
    loss.on_spurious(3, 0, 20 * MS)
    assert loss.packets == min(displacement + 1, limits.RUDP_REORDER_PACKETS_MAX), "a smaller one changes nothing"


@pytest.mark.parametrize("late", range(20, 60))
def test_the_time_threshold_would_have_let_the_late_packet_through(late: int) -> None:
    loss = LossThresholds()
    loss.on_spurious(0, late * MS, 20 * MS)
    assert 9 <= loss.eighths <= limits.RUDP_REORDER_EIGHTHS_MAX
    if late < 40:
        assert loss.loss_delay(20 * MS, 0) > late * MS, "lost is what left at now - loss_delay or before"
        assert loss.eighths == 9 or late * MS >= (loss.eighths - 1) * 20 * MS // 8, "and no wider"
    else:
        assert loss.eighths == limits.RUDP_REORDER_EIGHTHS_MAX
    assert loss.packets == 3


def test_absurd_figures_end_at_the_limits() -> None:
    loss = LossThresholds()
    loss.on_spurious(2**62, 2**62, 1)
    assert (loss.packets, loss.eighths) == (limits.RUDP_REORDER_PACKETS_MAX, limits.RUDP_REORDER_EIGHTHS_MAX)
    loss = LossThresholds()
    loss.on_spurious(-5, -5, 20 * MS)
    assert (loss.packets, loss.eighths) == (3, 9)
    loss.on_spurious(0, 5, 0)
    assert loss.eighths == limits.RUDP_REORDER_EIGHTHS_MAX


def test_they_come_back_step_by_step() -> None:
    loss = LossThresholds()
    loss.on_spurious(5, 30 * MS, 20 * MS)
    seen = []
    for _ in range(5 * ROUNDS):
        seen.append((loss.packets, loss.eighths))
        loss.on_round()
    assert seen[::ROUNDS] == [(6, 13), (5, 12), (4, 11), (3, 10), (3, 9)]
    assert [seen.count(state) for state in dict.fromkeys(seen)] == [ROUNDS] * 5
    assert (loss.packets, loss.eighths) == (3, 9)


def test_a_spurious_loss_starts_the_sixteen_rounds_afresh() -> None:
    loss = LossThresholds()
    for _ in range(20):
        loss.on_spurious(5, 0, 20 * MS)
        for _ in range(ROUNDS - 1):
            loss.on_round()
        assert loss.packets == 6
    loss.on_round()
    assert loss.packets == 5


def test_they_do_not_fall_below_what_late_packets_still_need() -> None:
    loss = LossThresholds()
    loss.on_reordered(5, 30 * MS, 20 * MS)
    assert (loss.packets, loss.eighths) == (3, 9), "nothing was lost yet"
    loss.on_spurious(9, 39 * MS, 20 * MS)
    for _ in range(20 * ROUNDS):
        loss.on_reordered(5, 30 * MS, 20 * MS)
        loss.on_round()
    assert (loss.packets, loss.eighths) == (6, 13)
    for _ in range(10 * ROUNDS):
        loss.on_round()
    assert (loss.packets, loss.eighths) == (3, 9)


class Path:
    """A sender of one packet each `interval`, its receiver, and a path that delays some of its packets."""

    def __init__(self, rng: random.Random, interval: int, notes_late: bool) -> None:
        self.rng = rng
        self.interval = interval
        self.notes_late = notes_late
        self.loss = LossThresholds()
        self.rtt = RttEstimator(100 * MS)
        self.sent: dict[int, int] = {}  # in flight: when it left
        self.lost: dict[int, int] = {}
        self.declared: list[int] = []
        self.largest = -1
        self.round_end = 0
        self.next = 0

    def run(self, packets: int) -> None:
        events: list[tuple[int, int, str, list[int]]] = [(0, 0, "send", [])]
        order = 0
        came_largest, unacked = -1, list[int]()
        while events:
            now, _, what, numbers = heapq.heappop(events)
            order += 1
            self.timer(now)
            if what == "send" and self.next < packets:
                late = 5 * MS if self.rng.random() < 0.25 else 0
                heapq.heappush(events, (now + 10 * MS + late, order, "arrive", [self.next]))
                self.sent[self.next] = now
                self.next += 1
                heapq.heappush(events, (now + self.interval, order, "send", []))
            elif what == "arrive":
                unacked.append(numbers[0])
                if numbers[0] != came_largest + 1 or len(unacked) >= 2:  # at once on a gap, or two at a time
                    heapq.heappush(events, (now + 10 * MS, order, "ack", unacked))
                    unacked = []
                came_largest = max(came_largest, numbers[0])
            elif what == "ack":
                self.ack(numbers, now)

    def ack(self, numbers: list[int], now: int) -> None:
        before = self.largest
        if max(numbers) > before and max(numbers) in self.sent:
            self.rtt.update(now - self.sent[max(numbers)], 0)
        rtt = max(self.rtt.latest, self.rtt.smoothed)
        for number in numbers:
            if number in self.lost:
                self.loss.on_spurious(before - number, now - self.lost.pop(number), rtt)
            else:
                left = self.sent.pop(number)
                if number < before and self.notes_late:
                    self.loss.on_reordered(before - number, now - left, rtt)
        self.largest = max(before, *numbers)
        self.timer(now)
        if self.largest >= self.round_end:
            self.loss.on_round()
            self.round_end = self.next

    def timer(self, now: int) -> None:
        delay = self.loss.loss_delay(self.rtt.latest, self.rtt.smoothed)
        for number, left in list(self.sent.items()):
            if number >= self.largest:
                break
            if self.largest - number >= self.loss.packets or left <= now - delay:
                self.lost[number] = self.sent.pop(number)
                self.declared.append(number)


@pytest.mark.parametrize("notes_late", [True, False], ids=["notes-late", "losses-only"])
@pytest.mark.parametrize("interval", [1, 2])
def test_few_losses_are_spurious_on_a_path_that_reorders(rng: random.Random, interval: int, notes_late: bool) -> None:
    """A quarter of the packets is 5 ms late, at a round trip of 20 ms, and none is lost."""
    path = Path(rng, interval * MS, notes_late)
    path.run(11_000)
    assert path.declared, "it had to learn"
    late = [number for number in path.declared if number >= 1000]
    assert len(late) < 0.01 * 10_000
    assert not path.lost, "every one of them came"
