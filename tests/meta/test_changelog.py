"""The changelog, the version and the settings say the same."""

from __future__ import annotations

import re
import tomllib

from tests.meta import tree
from transport import _build

TEXT = (tree.ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


def test_sections_are_dated_and_newest_first() -> None:
    assert SECTIONS
    heads = [section.splitlines()[0] for section in SECTIONS]
    released = [head for head in heads if head != "Unreleased"]
    assert heads in (released, ["Unreleased", *released])
    versions = []
    for head in released:
        found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+) \(\d{4}-\d{2}-\d{2}\)", head)
        assert found, f"not `1.2.3 (2030-01-31)`: {head!r}"
        versions.append(tuple(int(part) for part in found.groups()))
    assert versions == sorted(versions, reverse=True)


def test_every_section_says_something() -> None:
    for section in SECTIONS:
        assert re.search(r"^- ", section, re.MULTILINE), section.splitlines()[0]


def test_version_has_its_section() -> None:
    """A development version stands under Unreleased, a release under its own number."""
    wanted = "Unreleased" if ".dev" in _build.VERSION else _build.VERSION + " "
    assert any(section.startswith(wanted) for section in SECTIONS)


def test_cython_is_pinned_once() -> None:
    settings = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (cython,) = [need for need in settings["build-system"]["requires"] if need.startswith("Cython")]
    assert re.fullmatch(r"Cython==[\d.]+", cython)
    assert cython in (tree.ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
