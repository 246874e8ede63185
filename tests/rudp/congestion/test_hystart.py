"""HyStart++ (RFC 9406): when slow start ends, and when it had better not."""

from __future__ import annotations

import random

from transport.rudp.congestion.hystart import HyStart

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


def state(hystart: HyStart) -> tuple[int, bool]:
    return hystart.divisor, hystart.done


def test_steady_round_trips_never_end_it() -> None:
    rounds = Rounds()
    for _ in range(100):
        assert state(rounds.run(50 * MS)) == (1, False)


def test_a_rise_of_an_eighth_begins_careful_rounds_and_five_end_it() -> None:
    rounds = Rounds()
    rounds.run(80 * MS)
    assert state(rounds.run(90 * MS - 1)) == (1, False)
    rounds = Rounds()
    rounds.run(80 * MS)
    assert state(rounds.run(90 * MS)) == (4, False)
    for _ in range(4):
        assert state(rounds.run(95 * MS)) == (4, False)
    assert state(rounds.run(95 * MS)) == (4, True)


def test_least_and_largest_threshold() -> None:
    """4 ms on fast paths, 16 ms on slow ones."""
    for before, rise in ((50 * US, 4 * MS), (8 * MS, 4 * MS), (64 * MS, 8 * MS), (1000 * MS, 16 * MS)):
        for more, divisor in ((rise - 1, 1), (rise, 4)):
            rounds = Rounds()
            rounds.run(before)
            assert rounds.run(before + more).divisor == divisor


def test_eight_samples_are_needed() -> None:
    rounds = Rounds(count=7)
    rounds.run(20 * MS)
    for _ in range(10):
        assert state(rounds.run(200 * MS)) == (1, False)
    rounds = Rounds(count=8)
    rounds.run(20 * MS)
    assert rounds.run(200 * MS).divisor == 4


def test_the_least_sample_of_a_round_counts() -> None:
    """One packet without delay shows that there is no queue."""
    rounds = Rounds()
    rounds.run(20 * MS)
    assert rounds.run(20 * MS, *[60 * MS] * 15).divisor == 1


def test_a_fall_resumes_slow_start() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    assert rounds.run(40 * MS).divisor == 4
    rounds.run(40 * MS)
    assert state(rounds.run(39 * MS)) == (1, False)
    for _ in range(20):
        assert state(rounds.run(39 * MS)) == (1, False)
    assert rounds.run(44 * MS + MS).divisor == 4  # and may be left again, with five whole rounds to go
    for _ in range(4):
        assert not rounds.run(45 * MS).done
    assert rounds.run(45 * MS).done


def test_an_old_ack_is_no_sample() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    rounds.run(20 * MS)
    for _ in range(100):
        rounds.hystart.on_ack(500 * MS, 3, rounds.next, True)
    assert state(rounds.hystart) == (1, False)


def test_acks_without_a_round_trip_are_no_samples() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    rounds.run(0)
    assert rounds.run(60 * MS).divisor == 1  # the round before has no least round trip


def test_delay_of_an_unused_window_is_not_ours() -> None:
    rounds = Rounds()
    rounds.run(20 * MS, is_limited=False)
    for _ in range(10):
        assert state(rounds.run(100 * MS, is_limited=False)) == (1, False)
        rounds.run(20 * MS, is_limited=False)
    assert rounds.run(40 * MS).divisor == 4
    for _ in range(10):
        assert not rounds.run(40 * MS, is_limited=False).done


def test_noise_of_a_fast_path_never_ends_it(rng: random.Random) -> None:
    """Round trips of 30 to 100 us with scheduler hiccups of milliseconds."""
    rounds = Rounds(count=64)
    for _ in range(300):
        hiccup = rng.choice([0, 0, 0, rng.randrange(3 * MS)])
        assert state(rounds.run(*[rng.randrange(30 * US, 100 * US) + hiccup for _ in range(64)])) == (1, False)


def test_done_is_done() -> None:
    rounds = Rounds()
    rounds.run(20 * MS)
    for _ in range(7):
        rounds.run(60 * MS)
    assert rounds.hystart.done
    for _ in range(5):
        assert rounds.run(20 * MS).done
