"""Diagrams and tables of state machines in the documents, made from the tables that the code walks.

`python -m tests.docs.state_tables` writes them into the pages, between marks such as `<!-- states: connection -->`.
"""

from __future__ import annotations

import re
from enum import IntEnum

from tests.meta import tree
from transport.rudp.states import BBR, ECN, HYSTART, LIFE, PACKET, SEARCH
from transport.states import Machine
from transport.stream.states import STREAM
from transport.websocket.states import LIFE as WEBSOCKET

MACHINES = {"bbr": BBR, "connection": LIFE, "ecn": ECN, "hystart": HYSTART, "mtu": SEARCH, "packet": PACKET,
            "stream": STREAM, "websocket": WEBSOCKET}  # fmt: skip
PAGES = [tree.ROOT / "docs" / "protocol.md", tree.ROOT / "docs" / "architecture.md"]
_MARKED = re.compile(r"(<!-- states: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def called(state: IntEnum) -> str:
    """The name of a state in the documents."""
    return state.name.lower().replace("_", "-")


def ends(machine: Machine) -> set[IntEnum]:
    """States that are none: nothing leads to where all begins, or on from where all ends."""
    left = {state for row in machine.rows for state in row.states if state != row.then}
    reached = {row.then for row in machine.rows}
    return {state for state in machine.states if (state == 0 and state not in reached) or state not in left}


def diagram(machine: Machine) -> str:
    """A Mermaid diagram; events that lead the same way share an arrow."""
    none = ends(machine)
    arrows: dict[tuple[str, str], list[str]] = {}
    if machine.states(0) not in none:
        arrows["[*]", machine.states(0).name.lower()] = []
    for row in machine.rows:
        then = "[*]" if row.then in none else row.then.name.lower()
        for state in row.states:
            start = "[*]" if state in none else state.name.lower()
            labels = arrows.setdefault((start, then), [])
            label = machine.described[row.event].label
            if label not in labels:
                labels.append(label)
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f'    state "{called(state)}" as {state.name.lower()}' for state in machine.states
              if state not in none and called(state) != state.name.lower()]  # fmt: skip
    for (start, then), labels in arrows.items():
        lines.append(f"    {start} --> {then}" + (": " + ", ".join(labels) if labels else ""))
    return "\n".join([*lines, "```"]) + "\n"


def table(machine: Machine) -> str:
    """The transitions as rows."""
    none = ends(machine)
    lines = ["| state | when | does | then |", "|---|---|---|---|"]
    for row in machine.rows:
        states = ", ".join(called(state) for state in row.states if state not in none)
        then = "" if row.then in none else called(row.then)
        lines.append(f"| {states} | {machine.described[row.event].when} | {row.does} | {then} |")
    return "\n".join(lines) + "\n"


def renewed(text: str) -> str:
    """The page's text with what is between the marks as it ought to be. Raises KeyError for an unknown machine."""

    def made(found: re.Match[str]) -> str:
        machine = MACHINES[found[2]]
        return f"{found[1]}\n{diagram(machine)}\n{table(machine)}\n{found[4]}"

    return _MARKED.sub(made, text)


def marks(text: str) -> list[str]:
    """Which machines the page has."""
    return [found[1] for found in _MARKED.findall(text)]


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
