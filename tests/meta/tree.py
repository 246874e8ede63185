"""Where the files of this repository are, and what each imports: read from the sources, nothing is executed."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "transport"
CODE = ("transport", "tests", "bench", "examples")

_CIMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(.+)|c?import\s+(.+))$")


def files(*folders: str, suffixes: tuple[str, ...] = (".py",)) -> list[Path]:
    """The source files below `folders`, and setup.py with them when they are all of our code."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes]
    if folders == CODE:
        found.append(ROOT / "setup.py")
    return [path for path in found if path.is_file() and "results" not in path.parts]


def shown(path: Path) -> str:
    """`path` as a person would name it."""
    return str(path.relative_to(ROOT))


def module(path: Path) -> str:
    """The dotted name of a module of the package, without the package: "codec.varint", "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a `.py`, `.pyx` or `.pxd` imports, names within modules too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if found := _CIMPORT.match(line):
            source, names, modules = found.groups()
            for name in (names or modules).split("#")[0].strip("() ").split(","):
                if name.strip():
                    yield number, f"{source}.{name.split()[0]}" if source else name.split()[0]


def tracked() -> list[Path] | None:
    """The files under version control, and those about to be; None where there is no repository to ask."""
    try:
        asked = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return [ROOT / name for name in asked.stdout.split("\0") if name and (ROOT / name).is_file()]
