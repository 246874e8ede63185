"""The tables of docs/websocket.md: every test that they name is there; each that is called by a section is named."""

from __future__ import annotations

import re

import pytest

from tests.meta import tree

PAGE = (tree.ROOT / "docs" / "websocket.md").read_text(encoding="utf-8")
SOURCES = {
    path.name: re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    for path in [
        *(tree.ROOT / "tests" / "websocket").glob("test_*.py"),
        *(tree.ROOT / "tests" / "transports").glob("test_ws*.py"), tree.ROOT / "tests" / "test_url.py",
    ]
}  # fmt: skip
THERE = {name for names in SOURCES.values() for name in names}
_NUMBERED = re.compile(r"test_(\d+(?:_\d+)*)_\D")


def table(rfc: str) -> list[tuple[list[str], list[str]]]:
    """Sections and tests of each row of one RFC's table."""
    (text,) = re.findall(rf"^## {rfc}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    return [(sections.strip("| ").split(", "), re.findall(r"`(test_\w+)`", tests)) for sections, _, tests in rows]


TABLES = {rfc: table(rfc) for rfc in ("RFC 6455", "RFC 7692")}


def section_of(name: str) -> str | None:
    """By which section a test is called. `test_100_...` and `test_408_...` are statuses of HTTP."""
    found = _NUMBERED.match(name)
    return None if found is None or int(found[1].partition("_")[0]) > 99 else found[1].replace("_", ".")


def covers(row: str, section: str) -> bool:
    """Whether one is the other, or a part of it."""
    return (row + ".").startswith(section + ".") or (section + ".").startswith(row + ".")


@pytest.mark.parametrize("rfc", TABLES)
def test_every_named_test_is_there(rfc: str) -> None:
    assert len(TABLES[rfc]) > 10
    for sections, names in TABLES[rfc]:
        assert names, f"nothing tests {sections}"
        assert not [name for name in names if name not in THERE]


def test_every_test_of_the_other_tables_is_there() -> None:
    named = re.findall(r"`(test_\w+)`", PAGE.partition("## The public conformance suite")[2])
    assert len(named) > 30
    assert not [name for name in named if name not in THERE]
    cases = [name for name in SOURCES["test_conformance.py"] if name.startswith("test_group_")]
    assert not [name for name in cases if name not in named]


@pytest.mark.parametrize("file", SOURCES)
def test_every_test_of_a_section_stands_in_its_row(file: str) -> None:
    rows = TABLES["RFC 7692" if file == "test_deflate.py" else "RFC 6455"]
    lost = [
        name for name in SOURCES[file]
        if (section := section_of(name)) and not any(
            name in names and any(covers(row, section) for row in sections) for sections, names in rows
        )
    ]  # fmt: skip
    assert not lost
