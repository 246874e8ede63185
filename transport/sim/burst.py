"""Loss in bursts: a two-state process in continuous time (Gilbert-Elliott), asked at any instants in order.

Exists apart from the link because its state moves with the clock alone: the same seed meets the same bursts however
much or little is sent. It must never count packets.
"""

from __future__ import annotations

from collections.abc import Callable

from transport.sim.config import BurstLoss

MEMORY = 64  # mean cycles of silence after which the state is drawn anew (chance of a difference: under e^-64)


def exponential(draw: Callable[[], float]) -> float:
    """A number from the exponential distribution of mean 1, by comparisons and sums alone.

    No logarithm, whose last bit differs between C libraries: the same draws give the same number everywhere.

    Source: von Neumann, "Various techniques used in connection with random digits", 1951.
    """
    whole = 0
    while True:
        first = draw()
        last = first
        falls = 1
        value = draw()
        while value < last:
            last = value
            falls += 1
            value = draw()
        if falls % 2 == 1:
            return whole + first
        whole += 1


class BurstProcess:
    """The state of one link's burst loss.

    Args:
        config: mean times and losses.
        draw: a stream of its own for the state, uniform in [0, 1).
        time: when it starts, in the state that the long run makes likely.
    """

    def __init__(self, config: BurstLoss, draw: Callable[[], float], time: int) -> None:
        self._draw = draw
        self._good_ns = config.good_ns
        self._bad_ns = config.bad_ns
        self._loss_good = config.loss_good
        self._loss_bad = config.loss_bad
        self._bad = False
        self._until = 0
        self._redraw(time)

    def _redraw(self, time: int) -> None:
        self._bad = self._draw() * (self._good_ns + self._bad_ns) < self._bad_ns
        self._until = time
        self._stay()

    def _stay(self) -> None:
        mean = self._bad_ns if self._bad else self._good_ns
        self._until += int(exponential(self._draw) * mean) + 1

    def loss(self, time: int) -> float:
        """The probability of loss at `time`, which never lies before that of the last call."""
        if time >= self._until:
            if (time - self._until) // MEMORY >= self._good_ns + self._bad_ns:
                self._redraw(time)
            while time >= self._until:
                self._bad = not self._bad
                self._stay()
        return self._loss_bad if self._bad else self._loss_good
