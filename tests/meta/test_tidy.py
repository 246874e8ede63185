"""Files and functions stay short enough to read, and every module says why it exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.meta import tree

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
LINE_MAX = 120
PYTHON = tree.files(*tree.CODE)
ALL = PYTHON + tree.files(*tree.CODE, suffixes=(".pyx", ".pxd", ".js"))
_DEFINITION = re.compile(r"^(\s*)(?:cdef|cpdef|def)\s(?!class )[^=]*\(.*$")


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length in lines of every function, docstring and decorators included."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]
    lines = text.splitlines()
    sizes = []
    for start, line in enumerate(lines):
        head = _DEFINITION.match(line)
        if head is None:
            continue
        end = start + 1
        while end < len(lines) and (
            not lines[end].strip() or indent(lines[end]) > len(head[1]) or lines[end].lstrip()[:1] == ")"
        ):
            end += 1
        sizes.append((line.strip(), len("\n".join(lines[start:end]).rstrip().splitlines())))
    return sizes


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


@pytest.mark.parametrize("path", ALL, ids=tree.shown)
def test_size(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= FILE_LINES_MAX, f"{len(lines)} lines: what second thing has moved in?"
    long = [(name, size) for name, size in functions(path) if size > FUNCTION_LINES_MAX]
    assert not long, f"functions over {FUNCTION_LINES_MAX} lines: {long}"
    wide = [number for number, line in enumerate(lines, 1) if len(line) > LINE_MAX]
    assert not wide, f"lines over {LINE_MAX} characters: {wide}"


@pytest.mark.parametrize("path", PYTHON, ids=tree.shown)
def test_a_module_says_why_it_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not text.strip():
        return
    assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_a_test_lies_where_its_module_does() -> None:
    """`tests/codec/test_varint.py` tests `transport/codec/varint.py`; other folders of tests say what they are."""
    own = {"contract", "examples", "fuzz", "guides", "meta", "parity", "bench", "acceptance", "docs", "soak"}
    lost = []
    for path in tree.files("tests"):
        folder = path.parent.relative_to(tree.ROOT / "tests")
        if folder.parts[:1] and folder.parts[0] not in own and not (tree.PACKAGE / folder).is_dir():
            lost.append(tree.shown(path))
    assert not lost
