"""HyStart++ (RFC 9406): when slow start ends, and when it had better not."""

from __future__ import annotations

import random

import pytest

from tests.walks import pairs, walked
from transport.rudp.congestion.hystart import HyStart
from transport.rudp.states import CAREFUL, DONE, HYSTART, SLOW_START, Phase, Seen
from transport.states import IllegalTransition

MS = 1_000_000
US = 1_000


class Rounds:
    """Feeds round trips of `count` acks each; the packets of a round are numbered on from those of the last."""

    def __init__(self, count: int = 16) -> None:
        self.hystart = HyStart()
        self.count = count
        self.next = count  # a first flight is out

    def run(self, *samples: int, is_limited: bool = True) -> HyStart:
        """One round; a single sample holds for all its acks."""
        first = self.next - self.count
        rtts = samples * self.count if len(samples) == 1 else samples
        for i, rtt in enumerate(rtts):
            self.hystart.on_ack(rtt, first + i, self.next, is_limited)
            self.next += 1
        self.next = first + 2 * self.count
        return self.hystart


def test_steady_round_trips_never_end_it() -> None:
    rounds = Rounds()
    for _ in range(100):
        assert rounds.run(50 * MS).phase == SLOW_START


def test_a_rise_of_an_eighth_begins_careful_rounds_and_five_end_it() -> None:
    rounds = Rounds()
    rounds.run(80 * MS)
    assert rounds.run(90 * MS - 1).phase == SLOW_START
    rounds = Rounds()
    rounds.run(80 * MS)
    assert rounds.run(90 * MS).phase == CAREFUL
    for _ in range(4):
        assert rounds.run(95 * MS).phase == CAREFUL
    assert rounds.run(95 * MS).phase == DONE


def test_least_and_largest_threshold() -> None:
    """4 ms on fast paths, 16 ms on slow ones."""
    for before, rise in ((50 * US, 4 * MS), (8 * MS, 4 * MS), (64 * MS, 8 * MS), (1000 * MS, 16 * MS)):
        for more, phase in ((rise - 1, SLOW_START), (rise, CAREFUL)):
            rounds = Rounds()
            rounds.run(before)
            assert rounds.run(before + more).phase == phase


def test_eight_samples_are_needed() -> None:
    rounds = Rounds(count=7)
    rounds.run(20 * MS)
    for _ in range(10):
        assert rounds.run(200 * MS).phase == SLOW_START
    rounds = Rounds(count=8)
    rounds.run(20 * MS)
    assert rounds.run(200 * MS).phase == CAREFUL


def test_the_least_sample_of_a_round_counts() -> None:
    """One packet without delay shows that there is no queue."""
    rounds = Rounds()
    rounds.run(20 * MS)
    assert rounds.run(20 * MS, *[60 * MS] * 15).phase == SLOW_START


def test_a_fall_resumes_slow_start() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    assert rounds.run(40 * MS).phase == CAREFUL
    rounds.run(40 * MS)
    assert rounds.run(39 * MS).phase == SLOW_START
    for _ in range(20):
        assert rounds.run(39 * MS).phase == SLOW_START
    assert rounds.run(44 * MS + MS).phase == CAREFUL  # and may be left again, with five whole rounds to go
    for _ in range(4):
        assert rounds.run(45 * MS).phase == CAREFUL
    assert rounds.run(45 * MS).phase == DONE


def test_an_old_ack_is_no_sample() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    rounds.run(20 * MS)
    for _ in range(100):
        rounds.hystart.on_ack(500 * MS, 3, rounds.next, True)
    assert rounds.hystart.phase == SLOW_START


def test_acks_without_a_round_trip_are_no_samples() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    rounds.run(0)
    assert rounds.run(60 * MS).phase == SLOW_START  # the round before has no least round trip


def test_delay_of_an_unused_window_is_not_ours() -> None:
    rounds = Rounds()
    rounds.run(20 * MS, is_limited=False)
    for _ in range(10):
        assert rounds.run(100 * MS, is_limited=False).phase == SLOW_START
        rounds.run(20 * MS, is_limited=False)
    assert rounds.run(40 * MS).phase == CAREFUL
    for _ in range(10):
        assert rounds.run(40 * MS, is_limited=False).phase == CAREFUL


def test_noise_of_a_fast_path_never_ends_it(rng: random.Random) -> None:
    """Round trips of 30 to 100 us with scheduler hiccups of milliseconds."""
    rounds = Rounds(count=64)
    for _ in range(300):
        hiccup = rng.choice([0, 0, 0, rng.randrange(3 * MS)])
        assert rounds.run(*[rng.randrange(30 * US, 100 * US) + hiccup for _ in range(64)]).phase == SLOW_START


def test_done_is_done() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    for _ in range(7):
        rounds.run(60 * MS)
    assert rounds.hystart.phase == DONE
    for _ in range(5):
        assert rounds.run(20 * MS).phase == DONE


def test_every_row_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = walked(HYSTART, monkeypatch)
    rounds = Rounds()
    for sample in (20, 40, 40, 39, 39, *[50] * 6):
        rounds.run(sample * MS)
    assert set(walk) == set(pairs(HYSTART))
    assert rounds.hystart.phase == DONE


def test_growth_follows_the_phase() -> None:
    rounds = Rounds()
    assert rounds.run(20 * MS).growth(1000) == 1000
    assert rounds.run(40 * MS).growth(1000) == 250


def test_every_other_pair_is_refused() -> None:
    legal = {pair[:2] for pair in pairs(HYSTART)}
    for phase in Phase:
        for seen in Seen:
            if (phase, seen) not in legal:
                with pytest.raises(IllegalTransition, match="a slow start in state"):
                    HYSTART.after(phase, seen)
