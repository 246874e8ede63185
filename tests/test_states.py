"""A state machine as a table: legal events lead on, others raise, and a table can't contradict itself."""

from __future__ import annotations

from enum import IntEnum

import pytest

from transport.states import Event, IllegalTransition, Machine, Row


class Door(IntEnum):
    SHUT = 0
    AJAR = 1


class Do(IntEnum):
    PUSH = 0
    PULL = 1


WORDS = {Do.PUSH: Event("push", "somebody pushes"), Do.PULL: Event("pull", "somebody pulls")}
ROWS = [Row((Door.SHUT,), Do.PUSH, Door.AJAR), Row((Door.SHUT, Door.AJAR), Do.PULL, Door.SHUT)]


def test_rows_lead_on() -> None:
    machine = Machine("a door", Door, Do, WORDS, ROWS)
    assert machine.after(Door.SHUT, Do.PUSH) == Door.AJAR
    assert [machine.after(state, Do.PULL) for state in Door] == [Door.SHUT, Door.SHUT]


def test_what_has_no_row_raises() -> None:
    machine = Machine("a door", Door, Do, WORDS, ROWS)
    with pytest.raises(IllegalTransition, match="internal error: a door in state AJAR can't have PUSH"):
        machine.after(Door.AJAR, Do.PUSH)


def test_two_rows_for_one_pair() -> None:
    with pytest.raises(ValueError, match="two rows for PULL in SHUT"):
        Machine("a door", Door, Do, WORDS, [*ROWS, Row((Door.SHUT,), Do.PULL, Door.AJAR)])
