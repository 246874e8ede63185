"""Which lane's turn it is: strict classes of priority, and turns within a class.

Lanes are linked to each other, class by class, so that taking part costs no memory at every message. It must never
know what a lane has to send, nor why.
"""

from __future__ import annotations

from transport import limits
from transport.rudp.outlane import OutLane

RANKS = limits.PRIORITY_MAX - limits.PRIORITY_MIN + 1
RANK_0 = -limits.PRIORITY_MIN


class Schedule:
    """The lanes that have something to send.

    Attributes:
        count: how many there are.
    """

    def __init__(self) -> None:
        self.count = 0
        self._heads: list[OutLane | None] = [None] * RANKS
        self._tails: list[OutLane | None] = [None] * RANKS
        self._top = -1  # no lane is in a class above
        self._front: OutLane | None = None  # what `first` found, None when it has to look

    def add(self, lane: OutLane) -> None:
        """Takes a lane in, behind the others of its class."""
        if not lane.is_active:
            lane.is_active = True
            self.count += 1
            self._append(lane)

    def _append(self, lane: OutLane) -> None:
        lane.listed = lane.rank
        lane.following = None
        rank = lane.rank + RANK_0
        tail = self._tails[rank]
        if tail is None:
            self._heads[rank] = lane
        else:
            tail.following = lane
        self._tails[rank] = lane
        if rank > self._top:
            self._top = rank
            self._front = lane

    def remove(self, lane: OutLane) -> None:
        """A lane has nothing to send for now."""
        if lane.is_active:
            lane.is_active = False
            self.count -= 1
            self._unlink(lane)
            if not self.count:
                self._top = -1  # or `first` would look through every class below, after each lone message

    def _unlink(self, lane: OutLane) -> None:
        rank = lane.listed + RANK_0
        if lane is self._front:
            self._front = None
        before: OutLane | None = None
        item = self._heads[rank]
        while item is not None and item is not lane:
            before = item
            item = item.following
        if before is None:
            self._heads[rank] = lane.following
        else:
            before.following = lane.following
        if self._tails[rank] is lane:
            self._tails[rank] = before
        lane.following = None

    def refresh(self, lane: OutLane) -> bool:
        """Puts a lane right whose class has changed; returns whether it had."""
        if not lane.is_active or lane.listed == lane.rank:
            return False
        self._unlink(lane)
        self._append(lane)
        return True

    def first(self) -> OutLane | None:
        """The lane whose turn it is."""
        if self._front is not None:
            return self._front
        while self._top >= 0:
            lane = self._heads[self._top]
            if lane is not None:
                self._front = lane
                return lane
            self._top -= 1
        return None

    def turn_over(self, lane: OutLane) -> None:
        """The first has had its turn: the next of its class is first."""
        if lane.following is not None:
            self._unlink(lane)
            self._append(lane)

    def waiting(self) -> int:
        """Bytes that the lanes have to send, for the first time or again."""
        total = 0
        if self.count <= 1:
            lane = self.first()
            return total if lane is None else lane.waiting + lane.lost.total
        for rank in range(self._top + 1):
            lane = self._heads[rank]
            while lane is not None:
                total += lane.waiting + lane.lost.total
                lane = lane.following
        return total

    def clear(self) -> None:
        """Nobody has anything to send any more."""
        lane = self.first()
        while lane is not None:
            self.remove(lane)
            lane = self.first()
