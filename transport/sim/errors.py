"""What a simulation raises: a mistake in the program under test, or a bound of the simulator, never a random fate.

It must never be raised for something that a real network does (loss, reordering, a full queue): those are counted.
"""

from __future__ import annotations

from transport.errors import TransportError


class SimulationError(TransportError, RuntimeError):
    """The program under simulation broke a rule that holds on every network, such as a deadline that does not move."""


class SimulationLimit(SimulationError):
    """A bound of the simulator was reached (the text names it); on a real machine this would be memory or time."""

    def __init__(self, name: str, limit: int, what: str) -> None:
        super().__init__(f"{what}: {name} = {limit:,} reached")
        self.name = name
        self.limit = limit


class Deadlock(SimulationError):
    """Nothing is ready, no timer is set and no outside work is under way, yet something still waits."""
