"""The search for a path's MTU: which sizes it tries in which order, and what it makes of their fates."""

from __future__ import annotations

import random

import pytest

from tests.walks import pairs, walked
from transport import limits
from transport.rudp.mtu import FIRST, SIZES, MtuSearch
from transport.rudp.states import COMPLETE, DOUBTING, SEARCH, SEARCHING, Search, Tried
from transport.states import IllegalTransition

BASE, MOST = limits.RUDP_DATAGRAM_BYTES_MIN, limits.RUDP_DATAGRAM_BYTES_MAX
RAISE, WAIT, TRIES = limits.RUDP_MTU_RAISE_NS, limits.RUDP_MTU_WAIT_NS, limits.RUDP_MTU_TRIES
WIDE = 1 << 30
NEVER = 1 << 62


class Path:
    """A path that carries so much, and a search on it whose probes have the fates that follow from that."""

    def __init__(self, carries: int, most: int = MOST, size: int = BASE) -> None:
        self.carries = carries
        self.search = MtuSearch(size, most)
        self.number = 0
        self.now = 1
        self.tried: list[int] = []

    def probe(self, window: int = WIDE) -> int:
        """One probe and its fate; its size, 0 if none left."""
        size = self.search.next_size(window, self.now) if self.now >= self.search.due else 0
        if size:
            self.tried.append(size)
            self.search.on_sent(self.number)
            self.number += 1
            if size <= self.carries:
                self.search.on_acked(self.number - 1, size)
            else:
                self.search.on_lost(self.number - 1, size, self.now, 0)
        return size

    def find(self, window: int = WIDE) -> MtuSearch:
        """Until the search is over."""
        while self.probe(window):
            pass
        return self.search


@pytest.mark.parametrize("carries", [1200, 1279, *SIZES, 1400, 1500, 9000, 65_507])
def test_finds_the_largest_size_that_arrives(carries: int) -> None:
    path = Path(carries)
    search = path.find()
    assert search.size == max(size for size in SIZES if size <= carries)
    assert (search.phase, search.due, search.number) == (COMPLETE, path.now + RAISE if search.lost else NEVER, -1)
    failed = {size for size in path.tried if size > carries}
    assert all(path.tried.count(size) == TRIES for size in failed)
    assert all(path.tried.count(size) == 1 for size in set(path.tried) - failed)
    assert (search.sent, search.lost) == (len(path.tried), TRIES * len(failed))
    assert len(set(path.tried)) <= 5, "not one size after the other"


def test_the_first_steps_are_those_that_most_paths_allow() -> None:
    ethernet, loopback = Path(1472), Path(65_507)
    ethernet.find(window=12_000)
    assert ethernet.tried == [1472, *[4096] * TRIES]
    loopback.find()
    assert loopback.tried == [1472, 65_000]


