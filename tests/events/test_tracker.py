"""The cursor is the last event before the first that is not finished."""

from __future__ import annotations

import random

from transport.events.tracker import Tracker


def test_in_order() -> None:
    tracker = Tracker(5)
    tracker.begin(6, 10)
    assert (tracker.cursor, tracker.received, tracker.waiting_bytes, len(tracker)) == (5, 6, 10, 1)
    assert tracker.finish(6)
    assert (tracker.cursor, tracker.waiting_bytes, len(tracker)) == (6, 0, 0)


def test_out_of_order() -> None:
    tracker = Tracker()
    for offset in (1, 2, 3):
        tracker.begin(offset)
    assert not tracker.finish(3)
    assert not tracker.finish(2)
    assert tracker.cursor == 0
    assert tracker.finish(1)
    assert tracker.cursor == 3


def test_what_is_skipped_waits_for_what_came_before() -> None:
    tracker = Tracker()
    tracker.skip(2)
    assert tracker.cursor == 2
    tracker.begin(3)
    tracker.skip(7)
    assert (tracker.cursor, tracker.received) == (2, 7)
    assert tracker.finish(3)
    assert tracker.cursor == 7


def test_rebase_forgets() -> None:
    tracker = Tracker()
    tracker.begin(1, 9)
    tracker.rebase(40)
    assert (tracker.cursor, tracker.received, len(tracker), tracker.waiting_bytes) == (40, 40, 0, 0)
    assert not tracker.finish(1)


def test_any_order(rng: random.Random) -> None:
    """Against the plainest account of it."""
    tracker = Tracker()
    begun: list[int] = []
    finished: set[int] = set()
    offset = 0
    for _ in range(2000):
        if rng.random() < 0.5:
            offset += rng.randrange(1, 4)
            tracker.begin(offset, 1)
            begun.append(offset)
        elif open_ := [one for one in begun if one not in finished]:
            done = rng.choice(open_[:10])
            tracker.finish(done)
            finished.add(done)
        expected = 0
        for one in begun:
            if one not in finished:
                break
            expected = one
        assert tracker.cursor == expected
        assert len(tracker) == len(begun) - len(finished)


def test_one_that_is_never_finished_holds_nothing_else() -> None:
    tracker = Tracker()
    tracker.begin(1, 7)
    for offset in range(2, 1000):
        tracker.begin(offset, 100)
        assert not tracker.finish(offset)
    assert (tracker.cursor, tracker.oldest, len(tracker), tracker.waiting_bytes) == (0, 1, 1, 7)
    assert len(tracker._open) == 1
    assert tracker.finish(1)
    assert (tracker.cursor, tracker.oldest) == (999, -1)
