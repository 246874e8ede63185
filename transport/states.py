"""State machines as tables: what the code walks, the documents draw and the tests check.

States and events are small numbers, so that compiled code keeps a state as a C integer. It must never guess: an event
in a state that has no row for it is a mistake of this package, and raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any


class IllegalTransition(RuntimeError):
    """An event came in a state that has no row for it: a mistake in this package, not of a peer or a user."""


@dataclass(frozen=True)
class Event:
    """What an event is called in a diagram, and when it happens."""

    label: str
    when: str


@dataclass(frozen=True)
class Row:
    """From each of `states`, `event` leads to `then`; `does` says what is done, in the documents' words."""

    states: tuple[IntEnum, ...]
    event: IntEnum
    then: IntEnum
    does: str = ""


class Machine:
    """The transitions of one state machine.

    Args:
        name: for people.
        states, events: their numbers, from 0 without gaps. The first state is where it begins.
        described: every event in words.
        rows: the transitions, in the order of the documents.
    """

    def __init__(
        self,
        name: str,
        states: type[IntEnum],
        events: type[IntEnum],
        described: Mapping[Any, Event],
        rows: Sequence[Row],
    ) -> None:
        self.name = name
        self.states = states
        self.events = events
        self.described = described
        self.rows = rows
        self._then = [[-1] * len(events) for _ in states]
        for row in rows:
            for state in row.states:
                if self._then[state][row.event] >= 0:
                    raise ValueError(f"{name}: two rows for {row.event.name} in {state.name}")
                self._then[state][row.event] = int(row.then)

    def after(self, state: int, event: int) -> int:
        """The state that `event` leads to. Raises IllegalTransition if `state` has no row for it."""
        then = self._then[state][event]
        if then < 0:
            raise IllegalTransition(
                f"internal error: {self.name} in state {self.states(state).name} can't have {self.events(event).name}"
            )
        return then