@pytest.mark.parametrize("window", [2400, 12_000, 20_000, 40_000, 100_000, 129_999, 130_000])
def test_a_probe_has_at_most_half_of_the_window(window: int) -> None:
    path = Path(65_507)
    search = path.find(window)
    assert search.size == max(size for size in SIZES if size <= max(window // 2, FIRST))
    if search.size < MOST:
        assert (search.phase, search.due) == (SEARCHING, path.now + WAIT)
        path.now += WAIT
        assert path.probe(window) == 0
        path.now += WAIT
        assert path.probe(2 * MOST) == MOST, "a window that has grown"


def test_a_larger_one_that_arrives_late_ends_no_search() -> None:
    """It was believed lost, and a smaller one is on its way, which is no news when it arrives."""
    search = Path(65_507).search
    search.on_sent(0)
    search.on_acked(0, FIRST)
    assert search.next_size(20_000, 1) == 8952
    search.on_sent(1)
    search.on_lost(1, 8952, 1, 0)
    assert search.next_size(9000, 2) == 4096
    search.on_sent(2)
    assert search.on_acked(1, 8952)
    assert search.next_size(WIDE, 3) == 0, "one at a time"
    assert not search.on_acked(2, 4096)
    assert search.next_size(WIDE, 3) == MOST


def test_a_window_that_shrinks_makes_the_next_step_smaller() -> None:
    search = Path(65_507).search
    search.on_sent(0)
    search.on_acked(0, FIRST)
    assert search.next_size(20_000, 1) == 8952
    search.on_sent(1)
    search.on_lost(1, 8952, 1, 0)
    assert search.next_size(17_000, 1) == 4096
    search.on_sent(2)
    search.on_acked(2, 4096)
    search.doubt(3)
    assert search.next_size(2400, 1) == 4096, "that is known to have been no more than half of it"


def test_a_window_that_shrinks_does_not_lift_what_failed() -> None:
    path = Path(5000)
    path.probe()
    for _ in range(TRIES):
        assert path.probe() == MOST
    assert path.probe(20_000) == 8952, "of 4096, 8952 and 16384 the middle one"
    path.find(12_000)
    assert (path.search.size, path.search.phase) == (4096, SEARCHING), "8952 may be tried again, 65000 not"
    path.now += WAIT
    path.find()
    assert path.search.phase == COMPLETE
    assert path.tried.count(MOST) == TRIES


def test_nothing_above_what_the_peer_takes() -> None:
    path = Path(65_507, most=26_624)
    assert path.find().size == 16_384
    assert max(path.tried) == 16_384
    for most in (1200, 1279):
        small = Path(65_507, most=most)
        assert small.find().size == BASE
        assert small.tried == []
    assert MtuSearch(BASE, BASE).due == NEVER


def test_a_size_that_is_given_is_the_largest() -> None:
    path = Path(1400, size=1400, most=1200)
    assert path.find().size == 1400
    assert path.tried == []
    path.search.doubt(path.number)
    assert (path.search.size, path.search.phase) == (BASE, DOUBTING)
    assert path.find().size == 1400, "it is tried first, though it stands in no table"
    assert path.tried == [1400]


def test_what_failed_is_tried_again_after_600_s() -> None:
    path = Path(1472)
    path.find()
    path.carries = 65_507
    path.now += RAISE - 1
    assert path.probe() == 0
    path.now += 1
    assert path.find().size == 65_000


def test_a_probe_that_comes_late_counts() -> None:
    path = Path(BASE)
    path.find()
    assert path.search.size == BASE
    number = path.tried.index(1280)
    assert path.search.on_acked(number, 1280)
    assert (path.search.size, path.search.phase) == (1280, SEARCHING)
    assert not path.search.on_acked(number, 1280)
    assert path.search.next_size(WIDE, path.now) > 1280, "what failed may have been as unlucky"
    below = Path(BASE)
    below.find()
    assert below.search.on_acked(0, FIRST), "above a size that failed"
    assert below.search.next_size(12_000, below.now) == 4096


def test_what_fails_is_forgotten_600_s_after_it_failed() -> None:
    """Not after the search was over, which may have waited for packets to be filled again."""
    path = Path(1472)
    for _ in range(1 + TRIES):
        path.probe(12_000)
    path.now += RAISE - 1
    assert path.probe(12_000) == 0
    assert (path.search.phase, path.search.due) == (COMPLETE, path.now + 1)
    path.now += 1
    assert path.probe(12_000) == 4096


def test_tries_of_a_size_are_apart() -> None:
    """Unless it is the system that refuses them."""
    search = MtuSearch(BASE, MOST)
    search.next_size(WIDE, 100)
    search.on_sent(0)
    assert not search.on_lost(0, FIRST, 100, 50)
    assert search.due == 150
    search.hurry(100)
    assert search.due == 100


def test_one_at_a_time() -> None:
    search = MtuSearch(BASE, MOST)
    assert search.next_size(WIDE, 1) == FIRST
    assert search.next_size(WIDE, 1) == FIRST, "asked and not sent"
    search.on_sent(7)
    assert (search.number, search.due) == (7, NEVER)
    assert search.next_size(WIDE, 1) == 0


def test_a_black_hole_is_searched_anew() -> None:
    path = Path(1472)
    path.find()
    path.carries = 1400
    search = path.search
    tried = len(path.tried)
    search.doubt(path.number)
    assert (search.size, search.due, search.phase) == (BASE, 0, DOUBTING)
    path.find()
    assert path.tried[tried:][:TRIES] == [1472] * TRIES
    assert (search.size, search.holes) == (1380, 1)


def test_a_false_alarm_costs_one_probe() -> None:
    path = Path(1472)
    path.find()
    sent = path.search.sent
    path.search.doubt(path.number)
    assert path.find().size == 1472
    assert (path.search.sent, path.search.holes) == (sent + 1, 0)


def test_probes_of_another_search_mean_nothing() -> None:
    path = Path(1472)
    search = path.find()
    search.on_sent(90)
    search.doubt(91)
    assert not search.on_acked(90, 4096), "it left when the path still carried it"
    assert not search.on_lost(90, 1472, 1, 0)
    assert (search.size, search.phase) == (BASE, DOUBTING)
    search.on_sent(91)
    assert search.on_acked(91, 1472)
    search.move(95)
    assert (search.size, search.phase, search.due) == (BASE, SEARCHING, 0)
    assert not search.on_acked(94, 1472)
    path.number = 95
    path.carries = 8952
    assert path.find().size == 8952, "what failed on the other path is forgotten"


def test_loss_hides_no_size_for_ever(rng: random.Random) -> None:
    """A fifth of the probes is lost by chance: sooner or later the search is right."""
    for carries in (1300, 1472, 9000, 65_507):
        search, number, now = MtuSearch(BASE, MOST), 0, 1
        for _ in range(60):
            while size := search.next_size(WIDE, now):
                search.on_sent(number)
                if size <= carries and rng.random() < 0.8:
                    search.on_acked(number, size)
                else:
                    search.on_lost(number, size, now, 0)
                number += 1
            now = min(search.due, now + RAISE)
        assert search.size == max(size for size in SIZES if size <= carries)


def test_every_row_is_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    walk = walked(SEARCH, monkeypatch)
    path = Path(1472)
    search = path.find()
    search.move(path.number)  # from complete
    number = path.number
    search.doubt(number)
    search.move(number)
    path.find()
    search.doubt(path.number)
    path.find()  # arrives
    path.now = search.due
    path.probe()
    assert search.phase == SEARCHING
    search.doubt(path.number)
    path.carries = BASE
    path.find()  # fails
    assert search.on_acked(path.number, 1280)  # late, in complete
    search.move(path.number)
    assert set(walk) == set(pairs(SEARCH))


def test_every_other_pair_is_refused() -> None:
    legal = {pair[:2] for pair in pairs(SEARCH)}
    for phase in Search:
        for event in Tried:
            if (phase, event) not in legal:
                with pytest.raises(IllegalTransition, match="an MTU search in state"):
                    SEARCH.after(phase, event)
