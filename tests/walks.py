"""What a state machine does while a test runs."""

from __future__ import annotations

import pytest

from transport.states import Machine

Walk = list[tuple[int, int, int]]


def pairs(machine: Machine) -> Walk:
    """Every transition that it has: state, event, next state."""
    return [(int(state), int(row.event), int(row.then)) for row in machine.rows for state in row.states]


def walked(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Walk:
    """A list that gets every transition from now on."""
    found: Walk = []
    real = machine.after

    def after(state: int, event: int) -> int:
        then = real(state, event)
        found.append((state, event, then))
        return then

    monkeypatch.setattr(machine, "after", after)
    return found
