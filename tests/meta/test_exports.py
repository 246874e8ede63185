"""What `import transport` gives: complete, in order, lazy, and cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
import types

import pytest

import transport
from tests.meta import tree

EXPORTS: list[str] = list(getattr(transport, "__all__", []))
HEAVY = {
    "argparse", "email", "h11", "http", "json", "logging.handlers", "msgpack", "msgspec", "multiprocessing", "pdb",
    "sqlite3", "ssl", "unittest", "urllib.request", "uvloop", "xml", "zlib",
}  # fmt: skip
IMPORT = """
import asyncio, sys
before = set(sys.modules)
import transport
print(*sorted(set(sys.modules) - before))
"""


def groups() -> list[list[str]]:
    """The names of `__all__`, a group for each origin in the package's own table."""
    origins: dict[str, tuple[str, ...]] = getattr(transport, "_ORIGIN", {})
    return [list(names) for names in origins.values()]


def test_all_is_complete() -> None:
    """Every public name that the package defines or hands out is in `__all__`, once."""
    assert len(EXPORTS) == len(set(EXPORTS))
    assert set(EXPORTS) == {name for group in groups() for name in group}
    special = {"compiled", "testing", "TYPE_CHECKING", "annotations"}
    public = {name for name in dir(transport) if not name.startswith("_") and name not in special}
    public = {name for name in public if not isinstance(getattr(transport, name), types.ModuleType)}
    assert public <= set(EXPORTS), f"not in __all__: {sorted(public - set(EXPORTS))}"


@pytest.mark.parametrize("name", EXPORTS)
def test_name_is_there(name: str) -> None:
    assert getattr(transport, name) is not None


def test_groups_are_sorted() -> None:
    """Constants, then classes, then functions, each by name: the order that linters give an `__all__`."""

    def rank(name: str) -> tuple[int, str]:
        return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

    for group in groups():
        assert group == sorted(group, key=rank)


def test_groups_stand_together() -> None:
    position = {name: index for index, name in enumerate(EXPORTS)}
    for group in groups():
        assert max(position[name] for name in group) - min(position[name] for name in group) == len(group) - 1


def test_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING, which editors and type checkers read, match the table that Python uses."""
    source = ast.parse((tree.PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name)
        for block in source.body if isinstance(block, ast.If)
        for node in ast.walk(block) if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert seen == {(module, name) for module, names in getattr(transport, "_ORIGIN", {}).items() for name in names}


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing_like_it'"):
        _ = transport.nothing_like_it  # type: ignore[attr-defined]


def test_import_brings_nothing_heavy() -> None:
    """The scheme in use pays for what it needs, when it is used."""
    asked = subprocess.run([sys.executable, "-c", IMPORT], cwd=tree.ROOT, capture_output=True, text=True, check=True)
    brought = asked.stdout.split()
    assert not asked.stderr
    assert "transport" in brought
    heavy = [name for name in brought if any(name == wrong or name.startswith(wrong + ".") for wrong in HEAVY)]
    assert not heavy
