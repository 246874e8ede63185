"""The documents draw every state machine as the code walks it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs import state_tables
from tests.meta import tree
from transport.states import Machine

ARROW = r"    (\[\*\]|\w+) --> (\[\*\]|\w+)(: [\w ,-]+)?"
MACHINES = pytest.mark.parametrize("machine", state_tables.MACHINES.values(), ids=state_tables.MACHINES)


@pytest.mark.parametrize("page", state_tables.PAGES, ids=tree.shown)
def test_pages_are_up_to_date(page: Path) -> None:
    """Otherwise: python -m tests.docs.state_tables."""
    text = page.read_text(encoding="utf-8")
    assert state_tables.renewed(text) == text


def test_every_machine_is_drawn_once() -> None:
    found = [mark for page in state_tables.PAGES for mark in state_tables.marks(page.read_text(encoding="utf-8"))]
    assert sorted(found) == sorted(state_tables.MACHINES)


@MACHINES
def test_a_row_that_is_forgotten_would_be_seen(machine: Machine) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in state_tables.PAGES)
    row = state_tables.table(machine).splitlines()[3]
    without = text.replace(row + "\n", "")
    assert without != text
    assert state_tables.renewed(without) == text


@MACHINES
def test_the_diagram_has_every_state_and_transition(machine: Machine) -> None:
    lines = state_tables.diagram(machine).splitlines()
    assert lines[:2] == ["```mermaid", "stateDiagram-v2"]
    assert lines[-1] == "```"
    arrows = [re.fullmatch(ARROW, line) for line in lines[2:-1] if not line.startswith('    state "')]
    assert all(arrows)
    ends = state_tables.ends(machine)
    named = {"[*]" if state in ends else state.name.lower() for state in machine.states}
    assert {end for arrow in arrows if arrow for end in (arrow[1], arrow[2])} == named | {"[*]"}
    pairs = [(arrow[1], arrow[2]) for arrow in arrows if arrow]
    assert len(pairs) == len(set(pairs))
